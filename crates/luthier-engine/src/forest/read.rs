//! From the attributes of a node to an [`Ensemble`]: all ways to write trees down become one.
//!
//! The older operators (`TreeEnsembleRegressor`, `TreeEnsembleClassifier`) list branches and leaves
//! together and name them by tree and number; the newer one (`TreeEnsemble`) lists them apart and
//! names them by position. Six ways to compare with a threshold and two to compare with values
//! become two tests. Nothing of it is trusted.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::str::FromStr;

use luthier_graph::{Attribute, Node, TensorData};

use super::ForestError;
use super::scores::{Aggregate, Scores, Transform};

/// The most targets or classes: what a batch needs grows with them.
const MAX_TARGETS: usize = 1 << 16;

/// Trees as read, with every reference resolved.
#[derive(Debug)]
pub(super) struct Ensemble {
    pub(super) vertices: Vec<Vertex>,
    /// The vertex that each tree begins with.
    pub(super) roots: Vec<u32>,
    pub(super) leaves: Leaves,
    pub(super) scores: Scores,
}

/// What leaves add to the sums of a row, by number.
#[derive(Debug)]
pub(super) struct Leaves {
    /// Those of leaf `i` are `weights[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<u32>,
    weights: Vec<(u32, f32)>,
}

/// A place in a tree.
#[derive(Debug, Clone)]
pub(super) enum Vertex {
    Leaf(u32),
    Branch(Branch),
}

#[derive(Debug, Clone)]
pub(super) struct Branch {
    /// Position of the number that is tested.
    pub(super) feature: u32,
    pub(super) test: Test,
    /// Whether a missing number (NaN) passes.
    pub(super) missing_passes: bool,
    pub(super) passes: u32,
    pub(super) fails: u32,
}

/// What a number must be to pass.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    AtMost(f32),
    Among(Vec<f32>),
}

/// How a branch compares, as ONNX has it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    Unequal,
    Member,
}

impl Ensemble {
    /// Reads a node of domain `ai.onnx.ml`.
    pub(super) fn of_node(node: &Node) -> Result<Self, ForestError> {
        let attributes = Attributes(node);
        match node.op.as_str() {
            "TreeEnsemble" => newer(&attributes),
            "TreeEnsembleClassifier" => older(&attributes, "class", true),
            "TreeEnsembleRegressor" => older(&attributes, "target", false),
            op => Err(unsupported(format!("operator {op}"))),
        }
    }
}

impl Leaves {
    /// The targets that a leaf adds to, and the amounts.
    pub(super) fn adds(&self, leaf: u32) -> &[(u32, f32)] {
        let [start, end] = [leaf, leaf + 1].map(|at| self.offsets[at as usize] as usize);
        &self.weights[start..end]
    }
}

impl Branch {
    /// All comparisons become "at most" or "among", some with the two ways exchanged.
    fn new(
        feature: u32,
        mode: Mode,
        split: f32,
        members: Vec<f32>,
        missing_passes: bool,
        [passes, fails]: [u32; 2],
    ) -> Self {
        // No number lies between a threshold and the next one below it.
        let below = |split: f32| match split {
            f32::NEG_INFINITY => Test::Among(Vec::new()),
            split => Test::AtMost(split.next_down()),
        };
        let (test, exchanged) = match mode {
            Mode::AtMost => (Test::AtMost(split), false),
            Mode::Above => (Test::AtMost(split), true),
            Mode::Below => (below(split), false),
            Mode::AtLeast => (below(split), true),
            Mode::Equal => (Test::Among(vec![split]), false),
            Mode::Unequal => (Test::Among(vec![split]), true),
            Mode::Member => (Test::Among(members), false),
        };
        // What is missing is unequal to every number, whatever the node says of it.
        let missing_passes = missing_passes || mode == Mode::Unequal;
        match exchanged {
            false => Self { feature, test, missing_passes, passes, fails },
            true => Self {
                feature,
                test,
                missing_passes: !missing_passes,
                passes: fails,
                fails: passes,
            },
        }
    }
}

