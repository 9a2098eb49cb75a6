use std::thread;
use std::time::Duration;

use super::histogram::{Histogram, Scale};
use super::{Answered, Metrics, Operation, Protocol, Subject, to_prometheus};
use crate::service::tests::model;

#[test]
fn the_older_format_names_counters_as_their_samples() {
    let open = "# HELP a Of a.\n# TYPE a counter\na_total{x=\"# TYPE\"} 1\n\
                # HELP b_seconds Of b.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\n\
                b_seconds_sum 0.5\n# TYPE c gauge\nc 1\n# EOF\n";
    let plain = "# HELP a_total Of a.\n# TYPE a_total counter\na_total{x=\"# TYPE\"} 1\n\
                 # HELP b_seconds Of b.\n# TYPE b_seconds histogram\n\
                 b_seconds_sum 0.5\n# TYPE c gauge\nc 1\n";
    assert_eq!(to_prometheus(open), plain);
}

#[test]
fn values_fall_into_the_bucket_that_they_do_not_exceed() {
    static SCALE: Scale = Scale { bounds: &[10, 20], per_unit: 10.0 };
    let histogram = Histogram::new(&SCALE);
    for value in [0, 10, 11, 20, 21, 1_000] {
        histogram.observe(value);
    }
    let mut snapshot = histogram.snapshot();
    assert_eq!((&*snapshot.buckets, snapshot.sum), (&[2, 2, 2][..], 106.2));
    snapshot.add(&histogram.snapshot());
    assert_eq!((snapshot.count(), snapshot.sum), (12, 212.4));
}

fn answered(status: u16, code: usize) -> Answered {
    let (protocol, operation) = (Protocol::Rest, Operation::Predict);
    Answered { protocol, operation, status, code, took: Duration::from_micros(70) }
}

#[test]
fn no_request_is_lost_between_threads() {
    const THREADS: u64 = 4;
    const REQUESTS: u64 = 10_000;
    let (metrics, model) = (Metrics::new(), model("a", 1));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..REQUESTS {
                    metrics.answered(Subject::Model(&model), &answered(200, 0));
                }
            });
        }
    });
    let count = THREADS * REQUESTS;
    let text = metrics.render(0, &[]);
    let labels = r#"model="a",version="1",protocol="rest",api="predict""#;
    assert!(text.contains(&format!("luthier_requests_total{{{labels},status=\"200\"}} {count}\n")));
    let name = "luthier_request_duration_seconds";
    assert!(text.contains(&format!("{name}_bucket{{le=\"0.00005\",{labels}}} 0\n")), "{text}");
    assert!(text.contains(&format!("{name}_bucket{{le=\"0.0001\",{labels}}} {count}\n")), "{text}");
    let tensorflow = metrics.render_tensorflow();
    let latencies = r#"request_latency_bucket{model_name="a",API="predict",entrypoint="REST","#;
    assert!(tensorflow.contains(&format!("{latencies}le=\"58.32\"}} 0\n")), "{tensorflow}");
    assert!(tensorflow.contains(&format!("{latencies}le=\"104.976\"}} {count}\n")), "{tensorflow}");
}

#[test]
fn a_version_that_comes_back_goes_on_counting() {
    let metrics = Metrics::new();
    for status in [200, 200, 999, 0] {
        metrics.answered(Subject::Model(&model("a", 1)), &answered(status, 99));
    }
    let text = metrics.render(0, &[]);
    let counted = |status: u16, count: u64| {
        let labels = r#"model="a",version="1",protocol="rest",api="predict""#;
        let line = format!("luthier_requests_total{{{labels},status=\"{status}\"}} {count}\n");
        assert!(text.contains(&line), "{line} in {text}");
    };
    counted(200, 2);
    // What no server sends is counted at the ends.
    counted(599, 1);
    counted(100, 1);
}
