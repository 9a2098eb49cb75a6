//! Quasi-random sampling.

use luthier_space::Values;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::frame::{Frame, Point};
use super::lattice::Lattice;
use super::proposed::Proposed;
use super::random::draw_new;
use super::{Request, Sampler};

/// The scrambled Sobol sequence (Owen 1998, by the hash of Burley 2020): fills a space more evenly
/// than random draws, whose clumps and holes it does not have. Trial *n* gets element *n*, so that
/// several workers need not wait for each other; where that one is taken or breaks a constraint, it
/// gets the same element of another scrambling.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sobol;

/// Scramblings that are looked through for a configuration that is new.
const ATTEMPTS: u32 = 32;
/// Dimensions that the sequence has.
const DIMENSIONS: usize = sobol_burley::NUM_DIMENSIONS as usize;
/// Elements that one scrambling has.
const ELEMENTS: u32 = 1 << 16;

impl Sampler for Sobol {
    fn suggest(&self, request: &Request<'_>) -> Option<Values> {
        let frame = Frame::new(request.space)?;
        let proposed = Proposed::new(&frame, request.trials, Lattice::all(&frame));
        let mut rng = request.rng();
        let point = next_new(&frame, &proposed, request, &mut rng)?;
        Some(frame.decode(&point))
    }
}

/// The element that belongs to the trial in the first scrambling in which it was not proposed before;
/// `None` if nothing is left.
pub(super) fn next_new(
    frame: &Frame<'_>,
    proposed: &Proposed<'_>,
    request: &Request<'_>,
    rng: &mut ChaCha8Rng,
) -> Option<Point> {
    if proposed.left() == Some(0) {
        return None;
    }
    let mut elements = (0..ATTEMPTS).map(|attempt| {
        let sequence = Sequence::new(request.seed.wrapping_add(u64::from(attempt) << 16));
        sequence.point(frame, request.number as u32, rng)
    });
    match elements.find(|point| !proposed.excludes(point)) {
        Some(point) => Some(point),
        None => draw_new(frame, proposed, rng),
    }
}

/// One scrambling of the sequence.
pub(super) struct Sequence {
    scramble: u32,
}

impl Sequence {
    pub(super) fn new(seed: u64) -> Self {
        Self { scramble: (seed ^ (seed >> 32)) as u32 }
    }

    /// Element `index`; dimensions beyond those of the sequence are drawn.
    pub(super) fn point(&self, frame: &Frame<'_>, index: u32, rng: &mut ChaCha8Rng) -> Point {
        let (index, scramble) = (index % ELEMENTS, self.scramble.wrapping_add(index / ELEMENTS));
        let point = frame.walk(|dimension, axis| {
            let share = if dimension < DIMENSIONS {
                f64::from(sobol_burley::sample(index, dimension as u32, scramble))
            } else {
                rng.random()
            };
            Some(axis.at_share(share))
        });
        point.unwrap_or_default()
    }
}
