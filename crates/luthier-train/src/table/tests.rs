use std::ops::ControlFlow;

use luthier_engine::{Input, Session, Threads};
use luthier_model::COLUMNS;
use luthier_space::Values;
use luthier_test::assert_close;
use rand::RngExt;
use serde_json::Value;

use super::*;
use crate::sampling::generator;
use crate::{Data, Fitted, Inputs, Job, Learner, Network, TaskKind};

const FIXTURE: &str = include_str!("../../tests/fixtures/linear.json");

fn floats(value: &Value) -> Vec<f32> {
    let cell = |x: &Value| x.as_f64().map_or(f32::NAN, |x| x as f32);
    value.as_array().unwrap().iter().map(cell).collect()
}

fn learners(task: TableTask) -> Vec<Box<dyn Learner>> {
    let task = match task {
        TableTask::Classes(_) => TaskKind::TableClasses,
        TableTask::Number => TaskKind::TableNumbers,
    };
    let locate: crate::Locate = std::sync::Arc::new(|name| Err(format!("there is no {name}")));
    let mut learners = crate::learners(task, &locate, None);
    learners.retain(|learner| learner.name() != "boosted-trees");
    learners
}

fn fit(learner: &dyn Learner, data: &TableData, values: &Values) -> Result<Fitted, TrainError> {
    let data = Data::from(data.clone());
    let job = Job::new(&data, values, 1);
    let mut last = (Vec::new(), 0);
    let fitted = learner.fit(&job, &mut |step| {
        last = (step.valid.to_vec(), last.1 + 1);
        assert_eq!(step.epoch, last.1);
        ControlFlow::Continue(())
    })?;
    assert!(last.1 > 0, "{} reports", learner.name());
    Ok(fitted)
}

fn network(fitted: &Fitted) -> TableNetwork {
    let Network::Table(network) = fitted.network() else { panic!("a network of a table") };
    network
}

/// Rows of the validation cells, row-major.
fn valid_cells(data: &TableData) -> Vec<f32> {
    let row = |row: usize| data.columns.iter().map(move |column| column.valid[row]);
    (0..data.valid.values.len()).flat_map(row).collect()
}

fn from_engine(network: &TableNetwork, cells: &[f32], columns: usize) -> Vec<f32> {
    let graph = network.graph();
    graph.check().unwrap();
    let session = Session::load(graph.to_onnx(), &Threads::new(1)).unwrap();
    let shape = [cells.len() / columns, columns];
    let inputs = [(COLUMNS, Input::F32(&shape, cells))];
    session.run(&inputs, &graph.outputs[0].name).unwrap().data
}

/// Numbers of the bias that is added right before the softmax, where calibration is folded in.
fn last_bias(network: &TableNetwork) -> Option<usize> {
    let graph = network.graph();
    let softmax = graph.producer("probabilities")?;
    let sum = graph.producer(&softmax.inputs[0]).filter(|node| node.op == "Add")?;
    graph.tensor(&sum.inputs[1]).map(|bias| bias.data.len())
}

fn assert_all_close(found: &[f32], expected: &[f32], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let tolerance = tolerance * f64::from(expected.abs().max(1.0));
        assert_close((*found).into(), (*expected).into(), tolerance, what);
    }
}

