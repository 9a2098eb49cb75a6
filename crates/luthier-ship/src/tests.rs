use std::collections::BTreeSet;

use luthier_bundle::Manifest;
use serde_json::{Value, json};

use crate::{File, Plan, Setting, Settings, ShipError};

/// A manifest of a model called `name`.
fn manifest(name: &str) -> Manifest {
    let score = |part, low| {
        json!({
            "part": part, "metric": "accuracy", "value": 0.9, "low": low, "high": 0.95,
            "rows": 400, "higher_is_better": true
        })
    };
    let manifest = json!({
        "format": 1,
        "name": name,
        "task": "text-classification",
        "release": "0.1.0",
        "signature": { "inputs": [], "outputs": [] },
        "decision": { "labels": ["a", "b"], "positive": 1 },
        "preprocess": {
            "kind": "ngram-text", "format": 1, "words": 1, "chars": 0, "hash_bits": 24,
            "features": 1
        },
        "scores": [score("valid", 0.8), score("test", 0.8456)],
        "test_openings": 1,
        "lineage": { "data": [] },
        "probes": [],
        "files": [{ "name": "model.onnx", "bytes": 5 << 20, "sha256": "0".repeat(64) }],
        "digest": "0123456789abcdef".repeat(4)
    });
    serde_json::from_value(manifest).expect("a manifest")
}

fn plan(settings: &Settings) -> Plan {
    Plan::new(&manifest("mood"), settings).expect("a plan")
}

fn file(files: &[File], path: &str) -> String {
    files.iter().find(|file| file.path == path).expect("the file").contents.clone()
}

/// The setting that is refused, and its value.
fn refused(settings: &Settings) -> (Setting, String) {
    match Plan::new(&manifest("mood"), settings) {
        Err(ShipError::Setting { setting, value, .. }) => (setting, value),
        other => panic!("{settings:?} gave {other:?}"),
    }
}

#[test]
fn names_are_those_of_services() {
    for name in ["a", "mood", "mood-2", "no", "true", &"m".repeat(53)] {
        assert!(Plan::new(&manifest(name), &Settings::default()).is_ok(), "{name}");
    }
    let long = "m".repeat(54);
    for name in ["", "Mood", "mood_2", "2mood", "-mood", "mood-", "a.b", "môd", "心情", &long] {
        let refused = Plan::new(&manifest(name), &Settings::default());
        assert_eq!(refused, Err(ShipError::Name { name: name.to_owned() }));
    }
}

#[test]
fn every_place_is_filled_and_the_bytes_are_the_same_again() {
    let settings = Settings {
        image: Some("registry.example:5000/team/mood:v1".into()),
        webhook: Some("https://alerts.example/hook?team=a&x=1".into()),
        job: Some("jobs/mood".into()),
        ..Settings::default()
    };
    let files = plan(&settings).files();
    assert_eq!(files, plan(&settings).files());
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths.len(), files.len(), "no path twice");
    for File { path, contents } in &files {
        assert!(!contents.contains("@{"), "{path} has an empty place");
        assert!(contents.is_empty() || contents.ends_with('\n'), "{path} ends in a line");
        assert!(!path.starts_with('/') && !path.contains(".."), "{path}");
    }
}

#[test]
fn settings_reach_their_places() {
    let settings = Settings {
        image: Some("registry.example:5000/team/mood".into()),
        namespace: Some("prod".into()),
        webhook: Some("http://hook.example/a".into()),
        job: Some("jobs/mood".into()),
        target_p99_ms: Some(20.0),
        error_rate: Some(0.07),
        min_accuracy: Some(0.8),
        max_psi: Some(0.4),
        ..Settings::default()
    };
    let plan = plan(&settings);
    assert_eq!(plan.image(), "registry.example:5000/team/mood:0123456789ab");
    let files = plan.files();
    let holds = |path: &str, text: &str| {
        assert!(file(&files, path).contains(text), "{path} lacks {text}");
    };
    holds("prometheus/alerts.yml", ") > 0.02\n");
    holds("prometheus/alerts.yml", "limit is 7 %.");
    holds("prometheus/alerts.yml", "{model=\"mood\"} < 0.8\n");
    holds("alertmanager/alertmanager.yml", "url: \"http://hook.example/a\"");
    holds(".github/workflows/release.yml", "GATE_DATA: \"jobs/mood/data/test.csv\"");
    holds(".github/workflows/release.yml", "hashFiles('jobs/mood/luthier.toml'");
    holds(
        ".github/workflows/release.yml",
        "--image \"$IMAGE\" --namespace prod --webhook 'http://hook.example/a' --job jobs/mood \
         --target-p99-ms 20 --error-rate 0.07 --min-accuracy 0.8 --max-psi 0.4\n",
    );
    holds("chart/values.yaml", "repository: \"registry.example:5000/team/mood\"");
    assert_eq!(file(&files, "chart/files/alerts.yml"), file(&files, "prometheus/alerts.yml"));
}

