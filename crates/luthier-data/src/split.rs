//! Which rows go to which part or fold.
//!
//! Everything follows from the seed and the content of rows. The rows of a file are first tied into
//! *units* that must stay together: rows with the same content, or with the same value of a group
//! column. A unit's *draw* is a hash of the seed and its content; units are dealt in the order of
//! their draws, so neither the order of the file nor a neighbour plays a role.

use std::path::PathBuf;

use serde::Serialize;

#[cfg(doc)]
use crate::DatasetSpec;
use crate::hash::{combine, hash};
use crate::scan::{Extra, LabelTable, Layout, scan};
use crate::{ContentSpec, DataError, Part, Source, Target};

/// How many kinds of rows there are to a split where labels are numbers: tenths of the rows by their
/// labels.
pub(crate) const STRATA: usize = 10;

/// How to split one file into parts. The default splits off a tenth for each of `valid` and `test`
/// with seed 42.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitPlan {
    /// Fraction of the rows for validation, in [0, 1).
    pub valid: f64,
    /// Fraction of the rows for testing, in [0, 1); with `valid` below 1.
    pub test: f64,
    /// Picks one of the many splits.
    pub seed: u64,
    /// A column whose equal values stay together, such as a user. Rows without a value stand
    /// alone. Groups come before texts: a text that several groups share may land in several parts.
    pub group: Option<String>,
    /// A column of numbers or RFC 3339 times: the oldest rows train, the newest test. Rows of the
    /// same time stay together; the seed plays no role.
    pub time: Option<String>,
}

impl Default for SplitPlan {
    fn default() -> Self {
        Self { valid: 0.1, test: 0.1, seed: 42, group: None, time: None }
    }
}

impl SplitPlan {
    /// That the fractions leave something to train on and the order is one.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let (valid, test) = (self.valid, self.test);
        if !(valid >= 0.0 && test >= 0.0 && valid + test < 1.0) {
            return Err(DataError::BadFractions { valid, test });
        }
        match (&self.group, &self.time) {
            (Some(group), Some(time)) => {
                Err(DataError::GroupAndTime { group: group.clone(), time: time.clone() })
            }
            _ => Ok(()),
        }
    }

    /// What of a row beside text and label decides its part.
    pub(crate) fn extra(&self) -> Extra {
        match (&self.group, &self.time) {
            (Some(group), _) => Extra::Group(group.clone()),
            (None, Some(time)) => Extra::Time(time.clone()),
            (None, None) => Extra::None,
        }
    }

    /// The part of each row, as a number of [`Part`].
    pub(crate) fn assign(&self, rows: &[RowKey], classes: usize) -> Vec<u8> {
        let fractions = [1.0 - self.valid - self.test, self.valid, self.test];
        if self.time.is_some() {
            return cut_by_time(rows, fractions);
        }
        let units = Units::of(rows, self.seed);
        if self.group.is_some() {
            return units.deal_groups(rows, classes, &fractions);
        }
        units.deal_stratified(rows, classes, &fractions, Keep::One)
    }
}

/// How to deal the rows of one file into folds.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldSpec {
    /// The file.
    pub file: PathBuf,
    /// The columns that are learnt from; rows that agree in all of them stay together.
    pub content: ContentSpec,
    /// The label column, whose classes, or tenths of numbers, are spread evenly.
    pub label: String,
    /// What labels are.
    pub target: Target,
    /// A column whose equal values stay together instead; see [`SplitPlan::group`].
    pub group: Option<String>,
    /// Number of folds, 2 to 255.
    pub folds: u32,
    /// Picks one of the many deals.
    pub seed: u64,
}

/// The fold of each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folds {
    /// For each data row of the file, in order, its fold, counted from 0.
    pub fold_of_row: Vec<u8>,
}

/// Deals the rows of a file into stratified folds: per class and in total, folds differ by at most
/// one row where units are single rows. Every class occurs in two folds or more, so that it can be
/// learned whichever fold is left out. [`DatasetSpec::folds`] deals the training rows of a data set
/// in the same way.
pub fn assign_folds(spec: &FoldSpec) -> Result<Folds, DataError> {
    let source = Source::open(&spec.file)?;
    let extra = spec.group.clone().map_or(Extra::None, Extra::Group);
    let content = spec.content.choose(&source, &[Some(&spec.label), spec.group.as_ref()])?.fields;
    let (label, target) = (spec.label.clone(), spec.target);
    let layout = Layout { content, label, target, id: None, weight: None };
    let mut labels = LabelTable::default();
    let mut scanned = scan(&source, &layout, &extra, &mut labels)?;
    if scanned.keys.is_empty() {
        return Err(DataError::EmptySplit { path: spec.file.clone(), part: Part::Train });
    }
    let deal = Deal { folds: spec.folds, seed: spec.seed, grouped: spec.group.is_some() };
    if target == Target::Number {
        stratify(&mut scanned.keys, &scanned.numbers);
        return Ok(Folds { fold_of_row: deal.assign(&scanned.keys, STRATA)? });
    }
    scanned.renumber(&labels.sort());
    let fold_of_row = deal.assign(&scanned.keys, labels.len())?;
    if labels.len() == 1 {
        return Err(DataError::OneClass {
            path: source.path().to_owned(),
            class: labels.name(0).to_owned(),
        });
    }
    if let Some(row) = lone(&scanned.keys, &fold_of_row) {
        let line = source.rows(&[&layout.label])?.nth(row).transpose()?.map_or(0, |r| r.line);
        return Err(DataError::LoneClass {
            path: source.path().to_owned(),
            line,
            class: labels.name(usize::from(scanned.keys[row].label)).to_owned(),
            folds: spec.folds,
        });
    }
    Ok(Folds { fold_of_row })
}

