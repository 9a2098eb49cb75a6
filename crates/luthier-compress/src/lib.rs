//! Makes a model smaller and faster.
//!
//! Start from [`search`]: it applies [`Recipe`]s, lists of [`Step`]s, to a model and asks a `judge`
//! what each result is worth; the smallest that the judge accepts is chosen, and every candidate
//! that was tried is reported. Steps map a [`Model`] to a [`Model`]; they know the shape of the
//! graph and nothing of files, metrics or learners.

mod codebook;
mod codes;
mod int8;
mod lengths;
mod prune;

use std::fmt;

use luthier_model::{Model, Preprocess};
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
    /// table of squared scales goes, decisions stay but where the bias weighs, and probabilities
    /// are to be calibrated afresh.
    EvenLengths,
    /// Stores n-gram tables, embeddings and large dense weights as 8-bit integers with one scale per column.
    Int8,
    /// Stores one byte per row of a binary linear model: a code for its weight and its square
    /// together, out of at most 256 pairs.
    Codes,
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
    /// Too few rows to tell by the score, but its probabilities hardly differ: as good as accepted.
    Alike,
    /// It is worse than allowed.
    Rejected,
    /// Too few rows to tell; no loss is seen.
    Undecidable,
}

impl Verdict {
    /// Whether the candidate may take the model's place.
    pub fn accepts(self) -> bool {
        matches!(self, Self::Accepted | Self::Alike)
    }
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

/// Shares of rows that may be kept, from gentle to harsh; as many as four rounds of bisection can
/// tell apart.
const SHARES: [f64; 15] =
    [0.8, 0.65, 0.5, 0.4, 0.32, 0.25, 0.2, 0.16, 0.125, 0.1, 0.075, 0.05, 0.03, 0.018, 0.01];

impl Recipe {
    /// Applies all steps. `usage` counts, for each row of the model's n-gram table, the training
    /// texts that the row takes part in.
    pub fn apply(&self, model: &Model, usage: &[u32]) -> Result<Model, CompressError> {
        let (mut model, mut usage) = (model.clone(), usage.to_vec());
        for step in &self.0 {
            model = match step {
                Step::PruneRows { keep } => {
                    let (pruned, left) = prune::prune_rows(&model, &usage, *keep)?;
                    usage = left;
                    pruned
                }
                Step::EvenLengths => lengths::drop_lengths(&model)?,
                Step::Int8 => int8::quantize(&model)?,
                Step::Codes => codes::encode(&model, &usage)?,
            };
        }
        Ok(model)
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
                Step::Codes => f.write_str("one-byte codes")?,
            }
        }
        Ok(())
    }
}

/// Looks for the smallest model that `judge` accepts. It tries, in this order:
///
/// 1. the model as trained, which the others are compared with;
/// 2. ways to store all rows: 8-bit integers, one-byte codes where the model has weights with
///    squares, and even lengths in 8-bit integers where it has lengths;
/// 3. where there is a table of n-gram rows, fewer rows, stored in the smallest way that was accepted, by bisection, since what is
///    rejected would be rejected with still fewer rows.
///
/// Those are 8 candidates for a binary linear model, 6 for one without lengths and 2 for one without
/// n-grams. Where nothing is
/// accepted, the smallest whose loss cannot be decided and is not seen takes its place. Where there
/// is none of those either, part 3 stores rows as codes if it can, as 8-bit integers if not, and in
/// the end the model stays as it is. `judge` gets the recipe and the model that it gives; `usage`
/// is as for [`Recipe::apply`].
pub fn search(
    model: &Model,
    usage: &[u32],
    judge: &mut dyn FnMut(&Recipe, &Model) -> Result<Judgement, String>,
) -> Result<Found, CompressError> {
    let mut search = Search { model, usage, judge, candidates: Vec::new() };
    search.judged(Recipe::default())?;
    let has_ngrams = matches!(model.preprocess, Preprocess::NgramText(_));
    let mut stored = vec![Step::Int8];
    if int8::applies(model) {
        search.judged(Recipe(stored.clone()))?;
    }
    if has_ngrams && codes::has_columns(&model.graph) {
        stored = vec![Step::Codes];
        search.judged(Recipe(stored.clone()))?;
    }
    if has_ngrams && lengths::has_lengths(&model.graph) {
        search.judged(Recipe(vec![Step::EvenLengths, Step::Int8]))?;
    }
    if let Some(best) = search.best() {
        stored.clone_from(&search.candidates[best].recipe.0);
    }
    let (mut gentle, mut harsh) = (0, if has_ngrams { SHARES.len() } else { 0 });
    while gentle < harsh {
        let middle = gentle.midpoint(harsh);
        let mut steps = stored.clone();
        steps.insert(stored.len() - 1, Step::PruneRows { keep: SHARES[middle] });
        match search.judged(Recipe(steps))? {
            verdict if verdict.accepts() => gentle = middle + 1,
            Verdict::Undecidable if !search.proven() => gentle = middle + 1,
            _ => harsh = middle,
        }
    }
    let chosen = search.best().unwrap_or(0);
    let candidates = search.candidates;
    let model = candidates[chosen].recipe.apply(model, usage)?;
    Ok(Found { candidates, chosen, model })
}

struct Search<'a> {
    model: &'a Model,
    usage: &'a [u32],
    judge: &'a mut dyn FnMut(&Recipe, &Model) -> Result<Judgement, String>,
    candidates: Vec<Candidate>,
}

impl Search<'_> {
    /// Applies a recipe and has the result judged.
    fn judged(&mut self, recipe: Recipe) -> Result<Verdict, CompressError> {
        let changed = recipe.apply(self.model, self.usage)?;
        let judgement = (self.judge)(&recipe, &changed)
            .map_err(|reason| CompressError::Judge { recipe: recipe.to_string(), reason })?;
        let verdict = judgement.verdict;
        self.candidates.push(Candidate { recipe, judgement });
        Ok(verdict)
    }

    /// The candidates with a wanted verdict, but for the model as trained, with their positions.
    fn of(&self, wanted: fn(Verdict) -> bool) -> impl Iterator<Item = (usize, &Candidate)> {
        let changed = self.candidates.iter().enumerate().skip(1);
        changed.filter(move |(_, candidate)| wanted(candidate.judgement.verdict))
    }

    /// Whether any change was accepted.
    fn proven(&self) -> bool {
        self.of(Verdict::accepts).next().is_some()
    }

    /// The smallest candidate that was accepted, or else whose loss cannot be decided.
    fn best(&self) -> Option<usize> {
        let smallest = |wanted: fn(Verdict) -> bool| {
            self.of(wanted).min_by_key(|(_, candidate)| candidate.judgement.size_bytes)
        };
        let undecidable = |verdict| verdict == Verdict::Undecidable;
        let best = smallest(Verdict::accepts).or_else(|| smallest(undecidable));
        best.map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests;
