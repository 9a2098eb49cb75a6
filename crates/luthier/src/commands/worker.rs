//! `luthier worker`: trials of a search that another process has begun.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{print, print_json, run};
use crate::cli::{Format, WorkerArgs};
use crate::failure::Failure;
use crate::job::Job;
use crate::stages::{self, Work};
use crate::term::Reporter;

pub(crate) fn worker(args: &WorkerArgs, format: Format, stop: &AtomicBool) -> Result<(), Failure> {
    let job = run::load(&args.job)?;
    job.database("a worker")?;
    let wait = Duration::try_from_secs_f64(args.wait)
        .map_err(|_| Failure::input(format!("--wait is {}", args.wait)))?;
    let work = stages::work(&job, wait, &Reporter::new(false), stop)?;
    match format {
        Format::Json => print_json(&work),
        Format::Text => print(&told(&work, &job)),
    }
}

fn told(work: &Work, job: &Job) -> String {
    let Work { evaluated, finished, wanted, .. } = work;
    let mut text = format!("{evaluated} trials evaluated here, {finished} of {wanted} in all");
    if work.exhausted {
        text += "; nothing is left to try";
    }
    if let (Some(best), Some(score)) = (work.best, work.score) {
        text += &format!("; best {} {score:.4}, trial {best}", job.objective.first().measure);
    }
    text + "\n"
}
