//! `luthier predict` and `luthier eval`, from a bundle alone.

use luthier_test::assert_close;
use serde_json::{Value, json};

use crate::{Desk, TOPICS, csv, masked, rows, text};

const BUNDLE: &str = "job/run/bundle";

#[test]
fn texts_are_answered() {
    let desk = Desk::with_bundle();
    let texts = ["lovely warm quick again", "dull broken rude never"];
    let out = desk.luthier(&[&["predict", BUNDLE], &texts[..]].concat()).ok();
    assert_eq!(
        masked(&out),
        "label  score  text\ngood  #  lovely warm quick again\nbad  #  dull broken rude never\n"
    );
    let args = [&["predict", BUNDLE, "--format", "json"], &texts[..]].concat();
    let answers = desk.luthier(&args).json();
    for (answer, (label, text)) in
        answers.as_array().unwrap().iter().zip([("good", texts[0]), ("bad", texts[1])])
    {
        assert_eq!((&answer["label"], &answer["text"]), (&json!(label), &json!(text)));
        let score = answer["score"].as_f64().unwrap();
        assert_eq!(score > 0.5, label == "good", "{score} is the score of `good`");
    }
    let outcome = desk.luthier(&["predict", BUNDLE]);
    assert!(outcome.code == Some(2) && outcome.err.contains("<ROWS>"), "{outcome:?}");
}

#[test]
fn rows_of_a_file_keep_their_ids() {
    let desk = Desk::with_bundle();
    desk.write("rows.csv", "id,text\n\"a,1\",lovely warm again\n\"b\"\"2\",dull broken never\n");
    let out = desk.luthier(&["predict", BUNDLE, "--input", "rows.csv", "--id", "id"]).ok();
    assert_eq!(masked_scores(&out), "id,label,#\n\"a,1\",good,#\n\"b\"\"2\",bad,#\n");
    let args = ["predict", BUNDLE, "--input", "rows.csv", "--id", "id", "--format", "json"];
    let ids: Vec<Value> =
        json_rows(&desk.luthier(&args).ok()).map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["a,1", "b\"2"]);
    desk.luthier(&["predict", BUNDLE, "--input", "rows.csv", "--id", "ids"])
        .fails(2, "error: rows.csv: no column `ids` among id, text\n hint: did you mean `id`?");
}

