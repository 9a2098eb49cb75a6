//! Isotonic regression of a class on its probability.

use serde::{Deserialize, Serialize};

use crate::EvalError;

/// Scores nearer to each other count as equal, as in scikit-learn.
const RESOLUTION: f64 = 1e-15;

/// A function from scores to probabilities that never falls: points that are joined by straight
/// lines, and go on level at both ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<(f64, f64)>", try_from = "Vec<(f64, f64)>")]
pub struct IsotonicTable {
    /// Score and probability, by ascending score; at least one.
    points: Vec<(f64, f64)>,
}

impl IsotonicTable {
    /// The function nearest in squared distance to `rows`, at least one, each a score and whether
    /// it is of the class, by pooling adjacent violators (Ayer et al. 1955). It is scikit-learn's
    /// `IsotonicRegression(out_of_bounds="clip")`, kept 1 / (rows + 2) away from 0 and 1: what none
    /// or all of so many rows allow to say (Laplace's rule of succession).
    pub(crate) fn fit(mut rows: Vec<(f64, bool)>) -> Self {
        rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let least = 1.0 / (rows.len() as f64 + 2.0);
        let mut points = Vec::new();
        for block in blocks(&rows) {
            let probability = block.share().clamp(least, 1.0 - least);
            points.extend(block.scores.into_iter().map(|score| (score, probability)));
        }
        Self { points: corners(&points) }
    }

    /// The probability for a score.
    pub fn probability(&self, score: f64) -> f64 {
        let next = self.points.partition_point(|(at, _)| *at < score);
        match (
            next.checked_sub(1).and_then(|before| self.points.get(before)),
            self.points.get(next),
        ) {
            (Some(before), Some(after)) => {
                let slope = (after.1 - before.1) / (after.0 - before.0);
                before.1 + slope * (score - before.0)
            }
            (Some(end), None) | (None, Some(end)) => end.1,
            (None, None) => score,
        }
    }

    /// Scores with their probabilities, by ascending score.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }
}

/// Neighbouring rows of one level.
struct Block {
    /// Those that differ.
    scores: Vec<f64>,
    hits: f64,
    rows: f64,
}

impl Block {
    fn share(&self) -> f64 {
        self.hits / self.rows
    }
}

/// Blocks whose shares rise; rows of equal score share one.
fn blocks(rows: &[(f64, bool)]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut left = rows;
    while let Some(&(score, _)) = left.first() {
        let equal = left.partition_point(|(other, _)| other - score < RESOLUTION).max(1);
        let hits = left[..equal].iter().filter(|(_, hit)| *hit).count() as f64;
        let mut block = Block { scores: vec![score], hits, rows: equal as f64 };
        while let Some(mut before) = blocks.pop_if(|before| before.share() >= block.share()) {
            before.scores.append(&mut block.scores);
            before.hits += block.hits;
            before.rows += block.rows;
            block = before;
        }
        blocks.push(block);
        left = &left[equal..];
    }
    blocks
}

/// Without the points on a level between two others.
fn corners(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let level = |other: Option<&(f64, f64)>, probability: f64| {
        other.is_some_and(|other| other.1 == probability)
    };
    let kept = points.iter().enumerate().filter(|(index, point)| {
        let before = index.checked_sub(1).and_then(|before| points.get(before));
        !(level(before, point.1) && level(points.get(index + 1), point.1))
    });
    kept.map(|(_, point)| *point).collect()
}

impl From<IsotonicTable> for Vec<(f64, f64)> {
    fn from(table: IsotonicTable) -> Self {
        table.points
    }
}

impl TryFrom<Vec<(f64, f64)>> for IsotonicTable {
    type Error = EvalError;

    fn try_from(points: Vec<(f64, f64)>) -> Result<Self, EvalError> {
        let sensible = |(score, probability): &(f64, f64)| {
            score.is_finite() && (0.0..=1.0).contains(probability)
        };
        let rises = points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let fits = !points.is_empty() && points.iter().all(sensible) && rises;
        if fits { Ok(Self { points }) } else { Err(EvalError::Isotonic) }
    }
}
