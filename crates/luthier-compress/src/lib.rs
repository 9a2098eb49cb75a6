//! Makes a model smaller and faster.
//!
//! Start from [`search`]: it applies [`Recipe`]s, lists of [`Step`]s, to a model and asks a `judge`
//! what each result is worth; the smallest that the judge accepts is chosen, and every candidate
//! that was tried is reported. Steps map a [`Model`] to a [`Model`]; they know the shape of the
//! graph and nothing of files, metrics or learners.

mod int8;
mod lengths;
mod prune;

use std::fmt;

use luthier_model::Model;
use serde::{Deserialize, Serialize};

/// What to do to a model, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recipe(pub Vec<Step>);

/// One change of a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Keeps the share `keep` (0 to 1) of the n-gram rows that move answers most, and remaps the
    /// feature index: rows of small weights and of n-grams that are rare go first.
    PruneRows {
        /// Share of rows to keep.
        keep: f64,
    },
    /// Leaves out the lengths of the texts' feature vectors, which a linear model divides by: the
    /// table of squared scales goes, decisions stay but where the bias weighs, and probabilities are
    /// to be calibrated afresh.
    EvenLengths,
    /// Stores n-gram tables and large dense weights as 8-bit integers with one scale per column.
    Int8,
}

/// Why a step cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    /// The graph has no part that the step works on.
    #[error("step `{step}` finds no {what} in the graph")]
    NotFound {
        /// The step.
        step: &'static str,
        /// What it looks for.
        what: &'static str,
    },
    /// The share of rows is not above 0 and at most 1.
    #[error("the share of rows to keep must be above 0 and at most 1")]
    Share,
    /// There is not one usage count per row.
    #[error("{found} usage counts for {rows} rows")]
    Usage {
        /// Counts given.
        found: usize,
        /// Rows of the table.
        rows: usize,
    },
    /// The judge failed.
    #[error("judging `{recipe}` failed: {reason}")]
    Judge {
        /// The recipe.
        recipe: String,
        /// Why.
        reason: String,
    },
}

/// What a judge says of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Bytes of the whole bundle.
    pub size_bytes: u64,
    /// Median time of one row, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of the time of one row, milliseconds.
    pub p99_ms: f64,
    /// Score on the judging rows.
    pub score: f64,
    /// Score minus that of the uncompressed model; positive is better.
    pub difference: f64,
    /// One-sided 95 % bound of the difference.
    pub lower_bound: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// Whether a candidate may replace the model that it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is no worse than allowed.
    Accepted,
    /// It is worse than allowed.
    Rejected,
    /// Too few rows to tell; no loss is seen.
    Undecidable,
}

/// A recipe with its judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What was done.
    pub recipe: Recipe,
    /// What it is worth.
    pub judgement: Judgement,
}

/// The result of a search.
#[derive(Debug, Clone)]
pub struct Found {
    /// All candidates in the order in which they were tried; the first is the model as it was.
    pub candidates: Vec<Candidate>,
    /// Position of the chosen one.
    pub chosen: usize,
    /// The chosen model.
    pub model: Model,
}

/// Shares of rows that may be kept, from gentle to harsh.
const SHARES: [f64; 19] = [
    0.8, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25, 0.21, 0.18, 0.15, 0.12, 0.1, 0.08, 0.055, 0.035,
    0.025, 0.015, 0.01,
];

impl Recipe {
    /// Applies all steps. `usage` counts, for each row of the model's n-gram table, the training
    /// texts that the row takes part in.
    pub fn apply(&self, model: &Model, usage: &[u32]) -> Result<Model, CompressError> {
        self.0.iter().try_fold(model.clone(), |model, step| match step {
            Step::PruneRows { keep } => prune::prune_rows(&model, usage, *keep),
            Step::EvenLengths => lengths::drop_lengths(&model),
            Step::Int8 => int8::quantize(&model),
        })
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("as trained");
        }
        for (index, step) in self.0.iter().enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            match step {
                Step::PruneRows { keep } => write!(f, "{}% of rows", (keep * 1e4).round() / 100.0)?,
                Step::EvenLengths => f.write_str("even lengths")?,
                Step::Int8 => f.write_str("int8")?,
            }
        }
        Ok(())
    }
}

/// Looks for the smallest model that `judge` accepts: 8-bit integers first, then even lengths where
/// the model has lengths, then fewer rows on top of what was accepted, by bisection, since what is rejected would be rejected with still fewer rows. Where nothing
/// is accepted, the smallest whose loss cannot be decided and is not seen is taken, and where there
/// is none of those, the model stays as it is. `judge` gets the recipe and the model that it gives;
/// `usage` is as for [`Recipe::apply`].
pub fn search(
    model: &Model,
    usage: &[u32],
    judge: &mut dyn FnMut(&Recipe, &Model) -> Result<Judgement, String>,
) -> Result<Found, CompressError> {
    let mut candidates = Vec::new();
    let mut judged = |recipe: Recipe| {
        let changed = recipe.apply(model, usage)?;
        let judgement = judge(&recipe, &changed)
            .map_err(|reason| CompressError::Judge { recipe: recipe.to_string(), reason })?;
        let verdict = judgement.verdict;
        candidates.push(Candidate { recipe, judgement });
        Ok::<_, CompressError>(verdict)
    };
    judged(Recipe::default())?;
    let mut proven = judged(Recipe(vec![Step::Int8]))? == Verdict::Accepted;
    let mut before = Vec::new();
    if lengths::has_lengths(&model.graph) {
        let verdict = judged(Recipe(vec![Step::EvenLengths, Step::Int8]))?;
        let fine = verdict == Verdict::Accepted || (verdict == Verdict::Undecidable && !proven);
        before.extend(fine.then_some(Step::EvenLengths));
        proven |= verdict == Verdict::Accepted;
    }
    let (mut gentle, mut harsh) = (0, SHARES.len());
    while gentle < harsh {
        let middle = gentle.midpoint(harsh);
        let more = [Step::PruneRows { keep: SHARES[middle] }, Step::Int8];
        let verdict = judged(Recipe([before.as_slice(), &more].concat()))?;
        proven |= verdict == Verdict::Accepted;
        match verdict {
            Verdict::Accepted => gentle = middle + 1,
            Verdict::Undecidable if !proven => gentle = middle + 1,
            _ => harsh = middle,
        }
    }
    let smallest = |wanted: Verdict| {
        let worthy = candidates.iter().enumerate().skip(1);
        worthy
            .filter(|(_, candidate)| candidate.judgement.verdict == wanted)
            .min_by_key(|(_, candidate)| candidate.judgement.size_bytes)
            .map(|(index, _)| index)
    };
    let chosen =
        smallest(Verdict::Accepted).or_else(|| smallest(Verdict::Undecidable)).unwrap_or(0);
    let model = candidates[chosen].recipe.apply(model, usage)?;
    Ok(Found { candidates, chosen, model })
}

#[cfg(test)]
mod tests;
