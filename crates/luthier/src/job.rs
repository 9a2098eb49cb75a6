//! `luthier.toml`: the whole job in one file.
//!
//! [`Job::load`] reads and checks it; whatever comes after trusts the result.

mod data;
mod distill;
mod objective;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use luthier_space::{FormError, Space, Value, Values};
use luthier_study::Locator;
use luthier_train::{Learner, Locate, TaskKind, learners};
use luthier_tune::{InvalidPruner, PrunerSpec};
use serde::Deserialize;
use toml::Table;

use crate::checkpoints;
use crate::failure::{Failure, did_you_mean, meant_or_known, nearest};
use crate::launch::{Tasks, TasksForm};
use crate::program::{self, Program, ProgramForm};
use data::{DataForm, Learning};
use distill::DistillForm;
use objective::{ObjectiveForm, Tellers};

pub(crate) use data::{ClassWeights, Data, NamedWeights, Task, Way};
pub(crate) use distill::Distill;
pub(crate) use objective::{Constraint, Costs, Deciding, Goal, Measure, Objective, Threshold};

/// Name of the file.
pub(crate) const FILE: &str = "luthier.toml";
/// The study's file, where no storage is named.
const STUDY: &str = "study.db";
/// More trials than this at the same time are taken for a slip.
pub(crate) const MOST_WORKERS: u16 = 1024;
/// See [`Tune::lag`].
const LAG: u16 = 7;
/// A search that has not reached its target after so many more rounds will not.
const MOST_ROUNDS: u32 = 10;
/// Trials that are evaluated once more where the job does not say how many.
const REEVALUATED: u16 = 3;

/// A checked job.
pub(crate) struct Job {
    /// Folder of the file; relative paths start here.
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    /// The rows to learn from; without, a program sees to its data itself.
    pub(crate) data: Option<Data>,
    pub(crate) objective: Objective,
    /// What learners are taught by, if anything.
    pub(crate) distill: Option<Distill>,
    pub(crate) tune: Tune,
    pub(crate) compress: CompressForm,
    pub(crate) route: Option<RouteForm>,
    /// Whether nothing may be fetched.
    pub(crate) offline: bool,
}

pub(crate) struct Tune {
    /// Those that are part of this program.
    pub(crate) learners: Vec<Box<dyn Learner>>,
    /// The learner [`program::LEARNER`], if it takes part.
    pub(crate) program: Option<Program>,
    /// The space of all learners together, a choice called `learner` at its root.
    pub(crate) space: Space,
    /// What is tried first: each learner's own proposal, if it has one.
    pub(crate) first: Vec<Values>,
    /// Trials of one round.
    pub(crate) trials: u64,
    /// Rounds that search again, around the best, while the target is not reached.
    pub(crate) refine: u32,
    /// How many of the best trials are evaluated once more before one is chosen.
    pub(crate) reevaluate: usize,
    pub(crate) timeout: Option<Duration>,
    pub(crate) sampler: String,
    pub(crate) pruner: PrunerSpec,
    pub(crate) workers: usize,
    /// How many of the latest trials a new one does not see; up to this many and one more workers
    /// never wait for each other, and any number of them gives the same trials.
    pub(crate) lag: u64,
    pub(crate) seed: u64,
    pub(crate) storage: Locator,
    /// If the study's space may grow to this one: what its new parameters have been in trials that
    /// did not have them.
    pub(crate) extend: Option<Values>,
    /// How tasks on a cluster are to be.
    pub(crate) tasks: Tasks,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobForm {
    name: String,
    task: Option<String>,
    data: Option<DataForm>,
    #[serde(default)]
    objective: ObjectiveForm,
    distill: Option<DistillForm>,
    #[serde(default)]
    tune: TuneForm,
    #[serde(default)]
    compress: CompressForm,
    #[serde(default)]
    serve: ServeForm,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TuneForm {
    learners: Option<Vec<String>>,
    trials: Option<u64>,
    timeout: Option<String>,
    sampler: Option<String>,
    pruner: Option<toml::Value>,
    refine: Option<u32>,
    reevaluate: Option<u16>,
    workers: Option<usize>,
    lag: Option<u16>,
    seed: Option<u64>,
    storage: Option<String>,
    #[serde(default)]
    space: Table,
    command: Option<ProgramForm>,
    #[serde(default)]
    tasks: TasksForm,
}

/// `[compress]`.
#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CompressForm {
    /// Largest loss of the objective that is allowed.
    pub(crate) max_drop: f64,
    /// Whether to compress at all.
    pub(crate) enabled: bool,
}

impl Default for CompressForm {
    fn default() -> Self {
        Self { max_drop: 0.01, enabled: true }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ServeForm {
    route: Option<RouteForm>,
    slo_p99_ms: Option<toml::Value>,
}

/// A short route of its own for the model.
#[derive(Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteForm {
    /// Path, such as `/sentiment`.
    pub(crate) path: String,
    /// Key of the request that holds the text, `text` where not given; a row of a table is the whole
    /// request.
    pub(crate) input: Option<String>,
    /// Key of the answer that holds the score or number, `score` or `number` where not given.
    pub(crate) output: Option<String>,
}

impl Job {
    /// Reads `path`: the file itself, or a folder that holds [`FILE`].
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        Self::load_with(path, None)
    }

