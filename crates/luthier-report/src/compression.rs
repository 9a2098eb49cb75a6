//! The search for a smaller model: what was measured, and size against score.

use serde_json::json;

use crate::figure::{Figure, axis, label, level};
use crate::headline::badge;
use crate::html::{Column, Html, Table, element, paragraph};
use crate::page::Section;
use crate::{Candidate, Compression, RunReport, number};

/// The candidates as a table and as a plot.
pub(crate) fn section(report: &RunReport) -> Option<Section> {
    let compression =
        report.compression.as_ref().filter(|compression| !compression.candidates.is_empty())?;
    let rule = match number::finite(compression.max_drop) {
        Some(drop) => paragraph(&format!(
            "A candidate may replace the uncompressed model when its validation score is lower by \
             at most {}: the one-sided 95 % lower bound of the difference must stay above that.",
            number::chosen(drop)
        )),
        None => Html::default(),
    };
    let plot = figure(report, compression).unwrap_or_default();
    let body = rule.then(table(compression)).then(plot);
    Some(Section { id: "compression", title: "Compression", body })
}

fn table(compression: &Compression) -> Html {
    let mut table = Table::new([
        ("Candidate", Column::Words),
        ("Size", Column::Number),
        ("p50", Column::Number),
        ("p99", Column::Number),
        ("Score", Column::Number),
        ("Difference", Column::Number),
        ("Lower bound", Column::Number),
        ("No worse than allowed", Column::Words),
    ]);
    for candidate in &compression.candidates {
        let name = Html::clipped(&candidate.name);
        let chosen = element("span", &[("class", "badge good")], Html::raw("chosen"));
        let chosen = element("div", &[], chosen);
        let name = if candidate.chosen { name.then(chosen) } else { name };
        let cells = [
            number::bytes(candidate.size_bytes),
            number::milliseconds(candidate.p50_ms),
            number::milliseconds(candidate.p99_ms),
            number::score(candidate.score),
            number::difference(candidate.difference),
            number::difference(candidate.lower_bound),
        ];
        let verdict = candidate.verdict.map_or_else(|| Html::text(number::NONE), badge);
        let cells = cells.iter().map(|cell| Html::text(cell));
        let row = std::iter::once(name).chain(cells).chain(std::iter::once(verdict));
        table.push(if candidate.chosen { "chosen" } else { "" }, row);
    }
    table.html()
}

fn figure(report: &RunReport, compression: &Compression) -> Option<Html> {
    let measured = compression.candidates.iter().filter(|c| number::finite(c.score).is_some());
    let measured: Vec<&Candidate> = measured.collect();
    if measured.len() < 2 {
        return None;
    }
    let megabytes = |candidate: &Candidate| candidate.size_bytes as f64 / 1e6;
    let pick = |chosen: &'static str, other: &'static str| {
        measured.iter().map(|c| if c.chosen { chosen } else { other }).collect::<Vec<_>>()
    };
    let trace = json!({
        "type": "scatter", "mode": "markers+text", "cliponaxis": false,
        "x": measured.iter().map(|c| megabytes(c)).collect::<Vec<_>>(),
        "y": measured.iter().map(|c| c.score).collect::<Vec<_>>(),
        "text": measured.iter().map(|c| label(&c.name)).collect::<Vec<_>>(),
        "textposition": name_positions(&measured), "textfont": { "size": 11 },
        "marker": {
            "size": 11, "color": pick("var(--good)", "var(--accent)"),
            "symbol": pick("star", "circle"),
        },
        "hovertext": measured.iter().map(|c| hover(c)).collect::<Vec<_>>(),
        "hovertemplate": "%{hovertext}<extra></extra>",
    });
    let mut layout =
        json!({ "xaxis": axis("size in MB"), "yaxis": axis(&label(&report.metric.name)) });
    if let Some(lowest) = lowest_allowed(report, compression) {
        level(&mut layout, lowest, &["largest", "drop"]);
    }
    let figure =
        Figure { title: "Size against score".to_owned(), height: 340, data: vec![trace], layout };
    let caption = "Validation score against size on disk; the star is the finished model.";
    Some(figure.html(Html::text(caption)))
}

/// Names stand above their points, except below those that have a higher neighbour close by, whose
/// name they would run into.
fn name_positions(measured: &[&Candidate]) -> Vec<&'static str> {
    let sizes = || measured.iter().map(|candidate| candidate.size_bytes);
    let reach = sizes().max().unwrap_or(0).abs_diff(sizes().min().unwrap_or(0)) / 5;
    let position = |candidate: &&Candidate| {
        let below = measured.iter().any(|other| {
            other.score > candidate.score && other.size_bytes.abs_diff(candidate.size_bytes) < reach
        });
        if below { "bottom center" } else { "top center" }
    };
    measured.iter().map(position).collect()
}

/// The score of the uncompressed model less the drop that is allowed.
fn lowest_allowed(report: &RunReport, compression: &Compression) -> Option<f64> {
    let whole = compression.candidates.iter().find(|candidate| candidate.verdict.is_none())?;
    let drop = number::finite(compression.max_drop)?;
    let score = number::finite(whole.score)?;
    Some(if report.metric.higher_is_better { score - drop } else { score + drop })
}

fn hover(candidate: &Candidate) -> String {
    format!(
        "{}<br>{}, p50 {}<br>score {} ({})",
        label(&candidate.name),
        number::bytes(candidate.size_bytes),
        number::milliseconds(candidate.p50_ms),
        number::score(candidate.score),
        number::difference(candidate.difference),
    )
}
