//! Trials that fit a model for each fold.

use std::ops::ControlFlow;

use luthier_eval::{CrossValidated, Interval, calibrated_log_loss};
use luthier_study::{Failure as TrialFailure, Locator, Measured, Session, Study};
use luthier_tune::{Direction, Folds, Tiebreak};
use serde::{Deserialize, Serialize};

use super::valid::{Scored, Valid};
use crate::failure::Failure;

/// Under which a trial's note has what its folds came to.
const FOLDS: &str = "folds";
/// Of the intervals of scores.
const CONFIDENCE: f64 = 0.95;

/// What a trial's folds came to by the first objective.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct OfFolds {
    /// The score on each fold.
    pub(super) scores: Vec<f64>,
    /// Where, with a probability of 95 %, their mean over other rows would lie.
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A trial over folds.
pub(super) struct CrossValidation<'a> {
    pub(super) folds: Folds,
    /// The rows of each fold.
    pub(super) valid: &'a [Valid<'a>],
    pub(super) study: &'a Study,
}

/// Fits without a fold and scores on it, handing steps and their scores to a closure.
pub(super) type FitFold<'a> = dyn FnMut(u8, &mut dyn FnMut(u64, Vec<f64>) -> ControlFlow<()>) -> Result<Scored, TrialFailure>
    + 'a;

impl CrossValidation<'_> {
    /// Fits once for each fold, in the trial's own order. The scores are the means.
    pub(super) fn evaluate(
        &self,
        session: &Session<'_>,
        fit: &mut FitFold<'_>,
    ) -> Result<Measured, TrialFailure> {
        let folds = self.folds;
        let mut done: Vec<Scored> = Vec::new();
        for (place, fold) in folds.order(session.number()).into_iter().enumerate() {
            let with = |scores: &[f64]| {
                let before = done.iter().map(|scored| scored.measured.scores.as_slice());
                means(before.chain([scores]))
            };
            let report = &mut |step, scores: Vec<f64>| match folds.step(place, step) {
                Some(step) => session.report_all(step, with(&scores)),
                None => session.check(),
            };
            let scored = fit(fold, report)?;
            if session.report_all(folds.end(place), with(&scored.measured.scores)).is_break() {
                return Err(TrialFailure::Pruned);
            }
            done.push(scored);
        }
        let mut of_folds: Vec<_> = folds.order(session.number()).into_iter().zip(done).collect();
        of_folds.sort_by_key(|(fold, _)| *fold);
        let of_folds: Vec<Scored> = of_folds.into_iter().map(|(_, scored)| scored).collect();
        self.measured(session, &of_folds)
    }

    /// What all folds come to together.
    fn measured(
        &self,
        session: &Session<'_>,
        of_folds: &[Scored],
    ) -> Result<Measured, TrialFailure> {
        let fail = |error: &dyn std::fmt::Display| TrialFailure::Error(error.to_string());
        let all = of_folds.iter().map(|scored| &scored.measured);
        let first: Vec<f64> =
            all.clone().filter_map(|measured| measured.scores.first().copied()).collect();
        let across = CrossValidated::of(&first, CONFIDENCE)
            .ok_or_else(|| fail(&"the folds have no scores to take the mean of"))?;
        if !session.is_again() {
            let note = serde_json::to_value(self.note(first, across.interval));
            let note = note.map_err(|error| fail(&error))?;
            let noted = self.study.set_attribute(Some(session.number()), FOLDS, &note);
            noted.map_err(|error| fail(&error))?;
        }
        let tiebreak = self.loss(of_folds);
        Ok(Measured {
            scores: means(all.clone().map(|measured| measured.scores.as_slice())),
            violations: means(all.map(|measured| measured.violations.as_slice())),
            tiebreak: tiebreak.map(|loss| Tiebreak { margin: across.standard_error, loss }),
        })
    }

    fn note(&self, scores: Vec<f64>, Interval { low, high }: Interval) -> OfFolds {
        // No score is beyond the perfect one; what a program reports may be anything.
        let objective = &self.study.spec().objectives[0];
        let (low, high) = match (self.valid.first(), objective.direction) {
            (None, _) => (low, high),
            (_, Direction::Maximize) => (low, high.min(1.0)),
            (_, Direction::Minimize) => (low.max(0.0), high),
        };
        OfFolds { scores, low, high }
    }

    /// The log loss of all rows after calibration, if that decides and all are answered.
    fn loss(&self, of_folds: &[Scored]) -> Option<f64> {
        let first = self.valid.first().filter(|valid| valid.has_tiebreak())?;
        let probabilities =
            of_folds.iter().map(|scored| scored.outputs.as_deref()).collect::<Option<Vec<_>>>()?;
        let truth: Vec<u32> =
            self.valid.iter().flat_map(|valid| valid.truth.classes()).copied().collect();
        calibrated_log_loss(&probabilities.concat(), first.truth.outputs(), &truth)
    }
}

/// The mean of each number over rows of numbers.
fn means<'n>(rows: impl Iterator<Item = &'n [f64]>) -> Vec<f64> {
    let (mut sums, mut count) = (Vec::new(), 0.0);
    for row in rows {
        sums.resize(row.len().max(sums.len()), 0.0);
        sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
        count += 1.0;
    }
    sums.iter().map(|sum| sum / count).collect()
}

/// What the folds of a trial came to, if it has any.
pub(super) fn of_folds(
    locator: &Locator,
    name: &str,
    trial: u64,
) -> Result<Option<OfFolds>, Failure> {
    let records = Study::load(locator, Some(name))?.trials;
    let record = records.into_iter().find(|record| record.trial.number == trial);
    let note = record.and_then(|mut record| record.attributes.remove(FOLDS));
    Ok(note.and_then(|note| serde_json::from_value(note).ok()))
}
