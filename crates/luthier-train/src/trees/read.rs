//! Forests back from the graphs that [`Forest::graph`] writes.

use luthier_graph::{Attribute, Dim, Graph, Node, TensorData};
use luthier_model::PREDICTION;

use super::export::{BASE, MARGINS};
use super::forest::{Branch, Child, Condition, Forest, Leaf, Link, Tree};

/// What the rows of the root count as. Graphs have shares of rows and not their number.
const ROOT_ROWS: u32 = 1 << 30;
/// Questions on the way to a leaf at most.
const MOST_DEPTH: usize = 1024;

impl Forest {
    /// The forest of a graph that [`Forest::graph`] has written, also after calibration; `None` for any
    /// other. Rows of branches and leaves are in proportion to each other within a tree, and gains are
    /// not known.
    pub fn of_graph(graph: &Graph) -> Option<Self> {
        let [input] = graph.inputs.as_slice() else { return None };
        let columns = match input.shape.get(1)? {
            Dim::Fixed(columns) => *columns,
            Dim::Named(_) => return None,
        };
        let node = graph.producer(MARGINS)?;
        let outputs = usize::try_from(Attributes(node).integer("n_targets")?).ok()?;
        let trees = match node.op.as_str() {
            "TreeEnsembleRegressor" => regressor_trees(&Attributes(node))?,
            "TreeEnsemble" => ensemble_trees(&Attributes(node))?,
            _ => return None,
        };
        let sound = |tree: &Tree| {
            tree.output < outputs && tree.branches.iter().all(|b| (b.column as usize) < columns)
        };
        let is_number = graph.outputs.first()?.name == PREDICTION;
        let link = match is_number {
            true if graph.nodes.iter().any(|node| node.op == "Exp") => Link::Exp,
            true => Link::Identity,
            false => Link::Softmax,
        };
        let TensorData::F32(base) = &graph.tensor(BASE)?.data else { return None };
        // Of two classes, class 0 has a base of its own.
        let base = base.get(base.len().checked_sub(outputs)?..)?.to_vec();
        (outputs > 0 && trees.iter().all(sound)).then_some(Self { columns, base, trees, link })
    }
}

/// The attributes of a node.
struct Attributes<'a>(&'a Node);

