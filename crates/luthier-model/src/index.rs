//! From hash buckets to rows of a table.

use std::fmt;

use crate::HASH_BITS;

const BUCKETS: usize = 1 << HASH_BITS;

/// An ordered set of hash buckets; the position of a bucket in that order is its row.
///
/// Held as one bit per possible bucket with a running count for every 64 of them, so that a look-up
/// reads two words and counts the bits of one, whatever the number of features (3 MB per model at
/// 24 bits). On disk it is the list of gaps as LEB128, 1.1 to 1.7 bytes per feature.
#[derive(Clone, PartialEq, Eq)]
pub struct FeatureIndex {
    bits: Vec<u64>,
    /// Number of set bits before each word.
    ranks: Vec<u32>,
    len: usize,
}

/// Why bytes are no index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The bytes end inside a number.
    #[error("the feature index ends inside an entry")]
    Truncated,
    /// An entry leads past the last bucket.
    #[error("entry {entry} of the feature index lies outside the hash range")]
    OutOfRange {
        /// Its position, from 0.
        entry: usize,
    },
}

impl fmt::Debug for FeatureIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureIndex").field("len", &self.len).finish_non_exhaustive()
    }
}

impl FeatureIndex {
    /// The index of `buckets`, which may repeat and come in any order; bits above [`HASH_BITS`]
    /// are dropped.
    pub fn new(buckets: impl IntoIterator<Item = u32>) -> Self {
        let mut bits = vec![0u64; BUCKETS / 64];
        for bucket in buckets {
            let bucket = bucket as usize % BUCKETS;
            bits[bucket / 64] |= 1 << (bucket % 64);
        }
        Self::from_bits(bits)
    }

    /// The row of `bucket`; `None` if it is not in the index.
    #[inline]
    pub fn row(&self, bucket: u32) -> Option<u32> {
        let bucket = bucket as usize % BUCKETS;
        let (word, bit) = (bucket / 64, bucket % 64);
        let mask = 1u64 << bit;
        if self.bits[word] & mask == 0 {
            return None;
        }
        Some(self.ranks[word] + (self.bits[word] & (mask - 1)).count_ones())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The buckets in the order of their rows.
    pub fn buckets(&self) -> impl Iterator<Item = u32> + '_ {
        self.bits.iter().enumerate().flat_map(|(index, &word)| {
            std::iter::successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)))
                .take_while(|rest| *rest != 0)
                .map(move |rest| index as u32 * 64 + rest.trailing_zeros())
        })
    }

    /// The index with only the rows for which `keep` holds, in the same order.
    #[must_use]
    pub fn retain(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept = self.buckets().enumerate().filter(|(row, _)| keep(*row));
        Self::new(kept.map(|(_, bucket)| bucket))
    }

    /// The compact form: gaps between neighbouring buckets as LEB128.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len * 5 / 4);
        let mut next = 0;
        for bucket in self.buckets() {
            let mut gap = bucket - next;
            while gap >= 0x80 {
                bytes.push(gap as u8 | 0x80);
                gap >>= 7;
            }
            bytes.push(gap as u8);
            next = bucket + 1;
        }
        bytes
    }

    /// Reads the compact form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IndexError> {
        let mut bits = vec![0u64; BUCKETS / 64];
        let (mut next, mut gap, mut shift, mut entry) = (0usize, 0usize, 0, 0);
        for &byte in bytes {
            gap |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 != 0 && shift < 28 {
                continue;
            }
            let bucket = next + gap;
            if bucket >= BUCKETS || byte & 0x80 != 0 {
                return Err(IndexError::OutOfRange { entry });
            }
            bits[bucket / 64] |= 1 << (bucket % 64);
            (next, gap, shift, entry) = (bucket + 1, 0, 0, entry + 1);
        }
        match shift {
            0 => Ok(Self::from_bits(bits)),
            _ => Err(IndexError::Truncated),
        }
    }

    fn from_bits(bits: Vec<u64>) -> Self {
        let mut ranks = Vec::with_capacity(bits.len());
        let mut len = 0;
        for word in &bits {
            ranks.push(len);
            len += word.count_ones();
        }
        Self { bits, ranks, len: len as usize }
    }
}
