//! Exhaustive search on a grid.

use luthier_space::Values;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::frame::Frame;
use super::lattice::Lattice;
use super::proposed::Proposed;
use super::random::draw_new;
use super::{Request, Sampler};

/// Every combination once, branches of choices included, in an order shuffled by the study's seed.
///
/// Ranges that are continuous, or logarithmic and longer than that, contribute `points_per_float`
/// evenly spaced points on their scale, ends included; all other dimensions contribute all their
/// values. A grid of more than 2⁶⁴ points is sampled at random instead. Points that break a constraint
/// are left out; of a grid that is not searched through for them in advance, because it has more than
/// about 16,384 points, 65,536 are looked at for each proposal.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// Points on a continuous range, from 1 (in the middle) to 65,536.
    pub points_per_float: u64,
}

impl Default for Grid {
    fn default() -> Self {
        Self { points_per_float: 5 }
    }
}

/// Places that are looked at for one that keeps the constraints, beside those that are taken.
const LOOKED_AT: usize = 1 << 16;

impl Sampler for Grid {
    fn suggest(&self, request: &Request<'_>) -> Option<Values> {
        let frame = Frame::new(request.space)?;
        let Some(lattice) = Lattice::grid(&frame, self.points_per_float.clamp(1, 1 << 16)) else {
            let proposed = Proposed::new(&frame, request.trials, None);
            return draw_new(&frame, &proposed, &mut request.rng()).map(|p| frame.decode(&p));
        };
        let size = lattice.size();
        let proposed = Proposed::new(&frame, request.trials, Some(lattice));
        if proposed.left() == Some(0) {
            return None;
        }
        let order = Shuffle::new(size, request.seed);
        // Trials from another sampler may have taken places, so the search goes on from the trial's
        // own place and round to it again; one is free.
        let start = request.number % size;
        let looked_at = (start..size).chain(0..start).take(LOOKED_AT + request.trials.len());
        let mut free = looked_at.filter_map(|place| proposed.at_rank(order.at(place)));
        free.find(|point| frame.allows(point)).map(|point| frame.decode(&point))
    }
}

/// A permutation of the integers below `size`, computed entry by entry: a Feistel network on the
/// next even number of bits, walked until it lands below `size` (at most four steps on average).
struct Shuffle {
    size: u64,
    half: u32,
    keys: [u64; 4],
}

impl Shuffle {
    fn new(size: u64, seed: u64) -> Self {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self { size, half: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| rng.next_u64()) }
    }

    fn at(&self, place: u64) -> u64 {
        let mut image = self.network(place);
        while image >= self.size {
            image = self.network(image);
        }
        image
    }

    fn network(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (x >> self.half, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half) | right
    }
}

/// The finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
