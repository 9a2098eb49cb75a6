//! The validation rows, on which trials are scored.

use luthier_data::{Dataset, Part};
use luthier_eval::{Bootstrap, Metric, Predictions, calibrated_log_loss, standard_error};
use luthier_tune::Tiebreak;

use super::measure::{binary, predictions, truth};
use super::train::TrainingRows;
use crate::failure::Failure;

/// Resamples that tell how noisy a trial's score is.
const NOISE_RESAMPLES: usize = 50;

/// Validation rows with what decides on them.
pub(super) struct Valid<'a> {
    pub(super) dataset: &'a Dataset,
    metric: Metric,
    truth: Vec<u32>,
}

impl<'a> Valid<'a> {
    pub(super) fn of(rows: &TrainingRows<'a>) -> Result<Self, Failure> {
        let TrainingRows { dataset, metric, .. } = *rows;
        Ok(Self { dataset, metric, truth: truth(dataset, Part::Valid)? })
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.truth.len()
    }

    /// Probabilities, row-major `[rows, classes]`, and what was `decided`, if it was, as predictions.
    pub(super) fn predictions(
        &self,
        probabilities: &[f32],
        decided: Option<Vec<u32>>,
    ) -> Result<Predictions, String> {
        let classes = self.dataset.labels().len();
        predictions(classes, self.truth.clone(), probabilities, decided)
            .map_err(|error| error.to_string())
    }

    pub(super) fn score(&self, metric: Metric, scored: &Predictions) -> Result<f64, String> {
        metric
            .score(scored, binary(self.dataset))
            .ok_or_else(|| format!("`{metric}` is undefined on the validation rows"))
    }

    /// Scores of decisions on a few hundred rows are noisy, and the best of thirty is the luckiest.
    /// The log loss after calibration sees how sure each row was, so it decides among trials within
    /// one standard error of the best. Scores that see as much themselves need no such help.
    pub(super) fn tiebreak(&self, probabilities: &[f32]) -> Option<Tiebreak> {
        if matches!(self.metric, Metric::LogLoss | Metric::Brier) {
            return None;
        }
        let scored = self.predictions(probabilities, None).ok()?;
        let bootstrap = Bootstrap { resamples: NOISE_RESAMPLES, ..Bootstrap::default() };
        let margin = standard_error(&scored, self.metric, binary(self.dataset), &bootstrap)?;
        let loss = calibrated_log_loss(probabilities, self.dataset.labels().len(), &self.truth)?;
        Some(Tiebreak { margin, loss })
    }
}