    /// Reads a job whose study is in `storage` if that is given, where `${NAME}` is the environment
    /// variable. Those that `tune.storage` names need not be there then: tasks on a cluster do not have
    /// the user's environment.
    pub(crate) fn load_with(path: &Path, storage: Option<&str>) -> Result<Self, Failure> {
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, error))?;
        let form = parse(&file, &text, storage.is_some())?;
        let folder = file.parent().map_or_else(PathBuf::new, Path::to_owned);
        let mut job =
            Self::check(form, folder).map_err(|failure| failure.within(file.display()))?;
        if let Some(storage) = storage {
            job.tune.storage = check_storage("--storage", &expanded(storage)?)?;
        }
        Ok(job)
    }

    fn check(form: JobForm, folder: PathBuf) -> Result<Self, Failure> {
        check_name(&form.name)?;
        not_yet("serve.slo_p99_ms", form.serve.slo_p99_ms.as_ref(), "no objective is watched")?;
        if let Some(route) = &form.serve.route {
            check_route(route, form.task.as_deref())?;
        }
        if !(0.0..=1.0).contains(&form.compress.max_drop) {
            return Err(Failure::input("`compress.max_drop` must be between 0 and 1"));
        }
        let task = form.task.as_deref().map(str::parse).transpose()?;
        let rows = form.data.map(|data| data.check(task, &folder)).transpose()?;
        if let (Some(task), None) = (task, &rows) {
            let what = format!("`task` is \"{task}\", and there is no [data]");
            return Err(Failure::input(what).hint(
                "name the rows in [data], or leave `task` out where a program has data of its own",
            ));
        }
        let task = task.filter(|_| rows.is_some());
        let distill = form.distill.map(|distill| distill.check(task, &folder)).transpose()?;
        let tune = form.tune.check(&folder, task, distill.as_ref())?;
        let tellers = Tellers {
            task,
            learners: tune.learners.iter().map(|learner| learner.name()).collect(),
            as_large: !form.compress.enabled,
            costs: form.objective.has_costs(),
        };
        let objective = form.objective.check(&tellers)?;
        let data = rows.zip(task).zip(objective.metric());
        let deciding = objective.deciding.clone();
        let data = data.map(|(((rows, learning), task), metric)| Data {
            task,
            rows,
            metric,
            deciding,
            learning,
        });
        if let Some(data) = &data {
            check_learning(&data.learning, &tune)?;
        }
        Ok(Self {
            data,
            objective,
            distill,
            tune,
            name: form.name,
            compress: form.compress,
            route: form.serve.route,
            offline: false,
            folder,
        })
    }

    /// The address of the study's database, which `who` needs since other machines cannot reach a file.
    pub(crate) fn database(&self, who: &str) -> Result<&str, Failure> {
        match &self.tune.storage {
            Locator::Postgres(url) => Ok(url),
            Locator::File(path) => {
                let path = path.display();
                let what = format!("{who} needs a study in PostgreSQL; this one is in `{path}`");
                Err(Failure::input(what).hint(
                    "give --storage postgres://user@host/database, or `tune.storage` in luthier.toml",
                ))
            }
        }
    }

    /// Where all results go.
    pub(crate) fn run_folder(&self) -> PathBuf {
        self.folder.join("run")
    }
}

fn unreadable(file: &Path, error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::InvalidData => Failure::input("not UTF-8").within(file.display()),
        ErrorKind::NotFound => Failure::io(file)(error)
            .hint(format!("give the path of a {FILE} or of the folder that holds one")),
        _ => Failure::io(file)(error),
    }
}

