//! Rows as hashed n-grams, found once and shared by all trials of a study.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use luthier_model::{Extractor, FeatureIndex, Group, HASH_BITS, MAX_CHARS, MAX_WORDS, NgramText};
use luthier_space::Values;

use crate::TrainError;

/// Most n-gram occurrences that are kept in memory for all trials together (4 bytes each); with
/// more than that the rows are read again, part by part, whenever they are gone over.
const MAX_KEPT: u64 = 512 << 20;
/// Most occurrences that are in memory at a time when rows are read again.
const MAX_CHUNK: u64 = 64 << 20;
/// Bytes of [`Matrix`]es that are kept for later trials.
const CACHE_BYTES: usize = 1 << 30;

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
    /// Its class, below the number of classes.
    pub label: u32,
    /// Its weight, finite and not negative.
    pub weight: f32,
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
    /// Whether the n-grams of all trials are kept.
    kept: bool,
    /// Most occurrences in a chunk, about.
    max_chunk: u64,
    groups: [OnceLock<GroupRows>; Group::COUNT],
    extraction: Mutex<()>,
    matrices: Mutex<Vec<(MatrixKey, Arc<Matrix>)>>,
}

/// Labels and weights of the rows of one subset.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Class of each row.
    pub labels: Vec<u32>,
    /// Weight of each row; their mean is 1.
    pub weights: Vec<f32>,
}

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

/// Features of all rows under one choice of n-grams.
///
/// Columns are numbered by falling frequency, those of like frequency in the order in which the
/// training rows first have them: what is needed often shares cache lines, and what one row alone
/// has lies side by side.
pub(crate) struct Matrix {
    key: MatrixKey,
    /// The n-grams that have a column.
    index: FeatureIndex,
    /// The column of each row of the index.
    columns: Vec<u32>,
    rows: Kept,
}

/// Where the rows of a [`Matrix`] are.
enum Kept {
    /// In memory.
    All { train: SparseRows, valid: SparseRows },
    /// In the source, to be read again; the number of occurrences in the training rows.
    None { occurrences: u64 },
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

/// Which columns are present in each row.
#[derive(Debug, Default)]
pub(crate) struct SparseRows {
    offsets: Vec<usize>,
    columns: Vec<u32>,
}

#[derive(Debug, Default)]
struct GroupRows {
    train: SparseRows,
    valid: SparseRows,
}

impl SparseRows {
    fn with_rows(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, columns: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline]
    pub(crate) fn row(&self, row: usize) -> &[u32] {
        &self.columns[self.offsets[row]..self.offsets[row + 1]]
    }

    /// Ends the row that was being filled: sorts its columns and drops repeats.
    fn end_row(&mut self, scratch: &mut Vec<u32>) {
        scratch.sort_unstable();
        scratch.dedup();
        self.columns.extend_from_slice(scratch);
        self.offsets.push(self.columns.len());
        scratch.clear();
    }

    fn bytes(&self) -> usize {
        self.columns.len() * size_of::<u32>() + self.offsets.len() * size_of::<usize>()
    }
}

impl Targets {
    fn push(&mut self, row: Row<'_>) {
        self.labels.push(row.label);
        self.weights.push(row.weight);
    }

    fn normalise(&mut self) {
        let sum: f64 = self.weights.iter().map(|w| f64::from(*w)).sum();
        if sum > 0.0 {
            let scale = (self.weights.len() as f64 / sum) as f32;
            self.weights.iter_mut().for_each(|weight| *weight *= scale);
        }
    }
}

impl<'a> TextData<'a> {
    /// Reads labels and weights; `classes` is at least 2 and above every label.
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
        if train.labels.is_empty() || valid.labels.is_empty() {
            return Err(TrainError::NoRows);
        }
        if train.labels.iter().chain(&valid.labels).any(|label| *label as usize >= classes) {
            return Err(TrainError::Label { classes });
        }
        train.normalise();
        valid.normalise();
        Ok(Self {
            source: Box::new(source),
            classes,
            train,
            valid,
            // Every byte begins at most one n-gram of each group.
            kept: bytes * Group::COUNT as u64 <= max_kept,
            max_chunk,
            groups: Default::default(),
            extraction: Mutex::new(()),
            matrices: Mutex::new(Vec::new()),
        })
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

