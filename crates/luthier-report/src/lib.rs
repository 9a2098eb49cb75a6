//! HTML reports from finished values.
//!
//! Start from [`RunReport`]: it is what `report.json` holds, and [`render`] turns it into one HTML
//! page that opens offline, with plots that zoom and answer the pointer. [`StudyView`] and
//! [`render_study`] do so for a search alone. The page needs nothing
//! beside it: style, figures and Plotly are inside, and its policy forbids every request.
//!
//! The input has its own plain types, so that it can be read back years later whatever became of
//! the engines, samplers and metrics that filled it in; this crate knows none of them. Everything
//! in it counts as untrusted text: markup is only ever made from the program's own strings and
//! from escaped ones. What the report lacks, the page leaves out.

mod columns;
mod compression;
mod data;
mod distillation;
mod figure;
mod front;
mod headline;
mod html;
mod importance;
mod input;
mod number;
mod numbers;
mod page;
mod rows;
mod scores;
mod study;
mod tuning;
mod usage;

pub use importance::{Importance, Placed, importance};
pub use input::{
    Candidate, ClassScores, ColumnImportance, ColumnSummary, Compression, Contender, CurvePoint,
    DataSummary, Distillation, Estimate, Evaluation, FORMAT, Fact, Finding, Headline,
    LearningCurve, MetricScores, Mistake, NumberFit, NumberQuantile, Objective, Outcome, Parameter,
    ParameterKind, PartSummary, Quantile, ReliabilityBin, ResidualBin, RunReport, Severity,
    Snippet, Suspect, Trial, TrialState, Tuning, Verdict,
};
pub use study::{StudyTrial, StudyView};

/// The report as one self-contained HTML page (UTF-8, about 1.5 MB, most of it Plotly).
///
/// Sections whose values are absent are left out, numbers that are not finite show as "–", and no
/// input makes it fail. The same report gives the same bytes.
pub fn render(report: &RunReport) -> String {
    page::page(report)
}

/// A study as one self-contained HTML page, as [`render`] makes one of a run.
pub fn render_study(study: &StudyView) -> String {
    study::page(study)
}
