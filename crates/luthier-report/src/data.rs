//! The rows a run learnt from, and whether more of them would help.

use serde_json::json;

use crate::figure::{Figure, axis, label};
use crate::html::{Column, Html, Table, element, folded, heading};
use crate::page::Section;
use crate::{CurvePoint, DataSummary, LearningCurve, RunReport, Severity, columns, number};

/// Parts, findings, lengths and the learning curve.
pub(crate) fn section(report: &RunReport) -> Option<Section> {
    let data = report.data.as_ref();
    let curve = report.learning_curve.as_ref();
    let pieces = [
        data.and_then(|data| parts(report, data)),
        data.and_then(lengths),
        data.and_then(numbers),
        data.and_then(columns::summaries),
        data.and_then(findings),
        curve.and_then(|curve| learning_curve(report, curve)),
    ];
    let pieces: Vec<Html> = pieces.into_iter().flatten().collect();
    let body = pieces.into_iter().collect();
    Section { id: "data", title: "Data", body }.unless_empty()
}

fn parts(report: &RunReport, data: &DataSummary) -> Option<Html> {
    if data.parts.is_empty() {
        return None;
    }
    let head = [("Part", Column::Words), ("Rows", Column::Number)];
    let labels = report.labels.iter().map(|name| (name.as_str(), Column::Number));
    let mut table = Table::new(head.into_iter().chain(labels));
    for part in &data.parts {
        let cells = [Html::isolated(&part.part), Html::text(&number::count(part.rows))];
        let total: f64 = part.classes.iter().map(|count| *count as f64).sum();
        let classes = part.classes.iter().take(report.labels.len()).map(|count| {
            let share = number::percent(*count as f64 / total);
            let share = element("span", &[("class", "interval")], Html::text(&share));
            Html::text(&number::count(*count)).then(share)
        });
        table.push("", cells.into_iter().chain(classes));
    }
    let title = if report.labels.is_empty() { "Rows" } else { "Rows per class" };
    Some(heading(title).then(table.html()))
}

/// What the labels are like, where they are numbers.
fn numbers(data: &DataSummary) -> Option<Html> {
    let widest = data.parts.iter().max_by_key(|part| part.numbers.len())?;
    if widest.numbers.is_empty() {
        return None;
    }
    let head = std::iter::once(("Part".to_owned(), Column::Words));
    let quantiles = widest.numbers.iter().map(|label| match label.quantile {
        0.0 => "smallest".to_owned(),
        0.5 => "median".to_owned(),
        1.0 => "largest".to_owned(),
        quantile => format!("{} %", number::value(&json!(quantile * 100.0))),
    });
    let mut table = Table::new(head.chain(quantiles.map(|name| (name, Column::Number))));
    for part in &data.parts {
        let cells = widest.numbers.iter().map(|wanted| {
            let found = part.numbers.iter().find(|label| label.quantile == wanted.quantile);
            let value = number::finite(found.and_then(|label| label.value));
            Html::text(&value.map_or_else(|| number::NONE.to_owned(), number::chosen))
        });
        table.push("", std::iter::once(Html::isolated(&part.part)).chain(cells));
    }
    Some(heading("Labels, by quantile").then(table.html()))
}

fn lengths(data: &DataSummary) -> Option<Html> {
    let widest = data.parts.iter().max_by_key(|part| part.lengths.len())?;
    if widest.lengths.is_empty() {
        return None;
    }
    let head = std::iter::once(("Part".to_owned(), Column::Words));
    let quantiles = widest.lengths.iter().map(|length| match length.quantile {
        0.0 => "shortest".to_owned(),
        0.5 => "median".to_owned(),
        1.0 => "longest".to_owned(),
        quantile => format!("{} %", number::value(&json!(quantile * 100.0))),
    });
    let mut table = Table::new(head.chain(quantiles.map(|name| (name, Column::Number))));
    for part in &data.parts {
        let cells = widest.lengths.iter().map(|wanted| {
            let found = part.lengths.iter().find(|length| length.quantile == wanted.quantile);
            let text = found.map(|length| number::count(length.characters));
            Html::text(text.as_deref().unwrap_or(number::NONE))
        });
        table.push("", std::iter::once(Html::isolated(&part.part)).chain(cells));
    }
    Some(heading("Length of the texts in characters, by quantile").then(table.html()))
}

fn findings(data: &DataSummary) -> Option<Html> {
    if data.findings.is_empty() {
        return None;
    }
    let lines = data.findings.iter().map(|finding| {
        let (class, name) = match finding.severity {
            Severity::Note => ("badge", "note"),
            Severity::Warning => ("badge warn", "warning"),
        };
        let badge = element("span", &[("class", class)], Html::raw(name));
        let text = element("span", &[], Html::clipped(&finding.message));
        element("li", &[], badge.then(text))
    });
    let list = element("ul", &[("class", "verdicts")], lines.collect());
    Some(heading("Findings").then(list))
}

fn learning_curve(report: &RunReport, curve: &LearningCurve) -> Option<Html> {
    let points: Vec<&CurvePoint> =
        curve.points.iter().filter(|point| number::finite(point.score).is_some()).collect();
    if points.is_empty() {
        return None;
    }
    let rows = |point: &&CurvePoint| point.rows;
    let reach = |end: fn(&CurvePoint) -> Option<f64>| {
        let reach = |point: &&CurvePoint| Some((end(point)? - point.score?).abs());
        points.iter().map(|point| number::finite(reach(point))).collect::<Vec<_>>()
    };
    let trace = json!({
        "type": "scatter", "mode": "lines+markers",
        "x": points.iter().map(rows).collect::<Vec<_>>(),
        "y": points.iter().map(|point| point.score).collect::<Vec<_>>(),
        "error_y": {
            "type": "data", "symmetric": false, "width": 4, "thickness": 1.2,
            "color": "var(--muted)",
            "array": reach(|point| point.high), "arrayminus": reach(|point| point.low),
        },
        "line": { "color": "var(--accent)", "width": 2 }, "marker": { "size": 7 },
        "hovertemplate": "%{x:,} rows: %{y:.4f}<extra></extra>",
    });
    // Such curves are sampled by doubling, which a logarithmic axis spaces evenly.
    let mut x = axis("training rows");
    x["type"] = json!("log");
    x["tickvals"] = json!(points.iter().map(rows).collect::<Vec<_>>());
    x["ticktext"] = json!(points.iter().map(|point| number::count(point.rows)).collect::<Vec<_>>());
    let figure = Figure {
        title: "Learning curve".to_owned(),
        height: 300,
        data: if points.len() > 1 { vec![trace] } else { Vec::new() },
        layout: json!({ "xaxis": x, "yaxis": axis(&label(&report.metric.name)) }),
    };
    let caption = Html::clipped(&curve.sentence);
    let table = curve_table(&points);
    Some(heading("Learning curve").then(if figure.data.is_empty() {
        element("p", &[], caption).then(table)
    } else {
        figure.html(caption).then(folded("As a table", table))
    }))
}

fn curve_table(points: &[&CurvePoint]) -> Html {
    let columns =
        [("Rows", Column::Number), ("Score", Column::Number), ("95 % interval", Column::Number)];
    let mut table = Table::new(columns);
    for point in points {
        let interval = number::interval(point.low, point.high);
        let row = [
            number::count(point.rows),
            number::score(point.score),
            interval.unwrap_or_else(|| number::NONE.to_owned()),
        ];
        table.push("", row.iter().map(|cell| Html::text(cell)));
    }
    table.html()
}
