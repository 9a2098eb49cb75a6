//! Ask and tell: trials for programs that have a loop of their own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use luthier_space::{Distribution, Value, Values};
use luthier_tune::{State, Step, Trial, Verdict, trial_seed};

use crate::ledger::{Claim, Ledger, Noted, Outcome, Proposer, Suggested};
use crate::run::{BEAT, Retries};
use crate::session::not_a_score;
use crate::storage::{Held, Lease};
use crate::{Failure, Measured, Study, StudyError};

/// How often a trial is asked again whose client fell silent. It may be the trial that silences them.
const ABANDONED: u32 = 3;

/// Gives trials of a study to clients that come and go, and hears from them how they went.
///
/// A client has a trial by its [`Lease`]. Whoever is silent for too long loses the trial to the next
/// that asks, under the same number and values; until then it may come back and go on. That is also
/// so where this process ended and another has opened the study since, so a client need not know of
/// it. All proposals and decisions are those of [`Study::run`], which other processes may do at the
/// same time.
pub struct AskTell {
    desk: Arc<Desk>,
    beating: Option<JoinHandle<()>>,
}

/// How trials are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// Time after which a client that says nothing is taken for gone; 10 minutes.
    pub silence: Duration,
    /// Number of trials to come to, those that are there included; `None` for no bound.
    pub trials: Option<u64>,
}

impl Default for Asking {
    fn default() -> Self {
        Self { silence: Duration::from_secs(600), trials: None }
    }
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// A trial to evaluate.
    Trial {
        /// The right to end it.
        lease: Lease,
        /// The configuration; of an open study what the trial asked for before it was paused.
        values: Values,
        /// The seed to evaluate it with, the same whenever this trial is evaluated.
        seed: u64,
        /// Steps that were reported before the trial was paused, the last of which it may go on from.
        steps: Vec<Step>,
    },
    /// Nothing at present: trials that run have to end first.
    Later,
    /// Nothing: there are as many trials as wanted.
    Enough,
    /// Nothing: the space has no configuration left.
    Exhausted,
}

/// Why a client is not listened to.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no such trial.
    #[error("there is no trial {number}")]
    Unknown {
        /// Its number.
        number: u64,
    },
    /// The trial has ended, otherwise than the client says.
    #[error("trial {number} is over")]
    Over {
        /// Its number.
        number: u64,
    },
    /// The trial was given to someone else, because its client had been silent.
    #[error("trial {number} was given to someone else, because nothing had been heard of it")]
    Lost {
        /// Its number.
        number: u64,
    },
    /// What was reported does not fit the study.
    #[error("{fault}")]
    Scores {
        /// What is wrong.
        fault: String,
    },
    /// The study cannot be read or written.
    #[error(transparent)]
    Study(#[from] StudyError),
}

/// What the beating thread shares with its owner. Where two locks are held, the ledger's is taken
/// first.
struct Desk {
    study: Study,
    asking: Asking,
    /// By the number of their trial.
    clients: Mutex<BTreeMap<u64, Client>>,
    closing: Mutex<bool>,
    /// Signalled when it is closing.
    closed: Condvar,
}

struct Client {
    lease: Lease,
    /// When it was given the trial; unknown where that was before it was lost.
    began: Option<Instant>,
    /// When it was last heard of.
    heard: Instant,
    /// What the pruner last said.
    verdict: Verdict,
}

impl Client {
    fn new(lease: Lease, began: Option<Instant>) -> Self {
        Self { lease, began, heard: Instant::now(), verdict: Verdict::Continue }
    }
}

impl AskTell {
    /// Gives out the trials of `study`, and takes over those of processes that are dead.
    pub fn new(study: Study, asking: Asking) -> Result<Self, StudyError> {
        let desk = Arc::new(Desk {
            study,
            asking,
            clients: Mutex::default(),
            closing: Mutex::new(false),
            closed: Condvar::new(),
        });
        desk.study.ledger().beat(&desk.study.spec, Retries::default())?;
        let shared = Arc::clone(&desk);
        let beating = Some(std::thread::spawn(move || shared.beat()));
        Ok(Self { desk, beating })
    }

    /// The study.
    pub fn study(&self) -> &Study {
        &self.desk.study
    }

