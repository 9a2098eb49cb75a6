//! A model graph as ONNX: build it, write it, read it back, check it.
//!
//! Start from [`Graph`]: named inputs and outputs, [`Tensor`]s that hold the weights, and
//! [`Node`]s in an order in which each can run. [`GraphBuilder`] makes one in code,
//! [`Graph::to_onnx`] and [`Graph::from_onnx`] cross the border to bytes. The wire messages
//! (`onnx.proto`, the subset that inference needs) stay private to the crate.
//!
//! Reading never trusts the bytes: sizes are checked before anything is allocated, names must
//! resolve, nodes must be in order. The crate does not know how to run a graph.

mod builder;
mod onnx;
mod wire;

pub use builder::GraphBuilder;
pub use onnx::{ExternalData, GraphError};

/// Domain of the operators of classical machine learning, such as trees.
pub const ML_DOMAIN: &str = "ai.onnx.ml";

/// A directed acyclic graph of operators over named tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Name of the graph, for people.
    pub name: String,
    /// Version of the default operator set.
    pub opset: i64,
    /// Version of the operator set `ai.onnx.ml` ([`ML_DOMAIN`]), where its operators occur.
    pub ml_opset: Option<i64>,
    /// What must be fed.
    pub inputs: Vec<TensorInfo>,
    /// What comes out.
    pub outputs: Vec<TensorInfo>,
    /// Operators; each reads only inputs, tensors and results of earlier nodes.
    pub nodes: Vec<Node>,
    /// Constants (initializers).
    pub tensors: Vec<Tensor>,
}

/// Name, element type and shape of a graph input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub shape: Vec<Dim>,
}

/// One dimension of a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A known size.
    Fixed(usize),
    /// A size that is only known at run time; equal names mean equal sizes.
    Named(String),
}

/// Element types that graphs here may hold. The discriminants are ONNX's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// 32-bit floating point.
    F32 = 1,
    /// Unsigned 8-bit integer.
    U8 = 2,
    /// Signed 8-bit integer.
    I8 = 3,
    /// Signed 32-bit integer.
    I32 = 6,
    /// Signed 64-bit integer.
    I64 = 7,
    /// True or false, a byte each.
    Bool = 9,
}

impl DType {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }
}

/// A constant tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Sizes of the dimensions; their product is the number of elements.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: TensorData,
}

/// Elements of a [`Tensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// Unsigned 8-bit integers.
    U8(Vec<u8>),
    /// Signed 8-bit integers.
    I8(Vec<i8>),
    /// Signed 32-bit integers.
    I32(Vec<i32>),
    /// Signed 64-bit integers.
    I64(Vec<i64>),
    /// 1 for true, 0 for false.
    Bool(Vec<u8>),
}

impl TensorData {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::Bool(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::U8(_) => DType::U8,
            Self::I8(_) => DType::I8,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
            Self::Bool(_) => DType::Bool,
        }
    }
}

/// One operator call.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name, unique in the graph.
    pub name: String,
    /// Operator, such as `MatMul`.
    pub op: String,
    /// Operator domain; empty for the default set.
    pub domain: String,
    /// Names of what it reads; empty where an optional input is left out.
    pub inputs: Vec<String>,
    /// Names of what it gives.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attributes: Vec<(String, Attribute)>,
}

/// The value of a node's attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A real number.
    Float(f32),
    /// Text.
    Text(String),
    /// Integers.
    Ints(Vec<i64>),
    /// Real numbers.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
    /// A constant.
    Tensor(Tensor),
}

impl Graph {
    /// The constant called `name`.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The node that gives `name`.
    pub fn producer(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.outputs.iter().any(|output| output == name))
    }

    /// Lets every node that reads `name` read `other` instead, and drops what no output needs any
    /// more.
    pub fn bypass(&mut self, name: &str, other: &str) {
        let inputs = self.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        inputs.filter(|input| *input == name).for_each(|input| other.clone_into(input));
        self.prune();
    }

    /// Calls what nodes or constants give `other` instead of `name`, wherever it is read.
    pub fn rename(&mut self, name: &str, other: &str) {
        let nodes = self.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().chain(&mut n.outputs));
        let tensors = self.tensors.iter_mut().map(|tensor| &mut tensor.name);
        let outputs = self.outputs.iter_mut().map(|output| &mut output.name);
        let names = nodes.chain(tensors).chain(outputs);
        names.filter(|known| *known == name).for_each(|known| other.clone_into(known));
    }

    /// Drops what no output needs.
    pub fn prune(&mut self) {
        let mut needed: std::collections::HashSet<String> =
            self.outputs.iter().map(|output| output.name.clone()).collect();
        self.nodes.reverse();
        self.nodes.retain(|node| {
            let used = node.outputs.iter().any(|output| needed.contains(output));
            if used {
                needed.extend(node.inputs.iter().cloned());
            }
            used
        });
        self.nodes.reverse();
        self.tensors.retain(|tensor| needed.contains(&tensor.name));
    }

    /// Bytes of all constants.
    pub fn weight_bytes(&self) -> usize {
        self.tensors.iter().map(|t| t.data.len() * t.data.dtype().size()).sum()
    }
}