/// How rows are dealt into folds; see [`FoldSpec`].
pub(crate) struct Deal {
    pub(crate) folds: u32,
    pub(crate) seed: u64,
    /// Whether what keeps rows together is a group.
    pub(crate) grouped: bool,
}

impl Deal {
    /// The fold of each row.
    pub(crate) fn assign(&self, keys: &[RowKey], classes: usize) -> Result<Vec<u8>, DataError> {
        let (units, folds) = (Units::of(keys, self.seed), self.folds);
        if !(2..=255).contains(&folds) || units.spans.len() < folds as usize {
            return Err(DataError::BadFolds { folds, units: units.spans.len() as u64 });
        }
        let fractions = vec![1.0 / f64::from(folds); folds as usize];
        Ok(match self.grouped {
            true => units.deal_groups(keys, classes, &fractions),
            false => units.deal_stratified(keys, classes, &fractions, Keep::None),
        })
    }
}

/// The first row of a class that sits in one fold only, so that it can't be learned while that is
/// left out.
pub(crate) fn lone(keys: &[RowKey], folds: &[u8]) -> Option<usize> {
    // For each class its first row, while no other fold has one too.
    let mut firsts: Vec<Option<usize>> = Vec::new();
    let mut spread = Vec::new();
    for (row, key) in keys.iter().enumerate() {
        let class = usize::from(key.label);
        if firsts.len() <= class {
            firsts.resize(class + 1, None);
            spread.resize(class + 1, false);
        }
        let first = *firsts[class].get_or_insert(row);
        spread[class] |= folds[first] != folds[row];
    }
    firsts.into_iter().zip(spread).find_map(|(first, spread)| first.filter(|_| !spread))
}

/// What decides a row's part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowKey {
    /// Hash of what keeps rows together; a number that orders like the time in a plan by time.
    pub(crate) unit: u64,
    /// Number of the label; where labels are numbers, of the tenth of the rows that has it.
    pub(crate) label: u16,
}

/// Finds for each row which of [`STRATA`] shares of the rows, by their labels, its label is in; equal
/// labels are in the same.
pub(crate) fn stratify(keys: &mut [RowKey], labels: &[f64]) {
    let mut sorted = labels.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = |share: usize| sorted[(sorted.len() * share).div_ceil(STRATA).max(1) - 1];
    let ends: Vec<f64> = (1..STRATA).filter(|_| !sorted.is_empty()).map(last).collect();
    for (key, label) in keys.iter_mut().zip(labels) {
        key.label = ends.partition_point(|end| end < label) as u16;
    }
}

/// Rows tied into units, in the order of their draws.
struct Units {
    /// All rows, unit after unit.
    rows: Vec<u32>,
    /// Draw, and where the unit begins and ends in `rows`.
    spans: Vec<(u64, u32, u32)>,
}

/// Whether the first part has a claim on every class.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// It gets a row of each class that has three or more.
    One,
    /// All parts are alike.
    None,
}

impl Units {
    fn of(keys: &[RowKey], seed: u64) -> Self {
        let mut rows: Vec<u32> = (0..keys.len() as u32).collect();
        rows.sort_unstable_by_key(|row| (keys[*row as usize].unit, *row));
        let salt = hash(seed, b"split");
        let (mut spans, mut start) = (Vec::new(), 0u32);
        for unit in rows.chunk_by(|a, b| keys[*a as usize].unit == keys[*b as usize].unit) {
            let end = start + unit.len() as u32;
            spans.push((combine(salt, keys[unit[0] as usize].unit), start, end));
            start = end;
        }
        spans.sort_unstable();
        Self { rows, spans }
    }

    fn rows_of(&self, (_, start, end): (u64, u32, u32)) -> &[u32] {
        &self.rows[start as usize..end as usize]
    }

