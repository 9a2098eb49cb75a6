//! `luthier bundle show`, `verify` and `pack`.

use serde_json::json;

use crate::{Desk, masked};

#[test]
fn a_bundle_shows_what_it_is() {
    let desk = Desk::with_job();
    desk.edit("[tune]", "[serve]\nroute = { path = \"/mood\" }\n\n[tune]");
    desk.luthier(&["run", "job"]).ok();
    let out = masked(&desk.luthier(&["bundle", "show", "job/run/bundle"]).ok());
    let [facts, scores, files] = out.split("\n\n").collect::<Vec<_>>()[..] else {
        panic!("not three tables: {out}")
    };
    let mut facts: Vec<&str> = facts.lines().collect();
    facts.retain(|fact| !["trial", "values", "compressed"].iter().any(|key| fact.starts_with(key)));
    assert_eq!(facts, FACTS);
    assert!(scores.starts_with("part  metric  value  95 %  rows\nvalid  f1  #  # to #  80\n"));
    assert!(scores.contains("\ntest  f1  #  # to #  80\n"), "{scores}");
    let files: Vec<&str> = files.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(files, ["file", "features.idx", "model.onnx", "profile.json", "report.json"]);
}

const FACTS: [&str; 12] = [
    "name  mood",
    "task  text-classification",
    "labels  bad, good",
    "size  # kB",
    "positive  good",
    "route  /mood (text to score)",
    "test  opened once",
    "data  train: 240 rows, sha256 <digest>…",
    "data  valid: 80 rows, sha256 <digest>…",
    "data  test: 80 rows, sha256 <digest>…",
    concat!("release  ", env!("CARGO_PKG_VERSION")),
    "digest  <digest>",
];

#[test]
fn shown_as_json_it_is_the_manifest() {
    let desk = Desk::with_bundle();
    let shown = desk.luthier(&["bundle", "show", "job/run/bundle", "--format", "json"]).json();
    assert_eq!(shown, desk.json("job/run/bundle/manifest.json"));
    assert_eq!(shown["lineage"]["trial"]["study"], "mood");
}

#[test]
fn a_sound_bundle_is_verified() {
    let desk = Desk::with_bundle();
    let out = desk.luthier(&["bundle", "verify", "job/run/bundle"]).ok();
    let sound = "job/run/bundle: 5 files are as written, 16 probes are answered as stored\n";
    assert_eq!(out, sound);
    let seen = desk.luthier(&["bundle", "verify", "job/run/model", "--format", "json"]).json();
    assert_eq!(seen, json!({ "ok": true, "files": 4, "probes": 16 }));
}

#[test]
fn a_packed_bundle_is_the_same_bundle() {
    let desk = Desk::with_bundle();
    let out = desk.luthier(&["bundle", "pack", "job/run/bundle"]).ok();
    assert_eq!(masked(&out), "job/run/bundle.luthier: # kB\n");
    let args = ["bundle", "pack", "job/run/bundle", "-o", "mood.luthier", "--format", "json"];
    let written = desk.luthier(&args).json();
    let packed = desk.read("mood.luthier");
    assert_eq!(written, json!({ "path": "mood.luthier", "bytes": packed.len() }));
    assert!(desk.read("job/run/bundle.luthier") == packed, "the same bytes every time");
    for show in [&["bundle", "show"][..], &["bundle", "show", "--format", "json"]] {
        let of = |path| desk.luthier(&[show, &[path]].concat()).ok();
        assert_eq!(of("job/run/bundle"), of("mood.luthier"));
    }
    desk.luthier(&["bundle", "verify", "mood.luthier"]).ok();
    desk.luthier(&["bundle", "pack", "job/run/bundle", "-o", "job"])
        .fails(2, "error: job is a folder\n hint: give the name of a file with --output");
}
