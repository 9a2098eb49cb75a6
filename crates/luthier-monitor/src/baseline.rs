//! What texts and answers were like when a model was finished.

use serde::{Deserialize, Serialize};

/// Number of the stored form that this release writes; it refuses higher ones.
const FORMAT: u32 = 1;
/// Most bins of a histogram. The noise of the index grows with their number, so every feature has
/// about as many, and one threshold fits all.
pub(crate) const MAX_BINS: usize = 10;

/// One row that a model answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Length of the text in characters (Unicode scalar values).
    pub characters: u32,
    /// Share of the text's n-grams that the model has no row for, 0 to 1; 0 where it has none.
    pub unknown_share: f64,
    /// The class that was predicted.
    pub predicted: u32,
}

/// What is watched for drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// [`Observation::characters`].
    TextLength,
    /// `Observation::unknown_share`.
    UnknownShare,
    /// [`Observation::predicted`].
    PredictedClass,
}

/// Histograms of rows that the model had not been trained on, answered by the finished model. It
/// travels in the bundle as [`Baseline::DOCUMENT`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    format: u32,
    /// Number of rows, at least 1.
    rows: u64,
    text_length: Deciles,
    unknown_share: Deciles,
    /// How often each class was predicted, in the order of the model's labels.
    predicted_classes: Vec<u64>,
}

/// A histogram whose bins are the tenths of its own values.
///
/// Bin *i* holds the values above edge *i − 1* up to and including edge *i*; the last holds those
/// above all edges. The edges are the deciles (each the smallest value such that at least so many
/// tenths of the rows are no larger). A value that several deciles share gets a bin of its own, by an
/// edge just below it: otherwise values that come to lie below it would go unseen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Deciles {
    /// Strictly ascending, at most 9.
    edges: Vec<f64>,
    /// Rows of each bin, one more than edges.
    counts: Vec<u64>,
}

/// Why bytes are no baseline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// They are not the JSON of one.
    #[error("it cannot be read: {0}")]
    Json(String),
    /// It was written by a newer release.
    #[error("its format is {found}; this release reads up to {FORMAT}")]
    Newer {
        /// The format found.
        found: u32,
    },
    /// A histogram contradicts itself or the number of rows.
    #[error("`{field}` is no histogram of its rows")]
    Histogram {
        /// The field.
        field: &'static str,
    },
}

impl Observation {
    /// The unknown share as a number between 0 and 1, whatever was given.
    fn unknown_share(&self) -> f64 {
        if self.unknown_share.is_nan() { 0.0 } else { self.unknown_share.clamp(0.0, 1.0) }
    }
}

impl Feature {
    /// Every feature, in the order in which their values are kept.
    pub const ALL: [Self; 3] = [Self::TextLength, Self::UnknownShare, Self::PredictedClass];

    /// Name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextLength => "text_length",
            Self::UnknownShare => "unknown_share",
            Self::PredictedClass => "predicted_class",
        }
    }
}

impl Baseline {
    /// Name of the document in a bundle.
    pub const DOCUMENT: &'static str = "baseline.json";

    /// The baseline of `rows`, which a model of `classes` classes answered; `None` without rows. A
    /// row with another class than those is left out.
    pub fn new(classes: usize, rows: &[Observation]) -> Option<Self> {
        let mut predicted_classes = vec![0; classes];
        let (mut lengths, mut shares) = (Vec::new(), Vec::new());
        for row in rows {
            let Some(count) = predicted_classes.get_mut(row.predicted as usize) else { continue };
            *count += 1;
            lengths.push(f64::from(row.characters));
            shares.push(row.unknown_share());
        }
        (!lengths.is_empty()).then(|| Self {
            format: FORMAT,
            rows: lengths.len() as u64,
            text_length: Deciles::of(lengths),
            unknown_share: Deciles::of(shares),
            predicted_classes,
        })
    }

    /// Number of rows, at least 1.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Number of the model's classes.
    pub fn classes(&self) -> usize {
        self.predicted_classes.len()
    }

