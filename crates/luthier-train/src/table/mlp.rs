//! Feed-forward networks on tables.

use std::ops::ControlFlow;

use luthier_graph::{Attribute, GraphBuilder, TensorData};
use luthier_nn::{
    Activation, AdamW, MLP_EPSILON, Mlp, MlpConfig, MlpRows, MlpTable, MlpTrainer, Norm,
};
use luthier_space::{Distribution, Space, Values};

use super::loss::Loss;
use super::network::{Body, TableNetwork};
use super::preparation::{Preparation, Prepared, PreparedNodes, Scaling, vector};
use super::{TableData, TableTargets, TableTask};
use crate::layers;
use crate::sampling::shuffled;
use crate::teaching::Teaching;
use crate::trees::Link;
use crate::{Fitted, Job, Learned, Learner, Network, Step, TrainError};

/// A feed-forward network: scaled numbers, and categories by tables of their own, into layers with norms.
///
/// AdamW, whose learning rate rises for a part of the first epoch and then falls as a cosine does. Fitting ends
/// before the last epoch where the validation loss has not fallen for a while; every report, and the result, is
/// of the epoch with the smallest loss so far. Where there are no validation rows, the training rows stand
/// in for them.
#[derive(Debug, Clone, Copy, Default)]
pub struct TableMlp {
    /// Whether rows are labelled with numbers.
    pub numbers: bool,
}

/// Epochs without a smaller validation loss after which fitting ends.
const PATIENCE: u64 = 12;
/// Share of all steps in which the learning rate rises.
const WARM_UP: f64 = 0.02;
/// Numbers that stand for a category at most.
const MOST_NUMBERS: f64 = 50.0;

struct Settings {
    scaling: Scaling,
    depth: usize,
    width: usize,
    activation: Activation,
    dropout: f32,
    learning_rate: f64,
    weight_decay: f32,
    batch: usize,
    epochs: u64,
    loss: Loss,
}

impl Learner for TableMlp {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn space(&self) -> Space {
        let mut space = Space::of([
            ("learning_rate", Distribution::log_float(3e-4, 1e-2)),
            ("depth", Distribution::int(1, 4)),
            ("width", Distribution::log_int(32, 256)),
            ("dropout", Distribution::float(0.0, 0.5)),
            ("weight_decay", Distribution::log_float(1e-4, 0.3)),
            ("batch", Distribution::ordinal([64, 128, 256, 512])),
            ("epochs", Distribution::int(5, 40)),
            ("activation", Distribution::choice(["relu", "gelu"])),
            ("scaling", Distribution::choice(["standard", "quantile"])),
        ]);
        match self.numbers {
            true => space.add("loss", Distribution::choice(["squared", "huber", "absolute"])),
            false => space.add("smoothing", Distribution::float(0.0, 0.1)),
        }
        space
    }

    fn proposal(&self) -> Values {
        let mut values = Values::default();
        values.insert("learning_rate", 2e-3);
        values.insert("depth", 2);
        values.insert("width", 128);
        values.insert("dropout", 0.2);
        values.insert("weight_decay", 0.01);
        values.insert("batch", 128);
        values.insert("epochs", 20);
        values.insert("activation", "relu");
        values.insert("scaling", "quantile");
        match self.numbers {
            true => values.insert("loss", "squared"),
            false => values.insert("smoothing", 0.0),
        }
        values
    }

    fn student(&self) -> Option<(Space, Values)> {
        Some(Teaching::parameters())
    }

    fn fit(
        &self,
        job: &Job<'_>,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Fitted, TrainError> {
        let data = job.data.table()?;
        let settings = Settings::read(job.values, data.task)?;
        data.check(|target| data.task.takes(target) && settings.loss.takes(target))?;
        let fit = Fit::new(data, &settings, Teaching::of(job.values, &data.train.taught)?)?;
        let mut trainer = fit.trainer(job.seed);
        let (mut best, mut best_loss, mut best_epoch) = (None, f64::INFINITY, 0);
        for epoch in 1..=settings.epochs {
            fit.epoch(&mut trainer, epoch, job)?;
            let loss = fit.judge(trainer.mlp());
            if !loss.is_finite() {
                return Err(TrainError::Diverged { epoch });
            }
            if loss < best_loss || best.is_none() {
                let network = fit.network(trainer.mlp().clone());
                let valid = network.answer_prepared(&fit.valid);
                (best, best_loss, best_epoch) = (Some((network, valid)), loss, epoch);
            }
            let Some((network, valid)) = &best else { break };
            let exported = || Network::Table(network.clone());
            let step = Step { epoch, epochs: settings.epochs, valid, network: &exported };
            if report(step).is_break() && epoch < settings.epochs {
                return Err(TrainError::Stopped);
            }
            if epoch - best_epoch >= PATIENCE {
                break;
            }
        }
        let (network, valid) = best.ok_or(TrainError::Diverged { epoch: 1 })?;
        let settled = (!data.valid.values.is_empty()).then_some(best_epoch);
        Ok(Fitted { settled, ..Fitted::of(Learned::Table(network), valid) })
    }
}

