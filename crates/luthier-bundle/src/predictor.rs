//! Texts or rows of a table in, calibrated probabilities or numbers out.

use std::ops::AddAssign;
use std::path::Path;
use std::time::{Duration, Instant};

use luthier_engine::{Input, Output, Session, Threads};
use luthier_eval::{Calibration, IsotonicTable};
use luthier_model::{
    COLUMNS, Decision, Model, NgramText, PREDICTION, PROBABILITIES, Preprocess, PreprocessError,
    Scratch, Signature, Table,
};

use crate::manifest::{Probe, ProbeRow};
use crate::{BundleError, DEEP_TOLERANCE, PROBE_TOLERANCE};

/// Most padded cells (rows × features) that one run of a graph over n-grams gets.
const MAX_CELLS: usize = 1 << 16;
/// Most numbers (rows × columns) that one run of a graph over tables gets.
const MAX_NUMBERS: usize = 1 << 16;
/// The same for rows × tokens: what a transformer holds of each takes kilobytes.
const MAX_TOKENS: usize = 1 << 13;

/// A model that is loaded and ready to answer; shared between threads, each with its own
/// [`PredictScratch`].
pub struct Predictor {
    preprocess: Preprocess,
    decision: Decision,
    /// What the graph's probabilities become before anyone is given them.
    calibration: Calibration,
    signature: Signature,
    session: Session,
}

/// Buffers of one thread, reused from call to call.
#[derive(Default)]
pub struct PredictScratch {
    /// Where graphs run; on the predictor's own threads where absent.
    threads: Option<Threads>,
    features: Scratch,
    found: Found,
    padded: Padded,
    took: Took,
}

/// What texts consist of.
#[derive(Default)]
struct Found {
    texts: Vec<Span>,
    /// Features or tokens of all texts, one after another.
    rows: Vec<u32>,
    /// Numbers of the tokens' sentences.
    types: Vec<u32>,
}

/// A batch, row-major, its shorter texts filled up.
#[derive(Default)]
struct Padded {
    ids: Vec<i32>,
    weights: Vec<f32>,
    mask: Vec<i32>,
    types: Vec<i32>,
}

/// Where the time of a prediction went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Took {
    /// Texts to features or tokens.
    pub preprocess: Duration,
    /// Those through the graph.
    pub inference: Duration,
}

impl AddAssign for Took {
    fn add_assign(&mut self, more: Self) {
        self.preprocess += more.preprocess;
        self.inference += more.inference;
    }
}

/// The features or tokens of one text among those of all, and the weight that each of them carries.
struct Span {
    start: usize,
    len: usize,
    weight: f32,
}

impl PredictScratch {
    /// Buffers of a caller that runs graphs on threads of its own.
    pub fn on(threads: Threads) -> Self {
        Self { threads: Some(threads), ..Self::default() }
    }

    /// Where the time of the last prediction went, as far as it came.
    pub fn took(&self) -> Took {
        self.took
    }
}

impl Predictor {
    /// Loads `model` into the engine.
    pub fn new(model: Model, threads: &Threads) -> Result<Self, BundleError> {
        let onnx = model.graph.to_onnx();
        Self::of_parts(model, onnx, threads)
    }

    pub(crate) fn of_parts(
        model: Model,
        onnx: Vec<u8>,
        threads: &Threads,
    ) -> Result<Self, BundleError> {
        let Model { preprocess, graph, decision, signature } = model;
        // The engine has weights of its own, which may be large.
        drop(graph);
        let calibration = calibration(&decision)?;
        let session = Session::load(onnx, threads)?;
        Ok(Self { session, preprocess, decision, calibration, signature })
    }

    /// How an answer follows from what is given for a row; or what number is answered.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// What goes in and out.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The columns of the rows that it answers, if it takes no texts.
    pub fn table(&self) -> Option<&Table> {
        self.preprocess.table()
    }

    /// What is given for `texts`, row-major `[texts, outputs]`: calibrated probabilities of the classes,
    /// or one number each.
    pub fn predict<T: AsRef<str>>(
        &self,
        texts: &[T],
        scratch: &mut PredictScratch,
    ) -> Result<Vec<f32>, BundleError> {
        Ok(self.calibrated(self.graph_of_texts(texts, scratch)?))
    }

    /// The same for rows of [`Self::table`], as it encodes them, row-major `[rows, columns]`.
    pub fn predict_rows(
        &self,
        numbers: &[f32],
        scratch: &mut PredictScratch,
    ) -> Result<Vec<f32>, BundleError> {
        Ok(self.calibrated(self.graph_of_rows(numbers, scratch)?))
    }

    /// The same for one row as a caller gives it.
    pub fn predict_row(
        &self,
        row: &ProbeRow,
        scratch: &mut PredictScratch,
    ) -> Result<Vec<f32>, BundleError> {
        Ok(self.calibrated(self.graph_of_row(row, scratch)?))
    }

    /// What the graph gives for one row, as probes have it: before the tables of the decision, whose
    /// steps would make much of the last digits.
    pub fn probe(&self, row: ProbeRow, scratch: &mut PredictScratch) -> Result<Probe, BundleError> {
        let outputs = self.graph_of_row(&row, scratch)?;
        Ok(Probe { row, outputs })
    }

