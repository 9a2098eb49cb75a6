//! Trials of the `command` learner: what its program is told of the job, and what its answers are
//! worth.

mod model;
mod predictions;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use luthier_data::{Dataset, Part};
use luthier_study::{Failure as TrialFailure, Locator, Measured, Session, Study};

use super::measure::{binary, predictions as scored, truth};
use super::tune::tiebreak;
use crate::failure::Failure;
use crate::job::Job;
use crate::program::{self, Guard, Left, Objective, Program, Rows, Setting};
use predictions::Answers;

pub(super) use model::adopt;

/// Under which a trial's note says who has computed its score.
const SCORED_BY: &str = "scored_by";
/// The note of a score that was computed from predictions.
const LUTHIER: &str = "luthier";
/// The note of a score that is the program's own.
const PROGRAM: &str = "program";

/// All that trials of a program need.
pub(super) struct Programs<'a> {
    job: &'a Job,
    dataset: &'a Dataset,
    truth: Vec<u32>,
    program: &'a Program,
    setting: Setting,
    /// Trials of this run whose scores are the program's own.
    reported: Mutex<BTreeSet<u64>>,
}

impl<'a> Programs<'a> {
    /// Writes the rows as files below `folder`, where trials will have theirs too, and starts the
    /// guard, if the job has a program.
    pub(super) fn start(
        job: &'a Job,
        dataset: &'a Dataset,
        folder: &Path,
    ) -> Result<Option<Self>, Failure> {
        let Some(program) = &job.tune.program else { return Ok(None) };
        let absolute = |path: &Path| std::path::absolute(path).map_err(Failure::io(path));
        let splits = folder.join("splits");
        program::fresh(&splits).map_err(Failure::io(&splits))?;
        let file = |part: Part| {
            let file = dataset.file_of(part, &splits, &part.to_string())?;
            absolute(&file.ok_or_else(|| Failure::fault(format!("there are no {part} rows")))?)
        };
        let (labels, metric) = (dataset.labels(), job.objective.metric);
        let setting = Setting {
            objective: Objective {
                metric: metric.to_string(),
                direction: if metric.higher_is_better() { "maximize" } else { "minimize" },
            },
            rows: Some(Rows {
                train: file(Part::Train)?,
                valid: file(Part::Valid)?,
                text: job.dataset.text.clone(),
                label: job.dataset.label.clone(),
                labels: labels.to_vec(),
                positive: binary(dataset).map(|class| labels[class].clone()),
            }),
            trials: absolute(&folder.join("trials"))?,
            guard: Guard::start(program.grace())?,
        };
        let (truth, reported) = (truth(dataset, Part::Valid)?, Mutex::default());
        Ok(Some(Self { job, dataset, truth, program, setting, reported }))
    }

    /// Runs the program for a trial. Its score is that of its predictions, where there are any.
    pub(super) fn evaluate(
        &self,
        study: &Study,
        session: &Session<'_>,
    ) -> Result<Measured, TrialFailure> {
        let left = self.program.evaluate(&self.setting, session)?;
        let number = session.number();
        let (measured, by) = match self.answers(&left).map_err(TrialFailure::Error)? {
            Some(measured) => (measured, LUTHIER),
            None => {
                let score = left.score(&self.setting.objective.metric)?;
                self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
                (score.into(), PROGRAM)
            }
        };
        study
            .set_attribute(Some(number), SCORED_BY, &by.into())
            .map_err(|error| TrialFailure::Error(error.to_string()))?;
        Ok(measured)
    }

    /// Whether this trial of this run has a score of the program's own.
    pub(super) fn is_reported(&self, trial: u64) -> bool {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).contains(&trial)
    }

    /// The score of the predictions that the program has left, if it has.
    fn answers(&self, left: &Left) -> Result<Option<Measured>, String> {
        let Some(path) = predictions::find(&left.folder)? else { return Ok(None) };
        let labels = self.dataset.labels();
        let Answers { probabilities, decided } =
            predictions::read(&path, labels, self.truth.len())?;
        let metric = self.job.objective.metric;
        let of_file = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let Some(probabilities) = probabilities else {
            if !metric.reads_decisions() {
                let what = format!("`{metric}` needs probabilities, in a column for each label");
                return Err(of_file(&what));
            }
            let decided = decided.unwrap_or_default();
            let certain: Vec<f32> = decided
                .iter()
                .flat_map(|label| (0..labels.len()).map(move |class| class == *label as usize))
                .map(f32::from)
                .collect();
            return Ok(Some(self.score(&certain, Some(decided)).map_err(|e| of_file(&e))?.into()));
        };
        let score = self.score(&probabilities, decided).map_err(|error| of_file(&error))?;
        let tiebreak = tiebreak(self.job, self.dataset, &self.truth, &probabilities);
        Ok(Some(Measured { tiebreak, ..score.into() }))
    }

    fn score(&self, probabilities: &[f32], decided: Option<Vec<u32>>) -> Result<f64, String> {
        let metric = self.job.objective.metric;
        let classes = self.dataset.labels().len();
        let scored = scored(classes, self.truth.to_vec(), probabilities, decided);
        metric
            .score(&scored.map_err(|error| error.to_string())?, binary(self.dataset))
            .ok_or_else(|| format!("`{metric}` is undefined on the validation rows"))
    }
}

/// The trials of a study whose scores are the program's own, those of other runs included.
pub(super) fn reported(locator: &Locator, name: &str) -> Result<BTreeSet<u64>, Failure> {
    let records = Study::load(locator, Some(name))?;
    let own = records
        .trials
        .into_iter()
        .filter(|record| record.attributes.get(SCORED_BY).is_some_and(|by| *by == PROGRAM));
    Ok(own.map(|record| record.trial.number).collect())
}
