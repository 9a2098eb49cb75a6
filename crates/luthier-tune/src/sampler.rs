//! Where to look next.

mod around;
mod auto;
mod axis;
mod cma_es;
mod frame;
mod gp;
mod grid;
mod history;
mod lattice;
mod linear_algebra;
mod lists;
pub(crate) mod normal;
mod nsga2;
mod parzen;
mod points;
mod proposed;
mod random;
mod sobol;
mod tpe;

use luthier_space::{Distribution, Space, Value, Values};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::mix::mix;
use crate::{Direction, Trial, UnknownName};
use axis::Axis;

pub use around::around_best;
pub use auto::Auto;
pub use cma_es::CmaEs;
pub use gp::Gp;
pub use grid::Grid;
pub use nsga2::Nsga2;
pub use random::Random;
pub use sobol::Sobol;
pub use tpe::Tpe;

/// Proposes configurations.
///
/// Implementations keep no state: the answer follows from the request alone, and the same request
/// gets the same answer. They may be called from several threads and never fail.
///
/// Proposed values have exactly the active dimensions of the space ([`Space::check`] holds). In a
/// finite space no configuration among the request's trials is proposed again, whatever became of
/// it.
pub trait Sampler: Send + Sync {
    /// The configuration for trial `request.number`; `None` when the space has none left. A space
    /// with a faulty distribution has none. Which configurations keep the constraints of a space is
    /// known exactly where some 16,000 values of single dimensions tell it; otherwise there are none
    /// left if a bounded search finds none.
    fn suggest(&self, request: &Request<'_>) -> Option<Values>;
}

/// What a [`Sampler`] may base its proposal on.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Where to search.
    pub space: &'a Space,
    /// Which scores are better, one for each objective; at least one.
    pub directions: &'a [Direction],
    /// The trials so far, by ascending number. Running ones are pending: their values are taken,
    /// their scores not known.
    pub trials: &'a [Trial],
    /// Number of the trial that the proposal is for.
    pub number: u64,
    /// Seed of the study.
    pub seed: u64,
}

impl Request<'_> {
    fn rng(&self) -> ChaCha8Rng {
        trial_rng(self.seed, self.number)
    }
}

/// A generator of its own for each pair of a study's seed and a trial's number.
fn trial_rng(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// The seed with which trial `number` of a study is to be evaluated. It has nothing to do with the
/// numbers that its configuration was drawn from.
pub fn trial_seed(seed: u64, number: u64) -> u64 {
    let mut rng = trial_rng(seed, number);
    // Far behind anything that a sampler draws.
    rng.set_word_pos(1 << 40);
    rng.next_u64()
}

/// A value for one parameter of trial `number`, uniform on its scale, whatever else is known; `None` if
/// the distribution is faulty. It follows from the study's seed, the number and the name.
pub fn draw(name: &str, distribution: &Distribution, seed: u64, number: u64) -> Option<Value> {
    if distribution.fault().is_some() {
        return None;
    }
    let named = name.bytes().fold(seed, |hash, byte| mix(hash.rotate_left(8) ^ u64::from(byte)));
    let axis = Axis::of(distribution);
    let coordinate = axis.draw(&mut trial_rng(named, number));
    Some(axis.value(coordinate).into_owned())
}

/// The names that [`sampler_by_name`] knows.
pub const SAMPLERS: &[&str] = &["auto", "tpe", "gp", "cma-es", "nsga2", "sobol", "random", "grid"];

/// The sampler of that name, with its default settings.
pub fn sampler_by_name(name: &str) -> Result<Box<dyn Sampler>, UnknownName> {
    match name {
        "auto" => Ok(Box::new(Auto)),
        "tpe" => Ok(Box::new(Tpe::default())),
        "gp" => Ok(Box::new(Gp::default())),
        "cma-es" => Ok(Box::new(CmaEs::default())),
        "nsga2" => Ok(Box::new(Nsga2::default())),
        "sobol" => Ok(Box::new(Sobol)),
        "random" => Ok(Box::new(Random)),
        "grid" => Ok(Box::new(Grid::default())),
        _ => Err(UnknownName::new("sampler", name, SAMPLERS)),
    }
}

#[cfg(test)]
mod tests;
