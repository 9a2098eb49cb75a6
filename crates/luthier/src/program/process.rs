//! One process with all that it starts: its output, its end, and how it is ended.
//!
//! A program is the leader of a process group of its own. A Ctrl-C on the terminal does not reach it,
//! so that it is ended in good order, and what it has started ends with it. Only a descendant that
//! founds a session of its own, as a daemon does, gets away.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid,
};

use super::guard::Guard;

/// Bytes that are kept of each output; a program that says more is talking in a loop.
const LOG_BYTES: u64 = 4 << 20;
/// Bytes of the end of standard error that are kept for the reason of a failure.
const TAIL_BYTES: usize = 4 << 10;
/// Bytes of a line that are looked at; a report is far shorter.
const LINE_BYTES: usize = 64 << 10;
/// Lines that may wait to be looked at before the program has to wait.
const LINES_WAITING: usize = 256;
/// How often it is asked whether the process may go on.
const TICK: Duration = Duration::from_millis(50);
/// How long output is awaited after the end of the process; all of it is there already, unless a
/// daemon holds the pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// How long a process may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL.
    pub(super) grace: Duration,
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) cause: Cause,
    /// The last lines of standard error.
    pub(super) errors: String,
}

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Itself,
    /// It took longer than its limit.
    TimedOut,
    /// It was told to stop by one of the closures.
    Stopped,
}

/// Runs `command` to its end, with its outputs as `stdout.log` and `stderr.log` in `logs`.
///
/// Each line of standard output that might be a JSON object goes to `line`, the first
/// [`LINE_BYTES`] of it; `go_on` is asked at short intervals. When either breaks, or the time is up,
/// all processes of the group get SIGTERM, and SIGKILL after the grace.
pub(super) fn run(
    command: &mut Command,
    logs: &Path,
    limits: Limits,
    guard: &Guard,
    line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    go_on: &dyn Fn() -> ControlFlow<()>,
) -> io::Result<Ended> {
    let (out, err) = (Log::create(logs, "stdout.log")?, Log::create(logs, "stderr.log")?);
    let mut group = Group::start(command, guard)?;
    let tail = Arc::new(Mutex::new(Vec::new()));
    let messages = group.listen(out, err, &tail);
    let mut watch = Watch { group: &group, limits, started: Instant::now(), end: None };
    loop {
        match messages.recv_timeout(TICK) {
            Ok(Message::Line(text)) if watch.end.is_none() => {
                if line(&text).is_break() {
                    watch.end(Cause::Stopped);
                }
            }
            Ok(Message::Line(_)) => {}
            Ok(Message::Exited) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if watch.end.is_none() && go_on().is_break() {
            watch.end(Cause::Stopped);
        }
        watch.keep_time();
    }
    let (cause, grace) = match watch.end {
        None => (Cause::Itself, Duration::ZERO),
        Some((cause, told)) => (cause, limits.grace.saturating_sub(told.elapsed())),
    };
    let status = group.finish(grace)?;
    drain(&messages, |text| {
        if cause == Cause::Itself {
            // It has ended already.
            let _ = line(text);
        }
    });
    let errors = last_lines(&tail.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Ended { status, cause, errors })
}

/// Takes the lines that the process had written before its end.
fn drain(messages: &Receiver<Message>, mut line: impl FnMut(&[u8])) {
    let until = Instant::now() + DRAIN;
    loop {
        match messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Message::Line(text)) => line(&text),
            Ok(Message::Exited) => {}
            Err(_) => return,
        }
    }
}

/// What the threads that listen to a process tell.
enum Message {
    Line(Vec<u8>),
    Exited,
}

/// Looks after the time of a process.
struct Watch<'a> {
    group: &'a Group<'a>,
    limits: Limits,
    started: Instant,
    /// Why and when it was told to end.
    end: Option<(Cause, Instant)>,
}

impl Watch<'_> {
    fn end(&mut self, cause: Cause) {
        self.group.signal(Signal::TERM);
        self.end = Some((cause, Instant::now()));
    }

    fn keep_time(&mut self) {
        match self.end {
            Some((_, told)) if told.elapsed() >= self.limits.grace => {
                self.group.signal(Signal::KILL);
            }
            Some(_) => {}
            None => {
                if self.limits.timeout.is_some_and(|limit| self.started.elapsed() >= limit) {
                    self.end(Cause::TimedOut);
                }
            }
        }
    }
}

