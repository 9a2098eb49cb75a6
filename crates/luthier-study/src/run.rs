//! Workers: threads that take trials and evaluate them until there are enough.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use luthier_space::{Space, Values};
use luthier_tune::{State, Step, Trial};

use crate::ledger::{Claim, Outcome, Proposer};
use crate::session::{Cause, Failure, Measured, Session};
use crate::{Study, StudyError};

/// A run is given up when so many trials fail without another outcome in between.
pub const MAX_FAILURES_IN_A_ROW: u32 = 10;

/// How long a worker that has to wait for another sleeps before it looks whether the run ends.
const POLL: Duration = Duration::from_millis(50);

/// How often a process says that it lives, and looks for those that do not.
pub(crate) const BEAT: Duration = Duration::from_secs(10);

/// How far to take a study.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Number of finished trials to reach, those of earlier runs included; `None` for no bound.
    pub trials: Option<u64>,
    /// When to stop; trials that run then are put back.
    pub deadline: Option<Instant>,
    /// Number of threads, at least 1.
    pub workers: usize,
    /// Set from outside to stop; trials that run then are put back.
    pub stop: &'a AtomicBool,
    /// How often a trial that was not evaluated to its end is evaluated again.
    pub retries: Retries,
    /// Configurations that are evaluated before the sampler is asked: new trial *n* gets the one
    /// at *n*, unless it does not fit the space.
    pub first: &'a [Values],
    /// The part of the study's space from which new configurations come; `None` for all of it, or in
    /// an open study for all that finished trials have asked for.
    pub within: Option<&'a Space>,
}

/// How often a trial is evaluated again. When a run is stopped, its trials are put back and nothing
/// is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// After the process that evaluated it has ended in the middle, by a signal or with its machine.
    pub crashed: u32,
    /// After a failure.
    pub failed: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { crashed: 3, failed: 0 }
    }
}

/// Something that happened in a run. Events of one trial come in order, from the worker that
/// evaluates it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A trial is about to be evaluated.
    Started {
        /// Its number.
        number: u64,
        /// Its configuration.
        values: Values,
    },
    /// A trial reported a score on its way.
    Step {
        /// Its number.
        number: u64,
        /// The step with its scores.
        step: Step,
    },
    /// A trial has ended and is recorded.
    Finished {
        /// The trial.
        trial: Trial,
        /// Number and score of the best complete trial so far, by the first objective.
        best: Option<(u64, f64)>,
        /// Number of finished trials so far.
        finished: u64,
    },
}

/// A study at the end of a run; all counts but the first include earlier runs and other processes.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Number of trials that this run has brought to an end.
    pub ended: u64,
    /// Number of finished trials.
    pub finished: u64,
    /// Number of those that have a score.
    pub complete: u64,
    /// Number of those given up early.
    pub pruned: u64,
    /// Number of those that failed.
    pub failed: u64,
    /// The complete trial with the best score, of several objectives in the first.
    pub best: Option<Trial>,
    /// Whether the space ran out of configurations.
    pub exhausted: bool,
    /// Whether the stop flag or the deadline ended the run.
    pub stopped: bool,
}

