//! Rows with the same content: duplicates, leaks and contradictions.

use serde::{Deserialize, Serialize};

use crate::Part;

/// Pairs that are named as examples.
const EXAMPLES: usize = 5;

/// A row of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowRef {
    /// The part.
    pub part: Part,
    /// The data row in its file, 1-based; see [`crate::Example::row`].
    pub row: u64,
}

/// Some kind of pairs of rows with the same content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twins {
    /// Number of distinct texts, or rows of a table, concerned.
    pub texts: u64,
    /// The first five pairs.
    pub examples: Vec<(RowRef, RowRef)>,
}

/// Contents that occur, byte by byte, in two parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leakage {
    /// The earlier part.
    pub from: Part,
    /// The later part.
    pub to: Part,
    /// Rows of the later part whose content is also in the earlier one.
    pub rows: u64,
    /// The contents, with the first row of each in both parts.
    pub twins: Twins,
}

/// A row, by the hashes of its content. Sixteen bytes of it decide which rows are alike: rows of the
/// same normal form are few, so among them 32 bits of the exact hash are enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowContent {
    /// Hash of the normal form.
    pub(super) normal: u64,
    /// Half of the hash of the content itself.
    pub(super) exact: u32,
    /// The row in its file.
    pub(super) row: u32,
    pub(super) label: u16,
    pub(super) part: Part,
}

/// What comparing all rows with each other gives; arrays are by part.
#[derive(Default)]
pub(super) struct Comparison {
    pub(super) duplicates: [u64; 3],
    pub(super) near_duplicates: [u64; 3],
    pub(super) leakage: Vec<Leakage>,
    pub(super) contradictions: Twins,
}

/// Compares all rows with each other, by sorting them.
pub(super) fn compare(mut rows: Vec<RowContent>) -> Comparison {
    rows.sort_unstable_by_key(|row| (row.normal, row.exact, row.part, row.row));
    let mut comparison = Comparison::default();
    for alike in rows.chunk_by_mut(|a, b| a.normal == b.normal) {
        if alike.len() == 1 {
            continue;
        }
        for same in alike.chunk_by(|a, b| a.exact == b.exact) {
            count_repeats(same, &mut comparison.duplicates);
            find_leaks(same, &mut comparison.leakage);
        }
        alike.sort_unstable_by_key(|row| (row.part, row.row));
        count_repeats(alike, &mut comparison.near_duplicates);
        let first = alike[0];
        if let Some(other) = alike.iter().find(|row| row.label != first.label) {
            comparison.contradictions.add(first, *other);
        }
    }
    comparison.leakage.sort_by_key(|leak| (leak.from, leak.to));
    comparison
}

/// Counts the rows that are not the first of their part.
fn count_repeats(alike: &[RowContent], counts: &mut [u64; 3]) {
    for part in alike.chunk_by(|a, b| a.part == b.part) {
        counts[part[0].part as usize] += part.len() as u64 - 1;
    }
}

fn find_leaks(same: &[RowContent], leakage: &mut Vec<Leakage>) {
    let parts: Vec<&[RowContent]> = same.chunk_by(|a, b| a.part == b.part).collect();
    for (index, earlier) in parts.iter().enumerate() {
        for later in &parts[index + 1..] {
            let (from, to) = (earlier[0].part, later[0].part);
            let known = leakage.iter().position(|leak| leak.from == from && leak.to == to);
            let position = known.unwrap_or_else(|| {
                leakage.push(Leakage { from, to, rows: 0, twins: Twins::default() });
                leakage.len() - 1
            });
            leakage[position].rows += later.len() as u64;
            leakage[position].twins.add(earlier[0], later[0]);
        }
    }
}

impl Twins {
    /// Counts a text and keeps the pair if it is among the first.
    fn add(&mut self, a: RowContent, b: RowContent) {
        let pair = (RowRef::from(a), RowRef::from(b));
        self.texts += 1;
        let place = self.examples.partition_point(|known| *known < pair);
        self.examples.insert(place, pair);
        self.examples.truncate(EXAMPLES);
    }
}

impl From<RowContent> for RowRef {
    fn from(content: RowContent) -> Self {
        Self { part: content.part, row: u64::from(content.row) }
    }
}
