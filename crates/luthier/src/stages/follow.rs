//! A search that tasks on a cluster carry out, watched from here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use luthier_study::Study;
use luthier_tune::Trial;

use super::tune::{LAG, finished, interrupted, show, wanted};
use crate::failure::Failure;
use crate::job::Job;
use crate::launch::{Engine, Standing};
use crate::term::{Bar, Reporter};

/// Pause between two looks at the study.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two looks at the tasks, which cost a cluster's server more.
const LOOK_AT_TASKS: Duration = Duration::from_secs(2);
/// How long tasks may take to leave by themselves once the study has enough trials.
const LEAVE: Duration = Duration::from_secs(20);
/// For how long a cluster may not say how its tasks are.
const SILENCE: Duration = Duration::from_secs(120);

/// Starts tasks and shows what they do until the study has enough trials or no task is left.
pub(super) fn follow(
    job: &Job,
    study: &Study,
    engine: &mut dyn Engine,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    if finished(&study.trials()) >= wanted(job, study) {
        return Ok(());
    }
    let tasks = &job.tune.tasks;
    let workers = u64::from(tasks.count) * u64::from(tasks.cpus);
    if workers > LAG + 1 {
        let most = LAG + 1;
        let warning = format!("warning: {most} trials run at the same time at most, not {workers}");
        reporter.line("", &warning);
    }
    let name = engine.start()?;
    reporter.line("tasks", &format!("{} started: {name}", tasks.count));
    let mut watch = Watch::new(job, study, reporter);
    let ended = watch.until_the_end(engine, stop);
    // Whatever has happened, no task is left alone.
    let left = watch.standing.is_none_or(|standing| !standing.is_over());
    watch.bar.clear();
    let stopped = if left { engine.stop() } else { Ok(()) };
    if stop.load(Ordering::Relaxed) {
        return stopped.and(Err(interrupted()));
    }
    ended.and(stopped)
}

/// What is known of a search and of the tasks.
struct Watch<'a> {
    job: &'a Job,
    study: &'a Study,
    reporter: &'a Reporter,
    bar: Bar,
    /// Finished trials that have been told of.
    shown: BTreeSet<u64>,
    /// How many are wanted, as far as that is known.
    wanted: u64,
    /// How the tasks were when they were last heard of.
    standing: Option<Standing>,
    heard: Instant,
    /// When they were last asked for.
    asked: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(job: &'a Job, study: &'a Study, reporter: &'a Reporter) -> Self {
        let wanted = wanted(job, study);
        let trials = study.trials();
        let shown = trials.iter().filter(|trial| trial.state.is_finished());
        Self {
            job,
            study,
            reporter,
            bar: reporter.bar("tune", wanted),
            shown: shown.map(|trial| trial.number).collect(),
            wanted,
            standing: None,
            heard: Instant::now(),
            asked: None,
        }
    }

    fn has_enough(&self) -> bool {
        self.shown.len() as u64 >= self.wanted
    }

    fn until_the_end(&mut self, engine: &mut dyn Engine, stop: &AtomicBool) -> Result<(), Failure> {
        let mut enough = None;
        while !stop.load(Ordering::Relaxed) {
            self.look_at_tasks(engine)?;
            // Looked at after the tasks: what they have done until they were over is in.
            self.look()?;
            if self.has_enough() && enough.get_or_insert_with(Instant::now).elapsed() >= LEAVE {
                return Ok(());
            }
            match self.standing {
                Some(standing) if !standing.is_over() => sleep(LOOK),
                Some(standing) if standing.done > 0 || enough.is_some() => return Ok(()),
                Some(standing) => return Err(all_failed(standing, engine)),
                None => sleep(LOOK),
            }
        }
        Ok(())
    }

    /// Tells of trials that have finished since the last look.
    fn look(&mut self) -> Result<(), Failure> {
        self.study.refresh()?;
        let trials = self.study.trials();
        let is_new =
            |trial: &&Trial| trial.state.is_finished() && !self.shown.contains(&trial.number);
        let new: Vec<&Trial> = trials.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let best = luthier_tune::best(&trials, &self.study.spec().directions());
        let best = best.and_then(|best| Some((best.number, best.score()?)));
        for trial in new {
            if self.has_enough() {
                self.want();
            }
            self.shown.insert(trial.number);
            let reached = (self.shown.len() as u64, self.wanted);
            show(&self.bar, self.job, trial, false, best, reached);
        }
        if self.has_enough() {
            self.want();
        }
        Ok(())
    }

    /// Learns how many trials are wanted: workers go on where the target is not reached.
    fn want(&mut self) {
        self.wanted = wanted(self.job, self.study);
        self.bar.set_total(self.wanted);
    }

    /// Learns how the tasks are, now and then. For a while it is no error if nobody says so.
    fn look_at_tasks(&mut self, engine: &mut dyn Engine) -> Result<(), Failure> {
        if self.asked.is_some_and(|asked| asked.elapsed() < LOOK_AT_TASKS) {
            return Ok(());
        }
        self.asked = Some(Instant::now());
        match engine.standing() {
            Ok(standing) => {
                if self.standing != Some(standing) {
                    self.bar.line(self.reporter, "tasks", &standing.to_string());
                }
                (self.standing, self.heard) = (Some(standing), Instant::now());
                Ok(())
            }
            Err(_) if self.heard.elapsed() < SILENCE => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

fn all_failed(standing: Standing, engine: &mut dyn Engine) -> Failure {
    let message = match standing.failed {
        1 => "the task has failed".to_owned(),
        count => format!("all {count} tasks have failed"),
    };
    match engine.last_lines() {
        Some(lines) => Failure::fault(format!("{message}; the last lines of {lines}")),
        None => Failure::fault(format!("{message}, and there is no log of them")),
    }
}
