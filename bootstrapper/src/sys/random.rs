//! Randomness of the kernel.

use anyhow::anyhow;
use ring::rand::{SecureRandom, SystemRandom};

/// 16 random bytes as 32 hexadecimal digits.
///
/// # Errors
/// When the kernel gives none.
pub fn hex16() -> anyhow::Result<String> {
    let mut bytes = [0u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the kernel gave no random bytes"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
