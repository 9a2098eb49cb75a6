//! The `command` learner: any program, in any language, as a trial.
//!
//! [`Program`] is the checked form of `[tune.command]`. For each trial it starts the program afresh
//! with the values to try, reads reports from its standard output, and ends it when the trial is
//! pruned, takes too long or is interrupted. What a trial leaves, its logs and files, stays in a
//! folder of its own.

mod guard;
mod process;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use luthier_space::{Space, Value, Values};
use luthier_study::{Failure as TrialFailure, Session};
use luthier_tune::Direction;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, meant_or_known, nearest};
use crate::job::{Measure, Objective, duration};
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
    program: PathBuf,
    arguments: Vec<Argument>,
    pass: Pass,
    limits: Limits,
    /// Where it works: the folder of `luthier.toml`.
    folder: PathBuf,
    key: String,
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
    pub(crate) aim: Aim,
    /// Folder of the trials' folders; an absolute path, as all paths that a program gets.
    pub(crate) trials: PathBuf,
    pub(crate) guard: Guard,
}

/// What a program is to be good at.
#[derive(Serialize)]
pub(crate) struct Aim {
    metric: String,
    direction: Direction,
    /// What is scored besides.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    also: BTreeMap<String, Direction>,
    /// What it has to keep.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, f64>,
    /// All names of which it may report values, those that are scored first.
    #[serde(skip)]
    names: Vec<String>,
    /// How many of these are scored.
    #[serde(skip)]
    scored: usize,
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

/// One start of the program for a trial.
pub(crate) struct Turn<'a> {
    /// The rows, where the job has any.
    pub(crate) rows: Option<&'a Rows>,
    /// The fold whose rows are held out, where there are folds: the program is started for each.
    pub(crate) fold: Option<u8>,
    pub(crate) seed: u64,
    /// What becomes of steps and their scores.
    pub(crate) report: &'a mut dyn FnMut(u64, Vec<f64>) -> ControlFlow<()>,
}

/// `trial.json`.
#[derive(Serialize)]
struct Document<'a> {
    trial: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fold: Option<u8>,
    seed: u32,
    folder: &'a Path,
    values: &'a Values,
    objective: &'a Aim,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Rows>,
}

/// What a program that ended well has left.
pub(crate) struct Left {
    /// What it has reported last, by name.
    reported: BTreeMap<String, f64>,
    /// Its trial's folder.
    pub(crate) folder: PathBuf,
    /// Keys of its last JSON line that was no report.
    unread: Option<Vec<String>>,
}

impl Aim {
    pub(crate) fn of(objective: &Objective) -> Self {
        let first = objective.first();
        let also = objective.goals.iter().skip(1);
        let limits = objective.constraints.iter();
        let mut names: Vec<String> = Vec::new();
        for measure in objective.measures() {
            let name = measure.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self {
            metric: first.measure.to_string(),
            direction: first.direction,
            also: also.map(|goal| (goal.measure.to_string(), goal.direction)).collect(),
            limits: limits.map(|held| (held.goal.measure.to_string(), held.limit)).collect(),
            names,
            scored: objective.goals.len(),
        }
    }
}

impl Left {
    /// What the program itself says: the final value, else that of the last step.
    pub(crate) fn value(&self, measure: &Measure) -> Result<f64, TrialFailure> {
        let name = measure.to_string();
        self.reported.get(&name).copied().ok_or_else(|| {
            let seen = self.unread.as_ref().map_or(String::new(), |keys| {
                format!("; its last JSON line has {}", keys.join(", "))
            });
            TrialFailure::Error(format!(
                "it ended without `{name}`: no line such as {{\"{name}\": 0.5}} on standard \
                 output{seen}"
            ))
        })
    }
}

impl Program {
    /// Checks the form; `folder` is that of `luthier.toml`, `has_rows` whether the job has data.
    pub(crate) fn check(
        form: ProgramForm,
        folder: &Path,
        space: &Space,
        has_rows: bool,
    ) -> Result<Self, Failure> {
        let folder = std::path::absolute(folder).map_err(Failure::io(folder))?;
        let [program, ..] = form.run.as_slice() else {
            return Err(Failure::input("`tune.command.run` is empty")
                .hint("give a program and its arguments, as [\"python3\", \"train.py\"]"));
        };
        let program = find_program(program, &folder)?;
        let arguments = form.run.iter().skip(1).map(|word| Argument::read(word, has_rows));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let key = serde_json::json!([form.run, form.pass]).to_string();
        if form.pass == Pass::Environment {
            check_variables(space)?;
        }
        let time = |key, text: Option<String>| {
            text.map(|text| duration(&format!("tune.command.{key}"), &text)).transpose()
        };
        let limits = Limits {
            timeout: time("timeout", form.timeout)?,
            grace: time("grace", form.grace)?.unwrap_or(GRACE),
        };
        Ok(Self { program, arguments, pass: form.pass, limits, folder, key })
    }

