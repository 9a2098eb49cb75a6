//! Predicted numbers beside the true ones.

use serde_json::json;

use crate::figure::{Figure, axis};
use crate::html::{Column, Html, Table, element, folded, heading};
use crate::input::Judge;
use crate::page::Section;
use crate::{NumberFit, RunReport, number};

/// Predicted against true numbers, and the residuals.
pub(crate) fn section(report: &RunReport) -> Option<Section> {
    let fit = report.evaluation.as_ref()?.numbers.as_ref()?;
    let rows = match report.judge() {
        Judge::Test => "test rows",
        Judge::Validation => "validation rows",
    };
    let pieces = [predicted(fit, rows), residuals(fit, rows)];
    let columns = pieces.into_iter().flatten().map(|piece| element("div", &[], piece));
    let columns: Html = columns.collect();
    let body = match columns.as_str().is_empty() {
        true => columns,
        false => element("div", &[("class", "pair")], columns),
    };
    Section { id: "residuals", title: "Predictions and residuals", body }.unless_empty()
}

fn predicted(fit: &NumberFit, rows: &str) -> Option<Html> {
    let point = |(predicted, truth): &(Option<f64>, Option<f64>)| {
        Some((number::finite(*predicted)?, number::finite(*truth)?))
    };
    let points: Vec<(f64, f64)> = fit.points.iter().filter_map(point).collect();
    let all = || points.iter().flat_map(|(predicted, truth)| [*predicted, *truth]);
    let ends = [all().reduce(f64::min)?, all().reduce(f64::max)?];
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let figure = Figure {
        title: "True against predicted numbers".to_owned(),
        height: 340,
        data: vec![
            json!({
                "type": "scatter", "mode": "lines", "x": ends, "y": ends, "hoverinfo": "skip",
                "line": { "color": "var(--muted)", "width": 1, "dash": "dash" },
            }),
            json!({
                "type": "scatter", "mode": "markers", "x": x, "y": y,
                "marker": { "color": "var(--accent)", "size": 5, "opacity": 0.5 },
                "hovertemplate": "predicted %{x:.6~g}<br>true %{y:.6~g}<extra></extra>",
            }),
        ],
        layout: json!({ "showlegend": false, "xaxis": axis("predicted"), "yaxis": axis("true") }),
    };
    let caption = format!(
        "{} {rows}, spread evenly. On the dashed line the prediction is the truth.",
        number::count(points.len() as u64)
    );
    Some(heading("True against predicted").then(figure.html(Html::text(&caption))))
}

fn residuals(fit: &NumberFit, rows: &str) -> Option<Html> {
    let bins = &fit.residuals;
    if bins.iter().all(|bin| bin.count == 0) {
        return None;
    }
    let middles: Vec<f64> = bins.iter().map(|bin| (bin.lower + bin.upper) / 2.0).collect();
    let widths: Vec<f64> = bins.iter().map(|bin| bin.upper - bin.lower).collect();
    let counts: Vec<u64> = bins.iter().map(|bin| bin.count).collect();
    let bounds = |bin: &crate::ResidualBin| {
        number::interval(Some(bin.lower), Some(bin.upper))
            .unwrap_or_else(|| number::NONE.to_owned())
    };
    let mut bars = json!({
        "type": "bar", "x": middles, "y": counts, "hovertext": bins.iter().map(bounds).collect::<Vec<_>>(),
        "marker": { "color": "var(--sky)", "line": { "color": "var(--surface)", "width": 1 } },
        "hovertemplate": "%{hovertext}: %{y} rows<extra></extra>",
    });
    if widths.iter().all(|width| *width > 0.0) {
        bars["width"] = json!(widths);
    }
    let figure = Figure {
        title: "Residuals".to_owned(),
        height: 340,
        data: vec![bars],
        layout: json!({
            "showlegend": false, "bargap": 0,
            "xaxis": axis("true − predicted"), "yaxis": axis("rows"),
        }),
    };
    let caption = format!(
        "The {rows} by residual. Right of 0 the prediction is too low. The bars at the ends also have \
         what is beyond."
    );
    let mut table = Table::new([("Residual", Column::Words), ("Rows", Column::Number)]);
    for bin in bins {
        let cells = [bounds(bin), number::count(bin.count)];
        table.push("", cells.iter().map(|cell| Html::text(cell)));
    }
    let table = folded("As a table", table.html());
    Some(heading("Residuals").then(figure.html(Html::text(&caption))).then(table))
}
