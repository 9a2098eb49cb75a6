//! `luthier study` on the study of a small job.

use luthier_data::Source;
use luthier_test::Postgres;
use serde_json::Value;

use crate::Desk;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_study_is_shown_from_every_side() {
    let desk = Desk::with_bundle();
    let list = desk.luthier(&["study", "list", "job", "job/run/study.db"]).ok();
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("maximize f1") && list.contains("study.db"), "{list}");

    let shown = desk.luthier(&["study", "show", "job", "--last", "2"]).ok();
    for word in ["mood", "maximize f1", "sampler", "pruner", "best", "6: "] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let setup = json(&desk.luthier(&["study", "show", "job", "--format", "json"]).ok());
    assert_eq!((&setup["trials"], &setup["setup"]["name"]), (&6.into(), &setup["name"]));

    let best = json(&desk.luthier(&["study", "best", "job", "--format", "json"]).ok());
    assert_eq!(best.as_array().map(Vec::len), Some(1));
    assert_eq!(best[0]["state"], "complete");
    let report = desk.json("job/run/report.json");
    assert_eq!(best[0]["number"], report["tuning"]["best"]);
    let text = desk.luthier(&["study", "best", "job"]).ok();
    for name in best[0]["values"].as_object().unwrap().keys() {
        assert!(text.contains(name.as_str()), "{name}: {text}");
    }

    let importance = json(&desk.luthier(&["study", "importance", "job", "--format", "json"]).ok());
    assert_eq!(importance["certain"], false);
    let text = desk.luthier(&["study", "importance", "job"]).ok();
    assert!(text.contains("too few to be sure"), "{text}");

    let plot = desk.luthier(&["study", "plot", "job", "--output", "study.html"]).ok();
    assert_eq!(plot, "study.html\n");
    let page = String::from_utf8(desk.read("study.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("id=\"timeline\""));
}

#[test]
fn trials_are_exported_in_every_form() {
    let desk = Desk::with_bundle();
    let csv = desk.luthier(&["study", "export", "job"]).ok();
    assert!(csv.starts_with("number,state,score.f1,value."), "{csv}");
    assert_eq!(csv.lines().count(), 7);
    let document = json(&desk.luthier(&["study", "export", "job", "--format", "json"]).ok());
    assert_eq!(document["trials"].as_array().map(Vec::len), Some(6));
    assert!(document["trials"][0]["steps"][0]["scores"]["f1"].is_number(), "{document}");
    for extension in ["csv", "tsv", "jsonl", "parquet"] {
        let file = format!("trials.{extension}");
        desk.luthier(&["study", "export", "job", "--output", &file]).ok();
        let source = Source::open(desk.path(&file)).unwrap();
        let states = source.rows(&["state"]).unwrap().map(|row| row.unwrap().cells[0].clone());
        let states: Vec<String> = states.map(|cell| cell.unwrap()).collect();
        assert_eq!(states.len(), 6, "{extension}");
        assert!(states.contains(&"complete".to_owned()), "{extension}: {states:?}");
    }
    desk.luthier(&["study", "export", "job", "--output", "trials.json"]).ok();
    assert_eq!(desk.json("trials.json"), document);
}

#[test]
fn what_is_no_study_is_refused() {
    let desk = Desk::with_job();
    desk.write("text.db", "this is not a study");
    let cases: [(&[&str], &str); 5] = [
        (&["study", "show", "absent.db"], "absent.db"),
        (&["study", "show", "job"], "there is no study in job"),
        (&["study", "show", "text.db"], "text.db"),
        (&["study", "best", "job/luthier.toml"], "luthier.toml"),
        (&["study", "list"], "required"),
    ];
    for (args, expected) in cases {
        let outcome = desk.luthier(args);
        assert!(outcome.code == Some(2) && outcome.err.contains(expected), "{args:?}: {outcome:?}");
    }
    desk.luthier(&["run", "job"]).ok();
    let outcome = desk.luthier(&["study", "plot", "job", "--contour", "alpha,nothing"]);
    assert!(outcome.code == Some(2) && outcome.err.contains("no parameter"), "{outcome:?}");
    let outcome = desk.luthier(&["study", "export", "job", "--output", "trials.xls"]);
    assert!(outcome.code == Some(2), "{outcome:?}");
}

#[test]
fn a_database_lists_all_of_its_studies() {
    let Some(server) = Postgres::start() else { return };
    let desk = Desk::with_job();
    desk.edit("workers = 2", &format!("workers = 2\nstorage = \"{}\"", server.url()));
    desk.luthier(&["run", "job"]).ok();
    desk.edit("name = \"mood\"", "name = \"temper\"");
    desk.luthier(&["run", "job"]).ok();
    let list = json(&desk.luthier(&["study", "list", &server.url(), "--format", "json"]).ok());
    assert_eq!((&list[0]["name"], &list[1]["name"]), (&"mood".into(), &"temper".into()));
    let shown = desk.luthier(&["study", "show", &server.url(), "--study", "temper"]).ok();
    assert!(shown.contains("temper"), "{shown}");
    let outcome = desk.luthier(&["study", "show", &server.url()]);
    let hint = "hint: say which with --study: mood, temper";
    assert!(outcome.code == Some(2) && outcome.err.contains(hint), "{outcome:?}");
}
