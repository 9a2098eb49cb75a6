//! Trees that are none are refused, whatever is wrong with them, and nothing hangs or panics.

use std::fs;
use std::path::Path;

use luthier_engine::{EngineError, ForestError, Input, Session, Threads};
use luthier_graph::{
    Attribute, DType, Dim, Graph, GraphBuilder, ML_DOMAIN, Node, Tensor, TensorData,
};

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

fn tensor(data: TensorData) -> Attribute {
    Attribute::Tensor(Tensor { name: String::new(), shape: vec![data.len()], data })
}

/// A tree of two tests and three leaves, as `TreeEnsembleRegressor` has it.
fn older() -> Vec<(&'static str, Attribute)> {
    let modes = ["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"];
    vec![
        ("n_targets", Attribute::Int(1)),
        ("nodes_treeids", ints(&[0; 5])),
        ("nodes_nodeids", ints(&[0, 1, 2, 3, 4])),
        ("nodes_featureids", ints(&[0, 0, 1, 0, 0])),
        ("nodes_values", Attribute::Floats(vec![0.5, 0.0, 1.5, 0.0, 0.0])),
        ("nodes_modes", Attribute::Texts(modes.map(str::to_owned).to_vec())),
        ("nodes_truenodeids", ints(&[1, 0, 3, 0, 0])),
        ("nodes_falsenodeids", ints(&[2, 0, 4, 0, 0])),
        ("nodes_missing_value_tracks_true", ints(&[1, 0, 0, 0, 0])),
        ("target_treeids", ints(&[0; 3])),
        ("target_nodeids", ints(&[1, 3, 4])),
        ("target_ids", ints(&[0; 3])),
        ("target_weights", Attribute::Floats(vec![1.0, 2.0, 3.0])),
    ]
}

/// The same as a classifier of two classes.
fn classifier() -> Vec<(&'static str, Attribute)> {
    let renamed = |(name, value)| match name {
        "n_targets" => ("classlabels_int64s", ints(&[0, 1])),
        "target_treeids" => ("class_treeids", value),
        "target_nodeids" => ("class_nodeids", value),
        "target_ids" => ("class_ids", value),
        "target_weights" => ("class_weights", value),
        name => (name, value),
    };
    older().into_iter().map(renamed).collect()
}

/// The same as `TreeEnsemble` has it, with a set for the second test.
fn newer() -> Vec<(&'static str, Attribute)> {
    vec![
        ("n_targets", Attribute::Int(1)),
        ("tree_roots", ints(&[0])),
        ("nodes_modes", tensor(TensorData::U8(vec![0, 6]))),
        ("nodes_featureids", ints(&[0, 1])),
        ("nodes_splits", tensor(TensorData::F32(vec![0.5, 0.0]))),
        ("nodes_truenodeids", ints(&[0, 1])),
        ("nodes_trueleafs", ints(&[1, 1])),
        ("nodes_falsenodeids", ints(&[1, 2])),
        ("nodes_falseleafs", ints(&[0, 1])),
        ("membership_values", tensor(TensorData::F32(vec![0.0, 1.0, f32::NAN]))),
        ("leaf_targetids", ints(&[0; 3])),
        ("leaf_weights", tensor(TensorData::F32(vec![1.0, 2.0, 3.0]))),
    ]
}

fn graph(op: &str, attributes: Vec<(&str, Attribute)>) -> Graph {
    let mut builder = GraphBuilder::new("trees");
    let batch = || Dim::Named("batch".to_owned());
    builder.input("columns", DType::F32, vec![batch(), Dim::Named("width".to_owned())]);
    let mut graph = builder.finish(&[("scores", DType::F32, vec![batch(), Dim::Fixed(1)])]);
    let labels = (op == "TreeEnsembleClassifier").then(|| "labels".to_owned());
    graph.ml_opset = Some(5);
    graph.nodes.push(Node {
        name: "trees".to_owned(),
        op: op.to_owned(),
        domain: ML_DOMAIN.to_owned(),
        inputs: vec!["columns".to_owned()],
        outputs: labels.into_iter().chain(["scores".to_owned()]).collect(),
        attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    });
    graph
}