impl Settings {
    fn read(values: &Values, task: TableTask) -> Result<Self, TrainError> {
        let count = |name| {
            let count = values.int(name)?.max(1).cast_unsigned();
            Ok::<_, TrainError>(usize::try_from(count).unwrap_or(usize::MAX))
        };
        let activation = match values.text("activation")? {
            "gelu" => Activation::Gelu,
            _ => Activation::Relu,
        };
        Ok(Self {
            scaling: Scaling::read(values)?,
            depth: count("depth")?,
            width: count("width")?,
            activation,
            dropout: values.float("dropout")? as f32,
            learning_rate: values.float("learning_rate")?,
            weight_decay: values.float("weight_decay")? as f32,
            batch: count("batch")?,
            epochs: values.int("epochs")?.max(1).cast_unsigned(),
            loss: Loss::read(values, task)?,
        })
    }
}

/// All that does not change while a network is fitted.
struct Fit<'a> {
    data: &'a TableData,
    settings: &'a Settings,
    preparation: Preparation,
    train: Prepared,
    valid: Prepared,
    /// Mean and size of the targets, which are learnt without them.
    offset: f32,
    unit: f32,
    teaching: Option<Teaching>,
    /// What the teacher answers, made soft.
    taught: Vec<f32>,
}

impl<'a> Fit<'a> {
    fn new(
        data: &'a TableData,
        settings: &'a Settings,
        teaching: Option<Teaching>,
    ) -> Result<Self, TrainError> {
        let preparation = Preparation::fit(data, settings.scaling);
        if preparation.is_empty() {
            return Err(TrainError::NoColumns);
        }
        let mut taught = data.train.taught.clone();
        if teaching.is_some() && taught.len() != data.train.values.len() * outputs(data.task) {
            return Err(TrainError::Taught);
        }
        if let (Some(teaching), TableTask::Classes(classes)) = (&teaching, data.task) {
            taught.chunks_exact_mut(classes).for_each(|row| teaching.soften(row));
        }
        let [train, valid] = preparation.subsets(data);
        let (offset, unit) = settings.loss.scale(&data.train);
        Ok(Self { data, settings, preparation, train, valid, offset, unit, teaching, taught })
    }

    fn trainer(&self, seed: u64) -> MlpTrainer {
        let config = MlpConfig {
            numbers: self.preparation.width(),
            tables: self.preparation.counts().map(|count| (count, table_width(count))).collect(),
            depth: self.settings.depth,
            width: self.settings.width,
            outputs: outputs(self.data.task),
            activation: self.settings.activation,
        };
        let adamw = AdamW { weight_decay: self.settings.weight_decay, ..AdamW::default() };
        MlpTrainer::new(Mlp::new(&config, seed), adamw, self.settings.dropout, seed)
    }

    /// Goes over the training rows in an order of their own.
    fn epoch(&self, trainer: &mut MlpTrainer, epoch: u64, job: &Job<'_>) -> Result<(), TrainError> {
        let order = shuffled(self.train.rows(), job.seed, epoch, 0);
        let batches = order.chunks(self.settings.batch);
        let steps = batches.len() as f64;
        let total = steps * self.settings.epochs as f64;
        for (batch, rows) in batches.enumerate() {
            job.host.go_on()?;
            let done = ((epoch - 1) as f64 * steps + batch as f64) / total;
            let rise = (done + 1.0 / total) / WARM_UP;
            let fall = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
            let rate = self.settings.learning_rate * rise.min(1.0) * fall;
            let batch = self.train.select(rows);
            trainer.step(inputs(&batch), rate as f32, |outputs| self.gradient(rows, outputs));
        }
        Ok(())
    }

    /// Puts the gradients by the outputs of training rows in their place.
    fn gradient(&self, rows: &[u32], outputs: &mut [f32]) {
        let width = outputs.len() / rows.len();
        for (outputs, row) in outputs.chunks_exact_mut(width).zip(rows) {
            let row = *row as usize;
            let factor = self.data.train.weights[row] / rows.len() as f32;
            let given = outputs.to_vec();
            self.settings.loss.gradient(self.scaled(self.data.train.values[row]), outputs);
            if let Some(teaching) = &self.teaching {
                let answers = &self.taught[row * width..][..width];
                let mut taught = given;
                match self.data.task {
                    TableTask::Classes(_) => Loss::follow(answers, &mut taught),
                    TableTask::Number => {
                        self.settings.loss.gradient(self.scaled(answers[0]), &mut taught);
                    }
                }
                for (own, taught) in outputs.iter_mut().zip(taught) {
                    *own += teaching.share() * (taught - *own);
                }
            }
            outputs.iter_mut().for_each(|gradient| *gradient *= factor);
        }
    }

    fn scaled(&self, target: f32) -> f32 {
        (target - self.offset) / self.unit
    }

