//! `luthier study import`: Optuna's studies, exports read back, and results in tables.

use std::path::PathBuf;

use luthier_test::Postgres;
use serde_json::{Value, json};

use crate::serve::Served;
use crate::{Desk, text};

/// A study whose values, metrics and constraints are of every kind.
const SETUP: &str = r#"
name = "tiny"
objectives = [{ metric = "loss", direction = "minimize" }]
constraints = ["size"]
sampler = "random"
space.x = { float = [0, 1] }
space.depth = { int = [1, 9], step = 2 }
space.kind = { choice = ["", "b", 1, 0.5, true] }
space.order = { permutation = ["p", "q"], when.kind = "b" }
"#;

/// Trials of [`SETUP`] as a program writes them that does not know of Luthier, and one that does.
const TRIALS: &str = r#"{"trials": [
    {"values": {"x": 1, "depth": 3.0, "kind": ""}, "scores": {"loss": 0.5}, "violations": {"size": -1}},
    {"values": {"x": 0.25, "depth": 1, "kind": "b", "order": ["q", "p"]}, "state": "pruned",
     "steps": [{"step": 1, "scores": {"loss": 2}}], "origin": "tpe", "attempts": 2, "seconds": 1.5,
     "started": "2026-01-31T12:00:00.25Z", "ended": "2026-01-31T12:00:01.75Z",
     "attributes": {"tags": ["a", "b"], "commit": "123", "note": "slow, \"odd\""}},
    {"values": {"x": 0, "depth": 9, "kind": 0.5}, "state": "failed", "reason": "no\nmemory"},
    {"values": {"x": 0.5, "depth": 5, "kind": true}, "scores": {"loss": 1e-9},
     "violations": {"size": null}, "tiebreak": {"margin": 0.125, "loss": 3}},
    {"values": {"x": 0.5, "depth": 4, "kind": 1}, "scores": {"loss": 1}},
    {"values": {"x": 0.5, "depth": 5, "kind": 1}, "scores": {"loss": null}},
    {"values": {"x": 0.5, "depth": 5, "kind": 1}, "state": "running"}
]}"#;

