use luthier_test::{Scratch, real_data};

use crate::source::tests::write_parquet;
use crate::{
    Content, ContentSpec, DataError, Dataset, DatasetSpec, Example, Label, Part, Source, SplitPlan,
};

mod table;

/// A spec over files called train, valid and test in `scratch`; empty contents mean no file.
fn spec(scratch: &Scratch, contents: [&str; 3]) -> DatasetSpec {
    let [train, valid, test] = ["train.csv", "valid.csv", "test.csv"].map(String::from);
    let optional =
        |name: String, content: &str| (!content.is_empty()).then(|| scratch.write(&name, content));
    DatasetSpec {
        train: scratch.write(&train, contents[0]),
        valid: optional(valid, contents[1]),
        test: optional(test, contents[2]),
        label: "label".into(),
        ..DatasetSpec::default()
    }
}

fn examples(dataset: &Dataset, part: Part) -> Vec<Example> {
    dataset.examples(part).unwrap().map(Result::unwrap).collect()
}

const VALID: &str = "text,label\na,0\nb,1\n";

#[test]
fn parts_come_from_their_files() {
    let scratch = Scratch::new();
    let train = "id,text,more,label,w\nr1,\"a\nb\",x,2,1\n,,y, 10 ,0.5\nr3,c,,2,0\n";
    let test = "w,label,more,text,id\n2,10,d,e,r9\n";
    let spec = DatasetSpec {
        content: ContentSpec::Text(vec!["text".into(), "more".into()]),
        id: Some("id".into()),
        weight: Some("w".into()),
        ..spec(&scratch, [train, test, test])
    };
    let dataset = Dataset::open(&spec).unwrap();
    assert_eq!(dataset.labels(), ["2", "10"]);
    assert_eq!(Part::ALL.map(|part| dataset.class_counts(part).to_vec()), [[2, 1], [0, 1], [0, 1]]);
    assert!(dataset.assignment().is_none());
    let example = |row, line, id: &str, text: &str, label, weight| Example {
        row,
        line,
        id: (!id.is_empty()).then(|| id.to_owned()),
        content: Content::Text(text.to_owned()),
        label: Label::Class(label),
        weight,
    };
    assert_eq!(
        examples(&dataset, Part::Train),
        [
            example(1, 2, "r1", "a\nb\nx", 0, 1.0),
            example(2, 4, "", "\ny", 1, 0.5),
            example(3, 5, "r3", "c\n", 0, 0.0),
        ]
    );
    assert_eq!(examples(&dataset, Part::Test), [example(1, 2, "r9", "e\nd", 1, 2.0)]);
}

#[test]
fn labels_are_ordered_by_number_or_by_byte() {
    let check = |labels: [&str; 4], expected: &[&str]| {
        let scratch = Scratch::new();
        let rows = labels.map(|label| format!("t,{label}\n")).concat();
        let content = format!("text,label\n{rows}");
        let dataset = Dataset::open(&spec(&scratch, [&content, &content, ""])).unwrap();
        assert_eq!(dataset.labels(), expected);
    };
    check(["10", "9", "-1", " 9 "], &["-1", "9", "10"]);
    check(["10", "9", "a", "B"], &["10", "9", "B", "a"]);
    check(["1", "01", "1", "0"], &["0", "01", "1"]);
}

#[test]
fn the_positive_class_is_given_or_guessed() {
    let check = |labels: &str, given: Option<&str>, expected: Option<usize>| {
        let scratch = Scratch::new();
        let rows = labels.split(' ').map(|label| format!("t,{label}\n"));
        let content = format!("text,label\n{}", rows.collect::<String>());
        let positive = given.map(String::from);
        let spec = DatasetSpec { positive, ..spec(&scratch, [&content, &content, ""]) };
        assert_eq!(Dataset::open(&spec).unwrap().positive(), expected, "{labels}");
    };
    check("0 1", None, Some(1));
    check("1 2", None, Some(0));
    check("True False", None, Some(1));
    check("Yes no", None, Some(0));
    check("POS neg", None, Some(0));
    check("ham spam", None, Some(1));
    check("ham spam", Some("ham"), Some(0));
    check("a b c", Some("a"), None);
}