/// Three numbers of unlike size, the second missing at times, and two categories, of which the last one's
/// last is rare; what they say of the target is not linear.
fn table(task: TableTask, rows: usize, valid: usize) -> TableData {
    let mut random = generator(3, 7);
    let mut columns = [
        (ColumnKind::Number, 1e6_f32),
        (ColumnKind::Number, 1e-3),
        (ColumnKind::Number, 1.0),
        (ColumnKind::Category(3), 0.0),
        (ColumnKind::Category(6), 0.0),
    ]
    .map(|(kind, size)| {
        let cells = (0..rows + valid).map(|_| match kind {
            ColumnKind::Number => size * (1.0 + random.random::<f32>()).powi(4),
            ColumnKind::Category(count) => random.random_range(0..count) as f32,
        });
        (kind, cells.collect::<Vec<f32>>())
    });
    let signal = |row: usize| {
        let cell = |column: usize| columns[column].1[row];
        let wave = (cell(0) / 2e6).sin() + (cell(2) / 2.0).cos();
        wave * (cell(3) - 1.0) + 1e2 * cell(1) + [0.0, 1.0, -1.0, 2.0, 0.5, -2.0][cell(4) as usize]
    };
    let signals: Vec<f32> = (0..rows + valid).map(signal).collect();
    for (row, cell) in columns[1].1.iter_mut().enumerate().filter(|(row, _)| row % 5 == 0) {
        *cell = if row % 10 == 0 { f32::NAN } else { *cell };
    }
    let mut sorted = signals.clone();
    sorted.sort_by(f32::total_cmp);
    let target = |signal: f32| match task {
        TableTask::Classes(classes) => {
            let rank = sorted.partition_point(|other| *other < signal);
            (rank * classes / sorted.len()) as f32
        }
        TableTask::Number => 1000.0 + 100.0 * signal,
    };
    let mut values: Vec<f32> = signals.into_iter().map(target).collect();
    let valid = values.split_off(rows);
    let columns = columns.into_iter().enumerate().map(|(index, (kind, mut train))| {
        let valid = train.split_off(rows);
        Column { name: format!("c{index}"), kind, monotone: Monotone::Free, train, valid }
    });
    let columns = columns.collect();
    TableData { columns, task, train: TableTargets::of(values), valid: TableTargets::of(valid) }
}

const TASKS: [TableTask; 3] = [TableTask::Classes(2), TableTask::Classes(4), TableTask::Number];

#[test]
fn linear_models_answer_as_scikit_learn_does() {
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let train = fixture["train"].as_u64().unwrap() as usize;
    let tasks = [
        ("two", TableTask::Classes(2)),
        ("three", TableTask::Classes(3)),
        ("number", TableTask::Number),
    ];
    for (name, task) in tasks {
        let counts = fixture["counts"].as_array().unwrap().iter();
        let counts = counts.map(|count| ColumnKind::Category(count.as_u64().unwrap() as usize));
        let kinds = [ColumnKind::Number; 3].into_iter().chain(counts);
        let columns = kinds.zip(fixture["columns"].as_array().unwrap()).map(|(kind, cells)| {
            let mut train_cells = floats(cells);
            let valid = train_cells.split_off(train);
            Column {
                name: String::new(),
                kind,
                monotone: Monotone::Free,
                train: train_cells,
                valid,
            }
        });
        let mut values = floats(&fixture["targets"][name]);
        let valid = values.split_off(train);
        let mut data = TableData {
            columns: columns.collect(),
            task,
            train: TableTargets {
                weights: floats(&fixture["weights"]),
                ..TableTargets::of(values)
            },
            valid: TableTargets::of(valid),
        };
        data.train.normalise();
        let answers = fixture["answers"][name].as_array().unwrap();
        for (penalty, expected) in fixture["penalties"].as_array().unwrap().iter().zip(answers) {
            let mut values = TableLinear.proposal();
            values.insert("scaling", "standard");
            values.insert("penalty", penalty.as_f64().unwrap());
            let found = fit(&TableLinear, &data, &values).unwrap().valid;
            assert_all_close(&found, &floats(expected), 1e-5, &format!("{name} at {penalty}"));
        }
    }
}

#[test]
fn graphs_answer_as_memory_does() {
    for task in TASKS {
        let data = table(task, 400, 100);
        for learner in learners(task) {
            for scaling in ["standard", "quantile"] {
                let mut values = learner.proposal();
                values.insert("scaling", scaling);
                let fitted = fit(&*learner, &data, &values).unwrap();
                let mut cells = valid_cells(&data);
                // Missing, unknown and extreme cells.
                for (at, cell) in [f32::NAN, f32::INFINITY, -f32::INFINITY, 3e38, -3e38, 6.0, 1e9]
                    .into_iter()
                    .enumerate()
                {
                    (0..5).for_each(|column| cells[5 * (5 * at + column) + column] = cell);
                }
                let network = network(&fitted);
                let what = format!("{} with {scaling} on {task:?}", learner.name());
                let answers = fitted.network().answer(Inputs::Table(&cells)).unwrap();
                assert!(answers.iter().all(|answer| answer.is_finite()), "{what}");
                assert_all_close(&from_engine(&network, &cells, 5), &answers, 1e-5, &what);
                let last = 99 * answers.len() / 100;
                assert_all_close(
                    &from_engine(&network, &cells[99 * 5..], 5),
                    &answers[last..],
                    1e-5,
                    &what,
                );
                let unchanged = network.answer(&valid_cells(&data));
                assert_all_close(&unchanged, &fitted.valid, 1e-6, &what);
                if let TableTask::Classes(classes) = task {
                    assert_eq!(last_bias(&network), Some(classes), "{what}");
                }
            }
        }
    }
}

