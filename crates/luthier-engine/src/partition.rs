//! Graphs that hold trees, of which the engine for standard operators knows nothing.
//!
//! The nodes with trees, and what follows them row by row, run here; all the others stay together as
//! one graph of standard operators, for which what comes from the trees is fed like any input. For
//! each output a plan says in which order the two take turns.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use luthier_graph::{DType, Dim, Graph, ML_DOMAIN, Node, TensorInfo};

use crate::forest::{Forest, Rows};
use crate::operators::{Given, Operators};
use crate::tail::RowStep;
use crate::{EngineError, Input, Output, Threads};

/// A graph in parts.
pub(crate) struct Partition {
    inputs: Vec<(String, Vec<Option<usize>>)>,
    /// Each output with the turns that lead to it.
    plans: Vec<(String, Vec<Turn>)>,
    forests: Vec<TreeNode>,
    operators: Option<Operators>,
}

/// What runs next, and what it is to give.
#[derive(Debug)]
struct Turn {
    /// The node with trees; standard operators where absent.
    trees: Option<usize>,
    names: Vec<String>,
}

/// A node with trees and what follows it.
struct TreeNode {
    name: String,
    reads: String,
    forest: Forest,
    steps: Vec<RowStep>,
    /// What the scores are called after the last step, if something reads them.
    scores: Option<String>,
    /// What the labels are called, if something reads them.
    labels: Option<String>,
}

/// A tensor on its way through the parts.
enum Value<'a> {
    Fed(Input<'a>),
    Scores(Output),
    Labels([usize; 1], Vec<i32>),
    Given(Given),
}

/// A tensor whose elements are read as real numbers.
struct Numbers<'a> {
    shape: Cow<'a, [usize]>,
    data: Cow<'a, [f32]>,
}

