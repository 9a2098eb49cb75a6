//! What of the columns of a table deserves a look.

use super::super::{ColumnProfile, PartProfile, Profile, TableProfile, ValuesProfile};
use super::{FEW_ROWS, Finding, Severity, add};
use crate::{Distinct, MAX_CATEGORIES, Part, Reason};

/// Share of a label that a column must tell alone to be suspected of being made from it.
const LEAKY: f64 = 0.98;
/// Population stability index from which a column has moved, by custom.
const MOVED: f64 = 0.25;
/// Skewness beyond which a few large labels rule squared errors; that of the exponential
/// distribution.
const SKEWED: f64 = 2.0;

/// What follows from the columns of one part.
pub(super) fn check_part(part: &PartProfile, table: &TableProfile, findings: &mut Vec<Finding>) {
    let (name, rows) = (part.part, part.rows);
    if table.duplicates * 100 > rows {
        let repeats = table.duplicates;
        let message = format!("{repeats} of {rows} rows of {name} repeat another row");
        add(findings, Severity::Warning, "duplicates", message);
    }
    if let Some(labels) = part.numbers.as_ref().filter(|labels| labels.skewness.abs() > SKEWED) {
        let (mean, max) = (labels.mean, labels.max);
        let message = format!(
            "labels of {name} are skewed: their mean is {mean:.4}, the largest {max:.4}; squared \
             errors are ruled by few rows"
        );
        add(findings, Severity::Note, "skewed-labels", message);
    }
    for column in &table.columns {
        match name {
            Part::Train => check_column(column, rows, findings),
            Part::Valid | Part::Test => check_moved(column, name, rows, findings),
        }
    }
}

/// What follows from a column of train.
fn check_column(column: &ColumnProfile, rows: u64, findings: &mut Vec<Finding>) {
    let (name, missing) = (&column.name, column.missing);
    let mut note = |severity, code, message| add(findings, severity, code, message);
    let unknown = unknown(column);
    if missing == rows {
        let message = format!("column `{name}` has no value in train");
        return note(Severity::Warning, "missing-column", message);
    }
    if column.distinct == Distinct::Exactly(1) && missing == 0 {
        let message = format!("column `{name}` has one value in train, so nothing is learnt of it");
        return note(Severity::Note, "constant-column", message);
    }
    if missing * 2 > rows {
        let message = format!("{missing} of {rows} rows of train have no `{name}`");
        note(Severity::Note, "missing-values", message);
    }
    if unknown > 0 {
        let message = format!(
            "column `{name}` has more than {MAX_CATEGORIES} categories; those of {unknown} of {rows} \
             rows of train are taken for missing"
        );
        note(Severity::Warning, "many-categories", message);
    }
    if matches!(column.values, ValuesProfile::Time { .. }) {
        let message = format!(
            "column `{name}` is a time, taken as days since 1970; models learn nothing of days to come"
        );
        note(Severity::Note, "time-column", message);
    }
    if let Some(share) = column.association.filter(|share| *share >= LEAKY) {
        let message = format!(
            "column `{name}` alone tells {:.1} % of the label; is it known before the label is?",
            100.0 * share
        );
        note(Severity::Warning, "leaky-column", message);
    }
}

/// What follows from a column of another part beside train.
fn check_moved(column: &ColumnProfile, part: Part, rows: u64, findings: &mut Vec<Finding>) {
    let (name, unknown) = (&column.name, unknown(column));
    if unknown > 0 {
        let message = format!(
            "{unknown} of {rows} rows of {part} have a `{name}` that is no category of train; it is \
             taken for missing"
        );
        add(findings, Severity::Note, "unseen-category", message);
    }
    if let Some(index) = column.drift.filter(|index| *index > MOVED && rows >= FEW_ROWS) {
        let message = format!(
            "column `{name}` of {part} is not spread as in train (population stability index \
             {index:.2})"
        );
        add(findings, Severity::Warning, "shift", message);
    }
}

fn unknown(column: &ColumnProfile) -> u64 {
    match &column.values {
        ValuesProfile::Category(categories) => categories.unknown,
        ValuesProfile::Number { .. } | ValuesProfile::Time { .. } => 0,
    }
}

/// What follows from all parts together. Tables of few columns have rows that are alike by chance, so
/// that a few of them are only noted.
pub(super) fn check(profile: &Profile, findings: &mut Vec<Finding>) {
    for left_out in &profile.left_out {
        let reason = match left_out.reason {
            Reason::Empty => "it has no values",
            Reason::Identifier => "its values name the rows",
            Reason::Text => "its values are too many to be categories",
        };
        let message = format!("column `{}` is left out: {reason}", left_out.column);
        add(findings, Severity::Note, "left-out", message);
    }
    let severity = |few: u64, of: u64| match few * 100 > of {
        true => Severity::Warning,
        false => Severity::Note,
    };
    for leak in &profile.leakage {
        let (from, to, rows, distinct) = (leak.from, leak.to, leak.rows, leak.twins.texts);
        let of = profile.parts.iter().find(|part| part.part == to).map_or(0, |part| part.rows);
        let message =
            format!("{rows} of {of} rows of {to} are also in {from} ({distinct} distinct)");
        add(findings, severity(rows, of), "leakage", message);
    }
    let contradicting = profile.contradictions.texts;
    if contradicting > 0 {
        let all = profile.parts.iter().map(|part| part.rows).sum();
        let message =
            format!("{contradicting} distinct rows have different labels when they repeat");
        add(findings, severity(contradicting, all), "contradictions", message);
    }
}