    /// What decides, besides the program's own files, what a trial comes to.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// How long a program that is told to end may take.
    pub(crate) fn grace(&self) -> Duration {
        self.limits.grace
    }

    /// Runs the program with the trial's values, which `session` has under [`LEARNER`], to its end.
    pub(crate) fn evaluate(
        &self,
        setting: &Setting,
        turn: &mut Turn<'_>,
        session: &Session<'_>,
    ) -> Result<Left, TrialFailure> {
        let fail = |what: &str, error: &dyn std::fmt::Display| {
            TrialFailure::Error(format!("{what}: {error}"))
        };
        let again = if session.is_again() { ".again" } else { "" };
        let mut folder = setting.trials.join(format!("{}{again}", session.number()));
        folder.extend(turn.fold.map(|fold| format!("fold-{fold}")));
        fresh(&folder).map_err(|error| fail(&folder.display().to_string(), &error))?;
        let mut command = self
            .command(setting, turn, session, &folder)
            .map_err(|error| fail("writing trial.json", &error))?;
        let mut heard = Heard::of(&setting.aim);
        let ended = process::run(
            &mut command,
            &folder,
            self.limits,
            &setting.guard,
            &mut |line| heard.line(line, turn.report),
            &|| session.check(),
        );
        let name = self.program.display();
        let ended = ended.map_err(|error| fail(&format!("starting {name}"), &error))?;
        if let Some(fault) = heard.fault {
            return Err(TrialFailure::Error(fault));
        }
        match fault_of(&ended, self.limits) {
            Some(fault) => Err(fault),
            None => Ok(Left { reported: heard.reported(), folder, unread: heard.unread }),
        }
    }

    /// The command of a trial, whose `trial.json` it writes.
    fn command(
        &self,
        setting: &Setting,
        turn: &Turn<'_>,
        session: &Session<'_>,
        folder: &Path,
    ) -> Result<Command, std::io::Error> {
        let values = session.values().scope(LEARNER);
        // Half of the bits, since many generators take no more, and no language sees a negative one.
        let seed = (turn.seed >> 33) as u32;
        let document = Document {
            trial: session.number(),
            fold: turn.fold,
            seed,
            folder,
            values: &values,
            objective: &setting.aim,
            data: turn.rows,
        };
        let path = folder.join("trial.json");
        fs::write(&path, serde_json::to_vec_pretty(&document)?)?;

        let slot = |slot: Slot| -> OsString {
            let data = turn.rows;
            match slot {
                Slot::Trial => document.trial.to_string().into(),
                Slot::Seed => seed.to_string().into(),
                Slot::Folder => folder.into(),
                Slot::Train => data.map(|rows| rows.train.clone().into()).unwrap_or_default(),
                Slot::Valid => data.map(|rows| rows.valid.clone().into()).unwrap_or_default(),
            }
        };
        let mut command = Command::new(&self.program);
        command.args(self.arguments.iter().map(|word| word.fill(slot)));
        command.current_dir(&self.folder);
        for (name, known) in SLOTS {
            if turn.rows.is_some() || !known.is_of_rows() {
                command.env(format!("LUTHIER_{}", name.to_uppercase()), slot(known));
            }
        }
        if let Some(fold) = turn.fold {
            command.env("LUTHIER_FOLD", fold.to_string());
        }
        command.env("LUTHIER_METRIC", &setting.aim.metric);
        // Python keeps lines back where nobody looks on, and a trial would be pruned too late.
        command.env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::null());
        match self.pass {
            Pass::Json => {
                command.stdin(File::open(path)?);
            }
            Pass::Arguments => {
                let words = values.iter().map(|(name, value)| format!("--{name}={}", word(value)));
                command.args(words);
            }
            Pass::Environment => {
                command.envs(values.iter().map(|(name, value)| (variable(name), word(value))));
            }
        }
        Ok(command)
    }
}

/// What a program has said so far.
struct Heard<'a> {
    aim: &'a Aim,
    /// The last value of each name.
    values: Vec<Option<f64>>,
    unread: Option<Vec<String>>,
    fault: Option<String>,
}

impl<'a> Heard<'a> {
    fn of(aim: &'a Aim) -> Self {
        Self { aim, values: vec![None; aim.names.len()], unread: None, fault: None }
    }