    /// A trial to evaluate, if there is one.
    pub fn ask(&self) -> Result<Asked, StudyError> {
        let Desk { study, asking, .. } = &*self.desk;
        let proposer = Proposer {
            spec: &study.spec,
            sampler: study.sampler.as_ref(),
            first: &[],
            within: None,
            limit: asking.trials.unwrap_or(u64::MAX),
        };
        let mut ledger = study.ledger();
        let Trial { number, values, steps, .. } = match ledger.claim(&proposer)? {
            Claim::Trial(trial) => trial,
            Claim::Later => return Ok(Asked::Later),
            Claim::Enough => return Ok(Asked::Enough),
            Claim::Exhausted => return Ok(Asked::Exhausted),
        };
        let Some(lease) = ledger.lease(number) else { return Ok(Asked::Later) };
        self.desk.clients().insert(number, Client::new(lease, Some(Instant::now())));
        Ok(Asked::Trial { lease, values, seed: trial_seed(study.spec.seed, number), steps })
    }

    /// The value of a parameter that a trial asks for, as [`Session::suggest`](crate::Session::suggest)
    /// gives it.
    pub fn suggest(
        &self,
        lease: Lease,
        name: &str,
        distribution: &Distribution,
    ) -> Result<Value, AskError> {
        let spec = &self.desk.study.spec;
        let mut ledger = self.desk.study.ledger();
        self.desk.hear(&mut ledger, lease)?;
        match ledger.suggest(lease.number, (name, distribution), spec)? {
            Suggested::Value(value) => Ok(value),
            Suggested::Lost => Err(AskError::Lost { number: lease.number }),
        }
    }

