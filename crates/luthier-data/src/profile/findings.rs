//! What of a profile deserves a look.

use serde::{Deserialize, Serialize};

use super::{ContentProfile, PartProfile, Profile, TextProfile};
use crate::Part;

mod table;

/// Ratio of the largest to the smallest class of train above which metrics and thresholds suffer.
const IMBALANCE: u64 = 20;

/// Rows of a class in train below which little is learned of it.
const FEW_OF_CLASS: u64 = 10;

/// Rows of a part below which a 95 % interval of an accuracy is wider than ±0.1 at worst.
const FEW_ROWS: u64 = 100;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Scores may mislead.
    Warning,
}

/// Something about the data that deserves a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Its kind, for machines: `class-imbalance`, `rare-class`, `leakage`, `contradictions`,
    /// `duplicates`, `near-duplicates`, `few-rows`, `empty-texts`; of tables also `left-out`,
    /// `constant-column`, `missing-column`, `missing-values`, `many-categories`, `time-column`,
    /// `unseen-category`, `shift`, `leaky-column`; of labels that are numbers `skewed-labels`.
    pub code: String,
    /// One sentence with the numbers.
    pub message: String,
}

/// The findings of a profile, warnings first.
pub(super) fn of(profile: &Profile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in &profile.parts {
        check_part(part, &mut findings);
        if part.part == Part::Train {
            check_classes(profile, part, &mut findings);
        }
    }
    let is_table = profile.parts.iter().any(|part| part.table().is_some());
    match is_table {
        true => table::check(profile, &mut findings),
        false => check_shared_texts(profile, &mut findings),
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn check_shared_texts(profile: &Profile, findings: &mut Vec<Finding>) {
    for leak in &profile.leakage {
        let (from, to, rows, texts) = (leak.from, leak.to, leak.rows, leak.twins.texts);
        add(
            findings,
            Severity::Warning,
            "leakage",
            format!(
                "{rows} rows of {to} have a text that is also in {from} ({texts} distinct texts)"
            ),
        );
    }
    if profile.contradictions.texts > 0 {
        let texts = profile.contradictions.texts;
        add(
            findings,
            Severity::Warning,
            "contradictions",
            format!("{texts} texts have different labels in different rows"),
        );
    }
}

fn check_part(profile: &PartProfile, findings: &mut Vec<Finding>) {
    let (part, rows) = (profile.part, profile.rows);
    if part != Part::Train && rows < FEW_ROWS {
        add(
            findings,
            Severity::Warning,
            "few-rows",
            format!("{part} has {rows} rows; differences of a few points are chance"),
        );
    }
    match &profile.content {
        ContentProfile::Text(text) => check_texts(part, rows, text, findings),
        ContentProfile::Table(table) => table::check_part(profile, table, findings),
    }
}

fn check_texts(part: Part, rows: u64, profile: &TextProfile, findings: &mut Vec<Finding>) {
    if profile.empty > 0 {
        let empty = profile.empty;
        add(
            findings,
            Severity::Note,
            "empty-texts",
            format!("{empty} of {rows} rows of {part} have no text"),
        );
    }
    let near = profile.near_duplicates - profile.duplicates.min(profile.near_duplicates);
    for (code, count, what) in [
        ("duplicates", profile.duplicates, "repeat the text of another row"),
        ("near-duplicates", near, "repeat it but for case, white space and punctuation"),
    ] {
        if count * 100 > rows {
            add(
                findings,
                Severity::Warning,
                code,
                format!("{count} of {rows} rows of {part} {what}"),
            );
        }
    }
}

fn check_classes(profile: &Profile, train: &PartProfile, findings: &mut Vec<Finding>) {
    let counted = || train.class_counts.iter().zip(&profile.labels);
    let (Some((most, large)), Some((least, small))) =
        (counted().max_by_key(|(count, _)| **count), counted().min_by_key(|(count, _)| **count))
    else {
        return;
    };
    if *most > IMBALANCE * *least {
        add(
            findings,
            Severity::Warning,
            "class-imbalance",
            format!("train has {most} rows of `{large}` and {least} of `{small}`"),
        );
    }
    let rare = counted().filter(|(count, _)| **count < FEW_OF_CLASS).count();
    if rare > 0 {
        add(
            findings,
            Severity::Warning,
            "rare-class",
            format!(
                "{rare} classes have fewer than {FEW_OF_CLASS} rows in train, the smallest {least} (`{small}`)"
            ),
        );
    }
}

fn add(findings: &mut Vec<Finding>, severity: Severity, code: &str, message: String) {
    findings.push(Finding { severity, code: code.to_owned(), message });
}
