//! The dashboard.
//!
//! It asks a Prometheus whose job is called as the model (as the scrape configuration and the chart
//! have it) and draws nothing that the server does not measure.

use luthier_bundle::sha256_hex;
use serde_json::{Value, json};

use crate::Thresholds;

/// Columns of Grafana's grid.
const GRID: u32 = 24;

/// A panel and the room it takes.
struct Panel {
    title: &'static str,
    description: &'static str,
    /// Grafana's name of the plug-in.
    kind: &'static str,
    width: u32,
    height: u32,
    unit: &'static str,
    /// Queries with their legends.
    queries: Vec<(String, &'static str)>,
    /// From where on a value is bad: at or above it, or below it.
    limit: Option<Limit>,
}

#[derive(Clone, Copy)]
enum Limit {
    Above(f64),
    Below(f64),
}

/// The dashboard of `name` as Grafana imports it.
pub(crate) fn dashboard(name: &str, thresholds: &Thresholds) -> String {
    let uid = format!("luthier-{}", sha256_hex(name.as_bytes()).get(..12).unwrap_or_default());
    let dashboard = json!({
        "uid": uid,
        "title": format!("Luthier: {name}"),
        "description": format!("The served model {name}: requests, latency, accuracy, drift."),
        "tags": ["luthier", name],
        "timezone": "browser",
        "editable": true,
        "graphTooltip": 1,
        "schemaVersion": 41,
        "version": 1,
        "refresh": "30s",
        "time": { "from": "now-3h", "to": "now" },
        "annotations": { "list": [] },
        "links": [],
        "templating": { "list": [source_variable(), version_variable(name)] },
        "panels": placed(&panels(name, thresholds)),
    });
    format!("{dashboard:#}\n")
}

fn source_variable() -> Value {
    json!({
        "name": "source",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "includeAll": false,
        "multi": false,
        "refresh": 1,
        "regex": "",
        "skipUrlSync": false
    })
}

fn version_variable(name: &str) -> Value {
    let query = format!("label_values(luthier_model_state{{model=\"{name}\"}}, version)");
    json!({
        "name": "version",
        "label": "Version",
        "type": "query",
        "datasource": { "type": "prometheus", "uid": "${source}" },
        "query": { "query": query, "refId": "versions" },
        "current": { "text": "All", "value": "$__all" },
        "allValue": ".*",
        "hide": 0,
        "includeAll": true,
        "multi": true,
        "refresh": 2,
        "regex": "",
        "skipUrlSync": false,
        "sort": 4
    })
}

/// The panels in the order of reading: how it is, what is asked, how fast, how right.
fn panels(name: &str, thresholds: &Thresholds) -> Vec<Panel> {
    let one = format!("model=\"{name}\",version=~\"$version\"");
    let job = format!("job=\"{name}\"");
    let answered = format!("{one},api!~\"status|metadata|feedback\"");
    let latency = |q: &str| {
        let rate = "rate(luthier_request_duration_seconds_bucket";
        format!("histogram_quantile({q}, sum by (le) ({rate}{{{answered}}}[$__rate_interval])))")
    };
    let stage = |q: &str| {
        let rate = "rate(luthier_stage_duration_seconds_bucket";
        format!("histogram_quantile({q}, sum by (stage, le) ({rate}{{{one}}}[$__rate_interval])))")
    };
    let requests = format!("luthier_requests_total{{{one}}}[$__rate_interval]");
    let failed =
        format!("luthier_requests_total{{{one},status=~\"429|500|503|504\"}}[$__rate_interval]");
    let errors = format!("(sum(rate({failed})) or vector(0)) / sum(rate({requests}))");
    let p99 = Some(Limit::Above(thresholds.target_p99_ms / 1e3));
    let error_rate = Some(Limit::Above(thresholds.error_rate));
    let accuracy = Some(Limit::Below(thresholds.min_accuracy));
    let live = |metric: &str| format!("luthier_live_{metric}{{{one}}}");
    vec![
        Panel::stat("Requests per second", "reqps", format!("sum(rate({requests}))"), None),
        Panel::stat("Errors", "percentunit", errors.clone(), error_rate),
        Panel::stat("p99 latency", "s", latency("0.99"), p99),
        Panel::stat("Live accuracy", "percentunit", format!("min({})", live("accuracy")), accuracy),
        Panel::stat(
            "Largest drift",
            "none",
            format!("max(luthier_drift_psi{{{one}}})"),
            Some(Limit::Above(thresholds.max_psi)),
        ),
        Panel::stat("Instances up", "none", format!("sum(up{{{job}}})"), Some(Limit::Below(1.0))),
        Panel {
            title: "Requests by status",
            description: "Answered requests of this model, by HTTP status.",
            unit: "reqps",
            queries: vec![(format!("sum by (status) (rate({requests}))"), "{{status}}")],
            ..Panel::plot()
        },
        Panel {
            title: "Error ratio",
            description: "Requests that failed or were refused for want of capacity.",
            unit: "percentunit",
            queries: vec![(errors, "429, 500, 503, 504")],
            limit: error_rate,
            ..Panel::plot()
        },
        Panel {
            title: "Latency",
            description: "From the head of a request to its answer.",
            unit: "s",
            queries: vec![
                (latency("0.5"), "p50"),
                (latency("0.9"), "p90"),
                (latency("0.99"), "p99"),
            ],
            limit: p99,
            ..Panel::plot()
        },
        Panel {
            title: "Latency by stage",
            description: "Where the time goes: median and 99th percentile of each stage.",
            unit: "s",
            queries: vec![(stage("0.5"), "{{stage}} p50"), (stage("0.99"), "{{stage}} p99")],
            ..Panel::plot()
        },
        Panel {
            title: "Queue",
            description: "Requests that wait for a worker, by instance.",
            unit: "none",
            queries: vec![(format!("luthier_queue_length{{{job}}}"), "{{instance}}")],
            ..Panel::plot()
        },
        Panel {
            title: "Rejections",
            description: "Requests that were refused or dropped before a model ran.",
            unit: "reqps",
            queries: vec![(
                format!(
                    "sum by (reason) \
                     (rate(luthier_rejected_requests_total{{{job}}}[$__rate_interval]))"
                ),
                "{{reason}}",
            )],
            ..Panel::plot()
        },
        Panel {
            title: "Live accuracy",
            description: "By the labels that came back: the last 1000, with a 95 % interval.",
            unit: "percentunit",
            queries: vec![
                (live("accuracy"), "version {{version}}"),
                (live("accuracy_low"), "version {{version}}, low"),
                (live("accuracy_high"), "version {{version}}, high"),
            ],
            limit: accuracy,
            ..Panel::plot()
        },
        Panel {
            title: "Drift",
            description: "Population stability index against the data that the model was made on.",
            unit: "none",
            queries: vec![(
                format!("max by (version, feature) (luthier_drift_psi{{{one}}})"),
                "{{feature}}, version {{version}}",
            )],
            limit: Some(Limit::Above(thresholds.max_psi)),
            ..Panel::plot()
        },
        Panel {
            title: "Feedback",
            description: "Labels that came back, and what became of them.",
            unit: "none",
            queries: vec![(
                format!(
                    "sum by (version, result) \
                     (increase(luthier_feedback_labels_total{{{one}}}[$__rate_interval]))"
                ),
                "{{result}}, version {{version}}",
            )],
            ..Panel::plot()
        },
        Panel {
            title: "Versions",
            description: "How many instances have a version in a state.",
            unit: "none",
            queries: vec![(
                format!("sum by (version, state) (luthier_model_state{{model=\"{name}\"}}) > 0"),
                "{{version}} {{state}}",
            )],
            ..Panel::plot()
        },
        Panel {
            title: "Build",
            description: "The release that runs, by instance.",
            kind: "table",
            unit: "none",
            width: GRID,
            height: 6,
            queries: vec![(format!("luthier_build_info{{{job}}}"), "{{release}}")],
            limit: None,
        },
    ]
}

impl Panel {
    /// A number, a sixth of the width.
    fn stat(title: &'static str, unit: &'static str, query: String, limit: Option<Limit>) -> Self {
        let queries = vec![(query, "")];
        Self { title, description: "", kind: "stat", width: 4, height: 4, unit, queries, limit }
    }

