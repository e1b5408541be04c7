//! Bits on their way to bytes, the first one lowest.

/// Bits that are not a whole byte yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bits {
    pending: u64,
    pub(super) count: u32,
    /// Where in the output the next byte goes.
    pub(super) at: usize,
}

impl Bits {
    /// Adds the lowest `count` of `bits`; 57 at most, and no others may be set.
    #[inline]
    pub(super) fn add(&mut self, bits: u64, count: u32) {
        self.pending |= bits << self.count;
        self.count += count;
    }

    /// Writes whole bytes; there is room for eight.
    #[inline]
    pub(super) fn write(&mut self, output: &mut [u8]) {
        if let Some(place) = output.get_mut(self.at..self.at + 8) {
            place.copy_from_slice(&self.pending.to_le_bytes());
        }
        self.at += (self.count / 8) as usize;
        self.pending >>= self.count & !7;
        self.count &= 7;
    }
}
