//! Which columns the rows have under one choice of n-grams.

use std::sync::Arc;

use luthier_model::{FeatureIndex, Group, MAX_CHARS, MAX_WORDS, NgramText};
use luthier_space::Values;

use crate::TrainError;
use crate::columns::{Columns, Scratch};
use crate::data::Subset;
use crate::spare::{Lent, Spare};

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
#[derive(Debug)]
pub(crate) struct SparseRows {
    offsets: Vec<usize>,
    numbers: Lent<u32>,
}

impl SparseRows {
    pub(crate) fn with_rows(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, numbers: Arc::<Spare<u32>>::default().lend() }
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline]
    pub(crate) fn row(&self, row: usize) -> &[u32] {
        &self.numbers[self.offsets[row]..self.offsets[row + 1]]
    }

    /// Adds a row whose numbers `append` appends.
    #[inline]
    pub(crate) fn fill_row(&mut self, append: impl FnOnce(&mut Vec<u32>)) {
        append(&mut self.numbers);
        self.end_row();
    }

    /// The numbers of all rows.
    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    fn end_row(&mut self) {
        self.offsets.push(self.numbers.len());
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
    /// Of training and of validation, where rows are kept.
    rows: Option<[SparseRows; 2]>,
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
    /// Puts groups side by side, with their rows where those of all are kept.
    pub(crate) fn new(
        groups: impl Iterator<Item = (Group, Arc<GroupFeatures>)>,
        key: MatrixKey,
        spare: &Arc<Spare<u32>>,
    ) -> Self {
        let (mut blocks, mut members) = (Vec::new(), Vec::new());
        for (group, features) in groups {
            let columns = features.columns.frequent(key.min_rows.into());
            let first = members.len() as u32;
            members.extend_from_slice(&features.columns.members()[..columns]);
            blocks.push(Block { group, features, first, columns: columns as u32 });
        }
        let train = joined(&blocks, |rows| &rows.train, spare);
        let valid = joined(&blocks, |rows| &rows.valid, spare);
        let rows = train.zip(valid).map(|(train, valid)| [train, valid]);
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

    /// The columns of the rows of `subset`, where rows are kept.
    pub(crate) fn rows(&self, subset: Subset) -> Option<&SparseRows> {
        self.rows.as_ref().map(|[train, valid]| match subset {
            Subset::Train => train,
            Subset::Valid => valid,
        })
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
    pub(crate) fn push(
        &self,
        subset: Subset,
        buckets: &[Vec<u32>],
        scratch: &mut Scratch,
        rows: &mut SparseRows,
    ) {
        let mut found = Vec::new();
        for block in &self.blocks {
            let (columns, buckets) = (&block.features.columns, &buckets[block.group.position()]);
            found.clear();
            match subset {
                Subset::Train => columns.append_train(buckets, scratch, &mut found),
                Subset::Valid => columns.append_valid(buckets, scratch, &mut found),
            }
            block.append(&found, &mut rows.numbers);
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
}

impl Block {
    /// Appends the matrix's columns for those of the group's `row` that it has. Which ones it lacks
    /// cannot be guessed, so each is written, and written over where it is not wanted.
    #[inline]
    fn append(&self, row: &[u32], columns: &mut Vec<u32>) {
        if self.columns as usize == self.features.columns.len() {
            columns.extend(row.iter().map(|column| column + self.first));
            return;
        }
        let mut end = columns.len();
        columns.resize(end + row.len(), 0);
        for column in row {
            columns[end] = column + self.first;
            end += usize::from(*column < self.columns);
        }
        columns.truncate(end);
    }
}

/// The rows of all blocks side by side; `None` where a block has none.
fn joined(
    blocks: &[Block],
    rows: fn(&KeptRows) -> &SparseRows,
    spare: &Arc<Spare<u32>>,
) -> Option<SparseRows> {
    let parts: Option<Vec<&SparseRows>> =
        blocks.iter().map(|block| block.features.kept.as_ref().map(rows)).collect();
    let parts = parts?;
    let count = parts.first()?.len();
    let mut joined = SparseRows { numbers: spare.lend(), ..SparseRows::with_rows(count) };
    joined.numbers.reserve(parts.iter().map(|rows| rows.numbers.len()).sum());
    for row in 0..count {
        for (block, rows) in blocks.iter().zip(&parts) {
            block.append(rows.row(row), &mut joined.numbers);
        }
        joined.end_row();
    }
    Some(joined)
}