    fn line(
        &mut self,
        line: &[u8],
        report: &mut dyn FnMut(u64, Vec<f64>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match Report::read(line, &self.aim.names) {
            None => ControlFlow::Continue(()),
            Some(Ok(Report::Values { step, values })) => {
                for (last, value) in self.values.iter_mut().zip(&values) {
                    *last = value.or(*last);
                }
                let scores = &values[..self.aim.scored];
                match step.filter(|_| scores.iter().any(Option::is_some)) {
                    Some(step) => {
                        let known = scores.iter().map(|score| score.unwrap_or(f64::NAN));
                        report(step, known.collect())
                    }
                    None => ControlFlow::Continue(()),
                }
            }
            Some(Ok(Report::Other(keys))) => {
                self.unread = Some(keys);
                ControlFlow::Continue(())
            }
            Some(Err(fault)) => {
                self.fault.get_or_insert(fault);
                ControlFlow::Break(())
            }
        }
    }

    fn reported(&self) -> BTreeMap<String, f64> {
        let known = self.aim.names.iter().zip(&self.values);
        known.filter_map(|(name, value)| Some((name.clone(), (*value)?))).collect()
    }
}

impl Argument {
    fn read(text: &str, has_rows: bool) -> Result<Self, Failure> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let name = after.split_once('}').filter(|(name, _)| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase())
            });
            let Some((name, after)) = name else {
                pieces.push(Piece::Text(format!("{before}{{")));
                rest = after;
                continue;
            };
            pieces
                .extend([Piece::Text(before.to_owned()), Piece::Slot(find_slot(name, has_rows)?)]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    fn fill(&self, slot: impl Fn(Slot) -> OsString) -> OsString {
        self.0.iter().fold(OsString::new(), |mut word, piece| {
            match piece {
                Piece::Text(text) => word.push(text),
                Piece::Slot(name) => word.push(slot(*name)),
            }
            word
        })
    }
}

impl Slot {
    fn is_of_rows(self) -> bool {
        matches!(self, Self::Train | Self::Valid)
    }
}

fn find_slot(name: &str, has_rows: bool) -> Result<Slot, Failure> {
    let refused = |what| Err(Failure::input(format!("`tune.command.run`: {{{name}}}: {what}")));
    match SLOTS.iter().find(|(known, _)| *known == name) {
        Some((_, slot)) if slot.is_of_rows() && !has_rows => refused("the job has no [data]"),
        Some((_, slot)) => Ok(*slot),
        None => {
            let known = SLOTS.map(|(known, _)| known);
            refused("there is nothing of that name")
                .map_err(|failure| failure.hint(meant_or_known(nearest(name, known), &known)))
        }
    }
}

/// The program itself: a path that starts at the folder of the job, or a name on the `PATH`.
fn find_program(name: &str, folder: &Path) -> Result<PathBuf, Failure> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        let path = folder.join(name);
        return match is_program(&path) {
            true => Ok(path),
            false => Err(Failure::input(format!(
                "`tune.command.run`: {} is not a program",
                path.display()
            ))
            .hint("give a file that may be executed, or the interpreter before it")),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(is_program);
    found.ok_or_else(|| {
        Failure::input(format!("`tune.command.run`: there is no program `{name}`"))
            .hint(format!("install it, or write ./{name} for one beside luthier.toml"))
    })
}

/// Two parameters must not become one variable.
fn check_variables(space: &Space) -> Result<(), Failure> {
    let mut names = HashMap::new();
    for dimension in space.dimensions() {
        let variable = variable(&dimension.name);
        if let Some(other) = names.insert(variable.clone(), &dimension.name) {
            return Err(Failure::input(format!(
                "`tune.space.command`: `{other}` and `{}` are both {variable} in the environment",
                dimension.name
            )));
        }
    }
    Ok(())
}

fn variable(parameter: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("LUTHIER_VALUE_{}", parameter.chars().map(plain).collect::<String>())
}

/// A value in a command line or the environment: a text as it is, everything else as JSON.
fn word(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// Makes `folder`, without what was in it.
pub(crate) fn fresh(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(folder),
    }
}

/// Why a trial whose program ended like this has no score.
fn fault_of(ended: &Ended, limits: Limits) -> Option<TrialFailure> {
    let what = match (ended.cause, ended.status.code(), ended.status.signal()) {
        (Cause::Stopped, ..) => return Some(TrialFailure::Pruned),
        (Cause::TimedOut, ..) => {
            let limit = limits.timeout.unwrap_or_default();
            format!("timed out after {}", humantime::format_duration(limit))
        }
        (Cause::Itself, Some(0), _) => return None,
        (Cause::Itself, Some(code), _) => format!("exit code {code}"),
        (Cause::Itself, None, Some(signal)) => format!("ended by signal {signal}"),
        (Cause::Itself, None, None) => "ended without a status".to_owned(),
    };
    Some(TrialFailure::Error(match ended.errors.rsplit_once('\n') {
        None if ended.errors.is_empty() => what,
        None => format!("{what}: {}", ended.errors),
        Some((_, last)) => {
            format!("{what}: {last}\nstandard error ended with\n{}", ended.errors)
        }
    }))
}
