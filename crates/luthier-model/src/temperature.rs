//! Calibration that lives in the graph.

use luthier_graph::{Graph, Node, Tensor, TensorData};

use crate::Model;

/// Name of the constant that logits are multiplied by before the last softmax.
pub(crate) const FACTOR: &str = "inverse_temperature";

impl Model {
    /// Divides the logits by `temperature`, in place of an earlier temperature: above 1 makes the
    /// probabilities less extreme, and none of them changes rank (Guo et al. 2017). Gives `false`
    /// and changes nothing where the graph does not end in a softmax.
    pub fn set_temperature(&mut self, temperature: f64) -> bool {
        let factor = TensorData::F32(vec![(1.0 / temperature) as f32]);
        if let Some(known) = self.graph.tensors.iter_mut().find(|tensor| tensor.name == FACTOR) {
            known.data = factor;
            return true;
        }
        let Some(softmax) = last_softmax(&self.graph) else { return false };
        let logits = self.graph.nodes[softmax].inputs[0].clone();
        let scaled = format!("{logits}.scaled");
        self.graph.nodes[softmax].inputs[0].clone_from(&scaled);
        let scale = Node {
            name: format!("Mul/{scaled}"),
            op: "Mul".to_owned(),
            domain: String::new(),
            inputs: vec![logits, FACTOR.to_owned()],
            outputs: vec![scaled],
            attributes: Vec::new(),
        };
        self.graph.nodes.insert(softmax, scale);
        self.graph.tensors.push(Tensor { name: FACTOR.to_owned(), shape: vec![1], data: factor });
        true
    }

    /// Adds `shift` to the logit of class 1 before the temperature divides it. Gives `false` and
    /// changes nothing where no bias of one value per class stands before the last softmax.
    pub fn shift_logit(&mut self, shift: f64) -> bool {
        let Some(bias) = last_bias(&self.graph) else { return false };
        let tensor = self.graph.tensors.iter_mut().find(|tensor| tensor.name == bias);
        match tensor.map(|tensor| &mut tensor.data) {
            Some(TensorData::F32(values)) if values.len() == self.decision.outputs() => {
                values[1] += shift as f32;
                true
            }
            _ => false,
        }
    }

    /// The temperature that the logits are divided by; 1 where none is set.
    pub fn temperature(&self) -> f64 {
        match self.graph.tensor(FACTOR).map(|tensor| &tensor.data) {
            Some(TensorData::F32(factor)) if factor.len() == 1 => 1.0 / f64::from(factor[0]),
            _ => 1.0,
        }
    }
}

/// The softmax that gives the graph's only output.
fn last_softmax(graph: &Graph) -> Option<usize> {
    let [output] = graph.outputs.as_slice() else { return None };
    let gives = |node: &Node| node.op == "Softmax" && node.outputs.contains(&output.name);
    graph.nodes.iter().position(gives)
}

/// The constant that is added right before the temperature and the last softmax.
fn last_bias(graph: &Graph) -> Option<String> {
    let softmax = &graph.nodes[last_softmax(graph)?];
    let mut node = graph.producer(&softmax.inputs[0])?;
    if node.inputs.iter().any(|input| input == FACTOR) {
        node = graph.producer(&node.inputs[0])?;
    }
    let bias = node.inputs.get(1).filter(|_| node.op == "Add")?;
    graph.tensor(bias).map(|tensor| tensor.name.clone())
}