fn load(graph: &Graph) -> Result<Session, EngineError> {
    Session::load(graph.to_onnx(), &Threads::new(1))
}

fn answer(session: &Session, rows: &[f32]) -> Result<Vec<f32>, EngineError> {
    let shape = [rows.len() / 2, 2];
    let output = session.run(&[("columns", Input::F32(&shape, rows))], "scores")?;
    Ok(output.data)
}

type Attributes = Vec<(&'static str, Attribute)>;

/// What is said of attributes in which `name` is `value`.
fn refused(op: &str, attributes: Attributes, name: &'static str, value: Attribute) -> ForestError {
    let mut attributes = attributes;
    attributes.retain(|(known, _)| *known != name);
    attributes.push((name, value));
    match load(&graph(op, attributes)) {
        Err(EngineError::Forest { node, reason }) if node == "trees" => reason,
        Err(other) => panic!("{name}: {other}"),
        Ok(_) => panic!("{name} is taken"),
    }
}

#[test]
fn whole_trees_are_taken() {
    let rows = [0.0, 9.0, 1.0, 1.0, 1.0, 2.0, f32::NAN, 9.0, 1.0, f32::NAN];
    let session = load(&graph("TreeEnsembleRegressor", older())).unwrap();
    assert_eq!(answer(&session, &rows).unwrap(), [1.0, 2.0, 3.0, 1.0, 3.0]);
    let session = load(&graph("TreeEnsemble", newer())).unwrap();
    assert_eq!(answer(&session, &rows).unwrap(), [1.0, 2.0, 3.0, 3.0, 3.0]);
    let narrow = session.run(&[("columns", Input::F32(&[1, 1], &[0.0]))], "scores");
    assert!(matches!(narrow, Err(EngineError::Width { found: 1, needed: 2, .. })));
    let deep = session.run(&[("columns", Input::F32(&[1, 1, 2], &[0.0, 0.0]))], "scores");
    assert!(matches!(deep, Err(EngineError::Run(_))));
    assert!(matches!(session.run(&[], "scores"), Err(EngineError::Run(_))));
    let unknown = session.run(&[("column", Input::F32(&[1, 2], &[0.0, 0.0]))], "scores");
    assert!(matches!(unknown, Err(EngineError::Name { what: "input", .. })));
}

#[test]
fn lists_must_fit() {
    let older = |name, value| refused("TreeEnsembleRegressor", older(), name, value);
    let length = |error| matches!(error, ForestError::Length { .. });
    for name in ["nodes_treeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids"] {
        assert!(length(older(name, ints(&[0; 4]))), "{name}");
    }
    assert!(length(older("nodes_missing_value_tracks_true", ints(&[0; 6]))));
    assert!(length(older("nodes_values", Attribute::Floats(vec![0.0]))));
    assert!(length(older("nodes_modes", Attribute::Texts(vec!["LEAF".to_owned()]))));
    assert!(length(older("target_weights", Attribute::Floats(vec![0.0]))));
    assert!(length(older("target_nodeids", ints(&[]))));
    assert!(length(older("base_values", Attribute::Floats(vec![0.0; 2]))));
    let newer = |name, value| refused("TreeEnsemble", newer(), name, value);
    assert!(length(newer("nodes_splits", tensor(TensorData::F32(vec![0.0])))));
    assert!(length(newer("nodes_trueleafs", ints(&[1]))));
    assert!(length(newer("leaf_weights", tensor(TensorData::F32(vec![])))));
    assert!(length(newer("membership_values", tensor(TensorData::F32(vec![1.0])))));
}

#[test]
fn places_must_exist() {
    let older = |name, value| refused("TreeEnsembleRegressor", older(), name, value);
    let unknown = ForestError::Unknown { tree: 0, node: 7 };
    assert_eq!(older("nodes_truenodeids", ints(&[1, 0, 7, 0, 0])), unknown);
    assert_eq!(older("target_nodeids", ints(&[1, 7, 4])), unknown);
    assert_eq!(
        older("nodes_nodeids", ints(&[0, 1, 2, 3, 3])),
        ForestError::Duplicate { tree: 0, node: 3 }
    );
    let range = |error| matches!(error, ForestError::Range { .. });
    assert!(range(older("nodes_featureids", ints(&[0, 0, -1, 0, 0]))));
    assert!(range(older("target_ids", ints(&[0, 1, 0]))));
    let newer = |name, value| refused("TreeEnsemble", newer(), name, value);
    assert!(range(newer("tree_roots", ints(&[2]))));
    assert!(range(newer("nodes_truenodeids", ints(&[0, 3]))));
    assert!(range(newer("leaf_targetids", ints(&[0, 0, i64::MAX]))));
    assert!(range(newer("nodes_featureids", ints(&[i64::MAX, 0]))));
    for count in [0, -1, 1 << 40] {
        let error = newer("n_targets", Attribute::Int(count));
        assert!(matches!(error, ForestError::Targets { .. }), "{count}");
    }
}

#[test]
fn trees_must_be_trees() {
    let older = |name, value| refused("TreeEnsembleRegressor", older(), name, value);
    assert_eq!(older("nodes_truenodeids", ints(&[1, 0, 2, 0, 0])), ForestError::Cycle { tree: 0 });
    assert_eq!(older("nodes_truenodeids", ints(&[1, 0, 0, 0, 0])), ForestError::Root { tree: 0 });
    let newer = |name, value| refused("TreeEnsemble", newer(), name, value);
    assert_eq!(newer("tree_roots", ints(&[0, 0])), ForestError::Shared { trees: [0, 1] });
    assert_eq!(newer("tree_roots", ints(&[1])), ForestError::Root { tree: 0 });
    assert_eq!(
        newer("nodes_splits", tensor(TensorData::F32(vec![f32::NAN, 0.0]))),
        ForestError::Threshold { index: 0 }
    );
}

#[test]
fn what_is_unknown_or_doubtful_is_refused() {
    let older = |name, value| refused("TreeEnsembleRegressor", older(), name, value);
    let text = |text: &str| Attribute::Text(text.to_owned());
    let unsupported = |error| matches!(error, ForestError::Unsupported { .. });
    assert!(unsupported(older("aggregate_function", text("MEDIAN"))));
    assert!(unsupported(older("post_transform", text("CUBE"))));
    assert!(unsupported(older("nodes_values", Attribute::Int(1))));
    assert!(unsupported(older("nodes_modes", Attribute::Texts(vec!["TWIG".to_owned(); 5]))));
    let doubtful = |error| matches!(error, ForestError::Ambiguous { .. });
    assert!(doubtful(older("post_transform", text("LOGISTIC"))));
    assert!(doubtful(refused("TreeEnsemble", newer(), "post_transform", Attribute::Int(1))));
    // Silently wrong in onnxruntime: the base value goes to the class without leaves.
    let mut one = classifier();
    one.push(("base_values", Attribute::Floats(vec![0.5])));
    let class = |attributes, ids: &[i64]| {
        refused("TreeEnsembleClassifier", attributes, "class_ids", ints(ids))
    };
    assert!(doubtful(class(one.clone(), &[1, 1, 1])));
    assert!(doubtful(class(one, &[0, 1, 1])));
    let mut two = classifier();
    two.push(("base_values", Attribute::Floats(vec![0.5, 0.5])));
    assert!(doubtful(class(two.clone(), &[0, 0, 0])));
    assert!(doubtful(class(two, &[1, 1, 1])));
    let labels = refused("TreeEnsembleClassifier", classifier(), "classlabels_int64s", ints(&[1]));
    assert!(doubtful(labels));
}

#[test]
fn double_precision_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/doubles.onnx");
    let error = Session::load(fs::read(path).unwrap(), &Threads::new(1)).err().unwrap();
    assert!(matches!(&error, EngineError::Load(why) if why.contains("element type 11")), "{error}");
}

