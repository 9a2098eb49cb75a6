//! Whole numbers as strings of bits: Elias gamma codes, for 1 and more, and Rice codes, for 0 and
//! more, as the stored form of [`FeatureIndex`](super::FeatureIndex) defines them.

/// Appends codes.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Its lower `waiting` bits are not in `bytes` yet, those above are of no meaning.
    last: u64,
    /// Below 32.
    waiting: u32,
}

impl BitWriter {
    pub(super) fn gamma(&mut self, number: u32) {
        let width = number.ilog2();
        self.unary(width);
        self.bits(number ^ 1 << width, width);
    }

    pub(super) fn rice(&mut self, number: u32, k: u32) {
        self.unary(number >> k);
        self.bits(number & ((1 << k) - 1), k);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let rest = ((self.last << (32 - self.waiting)) as u32).to_be_bytes();
        self.bytes.extend_from_slice(&rest[..self.waiting.div_ceil(8) as usize]);
        self.bytes
    }

    /// `zeros` zeros and a 1.
    fn unary(&mut self, mut zeros: u32) {
        while zeros >= 32 {
            self.bits(0, 32);
            zeros -= 32;
        }
        self.bits(1, zeros + 1);
    }

    /// The `count` digits of `number`, which has no more; at most 32.
    fn bits(&mut self, number: u32, count: u32) {
        self.last = self.last << count | u64::from(number);
        self.waiting += count;
        if self.waiting >= 32 {
            self.waiting -= 32;
            self.bytes.extend_from_slice(&((self.last >> self.waiting) as u32).to_be_bytes());
        }
    }
}

/// Reads codes; `None` means that the bits end before the code does.
///
/// A code that stands for more than `limit` is read as some number above it, so that no run of
/// zeros, however long, counts beyond what the caller accepts. Limits are below 2^24.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Number of bits read.
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn gamma(&mut self, limit: u32) -> Option<u32> {
        let width = self.unary(limit.ilog2())?;
        Some(1 << width | self.bits(width)?)
    }

    #[inline]
    pub(super) fn rice(&mut self, k: u32, limit: u32) -> Option<u32> {
        let quotient = self.unary(limit >> k)?;
        Some(quotient << k | self.bits(k)?)
    }

    /// Whether nothing but the zeros that fill the last byte is left.
    pub(super) fn is_finished(&self) -> bool {
        self.position.div_ceil(8) == self.bytes.len() && self.window() == 0
    }

    /// The number of zeros before the next 1; `limit + 1` if it is above `limit`.
    #[inline]
    fn unary(&mut self, limit: u32) -> Option<u32> {
        let mut zeros = 0;
        loop {
            let run = self.window().leading_zeros().min(Self::WINDOW);
            let ends = run < Self::WINDOW;
            self.skip(run + u32::from(ends))?;
            zeros += run;
            if ends || zeros > limit {
                return Some(zeros.min(limit + 1));
            }
        }
    }

    /// A number of `count` digits; at most 24.
    #[inline]
    fn bits(&mut self, count: u32) -> Option<u32> {
        let number = self.window().unbounded_shr(64 - count) as u32;
        self.skip(count)?;
        Some(number)
    }

    #[inline]
    fn skip(&mut self, count: u32) -> Option<()> {
        let position = self.position + count as usize;
        (position.div_ceil(8) <= self.bytes.len()).then(|| self.position = position)
    }

    /// Number of bits that every window holds, wherever it starts in a byte.
    const WINDOW: u32 = 57;

    /// The next bits from the most significant one down, 0 past the end.
    #[inline]
    fn window(&self) -> u64 {
        let rest = &self.bytes[self.position / 8..];
        let word = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            word
        });
        u64::from_be_bytes(word) << (self.position % 8)
    }
}
