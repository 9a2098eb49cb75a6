//! Rows that a version is warmed up with, and that the API document shows with its answers.
//!
//! They are of no data set: whoever may ask a model need not be allowed to see what it was trained
//! on. Of a table they have what the model itself says of its columns.

use luthier_model::{ColumnKind, Table, TableColumn};
use serde_json::{Map, Value, json};

use crate::rows::{Rows, Takes};
use crate::texts::Texts;

/// How many rows an example has.
const ROWS: usize = 2;
const TEXTS: [&str; ROWS] = ["It came early, and it works well.", "包装破了，客服也不理人。"];
const NUMBERS: [f64; ROWS] = [1.0, 2.5];
const TIMES: [&str; ROWS] = ["2026-01-31", "2026-02-28T08:30:00Z"];

/// Rows as a caller gives them, and the answer; empty before there is one.
#[derive(Default)]
pub(crate) struct Example {
    /// Texts, or objects with the cells of a table.
    pub(crate) rows: Vec<Value>,
    /// What the graph gives, row-major `[rows, outputs]`.
    pub(crate) outputs: Vec<f32>,
}

/// Rows for a model that takes those of `takes`, as a caller gives them and as the model takes them.
pub(crate) fn rows(takes: Takes<'_>) -> (Vec<Value>, Rows) {
    match takes {
        Takes::Texts(_) => {
            let mut texts = Texts::with_capacity(ROWS);
            TEXTS.iter().for_each(|text| texts.push(text));
            (TEXTS.map(Value::from).into(), Rows::Texts(texts))
        }
        Takes::Table(table) => {
            let mut numbers = Vec::with_capacity(ROWS * table.columns().len());
            let rows = [0, 1].map(|row| object(table, row));
            for row in &rows {
                // Cells that are made for their columns fit them.
                let _ = table.encode_json(row, &mut numbers);
            }
            (rows.map(Value::Object).into(), Rows::of_table(table, numbers))
        }
    }
}

fn object(table: &Table, row: usize) -> Map<String, Value> {
    table.columns().iter().map(|column| (column.name.clone(), cell(column, row))).collect()
}

fn cell(column: &TableColumn, row: usize) -> Value {
    match &column.kind {
        ColumnKind::Number => json!(NUMBERS[row]),
        ColumnKind::Time => json!(TIMES[row]),
        ColumnKind::Category(categories) => {
            let values = categories.values();
            values.get(row).or(values.first()).map_or(Value::Null, |value| json!(value))
        }
    }
}