#[test]
fn proposals_fit_their_spaces() {
    for learner in TASKS.into_iter().flat_map(learners) {
        learner.space().check(&learner.proposal()).unwrap();
    }
}

#[test]
fn weights_count_as_repeats_and_zero_leaves_a_row_out() {
    for task in TASKS {
        let mut data = table(task, 120, 30);
        let mut repeated = data.clone();
        for row in 0..120 {
            data.train.weights[row] = (row % 3) as f32;
        }
        data.train.normalise();
        let times = |cells: &[f32]| -> Vec<f32> {
            let cells = cells.iter().enumerate();
            cells.flat_map(|(row, cell)| std::iter::repeat_n(*cell, row % 3)).collect()
        };
        repeated.columns.iter_mut().for_each(|column| column.train = times(&column.train));
        repeated.train.values = times(&repeated.train.values);
        repeated.train.weights = vec![1.0; 120];
        let values = TableLinear.proposal();
        let [weighted, repeated] =
            [&data, &repeated].map(|data| fit(&TableLinear, data, &values).unwrap());
        assert_all_close(&weighted.valid, &repeated.valid, 1e-4, &format!("{task:?}"));
    }
}

#[test]
fn odd_tables_are_learnt_from_or_refused() {
    for task in TASKS {
        for learner in learners(task) {
            let values = learner.proposal();
            let fit = |data: &TableData| fit(&*learner, data, &values);
            let what = format!("{} on {task:?}", learner.name());
            let mut odd = table(task, 60, 0);
            odd.columns[0].train.fill(7.0);
            odd.columns[1].train.fill(f32::NAN);
            odd.columns[2].train[3] = f32::INFINITY;
            odd.columns[2].train[4] = f32::MIN;
            odd.columns[2].train[5] = f32::MAX;
            odd.columns[3].train.fill(0.0);
            if let TableTask::Classes(_) = task {
                odd.train.values.fill(0.0);
                odd.train.values[..2].fill(1.0);
            }
            let cells = [8.0, 1.0, f32::MAX, 2.0, f32::NAN];
            let network = network(&fit(&odd).unwrap());
            let answers = network.answer(&cells);
            assert!(answers.iter().all(|answer| answer.is_finite()), "{what}");
            assert_all_close(&from_engine(&network, &cells, 5), &answers, 1e-5, &what);
            for column in &mut odd.columns {
                column.train.fill(1.0);
            }
            assert!(matches!(fit(&odd), Err(TrainError::NoColumns)), "{what}");
            odd.columns[1].train.pop();
            assert!(matches!(fit(&odd), Err(TrainError::Cells { column }) if column == "c1"));
            let mut wrong = table(task, 60, 10);
            wrong.valid.values[7] = f32::NAN;
            assert!(matches!(fit(&wrong), Err(TrainError::Target { row: 7 })), "{what}");
            wrong.train.weights.fill(0.0);
            wrong.valid.values[7] = 0.0;
            assert!(matches!(fit(&wrong), Err(TrainError::NoRows)), "{what}");
        }
    }
}

#[test]
fn ranks_become_nearly_normal() {
    let data = table(TableTask::Number, 2000, 10);
    let preparation = preparation::Preparation::fit(&data, preparation::Scaling::Quantile);
    let [train, _] = preparation.subsets(&data);
    let mut column: Vec<f32> =
        train.numbers.chunks(preparation.width()).map(|row| row[0]).collect();
    column.sort_by(f32::total_cmp);
    // Quantiles of the normal distribution.
    for (share, expected) in
        [(0.02, -2.054), (0.25, -0.674), (0.5, 0.0), (0.9, 1.282), (0.99, 2.326)]
    {
        let found = column[(share * 2000.0) as usize];
        assert_close(found.into(), expected, 0.06, &format!("{share}"));
    }
}