    /// Reports the scores of a trial at a step, as [`Session::report_all`](crate::Session::report_all)
    /// does. On [`ControlFlow::Break`] the client should end the evaluation soon and tell
    /// [`Failure::Pruned`].
    pub fn report(
        &self,
        lease: Lease,
        step: u64,
        scores: Vec<f64>,
    ) -> Result<ControlFlow<()>, AskError> {
        let spec = &self.desk.study.spec;
        // What SQLite can store.
        let step = Step { step: step.min(i64::MAX.unsigned_abs()), scores };
        let (got, wanted) = (step.scores.len(), spec.objectives.len());
        if got != wanted {
            return Err(AskError::Scores {
                fault: format!("{got} scores for {wanted} objectives"),
            });
        }
        if let Some(score) = not_a_score(&step.scores) {
            return Err(AskError::Scores { fault: format!("a score is {score}") });
        }
        let mut ledger = self.desk.study.ledger();
        self.desk.hear(&mut ledger, lease)?;
        let number = lease.number;
        let noted = ledger.step(number, &step, spec)?;
        let mut clients = self.desk.clients();
        match (noted, clients.get_mut(&number)) {
            (Noted::New(verdict), Some(client)) => client.verdict = verdict,
            // A client that got no answer says it again, and is answered the same.
            (Noted::Known, Some(_)) => {}
            (Noted::Lost, _) | (_, None) => return Err(AskError::Lost { number }),
        }
        Ok(match clients.get(&number).map(|client| client.verdict) {
            Some(Verdict::Pause | Verdict::Prune) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    }

    /// Says that a client is still at work on a trial for which it has nothing to report.
    pub fn keep_alive(&self, lease: Lease) -> Result<(), AskError> {
        self.desk.hear(&mut self.desk.study.ledger(), lease)
    }

    /// Ends a trial as its evaluation did, and gives it as it is recorded. Saying the same once more
    /// changes nothing and is no error, so that a client that got no answer can say it again.
    ///
    /// What pauses a trial is [`Failure::Pruned`] after the pruner has said so; it may then be asked
    /// again.
    pub fn tell(&self, lease: Lease, end: Result<Measured, Failure>) -> Result<Trial, AskError> {
        let study = &self.desk.study;
        if let Some(fault) = end.as_ref().ok().and_then(|measured| study.spec.fault_of(measured)) {
            return Err(AskError::Scores { fault });
        }
        let number = lease.number;
        let mut ledger = study.ledger();
        if let Err(error) = self.desk.hear(&mut ledger, lease) {
            let known = ledger.trials().get(number as usize);
            let told = known.filter(|trial| has_ended_so(trial, &end));
            return match (error, told) {
                (AskError::Over { .. }, Some(trial)) => Ok(trial.clone()),
                (error, _) => Err(error),
            };
        }
        let (elapsed, verdict) = self.desk.clients().get(&number).map_or_else(
            || (None, Verdict::Continue),
            |client| (client.began.map(|began| began.elapsed()), client.verdict),
        );
        let ended = match (end, verdict) {
            (Err(Failure::Pruned), Verdict::Pause) => {
                ledger.pause(number)?;
                ledger.trials().get(number as usize).cloned()
            }
            (end, _) => {
                let outcome = match end {
                    Ok(measured) => Outcome::complete(measured, elapsed),
                    Err(Failure::Pruned) => Outcome::without_scores(State::Pruned, None, elapsed),
                    Err(Failure::Error(reason)) => {
                        Outcome::without_scores(State::Failed, Some(reason), elapsed)
                    }
                };
                ledger.finish(number, outcome, (&study.spec, Retries::default()))?
            }
        };
        // Where the study could not be written the client may say it again.
        self.desk.clients().remove(&number);
        ended.ok_or(AskError::Lost { number })
    }
}

impl Drop for AskTell {
    /// Gives back the trials of all clients, which may come back to whoever opens the study next.
    fn drop(&mut self) {
        *self.desk.closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.desk.closed.notify_all();
        if let Some(beating) = self.beating.take() {
            let _ = beating.join();
        }
        let _ = self.desk.study.ledger().leave();
    }
}

impl Desk {
    fn clients(&self) -> MutexGuard<'_, BTreeMap<u64, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a client lives, whose trial is from then on held by this process.
    fn hear(&self, ledger: &mut Ledger, lease: Lease) -> Result<(), AskError> {
        let Lease { number, attempt } = lease;
        if ledger.resume(lease, &self.study.spec)? == Held::No {
            return Err(match ledger.trials().get(usize::try_from(number).unwrap_or(usize::MAX)) {
                None => AskError::Unknown { number },
                Some(trial)
                    if trial.state != State::Running
                        && ledger.attempts(number) == Some(attempt) =>
                {
                    AskError::Over { number }
                }
                Some(_) => AskError::Lost { number },
            });
        }
        let mut clients = self.clients();
        match clients.get_mut(&number) {
            Some(client) if client.lease == lease => client.heard = Instant::now(),
            _ => drop(clients.insert(number, Client::new(lease, None))),
        }
        Ok(())
    }

    /// Says at intervals that this process lives, and gives up clients that do not.
    fn beat(&self) {
        let interval = BEAT.min(self.asking.silence / 4);
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        while !*closing {
            let waited = self.closed.wait_timeout(closing, interval);
            closing = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !*closing {
                // A storage that is gone for a moment fails whoever asks meanwhile, and may be back.
                let _ = self.study.ledger().beat(&self.study.spec, Retries::default());
                let _ = self.give_up();
            }
        }
    }

    /// Puts the trials of silent clients back.
    fn give_up(&self) -> Result<(), StudyError> {
        let mut ledger = self.study.ledger();
        let silence = self.asking.silence;
        let clients = self.clients();
        let silent = clients.values().filter(|client| client.heard.elapsed() > silence);
        let silent: Vec<Lease> = silent.map(|client| client.lease).collect();
        drop(clients);
        let spec = &self.study.spec;
        for lease in silent {
            // One that another process has is not ours to give up.
            if ledger.resume(lease, spec)? == Held::Yes {
                let reason = format!("nothing was heard of it for {} s", silence.as_secs_f64());
                let outcome = Outcome::without_scores(State::Failed, Some(reason), None);
                let retries = Retries { failed: ABANDONED, ..Retries::default() };
                ledger.finish(lease.number, outcome, (spec, retries))?;
            }
            self.clients().remove(&lease.number);
        }
        Ok(())
    }
}

/// Whether a trial has ended as is told.
fn has_ended_so(trial: &Trial, end: &Result<Measured, Failure>) -> bool {
    match end {
        Ok(measured) => {
            trial.state == State::Complete
                && trial.scores == measured.scores
                && trial.violations == measured.violations
        }
        Err(Failure::Pruned) => matches!(trial.state, State::Pruned | State::Paused),
        Err(Failure::Error(reason)) => {
            trial.state == State::Failed && trial.reason.as_ref() == Some(reason)
        }
    }
}
