//! Live quality and drift: what was answered is remembered, labels that come back are joined with
//! it, and texts and answers are compared with those of the finished model.
//!
//! Workers hand every answer to a [`Tracker`] and go on; a thread of its own measures texts and
//! writes to the store in batches. Nothing here makes an answer wait or fail: where the thread
//! does not keep up, or the disk is full, predictions are forgotten and counted.
//!
//! An answer is handed over before it is sent, and a label is judged after everything handed over
//! before it has been taken in, so a label never comes too early. It is acknowledged once it is
//! committed. Killing the process loses the predictions of its last 10 ms and no acknowledged
//! label; sending a label again finds it there.

mod exposition;
mod id;
mod observe;
mod store;
mod thread;

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Sender, TrySendError};
use luthier_bundle::{Bundle, BundleError};
use luthier_model::{Decision, Preprocess};
use luthier_monitor::{Baseline, Drift, Window, WindowSize};
use tokio::sync::oneshot;

use crate::texts::Texts;

pub(crate) use id::PredictionId;
pub use observe::observe;
pub use store::StoreError;
use store::{Limits, ModelKey, Store};
use thread::TICK;

/// Most answers that wait for the thread.
const QUEUE: usize = 16_384;
/// Most memory of what waits, of answers and of labels each.
const QUEUE_BYTES: usize = 32 << 20;
/// Most calls with labels that wait for the thread.
const CALLS: usize = 1_024;

/// Remembers answers, joins labels and shows what follows from them. Its thread ends when the last
/// handle is dropped.
pub(crate) struct Tracker {
    answers: Sender<Answered>,
    commands: Sender<Command>,
    has_store: bool,
    shared: Arc<Shared>,
}

/// A served version of a model, as the tracker knows it.
pub(crate) struct Tracked {
    pub(crate) name: Arc<str>,
    pub(crate) version: i64,
    labels: Vec<String>,
    positive: Option<usize>,
    watch: Option<Watch>,
    /// Sets it apart from others of the same name and version.
    serial: u64,
}

/// A version whose bundle says what its texts were like.
struct Watch {
    preprocess: Preprocess,
    drift: Mutex<Drift>,
}

/// Labels of one call.
#[derive(Debug, Clone)]
pub(crate) struct Feedback {
    /// Name of the model that gave the predictions.
    pub(crate) model: String,
    /// Its version; any where absent.
    pub(crate) version: Option<i64>,
    pub(crate) labels: Vec<Labelled>,
}

/// The true class of one row of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Labelled {
    pub(crate) id: PredictionId,
    pub(crate) row: u32,
    pub(crate) label: String,
}

/// What became of the labels of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Labels that count from now on.
    pub(crate) accepted: usize,
    /// Labels of rows that had one; the first one stays.
    pub(crate) duplicates: usize,
    /// Labels of rows that are not known.
    pub(crate) unknown: usize,
    /// The first rows that are not known.
    pub(crate) unknown_rows: Vec<(PredictionId, u32)>,
}

/// Why labels are not joined. None of a call is then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FeedbackError {
    #[error("Feedback is off: start the server with --feedback-store <file>")]
    Off,
    #[error("Model {model} gives numbers: labels are joined with classes alone")]
    Numbers { model: String },
    #[error(
        "labels[{index}]: \"{label}\" is no class of model {model} version {version}, which has {}",
        listed(classes)
    )]
    NoClass { index: usize, label: String, model: String, version: i64, classes: Arc<[String]> },
    #[error("Feedback cannot be stored: {reason}")]
    Store { reason: String },
    #[error("Too much feedback is waiting already")]
    Busy,
}

/// An answer on its way to the thread.
struct Answered {
    id: PredictionId,
    tracked: Arc<Tracked>,
    /// Empty where they are not measured.
    texts: Texts,
    /// The class of each row.
    predicted: Vec<u32>,
}

enum Command {
    Join {
        feedback: Feedback,
        bytes: usize,
        reply: Reply,
    },
    /// Answers once everything before it is written, or cannot be.
    Flush(oneshot::Sender<()>),
}

type Reply = oneshot::Sender<Result<Joined, FeedbackError>>;

/// What the thread and those who read metrics share.
#[derive(Default)]
struct Shared {
    /// The versions that have answered.
    tracked: Mutex<BTreeMap<u64, Weak<Tracked>>>,
    live: Mutex<BTreeMap<ModelKey, Live>>,
    /// Labels of rows that are not known, by the model and version of the call.
    unknown: Mutex<BTreeMap<(String, Option<i64>), u64>>,
    /// Rows that were not remembered.
    dropped: AtomicU64,
    answer_bytes: Budget,
    label_bytes: Budget,
}

/// Labels of one version.
struct Live {
    name: Arc<str>,
    version: i64,
    window: Window,
    /// Since the start of the process.
    accepted: u64,
    duplicates: u64,
}

/// Memory that may be in use at a time.
#[derive(Default)]
struct Budget(AtomicUsize);

impl Tracked {
    /// The version in `bundle`. Its drift is watched where the bundle has a baseline; one that
    /// cannot be read is logged, and the model is served without.
    pub(crate) fn of(name: &str, version: i64, bundle: &Bundle) -> Result<Self, BundleError> {
        let decision = &bundle.manifest().decision;
        let baseline = bundle.document(Baseline::DOCUMENT).map(Baseline::from_json);
        let watch = match baseline {
            Some(Ok(baseline)) => Some((baseline, bundle.model()?.preprocess)),
            Some(Err(error)) => {
                let document = Baseline::DOCUMENT;
                tracing::warn!(model = name, version, %error, "{document} is passed over");
                None
            }
            None => None,
        };
        Ok(Self::new(name, version, decision, watch))
    }