#[test]
fn mlps_learn_what_is_not_linear() {
    for task in TASKS {
        let data = table(task, 2000, 500);
        let loss = |learner: &dyn Learner| {
            let mut values = learner.proposal();
            values.insert("batch", 64);
            let answers = fit(learner, &data, &values).unwrap().valid;
            let rows = answers.chunks(answers.len() / 500).zip(&data.valid.values);
            let of_row = |(row, target): (&[f32], &f32)| match task {
                TableTask::Classes(_) => -f64::from(row[*target as usize]).ln(),
                TableTask::Number => f64::from(row[0] - target).powi(2),
            };
            rows.map(of_row).sum::<f64>() / 500.0
        };
        let (mlp, linear) = (loss(&mlp(task)), loss(&TableLinear));
        assert!(mlp < 0.8 * linear, "{mlp} and {linear} on {task:?}");
    }
}

fn mlp(task: TableTask) -> TableMlp {
    TableMlp { numbers: task == TableTask::Number }
}

#[test]
fn seeds_decide_threads_do_not_and_a_break_stops() {
    let data = Data::from(table(TableTask::Classes(2), 300, 50));
    let learner = mlp(TableTask::Classes(2));
    let values = learner.proposal();
    let fit = |seed: u64, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let job = Job::new(&data, &values, seed);
            learner.fit(&job, &mut |_| ControlFlow::Continue(())).unwrap().valid
        })
    };
    assert_eq!(fit(1, 1), fit(1, 3));
    assert_ne!(fit(1, 1), fit(2, 1));
    let job = Job::new(&data, &values, 1);
    let stopped = learner.fit(&job, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(TrainError::Stopped)));
}

#[test]
fn a_learning_rate_without_bounds_diverges() {
    let data = table(TableTask::Classes(2), 300, 50);
    let learner = mlp(TableTask::Classes(2));
    let mut values = learner.proposal();
    values.insert("learning_rate", 1e38);
    assert!(matches!(fit(&learner, &data, &values), Err(TrainError::Diverged { epoch: 1 })));
}

#[test]
fn a_teacher_outweighs_labels_that_are_wrong() {
    for task in TASKS {
        let truth = table(task, 600, 200);
        let answers = truth.train.values.iter().flat_map(|target| match task {
            TableTask::Classes(classes) => {
                (0..classes).map(|class| f32::from(class as f32 == *target)).collect()
            }
            TableTask::Number => vec![*target],
        });
        let answers: Vec<f32> = answers.collect();
        let mut wrong = truth.clone();
        wrong.train.values.reverse();
        wrong.valid = TableTargets::default();
        wrong.columns.iter_mut().for_each(|column| column.valid.clear());
        let mut values = mlp(task).proposal();
        values.insert("teacher_share", 1.0);
        values.insert("teacher_temperature", 1.0);
        let good = |wrong: &TableData| {
            let fitted = fit(&mlp(task), wrong, &values).unwrap();
            let found = fitted.network().answer(Inputs::Table(&valid_cells(&truth))).unwrap();
            let rows = found.chunks(found.len() / 200).zip(&truth.valid.values);
            let good = rows.filter(|(answers, target)| match task {
                TableTask::Classes(_) => answers.iter().all(|p| *p <= answers[**target as usize]),
                TableTask::Number => (answers[0] - **target).abs() < 50.0,
            });
            good.count()
        };
        let untaught = good(&wrong);
        wrong.train.taught = answers;
        let taught = good(&wrong);
        assert!(2 * taught > 3 * untaught, "{taught} and {untaught} of 200 on {task:?}");
        wrong.train.taught.pop();
        assert!(matches!(fit(&mlp(task), &wrong, &values), Err(TrainError::Taught)));
    }
}

#[test]
fn numbers_are_learnt_by_every_loss() {
    let data = table(TableTask::Number, 1500, 300);
    let learner = mlp(TableTask::Number);
    for (loss, below) in
        [("squared", 0.5), ("absolute", 0.5), ("huber", 0.5), ("poisson", 0.5), ("quantile", 0.9)]
    {
        let mut values = learner.proposal();
        values.insert("loss", loss);
        values.insert("quantile", 0.9);
        let answers = fit(&learner, &data, &values).unwrap().valid;
        let rows = answers.iter().zip(&data.valid.values);
        let share = rows.filter(|(answer, target)| answer > target).count() as f64 / 300.0;
        assert_close(share, below, 0.12, loss);
    }
    let mut negative = data;
    negative.train.values[4] = -1.0;
    let mut values = learner.proposal();
    values.insert("loss", "poisson");
    assert!(matches!(fit(&learner, &negative, &values), Err(TrainError::Target { row: 4 })));
}
