//! Which columns the rows have under one choice of n-grams.

use std::sync::Arc;

use luthier_model::{FeatureIndex, Group, MAX_CHARS, MAX_WORDS, NgramText};
use luthier_space::Values;

use crate::TrainError;
use crate::columns::Columns;
use crate::data::Subset;

/// Which n-grams a [`Matrix`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixKey {
    /// Longest word n-gram; 0 means none.
    pub(crate) words: u8,
    /// Longest character n-gram; 0 means none.
    pub(crate) chars: u8,
    /// Training rows an n-gram must occur in to be kept.
    pub(crate) min_rows: u8,
}

impl MatrixKey {
    /// Reads `ngrams`, `chars` and `min_rows`.
    pub(crate) fn read(values: &Values) -> Result<Self, TrainError> {
        let small =
            |name, max: u8| Ok::<_, TrainError>(values.int(name)?.clamp(0, max.into()) as u8);
        Ok(Self {
            words: small("ngrams", MAX_WORDS)?,
            chars: small("chars", MAX_CHARS)?,
            min_rows: small("min_rows", u8::MAX)?.max(1),
        })
    }

    /// The groups that are held.
    pub(crate) fn groups(self) -> impl Iterator<Item = Group> {
        Group::up_to(self.words, self.chars)
    }
}

/// Numbers of some rows: of the buckets or of the columns that each has.
#[derive(Debug, Default)]
pub(crate) struct SparseRows {
    offsets: Vec<usize>,
    numbers: Vec<u32>,
}

impl SparseRows {
    pub(crate) fn with_rows(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, numbers: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline]
    pub(crate) fn row(&self, row: usize) -> &[u32] {
        &self.numbers[self.offsets[row]..self.offsets[row + 1]]
    }

    /// Adds a row that has `numbers`.
    pub(crate) fn push(&mut self, numbers: impl Iterator<Item = u32>) {
        self.numbers.extend(numbers);
        self.end_row();
    }

    /// The numbers of all rows.
    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    fn end_row(&mut self) {
        self.offsets.push(self.numbers.len());
    }

    fn bytes(&self) -> usize {
        self.numbers.len() * size_of::<u32>() + self.offsets.len() * size_of::<usize>()
    }
}

/// What is known of the features of one group.
#[derive(Debug)]
pub(crate) struct GroupFeatures {
    pub(crate) columns: Columns,
    /// The rows, where they are kept in memory.
    pub(crate) kept: Option<KeptRows>,
}

/// The columns of one group in all rows.
#[derive(Debug)]
pub(crate) struct KeptRows {
    /// Columns of each training row, each once.
    pub(crate) train: SparseRows,
    /// Columns of each validation row, once for each member found.
    pub(crate) valid: SparseRows,
    /// Training rows of each class that each column occurs in, `[columns, classes]`.
    pub(crate) by_class: Vec<u32>,
}

/// The features of some groups side by side, the frequent ones of each.
///
/// A training row has each of its columns once, and the column counts as often as it has members; a
/// validation row has a column as often as it counts.
#[derive(Debug)]
pub(crate) struct Matrix {
    key: MatrixKey,
    blocks: Vec<Block>,
    members: Vec<u32>,
    rows: Option<MatrixRows>,
}

#[derive(Debug)]
pub(crate) struct MatrixRows {
    pub(crate) train: SparseRows,
    pub(crate) valid: SparseRows,
}

/// The columns of a group within a [`Matrix`].
#[derive(Debug)]
struct Block {
    group: Group,
    features: Arc<GroupFeatures>,
    /// The matrix's column of the group's column 0.
    first: u32,
    /// How many of the group's columns there are, from its first on.
    columns: u32,
}

impl Matrix {
    /// Puts groups side by side, with their rows where all of them are kept.
    pub(crate) fn new(
        groups: impl Iterator<Item = (Group, Arc<GroupFeatures>)>,
        key: MatrixKey,
    ) -> Self {
        let (mut blocks, mut members) = (Vec::new(), Vec::new());
        for (group, features) in groups {
            let columns = features.columns.frequent(key.min_rows.into());
            let first = members.len() as u32;
            members.extend_from_slice(&features.columns.members()[..columns]);
            blocks.push(Block { group, features, first, columns: columns as u32 });
        }
        let train = joined(&blocks, |rows| &rows.train);
        let valid = joined(&blocks, |rows| &rows.valid);
        let rows = train.zip(valid).map(|(train, valid)| MatrixRows { train, valid });
        Self { key, blocks, members, rows }
    }