/// Reads `TreeEnsemble`.
fn newer(attributes: &Attributes<'_>) -> Result<Ensemble, ForestError> {
    let modes = attributes.bytes("nodes_modes")?;
    let count = modes.len();
    let sized = |name| attributes.integers_of(name, count);
    let features = sized("nodes_featureids")?;
    let passes = (sized("nodes_truenodeids")?, sized("nodes_trueleafs")?);
    let fails = (sized("nodes_falsenodeids")?, sized("nodes_falseleafs")?);
    let missing = attributes.flags("nodes_missing_value_tracks_true", count)?;
    let splits = attributes.reals("nodes_splits", Some(count))?;
    let members = attributes.sets(modes.iter().filter(|mode| **mode == MEMBER).count())?;
    let mut members = members.iter();

    let targets = attributes.targets("n_targets")?;
    let leaf_targets = attributes.integers("leaf_targetids")?;
    let amounts = attributes.reals("leaf_weights", Some(leaf_targets.len()))?;
    let leaves = leaf_targets.len();
    // A leaf is the vertex that many places after the last branch.
    let child = |(places, is_leaf): &(&[i64], &[i64]), at: usize| match is_leaf[at] {
        0 => within("nodes_truenodeids or nodes_falsenodeids", at, places[at], count),
        _ => within("nodes_truenodeids or nodes_falsenodeids", at, places[at], leaves)
            .map(|leaf| leaf + count as u32),
    };
    let mut vertices = Vec::with_capacity(count + leaves);
    for (at, mode) in modes.iter().enumerate() {
        let mode = mode_of_number(*mode)?;
        let among = match mode {
            Mode::Member => members.next().map_or(&[][..], |set| set).to_vec(),
            _ => Vec::new(),
        };
        if splits[at].is_nan() && mode != Mode::Member {
            return Err(ForestError::Threshold { index: at });
        }
        let feature = within("nodes_featureids", at, features[at], u32::MAX as usize)?;
        let ways = [child(&passes, at)?, child(&fails, at)?];
        vertices.push(Vertex::Branch(Branch::new(
            feature,
            mode,
            splits[at],
            among,
            missing[at],
            ways,
        )));
    }
    vertices.extend((0..leaves as u32).map(Vertex::Leaf));
    let weights = (0..leaves)
        .map(|at| Ok((within("leaf_targetids", at, leaf_targets[at], targets)?, amounts[at])))
        .collect::<Result<_, ForestError>>()?;
    let roots = attributes.integers("tree_roots")?.iter().enumerate();
    let roots = roots
        .map(|(at, root)| within("tree_roots", at, *root, count))
        .collect::<Result<Vec<_>, _>>()?;
    let transform = match attributes.integer("post_transform", 0)? {
        0 => Transform::None,
        // onnxruntime takes each for the other.
        1 | 2 => return Err(ForestError::Ambiguous { what: "post_transform 1 or 2" }),
        3 => Transform::SoftmaxZero,
        4 => Transform::Probit,
        other => return Err(unsupported(format!("post_transform {other}"))),
    };
    let aggregate = match attributes.integer("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => return Err(unsupported(format!("aggregate_function {other}"))),
    };
    let scores = Scores::of_targets(aggregate, roots.len(), Vec::new(), targets, transform)?;
    let leaves = Leaves { offsets: (0..=leaves as u32).collect(), weights };
    Ok(Ensemble { vertices, roots, leaves, scores })
}

/// The number of the mode that tests for a set.
const MEMBER: u8 = 6;

fn mode_of_number(mode: u8) -> Result<Mode, ForestError> {
    use Mode::{Above, AtLeast, AtMost, Below, Equal, Member, Unequal};
    let modes = [AtMost, Below, AtLeast, Above, Equal, Unequal, Member];
    modes.get(mode as usize).copied().ok_or_else(|| unsupported(format!("node mode {mode}")))
}

/// The branch modes of the older operators; a leaf has none.
fn mode_of_text(mode: &str) -> Result<Option<Mode>, ForestError> {
    Ok(Some(match mode {
        "BRANCH_LEQ" => Mode::AtMost,
        "BRANCH_LT" => Mode::Below,
        "BRANCH_GTE" => Mode::AtLeast,
        "BRANCH_GT" => Mode::Above,
        "BRANCH_EQ" => Mode::Equal,
        "BRANCH_NEQ" => Mode::Unequal,
        "LEAF" => return Ok(None),
        other => return Err(unsupported(format!("node mode {other}"))),
    }))
}

/// Reads `TreeEnsembleClassifier` or `TreeEnsembleRegressor`; the names of what leaves add begin with
/// `prefix`.
fn older(
    attributes: &Attributes<'_>,
    prefix: &str,
    classifies: bool,
) -> Result<Ensemble, ForestError> {
    let nodes = OlderNodes::read(attributes)?;
    let labels = attributes.labels()?;
    let targets = match classifies {
        true => bounded_targets("classlabels", labels.count)?,
        false => attributes.targets("n_targets")?,
    };
    let ids = attributes.integers(&format!("{prefix}_ids"))?;
    let amounts = attributes.reals(&format!("{prefix}_weights"), Some(ids.len()))?;
    let leaves = nodes.leaves(attributes, prefix, targets, ids, amounts)?;

    let OlderNodes { vertices, roots, .. } = nodes;
    let transform = attributes.parsed("post_transform", Transform::None)?;
    let base = attributes.reals("base_values", None)?.to_vec();
    let scores = match classifies {
        true => Scores::of_classes(roots.len(), base, ids, amounts, labels, transform)?,
        false => {
            let aggregate = attributes.parsed("aggregate_function", Aggregate::Sum)?;
            Scores::of_targets(aggregate, roots.len(), base, targets, transform)?
        }
    };
    Ok(Ensemble { vertices, roots, leaves, scores })
}

