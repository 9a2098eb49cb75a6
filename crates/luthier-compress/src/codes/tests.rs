use luthier_graph::{Graph, Tensor, TensorData};
use luthier_model::Model;
use luthier_test::assert_close;

use crate::tests::{ROWS, model, ngrams, run};
use crate::{CompressError, Recipe, Step};

const TEXTS: [&[i32]; 4] = [&[0, 3, 199], &[7], &[50, 60, 70, 80, 90, 100], &[3999, 1, 2, 1500]];

fn codes(model: &Model, usage: &[u32]) -> Result<Model, CompressError> {
    Recipe(vec![Step::Codes]).apply(model, usage)
}

fn floats<'a>(model: &'a Model, name: &str) -> &'a [f32] {
    match model.graph.tensor(name) {
        Some(Tensor { data: TensorData::F32(values), .. }) => values,
        other => panic!("{name}: {other:?}"),
    }
}

/// The model before codes, with what the codes of `small` stand for as weights and squares.
fn decoded(small: &Model, before: &Model) -> Model {
    let TensorData::U8(codes) = &small.graph.tensor("codes").unwrap().data else { panic!() };
    let mut decoded = before.clone();
    for name in ["table", "squares"] {
        let values = floats(small, name);
        let rows = codes.iter().map(|code| values[usize::from(*code)]).collect();
        let tensor = decoded.graph.tensors.iter_mut().find(|tensor| tensor.name == name);
        tensor.unwrap().data = TensorData::F32(rows);
    }
    decoded
}

#[test]
fn codes_are_a_byte_per_row_and_nearly_the_same() {
    let model = model(1);
    let small = codes(&model, &[1; ROWS]).unwrap();
    let (before, after) = (model.graph.weight_bytes(), small.graph.weight_bytes());
    assert!(after * 4 < before, "{before} to {after} bytes");
    assert_eq!(small.graph.tensor("codes").unwrap().shape, [ROWS]);
    assert!(floats(&small, "table").len() <= 256);
    for ids in TEXTS {
        for (a, b) in run(&small, ids).iter().zip(run(&model, ids)) {
            assert_close((*a).into(), b.into(), 0.03, "codes against float32");
        }
        assert_eq!(run(&small, ids), run(&decoded(&small, &model), ids), "only values change");
    }
    let bytes = small.graph.to_onnx();
    assert_eq!(Graph::from_onnx(&bytes).unwrap(), small.graph);
    assert_eq!(codes(&model, &[1; ROWS]).unwrap().graph.to_onnx(), bytes);
}

#[test]
fn few_different_rows_are_stored_exactly() {
    let mut model = model(1);
    for tensor in &mut model.graph.tensors {
        if let ("table" | "squares", TensorData::F32(values)) = (&*tensor.name, &mut tensor.data) {
            values.iter_mut().for_each(|value| *value = (*value * 3.0).round() / 3.0);
        }
    }
    let small = codes(&model, &[0; ROWS]).unwrap();
    assert_eq!(decoded(&small, &model).graph, model.graph);
    for ids in TEXTS {
        assert_eq!(run(&small, ids), run(&model, ids));
    }
}

#[test]
fn codes_after_pruning_weigh_the_rows_that_stay() {
    let model = model(1);
    let usage: Vec<u32> = (0..ROWS as u32).map(|row| row * 7 % 50).collect();
    let prune = Step::PruneRows { keep: 0.25 };
    let pruned = Recipe(vec![prune]).apply(&model, &usage).unwrap();
    let (all, kept) = (ngrams(&model), ngrams(&pruned));
    let rows = kept.index().buckets().map(|bucket| all.index().row(bucket).unwrap());
    let left: Vec<u32> = rows.map(|row| usage[row as usize]).collect();
    let both = Recipe(vec![prune, Step::Codes]).apply(&model, &usage).unwrap();
    assert_eq!(both.graph, codes(&pruned, &left).unwrap().graph);
    assert_ne!(both.graph, codes(&pruned, &[1; ROWS / 4]).unwrap().graph);
    run(&both, &[0, 1, ROWS as i32 / 4 - 1]);
    let again = Recipe(vec![prune, prune, Step::Codes]).apply(&model, &usage).unwrap();
    assert_eq!(again.graph.tensor("codes").unwrap().shape, [ROWS / 16]);
}

#[test]
fn codes_need_a_column_of_weights_with_squares() {
    let refused = |model: &Model, steps: &[Step]| {
        let error = Recipe(steps.to_vec()).apply(model, &[1; ROWS]).unwrap_err();
        assert!(matches!(error, CompressError::NotFound { .. }), "{steps:?}: {error}");
    };
    refused(&model(8), &[Step::Codes]);
    let prune = Step::PruneRows { keep: 0.5 };
    for before in [Step::Int8, Step::EvenLengths, Step::Codes] {
        refused(&model(1), &[before, Step::Codes]);
    }
    refused(&model(1), &[Step::Codes, Step::Int8]);
    refused(&model(1), &[Step::Codes, prune]);
    let mut broken = model(1);
    let tensor = broken.graph.tensors.iter_mut().find(|tensor| tensor.name == "squares");
    if let Some(Tensor { data: TensorData::F32(values), .. }) = tensor {
        values[17] = f32::NAN;
    }
    refused(&broken, &[Step::Codes]);
    let error = codes(&model(1), &[1; 7]).unwrap_err();
    assert_eq!(error, CompressError::Usage { found: 7, rows: ROWS });
}

#[test]
fn lengths_may_go_after_codes() {
    let small = Recipe(vec![Step::Codes, Step::EvenLengths]).apply(&model(1), &[1; ROWS]).unwrap();
    assert!(small.graph.tensor("squares").is_none());
    run(&small, &[5, 6]);
}
