//! Objectives against each other.

use serde_json::{Map, Value, json};

use crate::figure::{Figure, axis, label};
use crate::html::{Html, element};
use crate::{Objective, number};

/// Trials between several objectives.
pub(crate) struct Tradeoff<'a> {
    pub(crate) objectives: Vec<&'a Objective>,
    /// Complete trials.
    pub(crate) points: Vec<Point<'a>>,
    /// Numbers of those to which nothing is better in one objective and as good in all.
    pub(crate) front: &'a [u64],
}

/// A trial with a score for each objective.
pub(crate) struct Point<'a> {
    pub(crate) number: u64,
    pub(crate) scores: Vec<Option<f64>>,
    pub(crate) values: &'a Map<String, Value>,
}

/// A plot for each pair of the first three objectives; `None` for a search with one.
pub(crate) fn figures(tradeoff: &Tradeoff<'_>) -> Option<Html> {
    let count = tradeoff.objectives.len().min(3);
    let pairs = (0..count).flat_map(|x| (x + 1..count).map(move |y| (x, y)));
    let figures: Vec<Html> = pairs.filter_map(|pair| figure(tradeoff, pair)).collect();
    match figures.len() {
        0 => None,
        1 => Some(figures.into_iter().collect()),
        _ => Some(element("div", &[("class", "pair")], figures.into_iter().collect())),
    }
}

fn figure(tradeoff: &Tradeoff<'_>, (x, y): (usize, usize)) -> Option<Html> {
    let known =
        tradeoff.points.iter().filter(|point| [x, y].iter().all(|at| score(point, *at).is_some()));
    let on_front = |point: &&Point<'_>| tradeoff.front.contains(&point.number);
    let (front, others): (Vec<_>, Vec<_>) = known.partition(on_front);
    if front.is_empty() {
        return None;
    }
    let dots = |name: &str, points: &[&Point<'_>], marker: Value| {
        let scores = |at: usize| points.iter().map(|point| score(point, at)).collect::<Vec<_>>();
        json!({
            "type": "scatter", "mode": "markers", "name": name, "x": scores(x), "y": scores(y),
            "marker": marker, "cliponaxis": false,
            "hovertext": points.iter().map(|point| hover(tradeoff, point)).collect::<Vec<_>>(),
            "hovertemplate": "%{hovertext}<extra></extra>",
        })
    };
    let faint = json!({ "color": "var(--muted)", "size": 6, "symbol": "circle-open" });
    let strong = json!({ "color": "var(--accent)", "size": 9 });
    let [x_axis, y_axis] = [x, y].map(|at| {
        let objective = tradeoff.objectives[at];
        let goal = if objective.higher_is_better { "higher" } else { "lower" };
        axis(&format!("{} ({goal} is better)", label(&objective.name)))
    });
    let figure = Figure {
        title: format!("{} against {}", tradeoff.objectives[y].name, tradeoff.objectives[x].name),
        height: 380,
        data: vec![dots("dominated", &others, faint), dots("front", &front, strong)],
        layout: json!({ "xaxis": x_axis, "yaxis": y_axis, "showlegend": true }),
    };
    let caption = "Complete trials; to those on the front nothing is better in one objective and as good in all.";
    Some(figure.html(Html::text(caption)))
}

fn score(point: &Point<'_>, objective: usize) -> Option<f64> {
    number::finite(point.scores.get(objective).copied().flatten())
}

fn hover(tradeoff: &Tradeoff<'_>, point: &Point<'_>) -> String {
    let scores = tradeoff.objectives.iter().zip(&point.scores).map(|(objective, score)| {
        format!("<br>{}: {}", label(&objective.name), number::score(*score))
    });
    let values = point.values.iter().take(12);
    let values =
        values.map(|(name, v)| format!("<br>{} = {}", label(name), label(&number::value(v))));
    std::iter::once(format!("trial {}", point.number)).chain(scores).chain(values).collect()
}
