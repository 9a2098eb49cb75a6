//! Intervals, comparisons and gates.

use luthier_eval::{
    Bootstrap, EvalError, Metric, NonInferiorityVerdict, Predictions, Report, Verdict, compare,
    interval, non_inferiority, standard_error,
};
use luthier_test::assert_close;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{binary, decided, drawn};

fn seeded(seed: u64) -> Bootstrap {
    Bootstrap { seed, ..Bootstrap::default() }
}

/// `right` of `rows` rows decided rightly.
fn share_right(right: usize, rows: usize) -> Predictions {
    let predicted: Vec<u32> = (0..rows).map(|row| u32::from(row < right)).collect();
    decided(&vec![1; rows], &predicted)
}

#[test]
fn intervals_of_a_share_are_close_to_wilsons() {
    for (right, rows) in [(50, 100), (160, 200), (450, 500), (700, 1000)] {
        let (n, p, z) = (rows as f64, right as f64 / rows as f64, 1.959_964);
        let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let actual =
            interval(&share_right(right, rows), Metric::Accuracy, None, &seeded(1)).unwrap();
        assert_close(actual.low, centre - half, 0.02, "low");
        assert_close(actual.high, centre + half, 0.02, "high");
    }
}

#[test]
fn the_standard_error_of_a_share_is_the_binomial_one() {
    for (right, rows) in [(50, 100), (450, 500), (700, 1000)] {
        let p = right as f64 / rows as f64;
        let expected = (p * (1.0 - p) / rows as f64).sqrt();
        let shares = share_right(right, rows);
        let actual = standard_error(&shares, Metric::Accuracy, None, &seeded(2)).unwrap();
        assert!((actual / expected - 1.0).abs() < 0.1, "{actual} instead of {expected}");
    }
    let sure = standard_error(&share_right(9, 9), Metric::Accuracy, None, &seeded(2));
    assert_eq!(sure, Some(0.0));
    let none = Bootstrap { resamples: 0, ..seeded(1) };
    assert_eq!(standard_error(&share_right(5, 9), Metric::Accuracy, None, &none), None);
}

#[test]
fn a_drawn_row_brings_its_weight() {
    let plain = share_right(5, 9);
    let probabilities = (0..9).flat_map(|row| [0, 1].map(|class| plain.probability(row, class)));
    let weights = (0..9).map(|row| if row < 5 { 1.0 } else { 0.0 }).collect();
    let (truth, probabilities) = (plain.truth().to_vec(), probabilities.collect());
    let weighted = Predictions::new(2, truth, probabilities, None, Some(weights)).unwrap();
    let actual = interval(&weighted, Metric::Accuracy, None, &seeded(1)).unwrap();
    assert_eq!((actual.low, actual.high), (1.0, 1.0));
}

#[test]
fn intervals_cover_the_true_score_as_often_as_they_say() {
    // `drawn` decides a row rightly when it was skilled (70 %), or else by luck (half).
    let truth = 0.7 + 0.3 * 0.5;
    let bootstrap = Bootstrap { resamples: 300, ..Bootstrap::default() };
    let covered = (0..400).filter(|seed| {
        let predictions = drawn(150, 2, 0.7, *seed);
        let interval = interval(&predictions, Metric::Accuracy, None, &bootstrap).unwrap();
        (interval.low..=interval.high).contains(&truth)
    });
    // 95 % of 400 is 380, with a standard deviation of 4.4.
    let covered = covered.count();
    assert!((365..=395).contains(&covered), "{covered} of 400");
}

#[test]
fn the_seed_alone_decides() {
    let predictions = drawn(300, 3, 0.5, 3);
    let labels = ["a", "b", "c"].map(str::to_owned);
    let build = |seed| {
        let report = Report::build(&predictions, &labels, None, &seeded(seed)).unwrap();
        serde_json::to_string(&report).unwrap()
    };
    assert_eq!(build(5), build(5));
    assert_ne!(build(5), build(6));
}

