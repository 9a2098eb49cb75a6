//! Calibration that lives in the graph.

use luthier_graph::{Graph, Node, Tensor, TensorData};

use crate::Model;

/// Name of the constant that logits are multiplied by before the last softmax.
pub(crate) const FACTOR: &str = "inverse_temperature";
/// Name of the constant that is added to them before that, a number for each class.
pub(crate) const SHIFTS: &str = "class_shifts";

impl Model {
    /// Divides the logits by `temperature`, in place of an earlier temperature: above 1 makes the
    /// probabilities less extreme, and none of them changes rank (Guo et al. 2017). Gives `false`
    /// and changes nothing where the graph does not end in a softmax.
    pub fn set_temperature(&mut self, temperature: f64) -> bool {
        let Some(softmax) = last_softmax(&self.graph) else { return false };
        let constant = Constant { op: "Mul", name: FACTOR, neutral: 1.0 };
        constant.set(&mut self.graph, vec![(1.0 / temperature) as f32], softmax);
        true
    }

    /// Adds `shifts`, one for each class, to the logits before the temperature divides them, in place
    /// of earlier ones (Platt 1999, of two classes). Gives `false` and changes nothing where there are
    /// not as many as classes, or the graph does not end in a softmax.
    pub fn set_shifts(&mut self, shifts: &[f64]) -> bool {
        let Some(softmax) = last_softmax(&self.graph) else { return false };
        if shifts.len() != self.decision.outputs() {
            return false;
        }
        let scales = |node: &Node| node.inputs.iter().any(|input| input == FACTOR);
        let reader = self.graph.nodes.iter().position(scales).unwrap_or(softmax);
        let constant = Constant { op: "Add", name: SHIFTS, neutral: 0.0 };
        let shifts = shifts.iter().map(|shift| *shift as f32).collect();
        constant.set(&mut self.graph, shifts, reader);
        true
    }

    /// The temperature that the logits are divided by; 1 where none is set.
    pub fn temperature(&self) -> f64 {
        match self.graph.tensor(FACTOR).map(|tensor| &tensor.data) {
            Some(TensorData::F32(factor)) if factor.len() == 1 => 1.0 / f64::from(factor[0]),
            _ => 1.0,
        }
    }

    /// What is added to the logits before the temperature divides them, a number for each class; empty
    /// where nothing is set.
    pub fn shifts(&self) -> &[f32] {
        match self.graph.tensor(SHIFTS).map(|tensor| &tensor.data) {
            Some(TensorData::F32(shifts)) => shifts,
            _ => &[],
        }
    }
}

/// The softmax that gives the graph's only output.
fn last_softmax(graph: &Graph) -> Option<usize> {
    let [output] = graph.outputs.as_slice() else { return None };
    let gives = |node: &Node| node.op == "Softmax" && node.outputs.contains(&output.name);
    graph.nodes.iter().position(gives)
}

/// A constant that logits are changed by.
struct Constant {
    op: &'static str,
    name: &'static str,
    /// Changes nothing.
    neutral: f32,
}

impl Constant {
    /// Sets its numbers; where it is not there yet and would change something, puts it between the
    /// node at `reader` and what that reads.
    fn set(&self, graph: &mut Graph, numbers: Vec<f32>, reader: usize) {
        if let Some(known) = graph.tensors.iter_mut().find(|tensor| tensor.name == self.name) {
            known.data = TensorData::F32(numbers);
            return;
        }
        if numbers.iter().all(|number| *number == self.neutral) {
            return;
        }
        let read = graph.nodes[reader].inputs[0].clone();
        let changed = format!("{read}.{}", self.name);
        graph.nodes[reader].inputs[0].clone_from(&changed);
        let node = Node {
            name: format!("{}/{changed}", self.op),
            op: self.op.to_owned(),
            domain: String::new(),
            inputs: vec![read, self.name.to_owned()],
            outputs: vec![changed],
            attributes: Vec::new(),
        };
        graph.nodes.insert(reader, node);
        let (name, shape) = (self.name.to_owned(), vec![numbers.len()]);
        graph.tensors.push(Tensor { name, shape, data: TensorData::F32(numbers) });
    }
}
