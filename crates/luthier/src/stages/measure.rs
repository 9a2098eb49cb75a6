//! What a bundle is worth: its answers to rows of the data, its time for one row, its size.

use std::time::Instant;

use luthier_bundle::{PredictScratch, Predictor, ProbeRow};
use luthier_data::{Dataset, Part, Selection};
use luthier_eval::{Costs, EvalError, Predictions};
use luthier_model::{ClassDecision, Decision};

use super::inputs::{Inputs, raw};
use crate::failure::{Failure, meant_or_known, nearest};
use crate::job::{self, Deciding, Threshold};

/// Rows that are answered one by one to measure latency.
pub(crate) const TIMED_ROWS: usize = 400;
/// As many of them are enough where all would take longer than so many milliseconds: slow models have many
/// candidates for compression to be measured too.
const LEAST_TIMED: usize = 100;
const TIMED_MS: f64 = 1000.0;
/// Rows that are answered before.
const WARM_ROWS: usize = 20;

/// Labels that a message lists.
const SHOWN_LABELS: usize = 5;

/// What rows are labelled with.
#[derive(Debug, Clone)]
pub(crate) enum Truth {
    /// The class of each row, with how one is decided for and what that costs.
    Classes(ClassDecision, Vec<u32>),
    /// The number of each row.
    Numbers(Vec<f64>),
}

impl Truth {
    /// Labels of no rows, where answers are decided for like this.
    pub(crate) fn none(decision: &Decision) -> Self {
        match decision {
            Decision::Class(decision) => Self::Classes(decision.clone(), Vec::new()),
            Decision::Number(_) => Self::Numbers(Vec::new()),
        }
    }

    /// Labels of the selected rows.
    pub(super) fn of(
        dataset: &Dataset,
        decision: &Decision,
        rows: impl Into<Selection>,
    ) -> Result<Self, Failure> {
        let mut truth = Self::none(decision);
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
            Self::Classes(decision, _) => decision.classes(),
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
        let numbers = outputs.iter().map(|output| f64::from(*output)).collect();
        match self {
            Self::Classes(decision, truth) => {
                let decided = decided.unwrap_or_else(|| self::decided(decision, outputs));
                let classes = decision.classes();
                let predictions =
                    Predictions::new(classes, truth.clone(), numbers, Some(decided), None)?;
                match decision.costs.is_empty() {
                    true => Ok(predictions),
                    false => predictions.with_costs(Costs::new(&decision.costs)?),
                }
            }
            Self::Numbers(truth) => Predictions::of_numbers(truth.clone(), numbers, None),
        }
    }
}

/// The classes that are decided for.
pub(super) fn decided(decision: &ClassDecision, outputs: &[f32]) -> Vec<u32> {
    let rows = outputs.chunks_exact(decision.classes());
    rows.map(|row| decision.answer(row).label as u32).collect()
}

/// How a model of the data set answers before any threshold is tuned.
pub(crate) fn decision(deciding: &Deciding, dataset: &Dataset) -> Result<Decision, Failure> {
    if dataset.labels().is_empty() {
        return Ok(Decision::of_number(dataset.label()));
    }
    let labels = dataset.labels().to_vec();
    let positive = binary(dataset);
    let threshold = match (deciding.threshold, positive) {
        (Some(_), None) => {
            let what =
                format!("`objective.threshold` is for two classes, and there are {}", labels.len());
            return Err(Failure::input(what)
                .hint("leave it out, or say in `objective.costs` what wrong decisions cost"));
        }
        (Some(Threshold::At(threshold)), _) => Some(threshold),
        _ => None,
    };
    let costs = costs(&deciding.costs, &labels)?;
    Ok(ClassDecision { labels, positive, threshold, costs, ..ClassDecision::default() }.into())
}

/// Costs by the positions of labels.
fn costs(named: &job::Costs, labels: &[String]) -> Result<Vec<Vec<f64>>, Failure> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let position = |label: &str| {
        labels.iter().position(|known| known == label).ok_or_else(|| {
            let known: Vec<&str> = labels.iter().map(String::as_str).take(SHOWN_LABELS).collect();
            let nearest = nearest(label, labels.iter().map(String::as_str));
            Failure::input(format!("`objective.costs`: there is no class `{label}`"))
                .hint(meant_or_known(nearest, &known))
        })
    };
    let mut costs = vec![vec![0.0; labels.len()]; labels.len()];
    for (truth, decided) in named {
        let of_truth = &mut costs[position(truth)?];
        for (label, cost) in decided {
            of_truth[position(label)?] = *cost;
        }
    }
    Ok(costs)
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
    let decided = predictor.decision().class().map(|decision| decided(decision, &outputs));
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
    let mut time = |row| -> Result<f64, Failure> {
        let start = Instant::now();
        predictor.predict_row(row, &mut scratch)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let warm = rows.iter().cycle().take(WARM_ROWS);
    let (typical, _) = median_and_p99(warm.map(&mut time).collect::<Result<_, _>>()?);
    let affordable = (TIMED_MS / typical) as usize;
    let count = affordable.clamp(LEAST_TIMED, TIMED_ROWS);
    // Evenly from all, or all of them again and again.
    let timed = (0..count).filter_map(|place| match rows.len() {
        len if len > count => rows.get(place * len / count),
        len => rows.get(place.checked_rem(len)?),
    });
    Ok(median_and_p99(timed.map(time).collect::<Result<_, _>>()?))
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