#[test]
fn a_report_has_the_intervals_of_its_metrics() {
    let predictions = drawn(200, 2, 0.6, 4);
    let labels = ["no", "yes"].map(str::to_owned);
    let report = Report::build(&predictions, &labels, Some(1), &seeded(2)).unwrap();
    for metric in Metric::CLASSES.into_iter().filter(|metric| *metric != Metric::Cost) {
        let line = report.metric(metric).unwrap();
        let alone = interval(&predictions, metric, Some(1), &seeded(2)).unwrap();
        assert_eq!((line.low, line.high), (Some(alone.low), Some(alone.high)), "{metric}");
        assert!(alone.low < alone.high, "{metric}");
        if metric != Metric::Ece {
            let value = line.value.unwrap();
            assert!((alone.low..=alone.high).contains(&value), "{metric}: {line:?}");
        }
    }
    let rows: usize = report.reliability.iter().map(|bin| bin.count).sum();
    assert_eq!((rows, report.reliability.len()), (200, 15));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["metrics"][0]["name"], "accuracy");
    assert_eq!(json["classes"][1]["label"], "yes");
}

#[test]
fn reliability_bins_hold_their_rows() {
    let predictions = binary(&[0, 1, 1, 0, 1], &[0.4, 0.42, 0.95, 0.97, 1.0]);
    let labels = ["no", "yes"].map(str::to_owned);
    let report = Report::build(&predictions, &labels, Some(1), &seeded(0)).unwrap();
    let bin = |index: usize| {
        let bin = &report.reliability[index];
        let mean = |value: Option<f64>| value.map(|value| (value * 1000.0).round() / 1000.0);
        (bin.count, mean(bin.confidence), mean(bin.accuracy))
    };
    assert_eq!(bin(0), (0, None, None));
    assert_eq!(bin(5), (0, None, None));
    assert_eq!(bin(6), (2, Some(0.41), Some(0.5)));
    assert_eq!(bin(14), (3, Some(0.973), Some(0.667)));
}

#[test]
fn an_undefined_score_has_no_interval() {
    let predictions = binary(&[1, 1, 1], &[0.2, 0.7, 0.9]);
    let labels = ["no", "yes"].map(str::to_owned);
    let report = Report::build(&predictions, &labels, None, &seeded(0)).unwrap();
    let line = report.metric(Metric::RocAuc).unwrap();
    assert_eq!((line.value, line.low, line.high), (None, None, None));
    let error = compare(&predictions, &predictions, Metric::RocAuc, None, &seeded(0));
    assert_eq!(error, Err(EvalError::Undefined { metric: Metric::RocAuc }));
    assert!(Metric::Accuracy.score(&predictions, None).is_some());
}

#[test]
fn large_data_draw_fewer_resamples() {
    let predictions = share_right(150_000, 200_000);
    let few = Bootstrap { resamples: 400, ..Bootstrap::default() };
    let hundred = Bootstrap { resamples: 100, ..Bootstrap::default() };
    let of = |bootstrap| interval(&predictions, Metric::Accuracy, None, bootstrap).unwrap();
    assert_eq!(of(&few), of(&hundred));
    let one = Bootstrap { resamples: 1, ..Bootstrap::default() };
    assert_eq!(of(&one).low, of(&one).high);
}

#[test]
fn pairing_narrows_the_interval() {
    let baseline = drawn(400, 2, 0.6, 8);
    let candidate = nudged(&baseline);
    for metric in [Metric::Accuracy, Metric::F1, Metric::RocAuc, Metric::LogLoss, Metric::Mcc] {
        let paired = compare(&candidate, &baseline, metric, None, &seeded(3)).unwrap().interval;
        let alone = |predictions| {
            let interval = interval(predictions, metric, None, &seeded(3)).unwrap();
            interval.high - interval.low
        };
        let unpaired = alone(&candidate).hypot(alone(&baseline));
        assert!(paired.high - paired.low < 0.5 * unpaired, "{metric}: {paired:?}, {unpaired}");
    }
}

