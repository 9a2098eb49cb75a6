//! Scores, the confusion matrix and the reliability of the probabilities.

use serde_json::{Value, json};

use crate::figure::{Figure, axis, category_axis, label};
use crate::html::{Column, Html, Table, element, folded, heading};
use crate::input::Judge;
use crate::page::Section;
use crate::{Estimate, Evaluation, ReliabilityBin, RunReport, number};

/// Classes up to which the cells of the confusion matrix carry their numbers.
const NUMBERED_CLASSES: usize = 12;

/// Metrics on both splits and scores per class.
pub(crate) fn section(report: &RunReport) -> Option<Section> {
    let evaluation = report.evaluation.as_ref()?;
    let tables = [metrics(report, evaluation), classes(report, evaluation)];
    let tables: Vec<Html> = tables.into_iter().flatten().collect();
    let body = side_by_side(tables)?.then(threshold(report, evaluation));
    let title = match report.judge() {
        Judge::Test => "Test scores",
        Judge::Validation => "Validation scores",
    };
    Some(Section { id: "scores", title, body })
}

/// The confusion matrix beside the reliability diagram.
pub(crate) fn errors(report: &RunReport) -> Option<Section> {
    let evaluation = report.evaluation.as_ref()?;
    let plots = [confusion(report, evaluation), reliability(report, evaluation)];
    let body = side_by_side(plots.into_iter().flatten().collect())?;
    Some(Section { id: "errors", title: "Confusion and reliability", body })
}

fn side_by_side(pieces: Vec<Html>) -> Option<Html> {
    if pieces.is_empty() {
        return None;
    }
    let columns = pieces.into_iter().map(|piece| element("div", &[], piece));
    Some(element("div", &[("class", "pair")], columns.collect()))
}

fn metrics(report: &RunReport, evaluation: &Evaluation) -> Option<Html> {
    if evaluation.metrics.is_empty() {
        return None;
    }
    let columns =
        [("Metric", Column::Words), ("Validation", Column::Number), ("Test", Column::Number)];
    let splits = if report.judge() == Judge::Test { 2 } else { 1 };
    let mut table = Table::new(columns.into_iter().take(1 + splits));
    for metric in &evaluation.metrics {
        let direction =
            if metric.higher_is_better { "higher is better" } else { "lower is better" };
        let arrow = if metric.higher_is_better { " ↑" } else { " ↓" };
        let arrow = element("span", &[("class", "muted"), ("title", direction)], Html::text(arrow));
        let name = Html::isolated(&metric.name).then(arrow);
        let class = if metric.name == report.metric.name { "chosen" } else { "" };
        let estimates = [metric.valid, metric.test].into_iter().take(splits).map(estimate);
        table.push(class, [name].into_iter().chain(estimates));
    }
    let note = "With 95 % intervals. ↑ higher is better, ↓ lower is better; the marked metric was \
                optimised, on the validation split.";
    let note = element("p", &[("class", "note")], Html::text(note));
    Some(heading("Metrics").then(table.html()).then(note))
}

pub(crate) fn estimate(estimate: Option<Estimate>) -> Html {
    let Some(estimate) = estimate else {
        return Html::text(number::NONE);
    };
    let value = Html::text(&number::score(estimate.value));
    match number::interval(estimate.low, estimate.high) {
        Some(interval) => {
            value.then(element("span", &[("class", "interval")], Html::text(&interval)))
        }
        None => value,
    }
}

fn classes(report: &RunReport, evaluation: &Evaluation) -> Option<Html> {
    if evaluation.classes.is_empty() {
        return None;
    }
    let mut table = Table::new([
        ("Class", Column::Words),
        ("Rows", Column::Number),
        ("Precision", Column::Number),
        ("Recall", Column::Number),
        ("f1", Column::Number),
    ]);
    for class in &evaluation.classes {
        let scores = [class.precision, class.recall, class.f1];
        let scores = scores.map(|score| Html::text(&number::score(score)));
        let row = [Html::clipped(&class.label), Html::text(&number::count(class.support))];
        table.push("", row.into_iter().chain(scores));
    }
    let title = match report.judge() {
        Judge::Test => "Per class, on test",
        Judge::Validation => "Per class, on validation",
    };
    Some(heading(title).then(table.html()))
}

