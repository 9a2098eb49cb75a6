//! A job from rows to bundle, stage by stage.
//!
//! Every stage takes the finished values of earlier ones and leaves its own in the run folder,
//! with a key that digests all it depends on. A stage whose key is unchanged and whose value is
//! there is not done again, so a run that was stopped at any moment goes on where it was, and a
//! changed setting redoes only what it changes. Budgets (trials, time-outs, workers) are not part
//! of a key.

mod calibrate;
mod command;
mod compress;
mod cross_validate;
mod curve;
mod distil;
mod finish;
mod folder;
mod follow;
mod held_out;
mod importance;
mod inputs;
mod measure;
mod report;
mod teach;
mod train;
mod training_rows;
mod tune;
mod valid;
mod watch;
mod workplace;

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use luthier_data::{Dataset, Part, Profile};
use luthier_model::Decision;
use luthier_report::RunReport;
use luthier_tune::{State, Trial};
use serde::Serialize;

use crate::checkpoints;
use crate::failure::Failure;
use crate::job::{Data, Job};
use crate::launch::Engine;
use crate::program;
use crate::term::Reporter;

pub(crate) use curve::learning_curve;
pub(crate) use folder::RunFolder;
pub(crate) use inputs::{Inputs, columns, content, example, raw};
pub(crate) use measure::{Answers, TIMED_ROWS, Truth, answer_as, median_and_p99};
pub(crate) use report::{parameters, trial_state, values};
use training_rows::TrainingRows;
use tune::Search;
use workplace::Workplace;

/// The data of a job: opened, checked and described.
pub(crate) struct Prepared<'a> {
    pub(crate) data: &'a Data,
    pub(crate) dataset: Dataset,
    pub(crate) profile: Profile,
    /// How its classes are decided for before any threshold is tuned.
    pub(crate) decision: Decision,
    /// Digest of all that later stages take from the data.
    pub(crate) key: String,
}

/// What a worker has done, and how the study stands.
#[derive(Serialize)]
pub(crate) struct Work {
    /// Trials that it has evaluated to their end.
    pub(crate) evaluated: u64,
    /// Finished trials of the study.
    pub(crate) finished: u64,
    /// How many are wanted.
    pub(crate) wanted: u64,
    /// The best of them, with its score.
    pub(crate) best: Option<u64>,
    pub(crate) score: Option<f64>,
    /// Whether the space has no configuration left.
    pub(crate) exhausted: bool,
}

/// Does the whole job, or, where there are no rows or the best trial is a program's and has left no
/// model that can be taken further, what [`tune()`] does.
pub(crate) fn run(job: &Job, reporter: &Reporter, stop: &AtomicBool) -> Result<RunReport, Failure> {
    let Some(data) = &job.data else { return tune(job, reporter, stop) };
    let start = Instant::now();
    checkpoints::fetch(job, reporter, stop)?;
    let mut folder = RunFolder::open(&job.run_folder())?;
    let prepared = prepare(data, &mut folder, reporter)?;
    let taught = teach::teach(job, &prepared.dataset, true, reporter, stop)?;
    let rows = TrainingRows::of(&prepared.dataset, &prepared.decision, data, stop)?
        .taught_by(taught.as_ref());
    let source = Some((&prepared, &rows));
    let tuned = tune::tune(job, source, &mut folder, reporter, stop, here)?;
    let trained = if tuned.learner() == program::LEARNER {
        match command::adopt(job, &prepared, &tuned, &mut folder, reporter) {
            Ok(Some(trained)) => trained,
            other => {
                let report = end_tuned(job, Some(&prepared), &tuned, &folder, start)?;
                return other.map(|_| report);
            }
        }
    } else {
        train::train(job, &prepared, &rows, &tuned, &mut folder, reporter, stop)?
    };
    let distilled = taught
        .as_ref()
        .map(|taught| {
            let to = (&trained, &mut folder);
            let untaught = train::train_untaught(
                job,
                &prepared,
                &rows.untaught(),
                &tuned,
                to,
                reporter,
                stop,
            )?;
            Ok::<_, Failure>(distil::Distilled {
                teacher: &taught.teacher,
                student: &trained,
                untaught,
            })
        })
        .transpose()?;
    let compressed = compress::compress(job, &prepared, &trained, &mut folder, reporter, stop)?;
    let finished =
        finish::finish(&prepared, &compressed, distilled.as_ref(), &mut folder, reporter)?;
    let report = report::assemble(&report::Parts {
        job,
        prepared: &prepared,
        tuned: &tuned,
        compressed: &compressed,
        finished: &finished,
        seconds: start.elapsed().as_secs_f64(),
    });
    report::write(&report, &folder, "report")?;
    Ok(report)
}