/// The same predictions, a little less sure of class 1.
fn nudged(predictions: &Predictions) -> Predictions {
    let scores: Vec<f64> = (0..predictions.len())
        .map(|row| predictions.probability(row, 1) * if row % 3 == 0 { 0.96 } else { 1.0 })
        .collect();
    binary(predictions.truth(), &scores)
}

#[test]
fn verdicts_follow_the_interval() {
    let (weak, strong) = (share_right(600, 1000), share_right(700, 1000));
    let verdict = |candidate, baseline, metric| {
        compare(candidate, baseline, metric, None, &seeded(0)).unwrap().verdict
    };
    assert_eq!(verdict(&strong, &weak, Metric::Accuracy), Verdict::Better);
    assert_eq!(verdict(&weak, &strong, Metric::Accuracy), Verdict::Worse);
    // Lower is better here, and the sign is turned.
    assert_eq!(verdict(&strong, &weak, Metric::LogLoss), Verdict::Better);
    let same = compare(&weak, &weak, Metric::Accuracy, None, &seeded(0)).unwrap();
    assert_eq!((same.difference, same.verdict), (0.0, Verdict::Undecided));
}

#[test]
fn few_differing_rows_decide_nothing() {
    let baseline = share_right(50, 100);
    for (right, expected) in
        [(51, Verdict::Undecided), (55, Verdict::Undecided), (56, Verdict::Better)]
    {
        let candidate = share_right(right, 100);
        let comparison =
            compare(&candidate, &baseline, Metric::Accuracy, None, &seeded(0)).unwrap();
        assert_eq!(comparison.verdict, expected, "{comparison:?}");
        assert_eq!(expected == Verdict::Better, comparison.mcnemar.unwrap().exact < 0.05);
    }
}

#[test]
fn a_gate_holds_fails_or_asks_for_rows() {
    let gate = |candidate: usize, baseline: usize, rows: usize, max_drop: f64| {
        let (candidate, baseline) = (share_right(candidate, rows), share_right(baseline, rows));
        non_inferiority(&candidate, &baseline, Metric::Accuracy, None, max_drop, &seeded(0))
            .unwrap()
    };
    assert_eq!(gate(1590, 1600, 2000, 0.02).verdict, NonInferiorityVerdict::Holds);
    assert_eq!(gate(1500, 1600, 2000, 0.02).verdict, NonInferiorityVerdict::Fails);
    let few = gate(795, 800, 1000, 0.006);
    let NonInferiorityVerdict::Undecidable { rows: 1000, needed: Some(needed) } = few.verdict
    else {
        panic!("{few:?}");
    };
    assert_close(few.difference, -0.005, 1e-12, "difference");
    // Five of a thousand: the bound is about 1.6 standard errors (0.0022) away, the margin 0.001.
    assert!((8_000..30_000).contains(&needed), "{needed}");
    let at = |thousands: usize| gate(795 * thousands, 800 * thousands, 1000 * thousands, 0.006);
    assert_eq!(at(needed * 3 / 2000).verdict, NonInferiorityVerdict::Holds);
    let half = at(needed / 2000).verdict;
    assert!(matches!(half, NonInferiorityVerdict::Undecidable { .. }), "{half:?}");
    let edge = gate(90, 100, 100, 0.1).verdict;
    assert_eq!(edge, NonInferiorityVerdict::Undecidable { rows: 100, needed: None });
}

/// Models that never differ still leave room for rows that the data lack: n rows without a failure
/// bound its rate by 1 - 0.05^(1/n).
#[test]
fn agreement_on_few_rows_proves_little() {
    let gate = |rows: usize| {
        let same = share_right(rows, rows);
        non_inferiority(&same, &same, Metric::Accuracy, None, 0.01, &seeded(0)).unwrap()
    };
    let few = gate(100);
    assert_close(few.lower_bound, -0.029_513_05, 1e-7, "bound");
    assert_eq!(few.verdict, NonInferiorityVerdict::Undecidable { rows: 100, needed: Some(299) });
    assert!(matches!(gate(298).verdict, NonInferiorityVerdict::Undecidable { .. }));
    assert_eq!(gate(299).verdict, NonInferiorityVerdict::Holds);
}