/// A chain of `count` tests, each of which passes to a leaf and fails to the next.
fn chain(count: usize, mode: &str) -> Vec<(&'static str, Attribute)> {
    let nodes = 2 * count + 1;
    let branch = |at: usize| at < count;
    let listed = |of: &dyn Fn(usize) -> i64| Attribute::Ints((0..nodes).map(of).collect());
    let leaves: Vec<i64> = (count..nodes).map(|at| at as i64).collect();
    let mode = |at: usize| if branch(at) { mode } else { "LEAF" }.to_owned();
    let fails = |at: usize| if at + 1 < count { at + 1 } else { nodes - 1 } as i64;
    vec![
        ("n_targets", Attribute::Int(1)),
        ("nodes_treeids", ints(&vec![0; nodes])),
        ("nodes_nodeids", listed(&|at| at as i64)),
        ("nodes_featureids", ints(&vec![0; nodes])),
        ("nodes_values", Attribute::Floats((0..nodes).map(|at| at as f32).collect())),
        ("nodes_modes", Attribute::Texts((0..nodes).map(mode).collect())),
        ("nodes_truenodeids", listed(&|at| if branch(at) { (count + at) as i64 } else { 0 })),
        ("nodes_falsenodeids", listed(&|at| if branch(at) { fails(at) } else { 0 })),
        ("target_treeids", ints(&vec![0; leaves.len()])),
        ("target_nodeids", ints(&leaves)),
        ("target_ids", ints(&vec![0; leaves.len()])),
        ("target_weights", Attribute::Floats(leaves.iter().map(|leaf| *leaf as f32).collect())),
    ]
}

