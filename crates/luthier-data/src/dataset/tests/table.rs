use luthier_test::{Scratch, real_data};

use crate::source::tests::write_parquet;
use crate::{
    ColumnChoice, ColumnKind, ContentSpec, Dataset, DatasetSpec, FoldSpec, Label, LeftOut, Part,
    Reason, SplitPlan, TableSpec, Target, assign_folds,
};

fn spec(scratch: &Scratch, train: &str, valid: &str) -> DatasetSpec {
    DatasetSpec {
        train: scratch.write("train.csv", train),
        valid: Some(scratch.write("valid.csv", valid)),
        content: ContentSpec::Table(TableSpec::default()),
        label: "label".into(),
        ..DatasetSpec::default()
    }
}

fn kinds(dataset: &Dataset) -> Vec<(&str, &str)> {
    dataset.kinds()
}

fn categories<'a>(dataset: &'a Dataset, name: &str) -> &'a [String] {
    let mut columns = dataset.table().unwrap().columns().iter();
    match &columns.find(|column| column.name == name).unwrap().kind {
        ColumnKind::Category(categories) => categories.values(),
        kind => panic!("{kind:?}"),
    }
}

/// Forty rows of columns of every kind.
fn mixed() -> String {
    let header = "id,uid,age,rate,job,member,since,note,empty,group,label\n";
    let row = |i: usize| {
        let age = if i == 3 { "NA".to_owned() } else { (20 + i * 7 % 40).to_string() };
        let rate = if i.is_multiple_of(10) { "?".to_owned() } else { format!("{}.5", i % 4) };
        let job = ["cook", "smith", "NA"][i % 5 % 3];
        format!(
            "{i},u{i},{age},{rate},{job},{},2024-01-{:02},some text {i},{},g{},{}\n",
            i.is_multiple_of(2),
            1 + i % 28,
            if i == 5 { "NaN" } else { "" },
            i % 9,
            i % 2
        )
    };
    header.to_owned() + &(0..40).map(row).collect::<String>()
}

#[test]
fn columns_are_chosen_by_what_they_hold() {
    let scratch = Scratch::new();
    let base = spec(&scratch, &mixed(), &mixed());
    let dataset = Dataset::open(&base).unwrap();
    let expected = [
        ("age", "number"),
        ("rate", "number"),
        ("job", "category"),
        ("member", "category"),
        ("since", "time"),
        ("group", "category"),
    ];
    assert_eq!(kinds(&dataset), expected);
    let left = |column: &str, reason| LeftOut { column: column.to_owned(), reason };
    let expected = [
        left("id", Reason::Identifier),
        left("uid", Reason::Identifier),
        left("note", Reason::Text),
        left("empty", Reason::Empty),
    ];
    assert_eq!(dataset.left_out(), expected);
    assert_eq!(dataset.table().unwrap().ignored(), ["id", "uid", "note", "empty", "label"]);
    assert_eq!(categories(&dataset, "job"), ["cook", "smith", "NA"], "the most frequent first");
    assert_eq!(categories(&dataset, "member"), ["false", "true"], "equals by name");

    let kinds_of = |kinds_wanted: &[(&str, ColumnChoice)], columns: Option<&[&str]>| {
        let content = ContentSpec::Table(TableSpec {
            columns: columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            kinds: kinds_wanted.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        });
        let dataset = Dataset::open(&DatasetSpec { content, ..base.clone() });
        dataset.map(|dataset| {
            let kinds = dataset.kinds().into_iter();
            kinds.map(|(name, kind)| (name.to_owned(), kind)).collect::<Vec<_>>()
        })
    };
    let said = [("rate", ColumnChoice::Category), ("age", ColumnChoice::Ignore)];
    let found = kinds_of(&said, Some(&["rate", "id", "uid", "age"])).unwrap();
    let own = |name: &str, kind| (name.to_owned(), kind);
    assert_eq!(found, [own("rate", "category"), own("id", "number"), own("uid", "category")]);
    let error = kinds_of(&[("job", ColumnChoice::Number)], None).unwrap_err().to_string();
    assert!(error.ends_with("train.csv:2: `cook` in column `job` is not a number"), "{error}");
    let error = kinds_of(&[("jobs", ColumnChoice::Ignore)], None).unwrap_err().to_string();
    assert!(error.contains("no column `jobs`"), "{error}");
    let error = kinds_of(&[], Some(&["empty"])).unwrap_err().to_string();
    assert!(error.ends_with("train.csv: there is no column to learn from"), "{error}");
    let group = Some(SplitPlan { group: Some("group".into()), ..SplitPlan::default() });
    let grouped =
        Dataset::open(&DatasetSpec { split: group, valid: None, ..base.clone() }).unwrap();
    assert!(kinds(&grouped).iter().all(|(name, _)| *name != "group"), "it has another part");
}

