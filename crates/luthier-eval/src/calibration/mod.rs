//! From probabilities to honest ones.

mod isotonic;
mod scaling;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::scorer::log_loss;

pub use isotonic::IsotonicTable;
pub use scaling::{
    calibrated_log_loss, temperature, temperature_and_shift, temperature_and_shifts,
};
use scaling::{logits, softmax};

/// Parts that cross-validation holds out in turn.
const FOLDS: usize = 5;
/// Rows that the choice between methods needs.
const FEWEST_ROWS: usize = 20;
/// Rows of every class that a shift for it needs, and classes whose shifts are still fitted: the
/// work grows with their square.
const PLATT_ROWS: usize = 10;
const PLATT_CLASSES: usize = 100;
/// Rows in all, and of every class, that steps need: with fewer they follow the noise (Niculescu-Mizil
/// and Caruana 2005).
const ISOTONIC_ROWS: usize = 1_000;
const ISOTONIC_CLASS_ROWS: usize = 50;

/// What turns a model's probabilities into honest ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Calibration {
    /// Nothing: they stay.
    None {},
    /// Logits are divided by the temperature (Guo et al. 2017).
    Temperature {
        /// The temperature, above 0.
        temperature: f64,
    },
    /// Each class's shift is added to its logit, and the temperature divides them then: of two
    /// classes Platt scaling (1999), of more temperature scaling with corrected bias (Alexandari,
    /// Kundaje and Shrikumar 2020).
    Platt {
        /// The temperature, above 0.
        temperature: f64,
        /// The shift of every class, that of class 0 being 0.
        shifts: Vec<f64>,
    },
    /// Each probability is looked up in a table of its class (Zadrozny and Elkan 2002). Of two
    /// classes class 1 has one, and class 0 gets the rest; of more each has one, against the rest,
    /// and the results are divided by their sum.
    Isotonic {
        /// One table for two classes, else one per class.
        tables: Vec<IsotonicTable>,
    },
}

/// A way to calibrate, the simplest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationMethod {
    /// [`Calibration::None`].
    None,
    /// [`Calibration::Temperature`].
    Temperature,
    /// [`Calibration::Platt`].
    Platt,
    /// [`Calibration::Isotonic`].
    Isotonic,
}

/// The calibration chosen, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationChoice {
    /// That of the method chosen, fitted to all rows.
    pub calibration: Calibration,
    /// Cross-validated log loss per row, in nats, of every method there were enough rows for.
    pub losses: Vec<(CalibrationMethod, f64)>,
}

impl CalibrationMethod {
    /// All of them, the simplest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Temperature, Self::Platt, Self::Isotonic];

    /// Its name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Temperature => "temperature",
            Self::Platt => "platt",
            Self::Isotonic => "isotonic",
        }
    }
}

impl fmt::Display for CalibrationMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Calibration {
    /// Fits `method` to held-out rows: `probabilities` is row-major, rows × classes, and `truth` the
    /// class of each row. `None` without rows or with classes that do not fit.
    pub fn fit(
        method: CalibrationMethod,
        probabilities: &[f32],
        classes: usize,
        truth: &[u32],
    ) -> Option<Self> {
        HeldOut::new(probabilities, classes, truth).map(|rows| rows.fit(method))
    }

    /// Chooses the method that serves held-out rows best, which are given as to
    /// [`fit`](Self::fit); without rows, or with classes that do not fit, none.
    ///
    /// The log losses of five-fold cross-validation decide, whose folds are drawn class by class in
    /// turn. A method takes the place of a simpler one if it gains more per row than the standard
    /// error of that gain. Without 20 rows nothing is tried; Platt scaling needs 10 rows of every
    /// class, and at most 100 classes; isotonic tables need 1,000 rows and 50 of every class.
    pub fn choose(probabilities: &[f32], classes: usize, truth: &[u32]) -> CalibrationChoice {
        let Some(rows) = HeldOut::new(probabilities, classes, truth) else {
            return CalibrationChoice { calibration: Self::None {}, losses: Vec::new() };
        };
        let mut losses: Vec<(CalibrationMethod, f64)> = Vec::new();
        let mut best: Option<(CalibrationMethod, Vec<f64>)> = None;
        for method in CalibrationMethod::ALL.into_iter().filter(|method| rows.suffice(*method)) {
            let found = rows.cross_validated(method);
            losses.push((method, found.iter().sum::<f64>() / found.len() as f64));
            if best.as_ref().is_none_or(|(_, simpler)| clearly_less(&found, simpler)) {
                best = Some((method, found));
            }
        }
        let method = best.map_or(CalibrationMethod::None, |(method, _)| method);
        CalibrationChoice { calibration: rows.fit(method), losses }
    }

    /// How it was fitted.
    pub fn method(&self) -> CalibrationMethod {
        match self {
            Self::None {} => CalibrationMethod::None,
            Self::Temperature { .. } => CalibrationMethod::Temperature,
            Self::Platt { .. } => CalibrationMethod::Platt,
            Self::Isotonic { .. } => CalibrationMethod::Isotonic,
        }
    }

    /// Whether it is for this number of classes, and its numbers are such as [`fit`](Self::fit)
    /// gives: to be asked of one that was read.
    pub fn fits(&self, classes: usize) -> bool {
        let sensible = |temperature: &f64| *temperature > 0.0 && temperature.is_finite();
        match self {
            Self::None {} => true,
            Self::Temperature { temperature } => sensible(temperature),
            Self::Platt { temperature, shifts } => {
                let finite = shifts.iter().all(|shift| shift.is_finite());
                sensible(temperature) && finite && shifts.len() == classes
            }
            Self::Isotonic { tables } => tables.len() == if classes == 2 { 1 } else { classes },
        }
    }