#[test]
fn trees_may_be_deep() {
    const DEPTH: usize = 50_000;
    for mode in ["BRANCH_LEQ", "BRANCH_EQ"] {
        let session = load(&graph("TreeEnsembleRegressor", chain(DEPTH, mode))).unwrap();
        let rows = [0.0, 0.0, 40_000.0, 0.0, f32::NAN, 0.0];
        let leaves = [0, 40_000, DEPTH].map(|leaf| (leaf + DEPTH) as f32);
        assert_eq!(answer(&session, &rows).unwrap(), leaves, "{mode}");
    }
}

/// Leaves are crossed out by the 32, and larger trees are walked through.
#[test]
fn trees_may_have_any_number_of_leaves() {
    for count in [1, 31, 32, 33, 63, 64, 127, 128, 129] {
        let session = load(&graph("TreeEnsembleRegressor", chain(count, "BRANCH_LEQ"))).unwrap();
        let rows: Vec<f32> = (0..=count).flat_map(|at| [at as f32, 0.0]).collect();
        let leaves: Vec<f32> = (count..=2 * count).map(|leaf| leaf as f32).collect();
        assert_eq!(answer(&session, &rows).unwrap(), leaves, "{count} tests");
        let alone = rows.chunks(2).flat_map(|row| answer(&session, row).unwrap());
        assert_eq!(alone.collect::<Vec<_>>(), leaves, "{count} tests, rows alone");
    }
}

#[test]
fn thresholds_may_be_infinite() {
    let (least, most) = (f32::NEG_INFINITY, f32::INFINITY);
    let rows = [least, 0.0, 0.0, 0.0, most, 0.0, f32::NAN, 0.0];
    for (mode, threshold, passes) in [
        ("BRANCH_LEQ", most, [true, true, true, false]),
        ("BRANCH_LT", most, [true, true, false, false]),
        ("BRANCH_GT", most, [false, false, false, false]),
        ("BRANCH_GTE", most, [false, false, true, false]),
        ("BRANCH_LEQ", least, [true, false, false, false]),
        ("BRANCH_LT", least, [false, false, false, false]),
        ("BRANCH_GT", least, [false, true, true, false]),
        ("BRANCH_GTE", least, [true, true, true, false]),
        ("BRANCH_EQ", most, [false, false, true, false]),
        ("BRANCH_NEQ", least, [false, true, true, true]),
    ] {
        let mut attributes = chain(1, mode);
        attributes.retain(|(name, _)| *name != "nodes_values");
        attributes.push(("nodes_values", Attribute::Floats(vec![threshold, 0.0, 0.0])));
        let session = load(&graph("TreeEnsembleRegressor", attributes)).unwrap();
        let expected = passes.map(|passes| if passes { 1.0 } else { 2.0 });
        assert_eq!(answer(&session, &rows).unwrap(), expected, "{mode} {threshold}");
        let many = answer(&session, &rows.repeat(8)).unwrap();
        assert_eq!(many, expected.repeat(8), "{mode} {threshold}, many rows");
    }
}

