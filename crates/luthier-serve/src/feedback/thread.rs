//! The thread that writes answers, joins labels and measures texts.

use std::collections::{BTreeMap, VecDeque, btree_map};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use luthier_model::Scratch;
use luthier_monitor::{Drift, WindowSize};
use tokio::sync::oneshot;

use super::store::{Entry, ModelKey, Store};
use super::{
    Answered, Command, Feedback, FeedbackError, Joined, Live, QUEUE, Reply, Shared, StoreError,
    Tracked, Watch, locked, now, observe,
};
use crate::texts::Texts;

/// Longest time that an answer waits before it is written. The thread looks, and is not woken: to
/// wake it would cost each answer more than all else that is done with it.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// Labels after which a batch takes no further call.
const BATCH_LABELS: usize = 10_000;
/// Most rows that are kept while they cannot be written.
const MOST_PENDING: usize = 100_000;
/// Time in each [`TICK`] for measuring texts. What takes longer would be felt by the requests of that
/// moment, where all cores are busy: one in a hundred, were all texts of a second measured at once.
const MEASURE_TIME: Duration = Duration::from_micros(100);
/// Most bytes of texts of a version that wait to be measured.
const UNMEASURED_BYTES: usize = 4 << 20;
/// Longest list of unknown rows in an answer.
const LISTED_UNKNOWN: usize = 20;
/// Pause between two log events about a store that fails, and between two looks for old rows.
const MINUTE: Duration = Duration::from_secs(60);

struct Thread {
    answered: Receiver<Answered>,
    waiting: Receiver<Command>,
    store: Option<Store>,
    shared: Arc<Shared>,
    scratch: Scratch,
    /// By the serial number of their version.
    unmeasured: BTreeMap<u64, Unmeasured>,
    /// When texts were measured last.
    measured: Instant,
    /// Answers that are not written yet, with the time.
    pending: VecDeque<(Answered, i64)>,
    pending_rows: usize,
    /// When a failure was logged last.
    logged: Option<Instant>,
    /// When old rows were looked for last.
    cleaned: Instant,
}

/// Starts the thread, which ends when both channels are closed.
pub(super) fn start(
    answered: Receiver<Answered>,
    waiting: Receiver<Command>,
    store: Option<Store>,
    shared: Arc<Shared>,
) -> Result<(), StoreError> {
    let thread = Thread {
        answered,
        waiting,
        store,
        shared,
        scratch: Scratch::default(),
        unmeasured: BTreeMap::new(),
        measured: Instant::now(),
        pending: VecDeque::new(),
        pending_rows: 0,
        logged: None,
        cleaned: Instant::now(),
    };
    let named = std::thread::Builder::new().name("luthier-feedback".to_owned());
    named.spawn(move || thread.run()).map(drop).map_err(StoreError::Thread)
}

/// Labels that wait for their answer.
struct Call {
    feedback: Feedback,
    bytes: usize,
    reply: Reply,
}

/// The latest rows of a version that are not measured yet, no more than a window holds. Measuring a
/// text takes about as long as answering it, so where many come only some are.
#[derive(Default)]
struct Unmeasured {
    answers: VecDeque<(Arc<Tracked>, Texts, Vec<u32>)>,
    /// Place of the next row in the first answer.
    next: usize,
    /// Rows that wait.
    rows: usize,
    /// Of all texts in `answers`.
    bytes: usize,
}

