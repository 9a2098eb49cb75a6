//! `luthier ship`: the folder that it writes, and what it does not touch. What is in the files is
//! checked by the tools that they are for, in `tests/ship`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Desk, Outcome};

/// The head of a static ELF program, which is all that is looked at.
fn program() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(64, 0);
    bytes
}

fn desk() -> Desk {
    let desk = Desk::with_bundle();
    desk.write("static", program());
    desk
}

fn ship(desk: &Desk, args: &[&str]) -> Outcome {
    desk.luthier(&[&["ship", "job/run/bundle", "--program", "static"], args].concat())
}

/// Makes the bundle again under another name.
fn rename(desk: &Desk, name: &str) {
    desk.edit("name = \"mood\"", &format!("name = \"{name}\""));
    fs::remove_dir_all(desk.path("job/run")).unwrap();
    desk.luthier(&["run", "job"]).ok();
}

/// All files below a folder, by path.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().display().to_string();
        match path.is_dir() {
            true => files.extend(tree(&path).into_iter().map(|(k, v)| (format!("{name}/{k}"), v))),
            false => drop(files.insert(name, fs::read(&path).unwrap())),
        }
    }
    files
}

/// What became of the file at `path`, by the JSON that the command prints.
fn fate(report: &Value, path: &str) -> String {
    let files = report["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["path"] == path);
    file.unwrap_or_else(|| panic!("no {path} in {report}"))["state"].as_str().unwrap().to_owned()
}

#[test]
fn it_writes_what_the_bundle_needs_the_same_each_time() {
    let desk = desk();
    let told = ship(&desk, &[]).ok();
    assert!(told.starts_with("ship/: 64 B of program and "), "{told}");
    assert!(told.contains("\nNext:\n  luthier ship job/run/bundle --out ship --local\n"), "{told}");
    let first = tree(&desk.path("ship"));
    assert_eq!(first["image/luthier"], program());
    let bundle = desk.folder("job/run/bundle");
    for (name, bytes) in &bundle {
        assert!(first[&format!("image/models/mood/1/{name}")] == *bytes, "{name}");
    }
    let report = ship(&desk, &["--format", "json"]).json();
    assert_eq!(fate(&report, "README.md"), "unchanged");
    ship(&desk, &["--out", "deep/other"]).ok();
    assert!(tree(&desk.path("ship")) == first && tree(&desk.path("deep/other")) == first);
}

#[test]
fn what_was_edited_is_kept() {
    let desk = desk();
    ship(&desk, &[]).ok();
    let first = tree(&desk.path("ship"));
    desk.write("ship/compose.yml", "mine");
    fs::remove_file(desk.path("ship/README.md")).unwrap();
    let report = ship(&desk, &["--format", "json", "--max-psi", "0.5"]).json();
    assert_eq!(fate(&report, "compose.yml"), "kept");
    assert_eq!(fate(&report, "README.md"), "written");
    assert_eq!(fate(&report, "prometheus/alerts.yml"), "written");
    assert_eq!(desk.read("ship/compose.yml"), b"mine");
    let told = ship(&desk, &[]).ok();
    assert!(
        told.contains("\nkept as you changed it: compose.yml (--force overwrites)\n"),
        "{told}"
    );
    ship(&desk, &["--force"]).ok();
    assert!(tree(&desk.path("ship")) == first);
}

#[test]
fn what_it_did_not_write_is_left_alone() {
    let desk = desk();
    desk.write("ship/thesis.txt", "mine");
    ship(&desk, &[]).fails(
        2,
        "error: ship holds something that `luthier ship` did not write\n \
         hint: choose another folder with --out, or --force",
    );
    assert_eq!(desk.names("ship"), ["thesis.txt"]);
    ship(&desk, &["--force"]).ok();
    assert_eq!(desk.read("ship/thesis.txt"), b"mine");
    let marker = json!({ "files": { "../thesis.txt": "0" } }).to_string();
    desk.write("ship/.luthier-ship.json", marker);
    ship(&desk, &[]).fails(2, "error: ship/.luthier-ship.json: a path leaves the folder");
}

#[test]
fn a_model_shipped_before_is_taken_away() {
    let desk = desk();
    ship(&desk, &[]).ok();
    rename(&desk, "humour");
    let told = ship(&desk, &[]).ok();
    assert!(told.contains("removed: image/models/mood/1/model.onnx\n"), "{told}");
    assert_eq!(desk.names("ship/image/models"), ["humour/"]);
}

#[test]
fn what_cannot_be_shipped_is_said_before_anything_is_written() {
    let desk = desk();
    let refused = |args: &[&str], complaint: &str| {
        ship(&desk, args).fails(2, complaint);
        assert!(!desk.path("ship").exists());
    };
    refused(
        &["--image", "Mood"],
        "error: --image is `Mood`; it must be as in registry.example:5000/team/model:tag, in lower \
         case, without a digest",
    );
    refused(
        &["--max-psi", "0.2"],
        "error: --max-psi is `0.2`; it must be between 0.25 and 10; below, it would be raised by chance",
    );
    desk.luthier(&["ship", "job/run/bundle", "--program", "job/luthier.toml"]).fails(
        2,
        "error: job/luthier.toml is no static program\n \
         hint: an image of nothing else has no libraries; build it as in the guide",
    );
    rename(&desk, "My_Mood");
    refused(
        &[],
        "error: `My_Mood` cannot name a service of a cluster: lower-case letters, digits and `-`, \
         a letter first, no `-` last, at most 53 characters\n \
         hint: change `name` in luthier.toml, remove the run folder and run the job again",
    );
}
