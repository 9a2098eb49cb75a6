//! Bundles of models over tables: rows of cells in, probabilities or a number out.

use luthier_bundle::{Bundle, BundleError, Draft, Lineage, PredictScratch, Predictor, Probe};
use luthier_engine::Threads;
use luthier_graph::{DType, Dim, Graph, GraphBuilder, TensorData};
use luthier_model::{
    COLUMNS, Categories, Cell, ClassDecision, ColumnKind, Decision, Model, NumberDecision,
    PREDICTION, PROBABILITIES, Preprocess, Signature, Table, TableColumn,
};
use luthier_test::{Scratch, assert_close};
use serde_json::{Map, Value, json};

fn table() -> Table {
    let job = Categories::new("job", vec!["cook".into(), "smith".into()]).unwrap();
    let column = |name: &str, kind| TableColumn { name: name.to_owned(), kind };
    let columns = vec![column("age", ColumnKind::Number), column("job", ColumnKind::Category(job))];
    Table::new(columns, vec!["id".into()]).unwrap()
}

/// age / 10 − 2 × job, where what is missing counts as 5; as a number, or the logit of the second
/// class.
fn graph(is_number: bool) -> Graph {
    let mut builder = GraphBuilder::new("weights");
    let batch = || Dim::Named("batch".into());
    let columns = builder.input(COLUMNS, DType::F32, vec![batch(), Dim::Fixed(2)]);
    let missing = builder.node("IsNaN", &[&columns], "missing");
    let five = builder.constant("five", vec![1], TensorData::F32(vec![5.0]));
    let filled = builder.node("Where", &[&missing, &five, &columns], "filled");
    let (width, weights) = match is_number {
        true => (1, vec![0.1, -2.0]),
        false => (2, vec![0.0, 0.1, 0.0, -2.0]),
    };
    let weights = builder.constant("weights", vec![2, width], TensorData::F32(weights));
    let output = match is_number {
        true => builder.node("MatMul", &[&filled, &weights], PREDICTION),
        false => {
            let logits = builder.node("MatMul", &[&filled, &weights], "logits");
            builder.node("Softmax", &[&logits], PROBABILITIES)
        }
    };
    builder.finish(&[(&output, DType::F32, vec![batch(), Dim::Fixed(width)])])
}

fn model(is_number: bool) -> Model {
    let decision: Decision = match is_number {
        true => Decision::Number(NumberDecision { number: "price".into() }),
        false => {
            let labels = vec!["bad".into(), "good".into()];
            ClassDecision { labels, positive: Some(1), ..ClassDecision::default() }.into()
        }
    };
    Model {
        signature: Signature::of_table(&table(), &decision),
        preprocess: Preprocess::Table(table()),
        graph: graph(is_number),
        decision,
    }
}

fn cells(value: Value) -> Map<String, Value> {
    let Value::Object(cells) = value else { panic!("an object") };
    cells
}

/// What is expected of `graph`.
fn outputs(number: f32, is_number: bool) -> Vec<f32> {
    let positive = 1.0 / (1.0 + (-number).exp());
    if is_number { vec![number] } else { vec![1.0 - positive, positive] }
}

fn draft(is_number: bool) -> Draft {
    let rows = [
        (json!({ "age": 30, "job": "smith", "id": "x" }), 1.0),
        (json!({ "job": null, "age": "20.0" }), -8.0),
        (json!({ "job": "baker" }), -9.5),
        (json!({ "age": 1e7, "job": "cook" }), 1e6),
    ];
    let probe = |(row, number)| Probe::of_cells(cells(row), outputs(number, is_number));
    Draft {
        model: model(is_number),
        probes: rows.into_iter().map(probe).collect(),
        name: "risk".into(),
        task: "tabular-classification".into(),
        route: None,
        scores: Vec::new(),
        lineage: Lineage::default(),
        test_openings: 0,
        documents: Vec::new(),
    }
}

#[test]
fn bundles_of_tables_are_read_back_and_answer() {
    for is_number in [false, true] {
        let scratch = Scratch::new();
        let folder = scratch.path().join("bundle");
        let written = draft(is_number).write(&folder).unwrap();
        let opened = Bundle::open(&folder).unwrap();
        assert_eq!(opened.manifest(), written.manifest());
        assert!(opened.document("columns.json").is_some() && opened.answers_as(&written));
        let again = scratch.path().join("again");
        assert_eq!(opened.to_draft().unwrap().write(&again).unwrap().manifest(), opened.manifest());
        let predictor = opened.predictor(&Threads::new(1)).unwrap();
        let mut numbers = Vec::new();
        let table = predictor.table().unwrap();
        for age in 0..50_000 {
            table.encode([Cell::Number(f64::from(age)), Cell::Text("cook")], &mut numbers).unwrap();
        }
        let found = predictor.predict_rows(&numbers, &mut PredictScratch::default()).unwrap();
        let width = if is_number { 1 } else { 2 };
        assert_eq!(found.len(), 50_000 * width);
        for (age, found) in found.chunks(width).enumerate() {
            let expected = outputs(age as f32 / 10.0, is_number);
            for (found, expected) in found.iter().zip(expected) {
                assert_close((*found).into(), expected.into(), 1e-3, "a row of many");
            }
        }
        assert!(predictor.predict_rows(&[], &mut PredictScratch::default()).unwrap().is_empty());
    }
}

