//! All parameters of each trial side by side.

use serde_json::{Value, json};

use super::StudyView;
use crate::figure::{Figure, label};
use crate::html::Html;
use crate::tuning::{Search, complete};
use crate::{Parameter, ParameterKind, Trial, number};

/// Parameters that fit side by side.
const AXES: usize = 10;

/// Options of a parameter that fit above one another.
const OPTIONS: usize = 12;

/// One line for each complete trial across the most important parameters and its score; broken where
/// a parameter is not active. The better the trial, the stronger its line.
pub(super) fn figure(study: &StudyView, search: Search<'_>) -> Option<Html> {
    let mut trials: Vec<(&Trial, f64)> = complete(search.tuning).collect();
    if trials.len() < 2 {
        return None;
    }
    let goodness = |score: f64| if search.metric.higher_is_better { score } else { -score };
    trials.sort_by(|a, b| goodness(a.1).total_cmp(&goodness(b.1)));
    let mut columns: Vec<Column> =
        axes(study).filter_map(|parameter| Column::of(parameter, &trials)).collect();
    columns.push(Column::of_scores(search, &trials)?);
    if columns.len() < 3 {
        return None;
    }
    let count = trials.len();
    let (quarter, tenth) = (count - count.div_ceil(4), count - count.div_ceil(10));
    let parts = [
        ("others", 0..quarter, json!({ "color": "var(--faint)", "width": 1 }), 0.5),
        ("best quarter", quarter..tenth, json!({ "color": "var(--sky)", "width": 1.2 }), 0.8),
        ("best tenth", tenth..count - 1, json!({ "color": "var(--accent)", "width": 1.6 }), 0.9),
        ("best", count - 1..count, json!({ "color": "var(--warn)", "width": 3 }), 1.0),
    ];
    let traces = parts.into_iter().filter(|(_, places, ..)| !places.is_empty());
    let traces = traces.map(|(name, places, line, opacity)| {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for place in places {
            for (at, column) in columns.iter().enumerate() {
                x.push(Some(at));
                y.push(column.shares[place]);
            }
            x.push(None);
            y.push(None);
        }
        json!({
            "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line,
            "opacity": opacity, "hoverinfo": "skip", "connectgaps": false, "cliponaxis": false,
        })
    });
    let figure = Figure {
        title: "All parameters side by side".to_owned(),
        height: 400,
        data: traces.collect(),
        layout: layout(&columns),
    };
    let caption = "Each line is a complete trial, from its parameters to its score, the better ones in \
                   front; it breaks where a parameter is not active.";
    Some(figure.html(Html::text(caption)))
}

/// The parameters that are shown, the most important last, next to the score.
fn axes(study: &StudyView) -> impl Iterator<Item = &Parameter> {
    let find = |name: &String| study.space.iter().find(|parameter| parameter.name == *name);
    let known: Vec<&Parameter> =
        study.importance.iter().filter_map(|(name, _)| find(name)).take(AXES).collect();
    let known =
        if known.is_empty() { study.space.iter().take(AXES).rev().collect() } else { known };
    known.into_iter().rev()
}

/// One axis: where each trial is on it, from 0 to 1, and the names along it.
struct Column {
    name: String,
    shares: Vec<Option<f64>>,
    ticks: Vec<(f64, String)>,
}

impl Column {
    fn of(parameter: &Parameter, trials: &[(&Trial, f64)]) -> Option<Self> {
        let values: Vec<Option<&Value>> =
            trials.iter().map(|(trial, _)| trial.values.get(&parameter.name)).collect();
        let name = label(&parameter.name);
        if parameter.kind == ParameterKind::Choice {
            return Some(Self::of_options(name, &values));
        }
        let numbers: Vec<Option<f64>> =
            values.iter().map(|value| number::finite((*value)?.as_f64())).collect();
        Self::of_numbers(name, &numbers, parameter.log, number::chosen)
    }

    fn of_scores(search: Search<'_>, trials: &[(&Trial, f64)]) -> Option<Self> {
        let scores: Vec<Option<f64>> = trials.iter().map(|(_, score)| Some(*score)).collect();
        let text = |score| number::score(Some(score));
        Self::of_numbers(label(&search.metric.name), &scores, false, text)
    }

    fn of_numbers(
        name: String,
        numbers: &[Option<f64>],
        log: bool,
        text: impl Fn(f64) -> String,
    ) -> Option<Self> {
        let known = || numbers.iter().flatten().copied();
        let (low, high) = (known().reduce(f64::min)?, known().reduce(f64::max)?);
        let log = log && low > 0.0;
        let on_scale = |x: f64| if log { x.ln() } else { x };
        let width = on_scale(high) - on_scale(low);
        let share = |x: f64| if width > 0.0 { (on_scale(x) - on_scale(low)) / width } else { 0.5 };
        let shares = numbers.iter().map(|number| Some(share((*number)?))).collect();
        let mut ticks = vec![(share(low), text(low)), (share(high), text(high))];
        ticks.dedup();
        Some(Self { name, shares, ticks })
    }

    fn of_options(name: String, values: &[Option<&Value>]) -> Self {
        let mut names: Vec<String> =
            values.iter().flatten().map(|value| number::value(value)).collect();
        names.sort();
        names.dedup();
        let last = names.len().saturating_sub(1).max(1) as f64;
        let share = |value: &Value| {
            let place = names.iter().position(|name| *name == number::value(value))?;
            Some(if names.len() == 1 { 0.5 } else { place as f64 / last })
        };
        let shares = values.iter().map(|value| share((*value)?)).collect();
        let stride = names.len().div_ceil(OPTIONS).max(1);
        let ticks = names.iter().enumerate().step_by(stride);
        let ticks = ticks
            .map(|(place, name)| {
                (if names.len() == 1 { 0.5 } else { place as f64 / last }, label(name))
            })
            .collect();
        Self { name, shares, ticks }
    }
}

fn layout(columns: &[Column]) -> Value {
    let lines = (0..columns.len()).map(|at| {
        json!({
            "type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "layer": "below",
            "line": { "color": "var(--muted)", "width": 1 },
        })
    });
    let names = columns.iter().enumerate().flat_map(|(at, column)| {
        column.ticks.iter().map(move |(share, text)| {
            json!({
                "x": at, "y": share, "text": text, "showarrow": false, "xanchor": "left",
                "xshift": 3, "bgcolor": "var(--surface)", "opacity": 0.9,
                "font": { "size": 10, "color": "var(--ink)" },
            })
        })
    });
    json!({
        "xaxis": {
            "tickvals": (0..columns.len()).collect::<Vec<_>>(),
            "ticktext": columns.iter().map(|column| &column.name).collect::<Vec<_>>(),
            "range": [-0.1, columns.len() as f64 - 0.4], "showgrid": false, "showline": false,
            "tickangle": "auto", "fixedrange": true,
        },
        "yaxis": { "visible": false, "range": [-0.06, 1.06], "fixedrange": true },
        "shapes": lines.collect::<Vec<_>>(), "annotations": names.collect::<Vec<_>>(),
        "showlegend": true, "hovermode": false,
    })
}