#[test]
fn a_train_file_alone_is_split_by_default() {
    let scratch = Scratch::new();
    let rows: String = (0..100).map(|i| format!("t{i},{}\n", i % 2)).collect();
    let train = format!("text,label\n{rows}");
    let sizes = |spec: &DatasetSpec| {
        let dataset = Dataset::open(spec).unwrap();
        let parts = Part::ALL.map(|part| examples(&dataset, part).len() as u64);
        assert_eq!(parts, Part::ALL.map(|part| dataset.len(part)));
        parts
    };
    let alone = spec(&scratch, [&train, "", ""]);
    assert_eq!(sizes(&alone), [80, 10, 10]);
    assert_eq!(sizes(&spec(&scratch, [&train, "", VALID])), [90, 10, 2]);
    assert_eq!(sizes(&spec(&scratch, [&train, VALID, ""])), [100, 2, 0]);
    let split = Some(SplitPlan { valid: 0.5, test: 0.2, ..SplitPlan::default() });
    let mixed = DatasetSpec { split: split.clone(), ..spec(&scratch, [&train, VALID, ""]) };
    assert_eq!(sizes(&mixed), [80, 2, 20]);
    let none = Some(SplitPlan { valid: 0.0, test: 0.0, ..SplitPlan::default() });
    assert_eq!(sizes(&DatasetSpec { split: none, ..alone.clone() }), [100, 0, 0]);
    let parts = Dataset::open(&alone).unwrap().assignment().unwrap().to_vec();
    assert_eq!(parts.iter().filter(|part| **part == 2).count(), 10);
}

#[test]
fn parts_are_files_with_all_columns() {
    let scratch = Scratch::new();
    let rows: String = (0..40).map(|i| format!("\"t\n{i}\",{},x{i}\n", i % 2)).collect();
    let spec = spec(&scratch, [&format!("text,label,more\n{rows}"), "", VALID]);
    let dataset = Dataset::open(&spec).unwrap();
    let folder = scratch.path().join("parts");
    std::fs::create_dir(&folder).unwrap();
    let file = |part: Part| dataset.file_of(part, &folder, &part.to_string()).unwrap().unwrap();
    assert_eq!(file(Part::Test), scratch.path().join("test.csv"));
    for part in [Part::Train, Part::Valid] {
        let path = file(part);
        assert_eq!(path, folder.join(format!("{part}.csv")));
        let rows = Source::open(&path).unwrap().rows(&["text", "label", "more"]).unwrap();
        let rows: Vec<Vec<String>> =
            rows.map(|row| row.unwrap().cells.into_iter().flatten().collect()).collect();
        let expected = examples(&dataset, part).into_iter().map(|example| {
            let text = example.content.text().unwrap().to_owned();
            let more = format!("x{}", text.trim_start_matches("t\n"));
            vec![text, example.label.class().unwrap().to_string(), more]
        });
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }
    // What is not asked for is not written.
    std::fs::remove_file(folder.join("valid.csv")).unwrap();
    file(Part::Train);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    let whole = Dataset::open(&DatasetSpec { test: None, valid: spec.test, ..spec }).unwrap();
    assert_eq!(
        whole.file_of(Part::Train, &folder, "train").unwrap(),
        Some(scratch.path().join("train.csv"))
    );
    assert_eq!(whole.file_of(Part::Test, &folder, "test").unwrap(), None);
}

#[test]
fn digests_follow_content_and_meaning_not_paths() {
    let train = "text,label,n\na,0,1\nb,1,1\n";
    let open = |scratch: &Scratch, train: &str, change: &dyn Fn(&mut DatasetSpec)| {
        let mut spec = spec(scratch, [train, VALID, ""]);
        change(&mut spec);
        Dataset::open(&spec).unwrap().digest()
    };
    let (here, there) = (Scratch::new(), Scratch::new());
    let base = open(&here, train, &|_| {});
    assert_eq!(base.len(), 64);
    assert_eq!(base, open(&there, train, &|_| {}));
    assert_eq!(
        base,
        open(&here, train, &|spec| spec.positive = Some("1".into())),
        "the same class"
    );
    let changes: [&dyn Fn(&mut DatasetSpec); 4] = [
        &|spec| spec.positive = Some("0".into()),
        &|spec| spec.weight = Some("label".into()),
        &|spec| spec.content = ContentSpec::Text(vec!["text".into(), "label".into()]),
        &|spec| spec.test = spec.valid.clone(),
    ];
    let mut digests: Vec<_> = changes.iter().map(|change| open(&here, train, change)).collect();
    digests.push(open(&here, "text,label,n\na,0,1\nb,1,2\n", &|_| {}));
    digests.push(base);
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count, "all differ");
}