/// The nodes of the older operators, which tell of each other by the numbers of trees and nodes.
struct OlderNodes {
    vertices: Vec<Vertex>,
    /// Places in `vertices`; a tree's is its first.
    roots: Vec<u32>,
    /// Places in `vertices` by numbers of tree and node.
    places: HashMap<(i64, i64), u32>,
    leaves: u32,
}

impl OlderNodes {
    fn read(attributes: &Attributes<'_>) -> Result<Self, ForestError> {
        let numbers = attributes.integers("nodes_nodeids")?;
        let count = numbers.len();
        let sized = |name| attributes.integers_of(name, count);
        let trees = sized("nodes_treeids")?;
        let features = sized("nodes_featureids")?;
        let passes = sized("nodes_truenodeids")?;
        let fails = sized("nodes_falsenodeids")?;
        let modes = attributes.texts("nodes_modes", count)?;
        let missing = attributes.flags("nodes_missing_value_tracks_true", count)?;
        let splits = attributes.reals("nodes_values", Some(count))?;

        let places = HashMap::with_capacity(count);
        let mut nodes =
            Self { vertices: Vec::with_capacity(count), roots: Vec::new(), places, leaves: 0 };
        let mut seen = HashSet::new();
        for (at, (tree, number)) in trees.iter().zip(numbers).enumerate() {
            if seen.insert(*tree) {
                nodes.roots.push(at as u32);
            }
            if nodes.places.insert((*tree, *number), at as u32).is_some() {
                return Err(ForestError::Duplicate { tree: *tree, node: *number });
            }
        }
        for at in 0..count {
            let Some(mode) = mode_of_text(&modes[at])? else {
                nodes.vertices.push(Vertex::Leaf(nodes.leaves));
                nodes.leaves += 1;
                continue;
            };
            if splits[at].is_nan() {
                return Err(ForestError::Threshold { index: at });
            }
            let feature = within("nodes_featureids", at, features[at], u32::MAX as usize)?;
            let ways = [nodes.place(trees[at], passes[at])?, nodes.place(trees[at], fails[at])?];
            let branch = Branch::new(feature, mode, splits[at], Vec::new(), missing[at], ways);
            nodes.vertices.push(Vertex::Branch(branch));
        }
        Ok(nodes)
    }

    fn place(&self, tree: i64, node: i64) -> Result<u32, ForestError> {
        self.places.get(&(tree, node)).copied().ok_or(ForestError::Unknown { tree, node })
    }

    /// What leaves add: `amounts` to the targets `ids`, each of which is below `targets`.
    fn leaves(
        &self,
        attributes: &Attributes<'_>,
        prefix: &str,
        targets: usize,
        ids: &[i64],
        amounts: &[f32],
    ) -> Result<Leaves, ForestError> {
        let trees = attributes.integers_of(&format!("{prefix}_treeids"), ids.len())?;
        let nodes = attributes.integers_of(&format!("{prefix}_nodeids"), ids.len())?;
        let mut entries = Vec::with_capacity(ids.len());
        for at in 0..ids.len() {
            let target = within("class_ids or target_ids", at, ids[at], targets)?;
            // What stands at a branch is never reached.
            if let Vertex::Leaf(leaf) = self.vertices[self.place(trees[at], nodes[at])? as usize] {
                entries.push((leaf, (target, amounts[at])));
            }
        }
        // Stable, so that what a leaf adds to a target stays in the order of the file.
        entries.sort_by_key(|(leaf, _)| *leaf);
        let mut offsets = vec![0; self.leaves as usize + 1];
        entries.iter().for_each(|(leaf, _)| offsets[*leaf as usize + 1] += 1);
        (1..offsets.len()).for_each(|leaf| offsets[leaf] += offsets[leaf - 1]);
        Ok(Leaves { offsets, weights: entries.into_iter().map(|(_, weight)| weight).collect() })
    }
}

/// Names of classes.
pub(super) struct Labels {
    pub(super) count: usize,
    /// Where they are numbers.
    pub(super) numbers: Option<Vec<i32>>,
}

/// Attributes by name, of the type that is asked for.
struct Attributes<'a>(&'a Node);

impl<'a> Attributes<'a> {
    fn get(&self, name: &str) -> Option<&'a Attribute> {
        self.0.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn integer(&self, name: &'static str, default: i64) -> Result<i64, ForestError> {
        match self.get(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => Err(wrong_type(name)),
        }
    }

