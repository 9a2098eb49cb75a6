//! A job from rows to bundle, stage by stage.
//!
//! Every stage takes the finished values of earlier ones and leaves its own in the run folder,
//! with a key that digests all it depends on. A stage whose key is unchanged and whose value is
//! there is not done again, so a run that was stopped at any moment goes on where it was, and a
//! changed setting redoes only what it changes. Budgets (trials, time-outs, workers) are not part
//! of a key.

mod command;
mod compress;
mod curve;
mod finish;
mod folder;
mod measure;
mod report;
mod train;
mod tune;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use luthier_data::{Dataset, Part, Profile};
use luthier_report::RunReport;

use crate::failure::Failure;
use crate::job::Job;
use crate::program;
use crate::term::Reporter;

pub(crate) use curve::learning_curve;
pub(crate) use folder::RunFolder;
pub(crate) use measure::{answer, median_and_p99, predictions};
pub(crate) use report::{parameters, trial_state, values};

/// The data of a job: opened, checked and described.
pub(crate) struct Prepared {
    pub(crate) dataset: Dataset,
    pub(crate) profile: Profile,
    /// Digest of all that later stages take from the data.
    pub(crate) key: String,
}

/// Does the whole job, or, where the best trial is a program's, which leaves no model that could be
/// taken further, what [`tune()`] does.
pub(crate) fn run(job: &Job, reporter: &Reporter, stop: &AtomicBool) -> Result<RunReport, Failure> {
    let start = Instant::now();
    let mut folder = RunFolder::open(&job.run_folder())?;
    let prepared = prepare(job, &mut folder, reporter)?;
    let rows = train::TrainingRows::of(&prepared.dataset, stop);
    let tuned = tune::tune(job, &prepared, &rows, &mut folder, reporter, stop)?;
    if tuned.learner() == program::LEARNER {
        return end_tuned(job, &prepared, &tuned, &folder, start);
    }
    let trained = train::train(job, &prepared, &rows, &tuned, &mut folder, reporter, stop)?;
    let compressed = compress::compress(job, &prepared, &trained, &mut folder, reporter, stop)?;
    let finished = finish::finish(job, &prepared, &compressed, &mut folder, reporter)?;
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
    let start = Instant::now();
    let mut folder = RunFolder::open(&job.run_folder())?;
    let prepared = prepare(job, &mut folder, reporter)?;
    let rows = train::TrainingRows::of(&prepared.dataset, stop);
    let tuned = tune::tune(job, &prepared, &rows, &mut folder, reporter, stop)?;
    end_tuned(job, &prepared, &tuned, &folder, start)
}

/// Writes `tuning.json` and `tuning.html`. The reports of a finished model stay as they are.
fn end_tuned(
    job: &Job,
    prepared: &Prepared,
    tuned: &tune::Tuned,
    folder: &RunFolder,
    start: Instant,
) -> Result<RunReport, Failure> {
    let report = report::tuned(job, prepared, tuned, start.elapsed().as_secs_f64());
    report::write(&report, folder, "tuning")?;
    Ok(report)
}

/// Opens and profiles the data.
fn prepare(job: &Job, folder: &mut RunFolder, reporter: &Reporter) -> Result<Prepared, Failure> {
    let dataset = Dataset::open(&job.dataset)?;
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
    let rows = |part| dataset.len(part);
    let parts = format!(
        "{} train, {} valid, {} test rows, {} classes",
        rows(Part::Train),
        rows(Part::Valid),
        rows(Part::Test),
        dataset.labels().len()
    );
    reporter.line("data", &parts);
    let warnings =
        profile.findings.iter().filter(|f| f.severity == luthier_data::Severity::Warning);
    for finding in warnings {
        reporter.line("", &format!("warning: {}", finding.message));
    }
    Ok(Prepared { dataset, profile, key })
}