impl Study {
    /// Evaluates trials with `objective` until `run` is fulfilled, telling `on_event` of each step
    /// on the way. Both are called from all workers, at once if there are several.
    ///
    /// A panic of the objective, and a score that is not finite, count as failures of the trial.
    /// The run ends early with an error when [`MAX_FAILURES_IN_A_ROW`] trials fail or the study
    /// cannot be written; trials that run at that time are put back.
    ///
    /// # Panics
    /// If `on_event` does.
    pub fn run(
        &self,
        run: &Run<'_>,
        objective: &(dyn Fn(&Session<'_>) -> Result<Measured, Failure> + Sync),
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Summary, StudyError> {
        let crew = Crew::new(self, run, objective, on_event);
        self.ledger().beat(&self.spec, run.retries)?;
        std::thread::scope(|scope| {
            let _rest = crew.rest_when_dropped();
            scope.spawn(|| crew.beat());
            std::thread::scope(|scope| {
                for _ in 1..run.workers {
                    scope.spawn(|| crew.work());
                }
                crew.work();
            });
        });
        let left = self.ledger().leave();
        let mut progress = crew.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        // What ended the run says more than what could not be cleared up after it.
        progress.error.take().map_or(left, Err)?;
        Ok(self.summary(&progress))
    }

    fn summary(&self, progress: &Progress) -> Summary {
        let ledger = self.ledger();
        let Progress { ended, exhausted, stopped, .. } = *progress;
        Summary {
            ended,
            finished: ledger.finished(),
            complete: ledger.count(State::Complete),
            pruned: ledger.count(State::Pruned),
            failed: ledger.count(State::Failed),
            best: ledger.best().cloned(),
            exhausted,
            stopped,
        }
    }
}

/// What the workers of one run share. Where two locks are held, the ledger's is taken first.
pub(crate) struct Crew<'a> {
    pub(crate) study: &'a Study,
    run: &'a Run<'a>,
    objective: &'a (dyn Fn(&Session<'_>) -> Result<Measured, Failure> + Sync),
    on_event: &'a (dyn Fn(Event) + Sync),
    /// Set when the run ends with an error.
    halted: AtomicBool,
    progress: Mutex<Progress>,
    /// Signalled when a trial has ended, for workers that wait for it.
    freed: Condvar,
    /// Whether all workers are done.
    resting: Mutex<bool>,
    /// Signalled when they are.
    rest: Condvar,
}

/// Ends the beating of a crew when dropped, also by a panic.
struct Rest<'a>(&'a Crew<'a>);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        *self.0.resting.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.rest.notify_all();
    }
}

/// How the run went so far.
#[derive(Default)]
struct Progress {
    ended: u64,
    failures_in_a_row: u32,
    exhausted: bool,
    stopped: bool,
    error: Option<StudyError>,
}

