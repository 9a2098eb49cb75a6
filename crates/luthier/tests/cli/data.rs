//! `luthier data` and `luthier data split`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{Desk, MOODS, csv, json_lines, masked, rows};

#[test]
fn a_job_is_described() {
    let desk = Desk::with_job();
    assert_eq!(desk.luthier(&["data", "job"]).ok(), JOB_DATA);
    assert_eq!(desk.luthier(&["data", "job/luthier.toml"]).ok(), JOB_DATA);
    let seen = desk.luthier(&["data", "job", "--format", "json"]).json();
    let kinds: Vec<&Value> =
        seen["schema"]["columns"].as_array().unwrap().iter().map(|c| &c["kind"]).collect();
    assert_eq!(kinds, ["identifier", "text", "category"]);
    assert_eq!(seen["profile"]["labels"], json!(["bad", "good"]));
    assert_eq!(seen["profile"]["parts"][2]["rows"], 80);
    assert_eq!(seen.get("learning_curve"), None);
    assert_eq!(desk.names("job"), ["luthier.toml", "test.csv", "train.csv", "valid.csv"]);
}

const JOB_DATA: &str = "\
column  kind        missing  distinct  example
id      identifier        0       240  r0
text    text              0       240  visit 10 lovely rude it broken was
label   category          0         2  bad

part   rows  class bad  class good  median  95 %  longest  empty  twins  near
train   240        120         120      35    40       42      0      0     0
valid    80         40          40      35    40       42      0      0     0
test     80         40          40      35    38       42      0      0     0
median, 95 %, longest: characters; twins: rows whose text stands earlier in the part

warning: valid has 80 rows; differences of a few points are chance
warning: test has 80 rows; differences of a few points are chance
";

#[test]
fn leaks_contradictions_and_gaps_are_found() {
    let desk = Desk::with_job();
    let add = |file: &str, lines: &str| {
        let content = String::from_utf8(desk.read(file)).unwrap();
        desk.write(file, content + lines);
    };
    add("job/train.csv", "x1,the same again,good\nx2,the same again,bad\nx3,,good\n");
    add("job/valid.csv", "v1,the same again,bad\n");
    let out = desk.luthier(&["data", "job"]).ok();
    let findings: Vec<&str> =
        out.lines().filter(|l| l.starts_with("warning: 1") || l.starts_with("note")).collect();
    assert_eq!(
        findings,
        [
            "warning: 1 rows of valid have a text that is also in train (1 distinct texts)",
            "warning: 1 texts have different labels in different rows",
            "note: 1 of 243 rows of train have no text",
        ]
    );
}

#[test]
fn a_lone_file_is_described_too() {
    let desk = Desk::empty();
    desk.write("moods.jsonl", json_lines(&rows(&MOODS, 200, 1)));
    let out = desk.luthier(&["data", "moods.jsonl"]).ok();
    assert!(out.contains("\ntrain   160 ") && out.contains("\nvalid    20 "), "{out}");
    desk.write("table.csv", "age,town\n31,Ulm\n,Bonn\n");
    let out = desk.luthier(&["data", "table.csv"]).ok();
    assert_eq!(
        out,
        "column  kind     missing  distinct  example\n\
         age     integer        1         1  31\n\
         town    text           0         2  Ulm\n"
    );
    desk.luthier(&["data", "table.csv", "--learning-curve"]).fails(
        2,
        "error: a learning curve needs columns `text` and `label`\n \
         hint: write a luthier.toml that names the columns, and give its path",
    );
    desk.luthier(&["data", "nothing.csv"]).fails(2, "error: nothing.csv: no such file");
}

#[test]
fn a_learning_curve_ends_in_a_sentence() {
    let desk = Desk::with_job();
    let out = masked(&desk.luthier(&["data", "job", "--learning-curve"]).ok());
    let curve = out.split("rows  score").nth(1).expect("a table of the curve");
    assert_eq!(
        curve,
        "  95 %\n  32  #  # to #\n  62  #  # to #\n 121  #  # to #\n 240  #  # to #\n\
         the last doubling of the rows changed f1 by # (95 % # to #): no gain can be told from \
         noise on 80 rows\n"
    );
    let seen = desk.luthier(&["data", "job", "--learning-curve", "--format", "json"]);
    let curve = seen.json()["learning_curve"].clone();
    let rows = curve["points"].as_array().unwrap().iter().map(|p| p["rows"].as_u64().unwrap());
    assert_eq!(rows.collect::<Vec<_>>(), [32, 62, 121, 240]);
    assert!(curve["sentence"].as_str().unwrap().starts_with("the last doubling"));
}