    /// Lines over time, half of the width.
    fn plot() -> Self {
        Self {
            title: "",
            description: "",
            kind: "timeseries",
            width: GRID / 2,
            height: 8,
            unit: "none",
            queries: Vec::new(),
            limit: None,
        }
    }

    fn to_json(&self, id: usize, x: u32, y: u32) -> Value {
        let source = json!({ "type": "prometheus", "uid": "${source}" });
        let targets = self.queries.iter().enumerate().map(|(index, (expression, legend))| {
            json!({
                "refId": char::from(b'A' + (index % 26) as u8).to_string(),
                "datasource": source,
                "expr": expression,
                "legendFormat": legend,
                "range": self.kind == "timeseries",
                "instant": self.kind != "timeseries",
                "format": if self.kind == "table" { "table" } else { "time_series" },
            })
        });
        json!({
            "id": id + 1,
            "title": self.title,
            "description": self.description,
            "type": self.kind,
            "datasource": source,
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "thresholds": { "mode": "absolute", "steps": self.steps() },
                    "custom": self.custom(),
                },
                "overrides": [],
            },
            "options": self.options(),
            "targets": targets.collect::<Vec<_>>(),
        })
    }

    /// Colours by value.
    fn steps(&self) -> Value {
        match self.limit {
            None => json!([{ "value": null, "color": "green" }]),
            Some(Limit::Above(limit)) => {
                json!([{ "value": null, "color": "green" }, { "value": limit, "color": "red" }])
            }
            Some(Limit::Below(limit)) => {
                json!([{ "value": null, "color": "red" }, { "value": limit, "color": "green" }])
            }
        }
    }

    fn custom(&self) -> Value {
        match self.kind {
            "timeseries" => {
                let style = if self.limit.is_some() { "line" } else { "off" };
                json!({
                    "drawStyle": "line",
                    "fillOpacity": 10,
                    "showPoints": "never",
                    "thresholdsStyle": { "mode": style },
                })
            }
            _ => json!({}),
        }
    }

    fn options(&self) -> Value {
        let last = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self.kind {
            "timeseries" => json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            "stat" => json!({
                "colorMode": "value",
                "graphMode": "none",
                "reduceOptions": last,
                "textMode": "value",
            }),
            _ => json!({ "showHeader": true }),
        }
    }
}

/// The panels from left to right and top to bottom.
fn placed(panels: &[Panel]) -> Vec<Value> {
    let (mut x, mut y, mut below) = (0, 0, 0);
    let place = |(id, panel): (usize, &Panel)| {
        if x + panel.width > GRID {
            (x, y) = (0, below);
        }
        let placed = panel.to_json(id, x, y);
        x += panel.width;
        below = below.max(y + panel.height);
        placed
    };
    panels.iter().enumerate().map(place).collect()
}