impl<'a> Crew<'a> {
    pub(crate) fn new(
        study: &'a Study,
        run: &'a Run<'a>,
        objective: &'a (dyn Fn(&Session<'_>) -> Result<Measured, Failure> + Sync),
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        Self {
            study,
            run,
            objective,
            on_event,
            halted: AtomicBool::new(false),
            progress: Mutex::default(),
            freed: Condvar::new(),
            resting: Mutex::new(false),
            rest: Condvar::new(),
        }
    }

    /// Evaluates a trial that is over once more; `None` if that goes wrong or is stopped.
    pub(crate) fn evaluate_again(&self, trial: &Trial) -> Option<Measured> {
        let session = Session::again(self, trial);
        let found = catch_unwind(AssertUnwindSafe(|| (self.objective)(&session))).ok()?.ok()?;
        (session.cause().is_none() && self.study.spec.fault_of(&found).is_none()).then_some(found)
    }

    /// Whether running trials have to be put back.
    pub(crate) fn interrupted(&self) -> bool {
        self.stopping() || self.run.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether the run ends at someone's will, or with an error, rather than by the clock.
    fn stopping(&self) -> bool {
        self.run.stop.load(Ordering::Relaxed) || self.halted.load(Ordering::Relaxed)
    }

    pub(crate) fn emit(&self, event: Event) {
        (self.on_event)(event);
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn rest_when_dropped(&self) -> Rest<'_> {
        Rest(self)
    }

    /// Says at intervals that this process lives, until all workers are done.
    fn beat(&self) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        while !*resting {
            let waited = self.rest.wait_timeout(resting, BEAT);
            resting = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !*resting
                && let Err(error) = self.study.ledger().beat(&self.study.spec, self.run.retries)
            {
                return self.halt(error);
            }
        }
    }

    /// Ends the run with an error, the first of which counts.
    pub(crate) fn halt(&self, error: StudyError) {
        self.halted.store(true, Ordering::Relaxed);
        self.update(|progress| {
            progress.error.get_or_insert(error);
        });
        self.freed.notify_all();
    }

    /// The life of a worker.
    fn work(&self) {
        let work = || -> Result<(), StudyError> {
            while let Some(trial) = self.claim()? {
                self.evaluate(&trial)?;
            }
            Ok(())
        };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.halt(error),
            // A panic of `on_event`. The others must not wait for this worker's trial.
            Err(panic) => {
                self.halted.store(true, Ordering::Relaxed);
                self.freed.notify_all();
                resume_unwind(panic);
            }
        }
    }

    /// The next trial to evaluate, once there is one; `None` when the run is over.
    fn claim(&self) -> Result<Option<Trial>, StudyError> {
        let limit = self.run.trials.unwrap_or(u64::MAX);
        let study = self.study;
        let proposer = Proposer {
            spec: &study.spec,
            sampler: study.sampler.as_ref(),
            first: self.run.first,
            within: self.run.within,
            limit,
        };
        let mut ledger = study.ledger();
        loop {
            let over = ledger.finished() >= limit;
            if !over && self.interrupted() {
                self.update(|progress| progress.stopped = true);
                return Ok(None);
            }
            match ledger.claim(&proposer)? {
                Claim::Trial(trial) => return Ok(Some(trial)),
                Claim::Enough => return Ok(None),
                Claim::Exhausted => {
                    self.update(|progress| progress.exhausted = true);
                    return Ok(None);
                }
                Claim::Later => {
                    let waited = self.freed.wait_timeout(ledger, POLL);
                    ledger = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn evaluate(&self, trial: &Trial) -> Result<(), StudyError> {
        let Trial { number, ref values, .. } = *trial;
        self.emit(Event::Started { number, values: values.clone() });
        let session = Session::new(self, trial);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (self.objective)(&session)));
        let outcome = self.judge(&session, result, Some(start.elapsed()));

        let mut ledger = self.study.ledger();
        let outcome = match outcome {
            End::Outcome(outcome) => outcome,
            End::PutBack => return ledger.put_back(number),
            End::Pause => return ledger.pause(number),
        };
        let settings = (&self.study.spec, self.run.retries);
        let Some(trial) = ledger.finish(number, outcome, settings)? else { return Ok(()) };
        let best = ledger.best().and_then(|best| Some((best.number, best.score()?)));
        let finished = ledger.finished();
        drop(ledger);
        self.freed.notify_all();
        self.count(&trial);
        self.emit(Event::Finished { trial, best, finished });
        Ok(())
    }

    /// What a result means for the trial.
    fn judge(
        &self,
        session: &Session<'_>,
        result: Result<Result<Measured, Failure>, Box<dyn Any + Send>>,
        elapsed: Option<Duration>,
    ) -> End {
        let failed = |reason: String| Outcome::without_scores(State::Failed, Some(reason), elapsed);
        let pruned = || Outcome::without_scores(State::Pruned, None, elapsed);
        End::Outcome(match (result, session.cause()) {
            (Ok(Ok(measured)), _) => match self.study.spec.fault_of(&measured) {
                None => Outcome::complete(measured, elapsed),
                Some(reason) => failed(reason),
            },
            (Err(panic), _) => failed(panic_message(panic.as_ref())),
            (Ok(Err(_)), Some(Cause::Interrupted | Cause::Lost | Cause::Broken)) => {
                return End::PutBack;
            }
            (Ok(Err(Failure::Pruned)), Some(Cause::Paused)) => return End::Pause,
            (Ok(Err(_)), Some(Cause::NotFinite { step, score })) => {
                failed(format!("the score at step {step} is {score}"))
            }
            (Ok(Err(Failure::Pruned)), Some(Cause::Pruned)) => pruned(),
            // An evaluation may notice by itself that the run is being stopped, or be cut off by
            // what stops it, as a child process is by a signal to the group.
            (Ok(Err(_)), None) if self.stopping() => return End::PutBack,
            (Ok(Err(Failure::Pruned)), None) => pruned(),
            (Ok(Err(Failure::Error(reason))), _) => failed(reason),
        })
    }

    fn count(&self, trial: &Trial) {
        let mut failures = 0;
        self.update(|progress| {
            progress.ended += 1;
            progress.failures_in_a_row += 1;
            if trial.state != State::Failed {
                progress.failures_in_a_row = 0;
            }
            failures = progress.failures_in_a_row;
        });
        if failures >= MAX_FAILURES_IN_A_ROW {
            let reason = trial.reason.clone().unwrap_or_default();
            self.halt(StudyError::Failures { in_a_row: failures, reason });
        }
    }
}

/// What becomes of a trial after its evaluation.
enum End {
    Outcome(Outcome),
    PutBack,
    Pause,
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the evaluation panicked: {}", text.unwrap_or("no message"))
}