    /// Replaces the probabilities of one row by honest ones, which sum to 1. A row of a number of
    /// classes that does not [fit](Self::fits) may come out as anything.
    pub fn apply(&self, row: &mut [f32]) {
        match self {
            Self::None {} => {}
            Self::Temperature { temperature } => {
                rescale(row, *temperature, std::iter::repeat(&0.0));
            }
            Self::Platt { temperature, shifts } => rescale(row, *temperature, shifts.iter()),
            Self::Isotonic { tables } => match (row, tables.as_slice()) {
                ([negative, positive], [table]) => {
                    let probability = table.probability(f64::from(*positive));
                    (*negative, *positive) = ((1.0 - probability) as f32, probability as f32);
                }
                (row, tables) => look_up(row, tables),
            },
        }
    }
}

fn rescale<'a>(row: &mut [f32], temperature: f64, shifts: impl Iterator<Item = &'a f64>) {
    let logits = logits(row).zip(shifts).map(|(logit, shift)| (logit + shift) / temperature);
    let honest = softmax(logits.collect());
    row.iter_mut().zip(honest).for_each(|(probability, honest)| *probability = honest as f32);
}

fn look_up(row: &mut [f32], tables: &[IsotonicTable]) {
    let each = row.iter().zip(tables);
    let found: Vec<f64> = each.map(|(p, table)| table.probability(f64::from(*p))).collect();
    let sum: f64 = found.iter().sum();
    let even = 1.0 / found.len() as f64;
    for (probability, found) in row.iter_mut().zip(found) {
        *probability = if sum > 0.0 { found / sum } else { even } as f32;
    }
}

/// Whether losses are less than others of the same rows by more than the standard error of that.
fn clearly_less(losses: &[f64], others: &[f64]) -> bool {
    let count = losses.len() as f64;
    let gains = || losses.iter().zip(others).map(|(loss, other)| other - loss);
    let mean = gains().sum::<f64>() / count;
    let variance = gains().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    mean > (variance / count).sqrt()
}

/// Held-out rows, checked.
struct HeldOut<'a> {
    probabilities: &'a [f32],
    classes: usize,
    truth: &'a [u32],
}

impl<'a> HeldOut<'a> {
    fn new(probabilities: &'a [f32], classes: usize, truth: &'a [u32]) -> Option<Self> {
        let fits = classes > 1 && probabilities.len() == truth.len().checked_mul(classes)?;
        let known = truth.iter().all(|class| (*class as usize) < classes);
        (fits && known && !truth.is_empty()).then_some(Self { probabilities, classes, truth })
    }

    fn rows(&self) -> impl Iterator<Item = (&'a [f32], u32)> {
        self.probabilities.chunks_exact(self.classes).zip(self.truth.iter().copied())
    }

    fn suffice(&self, method: CalibrationMethod) -> bool {
        let mut counts = vec![0; self.classes];
        self.truth.iter().for_each(|class| counts[*class as usize] += 1);
        let (rows, fewest) = (self.truth.len(), counts.into_iter().min().unwrap_or(0));
        match method {
            CalibrationMethod::None => true,
            CalibrationMethod::Temperature => rows >= FEWEST_ROWS,
            CalibrationMethod::Platt => {
                rows >= FEWEST_ROWS && fewest >= PLATT_ROWS && self.classes <= PLATT_CLASSES
            }
            CalibrationMethod::Isotonic => rows >= ISOTONIC_ROWS && fewest >= ISOTONIC_CLASS_ROWS,
        }
    }

    fn fit(&self, method: CalibrationMethod) -> Calibration {
        let Self { probabilities, classes, truth } = *self;
        match method {
            CalibrationMethod::None => Calibration::None {},
            CalibrationMethod::Temperature => {
                Calibration::Temperature { temperature: temperature(probabilities, classes, truth) }
            }
            CalibrationMethod::Platt => {
                let (temperature, shifts) = temperature_and_shifts(probabilities, classes, truth);
                Calibration::Platt { temperature, shifts }
            }
            CalibrationMethod::Isotonic => {
                let tables = if classes == 2 { 1..2 } else { 0..classes };
                Calibration::Isotonic { tables: tables.map(|class| self.table(class)).collect() }
            }
        }
    }

    fn table(&self, class: usize) -> IsotonicTable {
        let row = |(row, truth): (&[f32], u32)| (f64::from(row[class]), truth as usize == class);
        IsotonicTable::fit(self.rows().map(row).collect())
    }

    /// Every row's log loss by a calibration that was fitted without its fold.
    fn cross_validated(&self, method: CalibrationMethod) -> Vec<f64> {
        let mut seen = vec![0; self.classes];
        let folds: Vec<usize> = self
            .truth
            .iter()
            .map(|class| {
                seen[*class as usize] += 1;
                seen[*class as usize] % FOLDS
            })
            .collect();
        let mut losses = vec![0.0; self.truth.len()];
        for fold in 0..FOLDS {
            let others = self.rows().zip(&folds).filter(|(_, found)| **found != fold);
            let (rows, truth): (Vec<&[f32]>, Vec<u32>) = others.map(|(row, _)| row).unzip();
            let rows = rows.concat();
            let others = HeldOut { probabilities: &rows, classes: self.classes, truth: &truth };
            let calibration = others.fit(method);
            for (index, (row, class)) in self.rows().enumerate() {
                if folds[index] == fold {
                    let mut row = row.to_vec();
                    calibration.apply(&mut row);
                    losses[index] = log_loss(f64::from(row[class as usize]));
                }
            }
        }
        losses
    }
}
