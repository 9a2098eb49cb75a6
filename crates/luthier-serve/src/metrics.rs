//! Counters, in the OpenMetrics text format and in Prometheus's older one.
//!
//! Labels take a bounded number of values: models are those served (others count as `unknown`),
//! APIs, states and reasons are fixed, statuses are those that the server sends.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::models::{ModelState, ServedModel};
use crate::versions::VersionStatus;

/// Upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 17] = [
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0,
];

/// All counters of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Durations<ApiLabels>,
    stages: Durations<StageLabels>,
    rejected: Family<RejectionLabels, Counter>,
    queue_length: Gauge,
    states: Family<StateLabels, Gauge>,
    /// Held while the gauges are brought up to date and read.
    rendering: Mutex<()>,
    unknown: Arc<str>,
    none: Arc<str>,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// Whom a request was for.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// The server itself.
    Server,
    /// A model that is not served.
    Unknown,
    /// A served model.
    Model(&'a ServedModel),
}

/// Why a request did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// Too many requests were waiting.
    QueueFull,
    /// Its client had gone, or its time was up.
    Expired,
    /// Its body was larger than allowed.
    BodyTooLarge,
    /// It had more rows than allowed.
    TooManyRows,
}

/// A part of a request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waiting for a worker.
    Queue,
    /// Preprocessing and the graph.
    Inference,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: Arc<str>,
    version: Arc<str>,
    api: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabels {
    model: Arc<str>,
    version: Arc<str>,
    api: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    model: Arc<str>,
    version: Arc<str>,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    model: Arc<str>,
    version: Arc<str>,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    release: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            registry: Registry::with_prefix("luthier"),
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            stages: Family::new_with_constructor(histogram),
            rejected: Family::default(),
            queue_length: Gauge::default(),
            states: Family::default(),
            rendering: Mutex::new(()),
            unknown: "unknown".into(),
            none: "".into(),
        };
        for reason in Rejection::ALL {
            let _ = metrics.rejected.get_or_create(&RejectionLabels { reason: reason.name() });
        }
        metrics.registered()
    }

    /// Shows what `collector` has to show, too.
    pub(crate) fn with_collector(mut self, collector: impl Collector) -> Self {
        self.registry.register_collector(Box::new(collector));
        self
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("requests", "Requests answered", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from the head of a request to its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register_with_unit(
            "stage_duration",
            "Time in the queue, and in preprocessing and inference",
            Unit::Seconds,
            self.stages.clone(),
        );
        registry.register(
            "rejected_requests",
            "Requests that were refused or dropped before a model ran",
            self.rejected.clone(),
        );
        registry.register(
            "queue_length",
            "Requests that wait for a worker",
            self.queue_length.clone(),
        );
        registry.register(
            "model_state",
            "1 for the state a version is in, 0 for the others",
            self.states.clone(),
        );
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { release: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The release that runs", build);
        self
    }

    /// Counts a finished request.
    pub(crate) fn answered(
        &self,
        subject: Subject<'_>,
        api: &'static str,
        status: u16,
        took: Duration,
    ) {
        let (model, version) = match subject {
            Subject::Server => (&self.none, &self.none),
            Subject::Unknown => (&self.unknown, &self.none),
            Subject::Model(model) => (&model.name, &model.version_label),
        };
        let (model, version) = (Arc::clone(model), Arc::clone(version));
        if matches!(subject, Subject::Model(_)) {
            let labels =
                ApiLabels { model: Arc::clone(&model), version: Arc::clone(&version), api };
            self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        }
        self.requests.get_or_create(&RequestLabels { model, version, api, status }).inc();
    }

    /// Notes how long a request spent in `stage`.
    pub(crate) fn spent(&self, model: &ServedModel, stage: Stage, took: Duration) {
        let labels = StageLabels {
            model: Arc::clone(&model.name),
            version: Arc::clone(&model.version_label),
            stage: stage.name(),
        };
        self.stages.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a request that does not run.
    pub(crate) fn rejected(&self, reason: Rejection) {
        self.rejected.get_or_create(&RejectionLabels { reason: reason.name() }).inc();
    }

    /// Everything in OpenMetrics 1.0 text.
    pub(crate) fn render(&self, queue_length: usize, versions: &[VersionStatus]) -> String {
        let _one_at_a_time = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue_length.set(i64::try_from(queue_length).unwrap_or(i64::MAX));
        // Versions that are known no more have no state.
        self.states.clear();
        for version in versions {
            for state in ModelState::ALL {
                let labels = StateLabels {
                    model: Arc::clone(&version.name),
                    version: Arc::clone(&version.version_label),
                    state: state.name(),
                };
                self.states.get_or_create(&labels).set(i64::from(version.state == state));
            }
        }
        let mut rendered = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut rendered, &self.registry);
        rendered
    }
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Inference => "inference",
        }
    }
}

impl Rejection {
    const ALL: [Self; 4] = [Self::QueueFull, Self::Expired, Self::BodyTooLarge, Self::TooManyRows];

    fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyRows => "too_many_rows",
        }
    }
}

/// OpenMetrics text as Prometheus text 0.0.4: there a counter is called as its sample is, with
/// `_total`, and neither units nor the end are marked.
pub(crate) fn to_prometheus(open_metrics: &str) -> String {
    let mut converted = String::with_capacity(open_metrics.len());
    let mut help: Option<&str> = None;
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        else {
            converted.push_str(line);
            converted.push('\n');
            continue;
        };
        let suffix = if kind == "counter" { "_total" } else { "" };
        if let Some((_, help)) = help.take().and_then(|help| help.split_once(' ')) {
            let _ = writeln!(converted, "# HELP {name}{suffix} {help}");
        }
        let _ = writeln!(converted, "# TYPE {name}{suffix} {kind}");
    }
    converted
}

#[cfg(test)]
mod tests;
