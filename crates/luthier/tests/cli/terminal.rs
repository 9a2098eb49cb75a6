//! What a terminal shows while trials run, on a pseudo-terminal of 80 columns and 24 rows.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use luthier_test::{Postgres, Process, wait_for};

use crate::Desk;

/// Reports a step, and goes on when there is a file `go`.
const PROGRAM: &str = r#"
echo '{"step": 3, "f1": 0.25}'
while ! test -f go; do sleep 0.05; done
echo '{"step": 4, "f1": 0.5}'
"#;

/// Runs its arguments on a pseudo-terminal, whose keys are standard input.
const ON_TERMINAL: &str = "
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
";

fn desk() -> Desk {
    let desk = Desk::with_job();
    desk.edit(
        "[tune]",
        "[tune]\nlearners = [\"command\"]\ncommand = { run = [\"sh\", \"train.sh\"] }\n\
         space.command.x = { int = [1, 1_000_000] }\nspace.command.kind = { choice = [\"a\", \"b\"] }",
    );
    desk.write("job/train.sh", PROGRAM);
    desk
}

/// A command on a terminal.
struct Terminal {
    process: Process,
    screen: Arc<Mutex<Screen>>,
    reading: JoinHandle<()>,
}

impl Terminal {
    fn start(desk: &Desk, args: &[&str]) -> Self {
        Self::start_as("xterm", desk, args)
    }

    fn start_as(kind: &str, desk: &Desk, args: &[&str]) -> Self {
        let luthier = desk.command(args);
        let mut command = Command::new("python3");
        command.args(["-c", ON_TERMINAL]).arg(luthier.get_program()).args(luthier.get_args());
        command.current_dir(desk.path("")).env_remove("LUTHIER_STORAGE").env("TERM", kind);
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut output = process.child().stdout.take().unwrap();
        let screen = Arc::new(Mutex::new(Screen::default()));
        let seen = Arc::clone(&screen);
        let reading = std::thread::spawn(move || {
            let mut text = Vec::new();
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                text.extend_from_slice(&bytes[..count]);
                let sound = text.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
                let whole = text.drain(..sound).collect::<Vec<u8>>();
                seen.lock().unwrap().show(&String::from_utf8(whole).unwrap());
            }
        });
        Self { process, screen, reading }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().text()
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    fn shows(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let seen = || Some(self.text()).filter(|text| wanted(text));
        let seen = wait_for(Duration::from_secs(30), seen);
        seen.unwrap_or_else(|| panic!("no {what} in\n{}", self.text()))
    }

    fn type_in(&mut self, keys: &[u8]) {
        self.process.child().stdin.as_mut().unwrap().write_all(keys).unwrap();
    }

    /// The exit code and what is on the screen at the end.
    fn end(mut self) -> (Option<i32>, String) {
        let code = self.process.child().wait().unwrap().code();
        self.reading.join().unwrap();
        let text = self.screen.lock().unwrap().text();
        (code, text)
    }
}

/// A terminal that is high enough for everything.
#[derive(Default)]
struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// What has come of a control sequence that is not whole yet.
    sequence: Option<String>,
}

impl Screen {
    fn show(&mut self, text: &str) {
        for c in text.chars() {
            match (self.sequence.take(), c) {
                (Some(sequence), '[' | '0'..='9' | ';') => {
                    self.sequence = Some(sequence + &c.to_string());
                }
                (Some(sequence), end) => self.control(&sequence, end),
                (None, '\x1b') => self.sequence = Some(String::new()),
                (None, '\r') => self.column = 0,
                (None, '\n') => self.row += 1,
                (None, c) => self.put(c),
            }
        }
    }

    fn put(&mut self, c: char) {
        if self.column == 80 {
            (self.row, self.column) = (self.row + 1, 0);
        }
        let column = self.column;
        let line = self.line();
        line.resize(line.len().max(column + 1), ' ');
        line[column] = c;
        self.column += 1;
    }

    fn line(&mut self) -> &mut Vec<char> {
        self.lines.resize(self.lines.len().max(self.row + 1), Vec::new());
        &mut self.lines[self.row]
    }