fn threshold(report: &RunReport, evaluation: &Evaluation) -> Html {
    let Some(threshold) = number::finite(evaluation.threshold) else {
        return Html::default();
    };
    let text = Html::text("A row is labelled ");
    let text = match &report.positive {
        Some(positive) => text.then(Html::isolated(positive)),
        None => text.then(Html::text("positive")),
    };
    let rest = format!(" from a probability of {} up.", number::chosen(threshold));
    element("p", &[], text.then(Html::text(&rest)))
}

fn confusion(report: &RunReport, evaluation: &Evaluation) -> Option<Html> {
    let counts = &evaluation.confusion;
    if counts.iter().flatten().all(|count| *count == 0) {
        return None;
    }
    let figure = confusion_figure(report, counts);
    let caption = "Rows of the matrix are true classes, columns are predictions. Cells hold the \
                   number of rows; the colour is their share of the true class.";
    let table = folded("As a table", confusion_table(report, counts));
    Some(heading("Confusion matrix").then(figure.html(Html::text(caption))).then(table))
}

fn confusion_figure(report: &RunReport, counts: &[Vec<u64>]) -> Figure {
    let width = counts.iter().map(Vec::len).max().unwrap_or(0);
    let names: Vec<String> = (0..width.max(counts.len())).map(|i| class_name(report, i)).collect();
    let mut shares = Vec::new();
    let mut hover = Vec::new();
    for (truth, row) in counts.iter().enumerate() {
        let total: f64 = row.iter().map(|count| *count as f64).sum();
        let share = |count: u64| if total > 0.0 { count as f64 / total } else { 0.0 };
        shares.push(row.iter().map(|count| share(*count)).collect::<Vec<_>>());
        let cell = |(predicted, count): (usize, &u64)| {
            let (truth, predicted) = (label(&names[truth]), label(&names[predicted]));
            let (count, share) = (number::count(*count), number::percent(share(*count)));
            format!("truth {truth}<br>predicted {predicted}<br>{count} rows, {share} of the truth")
        };
        hover.push(row.iter().enumerate().map(cell).collect::<Vec<_>>());
    }
    let mut trace = json!({
        "type": "heatmap", "z": shares, "zmin": 0, "zmax": 1, "showscale": false,
        "xgap": 2, "ygap": 2, "hovertext": hover, "hovertemplate": "%{hovertext}<extra></extra>",
        "colorscale": [[0, "var(--heat-low)"], [1, "var(--heat-high)"]],
    });
    if counts.len() <= NUMBERED_CLASSES {
        let cell = |(count, share): (&u64, &f64)| match counts.len() {
            ..=4 => format!("{}<br>{}", number::count(*count), number::percent(*share)),
            _ => number::count(*count),
        };
        let row =
            |(row, shares): (&Vec<u64>, &Vec<f64>)| row.iter().zip(shares).map(cell).collect();
        trace["text"] = json!(counts.iter().zip(&shares).map(row).collect::<Vec<Vec<String>>>());
        trace["texttemplate"] = json!("%{text}");
        trace["textfont"] = json!({ "size": 13 });
    }
    let mut x = category_axis(names.iter().take(width).map(String::as_str));
    x["title"] = json!({ "text": "predicted" });
    let mut y = category_axis(names.iter().take(counts.len()).map(String::as_str));
    y["title"] = json!({ "text": "truth" });
    y["range"] = json!([counts.len() as f64 - 0.5, -0.5]);
    Figure {
        title: "Confusion matrix".to_owned(),
        height: 208 + 22 * counts.len().clamp(6, 45) as u32,
        data: vec![trace],
        layout: json!({ "xaxis": x, "yaxis": y }),
    }
}

fn confusion_table(report: &RunReport, counts: &[Vec<u64>]) -> Html {
    let width = counts.iter().map(Vec::len).max().unwrap_or(0);
    let predicted = (0..width).map(|index| (class_name(report, index), Column::Number));
    let head = std::iter::once(("truth \\ predicted".to_owned(), Column::Words)).chain(predicted);
    let mut table = Table::new(head);
    for (truth, row) in counts.iter().enumerate() {
        let cells = row.iter().map(|count| Html::text(&number::count(*count)));
        let name = Html::clipped(&class_name(report, truth));
        table.push("", std::iter::once(name).chain(cells));
    }
    table.html()
}

