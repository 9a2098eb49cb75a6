//! A search on a cluster: tasks that are all alike, each a `luthier worker`, run by what is there
//! already.
//!
//! [`engine`] makes the one that is asked for. An [`Engine`] writes what its cluster takes (a script,
//! objects, requests), submits it, looks how the tasks are, and ends them; scheduling, retries and logs
//! stay the cluster's own. Where the study is reaches tasks as an environment variable, never as a part
//! of what is written.

mod kubernetes;
mod ray;
mod slurm;

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::cli::{Cluster, STORAGE_VARIABLE};
use crate::failure::Failure;
use crate::job::{Job, duration};

/// More tasks than this are taken for a slip; it is also what an array of Slurm's holds by default.
pub(crate) const MOST_TASKS: u16 = 1000;
/// Tasks where no number is given.
const TASKS: u16 = 4;
/// Lines of a log that are told.
const LAST_LINES: usize = 8;

/// What runs tasks.
pub(crate) trait Engine {
    /// What [`Engine::start`] submits.
    fn text(&self) -> String;

    /// Submits the tasks, once; says what the cluster calls them.
    fn start(&mut self) -> Result<String, Failure>;

    /// How the tasks are. An error may pass: a cluster's server can be away for a while.
    fn standing(&mut self) -> Result<Standing, Failure>;

    /// Ends the tasks that are not over.
    fn stop(&mut self) -> Result<(), Failure>;

    /// The last lines of a task that has failed, with a line ahead that says whose they are.
    fn last_lines(&mut self) -> Option<String>;
}

/// Numbers of tasks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    pub(crate) done: usize,
    pub(crate) failed: usize,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Done,
    Failed,
}

/// `[tune.tasks]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct TasksForm {
    count: Option<u16>,
    cpus: Option<u16>,
    memory_mb: Option<u32>,
    time_limit: Option<String>,
    program: Option<String>,
    job: Option<String>,
    #[serde(default)]
    slurm: slurm::Settings,
    #[serde(default)]
    ray: ray::Settings,
    #[serde(default)]
    kubernetes: kubernetes::Settings,
}

/// What tasks are to be.
pub(crate) struct Tasks {
    pub(crate) count: u16,
    /// Processors of each, and the trials that it evaluates at the same time.
    pub(crate) cpus: u16,
    /// Memory of each, in 10⁶ bytes.
    memory_mb: Option<u32>,
    /// How long each may take.
    time_limit: Option<Duration>,
    /// This program, as tasks call it.
    program: Option<String>,
    /// The job, as tasks find it.
    job: Option<String>,
    slurm: slurm::Settings,
    pub(crate) ray: ray::Settings,
    kubernetes: kubernetes::Settings,
}

/// What is ordered of an engine.
struct Order<'a> {
    job: &'a Job,
    /// The user's path of the job.
    path: &'a Path,
    /// Where the study is, with its password.
    storage: &'a str,
}

/// The engine for a job whose file or folder is `path`.
pub(crate) fn engine<'a>(
    cluster: Cluster,
    job: &'a Job,
    path: &'a Path,
) -> Result<Box<dyn Engine + 'a>, Failure> {
    let order = Order { job, path, storage: job.database("a cluster")? };
    Ok(match cluster {
        Cluster::Slurm => Box::new(slurm::Slurm::new(&order)?),
        Cluster::Ray => Box::new(ray::Ray::new(&order)?),
        Cluster::Kubernetes => Box::new(kubernetes::Kubernetes::new(&order)?),
    })
}

impl TasksForm {
    pub(crate) fn check(self) -> Result<Tasks, Failure> {
        let at_least_1 = |key: &str, number: Option<u16>, default: u16| match number {
            Some(0) => Err(Failure::input(format!("`tune.tasks.{key}` must be at least 1"))),
            number => Ok(number.unwrap_or(default)),
        };
        let count = at_least_1("count", self.count, TASKS)?;
        if count > MOST_TASKS {
            return Err(Failure::input(format!("`tune.tasks.count` must be at most {MOST_TASKS}")));
        }
        if self.memory_mb == Some(0) {
            return Err(Failure::input("`tune.tasks.memory_mb` must be above 0"));
        }
        let limit = self.time_limit.as_deref();
        let slurm = self.slurm.check()?;
        Ok(Tasks {
            count,
            cpus: at_least_1("cpus", self.cpus, 1)?,
            memory_mb: self.memory_mb,
            time_limit: limit.map(|text| duration("tune.tasks.time_limit", text)).transpose()?,
            program: self.program,
            job: self.job,
            slurm,
            ray: self.ray,
            kubernetes: self.kubernetes,
        })
    }
}