impl Thread {
    fn run(mut self) {
        loop {
            let first = match self.waiting.recv_timeout(TICK) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    self.take_in();
                    return self.work(Vec::new());
                }
            };
            let (calls, flushes) = self.batch(first);
            // After the calls are taken: what was answered before a label was sent is among it.
            self.take_in();
            self.work(calls);
            self.measure(!flushes.is_empty());
            // Nobody may wait any more.
            for done in flushes {
                let _ = done.send(());
            }
            self.clean();
        }
    }

    /// The calls that are worked on together.
    fn batch(&self, first: Option<Command>) -> (Vec<Call>, Vec<oneshot::Sender<()>>) {
        let (mut calls, mut flushes, mut labels) = (Vec::new(), Vec::new(), 0);
        let mut next = first;
        while let Some(command) = next {
            match command {
                Command::Join { feedback, bytes, reply } => {
                    labels += feedback.labels.len();
                    calls.push(Call { feedback, bytes, reply });
                }
                Command::Flush(done) => flushes.push(done),
            }
            next = if labels < BATCH_LABELS { self.waiting.try_recv().ok() } else { None };
        }
        (calls, flushes)
    }

    /// Takes in the answers that wait, to be measured and written.
    fn take_in(&mut self) {
        let time = now();
        for mut answered in self.answered.try_iter().take(QUEUE) {
            self.shared.answer_bytes.give(answered.bytes());
            if answered.tracked.watch.is_some() {
                let texts = std::mem::take(&mut answered.texts);
                self.unmeasured.entry(answered.tracked.serial).or_default().add(&answered, texts);
            }
            if self.store.is_some() {
                self.pending_rows += answered.predicted.len();
                self.pending.push_back((answered, time));
            }
        }
        while self.pending_rows > MOST_PENDING
            && let Some((dropped, _)) = self.pending.pop_front()
        {
            self.pending_rows -= dropped.predicted.len();
            self.shared.dropped.fetch_add(dropped.predicted.len() as u64, Ordering::Relaxed);
        }
    }

    /// Adds texts that wait to the drift of their versions: as many as there is time for now, or
    /// `all`.
    fn measure(&mut self, all: bool) {
        if !all && self.measured.elapsed() < TICK {
            return;
        }
        self.measured = Instant::now();
        let share = MEASURE_TIME / u32::try_from(self.unmeasured.len().max(1)).unwrap_or(u32::MAX);
        let shared = &self.shared;
        self.unmeasured.retain(|_, unmeasured| {
            let end = if all { None } else { Some(Instant::now() + share) };
            if let Some(tracked) = unmeasured.measure(&mut self.scratch, end) {
                shared.show(&tracked);
            }
            unmeasured.rows > 0
        });
    }

    /// Writes what is pending and joins the labels of `calls`.
    fn work(&mut self, calls: Vec<Call>) {
        let Some(store) = &mut self.store else { return };
        if calls.is_empty() && self.pending.is_empty() {
            return;
        }
        let feedback: Vec<&Feedback> = calls.iter().map(|call| &call.feedback).collect();
        let results = match store.work(self.pending.iter(), &feedback, now()) {
            Ok(results) => {
                self.pending.clear();
                self.pending_rows = 0;
                results
            }
            Err(error) => {
                let reason = error.reason();
                self.log(&error);
                calls.iter().map(|_| Err(FeedbackError::Store { reason: reason.clone() })).collect()
            }
        };
        for (call, result) in calls.into_iter().zip(results) {
            let result = result.map(|entries| self.count(&call.feedback, &entries));
            self.shared.label_bytes.give(call.bytes);
            let _ = call.reply.send(result);
        }
    }

    /// Adds the committed labels of a call to the windows and counters.
    fn count(&self, feedback: &Feedback, entries: &[Entry]) -> Joined {
        let mut joined = Joined::default();
        let mut live = locked(&self.shared.live);
        for (labelled, entry) in feedback.labels.iter().zip(entries) {
            match entry {
                Entry::Accepted(key, outcome) => {
                    joined.accepted += 1;
                    if let Some(live) = self.live(&mut live, *key) {
                        live.accepted += 1;
                        live.window.add(*outcome);
                    }
                }
                Entry::Duplicate(key) => {
                    joined.duplicates += 1;
                    if let Some(live) = self.live(&mut live, *key) {
                        live.duplicates += 1;
                    }
                }
                Entry::Unknown => {
                    joined.unknown += 1;
                    if joined.unknown_rows.len() < LISTED_UNKNOWN {
                        joined.unknown_rows.push((labelled.id, labelled.row));
                    }
                }
            }
        }
        if joined.unknown > 0 {
            let of = (feedback.model.clone(), feedback.version);
            *locked(&self.shared.unknown).entry(of).or_default() += joined.unknown as u64;
        }
        joined
    }

    /// The labels of a version, none so far where it is new.
    fn live<'l>(
        &self,
        live: &'l mut BTreeMap<ModelKey, Live>,
        key: ModelKey,
    ) -> Option<&'l mut Live> {
        match live.entry(key) {
            btree_map::Entry::Occupied(found) => Some(found.into_mut()),
            btree_map::Entry::Vacant(place) => {
                let store = self.store.as_ref()?;
                Some(place.insert(store.live(key, WindowSize::default())?))
            }
        }
    }

    /// Logs that the store fails, at most once a minute.
    fn log(&mut self, error: &StoreError) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= MINUTE) {
            tracing::error!(%error, "feedback cannot be stored; models go on to answer");
            self.logged = Some(Instant::now());
        }
    }

    /// Removes rows that have grown old, once a minute.
    fn clean(&mut self) {
        if self.cleaned.elapsed() < MINUTE {
            return;
        }
        self.cleaned = Instant::now();
        if let Some(Err(error)) = self.store.as_mut().map(|store| store.remove_old(now())) {
            self.log(&error);
        }
    }
}

impl Unmeasured {
    fn add(&mut self, answered: &Answered, texts: Texts) {
        self.rows += answered.predicted.len();
        self.bytes += texts.bytes();
        let predicted = answered.predicted.clone();
        self.answers.push_back((Arc::clone(&answered.tracked), texts, predicted));
        while self.bytes > UNMEASURED_BYTES && self.answers.len() > 1 {
            self.skip(self.answers[0].2.len() - self.next);
        }
        self.skip(self.rows.saturating_sub(Drift::WINDOW));
    }

    /// Leaves out so many of the oldest rows.
    fn skip(&mut self, mut rows: usize) {
        while let Some((_, texts, predicted)) = self.answers.front() {
            let left = predicted.len() - self.next;
            if rows < left {
                self.next += rows;
                self.rows -= rows;
                return;
            }
            rows -= left;
            self.rows -= left;
            self.bytes -= texts.bytes();
            self.next = 0;
            self.answers.pop_front();
        }
    }

    /// Adds rows to the drift of their version, which is given: at least one if there is one, and then
    /// as long as it is not `end`.
    fn measure(&mut self, scratch: &mut Scratch, end: Option<Instant>) -> Option<Arc<Tracked>> {
        let tracked = Arc::clone(&self.answers.front()?.0);
        let Watch { preprocess, drift } = tracked.watch.as_ref()?;
        while let Some((_, texts, predicted)) = self.answers.front()
            && let Some(class) = predicted.get(self.next)
        {
            let row = observe(texts.get(self.next), *class, preprocess, scratch);
            locked(drift).add(&row);
            self.skip(1);
            if end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
        }
        Some(tracked)
    }
}
