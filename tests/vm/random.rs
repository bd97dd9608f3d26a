//! Random choices that a printed seed repeats.

/// Sebastiano Vigna's SplitMix64: small, and good enough for choosing moments.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The choices that follow from this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A number from 0 up to, not including, this one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Choices of their own, which do not change with how many others are made.
    pub fn branch(&mut self) -> Random {
        Random(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
