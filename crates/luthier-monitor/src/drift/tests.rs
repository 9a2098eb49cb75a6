use luthier_test::assert_close;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Drift, FEWEST, WINDOW, population_stability_index};
use crate::baseline::{MAX_BINS, Observation};
use crate::{Baseline, Feature};

#[test]
fn the_index_is_the_formula_on_smoothed_shares() {
    let check = |expected: &[u64], actual: &[u64], index: f64| {
        let found = population_stability_index(expected, actual);
        assert_close(found, index, 1e-12, &format!("{expected:?} {actual:?}"));
    };
    let part = |a: f64, e: f64| (a - e) * (a / e).ln();
    check(&[10, 20, 70], &[10, 20, 70], 0.0);
    check(
        &[30, 70],
        &[60, 40],
        part(60.5 / 101.0, 30.5 / 101.0) + part(40.5 / 101.0, 70.5 / 101.0),
    );
    check(&[30, 0, 70], &[60, 0, 40], population_stability_index(&[30, 70], &[60, 40]));
    let emptied = part(0.5 / 10.0, 9.5 / 10.0) + part(9.5 / 10.0, 0.5 / 10.0);
    check(&[9, 0], &[0, 9], emptied);
    check(&[], &[], 0.0);
    check(&[0, 0], &[0, 0], 0.0);
    // Shares 0.1 each against 0.2, 0.1 …, 0 in ten thousand rows, by hand without smoothing:
    // 0.1 ln 2 + the emptied bin.
    let even = [1000; 10];
    let mut moved = even;
    (moved[0], moved[9]) = (2000, 0);
    let unsmoothed = 0.1 * 2f64.ln() + part(0.5 / 10_005.0, 1000.5 / 10_005.0);
    assert_close(population_stability_index(&even, &moved), unsmoothed, 1e-3, "large counts");
}

#[test]
fn the_index_is_symmetric_and_never_negative() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..2_000 {
        let bins = random.random_range(1..12);
        let largest = random.random_range(1..10_000);
        let mut counts =
            || (0..bins).map(|_| random.random_range(0..largest)).collect::<Vec<u64>>();
        let (a, b) = (counts(), counts());
        let index = population_stability_index(&a, &b);
        assert!(index.is_finite() && index >= 0.0, "{a:?} {b:?}: {index}");
        assert_close(population_stability_index(&b, &a), index, 1e-12, "symmetric");
        assert_eq!(population_stability_index(&a, &a), 0.0);
    }
}

fn drawn(random: &mut ChaCha8Rng, classes: u32, longer: u32) -> Observation {
    // Many texts have nothing unknown, as real ones do.
    let unknown = random.random_range(-1.0..1.0f64).max(0.0);
    Observation {
        characters: random.random_range(5..120) + longer,
        unknown_share: unknown,
        predicted: random.random_range(0..classes).min(random.random_range(0..classes)),
    }
}

/// Indices of the last predictions by the baseline's bins, counted anew.
fn expected(baseline: &Baseline, all: &[Observation]) -> Option<[(Feature, f64); 3]> {
    let latest = &all[all.len().saturating_sub(WINDOW)..];
    let bins = baseline.bins();
    let mut counts = [[0; MAX_BINS]; 3];
    for row in latest {
        for (counts, bin) in counts.iter_mut().zip(bins.of(row).unwrap()) {
            counts[usize::from(bin)] += 1;
        }
    }
    let index = |feature: Feature| {
        let place = feature as usize;
        (feature, population_stability_index(&bins.counts[place], &counts[place]))
    };
    (latest.len() >= FEWEST).then(|| Feature::ALL.map(index))
}

#[test]
fn the_window_slides_exactly() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for classes in [2, 3, 25] {
        let rows: Vec<_> = (0..500).map(|_| drawn(&mut random, classes, 0)).collect();
        let baseline = Baseline::new(classes as usize, &rows).unwrap();
        let (mut drift, mut again) = (Drift::new(&baseline), Drift::new(&baseline));
        let mut all = Vec::new();
        for step in 0..2_500 {
            let row = drawn(&mut random, classes, step / 25);
            drift.add(&row);
            all.push(row);
            if step % 37 == 0 || step == WINDOW as u32 {
                assert_eq!(drift.indices(), expected(&baseline, &all), "step {step}");
            }
        }
        all.iter().for_each(|row| again.add(row));
        assert_eq!(again.indices(), drift.indices(), "replayed");
        // What left the window leaves no trace.
        let mut latest = Drift::new(&baseline);
        all[all.len() - WINDOW..].iter().for_each(|row| latest.add(row));
        assert_eq!(latest.indices(), drift.indices());
        drift.add(&Observation { predicted: classes, ..all[0] });
        assert_eq!(latest.indices(), drift.indices(), "no class of the model");
    }
}

#[test]
fn what_moves_shows_and_what_stays_does_not() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let rows: Vec<_> = (0..2_000).map(|_| drawn(&mut random, 3, 0)).collect();
    let baseline = Baseline::new(3, &rows).unwrap();
    let mut indices = |change: fn(&mut Observation)| {
        let mut drift = Drift::new(&baseline);
        for _ in 0..WINDOW {
            let mut row = drawn(&mut random, 3, 0);
            change(&mut row);
            drift.add(&row);
        }
        drift.indices().unwrap().map(|(_, index)| index)
    };
    let [length, unknown, class] = indices(|_| {});
    assert!(length < 0.1 && unknown < 0.1 && class < 0.1, "{length} {unknown} {class}");
    let [length, unknown, class] = indices(|row| row.characters += 60);
    assert!(length > 1.0 && unknown < 0.1 && class < 0.1, "{length} {unknown} {class}");
    let [length, unknown, class] = indices(|row| row.unknown_share = 1.0);
    assert!(length < 0.1 && unknown > 1.0 && class < 0.1, "{length} {unknown} {class}");
    let [length, unknown, class] = indices(|row| row.predicted = 2);
    assert!(length < 0.1 && unknown < 0.1 && class > 1.0, "{length} {unknown} {class}");
}

#[test]
fn shorter_texts_show_where_all_were_of_one_length() {
    let row = Observation { characters: 20, unknown_share: 0.0, predicted: 0 };
    let baseline = Baseline::new(2, &[row; 300]).unwrap();
    let mut drift = Drift::new(&baseline);
    for count in 0..FEWEST {
        assert_eq!(drift.indices(), None, "{count} predictions say nothing");
        drift.add(&Observation { characters: 19, ..row });
    }
    let [(_, length), (_, unknown), (_, class)] = drift.indices().unwrap();
    assert!(length > 5.0 && unknown == 0.0 && class == 0.0, "{length} {unknown} {class}");
}