    /// The features of `key`, from the cache or built now.
    pub(crate) fn matrix(&self, key: MatrixKey) -> Result<Arc<Matrix>, TrainError> {
        if let Some(matrix) = find(&lock(&self.matrices), key) {
            return Ok(matrix);
        }
        let matrix = Arc::new(if self.kept {
            let wanted: Vec<Group> = Group::up_to(key.words, key.chars).collect();
            self.extract(&wanted, key)?;
            let groups: Vec<&GroupRows> =
                wanted.iter().filter_map(|group| self.groups[group.position()].get()).collect();
            Matrix::kept(&groups, key)
        } else {
            self.streamed(key)?
        });
        let mut cache = lock(&self.matrices);
        if let Some(built_meanwhile) = find(&cache, key) {
            return Ok(built_meanwhile);
        }
        cache.push((key, matrix.clone()));
        while cache.len() > 1 && cache.iter().map(|(_, m)| m.bytes()).sum::<usize>() > CACHE_BYTES {
            cache.remove(0);
        }
        Ok(matrix)
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
        match (&matrix.rows, subset) {
            (Kept::All { train: rows, .. }, Subset::Train)
            | (Kept::All { valid: rows, .. }, Subset::Valid) => {
                visit(Chunk { rows, first: 0, stride: 1 });
                Ok(())
            }
            (Kept::None { occurrences }, _) => {
                let per_row = occurrences.div_ceil(self.train.labels.len() as u64).max(1);
                let total = per_row * self.targets(subset).labels.len() as u64;
                let stride = total.div_ceil(self.max_chunk).max(1) as usize;
                for first in 0..stride {
                    let rows = self.read_chunk(matrix, subset, first, stride)?;
                    visit(Chunk { rows: &rows, first, stride });
                }
                Ok(())
            }
        }
    }

    /// Builds only the index, in one pass over the training rows.
    fn streamed(&self, key: MatrixKey) -> Result<Matrix, TrainError> {
        let mut counts = vec![0u8; 1 << HASH_BITS];
        let mut extractor = Extractor::default();
        let mut buckets = Vec::new();
        let mut occurrences = 0;
        let mut visit = |row: Row<'_>| {
            buckets.clear();
            extractor.extract(row.text, key.words, key.chars, |_, bucket| buckets.push(bucket));
            buckets.sort_unstable();
            buckets.dedup();
            occurrences += buckets.len() as u64;
            for bucket in &buckets {
                counts[*bucket as usize] = counts[*bucket as usize].saturating_add(1);
            }
        };
        (self.source)(Subset::Train, &mut visit).map_err(TrainError::Source)?;
        let counted = counts.iter().enumerate().filter(|(_, count)| **count >= key.min_rows);
        let frequencies: Vec<u8> = counted.map(|(_, count)| *count).collect();
        let columns = by_frequency(&frequencies, 0..frequencies.len() as u32);
        let index = FeatureIndex::new(occurring(counts, key.min_rows));
        Ok(Matrix { key, index, columns, rows: Kept::None { occurrences } })
    }

