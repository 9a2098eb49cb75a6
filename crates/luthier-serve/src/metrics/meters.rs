//! What is counted of one version of a model.
//!
//! A request finds its counters by indexing, and adds to them. Those of a protocol and operation
//! come into being with the first such request, so that what is never asked has no series.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use luthier_bundle::Took;

use super::histogram::{Histogram, Scale};
use super::{Answered, Operation, Protocol, Stage, tensorflow};
use crate::service::CODES;

/// From 50 µs to 10 s, in nanoseconds, shown in seconds.
static SECONDS: Scale = Scale {
    bounds: &[
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        10_000_000_000,
    ],
    per_unit: 1e9,
};

/// The lowest status of HTTP, and how many there are.
const FIRST_STATUS: u16 = 100;
const STATUSES: usize = 500;

/// Counters of a version, or of requests that are for none.
#[derive(Debug)]
pub(crate) struct Meters {
    /// Name of the model.
    pub(super) model: Arc<str>,
    /// Its version, as a label.
    pub(super) version: Arc<str>,
    calls: [[OnceLock<Box<Calls>>; Operation::ALL.len()]; Protocol::ALL.len()],
    stages: [Histogram; Stage::ALL.len()],
    /// By gRPC's status, of what TensorFlow Serving counts.
    codes: [AtomicU64; CODES.len()],
    /// How long graphs ran, by operation, in TensorFlow Serving's buckets.
    runs: [OnceLock<Histogram>; Operation::ALL.len()],
    /// Rows of requests that bring examples.
    examples: Histogram,
}

/// Counters of one operation over one protocol.
#[derive(Debug)]
pub(super) struct Calls {
    statuses: [AtomicU64; STATUSES],
    /// From the head of a request to its answer.
    pub(super) durations: Histogram,
    /// The same of those that went well, in TensorFlow Serving's buckets.
    pub(super) successes: Histogram,
}

impl Meters {
    pub(super) fn new(model: Arc<str>, version: Arc<str>) -> Self {
        Self {
            model,
            version,
            calls: Default::default(),
            stages: array::from_fn(|_| Histogram::new(&SECONDS)),
            codes: array::from_fn(|_| AtomicU64::new(0)),
            runs: Default::default(),
            examples: Histogram::new(&tensorflow::EXAMPLES),
        }
    }

    /// Counts a request.
    pub(super) fn answered(&self, answered: &Answered) {
        let Answered { protocol, operation, status, code, took } = *answered;
        let calls = self.calls[protocol as usize][operation as usize].get_or_init(Box::default);
        let status_place = usize::from(status.saturating_sub(FIRST_STATUS)).min(STATUSES - 1);
        calls.statuses[status_place].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = nanoseconds(took);
        calls.durations.observe(nanoseconds);
        if operation.of_tensorflow() {
            self.codes[code.min(CODES.len() - 1)].fetch_add(1, Ordering::Relaxed);
            if code == 0 {
                calls.successes.observe(nanoseconds);
            }
        }
    }

    /// Counts the time of a request in a stage.
    pub(super) fn spent(&self, stage: Stage, took: Duration) {
        self.stages[stage as usize].observe(nanoseconds(took));
    }

    /// Counts a run of the model on so many rows.
    pub(super) fn ran(&self, operation: Operation, rows: usize, took: Took) {
        self.spent(Stage::Preprocess, took.preprocess);
        self.spent(Stage::Inference, took.inference);
        let runs = self.runs[operation as usize].get_or_init(tensorflow::latencies);
        runs.observe(nanoseconds(took.inference));
        if operation == Operation::Classify {
            self.examples.observe(rows as u64);
        }
    }

    /// What has been asked so far, over which protocol.
    pub(super) fn calls(&self) -> impl Iterator<Item = (Protocol, Operation, &Calls)> {
        Protocol::ALL.into_iter().flat_map(move |protocol| {
            let calls = Operation::ALL.into_iter().zip(&self.calls[protocol as usize]);
            calls.filter_map(move |(operation, calls)| Some((protocol, operation, &**calls.get()?)))
        })
    }

    /// Stages with their times.
    pub(super) fn stages(&self) -> impl Iterator<Item = (Stage, &Histogram)> {
        Stage::ALL.into_iter().zip(&self.stages)
    }

    /// Requests by gRPC's status, those that there are.
    pub(super) fn codes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.codes.iter().map(|count| count.load(Ordering::Relaxed));
        CODES.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// How long graphs ran, by operation.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Operation, &Histogram)> {
        let runs = Operation::ALL.into_iter().zip(&self.runs);
        runs.filter_map(|(operation, runs)| Some((operation, runs.get()?)))
    }

    /// Rows of requests that bring examples.
    pub(super) fn examples(&self) -> &Histogram {
        &self.examples
    }
}

impl Calls {
    /// Requests by status of HTTP, those that there are.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = self.statuses.iter().map(|count| count.load(Ordering::Relaxed));
        (FIRST_STATUS..).zip(counts).filter(|(_, count)| *count > 0)
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            statuses: array::from_fn(|_| AtomicU64::new(0)),
            durations: Histogram::new(&SECONDS),
            successes: tensorflow::latencies(),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