    fn integers(&self, name: &str) -> Result<&'a [i64], ForestError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Attribute::Ints(values)) => Ok(values),
            Some(_) => Err(wrong_type(name)),
        }
    }

    fn integers_of(&self, name: &str, count: usize) -> Result<&'a [i64], ForestError> {
        self.integers(name).and_then(|values| sized(name, values, count))
    }

    /// Nothing set where absent.
    fn flags(&self, name: &str, count: usize) -> Result<Vec<bool>, ForestError> {
        let values = self.integers(name)?;
        match values.is_empty() {
            true => Ok(vec![false; count]),
            false => Ok(sized(name, values, count)?.iter().map(|value| *value != 0).collect()),
        }
    }

    /// Reals, which may stand in a tensor, in the older operators with a name of its own.
    fn reals(&self, name: &str, count: Option<usize>) -> Result<&'a [f32], ForestError> {
        let values = match self.get(name).or_else(|| self.get(&format!("{name}_as_tensor"))) {
            None => &[],
            Some(Attribute::Floats(values)) => values.as_slice(),
            Some(Attribute::Tensor(tensor)) => match &tensor.data {
                TensorData::F32(values) => values,
                _ => return Err(wrong_type(name)),
            },
            Some(_) => return Err(wrong_type(name)),
        };
        count.map_or(Ok(values), |count| sized(name, values, count))
    }

    /// Sets, each ended by NaN.
    fn sets(&self, count: usize) -> Result<Vec<&'a [f32]>, ForestError> {
        let name = "membership_values";
        let mut sets: Vec<_> = self.reals(name, None)?.split(|value| value.is_nan()).collect();
        // What follows the last NaN is no set.
        sets.pop();
        sized(name, &sets, count)?;
        Ok(sets)
    }

    fn bytes(&self, name: &str) -> Result<&'a [u8], ForestError> {
        match self.get(name) {
            Some(Attribute::Tensor(tensor)) => match &tensor.data {
                TensorData::U8(values) => Ok(values),
                _ => Err(wrong_type(name)),
            },
            _ => Err(wrong_type(name)),
        }
    }

    fn texts(&self, name: &str, count: usize) -> Result<&'a [String], ForestError> {
        match self.get(name) {
            Some(Attribute::Texts(values)) => sized(name, values, count),
            None => sized(name, &[], count),
            Some(_) => Err(wrong_type(name)),
        }
    }

    fn parsed<T: FromStr<Err = ForestError>>(
        &self,
        name: &str,
        default: T,
    ) -> Result<T, ForestError> {
        match self.get(name) {
            None => Ok(default),
            Some(Attribute::Text(text)) => text.parse(),
            Some(_) => Err(wrong_type(name)),
        }
    }

    fn targets(&self, name: &'static str) -> Result<usize, ForestError> {
        let found = self.integer(name, 0)?;
        bounded_targets(name, usize::try_from(found).unwrap_or(0))
    }

    fn labels(&self) -> Result<Labels, ForestError> {
        let numbers = self.integers("classlabels_int64s")?;
        if let Some(Attribute::Texts(texts)) = self.get("classlabels_strings")
            && !texts.is_empty()
        {
            return Ok(Labels { count: texts.len(), numbers: None });
        }
        // The operators around hold integers in 32 bits.
        let narrow: Result<_, _> = numbers.iter().map(|label| i32::try_from(*label)).collect();
        Ok(Labels { count: numbers.len(), numbers: narrow.ok() })
    }
}

fn bounded_targets(name: &'static str, count: usize) -> Result<usize, ForestError> {
    match (1..=MAX_TARGETS).contains(&count) {
        true => Ok(count),
        false => Err(ForestError::Targets { attribute: name, found: count, most: MAX_TARGETS }),
    }
}

fn sized<'a, T>(name: &str, values: &'a [T], expected: usize) -> Result<&'a [T], ForestError> {
    match values.len() == expected {
        true => Ok(values),
        false => {
            Err(ForestError::Length { attribute: name.to_owned(), found: values.len(), expected })
        }
    }
}

fn within(
    attribute: &'static str,
    index: usize,
    value: i64,
    below: usize,
) -> Result<u32, ForestError> {
    match u32::try_from(value) {
        Ok(number) if (number as usize) < below => Ok(number),
        _ => Err(ForestError::Range { attribute, index, value, below }),
    }
}

fn wrong_type(name: impl Display) -> ForestError {
    unsupported(format!("attribute {name} of this type"))
}

pub(super) fn unsupported(what: impl Into<String>) -> ForestError {
    ForestError::Unsupported { what: what.into() }
}
