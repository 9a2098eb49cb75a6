//! A histogram that threads count in without waiting for each other.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Where the buckets of a histogram end, and in what.
#[derive(Debug)]
pub(super) struct Scale {
    /// Upper bounds, rising, in what is counted (nanoseconds, rows); one more bucket lies above.
    pub(super) bounds: &'static [u64],
    /// How many of what is counted make one unit of what is shown.
    pub(super) per_unit: f64,
}

/// Counts of values by size.
#[derive(Debug)]
pub(super) struct Histogram {
    scale: &'static Scale,
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Snapshot {
    /// Values in each bucket alone, the last without an upper bound.
    pub(super) buckets: Vec<u64>,
    /// Of all values, in units of what is shown.
    pub(super) sum: f64,
}

impl Histogram {
    pub(super) fn new(scale: &'static Scale) -> Self {
        let buckets = (0..=scale.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { scale, buckets, sum: AtomicU64::new(0) }
    }

    /// Counts a value, in what the scale counts.
    pub(super) fn observe(&self, value: u64) {
        let bucket = self.scale.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What has been counted. A value that is being counted may be in one part and not yet in the
    /// other.
    pub(super) fn snapshot(&self) -> Snapshot {
        let buckets = self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Snapshot { buckets, sum: self.sum.load(Ordering::Relaxed) as f64 / self.scale.per_unit }
    }
}

impl Snapshot {
    /// How many values there are.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds one of the same scale.
    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.sum += other.sum;
    }
}

impl EncodeMetric for &Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        let bounds = self.scale.bounds.iter().map(|bound| *bound as f64 / self.scale.per_unit);
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(snapshot.buckets.iter().copied()).collect();
        encoder.encode_histogram::<NoLabelSet>(snapshot.sum, snapshot.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