    fn calibrated(&self, mut outputs: Vec<f32>) -> Vec<f32> {
        for row in outputs.chunks_exact_mut(self.decision.outputs()) {
            self.calibration.apply(row);
        }
        outputs
    }

    fn graph_of_texts<T: AsRef<str>>(
        &self,
        texts: &[T],
        scratch: &mut PredictScratch,
    ) -> Result<Vec<f32>, BundleError> {
        let PredictScratch { threads, features, found, padded, took } = scratch;
        let begun = Instant::now();
        found.read(&self.preprocess, texts, features).map_err(BundleError::Text)?;
        let read = Instant::now();
        *took = Took { preprocess: read - begun, inference: Duration::ZERO };
        let mut outputs = Vec::with_capacity(texts.len() * self.decision.outputs());
        let mut rest = found.texts.as_slice();
        while !rest.is_empty() {
            let (batch, width) = next_batch(rest, self.max_cells());
            rest = &rest[batch.len()..];
            outputs.extend(self.infer(found, batch, width, padded, threads.as_ref())?);
        }
        took.inference = read.elapsed();
        Ok(outputs)
    }

    fn graph_of_rows(
        &self,
        numbers: &[f32],
        scratch: &mut PredictScratch,
    ) -> Result<Vec<f32>, BundleError> {
        let PredictScratch { threads, took, .. } = scratch;
        let begun = Instant::now();
        *took = Took::default();
        let table = self.table().ok_or(BundleError::NoTable)?;
        let columns = table.columns().len();
        if !numbers.len().is_multiple_of(columns) {
            return Err(BundleError::Width { numbers: numbers.len(), columns });
        }
        let mut outputs = Vec::with_capacity(numbers.len() / columns * self.decision.outputs());
        for batch in numbers.chunks((self.max_cells() / columns).max(1) * columns) {
            let shape = [batch.len() / columns, columns];
            let inputs = [(COLUMNS, Input::F32(&shape, batch))];
            outputs.extend(self.run(&inputs, shape[0], threads.as_ref())?);
        }
        took.inference = begun.elapsed();
        Ok(outputs)
    }

    fn max_cells(&self) -> usize {
        match &self.preprocess {
            Preprocess::NgramText(_) => MAX_CELLS,
            Preprocess::Tokens(_) => MAX_TOKENS,
            Preprocess::Table(_) => MAX_NUMBERS,
        }
    }

    fn graph_of_row(
        &self,
        row: &ProbeRow,
        scratch: &mut PredictScratch,
    ) -> Result<Vec<f32>, BundleError> {
        match row {
            ProbeRow::Text(text) => self.graph_of_texts(&[text], scratch),
            ProbeRow::Cells(cells) => {
                let table = self.table().ok_or(BundleError::NoTable)?;
                let mut numbers = Vec::with_capacity(table.columns().len());
                table.encode_json(cells, &mut numbers)?;
                self.graph_of_rows(&numbers, scratch)
            }
        }
    }