/// A converter's form of a set: tests for one value each that pass to the same leaf.
#[test]
fn chains_for_sets_are_one_test() {
    let mut attributes = chain(100, "BRANCH_EQ");
    let (_, passes) = attributes.iter_mut().find(|(name, _)| *name == "nodes_truenodeids").unwrap();
    let Attribute::Ints(passes) = passes else { unreachable!() };
    passes[..100].fill(100);
    let session = load(&graph("TreeEnsembleRegressor", attributes)).unwrap();
    let found = answer(&session, &[0.0, 0.0, 99.0, 0.0, 100.0, 0.0, 2.5, 0.0, f32::NAN, 0.0]);
    assert_eq!(found.unwrap(), [100.0, 100.0, 200.0, 200.0, 200.0]);
}

/// Every level leads to the next by both ways: as a tree it would have 2^64 leaves.
#[test]
fn shared_branches_are_laid_out_once() {
    const LEVELS: usize = 64;
    let mut attributes = chain(LEVELS, "BRANCH_LEQ");
    let (_, passes) = attributes.iter_mut().find(|(name, _)| *name == "nodes_truenodeids").unwrap();
    let Attribute::Ints(passes) = passes else { unreachable!() };
    (0..LEVELS - 1).for_each(|at| passes[at] = at as i64 + 1);
    let session = load(&graph("TreeEnsembleRegressor", attributes)).unwrap();
    let last = (2 * LEVELS) as f32;
    assert_eq!(answer(&session, &[0.0, 0.0, 1e9, 0.0]).unwrap(), [last - 1.0, last]);
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn damaged_attributes_do_no_harm() {
    let kinds = [
        ("TreeEnsembleRegressor", older()),
        ("TreeEnsembleClassifier", classifier()),
        ("TreeEnsemble", newer()),
    ];
    let rows = [0.0, 9.0, f32::NAN, f32::INFINITY, -1e30, -0.0];
    let mut dice = Dice(1);
    let mut taken = 0;
    for _ in 0..4000 {
        let (op, attributes) = &kinds[dice.roll(kinds.len())];
        let mut attributes = attributes.clone();
        for _ in 0..=dice.roll(2) {
            let at = dice.roll(attributes.len());
            damage(&mut attributes[at].1, &mut dice);
        }
        if let Ok(session) = load(&graph(op, attributes)) {
            taken += usize::from(answer(&session, &rows).is_ok());
        }
    }
    assert!(taken > 100, "some damage is harmless: {taken}");
}

fn damage(attribute: &mut Attribute, dice: &mut Dice) {
    const NUMBERS: [i64; 8] = [0, 1, 2, 3, -1, 7, i64::MAX, 1 << 32];
    let number = NUMBERS[dice.roll(NUMBERS.len())];
    match attribute {
        Attribute::Int(value) => *value = number,
        Attribute::Ints(values) => edit(values, number, dice),
        Attribute::Floats(values) => edit(values, f32::from_bits(number as u32), dice),
        Attribute::Texts(values) => edit(values, "BRANCH_EQ".to_owned(), dice),
        Attribute::Tensor(tensor) => {
            match &mut tensor.data {
                TensorData::F32(values) => edit(values, f32::NAN, dice),
                TensorData::U8(values) => edit(values, number as u8, dice),
                _ => {}
            }
            tensor.shape = vec![tensor.data.len()];
        }
        _ => {}
    }
}

fn edit<T>(values: &mut Vec<T>, value: T, dice: &mut Dice) {
    match (values.is_empty(), dice.roll(4)) {
        (true, _) | (_, 0) => values.push(value),
        (_, 1) => drop(values.pop()),
        _ => {
            let at = dice.roll(values.len());
            values[at] = value;
        }
    }
}
