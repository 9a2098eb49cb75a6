use luthier_space::{Distribution, Space, Value, Values};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::Direction::{Maximize, Minimize};
use crate::{Direction, Tiebreak, sampler_by_name};

fn space() -> Space {
    Space::of([("x", Distribution::float(0.0, 1.0)), ("y", Distribution::float(0.0, 1.0))])
}

fn request<'a>(space: &'a Space, directions: &'a [Direction], trials: &'a [Trial]) -> Request<'a> {
    Request { space, directions, trials, number: trials.len() as u64, seed: 3 }
}

fn truth(values: &Values) -> f64 {
    let (x, y) = (values.float("x").unwrap(), values.float("y").unwrap());
    (x - 0.3).powi(2) + (y - 0.6).powi(2)
}

/// Trials whose losses are noisy, as a sampler proposes them.
fn noisy(space: &Space, seed: u64) -> (Vec<Trial>, ChaCha8Rng) {
    let (mut rng, mut trials) = (ChaCha8Rng::seed_from_u64(seed), Vec::new());
    let sampler = sampler_by_name("auto").unwrap();
    for number in 0..30 {
        let request = Request { space, directions: &[Minimize], trials: &trials, number, seed };
        let values = sampler.suggest(&request).unwrap();
        let scores = vec![seen(&values, &mut rng)];
        trials.push(Trial { state: State::Complete, scores, ..Trial::running(number, values) });
    }
    (trials, rng)
}

fn seen(values: &Values, rng: &mut ChaCha8Rng) -> f64 {
    let noise: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    truth(values) + 0.05 * noise
}

#[test]
fn what_is_expected_chooses_better_than_luck() {
    let space = space();
    let (mut lucky, mut chosen) = (0.0, 0.0);
    for seed in 0..20 {
        let (trials, mut rng) = noisy(&space, seed);
        let request = request(&space, &[Minimize], &trials);
        let again: Vec<Trial> = finalists(&request, 3)
            .into_iter()
            .map(|trial| Trial { scores: vec![seen(&trial.values, &mut rng)], ..trial.clone() })
            .collect();
        assert_eq!(again.len(), 3);
        lucky += truth(&best(&trials, &[Minimize]).unwrap().values);
        let found = choose(&request, &again).unwrap();
        assert!(again.iter().any(|trial| trial.number == found.number));
        chosen += truth(&found.values);
    }
    assert!(chosen < 0.6 * lucky, "{chosen} {lucky}");
}

#[test]
fn with_a_tiebreak_the_means_decide() {
    let space = space();
    let trial = |number: u64, score: f64, loss: f64| Trial {
        state: State::Complete,
        scores: vec![score],
        tiebreak: Some(Tiebreak { margin: 0.02, loss }),
        ..Trial::running(
            number,
            [("x", 0.1 * number as f64), ("y", 0.5)]
                .map(|(n, v)| (n.to_owned(), Value::Float(v)))
                .into_iter()
                .collect(),
        )
    };
    let trials =
        [trial(0, 0.90, 0.30), trial(1, 0.89, 0.28), trial(2, 0.70, 0.10), trial(3, 0.895, 0.29)];
    let request = request(&space, &[Maximize], &trials);
    let numbers: Vec<u64> = finalists(&request, 3).iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, [1, 3, 0]);
    // The first of them was lucky.
    let again = [trial(1, 0.85, 0.40), trial(3, 0.893, 0.29), trial(0, 0.88, 0.31)];
    let found = choose(&request, &again).unwrap();
    assert_eq!((found.number, found.scores[0]), (3, (0.895 + 0.893) / 2.0));
    assert_eq!(choose(&request, &[]).unwrap().number, 1);
}

#[test]
fn limits_come_first_and_nothing_is_no_choice() {
    let space = space();
    assert!(finalists(&request(&space, &[Minimize], &[]), 3).is_empty());
    assert!(choose(&request(&space, &[Minimize], &[]), &[]).is_none());
    let (mut trials, _) = noisy(&space, 1);
    trials.iter_mut().for_each(|trial| trial.violations = vec![trial.number as f64 - 4.0]);
    let request = request(&space, &[Minimize], &trials);
    let finalists: Vec<Trial> = finalists(&request, 9).into_iter().cloned().collect();
    assert!(finalists[..5].iter().all(|trial| trial.number < 5), "{finalists:?}");
    assert!(choose(&request, &finalists).unwrap().number < 5);
    let several = Request { directions: &[Minimize, Minimize], ..request };
    assert!(super::finalists(&several, 3).is_empty());
}
