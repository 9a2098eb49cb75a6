//! Fits boosted trees to a table of numbers, for the benchmarks.
//!
//!     fit_trees TRAIN TEST COLUMNS [NAME=VALUE …]
//!
//! The files hold 32-bit floats, row by row: the columns, then the target. `threads`, `repeats`, `seed`,
//! `categories` (`3:7,5:12`: column 3 has 7 categories …), `objective` (`binary`, `squared`) and the options of
//! the trees can be set. Prints the seconds of each fit; `margins=FILE` gets the margins of the test
//! rows, `graph=FILE` the forest as ONNX.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use luthier_train::{
    Column, ColumnKind, Monotone, Objective, RowSampling, TableData, TableTargets, TableTask,
    TreeOptions, fit_trees,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Arguments(HashMap<String, String>);

impl Arguments {
    fn number(&self, name: &str, otherwise: f64) -> Outcome<f64> {
        Ok(self.0.get(name).map(|text| text.parse()).transpose()?.unwrap_or(otherwise))
    }

    fn count(&self, name: &str, otherwise: usize) -> Outcome<usize> {
        Ok(self.0.get(name).map(|text| text.parse()).transpose()?.unwrap_or(otherwise))
    }
}

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let mut next = || words.next().ok_or("fit_trees TRAIN TEST COLUMNS [NAME=VALUE ...]");
    let (train, test, columns) = (floats(&next()?)?, floats(&next()?)?, next()?.parse()?);
    let pairs = words.filter_map(|word| {
        word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
    });
    let arguments = Arguments(pairs.collect());
    let data = table(&train, columns, &arguments)?;
    let options = options(&arguments)?;
    let seed = arguments.count("seed", 0)? as u64;
    let threads = arguments.count("threads", 1)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let mut forest = None;
    for _ in 0..arguments.count("repeats", 1)? {
        let start = Instant::now();
        let report = &mut |_: luthier_train::Round<'_>| ControlFlow::Continue(());
        forest = Some(pool.install(|| fit_trees(&data, &options, seed, report))?);
        writeln!(std::io::stdout(), "{}", start.elapsed().as_secs_f64())?;
    }
    let Some(forest) = forest else { return Ok(()) };
    if let Some(file) = arguments.0.get("graph") {
        std::fs::write(file, forest.graph().to_onnx())?;
    }
    if let Some(file) = arguments.0.get("margins") {
        let cells: Vec<f32> =
            test.chunks_exact(columns + 1).flat_map(|row| &row[..columns]).copied().collect();
        let margins = forest.predict(&cells);
        std::fs::write(file, margins.iter().flat_map(|m| m.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    Ok(())
}

fn floats(path: &str) -> Outcome<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn table(train: &[f32], columns: usize, arguments: &Arguments) -> Outcome<TableData> {
    let column = |at: usize| train.iter().skip(at).step_by(columns + 1).copied().collect();
    let mut kinds = vec![ColumnKind::Number; columns];
    for pair in arguments.0.get("categories").iter().flat_map(|text| text.split(',')) {
        let (column, count) = pair.split_once(':').ok_or("categories=COLUMN:COUNT,...")?;
        kinds[column.parse::<usize>()?] = ColumnKind::Category(count.parse()?);
    }
    let kinds = kinds.into_iter().enumerate();
    let values: Vec<f32> = column(columns);
    Ok(TableData {
        columns: kinds
            .map(|(at, kind)| Column {
                name: at.to_string(),
                kind,
                monotone: Monotone::Free,
                train: column(at),
                valid: Vec::new(),
            })
            .collect(),
        task: TableTask::Number,
        train: TableTargets::of(values),
        valid: TableTargets::default(),
    })
}

fn options(arguments: &Arguments) -> Outcome<TreeOptions> {
    let objective = match arguments.0.get("objective").map_or("binary", String::as_str) {
        "squared" => Objective::Squared,
        _ => Objective::Logistic,
    };
    let mut options = TreeOptions::new(objective);
    options.rounds = arguments.count("rounds", 100)? as u64;
    options.learning_rate = arguments.number("learning_rate", options.learning_rate)?;
    options.max_leaves = arguments.count("leaves", options.max_leaves)?;
    options.max_depth = arguments.count("depth", options.max_depth)?;
    options.bins = arguments.count("bins", options.bins)?;
    options.leaf.min_rows = arguments.count("min_rows", options.leaf.min_rows)?;
    options.leaf.l1 = arguments.number("l1", options.leaf.l1)?;
    options.leaf.l2 = arguments.number("l2", options.leaf.l2)?;
    let categories = &mut options.leaf.categories;
    categories.smoothing = arguments.number("smoothing", categories.smoothing)?;
    options.rows = RowSampling::Share(arguments.number("rows", 1.0)?);
    options.columns = arguments.number("columns", 1.0)?;
    Ok(options)
}
