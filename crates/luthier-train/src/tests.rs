use std::ops::ControlFlow;

use luthier_model::{Decision, Preprocess, Scratch};
use luthier_space::{Distribution, Value, Values};

use crate::{
    Data, Fitted, Inputs, Job, Learner, Locate, Network, Row, Step, Subset, TaskKind, TextData,
    TextNetwork, TrainError,
};

fn learners() -> Vec<Box<dyn Learner>> {
    let locate: Locate = std::sync::Arc::new(|name| Err(format!("there is no {name}")));
    let mut learners = crate::learners(TaskKind::TextClasses, &locate, None);
    learners.retain(|learner| learner.needs().is_none());
    learners
}

fn bag(fitted: &Fitted) -> TextNetwork {
    match fitted.network() {
        Network::Bag(network) => network,
        _ => panic!("n-grams"),
    }
}

const WORDS: [[&str; 4]; 3] = [
    ["lovely", "warm", "brilliant", "好吃"],
    ["dull", "cold", "broken", "难吃"],
    ["map", "route", "north", "地图"],
];

/// Sentences of three classes: two words of the class and neutral ones.
fn rows(classes: usize, count: usize, salt: usize) -> Vec<(String, u32)> {
    (0..count)
        .map(|index| {
            let label = index % classes;
            let (a, b) = ((index / classes + salt) % 4, (index / 7 + salt) % 4);
            let filler = ["the", "a", "this", "that", "one"][(index + salt) % 5];
            let text =
                format!("{filler} {} thing and {} {filler}", WORDS[label][a], WORDS[label][b]);
            (text, label as u32)
        })
        .collect()
}

fn data(classes: usize) -> Data<'static> {
    let (train, valid) = (rows(classes, 120, 0), rows(classes, 30, 2));
    TextData::new(classes, move |subset, visit| {
        let rows = if subset == Subset::Train { &train } else { &valid };
        rows.iter().for_each(|(text, label)| visit(Row::labelled(text, *label)));
        Ok(())
    })
    .unwrap()
    .into()
}

fn labels(data: &Data<'_>) -> Vec<u32> {
    data.texts().unwrap().valid().labels.iter().copied().flatten().collect()
}

/// The middle of every range and the last option of every choice.
fn middle(learner: &dyn Learner) -> Values {
    learner.space().pick(|_, dimension| match &dimension.distribution {
        Distribution::Float { low, high, .. } => Value::Float((low * high).max(0.01).sqrt()),
        Distribution::Int { low, high, .. } => Value::Int((low + high) / 2),
        other => other.options().last().unwrap().clone(),
    })
}

