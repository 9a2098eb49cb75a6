//! The layering of ARCHITECTURE.md, checked against the manifests: who may use whom, that every
//! crate is listed, and that nothing goes round in circles (in a list of allowed uses in which
//! every crate only names earlier ones, nothing can).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Each crate with the crates of ours that it may use, in an order in which all uses point back.
const ALLOWED: [(&str, &[&str]); 20] = [
    ("luthier-test", &[]),
    ("luthier-space", &[]),
    ("luthier-data", &[]),
    ("luthier-graph", &[]),
    ("luthier-model", &["luthier-data", "luthier-graph"]),
    ("luthier-engine", &["luthier-graph"]),
    ("luthier-eval", &[]),
    ("luthier-nn", &[]),
    ("luthier-pretrained", &["luthier-model", "luthier-nn"]),
    ("luthier-hub", &[]),
    ("luthier-tune", &["luthier-space"]),
    ("luthier-study", &["luthier-space", "luthier-tune"]),
    (
        "luthier-train",
        &[
            "luthier-eval",
            "luthier-graph",
            "luthier-model",
            "luthier-nn",
            "luthier-pretrained",
            "luthier-space",
        ],
    ),
    ("luthier-compress", &["luthier-graph", "luthier-model"]),
    ("luthier-bundle", &["luthier-engine", "luthier-eval", "luthier-graph", "luthier-model"]),
    ("luthier-monitor", &["luthier-data", "luthier-eval"]),
    ("luthier-serve", &["luthier-bundle", "luthier-engine", "luthier-model", "luthier-monitor"]),
    ("luthier-ship", &["luthier-bundle"]),
    ("luthier-report", &[]),
    (
        "luthier",
        &[
            "luthier-bundle",
            "luthier-compress",
            "luthier-data",
            "luthier-engine",
            "luthier-eval",
            "luthier-graph",
            "luthier-hub",
            "luthier-model",
            "luthier-monitor",
            "luthier-pretrained",
            "luthier-report",
            "luthier-serve",
            "luthier-ship",
            "luthier-space",
            "luthier-study",
            "luthier-train",
            "luthier-tune",
        ],
    ),
];

/// Crates from outside, with the only crates of ours that may see them.
const CONFINED: [(&str, &[&str]); 4] = [
    ("tokio", &["luthier-serve", "luthier"]),
    ("hyper", &["luthier-serve"]),
    ("rten", &["luthier-engine"]),
    ("rusqlite", &["luthier-study", "luthier-serve"]),
];

#[test]
fn crates_use_only_what_they_may() {
    let manifests = manifests();
    let listed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = manifests.keys().map(String::as_str).collect();
    assert_eq!(listed, found, "every crate is listed, and every listed crate is there");
    for (position, (name, allowed)) in ALLOWED.iter().enumerate() {
        let earlier: Vec<&str> = ALLOWED[..position].iter().map(|(name, _)| *name).collect();
        for user in *allowed {
            assert!(earlier.contains(user), "{name} may use {user}, which is not below it");
        }
        let used = manifests[*name].iter().filter(|used| used.starts_with("luthier"));
        let used: Vec<&str> = used.map(String::as_str).collect();
        for used in &used {
            assert!(allowed.contains(used), "{name} uses {used}, which the layering forbids");
        }
        for allowed in *allowed {
            assert!(used.contains(allowed), "{name} does not use {allowed}: drop it from the list");
        }
    }
}

#[test]
fn heavy_dependencies_stay_where_they_belong() {
    for (dependency, homes) in CONFINED {
        for (name, used) in manifests() {
            let uses = used.contains(dependency);
            assert!(!uses || homes.contains(&name.as_str()), "{name} uses {dependency}");
        }
    }
}

/// The names of each crate's dependencies; those for tests only do not count.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("Cargo.toml")).ok()?;
        let manifest: toml::Table = text.parse().expect("a manifest");
        let names = manifest["dependencies"].as_table().expect("dependencies").keys();
        Some((entry.file_name().into_string().ok()?, names.cloned().collect()))
    };
    fs::read_dir(crates).expect("the crates").flatten().filter_map(read).collect()
}
