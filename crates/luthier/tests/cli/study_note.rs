//! What people tell a study: notes, tags and configurations to try.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::Desk;
use crate::serve::Served;
use crate::study_import::tiny;

fn trial(desk: &Desk, number: &str) -> Value {
    desk.luthier(&["study", "show", "tiny.db", "--trial", number, "--format", "json"]).json()
}

#[test]
fn notes_are_kept_shown_and_taken_away() {
    let desk = tiny();
    let note = |args: &[&str]| desk.luthier(&[&["study", "note", "tiny.db"], args].concat()).ok();
    let told = note(&["the whole truth", "--tag", "paper", "--set", "owner={\"team\": 3}"]);
    assert_eq!(told, "study `tiny`: #paper the whole truth owner={\"team\":3}\n");
    let told = note(&["--trial", "1,3", "--tag", "good", "--tag", "a", "--untag", "b"]);
    let expected = "trial 1: #a #good slow, \"odd\" commit=\"123\"\ntrial 3: #good #a\n";
    assert_eq!(told, expected);
    assert_eq!(note(&["--trial", "3", "--untag", "a"]), "trial 3: #good\n");
    assert_eq!(note(&["--trial", "1", "", "--unset", "commit"]), "trial 1: #a #good\n");
    assert_eq!(trial(&desk, "1")["attributes"], json!({ "tags": ["a", "good"] }));

    let shown = desk.luthier(&["study", "show", "tiny.db", "--tag", "a"]).ok();
    for line in ["tags       paper", "note       the whole truth", "noted      owner: {\"team\":3}"]
    {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let (_, trials) = shown.split_once("\n\n").unwrap();
    assert_eq!(trials.lines().count(), 2, "{trials}");
    assert!(trials.contains("#a #good"), "{trials}");
    let one = desk.luthier(&["study", "show", "tiny.db", "--trial", "3"]).ok();
    assert!(one.contains("tags                   good\n") && one.contains("depth"), "{one}");
    let csv = desk.luthier(&["study", "export", "tiny.db"]).ok();
    assert!(csv.contains(r#""[""a"",""good""]""#), "{csv}");

    let list = |tag: &str| desk.luthier(&["study", "list", "tiny.db", "--tag", tag]).ok();
    assert_eq!((list("paper").lines().count(), list("good").lines().count()), (2, 1));
    desk.luthier(&["study", "note", "tiny.db", "x", "--trial", "1,9"])
        .fails(2, "error: there is no trial 9");
    assert_eq!(trial(&desk, "1")["attributes"].get("note"), None, "all trials or none");
}

#[test]
fn what_is_enqueued_is_tried_next() {
    let desk = tiny();
    let enqueue = |args: &[&str]| desk.luthier(&[&["study", "enqueue", "tiny.db"], args].concat());
    let told = enqueue(&["order=[\"q\", \"p\"]", "kind=b", "depth=7", "x=1"]).ok();
    assert_eq!(told, "trial 4 of study `tiny` waits: order=[q, p], kind=b, depth=7, x=1\n");
    assert_eq!(trial(&desk, "4")["state"], "waiting");
    for (args, message) in [
        (
            &["depht=7"][..],
            "error: depht: the space has no such parameter\n hint: did you mean `depth`?",
        ),
        (&["depth=8"], "error: depth=8: expected an integer from 1 to 9 in steps of 2"),
        (&["depth=7"], "error: parameter `kind` has no value"),
    ] {
        enqueue(args).fails(2, message);
    }
    let served = Served::listening(&desk, &["study", "serve", "tiny.db", "--port", "0"]);
    let asked = served.json("POST", "/v1/studies/tiny/ask", "");
    assert_eq!(asked["number"], 4);
    let values = json!({ "x": 1.0, "depth": 7, "kind": "b", "order": ["q", "p"] });
    assert_eq!(asked["values"], values);
    served.process.signal("TERM");
    served.end();
}

#[test]
fn the_commands_of_the_guide_work() {
    let desk = Desk::with_bundle();
    desk.write("job/other/study.db", desk.read("job/run/study.db"));
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/studies.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_luthier")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let is_wanted = |line: &&str| {
        ["note", "show", "list"]
            .iter()
            .any(|name| line.starts_with(&format!("luthier study {name} ")))
    };
    let mut told = Vec::new();
    for line in guide.lines().filter(is_wanted) {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(desk.path("job")).env("PATH", &path);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        told.push(String::from_utf8(output.stdout).unwrap());
    }
    assert_eq!(told.len(), 8);
    assert_eq!(told[2], "study `mood`: #paper trained on the cleaned rows\n");
    assert_eq!(told[4], "trial 3: diverged, see the log commit=\"4f2a\"\n");
    assert!(told[5].contains("#check") && !told[5].contains("diverged"), "{}", told[5]);
    assert_eq!(told[7].lines().count(), 2, "{}", told[7]);
}