    pub(crate) fn key(&self) -> MatrixKey {
        self.key
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.members.len()
    }

    /// Number of features that each column stands for.
    pub(crate) fn members(&self) -> &[u32] {
        &self.members
    }

    /// Number of features of a training row that has `columns`.
    #[inline(always)]
    pub(crate) fn features_of(&self, columns: &[u32]) -> usize {
        columns.iter().map(|column| self.members[*column as usize] as usize).sum()
    }

    /// The rows, where they are kept.
    pub(crate) fn rows(&self) -> Option<&MatrixRows> {
        self.rows.as_ref()
    }

    /// Occurrences of features in training rows, about.
    pub(crate) fn occurrences(&self) -> u64 {
        self.blocks.iter().map(|block| block.features.columns.occurrences()).sum()
    }

    /// Training rows of each class that each column occurs in, `[columns, classes]`, in parts, one
    /// after the other; `None` where rows are not kept.
    pub(crate) fn by_class(&self, classes: usize) -> Option<Vec<&[u32]>> {
        let parts = self.blocks.iter().map(|block| {
            let rows = block.features.kept.as_ref()?;
            Some(&rows.by_class[..block.columns as usize * classes])
        });
        parts.collect()
    }

    /// Adds a row of `subset` that has the distinct `buckets`, those of each group by its position.
    pub(crate) fn push(&self, subset: Subset, buckets: &[Vec<u32>], rows: &mut SparseRows) {
        for block in &self.blocks {
            let (columns, buckets) = (&block.features.columns, &buckets[block.group.position()]);
            match subset {
                Subset::Train => rows.numbers.extend(block.within(columns.of_train(buckets))),
                Subset::Valid => rows.numbers.extend(block.within(columns.of_valid(buckets))),
            }
        }
        rows.end_row();
    }

    /// From columns to features: the preprocessing that gives the features, and for each of its
    /// rows the column that stands for it.
    pub(crate) fn features(&self) -> (NgramText, Vec<u32>) {
        let features = self.blocks.iter().flat_map(|block| {
            let frequent =
                block.features.columns.features().filter(|(_, column)| *column < block.columns);
            frequent.map(|(bucket, column)| (bucket, block.first + column))
        });
        let (buckets, columns): (Vec<u32>, Vec<u32>) = features.unzip();
        let MatrixKey { words, chars, .. } = self.key;
        (NgramText::new(words, chars, FeatureIndex::new(buckets)), columns)
    }

    pub(crate) fn bytes(&self) -> usize {
        let rows = self.rows.as_ref().map_or(0, |rows| rows.train.bytes() + rows.valid.bytes());
        rows + self.members.len() * size_of::<u32>()
    }
}

impl Block {
    /// The matrix's columns for those of the group's `columns` that it has.
    #[inline]
    fn within(&self, columns: impl Iterator<Item = u32>) -> impl Iterator<Item = u32> {
        columns.filter(|column| *column < self.columns).map(|column| column + self.first)
    }
}

/// The rows of all blocks side by side; `None` where a block has none.
fn joined(blocks: &[Block], rows: fn(&KeptRows) -> &SparseRows) -> Option<SparseRows> {
    let parts: Option<Vec<&SparseRows>> =
        blocks.iter().map(|block| block.features.kept.as_ref().map(rows)).collect();
    let parts = parts?;
    let count = parts.first()?.len();
    let mut joined = SparseRows::with_rows(count);
    joined.numbers.reserve(parts.iter().map(|rows| rows.numbers.len()).sum());
    for row in 0..count {
        for (block, rows) in blocks.iter().zip(&parts) {
            joined.numbers.extend(block.within(rows.row(row).iter().copied()));
        }
        joined.end_row();
    }
    Some(joined)
}