fn fit(learner: &dyn Learner, data: &Data<'_>, seed: u64) -> Fitted {
    let values = middle(learner);
    let mut epochs = 0;
    let fitted = learner
        .fit(&Job::new(data, &values, seed), &mut |step: Step<'_>| {
            epochs += 1;
            assert_eq!(step.epoch, epochs);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(epochs, values.int("epochs").unwrap().cast_unsigned());
    fitted
}

#[test]
fn learners_learn() {
    for learner in learners() {
        for classes in [2, 3] {
            let data = data(classes);
            let fitted = fit(&*learner, &data, 1);
            let right = fitted
                .valid
                .chunks(classes)
                .zip(labels(&data))
                .filter(|(p, label)| p.iter().all(|q| *q <= p[*label as usize]));
            assert_eq!(right.count(), 30, "{} on {classes} classes", learner.name());
        }
    }
}

#[test]
fn proposals_fit_their_spaces() {
    for learner in learners() {
        learner.space().check(&learner.proposal()).unwrap();
    }
}

#[test]
fn equal_seeds_give_equal_bits_and_others_do_not() {
    for learner in learners() {
        let data = data(2);
        let [a, b, c] = [1, 1, 2].map(|seed| bag(&fit(&*learner, &data, seed)).network);
        assert_eq!(a, b, "{}", learner.name());
        assert_ne!(a, c, "{}", learner.name());
    }
}

#[test]
fn the_reported_probabilities_are_those_of_the_exported_features() {
    for learner in learners() {
        let data = data(3);
        let fitted = fit(&*learner, &data, 3);
        let texts: Vec<String> = rows(3, 30, 2).into_iter().map(|(text, _)| text).collect();
        let answers = fitted.network().answer(Inputs::Texts(&texts)).unwrap();
        assert_eq!(answers.len(), 90);
        for (a, b) in answers.iter().zip(&fitted.valid) {
            luthier_test::assert_close((*a).into(), (*b).into(), 1e-6, learner.name());
        }
        let labels = vec!["a".into(), "b".into(), "c".into()];
        let model = fitted.network().to_model(Decision::of_classes(labels, None), None).unwrap();
        model.graph.check().unwrap();
        assert!(model.clone().set_shifts(&[0.0, 0.5, 0.0]), "the graph ends in a softmax");
        let Preprocess::NgramText(text) = &model.preprocess else { panic!("n-grams") };
        assert_eq!(text.index().len(), model.graph.tensor("table").unwrap().shape[0]);
        let mut scratch = Scratch::default();
        let (rows, _) = text.features("zzqqxxyy", &mut scratch);
        assert!(rows.len() < 3, "rows that no training row touches are not stored");
    }
}

#[test]
fn a_break_stops() {
    for learner in learners() {
        let values = middle(&*learner);
        let mut steps = 0;
        let stopped = learner.fit(&Job::new(&data(2), &values, 0), &mut |_| {
            steps += 1;
            ControlFlow::Break(())
        });
        assert!(matches!(stopped, Err(TrainError::Stopped)));
        assert_eq!(steps, 1);
    }
}

#[test]
fn weights_count_as_repeats_would_and_zero_leaves_a_row_out() {
    for learner in learners() {
        let flipped = |weight: f32| {
            TextData::new(2, move |subset, visit| {
                for (index, (text, label)) in rows(2, 120, 0).iter().enumerate() {
                    let lie = subset == Subset::Train && index % 3 == 0;
                    let label = if lie { 1 - label } else { *label };
                    visit(Row {
                        weight: if lie { weight } else { 1.0 },
                        ..Row::labelled(text, label)
                    });
                }
                Ok(())
            })
            .unwrap()
        };
        let margin = |data: &Data<'_>| {
            let fitted = fit(&*learner, data, 1);
            let labels = labels(data);
            fitted.valid.chunks(2).zip(labels).map(|(p, l)| p[l as usize]).sum::<f32>()
        };
        assert!(
            margin(&flipped(0.0).into()) > margin(&flipped(1.0).into()) + 1.0,
            "{}",
            learner.name()
        );
    }
}

#[test]
fn fitting_needs_no_validation_rows() {
    let rows = [("good", 0), ("bad", 1), ("good film", 0), ("bad film", 1)];
    let with = |valid: bool| {
        let source = move |subset, visit: &mut dyn FnMut(Row<'_>)| {
            if subset == Subset::Train || valid {
                rows.iter().for_each(|(text, label)| visit(Row::labelled(text, *label)));
            }
            Ok(())
        };
        TextData::new(2, source).unwrap()
    };
    for learner in learners() {
        let fit = |data: &Data<'_>| {
            let values = learner.proposal();
            let job = Job::new(data, &values, 1);
            let fitted = learner.fit(&job, &mut |_| ControlFlow::Continue(())).unwrap();
            let texts = rows.map(|(text, _)| text.to_owned());
            (fitted.valid.len(), fitted.network().answer(Inputs::Texts(&texts)).unwrap())
        };
        let (with, without) = (fit(&with(true).into()), fit(&with(false).into()));
        assert_eq!((with.0, without.0), (8, 0));
        assert_eq!(with.1, without.1, "the model is the same");
    }
}

#[test]
fn unusable_rows_are_errors() {
    let empty = TextData::new(2, |_, _| Ok(()));
    assert!(matches!(empty, Err(TrainError::NoRows)));
    let outside = TextData::new(2, |_, visit| {
        visit(Row::labelled("x", 2));
        Ok(())
    });
    assert!(matches!(outside, Err(TrainError::Label { classes: 2 })));
    let failing = TextData::new(2, |_, _| Err("gone".into()));
    assert!(matches!(failing, Err(TrainError::Source(_))));
    let blank = TextData::new(2, |_, visit| {
        visit(Row::labelled("", 0));
        visit(Row::labelled(" ", 1));
        Ok(())
    });
    let blank = Data::from(blank.unwrap());
    for learner in learners() {
        let mut values = middle(&*learner);
        values.insert("chars", 0);
        let job = Job::new(&blank, &values, 0);
        let fitted = learner.fit(&job, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(fitted, Err(TrainError::NoFeatures)));
    }
}

