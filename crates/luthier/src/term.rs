//! What people see while work goes on: bars on a terminal, plain lines in a pipe. All of it goes to
//! standard error; standard output is for results.

mod bar;
mod screen;

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::time::Duration;

pub(crate) use bar::{Search, Trial};

use bar::Live;

/// Tells of the stages of a command.
pub(crate) struct Reporter {
    quiet: bool,
}

impl Reporter {
    /// Talks on standard error, unless `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// One finished line: a stage and what came of it.
    pub(crate) fn line(&self, stage: &str, text: &str) {
        if !self.quiet {
            screen::print(&format!("{stage:<9} {text}"));
        }
    }

    /// A bar of `total` steps for `stage`, of which `done` are done.
    pub(crate) fn bar(&self, stage: &str, done: u64, total: u64) -> Bar {
        let live = (!self.quiet && is_terminal()).then(|| Live::new(stage, done, total));
        Bar { lines: live.is_none() && !self.quiet, live, stage: stage.to_owned() }
    }
}

/// Whether standard error can be drawn on.
fn is_terminal() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == OsStr::new("dumb"));
    std::io::stderr().is_terminal() && !is_dumb
}

/// Progress of one stage, until it is dropped.
pub(crate) struct Bar {
    /// What a terminal shows.
    live: Option<Live>,
    /// Whether every step is a line of its own.
    lines: bool,
    stage: String,
}

impl Bar {
    /// Sets how far the stage is, with a word on its state.
    pub(crate) fn set(&self, position: u64, message: &str) {
        if let Some(live) = &self.live {
            live.set(position, message);
        }
    }

    /// Sets how many steps there are.
    pub(crate) fn set_total(&self, total: u64) {
        if let Some(live) = &self.live {
            live.set_total(total);
        }
    }

    /// Whether anybody sees how a search stands.
    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Shows how a search stands, on a terminal.
    pub(crate) fn set_search(&self, search: Search) {
        if let Some(live) = &self.live {
            live.set_search(search);
        }
    }

    /// A line that stays, for a pipe; a terminal shows the bar instead.
    pub(crate) fn step(&self, text: &str) {
        if self.lines {
            screen::print(&format!("{:<9} {text}", self.stage));
        }
    }
}

/// Says on a terminal that work is about to stop.
pub(crate) fn announce_stop() {
    if std::io::stderr().is_terminal() {
        screen::print("stopping; press Ctrl-C again to end at once");
    }
}

/// Takes away what is drawn, before the process ends at once.
pub(crate) fn leave() {
    screen::close();
}

/// Bytes for people: `812 B`, `61.3 kB`, `4.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A count of events for people: `once`, `3 times`.
pub(crate) fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Milliseconds for people.
pub(crate) fn milliseconds(ms: f64) -> String {
    if ms < 0.1 { format!("{:.1} µs", ms * 1e3) } else { format!("{ms:.2} ms") }
}

/// A time for people: `0:07`, `12:34`, `1:02:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        1..100 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{} days", hours / 24),
    }
}

/// A line that is no wider than so many columns.
fn cut(line: &str, columns: usize) -> String {
    if width(line) <= columns {
        return line.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let fits = |c: &char| {
        let fits = width_of(*c) <= room;
        room = room.saturating_sub(width_of(*c));
        fits
    };
    line.chars().take_while(fits).chain(['…']).take(columns).collect()
}

/// Lines of cells as aligned columns, two spaces apart; the first line is the head. Columns whose
/// cells below the head are all numbers are aligned to the right.
pub(crate) fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |line: &Vec<String>, column: usize| line.get(column).cloned().unwrap_or_default();
    let numeric = |column: usize| {
        let mut cells = lines.iter().skip(1).map(|line| cell(line, column));
        cells.all(|c| c.starts_with(|c: char| c.is_ascii_digit() || "+-–".contains(c)))
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().map(|l| width(&cell(l, column))).max().unwrap_or(0))
        .collect();
    let right: Vec<bool> = (0..columns).map(numeric).collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for column in 0..columns {
            let cell = cell(line, column);
            let gap = " ".repeat(widths[column] - width(&cell));
            let space = if column > 0 { "  " } else { "" };
            row += &match right[column] {
                true => format!("{space}{gap}{cell}"),
                false => format!("{space}{cell}{gap}"),
            };
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

/// Columns that a text takes on a terminal.
fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// Han and the like take two.
fn width_of(c: char) -> usize {
    if matches!(c, '\u{2e80}'..='\u{ffef}') { 2 } else { 1 }
}
