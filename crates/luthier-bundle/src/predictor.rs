//! Texts in, probabilities out.

use std::ops::AddAssign;
use std::path::Path;
use std::time::{Duration, Instant};

use luthier_engine::{Input, Session, Threads};
use luthier_model::{Decision, Model, NgramText, Preprocess, Scratch, Signature};

use crate::manifest::Probe;
use crate::{BundleError, PROBE_TOLERANCE};

/// Name of the graph output that holds the class probabilities.
const OUTPUT: &str = "probabilities";
/// Most padded cells (rows × features) that one run of the graph gets.
const MAX_CELLS: usize = 1 << 16;

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
    /// Features of all texts, one after another.
    rows: Vec<u32>,
    texts: Vec<Span>,
    ids: Vec<i32>,
    weights: Vec<f32>,
    took: Took,
}

/// Where the time of a prediction went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Took {
    /// Texts to features.
    pub preprocess: Duration,
    /// Features through the graph.
    pub inference: Duration,
}

impl AddAssign for Took {
    fn add_assign(&mut self, more: Self) {
        self.preprocess += more.preprocess;
        self.inference += more.inference;
    }
}

/// The features of one text among those of all, and the weight that each of them carries.
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
        let Preprocess::NgramText(preprocess) = &self.preprocess;
        let PredictScratch { threads, features, rows, texts: spans, ids, weights, took } = scratch;
        let begun = Instant::now();
        rows.clear();
        spans.clear();
        for text in texts {
            let (found, weight) = preprocess.features(text.as_ref(), features);
            spans.push(Span { start: rows.len(), len: found.len(), weight });
            rows.extend_from_slice(found);
        }
        let found = Instant::now();
        *took = Took { preprocess: found - begun, inference: Duration::ZERO };
        let mut probabilities = Vec::with_capacity(texts.len() * self.decision.classes());
        let mut rest = spans.as_slice();
        while !rest.is_empty() {
            let (batch, width) = next_batch(rest);
            rest = &rest[batch.len()..];
            pad(batch, width, rows, ids, weights);
            let shape = [batch.len(), width];
            let inputs = [
                (NgramText::IDS, Input::I32(&shape, ids)),
                (NgramText::WEIGHTS, Input::F32(&shape, weights)),
            ];
            let output = match threads {
                Some(threads) => self.session.run_on(threads, &inputs, OUTPUT)?,
                None => self.session.run(&inputs, OUTPUT)?,
            };
            probabilities.extend(output.data);
        }
        took.inference = found.elapsed();
        Ok(probabilities)
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

/// The longest head of `spans` whose padded form stays within [`MAX_CELLS`], at least one, with
/// the width of its widest, at least 1.
fn next_batch(spans: &[Span]) -> (&[Span], usize) {
    let mut width = 1;
    for (count, span) in spans.iter().enumerate() {
        let wider = width.max(span.len);
        if count > 0 && wider * (count + 1) > MAX_CELLS {
            return (&spans[..count], width);
        }
        width = wider;
    }
    (spans, width)
}

/// Writes row numbers and weights of a batch, padded with row 0 of weight 0.
fn pad(batch: &[Span], width: usize, rows: &[u32], ids: &mut Vec<i32>, weights: &mut Vec<f32>) {
    ids.clear();
    ids.resize(batch.len() * width, 0);
    weights.clear();
    weights.resize(batch.len() * width, 0.0);
    let lines = ids.chunks_exact_mut(width).zip(weights.chunks_exact_mut(width));
    for ((ids, weights), span) in lines.zip(batch) {
        for (id, row) in ids.iter_mut().zip(&rows[span.start..span.start + span.len]) {
            *id = row.cast_signed();
        }
        weights[..span.len].fill(span.weight);
    }
}