    /// Runs the graph over `rows` rows.
    fn run(
        &self,
        inputs: &[(&str, Input<'_>)],
        rows: usize,
        threads: Option<&Threads>,
    ) -> Result<Vec<f32>, BundleError> {
        let name = match self.decision {
            Decision::Class(_) => PROBABILITIES,
            Decision::Number(_) => PREDICTION,
        };
        let Output { shape, data, .. } = match threads {
            Some(threads) => self.session.run_on(threads, inputs, name),
            None => self.session.run(inputs, name),
        }?;
        let expected = [rows, self.decision.outputs()];
        match shape == expected {
            true => Ok(data),
            false => Err(BundleError::Shape { found: shape, expected }),
        }
    }

    /// Runs the graph over a batch of texts, `width` features or tokens wide.
    fn infer(
        &self,
        found: &Found,
        batch: &[Span],
        width: usize,
        padded: &mut Padded,
        threads: Option<&Threads>,
    ) -> Result<Vec<f32>, BundleError> {
        let Padded { ids, weights, mask, types } = padded;
        let shape = [batch.len(), width];
        let run = |inputs: &[(&str, Input<'_>)]| self.run(inputs, batch.len(), threads);
        match &self.preprocess {
            Preprocess::NgramText(_) => {
                pad(batch, width, &found.rows, 0, ids);
                fill(batch, width, |span| span.weight, weights);
                run(&[
                    (NgramText::IDS, Input::I32(&shape, ids)),
                    (NgramText::WEIGHTS, Input::F32(&shape, weights)),
                ])
            }
            Preprocess::Tokens(tokens) => {
                let names = &tokens.settings().inputs;
                pad(batch, width, &found.rows, tokens.pad(), ids);
                fill(batch, width, |_| 1, mask);
                let ids = (names.ids.as_str(), Input::I32(&shape, ids));
                let mask = (names.mask.as_str(), Input::I32(&shape, mask));
                match &names.types {
                    Some(name) => {
                        pad(batch, width, &found.types, 0, types);
                        run(&[ids, mask, (name, Input::I32(&shape, types))])
                    }
                    None => run(&[ids, mask]),
                }
            }
            Preprocess::Table(_) => Err(BundleError::Text(PreprocessError::NoText)),
        }
    }

    /// Checks that the probes get the answers that are stored with them.
    pub(crate) fn check_probes(&self, bundle: &Path, probes: &[Probe]) -> Result<(), BundleError> {
        let tolerance = match &self.preprocess {
            Preprocess::NgramText(_) | Preprocess::Table(_) => PROBE_TOLERANCE,
            Preprocess::Tokens(_) => DEEP_TOLERANCE,
        };
        let found = self.answer_probes(probes)?;
        let rows = found.chunks_exact(self.decision.outputs());
        for (index, (probe, found)) in probes.iter().zip(rows).enumerate() {
            let is_close = |(expected, found): &(&f32, &f32)| {
                (*expected - *found).abs() <= tolerance * expected.abs().max(1.0)
            };
            let mut pairs = probe.outputs.iter().zip(found);
            let (expected, found) = match pairs.find(|pair| !is_close(pair)) {
                Some((expected, found)) => (*expected, *found),
                None if probe.outputs.len() == found.len() => continue,
                None => (f32::NAN, f32::NAN),
            };
            let path = bundle.to_owned();
            return Err(BundleError::Probe { path, probe: index, expected, found });
        }
        Ok(())
    }

    /// What the graph gives for the rows of `probes`.
    fn answer_probes(&self, probes: &[Probe]) -> Result<Vec<f32>, BundleError> {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for probe in probes {
            match (&probe.row, self.table()) {
                (ProbeRow::Cells(cells), Some(table)) => table.encode_json(cells, &mut numbers)?,
                (ProbeRow::Cells(_), None) => return Err(BundleError::NoTable),
                (ProbeRow::Text(text), None) => texts.push(text.as_str()),
                (ProbeRow::Text(_), Some(_)) => {
                    return Err(BundleError::Text(PreprocessError::NoText));
                }
            }
        }
        let mut scratch = PredictScratch::default();
        match self.table() {
            Some(_) => self.graph_of_rows(&numbers, &mut scratch),
            None => self.graph_of_texts(&texts, &mut scratch),
        }
    }
}

/// What the tables of a decision do.
fn calibration(decision: &Decision) -> Result<Calibration, BundleError> {
    let tables = decision.class().map_or(&[][..], |decision| &decision.isotonic);
    if tables.is_empty() {
        return Ok(Calibration::None {});
    }
    let tables = tables.iter().map(|points| IsotonicTable::try_from(points.clone()));
    let tables = tables.collect::<Result<_, _>>().map_err(BundleError::Calibration)?;
    Ok(Calibration::Isotonic { tables })
}

impl Found {
    /// Reads what `texts` consist of, in place of what is there.
    fn read<T: AsRef<str>>(
        &mut self,
        preprocess: &Preprocess,
        texts: &[T],
        scratch: &mut Scratch,
    ) -> Result<(), PreprocessError> {
        let Self { texts: spans, rows, types } = self;
        spans.clear();
        rows.clear();
        types.clear();
        for text in texts {
            let (text, start) = (text.as_ref(), rows.len());
            let (len, weight) = match preprocess {
                Preprocess::NgramText(ngrams) => {
                    let (found, weight) = ngrams.features(text, scratch);
                    rows.extend_from_slice(found);
                    (found.len(), weight)
                }
                Preprocess::Tokens(tokens) => (tokens.encode(text, rows, types)?.len, 1.0),
                Preprocess::Table(_) => return Err(PreprocessError::NoText),
            };
            spans.push(Span { start, len, weight });
        }
        Ok(())
    }
}

/// The longest head of `spans` whose padded form stays within `max_cells`, at least one, with the
/// width of its widest, at least 1.
fn next_batch(spans: &[Span], max_cells: usize) -> (&[Span], usize) {
    let mut width = 1;
    for (count, span) in spans.iter().enumerate() {
        let wider = width.max(span.len);
        if count > 0 && wider * (count + 1) > max_cells {
            return (&spans[..count], width);
        }
        width = wider;
    }
    (spans, width)
}

/// Writes the numbers of a batch, filled up with `filler`.
fn pad(batch: &[Span], width: usize, rows: &[u32], filler: u32, padded: &mut Vec<i32>) {
    padded.clear();
    padded.resize(batch.len() * width, filler.cast_signed());
    for (padded, span) in padded.chunks_exact_mut(width).zip(batch) {
        for (place, row) in padded.iter_mut().zip(&rows[span.start..span.start + span.len]) {
            *place = row.cast_signed();
        }
    }
}

/// Writes one number for all that a text of a batch consists of, filled up with 0.
fn fill<N: Copy + Default>(
    batch: &[Span],
    width: usize,
    number: impl Fn(&Span) -> N,
    padded: &mut Vec<N>,
) {
    padded.clear();
    padded.resize(batch.len() * width, N::default());
    for (padded, span) in padded.chunks_exact_mut(width).zip(batch) {
        padded[..span.len].fill(number(span));
    }
}
