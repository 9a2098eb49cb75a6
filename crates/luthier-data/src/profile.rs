//! What is to be known of a data set before and after training: sizes, lengths and scripts of texts,
//! values of columns, duplicates, leaks and contradictions.

use serde::{Deserialize, Serialize};

use crate::{Content, DataError, Dataset, Label, LeftOut, Part, Target};

mod association;
mod columns;
mod drift;
mod findings;
mod text;
mod twins;

pub use columns::{
    CategoryCount, CategoryProfile, ColumnProfile, NumberProfile, NumberQuantile, TableProfile,
    ValuesProfile,
};
use columns::{NumberStats, Sample, TableStats};
pub use drift::population_stability_index;
pub use findings::{Finding, Severity};
use text::TextStats;
use twins::{Comparison, RowContent, compare};
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
    /// Texts, or rows of a table, that two parts share, for each pair of parts that share any.
    pub leakage: Vec<Leakage>,
    /// Rows whose texts are the same once normalised, as duplicates are, or whose cells are the same,
    /// but whose classes differ; across all parts. Each example pairs a text's first row with the
    /// first that contradicts it.
    pub contradictions: Twins,
    /// What deserves a look.
    pub findings: Vec<Finding>,
    /// Columns of a table that are not learnt from though nobody said so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
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
    /// What the rows consist of.
    #[serde(flatten)]
    pub content: ContentProfile,
    /// The weights, if a column has them.
    pub weights: Option<WeightProfile>,
    /// The labels, if they are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<NumberProfile>,
}

/// What the rows of a part consist of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ContentProfile {
    /// Texts.
    Text(TextProfile),
    /// Cells.
    Table(TableProfile),
}

impl PartProfile {
    /// What there is to say of texts, if the rows are some.
    pub fn text(&self) -> Option<&TextProfile> {
        match &self.content {
            ContentProfile::Text(text) => Some(text),
            ContentProfile::Table(_) => None,
        }
    }

    /// What there is to say of columns, if the rows have some.
    pub fn table(&self) -> Option<&TableProfile> {
        match &self.content {
            ContentProfile::Text(_) => None,
            ContentProfile::Table(table) => Some(table),
        }
    }
}

/// The texts of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextProfile {
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
    /// Reads all parts once more and describes them, in 24 bytes of memory a row and, of tables, up to
    /// 20 MB a part.
    pub fn profile(&self) -> Result<Profile, DataError> {
        let mut contents = Vec::new();
        let mut parts = Vec::new();
        for part in Part::ALL {
            if !self.is_empty(part) {
                parts.push(self.observe(part, &mut contents)?);
            }
        }
        let comparison = compare(contents);
        let names = self.labels().iter().take(LISTED_CLASSES);
        let mut profile = Profile {
            classes: self.labels().len() as u64,
            labels: names.map(|name| name.chars().take(40).collect()).collect(),
            parts: parts
                .iter()
                .map(|stats| self.describe_part(stats, &parts[0], &comparison))
                .collect(),
            leakage: comparison.leakage,
            contradictions: comparison.contradictions,
            findings: Vec::new(),
            left_out: self.left_out().to_vec(),
        };
        profile.findings = findings::of(&profile);
        Ok(profile)
    }

    /// Reads a part; adds its rows to `contents`.
    fn observe(
        &self,
        part: Part,
        contents: &mut Vec<RowContent>,
    ) -> Result<PartStats<'_>, DataError> {
        let mut texts = TextStats::default();
        let mut table = self.table().map(TableStats::new);
        let mut sample = Sample::new(self.table().map_or(0, |table| table.columns().len()));
        let mut numbers = NumberStats::default();
        let mut weights: Option<WeightProfile> = None;
        for example in self.examples(part)? {
            let example = example?;
            let (normal, exact) = match (&example.content, &mut table) {
                (Content::Cells(cells), Some(table)) => {
                    // All cells were read when the data set was opened.
                    table.add(cells).map_err(|_| DataError::Changed { path: self.path(part) })?;
                    let hash = example.content.hash();
                    (hash, hash as u32)
                }
                (content, _) => texts.add(content.text().unwrap_or_default()),
            };
            let row = example.row as u32;
            let label = example.label.class().unwrap_or_default() as u16;
            contents.push(RowContent { normal, exact, row, label, part });
            let number = match example.label {
                Label::Class(class) => f64::from(class),
                Label::Number(number) => number,
            };
            numbers.add(number);
            sample.add(table.as_ref().map_or(&[], TableStats::latest), number);
            if self.is_weighted() {
                let weight = f64::from(example.weight);
                let seen =
                    weights.get_or_insert(WeightProfile { min: weight, max: weight, sum: 0.0 });
                seen.min = seen.min.min(weight);
                seen.max = seen.max.max(weight);
                seen.sum += weight;
            }
        }
        Ok(PartStats { part, texts, table, sample, numbers, weights })
    }

    fn describe_part(
        &self,
        stats: &PartStats<'_>,
        train: &PartStats<'_>,
        comparison: &Comparison,
    ) -> PartProfile {
        let part = stats.part;
        let (same, near) =
            (comparison.duplicates[part as usize], comparison.near_duplicates[part as usize]);
        let content = match (&stats.table, &train.table) {
            (Some(table), Some(of_train)) => {
                let classes = Some(self.labels().len()).filter(|classes| *classes > 0);
                let train = Some((of_train, &train.sample)).filter(|_| part != Part::Train);
                ContentProfile::Table(table.describe(same, &stats.sample, classes, train))
            }
            _ => ContentProfile::Text(stats.texts.describe(same, near)),
        };
        let listed = self.class_counts(part).iter().take(self.labels().len());
        PartProfile {
            part,
            rows: self.len(part),
            class_counts: listed.take(LISTED_CLASSES).copied().collect(),
            content,
            weights: stats.weights,
            numbers: match self.target() {
                Target::Class => None,
                Target::Number => stats.numbers.describe(stats.sample.labels().collect()),
            },
        }
    }
}

/// What is seen of a part in one pass.
struct PartStats<'a> {
    part: Part,
    texts: TextStats,
    table: Option<TableStats<'a>>,
    sample: Sample,
    /// Of the labels.
    numbers: NumberStats,
    weights: Option<WeightProfile>,
}

#[cfg(test)]
mod tests;
