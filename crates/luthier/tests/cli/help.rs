//! Help texts, kept as files in `snapshots/`; `UPDATE_SNAPSHOTS=1` writes them anew.

use std::path::Path;

use crate::Desk;

const COMMANDS: [&str; 29] = [
    "",
    "run",
    "tune",
    "worker",
    "data",
    "data split",
    "study",
    "study list",
    "study show",
    "study best",
    "study plot",
    "study importance",
    "study export",
    "study note",
    "study enqueue",
    "study import",
    "study serve",
    "predict",
    "eval",
    "bundle",
    "bundle show",
    "bundle verify",
    "bundle pack",
    "bundle publish",
    "serve",
    "gate",
    "ship",
    "probe",
    "completions",
];

#[test]
fn help_is_as_kept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots");
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let desk = Desk::empty();
    for command in COMMANDS {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = desk.luthier(&words).ok();
        let file = folder.join(format!("luthier {command}").trim_end().replace(' ', "-") + ".txt");
        if update {
            std::fs::write(&file, &help).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(help, kept, "{}: if it is meant, set UPDATE_SNAPSHOTS=1", file.display());
    }
}

#[test]
fn a_short_help_and_the_version_are_there() {
    let desk = Desk::empty();
    assert!(desk.luthier(&["-h"]).ok().contains("Usage: luthier"));
    let version = format!("luthier {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(desk.luthier(&["--version"]).ok(), version);
    let outcome = desk.luthier(&[]);
    assert!(outcome.code == Some(2) && outcome.err.contains("Usage: luthier"), "{outcome:?}");
}

#[test]
fn shells_get_completions() {
    let desk = Desk::empty();
    for shell in ["bash", "zsh", "fish"] {
        assert!(desk.luthier(&["completions", shell]).ok().contains("learning-curve"), "{shell}");
    }
}
