use std::collections::{HashMap, HashSet};

use luthier_test::{Scratch, real_data};

use crate::{
    ContentSpec, DataError, Dataset, DatasetSpec, Example, FoldSpec, Part, Selection, SplitPlan,
    Target, assign_folds,
};

/// A row: text, label, group, time.
type Record = (String, String, String, String);

fn csv(records: &[Record]) -> String {
    let lines = records.iter().map(|(t, l, g, at)| format!("\"{t}\",{l},{g},{at}\n"));
    format!("text,label,user,at\n{}", lines.collect::<String>())
}

/// A data set and the folder it reads from.
struct Opened {
    dataset: Dataset,
    _folder: Scratch,
}

impl std::ops::Deref for Opened {
    type Target = Dataset;

    fn deref(&self) -> &Dataset {
        &self.dataset
    }
}

fn open(records: &[Record], plan: SplitPlan) -> Result<Opened, DataError> {
    let scratch = Scratch::new();
    let spec = DatasetSpec {
        train: scratch.write("a.csv", csv(records)),
        label: "label".into(),
        id: Some("user".into()),
        split: Some(plan),
        ..DatasetSpec::default()
    };
    Ok(Opened { dataset: Dataset::open(&spec)?, _folder: scratch })
}

fn examples(dataset: &Dataset, part: Part) -> Vec<Example> {
    dataset.examples(part).unwrap().map(Result::unwrap).collect()
}

fn text_of(example: &Example) -> String {
    example.content.text().unwrap().to_owned()
}

/// For each part its sorted texts.
fn texts(dataset: &Dataset) -> [Vec<String>; 3] {
    Part::ALL.map(|part| {
        let mut texts: Vec<_> = examples(dataset, part).iter().map(text_of).collect();
        texts.sort();
        texts
    })
}

/// `count` rows; three classes of very different size, every eleventh text repeated, 97 users.
fn sample(count: usize) -> Vec<Record> {
    let record = |i: usize| {
        let text = if i.is_multiple_of(11) { i % 22 } else { i };
        let label = match text % 20 {
            0 => "rare",
            1..6 => "some",
            _ => "many",
        };
        let user = i * 7919 % 97;
        (format!("text {text}"), label.into(), format!("u{user}"), (count - i).to_string())
    };
    (0..count).map(record).collect()
}

