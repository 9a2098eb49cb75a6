//! The rows of a job, in three parts.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::choice::CategoryCounts;
use crate::scan::{Extra, Fields, LabelTable, Layout, Scanned, reorder, scan};
use crate::split::{Deal, RowKey, STRATA, lone, stratify};
use crate::write::{write_some, written_as};
use crate::{
    Cell, ColumnKind, DataError, LeftOut, Row, Rows, Source, SplitPlan, Table, TableColumn,
    TableSpec,
};

/// What to read and how to split it.
///
/// Parts come from files of their own or, by `split`, from `train`; a file wins over a fraction of
/// the plan. With neither a `valid` file nor a plan, [`SplitPlan::default`] applies, less the parts
/// that have files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DatasetSpec {
    /// The training rows, or all of them.
    pub train: PathBuf,
    /// The validation rows.
    pub valid: Option<PathBuf>,
    /// The test rows.
    pub test: Option<PathBuf>,
    /// How to split `train`.
    pub split: Option<SplitPlan>,
    /// In place of validation rows: the number of folds, 2 to 255, that the training rows are dealt
    /// into, with the seed and the groups of the plan.
    pub folds: Option<u32>,
    /// What is learnt from.
    pub content: ContentSpec,
    /// The label column.
    pub label: String,
    /// What labels are.
    pub target: Target,
    /// The class that binary metrics speak of.
    pub positive: Option<String>,
    /// A column that names rows.
    pub id: Option<String>,
    /// A column of weights, finite and at least 0.
    pub weight: Option<String>,
}

/// The columns that are learnt from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentSpec {
    /// Columns of text, joined by newlines.
    Text(Vec<String>),
    /// Columns of numbers and categories.
    Table(TableSpec),
}

impl Default for ContentSpec {
    /// The column `text`.
    fn default() -> Self {
        Self::Text(vec!["text".to_owned()])
    }
}

/// What labels are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// One of two classes or more.
    #[default]
    Class,
    /// A finite number.
    Number,
}

/// One of the three parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What models learn from.
    Train,
    /// What choices are made on.
    Valid,
    /// What the final score is measured on.
    Test,
}

impl Part {
    /// All parts, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        })
    }
}

/// Rows of a data set that are read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// All of a part.
    Part(Part),
    /// The training rows of a fold.
    Fold(u8),
    /// All other training rows.
    Outside(u8),
}

impl From<Part> for Selection {
    fn from(part: Part) -> Self {
        Self::Part(part)
    }
}

impl Selection {
    /// The part that the rows are of.
    fn part(self) -> Part {
        match self {
            Self::Part(part) => part,
            Self::Fold(_) | Self::Outside(_) => Part::Train,
        }
    }
}

/// One labelled row.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The data row in its file, 1-based.
    pub row: u64,
    /// Its first line in the file; see [`Row::line`].
    pub line: u64,
    /// The cell of the id column.
    pub id: Option<String>,
    /// What is learnt from.
    pub content: Content,
    /// What is learnt.
    pub label: Label,
    /// The weight, 1 without a weight column.
    pub weight: f32,
}

/// What a row consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The text columns joined by newlines; a missing cell is empty.
    Text(String),
    /// A cell for each column of [`Dataset::table`], as it is in the file.
    Cells(Vec<Option<String>>),
}

impl Content {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Cells(_) => None,
        }
    }

    /// The cells, none if it is a text.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        let cells = match self {
            Self::Text(_) => &[][..],
            Self::Cells(cells) => cells,
        };
        cells.iter().map(|cell| Cell::of(cell.as_deref()))
    }
}

/// What is learnt of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Label {
    /// Position among [`Dataset::labels`].
    Class(u32),
    /// A finite number.
    Number(f64),
}

impl Label {
    /// The class, if it is one.
    pub fn class(self) -> Option<u32> {
        match self {
            Self::Class(class) => Some(class),
            Self::Number(_) => None,
        }
    }

    /// The number, if it is one.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Class(_) => None,
            Self::Number(number) => Some(number),
        }
    }
}

/// What a file was when the data set was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDigest {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Number of its data rows.
    pub rows: u64,
}

/// The fold of a row that is not dealt; there are at most 255.
const NO_FOLD: u8 = u8::MAX;

