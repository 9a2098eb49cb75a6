use luthier_engine::{Input, Session, Threads};
use luthier_graph::TensorData;
use luthier_model::{Decision, FeatureIndex, Model, NgramText, Preprocess};
use luthier_test::assert_close;
use luthier_train::{BagNetwork, Dense, Network, TextNetwork};

use crate::{CompressError, Judgement, Recipe, Step, Verdict, search};

pub(crate) const ROWS: usize = 4000;

/// A network with a table of `width` columns and two dense layers, the first of 64 outputs.
pub(crate) fn model(width: usize) -> Model {
    let value = |i: usize| (((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0) * 0.7;
    let table = (0..ROWS * width).map(|i| value(i) * (1.0 + (i / width % 10) as f32)).collect();
    let layer = |inputs: usize, outputs: usize, relu| Dense {
        weights: Some((0..inputs * outputs).map(|i| value(i + 31) * 0.3).collect()),
        bias: (0..outputs).map(value).collect(),
        relu,
    };
    let layers = vec![layer(width, 64, true), layer(64, 3, false)];
    let squares = (width == 1).then(|| (0..ROWS).map(|i| value(i).abs() + 0.1).collect());
    let fitted = TextNetwork {
        network: BagNetwork { table, width, squares, layers },
        preprocess: NgramText::new(1, 0, FeatureIndex::new((0..ROWS as u32).map(|r| r * 37))),
    };
    let decision = Decision::of_classes(["a", "b", "c"].map(str::to_owned).to_vec(), None);
    Network::Bag(fitted).to_model(decision, None).unwrap()
}

pub(crate) fn ngrams(model: &Model) -> &NgramText {
    match &model.preprocess {
        Preprocess::NgramText(ngrams) => ngrams,
        _ => panic!("a model of n-grams"),
    }
}

pub(crate) fn run(model: &Model, ids: &[i32]) -> Vec<f32> {
    let session = Session::load(model.graph.to_onnx(), &Threads::new(1)).unwrap();
    let shape = [1, ids.len()];
    let weights = vec![0.5; ids.len()];
    let inputs = [("ids", Input::I32(&shape, ids)), ("weights", Input::F32(&shape, &weights))];
    session.run(&inputs, "probabilities").unwrap().data
}

#[test]
fn int8_is_a_quarter_and_nearly_the_same() {
    for width in [1, 8] {
        let model = model(width);
        let small = Recipe(vec![Step::Int8]).apply(&model, &[]).unwrap();
        small.graph.check().unwrap();
        let (before, after) = (model.graph.weight_bytes(), small.graph.weight_bytes());
        assert!(after * 3 < before, "{before} to {after} bytes");
        assert!(matches!(small.graph.tensor("table").unwrap().data, TensorData::I8(_)));
        for ids in [&[0, 3, 199][..], &[7], &[50, 60, 70, 80, 90, 100]] {
            for (a, b) in run(&small, ids).iter().zip(run(&model, ids)) {
                assert_close((*a).into(), b.into(), 0.02, "int8 against float32");
            }
        }
    }
}

#[test]
fn even_lengths_drop_the_squares_and_keep_decisions() {
    let model = model(1);
    let small = Recipe(vec![Step::EvenLengths]).apply(&model, &[]).unwrap();
    small.graph.check().unwrap();
    assert!(small.graph.tensor("squares").is_none() && small.graph.tensor("table").is_some());
    let best = |row: Vec<f32>| (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    assert_eq!(best(run(&small, &[3, 5])), best(run(&model, &[3, 5])));
    let again = Recipe(vec![Step::EvenLengths]).apply(&small, &[]).unwrap_err();
    assert!(matches!(again, CompressError::NotFound { step: "even_lengths", .. }));
}

#[test]
fn pruning_keeps_the_rows_that_move_answers_and_their_features() {
    let model = model(1);
    let usage: Vec<u32> = (0..ROWS as u32).map(|row| row % 5).collect();
    let small = Recipe(vec![Step::PruneRows { keep: 0.25 }]).apply(&model, &usage).unwrap();
    let (before, after) = (ngrams(&model), ngrams(&small));
    assert_eq!(after.index().len(), ROWS / 4);
    let rows = |model: &Model| match &model.graph.tensor("table").unwrap().data {
        TensorData::F32(values) => values.chunks(1).map(<[f32]>::to_vec).collect::<Vec<_>>(),
        _ => panic!("a float table"),
    };
    let (all, kept) = (rows(&model), rows(&small));
    assert_eq!(small.graph.tensor("squares").unwrap().shape, [ROWS / 4], "pruned alike");
    run(&small, &[0, 1, ROWS as i32 / 4 - 1]);
    let moved = |row: u32| {
        let squares = all[row as usize].iter().map(|x| x * x).sum::<f32>();
        squares * usage[row as usize] as f32
    };
    let (mut least_kept, mut most_dropped) = (f32::MAX, 0.0f32);
    for (row, bucket) in before.index().buckets().enumerate() {
        let row = row as u32;
        match after.index().row(bucket) {
            Some(new) => {
                assert_eq!(kept[new as usize], all[row as usize]);
                least_kept = least_kept.min(moved(row));
            }
            None => most_dropped = most_dropped.max(moved(row)),
        }
    }
    assert!(least_kept >= most_dropped && most_dropped > 0.0);
    let bad = |keep, usage: &[u32]| {
        Recipe(vec![Step::PruneRows { keep }]).apply(&model, usage).unwrap_err()
    };
    assert_eq!(bad(0.0, &usage), CompressError::Share);
    assert_eq!(bad(0.5, &usage[1..]), CompressError::Usage { found: ROWS - 1, rows: ROWS });
}

/// Searches in a model of `width` with a judge that gives each share of rows, and the step that
/// stores them, its verdict.
fn chosen(width: usize, verdict: impl Fn(f64, &[Step]) -> Verdict) -> (String, usize) {
    let model = model(width);
    let found = search(&model, &[1; ROWS], &mut |recipe, changed| {
        changed.graph.check().unwrap();
        let keep = ngrams(changed).index().len() as f64 / ROWS as f64;
        Ok(Judgement {
            size_bytes: changed.graph.weight_bytes() as u64,
            p50_ms: 0.0,
            p99_ms: 0.0,
            score: 0.0,
            difference: 0.0,
            lower_bound: 0.0,
            verdict: if recipe.0.is_empty() { Verdict::Accepted } else { verdict(keep, &recipe.0) },
        })
    })
    .unwrap();
    (found.candidates[found.chosen].recipe.to_string(), found.candidates.len())
}

#[test]
fn the_smallest_accepted_candidate_is_chosen() {
    use Step::{Codes, EvenLengths, Int8};
    use Verdict::{Accepted, Alike, Rejected, Undecidable};
    let check = |verdict: fn(f64, &[Step]) -> Verdict, recipe: &str| {
        assert_eq!(chosen(1, verdict), (recipe.to_owned(), 8));
    };
    check(|_, _| Accepted, "even lengths, 1% of rows, int8");
    check(|_, _| Rejected, "as trained");
    let all_but_even: fn(f64, &[Step]) -> Verdict =
        |_, steps| if steps.contains(&EvenLengths) { Rejected } else { Accepted };
    check(all_but_even, "1% of rows, one-byte codes");
    check(
        |_, steps| if steps == [Int8] || steps.len() > 1 { Accepted } else { Rejected },
        "even lengths, 1% of rows, int8",
    );
    check(
        |_, steps| {
            if steps.contains(&EvenLengths) || steps.contains(&Codes) { Rejected } else { Accepted }
        },
        "1% of rows, int8",
    );
    check(
        |keep, _| if keep > 0.3 { Accepted } else { Rejected },
        "even lengths, 32% of rows, int8",
    );
    check(|keep, steps| if keep > 0.9 && steps == [Int8] { Undecidable } else { Rejected }, "int8");
    check(
        |keep, steps| match steps {
            [.., Codes] if keep < 0.2 => Accepted,
            _ => Rejected,
        },
        "1% of rows, one-byte codes",
    );
    check(
        |keep, _| if keep > 0.6 { Accepted } else { Undecidable },
        "even lengths, 65% of rows, int8",
    );
    check(
        |_, steps| match steps {
            [Int8] => Accepted,
            [Codes] => Alike,
            _ => Undecidable,
        },
        "one-byte codes",
    );
    assert_eq!(chosen(8, |_, _| Accepted), ("1% of rows, int8".to_owned(), 6));
}

#[test]
fn a_failing_judge_ends_the_search() {
    let result = search(&model(1), &[1; ROWS], &mut |_, _| Err("no rows".to_owned()));
    assert!(matches!(result, Err(CompressError::Judge { .. })));
}

#[test]
fn a_table_without_rows_is_none() {
    let mut model = model(1);
    for tensor in model.graph.tensors.iter_mut().filter(|tensor| tensor.shape[0] == ROWS) {
        (tensor.shape[0], tensor.data) = (0, TensorData::F32(Vec::new()));
    }
    for step in [Step::PruneRows { keep: 0.5 }, Step::Codes] {
        let error = Recipe(vec![step]).apply(&model, &[]).unwrap_err();
        assert!(matches!(error, CompressError::NotFound { .. }), "{error}");
    }
}
