//! Numbers that have nothing to do with their neighbours'.

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014), a permutation in which 0 stays 0.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