/// The name of class `index`, or its number where the report names too few.
fn class_name(report: &RunReport, index: usize) -> String {
    report.labels.get(index).cloned().unwrap_or_else(|| index.to_string())
}

fn reliability(report: &RunReport, evaluation: &Evaluation) -> Option<Html> {
    let bins: Vec<_> = evaluation.reliability.iter().filter(|bin| bin.count > 0).collect();
    if bins.iter().all(|bin| point(bin).is_none()) {
        return None;
    }
    let what = match &report.positive {
        Some(positive) => Html::text("probability of ").then(Html::isolated(positive)),
        None => Html::text("probability of the predicted class"),
    };
    let judge = match report.judge() {
        Judge::Test => "On test: predicted ",
        Judge::Validation => "On validation: predicted ",
    };
    let caption = Html::text(judge)
        .then(what)
        .then(Html::text(
            " against how often it came true. On the dashed line the model means what ",
        ))
        .then(Html::text(
            "it says; above it, it is too cautious. Bars count the rows of each bin.",
        ));
    let table = folded("As a table", reliability_table(&bins));
    Some(heading("Reliability").then(reliability_figure(&bins).html(caption)).then(table))
}

/// Where a bin stands in the diagram.
fn point(bin: &ReliabilityBin) -> Option<(f64, f64)> {
    Some((number::finite(bin.confidence)?, number::finite(bin.accuracy)?))
}

fn reliability_figure(bins: &[&ReliabilityBin]) -> Figure {
    let (confidence, accuracy): (Vec<f64>, Vec<f64>) =
        bins.iter().filter_map(|bin| point(bin)).unzip();
    let middles: Vec<f64> = bins.iter().map(|bin| (bin.lower + bin.upper) / 2.0).collect();
    let widths: Vec<f64> = bins.iter().map(|bin| (bin.upper - bin.lower) * 0.9).collect();
    let counts: Vec<u64> = bins.iter().map(|bin| bin.count).collect();
    let data: Vec<Value> = vec![
        json!({
            "type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip",
            "line": { "color": "var(--muted)", "width": 1, "dash": "dash" },
        }),
        json!({
            "type": "scatter", "mode": "lines+markers", "x": confidence, "y": accuracy,
            "line": { "color": "var(--accent)", "width": 2 }, "marker": { "size": 7 },
            "hovertemplate": "predicted %{x:.3f}<br>came true %{y:.3f}<extra></extra>",
        }),
        json!({
            "type": "bar", "x": middles, "y": counts, "width": widths, "yaxis": "y2",
            "marker": { "color": "var(--sky)" },
            "hovertemplate": "around %{x:.2f}: %{y} rows<extra></extra>",
        }),
    ];
    let mut x = axis("predicted probability");
    x["range"] = json!([-0.02, 1.02]);
    x["anchor"] = json!("y2");
    let mut y = axis("came true");
    y["domain"] = json!([0.3, 1]);
    y["range"] = json!([-0.02, 1.02]);
    let mut rows = axis("rows");
    rows["domain"] = json!([0, 0.22]);
    rows["nticks"] = json!(3);
    Figure {
        title: "Reliability diagram".to_owned(),
        height: 340,
        data,
        layout: json!({ "showlegend": false, "xaxis": x, "yaxis": y, "yaxis2": rows }),
    }
}

fn reliability_table(bins: &[&ReliabilityBin]) -> Html {
    let mut table = Table::new([
        ("Bin", Column::Words),
        ("Rows", Column::Number),
        ("Predicted", Column::Number),
        ("Came true", Column::Number),
    ]);
    for bin in bins {
        let bounds = number::interval(Some(bin.lower), Some(bin.upper));
        let cells = [
            bounds.unwrap_or_else(|| number::NONE.to_owned()),
            number::count(bin.count),
            number::score(bin.confidence),
            number::score(bin.accuracy),
        ];
        table.push("", cells.iter().map(|cell| Html::text(cell)));
    }
    table.html()
}