    fn read_chunk(
        &self,
        matrix: &Matrix,
        subset: Subset,
        first: usize,
        stride: usize,
    ) -> Result<SparseRows, TrainError> {
        let expected = self.targets(subset).labels.len();
        let mut rows = SparseRows::with_rows(expected / stride + 1);
        let mut extractor = Extractor::default();
        let (mut columns, mut number) = (Vec::new(), 0);
        let MatrixKey { words, chars, .. } = matrix.key;
        let mut visit = |row: Row<'_>| {
            if number % stride == first {
                extractor.extract(row.text, words, chars, |_, bucket| {
                    columns.extend(matrix.column(bucket));
                });
                rows.end_row(&mut columns);
            }
            number += 1;
        };
        (self.source)(subset, &mut visit).map_err(TrainError::Source)?;
        if number == expected { Ok(rows) } else { Err(TrainError::RowsChanged) }
    }

    fn targets(&self, subset: Subset) -> &Targets {
        match subset {
            Subset::Train => &self.train,
            Subset::Valid => &self.valid,
        }
    }

    /// A few validation texts, spread evenly, for checking an exported model against memory.
    pub(crate) fn probe_texts(&self, count: usize) -> Result<Vec<String>, TrainError> {
        let stride = self.valid.labels.len().div_ceil(count).max(1);
        let (mut texts, mut position) = (Vec::with_capacity(count), 0);
        let mut take = |row: Row<'_>| {
            if position % stride == 0 {
                texts.push(row.text.to_owned());
            }
            position += 1;
        };
        (self.source)(Subset::Valid, &mut take).map_err(TrainError::Source)?;
        Ok(texts)
    }

    fn extract(&self, wanted: &[Group], key: MatrixKey) -> Result<(), TrainError> {
        let _one_at_a_time = lock(&self.extraction);
        let missing: Vec<Group> = wanted
            .iter()
            .copied()
            .filter(|group| self.groups[group.position()].get().is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut train = self.extract_subset(Subset::Train, &missing, key)?;
        let mut valid = self.extract_subset(Subset::Valid, &missing, key)?;
        for group in missing {
            let take =
                |rows: &mut [SparseRows; Group::COUNT]| std::mem::take(&mut rows[group.position()]);
            let rows = GroupRows { train: take(&mut train), valid: take(&mut valid) };
            let _ = self.groups[group.position()].set(rows);
        }
        Ok(())
    }

    fn extract_subset(
        &self,
        subset: Subset,
        groups: &[Group],
        key: MatrixKey,
    ) -> Result<[SparseRows; Group::COUNT], TrainError> {
        let targets = self.targets(subset);
        let mut rows: [SparseRows; Group::COUNT] =
            std::array::from_fn(|_| SparseRows::with_rows(targets.labels.len()));
        let mut scratch: [Vec<u32>; Group::COUNT] = Default::default();
        let mut extractor = Extractor::default();
        let mut visit = |row: Row<'_>| {
            extractor.extract(row.text, key.words, key.chars, |group, bucket| {
                scratch[group.position()].push(bucket);
            });
            for group in groups {
                rows[group.position()].end_row(&mut scratch[group.position()]);
            }
            scratch.iter_mut().for_each(Vec::clear);
        };
        (self.source)(subset, &mut visit).map_err(TrainError::Source)?;
        let complete = groups.iter().all(|g| rows[g.position()].len() == targets.labels.len());
        if complete { Ok(rows) } else { Err(TrainError::RowsChanged) }
    }
}

impl Matrix {
    /// Resolves the n-grams of all rows to columns.
    fn kept(groups: &[&GroupRows], key: MatrixKey) -> Self {
        let index = frequent(groups, key.min_rows);
        let columns = columns(&index, groups);
        let rows = Kept::None { occurrences: 0 };
        let mut matrix = Self { key, index, columns, rows };
        let train = matrix.resolve(groups, |group| &group.train);
        let valid = matrix.resolve(groups, |group| &group.valid);
        matrix.rows = Kept::All { train, valid };
        matrix
    }

    fn resolve(&self, groups: &[&GroupRows], subset: fn(&GroupRows) -> &SparseRows) -> SparseRows {
        let rows = groups.first().map_or(0, |group| subset(group).len());
        let mut resolved = SparseRows::with_rows(rows);
        let mut scratch = Vec::new();
        for row in 0..rows {
            // Two loops, since the second waits for memory and does so for many at a time when it
            // has nothing else to do.
            for group in groups {
                let buckets = subset(group).row(row).iter();
                scratch.extend(buckets.filter_map(|bucket| self.index.row(*bucket)));
            }
            scratch.iter_mut().for_each(|found| *found = self.columns[*found as usize]);
            resolved.end_row(&mut scratch);
        }
        resolved
    }