/// Does the job up to the best trial.
pub(crate) fn tune(
    job: &Job,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<RunReport, Failure> {
    tune_by(job, reporter, stop, here)
}

/// The same with tasks that an engine runs.
pub(crate) fn tune_on(
    engine: &mut dyn Engine,
    job: &Job,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<RunReport, Failure> {
    tune_by(job, reporter, stop, |search| follow::follow(search, engine))
}

fn tune_by(
    job: &Job,
    reporter: &Reporter,
    stop: &AtomicBool,
    by: impl FnOnce(&Search<'_, '_>) -> Result<(), Failure>,
) -> Result<RunReport, Failure> {
    let start = Instant::now();
    checkpoints::fetch(job, reporter, stop)?;
    let mut folder = RunFolder::open(&job.run_folder())?;
    let data = job.data.as_ref();
    let prepared = data.map(|data| prepare(data, &mut folder, reporter)).transpose()?;
    let teach =
        |prepared: &Prepared<'_>| teach::teach(job, &prepared.dataset, true, reporter, stop);
    let taught = prepared.as_ref().map(teach).transpose()?.flatten();
    let rows = prepared.as_ref().map(|prepared| {
        let Prepared { dataset, decision, data, .. } = prepared;
        let rows = TrainingRows::of(dataset, decision, data, stop)?;
        Ok::<_, Failure>(rows.taught_by(taught.as_ref()))
    });
    let rows = rows.transpose()?;
    let source = prepared.as_ref().zip(rows.as_ref());
    let tuned = tune::tune(job, source, &mut folder, reporter, stop, by)?;
    end_tuned(job, prepared.as_ref(), &tuned, &folder, start)
}

/// Evaluates trials of a job whose search another process has begun or, within `wait`, begins. The
/// run folder is that process's; only programs need a place beside what it has there.
pub(crate) fn work(
    job: &Job,
    wait: Duration,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<Work, Failure> {
    checkpoints::fetch(job, reporter, stop)?;
    let data = job.data.as_ref();
    let opened = data.map(|data| Ok::<_, Failure>((open(data, reporter)?, data)));
    let opened = opened.transpose()?;
    let teach =
        |((dataset, _), _): &((Dataset, _), _)| teach::teach(job, dataset, false, reporter, stop);
    let taught = opened.as_ref().map(teach).transpose()?.flatten();
    let rows = opened.as_ref().map(|((dataset, decision), data)| {
        let rows = TrainingRows::of(dataset, decision, data, stop)?;
        Ok::<_, Failure>(rows.taught_by(taught.as_ref()))
    });
    let rows = rows.transpose()?;
    let rows = rows.as_ref();
    let study = tune::join(job, rows, wait, stop)?;
    let host = rustix::system::uname();
    let own = format!("{}-{}", host.nodename().to_string_lossy(), std::process::id());
    let folder = job.run_folder().join("workers").join(own);
    let deadline = job.tune.timeout.map(|timeout| Instant::now() + timeout);
    let (study, folder) = (&study, &folder);
    let search = Search { job, rows, study, folder, reporter, stop, deadline };
    let searched = search.rounds();
    let trials = study.trials();
    // Nobody goes on from a worker's own folder; what failed trials tell of is there to be looked at.
    let is_told = |trial: &Trial| trial.state == State::Failed;
    Workplace::of(folder, job.tune.workers).remove_all_but(&trials, is_told);
    // A worker's own folder, that of all workers and the run folder, as long as there is nothing in them.
    let _ = folder.ancestors().take(3).try_for_each(std::fs::remove_dir);
    let searched = searched?;
    let best = search.best(&trials);
    Ok(Work {
        evaluated: searched.ended,
        finished: tune::finished(&trials),
        wanted: search.wanted(),
        best: best.map(|trial| trial.number),
        score: best.and_then(|trial| trial.score()),
        exhausted: searched.exhausted,
    })
}

/// Evaluates trials in this process.
fn here(search: &Search<'_, '_>) -> Result<(), Failure> {
    search.rounds().map(drop)
}

/// Writes `tuning.json` and `tuning.html`. The reports of a finished model stay as they are.
fn end_tuned(
    job: &Job,
    prepared: Option<&Prepared<'_>>,
    tuned: &tune::Tuned,
    folder: &RunFolder,
    start: Instant,
) -> Result<RunReport, Failure> {
    let report = report::tuned(job, prepared, tuned, start.elapsed().as_secs_f64());
    report::write(&report, folder, "tuning")?;
    Ok(report)
}

/// Opens the data, says what they are, and how their classes are decided for.
fn open(data: &Data, reporter: &Reporter) -> Result<(Dataset, Decision), Failure> {
    let dataset = Dataset::open(&data.rows)?;
    let decision = measure::decision(&data.deciding, &dataset)?;
    let rows = |part| dataset.len(part);
    let folds = match dataset.folds() {
        0 => String::new(),
        folds => format!(", {folds} folds"),
    };
    let columns = dataset
        .table()
        .map_or(String::new(), |table| format!(", {} columns", table.columns().len()));
    let labels = match dataset.labels().len() {
        0 => String::new(),
        classes => format!(", {classes} classes"),
    };
    let parts = format!(
        "{} train, {} valid, {} test rows{columns}{labels}{folds}",
        rows(Part::Train),
        rows(Part::Valid),
        rows(Part::Test),
    );
    reporter.line("data", &parts);
    Ok((dataset, decision))
}

/// Opens and profiles the data.
fn prepare<'a>(
    data: &'a Data,
    folder: &mut RunFolder,
    reporter: &Reporter,
) -> Result<Prepared<'a>, Failure> {
    let (dataset, decision) = open(data, reporter)?;
    let key = folder::key(&["data", &dataset.digest()]);
    let profile = match folder.finished("profile", &key).then(|| folder.read("profile.json")) {
        Some(Ok(profile)) => profile,
        _ => {
            let profile = dataset.profile()?;
            folder.write("profile.json", &profile)?;
            folder.finish("profile", &key)?;
            profile
        }
    };
    let warnings =
        profile.findings.iter().filter(|f| f.severity == luthier_data::Severity::Warning);
    for finding in warnings {
        reporter.line("", &format!("warning: {}", finding.message));
    }
    Ok(Prepared { data, dataset, profile, decision, key })
}
