//! Rows as hashed n-grams, found once and shared by all trials of a study.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use luthier_model::{Extractor, FeatureIndex, Group, HASH_BITS};
use rayon::prelude::*;

use crate::TrainError;
use crate::columns::{Scratch, Tally};
use crate::matrix::{GroupFeatures, KeptRows, Matrix, MatrixKey, SparseRows};
use crate::spare::{Lent, Spare};

/// Most n-gram occurrences that are kept in memory for all trials together (4 bytes each); with
/// more than that the rows are read again, part by part, whenever they are gone over.
const MAX_KEPT: u64 = 512 << 20;
/// Most occurrences that are in memory at a time when rows are read again.
const MAX_CHUNK: u64 = 64 << 20;
/// Rows whose n-grams one thread finds at a time.
const ROWS_PER_PART: usize = 512;

/// The two parts of the data that training sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subset {
    /// Rows to learn from.
    Train,
    /// Rows to judge by.
    Valid,
}

/// A row as training takes it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its text.
    pub text: &'a str,
    /// Its class, below the number of classes; only a training row that is taught can do without.
    pub label: Option<u32>,
    /// Its weight, finite and not negative.
    pub weight: f32,
    /// The probabilities that a teacher gives to the classes; of no row, or of all training rows.
    pub taught: &'a [f32],
}

impl<'a> Row<'a> {
    /// A row of weight 1 that no one has taught.
    pub fn labelled(text: &'a str, label: u32) -> Self {
        Self { text, label: Some(label), weight: 1.0, taught: &[] }
    }
}

/// Streams the rows of a subset, in a fixed order, to a visitor. It is called again whenever rows
/// are looked at anew, so texts need not stay in memory.
pub type RowSource<'a> =
    dyn Fn(Subset, &mut dyn FnMut(Row<'_>)) -> Result<(), SourceError> + Send + Sync + 'a;

/// Why a [`RowSource`] failed.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Labelled texts for training, with the n-grams found in them so far.
///
/// Memory grows with the n-grams that trials asked for, not with the texts, and not beyond about
/// four gigabytes: larger data is read again part by part.
pub struct TextData<'a> {
    source: Box<RowSource<'a>>,
    classes: usize,
    train: Targets,
    valid: Targets,
    /// Most n-gram occurrences that there can be.
    occurrences: u64,
    /// Most that are kept in memory.
    max_kept: u64,
    /// Most occurrences in a chunk, about.
    max_chunk: u64,
    groups: [OnceLock<Arc<GroupFeatures>>; Group::COUNT],
    extraction: Mutex<()>,
    spare_columns: Arc<Spare<u32>>,
    spare_numbers: Arc<Spare<f32>>,
}

/// Labels and weights of the rows of one subset.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Class of each row, where that is known.
    pub labels: Vec<Option<u32>>,
    /// Weight of each row; their mean is 1.
    pub weights: Vec<f32>,
    /// What a teacher answers, row-major `[rows, classes]`; empty where there is none.
    pub taught: Vec<f32>,
}

/// Some rows of a subset: row `r` here is row `first + r · stride` there.
#[derive(Clone, Copy)]
pub(crate) struct Chunk<'a> {
    pub(crate) rows: &'a SparseRows,
    first: usize,
    stride: usize,
}

impl Chunk<'_> {
    /// Which row of the subset a row of the chunk is.
    #[inline(always)]
    pub(crate) fn number(&self, row: usize) -> usize {
        self.first + row * self.stride
    }
}

impl Targets {
    fn push(&mut self, row: Row<'_>) {
        self.labels.push(row.label);
        self.weights.push(row.weight);
        self.taught.extend_from_slice(row.taught);
    }

    /// Checks that each row has a label below `classes`, or is taught.
    fn check(&self, classes: usize) -> Result<(), TrainError> {
        let is_taught = !self.taught.is_empty();
        if is_taught && self.taught.len() != self.labels.len() * classes {
            return Err(TrainError::Taught);
        }
        let fits =
            |label: &Option<u32>| label.map_or(is_taught, |label| (label as usize) < classes);
        if self.labels.iter().all(fits) { Ok(()) } else { Err(TrainError::Label { classes }) }
    }