/// Reads the file's text, `without_storage` as if `tune.storage` were not there.
fn parse(file: &Path, text: &str, without_storage: bool) -> Result<JobForm, Failure> {
    let readable = |error: toml::de::Error| {
        let place = error.span().map_or(String::new(), |span| {
            let before = &text[..span.start.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            format!(":{line}:{column}")
        });
        let message = error.message().to_owned();
        let failure = Failure::input(format!("{}{place}: {message}", file.display()));
        match suggestion(&message) {
            Some(nearest) => failure.hint(did_you_mean(&nearest)),
            None => failure,
        }
    };
    let form: JobForm = toml::from_str(text).map_err(readable)?;
    if !text.contains("${") {
        return Ok(form);
    }
    let mut table: Table = toml::from_str(text).map_err(readable)?;
    if let (true, Some(toml::Value::Table(tune))) = (without_storage, table.get_mut("tune")) {
        tune.remove("storage");
    }
    for (_, value) in &mut table {
        expand(value).map_err(|failure| failure.within(file.display()))?;
    }
    table.try_into().map_err(readable)
}

/// The known key nearest to an unknown one, from serde's message about it.
fn suggestion(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    nearest(unknown, rest.split('`').skip(1).step_by(2)).map(str::to_owned)
}

/// Replaces `${NAME}` in texts by the environment variable.
fn expand(value: &mut toml::Value) -> Result<(), Failure> {
    match value {
        toml::Value::String(text) => {
            *text = expanded(text)?;
            Ok(())
        }
        toml::Value::Array(items) => items.iter_mut().try_for_each(expand),
        toml::Value::Table(table) => table.iter_mut().try_for_each(|(_, value)| expand(value)),
        _ => Ok(()),
    }
}

fn expanded(text: &str) -> Result<String, Failure> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| Failure::input(format!("`{text}`: a `${{` without a `}}`")))?;
        let found = std::env::var(name).map_err(|_| {
            Failure::input(format!("`{text}`: environment variable {name} is not set"))
                .hint(format!("set {name} when you call luthier"))
        })?;
        expanded.push_str(before);
        expanded.push_str(&found);
        rest = after;
    }
    Ok(expanded + rest)
}

fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    match !name.is_empty() && name.len() <= 63 && name.chars().all(plain) && !name.starts_with('.')
    {
        true => Ok(()),
        false => Err(Failure::input(format!("`name` is {name:?}"))
            .hint("use up to 63 letters, digits, `-`, `_` and `.`")),
    }
}

/// Refuses a key that is planned.
fn not_yet(key: &str, value: Option<&toml::Value>, so_far: &str) -> Result<(), Failure> {
    match value {
        None => Ok(()),
        Some(value) => {
            Err(Failure::input(format!("`{key}` is {value}"))
                .hint(format!("not yet: so far {so_far}")))
        }
    }
}

fn check_route(route: &RouteForm, task: Option<&str>) -> Result<(), Failure> {
    let of_text = task.is_none_or(|task| task == Task::TextClassification.name());
    if let (Some(input), false) = (&route.input, of_text) {
        return Err(Failure::input(format!("`serve.route.input` is {input:?}"))
            .hint("leave it out: a row of a table is the whole request"));
    }
    let taken = ["/v1", "/healthz", "/readyz", "/metrics"];
    let inside = |p: &&str| route.path == **p || route.path.starts_with(&format!("{p}/"));
    if !route.path.starts_with('/') || route.path.len() < 2 || taken.iter().any(inside) {
        return Err(Failure::input(format!("`serve.route.path` is {:?}", route.path)).hint(
            "use a path such as \"/sentiment\", outside of /v1, /healthz, /readyz, /metrics",
        ));
    }
    Ok(())
}

/// The learners that take part in a search.
struct Taking {
    /// The space of each, by name.
    spaces: Vec<(String, Space)>,
    program: Option<Program>,
    learners: Vec<Box<dyn Learner>>,
}

