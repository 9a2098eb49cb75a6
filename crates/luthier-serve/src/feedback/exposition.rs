//! What the tracker shows in the metrics.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use luthier_monitor::Quality;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Tracker, locked, now};
use crate::metrics::{Described, Label, encode_family};

/// Name, help and value of a gauge of live quality.
type Gauge = (&'static str, &'static str, fn(&Quality) -> f64);

const QUALITY: [Gauge; 4] = [
    ("live_accuracy", "Share of the latest labels that was predicted", |quality| quality.accuracy),
    ("live_accuracy_low", "Lower end of its 95 % interval", |quality| quality.low),
    ("live_accuracy_high", "Upper end of its 95 % interval", |quality| quality.high),
    ("live_f1", "F1 on the latest labels", |quality| quality.f1),
];

impl Collector for Tracker {
    /// Series appear with what they speak of: quality with the first label, drift with the
    /// hundredth prediction.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_live(&mut encoder)?;
        self.encode_drift(&mut encoder)?;
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let help = "Predictions that were not remembered, for want of room or speed";
        let described =
            encoder.encode_descriptor("feedback_dropped", help, None, MetricType::Counter)?;
        ConstCounter::new(dropped).encode(described)
    }
}

impl Tracker {
    fn encode_live(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let now = now();
        let live = locked(&self.shared.live);
        let unknown = locked(&self.shared.unknown);
        // Where a version came back with other classes, the later ones count.
        let mut qualities = BTreeMap::new();
        let mut labels: BTreeMap<_, u64> = BTreeMap::new();
        for live in live.values() {
            let key = (&*live.name, live.version.to_string());
            if let Some(quality) = live.window.quality(now) {
                qualities.insert(key.clone(), quality);
            }
            let (name, version) = key;
            *labels.entry((name, version.clone(), "accepted")).or_default() += live.accepted;
            *labels.entry((name, version, "duplicate")).or_default() += live.duplicates;
        }
        for ((name, version), count) in unknown.iter() {
            let version = version.map_or_else(String::new, |version| version.to_string());
            *labels.entry((name, version, "unknown")).or_default() += count;
        }
        for (name, help, value) in QUALITY {
            let series = qualities.iter().map(|((model, version), quality)| {
                (version_labels(model, version), ConstGauge::new(value(quality)))
            });
            let described = Described::new(name, help, MetricType::Gauge);
            encode_family(encoder, &described, series)?;
        }
        let series = labels.iter().map(|((model, version, result), count)| {
            let [model, version] = version_labels(model, version);
            ([model, version, ("result", Cow::from(*result))], ConstCounter::new(*count))
        });
        let help = "Labels that were sent, by what became of them";
        let described = Described::new("feedback_labels", help, MetricType::Counter);
        encode_family(encoder, &described, series)
    }

    fn encode_drift(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let tracked: Vec<_> =
            locked(&self.shared.tracked).values().filter_map(Weak::upgrade).collect();
        // A version that is being replaced by another of its number is there twice, the newer last.
        let mut drifts = BTreeMap::new();
        for tracked in &tracked {
            let Some(watch) = &tracked.watch else { continue };
            if let Some(indices) = locked(&watch.drift).indices() {
                drifts.insert((&*tracked.name, tracked.version), indices);
            }
        }
        let series = drifts.iter().flat_map(|((model, version), indices)| {
            indices.iter().map(move |(feature, index)| {
                let [model, version] = version_labels(model, &version.to_string());
                let feature = ("feature", Cow::from(feature.name()));
                ([model, version, feature], ConstGauge::new(*index))
            })
        });
        let help = "Population stability index of the latest predictions against the baseline";
        encode_family(encoder, &Described::new("drift_psi", help, MetricType::Gauge), series)
    }
}

fn version_labels<'a>(model: &'a str, version: &str) -> [Label<'a>; 2] {
    [("model", Cow::from(model)), ("version", Cow::from(version.to_owned()))]
}