/// A permutation that moves nearly everything.
fn shuffled(records: &[Record]) -> Vec<Record> {
    let step = (records.len() / 2..).find(|s| gcd(*s, records.len()) == 1).unwrap();
    (0..records.len()).map(|i| records[(i * step + 3) % records.len()].clone()).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[test]
fn the_order_of_rows_plays_no_role() {
    let records = sample(1000);
    for plan in [
        SplitPlan::default(),
        SplitPlan { group: Some("user".into()), ..SplitPlan::default() },
        SplitPlan { time: Some("at".into()), ..SplitPlan::default() },
    ] {
        let before = texts(&open(&records, plan.clone()).unwrap());
        let after = texts(&open(&shuffled(&records), plan.clone()).unwrap());
        assert_eq!(before, after, "{plan:?}");
    }
}

#[test]
fn the_seed_picks_the_split() {
    let split =
        |seed| texts(&open(&sample(500), SplitPlan { seed, ..SplitPlan::default() }).unwrap());
    assert_eq!(split(1), split(1));
    let (one, two) = (split(1), split(2));
    let both = one[2].iter().filter(|text| two[2].contains(text)).count();
    assert!(both * 3 < one[2].len(), "{both} of {} texts in both", one[2].len());
}

#[test]
fn classes_keep_their_shares() {
    let records: Vec<Record> = (0..1000)
        .map(|i| {
            (format!("t{i}"), ["a", "b", "b", "c"][i % 4].into(), String::new(), String::new())
        })
        .collect();
    let dataset =
        open(&records, SplitPlan { valid: 0.15, test: 0.2, ..SplitPlan::default() }).unwrap();
    // 37.5 rows of `a` and of `c`: one gets the half row of the other.
    assert_eq!(dataset.class_counts(Part::Valid), [37, 75, 38]);
    assert_eq!(dataset.class_counts(Part::Test), [50, 100, 50]);
    assert_eq!(dataset.class_counts(Part::Train), [163, 325, 162]);
}

#[test]
fn small_classes_fill_parts_together_and_stay_in_train() {
    let records: Vec<Record> = (0..400)
        .map(|i| (format!("t{i}"), format!("c{}", i % 100), String::new(), String::new()))
        .collect();
    let dataset =
        open(&records, SplitPlan { valid: 0.3, test: 0.4, ..SplitPlan::default() }).unwrap();
    let sizes = Part::ALL.map(|part| dataset.len(part));
    assert_eq!(sizes, [120, 120, 160]);
    assert!(dataset.class_counts(Part::Train).iter().all(|count| *count >= 1));
}

#[test]
fn equal_texts_go_together() {
    let dataset = open(&sample(1000), SplitPlan::default()).unwrap();
    let [train, valid, test] =
        texts(&dataset).map(|texts| texts.into_iter().collect::<HashSet<_>>());
    assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    let sizes = Part::ALL.map(|part| dataset.len(part));
    assert_eq!(sizes, [800, 100, 100]);
}

#[test]
fn groups_go_together_and_balance_classes() {
    let plan = SplitPlan { group: Some("user".into()), ..SplitPlan::default() };
    let dataset = open(&sample(2000), plan).unwrap();
    let users = Part::ALL.map(|part| {
        examples(&dataset, part).into_iter().filter_map(|e| e.id).collect::<HashSet<_>>()
    });
    assert_eq!(users.iter().map(HashSet::len).sum::<usize>(), 97, "no user in two parts");
    for (part, share) in [(Part::Train, 0.8), (Part::Valid, 0.1), (Part::Test, 0.1)] {
        for (class, count) in dataset.class_counts(part).iter().enumerate() {
            let total: u64 = Part::ALL.iter().map(|part| dataset.class_counts(*part)[class]).sum();
            let off = *count as f64 / total as f64 - share;
            assert!(off.abs() < 0.05, "class {class} of {part}: off by {off}");
        }
    }
}

#[test]
fn rows_without_a_group_stand_alone() {
    let mut records = sample(300);
    records.iter_mut().for_each(|record| record.2.clear());
    let dataset =
        open(&records, SplitPlan { group: Some("user".into()), ..SplitPlan::default() }).unwrap();
    assert!(Part::ALL.iter().all(|part| dataset.len(*part) > 20));
}

#[test]
fn the_newest_rows_test() {
    let record = |(index, at): (usize, &str)| {
        (format!("t{index}"), (index % 2).to_string(), String::new(), at.to_owned())
    };
    let check = |times: &[&str], expected: [&[u64]; 3]| {
        let records: Vec<Record> = times.iter().copied().enumerate().map(record).collect();
        let plan =
            SplitPlan { valid: 0.2, test: 0.2, time: Some("at".into()), ..SplitPlan::default() };
        let dataset = open(&records, plan).unwrap();
        let rows = Part::ALL
            .map(|part| examples(&dataset, part).iter().map(|e| e.row).collect::<Vec<_>>());
        assert_eq!(rows, expected.map(<[u64]>::to_vec));
    };
    check(
        &["9", "-8", "7", "-6.5", "-0", "0", "3", "2e0", "10", "1"],
        [&[2, 4, 5, 6, 8, 10], &[3, 7], &[1, 9]],
    );
    // Seven to nine are the same moment, so they go where seven goes.
    check(
        &[
            "2024-01-06",
            "2024-01-05",
            "2024-01-04",
            "2024-01-03",
            "2024-01-02",
            "2024-01-01",
            "2024-02-01",
            "2024-02-01T00:00:00Z",
            "2024-02-01T01:00:00+01:00",
            "2024-02-02",
        ],
        [&[1, 2, 3, 4, 5, 6], &[7, 8, 9], &[10]],
    );
}

#[test]
fn plans_that_make_no_sense_are_errors() {
    let check = |plan: SplitPlan, expected: &str| {
        let error = open(&sample(40), plan).err().expect("an error").to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    let fractions = |valid, test| SplitPlan { valid, test, ..SplitPlan::default() };
    check(fractions(0.5, 0.5), "cannot split off 0.5 for valid and 0.5 for test");
    check(fractions(-0.1, 0.5), "cannot split off -0.1 for valid and 0.5 for test");
    check(fractions(f64::NAN, 0.0), "cannot split off NaN for valid and 0 for test");
    check(fractions(0.001, 0.1), "the valid part has no rows");
    let both =
        SplitPlan { group: Some("user".into()), time: Some("at".into()), ..SplitPlan::default() };
    check(both, "a split is either by group `user` or by time `at`");
    let words = SplitPlan { time: Some("text".into()), ..SplitPlan::default() };
    check(words, ":2: time `text 0` in column `text` cannot be ordered");
    let lost = SplitPlan { group: Some("usr".into()), ..SplitPlan::default() };
    check(lost, "no column `usr` among text, label, user, at");
}

fn folds(records: &[Record], folds: u32, group: Option<&str>) -> Result<Vec<u8>, DataError> {
    let scratch = Scratch::new();
    let spec = FoldSpec {
        file: scratch.write("a.csv", csv(records)),
        content: ContentSpec::default(),
        label: "label".into(),
        target: Target::Class,
        group: group.map(String::from),
        folds,
        seed: 42,
    };
    assign_folds(&spec).map(|folds| folds.fold_of_row)
}

#[test]
fn folds_are_stratified_and_follow_content() {
    let records: Vec<Record> = (0..203)
        .map(|i| (format!("t{i}"), ["a", "b", "b"][i % 3].into(), String::new(), String::new()))
        .collect();
    let dealt = folds(&records, 5, None).unwrap();
    let mut counts: HashMap<(u8, &str), u32> = HashMap::new();
    for (fold, record) in dealt.iter().zip(&records) {
        *counts.entry((*fold, &record.1)).or_default() += 1;
    }
    for fold in 0..5 {
        let (a, b) = (counts[&(fold, "a")], counts[&(fold, "b")]);
        assert!((13..=14).contains(&a) && (27..=28).contains(&b), "fold {fold}: {a}, {b}");
        assert!((40..=41).contains(&(a + b)));
    }
    let moved = shuffled(&records);
    let home: HashMap<_, _> = records.iter().map(|r| &r.0).zip(&dealt).collect();
    let again = folds(&moved, 5, None).unwrap();
    assert!(moved.iter().zip(&again).all(|(record, fold)| home[&record.0] == fold));
}

#[test]
fn folds_keep_texts_or_groups_together() {
    for (group, key) in [(None, 0), (Some("user"), 1)] {
        let records = sample(600);
        let dealt = folds(&records, 4, group).unwrap();
        let mut home: HashMap<&str, u8> = HashMap::new();
        for (record, fold) in records.iter().zip(&dealt) {
            let name = if key == 0 { &record.0 } else { &record.2 };
            assert_eq!(home.entry(name).or_insert(*fold), fold, "{name}");
        }
        for fold in 0..4 {
            let size = dealt.iter().filter(|f| **f == fold).count();
            assert!((130..=170).contains(&size), "fold {fold} has {size} rows");
        }
    }
}

#[test]
fn folds_that_cannot_be_dealt_are_errors() {
    let check = |records: &[Record], count: u32, expected: &str| {
        let error = folds(records, count, None).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    check(&sample(30), 1, "into 1 folds");
    check(&sample(300), 256, "into 256 folds");
    check(&sample(3), 5, "cannot deal 3 separable groups of rows into 5 folds");
    check(&[], 5, "the train part has no rows");
    let mut records = sample(30);
    records.push(("lonely".into(), "single".into(), String::new(), String::new()));
    check(&records, 5, ":32: all rows of class `single` are in one of 5 folds");
}

#[test]
fn real_rows_are_split_and_dealt() {
    let Some(folder) = real_data("zh_waimai") else {
        return;
    };
    let spec = DatasetSpec {
        train: folder.join("train.csv"),
        label: "label".into(),
        ..DatasetSpec::default()
    };
    let dataset = Dataset::open(&spec).unwrap();
    assert_eq!(dataset.class_counts(Part::Valid), [639, 319]);
    assert_eq!(dataset.class_counts(Part::Test), [638, 320]);
    assert_eq!(Part::ALL.map(|part| dataset.len(part)), [7662, 958, 958]);
}

/// The data set of `sample`, its training rows dealt into folds.
fn cross(records: &[Record], plan: Option<SplitPlan>, folds: u32) -> Result<Opened, DataError> {
    let scratch = Scratch::new();
    let spec = DatasetSpec {
        train: scratch.write("a.csv", csv(records)),
        label: "label".into(),
        split: plan,
        folds: Some(folds),
        ..DatasetSpec::default()
    };
    Ok(Opened { dataset: Dataset::open(&spec)?, _folder: scratch })
}

#[test]
fn training_rows_are_dealt_into_folds_that_part_them() {
    let records = sample(400);
    let dataset = cross(&records, None, 4).unwrap();
    assert_eq!((dataset.folds(), dataset.len(Part::Valid)), (4, 0));
    let test = dataset.len(Part::Test);
    assert!((38..=42).contains(&test), "a tenth is split off for testing: {test}");
    let rows = |selection| -> Vec<u64> {
        dataset.examples(selection).unwrap().map(|example| example.unwrap().row).collect()
    };
    let train = rows(Selection::Part(Part::Train));
    let dealt = dataset.fold_of_row();
    assert_eq!(dealt.len(), train.len());
    let mut texts_of = HashMap::new();
    for fold in 0..4 {
        let (inside, outside) = (rows(Selection::Fold(fold)), rows(Selection::Outside(fold)));
        let expected = train.iter().zip(&dealt).filter(|(_, of)| **of == fold);
        assert!(inside.iter().eq(expected.map(|(row, _)| row)));
        assert!((inside.len() as f64 * 4.0 / train.len() as f64 - 1.0).abs() < 0.15);
        let both: HashSet<u64> = inside.iter().chain(&outside).copied().collect();
        assert_eq!(both.len(), train.len());
        for row in inside {
            let text = &records[row as usize - 1].0;
            assert_eq!(*texts_of.entry(text).or_insert(fold), fold, "{text}");
        }
    }
    let whole = SplitPlan { valid: 0.1, test: 0.0, ..SplitPlan::default() };
    assert_eq!(cross(&records, Some(whole), 5).unwrap().len(Part::Train), 400);
}

#[test]
fn folds_are_part_of_what_a_data_set_is() {
    let records = sample(200);
    let digest = |folds| cross(&records, None, folds).unwrap().digest();
    assert_ne!(digest(3), digest(4));
    assert_eq!(digest(3), digest(3));
}

#[test]
fn files_of_folds_hold_the_rows_of_folds() {
    let dataset = cross(&sample(200), None, 3).unwrap();
    let folder = Scratch::new();
    let file = dataset.file_of(Selection::Outside(1), folder.path(), "train").unwrap().unwrap();
    assert!(file.ends_with("train.csv"));
    let rows = dataset.examples(Selection::Outside(1)).unwrap().count();
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), rows + 1);
}

#[test]
fn folds_that_make_no_sense_are_errors() {
    let check = |plan: Option<SplitPlan>, folds: u32, expected: &str| {
        let error = cross(&sample(40), plan, folds).err().expect("an error").to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    check(None, 1, "into 1 folds");
    let by_time = SplitPlan { time: Some("at".into()), ..SplitPlan::default() };
    check(Some(by_time), 3, "folds have no order, and the split is by time `at`");
    let mut records = sample(40);
    records.iter_mut().for_each(|record| record.2 = record.1.clone());
    let by_class = SplitPlan { test: 0.0, group: Some("user".into()), ..SplitPlan::default() };
    let error = cross(&records, Some(by_class), 2).err().expect("an error").to_string();
    assert!(error.contains("are in one of 2 folds"), "{error}");
}
