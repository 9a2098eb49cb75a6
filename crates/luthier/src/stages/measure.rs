//! What a bundle is worth: its answers to rows of the data, its time for one row, its size.

use std::time::Instant;

use luthier_bundle::{PredictScratch, Predictor, ProbeRow};
use luthier_data::{Dataset, Part, Selection};
use luthier_eval::{EvalError, Predictions};
use luthier_model::{ClassDecision, Decision};

use super::inputs::{Inputs, raw};
use crate::failure::Failure;

/// Rows that are answered one by one to measure latency, after a tenth of them to warm up.
pub(crate) const TIMED_ROWS: usize = 400;

/// What rows are labelled with.
#[derive(Debug, Clone)]
pub(crate) enum Truth {
    /// The class of each row, of so many.
    Classes(usize, Vec<u32>),
    /// The number of each row.
    Numbers(Vec<f64>),
}

impl Truth {
    /// Labels of the selected rows.
    pub(super) fn of(dataset: &Dataset, rows: impl Into<Selection>) -> Result<Self, Failure> {
        let mut truth = match dataset.labels().len() {
            0 => Self::Numbers(Vec::new()),
            classes => Self::Classes(classes, Vec::new()),
        };
        for example in dataset.examples(rows)? {
            let label = example?.label;
            match &mut truth {
                Self::Classes(_, of_rows) => of_rows.extend(label.class()),
                Self::Numbers(of_rows) => of_rows.extend(label.number()),
            }
        }
        Ok(truth)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Classes(_, of_rows) => of_rows.len(),
            Self::Numbers(of_rows) => of_rows.len(),
        }
    }

    /// The class of each row; none where labels are numbers.
    pub(super) fn classes(&self) -> &[u32] {
        match self {
            Self::Classes(_, of_rows) => of_rows,
            Self::Numbers(_) => &[],
        }
    }

    /// How many numbers a model gives for a row.
    pub(super) fn outputs(&self) -> usize {
        match self {
            Self::Classes(classes, _) => *classes,
            Self::Numbers(_) => 1,
        }
    }

    /// What a model gives for the rows, row-major, as predictions to score; of classes with what was
    /// `decided`, if it was.
    pub(crate) fn predictions(
        &self,
        outputs: &[f32],
        decided: Option<Vec<u32>>,
    ) -> Result<Predictions, EvalError> {
        let outputs = outputs.iter().map(|output| f64::from(*output)).collect();
        match self {
            Self::Classes(classes, truth) => {
                Predictions::new(*classes, truth.clone(), outputs, decided, None)
            }
            Self::Numbers(truth) => Predictions::of_numbers(truth.clone(), outputs, None),
        }
    }
}

/// How a model of the data set answers.
pub(super) fn decision(dataset: &Dataset) -> Decision {
    match dataset.labels() {
        [] => Decision::of_number(dataset.label()),
        labels => Decision::of_classes(labels.to_vec(), binary(dataset)),
    }
}

/// The positive class where there are two.
pub(super) fn binary(dataset: &Dataset) -> Option<usize> {
    dataset.positive().filter(|_| dataset.labels().len() == 2)
}

/// What a model gives for rows, row-major, and the classes that it decides for, if it decides.
pub(crate) struct Answers {
    pub(crate) outputs: Vec<f32>,
    pub(crate) decided: Option<Vec<u32>>,
}

impl Answers {
    /// The same with the classes that are at `places` now.
    fn in_order(self, places: &[usize]) -> Self {
        let rows = self.outputs.chunks_exact(places.len().max(1));
        let outputs = rows.flat_map(|row| places.iter().map(|place| row[*place])).collect();
        let class = |own: u32| places.iter().position(|place| *place as u32 == own).unwrap_or(0);
        let decided =
            self.decided.map(|decided| decided.into_iter().map(|own| class(own) as u32).collect());
        Self { outputs, decided }
    }
}

/// Has rows answered.
pub(crate) fn answer(predictor: &Predictor, rows: &Inputs) -> Result<Answers, Failure> {
    answer_in(predictor, rows, &mut PredictScratch::default())
}

/// The same by classes in the order of `labels`, which are the model's own.
pub(crate) fn answer_as(
    predictor: &Predictor,
    rows: &Inputs,
    labels: &[String],
    scratch: &mut PredictScratch,
) -> Result<Answers, Failure> {
    let answers = answer_in(predictor, rows, scratch)?;
    let own = predictor.decision().labels();
    let place = |label: &String| own.iter().position(|other| other == label);
    let places: Vec<usize> = labels.iter().filter_map(place).collect();
    match places.iter().copied().eq(0..own.len()) {
        true => Ok(answers),
        false => Ok(answers.in_order(&places)),
    }
}

fn answer_in(
    predictor: &Predictor,
    rows: &Inputs,
    scratch: &mut PredictScratch,
) -> Result<Answers, Failure> {
    let outputs = rows.answer(predictor, scratch)?;
    let decided = |decision: &ClassDecision| {
        let rows = outputs.chunks_exact(decision.classes());
        rows.map(|row| decision.answer(row).label as u32).collect()
    };
    let decided = predictor.decision().class().map(decided);
    Ok(Answers { outputs, decided })
}

/// A few of the selected rows as callers give them, spread evenly.
pub(super) fn some_rows(
    dataset: &Dataset,
    part: Part,
    count: usize,
) -> Result<Vec<ProbeRow>, Failure> {
    let stride = dataset.len(part).div_ceil(count as u64).max(1) as usize;
    let rows = dataset.examples(part)?.step_by(stride);
    rows.map(|example| Ok(raw(dataset.table(), example?.content))).collect()
}

/// Median and 99th percentile of the time from one raw row to its answer, in milliseconds, on one
/// thread.
pub(super) fn latency(predictor: &Predictor, rows: &[ProbeRow]) -> Result<(f64, f64), Failure> {
    let mut scratch = PredictScratch::default();
    let mut times = Vec::with_capacity(TIMED_ROWS);
    for (round, row) in rows.iter().cycle().take(TIMED_ROWS * 11 / 10).enumerate() {
        let start = Instant::now();
        predictor.predict_row(row, &mut scratch)?;
        if round >= TIMED_ROWS / 10 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(median_and_p99(times))
}

/// Median and 99th percentile of times, by the nearest rank; 0 where there are none.
pub(crate) fn median_and_p99(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |quantile: f64| {
        let position = (times.len() as f64 * quantile).ceil() as usize;
        times.get(position.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    (at(0.5), at(0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_in_the_order_of_the_labels() {
        // The model keeps c, a, b; the labels are a, b, c.
        let outputs = vec![0.5, 0.2, 0.3, 0.1, 0.8, 0.1];
        let answers = Answers { outputs, decided: Some(vec![0, 1]) }.in_order(&[1, 2, 0]);
        assert_eq!(answers.outputs, [0.2, 0.3, 0.5, 0.8, 0.1, 0.1]);
        assert_eq!(answers.decided.unwrap(), [2, 0]);
    }
}