    /// The class of a row or, where that is not known, the one that its teacher is surest of.
    pub(crate) fn class(&self, row: usize, classes: usize) -> usize {
        let surest = || {
            let taught = &self.taught[row * classes..][..classes];
            let surer = |best: usize, class: usize| match taught[class] > taught[best] {
                true => class,
                false => best,
            };
            (1..classes).fold(0, surer)
        };
        self.labels[row].map_or_else(surest, |label| label as usize)
    }

    fn normalise(&mut self) {
        normalise(&mut self.weights);
    }
}

/// Gives weights a mean of 1, unless all are 0.
pub(crate) fn normalise(weights: &mut [f32]) {
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    if sum > 0.0 {
        let scale = (weights.len() as f64 / sum) as f32;
        weights.iter_mut().for_each(|weight| *weight *= scale);
    }
}

impl<'a> TextData<'a> {
    /// Reads labels and weights; `classes` is at least 2 and above every label. There need not be
    /// validation rows: fits are then given no probabilities to report.
    pub fn new(
        classes: usize,
        source: impl Fn(Subset, &mut dyn FnMut(Row<'_>)) -> Result<(), SourceError> + Send + Sync + 'a,
    ) -> Result<Self, TrainError> {
        Self::with_limits(classes, MAX_KEPT, MAX_CHUNK, source)
    }

    /// [`TextData::new`] with limits of its own in place of [`MAX_KEPT`] and [`MAX_CHUNK`].
    pub(crate) fn with_limits(
        classes: usize,
        max_kept: u64,
        max_chunk: u64,
        source: impl Fn(Subset, &mut dyn FnMut(Row<'_>)) -> Result<(), SourceError> + Send + Sync + 'a,
    ) -> Result<Self, TrainError> {
        let mut train = Targets::default();
        let mut valid = Targets::default();
        let mut bytes = 0;
        let mut read = |subset, targets: &mut Targets| {
            let mut visit = |row: Row<'_>| {
                bytes += row.text.len() as u64;
                targets.push(row);
            };
            source(subset, &mut visit).map_err(TrainError::Source)
        };
        read(Subset::Train, &mut train)?;
        read(Subset::Valid, &mut valid)?;
        if train.labels.is_empty() {
            return Err(TrainError::NoRows);
        }
        train.check(classes)?;
        valid.check(classes)?;
        train.normalise();
        valid.normalise();
        Ok(Self {
            source: Box::new(source),
            classes,
            train,
            valid,
            // Every byte begins at most one n-gram of each group.
            occurrences: bytes * Group::COUNT as u64,
            max_kept,
            max_chunk,
            groups: Default::default(),
            extraction: Mutex::new(()),
            spare_columns: Arc::default(),
            spare_numbers: Arc::default(),
        })
    }

    /// The same rows, where `count` such sets are in memory together and share its limit.
    #[must_use]
    pub fn one_of(mut self, count: usize) -> Self {
        self.max_kept /= count.max(1) as u64;
        self
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Labels and weights of the training rows.
    pub fn train(&self) -> &Targets {
        &self.train
    }

    /// Labels and weights of the validation rows.
    pub fn valid(&self) -> &Targets {
        &self.valid
    }

    /// The features of `key`; what is not known of them yet is found now.
    pub(crate) fn matrix(&self, key: MatrixKey) -> Result<Arc<Matrix>, TrainError> {
        self.find_missing(key)?;
        let known = |group: Group| Some((group, self.groups[group.position()].get()?.clone()));
        Ok(Arc::new(Matrix::new(key.groups().filter_map(known), key, &self.spare_columns)))
    }

    /// `len` numbers, all 0.
    pub(crate) fn zeros(&self, len: usize) -> Lent<f32> {
        let mut numbers = self.spare_numbers.lend();
        numbers.resize(len, 0.0);
        numbers
    }

    /// Number of rows of a subset.
    pub(crate) fn rows(&self, subset: Subset) -> usize {
        self.targets(subset).labels.len()
    }

    /// Goes over the rows of a subset: at once where they are kept, else in chunks of every n-th
    /// row, so that each chunk is like the whole even where the rows are sorted.
    pub(crate) fn chunks(
        &self,
        matrix: &Matrix,
        subset: Subset,
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<(), TrainError> {
        if let Some(rows) = matrix.rows(subset) {
            visit(Chunk { rows, first: 0, stride: 1 });
            return Ok(());
        }
        let per_row = matrix.occurrences().div_ceil(self.rows(Subset::Train) as u64).max(1);
        let total = per_row * self.rows(subset) as u64;
        let stride = total.div_ceil(self.max_chunk).max(1) as usize;
        for first in 0..stride {
            let rows = self.read_chunk(matrix, subset, first, stride)?;
            visit(Chunk { rows: &rows, first, stride });
        }
        Ok(())
    }

    fn read_chunk(
        &self,
        matrix: &Matrix,
        subset: Subset,
        first: usize,
        stride: usize,
    ) -> Result<SparseRows, TrainError> {
        let mut rows = SparseRows::with_rows(self.rows(subset) / stride + 1);
        let mut scratch = Scratch::default();
        self.each_row(subset, matrix.key(), &mut |number, buckets| {
            if number % stride == first {
                matrix.push(subset, buckets, &mut scratch, &mut rows);
            }
        })?;
        Ok(rows)
    }

    /// Visits the number and the distinct buckets, by group, of each row of a subset.
    fn each_row(
        &self,
        subset: Subset,
        key: MatrixKey,
        visit: &mut dyn FnMut(usize, &[Vec<u32>; Group::COUNT]),
    ) -> Result<(), TrainError> {
        let groups: Vec<Group> = key.groups().collect();
        let (mut found, mut number) = (Found::default(), 0);
        let mut row = |row: Row<'_>| {
            visit(number, found.distinct(row.text, key, &groups));
            number += 1;
        };
        (self.source)(subset, &mut row).map_err(TrainError::Source)?;
        if number == self.rows(subset) { Ok(()) } else { Err(TrainError::RowsChanged) }
    }

    fn targets(&self, subset: Subset) -> &Targets {
        match subset {
            Subset::Train => &self.train,
            Subset::Valid => &self.valid,
        }
    }

    /// Finds the features of the groups of `key` that are not known yet.
    fn find_missing(&self, key: MatrixKey) -> Result<(), TrainError> {
        let _one_at_a_time = lock(&self.extraction);
        let missing: Vec<Group> =
            key.groups().filter(|group| self.groups[group.position()].get().is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let features = match self.occurrences <= self.max_kept {
            true => self.find_kept(&missing, key)?,
            false => self.find_streamed(&missing, key)?,
        };
        for (group, features) in missing.into_iter().zip(features) {
            let _ = self.groups[group.position()].set(Arc::new(features));
        }
        Ok(())
    }

    /// On all cores: n-grams by parts of the rows, then columns by groups.
    fn find_kept(
        &self,
        missing: &[Group],
        key: MatrixKey,
    ) -> Result<Vec<GroupFeatures>, TrainError> {
        let train = self.texts(Subset::Train)?.parts(missing, key);
        let valid = self.texts(Subset::Valid)?.parts(missing, key);
        let features = |place: usize| self.number(place, &train, &valid);
        // One at a time, the largest first, since they are few and of unlike size.
        let features = (0..missing.len()).into_par_iter().rev().with_max_len(1).map(features);
        let mut features: Vec<GroupFeatures> = features.collect();
        features.reverse();
        Ok(features)
    }

    /// The columns of one group, and those of all rows; the group is the one at `place` of `parts`.
    fn number(
        &self,
        place: usize,
        train: &[Vec<SparseRows>],
        valid: &[Vec<SparseRows>],
    ) -> GroupFeatures {
        let buckets = train.iter().flat_map(|part| part[place].numbers()).copied();
        let mut tally = Tally::new(FeatureIndex::new(buckets));
        each(train, place, |buckets| tally.add(buckets));
        let columns = tally.columns();
        let mut rows = KeptRows {
            train: SparseRows::with_rows(self.rows(Subset::Train)),
            valid: SparseRows::with_rows(self.rows(Subset::Valid)),
            by_class: vec![0; columns.len() * self.classes],
        };
        let mut scratch = Scratch::default();
        each(train, place, |buckets| {
            rows.train.fill_row(|to| columns.append_train(buckets, &mut scratch, to));
        });
        each(valid, place, |buckets| {
            rows.valid.fill_row(|to| columns.append_valid(buckets, &mut scratch, to));
        });
        for row in 0..self.train.labels.len() {
            let class = self.train.class(row, self.classes);
            for column in rows.train.row(row) {
                rows.by_class[*column as usize * self.classes + class] += 1;
            }
        }
        GroupFeatures { columns, kept: Some(rows) }
    }

    /// In two passes over the training rows, keeping none.
    fn find_streamed(
        &self,
        missing: &[Group],
        key: MatrixKey,
    ) -> Result<Vec<GroupFeatures>, TrainError> {
        let mut occurring = vec![false; 1 << HASH_BITS];
        self.each_row(Subset::Train, key, &mut |_, buckets| {
            buckets.iter().flatten().for_each(|bucket| occurring[*bucket as usize] = true);
        })?;
        let index = |group: &Group| {
            FeatureIndex::new(group.buckets().filter(|bucket| occurring[*bucket as usize]))
        };
        let mut tallies: Vec<Tally> =
            missing.iter().map(|group| Tally::new(index(group))).collect();
        self.each_row(Subset::Train, key, &mut |_, buckets| {
            for (group, tally) in missing.iter().zip(&mut tallies) {
                tally.add(&buckets[group.position()]);
            }
        })?;
        let features = |tally: Tally| GroupFeatures { columns: tally.columns(), kept: None };
        Ok(tallies.into_iter().map(features).collect())
    }

    /// Visits the text of each row of a subset.
    pub(crate) fn each_text(
        &self,
        subset: Subset,
        visit: &mut dyn FnMut(&str),
    ) -> Result<(), TrainError> {
        let mut rows = 0;
        (self.source)(subset, &mut |row| {
            visit(row.text);
            rows += 1;
        })
        .map_err(TrainError::Source)?;
        if rows == self.rows(subset) { Ok(()) } else { Err(TrainError::RowsChanged) }
    }

    fn texts(&self, subset: Subset) -> Result<Texts, TrainError> {
        let mut texts = Texts::default();
        self.each_text(subset, &mut |text| {
            texts.text.push_str(text);
            texts.ends.push(texts.text.len());
        })?;
        Ok(texts)
    }
}

/// The texts of a subset.
#[derive(Default)]
struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    /// The distinct buckets of `groups`, one [`SparseRows`] for each, of one run of rows after the
    /// other.
    fn parts(&self, groups: &[Group], key: MatrixKey) -> Vec<Vec<SparseRows>> {
        let rows = self.ends.len();
        let parts = (0..rows.div_ceil(ROWS_PER_PART)).into_par_iter().map(|part| {
            let first = part * ROWS_PER_PART;
            self.part(first..rows.min(first + ROWS_PER_PART), groups, key)
        });
        parts.collect()
    }

    fn part(&self, rows: Range<usize>, groups: &[Group], key: MatrixKey) -> Vec<SparseRows> {
        let mut found = Found::default();
        let mut part: Vec<SparseRows> =
            groups.iter().map(|_| SparseRows::with_rows(rows.len())).collect();
        for row in rows {
            let buckets = found.distinct(self.row(row), key, groups);
            for (group, rows) in groups.iter().zip(&mut part) {
                rows.fill_row(|to| to.extend_from_slice(&buckets[group.position()]));
            }
        }
        part
    }

    fn row(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[row]]
    }
}

/// Visits the rows of the group at `place` of all parts.
fn each(parts: &[Vec<SparseRows>], place: usize, mut visit: impl FnMut(&[u32])) {
    for part in parts {
        let rows = &part[place];
        (0..rows.len()).for_each(|row| visit(rows.row(row)));
    }
}

/// The n-grams of one text, with buffers that are reused.
#[derive(Default)]
struct Found {
    extractor: Extractor,
    buckets: [Vec<u32>; Group::COUNT],
}

impl Found {
    /// The distinct buckets of each of `groups`, ascending, by the group's position.
    fn distinct(
        &mut self,
        text: &str,
        key: MatrixKey,
        groups: &[Group],
    ) -> &[Vec<u32>; Group::COUNT] {
        let Self { extractor, buckets } = self;
        buckets.iter_mut().for_each(Vec::clear);
        extractor.extract(text, key.words, key.chars, |group, bucket| {
            buckets[group.position()].push(bucket);
        });
        for group in groups {
            let buckets = &mut buckets[group.position()];
            buckets.sort_unstable();
            buckets.dedup();
        }
        buckets
    }
}

/// Locks; a panic elsewhere leaves the guarded values whole, since they are only ever extended.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