/// Labelled rows that have all been read and checked once. Holds a byte per row of a file that is
/// split, and nothing per row otherwise.
#[derive(Debug, Clone)]
pub struct Dataset {
    layout: Layout,
    files: Vec<(Source, FileDigest)>,
    /// Position in `files` of each part's rows.
    homes: [Option<usize>; 3],
    /// The part of each row of the first file, if that is split.
    assignment: Option<Arc<Vec<u8>>>,
    /// How many folds there are.
    folds: u8,
    /// The fold of each row of the first file, [`NO_FOLD`] for rows of other parts, if there are
    /// folds.
    dealt: Option<Arc<Vec<u8>>>,
    labels: Arc<LabelTable>,
    table: Option<Arc<Table>>,
    left_out: Vec<LeftOut>,
    positive: Option<usize>,
    counts: [Vec<u64>; 3],
    digest: String,
}

impl Dataset {
    /// Reads every file once to check all rows, learn the labels and assign parts, and once more
    /// for its digest. Of tables the train file is read once before, to find what its columns are,
    /// and the training rows once more, to learn their categories.
    pub fn open(spec: &DatasetSpec) -> Result<Self, DataError> {
        let plan = resolve(spec)?;
        let source = Source::open(&spec.train)?;
        let extra = plan.as_ref().map_or(Extra::None, SplitPlan::extra);
        let of_plan = spec.split.iter().flat_map(|plan| [plan.group.as_ref(), plan.time.as_ref()]);
        let taken = [Some(&spec.label), spec.id.as_ref(), spec.weight.as_ref()];
        let taken: Vec<Option<&String>> = taken.into_iter().chain(of_plan).collect();
        let chosen = spec.content.choose(&source, &taken)?;
        let layout = Layout {
            content: chosen.fields,
            label: spec.label.clone(),
            target: spec.target,
            id: spec.id.clone(),
            weight: spec.weight.clone(),
        };
        let mut labels = LabelTable::default();
        let mut dataset = Self {
            layout,
            files: Vec::new(),
            homes: [None; 3],
            assignment: None,
            folds: 0,
            dealt: None,
            labels: Arc::default(),
            table: None,
            left_out: chosen.left_out,
            positive: None,
            counts: Default::default(),
            digest: String::new(),
        };
        let mut train = dataset.add(Part::Train, source, &extra, &mut labels)?;
        for (part, path) in [(Part::Valid, &spec.valid), (Part::Test, &spec.test)] {
            if let Some(path) = path {
                let source = Source::open(path)?;
                let scanned = dataset.add(part, source, &Extra::None, &mut labels)?;
                dataset.counts[part as usize] = scanned.counts;
            }
        }
        match spec.target {
            Target::Class => {
                let order = labels.sort();
                train.renumber(&order);
                for part in [Part::Valid, Part::Test] {
                    let counts = &mut dataset.counts[part as usize];
                    *counts = reorder(counts, &order);
                }
            }
            Target::Number => stratify(&mut train.keys, &train.numbers),
        }
        dataset.counts[Part::Train as usize] = std::mem::take(&mut train.counts);
        dataset.labels = Arc::new(labels);
        if let Some(plan) = plan.as_ref().filter(|plan| plan.valid + plan.test > 0.0) {
            dataset.split(plan, &train.keys);
        }
        dataset.check_parts(spec, plan.as_ref(), &train.numbers)?;
        if let Some(folds) = spec.folds {
            dataset.deal(folds, plan.as_ref(), &train.keys)?;
        }
        dataset.table = dataset.learn_table(chosen.ignored)?.map(Arc::new);
        dataset.positive = dataset.find_positive(spec)?;
        dataset.digest = dataset.describe(spec, plan.as_ref());
        Ok(dataset)
    }

    /// The label column.
    pub fn label(&self) -> &str {
        &self.layout.label
    }

    /// What labels are.
    pub fn target(&self) -> Target {
        self.layout.target
    }

