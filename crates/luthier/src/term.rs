//! What people see while work goes on: bars on a terminal, plain lines in a pipe. All of it goes to
//! standard error; standard output is for results.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Tells of the stages of a command.
pub(crate) struct Reporter {
    terminal: bool,
    quiet: bool,
}

impl Reporter {
    /// Talks on standard error, unless `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), quiet }
    }

    /// One finished line: a stage and what came of it.
    pub(crate) fn line(&self, stage: &str, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{stage:<9} {text}");
        }
    }

    /// A bar of `total` steps for `stage`.
    pub(crate) fn bar(&self, stage: &str, total: u64) -> Bar {
        let bar = match self.terminal && !self.quiet {
            true => {
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(12))
            }
            false => ProgressBar::hidden(),
        };
        let template = "{prefix:<9} {bar:28} {pos:>3}/{len} {msg} {elapsed} ({eta} left)";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(stage.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar { bar, lines: !self.terminal && !self.quiet, stage: stage.to_owned() }
    }
}

/// Progress of one stage.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// Whether every step is a line of its own.
    lines: bool,
    stage: String,
}

impl Bar {
    /// Sets how far the stage is, with a word on its state.
    pub(crate) fn set(&self, position: u64, message: &str) {
        self.bar.set_position(position);
        self.bar.set_message(message.to_owned());
    }

    /// Sets how many steps there are.
    pub(crate) fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// A line that stays, for a pipe; a terminal shows the bar instead.
    pub(crate) fn step(&self, text: &str) {
        if self.lines {
            let _ = writeln!(std::io::stderr(), "{:<9} {text}", self.stage);
        }
    }

    /// A line of another stage, above the bar.
    pub(crate) fn line(&self, reporter: &Reporter, stage: &str, text: &str) {
        self.bar.suspend(|| reporter.line(stage, text));
    }

    /// Takes the bar away.
    pub(crate) fn clear(self) {
        self.bar.finish_and_clear();
    }
}

/// Says on a terminal that work is about to stop. The bar's line is left as it is.
pub(crate) fn announce_stop() {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        let _ = writeln!(terminal, "\nstopping; press Ctrl-C again to end at once");
    }
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

/// Columns that a text takes on a terminal: Han and the like take two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if matches!(c, '\u{2e80}'..='\u{ffef}') { 2 } else { 1 }).sum()
}