/// A process that leads its group; dropped, all of the group is killed.
struct Group<'a> {
    child: Child,
    id: Pid,
    guard: &'a Guard,
    finished: bool,
}

impl<'a> Group<'a> {
    fn start(command: &mut Command, guard: &'a Guard) -> io::Result<Self> {
        let command = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn()?;
        let id = Pid::from_child(&child);
        guard.watch(id);
        Ok(Self { child, id, guard, finished: false })
    }

    /// Starts a thread for each output and one that waits for the end.
    fn listen(
        &mut self,
        mut out: Log,
        mut err: Log,
        tail: &Arc<Mutex<Vec<u8>>>,
    ) -> Receiver<Message> {
        let (sender, messages) = sync_channel(LINES_WAITING);
        if let Some(pipe) = self.child.stdout.take() {
            let mut lines = Lines { line: Vec::new(), sender: sender.clone() };
            std::thread::spawn(move || {
                read_all(pipe, |piece| {
                    out.write(piece);
                    lines.take(piece);
                });
                lines.end_line();
            });
        }
        if let Some(pipe) = self.child.stderr.take() {
            let (tail, held) = (Arc::clone(tail), sender.clone());
            std::thread::spawn(move || {
                read_all(pipe, |piece| {
                    err.write(piece);
                    keep_tail(&mut tail.lock().unwrap_or_else(PoisonError::into_inner), piece);
                });
                // Until then output is awaited.
                drop(held);
            });
        }
        let id = self.id;
        std::thread::spawn(move || {
            // The process stays a zombie, so that nobody else gets its number meanwhile.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(id), options), Err(Errno::INTR)) {}
            let _ = sender.send(Message::Exited);
        });
        messages
    }

    /// Signals all processes of the group; that there are none left is no matter.
    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.id, signal);
    }

    /// Ends what the process has left running, after up to `grace` for its own work, and gives its
    /// status.
    fn finish(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        if grace.is_zero() {
            // As long as the leader is a zombie, the group cannot be somebody else's.
            self.signal(Signal::KILL);
        }
        let status = self.child.wait();
        let until = Instant::now() + grace;
        while test_kill_process_group(self.id).is_ok() {
            if Instant::now() >= until {
                self.signal(Signal::KILL);
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.guard.release(self.id);
        self.finished = true;
        status
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.finish(Duration::ZERO);
        }
    }
}

/// Reads a pipe to its end.
fn read_all(mut pipe: impl Read, mut take: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => take(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Puts pieces of output together to lines, of which it sends those that might be JSON objects.
struct Lines {
    /// The line so far, as much of it as is looked at.
    line: Vec<u8>,
    sender: SyncSender<Message>,
}

impl Lines {
    fn take(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.add(&rest[..end]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        self.add(rest);
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.trim_ascii_start().starts_with(b"{") {
            // After the end nobody listens, and nothing is missed.
            let _ = self.sender.send(Message::Line(line));
        }
    }
}

/// An output on disk, up to [`LOG_BYTES`].
struct Log {
    file: File,
    room: u64,
}

impl Log {
    fn create(folder: &Path, name: &str) -> io::Result<Self> {
        Ok(Self { file: File::create(folder.join(name))?, room: LOG_BYTES })
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.room == 0 {
            return;
        }
        let kept = bytes.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
        // A disk that is full stops the log, and then the study says so.
        let written = self.file.write_all(&bytes[..kept]);
        self.room = if written.is_ok() { self.room - kept as u64 } else { 0 };
        if self.room == 0 {
            let _ = self.file.write_all(b"\n(the rest was left out)\n");
        }
    }
}

fn keep_tail(tail: &mut Vec<u8>, piece: &[u8]) {
    tail.extend_from_slice(&piece[piece.len().saturating_sub(TAIL_BYTES)..]);
    tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
}

/// The last lines of a text, of which the first may be cut.
fn last_lines(tail: &[u8]) -> String {
    const LINES: usize = 12;
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