#[test]
fn rows_have_the_cells_of_the_columns() {
    let scratch = Scratch::new();
    let rows = "b,label,a,w\n1.5,x,u,1\n,y,v,0.5\n2.5,x,u,1\n0,y,,1\n3,y,v,1\n4,y,u,1\n";
    let spec = DatasetSpec { weight: Some("w".into()), ..spec(&scratch, rows, rows) };
    let dataset = Dataset::open(&spec).unwrap();
    let table = dataset.table().unwrap();
    let mut found = Vec::new();
    for example in dataset.examples(Part::Valid).unwrap() {
        let example = example.unwrap();
        let mut numbers = Vec::new();
        table.encode(example.content.cells(), &mut numbers).unwrap();
        let shown = numbers.iter().map(|x| if x.is_nan() { -1.0 } else { *x }).collect::<Vec<_>>();
        assert_eq!(example.content.text(), None);
        found.push((example.row, shown, example.label, example.weight));
    }
    let row =
        |row, cells: [f32; 2], class, weight| (row, cells.to_vec(), Label::Class(class), weight);
    let expected = [
        row(1, [1.5, 0.0], 0, 1.0),
        row(2, [-1.0, 1.0], 1, 0.5),
        row(3, [2.5, 0.0], 0, 1.0),
        row(4, [0.0, -1.0], 1, 1.0),
        row(5, [3.0, 1.0], 1, 1.0),
        row(6, [4.0, 0.0], 1, 1.0),
    ];
    assert_eq!(found, expected);
}

#[test]
fn categories_are_learnt_from_training_rows_alone() {
    let scratch = Scratch::new();
    // 300 of them; the later, the more frequent.
    let row = |i: usize| format!("c{},{i}.5,{}\n", (i as f64).sqrt() as usize, i % 2);
    let many: String = (0..90_000).map(row).collect();
    let train = format!("c,n,label\n{many}");
    let split = Dataset::open(&DatasetSpec { valid: None, ..spec(&scratch, &train, "") }).unwrap();
    let learnt = categories(&split, "c");
    assert_eq!((learnt.len(), learnt[0].as_str()), (255, "c299"));
    assert!(!learnt.contains(&"c3".to_owned()), "the rarest are unknown");
    let valid = Dataset::open(&spec(&scratch, "c,label\na,0\nb,1\na,0\nb,1\n", "c,label\nz,0\n"));
    assert_eq!(categories(&valid.unwrap(), "c"), ["a", "b"]);
}