impl TuneForm {
    fn check(
        mut self,
        folder: &Path,
        task: Option<Task>,
        distill: Option<&Distill>,
    ) -> Result<Tune, Failure> {
        let Taking { spaces, program, learners } = self.taking(folder, task, distill)?;
        let taught = distill.is_some();
        let storage = check_storage("`tune.storage`", self.storage.as_deref().unwrap_or(STUDY))?;
        let sampler = self.sampler.unwrap_or_else(|| "auto".to_owned());
        let pruner = self.pruner.map(pruner).transpose()?.unwrap_or_default();
        luthier_tune::sampler_by_name(&sampler).map_err(|error| unknown("tune.sampler", &error))?;
        let trials = self.trials.unwrap_or(30);
        if trials == 0 {
            return Err(Failure::input("`tune.trials` must be at least 1"));
        }
        let refine = self.refine.unwrap_or(1);
        if refine > MOST_ROUNDS {
            return Err(Failure::input(format!(
                "`tune.refine` must be between 0 and {MOST_ROUNDS}"
            )));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.unwrap_or(cores.min(MOST_WORKERS.into()));
        if !(1..=MOST_WORKERS.into()).contains(&workers) {
            return Err(Failure::input(format!(
                "`tune.workers` must be between 1 and {MOST_WORKERS}"
            )));
        }
        let lag = self.lag.unwrap_or(LAG);
        if lag >= MOST_WORKERS {
            return Err(Failure::input(format!("`tune.lag` must be below {MOST_WORKERS}")));
        }
        let space = Space::choice_of("learner", spaces);
        Ok(Tune {
            program,
            first: learners.iter().map(|learner| proposal(&**learner, &space, taught)).collect(),
            space,
            learners,
            trials,
            refine,
            reevaluate: self.reevaluate.unwrap_or(REEVALUATED).into(),
            timeout: self
                .timeout
                .as_deref()
                .map(|text| duration("tune.timeout", text))
                .transpose()?,
            sampler,
            pruner,
            workers,
            lag: lag.into(),
            seed: self.seed.unwrap_or(0),
            storage,
            extend: None,
            tasks: self.tasks.check()?,
        })
    }

    /// The learners that take part; there are no rows without a task. Where they are taught, that are those
    /// that can be students.
    fn taking(
        &mut self,
        folder: &Path,
        task: Option<Task>,
        distill: Option<&Distill>,
    ) -> Result<Taking, Failure> {
        let has_rows = task.is_some();
        if !has_rows && self.command.is_none() {
            return Err(Failure::input("there is no [data] to learn from, and no `tune.command`")
                .hint("name labelled rows in [data], or give a program that needs none"));
        }
        let known = Known::of(task, &checkpoints::locate(folder), distill);
        let names = self.learners.take().unwrap_or_else(|| match has_rows {
            true => known.all(&self.space),
            false => vec![program::LEARNER.to_owned()],
        });
        if names.is_empty() {
            return Err(Failure::input("`tune.learners` is empty"));
        }
        if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
            return Err(Failure::input(format!("`tune.learners` names `{}` twice", twice.1)));
        }
        let spaces = spaces(&names, &self.space, &known)?;
        let program = match spaces.iter().find(|(name, _)| name == program::LEARNER) {
            Some((_, space)) => Some(check_program(self.command.take(), folder, space, has_rows)?),
            None if self.command.is_some() => {
                return Err(Failure::input("`tune.command` is given, and no learner uses it")
                    .hint("name `command` in `tune.learners`"));
            }
            None => None,
        };
        let learners = known.take(&names);
        if let (Some(learner), false) = (learners.first(), has_rows) {
            let message =
                format!("`tune.learners` names `{}`, and there is no [data]", learner.name());
            return Err(Failure::input(message).hint(
                "name the rows in [data], or have `command` alone, a program with data of its own",
            ));
        }
        Ok(Taking { spaces, program, learners })
    }
}

/// That all learners do what a job asks of them.
fn check_learning(learning: &Learning, tune: &Tune) -> Result<(), Failure> {
    let others = |all_do: fn(&dyn Learner) -> bool| {
        let others = tune.learners.iter().map(AsRef::as_ref).filter(|learner| !all_do(*learner));
        let others = others.map(Learner::name).chain(tune.program.iter().map(|_| program::LEARNER));
        others.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
    };
    let kept = others(|learner| learner.keeps_monotone());
    if !learning.monotone.is_empty() && !kept.is_empty() {
        let what = format!("`data.monotone` is given, and {kept} would not keep to it");
        return Err(Failure::input(what)
            .hint("leave them out, as `learners = [\"boosted-trees\"]` in [tune]"));
    }
    let weighed = others(|_| true);
    if learning.class_weights.is_some() && !weighed.is_empty() {
        let what = format!("`data.class_weights` is given, and {weighed} would not know of it");
        return Err(Failure::input(what).hint("have the program weigh its rows itself"));
    }
    Ok(())
}

