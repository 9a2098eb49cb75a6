//! Models of graphs that were made elsewhere.

use luthier_graph::{
    Attribute, DType, Dim, Graph, GraphError, Node, Tensor, TensorData, TensorInfo,
};
use serde::{Deserialize, Serialize};

use crate::scaling::{FACTOR, SHIFTS};
use crate::{ClassDecision, Model, Preprocess, PreprocessError, Signature};

/// Name of the graph's output, float32 `[batch, classes]`.
pub const PROBABILITIES: &str = "probabilities";
/// Name of the graph's output where the answer is a number, float32 `[batch, 1]`.
pub const PREDICTION: &str = "prediction";
/// Name of the constant that has the positions of the classes in what a graph gives.
const ORDER: &str = "class_order";

/// What is to be known of the output of a graph, float32 `[batch, classes]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassOutput {
    /// Name of the output.
    pub name: String,
    /// What its numbers are.
    pub gives: Gives,
    /// The classes in its order.
    pub labels: Vec<String>,
}

/// Numbers that a graph may give for classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gives {
    /// What a softmax makes probabilities of.
    Logits,
    /// Probabilities, 1 in sum for each row.
    Probabilities,
}

/// Why a graph that was made elsewhere cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// The graph takes something else than the preprocessing gives.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The graph does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// There is no such output.
    #[error("the graph has no output `{name}`; it has {}", .known.join(", "))]
    NoOutput {
        /// The name.
        name: String,
        /// The outputs.
        known: Vec<String>,
    },
    /// The output is not one number for each class.
    #[error("the graph's output `{name}` {reason}")]
    Output {
        /// The output.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The classes are not those that are decided about.
    #[error("the model's classes are {}, and not {}", .found.join(", "), .expected.join(", "))]
    Labels {
        /// Those of the output.
        found: Vec<String>,
        /// Those of the decision.
        expected: Vec<String>,
    },
}

impl Model {
    /// A classifier of texts of a graph that was made elsewhere. Other outputs than `output` are
    /// dropped, classes are brought into the order of `decision`, and a softmax comes last, so that
    /// the model can be calibrated ([`Model::set_temperature`]).
    pub fn import(
        mut graph: Graph,
        preprocess: Preprocess,
        output: &ClassOutput,
        decision: ClassDecision,
    ) -> Result<Self, ImportError> {
        preprocess.check(&graph)?;
        let order = order(&output.labels, &decision.labels)?;
        let declared = declared(&graph, output)?.clone();
        let mut last = output.name.clone();
        for name in [PROBABILITIES, FACTOR, SHIFTS] {
            let is_known =
                |free: &String| graph.producer(free).is_some() || graph.tensor(free).is_some();
            let free = (0..).map(|n| format!("{name}.imported.{n}")).find(|free| !is_known(free));
            let free = free.unwrap_or_default();
            graph.rename(name, &free);
            if last == name {
                last = free;
            }
        }
        let mut last = logits(&mut graph, last, output.gives);
        if !order.is_sorted() {
            let (shape, data) = (vec![order.len()], TensorData::I64(order));
            graph.tensors.push(Tensor { name: ORDER.to_owned(), shape, data });
            last = append(&mut graph, "Gather", &[&last, ORDER], "logits.ordered");
        }
        append(&mut graph, "Softmax", &[&last], PROBABILITIES);
        let batch = declared.shape.into_iter().next().unwrap_or(Dim::Named("batch".to_owned()));
        let shape = vec![batch, Dim::Fixed(decision.classes())];
        graph.outputs =
            vec![TensorInfo { name: PROBABILITIES.to_owned(), dtype: DType::F32, shape }];
        graph.prune();
        graph.check()?;
        let signature = Signature::text_classifier(decision.classes(), decision.positive.is_some());
        Ok(Self { preprocess, graph, decision: decision.into(), signature })
    }
}

/// The output, if it may be one number for each class.
fn declared<'g>(graph: &'g Graph, output: &ClassOutput) -> Result<&'g TensorInfo, ImportError> {
    let declared = graph.outputs.iter().find(|known| known.name == output.name);
    let declared = declared.ok_or_else(|| ImportError::NoOutput {
        name: output.name.clone(),
        known: graph.outputs.iter().map(|known| format!("`{}`", known.name)).collect(),
    })?;
    let wrong = |reason| Err(ImportError::Output { name: output.name.clone(), reason });
    if declared.dtype != DType::F32 {
        return wrong(format!("gives {:?}, and not F32", declared.dtype));
    }
    match declared.shape.as_slice() {
        [Dim::Named(_), Dim::Named(_)] => Ok(declared),
        [Dim::Named(_), Dim::Fixed(classes)] if *classes == output.labels.len() => Ok(declared),
        [Dim::Named(_), Dim::Fixed(numbers)] => {
            let classes = output.labels.len();
            wrong(format!("gives {numbers} numbers for a text, and there are {classes} classes"))
        }
        [Dim::Fixed(_), _] => {
            wrong("has a fixed size; export the graph with a size of batches that varies".into())
        }
        other => wrong(format!("has {} dimensions, and not two", other.len())),
    }
}

/// For each class of the decision its position in the output.
fn order(found: &[String], expected: &[String]) -> Result<Vec<i64>, ImportError> {
    let position = |label| found.iter().position(|found| found == label).map(|at| at as i64);
    let order: Option<Vec<i64>> = expected.iter().map(position).collect();
    order.filter(|_| found.len() == expected.len()).ok_or_else(|| ImportError::Labels {
        found: found.iter().map(|label| format!("`{label}`")).collect(),
        expected: expected.iter().map(|label| format!("`{label}`")).collect(),
    })
}

/// The name of what a softmax makes the output's probabilities of: what stands before the softmax
/// that they come from or else their logarithms.
fn logits(graph: &mut Graph, given: String, gives: Gives) -> String {
    if gives == Gives::Logits {
        return given;
    }
    match graph.producer(&given).filter(|node| node.op == "Softmax") {
        Some(softmax) => softmax.inputs[0].clone(),
        None => append(graph, "Log", &[&given], "logits.imported"),
    }
}

/// Adds a node that works along the classes, if it works along any.
fn append(graph: &mut Graph, op: &str, inputs: &[&str], output: &str) -> String {
    let axis = ("axis".to_owned(), Attribute::Int(1));
    graph.nodes.push(Node {
        name: format!("{op}/{output}"),
        op: op.to_owned(),
        domain: String::new(),
        inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
        outputs: vec![output.to_owned()],
        attributes: if op == "Log" { Vec::new() } else { vec![axis] },
    });
    output.to_owned()
}
