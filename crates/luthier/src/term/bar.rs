//! The progress of a stage: a bar, and for a search a table of the trials that run below it.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::screen::{self, Size};
use super::{clock, cut, table};

/// Pause between two frames.
const FRAME: Duration = Duration::from_millis(250);
/// Columns of the bar itself, at most.
const BAR: usize = 28;
/// Trials in the table, at most.
const TRIALS: usize = 16;
/// Where the text of a stage begins.
const MARGIN: &str = "          ";

/// Progress of one stage on a terminal; drawn until it is dropped.
pub(super) struct Live {
    state: Arc<Mutex<State>>,
    /// Says the end when it is dropped.
    end: Option<Sender<()>>,
    drawing: Option<JoinHandle<()>>,
}

/// What there is to see.
pub(super) struct State {
    stage: String,
    began: Instant,
    /// The position at that time.
    first: u64,
    position: u64,
    total: u64,
    /// A word on how it stands.
    message: String,
    search: Option<Search>,
}

/// How a search stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Search {
    /// How many trials have ended how.
    pub(crate) counts: String,
    /// What a score is.
    pub(crate) metric: String,
    /// The trials that run.
    pub(crate) trials: Vec<Trial>,
}

/// A trial that runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trial {
    pub(crate) number: u64,
    pub(crate) learner: String,
    /// The last step with its score.
    pub(crate) step: Option<(u64, f64)>,
    /// When it was begun.
    pub(crate) began: Option<Instant>,
    pub(crate) values: String,
}

