//! A study at a glance, for those who watch it.

use std::time::Duration;

use luthier_space::Values;
use luthier_tune::Step;

/// How a study stands, as far as this process knows; see [`Study::refresh`](crate::Study::refresh).
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Number of finished trials that have a score.
    pub complete: u64,
    /// Number of those given up early.
    pub pruned: u64,
    /// Number of those that failed.
    pub failed: u64,
    /// Number and first score of the best complete trial.
    pub best: Option<(u64, f64)>,
    /// The trials that somebody evaluates, by number.
    pub running: Vec<Running>,
}

impl Overview {
    /// Number of finished trials.
    pub fn finished(&self) -> u64 {
        self.complete + self.pruned + self.failed
    }
}

/// A trial that is being evaluated, by this process or another.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// Its number.
    pub number: u64,
    /// Its configuration.
    pub values: Values,
    /// The last step that it has reported. Those of other processes are only known where the study has
    /// no lag.
    pub last: Option<Step>,
    /// How long ago its evaluation was first begun.
    pub elapsed: Option<Duration>,
}