#[test]
fn probes_are_texts_or_cells_in_the_manifest() {
    let check = |probe: Probe, json: &str| {
        assert_eq!(serde_json::to_string(&probe).unwrap(), json);
        assert_eq!(serde_json::from_str::<Probe>(json).unwrap(), probe);
    };
    let half = vec![0.5, 0.5];
    check(Probe::of_text("a".into(), half.clone()), r#"{"text":"a","probabilities":[0.5,0.5]}"#);
    let row = || cells(json!({ "b": 1, "a": null }));
    check(Probe::of_cells(row(), half), r#"{"cells":{"b":1,"a":null},"probabilities":[0.5,0.5]}"#);
    check(Probe::of_cells(row(), vec![2.5]), r#"{"cells":{"b":1,"a":null},"number":2.5}"#);
    for wrong in [
        r#"{"probabilities":[1]}"#,
        r#"{"text":"a"}"#,
        r#"{"text":"a","cells":{},"number":1}"#,
        r#"{"text":"a","number":1,"probabilities":[1]}"#,
        r#"{"text":"a","number":1,"more":1}"#,
    ] {
        assert!(serde_json::from_str::<Probe>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn probes_that_do_not_come_out_are_refused() {
    let refused = |change: &dyn Fn(&mut Draft)| {
        let scratch = Scratch::new();
        let mut draft = draft(true);
        change(&mut draft);
        draft.write(&scratch.path().join("bundle")).unwrap_err()
    };
    let probe = |error: &BundleError| match error {
        BundleError::Probe { probe, .. } => Some(*probe),
        _ => None,
    };
    assert_eq!(probe(&refused(&|draft| draft.probes[1].outputs = vec![-8.001])), Some(1));
    assert_eq!(probe(&refused(&|draft| draft.probes[3].outputs = vec![1_000_100.0])), Some(3));
    assert_eq!(probe(&refused(&|draft| draft.probes[0].outputs = vec![1.0, 2.0])), Some(0));
    let unknown =
        |draft: &mut Draft| draft.probes[0] = Probe::of_cells(cells(json!({"jb": 1})), vec![1.0]);
    assert_eq!(refused(&unknown).to_string(), "there is no column `jb`");
    let text = |draft: &mut Draft| draft.probes[0] = Probe::of_text("a text".into(), vec![1.0]);
    let message = "the model takes the columns of a table, and not a text";
    assert_eq!(refused(&text).to_string(), message);
    // Six digits of a million are what 32 bits hold.
    let scratch = Scratch::new();
    let mut near = draft(true);
    near.probes[3].outputs = vec![1_000_001.0];
    near.write(&scratch.path().join("bundle")).unwrap();
}

#[test]
fn texts_and_tables_are_not_taken_for_each_other() {
    let predictor = Predictor::new(model(false), &Threads::new(1)).unwrap();
    let error = predictor.predict(&["a text"], &mut PredictScratch::default()).unwrap_err();
    assert_eq!(error.to_string(), "the model takes the columns of a table, and not a text");
    let error = predictor.predict_rows(&[1.0; 3], &mut PredictScratch::default()).unwrap_err();
    assert_eq!(error.to_string(), "3 numbers are no rows of 2 columns");
    let mut wrong = model(true);
    wrong.graph = graph(false);
    let predictor = Predictor::new(wrong, &Threads::new(1)).unwrap();
    assert!(predictor.predict_rows(&[1.0; 2], &mut PredictScratch::default()).is_err());
}

/// What callers are given goes through the tables; what probes hold does not.
#[test]
fn tables_make_probabilities_honest() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("bundle");
    let mut draft = draft(false);
    let Decision::Class(decision) = &mut draft.model.decision else { panic!("classes") };
    let plain = decision.clone();
    decision.isotonic = vec![vec![(0.25, 0.1), (0.75, 0.5)]];
    decision.threshold = Some(0.3);
    draft.write(&folder).unwrap();
    let bundle = Bundle::open(&folder).unwrap();
    let predictor = bundle.predictor(&Threads::new(1)).unwrap();
    let mut predict = PredictScratch::default();
    // The graph's probabilities are about 0, 1/2, 0.731 and 1.
    for (age, honest, label) in
        [(-1e6, 0.1, 0), (0.0, 0.3, 1), (10.0, 0.1 + 0.8 * (0.731_058_6 - 0.25), 1), (1e6, 0.5, 1)]
    {
        let row = cells(json!({ "age": age, "job": "cook" }));
        let raw = luthier_bundle::ProbeRow::Cells(row);
        let found = predictor.predict_row(&raw, &mut predict).unwrap();
        assert_close(f64::from(found[1]), honest, 1e-6, "the probability");
        assert_close(f64::from(found[0] + found[1]), 1.0, 1e-6, "the sum");
        let Probe { outputs, .. } = predictor.probe(raw.clone(), &mut predict).unwrap();
        let graph = 1.0 / (1.0 + f32::exp(-(age as f32) / 10.0));
        assert_close(f64::from(outputs[1]), f64::from(graph), 1e-6, "what the graph gives");
        // What lies at the threshold may fall to either side.
        if age != 0.0 {
            assert_eq!(predictor.decision().answer(&found).unwrap().label, label, "{age}");
        }
        let numbers = [age as f32, 0.0];
        assert_eq!(predictor.predict_rows(&numbers, &mut predict).unwrap(), found);
    }
    let wrong = |points: Vec<(f64, f64)>| {
        let isotonic = vec![points];
        let mut draft = draft.clone();
        draft.model.decision = ClassDecision { isotonic, ..plain.clone() }.into();
        draft.write(&scratch.path().join("wrong")).unwrap_err()
    };
    for points in [
        vec![(0.5, 0.2), (0.4, 0.3)],
        vec![(0.5, 0.2), (0.6, 0.1)],
        vec![(0.5, 1.2)],
        vec![(0.5, 0.1), (0.5, 0.2)],
    ] {
        assert!(matches!(wrong(points.clone()), BundleError::Calibration(_)), "{points:?}");
    }
    assert!(matches!(wrong(Vec::new()), BundleError::Document { .. }), "no points");
}
