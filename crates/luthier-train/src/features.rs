//! Rows as hashed n-grams, found once and shared by all trials of a study.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use luthier_model::{Extractor, FeatureIndex, Group, HASH_BITS, MAX_CHARS, MAX_WORDS, NgramText};
use luthier_space::Values;

use crate::TrainError;

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

/// Streams the rows of a subset, in a fixed order, to a visitor. It is called again when a trial
/// wants n-grams that no trial wanted before, so texts need not stay in memory.
pub type RowSource<'a> =
    dyn Fn(Subset, &mut dyn FnMut(Row<'_>)) -> Result<(), SourceError> + Send + Sync + 'a;

/// Why a [`RowSource`] failed.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Labelled texts for training, with the n-grams found in them so far.
///
/// Memory grows with the n-grams of the groups that trials asked for (4 bytes each), not with the
/// texts.
pub struct TextData<'a> {
    source: Box<RowSource<'a>>,
    classes: usize,
    train: Targets,
    valid: Targets,
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
pub(crate) struct Matrix {
    /// The n-grams that have a column; its rows are the columns here.
    pub(crate) index: FeatureIndex,
    pub(crate) train: SparseRows,
    pub(crate) valid: SparseRows,
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
        let mut train = Targets::default();
        let mut valid = Targets::default();
        source(Subset::Train, &mut |row| train.push(row)).map_err(TrainError::Source)?;
        source(Subset::Valid, &mut |row| valid.push(row)).map_err(TrainError::Source)?;
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
        let wanted: Vec<Group> = Group::up_to(key.words, key.chars).collect();
        self.extract(&wanted, key)?;
        let groups: Vec<&GroupRows> =
            wanted.iter().filter_map(|group| self.groups[group.position()].get()).collect();
        let matrix = Arc::new(Matrix::build(&groups, key.min_rows));
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
        let targets = match subset {
            Subset::Train => &self.train,
            Subset::Valid => &self.valid,
        };
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
    fn build(groups: &[&GroupRows], min_rows: u8) -> Self {
        let index = FeatureIndex::new(frequent(groups, min_rows));
        let resolve = |subset: fn(&GroupRows) -> &SparseRows| {
            let rows = groups.first().map_or(0, |group| subset(group).len());
            let mut resolved = SparseRows::with_rows(rows);
            let mut scratch = Vec::new();
            for row in 0..rows {
                for group in groups {
                    scratch.extend(subset(group).row(row).iter().filter_map(|b| index.row(*b)));
                }
                resolved.end_row(&mut scratch);
            }
            resolved
        };
        let train = resolve(|group| &group.train);
        let valid = resolve(|group| &group.valid);
        Self { index, train, valid }
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.index.len()
    }

    /// The preprocessing that gives these columns.
    pub(crate) fn preprocess(&self, key: MatrixKey) -> NgramText {
        NgramText::new(key.words, key.chars, self.index.clone())
    }

    fn bytes(&self) -> usize {
        self.train.bytes() + self.valid.bytes()
    }
}

/// The buckets that occur in at least `min_rows` training rows.
fn frequent<'g>(groups: &'g [&GroupRows], min_rows: u8) -> Box<dyn Iterator<Item = u32> + 'g> {
    let all = groups.iter().flat_map(|group| group.train.columns.iter().copied());
    if min_rows <= 1 {
        return Box::new(all);
    }
    let mut counts = vec![0u8; 1 << HASH_BITS];
    all.for_each(|bucket| counts[bucket as usize] = counts[bucket as usize].saturating_add(1));
    let kept = counts.into_iter().enumerate().filter(move |(_, count)| *count >= min_rows);
    Box::new(kept.map(|(bucket, _)| bucket as u32))
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