    #[inline(always)]
    fn column(&self, bucket: u32) -> Option<u32> {
        self.index.row(bucket).map(|row| self.columns[row as usize])
    }

    /// Puts the rows of a table that has one per column into the order of the index.
    pub(crate) fn in_index_order(&self, table: &[f32], width: usize) -> Vec<f32> {
        let row = |column: &u32| {
            let start = *column as usize * width;
            &table[start..start + width]
        };
        self.columns.iter().flat_map(row).copied().collect()
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.index.len()
    }

    /// The preprocessing that gives these columns.
    pub(crate) fn preprocess(&self) -> NgramText {
        NgramText::new(self.key.words, self.key.chars, self.index.clone())
    }

    fn bytes(&self) -> usize {
        match &self.rows {
            Kept::All { train, valid } => train.bytes() + valid.bytes() + self.columns.len() * 4,
            Kept::None { .. } => 0,
        }
    }
}

/// The index of the buckets that occur in at least `min_rows` training rows.
fn frequent(groups: &[&GroupRows], min_rows: u8) -> FeatureIndex {
    let all = groups.iter().flat_map(|group| group.train.columns.iter().copied());
    if min_rows <= 1 {
        return FeatureIndex::new(all);
    }
    let mut counts = vec![0u8; 1 << HASH_BITS];
    all.for_each(|bucket| counts[bucket as usize] = counts[bucket as usize].saturating_add(1));
    FeatureIndex::new(occurring(counts, min_rows))
}

/// The column of each row of `index`: see [`Matrix`].
fn columns(index: &FeatureIndex, groups: &[&GroupRows]) -> Vec<u32> {
    let mut frequencies = vec![0u8; index.len()];
    // One place more than needed, so that what was found can be written before it is known to be
    // new: a branch here would be guessed wrong for every other n-gram.
    let mut encountered = vec![0; index.len() + 1];
    let mut new = 0;
    let mut scratch = Vec::new();
    for row in 0..groups.first().map_or(0, |group| group.train.len()) {
        scratch.clear();
        for group in groups {
            let buckets = group.train.row(row).iter();
            scratch.extend(buckets.filter_map(|bucket| index.row(*bucket)));
        }
        for found in &scratch {
            let frequency = &mut frequencies[*found as usize];
            encountered[new] = *found;
            new += usize::from(*frequency == 0);
            *frequency = frequency.saturating_add(1);
        }
    }
    encountered.truncate(new);
    by_frequency(&frequencies, encountered.into_iter())
}

/// A number for each of `frequencies`, which are all above 0: smaller for those of larger binary
/// magnitude, and for equal ones in the order of `encountered`, which has each position once.
fn by_frequency(frequencies: &[u8], encountered: impl Iterator<Item = u32>) -> Vec<u32> {
    let class = |frequency: u8| frequency.leading_zeros() as usize;
    let mut next = [0u32; u8::BITS as usize + 2];
    for frequency in frequencies {
        next[class(*frequency) + 1] += 1;
    }
    for class in 1..next.len() {
        next[class] += next[class - 1];
    }
    let mut numbers = vec![0; frequencies.len()];
    for position in encountered {
        let next = &mut next[class(frequencies[position as usize])];
        numbers[position as usize] = *next;
        *next += 1;
    }
    numbers
}

/// The buckets that were counted at least `min_rows` times.
fn occurring(counts: Vec<u8>, min_rows: u8) -> impl Iterator<Item = u32> {
    let kept = counts.into_iter().enumerate().filter(move |(_, count)| *count >= min_rows);
    kept.map(|(bucket, _)| bucket as u32)
}

fn find(cache: &[(MatrixKey, Arc<Matrix>)], key: MatrixKey) -> Option<Arc<Matrix>> {
    cache.iter().find(|(known, _)| *known == key).map(|(_, matrix)| matrix.clone())
}

/// Locks; a panic elsewhere leaves the guarded values whole, since they are only ever extended.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
}
