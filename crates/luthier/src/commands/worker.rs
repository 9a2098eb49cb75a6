//! `luthier worker`: trials of a search that another process has begun.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use luthier_study::Summary;
use serde::Serialize;

use super::{print, print_json, run};
use crate::cli::{Format, WorkerArgs};
use crate::failure::Failure;
use crate::job::Job;
use crate::stages;
use crate::term::Reporter;

/// What a worker leaves to say.
#[derive(Serialize)]
struct Work {
    /// Trials that it has evaluated to their end.
    evaluated: u64,
    /// Finished trials of the study.
    finished: u64,
    /// How many are wanted.
    trials: u64,
    /// The best of them.
    best: Option<u64>,
    score: Option<f64>,
    /// Whether the space has no configuration left.
    exhausted: bool,
}

pub(crate) fn worker(args: &WorkerArgs, format: Format, stop: &AtomicBool) -> Result<(), Failure> {
    let job = run::load(&args.run)?;
    job.database("a worker")?;
    let wait = Duration::try_from_secs_f64(args.wait)
        .map_err(|_| Failure::input(format!("--wait is {}", args.wait)))?;
    let summary = stages::work(&job, wait, &Reporter::new(false), stop)?;
    let work = Work::of(&summary, &job);
    match format {
        Format::Json => print_json(&work),
        Format::Text => print(&work.told(&job)),
    }
}

impl Work {
    fn of(summary: &Summary, job: &Job) -> Self {
        let best = summary.best.as_ref();
        Self {
            evaluated: summary.ended,
            finished: summary.finished,
            trials: job.tune.trials,
            best: best.map(|trial| trial.number),
            score: best.and_then(|trial| trial.score()),
            exhausted: summary.exhausted,
        }
    }

    fn told(&self, job: &Job) -> String {
        let Self { evaluated, finished, trials, .. } = self;
        let mut text = format!("{evaluated} trials evaluated here, {finished} of {trials} in all");
        if self.exhausted {
            text += "; nothing is left to try";
        }
        if let (Some(best), Some(score)) = (self.best, self.score) {
            text += &format!("; best {} {score:.4}, trial {best}", job.objective.metric);
        }
        text + "\n"
    }
}
