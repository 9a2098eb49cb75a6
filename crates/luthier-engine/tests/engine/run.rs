//! Graphs built here run and give what arithmetic says.

use luthier_engine::{EngineError, Input, Session, Threads};
use luthier_graph::{Attribute, DType, Dim, GraphBuilder, TensorData};

fn bag() -> Vec<u8> {
    let mut builder = GraphBuilder::new("bag");
    let shape = || vec![Dim::Named("batch".into()), Dim::Named("features".into())];
    let ids = builder.input("ids", DType::I32, shape());
    let weights = builder.input("weights", DType::F32, shape());
    let table = builder.constant("table", vec![3, 2], TensorData::I8(vec![1, 2, 3, 4, 5, 6]));
    let axis = builder.constant("axis", vec![1], TensorData::I64(vec![1]));
    let rows = builder.node("Gather", &[&table, &ids], "rows");
    let rows = builder.node_with("Cast", &[&rows], "floats", vec![("to", Attribute::Int(1))]);
    let weights = builder.node("Unsqueeze", &[&weights, &axis], "lines");
    let sums = builder.node("MatMul", &[&weights, &rows], "sums");
    let sums = builder.node("Squeeze", &[&sums, &axis], "pooled");
    builder
        .finish(&[(&sums, DType::F32, vec![Dim::Named("batch".into()), Dim::Fixed(2)])])
        .to_onnx()
}

#[test]
fn a_weighted_bag_with_ragged_rows() {
    let session = Session::load(bag(), &Threads::new(1)).unwrap();
    let shape = [2, 3];
    let output = session
        .run(
            &[
                ("ids", Input::I32(&shape, &[0, 2, 1, 1, 0, 0])),
                ("weights", Input::F32(&shape, &[1.0, 2.0, 3.0, 0.5, 0.0, 0.0])),
            ],
            "pooled",
        )
        .unwrap();
    assert_eq!(output.shape, [2, 2]);
    assert_eq!(output.data, [1.0 + 10.0 + 9.0, 2.0 + 12.0 + 12.0, 1.5, 2.0]);
    let inputs: Vec<_> = session.inputs().collect();
    assert_eq!(inputs, [("ids", vec![None, None]), ("weights", vec![None, None])]);
}

#[test]
fn wrong_calls_are_errors() {
    let session = Session::load(bag(), &Threads::new(1)).unwrap();
    let run = |inputs: &[(&str, Input<'_>)], output| session.run(inputs, output).unwrap_err();
    let ids = ("ids", Input::I32(&[1, 1], &[0]));
    assert!(matches!(run(&[ids], "ghost"), EngineError::Name { what: "output", .. }));
    assert!(matches!(
        run(&[("id", Input::I32(&[1, 1], &[0]))], "pooled"),
        EngineError::Name { what: "input", .. }
    ));
    assert!(matches!(
        run(&[("ids", Input::I32(&[1, 2], &[0]))], "pooled"),
        EngineError::Size { found: 1, expected: 2, .. }
    ));
    assert!(matches!(run(&[ids], "pooled"), EngineError::Run(_)), "a missing input");
    let outside = ("ids", Input::I32(&[1, 1], &[9]));
    let weights = ("weights", Input::F32(&[1, 1], &[1.0]));
    assert!(matches!(run(&[outside, weights], "pooled"), EngineError::Run(_)));
    assert!(matches!(
        Session::load(b"not a model".to_vec(), &Threads::new(1)),
        Err(EngineError::Load(_))
    ));
}