    /// The columns of the rows' cells, with the categories of the training rows; `None` of texts.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_deref()
    }

    /// Columns that are not learnt from though nobody said so.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The labels, trimmed of white space: in numeric order if all are integers, else in byte
    /// order. None where labels are numbers.
    pub fn labels(&self) -> &[String] {
        self.labels.names()
    }

    /// Position of the positive class of a binary data set: the one given; else `1`, `true`, `yes`,
    /// `positive` or `pos` in any case; else the second label.
    pub fn positive(&self) -> Option<usize> {
        self.positive
    }

    /// Number of rows of a part, 0 if the data set has no such part.
    pub fn len(&self, part: Part) -> u64 {
        self.class_counts(part).iter().sum()
    }

    /// Whether a part has no rows.
    pub fn is_empty(&self, part: Part) -> bool {
        self.len(part) == 0
    }

    /// Rows of each class in a part, in the order of [`Self::labels`]; where labels are numbers, one
    /// count of all rows.
    pub fn class_counts(&self, part: Part) -> &[u64] {
        &self.counts[part as usize]
    }

    /// SHA-256, in hex, of the contents of the files and of what the spec makes of them. Paths play
    /// no role.
    pub fn digest(&self) -> String {
        self.digest.clone()
    }

    /// The files that were read.
    pub fn files(&self) -> Vec<FileDigest> {
        self.files.iter().map(|(_, digest)| digest.clone()).collect()
    }

    /// For each row of the train file its part as a number (0 train, 1 valid, 2 test), if a plan
    /// splits that file; [`crate::write_split`] takes it.
    pub fn assignment(&self) -> Option<&[u8]> {
        self.assignment.as_ref().map(|parts| parts.as_slice())
    }

    /// Number of folds that the training rows are dealt into, 0 if they are not.
    pub fn folds(&self) -> u8 {
        self.folds
    }

    /// For each training row, in the order of [`Self::examples`], its fold; none if there are no folds.
    pub fn fold_of_row(&self) -> Vec<u8> {
        let dealt = self.dealt.iter().flat_map(|dealt| dealt.iter());
        dealt.copied().filter(|fold| *fold != NO_FOLD).collect()
    }

    /// A file with the selected rows and no others, all columns, in the order of
    /// [`Self::examples`]: the part's own, or, where they are a share of a file, one that is written
    /// to `folder` under `name` with the ending of its format. `None` if the data set has no such
    /// part.
    pub fn file_of(
        &self,
        selection: impl Into<Selection>,
        folder: &Path,
        name: &str,
    ) -> Result<Option<PathBuf>, DataError> {
        let selection = selection.into();
        let Some(home) = self.homes[selection.part() as usize] else { return Ok(None) };
        let source = &self.files[home].0;
        let Some(filter) = self.filter(selection) else {
            return Ok(Some(source.path().to_owned()));
        };
        let path = folder.join(format!("{name}.{}", written_as(source.format()).extension()));
        let rows = self.files[home].1.rows;
        let outputs: Vec<u8> = (0..rows).map(|row| u8::from(filter.takes(row))).collect();
        write_some(source, &outputs, &[None, Some(&path)])?;
        Ok(Some(path))
    }

    /// Streams the selected rows in the order of their file.
    pub fn examples(&self, selection: impl Into<Selection>) -> Result<Examples, DataError> {
        let selection = selection.into();
        let home = self.homes[selection.part() as usize].map(|index| &self.files[index]);
        let rows = home.map(|(source, _)| source.rows(&self.layout.columns(&Extra::None)));
        Ok(Examples {
            rows: rows.transpose()?,
            path: home.map(|(source, _)| source.path().to_owned()).unwrap_or_default(),
            expected: home.map_or(0, |(_, digest)| digest.rows),
            row: 0,
            filter: self.filter(selection),
            layout: self.layout.clone(),
            labels: Arc::clone(&self.labels),
        })
    }

    /// Which rows of the file are meant, if not all.
    fn filter(&self, selection: Selection) -> Option<Filter> {
        let (of, number, inside) = match selection {
            Selection::Part(part) if self.homes[part as usize] == Some(0) => {
                (&self.assignment, part as u8, true)
            }
            Selection::Part(_) => return None,
            Selection::Fold(fold) => (&self.dealt, fold, true),
            Selection::Outside(fold) => (&self.dealt, fold, false),
        };
        of.as_ref().map(|of| Filter { of: Arc::clone(of), number, inside })
    }

    /// Whether weights are read from a column.
    pub(crate) fn is_weighted(&self) -> bool {
        self.layout.weight.is_some()
    }

    /// Scans the file of a part.
    fn add(
        &mut self,
        part: Part,
        source: Source,
        extra: &Extra,
        labels: &mut LabelTable,
    ) -> Result<Scanned, DataError> {
        let mut scanned = scan(&source, &self.layout, extra, labels)?;
        let digest = digest_file(source.path(), scanned.rows)?;
        if part != Part::Train {
            scanned.keys = Vec::new();
        }
        self.homes[part as usize] = Some(self.files.len());
        self.files.push((source, digest));
        Ok(scanned)
    }

    fn split(&mut self, plan: &SplitPlan, keys: &[RowKey]) {
        let parts = plan.assign(keys, self.strata());
        for (part, fraction) in [(Part::Valid, plan.valid), (Part::Test, plan.test)] {
            if fraction > 0.0 {
                self.homes[part as usize] = Some(0);
                self.counts[part as usize] = vec![0; self.counts[0].len()];
            }
        }
        self.counts[0].fill(0);
        for (part, key) in parts.iter().zip(keys) {
            let class = match self.target() {
                Target::Class => usize::from(key.label),
                Target::Number => 0,
            };
            self.counts[usize::from(*part)][class] += 1;
        }
        self.assignment = Some(Arc::new(parts));
    }

    /// Into how many kinds of rows a split divides each part evenly.
    fn strata(&self) -> usize {
        match self.target() {
            Target::Class => self.labels.len(),
            Target::Number => STRATA,
        }
    }

    /// The table with the categories of the training rows.
    fn learn_table(&self, ignored: Vec<String>) -> Result<Option<Table>, DataError> {
        let Fields::Table(columns) = &self.layout.content else { return Ok(None) };
        let is_category = |column: &TableColumn| matches!(column.kind, ColumnKind::Category(_));
        let mut counts: Vec<Option<CategoryCounts>> = columns
            .iter()
            .map(|column| is_category(column).then(CategoryCounts::default))
            .collect();
        if columns.iter().any(is_category) {
            for example in self.examples(Part::Train)? {
                let Content::Cells(cells) = example?.content else { continue };
                for (counts, cell) in counts.iter_mut().zip(&cells) {
                    if let Some(counts) = counts {
                        counts.see(cell.as_deref());
                    }
                }
            }
        }
        let learnt = columns.iter().zip(counts).map(|(column, counts)| TableColumn {
            name: column.name.clone(),
            kind: match counts {
                Some(counts) => ColumnKind::Category(counts.learn()),
                None => column.kind.clone(),
            },
        });
        let table = Table::new(learnt.collect(), ignored);
        table.map(Some).map_err(|error| DataError::BadTable { path: self.path(Part::Train), error })
    }

    /// Deals the training rows into folds.
    fn deal(
        &mut self,
        folds: u32,
        plan: Option<&SplitPlan>,
        keys: &[RowKey],
    ) -> Result<(), DataError> {
        let is_training = |row: &usize| {
            self.assignment.as_ref().is_none_or(|parts| parts[*row] == Part::Train as u8)
        };
        let rows: Vec<usize> = (0..keys.len()).filter(is_training).collect();
        let keys: Vec<RowKey> = rows.iter().map(|row| keys[*row]).collect();
        let seed = plan.map_or_else(|| SplitPlan::default().seed, |plan| plan.seed);
        let grouped = plan.is_some_and(|plan| plan.group.is_some());
        let dealt = Deal { folds, seed, grouped }.assign(&keys, self.strata())?;
        let lone = lone(&keys, &dealt).filter(|_| self.target() == Target::Class);
        if let Some(lone) = lone {
            let line = match self.examples(Part::Train)?.nth(lone) {
                Some(example) => example?.line,
                None => 0,
            };
            return Err(DataError::LoneClass {
                path: self.path(Part::Train),
                line,
                class: self.labels.name(usize::from(keys[lone].label)).to_owned(),
                folds,
            });
        }
        let mut fold_of_row = vec![NO_FOLD; self.files[0].1.rows as usize];
        for (row, fold) in rows.into_iter().zip(dealt) {
            fold_of_row[row] = fold;
        }
        // `Deal` has refused more than there can be.
        self.folds = u8::try_from(folds).unwrap_or(u8::MAX);
        self.dealt = Some(Arc::new(fold_of_row));
        Ok(())
    }

    /// Checks that all parts have rows and that there is something to learn; `numbers` are the labels
    /// of the train file where they are some.
    fn check_parts(
        &self,
        spec: &DatasetSpec,
        plan: Option<&SplitPlan>,
        numbers: &[f64],
    ) -> Result<(), DataError> {
        let fractions = plan.map_or([0.0; 2], |plan| [plan.valid, plan.test]);
        let wanted = [
            (Part::Train, true),
            (Part::Valid, spec.valid.is_some() || fractions[0] > 0.0),
            (Part::Test, spec.test.is_some() || fractions[1] > 0.0),
        ];
        for (part, wanted) in wanted {
            if wanted && self.is_empty(part) {
                return Err(DataError::EmptySplit { path: self.path(part), part });
            }
        }
        if self.target() == Target::Number {
            return self.check_numbers(numbers);
        }
        for part in [Part::Valid, Part::Test] {
            let pairs = self.class_counts(part).iter().zip(self.class_counts(Part::Train));
            for (class, (here, learned)) in pairs.enumerate() {
                if *here > 0 && *learned == 0 {
                    return Err(self.unseen(part, class)?);
                }
            }
        }
        match self.labels() {
            [class] => {
                Err(DataError::OneClass { path: self.path(Part::Train), class: class.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the training labels among those of the train file are not all the same.
    fn check_numbers(&self, numbers: &[f64]) -> Result<(), DataError> {
        let parts = self.assignment.as_ref().map(|parts| parts.as_slice()).unwrap_or_default();
        let is_training = |row: usize| parts.get(row).is_none_or(|p| *p == Part::Train as u8);
        let mut training = (0..).zip(numbers).filter(|(row, _)| is_training(*row)).map(|(_, x)| *x);
        match training.next() {
            Some(value) if training.all(|other| other == value) => {
                Err(DataError::OneValue { path: self.path(Part::Train), value })
            }
            _ => Ok(()),
        }
    }

    fn unseen(&self, part: Part, class: usize) -> Result<DataError, DataError> {
        let mut line = 0;
        for example in self.examples(part)? {
            let example = example?;
            if example.label == Label::Class(class as u32) {
                line = example.line;
                break;
            }
        }
        let class = self.labels.name(class).to_owned();
        Ok(DataError::UnseenClass { path: self.path(part), line, class, part })
    }

    /// The file that a part's rows are in.
    pub(crate) fn path(&self, part: Part) -> PathBuf {
        let home = self.homes[part as usize].unwrap_or(0);
        self.files.get(home).map(|(source, _)| source.path().to_owned()).unwrap_or_default()
    }

    /// Name and kind of each column of a table.
    fn kinds(&self) -> Vec<(&str, &'static str)> {
        let columns = self.table.iter().flat_map(|table| table.columns());
        columns.map(|column| (column.name.as_str(), column.kind.name())).collect()
    }

    fn find_positive(&self, spec: &DatasetSpec) -> Result<Option<usize>, DataError> {
        let names = self.labels();
        let given = match spec.positive.as_deref().map(str::trim) {
            None => None,
            Some(positive) => {
                let index = names.iter().position(|name| name == positive);
                Some(index.ok_or_else(|| DataError::UnknownPositive {
                    path: spec.train.clone(),
                    positive: positive.to_owned(),
                    labels: names.iter().take(100).cloned().collect(),
                })?)
            }
        };
        let usual = ["1", "true", "yes", "positive", "pos"];
        let likely = || names.iter().position(|n| usual.contains(&n.to_lowercase().as_str()));
        Ok((names.len() == 2).then(|| given.or_else(likely).unwrap_or(1)))
    }

    /// The digest of everything that decides what examples there are.
    fn describe(&self, spec: &DatasetSpec, plan: Option<&SplitPlan>) -> String {
        /// What was asked for, and what was found: names and kinds.
        #[derive(Serialize)]
        struct TableDescription<'a>(&'a TableSpec, Vec<(&'a str, &'static str)>);
        #[derive(Serialize)]
        struct Description<'a> {
            version: u32,
            text: &'a [String],
            label: &'a str,
            positive: Option<usize>,
            id: Option<&'a str>,
            weight: Option<&'a str>,
            split: Option<&'a SplitPlan>,
            #[serde(skip_serializing_if = "Option::is_none")]
            folds: Option<u32>,
            #[serde(skip_serializing_if = "Option::is_none")]
            target: Option<Target>,
            #[serde(skip_serializing_if = "Option::is_none")]
            table: Option<TableDescription<'a>>,
            files: Vec<(Part, &'static str, &'a str)>,
        }
        let file = |part: &Part| {
            let (source, digest) = &self.files[self.homes[*part as usize]?];
            Some((*part, source.format().extension(), digest.sha256.as_str()))
        };
        let (text, table) = match &spec.content {
            ContentSpec::Text(columns) => (columns.as_slice(), None),
            ContentSpec::Table(table) => (&[][..], Some(TableDescription(table, self.kinds()))),
        };
        let description = Description {
            version: 1,
            text,
            label: &spec.label,
            positive: self.positive,
            id: spec.id.as_deref(),
            weight: spec.weight.as_deref(),
            split: plan,
            folds: spec.folds,
            target: Some(spec.target).filter(|target| *target != Target::Class),
            table,
            files: Part::ALL.iter().filter_map(file).collect(),
        };
        // Strings and finite numbers always have a JSON form.
        hex(&Sha256::digest(serde_json::to_vec(&description).unwrap_or_default()))
    }
}

/// The plan that applies to `train`, if there is one.
fn resolve(spec: &DatasetSpec) -> Result<Option<SplitPlan>, DataError> {
    if spec.folds.is_some() && spec.valid.is_some() {
        return Err(DataError::FoldsBesideValid);
    }
    let mut plan = match (&spec.split, &spec.valid) {
        (Some(plan), _) => plan.clone(),
        (None, Some(_)) => return Ok(None),
        (None, None) => SplitPlan::default(),
    };
    if spec.valid.is_some() || spec.folds.is_some() {
        plan.valid = 0.0;
    }
    if spec.test.is_some() {
        plan.test = 0.0;
    }
    plan.check()?;
    match (&plan.time, spec.folds) {
        (Some(time), Some(_)) => Err(DataError::FoldsByTime { time: time.clone() }),
        // Folds are dealt by the plan's seed and groups, even where nothing is split off.
        _ => Ok((plan.valid + plan.test > 0.0 || spec.folds.is_some()).then_some(plan)),
    }
}

/// Some of the rows of a file.
struct Filter {
    /// A number for each row.
    of: Arc<Vec<u8>>,
    number: u8,
    /// Whether the rows of that number are meant, or those of other numbers but [`NO_FOLD`].
    inside: bool,
}

impl Filter {
    /// Whether `row`, from 0, is among them. Rows beyond those of the opened file are, so that they
    /// are found.
    fn takes(&self, row: u64) -> bool {
        self.of.get(row as usize).is_none_or(|number| match self.inside {
            true => *number == self.number,
            false => *number != self.number && *number != NO_FOLD,
        })
    }
}

/// A stream of rows; see [`Dataset::examples`].
pub struct Examples {
    rows: Option<Rows>,
    path: PathBuf,
    /// Rows the file had when it was opened.
    expected: u64,
    /// Rows read.
    row: u64,
    filter: Option<Filter>,
    layout: Layout,
    labels: Arc<LabelTable>,
}

impl Iterator for Examples {
    type Item = Result<Example, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = match self.rows.as_mut()?.next() {
                Some(Ok(row)) => row,
                Some(Err(error)) => return Some(self.stop(error)),
                None if self.row == self.expected => return None,
                None => {
                    return Some(self.stop(DataError::Changed { path: self.path.clone() }));
                }
            };
            self.row += 1;
            if self.filter.as_ref().is_some_and(|filter| !filter.takes(self.row - 1)) {
                continue;
            }
            return Some(match self.example(row) {
                Ok(example) => Ok(example),
                Err(error) => self.stop(error),
            });
        }
    }
}

impl Examples {
    fn example(&self, row: Row) -> Result<Example, DataError> {
        let (number, line) = (self.row, row.line);
        let changed = || DataError::Changed { path: self.path.clone() };
        let meaning = self.layout.read(&self.path, &row)?;
        let label = match self.layout.target {
            Target::Class => {
                let class = self.labels.find(meaning.label);
                class.map(|class| Label::Class(u32::from(class))).ok_or_else(changed)?
            }
            Target::Number => Label::Number(self.layout.number(&self.path, line, meaning.label)?),
        };
        if number > self.expected {
            return Err(changed());
        }
        let (id, weight) = (meaning.id.map(str::to_owned), meaning.weight);
        let content = self.layout.content(row);
        Ok(Example { row: number, line, id, content, label, weight })
    }

    fn stop(&mut self, error: DataError) -> Result<Example, DataError> {
        self.rows = None;
        Err(error)
    }
}

fn digest_file(path: &Path, rows: u64) -> Result<FileDigest, DataError> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(DataError::io(path))?;
        if read == 0 {
            break;
        }
        sha.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(FileDigest { path: path.to_owned(), sha256: hex(&sha.finalize()), bytes, rows })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
