use std::time::Duration;

use luthier_eval::{Metric, Predictions};
use luthier_test::assert_close;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Outcome, Quality, Window, WindowSize, wilson_interval};

const DAY: i64 = 24 * 3600 * 1000;

/// The first four are of Newcombe 1998, "Two-sided confidence intervals for the single proportion",
/// table I, method 3.
#[test]
fn intervals_are_wilsons() {
    let check = |hits, rows, low: f64, high: f64| {
        let (found_low, found_high) = wilson_interval(hits, rows).unwrap();
        assert_close(found_low, low, 5e-5, "low");
        assert_close(found_high, high, 5e-5, "high");
    };
    check(81, 263, 0.2553, 0.3662);
    check(15, 148, 0.0624, 0.1605);
    check(0, 20, 0.0, 0.1611);
    check(1, 29, 0.0061, 0.1718);
    check(20, 20, 1.0 - 0.1611, 1.0);
    assert_eq!(wilson_interval(0, 0), None);
    assert_eq!(wilson_interval(7, 5), wilson_interval(5, 5));
}

#[test]
fn intervals_hold_their_share_and_narrow() {
    for rows in 1..200 {
        let mut before = (-1.0, -1.0);
        for hits in 0..=rows {
            let (low, high) = wilson_interval(hits, rows).unwrap();
            let share = hits as f64 / rows as f64;
            assert!((0.0..=share).contains(&low) && (share..=1.0).contains(&high), "{hits}/{rows}");
            assert!(low >= before.0 && high > before.1, "{hits}/{rows}: ends rise with hits");
            before = (low, high);
            let (wide_low, wide_high) = wilson_interval(10 * hits, 10 * rows).unwrap();
            assert!(wide_high - wide_low < high - low, "{hits}/{rows}: more rows say more");
        }
    }
}

#[test]
fn old_labels_and_surplus_labels_do_not_count() {
    let size = WindowSize { labels: 3, age: Duration::from_secs(7 * 24 * 3600) };
    let mut window = Window::new(Some(1), size);
    assert_eq!(window.quality(0), None);
    let wrong = |time| Outcome { time, predicted: 0, truth: 1 };
    let right = |time| Outcome { time, predicted: 1, truth: 1 };
    window.add(wrong(0));
    window.add(right(DAY));
    let accuracy = |window: &Window, now| window.quality(now).map(|q| (q.labels, q.accuracy));
    assert_eq!(accuracy(&window, DAY), Some((2, 0.5)));
    assert_eq!(accuracy(&window, 7 * DAY), Some((2, 0.5)), "7 days are not more than 7");
    assert_eq!(accuracy(&window, 7 * DAY + 1), Some((1, 1.0)));
    assert_eq!(accuracy(&window, 9 * DAY), None);
    assert_eq!(accuracy(&window, 0), Some((2, 0.5)), "a clock set back finds them again");
    window.add(right(2 * DAY));
    window.add(right(3 * DAY));
    assert_eq!(accuracy(&window, 3 * DAY), Some((3, 1.0)), "the oldest made room");
    assert_eq!(window.quality(i64::MAX), None);
    assert!(window.quality(i64::MIN).is_some());
}

/// The quality by the definitions, from all that was ever added.
fn expected(all: &[Outcome], positive: Option<u32>, size: WindowSize, now: i64) -> Option<Quality> {
    let latest = &all[all.len().saturating_sub(size.labels)..];
    let young: Vec<&Outcome> =
        latest.iter().filter(|o| now - o.time <= size.age.as_millis() as i64).collect();
    let (truth, predicted): (Vec<u32>, Vec<u32>) =
        young.iter().map(|o| (o.truth, o.predicted)).unzip();
    let certain = predicted.iter().flat_map(|p| (0..CLASSES).map(|c| f64::from(u8::from(c == *p))));
    let certain = certain.collect();
    let classes = CLASSES as usize;
    let scored = Predictions::new(classes, truth, certain, Some(predicted), None).ok()?;
    let positive = positive.map(|class| class as usize);
    let accuracy = Metric::Accuracy.score(&scored, positive)?;
    let hits = young.iter().filter(|o| o.predicted == o.truth).count();
    let (low, high) = wilson_interval(hits, young.len())?;
    let f1 = Metric::F1.score(&scored, positive)?;
    Some(Quality { labels: young.len(), accuracy, low, high, f1 })
}

const CLASSES: u32 = 7;

#[test]
fn windows_agree_with_all_outcomes_by_the_definitions() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for round in 0..60 {
        let classes = random.random_range(2..=CLASSES);
        let positive = (classes == 2).then(|| random.random_range(0..2));
        let size = WindowSize {
            labels: random.random_range(1..80),
            age: Duration::from_millis(random.random_range(1..20_000)),
        };
        let (mut window, mut again) = (Window::new(positive, size), Window::new(positive, size));
        let (mut all, mut now) = (Vec::new(), 0);
        for _ in 0..200 {
            // Clocks are set back now and then.
            now += random.random_range(-50..200);
            let class = |random: &mut ChaCha8Rng| random.random_range(0..classes);
            let (predicted, truth) = (class(&mut random), class(&mut random));
            let outcome = Outcome { time: now, predicted, truth };
            all.push(outcome);
            window.add(outcome);
            let found = window.quality(now);
            assert_eq!(found, expected(&all, positive, size, now), "round {round}");
        }
        all.iter().for_each(|outcome| again.add(*outcome));
        assert_eq!(again.quality(now), window.quality(now), "replayed");
        assert!(window.outcomes.len() <= size.labels);
    }
}
