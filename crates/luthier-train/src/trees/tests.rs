use std::ops::ControlFlow;

use luthier_test::assert_close;
use rand::{Rng, RngExt};
use serde_json::Value;

use super::objective::quantile;
use super::*;
use crate::sampling::generator;
use crate::table::{Column, ColumnKind, Monotone, TableTask};

const FIXTURE: &str = include_str!("../../tests/fixtures/trees.json");

fn fit(data: &TableData, options: &TreeOptions) -> Forest {
    fit_trees(data, options, 1, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn column(name: &str, kind: ColumnKind, train: Vec<f32>) -> Column {
    Column { name: name.to_owned(), kind, monotone: Monotone::Free, train, valid: Vec::new() }
}

fn numbers(values: impl IntoIterator<Item = f32>) -> Column {
    column("number", ColumnKind::Number, values.into_iter().collect())
}

fn targets(values: Vec<f32>) -> TableTargets {
    TableTargets::of(values)
}

fn table(columns: Vec<Column>, values: Vec<f32>) -> TableData {
    let (train, valid) = (targets(values), TableTargets::default());
    TableData { columns, task: TableTask::Number, train, valid }
}

fn random(seed: u64) -> impl Rng {
    generator(seed, 9)
}

/// Three numbers, of which the last is missing at times, two categories, and a signal made of them.
fn mixed(rows: usize, seed: u64) -> (Vec<Column>, Vec<f32>) {
    let mut random = random(seed);
    let mut cells = || (0..rows).map(|_| random.random_range(-64..64) as f32 / 32.0).collect();
    let (a, b, c): (Vec<f32>, Vec<f32>, Vec<f32>) = (cells(), cells(), cells());
    let few: Vec<f32> = (0..rows).map(|_| random.random_range(0..3) as f32).collect();
    let many: Vec<f32> = (0..rows).map(|_| random.random_range(0..40) as f32).collect();
    let missing: Vec<f32> =
        c.iter().map(|c| if random.random_bool(0.2) { f32::NAN } else { *c }).collect();
    let signal = |row: usize| {
        let noise = ((row * 7919) % 101) as f32 / 101.0 - 0.5;
        let gone = if missing[row].is_nan() { 1.0 } else { missing[row] };
        let group = (many[row] as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32;
        (2.0 * a[row]).sin() + b[row] * (few[row] - 1.0) + gone * 0.5 + group * 3.0 + noise - 1.5
    };
    let signals = (0..rows).map(signal).collect();
    let columns = vec![
        numbers(a.clone()),
        numbers(b.clone()),
        numbers(missing.clone()),
        column("few", ColumnKind::Category(3), few.clone()),
        column("many", ColumnKind::Category(40), many.clone()),
    ];
    (columns, signals)
}

/// Cells of the training rows, row by row.
fn cells(data: &TableData) -> Vec<f32> {
    let rows = data.train.values.len();
    (0..rows).flat_map(|row| data.columns.iter().map(move |column| column.train[row])).collect()
}

fn small(objective: Objective) -> TreeOptions {
    let mut options = TreeOptions::new(objective);
    (options.rounds, options.leaf.min_rows) = (12, 5);
    options
}

/// Data of `mixed` with targets that suit the objective.
fn suited(objective: Objective, rows: usize, seed: u64) -> TableData {
    let (columns, signals) = mixed(rows, seed);
    let target = |signal: f32| match objective {
        Objective::Logistic => f32::from(signal > 0.0),
        Objective::Softmax(classes) => {
            (signal + classes as f32 / 2.0).floor().clamp(0.0, classes as f32 - 1.0)
        }
        Objective::Poisson => signal.exp().floor(),
        _ => signal,
    };
    table(columns, signals.into_iter().map(target).collect())
}

const OBJECTIVES: [Objective; 6] = [
    Objective::Logistic,
    Objective::Softmax(3),
    Objective::Squared,
    Objective::Absolute,
    Objective::Quantile(0.8),
    Objective::Poisson,
];

#[test]
fn every_objective_falls_each_round_on_the_training_rows() {
    for objective in OBJECTIVES {
        let data = suited(objective, 800, 3);
        let cells = cells(&data);
        let mut losses = vec![f64::INFINITY];
        let report = &mut |round: Round<'_>| {
            losses.push(objective.loss(&round.forest.predict(&cells), &data.train));
            ControlFlow::Continue(())
        };
        fit_trees(&data, &small(objective), 1, report).unwrap();
        assert!(losses.is_sorted_by(|a, b| a > b), "{objective:?} {losses:?}");
    }
}

#[test]
fn gradients_are_those_of_the_loss() {
    for objective in OBJECTIVES {
        let outputs = objective.outputs();
        let data = suited(objective, 50, 5);
        let mut random = random(6);
        let margins: Vec<f32> =
            (0..50 * outputs).map(|_| random.random_range(-64..64) as f32 / 61.0).collect();
        let mut pairs = vec![[0.0; 2]; 50 * outputs];
        objective.gradients(&margins, &data.train, &mut pairs);
        let scale = if objective == Objective::Squared { 0.5 } else { 1.0 };
        for row in 0..50 {
            let own: Vec<f32> = (0..outputs).map(|output| margins[output * 50 + row]).collect();
            let target = targets(vec![data.train.values[row]]);
            let loss = |output: usize, by: f32| {
                let mut margins = own.clone();
                margins[output] += by;
                objective.loss(&margins, &target) * scale
            };
            for output in 0..outputs {
                let step = 1.0 / 512.0;
                let slope = (loss(output, step) - loss(output, -step)) / (2.0 * f64::from(step));
                let [gradient, hessian] = pairs[output * 50 + row];
                assert_close(gradient.into(), slope, 1e-4, &format!("{objective:?} gradient"));
                let bend = [1.0, -2.0, 1.0].iter().zip([step, 0.0, -step]);
                let bend = bend.map(|(a, by)| a * loss(output, by)).sum::<f64>();
                let bend = bend / f64::from(step * step);
                let factor = match objective {
                    Objective::Softmax(_) => 1.5,
                    Objective::Poisson => 0.7f64.exp(),
                    Objective::Absolute | Objective::Quantile(_) => continue,
                    _ => 1.0,
                };
                assert_close(
                    hessian.into(),
                    bend * factor,
                    1e-2,
                    &format!("{objective:?} hessian"),
                );
            }
        }
    }
}

#[test]
fn the_base_is_the_constant_of_the_smallest_loss() {
    for objective in OBJECTIVES {
        let mut data = suited(objective, 300, 8);
        data.train.weights.iter_mut().enumerate().for_each(|(at, w)| *w = (at % 3) as f32);
        let base = objective.base(&data.train);
        let loss = |base: &[f32]| objective.loss(&base.repeat(300), &data.train);
        let least = loss(&base);
        for output in 0..base.len() {
            for by in [-0.05, 0.05] {
                let mut other = base.clone();
                other[output] += by;
                assert!(loss(&other) >= least, "{objective:?} at {other:?}");
            }
        }
    }
}

/// The gain of the best split by trying all, for squared loss and leaves without rules.
fn best_by_trial(data: &TableData, l1: f64, l2: f64) -> f64 {
    let base = f64::from(Objective::Squared.base(&data.train)[0]);
    let gain = |rows: &[usize]| {
        let sum: f64 = rows.iter().map(|row| base - f64::from(data.train.values[*row])).sum();
        (sum.abs() - l1).max(0.0).powi(2) / (rows.len() as f64 + l2)
    };
    let all: Vec<usize> = (0..data.train.values.len()).collect();
    let mut best = 0.0f64;
    let mut consider = |left: &dyn Fn(usize) -> bool| {
        let (left, right): (Vec<_>, Vec<_>) = all.iter().partition(|row| left(**row));
        if !left.is_empty() && !right.is_empty() {
            best = best.max(gain(&left) + gain(&right) - gain(&all));
        }
    };
    for column in &data.columns {
        for cell in &column.train {
            match column.kind {
                ColumnKind::Category(_) => {
                    consider(&|row| column.train[row] == *cell);
                    consider(&|row| column.train[row].is_nan());
                }
                ColumnKind::Number => {
                    consider(&|row| column.train[row] <= *cell);
                    consider(&|row| column.train[row].is_nan() || column.train[row] <= *cell);
                    consider(&|row| column.train[row].is_nan());
                }
            }
        }
    }
    best
}

#[test]
fn the_first_split_is_the_best_of_all() {
    for seed in 0..40 {
        let mut random = random(seed);
        // Each value three times, so that each has a bin.
        let mut cells = |values: i32, missing: bool| -> Vec<f32> {
            let mut cells: Vec<f32> = (0..90).map(|at| (at % values as usize) as f32).collect();
            rand::seq::SliceRandom::shuffle(cells.as_mut_slice(), &mut random);
            cells.iter_mut().filter(|cell| missing && **cell == 1.0).for_each(|c| *c = f32::NAN);
            cells
        };
        let columns = vec![
            numbers(cells(30, false)),
            numbers(cells(10, true)),
            column("category", ColumnKind::Category(4), cells(4, seed % 2 == 0)),
        ];
        let values = (0..90).map(|_| random.random_range(-64..64) as f32).collect();
        let data = table(columns, values);
        let mut options = small(Objective::Squared);
        (options.rounds, options.max_leaves, options.leaf.min_rows) = (1, 2, 1);
        (options.leaf.l1, options.leaf.l2) = ((seed % 3) as f64 * 10.0, (seed % 4) as f64);
        let forest = fit(&data, &options);
        let best = best_by_trial(&data, options.leaf.l1, options.leaf.l2);
        let branch = forest.trees.first().map_or(0.0, |tree| tree.branches[0].gain);
        assert_close(branch.into(), best, 1e-5, &format!("gain with seed {seed}"));
    }
}

#[test]
fn a_set_of_categories_parts_what_no_order_does() {
    // Odd codes are high; there is no threshold that tells them from even ones.
    let codes: Vec<f32> = (0..2000).map(|row| (row % 20) as f32).collect();
    let values = codes.iter().map(|code| code % 2.0).collect();
    let data = table(vec![column("code", ColumnKind::Category(20), codes)], values);
    let mut options = small(Objective::Squared);
    (options.rounds, options.max_leaves, options.learning_rate) = (1, 2, 1.0);
    options.leaf.categories.l2 = 0.0;
    let forest = fit(&data, &options);
    let Condition::Among(left) = &forest.trees[0].branches[0].condition else { panic!("a set") };
    assert!(left.len() == 10 && left.iter().all(|code| code % 2 == left[0] % 2), "{left:?}");
    assert_eq!(forest.predict(&[3.0, 4.0]), [1.0, 0.0]);
    let right = f32::from(left[0] % 2 == 0);
    assert_eq!(forest.predict(&[f32::NAN, 77.0, 0.5]), [right; 3], "what is not known goes right");
}

#[test]
fn categories_beyond_the_bins_share_one() {
    let codes: Vec<f32> = (0..3000).map(|row| (row * row % 97) as f32).collect();
    let values = codes.iter().map(|code| (code / 7.0).sin()).collect();
    let data = table(vec![column("code", ColumnKind::Category(97), codes)], values);
    let mut options = small(Objective::Squared);
    options.bins = 8;
    let forest = fit(&data, &options);
    let sets = forest.trees.iter().flat_map(|tree| &tree.branches).map(|b| &b.condition);
    let codes: std::collections::BTreeSet<u32> = sets
        .flat_map(|set| if let Condition::Among(codes) = set { codes.clone() } else { vec![] })
        .collect();
    assert!((1..=7).contains(&codes.len()), "{codes:?}");
}

#[test]
fn leaves_of_flat_losses_are_quantiles_of_their_rows() {
    for (objective, alpha) in [(Objective::Absolute, 0.5), (Objective::Quantile(0.9), 0.9)] {
        let data = suited(objective, 700, 11);
        let mut options = small(objective);
        (options.rounds, options.learning_rate) = (1, 1.0);
        let forest = fit(&data, &options);
        let told = forest.predict(&cells(&data));
        let mut by_leaf = std::collections::BTreeMap::<u32, Vec<(f32, f32)>>::new();
        for (told, target) in told.iter().zip(&data.train.values) {
            by_leaf.entry(told.to_bits()).or_default().push((*target, 1.0));
        }
        assert!(by_leaf.len() > 10);
        for (told, rows) in by_leaf {
            let told = f32::from_bits(told).into();
            assert_close(told, quantile(rows, alpha), 1e-5, &format!("{objective:?}"));
        }
    }
}

#[test]
fn quantiles_count_weights_as_rows() {
    let mut random = random(4);
    for _ in 0..200 {
        let rows: Vec<(f32, f32)> = (0..random.random_range(1..20))
            .map(|_| (random.random_range(0..9) as f32, random.random_range(1..4) as f32))
            .collect();
        let repeated: Vec<(f32, f32)> =
            rows.iter().flat_map(|(y, w)| std::iter::repeat_n((*y, 1.0), *w as usize)).collect();
        let alpha = [0.1, 0.25, 0.5, 0.9][random.random_range(0..4)];
        assert_eq!(quantile(rows, alpha).to_bits(), quantile(repeated, alpha).to_bits());
    }
}

#[test]
fn weights_count_as_repeated_rows() {
    for objective in OBJECTIVES {
        let mut data = suited(objective, 600, 13);
        // Categories are numbered by rows, which tells those apart that are equally good.
        data.columns.truncate(4);
        // Few values each, so that both tables have the same bins.
        for column in &mut data.columns[..3] {
            column.train.iter_mut().for_each(|cell| *cell = (*cell * 4.0).round());
        }
        let weight = |row: usize| 1 + row % 3;
        let mut repeated = data.clone();
        let repeat = |cells: &[f32]| -> Vec<f32> {
            let cells = cells.iter().enumerate();
            cells.flat_map(|(row, cell)| std::iter::repeat_n(*cell, weight(row))).collect()
        };
        repeated.columns.iter_mut().for_each(|column| column.train = repeat(&column.train));
        repeated.train = targets(repeat(&data.train.values));
        data.train.weights = (0..600).map(|row| weight(row) as f32).collect();
        let mut options = small(objective);
        // Later rounds may part what is nearly tied in another way.
        (options.rounds, options.leaf.min_rows, options.leaf.min_weight) = (1, 0, 8.0);
        let all = cells(&data);
        let [a, b] = [&data, &repeated].map(|data| fit(data, &options).predict(&all));
        for (a, b) in a.iter().zip(&b) {
            assert_close((*a).into(), (*b).into(), 1e-4, &format!("{objective:?}"));
        }
    }
}

#[test]
fn answers_are_monotone_where_they_must_be() {
    for objective in OBJECTIVES {
        for seed in 0..4 {
            let mut data = suited(objective, 600, 20 + seed);
            let mut options = small(objective);
            (options.rounds, options.learning_rate) = (20, 0.4);
            let ways = [Monotone::Rising, Monotone::Falling, Monotone::Rising];
            data.columns.iter_mut().zip(ways).for_each(|(column, way)| column.monotone = way);
            let forest = fit(&data, &options);
            let used = forest.importance();
            assert!(used[0].branches > 0 && used[1].branches > 0, "{objective:?} {used:?}");
            let mut random = random(seed);
            let rows = cells(&data);
            for row in rows.chunks_exact(5).take(100) {
                let (column, sign) = [(0, 1.0), (1, -1.0), (2, 1.0)][random.random_range(0..3)];
                let mut row = row.to_vec();
                let mut last = None::<Vec<f32>>;
                for step in -70..70 {
                    row[column] = step as f32 / 32.0 * sign;
                    let margins = forest.predict(&row);
                    if let Some(last) = last {
                        let falls =
                            margins.iter().zip(&last).any(|(now, last)| now < &(last - 1e-5));
                        assert!(!falls, "{objective:?}, column {column} at {step}");
                    }
                    last = Some(margins);
                }
            }
        }
    }
}

#[test]
fn threads_change_no_bit_and_seeds_do() {
    for objective in [Objective::Logistic, Objective::Softmax(3), Objective::Absolute] {
        let data = suited(objective, 40_000, 17);
        let mut options = small(objective);
        options.rounds = 4;
        (options.rows, options.columns) = (RowSampling::Share(0.7), 0.8);
        options.columns_per_leaf = 0.7;
        let fit = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let report = &mut |_: Round<'_>| ControlFlow::Continue(());
            pool.install(|| fit_trees(&data, &options, seed, report)).unwrap()
        };
        let one = fit(1, 1);
        for threads in [2, 3] {
            assert_eq!(one, fit(threads, 1), "{objective:?} on {threads} threads");
        }
        assert_ne!(one, fit(1, 2), "{objective:?}");
    }
}

#[test]
fn rows_that_a_tree_has_not_seen_get_its_answers_too() {
    let samplings = [RowSampling::Share(0.5), RowSampling::Gradient { greatest: 0.2, others: 0.1 }];
    for rows in samplings {
        for objective in OBJECTIVES {
            let data = suited(objective, 900, 19);
            let cells = cells(&data);
            let mut options = small(objective);
            options.rows = rows;
            let table = BinnedTable::new(&data.columns, 900, options.bins);
            let mut booster = Booster::new(&data, &table, &options, 1);
            (1..=5).for_each(|round| booster.boost(round));
            let told = booster.forest.predict(&cells);
            let outputs = booster.forest.outputs();
            for (row, told) in told.chunks_exact(outputs).enumerate() {
                for (output, told) in told.iter().enumerate() {
                    let known = booster.margins[output * 900 + row];
                    assert_close((*told).into(), known.into(), 1e-5, &format!("{objective:?}"));
                }
            }
        }
    }
}

#[test]
fn boosting_ends_when_validation_does_not_gain_and_goes_back() {
    let mut data = suited(Objective::Logistic, 400, 23);
    let other = suited(Objective::Logistic, 400, 24);
    // Labels without a relation to the columns.
    data.train.values.reverse();
    for (column, other) in data.columns.iter_mut().zip(other.columns) {
        column.valid = other.train;
    }
    data.valid = other.train;
    let mut options = small(Objective::Logistic);
    (options.rounds, options.patience) = (200, Some(5));
    let (mut losses, mut trees) = (Vec::new(), Vec::new());
    let forest = fit_trees(&data, &options, 1, &mut |round| {
        losses.push(round.loss.unwrap());
        trees.push(round.forest.trees.len());
        ControlFlow::Continue(())
    })
    .unwrap();
    let best = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap();
    assert_eq!(losses.len(), best + 1 + 5);
    assert_eq!(forest.trees.len(), trees[best]);
}

#[test]
fn a_break_stops() {
    let data = suited(Objective::Logistic, 100, 1);
    let stopped = fit_trees(&data, &small(Objective::Logistic), 1, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(TrainError::Stopped)));
}