impl Order<'_> {
    fn tasks(&self) -> &Tasks {
        &self.job.tune.tasks
    }

    /// The words of a task's command where it finds this program and the job as they are here.
    fn command(&self) -> Result<Vec<String>, Failure> {
        let tasks = self.tasks();
        let program = match &tasks.program {
            Some(program) => program.clone(),
            None => plain(&std::env::current_exe().map_err(Failure::io(Path::new("luthier")))?)?,
        };
        let job = match &tasks.job {
            Some(job) => job.clone(),
            None => plain(&absolute(self.path)?)?,
        };
        Ok(self.command_of(program, job))
    }

    /// What else the command line says here, it says there.
    fn command_of(&self, program: String, job: String) -> Vec<String> {
        let tune = &self.job.tune;
        let (workers, trials) = (self.tasks().cpus.to_string(), tune.trials.to_string());
        let options =
            ["--workers", &workers, "--trials", &trials, "--seed", &tune.seed.to_string()]
                .map(str::to_owned);
        [program, "worker".to_owned(), job].into_iter().chain(options).collect()
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(Failure::io(path))
}

/// A path as a word of a script.
fn plain(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        Failure::input(format!(
            "{}: a path with such characters cannot be submitted",
            path.display()
        ))
    })
}

/// Words as a command of a shell.
pub(crate) fn shell(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let quoted = |word: &String| match !word.is_empty() && word.chars().all(is_plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Runs a cluster's own client with `input`, and gives what it prints.
fn call(command: &mut Command, input: &str) -> Result<String, Failure> {
    let name = command.get_program().display().to_string();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::input(format!("there is no `{name}` here")).hint(
            "call luthier where jobs are submitted, or see with --print what it would submit",
        ),
        _ => Failure::fault(format!("{name}: {error}")),
    })?;
    // A client that does not read has its reasons, and tells them.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|e| Failure::fault(format!("{name}: {e}")))?;
    let error = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Failure::fault(format!("{name}: {}", error.trim()))),
    }
}

/// The end of a log, each line indented.
fn last_lines_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    last.iter().map(|line| format!("\n    {line}")).collect()
}

impl Standing {
    fn of(phases: impl IntoIterator<Item = Phase>) -> Self {
        let mut standing = Self::default();
        for phase in phases {
            *match phase {
                Phase::Waiting => &mut standing.waiting,
                Phase::Running => &mut standing.running,
                Phase::Done => &mut standing.done,
                Phase::Failed => &mut standing.failed,
            } += 1;
        }
        standing
    }

    /// Whether no task is going to do anything more.
    pub(crate) fn is_over(self) -> bool {
        self.waiting + self.running == 0
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiting, running, done, failed } = *self;
        let named =
            [(running, "running"), (waiting, "waiting"), (done, "done"), (failed, "failed")];
        let some = named.iter().filter(|(number, _)| *number > 0);
        let texts: Vec<String> = some.map(|(number, name)| format!("{number} {name}")).collect();
        f.write_str(&texts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Standing, last_lines_of, shell};

    #[test]
    fn words_are_quoted_where_a_shell_would_change_them() {
        let command =
            |words: &[&str]| shell(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(command(&["/bin/a", "--b=c", "x.y"]), "/bin/a --b=c x.y");
        assert_eq!(command(&["a b", "$HOME", "", "it's"]), r"'a b' '$HOME' '' 'it'\''s'");
    }

    #[test]
    fn standings_are_counted_and_told() {
        use Phase::{Done, Failed, Running, Waiting};
        let standing = Standing::of([Running, Waiting, Running, Failed]);
        assert_eq!(standing.to_string(), "2 running, 1 waiting, 1 failed");
        assert!(!standing.is_over() && Standing::of([Done, Failed]).is_over());
    }

    #[test]
    fn logs_end_with_their_last_lines() {
        let log: String = (0..20).map(|line| format!("line {line}\n")).collect();
        let told = last_lines_of(&log);
        assert!(told.starts_with("\n    line 12\n") && told.ends_with("line 19"), "{told}");
        assert_eq!(last_lines_of("\n"), "\n    ");
    }
}
