//! Lines at the end of the terminal that are drawn over again and again.
//!
//! The cursor rests at the start of the line below them. What the terminal itself writes there, such as
//! `^C`, is gone with the next frame, and no line is ever taken for another.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::width;

/// What is drawn at present.
static DRAWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Columns and rows of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// That of standard error; the usual one where it does not say.
    pub(super) fn now() -> Self {
        let found = rustix::termios::tcgetwinsize(std::io::stderr());
        let found = found.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        found.map_or(Self { columns: 80, rows: 24 }, |size| Self {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        })
    }
}

/// Draws these lines instead of those that are there; they fit the terminal.
pub(super) fn draw(lines: Vec<String>) {
    let mut drawn = drawn();
    if *drawn != lines {
        write(&frame(&drawn, "", &lines, Size::now()));
        *drawn = lines;
    }
}

/// Writes a text that stays, above what is drawn.
pub(super) fn print(text: &str) {
    let drawn = drawn();
    match drawn.is_empty() {
        true => write(&format!("{text}\n")),
        false => write(&frame(&drawn, text, &drawn, Size::now())),
    }
}

/// Takes away what is drawn, for good: the process ends.
pub(super) fn close() {
    let drawn = drawn();
    if !drawn.is_empty() {
        write(&frame(&drawn, "", &[], Size::now()));
    }
    std::mem::forget(drawn);
}

fn drawn() -> MutexGuard<'static, Vec<String>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All at once, so that no half of a frame is seen.
fn write(text: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

/// What replaces the drawn lines by a text that stays and other lines.
fn frame(drawn: &[String], text: &str, lines: &[String], size: Size) -> String {
    // A terminal that has become narrower shows a line as several.
    let rows = |line: &String| width(line).div_ceil(size.columns).max(1);
    let up: usize = drawn.iter().map(rows).sum();
    let mut frame = "\r".to_owned();
    if up > 0 {
        frame += &format!("\x1b[{up}A");
    }
    for line in text.lines().chain(lines.iter().map(String::as_str)) {
        frame += line;
        frame += "\x1b[K\n";
    }
    frame + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_the_one_before() {
        let lines =
            |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let size = Size { columns: 10, rows: 5 };
        let (none, two) = (lines(&[]), lines(&["a", "b"]));
        assert_eq!(frame(&none, "", &two, size), "\ra\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame(&two, "done", &none, size), "\r\x1b[2Adone\x1b[K\n\x1b[J");
        let wide = lines(&["0123456789", "0123456789+"]);
        assert_eq!(frame(&wide, "", &none, size), "\r\x1b[3A\x1b[J");
    }
}