#[test]
fn equal_rows_stay_together_and_identifiers_do_not_part_them() {
    let scratch = Scratch::new();
    let rows: String = (0..600).map(|i| format!("r{i},{},{},{}\n", i % 60, i % 7, i % 2)).collect();
    let file = format!("key,a,b,label\n{rows}");
    let plan = SplitPlan { valid: 0.25, test: 0.25, ..SplitPlan::default() };
    let spec = DatasetSpec { valid: None, split: Some(plan), ..spec(&scratch, &file, "") };
    let dataset = Dataset::open(&spec).unwrap();
    let parts = dataset.assignment().unwrap();
    let mut homes = std::collections::HashMap::new();
    for (i, part) in parts.iter().enumerate() {
        assert_eq!(homes.entry((i % 60, i % 7)).or_insert(*part), part, "row {i}");
    }
    assert_eq!(Part::ALL.map(|part| dataset.class_counts(part).to_vec().len()), [2, 2, 2]);
    assert!(Part::ALL.iter().all(|part| dataset.len(*part) > 100));
}

fn regression(scratch: &Scratch, rows: &str) -> DatasetSpec {
    let file = format!("a,label\n{rows}");
    let target = Target::Number;
    DatasetSpec { target, valid: None, ..spec(scratch, &file, "") }
}

#[test]
fn labels_may_be_numbers() {
    let scratch = Scratch::new();
    let rows: String =
        (0..1000).map(|i| format!("{},{}\n", i * 7 % 1000, (i * i) as f64 / 8.0)).collect();
    let dataset = Dataset::open(&regression(&scratch, &rows)).unwrap();
    assert_eq!(Part::ALL.map(|part| dataset.len(part)), [800, 100, 100]);
    assert_eq!(
        (dataset.target(), dataset.labels(), dataset.positive()),
        (Target::Number, &[][..], None)
    );
    assert_eq!(dataset.class_counts(Part::Test), [100]);
    let numbers = |part: Part| {
        let examples = dataset.examples(part).unwrap();
        examples.map(|e| e.unwrap().label.number().unwrap()).collect::<Vec<f64>>()
    };
    // Each part has its tenth of each tenth.
    for part in [Part::Valid, Part::Test] {
        let mut tenths = [0; 10];
        numbers(part).iter().for_each(|x| tenths[((x * 8.0).sqrt() as usize) / 100] += 1);
        assert_eq!(tenths, [10; 10], "{part}");
    }
    let folded = DatasetSpec {
        folds: Some(5),
        split: Some(SplitPlan { valid: 0.0, test: 0.0, ..SplitPlan::default() }),
        ..regression(&scratch, &rows)
    };
    let folded = Dataset::open(&folded).unwrap();
    assert_eq!((folded.folds(), folded.len(Part::Train)), (5, 1000));
    let alone = FoldSpec {
        file: scratch.path().join("train.csv"),
        content: ContentSpec::Table(TableSpec::default()),
        label: "label".into(),
        target: Target::Number,
        group: None,
        folds: 5,
        seed: 42,
    };
    assert_eq!(assign_folds(&alone).unwrap().fold_of_row, folded.fold_of_row());
}

