//! Making graphs in code.

use crate::{Attribute, DType, Dim, Graph, ML_DOMAIN, Node, Tensor, TensorData, TensorInfo};

/// Operator set of graphs that are built here; every engine we target reads it.
const OPSET: i64 = 17;

/// Builds a [`Graph`] node by node; each call returns the name of its result, which later calls
/// take as input.
///
/// ```
/// # use luthier_graph::{GraphBuilder, DType, Dim, TensorData};
/// let mut builder = GraphBuilder::new("double");
/// let x = builder.input("x", DType::F32, vec![Dim::Named("batch".into())]);
/// let two = builder.constant("two", vec![1], TensorData::F32(vec![2.0]));
/// let y = builder.node("Mul", &[&x, &two], "y");
/// let graph = builder.finish(&[(&y, DType::F32, vec![Dim::Named("batch".into())])]);
/// assert_eq!(graph.nodes.len(), 1);
/// ```
#[derive(Debug)]
pub struct GraphBuilder(Graph);

impl GraphBuilder {
    /// An empty graph called `name`.
    pub fn new(name: &str) -> Self {
        Self(Graph {
            name: name.to_owned(),
            opset: OPSET,
            ml_opset: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            nodes: Vec::new(),
            tensors: Vec::new(),
        })
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, dtype: DType, shape: Vec<Dim>) -> String {
        self.0.inputs.push(TensorInfo { name: name.to_owned(), dtype, shape });
        name.to_owned()
    }

    /// Adds a constant of `shape`, row-major.
    pub fn constant(&mut self, name: &str, shape: Vec<usize>, data: TensorData) -> String {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len(), "shape of `{name}`");
        self.0.tensors.push(Tensor { name: name.to_owned(), shape, data });
        name.to_owned()
    }

    /// Adds a call of `op` on `inputs` whose only result is called `output`.
    pub fn node(&mut self, op: &str, inputs: &[&str], output: &str) -> String {
        self.node_with(op, inputs, output, Vec::new())
    }

    /// [`GraphBuilder::node`] with attributes.
    pub fn node_with(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<(&str, Attribute)>,
    ) -> String {
        self.0.nodes.push(Node {
            name: format!("{op}/{output}"),
            op: op.to_owned(),
            domain: String::new(),
            inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
            outputs: vec![output.to_owned()],
            attributes: attributes.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        });
        output.to_owned()
    }

    /// [`GraphBuilder::node_with`] for an operator of [`ML_DOMAIN`] as version `opset` of that set has it.
    pub fn ml_node(
        &mut self,
        op: &str,
        opset: i64,
        inputs: &[&str],
        output: &str,
        attributes: Vec<(&str, Attribute)>,
    ) -> String {
        let output = self.node_with(op, inputs, output, attributes);
        self.0.nodes.last_mut().into_iter().for_each(|node| ML_DOMAIN.clone_into(&mut node.domain));
        self.0.ml_opset = self.0.ml_opset.max(Some(opset));
        output
    }

    /// Declares the outputs and gives the graph.
    pub fn finish(mut self, outputs: &[(&str, DType, Vec<Dim>)]) -> Graph {
        self.0.outputs = outputs
            .iter()
            .map(|(name, dtype, shape)| TensorInfo {
                name: (*name).to_owned(),
                dtype: *dtype,
                shape: shape.clone(),
            })
            .collect();
        self.0
    }
}
