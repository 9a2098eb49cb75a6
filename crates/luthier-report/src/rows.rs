//! Single rows: the worst mistakes, and labels that may be wrong.

use crate::html::{Column, Html, Table, paragraph};
use crate::page::Section;
use crate::{RunReport, number};

/// The test rows the model was most wrong about.
pub(crate) fn mistakes(report: &RunReport) -> Option<Section> {
    if report.mistakes.is_empty() {
        return None;
    }
    if report.mistakes.iter().any(|mistake| mistake.residual.is_some()) {
        return Some(largest_errors(report));
    }
    let mut table = Table::new([
        ("Row", Column::Number),
        ("Text", Column::Text),
        ("Truth", Column::Words),
        ("Predicted", Column::Words),
        ("P(truth)", Column::Number),
    ]);
    for mistake in &report.mistakes {
        let row = [
            place("", mistake.row, mistake.id.as_deref()),
            Html::clipped(&mistake.text),
            Html::clipped(&mistake.truth),
            Html::clipped(&mistake.predicted),
            Html::text(&number::score(mistake.probability)),
        ];
        table.push("", row);
    }
    let about = "Test rows to which the model gave the true label the lowest probability. They are \
                 for reading: tuning against them would spend the test split.";
    Some(Section {
        id: "mistakes",
        title: "Worst mistakes",
        body: paragraph(about).then(table.html()),
    })
}

/// The same for numbers.
fn largest_errors(report: &RunReport) -> Section {
    let mut table = Table::new([
        ("Row", Column::Number),
        ("Columns", Column::Text),
        ("Truth", Column::Number),
        ("Predicted", Column::Number),
        ("Truth − predicted", Column::Number),
    ]);
    for mistake in &report.mistakes {
        let row = [
            place("", mistake.row, mistake.id.as_deref()),
            Html::clipped(&mistake.text),
            Html::clipped(&mistake.truth),
            Html::clipped(&mistake.predicted),
            Html::text(&number::difference(mistake.residual)),
        ];
        table.push("", row);
    }
    let about = "Test rows whose prediction is furthest from the truth. They are for reading: tuning against \
                 them would spend the test split.";
    let body = paragraph(about).then(table.html());
    Section { id: "mistakes", title: "Largest errors", body }
}

/// Rows whose label may be wrong.
pub(crate) fn suspects(report: &RunReport) -> Option<Section> {
    if report.suspects.is_empty() {
        return None;
    }
    let mut table = Table::new([
        ("Row", Column::Words),
        ("Text", Column::Text),
        ("Given", Column::Words),
        ("Suggested", Column::Words),
        ("P(suggested)", Column::Number),
    ]);
    for suspect in &report.suspects {
        let row = [
            place(&suspect.part, suspect.row, suspect.id.as_deref()),
            Html::clipped(&suspect.text),
            Html::clipped(&suspect.given),
            Html::clipped(&suspect.suggested),
            Html::text(&number::score(suspect.probability)),
        ];
        table.push("", row);
    }
    let about = "Training and validation rows on which the model contradicts the label with \
                 confidence. Check them by hand: some labels are wrong, some rows are only hard.";
    Some(Section {
        id: "suspects",
        title: "Suspect labels",
        body: paragraph(about).then(table.html()),
    })
}

fn place(part: &str, row: u64, id: Option<&str>) -> Html {
    let part = if part.is_empty() { Html::default() } else { Html::isolated(part) };
    let part = if part.as_str().is_empty() { part } else { part.then(Html::raw(" ")) };
    let place = part.then(Html::text(&number::count(row)));
    match id {
        Some(id) => place.then(Html::raw("<br>")).then(Html::clipped(id)),
        None => place,
    }
}
