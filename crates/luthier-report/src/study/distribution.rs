//! How many trials are how good.

use serde_json::json;

use crate::figure::{Figure, axis, label};
use crate::html::Html;
use crate::tuning::{Search, complete};

/// The share of the complete trials that are no better than a score.
pub(super) fn figure(search: Search<'_>) -> Option<Html> {
    let Search { metric, tuning, .. } = search;
    let mut scores: Vec<f64> = complete(tuning).map(|(_, score)| score).collect();
    if scores.len() < 2 {
        return None;
    }
    // From the worst to the best.
    scores.sort_by(f64::total_cmp);
    if !metric.higher_is_better {
        scores.reverse();
    }
    let count = scores.len() as f64;
    let shares: Vec<f64> = (1..=scores.len()).map(|place| place as f64 / count).collect();
    let trace = json!({
        "type": "scatter", "mode": "lines", "x": scores, "y": shares,
        "line": { "color": "var(--accent)", "width": 2, "shape": "hv" },
        "hovertemplate": "%{y:.0%} are no better than %{x:.4g}<extra></extra>",
    });
    let mut x = axis(&label(&metric.name));
    if !metric.higher_is_better {
        x["autorange"] = json!("reversed");
    }
    let mut y = axis("share of trials");
    y["range"] = json!([0, 1.02]);
    y["tickformat"] = json!(".0%");
    let figure = Figure {
        title: "Distribution of the scores".to_owned(),
        height: 300,
        data: vec![trace],
        layout: json!({ "xaxis": x, "yaxis": y }),
    };
    let caption =
        "Share of the complete trials that are no better than a score; better is to the right.";
    Some(figure.html(Html::text(caption)))
}
