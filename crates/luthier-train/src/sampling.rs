//! Randomness of training.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The order of rows in one epoch: a shuffle that depends on seed and epoch alone.
pub(crate) fn shuffled(order: &mut [u32], seed: u64, epoch: u64) {
    order.sort_unstable();
    order.shuffle(&mut generator(seed, epoch));
}

/// The generator of one epoch; epoch 0 is for initial weights.
pub(crate) fn generator(seed: u64, epoch: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(epoch);
    generator
}

/// A number uniform in `[-1, 1)`.
pub(crate) fn symmetric(generator: &mut ChaCha8Rng) -> f32 {
    (generator.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
}