#[test]
fn depth_and_leaves_are_bounded() {
    let data = suited(Objective::Squared, 2000, 29);
    let mut options = small(Objective::Squared);
    (options.max_depth, options.max_leaves) = (3, 100);
    for tree in fit(&data, &options).trees {
        assert!(tree.leaves.len() <= 8 && tree.branches.len() + 1 == tree.leaves.len());
        assert_eq!(tree.leaves.iter().map(|leaf| leaf.rows).sum::<u32>(), 2000);
        assert!(tree.leaves.iter().all(|leaf| leaf.rows >= 5));
    }
}

#[test]
fn wide_bins_tell_more_values_apart() {
    let values: Vec<f32> = (0..6000).map(|row| ((row * 7) % 2000) as f32).collect();
    let target = values.iter().map(|value| value % 2.0).collect();
    let data = table(vec![numbers(values)], target);
    let mut options = small(Objective::Squared);
    (options.bins, options.max_leaves, options.leaf.min_rows) = (3000, 400, 1);
    let forest = fit(&data, &options);
    let thresholds: std::collections::BTreeSet<u32> = forest
        .trees
        .iter()
        .flat_map(|tree| &tree.branches)
        .map(|branch| match branch.condition {
            Condition::UpTo(last) => last.to_bits(),
            Condition::Among(_) => panic!("a number"),
        })
        .collect();
    assert!(thresholds.len() > 300, "{}", thresholds.len());
}

