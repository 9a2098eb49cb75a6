//! From what a model gives to honest probabilities and decisions, found on rows that were held out.

use luthier_bundle::Bundle;
use luthier_eval::{
    Bootstrap, Calibration, CalibrationMethod, Comparison, EvalError, ThresholdChoice,
    choose_threshold,
};
use luthier_model::{ClassDecision, MAX_POINTS, Model};
use serde::{Deserialize, Serialize};

use super::Prepared;
use super::measure::{Answers, Truth, decided};
use crate::failure::Failure;

/// Name of the document in a bundle that says how its probabilities and threshold were found.
const DOCUMENT: &str = "calibration.json";

/// How the answers of a model follow from what its graph gives; the same for the model of all rows and
/// those of folds.
pub(super) struct Calibrated {
    calibration: Calibration,
    /// `None` where answers are numbers.
    decision: Option<ClassDecision>,
    pub(super) found: Found,
}

/// How that was found, kept in the bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Found {
    /// The method that was chosen.
    pub(super) method: CalibrationMethod,
    /// Log loss per row, in nats, of every method that there were rows enough for, cross-validated on
    /// the rows that were held out.
    pub(super) losses: Vec<(CalibrationMethod, f64)>,
    /// Where a threshold was looked for: what thresholds came to that were chosen without the rows they
    /// decide, compared with the decisions without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) threshold: Option<Comparison>,
}

impl Calibrated {
    /// Chooses a calibration and, where that is better, a threshold for models that give `outputs` for
    /// the rows of `truth`, which they have not seen.
    pub(super) fn on(
        prepared: &Prepared<'_>,
        truth: &Truth,
        outputs: &[f32],
    ) -> Result<Self, Failure> {
        Self::by(CalibrationMethod::None, prepared, truth, outputs)
    }

    /// The same, by the method `least` or one that is less simple.
    pub(super) fn by(
        least: CalibrationMethod,
        prepared: &Prepared<'_>,
        truth: &Truth,
        outputs: &[f32],
    ) -> Result<Self, Failure> {
        let Truth::Classes(decision, classes) = truth else { return Ok(Self::none()) };
        let mut choice = Calibration::choose(outputs, decision.classes(), classes);
        if choice.calibration.method() < least {
            let fitted = Calibration::fit(least, outputs, decision.classes(), classes);
            choice.calibration = fitted.unwrap_or(choice.calibration);
        }
        let mut calibrated = Self {
            found: Found {
                method: choice.calibration.method(),
                losses: choice.losses,
                threshold: None,
            },
            decision: Some(decision.clone()),
            calibration: choice.calibration,
        };
        if calibrated.tables().iter().any(|table| table.len() > MAX_POINTS) {
            calibrated.calibration = Calibration::None {};
            calibrated.found.method = CalibrationMethod::None;
        }
        let honest = calibrated.answers(outputs.to_vec());
        let threshold = threshold(prepared, truth, &honest, decision.positive)?;
        let tables = calibrated.tables();
        if let Some(decision) = &mut calibrated.decision {
            decision.isotonic = tables;
            let better = threshold.as_ref().filter(|choice| choice.is_better());
            decision.threshold = decision.threshold.or(better.map(|choice| choice.threshold));
        }
        calibrated.found.threshold = threshold.map(|choice| choice.comparison);
        Ok(calibrated)
    }

    fn none() -> Self {
        let found = Found { method: CalibrationMethod::None, losses: Vec::new(), threshold: None };
        Self { calibration: Calibration::None {}, decision: None, found }
    }