#[test]
fn defaults_follow_from_the_bundle() {
    let plan = plan(&Settings::default());
    assert_eq!(plan.image(), "localhost/mood:0123456789ab");
    assert_eq!(plan.namespace(), "mood");
    let thresholds = plan.thresholds();
    assert_eq!(thresholds.min_accuracy, 0.845, "low end on the test split, rounded down");
    assert_eq!((thresholds.target_p99_ms, thresholds.max_psi), (50.0, 0.25));
    let workflow = file(&plan.files(), ".github/workflows/release.yml");
    assert!(workflow.contains("IMAGE: \"ghcr.io/${{ github.repository_owner }}/mood\"\n"));
    let drift = |rows: u64| {
        let mut manifest = manifest("mood");
        manifest.scores.iter_mut().for_each(|score| score.rows = rows);
        Plan::new(&manifest, &Settings::default()).expect("a plan").thresholds().max_psi
    };
    assert_eq!([0, 2, 50, 100, 1_000_000].map(drift), [0.25, 10.0, 0.59, 0.31, 0.25]);
    let mut silent = manifest("mood");
    silent.scores.clear();
    let refused = Plan::new(&silent, &Settings::default());
    assert_eq!(refused, Err(ShipError::NoAccuracy));
}

#[test]
fn values_cannot_leave_their_place() {
    let image = |image: &str| Settings { image: Some(image.into()), ..Settings::default() };
    for bad in [
        "",
        "Mood",
        "a b",
        "mood:",
        ":v1",
        "mood:v1:v2",
        "a//b",
        "/a",
        "a/",
        "host:port/a",
        "mood@sha256:0",
        "mood:-v1",
        "mood:v1-",
        "mood\"x",
        "a/$(id)",
        "host:99999/a",
    ] {
        assert_eq!(refused(&image(bad)), (Setting::Image, bad.to_owned()));
    }
    for good in ["mood", "mood:v1", "localhost:5000/mood", "ghcr.io/team/mood_a.b:V1.0"] {
        assert!(Plan::new(&manifest("mood"), &image(good)).is_ok(), "{good}");
    }
    for bad in ["", "/etc", "../a", "a/../b", "-x", "a b", "a;b", "$(id)", "a\nb", "${{ x }}"] {
        let settings = Settings { job: Some(bad.into()), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::Job, bad.to_owned()));
        let settings = Settings { gate_data: Some(bad.into()), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::GateData, bad.to_owned()));
    }
    for bad in ["", " ", "-x", "a'b", "a\"b", "$(id)", "a\nb", "${{ x }}", "a@b", "a\\"] {
        let settings = Settings { gate_text: Some(bad.into()), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::GateText, bad.to_owned()));
        let settings = Settings { gate_label: Some(bad.into()), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::GateLabel, bad.to_owned()));
    }
    for bad in ["", "ftp://x", "http://", "http://a\"b", "http://a'b", "http://a b", "http://$(x)"]
    {
        let settings = Settings { webhook: Some(bad.into()), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::Webhook, bad.to_owned()));
    }
    for bad in ["Prod", "a_b", "", "a.b"] {
        let settings = Settings { namespace: Some(bad.into()), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::Namespace, bad.to_owned()));
    }
}

#[test]
fn few_rows_hold_a_release_back_unless_they_are_allowed_to() {
    let workflow = |settings| file(&plan(&settings).files(), ".github/workflows/release.yml");
    let strict = workflow(Settings::default());
    assert!(strict.contains("--junit gate.xml\n") && !strict.contains("--allow-undecidable"));
    let allowed = workflow(Settings { allow_undecidable: true, ..Settings::default() });
    assert!(allowed.contains("--junit gate.xml --allow-undecidable\n"), "{allowed}");
    let again = allowed.lines().find(|line| line.trim().starts_with("luthier ship"));
    let again = again.unwrap_or_default();
    assert!(
        again.contains(" --allow-undecidable"),
        "the workflow ships as it was shipped: {again}"
    );
}

#[test]
fn the_gate_reads_the_columns_that_the_rows_have() {
    let settings = Settings {
        gate_text: Some("title,评论 (body)".into()),
        gate_label: Some("stars".into()),
        ..Settings::default()
    };
    let workflow = file(&plan(&settings).files(), ".github/workflows/release.yml");
    assert!(
        workflow.contains("--junit gate.xml --text 'title,评论 (body)' --label 'stars'\n"),
        "{workflow}"
    );
    assert!(
        workflow.contains(" --gate-text 'title,评论 (body)' --gate-label 'stars'"),
        "{workflow}"
    );
}

#[test]
fn limits_are_numbers_that_can_be_tested() {
    for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e9] {
        let value = bad.to_string();
        let settings = Settings { target_p99_ms: Some(bad), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::TargetP99, value.clone()));
        let settings = Settings { error_rate: Some(bad), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::ErrorRate, value.clone()));
        let settings = Settings { min_accuracy: Some(bad), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::MinAccuracy, value.clone()));
        let settings = Settings { max_psi: Some(bad), ..Settings::default() };
        assert_eq!(refused(&settings), (Setting::MaxPsi, value));
    }
    let settings = Settings { max_psi: Some(0.2), ..Settings::default() };
    assert_eq!(refused(&settings), (Setting::MaxPsi, "0.2".to_owned()));
}

#[test]
fn panels_do_not_overlap() {
    let files = plan(&Settings::default()).files();
    let dashboard = file(&files, "grafana/dashboard.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
    }
}
