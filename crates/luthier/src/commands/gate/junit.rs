//! Findings in the XML that JUnit's Ant task began and CI systems read: a test suite with one case
//! per check.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{Gate, Verdict};
use crate::failure::Failure;

/// Writes the findings, whole or not at all.
pub(super) fn write(gate: &Gate, allow_undecidable: bool, path: &Path) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let written =
        fs::write(&partial, xml(gate, allow_undecidable)).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&partial);
        Failure::io(path)(error)
    })
}

/// A check that fails is a failure; one that is undecidable is one too, or is skipped where that is
/// allowed.
fn xml(gate: &Gate, allow_undecidable: bool) -> String {
    let count = |verdict| gate.checks.iter().filter(|check| check.verdict == verdict).count();
    let (failed, undecidable) = (count(Verdict::Fail), count(Verdict::Undecidable));
    let (failures, skipped) = match allow_undecidable {
        true => (failed, undecidable),
        false => (failed + undecidable, 0),
    };
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"",
        gate.checks.len()
    );
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"luthier gate\" {counts}>\n  \
         <testsuite name=\"luthier gate\" {counts}>\n"
    );
    for check in &gate.checks {
        let name = escaped(&check.name);
        let mut case = |inside: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(
                xml,
                "    <testcase classname=\"luthier.gate\" name=\"{name}\">{inside}</testcase>"
            );
        };
        let reason = escaped(check.reason.as_deref().unwrap_or_default());
        match check.verdict {
            Verdict::Pass => case(""),
            Verdict::Undecidable if allow_undecidable => {
                case(&format!("<skipped message=\"{reason}\"/>"));
            }
            verdict => {
                let kind = verdict.name();
                case(&format!("<failure type=\"{kind}\" message=\"{reason}\">{reason}</failure>"));
            }
        }
    }
    xml + "  </testsuite>\n</testsuites>\n"
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            // XML 1.0 has no way to write them.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