    /// Points of the tables that the decision holds.
    fn tables(&self) -> Vec<Vec<(f64, f64)>> {
        match &self.calibration {
            Calibration::Isotonic { tables } => {
                tables.iter().map(|table| table.points().to_vec()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What callers are given, from what a graph gives without calibration.
    fn answers(&self, mut outputs: Vec<f32>) -> Vec<f32> {
        if let Some(decision) = &self.decision {
            let rows = outputs.chunks_exact_mut(decision.classes());
            rows.for_each(|row| self.calibration.apply(row));
        }
        outputs
    }

    /// What the calibrated graph gives, which may be less: tables are in the decision.
    pub(super) fn graph(&self, outputs: Vec<f32>) -> Vec<f32> {
        match self.calibration {
            Calibration::Isotonic { .. } => outputs,
            _ => self.answers(outputs),
        }
    }

    /// The same, with the classes that are decided for.
    pub(super) fn decided_on(&self, outputs: Vec<f32>) -> Answers {
        let outputs = self.answers(outputs);
        let decided = self.decision.as_ref().map(|decision| decided(decision, &outputs));
        Answers { outputs, decided }
    }

    /// Has `model`, which is not calibrated, answer like this.
    pub(super) fn set(&self, model: &mut Model) -> Result<(), Failure> {
        let Some(decision) = &self.decision else { return Ok(()) };
        model.decision = decision.clone().into();
        let is_set = match &self.calibration {
            Calibration::None {} | Calibration::Isotonic { .. } => true,
            Calibration::Temperature { temperature } => model.set_temperature(*temperature),
            Calibration::Platt { temperature, shifts } => {
                model.set_shifts(shifts) && model.set_temperature(*temperature)
            }
        };
        let fault = || Failure::fault("a graph of probabilities does not end in a softmax");
        is_set.then_some(()).ok_or_else(fault)
    }

    /// Undoes [`set`](Self::set), as far as the graph and tables go.
    pub(super) fn unset(model: &mut Model) {
        model.set_temperature(1.0);
        model.set_shifts(&vec![0.0; model.decision.outputs()]);
        if let luthier_model::Decision::Class(decision) = &mut model.decision {
            decision.isotonic.clear();
        }
    }
}

/// The threshold that is best, with what it is worth, where there is a choice.
fn threshold(
    prepared: &Prepared<'_>,
    truth: &Truth,
    honest: &[f32],
    positive: Option<usize>,
) -> Result<Option<ThresholdChoice>, Failure> {
    let data = prepared.data;
    let (Some(positive), Some(metric)) = (positive, data.deciding.tuned_for(data.metric)) else {
        return Ok(None);
    };
    let scored = truth.predictions(honest, None)?;
    match choose_threshold(&scored, metric, Some(positive), &Bootstrap::default()) {
        // A few rows more decide whether there is a score at all.
        Err(EvalError::Undefined { .. }) => Ok(None),
        found => Ok(found?),
    }
}

impl Found {
    /// What the bundle says of itself, if it was calibrated like this.
    pub(super) fn of(bundle: &Bundle) -> Option<Self> {
        serde_json::from_slice(bundle.document(DOCUMENT)?).ok()
    }

    /// Puts it among the documents of a bundle, in place of what is there.
    pub(super) fn put(&self, documents: &mut Vec<(String, Vec<u8>)>) {
        documents.retain(|(name, _)| name != DOCUMENT);
        let document = serde_json::to_vec(self).unwrap_or_default();
        documents.push((DOCUMENT.to_owned(), document));
    }

    /// The method, with what all of them came to.
    pub(super) fn calibration(&self) -> String {
        let losses: Vec<String> =
            self.losses.iter().map(|(method, loss)| format!("{method} {loss:.4}")).collect();
        match losses.is_empty() {
            true => self.method.to_string(),
            false => format!("{} (log loss: {})", self.method, losses.join(", ")),
        }
    }

    /// What thresholds came to, where one was looked for, and so which was `taken`.
    pub(super) fn threshold(&self, taken: Option<f64>) -> Option<String> {
        let found = self.threshold.as_ref()?;
        let taken = taken.map_or("stays".to_owned(), |threshold| format!("{threshold:.4}"));
        Some(format!(
            "{taken}: {} is {:.4} by thresholds that were chosen on other rows, and {:.4} as it was; \
             a gain of {:+.4} (95 % {:+.4} to {:+.4})",
            found.metric,
            found.candidate,
            found.baseline,
            found.difference,
            found.interval.low,
            found.interval.high,
        ))
    }
}
