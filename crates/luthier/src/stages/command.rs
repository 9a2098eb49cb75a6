//! Trials of the `command` learner: what its program is told of the job, and what its answers are
//! worth.

mod predictions;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use luthier_data::{Dataset, Part, Selection};
use luthier_study::{Failure as TrialFailure, Locator, Measured, Session, Study};
use luthier_tune::Folds;

use super::cross_validate::CrossValidation;
use super::measure::{binary, predictions as scored, truth};
use super::train::fold_seed;
use super::tune::{folds, tiebreak};
use crate::failure::Failure;
use crate::job::Job;
use crate::program::{self, Guard, Left, Objective, Program, Rows, Setting, Turn};
use predictions::Answers;

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
    /// The rows with the labels of those to be judged by, for each fold or the only time.
    rows: Vec<(Rows, Vec<u32>)>,
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
        let metric = job.objective.metric;
        let setting = Setting {
            objective: Objective {
                metric: metric.to_string(),
                direction: if metric.higher_is_better() { "maximize" } else { "minimize" },
            },
            trials: absolute(&folder.join("trials"))?,
            guard: Guard::start(program.grace())?,
        };
        let rows = |train: Selection, valid: Selection, folder: &Path| {
            std::fs::create_dir_all(folder).map_err(Failure::io(folder))?;
            let file = |selection, name| {
                let file = dataset.file_of(selection, folder, name)?;
                absolute(&file.ok_or_else(|| Failure::fault(format!("there are no {name} rows")))?)
            };
            let labels = dataset.labels();
            let rows = Rows {
                train: file(train, "train")?,
                valid: file(valid, "valid")?,
                text: job.dataset.text.clone(),
                label: job.dataset.label.clone(),
                labels: labels.to_vec(),
                positive: binary(dataset).map(|class| labels[class].clone()),
            };
            Ok((rows, truth(dataset, valid)?))
        };
        let rows = match dataset.folds() {
            0 => vec![rows(Part::Train.into(), Part::Valid.into(), &splits)?],
            folds => {
                let of_fold = |fold| {
                    let folder = splits.join(format!("fold-{fold}"));
                    rows(Selection::Outside(fold), Selection::Fold(fold), &folder)
                };
                (0..folds).map(of_fold).collect::<Result<Vec<_>, Failure>>()?
            }
        };
        Ok(Some(Self { job, dataset, rows, program, setting, reported: Mutex::default() }))
    }

    /// Runs the program for a trial, once for each fold where there are folds. Its score is that of its
    /// predictions, where there are any.
    pub(super) fn evaluate(
        &self,
        study: &Study,
        session: &Session<'_>,
    ) -> Result<Measured, TrialFailure> {
        let number = session.number();
        let (measured, by) = match folds(self.job, self.dataset) {
            None => self.once(session)?,
            Some(folds) => self.cross_validate(folds, study, session)?,
        };
        if by == PROGRAM {
            self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        }
        study
            .set_attribute(Some(number), SCORED_BY, &by.into())
            .map_err(|error| TrialFailure::Error(error.to_string()))?;
        Ok(measured)
    }

    /// Whether this trial of this run has a score of the program's own.
    pub(super) fn is_reported(&self, trial: u64) -> bool {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).contains(&trial)
    }

    fn once(&self, session: &Session<'_>) -> Result<(Measured, &'static str), TrialFailure> {
        let report = &mut |step, score| session.report(step, score);
        let scored = self.run(None, session.seed(), report, session)?;
        let truth = &self.rows[0].1;
        let tiebreak = match scored.probabilities.is_empty() {
            true => None,
            false => tiebreak(self.job, self.dataset, truth, &scored.probabilities),
        };
        Ok((Measured { tiebreak, ..scored.score.into() }, scored.by))
    }

    fn cross_validate(
        &self,
        folds: Folds,
        study: &Study,
        session: &Session<'_>,
    ) -> Result<(Measured, &'static str), TrialFailure> {
        let trial = CrossValidation {
            job: self.job,
            folds,
            truth: self.rows.iter().map(|(_, truth)| truth.as_slice()).collect(),
            classes: self.dataset.labels().len(),
            study,
        };
        let mut all_by = LUTHIER;
        let measured = trial.evaluate(session, &mut |fold, report| {
            let seed = fold_seed(session.seed(), fold);
            let Scored { score, probabilities, by } =
                self.run(Some(fold), seed, report, session)?;
            if by == PROGRAM {
                all_by = PROGRAM;
            }
            Ok((score, probabilities))
        })?;
        Ok((measured, all_by))
    }

    /// Starts the program, on a fold or the only rows, and scores what it has left.
    fn run(
        &self,
        fold: Option<u8>,
        seed: u64,
        report: &mut dyn FnMut(u64, f64) -> ControlFlow<()>,
        session: &Session<'_>,
    ) -> Result<Scored, TrialFailure> {
        let (rows, truth) = &self.rows[fold.map_or(0, usize::from)];
        let turn = &mut Turn { rows: Some(rows), fold, seed, report };
        let left = self.program.evaluate(&self.setting, turn, session)?;
        if let Some(scored) = self.answers(&left, truth).map_err(TrialFailure::Error)? {
            return Ok(scored);
        }
        let score = left.score(&self.setting.objective.metric)?;
        Ok(Scored { score, probabilities: Vec::new(), by: PROGRAM })
    }

    /// The score of the predictions that the program has left, if it has.
    fn answers(&self, left: &Left, truth: &[u32]) -> Result<Option<Scored>, String> {
        let Some(path) = predictions::find(&left.folder)? else { return Ok(None) };
        let labels = self.dataset.labels();
        let Answers { probabilities, decided } = predictions::read(&path, labels, truth.len())?;
        let metric = self.job.objective.metric;
        let of_file = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let scored = |score, probabilities| Scored { score, probabilities, by: LUTHIER };
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
            let score = self.score(truth, &certain, Some(decided)).map_err(|e| of_file(&e))?;
            return Ok(Some(scored(score, Vec::new())));
        };
        let score = self.score(truth, &probabilities, decided).map_err(|error| of_file(&error))?;
        Ok(Some(scored(score, probabilities)))
    }

    fn score(
        &self,
        truth: &[u32],
        probabilities: &[f32],
        decided: Option<Vec<u32>>,
    ) -> Result<f64, String> {
        let metric = self.job.objective.metric;
        let classes = self.dataset.labels().len();
        let scored = scored(classes, truth.to_vec(), probabilities, decided);
        metric
            .score(&scored.map_err(|error| error.to_string())?, binary(self.dataset))
            .ok_or_else(|| format!("`{metric}` is undefined on the validation rows"))
    }
}

/// What one start of the program came to.
struct Scored {
    score: f64,
    /// Of the rows to be judged by, row-major; none where the program has not told them.
    probabilities: Vec<f32>,
    by: &'static str,
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
