//! Trials of the `command` learner: what its program is told of the job, and what its answers are
//! worth.

mod model;
mod predictions;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use luthier_data::ContentSpec;
use luthier_eval::Predictions;
use luthier_study::{Failure as TrialFailure, Locator, Measured, Session, Study};
use luthier_tune::Folds;

use super::cross_validate::CrossValidation;
use super::measure::binary;
use super::train::fold_seed;
use super::tune::folds;
use super::valid::{Scored, Valid};
use crate::failure::Failure;
use crate::job::{Data, Job, Measure};
use crate::program::{self, Aim, Guard, Left, Program, Rows, Setting, Turn};
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
    program: &'a Program,
    setting: Setting,
    /// The files with the rows, for each fold or all; none where the job has no rows.
    rows: Vec<Rows>,
    /// Trials of this run whose scores are the program's own.
    reported: Mutex<BTreeSet<u64>>,
}

/// What a program has predicted of the rows that it is scored on.
struct Answered {
    scored: Predictions,
    probabilities: Option<Vec<f32>>,
}

impl<'a> Programs<'a> {
    /// Writes the rows, if there are any, as files below `folder`, where trials will have theirs too,
    /// and starts the guard, if the job has a program.
    pub(super) fn start(
        job: &'a Job,
        valid: &[Valid<'_>],
        folder: &Path,
    ) -> Result<Option<Self>, Failure> {
        let Some(program) = &job.tune.program else { return Ok(None) };
        let rows = match &job.data {
            Some(data) => write_rows(data, valid, &folder.join("splits"))?,
            None => Vec::new(),
        };
        let setting = Setting {
            aim: Aim::of(&job.objective),
            trials: absolute(&folder.join("trials"))?,
            guard: Guard::start(program.grace())?,
        };
        Ok(Some(Self { job, program, setting, rows, reported: Mutex::default() }))
    }

    /// Runs the program for a trial, once for each fold where there are folds. Its score is that of its
    /// predictions, where there are any.
    pub(super) fn evaluate(
        &self,
        valid: &[Valid<'_>],
        study: &Study,
        session: &Session<'_>,
    ) -> Result<Measured, TrialFailure> {
        let folds = folds(self.job, valid.first().map(|valid| valid.dataset));
        let (measured, by) = match (folds, valid.first()) {
            (Some(folds), _) => self.cross_validate(folds, valid, study, session)?,
            (None, valid) => {
                let report = &mut |step, scores| session.report_all(step, scores);
                let (scored, by) = self.run(None, valid, session.seed(), report, session)?;
                (valid.map_or(scored.measured.clone(), |valid| scored.on(valid)), by)
            }
        };
        let number = session.number();
        if by == PROGRAM {
            self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        }
        study
            .set_attribute(Some(number), SCORED_BY, &by.into())
            .map_err(|error| TrialFailure::Error(error.to_string()))?;
        Ok(measured)
    }

    fn cross_validate(
        &self,
        folds: Folds,
        valid: &[Valid<'_>],
        study: &Study,
        session: &Session<'_>,
    ) -> Result<(Measured, &'static str), TrialFailure> {
        let mut all_by = LUTHIER;
        let trial = CrossValidation { folds, valid, study };
        let measured = trial.evaluate(session, &mut |fold, report| {
            let (valid, seed) = (&valid[usize::from(fold)], fold_seed(session.seed(), fold));
            let (scored, by) = self.run(Some(fold), Some(valid), seed, report, session)?;
            if by == PROGRAM {
                all_by = PROGRAM;
            }
            Ok(scored)
        })?;
        Ok((measured, all_by))
    }

    /// Starts the program, on a fold or all rows, and scores what it has left; who has computed the
    /// score.
    fn run(
        &self,
        fold: Option<u8>,
        valid: Option<&Valid<'_>>,
        seed: u64,
        report: &mut dyn FnMut(u64, Vec<f64>) -> ControlFlow<()>,
        session: &Session<'_>,
    ) -> Result<(Scored, &'static str), TrialFailure> {
        let rows = self.rows.get(fold.map_or(0, usize::from));
        let left = self.program.evaluate(
            &self.setting,
            &mut Turn { rows, fold, seed, report },
            session,
        )?;
        let answered = valid.map(|valid| self.answered(valid, &left)).transpose();
        let answered = answered.map_err(TrialFailure::Error)?.flatten();
        let measured = self.job.objective.measured(|measure| {
            match (measure, valid.zip(answered.as_ref())) {
                (Measure::Metric(metric), Some((valid, answered))) => {
                    valid.score(*metric, &answered.scored).map_err(TrialFailure::Error)
                }
                _ => left.value(measure),
            }
        })?;
        let by = if answered.is_some() { LUTHIER } else { PROGRAM };
        let outputs = answered.and_then(|answered| answered.probabilities);
        Ok((Scored { measured, outputs }, by))
    }

    /// Whether this trial of this run has a score of the program's own.
    pub(super) fn is_reported(&self, trial: u64) -> bool {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).contains(&trial)
    }

    /// The predictions that the program has left, if it has.
    fn answered(&self, valid: &Valid<'_>, left: &Left) -> Result<Option<Answered>, String> {
        let Some(path) = predictions::find(&left.folder)? else { return Ok(None) };
        let labels = valid.dataset.labels();
        let Answers { probabilities, decided } = predictions::read(&path, labels, valid.len())?;
        let of_file = |what: String| format!("{}: {what}", path.display());
        if probabilities.is_none() {
            let needs_more = self.job.objective.measures().find(
                |measure| matches!(measure, Measure::Metric(metric) if !metric.reads_decisions()),
            );
            if let Some(metric) = needs_more {
                let what = format!("`{metric}` needs probabilities, in a column for each label");
                return Err(of_file(what));
            }
        }
        let certain = || {
            let decided = decided.iter().flatten();
            let row = |label: &u32| {
                let label = *label as usize;
                (0..labels.len()).map(move |class| f32::from(class == label))
            };
            decided.flat_map(row).collect::<Vec<f32>>()
        };
        let scored = match &probabilities {
            Some(probabilities) => valid.predictions(probabilities, decided),
            None => valid.predictions(&certain(), decided.clone()),
        };
        Ok(Some(Answered { scored: scored.map_err(of_file)?, probabilities }))
    }
}

/// Files with the rows to learn from and those to be scored on, for each fold or all: those of the
/// job, or written below `folder` where a file is split.
fn write_rows(data: &Data, valid: &[Valid<'_>], folder: &Path) -> Result<Vec<Rows>, Failure> {
    program::fresh(folder).map_err(Failure::io(folder))?;
    let rows = |(fold, valid): (usize, &Valid<'_>)| {
        let dataset = valid.dataset;
        let folder = match dataset.folds() {
            0 => folder.to_owned(),
            _ => folder.join(format!("fold-{fold}")),
        };
        std::fs::create_dir_all(&folder).map_err(Failure::io(&folder))?;
        let file = |selection, name| {
            let file = dataset.file_of(selection, &folder, name)?;
            absolute(&file.ok_or_else(|| Failure::fault(format!("there are no {name} rows")))?)
        };
        let labels = dataset.labels();
        Ok(Rows {
            train: file(valid.fitted, "train")?,
            valid: file(valid.rows, "valid")?,
            text: match &data.rows.content {
                ContentSpec::Text(columns) => columns.clone(),
                ContentSpec::Table(_) => Vec::new(),
            },
            label: data.rows.label.clone(),
            labels: labels.to_vec(),
            positive: binary(dataset).map(|class| labels[class].clone()),
        })
    };
    valid.iter().enumerate().map(rows).collect()
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(Failure::io(path))
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
