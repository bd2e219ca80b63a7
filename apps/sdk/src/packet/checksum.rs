//! Checksums of the internet protocols (RFC 1071).

/// Sum of 16-bit words. Parts other than the last have an even length.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Checksum of some bytes.
    pub(super) fn of(bytes: &[u8]) -> u16 {
        let mut sum = Sum::default();
        sum.add(bytes);
        sum.checksum()
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let (words, odd) = bytes.as_chunks();
        let words = words.iter().map(|word| u16::from_be_bytes(*word));
        let odd = odd.iter().map(|byte| u16::from(*byte) << 8);
        self.0 += words.chain(odd).map(u64::from).sum::<u64>();
    }

    /// Complement of the sum with its carries added.
    pub(super) fn checksum(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}
