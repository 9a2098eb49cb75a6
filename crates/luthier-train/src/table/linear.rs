//! Logistic and ridge regression on tables.

use std::ops::ControlFlow;

use luthier_graph::{Attribute, GraphBuilder, TensorData};
use luthier_space::{Distribution, Space, Values};

use super::network::{Body, TableNetwork};
use super::newton::{Problem, RowLoss};
use super::preparation::{Preparation, Prepared, PreparedNodes, Scaling, vector};
use super::{TableData, TableTask};
use crate::bag::axpy;
use crate::trees::Link;
use crate::{Fitted, Job, Learned, Learner, Network, Step, TrainError};

/// Softmax regression for classes, least squares for numbers, both with a penalty on squared weights.
///
/// What is made small is the mean loss of the rows plus half of `penalty` times the sum of squared weights; the
/// bias is free. In scikit-learn's terms that is `C = 1 / (rows · penalty)` for `LogisticRegression` and
/// `alpha = rows · penalty` for `Ridge`. It is found to the last digits, whatever the seed.
#[derive(Debug, Clone, Copy)]
pub struct TableLinear;

/// Margins from prepared rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LinearLayer {
    /// Row-major `[width, outputs]`.
    numbers: Vec<f32>,
    /// Row-major `[codes, outputs]`.
    codes: Vec<f32>,
    /// For each code of a row, the row of `codes` that its first one has.
    offsets: Vec<usize>,
    /// One for each output.
    pub(crate) bias: Vec<f32>,
}

impl Learner for TableLinear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn space(&self) -> Space {
        Space::of([
            ("penalty", Distribution::log_float(1e-5, 1.0)),
            ("scaling", Distribution::choice(["standard", "quantile"])),
        ])
    }

    fn proposal(&self) -> Values {
        let mut values = Values::default();
        values.insert("penalty", 1e-3);
        values.insert("scaling", "quantile");
        values
    }

    fn fit(
        &self,
        job: &Job<'_>,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Fitted, TrainError> {
        let data = job.data.table()?;
        data.check(|target| data.task.takes(target))?;
        let preparation = Preparation::fit(data, Scaling::read(job.values)?);
        if preparation.is_empty() {
            return Err(TrainError::NoColumns);
        }
        let [train, valid] = preparation.subsets(data);
        let layer = LinearLayer::fit(data, &preparation, &train, job.values.float("penalty")?);
        if !layer.is_finite() {
            return Err(TrainError::Diverged { epoch: 1 });
        }
        let link = match data.task {
            TableTask::Classes(_) => Link::Softmax,
            TableTask::Number => Link::Identity,
        };
        let network = TableNetwork { preparation, body: Body::Linear(layer), link };
        let valid = network.answer_prepared(&valid);
        let exported = || Network::Table(network.clone());
        // Fitting is over, so a break changes nothing.
        let _ = report(Step { epoch: 1, epochs: 1, valid: &valid, network: &exported });
        Ok(Fitted::of(Learned::Table(network), valid))
    }
}

impl LinearLayer {
    fn fit(data: &TableData, preparation: &Preparation, rows: &Prepared, penalty: f64) -> Self {
        let (outputs, loss) = match data.task {
            TableTask::Classes(2) => (1, RowLoss::Logistic),
            TableTask::Classes(classes) => (classes, RowLoss::Softmax),
            TableTask::Number => (1, RowLoss::Squared),
        };
        let (offset, unit) = match data.task {
            TableTask::Classes(_) => (0.0, 1.0),
            TableTask::Number => data.train.moments(),
        };
        let targets = data.train.values.iter().map(|target| (f64::from(*target) - offset) / unit);
        let ends = preparation.counts().scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        let mut offsets: Vec<usize> = std::iter::once(0).chain(ends).collect();
        let codes = offsets.pop().unwrap_or(0);
        let problem = Problem {
            rows,
            width: preparation.width(),
            offsets: &offsets,
            codes,
            outputs,
            loss,
            targets: &targets.collect::<Vec<_>>(),
            weights: &data.train.weights,
            penalty,
        };
        let weights = problem.solve();
        let (numbers, rest) = weights.split_at(preparation.width() * outputs);
        let (codes, bias) = rest.split_at(codes * outputs);
        // Two classes need only the difference of their logits: the first one's is 0.
        let first = matches!(loss, RowLoss::Logistic).then_some(0.0);
        let told = |weights: &[f64], offset: f64| {
            let of_weight =
                |weight: &f64| first.into_iter().chain([(weight * unit + offset) as f32]);
            weights.iter().flat_map(of_weight).collect()
        };
        Self {
            numbers: told(numbers, 0.0),
            codes: told(codes, 0.0),
            offsets,
            bias: told(bias, offset),
        }
    }