    fn control(&mut self, sequence: &str, end: char) {
        let column = self.column;
        match end {
            'A' => self.row -= sequence[1..].parse::<usize>().unwrap(),
            'K' => self.line().truncate(column),
            'J' => {
                self.line().truncate(column);
                self.lines.truncate(self.row + 1);
            }
            other => panic!("{sequence}{other}"),
        }
    }

    fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| line.iter().collect::<String>() + "\n");
        lines.collect::<String>().trim_end().to_owned()
    }
}

/// Whether nothing is left of what was drawn.
fn is_clean(text: &str) -> bool {
    !["━", "─", "trial  time", " gone", "^C"].iter().any(|drawn| text.contains(drawn))
}

#[test]
fn trials_that_run_are_in_a_table() {
    let desk = desk();
    let terminal = Terminal::start(&desk, &["tune", "job", "--trials", "3"]);
    let text =
        terminal.shows("two trials", |text| text.matches("  3  0.2500  command").count() == 2);
    let lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().position(|line| line.starts_with("tune ")).unwrap();
    assert!(lines[head].ends_with("─ 0/3"), "{text}");
    assert!(lines[head + 1].starts_with("          0 complete, 0 pruned, 0 failed, 0:"), "{text}");
    assert_eq!(lines[head + 2], "          trial  time  step      f1  learner  values");
    assert!(lines[head + 3].starts_with("              0  0:"), "{text}");
    assert!(lines[head + 3].contains("kind=") && lines[head + 3].contains(" x="), "{text}");
    assert_eq!(lines.len(), head + 5, "{text}");
    desk.write("job/go", "");
    let (code, text) = terminal.end();
    assert!(code == Some(0) && is_clean(&text), "{text}");
    assert!(
        text.contains("tune      3 trials (0 pruned, 0 failed), best valid f1 0.5000"),
        "{text}"
    );
}

#[test]
fn nothing_is_left_behind_by_ctrl_c() {
    for times in [1, 2] {
        let desk = desk();
        let mut terminal = Terminal::start(&desk, &["tune", "job"]);
        terminal.shows("trial", |text| text.contains("0.2500"));
        terminal.type_in(b"\x03");
        if times == 2 {
            terminal.shows("word on it", |text| text.contains("stopping; press Ctrl-C again"));
            terminal.type_in(b"\x03");
        }
        let (code, text) = terminal.end();
        assert!(code == Some(130) && is_clean(&text), "{text}");
        assert!(text.contains("\nstopping; press Ctrl-C again to end at once"), "{text}");
    }
}

#[test]
fn trials_of_other_workers_are_in_the_table() {
    let Some(server) = Postgres::start() else { return };
    let desk = desk();
    let storage = ["--storage", &server.url(), "--workers", "1", "--trials", "2"];
    let terminal = Terminal::start(&desk, &[&["tune", "job"], &storage[..]].concat());
    terminal.shows("own trial", |text| text.contains("\n              0  0:"));
    let mut worker = desk.command(&[&["worker", "job"], &storage[..]].concat());
    let mut worker = Process::start(worker.stdout(Stdio::null()).stderr(Stdio::null()));
    terminal.shows("trial of the other", |text| text.contains("\n              1  0:"));
    desk.write("job/go", "");
    assert!(worker.child().wait().unwrap().success());
    let (code, text) = terminal.end();
    assert!(code == Some(0) && is_clean(&text), "{text}");
}

#[test]
fn a_terminal_that_cannot_be_drawn_on_gets_lines() {
    let desk = desk();
    desk.write("job/go", "");
    let terminal = Terminal::start_as("dumb", &desk, &["tune", "job", "--trials", "1"]);
    let (code, text) = terminal.end();
    assert!(code == Some(0) && is_clean(&text), "{text}");
    let line = "\ntune      1/1 trial 0 f1 0.5000 (reported), best f1 0.5000 (trial 0)\n";
    assert!(text.contains(line), "{text}");
}
