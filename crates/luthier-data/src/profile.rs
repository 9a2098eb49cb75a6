//! What is to be known of a data set before and after training: sizes, lengths, scripts,
//! duplicates, leaks and contradictions.

use serde::{Deserialize, Serialize};

use crate::hash::hash;
use crate::{DataError, Dataset, Part};

mod findings;
mod text;
mod twins;

pub use findings::{Finding, Severity};
use text::{LengthHistogram, LetterCounts, Normalizer};
use twins::{Content, compare};
pub use twins::{Leakage, RowRef, Twins};

/// Classes whose counts a profile lists one by one, so that it stays small.
const LISTED_CLASSES: usize = 100;

/// A data set in a few kilobytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Number of labels.
    pub classes: u64,
    /// The labels whose counts are listed: the first hundred, each cut to 40 characters.
    pub labels: Vec<String>,
    /// The parts that have rows, in the order train, valid, test.
    pub parts: Vec<PartProfile>,
    /// Texts that two parts share, for each pair of parts that share any.
    pub leakage: Vec<Leakage>,
    /// Rows whose texts are the same once normalised, as duplicates are, but whose labels differ;
    /// across all parts. Each example pairs a text's first row with the first that contradicts it.
    pub contradictions: Twins,
    /// What deserves a look.
    pub findings: Vec<Finding>,
}

/// One part of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartProfile {
    /// Which one.
    pub part: Part,
    /// Number of rows.
    pub rows: u64,
    /// Rows of each listed label.
    pub class_counts: Vec<u64>,
    /// Mean text length in characters (Unicode scalar values).
    pub mean_length: f64,
    /// Quantiles of the text length, exact up to 65,535 characters.
    pub lengths: Vec<LengthQuantile>,
    /// Rows whose text is empty or white space only.
    pub empty: u64,
    /// Rows whose text occurs in an earlier row of the part, byte by byte.
    pub duplicates: u64,
    /// The same for normalised texts: in lower case, with each run of white space and punctuation
    /// made one space. Never below `duplicates`.
    pub near_duplicates: u64,
    /// Share of the scripts among letters.
    pub scripts: Scripts,
    /// The weights, if a column has them.
    pub weights: Option<WeightProfile>,
}

/// A quantile of text lengths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LengthQuantile {
    /// The quantile, in [0, 1].
    pub q: f64,
    /// The smallest length such that at least a share `q` of the rows is no longer.
    pub characters: u64,
}

/// Shares of the letters of all texts; they add up to 1, or are all 0 without letters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scripts {
    /// Latin letters.
    pub latin: f64,
    /// Han characters.
    pub han: f64,
    /// Letters of any other script.
    pub other: f64,
}

/// The weights of a part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WeightProfile {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their sum.
    pub sum: f64,
}

impl Dataset {
    /// Reads all parts once more and describes them, in 24 bytes of memory a row.
    pub fn profile(&self) -> Result<Profile, DataError> {
        let mut contents = Vec::new();
        let mut parts = Vec::new();
        for part in Part::ALL {
            if !self.is_empty(part) {
                parts.push(self.profile_part(part, &mut contents)?);
            }
        }
        let comparison = compare(contents);
        for part in &mut parts {
            part.duplicates = comparison.duplicates[part.part as usize];
            part.near_duplicates = comparison.near_duplicates[part.part as usize];
        }
        let names = self.labels().iter().take(LISTED_CLASSES);
        let mut profile = Profile {
            classes: self.labels().len() as u64,
            labels: names.map(|name| name.chars().take(40).collect()).collect(),
            parts,
            leakage: comparison.leakage,
            contradictions: comparison.contradictions,
            findings: Vec::new(),
        };
        profile.findings = findings::of(&profile);
        Ok(profile)
    }

    /// Everything about a part but its duplicates; adds its rows to `contents`.
    fn profile_part(
        &self,
        part: Part,
        contents: &mut Vec<Content>,
    ) -> Result<PartProfile, DataError> {
        let mut lengths = LengthHistogram::default();
        let mut letters = LetterCounts::default();
        let mut normalizer = Normalizer::default();
        let mut empty = 0;
        let mut weights: Option<WeightProfile> = None;
        for example in self.examples(part)? {
            let example = example?;
            let text = example.text.as_str();
            lengths.add(letters.add(text));
            empty += u64::from(text.trim().is_empty());
            contents.push(Content {
                normal: hash(0, normalizer.normalize(text).as_bytes()),
                exact: hash(0, text.as_bytes()) as u32,
                row: example.row as u32,
                label: example.label as u16,
                part,
            });
            if self.is_weighted() {
                let weight = f64::from(example.weight);
                let seen =
                    weights.get_or_insert(WeightProfile { min: weight, max: weight, sum: 0.0 });
                seen.min = seen.min.min(weight);
                seen.max = seen.max.max(weight);
                seen.sum += weight;
            }
        }
        let counts = self.class_counts(part);
        Ok(PartProfile {
            part,
            rows: self.len(part),
            class_counts: counts.iter().take(LISTED_CLASSES).copied().collect(),
            mean_length: lengths.mean(),
            lengths: lengths.quantiles(),
            empty,
            duplicates: 0,
            near_duplicates: 0,
            scripts: letters.shares(),
            weights,
        })
    }
}

#[cfg(test)]
mod tests;
