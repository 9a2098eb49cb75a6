//! The rows that trials are scored on.

use luthier_data::{Dataset, Part, Selection};
use luthier_eval::{Bootstrap, Metric, Predictions, calibrated_log_loss, standard_error};
use luthier_model::Decision;
use luthier_study::Measured;
use luthier_tune::Tiebreak;

use super::measure::{Truth, binary};
use super::training_rows::TrainingRows;
use crate::failure::Failure;

/// Resamples that tell how noisy a trial's score is.
const NOISE_RESAMPLES: usize = 50;

/// Rows that a model has not been fitted to, with what decides on them.
pub(super) struct Valid<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) decision: &'a Decision,
    /// Which rows a model is fitted to that is scored on these.
    pub(super) fitted: Selection,
    /// Which they are.
    pub(super) rows: Selection,
    metric: Metric,
    pub(super) truth: Truth,
}

/// What one model came to.
pub(super) struct Scored {
    /// Without a tiebreak.
    pub(super) measured: Measured,
    /// What it gives for the rows that it was scored on, row-major, if that is known.
    pub(super) outputs: Option<Vec<f32>>,
}

impl Scored {
    /// What a trial has measured whose only model was scored on these rows.
    pub(super) fn on(self, valid: &Valid<'_>) -> Measured {
        let tiebreak = self.outputs.and_then(|outputs| valid.tiebreak(&outputs));
        Measured { tiebreak, ..self.measured }
    }
}

impl<'a> Valid<'a> {
    /// The validation rows or, where there are folds, those of each fold.
    pub(super) fn of(rows: &TrainingRows<'a>) -> Result<Vec<Self>, Failure> {
        let TrainingRows { dataset, decision, metric, .. } = *rows;
        let of = |fitted: Selection, rows: Selection| {
            let truth = Truth::of(dataset, decision, rows)?;
            Ok(Self { dataset, decision, fitted, rows, metric, truth })
        };
        match dataset.folds() {
            0 => Ok(vec![of(Part::Train.into(), Part::Valid.into())?]),
            folds => (0..folds).map(|n| of(Selection::Outside(n), Selection::Fold(n))).collect(),
        }
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.truth.len()
    }

    /// What a model gives for the rows, row-major, and what was `decided`, if it was, as predictions.
    pub(super) fn predictions(
        &self,
        outputs: &[f32],
        decided: Option<Vec<u32>>,
    ) -> Result<Predictions, String> {
        self.truth.predictions(outputs, decided).map_err(|error| error.to_string())
    }

    pub(super) fn score(&self, metric: Metric, scored: &Predictions) -> Result<f64, String> {
        metric
            .score(scored, binary(self.dataset))
            .ok_or_else(|| format!("`{metric}` is undefined on the validation rows"))
    }

    /// Whether a loss decides among trials whose scores are too close to tell apart: scores that see
    /// as much themselves need no such help.
    pub(super) fn has_tiebreak(&self) -> bool {
        !self.metric.of_numbers() && !matches!(self.metric, Metric::LogLoss | Metric::Brier)
    }

    /// Scores of decisions on a few hundred rows are noisy, and the best of thirty is the luckiest.
    /// The log loss after calibration sees how sure each row was, so it decides among trials within
    /// one standard error of the best.
    fn tiebreak(&self, probabilities: &[f32]) -> Option<Tiebreak> {
        if !self.has_tiebreak() {
            return None;
        }
        let scored = self.predictions(probabilities, None).ok()?;
        let bootstrap = Bootstrap { resamples: NOISE_RESAMPLES, ..Bootstrap::default() };
        let margin = standard_error(&scored, self.metric, binary(self.dataset), &bootstrap)?;
        let loss = calibrated_log_loss(probabilities, self.truth.outputs(), self.truth.classes())?;
        Some(Tiebreak { margin, loss })
    }
}
