//! Forests as ONNX.
//!
//! The node of the trees gives margins without the base: onnxruntime reads base values of classifiers in
//! ways that differ with the other attributes. What follows it is made of common operators, so that
//! calibration can be folded in.
//!
//! `nodes_hitrates`, which runtimes pass over, has the share of a branch's training rows that goes left, so that
//! contributions can be told from the graph ([`Forest::of_graph`]).

use luthier_graph::{Attribute, DType, Dim, Graph, GraphBuilder, Tensor, TensorData};
use luthier_model::{COLUMNS, PREDICTION, PROBABILITIES};

use super::forest::{Branch, Child, Condition, Forest, Link, Tree};

/// The version of the operators for classical learning that has `TreeEnsembleRegressor` as it is used here.
const REGRESSOR_OPSET: i64 = 3;
/// The version that has `TreeEnsemble`, whose branches ask for sets.
const ENSEMBLE_OPSET: i64 = 5;
/// Modes of branches in `TreeEnsemble`.
pub(super) const LESS_OR_EQUAL: u8 = 0;
pub(super) const MEMBER: u8 = 6;
/// What the trees give.
pub(super) const MARGINS: &str = "margins";
/// The constant that is added to it.
pub(super) const BASE: &str = "base";

impl Forest {
    /// The forest as a graph from [`COLUMNS`], float `[batch, columns]`, to `probabilities`,
    /// `[batch, classes]`, or to `prediction`, `[batch, 1]`.
    pub fn graph(&self) -> Graph {
        let mut builder = GraphBuilder::new("forest");
        let shape = |width| vec![Dim::Named("batch".to_owned()), Dim::Fixed(width)];
        builder.input(COLUMNS, DType::F32, shape(self.columns));
        let margins = self.ensemble(&mut builder);
        let constant = |builder: &mut GraphBuilder, name: &str, values: &[f32]| {
            builder.constant(name, vec![values.len()], TensorData::F32(values.to_vec()))
        };
        let (output, width) = match (self.link, self.base.as_slice()) {
            (Link::Softmax, [base]) => {
                // The logit of class 0 is 0.
                let pair = TensorData::F32(vec![0.0, 1.0]);
                let pair = builder.constant("pair", vec![1, 2], pair);
                let logits = builder.node("MatMul", &[&margins, &pair], "margin_pairs");
                let base = constant(&mut builder, BASE, &[0.0, *base]);
                let logits = builder.node("Add", &[&logits, &base], "logits");
                (builder.node("Softmax", &[&logits], PROBABILITIES), 2)
            }
            (Link::Softmax, base) => {
                let bias = constant(&mut builder, BASE, base);
                let logits = builder.node("Add", &[&margins, &bias], "logits");
                (builder.node("Softmax", &[&logits], PROBABILITIES), base.len())
            }
            (Link::Identity, base) => {
                let bias = constant(&mut builder, BASE, base);
                (builder.node("Add", &[&margins, &bias], PREDICTION), 1)
            }
            (Link::Exp, base) => {
                let bias = constant(&mut builder, BASE, base);
                let sums = builder.node("Add", &[&margins, &bias], "logarithms");
                (builder.node("Exp", &[&sums], PREDICTION), 1)
            }
        };
        builder.finish(&[(output.as_str(), DType::F32, shape(width))])
    }

    fn ensemble(&self, builder: &mut GraphBuilder) -> String {
        let mut branches = self.trees.iter().flat_map(|tree| &tree.branches);
        let sets = branches.any(|branch| matches!(branch.condition, Condition::Among(_)));
        let (op, opset, attributes) = if sets {
            ("TreeEnsemble", ENSEMBLE_OPSET, self.ensemble_attributes())
        } else {
            ("TreeEnsembleRegressor", REGRESSOR_OPSET, self.regressor_attributes())
        };
        builder.ml_node(op, opset, &[COLUMNS], MARGINS, attributes)
    }

    /// Nodes of a tree are numbered branches first, so that the root is 0. A forest without trees gets
    /// one that adds nothing.
    fn regressor_attributes(&self) -> Vec<(&'static str, Attribute)> {
        let mut nodes = RegressorNodes::default();
        for (number, tree) in self.trees.iter().enumerate() {
            nodes.add(number as i64, tree);
        }
        if self.trees.is_empty() {
            nodes.leaf([0, 0, 0], 0.0);
        }
        let RegressorNodes { integers, values, hitrates, modes, targets, weights } = nodes;
        let [trees, ids, columns, lefts, rights, missing] = integers;
        let [target_trees, target_nodes, target_ids] = targets;
        vec![
            ("n_targets", Attribute::Int(self.outputs() as i64)),
            ("aggregate_function", Attribute::Text("SUM".to_owned())),
            ("post_transform", Attribute::Text("NONE".to_owned())),
            ("nodes_treeids", Attribute::Ints(trees)),
            ("nodes_nodeids", Attribute::Ints(ids)),
            ("nodes_featureids", Attribute::Ints(columns)),
            ("nodes_truenodeids", Attribute::Ints(lefts)),
            ("nodes_falsenodeids", Attribute::Ints(rights)),
            ("nodes_missing_value_tracks_true", Attribute::Ints(missing)),
            ("nodes_values", Attribute::Floats(values)),
            ("nodes_hitrates", Attribute::Floats(hitrates)),
            ("nodes_modes", Attribute::Texts(modes)),
            ("target_treeids", Attribute::Ints(target_trees)),
            ("target_nodeids", Attribute::Ints(target_nodes)),
            ("target_ids", Attribute::Ints(target_ids)),
            ("target_weights", Attribute::Floats(weights)),
        ]
    }

