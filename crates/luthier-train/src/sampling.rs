//! Randomness of training.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A shuffled order of the rows of chunk `chunk` in one epoch; it depends on seed, epoch and chunk
/// alone.
pub(crate) fn shuffled(rows: usize, seed: u64, epoch: u64, chunk: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    let mut generator = generator(seed, epoch);
    generator.set_word_pos(chunk as u128 * WORDS_PER_CHUNK);
    order.shuffle(&mut generator);
    order
}

/// Words of a generator's stream that each chunk has to itself.
const WORDS_PER_CHUNK: u128 = 1 << 40;

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