#[test]
fn rows_without_ids_are_numbered() {
    let desk = Desk::with_bundle();
    desk.write(
        "rows.jsonl",
        "{\"words\": \"lovely warm\"}\n{\"words\": null}\n{\"words\": \"rude\"}\n",
    );
    let args = ["predict", BUNDLE, "--input", "rows.jsonl", "--text", "words"];
    let out = desk.luthier(&args).ok();
    let numbers: Vec<&str> = out.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(numbers, ["row", "1", "2", "3"]);
    let out = desk.luthier(&[&args[..], &["--format", "json"]].concat()).ok();
    let numbers: Vec<Value> = json_rows(&out).map(|row| row["row"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn parquet_is_read_and_long_files_are_answered_in_batches() {
    let desk = Desk::with_bundle();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../luthier-data/tests/fixtures/types.parquet");
    let args = ["predict", BUNDLE, "--input", text(&file), "--id", "unsigned", "--format", "json"];
    let answers: Vec<Value> = json_rows(&desk.luthier(&args).ok()).collect();
    assert_eq!((answers.len(), &answers[0]["id"]), (1500, &json!("4294967295")));
    let alone = desk.luthier(&["predict", BUNDLE, "row 0 好", "--format", "json"]).json();
    let score = |answer: &Value| answer["score"].as_f64().unwrap();
    assert_close(score(&answers[0]), score(&alone[0]), 1e-6, "the score beside others and alone");
}

#[test]
fn a_packed_bundle_answers_alike() {
    let desk = Desk::with_bundle();
    desk.luthier(&["bundle", "pack", BUNDLE, "--output", "mood.luthier"]).ok();
    let of = |bundle| desk.luthier(&["predict", bundle, "--input", "job/test.csv"]).ok();
    assert_eq!(of("mood.luthier"), of(BUNDLE));
}

#[test]
fn eval_gives_the_scores_of_the_report() {
    let desk = Desk::with_bundle();
    let out = desk.luthier(&["eval", BUNDLE, "--input", "job/valid.csv"]).ok();
    assert!(
        masked(&out).starts_with("80 rows\n\nmetric  value  95 %\naccuracy  #  # to #\n"),
        "{out}"
    );
    assert!(masked(&out).contains("\nclass  rows  precision  recall  f1\nbad  40  #  #  #\n"));
    let args = ["eval", BUNDLE, "--input", "job/valid.csv", "--format", "json"];
    let evaluated = desk.luthier(&args).json();
    let stored = desk.json("job/run/bundle/report.json")["valid"].clone();
    assert_eq!(evaluated["report"], stored);
    assert_eq!(evaluated.get("test_openings"), None);
    assert_eq!(openings(&desk), 1);
}

#[test]
fn every_opening_of_the_test_split_is_counted() {
    let desk = Desk::with_bundle();
    for opening in 2..4 {
        let out = desk.luthier(&["eval", BUNDLE, "--input", "job/test.csv"]).ok();
        let said = format!("80 rows, the test split of this bundle, opened {opening} times\n");
        assert!(out.starts_with(&said), "{out}");
        assert_eq!(openings(&desk), opening);
    }
    desk.luthier(&["bundle", "verify", BUNDLE]).ok();
    assert!(desk.luthier(&["run", "job"]).ok().contains("opened 3 times"));
    let args = ["eval", BUNDLE, "--input", "job/test.csv", "--format", "json"];
    assert_eq!(desk.luthier(&args).json()["test_openings"], 4);
    // A later bundle of the same job has been chosen by someone who saw those scores.
    desk.edit("[tune]", "[compress]\nmax_drop = 0.5\n\n[tune]");
    desk.luthier(&["run", "job"]).ok();
    assert_eq!(openings(&desk), 5);
}

#[test]
fn an_opening_that_is_not_counted_is_told_or_does_not_happen() {
    let desk = Desk::with_bundle();
    let eval = |bundle: &str, more: &[&str]| {
        desk.luthier(&[&["eval", bundle, "--input", "job/test.csv"], more].concat())
    };
    eval(BUNDLE, &["--against", "nowhere"])
        .fails(2, "error: nowhere is no bundle: there is no such file or folder");
    assert_eq!(openings(&desk), 1);
    desk.luthier(&["bundle", "pack", BUNDLE, "-o", "mood.luthier"]).ok();
    let outcome = eval("mood.luthier", &[]);
    let note = "note      the bundle is packed, so this opening is not counted in it\n";
    assert_eq!(outcome.err, note);
    assert!(outcome.ok().contains("opened 2 times"));
}

#[test]
fn two_bundles_are_compared_on_the_same_rows() {
    let desk = Desk::with_bundle();
    let against = ["eval", BUNDLE, "--input", "job/valid.csv", "--against"];
    let out = desk.luthier(&[&against[..], &["job/run/model"]].concat()).ok();
    let last = masked(out.lines().last().unwrap());
    let sentence = "against the other bundle: f1 # and #, difference # (95 % # to #), \
                    McNemar p = #: not told apart";
    assert_eq!(last, sentence);
    let more = ["job/run/model", "--metric", "roc_auc", "--format", "json"];
    let compared = desk.luthier(&[&against[..], &more].concat()).json()["comparison"].clone();
    assert_eq!((&compared["metric"], &compared["rows"]), (&json!("roc_auc"), &json!(80)));
    let more = ["job/run/model", "--metric", "roc_acu"];
    desk.luthier(&[&against[..], &more].concat())
        .fails(2, "error: there is no metric `roc_acu`\n hint: did you mean `roc_auc`?");
}

#[test]
fn bundles_of_other_labels_are_not_compared() {
    let desk = Desk::with_bundle();
    for (part, seed) in [("train", 1), ("valid", 2), ("test", 3)] {
        desk.write(&format!("topics/{part}.csv"), csv(&rows(&TOPICS, 90, seed)));
    }
    desk.write("topics/luthier.toml", crate::JOB);
    desk.luthier(&["run", "topics"]).ok();
    desk.luthier(&["eval", BUNDLE, "--input", "job/valid.csv", "--against", "topics/run/bundle"])
        .fails(
            2,
            "error: the bundles have different labels: job/run/bundle alone knows `bad`, `good`; \
             topics/run/bundle alone knows `food`, `sport`, `work`\n \
             hint: only models of the same classes can be compared",
        );
    desk.luthier(&["eval", BUNDLE, "--input", "topics/valid.csv"]).fails(
        2,
        "error: topics/valid.csv:2: label `food` is not one of the model's\n \
         hint: the model knows bad, good",
    );
}

#[test]
fn rows_that_cannot_be_scored() {
    let desk = Desk::with_bundle();
    let check = |rows: &str, complaint: &str| {
        desk.write("rows.csv", rows);
        desk.luthier(&["eval", BUNDLE, "--input", "rows.csv"]).fails(2, complaint);
    };
    check("text,label\n", "error: rows.csv: no rows");
    check("text,label\na,good\nb,\n", "error: rows.csv:3: no label in column `label`");
    check(
        "text,labels\na,good\n",
        "error: rows.csv: no column `label` among text, labels\n hint: did you mean `labels`?",
    );
}

/// The openings of the test split that the bundle admits.
fn openings(desk: &Desk) -> u64 {
    desk.json("job/run/bundle/manifest.json")["test_openings"].as_u64().unwrap()
}

/// One JSON document per line.
fn json_rows(out: &str) -> impl Iterator<Item = Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
}

/// Lines of CSV with `#` in place of their last field.
fn masked_scores(out: &str) -> String {
    out.lines().map(|line| format!("{},#\n", line.rsplit_once(',').unwrap().0)).collect()
}