    fn ensemble_attributes(&self) -> Vec<(&'static str, Attribute)> {
        let (mut roots, mut nodes) = (Vec::new(), [const { Vec::new() }; 6]);
        let (mut modes, mut splits, mut members) = (Vec::new(), Vec::new(), Vec::new());
        let mut hitrates = Vec::new();
        let (mut targets, mut weights) = (Vec::new(), Vec::new());
        for tree in &self.trees {
            let (first_branch, first_leaf) = (modes.len() as i64, weights.len() as i64);
            roots.push(first_branch);
            for branch in &tree.branches {
                let Branch { column, condition, missing_left, children, .. } = branch;
                hitrates.push(tree.left_share(branch));
                let (mode, split) = match condition {
                    Condition::UpTo(last) => (LESS_OR_EQUAL, *last),
                    Condition::Among(codes) => {
                        members.extend(codes.iter().map(|code| *code as f32));
                        members.push(f32::NAN);
                        (MEMBER, 0.0)
                    }
                };
                modes.push(mode);
                splits.push(split);
                let [left, right] = children.map(|child| match child {
                    Child::Branch(branch) => (first_branch + i64::from(branch), 0),
                    Child::Leaf(leaf) => (first_leaf + i64::from(leaf), 1),
                });
                let missing = i64::from(*missing_left);
                let row = [i64::from(*column), left.0, left.1, right.0, right.1, missing];
                nodes.iter_mut().zip(row).for_each(|(nodes, number)| nodes.push(number));
            }
            targets.extend(tree.leaves.iter().map(|_| tree.output as i64));
            weights.extend(tree.leaves.iter().map(|leaf| leaf.value));
        }
        let [columns, lefts, left_leaves, rights, right_leaves, missing] = nodes;
        vec![
            ("n_targets", Attribute::Int(self.outputs() as i64)),
            ("aggregate_function", Attribute::Int(1)),
            ("post_transform", Attribute::Int(0)),
            ("tree_roots", Attribute::Ints(roots)),
            ("nodes_featureids", Attribute::Ints(columns)),
            ("nodes_truenodeids", Attribute::Ints(lefts)),
            ("nodes_trueleafs", Attribute::Ints(left_leaves)),
            ("nodes_falsenodeids", Attribute::Ints(rights)),
            ("nodes_falseleafs", Attribute::Ints(right_leaves)),
            ("nodes_missing_value_tracks_true", Attribute::Ints(missing)),
            ("nodes_modes", tensor(TensorData::U8(modes))),
            ("nodes_splits", tensor(TensorData::F32(splits))),
            ("nodes_hitrates", tensor(TensorData::F32(hitrates))),
            ("membership_values", tensor(TensorData::F32(members))),
            ("leaf_targetids", Attribute::Ints(targets)),
            ("leaf_weights", tensor(TensorData::F32(weights))),
        ]
    }
}

fn tensor(data: TensorData) -> Attribute {
    Attribute::Tensor(Tensor { name: String::new(), shape: vec![data.len()], data })
}

/// The attributes of `TreeEnsembleRegressor`.
#[derive(Default)]
struct RegressorNodes {
    /// Tree, node, column, left, right, whether missing cells go left.
    integers: [Vec<i64>; 6],
    values: Vec<f32>,
    hitrates: Vec<f32>,
    modes: Vec<String>,
    /// Tree, node, output.
    targets: [Vec<i64>; 3],
    weights: Vec<f32>,
}

impl RegressorNodes {
    fn add(&mut self, number: i64, tree: &Tree) {
        let id = |child| match child {
            Child::Branch(branch) => i64::from(branch),
            Child::Leaf(leaf) => tree.branches.len() as i64 + i64::from(leaf),
        };
        for (at, branch) in (0..).zip(&tree.branches) {
            let Branch { column, condition, missing_left, children, .. } = branch;
            // Sets are written in the other form.
            let Condition::UpTo(last) = condition else { continue };
            let [left, right] = children.map(id);
            let missing = i64::from(*missing_left);
            let integers = [number, at, i64::from(*column), left, right, missing];
            self.node(integers, [*last, tree.left_share(branch)], "BRANCH_LEQ");
        }
        for (leaf, at) in tree.leaves.iter().zip(tree.branches.len() as i64..) {
            self.leaf([number, at, tree.output as i64], leaf.value);
        }
    }

    fn leaf(&mut self, [tree, node, output]: [i64; 3], weight: f32) {
        self.node([tree, node, 0, 0, 0, 0], [0.0; 2], "LEAF");
        self.targets.iter_mut().zip([tree, node, output]).for_each(|(all, one)| all.push(one));
        self.weights.push(weight);
    }

    fn node(&mut self, integers: [i64; 6], [value, hitrate]: [f32; 2], mode: &str) {
        self.integers.iter_mut().zip(integers).for_each(|(all, one)| all.push(one));
        self.values.push(value);
        self.hitrates.push(hitrate);
        self.modes.push(mode.to_owned());
    }
}
