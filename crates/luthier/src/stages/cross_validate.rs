//! Trials that fit a model for each fold.

use std::ops::ControlFlow;

use luthier_eval::{CrossValidated, Interval, calibrated_log_loss};
use luthier_study::{Failure as TrialFailure, Locator, Measured, Session, Study};
use luthier_tune::{Folds, Tiebreak};
use serde::{Deserialize, Serialize};

use super::tune::has_tiebreak;
use crate::failure::Failure;
use crate::job::Job;

/// Under which a trial's note has what its folds came to.
const FOLDS: &str = "folds";
/// Of the intervals of scores.
const CONFIDENCE: f64 = 0.95;

/// What a trial's folds came to.
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
    pub(super) job: &'a Job,
    pub(super) folds: Folds,
    /// The labels of the rows of each fold.
    pub(super) truth: Vec<&'a [u32]>,
    pub(super) classes: usize,
    pub(super) study: &'a Study,
}

/// Fits and scores on a fold, handing steps and their scores to a closure: the score and the
/// probabilities of the fold's rows, none where they are not known.
pub(super) type FitFold<'a> = dyn FnMut(u8, &mut dyn FnMut(u64, f64) -> ControlFlow<()>) -> Result<(f64, Vec<f32>), TrialFailure>
    + 'a;

impl CrossValidation<'_> {
    /// Fits once for each fold, in the trial's own order. The score is the mean.
    pub(super) fn evaluate(
        &self,
        session: &Session<'_>,
        fit: &mut FitFold<'_>,
    ) -> Result<Measured, TrialFailure> {
        let folds = self.folds;
        let mut done: Vec<Option<(f64, Vec<f32>)>> = vec![None; usize::from(folds.count)];
        let mut sum = 0.0;
        for (place, fold) in folds.order(session.number()).into_iter().enumerate() {
            let mean = |score: f64| (sum + score) / (place + 1) as f64;
            let report = &mut |step, score| match folds.step(place, step) {
                Some(step) => session.report(step, mean(score)),
                None => session.check(),
            };
            let (score, probabilities) = fit(fold, report)?;
            if session.report(folds.end(place), mean(score)).is_break() {
                return Err(TrialFailure::Pruned);
            }
            sum += score;
            done[usize::from(fold)] = Some((score, probabilities));
        }
        let (scores, probabilities): (Vec<f64>, Vec<Vec<f32>>) = done.into_iter().flatten().unzip();
        let fail = |error: &dyn std::fmt::Display| TrialFailure::Error(error.to_string());
        let across = CrossValidated::of(&scores, CONFIDENCE)
            .ok_or_else(|| fail(&"the folds have no scores to take the mean of"))?;
        if !session.is_again() {
            let note = self.note(scores, across.interval);
            let note = serde_json::to_value(note).map_err(|error| fail(&error))?;
            let noted = self.study.set_attribute(Some(session.number()), FOLDS, &note);
            noted.map_err(|error| fail(&error))?;
        }
        let tiebreak = self.loss(&probabilities);
        let tiebreak = tiebreak.map(|loss| Tiebreak { margin: across.standard_error, loss });
        Ok(Measured { tiebreak, ..across.mean.into() })
    }

    fn note(&self, scores: Vec<f64>, Interval { low, high }: Interval) -> OfFolds {
        // No score is beyond the perfect one.
        let (low, high) = match self.job.objective.metric.higher_is_better() {
            true => (low, high.min(1.0)),
            false => (low.max(0.0), high),
        };
        OfFolds { scores, low, high }
    }

    /// The log loss of all rows after calibration.
    fn loss(&self, probabilities: &[Vec<f32>]) -> Option<f64> {
        let probabilities = probabilities.concat();
        let truth = self.truth.concat();
        let known = probabilities.len() == truth.len() * self.classes;
        (has_tiebreak(self.job) && known)
            .then(|| calibrated_log_loss(&probabilities, self.classes, &truth))
            .flatten()
    }
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
