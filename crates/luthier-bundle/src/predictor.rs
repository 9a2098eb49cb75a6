//! Texts in, probabilities out.

use std::ops::AddAssign;
use std::path::Path;
use std::time::{Duration, Instant};

use luthier_engine::{Input, Output, Session, Threads};
use luthier_model::{
    Decision, Model, NgramText, PROBABILITIES, Preprocess, PreprocessError, Scratch, Signature,
};

use crate::manifest::Probe;
use crate::{BundleError, PROBE_TOLERANCE};

/// Most padded cells (rows × features) that one run of a graph over n-grams gets.
const MAX_CELLS: usize = 1 << 16;
/// The same for rows × tokens: what a transformer holds of each takes kilobytes.
const MAX_TOKENS: usize = 1 << 13;

/// A model that is loaded and ready to answer; shared between threads, each with its own
/// [`PredictScratch`].
pub struct Predictor {
    preprocess: Preprocess,
    decision: Decision,
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
        Self::of_parts(model, &onnx, threads)
    }

    pub(crate) fn of_parts(
        model: Model,
        onnx: &[u8],
        threads: &Threads,
    ) -> Result<Self, BundleError> {
        Ok(Self {
            session: Session::load(onnx.to_vec(), threads)?,
            preprocess: model.preprocess,
            decision: model.decision,
            signature: model.signature,
        })
    }

    /// Labels, positive class, threshold.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// What goes in and out.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Probabilities of `texts`, row-major `[texts, classes]`.
    pub fn predict<T: AsRef<str>>(
        &self,
        texts: &[T],
        scratch: &mut PredictScratch,
    ) -> Result<Vec<f32>, BundleError> {
        let PredictScratch { threads, features, found, padded, took } = scratch;
        let begun = Instant::now();
        found.read(&self.preprocess, texts, features).map_err(BundleError::Text)?;
        let read = Instant::now();
        *took = Took { preprocess: read - begun, inference: Duration::ZERO };
        let classes = self.decision.classes();
        let mut probabilities = Vec::with_capacity(texts.len() * classes);
        let mut rest = found.texts.as_slice();
        while !rest.is_empty() {
            let (batch, width) = next_batch(rest, self.max_cells());
            rest = &rest[batch.len()..];
            let output = self.infer(found, batch, width, padded, threads.as_ref())?;
            if output.shape != [batch.len(), classes] {
                let expected = [batch.len(), classes];
                return Err(BundleError::Shape { found: output.shape, expected });
            }
            probabilities.extend(output.data);
        }
        took.inference = read.elapsed();
        Ok(probabilities)
    }

    fn max_cells(&self) -> usize {
        match &self.preprocess {
            Preprocess::NgramText(_) => MAX_CELLS,
            Preprocess::Tokens(_) => MAX_TOKENS,
        }
    }

    /// Runs the graph over a batch, `width` features or tokens wide.
    fn infer(
        &self,
        found: &Found,
        batch: &[Span],
        width: usize,
        padded: &mut Padded,
        threads: Option<&Threads>,
    ) -> Result<Output, BundleError> {
        let Padded { ids, weights, mask, types } = padded;
        let shape = [batch.len(), width];
        let run = |inputs: &[(&str, Input<'_>)]| match threads {
            Some(threads) => self.session.run_on(threads, inputs, PROBABILITIES),
            None => self.session.run(inputs, PROBABILITIES),
        };
        let output = match &self.preprocess {
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
        };
        Ok(output?)
    }

    /// Checks that the probes get the answers that are stored with them.
    pub(crate) fn check_probes(&self, bundle: &Path, probes: &[Probe]) -> Result<(), BundleError> {
        let texts: Vec<&str> = probes.iter().map(|probe| probe.text.as_str()).collect();
        let found = self.predict(&texts, &mut PredictScratch::default())?;
        let pairs = probes.iter().zip(found.chunks_exact(self.decision.classes()));
        for (index, (probe, found)) in pairs.enumerate() {
            for (expected, found) in probe.probabilities.iter().zip(found) {
                let close = (expected - found).abs() <= PROBE_TOLERANCE;
                if !close || probe.probabilities.len() != self.decision.classes() {
                    return Err(BundleError::Probe {
                        path: bundle.to_owned(),
                        probe: index,
                        expected: *expected,
                        found: *found,
                    });
                }
            }
        }
        Ok(())
    }
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
                Preprocess::Tokens(tokens) => (tokens.encode(text, rows, types)?, 1.0),
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
