//! From hash buckets to rows of a table.

mod bits;

use std::fmt;

use bits::{BitReader, BitWriter};

use crate::{Group, HASH_BITS};

const BUCKETS: usize = 1 << HASH_BITS;
/// Buckets of a [`Group`].
const GROUP_BUCKETS: u32 = (BUCKETS / Group::COUNT) as u32;
/// Words of [`FeatureIndex::bits`] that a group takes.
const GROUP_WORDS: usize = GROUP_BUCKETS as usize / 64;

/// An ordered set of hash buckets; the position of a bucket in that order is its row.
///
/// Held as one bit per possible bucket with a running count for every 64 of them, so that a look-up
/// reads two words and counts the bits of one, whatever the number of features (3 MB per model at
/// 24 bits). Stored, models of 20 to 350 thousand features take 1.3 to 0.8 bytes for each; a random
/// set of a thousand features or more takes within 5 % of its entropy as long as at most 4 buckets
/// in 10 are set, and no set takes more than 1.1 bits per bucket.
///
/// # Stored form
///
/// A string of bits that fill each byte from its most significant one down; the last byte is
/// filled up with 0. It holds the groups in order, each with the 2^21 buckets of
/// [`Group::buckets`]:
///
/// 1. `n`, the number of features in the group, as the Elias gamma code (1975) of `n + 1`: one 0
///    less than that number has binary digits, then its digits, the first of which is 1.
/// 2. For each feature, in ascending order, the number `g` of buckets left out since the one before
///    (for the first, since the start of the group) as a Rice code (Golomb 1966, Rice 1979):
///    `g >> k` times 0, a 1, then the lower `k` bits of `g`, the most significant first.
///
/// The hash spreads features evenly within a group, so gaps are geometrically distributed: a share
/// of `q^m`, `q = 1 - n / 2^21`, is at least `m`. A bit more for the remainder then saves
/// `Q / (1 - Q²)` bits of the quotient, `Q = q^(2^k)`, so `k` is the smallest that makes `Q` at
/// most 0.618, the golden ratio less one (Kiely 2004). It is found by squaring `q` in IEEE 754
/// double precision.
///
/// As `k` follows from `n` and every number has one code, each index has one stored form, and
/// every other string of bytes is refused. Features that lie unevenly within a group take at most
/// `k + 3.1` bits each.
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
    /// A group has more features than buckets.
    #[error("the feature index has more features in group {group} than there are buckets")]
    Count {
        /// Its position among the groups, from 0.
        group: usize,
    },
    /// An entry leads past the last bucket of its group.
    #[error("entry {entry} of the feature index lies outside the hash range of its group")]
    OutOfRange {
        /// Its position, from 0.
        entry: usize,
    },
    /// Bytes follow the last entry, or bits other than 0 fill up the last byte.
    #[error("the feature index goes on after its last entry")]
    Trailing,
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
        positions(&self.bits)
    }

    /// The index with only the rows for which `keep` holds, in the same order.
    #[must_use]
    pub fn retain(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept = self.buckets().enumerate().filter(|(row, _)| keep(*row));
        Self::new(kept.map(|(_, bucket)| bucket))
    }

    /// The stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = BitWriter::default();
        for words in self.bits.chunks(GROUP_WORDS) {
            let count = words.iter().map(|word| word.count_ones()).sum();
            writer.gamma(count + 1);
            let k = rice_parameter(count);
            let mut next = 0;
            for position in positions(words) {
                writer.rice(position - next, k);
                next = position + 1;
            }
        }
        writer.finish()
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IndexError> {
        let mut bits = vec![0; BUCKETS / 64];
        let mut reader = BitReader::new(bytes);
        let mut entries = 0;
        for (group, words) in bits.chunks_mut(GROUP_WORDS).enumerate() {
            let count = reader.gamma(GROUP_BUCKETS + 1).ok_or(IndexError::Truncated)? - 1;
            if count > GROUP_BUCKETS {
                return Err(IndexError::Count { group });
            }
            let k = rice_parameter(count);
            let mut next = 0;
            for entry in entries..entries + count as usize {
                let gap = reader.rice(k, GROUP_BUCKETS).ok_or(IndexError::Truncated)?;
                let position = next + gap;
                if position >= GROUP_BUCKETS {
                    return Err(IndexError::OutOfRange { entry });
                }
                words[position as usize / 64] |= 1 << (position % 64);
                next = position + 1;
            }
            entries += count as usize;
        }
        if !reader.is_finished() {
            return Err(IndexError::Trailing);
        }
        Ok(Self::from_bits(bits))
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

/// The positions of set bits, ascending.
fn positions(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    words.iter().enumerate().flat_map(|(index, &word)| {
        std::iter::successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)))
            .take_while(|rest| *rest != 0)
            .map(move |rest| index as u32 * 64 + rest.trailing_zeros())
    })
}

/// The parameter `k` of the Rice codes for the gaps of a group of `count` features.
fn rice_parameter(count: u32) -> u32 {
    let mut share = 1.0 - f64::from(count) / f64::from(GROUP_BUCKETS);
    let mut k = 0;
    // The bound is for an empty group, which has no gaps.
    while share > 0.618 && k < GROUP_BUCKETS.ilog2() {
        share *= share;
        k += 1;
    }
    k
}