#[test]
fn rows_that_are_read_again_train_as_well_as_rows_that_are_kept() {
    for learner in learners() {
        let source = |subset, visit: &mut dyn FnMut(Row<'_>)| {
            let rows = rows(3, if subset == Subset::Train { 120 } else { 30 }, 1);
            rows.iter().for_each(|(text, label)| visit(Row::labelled(text, *label)));
            Ok(())
        };
        let kept = Data::from(TextData::new(3, source).unwrap());
        let right = |fitted: &Fitted| {
            let rows = fitted.valid.chunks(3).zip(labels(&kept));
            rows.filter(|(p, label)| p.iter().all(|q| *q <= p[*label as usize])).count()
        };
        let expected = fit(&*learner, &kept, 4);
        for max_chunk in [u64::MAX, 2000] {
            let streamed = TextData::with_limits(3, 0, max_chunk, source).unwrap();
            let fitted = fit(&*learner, &streamed.into(), 4);
            let index = |fitted: &Fitted| bag(fitted).preprocess.index().clone();
            assert_eq!(index(&fitted), index(&expected));
            assert_eq!(right(&fitted), right(&expected), "{} by {max_chunk}", learner.name());
        }
    }
}

#[test]
fn students_learn_words_that_only_their_teacher_has_seen() {
    let labelled = [("good film", 1), ("bad film", 0), ("good plot", 1), ("bad plot", 0)];
    let unlabelled = ["superb film", "superb plot", "dreary film", "dreary plot"];
    let answers = |superb: bool| if superb { [0.1, 0.9] } else { [0.9, 0.1] };
    let of = |is_taught: bool| {
        let data = TextData::new(2, move |subset, visit| {
            for (text, label) in labelled.into_iter().cycle().take(80) {
                let taught = answers(label == 1);
                let taught: &[f32] =
                    if is_taught && subset == Subset::Train { &taught } else { &[] };
                visit(Row { taught, ..Row::labelled(text, label) });
            }
            for text in unlabelled.into_iter().cycle().take(80).filter(|_| is_taught) {
                if subset == Subset::Train {
                    let taught = answers(text.starts_with("superb"));
                    visit(Row { text, label: None, weight: 1.0, taught: &taught });
                }
            }
            Ok(())
        });
        Data::from(data.unwrap())
    };
    for learner in [&crate::Linear as &dyn Learner, &crate::Embedding] {
        let mut values = learner.proposal();
        let (space, own) = learner.student().unwrap();
        space.dimensions().iter().for_each(|dimension| {
            values.insert(&dimension.name, own.get(&dimension.name).unwrap().clone());
        });
        let score = |data: &Data<'_>| {
            let job = Job::new(data, &values, 3);
            let fitted = learner.fit(&job, &mut |_| ControlFlow::Continue(())).unwrap();
            let texts = ["superb".to_owned(), "dreary".to_owned()];
            let found = fitted.network().answer(Inputs::Texts(&texts)).unwrap();
            f64::from(found[1] - found[3])
        };
        assert!(score(&of(true)) > 0.4, "{}", learner.name());
        assert!(score(&of(false)).abs() < 0.05, "{}", learner.name());
    }
    let lone = TextData::new(2, |_, visit| {
        visit(Row { text: "x", label: None, weight: 1.0, taught: &[] });
        Ok(())
    });
    assert!(matches!(lone, Err(TrainError::Label { classes: 2 })));
    let some = TextData::new(2, |_, visit| {
        visit(Row::labelled("x", 0));
        visit(Row { taught: &[0.5, 0.5], ..Row::labelled("y", 1) });
        Ok(())
    });
    assert!(matches!(some, Err(TrainError::Taught)));
}
