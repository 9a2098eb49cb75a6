//! `luthier bundle show`, `verify`, `pack` and `publish`.

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
    let documents = [
        "baseline.json",
        "calibration.json",
        "features.idx",
        "model.onnx",
        "profile.json",
        "report.json",
    ];
    assert_eq!(files, [&["file"], documents.as_slice()].concat());
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
    let sound = "job/run/bundle: 7 files are as written, 16 probes are answered as stored\n";
    assert_eq!(out, sound);
    let seen = desk.luthier(&["bundle", "verify", "job/run/model", "--format", "json"]).json();
    assert_eq!(seen, json!({ "ok": true, "files": 5, "probes": 16 }));
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

#[test]
fn a_published_bundle_is_the_next_version() {
    let desk = Desk::with_bundle();
    let publish = |bundle| desk.luthier(&["bundle", "publish", bundle, "models/mood"]);
    assert_eq!(publish("job/run/bundle").ok(), "models/mood/1\n");
    desk.luthier(&["bundle", "pack", "job/run/bundle", "-o", "mood.luthier"]).ok();
    assert_eq!(publish("mood.luthier").ok(), "models/mood/2\n");
    let args = ["bundle", "publish", "job/run/bundle", "models/mood", "--version", "7"];
    let written = desk.luthier(&[&args[..], &["--format", "json"]].concat()).json();
    assert_eq!(written, json!({ "path": "models/mood/7", "version": 7 }));
    for version in ["1", "2", "7"] {
        let path = format!("models/mood/{version}");
        let of = |path| desk.luthier(&["bundle", "show", path, "--format", "json"]).ok();
        assert_eq!(of(&path), of("job/run/bundle"));
    }
    desk.luthier(&args).fails(
        2,
        "error: version 7 is there already: models/mood/7\n \
         hint: leave --version out to get the next free one",
    );
    desk.luthier(&["bundle", "publish", "job/run/bundle", "job/run/bundle"]).fails(
        2,
        "error: job/run/bundle is a bundle, and not the folder of a model's versions\n \
         hint: give <base>/<model>, as in `models/sentiment`",
    );
}
