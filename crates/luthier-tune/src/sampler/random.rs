//! Uniform sampling.

use luthier_space::Values;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::frame::{Frame, Point};
use super::lattice::Lattice;
use super::proposed::Proposed;
use super::{Request, Sampler};

/// Draws every dimension uniformly on its scale, the branch of a choice before what hangs on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

/// Draws that may repeat an earlier configuration before the rest is enumerated.
const ATTEMPTS: usize = 32;

impl Sampler for Random {
    fn suggest(&self, request: &Request<'_>) -> Option<Values> {
        let frame = Frame::new(request.space)?;
        let proposed = Proposed::new(&frame, request.trials, Lattice::all(&frame));
        draw_new(&frame, &proposed, &mut request.rng()).map(|point| frame.decode(&point))
    }
}

/// A random point that was not proposed before; `None` if none is left or found. An infinite space
/// with a finite branch may repeat a point of that branch, after some tries to avoid it.
pub(super) fn draw_new(
    frame: &Frame<'_>,
    proposed: &Proposed<'_>,
    rng: &mut ChaCha8Rng,
) -> Option<Point> {
    let left = proposed.left();
    if left == Some(0) {
        return None;
    }
    let mut repeated = None;
    for _ in 0..ATTEMPTS {
        match frame.draw(rng) {
            Some(point) if !proposed.excludes(&point) => return Some(point),
            Some(point) => repeated = Some(point),
            None => break,
        }
    }
    match left {
        Some(left) => proposed.nth_left(rng.random_range(0..left)),
        None => repeated.filter(|_| frame.is_infinite()),
    }
}