    /// Deals the units of one class after the other; a unit of several classes belongs to its most
    /// frequent one. A unit goes to the last part that has room for all of it, else to the one
    /// with the most room.
    fn deal_stratified(
        &self,
        keys: &[RowKey],
        classes: usize,
        fractions: &[f64],
        keep: Keep,
    ) -> Vec<u8> {
        let mut spans_of = vec![Vec::new(); classes];
        for span in &self.spans {
            spans_of[usize::from(majority(keys, self.rows_of(*span)))].push(*span);
        }
        let mut parts = vec![0u8; keys.len()];
        let mut owed = vec![0f64; fractions.len()];
        for spans in spans_of {
            let size: i64 = spans.iter().map(|span| i64::from(span.2 - span.1)).sum();
            owed.iter_mut().zip(fractions).for_each(|(o, f)| *o += f * size as f64);
            let mut room = apportion(size, fractions, &owed, keep);
            for span in spans {
                let size = i64::from(span.2 - span.1);
                let fitting = room.iter().rposition(|free| *free >= size);
                let part = fitting.unwrap_or_else(|| first_largest(&room));
                room[part] -= size;
                owed[part] -= size as f64;
                for row in self.rows_of(span) {
                    parts[*row as usize] = part as u8;
                }
            }
        }
        parts
    }

    /// Deals whole groups: each goes where its classes fall short most, the shortfall of a class
    /// weighed by the class's share of all rows so that small classes count as much as large ones.
    fn deal_groups(&self, keys: &[RowKey], classes: usize, fractions: &[f64]) -> Vec<u8> {
        let mut totals = vec![0f64; classes];
        for key in keys {
            totals[usize::from(key.label)] += 1.0;
        }
        let target = |fraction: &f64| totals.iter().map(|total| total * fraction).collect();
        let mut shortfall: Vec<Vec<f64>> = fractions.iter().map(target).collect();
        let mut parts = vec![0u8; keys.len()];
        for span in &self.spans {
            let group = self.rows_of(*span);
            let classes = group.iter().map(|row| usize::from(keys[*row as usize].label));
            let gain = |part: &Vec<f64>| classes.clone().map(|c| part[c] / totals[c]).sum::<f64>();
            let gains: Vec<f64> = shortfall
                .iter()
                .zip(fractions)
                // A part that wants nothing gets nothing, however short the others overflow.
                .map(|(part, fraction)| if *fraction > 0.0 { gain(part) } else { f64::MIN })
                .collect();
            let part = first_largest(&gains);
            classes.for_each(|class| shortfall[part][class] -= 1.0);
            for row in group {
                parts[*row as usize] = part as u8;
            }
        }
        parts
    }
}

/// The most frequent label of `rows`, the smallest among equals.
fn majority(keys: &[RowKey], rows: &[u32]) -> u16 {
    let mut labels: Vec<u16> = rows.iter().map(|row| keys[*row as usize].label).collect();
    labels.sort_unstable();
    let runs = labels.chunk_by(|a, b| a == b);
    runs.rev().max_by_key(|run| run.len()).map_or(0, |run| run[0])
}

fn first_largest<T: PartialOrd>(values: &[T]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// How many rows of a class each part should get: the whole part of its share; the rows that are
/// left go one by one to the parts that are owed most. `owed` is what each part should have of all
/// classes so far less what it got of the earlier ones. For a single class that is the method of
/// largest remainders; over many it makes a hundred classes of four rows fill a tenth.
fn apportion(size: i64, fractions: &[f64], owed: &[f64], keep: Keep) -> Vec<i64> {
    // A share of 2.9999999999999996 is 3.
    let share = |fraction: &f64| (fraction * size as f64 + 1e-9).floor() as i64;
    let mut counts: Vec<i64> = fractions.iter().map(share).collect();
    for _ in counts.iter().sum::<i64>()..size {
        let claim = |((fraction, owed), count): ((&f64, &f64), &i64)| match *fraction > 0.0 {
            // Rounded, so that claims which are equal on paper tie and the first part gets the row.
            true => ((owed - *count as f64) * 1e9).round() as i64,
            false => i64::MIN,
        };
        let claims: Vec<i64> = fractions.iter().zip(owed).zip(&counts).map(claim).collect();
        counts[first_largest(&claims)] += 1;
    }
    if keep == Keep::One && counts[0] == 0 && size >= 3 {
        let richest = first_largest(&counts);
        counts[richest] -= 1;
        counts[0] += 1;
    }
    counts
}

/// Oldest rows first; equal times go where the first of them goes.
fn cut_by_time(keys: &[RowKey], fractions: [f64; 3]) -> Vec<u8> {
    let mut rows: Vec<u32> = (0..keys.len() as u32).collect();
    rows.sort_unstable_by_key(|row| keys[*row as usize].unit);
    let size = keys.len() as i64;
    let owed = fractions.map(|fraction| fraction * size as f64);
    let counts = apportion(size, &fractions, &owed, Keep::One);
    let (mut parts, mut before) = (vec![0u8; keys.len()], 0);
    for tied in rows.chunk_by(|a, b| keys[*a as usize].unit == keys[*b as usize].unit) {
        let part = match before {
            n if n < counts[0] => Part::Train,
            n if n < counts[0] + counts[1] => Part::Valid,
            _ => Part::Test,
        };
        for row in tied {
            parts[*row as usize] = part as u8;
        }
        before += tied.len() as i64;
    }
    parts
}

#[cfg(test)]
mod tests;
