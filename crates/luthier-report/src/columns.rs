//! What the columns of a table do in the model, and what they are like.

use serde_json::json;

use crate::figure::{Figure, axis, category_axis};
use crate::html::{Column, Html, Table, element, folded, heading};
use crate::page::Section;
use crate::{ColumnImportance, ColumnSummary, DataSummary, NumberQuantile, RunReport, number};

/// Bars of a figure.
const BARS: usize = 20;
/// Columns that a page describes.
const DESCRIBED: usize = 200;
/// Categories that a row of the table names.
const NAMED: usize = 3;
/// Population stability indices from which a shift is worth a look.
const SHIFTED: f64 = 0.1;

/// What the columns do in the model.
pub(crate) fn section(report: &RunReport) -> Option<Section> {
    let all = &report.importance;
    let of = |column: &ColumnImportance| column.contribution.or(column.gain);
    if all.iter().all(|column| number::finite(of(column)).is_none_or(|value| value == 0.0)) {
        return None;
    }
    let mut table = Table::new([
        ("Column", Column::Words),
        ("Contribution", Column::Number),
        ("Share of the gain", Column::Number),
    ]);
    for column in all.iter().take(DESCRIBED) {
        let row = [
            Html::clipped(&column.name),
            Html::text(&number::score(column.contribution)),
            Html::text(&column.gain.map_or_else(|| number::NONE.to_owned(), number::percent)),
        ];
        table.push("", row);
    }
    let shown = &all[..all.len().min(BARS)];
    let caption = match all.len() - shown.len() {
        0 => String::new(),
        more => format!(" The {BARS} greatest of {}; {more} more are in the table.", all.len()),
    };
    let unit = if report.labels.is_empty() { "" } else { ", log-odds," };
    let caption = format!(
        "How far each column moves what the model adds up{unit} from its mean over all rows, either way: \
         mean absolute Shapley values on rows that were held out.{caption}"
    );
    let table = folded("As a table", table.html());
    let body = figure(shown).html(Html::text(&caption)).then(table);
    Some(Section { id: "importance", title: "What the columns do", body })
}

fn figure(shown: &[ColumnImportance]) -> Figure {
    let values: Vec<Option<f64>> =
        shown.iter().map(|column| column.contribution.or(column.gain)).collect();
    let mut y = category_axis(shown.iter().map(|column| column.name.as_str()));
    // The first at the top.
    y["range"] = json!([shown.len() as f64 - 0.5, -0.5]);
    y["automargin"] = json!(true);
    Figure {
        title: "What the columns do".to_owned(),
        height: 90 + 22 * shown.len() as u32,
        data: vec![json!({
            "type": "bar", "orientation": "h", "x": values,
            "y": (0..shown.len()).collect::<Vec<_>>(), "marker": { "color": "var(--accent)" },
            "text": values.iter().map(|value| number::score(*value)).collect::<Vec<_>>(),
            "textposition": "outside", "cliponaxis": false,
            "hovertemplate": "%{x:.4~g}<extra></extra>",
        })],
        layout: json!({ "showlegend": false, "xaxis": axis("mean absolute contribution"), "yaxis": y }),
    }
}

/// What the columns of the training rows are like.
pub(crate) fn summaries(data: &DataSummary) -> Option<Html> {
    let first = data.columns.first()?;
    let parts: Vec<&str> = first.shifts.iter().map(|(part, _)| part.as_str()).collect();
    let head = [
        ("Column", Column::Words),
        ("Kind", Column::Words),
        ("Missing", Column::Number),
        ("Distinct", Column::Number),
        ("Values", Column::Words),
        ("Tells of the label", Column::Number),
    ];
    let head = head.map(|(title, column)| (title.to_owned(), column));
    let shifts = parts.iter().map(|part| (format!("Shift in {part}"), Column::Number));
    let mut table = Table::new(head.into_iter().chain(shifts));
    for column in data.columns.iter().take(DESCRIBED) {
        let distinct = number::count(column.distinct);
        let cells = [
            Html::clipped(&column.name),
            Html::isolated(&column.kind),
            Html::text(&share(column.missing)),
            Html::text(&if column.more { format!("> {distinct}") } else { distinct }),
            values(column),
            Html::text(&number::score(column.association)),
        ];
        let shifts = parts.iter().enumerate().map(|(at, _)| shift(column, at));
        table.push("", cells.into_iter().chain(shifts));
    }
    let more = match data.columns.len().saturating_sub(DESCRIBED) {
        0 => String::new(),
        more => format!(" {} more columns are in the JSON report.", number::count(more as u64)),
    };
    let note = format!(
        "By the training rows. Values are the smallest, the median and the largest number, or the most \
         frequent categories. A column alone tells between nothing (0) and all (1) of the label. Shifts are \
         population stability indices against train; from 0.1 they are worth a look, from 0.25 the rows \
         are others.{more}"
    );
    let note = element("p", &[("class", "note")], Html::text(&note));
    Some(heading("Columns").then(table.html()).then(note))
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| number::NONE.to_owned(), number::percent)
}

/// The range of numbers, or the most frequent categories.
fn values(column: &ColumnSummary) -> Html {
    let at = |quantile: f64| {
        let found = column.quantiles.iter().find(|known| known.quantile == quantile);
        number::finite(found.and_then(|NumberQuantile { value, .. }| *value))
    };
    if let (Some(low), Some(high)) = (at(0.0), at(1.0)) {
        let text = match at(0.5) {
            Some(middle) => [low, middle, high].map(number::chosen).join(" … "),
            None => [low, high].map(number::chosen).join(" … "),
        };
        return Html::text(&text);
    }
    let named = column.top.iter().take(NAMED).map(|(value, of)| {
        let share_of = element("span", &[("class", "muted")], Html::text(&share(*of)));
        let line = Html::clipped(value).then(Html::raw(" ")).then(share_of);
        element("div", &[], line)
    });
    let named: Html = named.collect();
    if named.as_str().is_empty() { Html::text(number::NONE) } else { named }
}

fn shift(column: &ColumnSummary, at: usize) -> Html {
    let index = column.shifts.get(at).and_then(|(_, index)| number::finite(*index));
    let text = Html::text(&number::score(index));
    match index {
        Some(index) if index >= SHIFTED => element("span", &[("class", "warn")], text),
        _ => text,
    }
}
