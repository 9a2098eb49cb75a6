//! The metrics that TensorFlow Serving has for requests, under its names, for dashboards and alerts
//! that know them.
//!
//! Names, labels and buckets are those of its `servables/tensorflow/util.cc`, the text is that of its
//! `prometheus_exporter.cc`. Where a label says what runs the graph (`runtime`), it says that we do.
//! Alias routes, which it has not, are left out, as is all that we have not: batching, request logs,
//! warm-up files, what TensorFlow counts of its graphs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::histogram::{Histogram, Scale, Snapshot};
use super::meters::Meters;
use super::{Operation, Protocol};

/// How many buckets have an upper bound.
const LATENCY_BOUNDS: usize = 33;
/// Upper bounds, in microseconds: 10, and each 1.8 times the one before.
const MICROSECONDS: [f64; LATENCY_BOUNDS] = {
    let mut bounds = [10.0; LATENCY_BOUNDS];
    let mut place = 1;
    while place < LATENCY_BOUNDS {
        bounds[place] = bounds[place - 1] * 1.8;
        place += 1;
    }
    bounds
};
const NANOSECONDS: [u64; LATENCY_BOUNDS] = {
    let mut bounds = [0; LATENCY_BOUNDS];
    let mut place = 0;
    while place < LATENCY_BOUNDS {
        bounds[place] = (MICROSECONDS[place] * 1e3) as u64;
        place += 1;
    }
    bounds
};
static LATENCIES: Scale = Scale { bounds: &NANOSECONDS, per_unit: 1e3 };

/// Upper bounds, in rows: powers of two.
const ROWS: [u64; 15] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384];
/// Of examples in a request.
pub(super) static EXAMPLES: Scale = Scale { bounds: &ROWS, per_unit: 1.0 };

/// A histogram of times.
pub(super) fn latencies() -> Histogram {
    Histogram::new(&LATENCIES)
}

/// Series by their labels, added up over the versions of a model, which have no label here.
type Series<V> = BTreeMap<String, V>;

/// All of it, in Prometheus's text format: requests for models that are not served, and for each
/// version.
pub(super) fn render(unknown: &Meters, versions: &[Arc<Meters>]) -> String {
    let mut requests: Series<u64> = BTreeMap::new();
    let mut latencies: Series<Snapshot> = BTreeMap::new();
    let mut runtimes: Series<Snapshot> = BTreeMap::new();
    let mut examples: Series<Snapshot> = BTreeMap::new();
    for meters in versions.iter().map(|meters| &**meters).chain([unknown]) {
        let model = escaped(&meters.model);
        for (code, count) in meters.codes() {
            let labels = format!("model_name=\"{model}\",status=\"{code}\"");
            *requests.entry(labels).or_default() += count;
        }
        for (protocol, operation, calls) in meters.calls() {
            let Some(api) = api(operation, protocol) else { continue };
            let entrypoint = protocol.name().to_uppercase();
            let labels =
                format!("model_name=\"{model}\",API=\"{api}\",entrypoint=\"{entrypoint}\"");
            add(&mut latencies, labels, &calls.successes);
        }
        for (operation, runs) in meters.runs() {
            let Some(api) = api(operation, Protocol::Grpc) else { continue };
            let labels = format!("model_name=\"{model}\",API=\"{api}\",runtime=\"luthier\"");
            add(&mut runtimes, labels, runs);
        }
        add(&mut examples, format!("model=\"{model}\""), meters.examples());
    }
    let totals = examples.iter().map(|(labels, rows)| (labels.clone(), rows.sum as u64)).collect();
    let mut text = String::new();
    counter(&mut text, "request_count", &requests);
    histogram(&mut text, "request_latency", &latencies, &MICROSECONDS);
    histogram(&mut text, "runtime_latency", &runtimes, &MICROSECONDS);
    histogram(&mut text, "request_example_counts", &examples, &ROWS.map(|rows| rows as f64));
    counter(&mut text, "request_example_count_total", &totals);
    text
}

/// What TensorFlow Serving calls an operation. The two entrypoints write it each in their way.
fn api(operation: Operation, protocol: Protocol) -> Option<&'static str> {
    let (rest, grpc) = match operation {
        Operation::Predict => ("predict", "Predict"),
        Operation::Classify => ("classify", "Classify"),
        Operation::Regress => ("regress", "Regress"),
        _ => return None,
    };
    Some(match protocol {
        Protocol::Rest => rest,
        Protocol::Grpc => grpc,
    })
}

/// Adds a histogram to the series of its labels, unless it is empty.
fn add(series: &mut Series<Snapshot>, labels: String, more: &Histogram) {
    let more = more.snapshot();
    if more.count() == 0 {
        return;
    }
    match series.get_mut(&labels) {
        Some(sum) => sum.add(&more),
        None => drop(series.insert(labels, more)),
    }
}

// Writing to a string does not fail.

fn counter(text: &mut String, name: &str, series: &Series<u64>) {
    let name = format!(":tensorflow:serving:{name}");
    let _ = writeln!(text, "# TYPE {name} counter");
    for (labels, count) in series {
        let _ = writeln!(text, "{name}{{{labels}}} {count}");
    }
}

fn histogram(text: &mut String, name: &str, series: &Series<Snapshot>, bounds: &[f64]) {
    let name = format!(":tensorflow:serving:{name}");
    let _ = writeln!(text, "# TYPE {name} histogram");
    let bounds: Vec<String> = bounds.iter().map(|bound| six_digits(*bound)).collect();
    for (labels, snapshot) in series {
        let mut below = 0;
        for (index, count) in snapshot.buckets.iter().enumerate() {
            below += count;
            let bound = bounds.get(index).map_or("+Inf", String::as_str);
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", snapshot.sum);
        let _ = writeln!(text, "{name}_count{{{labels}}} {below}");
    }
}

/// A number, at least 1 or 0, as C's `%g` has it, which TensorFlow Serving writes bounds with:
/// series whose bounds are other texts are others to Prometheus.
fn six_digits(number: f64) -> String {
    const DIGITS: usize = 6;
    let scientific = format!("{number:.*e}", DIGITS - 1);
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<usize>() {
        Ok(exponent) if exponent < DIGITS => {
            plain(&format!("{number:.*}", DIGITS - 1 - exponent)).to_owned()
        }
        Ok(exponent) => format!("{}e+{exponent:02}", plain(digits)),
        Err(_) => number.to_string(),
    }
}

/// Decimals without the zeros behind them.
fn plain(decimals: &str) -> &str {
    match decimals.contains('.') {
        true => decimals.trim_end_matches('0').trim_end_matches('.'),
        false => decimals,
    }
}

/// A label's value: backslash, quote and the end of a line as the format wants them.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{MICROSECONDS, escaped, six_digits};

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        let bounds: Vec<String> = MICROSECONDS.iter().map(|bound| six_digits(*bound)).collect();
        assert_eq!(bounds[..6], ["10", "18", "32.4", "58.32", "104.976", "188.957"]);
        assert_eq!((&*bounds[19], &*bounds[20]), ("708235", "1.27482e+06"));
        assert_eq!(bounds[32], "1.47476e+09");
        for (number, text) in [(0.0, "0"), (1.0, "1"), (16_384.0, "16384"), (999_999.9, "1e+06")] {
            assert_eq!(six_digits(number), text);
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
    }
}