#[test]
fn awkward_columns_do_no_harm() {
    let row = |at: usize| [f32::INFINITY, -1.0, f32::NEG_INFINITY, f32::NAN, 5.0, f32::MAX][at % 6];
    let target: Vec<f32> = (0..120).map(|at| f32::from(at % 6 == 2)).collect();
    let columns = vec![
        numbers(vec![7.0; 120]),
        numbers(vec![f32::NAN; 120]),
        numbers((0..120).map(row)),
        column("one category", ColumnKind::Category(5), vec![3.0; 120]),
        column("none", ColumnKind::Category(0), vec![f32::NAN; 120]),
        column("wild", ColumnKind::Category(3), (0..120).map(|at| at as f32 - 7.5).collect()),
    ];
    let data = table(columns, target.clone());
    let mut options = small(Objective::Logistic);
    options.rounds = 60;
    let forest = fit(&data, &options);
    let margins = forest.predict(&cells(&data));
    for (margin, target) in margins.iter().zip(target) {
        assert_eq!(*margin > 0.0, target > 0.5);
    }
    assert_eq!(forest.importance().iter().filter(|column| column.branches > 0).count(), 1);
    let lone = fit(&table(vec![numbers(vec![1.0; 9])], vec![2.0; 9]), &small(Objective::Squared));
    assert_eq!(lone.predict(&[4.0]), [2.0]);
}

