//! Runs graphs.
//!
//! Start from [`Session::load`]: ONNX bytes in, a session out that any number of threads may
//! [`run`](Session::run) at once. The engine below is rten, pure Rust, with run-time dispatch to
//! AVX2, AVX-512, VNNI and NEON kernels; its types do not leak out of this crate.
//!
//! It knows nothing of texts, labels, bundles or HTTP.

use std::sync::Arc;

use rten::{Dimension, Model, ModelOptions, NodeId, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{Tensor, TensorView};

/// A loaded graph, ready to run.
pub struct Session {
    model: Model,
    inputs: Vec<(String, NodeId)>,
    outputs: Vec<(String, NodeId)>,
    threads: Threads,
}

/// The threads that a graph's operators may use.
#[derive(Clone, Debug)]
pub struct Threads(Arc<ThreadPool>);

/// A tensor to feed, row-major.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// 32-bit floating point.
    F32(&'a [usize], &'a [f32]),
    /// 32-bit integers.
    I32(&'a [usize], &'a [i32]),
}

/// A tensor that came out, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Vec<f32>,
}

/// Why a graph cannot be loaded or run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine refuses the graph.
    #[error("the engine cannot load the graph: {0}")]
    Load(String),
    /// An input or output of that name does not exist.
    #[error("the graph has no {what} `{name}`")]
    Name {
        /// `input` or `output`.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// The data of an input does not fill its shape.
    #[error("input `{name}` has {found} elements, its shape needs {expected}")]
    Size {
        /// The input.
        name: String,
        /// Elements found.
        found: usize,
        /// Elements needed.
        expected: usize,
    },
    /// An operator failed.
    #[error("running the graph failed: {0}")]
    Run(String),
}

impl Threads {
    /// `count` threads of their own.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(ThreadPool::with_num_threads(count.max(1))))
    }

    /// Runs `work` on one of the threads. Graphs that `work` runs with these threads start without
    /// a hand-over, which matters when one run takes microseconds.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.run(work)
    }
}

impl Session {
    /// Loads an ONNX model; constant weights are packed for the processor at hand.
    pub fn load(onnx: Vec<u8>, threads: &Threads) -> Result<Self, EngineError> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = options.load(onnx).map_err(|error| EngineError::Load(error.to_string()))?;
        let name = |id: &NodeId| {
            let name = model.node_info(*id).and_then(|node| node.name().map(str::to_owned));
            (name.unwrap_or_default(), *id)
        };
        Ok(Self {
            inputs: model.input_ids().iter().map(name).collect(),
            outputs: model.output_ids().iter().map(name).collect(),
            model,
            threads: threads.clone(),
        })
    }

    /// Names and shapes of the inputs; `None` is a size that may vary.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Vec<Option<usize>>)> {
        self.inputs.iter().enumerate().map(|(index, (name, _))| {
            let shape = self.model.input_shape(index).unwrap_or_default();
            let sizes = shape.iter().map(|dim| match dim {
                Dimension::Fixed(size) => Some(*size),
                Dimension::Symbolic(_) => None,
            });
            (name.as_str(), sizes.collect())
        })
    }

    /// Feeds `inputs` and gives the 32-bit floating point tensor called `output`. Runs on the
    /// threads that the session was loaded with.
    pub fn run(&self, inputs: &[(&str, Input<'_>)], output: &str) -> Result<Output, EngineError> {
        self.run_on(&self.threads, inputs, output)
    }

    /// [`Session::run`] on `threads`, so that each of several callers can bring its own.
    pub fn run_on(
        &self,
        threads: &Threads,
        inputs: &[(&str, Input<'_>)],
        output: &str,
    ) -> Result<Output, EngineError> {
        let feed = inputs
            .iter()
            .map(|(name, input)| Ok((find("input", &self.inputs, name)?, view(name, *input)?)))
            .collect::<Result<Vec<_>, EngineError>>()?;
        let output = find("output", &self.outputs, output)?;
        let options = RunOptions::default().with_thread_pool(Some(threads.0.clone()));
        let values = self
            .model
            .run(feed, &[output], Some(options))
            .map_err(|error| EngineError::Run(error.to_string()))?;
        let value = values
            .into_iter()
            .next()
            .ok_or_else(|| EngineError::Run("the engine gave no output".to_owned()))?;
        let tensor: Tensor<f32> =
            value.try_into().map_err(|_| EngineError::Run("the output is not float32".into()))?;
        Ok(Output { shape: tensor.shape().to_vec(), data: tensor.into_data() })
    }
}

fn find(what: &'static str, known: &[(String, NodeId)], name: &str) -> Result<NodeId, EngineError> {
    let found = known.iter().find(|(known, _)| known == name);
    found.map(|(_, id)| *id).ok_or_else(|| EngineError::Name { what, name: name.to_owned() })
}

fn view<'a>(name: &str, input: Input<'a>) -> Result<ValueOrView<'a>, EngineError> {
    let (shape, found) = match input {
        Input::F32(shape, data) => (shape, data.len()),
        Input::I32(shape, data) => (shape, data.len()),
    };
    let expected = shape.iter().product();
    if found != expected {
        return Err(EngineError::Size { name: name.to_owned(), found, expected });
    }
    Ok(match input {
        Input::F32(shape, data) => TensorView::from_data(shape, data).into(),
        Input::I32(shape, data) => TensorView::from_data(shape, data).into(),
    })
}
