//! Ends the programs of a run that was killed itself.
//!
//! A process that is killed with SIGKILL can end nobody. So a second one watches: it reads the process
//! groups of the programs from a pipe, and when the pipe is closed, because the run has ended in
//! whatever way, it ends those that are still listed.

use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::failure::Failure;

/// The process that watches; it ends when this is dropped.
pub(crate) struct Guard(Mutex<Child>);

impl Guard {
    /// Starts it. It ends programs with SIGTERM, and with SIGKILL after `grace`.
    pub(crate) fn start(grace: Duration) -> Result<Self, Failure> {
        let start = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["guard", "--grace-ms", &grace.as_millis().to_string()]);
            // In a group of its own, it outlives what is done to that of the run.
            command.process_group(0);
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn()
        };
        let child = start().map_err(|error| {
            Failure::fault(format!("starting the process that guards programs: {error}"))
        })?;
        Ok(Self(Mutex::new(child)))
    }

    /// Lists a process group.
    pub(super) fn watch(&self, group: Pid) {
        self.tell('+', group);
    }

    /// Takes a process group from the list.
    pub(super) fn release(&self, group: Pid) {
        self.tell('-', group);
    }

    /// Where the guard is gone, programs run unguarded.
    fn tell(&self, change: char, group: Pid) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = &mut child.stdin {
            let _ = writeln!(pipe, "{change}{}", group.as_raw_nonzero());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let child = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

/// What the process that watches does: reads `list` to its end, then ends the groups on it.
pub(crate) fn guard(list: impl BufRead, grace: Duration) {
    let mut groups = HashSet::new();
    for line in list.lines().map_while(Result::ok) {
        let parsed = |number: &str| number.parse().ok().and_then(Pid::from_raw);
        if let Some(group) = line.strip_prefix('+').and_then(parsed) {
            groups.insert(group);
        } else if let Some(group) = line.strip_prefix('-').and_then(parsed) {
            groups.remove(&group);
        }
    }
    for group in &groups {
        let _ = kill_process_group(*group, Signal::TERM);
    }
    let told = Instant::now();
    while groups.iter().any(|group| test_kill_process_group(*group).is_ok()) {
        if told.elapsed() >= grace {
            for group in &groups {
                let _ = kill_process_group(*group, Signal::KILL);
            }
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
