//! Single rows: the worst mistakes, and labels that may be wrong.

use crate::html::{Column, Html, Table, paragraph};
use crate::page::Section;
use crate::{RunReport, number};

/// The test rows the model was most wrong about, by the probability of the true class or by the residual.
pub(crate) fn mistakes(report: &RunReport) -> Option<Section> {
    if report.mistakes.is_empty() {
        return None;
    }
    let of_numbers = report.mistakes.iter().any(|mistake| mistake.residual.is_some());
    let (title, content, kind, last, which) = match of_numbers {
        false => (
            "Worst mistakes",
            "Text",
            Column::Words,
            "P(truth)",
            "to which the model gave the true label the lowest probability",
        ),
        true => (
            "Largest errors",
            "Columns",
            Column::Number,
            "Truth − predicted",
            "whose prediction is furthest from the truth",
        ),
    };
    let mut table = Table::new([
        ("Row", Column::Number),
        (content, Column::Text),
        ("Truth", kind),
        ("Predicted", kind),
        (last, Column::Number),
    ]);
    for mistake in &report.mistakes {
        let by = match of_numbers {
            false => number::score(mistake.probability),
            true => number::difference(mistake.residual),
        };
        let row = [
            place("", mistake.row, mistake.id.as_deref()),
            Html::clipped(&mistake.text),
            Html::clipped(&mistake.truth),
            Html::clipped(&mistake.predicted),
            Html::text(&by),
        ];
        table.push("", row);
    }
    let about = format!(
        "Test rows {which}. They are for reading: tuning against them would spend the test split."
    );
    Some(Section { id: "mistakes", title, body: paragraph(&about).then(table.html()) })
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