/// Pairs of models on simulated rows: the truth follows a probability, which the baseline says with
/// one distortion and the candidate with another.
fn simulated(
    rows: usize,
    seed: u64,
    baseline: impl Fn(f64) -> f64,
    candidate: impl Fn(f64) -> f64,
) -> (Predictions, Predictions) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sure: Vec<f64> = (0..rows).map(|_| 0.1 + 0.8 * rng.random::<f64>()).collect();
    let truth: Vec<u32> = sure.iter().map(|p| u32::from(rng.random::<f64>() < *p)).collect();
    let with = |distort: &dyn Fn(f64) -> f64| {
        binary(&truth, &sure.iter().map(|p| distort(*p)).collect::<Vec<_>>())
    };
    (with(&candidate), with(&baseline))
}

/// Of rises of the calibration error that are exactly at the limit, few pass, whatever they are like.
/// (With 200 studies of up to 4,000 rows each: 0 to 8 %, 3.5 % on average.)
#[test]
fn calibration_at_the_limit_rarely_passes() {
    const STUDIES: u64 = 80;
    let check = |rows: usize, baseline: &dyn Fn(f64) -> f64, candidate: &dyn Fn(f64) -> f64| {
        let passed = (0..STUDIES).filter(|seed| {
            let (candidate, baseline) = simulated(rows, *seed, baseline, candidate);
            let found =
                non_inferiority(&candidate, &baseline, Metric::Ece, None, 0.02, &seeded(*seed));
            found.unwrap().verdict == NonInferiorityVerdict::Holds
        });
        let share = passed.count() as f64 / STUDIES as f64;
        assert!(share <= 0.1, "{rows} rows: {share}");
    };
    let right = |p: f64| p;
    for rows in [300, 1000] {
        check(rows, &right, &|p| p + 0.02);
        // Half of the range off by twice as much.
        check(rows, &right, &|p| if p < 0.5 { p - 0.04 } else { p });
        check(rows, &|p| p - 0.03, &|p| p + 0.05);
        check(rows, &|p| 0.5 + 0.9 * (p - 0.5), &|p| 0.5 + 0.8 * (p - 0.5));
    }
}

/// Models of equal calibration pass once there are enough rows, and clear rises fail.
#[test]
fn calibration_is_decided_with_enough_rows() {
    let verdict = |rows: usize, candidate: &dyn Fn(f64) -> f64| {
        let (candidate, baseline) = simulated(rows, 1, |p| p, candidate);
        non_inferiority(&candidate, &baseline, Metric::Ece, None, 0.02, &seeded(0)).unwrap().verdict
    };
    let like = |p: f64| 0.5 + 1.005 * (p - 0.5);
    assert_eq!(verdict(1000, &like), NonInferiorityVerdict::Holds);
    assert_eq!(verdict(1000, &|p| p * 0.7), NonInferiorityVerdict::Fails);
    assert!(matches!(verdict(100, &like), NonInferiorityVerdict::Undecidable { .. }));
}

/// Prints what a report costs: `cargo test --release -p luthier-eval -- --ignored --nocapture`.
#[test]
#[ignore = "a timing, to be read"]
#[allow(clippy::print_stdout)]
fn timing_of_a_report() {
    for (rows, classes) in [(2_000, 2), (2_000, 7), (50_000, 2), (1_000_000, 2)] {
        let predictions = drawn(rows, classes, 0.5, 1);
        let labels: Vec<_> = (0..classes).map(|class| class.to_string()).collect();
        let start = std::time::Instant::now();
        Report::build(&predictions, &labels, None, &Bootstrap::default()).unwrap();
        println!("{rows} rows, {classes} classes: {:?}", start.elapsed());
    }
}