#[test]
fn labels_that_are_no_numbers_are_named() {
    let scratch = Scratch::new();
    let check = |rows: &str, expected: &str| {
        let error = Dataset::open(&regression(&scratch, rows)).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    let fine: String = (0..50).map(|i| format!("{},{i}\n", i % 10)).collect();
    check(&format!("{fine}1,n/a\n"), "train.csv:52: label `n/a` in column `label` is not a number");
    check(
        &format!("1,1e999\n{fine}"),
        "train.csv:2: label `1e999` in column `label` is not a number",
    );
    check(&format!("{fine}1,\n"), "train.csv:52: no label in column `label`");
    let same: String = (0..50).map(|i| format!("{i}.5,1\n")).collect();
    check(&same, "only one label in train, 1");
}

#[test]
fn bad_cells_of_any_part_are_named() {
    let scratch = Scratch::new();
    let train: String = (0..50).map(|i| format!("{},{}\n", i % 10, i % 2)).collect();
    let train = format!("a,label\n{train}");
    let error = Dataset::open(&spec(&scratch, &train, "label,a\n0,1\n1,nine\n")).unwrap_err();
    let expected = "valid.csv:3: `nine` in column `a` is not a number";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn digests_follow_what_is_read() {
    let scratch = Scratch::new();
    let digest = |change: &dyn Fn(&mut DatasetSpec)| {
        let mut spec = spec(&scratch, &mixed(), &mixed());
        change(&mut spec);
        Dataset::open(&spec).unwrap().digest()
    };
    let say = |name: &str, choice| {
        let kinds = [(name.to_owned(), choice)].into();
        ContentSpec::Table(TableSpec { columns: None, kinds })
    };
    let mut digests = vec![
        digest(&|_| {}),
        digest(&|spec| spec.target = Target::Number),
        digest(&|spec| spec.content = say("age", ColumnChoice::Category)),
        digest(&|spec| spec.content = say("age", ColumnChoice::Ignore)),
        digest(&|spec| spec.content = ContentSpec::Text(vec!["note".into()])),
    ];
    assert_eq!(digests[0], digest(&|_| {}));
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 5);
}

/// The same rows in two formats: numbers of JSON and texts of CSV, nulls and absent keys.
#[test]
fn formats_agree() {
    let scratch = Scratch::new();
    let csv = "a,b,label\n1.5,x,0\n,y,1\n2,x,0\n3,,1\n";
    let json = "{\"a\":1.5,\"b\":\"x\",\"label\":0}\n{\"a\":null,\"b\":\"y\",\"label\":1}\n\
                {\"a\":2.0,\"b\":\"x\",\"label\":0}\n{\"a\":3,\"label\":1}\n";
    let a = &[Some("1.5"), None, Some("2"), Some("3")][..];
    let b = &[Some("x"), Some("y"), Some("x"), None][..];
    let label = &[Some("0"), Some("1"), Some("0"), Some("1")][..];
    let columns = [("a", a), ("b", b), ("label", label)];
    let paths = [
        scratch.write("a.csv", csv),
        scratch.write("a.jsonl", json),
        write_parquet(&scratch, "a.parquet", &columns, 3),
    ];
    let read = |path: &std::path::PathBuf| {
        let spec = DatasetSpec { train: path.clone(), ..spec(&scratch, csv, csv) };
        let dataset = Dataset::open(&spec).unwrap();
        let rows = dataset.examples(Part::Train).unwrap().map(|row| row.unwrap().content);
        (dataset.table().unwrap().clone(), rows.collect::<Vec<_>>())
    };
    assert!(paths.iter().all(|path| read(path) == read(&paths[0])));
}

#[test]
fn real_tables_are_what_their_readmes_say() {
    let open = |set: &str, kinds: &[&str]| {
        let folder = real_data(set)?;
        let kinds = kinds.iter().map(|name| ((*name).to_owned(), ColumnChoice::Category)).collect();
        let spec = DatasetSpec {
            train: folder.join("train.csv"),
            valid: Some(folder.join("valid.csv")),
            test: Some(folder.join("test.csv")),
            content: ContentSpec::Table(TableSpec { columns: None, kinds }),
            label: "label".into(),
            ..DatasetSpec::default()
        };
        Some(Dataset::open(&spec).unwrap())
    };
    let count =
        |dataset: &Dataset, kind: &str| kinds(dataset).iter().filter(|k| k.1 == kind).count();
    if let Some(german) = open("german_credit", &[]) {
        assert_eq!((count(&german, "category"), count(&german, "number")), (13, 7));
        assert_eq!(categories(&german, "foreign_worker"), ["A201", "A202"]);
        assert!(german.left_out().is_empty());
        assert_eq!(german.class_counts(Part::Train), [560, 240]);
    }
    if let Some(uci) = open("uci_default", &["sex", "education", "marriage"]) {
        assert_eq!((count(&uci, "category"), count(&uci, "number")), (3, 20));
        assert_eq!(uci.class_counts(Part::Train), [18_691, 5_309]);
    }
}
