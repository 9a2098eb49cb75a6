//! What features are scaled by.

use crate::TrainError;
use crate::data::{Subset, TextData};
use crate::matrix::Matrix;

/// What makes a feature weigh more than others.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Weighting {
    /// How much it tells about the class: the log-count ratio of naive Bayes (Wang and Manning
    /// 2012).
    Class,
    /// How few rows have it.
    Rarity,
    /// The product of the two.
    Both,
}

/// Calls `set` with the scale of the features of each column, in order: of mean square 1 over the
/// features' occurrences, to the power `emphasis`.
pub(crate) fn scales(
    data: &TextData<'_>,
    matrix: &Matrix,
    weighting: Weighting,
    emphasis: f32,
    set: &mut dyn FnMut(f32),
) -> Result<(), TrainError> {
    let classes = data.classes();
    let counted;
    let parts = match matrix.by_class(classes) {
        Some(parts) => parts,
        None => {
            counted = class_counts(data, matrix)?;
            vec![counted.as_slice()]
        }
    };
    let counts = || parts.iter().flat_map(|part| part.chunks_exact(classes)).zip(matrix.members());
    let mut totals = vec![0u64; classes];
    for (counts, members) in counts() {
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += u64::from(*count) * u64::from(*members);
        }
    }
    let rows = data.train().labels.len();
    let logs = Logarithms::new(rows, &totals);
    let scale = |counts: &[u32]| {
        let sum: u32 = counts.iter().sum();
        let rarity = logs.of(rows as u32 + 1) - logs.of(sum + 1) + 1.0;
        match weighting {
            Weighting::Rarity => rarity,
            Weighting::Class => logs.class_ratio(counts, sum),
            Weighting::Both => rarity * logs.class_ratio(counts, sum),
        }
    };
    let (mut squares, mut occurrences) = (0.0, 0.0);
    let mut known = Known::default();
    for (counts, members) in counts() {
        let scale = f64::from(known.get(counts, scale));
        let times = f64::from(counts.iter().sum::<u32>()) * f64::from(*members);
        squares += times * scale * scale;
        occurrences += times;
    }
    let norm = if squares > 0.0 { (occurrences / squares).sqrt() as f32 } else { 1.0 };
    let mut known = Known::default();
    let scale = |counts: &[u32]| (scale(counts) * norm).powf(emphasis);
    counts().for_each(|(counts, _)| set(known.get(counts, scale)));
    Ok(())
}

/// Values of a function of a column's counts: of the millions of columns most have small counts,
/// and those of like sum come one after the other, so few values are ever asked for.
struct Known<'a> {
    slots: Vec<(&'a [u32], f32)>,
}

impl Default for Known<'_> {
    fn default() -> Self {
        Self { slots: vec![(&[], 0.0); 256] }
    }
}

impl<'a> Known<'a> {
    #[inline]
    fn get(&mut self, counts: &'a [u32], value: impl Fn(&[u32]) -> f32) -> f32 {
        let mix = |hash: u32, count: &u32| (hash ^ count).wrapping_mul(0x9e37_79b9);
        let slot = counts.iter().fold(0, mix) as usize >> 24;
        let slot = &mut self.slots[slot];
        if slot.0 != counts {
            *slot = (counts, value(counts));
        }
        slot.1
    }
}

/// Training rows of each class that each column occurs in, `[columns, classes]`, of rows that are
/// read again.
fn class_counts(data: &TextData<'_>, matrix: &Matrix) -> Result<Vec<u32>, TrainError> {
    let classes = data.classes();
    let mut counts = vec![0; matrix.columns() * classes];
    data.chunks(matrix, Subset::Train, &mut |chunk| {
        for row in 0..chunk.rows.len() {
            let class = data.train().class(chunk.number(row), classes);
            for column in chunk.rows.row(row) {
                counts[*column as usize * classes + class] += 1;
            }
        }
    })?;
    Ok(counts)
}

/// The logarithms that the scales of millions of features are made of, taken once.
struct Logarithms {
    /// Of each number up to the rows and two.
    numbers: Vec<f32>,
    /// For each class, of the share of its occurrences over that of all others', both smoothed.
    odds: Vec<f32>,
}

impl Logarithms {
    fn new(rows: usize, totals: &[u64]) -> Self {
        let all: u64 = totals.iter().sum();
        let odds = |total: &u64| ((*total as f32 + 1.0) / ((all - total) as f32 + 1.0)).ln();
        Self {
            numbers: (0..rows + 3).map(|number| (number as f32).ln()).collect(),
            odds: totals.iter().map(odds).collect(),
        }
    }

    fn of(&self, number: u32) -> f32 {
        self.numbers[number as usize]
    }

    /// Root mean square over the classes of the smoothed log ratio between a feature's share of the
    /// class's occurrences and its share of all others'; `sum` is that of `counts`.
    fn class_ratio(&self, counts: &[u32], sum: u32) -> f32 {
        let ratio =
            |(count, odds): (&u32, &f32)| self.of(count + 1) - self.of(sum - count + 1) - odds;
        let squares: f32 = counts.iter().zip(&self.odds).map(|pair| ratio(pair).powi(2)).sum();
        (squares / counts.len() as f32).sqrt()
    }
}
