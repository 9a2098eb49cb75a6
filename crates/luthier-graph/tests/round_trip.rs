//! Graphs survive the way to bytes and back, and broken bytes give errors.

use luthier_graph::{Attribute, DType, Dim, Graph, GraphBuilder, GraphError, TensorData};

fn sample() -> Graph {
    let mut builder = GraphBuilder::new("sample");
    let batch = || Dim::Named("batch".into());
    let ids = builder.input("ids", DType::I32, vec![batch(), Dim::Named("features".into())]);
    let table = builder.constant("table", vec![3, 2], TensorData::I8(vec![-128, -1, 0, 1, 2, 127]));
    let scale = builder.constant("scale", vec![2], TensorData::F32(vec![0.5, f32::MIN_POSITIVE]));
    let axes = builder.constant("axes", vec![1], TensorData::I64(vec![1]));
    let rows = builder.node("Gather", &[&table, &ids], "rows");
    let floats = builder.node_with("Cast", &[&rows], "floats", vec![("to", Attribute::Int(1))]);
    let sum = builder.node_with(
        "ReduceSum",
        &[&floats, &axes],
        "sum",
        vec![("keepdims", Attribute::Int(0)), ("note", Attribute::Text("ü".into()))],
    );
    let scaled = builder.node("Mul", &[&sum, &scale], "scaled");
    builder.finish(&[(&scaled, DType::F32, vec![batch(), Dim::Fixed(2)])])
}

#[test]
fn bytes_and_back() {
    let graph = sample();
    let bytes = graph.to_onnx();
    assert_eq!(Graph::from_onnx(&bytes).unwrap(), graph);
    assert_eq!(Graph::from_onnx(&bytes).unwrap().to_onnx(), bytes);
    assert_eq!(graph.weight_bytes(), 6 + 8 + 8);
}

#[test]
fn a_bypassed_node_goes_with_all_that_only_it_needed() {
    let mut graph = sample();
    graph.outputs[0].name = "end".into();
    let mut end = graph.nodes[3].clone();
    end.op = "Relu".into();
    (end.inputs, end.outputs) = (vec!["scaled".into()], vec!["end".into()]);
    graph.nodes.push(end);
    graph.bypass("scaled", "sum");
    graph.check().unwrap();
    let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.as_str()).collect();
    assert_eq!(ops, ["Gather", "Cast", "ReduceSum", "Relu"]);
    assert!(graph.tensor("scale").is_none() && graph.tensor("table").is_some());
}

#[test]
fn broken_graphs_are_refused() {
    let check = |edit: fn(&mut Graph), expected: &str| {
        let mut graph = sample();
        edit(&mut graph);
        let message = Graph::from_onnx(&graph.to_onnx()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(|g| g.nodes[0].inputs[0] = "nowhere".into(), "reads `nowhere`");
    check(
        |g| g.nodes[0].inputs.truncate(1),
        "Gather takes 2 inputs or more and gives an output; it has 1",
    );
    check(|g| g.nodes[1].inputs.clear(), "Cast takes 1 inputs or more");
    check(|g| g.nodes[3].outputs.clear(), "it has 2 and gives 0");
    check(|g| g.nodes.swap(0, 1), "reads `rows`");
    check(|g| g.nodes[1].outputs[0] = "rows".into(), "defined twice");
    check(|g| g.outputs[0].name = "ghost".into(), "output `ghost`");
    check(|g| g.tensors[0].shape = vec![4, 2], "tensor `table` has 6 bytes");
    check(|g| g.tensors[0].shape = vec![usize::MAX / 2, 7], "tensor `table`");
}

#[test]
fn any_cut_or_flip_gives_an_error_or_a_graph_and_never_a_panic() {
    let bytes = sample().to_onnx();
    for end in 0..bytes.len() {
        let _ = Graph::from_onnx(&bytes[..end]);
    }
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << bit;
            let _ = Graph::from_onnx(&flipped);
        }
    }
    assert!(matches!(Graph::from_onnx(&[]), Err(GraphError::Decode(_))));
}
