//! What has been proposed already, and what is left.

use luthier_space::Values;

use super::frame::{Frame, Point};
use super::lattice::Lattice;
use super::points::Points;
use crate::Trial;

/// The configurations of earlier trials, whatever became of them.
pub(super) struct Proposed<'a> {
    frame: &'a Frame<'a>,
    trials: &'a [Trial],
    /// In a finite space: its lattice and the numbers of the proposed configurations, ascending.
    finite: Option<(Lattice<'a>, Vec<u64>)>,
}

impl<'a> Proposed<'a> {
    /// With the lattice of the space, or of the part of it that is searched; `None` if it is
    /// infinite.
    pub(super) fn new(
        frame: &'a Frame<'a>,
        trials: &'a [Trial],
        lattice: Option<Lattice<'a>>,
    ) -> Self {
        let finite = lattice.map(|lattice| {
            let points = Points::of(frame, trials.iter().map(|trial| &trial.values));
            let points = points.iter().flatten();
            let mut ranks: Vec<u64> = points.filter_map(|point| lattice.rank(point)).collect();
            ranks.sort_unstable();
            ranks.dedup();
            (lattice, ranks)
        });
        Self { frame, trials, finite }
    }

    /// Number of configurations left; `None` if there is no end to them.
    pub(super) fn left(&self) -> Option<u64> {
        self.finite.as_ref().map(|(lattice, ranks)| lattice.size() - ranks.len() as u64)
    }

    /// The `index`-th of the configurations left, of which there are [`Proposed::left`].
    pub(super) fn nth_left(&self, index: u64) -> Option<Point> {
        let (lattice, ranks) = self.finite.as_ref()?;
        // Every proposed configuration at or below the answer pushes it up by one.
        let rank = ranks.iter().fold(index, |rank, &taken| rank + u64::from(taken <= rank));
        (rank < lattice.size()).then(|| lattice.point(rank))
    }

    /// The configuration with this number on the lattice, unless it was proposed.
    pub(super) fn at_rank(&self, rank: u64) -> Option<Point> {
        let (lattice, ranks) = self.finite.as_ref()?;
        ranks.binary_search(&rank).is_err().then(|| lattice.point(rank))
    }

    /// Whether a point is not to be proposed: it was already, or it breaks a constraint.
    pub(super) fn excludes(&self, point: &[f64]) -> bool {
        if !self.frame.allows(point) {
            return true;
        }
        match &self.finite {
            Some((lattice, ranks)) => {
                lattice.rank(point).is_some_and(|rank| ranks.binary_search(&rank).is_ok())
            }
            // No two draws from a continuous range are the same.
            None if self.frame.is_continuous(point) => false,
            None => {
                let values: Values = self.frame.decode(point);
                self.trials.iter().any(|trial| trial.values == values)
            }
        }
    }
}
