//! Calibrations, as scikit-learn and scipy fit them, and the choice between them.

use luthier_eval::{Calibration, CalibrationMethod, IsotonicTable};
use luthier_test::{assert_all_close, assert_close};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    classes: usize,
    truth: Vec<u32>,
    probabilities: Vec<f32>,
    temperature: f64,
    platt_temperature: f64,
    shifts: Vec<f64>,
    isotonic: Vec<f64>,
    on_a_grid: Vec<Vec<f64>>,
}

impl Case {
    fn fit(&self, method: CalibrationMethod) -> Calibration {
        Calibration::fit(method, &self.probabilities, self.classes, &self.truth).unwrap()
    }
}

fn fixture() -> Vec<Case> {
    serde_json::from_str(include_str!("../fixtures/calibration.json")).unwrap()
}

#[test]
fn temperatures_and_shifts_are_those_of_scikit_learn_and_scipy() {
    for case in fixture() {
        let Calibration::Temperature { temperature } = case.fit(CalibrationMethod::Temperature)
        else {
            panic!("{}", case.name);
        };
        assert_close(temperature / case.temperature, 1.0, 1e-4, &case.name);
        let Calibration::Platt { temperature, shifts } = case.fit(CalibrationMethod::Platt) else {
            panic!("{}", case.name);
        };
        assert_close(temperature / case.platt_temperature, 1.0, 1e-4, &case.name);
        assert_all_close(&shifts, &case.shifts, 1e-4, &case.name);
    }
}

#[test]
fn isotonic_tables_are_those_of_scikit_learn() {
    for case in fixture() {
        let calibration = case.fit(CalibrationMethod::Isotonic);
        let mut found = case.probabilities[..case.isotonic.len()].to_vec();
        found.chunks_exact_mut(case.classes).for_each(|row| calibration.apply(row));
        let found: Vec<f64> = found.into_iter().map(f64::from).collect();
        assert_all_close(&found, &case.isotonic, 1e-6, &case.name);
        let Calibration::Isotonic { tables } = calibration else { panic!("{}", case.name) };
        assert_eq!(tables.len(), case.on_a_grid.len());
        for (table, expected) in tables.iter().zip(&case.on_a_grid) {
            let grid = (0..=40).map(|step| f64::from(step) / 40.0);
            let found: Vec<f64> = grid.map(|score| table.probability(score)).collect();
            assert_all_close(&found, expected, 1e-9, &case.name);
            let points = table.points();
            assert!(points.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1));
        }
    }
}

#[test]
fn scaling_a_row_adds_shifts_and_divides_logits() {
    let mut row = [0.1f32, 0.3, 0.6];
    let platt = Calibration::Platt { temperature: 2.0, shifts: vec![0.0, 1.0, -0.5] };
    platt.apply(&mut row);
    let odds = [0.1f64.sqrt(), (0.3f64 * 1f64.exp()).sqrt(), (0.6f64 * (-0.5f64).exp()).sqrt()];
    let sum: f64 = odds.iter().sum();
    let (found, expected) = (row.map(f64::from), odds.map(|odds| odds / sum));
    assert_all_close(&found, &expected, 1e-6, "shifted");
    let mut certain = [1.0f32, 0.0];
    Calibration::Temperature { temperature: 3.0 }.apply(&mut certain);
    assert!(certain.iter().all(|p| p.is_finite()) && certain[0] > 0.99);
}

/// Rows whose class 1 has the probability that `honest` makes of what the model says.
fn said(rows: usize, seed: u64, honest: impl Fn(f64) -> f64) -> (Vec<f32>, Vec<u32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || {
        let p: f64 = 0.01 + 0.98 * rng.random::<f64>();
        let class = u32::from(rng.random::<f64>() < honest(p));
        ([(1.0 - p) as f32, p as f32], class)
    };
    let (probabilities, truth): (Vec<[f32; 2]>, Vec<u32>) = (0..rows).map(|_| draw()).unzip();
    (probabilities.concat(), truth)
}

fn through_logit(p: f64, of: impl Fn(f64) -> f64) -> f64 {
    1.0 / (1.0 + (-of((p / (1.0 - p)).ln())).exp())
}

#[test]
fn the_choice_is_what_the_rows_need() {
    let chosen = |rows: usize, seed: u64, honest: &dyn Fn(f64) -> f64| {
        let (probabilities, truth) = said(rows, seed, honest);
        let choice = Calibration::choose(&probabilities, 2, &truth);
        assert!(choice.calibration.fits(2));
        choice.calibration.method()
    };
    for seed in 0..4 {
        let stretched = |p: f64| through_logit(p, |logit| 0.5 * logit);
        let shifted = |p: f64| through_logit(p, |logit| logit - 1.5);
        // Steps that no line through the logits follows.
        let steps = |p: f64| if p < 0.3 { 0.3 } else { 0.35 } + if p > 0.9 { 0.4 } else { 0.0 };
        assert_eq!(chosen(2_000, seed, &stretched), CalibrationMethod::Temperature);
        assert_eq!(chosen(2_000, seed, &shifted), CalibrationMethod::Platt);
        assert_eq!(chosen(4_000, seed, &steps), CalibrationMethod::Isotonic);
        assert!(chosen(900, seed, &steps) < CalibrationMethod::Isotonic);
    }
    // Of honest models a standard error is passed by chance at times, and costs little then.
    let kept = (0..40).filter(|seed| chosen(1_000, *seed, &|p| p) == CalibrationMethod::None);
    let kept = kept.count();
    assert!(kept >= 30, "{kept} of 40");
}