/// The file that a script beside it has made with Optuna.
fn optuna(desk: &Desk) -> PathBuf {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../luthier-study/tests/fixtures");
    let dump = std::fs::read_to_string(format!("{fixtures}/optuna_study.sql")).unwrap();
    let path = desk.path("optuna.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    // The dump names tables before it makes them.
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection.execute_batch(&dump).unwrap();
    path
}

/// A desk with [`TRIALS`] as the study `tiny.db`.
pub(crate) fn tiny() -> Desk {
    let desk = Desk::empty();
    desk.write("setup.toml", SETUP);
    desk.write("trials.json", TRIALS);
    desk.luthier(&["study", "import", "trials.json", "--setup", "setup.toml"]).ok();
    desk
}

fn export(desk: &Desk, study: &str) -> Value {
    desk.luthier(&["study", "export", study, "--format", "json"]).json()
}

#[test]
fn a_study_of_optuna_is_gone_on_with() {
    let desk = Desk::empty();
    let path = optuna(&desk);
    let outcome = desk.luthier(&["study", "import", "optuna.db"]);
    outcome.fails(
        2,
        "error: `optuna.db` has several studies\n hint: say which with --study: front, single",
    );
    let import = ["study", "import", "optuna.db", "--study", "single"];
    let state = |of: &str| {
        let update = format!("UPDATE trials SET state = '{of}' WHERE study_id = 1 AND number = 39");
        rusqlite::Connection::open(&path).unwrap().execute_batch(&update).unwrap();
    };
    state("RUNNING");
    let told = "./single.db: 39 trials of study `single`\n\
                left out: trial 39, trial 40, trial 41: it is not over\n";
    assert_eq!(desk.luthier(&import).ok(), told);
    // Optuna has gone on: what is new comes.
    state("PRUNED");
    let again = desk.luthier(&[&import[..], &["--format", "json"]].concat()).json();
    assert_eq!((&again["trials"], &again["known"]), (&json!(1), &json!(39)));
    let unfinished = json!({ "trial": "trial 40", "reason": "it is not over" });
    assert_eq!(again["left_out"][0], unfinished, "{again}");

    let shown = desk.luthier(&["study", "show", "single.db"]).ok();
    assert!(shown.contains("minimize value") && shown.contains("data: \"wine\""), "{shown}");
    desk.luthier(&["study", "plot", "single.db"]).ok();
    desk.luthier(&["study", "importance", "single.db"]).ok();
    let front = ["study", "import", &format!("sqlite:///{}", text(&path)), "--study", "front"];
    desk.luthier(&front).ok();
    let best = desk.luthier(&["study", "best", "front.db", "--format", "json"]).json();
    assert!(best[0]["scores"]["latency"].is_number(), "{best}");

    let served = Served::listening(&desk, &["study", "serve", ".", "--port", "0"]);
    let asked = served.json("POST", "/v1/studies/single/ask", "");
    assert_eq!((&asked["status"], &asked["number"]), (&json!("trial"), &json!(40)));
    served.process.signal("TERM");
    served.end();
}

#[test]
fn an_export_is_read_back_as_it_was() {
    let desk = tiny();
    let whole = export(&desk, "tiny.db");
    let trials = whole["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 4);
    assert_eq!(trials[0]["values"], json!({ "x": 1.0, "depth": 3, "kind": "" }));
    assert_eq!(trials[1]["attributes"]["commit"], "123");
    desk.luthier(&["study", "export", "tiny.db", "--output", "tiny.json"]).ok();
    desk.luthier(&["study", "import", "tiny.json", "--storage", "back.db"]).ok();
    assert_eq!(export(&desk, "back.db"), whole);
    // Tables do not have the steps.
    let mut without_steps = whole.clone();
    without_steps["trials"][1]["steps"] = json!([]);
    for kind in ["csv", "tsv", "jsonl", "parquet"] {
        let (table, study) = (format!("tiny.{kind}"), format!("{kind}.db"));
        desk.luthier(&["study", "export", "tiny.db", "--output", &table]).ok();
        let import = ["study", "import", &table, "--setup", "setup.toml", "--storage", &study];
        assert_eq!(desk.luthier(&import).ok(), format!("{study}: 4 trials of study `tiny`\n"));
        assert_eq!(export(&desk, &study), without_steps, "{kind}");
        let told = desk.luthier(&["study", "import", &table, "--storage", "tiny.db"]).ok();
        assert_eq!(told, "tiny.db: 0 trials of study `tiny`, 4 more had been there\n");
    }

    let desk = Desk::with_bundle();
    desk.luthier(&["study", "export", "job", "--output", "mood.json"]).ok();
    desk.luthier(&["study", "import", "mood.json"]).ok();
    assert_eq!(export(&desk, "mood.db"), export(&desk, "job"));
}

#[test]
fn results_of_other_programs_are_taken_in() {
    let desk = Desk::empty();
    desk.write("setup.toml", SETUP);
    desk.write(
        "grid.csv",
        "x,depth,kind,order,loss,size,host\n\
         0.5,1.0,True,,0.25,-3,a\n\
         0.5,3.0,b,\"[\"\"p\"\",\"\"q\"\"]\",,,a\n\
         0.5,4,b,,1,0,a\n\
         0.5,3,true,,high,0,a\n",
    );
    let told = desk.luthier(&["study", "import", "grid.csv", "--setup", "setup.toml"]).ok();
    let expected = "./tiny.db: 2 trials of study `tiny`\n\
                    left out: line 5: `loss` is high, expected a number\n\
                    left out: line 4: parameter `depth` is 4, expected an integer from 1 to 9 in \
                    steps of 2\n";
    assert_eq!(told, expected);
    let trials = &export(&desk, "tiny.db")["trials"];
    assert_eq!(trials[0]["values"], json!({ "x": 0.5, "depth": 1, "kind": true }));
    assert_eq!(
        (&trials[0]["state"], &trials[0]["scores"]["loss"]),
        (&json!("complete"), &json!(0.25))
    );
    assert_eq!(
        (&trials[1]["state"], &trials[1]["reason"]),
        (&json!("failed"), &json!("it has no score"))
    );
}

#[test]
fn what_cannot_be_taken_in_is_said() {
    let desk = tiny();
    desk.write("x.csv", "x,depth,loss,size\n0.5,1,2,3\n");
    desk.write("bad.json", r#"{"trials": [{"values": {}, "score": 1}]}"#);
    desk.write("none.json", r#"{"trials": [{"values": {}, "scores": {"f1": 1}}]}"#);
    optuna(&desk);
    let cases: [(&[&str], &str); 7] = [
        (&["x.csv"], "describe the study with --setup FILE.toml"),
        (&["x.csv", "--name", "other"], "does not say what was searched"),
        (&["x.csv", "--storage", "tiny.db"], "there is no column `value.kind` or `kind`"),
        (&["bad.json", "--storage", "tiny.db"], "bad.json, trials[0].score: unknown field"),
        (
            &["none.json", "--storage", "tiny.db"],
            "the only trial would be left out; trial 0: there is no objective `f1`",
        ),
        (
            &["optuna.db", "--study", "front", "--name", "optuna"],
            "an SQLite file of some other program",
        ),
        (&["optuna.db", "--study", "front", "--name", "a b"], "give it another with --name"),
    ];
    for (args, expected) in cases {
        let outcome = desk.luthier(&[&["study", "import"], args].concat());
        assert!(outcome.code == Some(2) && outcome.err.contains(expected), "{args:?}: {outcome:?}");
    }
    let show = desk.luthier(&["study", "show", "optuna.db"]);
    show.fails(
        2,
        "error: `optuna.db` is an SQLite file of some other program\n \
         hint: `luthier study import` takes in studies of Optuna",
    );
}

#[test]
fn a_study_moves_to_a_database() {
    let Some(server) = Postgres::start() else { return };
    let desk = tiny();
    let url = server.url();
    desk.luthier(&["study", "import", "tiny.db", "--storage", &url]).ok();
    desk.luthier(&["study", "import", "tiny.db", "--storage", &url, "--name", "b"]).ok();
    let mut copied =
        desk.luthier(&["study", "export", &url, "--study", "tiny", "--format", "json"]);
    assert_eq!(copied.json(), export(&desk, "tiny.db"));
    copied = desk.luthier(&["study", "import", &url, "--study", "b", "--storage", "b.db"]);
    assert_eq!(copied.ok(), "b.db: 4 trials of study `b`\n");
}

#[test]
fn the_commands_of_the_guide_work() {
    let Some(server) = Postgres::start() else { return };
    let desk = tiny();
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/studies.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    optuna(&desk);
    std::fs::copy(desk.path("tiny.db"), desk.path("study.db")).unwrap();
    desk.luthier(&["study", "export", "tiny.db", "--output", "trials.json"]).ok();
    desk.luthier(&["study", "export", "tiny.db", "--output", "grid.csv"]).ok();
    let mut commands = 0;
    for line in guide.lines().filter(|line| line.starts_with("luthier study import ")) {
        let words = line.split_whitespace().skip(1).take_while(|word| *word != "#");
        let words = words.map(|word| match word.starts_with("postgres://") {
            true => server.url(),
            false => word.to_owned(),
        });
        desk.luthier(&words.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>())
            .ok();
        commands += 1;
    }
    assert_eq!(commands, 4);
    let by_hand = guide.split('`').find(|text| text.starts_with("{\"trials\"")).unwrap();
    desk.write("hand.json", by_hand);
    desk.write(
        "hand.toml",
        "name = \"hand\"\nobjectives = [{ metric = \"loss\", direction = \"minimize\" }]\n\
         space.x = { float = [0, 1] }\n",
    );
    let told = desk.luthier(&["study", "import", "hand.json", "--setup", "hand.toml"]).ok();
    assert_eq!(told, "./hand.db: 1 trial of study `hand`\n");
}
