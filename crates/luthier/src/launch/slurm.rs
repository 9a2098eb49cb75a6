//! An array of Slurm's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::{
    Engine, Order, Phase, STORAGE_VARIABLE, Standing, absolute, call, last_lines_of, plain, shell,
};
use crate::failure::Failure;

/// `[tune.tasks.slurm]`.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    partition: Option<String>,
    account: Option<String>,
    qos: Option<String>,
    /// Further options of `sbatch`, such as `--gres=gpu:1`.
    #[serde(default)]
    options: Vec<String>,
}

pub(super) struct Slurm {
    script: String,
    storage: String,
    /// Folder of the tasks' logs.
    logs: PathBuf,
    count: u16,
    /// The number of the array, once there is one.
    id: Option<String>,
    /// What was last known of each task.
    phases: BTreeMap<u16, Phase>,
}

impl Settings {
    pub(super) fn check(self) -> Result<Self, Failure> {
        let named =
            [("partition", &self.partition), ("account", &self.account), ("qos", &self.qos)];
        for (key, name) in named {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,".contains(c);
            if name.as_ref().is_some_and(|name| name.is_empty() || !name.chars().all(is_plain)) {
                let name = name.as_deref().unwrap_or_default();
                return Err(Failure::input(format!("`tune.tasks.slurm.{key}` is {name:?}")));
            }
        }
        let is_option = |o: &&String| !o.starts_with('-') || o.contains(char::is_control);
        match self.options.iter().find(is_option) {
            Some(option) => {
                Err(Failure::input(format!("`tune.tasks.slurm.options` has {option:?}"))
                    .hint("give options of sbatch, such as \"--gres=gpu:1\""))
            }
            None => Ok(self),
        }
    }
}

impl Slurm {
    pub(super) fn new(order: &Order<'_>) -> Result<Self, Failure> {
        let logs = absolute(&order.job.run_folder().join("tasks"))?;
        Ok(Self {
            script: script(order, &logs)?,
            storage: order.storage.to_owned(),
            logs,
            count: order.tasks().count,
            id: None,
            phases: BTreeMap::new(),
        })
    }

    /// What `squeue` lists; nothing for an array that Slurm has forgotten.
    fn listed(&self, id: &str) -> Result<String, Failure> {
        let mut squeue = Command::new("squeue");
        squeue.args(["--noheader", "--array", "--states=all", "--format=%K %T", "--jobs", id]);
        match call(&mut squeue, "") {
            Err(failure) if failure.message.contains("Invalid job id") => Ok(String::new()),
            listed => listed,
        }
    }
}

/// The array as a script. `exec` lets the worker have the signals that are meant for the task.
fn script(order: &Order<'_>, logs: &Path) -> Result<String, Failure> {
    let (tasks, name) = (order.tasks(), &order.job.name);
    let logs = plain(logs)?;
    if logs.contains(['"', '\\', '%']) {
        return Err(Failure::input(format!(
            "{logs}: Slurm takes no path of a log with \", \\ or %"
        )));
    }
    let mut options = vec![
        format!("--job-name=luthier-{name}"),
        format!("--array=0-{}", tasks.count - 1),
        "--nodes=1".to_owned(),
        "--ntasks=1".to_owned(),
        format!("--cpus-per-task={}", tasks.cpus),
        format!("--output=\"{logs}/%A_%a.log\""),
        "--open-mode=append".to_owned(),
        "--export=ALL".to_owned(),
    ];
    // Slurm's megabytes are of 2²⁰ bytes.
    let mebibytes = |mb: u32| (u64::from(mb) * 1_000_000).div_ceil(1 << 20);
    options.extend(tasks.memory_mb.map(|mb| format!("--mem={}M", mebibytes(mb))));
    options.extend(tasks.time_limit.map(|limit| format!("--time={}", time(limit))));
    let settings = &tasks.slurm;
    options.extend(settings.partition.as_ref().map(|name| format!("--partition={name}")));
    options.extend(settings.account.as_ref().map(|name| format!("--account={name}")));
    options.extend(settings.qos.as_ref().map(|name| format!("--qos={name}")));
    options.extend(settings.options.iter().cloned());
    let options: String = options.iter().map(|option| format!("#SBATCH {option}\n")).collect();
    let command = shell(&order.command()?);
    Ok(format!(
        "#!/bin/sh\n{options}# {STORAGE_VARIABLE} says where the study is.\nexec {command}\n"
    ))
}

/// A time as `days-hours:minutes:seconds`.
fn time(limit: Duration) -> String {
    let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    format!("{}-{:02}:{:02}:{:02}", hours / 24, hours % 24, minutes % 60, seconds % 60)
}

/// The phase of a task by the name of its state.
fn phase(state: &str) -> Phase {
    match state {
        "PENDING" | "CONFIGURING" | "SUSPENDED" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED"
        | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => Phase::Waiting,
        "RUNNING" | "COMPLETING" | "SIGNALING" | "STAGE_OUT" | "STOPPED" | "RESIZING" => {
            Phase::Running
        }
        "COMPLETED" => Phase::Done,
        _ => Phase::Failed,
    }
}

impl Engine for Slurm {
    fn text(&self) -> String {
        self.script.clone()
    }

    fn start(&mut self) -> Result<String, Failure> {
        fs::create_dir_all(&self.logs).map_err(Failure::io(&self.logs))?;
        let mut sbatch = Command::new("sbatch");
        sbatch.arg("--parsable").env(STORAGE_VARIABLE, &self.storage);
        let answer = call(&mut sbatch, &self.script)?;
        // A cluster's name may follow.
        let id = answer.trim().split(';').next().unwrap_or_default().to_owned();
        self.id = Some(id.clone());
        Ok(format!("Slurm's job {id}"))
    }

    fn standing(&mut self) -> Result<Standing, Failure> {
        let Some(id) = self.id.as_deref() else { return Ok(Standing::default()) };
        let listed: BTreeMap<u16, Phase> = self
            .listed(id)?
            .lines()
            .filter_map(|line| line.trim().split_once(' '))
            .filter_map(|(index, state)| Some((index.parse().ok()?, phase(state.trim()))))
            .collect();
        for index in 0..self.count {
            // Slurm forgets what has been over for some minutes, and at once what was cancelled
            // before it ran.
            let phase = match (listed.get(&index), self.phases.get(&index)) {
                (Some(phase), _) => *phase,
                (None, Some(Phase::Done)) => Phase::Done,
                (None, _) => Phase::Failed,
            };
            self.phases.insert(index, phase);
        }
        Ok(Standing::of(self.phases.values().copied()))
    }

    fn stop(&mut self) -> Result<(), Failure> {
        let Some(id) = self.id.as_deref() else { return Ok(()) };
        call(Command::new("scancel").args(["--quiet", id]), "").map(drop)
    }

    fn last_lines(&mut self) -> Option<String> {
        let id = self.id.as_deref()?;
        let failed = self.phases.iter().filter(|(_, phase)| **phase == Phase::Failed);
        let mut logs = failed.map(|(index, _)| self.logs.join(format!("{id}_{index}.log")));
        let (path, log) = logs.find_map(|path| Some((path.clone(), fs::read(path).ok()?)))?;
        let lines = last_lines_of(&String::from_utf8_lossy(&log));
        Some(format!("{}:{lines}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::time;

    #[test]
    fn times_are_written_as_slurm_reads_them() {
        assert_eq!(time(Duration::from_secs(90)), "0-00:01:30");
        assert_eq!(time(Duration::from_secs(100 * 3600 + 59)), "4-04:00:59");
        assert_eq!(time(Duration::from_millis(1)), "0-00:00:01");
    }
}