#[test]
fn a_split_depends_on_content_and_seed_alone() {
    let desk = Desk::empty();
    let mut rows = rows(&MOODS, 200, 1);
    desk.write("rows.csv", csv(&rows));
    rows.reverse();
    rows.rotate_left(70);
    desk.write("shuffled.csv", csv(&rows));
    let split = |file: &str, out: &str, more: &[&str]| -> Vec<BTreeSet<String>> {
        let args = [&["data", "split", file, "--out", out, "--format", "json"], more].concat();
        let written = desk.luthier(&args).json();
        let paths = written.as_array().unwrap().iter();
        paths.map(|part| texts(&desk, part["path"].as_str().unwrap())).collect()
    };
    let ways = [&[][..], &["--folds", "4"], &["--test", "0.3", "--seed", "9"]];
    for (way, more) in ways.into_iter().enumerate() {
        let parts = split("rows.csv", &format!("parts{way}"), more);
        assert_eq!(parts, split("rows.csv", &format!("again{way}"), more), "{more:?}");
        assert_eq!(parts, split("shuffled.csv", &format!("shuffled{way}"), more), "{more:?}");
        assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), 200, "{more:?}");
    }
    assert_ne!(split("rows.csv", "plain", &[]), split("rows.csv", "other", &["--seed", "9"]));
}

/// The texts of a CSV file that the command wrote.
fn texts(desk: &Desk, file: &str) -> BTreeSet<String> {
    let content = String::from_utf8(desk.read(file)).unwrap();
    let text = |line: &str| line.split(',').nth(1).unwrap().to_owned();
    content.lines().skip(1).map(text).collect()
}

#[test]
fn parts_keep_whole_rows() {
    let desk = Desk::empty();
    desk.write("rows.csv", csv(&rows(&MOODS, 200, 1)));
    let out = desk.luthier(&["data", "split", "rows.csv", "--out", "parts"]).ok();
    assert_eq!(
        out,
        "file             rows\n\
         parts/train.csv   160\n\
         parts/valid.csv    20\n\
         parts/test.csv     20\n"
    );
    let lines = |file: &str| -> BTreeSet<String> {
        let content = String::from_utf8(desk.read(file)).unwrap();
        content.lines().map(|line| line.replace('"', "")).collect()
    };
    let whole: BTreeSet<String> =
        ["train", "valid", "test"].iter().flat_map(|p| lines(&format!("parts/{p}.csv"))).collect();
    assert_eq!(whole, lines("rows.csv"));
}

#[test]
fn folds_are_even_and_keep_the_format() {
    let desk = Desk::empty();
    desk.write("rows.jsonl", json_lines(&rows(&MOODS, 90, 1)));
    let args = ["data", "split", "rows.jsonl", "--folds", "3", "--format", "json"];
    let written = desk.luthier(&args).json();
    let fold = |n: u32| json!({ "path": format!("fold{n}.jsonl"), "rows": 30 });
    assert_eq!(written, json!([fold(0), fold(1), fold(2)]));
    let first = String::from_utf8(desk.read("fold0.jsonl")).unwrap();
    assert_eq!(first.matches("\"good\"").count(), 15);
    desk.luthier(&["data", "split", "rows.jsonl", "--folds", "1"])
        .fails(2, "error: cannot deal 90 separable groups of rows into 1 folds");
}

#[test]
fn a_split_replaces_no_file() {
    let desk = Desk::empty();
    let all = csv(&rows(&MOODS, 200, 1));
    let check = |there: &str, args: &[&str]| {
        desk.luthier(&[&["data", "split"], args].concat()).fails(
            2,
            &format!(
                "error: {there} exists already\n \
                 hint: give another folder for the parts with --out"
            ),
        );
    };
    desk.write("train.csv", &all);
    check("train.csv", &["train.csv"]);
    assert!(desk.read("train.csv") == all.as_bytes());
    assert_eq!(desk.names("."), ["train.csv"]);
    desk.write("parts/test.csv", "kept");
    check("parts/test.csv", &["train.csv", "--out", "parts"]);
    assert_eq!((desk.read("parts/test.csv"), desk.names("parts").len()), (b"kept".to_vec(), 1));
    desk.luthier(&["data", "split", "train.csv", "--out", "parts", "--folds", "3"]).ok();
}