    /// The stored form; equal baselines give equal bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Numbers and lists do not fail to be written.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// Reads and checks the stored form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BaselineError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let unreadable = |error: serde_json::Error| BaselineError::Json(error.to_string());
        let Head { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format > FORMAT {
            return Err(BaselineError::Newer { found: format });
        }
        let baseline: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        let Self { rows, text_length, unknown_share, predicted_classes, .. } = &baseline;
        let wrong = |field| Err(BaselineError::Histogram { field });
        if !text_length.is_of(*rows) {
            return wrong("text_length");
        }
        if !unknown_share.is_of(*rows) {
            return wrong("unknown_share");
        }
        match sum(predicted_classes) == Some(*rows) && *rows > 0 {
            true => Ok(baseline),
            false => wrong("predicted_classes"),
        }
    }

    pub(crate) fn bins(&self) -> Bins {
        let classes = class_bins(&self.predicted_classes);
        let mut counts = [[0; MAX_BINS]; Feature::ALL.len()];
        let [lengths, shares, predicted] = &mut counts;
        lengths[..self.text_length.counts.len()].copy_from_slice(&self.text_length.counts);
        shares[..self.unknown_share.counts.len()].copy_from_slice(&self.unknown_share.counts);
        for (bin, count) in classes.iter().zip(&self.predicted_classes) {
            predicted[usize::from(*bin)] += count;
        }
        let edges = [self.text_length.edges.clone(), self.unknown_share.edges.clone()];
        Bins { edges, classes, counts }
    }
}

/// Where values fall, and where those of the baseline fell.
#[derive(Debug, Clone)]
pub(crate) struct Bins {
    /// Of text length and unknown share.
    edges: [Vec<f64>; 2],
    /// The bin of each class.
    classes: Vec<u8>,
    /// Rows of the baseline by feature and bin; bins that a feature does not use hold none.
    pub(crate) counts: [[u64; MAX_BINS]; Feature::ALL.len()],
}

impl Bins {
    /// The bin of each feature; `None` for a class that the model does not have.
    pub(crate) fn of(&self, row: &Observation) -> Option<[u8; Feature::ALL.len()]> {
        let class = *self.classes.get(row.predicted as usize)?;
        let [lengths, shares] = &self.edges;
        let length = bin(lengths, f64::from(row.characters));
        Some([length as u8, bin(shares, row.unknown_share()) as u8, class])
    }
}

/// Each class has a bin of its own; where there are more classes than bins, the most frequent have,
/// and all others share the last.
fn class_bins(counts: &[u64]) -> Vec<u8> {
    if counts.len() <= MAX_BINS {
        return (0..counts.len()).map(|class| class as u8).collect();
    }
    let mut frequent: Vec<usize> = (0..counts.len()).collect();
    frequent.sort_by_key(|class| std::cmp::Reverse(counts[*class]));
    let mut bins = vec![MAX_BINS as u8 - 1; counts.len()];
    for (bin, class) in frequent.iter().take(MAX_BINS - 1).enumerate() {
        bins[*class] = bin as u8;
    }
    bins
}

fn bin(edges: &[f64], value: f64) -> usize {
    edges.partition_point(|edge| *edge < value)
}

impl Deciles {
    /// The histogram of `values`, at least one, none of them NaN.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let decile = |tenths: usize| values[(values.len() * tenths).div_ceil(10).max(1) - 1];
        let deciles: Vec<f64> = (1..MAX_BINS).map(decile).collect();
        let mut edges: Vec<f64> = Vec::with_capacity(deciles.len());
        for shared in deciles.chunk_by(|a, b| a == b) {
            let below = (shared.len() > 1).then(|| shared[0].next_down());
            // Neighbouring numbers can both be deciles.
            edges.extend(below.filter(|below| edges.last() != Some(below)));
            edges.push(shared[0]);
        }
        let mut counts = vec![0; edges.len() + 1];
        for value in values {
            counts[bin(&edges, value)] += 1;
        }
        Self { edges, counts }
    }

    /// Whether it is a histogram of `rows` rows.
    fn is_of(&self, rows: u64) -> bool {
        let Self { edges, counts } = self;
        edges.len() < MAX_BINS
            && counts.len() == edges.len() + 1
            && edges.iter().all(|edge| edge.is_finite())
            && edges.is_sorted_by(|a, b| a < b)
            && sum(counts) == Some(rows)
    }
}

fn sum(counts: &[u64]) -> Option<u64> {
    counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count))
}

#[cfg(test)]
mod tests;
