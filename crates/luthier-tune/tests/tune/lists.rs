//! Permutations, subsets and constraints: what the models gain on random search.

use luthier_space::{Distribution, Space, Values};
use luthier_tune::{Gp, Random, Tpe};

use crate::functions::{Function, mean_regret};

const LETTERS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

fn letters(values: &Values, name: &str) -> Vec<usize> {
    let list = values.list(name).unwrap().iter();
    list.map(|item| LETTERS.iter().position(|letter| *item == (*letter).into()).unwrap()).collect()
}

fn functions() -> Vec<Function> {
    let order = Space::of([
        ("order", Distribution::permutation(LETTERS)),
        ("x", Distribution::float(0.0, 1.0)),
    ]);
    let some = Space::of([("some", Distribution::subset(LETTERS, 2, 6))]);
    let between = Space::of(["x", "y", "z"].map(|name| (name, Distribution::float(0.0, 1.0))))
        .subject_to("x < y and y < z and x + y + z <= 1.5")
        .unwrap();
    vec![
        Function { name: "places", space: order.clone(), value: places },
        Function { name: "pairs", space: order.clone(), value: pairs },
        Function { name: "tour", space: order, value: tour },
        Function { name: "features", space: some, value: features },
        Function { name: "between", space: between, value: between_value },
    ]
}

/// How far each item is from a place of its own.
fn places(values: &Values) -> f64 {
    let distances = letters(values, "order").into_iter().enumerate();
    let sum: usize = distances.map(|(place, item)| place.abs_diff(3 * item % 10)).sum();
    sum as f64 + 5.0 * (values.float("x").unwrap() - 0.3).abs()
}

/// Weights of the pairs that stand the wrong way round.
fn pairs(values: &Values) -> f64 {
    let order = letters(values, "order");
    let mut sum = 0.0;
    for (place, &first) in order.iter().enumerate() {
        for &second in &order[place + 1..] {
            let (a, b) = (7 * first % 10, 7 * second % 10);
            sum += if a > b { ((a + b) % 3) as f64 } else { 0.0 };
        }
    }
    sum + 5.0 * (values.float("x").unwrap() - 0.3).abs()
}

/// What a round tour through points on a circle is longer than the circle.
fn tour(values: &Values) -> f64 {
    let order = letters(values, "order");
    let step = |(a, b): (&usize, &usize)| {
        let apart = (3 * a % 10).abs_diff(3 * b % 10);
        apart.min(10 - apart) as f64
    };
    let round = order.iter().zip(order.iter().cycle().skip(1));
    round.map(step).sum::<f64>() - 10.0 + 5.0 * (values.float("x").unwrap() - 0.3).abs()
}

/// Features that help, that cost, and two that are worth nothing without each other.
fn features(values: &Values) -> f64 {
    let some = letters(values, "some");
    let has = |item: usize| some.contains(&item);
    let gains = [3.0, 0.5, 2.0, 0.2, 0.1, 0.4, 2.5, 0.3, 0.0, 0.6];
    let gain: f64 = some.iter().map(|item| gains[*item] - 0.8).sum();
    let pair = if has(4) && has(8) { 4.0 } else { 0.0 };
    7.6 - gain - pair
}

fn between_value(values: &Values) -> f64 {
    let number = |name| values.float(name).unwrap();
    (number("x") - 0.3).abs() + (number("y") - 0.32).abs() + 3.0 * (number("z") - 0.88).abs()
}

#[test]
fn models_learn_from_lists_and_within_constraints() {
    for function in functions() {
        let name = function.name;
        let random = mean_regret(&Random, &function, 60, 10);
        let tpe = mean_regret(&Tpe::default(), &function, 60, 10);
        let gp = mean_regret(&Gp::default(), &function, 60, 4);
        assert!(tpe < 0.8 * random, "{name}: tpe {tpe}, random {random}");
        assert!(gp < 0.8 * tpe, "{name}: gp {gp}, tpe {tpe}");
    }
}
