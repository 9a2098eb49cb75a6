//! The `command` learner: any program, in any language, as a trial.
//!
//! [`Program`] is the checked form of `[tune.command]`. For each trial it starts the program afresh
//! with the values to try, reads reports from its standard output, and ends it when the trial is
//! pruned, takes too long or is interrupted. What a trial leaves, its logs and files, stays in a
//! folder of its own.

mod guard;
mod process;
mod report;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use luthier_space::{Space, Value, Values};
use luthier_study::{Failure as TrialFailure, Session};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, did_you_mean, nearest};
use process::{Cause, Ended, Limits};
use report::Report;

pub(crate) use guard::{Guard, guard};

/// Name of the learner.
pub(crate) const LEARNER: &str = "command";

/// Time between SIGTERM and SIGKILL where none is given.
const GRACE: Duration = Duration::from_secs(10);

/// `[tune.command]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgramForm {
    run: Vec<String>,
    #[serde(default)]
    pass: Pass,
    timeout: Option<String>,
    grace: Option<String>,
}

/// How the values reach the program, besides the file `trial.json`.
#[derive(Deserialize, Serialize, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Pass {
    /// As `trial.json` on standard input.
    #[default]
    Json,
    /// As `--name=value`.
    Arguments,
    /// As variables `LUTHIER_VALUE_NAME`.
    Environment,
}

/// A program that can be started.
pub(crate) struct Program {
    /// The program and its arguments.
    run: Vec<Argument>,
    pass: Pass,
    limits: Limits,
    /// Where it works: the folder of `luthier.toml`.
    folder: PathBuf,
}

/// A word of a command line, in which `{name}` stands for something of the trial.
struct Argument(Vec<Piece>);

enum Piece {
    Text(String),
    Slot(Slot),
}

/// What `{name}` may stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Trial,
    Seed,
    Folder,
    Train,
    Valid,
}

const SLOTS: [(&str, Slot); 5] = [
    ("trial", Slot::Trial),
    ("seed", Slot::Seed),
    ("folder", Slot::Folder),
    ("train", Slot::Train),
    ("valid", Slot::Valid),
];

/// What all trials of a search are told.
pub(crate) struct Setting {
    pub(crate) objective: Objective,
    /// The rows, where the job has any.
    pub(crate) data: Option<Rows>,
    /// Folder of the trials' folders; an absolute path, as all paths that a program gets.
    pub(crate) trials: PathBuf,
    pub(crate) guard: Guard,
}

/// What the score is.
#[derive(Serialize)]
pub(crate) struct Objective {
    pub(crate) metric: String,
    /// `maximize` or `minimize`.
    pub(crate) direction: String,
}

/// The rows to learn from and the rows to be scored on. The test rows are nobody's business.
#[derive(Serialize)]
pub(crate) struct Rows {
    pub(crate) train: PathBuf,
    pub(crate) valid: PathBuf,
    /// Columns of the text.
    pub(crate) text: Vec<String>,
    /// Column of the labels.
    pub(crate) label: String,
    /// All labels, in the order in which they are numbered.
    pub(crate) labels: Vec<String>,
    /// The label that scores of two classes speak of.
    pub(crate) positive: Option<String>,
}

/// `trial.json`.
#[derive(Serialize)]
struct Document<'a> {
    trial: u64,
    seed: u32,
    folder: &'a Path,
    values: &'a Values,
    objective: &'a Objective,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Rows>,
}

/// What a program that ended well has left.
pub(crate) struct Left {
    /// Its own score: the final one, else that of the last step.
    pub(crate) reported: Option<f64>,
    /// Its trial's folder.
    pub(crate) folder: PathBuf,
    /// Keys of its last JSON line that was no report.
    unread: Option<Vec<String>>,
}

impl Left {
    /// The program's own score.
    pub(crate) fn score(&self, metric: &str) -> Result<f64, TrialFailure> {
        self.reported.ok_or_else(|| {
            let seen = self.unread.as_ref().map_or(String::new(), |keys| {
                format!("; its last JSON line has {}", keys.join(", "))
            });
            TrialFailure::Error(format!(
                "it ended without a score: no line such as {{\"{metric}\": 0.5}} on standard \
                 output{seen}"
            ))
        })
    }
}