    /// The mean loss of the validation rows, or of the training rows where there are none.
    fn judge(&self, mlp: &Mlp) -> f64 {
        let (rows, TableTargets { values, weights, .. }) = match self.valid.rows() {
            0 => (&self.train, &self.data.train),
            _ => (&self.valid, &self.data.valid),
        };
        let outputs = mlp.outputs(inputs(rows));
        let pairs = outputs.chunks_exact(mlp.head.outputs()).zip(values).zip(weights);
        let losses = pairs.map(|((outputs, target), weight)| {
            f64::from(*weight) * self.settings.loss.value(self.scaled(*target), outputs)
        });
        losses.sum::<f64>() / values.len() as f64
    }

    /// The network with targets as they are.
    fn network(&self, mut mlp: Mlp) -> TableNetwork {
        let link = self.settings.loss.link();
        match link {
            Link::Softmax => {}
            Link::Identity => {
                mlp.head.weights.iter_mut().for_each(|weight| *weight *= self.unit);
                mlp.head.bias.iter_mut().for_each(|bias| *bias = *bias * self.unit + self.offset);
            }
            Link::Exp => mlp.head.bias.iter_mut().for_each(|bias| *bias += self.unit.ln()),
        }
        TableNetwork { preparation: self.preparation.clone(), body: Body::Mlp(mlp), link }
    }
}

/// Margins of a row.
fn outputs(task: TableTask) -> usize {
    match task {
        TableTask::Classes(classes) => classes,
        TableTask::Number => 1,
    }
}

/// Numbers that stand for one of `count` codes, by fastai's rule.
fn table_width(count: usize) -> usize {
    (1.6 * (count as f64).powf(0.56)).round().clamp(1.0, MOST_NUMBERS) as usize
}

pub(crate) fn inputs(rows: &Prepared) -> MlpRows<'_> {
    MlpRows { count: rows.rows(), numbers: &rows.numbers, codes: &rows.codes }
}

/// The network as nodes, of which the last adds the head's bias and gives `output`.
pub(crate) fn nodes(
    mlp: &Mlp,
    builder: &mut GraphBuilder,
    prepared: &PreparedNodes,
    output: &str,
) -> String {
    let looked_up = prepared.codes.as_ref().map(|codes| table_nodes(&mlp.tables, builder, codes));
    let mut state = match (&prepared.numbers, looked_up) {
        (Some(numbers), Some(looked_up)) => {
            let axis = vec![("axis", Attribute::Int(1))];
            builder.node_with("Concat", &[numbers, &looked_up], "inputs", axis)
        }
        (numbers, looked_up) => numbers.clone().or(looked_up).unwrap_or_default(),
    };
    layers::activation_constants(builder, mlp.activation);
    for (index, layer) in mlp.layers.iter().enumerate() {
        let name = |part: &str| format!("layers.{index}.{part}");
        let linear =
            layers::linear(builder, &name("linear"), layer.linear.clone(), &state, &name("sums"));
        let Norm { scale, shift } = &layer.norm;
        let scale = vector(builder, &name("norm.scale"), scale.clone());
        let shift = vector(builder, &name("norm.shift"), shift.clone());
        let attributes =
            vec![("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(MLP_EPSILON))];
        let inputs = [linear.as_str(), &scale, &shift];
        let norm = builder.node_with("LayerNormalization", &inputs, &name("norm"), attributes);
        let active = layers::activation(builder, mlp.activation, &norm);
        state = match index {
            0 => active,
            _ => builder.node("Add", &[&active, &state], &name("sum")),
        };
    }
    layers::linear(builder, "head", mlp.head.clone(), &state, output)
}

/// All tables as one row of numbers, in which each number that stands for a code has its place.
fn table_nodes(tables: &[MlpTable], builder: &mut GraphBuilder, codes: &str) -> String {
    let (mut columns, mut widths, mut firsts, mut all) = (vec![], vec![], vec![], vec![]);
    for (column, table) in tables.iter().enumerate() {
        let width = table.width as i32;
        for place in 0..width {
            columns.push(column as i64);
            widths.push(width);
            firsts.push(all.len() as i32 + place);
        }
        all.extend_from_slice(&table.rows);
    }
    let numbers = columns.len();
    let columns = builder.constant("tables.columns", vec![numbers], TensorData::I64(columns));
    let widths = builder.constant("tables.widths", vec![numbers], TensorData::I32(widths));
    let firsts = builder.constant("tables.firsts", vec![numbers], TensorData::I32(firsts));
    let all = vector(builder, "tables", all);
    let axis = vec![("axis", Attribute::Int(1))];
    let codes = builder.node_with("Gather", &[codes, &columns], "tables.codes", axis);
    let rows = builder.node("Mul", &[&codes, &widths], "tables.rows");
    let places = builder.node("Add", &[&rows, &firsts], "tables.places");
    builder.node("Gather", &[&all, &places], "looked_up")
}