impl Live {
    pub(super) fn new(stage: &str, first: u64, total: u64) -> Self {
        let state = Arc::new(Mutex::new(State {
            stage: stage.to_owned(),
            began: Instant::now(),
            first,
            position: first,
            total,
            message: String::new(),
            search: None,
        }));
        let (end, ended) = mpsc::channel();
        let shown = Arc::clone(&state);
        let drawing = std::thread::spawn(move || {
            loop {
                let frame = lock(&shown).frame(Instant::now(), Size::now());
                screen::draw(frame);
                if ended.recv_timeout(FRAME) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self { state, end: Some(end), drawing: Some(drawing) }
    }

    pub(super) fn set(&self, position: u64, message: &str) {
        let mut state = lock(&self.state);
        state.position = position;
        message.clone_into(&mut state.message);
    }

    pub(super) fn set_total(&self, total: u64) {
        lock(&self.state).total = total;
    }

    pub(super) fn set_search(&self, search: Search) {
        lock(&self.state).search = Some(search);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(drawing) = self.drawing.take() {
            let _ = drawing.join();
        }
        screen::draw(Vec::new());
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// The lines that are seen at `now`, which fit a terminal of this size.
    fn frame(&self, now: Instant, size: Size) -> Vec<String> {
        let Self { stage, position, total, message, .. } = self;
        let bar = bar(*position, *total, BAR.min(size.columns / 4));
        let digits = total.to_string().len();
        let head = format!("{stage:<9} {bar} {position:>digits$}/{total} {message}");
        let mut lines = match &self.search {
            None => vec![format!("{head} {}", self.times(now))],
            Some(search) => {
                let counts = [search.counts.clone(), self.times(now), self.rate(now)];
                let counts = counts.into_iter().filter(|part| !part.is_empty());
                let counts = counts.collect::<Vec<_>>().join(", ");
                let mut lines = vec![head, format!("{MARGIN}{counts}")];
                // One row is the cursor's.
                let room = size.rows.saturating_sub(lines.len() + 1).min(TRIALS + 2);
                lines.extend(
                    search.table(now, room).into_iter().map(|line| format!("{MARGIN}{line}")),
                );
                lines
            }
        };
        lines.truncate(size.rows.saturating_sub(1));
        lines.iter().map(|line| cut(line.trim_end(), size.columns)).collect()
    }

    /// How many steps this run has done, and in how many seconds.
    fn pace(&self, now: Instant) -> Option<(f64, f64)> {
        let done = self.position.saturating_sub(self.first);
        (done > 0).then(|| (done as f64, now.duration_since(self.began).as_secs_f64()))
    }

    fn rate(&self, now: Instant) -> String {
        let pace = self.pace(now).filter(|(_, seconds)| *seconds > 0.0);
        pace.map_or(String::new(), |(done, seconds)| {
            format!("{} trials a minute", significant(done / seconds * 60.0))
        })
    }

    /// The time that has gone, and the time that is left if all goes on as it did.
    fn times(&self, now: Instant) -> String {
        let gone = clock(now.duration_since(self.began));
        let left = self.pace(now).map(|(done, seconds)| {
            let left = self.total.saturating_sub(self.position) as f64;
            Duration::try_from_secs_f64(seconds / done * left).unwrap_or(Duration::MAX)
        });
        left.map_or(gone.clone(), |left| format!("{gone} gone, {} left", clock(left)))
    }
}

impl Search {
    /// The trials that run, in so many lines at most.
    fn table(&self, now: Instant, room: usize) -> Vec<String> {
        let all = self.trials.len();
        if all == 0 || room < 2 {
            return Vec::new();
        }
        let shown = if all < room { all } else { room - 2 };
        let head = ["trial", "time", "step", &self.metric, "learner", "values"];
        let row = |trial: &Trial| {
            let elapsed = trial.began.map(|began| clock(now.saturating_duration_since(began)));
            let (step, score) = trial.step.unzip();
            let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
            vec![
                trial.number.to_string(),
                or_none(elapsed),
                or_none(step.map(|step| step.to_string())),
                or_none(score.map(|score| format!("{score:.4}"))),
                trial.learner.clone(),
                trial.values.clone(),
            ]
        };
        let rows = self.trials[..shown].iter().map(row);
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect();
        let mut lines: Vec<String> = table(&rows).lines().map(str::to_owned).collect();
        if shown < all {
            lines.push(format!("and {} more", all - shown));
        }
        lines
    }
}

/// A bar of `columns`, as full as `position` is of `total`.
fn bar(position: u64, total: u64, columns: usize) -> String {
    let share = (position as f64 / total.max(1) as f64).min(1.0);
    let halves = (share * 2.0 * columns as f64) as usize;
    let (full, half) = (halves / 2, halves % 2);
    let empty = columns - full - half;
    format!("{}{}{}", "━".repeat(full), "╸".repeat(half), "─".repeat(empty))
}

/// Two digits, or all of those before the point.
fn significant(number: f64) -> String {
    if number < 10.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(position: u64, search: Option<Search>) -> (State, Instant) {
        let began = Instant::now();
        let stage = "tune".to_owned();
        let message = "best f1 0.8123 (trial 7)".to_owned();
        (State { stage, began, first: 2, position, total: 60, message, search }, began)
    }

    fn running(count: u64, began: Instant) -> Search {
        let trial = |number| Trial {
            number,
            learner: if number % 2 == 0 { "linear" } else { "embedding" }.to_owned(),
            step: (number > 12).then_some((number, 0.79125)),
            began: Some(began),
            values: "alpha=1.200e-4 ngrams=2 weights=balanced".to_owned(),
        };
        let counts = "9 complete, 2 pruned, 1 failed".to_owned();
        Search { counts, metric: "f1".to_owned(), trials: (12..12 + count).map(trial).collect() }
    }

    #[track_caller]
    fn check(
        state: &(State, Instant),
        seconds: u64,
        (columns, rows): (usize, usize),
        lines: &[&str],
    ) {
        let now = state.1 + Duration::from_secs(seconds);
        assert_eq!(state.0.frame(now, Size { columns, rows }), lines);
    }

    #[test]
    fn a_bar_says_how_long_it_takes() {
        let expected = "tune      ━━━━━━━━━━━━━━────────────── 30/60 best f1 0.8123 (trial 7) 1:10 gone, \
                        1:15 left";
        check(&state(30, None), 70, (120, 24), &[expected]);
        check(&state(2, None), 3_600, (40, 24), &["tune      ──────────  2/60 best f1 0.81…"]);
        check(&state(2, None), 0, (40, 1), &[]);
    }

    #[test]
    fn a_search_shows_the_trials_that_run() {
        let (mut state, began) = state(12, None);
        state.search = Some(running(3, began));
        let state = (state, began);
        let head = [
            "tune      ━━━━━──────────────────── 12/60 best f1 0.8123 (trial 7)",
            "          9 complete, 2 pruned, 1 failed, 0:30 gone, 2:24 left, 20 trials a minute",
            "          trial  time  step      f1  learner    values",
        ];
        let rows = [
            "             12  0:30     –       –  linear     alpha=1.200e-4 ngrams=2 weights=balanced",
            "             13  0:30    13  0.7913  embedding  alpha=1.200e-4 ngrams=2 weights=balanced",
            "             14  0:30    14  0.7913  linear     alpha=1.200e-4 ngrams=2 weights=balanced",
        ];
        check(&state, 30, (100, 24), &[&head[..], &rows].concat());
        check(&state, 30, (100, 7), &[&head[..], &rows].concat());
        let fewer = [
            "          trial  time  step  f1  learner  values",
            "             12  0:30     –   –  linear   alpha=1.200e-4 ngrams=2 weights=balanced",
            "          and 2 more",
        ];
        check(&state, 30, (100, 6), &[&head[..2], &fewer].concat());
        check(&state, 30, (100, 4), &head[..2]);
        check(&state, 30, (100, 3), &head[..2]);
        check(&state, 30, (100, 2), &head[..1]);
    }
}