fn check_storage(what: &str, text: &str) -> Result<Locator, Failure> {
    match text.parse() {
        Ok(Locator::File(path)) if text.contains("://") => {
            Err(Failure::input(format!("{what} is `{}`", path.display()))
                .hint("name a file, or a PostgreSQL database as postgres://user@host/database"))
        }
        Ok(locator) => Ok(locator),
        Err(never) => match never {},
    }
}

fn pruner(value: toml::Value) -> Result<PrunerSpec, Failure> {
    let value = serde_json::to_value(value)
        .map_err(|error| Failure::input(format!("`tune.pruner`: {error}")))?;
    PrunerSpec::from_value(value).map_err(|error| match error {
        InvalidPruner::Name(name) => unknown("tune.pruner", &name),
        other => Failure::input(format!("`tune.pruner`: {other}")),
    })
}

fn unknown(key: &str, error: &luthier_tune::UnknownName) -> Failure {
    Failure::input(format!("`{key}`: {error}")).hint(meant_or_known(error.nearest, error.known))
}

/// The learners for a task or, without one, for any.
struct Known {
    learners: Vec<Box<dyn Learner>>,
    /// Whether a teacher answers.
    taught: bool,
}

impl Known {
    fn of(task: Option<Task>, locate: &Locate, distill: Option<&Distill>) -> Self {
        let kind = task.map_or(TaskKind::TextClasses, Task::kind);
        let teacher = distill.map(Distill::encoder);
        Self { learners: learners(kind, locate, teacher.as_ref()), taught: distill.is_some() }
    }

    /// The space of a learner, with what it takes as a student.
    fn space(&self, learner: &dyn Learner) -> Result<Space, Failure> {
        let own = learner.space();
        match (self.taught, learner.student()) {
            (false, _) => Ok(own),
            (true, Some((student, _))) => Ok(own.with(student)),
            (true, None) => {
                let students = self.learners.iter().filter(|known| known.student().is_some());
                let students: Vec<&str> = students.map(|known| known.name()).collect();
                let what = format!("`tune.learners`: `{}` cannot be taught", learner.name());
                Err(Failure::input(what).hint(format!(
                    "of these learners {} can: name one, or leave [distill] out",
                    students.join(", ")
                )))
            }
        }
    }

    fn get(&self, name: &str) -> Result<&dyn Learner, Failure> {
        let found = self.learners.iter().find(|learner| learner.name() == name);
        found.map(|learner| &**learner).ok_or_else(|| {
            let mut known: Vec<&str> = self.learners.iter().map(|learner| learner.name()).collect();
            known.push(program::LEARNER);
            Failure::input(format!("`tune.learners`: there is no learner `{name}`"))
                .hint(meant_or_known(nearest(name, known.iter().copied()), &known))
        })
    }

    /// Those that take part where none are named: all that have what they need.
    fn all(&self, forms: &Table) -> Vec<String> {
        let learners = self.learners.iter().map(AsRef::as_ref);
        let take_part = learners.filter(|learner: &&dyn Learner| {
            let named = forms.contains_key(learner.name());
            named || learner.needs().is_none() && !(self.taught && learner.student().is_none())
        });
        take_part.map(|learner| learner.name().to_owned()).collect()
    }

    /// Those called `names`.
    fn take(self, names: &[String]) -> Vec<Box<dyn Learner>> {
        let mut taken: Vec<_> = self
            .learners
            .into_iter()
            .filter(|learner| names.iter().any(|n| n == learner.name()))
            .collect();
        taken.sort_by_key(|learner| names.iter().position(|name| name == learner.name()));
        taken
    }
}