impl Partition {
    /// Takes `graph` apart.
    pub(crate) fn new(graph: Graph) -> Result<Self, EngineError> {
        let mut absorbed = HashSet::new();
        let mut forests = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            if node.domain == ML_DOMAIN && node.op.starts_with("TreeEnsemble") {
                forests.push(TreeNode::new(node, &graph, &mut absorbed)?);
                absorbed.insert(index);
            }
        }
        let order = Order::new(&graph, &forests, &absorbed);
        let plans = graph.outputs.iter().map(|info| (info.name.clone(), order.plan(&info.name)));
        let plans: Vec<_> = plans.collect();
        let inputs = graph.inputs.iter().map(|info| (info.name.clone(), sizes(info))).collect();
        let rest = rest(graph, &forests, &absorbed, &plans);
        let operators = (!rest.outputs.is_empty()).then(|| Operators::load(rest.to_onnx()));
        Ok(Self { inputs, plans, forests, operators: operators.transpose()? })
    }

    /// Names and shapes of the inputs; `None` is a size that may vary.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (&str, Vec<Option<usize>>)> {
        self.inputs.iter().map(|(name, sizes)| (name.as_str(), sizes.clone()))
    }

    /// Feeds `inputs` and gives `output`.
    pub(crate) fn run(
        &self,
        threads: &Threads,
        inputs: &[(&str, Input<'_>)],
        output: &str,
    ) -> Result<Output, EngineError> {
        let unknown = |what, name: &str| EngineError::Name { what, name: name.to_owned() };
        for (name, input) in inputs {
            input.check(name)?;
            if !self.inputs.iter().any(|(known, _)| known == name) {
                return Err(unknown("input", name));
            }
        }
        let plan = self.plans.iter().find(|(name, _)| name == output);
        let (_, plan) = plan.ok_or_else(|| unknown("output", output))?;
        let fed = inputs.iter().map(|(name, input)| (*name, Value::Fed(*input)));
        let mut values: Vec<(&str, Value<'_>)> = fed.collect();
        for turn in plan {
            let more = match turn.trees {
                Some(index) => self.forests[index].run(threads, &values, &turn.names)?,
                None => self.run_operators(threads, &values, &turn.names)?,
            };
            values.extend(more);
        }
        match values.into_iter().rev().find(|(name, _)| *name == output) {
            Some((_, value)) => value.into_output(),
            None => Err(EngineError::Run(format!("nothing was fed to `{output}`"))),
        }
    }

    fn run_operators<'a>(
        &self,
        threads: &Threads,
        values: &[(&str, Value<'_>)],
        names: &'a [String],
    ) -> Result<Vec<(&'a str, Value<'a>)>, EngineError> {
        let Some(operators) = &self.operators else { return Ok(Vec::new()) };
        let mut fed = Vec::new();
        let mut given = Vec::new();
        for (name, value) in values.iter().filter(|(name, _)| operators.knows(name)) {
            match value {
                Value::Fed(input) => fed.push((*name, *input)),
                Value::Scores(scores) => fed.push((*name, Input::F32(&scores.shape, &scores.data))),
                Value::Labels(shape, data) => fed.push((*name, Input::I32(shape, data))),
                Value::Given(value) => given.push((*name, value)),
            }
        }
        let outputs: Vec<&str> = names.iter().map(String::as_str).collect();
        let values = operators.run(threads, &fed, &given, &outputs)?;
        Ok(outputs.into_iter().zip(values.into_iter().map(Value::Given)).collect())
    }
}

impl TreeNode {
    /// Reads `node` and what follows it row by row, whose places are `absorbed`.
    fn new(node: &Node, graph: &Graph, absorbed: &mut HashSet<usize>) -> Result<Self, EngineError> {
        let name = if node.name.is_empty() { &node.op } else { &node.name };
        let malformed = |reason| EngineError::Forest { node: name.clone(), reason };
        let forest = Forest::new(node).map_err(malformed)?;
        let classifies = node.op == "TreeEnsembleClassifier";
        let (labels, scores) = match (classifies, node.outputs.as_slice()) {
            (true, [labels]) => (Some(labels), None),
            (true, [labels, scores]) => (Some(labels), Some(scores)),
            (false, [scores]) => (None, Some(scores)),
            _ => return Err(EngineError::Load(format!("`{name}` gives too many outputs"))),
        };
        let [reads] = node.inputs.as_slice() else {
            return Err(EngineError::Load(format!("`{name}` takes one input")));
        };
        if graph.tensor(reads).is_some() {
            return Err(EngineError::Load(format!("`{name}` reads a constant")));
        }
        let used = |name: Option<&String>| name.filter(|name| used(graph, name)).cloned();
        let (labels, scores) = (used(labels), used(scores));
        if labels.is_some() && !forest.labels() {
            return Err(EngineError::Load(format!("`{name}` gives labels that are not integers")));
        }
        let (steps, scores) = match scores {
            Some(scores) => follow(graph, scores, &forest, absorbed),
            None => (Vec::new(), None),
        };
        Ok(Self { name: name.clone(), reads: reads.clone(), forest, steps, scores, labels })
    }

    fn gives(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().chain(&self.scores).map(String::as_str)
    }

    /// Gives those of its tensors that are among `names`.
    fn run(
        &self,
        threads: &Threads,
        values: &[(&str, Value<'_>)],
        names: &[String],
    ) -> Result<Vec<(&str, Value<'static>)>, EngineError> {
        let value = values.iter().find(|(name, _)| *name == self.reads);
        let (_, value) = value.ok_or_else(|| {
            EngineError::Run(format!("`{}` reads `{}`, which is not fed", self.name, self.reads))
        })?;
        let numbers = value.numbers()?;
        let rows = self.rows(&numbers)?;
        let mut values = Vec::with_capacity(names.len());
        if let Some(name) = self.labels.as_ref().filter(|name| names.contains(name)) {
            let labels = self.forest.run_labels(rows, threads);
            values.push((name.as_str(), Value::Labels([rows.count], labels)));
        }
        if let Some(name) = self.scores.as_ref().filter(|name| names.contains(name)) {
            let mut width = self.forest.width();
            let mut data = self.forest.run(rows, threads);
            for step in &self.steps {
                data = step.apply(data, width);
                width = step.width(width);
            }
            let shape = vec![rows.count, width];
            values.push((name.as_str(), Value::Scores(Output { shape, data })));
        }
        Ok(values)
    }

    /// A tensor as rows, if they are wide enough.
    fn rows<'a>(&self, numbers: &'a Numbers<'_>) -> Result<Rows<'a>, EngineError> {
        let (count, width) = match *numbers.shape {
            [width] => (1, width),
            [count, width] => (count, width),
            _ => return Err(EngineError::Run(format!("`{}` takes rows of numbers", self.name))),
        };
        match self.forest.features() {
            needed if width < needed => {
                Err(EngineError::Width { node: self.name.clone(), found: width, needed })
            }
            _ => Ok(Rows { data: &numbers.data, count, width }),
        }
    }

    /// Columns of what comes out.
    fn width(&self) -> usize {
        self.steps.iter().fold(self.forest.width(), |width, step| step.width(width))
    }
}

impl Value<'_> {
    fn numbers(&self) -> Result<Numbers<'_>, EngineError> {
        let real = |data: &[i32]| data.iter().map(|x| *x as f32).collect();
        let (shape, data): (Cow<'_, [usize]>, Cow<'_, [f32]>) = match self {
            Self::Fed(Input::F32(shape, data)) => (Cow::Borrowed(shape), Cow::Borrowed(data)),
            Self::Fed(Input::I32(shape, data)) => (Cow::Borrowed(shape), real(data)),
            Self::Labels(shape, data) => (Cow::Borrowed(shape), real(data)),
            Self::Scores(scores) => (Cow::Borrowed(&scores.shape), Cow::Borrowed(&scores.data)),
            Self::Given(given) => {
                let Output { shape, data } = given.numbers()?;
                (Cow::Owned(shape), Cow::Owned(data))
            }
        };
        Ok(Numbers { shape, data })
    }

    fn into_output(self) -> Result<Output, EngineError> {
        match self {
            Self::Scores(scores) => Ok(scores),
            Self::Given(given) => given.into_output(),
            Self::Fed(Input::F32(shape, data)) => {
                Ok(Output { shape: shape.to_vec(), data: data.to_vec() })
            }
            Self::Fed(Input::I32(..)) | Self::Labels(..) => {
                Err(EngineError::Run("the output is not float32".to_owned()))
            }
        }
    }
}

/// The steps that follow `scores` of a forest one after another, each reading only what is before it,
/// and what their result is called.
fn follow(
    graph: &Graph,
    mut scores: String,
    forest: &Forest,
    absorbed: &mut HashSet<usize>,
) -> (Vec<RowStep>, Option<String>) {
    let mut steps = Vec::new();
    let mut width = forest.width();
    while let Some(index) = only_reader(graph, &scores) {
        let node = &graph.nodes[index];
        let Some(step) = RowStep::of_node(node, graph, &scores, width) else { break };
        width = step.width(width);
        scores.clone_from(&node.outputs[0]);
        steps.push(step);
        absorbed.insert(index);
    }
    (steps, Some(scores))
}

/// The place of the node that alone reads `name`, once, if it is no output of the graph.
fn only_reader(graph: &Graph, name: &str) -> Option<usize> {
    if graph.outputs.iter().any(|output| output.name == name) {
        return None;
    }
    let reads = graph.nodes.iter().enumerate().flat_map(|(index, node)| {
        node.inputs.iter().filter(|input| *input == name).map(move |_| index)
    });
    let mut reads = reads.take(2);
    let index = reads.next()?;
    reads.next().is_none().then_some(index)
}

fn used(graph: &Graph, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    graph.outputs.iter().any(|output| output.name == name)
        || graph.nodes.iter().any(|node| node.inputs.iter().any(|input| input == name))
}

/// When each part of a graph can run. Turns are counted: standard operators have the even ones, trees
/// the odd ones, and everything runs in the first turn of its kind in which all that it reads is there.
struct Order<'a> {
    /// The turn in which a tensor is made, who makes it, and what that reads.
    made: HashMap<&'a str, Made<'a>>,
}

struct Made<'a> {
    turn: usize,
    /// The node with trees; a standard operator where absent.
    trees: Option<usize>,
    reads: &'a [String],
}

impl<'a> Order<'a> {
    fn new(graph: &'a Graph, forests: &'a [TreeNode], absorbed: &HashSet<usize>) -> Self {
        let mut order = Self { made: HashMap::new() };
        let mut pending = forests.iter().enumerate();
        for (index, node) in graph.nodes.iter().enumerate() {
            let trees = node.domain == ML_DOMAIN && node.op.starts_with("TreeEnsemble");
            if trees {
                let Some((at, forest)) = pending.next() else { continue };
                let turn = order.turn(&node.inputs) | 1;
                for name in forest.gives() {
                    order.made.insert(name, Made { turn, trees: Some(at), reads: &node.inputs });
                }
            } else if !absorbed.contains(&index) {
                let turn = order.turn(&node.inputs).next_multiple_of(2);
                for name in &node.outputs {
                    order.made.insert(name, Made { turn, trees: None, reads: &node.inputs });
                }
            }
        }
        order
    }

    /// The first turn in which all of `names` are there.
    fn turn(&self, names: &[String]) -> usize {
        names
            .iter()
            .filter_map(|name| self.made.get(name.as_str()))
            .map(|made| made.turn)
            .max()
            .unwrap_or(0)
    }

    /// The turns that lead to `output`.
    fn plan(&self, output: &str) -> Vec<Turn> {
        // Nodes with trees that read each other share a turn, and in it have the order of the graph.
        let mut turns: BTreeMap<(usize, Option<usize>), Vec<String>> = BTreeMap::new();
        let mut given = HashSet::new();
        let mut seen = HashSet::new();
        let mut wanted: Vec<(&str, usize)> = vec![(output, usize::MAX)];
        while let Some((name, reader)) = wanted.pop() {
            let Some((&name, made)) = self.made.get_key_value(name) else { continue };
            // Standard operators give what is read in another turn than theirs.
            let crosses = made.trees.is_some() || reader != made.turn;
            if crosses && given.insert(name) {
                turns.entry((made.turn, made.trees)).or_default().push(name.to_owned());
            }
            if seen.insert(name) {
                wanted.extend(made.reads.iter().map(|read| (read.as_str(), made.turn)));
            }
        }
        turns.into_iter().map(|((_, trees), names)| Turn { trees, names }).collect()
    }
}

/// The graph of standard operators that remains.
fn rest(
    mut graph: Graph,
    forests: &[TreeNode],
    absorbed: &HashSet<usize>,
    plans: &[(String, Vec<Turn>)],
) -> Graph {
    let mut index = 0..;
    graph.nodes.retain(|_| !index.next().is_some_and(|index| absorbed.contains(&index)));
    let known: HashSet<String> = graph.outputs.iter().map(|info| info.name.clone()).collect();
    let turns = plans.iter().flat_map(|(_, turns)| turns).filter(|turn| turn.trees.is_none());
    let given: BTreeSet<&String> = turns.flat_map(|turn| &turn.names).collect();
    graph.outputs.retain(|info| given.contains(&info.name));
    let unknown = given.into_iter().filter(|name| !known.contains(*name));
    // Nothing reads the type and shape of an output.
    let info =
        |name: &String| TensorInfo { name: name.clone(), dtype: DType::F32, shape: Vec::new() };
    graph.outputs.extend(unknown.map(info));
    let rows = || Dim::Named("rows".to_owned());
    for forest in forests {
        if let Some(name) = forest.scores.clone() {
            let shape = vec![rows(), Dim::Fixed(forest.width())];
            graph.inputs.push(TensorInfo { name, dtype: DType::F32, shape });
        }
        if let Some(name) = forest.labels.clone() {
            graph.inputs.push(TensorInfo { name, dtype: DType::I64, shape: vec![rows()] });
        }
    }
    graph.ml_opset = None;
    graph.prune();
    graph
}

fn sizes(info: &TensorInfo) -> Vec<Option<usize>> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Named(_) => None,
    };
    info.shape.iter().map(size).collect()
}