#[test]
fn wild_weights_leave_no_leaf_without_rows() {
    for objective in OBJECTIVES {
        let mut data = suited(objective, 400, 43);
        let mut random = random(44);
        let wild = || 10f32.powi(random.random_range(-18..18));
        data.train.weights = std::iter::repeat_with(wild).take(400).collect();
        let mut options = small(objective);
        (options.leaf.min_rows, options.leaf.min_weight) = (0, 0.0);
        let forest = fit(&data, &options);
        assert!(forest.trees.iter().flat_map(|tree| &tree.leaves).all(|leaf| leaf.rows > 0));
        assert!(forest.contributions(&cells(&data)[..50]).iter().all(|part| part.is_finite()));
    }
}

#[test]
fn two_rows_of_a_class_are_enough() {
    let (columns, _) = mixed(500, 31);
    let labels = (0..500).map(|row| if row < 2 { 2.0 } else { (row % 2) as f32 }).collect();
    let forest = fit(&table(columns, labels), &small(Objective::Softmax(3)));
    assert!(forest.trees.iter().flat_map(|t| &t.leaves).all(|leaf| leaf.value.is_finite()));
}

#[test]
fn bad_input_is_named() {
    let good = suited(Objective::Logistic, 60, 1);
    let options = small(Objective::Logistic);
    let error = |data: &TableData, options: &TreeOptions| {
        fit_trees(data, options, 1, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    let mut short = good.clone();
    short.columns[3].train.pop();
    assert_eq!(error(&short, &options), "column `few` does not have one cell for each row");
    let mut other = good.clone();
    other.train.values[7] = 2.0;
    assert_eq!(error(&other, &options), "the objective does not take the target of row 7");
    assert_eq!(error(&table(vec![], vec![]), &options), "there must be at least one training row");
    let mut wild = options.clone();
    wild.learning_rate = f64::NAN;
    assert_eq!(error(&good, &wild), "`learning_rate` is out of its range");
    for objective in [Objective::Squared, Objective::Poisson] {
        let mut steep = small(objective);
        steep.learning_rate = 1e30;
        let error = error(&suited(objective, 60, 1), &steep);
        assert!(error.starts_with("training diverged in epoch"), "{objective:?}: {error}");
    }
}

/// The table of the fixture with the target called `name`.
fn fixture(name: &str) -> (Value, TableData) {
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let train = fixture["train"].as_u64().unwrap() as usize;
    let cells = |list: &Value| -> Vec<f32> {
        let number = |cell: &Value| cell.as_f64().map_or(f32::NAN, |cell| cell as f32);
        list.as_array().unwrap().iter().map(number).collect()
    };
    let halves = |list: &Value| {
        let mut all = cells(list);
        let valid = all.split_off(train);
        (all, valid)
    };
    let kinds = fixture["categories"].as_array().unwrap().iter().map(|c| c.as_u64().unwrap());
    let columns = kinds.zip(fixture["columns"].as_array().unwrap()).map(|(count, list)| {
        let (train, valid) = halves(list);
        let kind = match count {
            0 => ColumnKind::Number,
            count => ColumnKind::Category(count as usize),
        };
        Column { name: String::new(), kind, monotone: Monotone::Free, train, valid }
    });
    let columns = columns.collect();
    let (train, valid) = halves(&fixture["targets"][name]);
    let (train, valid) = (targets(train), targets(valid));
    (fixture, TableData { columns, task: TableTask::Number, train, valid })
}

#[test]
fn losses_are_those_of_lightgbm() {
    let objectives = [
        ("binary", "binary", Objective::Logistic),
        ("multiclass", "multiclass", Objective::Softmax(3)),
        ("squared", "number", Objective::Squared),
        ("absolute", "number", Objective::Absolute),
        ("quantile", "number", Objective::Quantile(0.8)),
        ("poisson", "poisson", Objective::Poisson),
    ];
    for (name, target, objective) in objectives {
        let (fixture, data) = fixture(target);
        let given = |name: &str| fixture["options"][name].as_f64().unwrap();
        let mut options = TreeOptions::new(objective);
        options.rounds = given("rounds") as u64;
        options.learning_rate = given("learning_rate");
        options.max_leaves = given("max_leaves") as usize;
        options.leaf.min_rows = given("min_rows") as usize;
        let mut losses = Vec::new();
        fit_trees(&data, &options, 1, &mut |round| {
            losses.extend(round.loss);
            ControlFlow::Continue(())
        })
        .unwrap();
        let theirs = fixture["losses"][name].as_f64().unwrap();
        assert_close(losses.last().unwrap() / theirs, 1.0, 0.02, name);
    }
}

#[test]
fn contributions_are_those_of_lightgbm() {
    let (fixture, data) = fixture("binary");
    let shap = &fixture["shap"];
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN) as f32;
    let list = |value: &Value| value.as_array().unwrap().clone();
    let child = |value: &Value| match value.as_i64().unwrap() {
        leaf if leaf < 0 => Child::Leaf((-1 - leaf) as u32),
        branch => Child::Branch(branch as u32),
    };
    let branch = |value: &Value| Branch {
        column: number(&value[0]) as u32,
        condition: match &value[1] {
            Value::Array(codes) => {
                Condition::Among(codes.iter().map(|c| number(c) as u32).collect())
            }
            threshold => Condition::UpTo(number(threshold)),
        },
        missing_left: value[2].as_bool().unwrap(),
        children: [child(&value[3]), child(&value[4])],
        gain: 0.0,
        rows: number(&value[5]) as u32,
    };
    let leaf = |value: &Value| Leaf { value: number(&value[0]), rows: number(&value[1]) as u32 };
    let tree = |(at, value): (usize, &Value)| Tree {
        output: at % 3,
        branches: list(&value["branches"]).iter().map(branch).collect(),
        leaves: list(&value["leaves"]).iter().map(leaf).collect(),
    };
    let trees = list(&shap["trees"]).iter().enumerate().map(tree).collect();
    let forest =
        Forest { columns: data.columns.len(), base: vec![0.0; 3], trees, link: Link::Softmax };
    let flat = |value: &Value| -> Vec<f32> {
        value.as_array().unwrap().iter().flat_map(list).map(|cell| number(&cell)).collect()
    };
    let told = forest.contributions(&flat(&shap["rows"]));
    let expected = flat(&shap["contributions"]);
    assert_eq!(told.len(), expected.len());
    for (told, expected) in told.iter().zip(expected) {
        assert_close((*told).into(), expected.into(), 1e-5, "contribution");
    }
}

#[test]
fn contributions_sum_to_the_margin() {
    for objective in OBJECTIVES {
        let data = suited(objective, 500, 37);
        let forest = fit(&data, &small(objective));
        let cells = &cells(&data)[..5 * 60];
        let margins = forest.predict(cells);
        for (parts, margin) in forest.contributions(cells).chunks_exact(6).zip(margins) {
            assert_close(parts.iter().sum::<f32>().into(), margin.into(), 1e-4, "sum");
        }
    }
}

#[test]
fn graphs_are_sound() {
    for objective in OBJECTIVES {
        let data = suited(objective, 300, 41);
        let forest = fit(&data, &small(objective));
        let graph = forest.graph();
        graph.check().unwrap();
        assert_eq!(graph.ml_opset, Some(5));
        let mut plain = data.clone();
        plain.columns.truncate(3);
        let graph = fit(&plain, &small(objective)).graph();
        graph.check().unwrap();
        assert_eq!(graph.ml_opset, Some(3));
        let last = &graph.outputs[0];
        let width = if objective.link() == Link::Softmax { objective.outputs().max(2) } else { 1 };
        assert_eq!(last.shape[1], luthier_graph::Dim::Fixed(width));
    }
}

#[test]
fn forests_are_read_back_from_their_graphs() {
    for objective in OBJECTIVES {
        let data = suited(objective, 400, 43);
        let cells = &cells(&data)[..5 * 40];
        let mut plain = data.clone();
        plain.columns.iter_mut().for_each(|column| column.kind = ColumnKind::Number);
        for data in [&data, &plain] {
            let forest = fit(data, &small(objective));
            let bytes = forest.graph().to_onnx();
            let read = luthier_graph::Graph::from_onnx(&bytes).unwrap();
            let read = Forest::of_graph(&read).unwrap();
            assert_eq!((read.link, read.trees.len()), (forest.link, forest.trees.len()));
            assert_eq!(read.predict(cells), forest.predict(cells), "{objective:?}");
            let told = read.contributions(cells).into_iter().zip(forest.contributions(cells));
            told.for_each(|(a, b)| assert_close(a.into(), b.into(), 1e-5, "contribution"));
        }
    }
    let mut forest = fit(&suited(Objective::Squared, 400, 43), &small(Objective::Squared));
    forest.trees.clear();
    assert_eq!(Forest::of_graph(&forest.graph()), Some(forest));
}

#[test]
fn graphs_that_are_no_forest_of_ours_are_told() {
    let forest = fit(&suited(Objective::Squared, 400, 47), &small(Objective::Squared));
    let graph = forest.graph();
    let place = graph.nodes.iter().position(|node| node.op.starts_with("TreeEnsemble")).unwrap();
    for attribute in 0..graph.nodes[place].attributes.len() {
        let mut without = graph.clone();
        let (name, _) = without.nodes[place].attributes.remove(attribute);
        let passed_over = ["aggregate_function", "post_transform"].contains(&name.as_str());
        assert_eq!(Forest::of_graph(&without).is_some(), passed_over, "{name}");
        // Whatever integers stand there, reading ends well.
        for integer in [-1, 0, 1, 7, i64::MAX] {
            let mut other = graph.clone();
            if let luthier_graph::Attribute::Ints(all) =
                &mut other.nodes[place].attributes[attribute].1
            {
                all.iter_mut().skip(2).step_by(3).for_each(|one| *one = integer);
                if let Some(read) = Forest::of_graph(&other) {
                    assert_eq!(read.contributions(&[0.0; 5]).len(), 6);
                }
            }
        }
    }
}
