//! Which parameters matter.

use serde_json::json;

use super::StudyView;
use crate::figure::{Figure, axis, label};
use crate::html::{Html, element};

/// Bars that hold as many parameters as can be read.
const BARS: usize = 24;

/// Shares as bars, the largest at the top.
pub(super) fn figure(study: &StudyView) -> Option<Html> {
    let some = study.importance.iter().filter(|(_, share)| *share > 0.0);
    let shares: Vec<&(String, f64)> = some.take(BARS).collect();
    if shares.is_empty() {
        return None;
    }
    let names: Vec<String> = shares.iter().rev().map(|(name, _)| label(name)).collect();
    let values: Vec<f64> = shares.iter().rev().map(|(_, share)| *share).collect();
    let trace = json!({
        "type": "bar", "orientation": "h", "x": values, "y": (0..values.len()).collect::<Vec<_>>(),
        "marker": { "color": if study.doubt.is_some() { "var(--sky)" } else { "var(--accent)" } },
        "hovertemplate": "%{x:.1%}<extra></extra>",
        "text": values.iter().map(|share| format!("{:.0} %", share * 100.0)).collect::<Vec<_>>(),
        "textposition": "outside", "cliponaxis": false,
    });
    let mut x = axis("share of importance");
    x["tickformat"] = json!(".0%");
    x["rangemode"] = json!("tozero");
    let y = json!({
        "tickvals": (0..names.len()).collect::<Vec<_>>(), "ticktext": names, "showgrid": false,
        "range": [-0.6, names.len() as f64 - 0.4],
    });
    let margin = json!({ "l": 56, "r": 48, "t": 12, "b": 44 });
    let figure = Figure {
        title: "Importance of the parameters".to_owned(),
        height: 80 + 24 * u32::try_from(shares.len()).unwrap_or(0),
        data: vec![trace],
        layout: json!({ "xaxis": x, "yaxis": y, "margin": margin }),
    };
    let caption = "How far a parameter's values among the best tenth of the trials differ from those \
                   among all (PED-ANOVA).";
    let doubt = study
        .doubt
        .as_deref()
        .map(|doubt| element("span", &[("class", "warn")], Html::text(&format!(" {doubt}"))));
    Some(figure.html(Html::text(caption).then(doubt.unwrap_or_default())))
}