/// The space of each learner, with the parameters that `forms` replaces.
fn spaces(names: &[String], forms: &Table, known: &Known) -> Result<Vec<(String, Space)>, Failure> {
    for name in forms.keys() {
        if !names.contains(name) {
            return Err(Failure::input(format!("`tune.space.{name}`: no such learner is used"))
                .hint("name it in `tune.learners`"));
        }
    }
    let space = |name: &String| {
        let form = match forms.get(name) {
            None => None,
            Some(toml::Value::Table(form)) => Some(form),
            Some(_) => {
                return Err(Failure::input(format!("`tune.space.{name}` must be a table")));
            }
        };
        let within =
            |error: FormError| Failure::from(error).within(format_args!("`tune.space.{name}`"));
        if name == program::LEARNER {
            let form = form.filter(|form| !form.is_empty()).ok_or_else(|| {
                Failure::input("`tune.space.command` is missing: a program has no space of its own")
                    .hint(
                        "say what to try, as `learning_rate = { float = [1e-4, 1.0], log = true }`",
                    )
            })?;
            return Ok((name.clone(), Space::from_toml(form).map_err(within)?));
        }
        let learner = known.get(name)?;
        let own = known.space(learner)?;
        let space = match form {
            Some(form) => own.replace(form).map_err(within)?,
            None => own.clone(),
        };
        if let Some(needed) = learner.needs().filter(|needed| space.get(needed) == own.get(needed))
        {
            let what = format!("`tune.space.{name}.{needed}` is missing");
            return Err(Failure::input(what).hint(format!(
                "name what was trained before, as {needed} = \"folder\" or {needed} = \
                 {{ choice = [\"folder\", \"hf://owner/name@revision\"] }}"
            )));
        }
        check_kinds(learner, &own, &space)?;
        Ok((name.clone(), space))
    };
    names.iter().map(space).collect()
}

fn check_program(
    form: Option<ProgramForm>,
    folder: &Path,
    space: &Space,
    has_rows: bool,
) -> Result<Program, Failure> {
    let form = form.ok_or_else(|| {
        Failure::input("`tune.learners` names `command`, and there is no `tune.command`").hint(
            "give the program, as `command = { run = [\"python3\", \"train.py\"] }` in [tune]",
        )
    })?;
    Program::check(form, folder, space, has_rows)
}

/// A learner's own proposal in the space of all learners, `space`, whose first option is what it needs.
fn proposal(learner: &dyn Learner, space: &Space, taught: bool) -> Values {
    let name = learner.name();
    let mut own = learner.proposal();
    if let Some((_, student)) = learner.student().filter(|_| taught) {
        student.iter().for_each(|(key, value)| own.insert(key, value.clone()));
    }
    if let Some(needed) = learner.needs() {
        let dimension = space.get(&format!("{name}.{needed}"));
        let first = dimension.and_then(|dimension| dimension.distribution.options().first());
        own.insert(needed, first.cloned().unwrap_or(Value::from("")));
    }
    let scoped = own.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone()));
    std::iter::once(("learner".to_owned(), Value::from(name))).chain(scoped).collect()
}

/// A replaced parameter must give values of the kind that the learner reads.
fn check_kinds(learner: &dyn Learner, own: &Space, replaced: &Space) -> Result<(), Failure> {
    use luthier_space::Distribution::{Choice, Float, Int, Ordinal, Permutation, Subset};
    let more = |parameter: &str, value: &Value| {
        learner.more_options(parameter).iter().any(|option| *value == Value::from(*option))
    };
    for dimension in replaced.dimensions() {
        let Some(known) = own.get(&dimension.name) else { continue };
        if learner.needs() == Some(dimension.name.as_str()) {
            continue;
        }
        let fits = |value: &Value| match &known.distribution {
            Float { .. } => matches!(value, Value::Float(_) | Value::Int(_)),
            Int { .. } => matches!(value, Value::Int(_)),
            Ordinal { options } | Choice { options } => match &options[0] {
                Value::Text(_) => options.contains(value) || more(&dimension.name, value),
                _ => matches!(value, Value::Int(_)),
            },
            Permutation { .. } | Subset { .. } => matches!(value, Value::List(_)),
        };
        let sound = match &dimension.distribution {
            Float { .. } => matches!(known.distribution, Float { .. }),
            Int { low, .. } => fits(&Value::Int(*low)),
            Ordinal { options } | Choice { options } => options.iter().all(fits),
            Permutation { .. } | Subset { .. } => fits(&Value::List(Vec::new())),
        };
        if !sound {
            let message = format!(
                "`tune.space.{}.{}` is {}",
                learner.name(),
                dimension.name,
                dimension.distribution
            );
            let mut taken = known.distribution.to_string();
            learner
                .more_options(&dimension.name)
                .iter()
                .for_each(|more| taken += &format!(", {more}"));
            return Err(Failure::input(message).hint(format!("the learner takes {taken}")));
        }
    }
    Ok(())
}

/// A time under `key`, above 0.
pub(crate) fn duration(key: &str, text: &str) -> Result<Duration, Failure> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(Failure::input(format!("`{key}` is {text:?}"))
            .hint("write a time such as \"90s\", \"20m\" or \"1h 30m\"")),
    }
}

#[cfg(test)]
mod tests;