    /// A version with the classes of `decision`. Its drift is watched where `watch` has a baseline
    /// for as many classes, and what the model takes texts as.
    pub(crate) fn new(
        name: &str,
        version: i64,
        decision: &Decision,
        watch: Option<(Baseline, Preprocess)>,
    ) -> Self {
        static SERIALS: AtomicU64 = AtomicU64::new(0);
        let watch = watch
            .filter(|(baseline, _)| baseline.classes() == decision.labels().len())
            // So far a baseline is one of texts.
            .filter(|(_, preprocess)| preprocess.table().is_none())
            .map(|(baseline, preprocess)| Watch {
                preprocess,
                drift: Mutex::new(Drift::new(&baseline)),
            });
        Self {
            name: name.into(),
            version,
            labels: decision.labels().to_vec(),
            positive: decision.positive(),
            watch,
            serial: SERIALS.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Tracker {
    /// Starts the thread, with the store at `path`, if any, which is made where it is absent.
    pub(crate) fn start(path: Option<&Path>) -> Result<Arc<Self>, StoreError> {
        let store = path.map(|path| Store::open(path, Limits::default())).transpose()?;
        Self::with(store)
    }

    fn with(store: Option<Store>) -> Result<Arc<Self>, StoreError> {
        let (answers, answered) = crossbeam_channel::bounded(QUEUE);
        let (commands, waiting) = crossbeam_channel::bounded(CALLS);
        let shared = Arc::new(Shared::default());
        if let Some(store) = &store {
            let windows = store.windows(WindowSize::default())?;
            *locked(&shared.live) = windows.into_iter().collect();
        }
        let has_store = store.is_some();
        thread::start(answered, waiting, store, Arc::clone(&shared))?;
        Ok(Arc::new(Self { answers, commands, has_store, shared }))
    }

    /// Whether labels are taken.
    pub(crate) fn has_store(&self) -> bool {
        self.has_store
    }

    /// Remembers an answer, row-major `probabilities`, without waiting.
    pub(crate) fn answered(
        &self,
        id: PredictionId,
        tracked: &Arc<Tracked>,
        decision: &Decision,
        texts: Texts,
        probabilities: &[f32],
    ) {
        // Numbers are neither joined with labels nor watched.
        if decision.class().is_none() || !self.has_store && tracked.watch.is_none() {
            return;
        }
        let rows = probabilities.chunks_exact(decision.outputs().max(1));
        let class = |row| decision.answer(row).map(|answer| answer.label as u32);
        let predicted: Vec<u32> = rows.filter_map(class).collect();
        let texts = if tracked.watch.is_some() { texts } else { Texts::default() };
        let answered = Answered { id, tracked: Arc::clone(tracked), texts, predicted };
        let (bytes, rows) = (answered.bytes(), answered.predicted.len());
        let taken = self.shared.answer_bytes.take(bytes);
        if taken && self.answers.try_send(answered).is_ok() {
            return;
        }
        if taken {
            self.shared.answer_bytes.give(bytes);
        }
        self.shared.dropped.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Joins labels, all of a call or none; done when they are committed.
    pub(crate) async fn join(&self, feedback: Feedback) -> Result<Joined, FeedbackError> {
        let ended = || FeedbackError::Store { reason: "its thread has ended".to_owned() };
        if !self.has_store {
            return Err(FeedbackError::Off);
        }
        let bytes = feedback.bytes();
        if !self.shared.label_bytes.take(bytes) {
            return Err(FeedbackError::Busy);
        }
        let (reply, answer) = oneshot::channel();
        if let Err(refused) = self.commands.try_send(Command::Join { feedback, bytes, reply }) {
            self.shared.label_bytes.give(bytes);
            return Err(match refused {
                TrySendError::Full(_) => FeedbackError::Busy,
                TrySendError::Disconnected(_) => ended(),
            });
        }
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Waits until all that has been answered so far is written, or cannot be.
    pub(crate) async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        // A full queue empties within moments.
        let mut command = Command::Flush(reply);
        while let Err(TrySendError::Full(again)) = self.commands.try_send(command) {
            tokio::time::sleep(TICK).await;
            command = again;
        }
        let _ = done.await;
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").finish_non_exhaustive()
    }
}

impl Answered {
    /// About the memory it takes.
    fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| text.len() + size_of::<usize>()).sum();
        size_of::<Self>() + texts + size_of_val(self.predicted.as_slice())
    }
}

impl Feedback {
    /// About the memory it takes.
    fn bytes(&self) -> usize {
        let labels = self.labels.iter().map(|label| size_of::<Labelled>() + label.label.len());
        size_of::<Self>() + labels.sum::<usize>()
    }
}

impl Shared {
    /// Lets the metrics show the drift of a version, until it is unloaded.
    fn show(&self, tracked: &Arc<Tracked>) {
        let mut all = locked(&self.tracked);
        if let btree_map::Entry::Vacant(place) = all.entry(tracked.serial) {
            place.insert(Arc::downgrade(tracked));
            all.retain(|_, tracked| tracked.strong_count() > 0);
        }
    }
}

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let used = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = used + bytes <= QUEUE_BYTES;
        if !fits {
            self.give(bytes);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The value behind `mutex`, also after a panic: what is kept there has no broken states.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since the Unix epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The first few names, quoted.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut list: Vec<String> = names.iter().take(SHOWN).map(|n| format!("\"{n}\"")).collect();
    if names.len() > SHOWN {
        list.push(format!("and {} more", names.len() - SHOWN));
    }
    list.join(", ")
}

#[cfg(test)]
mod tests;