impl<'a> Attributes<'a> {
    fn get(&self, name: &str) -> Option<&'a Attribute> {
        self.0.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Attribute::Int(integer) => Some(*integer),
            _ => None,
        }
    }

    fn integers(&self, name: &str) -> Option<&'a [i64]> {
        match self.get(name)? {
            Attribute::Ints(integers) => Some(integers),
            _ => None,
        }
    }

    fn floats(&self, name: &str) -> Option<&'a [f32]> {
        match self.get(name)? {
            Attribute::Floats(floats) => Some(floats),
            Attribute::Tensor(tensor) => match &tensor.data {
                TensorData::F32(floats) => Some(floats),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A branch with its children as numbers of the tree, and the share of its rows that goes left.
struct Question {
    column: i64,
    condition: Condition,
    missing_left: bool,
    children: [Option<Child>; 2],
    left: f32,
}

/// The trees of a `TreeEnsembleRegressor`: in each, branches come first.
fn regressor_trees(attributes: &Attributes<'_>) -> Option<Vec<Tree>> {
    let of_nodes = |name| attributes.integers(name);
    let (of_tree, ids) = (of_nodes("nodes_treeids")?, of_nodes("nodes_nodeids")?);
    let (columns, missing) =
        (of_nodes("nodes_featureids")?, of_nodes("nodes_missing_value_tracks_true")?);
    let children = [of_nodes("nodes_truenodeids")?, of_nodes("nodes_falsenodeids")?];
    let (values, lefts) =
        (attributes.floats("nodes_values")?, attributes.floats("nodes_hitrates")?);
    let Attribute::Texts(modes) = attributes.get("nodes_modes")? else { return None };
    let (outputs, weights) =
        (attributes.integers("target_ids")?, attributes.floats("target_weights")?);
    let (mut trees, mut node, mut leaf) = (Vec::new(), 0, 0);
    while node < ids.len() {
        let nodes = of_tree.get(node..)?.iter().take_while(|tree| **tree == of_tree[node]).count();
        let branches = nodes / 2;
        let child = |id: i64| {
            let id = u32::try_from(id).ok()?;
            let leaf = id.checked_sub(u32::try_from(branches).ok()?);
            Some(leaf.map_or(Child::Branch(id), Child::Leaf))
        };
        let mut questions = Vec::with_capacity(branches);
        for at in node..node + branches {
            if modes.get(at)? != "BRANCH_LEQ" || *ids.get(at)? != (at - node) as i64 {
                return None;
            }
            questions.push(Question {
                column: *columns.get(at)?,
                condition: Condition::UpTo(*values.get(at)?),
                missing_left: *missing.get(at)? == 1,
                children: [child(*children[0].get(at)?), child(*children[1].get(at)?)],
                left: *lefts.get(at)?,
            });
        }
        let leaves = leaf..leaf + branches + 1;
        trees.extend(tree(questions, outputs.get(leaves.clone())?, weights.get(leaves)?)?);
        (node, leaf) = (node + nodes, leaf + branches + 1);
    }
    Some(trees)
}

/// The trees of a `TreeEnsemble`: each goes on to the root of the next.
fn ensemble_trees(attributes: &Attributes<'_>) -> Option<Vec<Tree>> {
    let of_nodes = |name| attributes.integers(name);
    let (roots, columns) = (of_nodes("tree_roots")?, of_nodes("nodes_featureids")?);
    let missing = of_nodes("nodes_missing_value_tracks_true")?;
    let children = [
        (of_nodes("nodes_truenodeids")?, of_nodes("nodes_trueleafs")?),
        (of_nodes("nodes_falsenodeids")?, of_nodes("nodes_falseleafs")?),
    ];
    let (splits, lefts) =
        (attributes.floats("nodes_splits")?, attributes.floats("nodes_hitrates")?);
    let Attribute::Tensor(modes) = attributes.get("nodes_modes")? else { return None };
    let TensorData::U8(modes) = &modes.data else { return None };
    let mut members = attributes.floats("membership_values")?.split(|member| member.is_nan());
    let (outputs, weights) =
        (attributes.integers("leaf_targetids")?, attributes.floats("leaf_weights")?);
    let (mut trees, mut first_leaf) = (Vec::new(), 0);
    let ends = roots.iter().skip(1).copied().chain([columns.len() as i64]);
    for (root, end) in roots.iter().zip(ends) {
        let (root, end) = (usize::try_from(*root).ok()?, usize::try_from(end).ok()?);
        let branches = end.checked_sub(root).filter(|count| *count > 0 && end <= columns.len())?;
        let mut questions = Vec::with_capacity(branches);
        for at in root..end {
            let condition = match *modes.get(at)? {
                super::export::MEMBER => {
                    Condition::Among(members.next()?.iter().map(|code| *code as u32).collect())
                }
                super::export::LESS_OR_EQUAL => Condition::UpTo(*splits.get(at)?),
                _ => return None,
            };
            let child = |(ids, leaves): (&[i64], &[i64])| {
                let id = usize::try_from(*ids.get(at)?).ok()?;
                match leaves.get(at)? {
                    1 => Some(Child::Leaf(u32::try_from(id.checked_sub(first_leaf)?).ok()?)),
                    _ => Some(Child::Branch(u32::try_from(id.checked_sub(root)?).ok()?)),
                }
            };
            questions.push(Question {
                column: *columns.get(at)?,
                condition,
                missing_left: *missing.get(at)? == 1,
                children: children.map(child),
                left: *lefts.get(at)?,
            });
        }
        let leaves = first_leaf..first_leaf + branches + 1;
        trees.extend(tree(questions, outputs.get(leaves.clone())?, weights.get(leaves)?)?);
        first_leaf += branches + 1;
    }
    Some(trees)
}

/// A tree whose branches come after their parents and that meets each place once; nothing within for a
/// leaf alone.
fn tree(questions: Vec<Question>, outputs: &[i64], weights: &[f32]) -> Option<Option<Tree>> {
    if questions.is_empty() {
        return Some(None);
    }
    let mut branches = Vec::with_capacity(questions.len());
    let mut leaves: Vec<Leaf> =
        weights.iter().map(|value| Leaf { value: *value, rows: 0 }).collect();
    // Rows and depth of each branch, once its parent was met.
    let mut known = vec![None; questions.len()];
    known[0] = Some((ROOT_ROWS, 0));
    for (at, question) in questions.into_iter().enumerate() {
        let (rows, depth) = known[at].filter(|(_, depth)| *depth < MOST_DEPTH)?;
        let left = (f64::from(question.left) * f64::from(rows)).round() as u32;
        let left = left.min(rows - 1).max(1);
        let children = [question.children[0]?, question.children[1]?];
        for (child, rows) in children.into_iter().zip([left, (rows - left).max(1)]) {
            let met = match child {
                Child::Branch(branch) if branch as usize > at => {
                    known.get_mut(branch as usize)?.replace((rows, depth + 1)).is_some()
                }
                Child::Branch(_) => true,
                Child::Leaf(leaf) => {
                    std::mem::replace(&mut leaves.get_mut(leaf as usize)?.rows, rows) > 0
                }
            };
            if met {
                return None;
            }
        }
        branches.push(Branch {
            column: u32::try_from(question.column).ok()?,
            condition: question.condition,
            missing_left: question.missing_left,
            children,
            gain: 0.0,
            rows,
        });
    }
    let output = usize::try_from(*outputs.first()?).ok()?;
    let one = outputs.iter().all(|other| *other == outputs[0]);
    one.then_some(Some(Tree { output, branches, leaves }))
}