    fn is_finite(&self) -> bool {
        [&self.numbers, &self.codes, &self.bias].into_iter().flatten().all(|x| x.is_finite())
    }

    /// Row-major `[rows, outputs]`.
    pub(crate) fn margins(&self, rows: &Prepared) -> Vec<f32> {
        let outputs = self.bias.len();
        let width = self.numbers.len() / outputs;
        let count = rows.rows();
        let mut margins = vec![0.0; count * outputs];
        for (row, margins) in margins.chunks_exact_mut(outputs).enumerate() {
            let numbers = &rows.numbers[row * width..][..width];
            for (x, weights) in numbers.iter().zip(self.numbers.chunks_exact(outputs)) {
                axpy(*x, weights, margins);
            }
            let codes = &rows.codes[row * self.offsets.len()..][..self.offsets.len()];
            for (code, offset) in codes.iter().zip(&self.offsets) {
                axpy(1.0, &self.codes[(offset + *code as usize) * outputs..], margins);
            }
            axpy(1.0, &self.bias, margins);
        }
        margins
    }

    /// The same as nodes, of which the last adds the bias and gives `output`.
    pub(crate) fn nodes(
        &self,
        builder: &mut GraphBuilder,
        prepared: &PreparedNodes,
        output: &str,
    ) -> String {
        let outputs = self.bias.len();
        let of_numbers = prepared.numbers.as_ref().map(|numbers| {
            let data = TensorData::F32(self.numbers.clone());
            let shape = vec![self.numbers.len() / outputs, outputs];
            let weights = builder.constant("weights", shape, data);
            builder.node("MatMul", &[numbers, &weights], "numbers.margins")
        });
        let of_codes = prepared.codes.as_ref().map(|codes| self.code_nodes(builder, codes));
        let margins = match (of_numbers, of_codes) {
            (Some(numbers), Some(codes)) => builder.node("Add", &[&numbers, &codes], "margins"),
            (numbers, codes) => numbers.or(codes).unwrap_or_default(),
        };
        let bias = vector(builder, "bias", self.bias.clone());
        builder.node("Add", &[&margins, &bias], output)
    }

    fn code_nodes(&self, builder: &mut GraphBuilder, codes: &str) -> String {
        let outputs = self.bias.len();
        let offsets: Vec<i32> = self.offsets.iter().map(|offset| *offset as i32).collect();
        let offsets =
            builder.constant("codes.offsets", vec![offsets.len()], TensorData::I32(offsets));
        let data = TensorData::F32(self.codes.clone());
        let table =
            builder.constant("codes.table", vec![self.codes.len() / outputs, outputs], data);
        let axis = builder.constant("codes.axis", vec![1], TensorData::I64(vec![1]));
        let rows = builder.node("Add", &[codes, &offsets], "codes.rows");
        let weights = builder.node("Gather", &[&table, &rows], "codes.weights");
        let keep = vec![("keepdims", Attribute::Int(0))];
        builder.node_with("ReduceSum", &[&weights, &axis], "codes.margins", keep)
    }
}
