//! A search that tasks on a cluster carry out, watched from here.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use luthier_tune::Trial;

use super::tune::{Search, finished, interrupted, show};
use super::watch::show_running;
use crate::failure::Failure;
use crate::launch::{Engine, Standing};
use crate::term::Bar;

/// Pause between two looks at the study.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two looks at the tasks, which cost a cluster's server more.
const LOOK_AT_TASKS: Duration = Duration::from_secs(2);
/// How long tasks may take to leave by themselves once the study has enough trials.
const LEAVE: Duration = Duration::from_secs(20);
/// For how long a cluster may not say how its tasks are.
const SILENCE: Duration = Duration::from_secs(120);

/// Starts tasks and shows what they do until the study has enough trials or no task is left.
pub(super) fn follow<'a>(
    search: &'a Search<'a, '_>,
    engine: &mut dyn Engine,
) -> Result<(), Failure> {
    let Search { job, study, reporter, stop, .. } = *search;
    if finished(&study.trials()) >= search.wanted() {
        return Ok(());
    }
    let tasks = &job.tune.tasks;
    let workers = u64::from(tasks.count) * u64::from(tasks.cpus);
    let most = job.tune.lag + 1;
    if workers > most {
        let warning = format!(
            "warning: {most} trials run at the same time at most, not {workers}: see `tune.lag`"
        );
        reporter.line("", &warning);
    }
    let name = engine.start()?;
    reporter.line("tasks", &format!("{} started: {name}", tasks.count));
    let mut watch = Watch::new(search);
    let ended = watch.until_the_end(engine);
    // Whatever has happened, no task is left alone.
    let left = watch.standing.is_none_or(|standing| !standing.is_over());
    drop(watch);
    let stopped = if left { engine.stop() } else { Ok(()) };
    if stop.load(Ordering::Relaxed) {
        return stopped.and(Err(interrupted()));
    }
    ended.and(stopped)
}

/// What is known of a search and of the tasks.
struct Watch<'a, 'd> {
    search: &'a Search<'a, 'd>,
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

impl<'a, 'd> Watch<'a, 'd> {
    fn new(search: &'a Search<'a, 'd>) -> Self {
        let wanted = search.wanted();
        let trials = search.study.trials();
        let shown = trials.iter().filter(|trial| trial.state.is_finished());
        let shown: BTreeSet<u64> = shown.map(|trial| trial.number).collect();
        Self {
            search,
            bar: search.reporter.bar("tune", shown.len() as u64, wanted),
            shown,
            wanted,
            standing: None,
            heard: Instant::now(),
            asked: None,
        }
    }

    fn has_enough(&self) -> bool {
        self.shown.len() as u64 >= self.wanted
    }

    fn until_the_end(&mut self, engine: &mut dyn Engine) -> Result<(), Failure> {
        let mut enough = None;
        while !self.search.stop.load(Ordering::Relaxed) {
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
        self.search.study.refresh()?;
        show_running(self.search.job, self.search.study, &self.bar);
        let trials = self.search.study.trials();
        let is_new =
            |trial: &&Trial| trial.state.is_finished() && !self.shown.contains(&trial.number);
        let new: Vec<&Trial> = trials.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let best = self.search.best(&trials);
        let best = best.and_then(|best| Some((best.number, best.score()?)));
        for trial in new {
            if self.has_enough() {
                self.want();
            }
            self.shown.insert(trial.number);
            let reached = (self.shown.len() as u64, self.wanted);
            show(&self.bar, self.search.job, trial, false, best, reached);
        }
        if self.has_enough() {
            self.want();
        }
        Ok(())
    }

    /// Learns how many trials are wanted: workers go on where the target is not reached.
    fn want(&mut self) {
        self.wanted = self.search.wanted();
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
                    self.search.reporter.line("tasks", &standing.to_string());
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
