//! Trials that fit a model for each fold.

use luthier_eval::{CrossValidated, calibrated_log_loss};
use luthier_study::{Failure as TrialFailure, Locator, Measured, Session, Study};
use luthier_train::TextData;
use luthier_tune::{Folds, Tiebreak};
use serde::{Deserialize, Serialize};

use super::train::fold_seed;
use super::tune::{Fitting, has_tiebreak};
use crate::failure::Failure;

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

/// Fits one trial once for each fold, in the trial's own order. Its score is the mean.
pub(super) fn cross_validate(
    fitting: &Fitting<'_>,
    folds: Folds,
    data: &[TextData<'_>],
    study: &Study,
    session: &Session<'_>,
) -> Result<Measured, TrialFailure> {
    let mut done: Vec<Option<(f64, Vec<f32>)>> = vec![None; data.len()];
    let mut sum = 0.0;
    for (place, fold) in folds.order(session.number()).into_iter().enumerate() {
        let mean = |score: f64| (sum + score) / (place + 1) as f64;
        let report = &mut |epoch, score| match folds.step(place, epoch) {
            Some(step) => session.report(step, mean(score)),
            None => session.check(),
        };
        let (rows, seed) = (&data[usize::from(fold)], fold_seed(session.seed(), fold));
        let (score, valid) = fitting.fit(rows, session.values(), seed, report)?;
        if session.report(folds.end(place), mean(score)).is_break() {
            return Err(TrialFailure::Pruned);
        }
        sum += score;
        done[usize::from(fold)] = Some((score, valid));
    }
    let (scores, valid): (Vec<f64>, Vec<Vec<f32>>) = done.into_iter().flatten().unzip();
    let fail = |error: &dyn std::fmt::Display| TrialFailure::Error(error.to_string());
    let across = CrossValidated::of(&scores, CONFIDENCE)
        .ok_or_else(|| fail(&"the folds have no scores to take the mean of"))?;
    if !session.is_again() {
        let (low, high) = (across.interval.low, across.interval.high);
        // No score is beyond the perfect one.
        let (low, high) = match fitting.job.objective.metric.higher_is_better() {
            true => (low, high.min(1.0)),
            false => (low.max(0.0), high),
        };
        let note = OfFolds { scores, low, high };
        let note = serde_json::to_value(note).map_err(|error| fail(&error))?;
        study.set_attribute(Some(session.number()), FOLDS, &note).map_err(|error| fail(&error))?;
    }
    let truth: Vec<u32> = data.iter().flat_map(|rows| &rows.valid().labels).copied().collect();
    let loss = has_tiebreak(fitting.job)
        .then(|| calibrated_log_loss(&valid.concat(), data[0].classes(), &truth))
        .flatten();
    let tiebreak = loss.map(|loss| Tiebreak { margin: across.standard_error, loss });
    Ok(Measured { tiebreak, ..across.mean.into() })
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
