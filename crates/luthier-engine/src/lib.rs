//! Runs graphs.
//!
//! Start from [`Session::load`]: ONNX bytes in, a session out that any number of threads may
//! [`run`](Session::run) at once. The engine below is rten, pure Rust, with run-time dispatch to
//! AVX2, AVX-512, VNNI and NEON kernels; its types do not leak out of this crate. It has no
//! operators of classical machine learning, so trees (`TreeEnsemble` and its older forms) run in an
//! evaluator of our own, and the rest of their graph around it.
//!
//! It knows nothing of texts, labels, bundles or HTTP.

mod forest;
mod operators;
mod partition;
mod tail;

use std::sync::Arc;

pub use forest::ForestError;
use luthier_graph::Graph;
use operators::Operators;
use partition::Partition;
use rten::ThreadPool;

/// A loaded graph, ready to run.
pub struct Session {
    graph: Loaded,
    threads: Threads,
}

enum Loaded {
    Operators(Operators),
    Partition(Partition),
}

/// The threads that a graph's operators may use.
#[derive(Clone, Debug)]
pub struct Threads(Arc<ThreadPool>);

/// How the operators of trees are called, or how their names begin. A file that does not have it
/// anywhere is not read twice.
const TREES: &[u8] = b"TreeEnsemble";

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
    /// A node with trees is malformed, or says something that is not supported.
    #[error("node `{node}`: {reason}")]
    Forest {
        /// The node.
        node: String,
        /// What is wrong.
        reason: ForestError,
    },
    /// The rows that a node with trees gets are too short for its tests.
    #[error("node `{node}` gets rows of {found} numbers and tests {needed}")]
    Width {
        /// The node.
        node: String,
        /// Numbers in a row.
        found: usize,
        /// Numbers needed.
        needed: usize,
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

impl Input<'_> {
    /// Checks that the data of the input called `name` fill its shape.
    fn check(&self, name: &str) -> Result<(), EngineError> {
        let (shape, found) = match self {
            Self::F32(shape, data) => (shape, data.len()),
            Self::I32(shape, data) => (shape, data.len()),
        };
        let expected = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        let expected = expected.unwrap_or(usize::MAX);
        match found == expected {
            true => Ok(()),
            false => Err(EngineError::Size { name: name.to_owned(), found, expected }),
        }
    }
}

impl Session {
    /// Loads an ONNX model; constant weights are packed for the processor at hand.
    pub fn load(onnx: Vec<u8>, threads: &Threads) -> Result<Self, EngineError> {
        let graph = match memchr::memmem::find(&onnx, TREES).is_some() {
            true => {
                let graph = Graph::from_onnx(&onnx);
                let graph = graph.map_err(|error| EngineError::Load(error.to_string()))?;
                Loaded::Partition(Partition::new(graph)?)
            }
            false => Loaded::Operators(Operators::load(onnx)?),
        };
        Ok(Self { graph, threads: threads.clone() })
    }

    /// Names and shapes of the inputs; `None` is a size that may vary.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Vec<Option<usize>>)> {
        let inputs: Vec<_> = match &self.graph {
            Loaded::Operators(operators) => operators.inputs().collect(),
            Loaded::Partition(partition) => partition.inputs().collect(),
        };
        inputs.into_iter()
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
        match &self.graph {
            Loaded::Partition(partition) => partition.run(threads, inputs, output),
            Loaded::Operators(operators) => {
                let given = operators.run(threads, inputs, &[], &[output])?.pop();
                let no_output = || EngineError::Run("the engine gave no output".to_owned());
                given.ok_or_else(no_output)?.into_output()
            }
        }
    }
}