/// The SHA-256 of "abc" with a header would be nobody's oracle, so the file is the test vector of
/// FIPS 180-2 turned into a one-column file: its only line is the header.
#[test]
fn files_have_the_standard_digest() {
    let scratch = Scratch::new();
    let path = scratch.write("abc.csv", "abc");
    let digest = super::digest_file(&path, 0).unwrap();
    assert_eq!(digest.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(digest.bytes, 3);
}

#[test]
fn errors_say_where() {
    let check = |contents: [&str; 3], change: &dyn Fn(&mut DatasetSpec), expected: &str| {
        let scratch = Scratch::new();
        let mut spec = spec(&scratch, contents);
        change(&mut spec);
        let error = Dataset::open(&spec).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}\nis not\n{expected}");
    };
    let keep = |_: &mut DatasetSpec| {};
    let weigh = |spec: &mut DatasetSpec| spec.weight = Some("w".into());
    let train = "text,label\na,0\nb,1\n";
    check(["text,label\na,0\n\nb,\n", VALID, ""], &keep, "train.csv:4: no label in column `label`");
    check(
        ["text,label\na,0\nb,\" \"\n", VALID, ""],
        &keep,
        "train.csv:3: no label in column `label`",
    );
    check(
        [train, "text,label\na,0\n\nb,2\nc,2\n", ""],
        &keep,
        "valid.csv:4: class `2` of the valid part is absent from train",
    );
    check(
        [train, VALID, "text,label\n\"a\nb\",0\nb,x\n"],
        &keep,
        "test.csv:4: class `x` of the test part is absent from train",
    );
    check(
        ["text,label\na,0\nb,0\n", "text,label\na,0\n", ""],
        &keep,
        "train.csv: only one class in train, `0`",
    );
    check(["text,label\n", VALID, ""], &keep, "train.csv: the train part has no rows");
    check([train, "text,label\n", ""], &keep, "valid.csv: the valid part has no rows");
    check([train, VALID, "text,label\n"], &keep, "test.csv: the test part has no rows");
    check([train, "", ""], &keep, "train.csv: the valid part has no rows");
    check([train, "txt,label\na,0\n", ""], &keep, "valid.csv: no column `text` among txt, label");
    check(
        [train, VALID, ""],
        &|spec| spec.positive = Some("yes".into()),
        "train.csv: positive class `yes` is not a label among 0, 1",
    );
    for bad in ["-1", "x", "NaN", "inf", "1e39", ""] {
        let rows = format!("text,label,w\na,0,1\nb,1,{bad}\n");
        let expected =
            format!("train.csv:3: weight `{bad}` in column `w` is not a finite number >= 0");
        check([&rows, &rows, ""], &weigh, &expected);
    }
    let many: String = (0..10_001).map(|i| format!("a,{i}\n")).collect();
    check(
        [&format!("text,label\n{many}"), VALID, ""],
        &keep,
        "train.csv:10002: column `label` has more than 10000 labels",
    );
}

#[test]
fn a_file_that_changes_in_between_is_noticed() {
    let scratch = Scratch::new();
    let dataset = Dataset::open(&spec(&scratch, ["text,label\na,0\nb,1\n", VALID, ""])).unwrap();
    for content in ["text,label\na,0\n", "text,label\na,0\nb,1\nc,0\n", "text,label\na,0\nb,2\n"] {
        scratch.write("train.csv", content);
        let last = dataset.examples(Part::Train).unwrap().last().unwrap();
        assert!(matches!(last, Err(DataError::Changed { .. })), "{content}");
    }
}

/// The same rows in four formats are the same examples.
#[test]
fn formats_agree() {
    let csv = "text,label\n\"a, b\",1\n,0\n";
    let tsv = "text\tlabel\na, b\t1\n\t0\n";
    let json = "{\"text\":\"a, b\",\"label\":1}\n{\"label\":0.0}\n";
    let scratch = Scratch::new();
    let mut seen = Vec::new();
    let files = [("a.csv", csv), ("a.tsv", tsv), ("a.jsonl", json)];
    let mut paths = files.map(|(name, content)| scratch.write(name, content)).to_vec();
    let columns = [("text", &[Some("a, b"), None][..]), ("label", &[Some("1"), Some("0")])];
    paths.push(write_parquet(&scratch, "a.parquet", &columns, 1));
    for path in paths {
        let spec = DatasetSpec { train: path, ..spec(&scratch, [csv, VALID, ""]) };
        let rows = examples(&Dataset::open(&spec).unwrap(), Part::Train).into_iter();
        seen.push(rows.map(|e| (e.row, e.content, e.label)).collect::<Vec<_>>());
    }
    let row = |row, text: &str, class| (row, Content::Text(text.to_owned()), Label::Class(class));
    assert_eq!(seen[0], [row(1, "a, b", 1), row(2, "", 0)]);
    assert!(seen.iter().all(|rows| *rows == seen[0]));
}

#[test]
fn real_sets_have_the_counts_of_their_readmes() {
    let check = |set: &str, counts: [[u64; 2]; 3]| {
        let Some(folder) = real_data(set) else { return };
        let spec = DatasetSpec {
            train: folder.join("train.csv"),
            valid: Some(folder.join("valid.csv")),
            test: Some(folder.join("test.csv")),
            label: "label".into(),
            ..DatasetSpec::default()
        };
        let dataset = Dataset::open(&spec).unwrap();
        assert_eq!(dataset.labels(), ["0", "1"]);
        assert_eq!(Part::ALL.map(|part| dataset.class_counts(part).to_vec()), counts, "{set}");
        assert_eq!(dataset.files()[0].rows, counts[0].iter().sum::<u64>());
    };
    check("sst2", [[3310, 3610], [428, 444], [912, 909]]);
    check("zh_waimai", [[6384, 3194], [798, 399], [798, 400]]);
    check("zh_shopping10", [[24_814, 25_350], [3101, 3169], [3102, 3169]]);
}
