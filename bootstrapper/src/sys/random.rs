//! Randomness of the kernel.

use anyhow::anyhow;
use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes.
///
/// # Errors
/// When the kernel gives none.
pub fn bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the kernel gave no random bytes"))?;
    Ok(bytes)
}

/// 16 random bytes as 32 hexadecimal digits.
///
/// # Errors
/// When the kernel gives none.
pub fn hex16() -> anyhow::Result<String> {
    Ok(bytes::<16>()?.iter().map(|b| format!("{b:02x}")).collect())
}