#[test]
fn the_choice_says_what_it_compared() {
    let methods = |rows: usize| {
        let (probabilities, truth) = said(rows, 1, |p| p);
        let choice = Calibration::choose(&probabilities, 2, &truth);
        assert!(choice.losses.iter().all(|(_, loss)| loss.is_finite()));
        choice.losses.into_iter().map(|(method, _)| method).collect::<Vec<_>>()
    };
    use CalibrationMethod::{Isotonic, None, Platt, Temperature};
    assert_eq!(methods(19), [None]);
    assert_eq!(methods(300), [None, Temperature, Platt]);
    assert_eq!(methods(1_000), [None, Temperature, Platt, Isotonic]);
    assert_eq!(methods(0), []);
    // Ten rows of one class, which say nothing of a shift.
    let one = Calibration::choose(&[0.3, 0.7].repeat(40), 2, &[1; 40]);
    assert!(one.losses.iter().all(|(method, _)| *method < Platt));
    assert!(one.calibration.fits(2));
}

#[test]
fn more_classes_are_calibrated_too() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (mut probabilities, mut truth) = (Vec::new(), Vec::new());
    for _ in 0..3_000 {
        let odds: [f64; 3] = std::array::from_fn(|_| (3.0 * rng.random::<f64>()).exp());
        let sum: f64 = odds.iter().sum();
        let mut left: f64 = rng.random();
        let class = odds.iter().position(|odds| {
            left -= odds / sum;
            left < 0.0
        });
        truth.push(class.unwrap_or(2) as u32);
        // The model is twice too sure.
        let sure = odds.map(|odds| odds * odds);
        let sum: f64 = sure.iter().sum();
        probabilities.extend(sure.map(|odds| (odds / sum) as f32));
    }
    let choice = Calibration::choose(&probabilities, 3, &truth);
    let Calibration::Temperature { temperature } = choice.calibration else { panic!("{choice:?}") };
    assert_close(temperature, 2.0, 0.1, "temperature");
}

#[test]
fn calibrations_are_read_as_they_were_written() {
    for case in fixture() {
        for method in CalibrationMethod::ALL {
            let calibration = case.fit(method);
            assert_eq!(calibration.method(), method);
            assert!(calibration.fits(case.classes), "{calibration:?}");
            let json = serde_json::to_string(&calibration).unwrap();
            assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), calibration);
        }
        assert!(!case.fit(CalibrationMethod::Platt).fits(case.classes + 1));
        assert!(!case.fit(CalibrationMethod::Isotonic).fits(case.classes + 1));
    }
    let json = serde_json::json!({ "method": "temperature", "temperature": 1.5 });
    let expected = Calibration::Temperature { temperature: 1.5 };
    assert_eq!(serde_json::from_value::<Calibration>(json).unwrap(), expected);
    assert!(!Calibration::Temperature { temperature: 0.0 }.fits(2));
    for points in ["[]", "[[0.5,0.2],[0.4,0.3]]", "[[0.4,0.3],[0.5,0.2]]", "[[0.5,1.2]]"] {
        assert!(serde_json::from_str::<IsotonicTable>(points).is_err(), "{points}");
    }
}

#[test]
fn odd_rows_calibrate_nothing() {
    for (probabilities, classes, truth) in [
        (vec![], 2, vec![]),
        (vec![0.5, 0.5], 2, vec![2]),
        (vec![0.5, 0.5], 2, vec![0, 1]),
        (vec![1.0], 1, vec![0]),
    ] {
        let found = Calibration::fit(CalibrationMethod::Platt, &probabilities, classes, &truth);
        assert_eq!(found, None);
        let choice = Calibration::choose(&probabilities, classes, &truth);
        assert_eq!((choice.calibration, choice.losses), (Calibration::None {}, vec![]));
    }
    // Certain and wrong, certain and right.
    for truth in [[0, 0], [0, 1]] {
        for method in CalibrationMethod::ALL {
            let rows = [1.0, 0.0, 0.0, 1.0];
            let calibration = Calibration::fit(method, &rows, 2, &truth).unwrap();
            let mut row = [1.0, 0.0];
            calibration.apply(&mut row);
            assert!(row.iter().all(|p| (0.0..=1.0).contains(p)), "{calibration:?}: {row:?}");
        }
    }
}
