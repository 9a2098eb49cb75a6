//! Scores over two parameters.

use serde_json::{Value, json};

use super::StudyView;
use crate::figure::{Figure, axis, label};
use crate::html::Html;
use crate::tuning::{Search, complete, hover, options, quantities};
use crate::{Parameter, ParameterKind, Trial, number};

/// Cells along each side of the surface.
const SIDE: usize = 48;

/// The trials at their values of two parameters. Below them, where both are numbers, is the mean
/// score of the trials around each place.
pub(super) fn figure(study: &StudyView, search: Search<'_>) -> Option<Html> {
    let (first, second) = study.contour.as_ref()?;
    let find = |name: &String| study.space.iter().find(|parameter| parameter.name == *name);
    let (first, second) = (find(first)?, find(second)?);
    let trials: Vec<(&Trial, f64)> = complete(search.tuning)
        .filter(|(trial, _)| {
            [first, second].iter().all(|parameter| trial.values.contains_key(&parameter.name))
        })
        .collect();
    let (x, y) = (Line::new(first, &trials), Line::new(second, &trials));
    if trials.len() < 3 || !x.is_wide() || !y.is_wide() {
        return None;
    }
    let mut data = Vec::new();
    if first.kind != ParameterKind::Choice && second.kind != ParameterKind::Choice {
        data.push(surface(&x, &y, &trials, search));
    }
    data.push(dots(&x, &y, &trials, search));
    let [x_axis, y_axis] = [(x, first), (y, second)].map(|(line, parameter)| {
        let mut axis_of = line.axis;
        axis_of["title"] = axis(&label(&parameter.name))["title"].clone();
        axis_of
    });
    let figure = Figure {
        title: format!("{} and {}", first.name, second.name),
        height: 420,
        data,
        layout: json!({ "xaxis": x_axis, "yaxis": y_axis }),
    };
    let caption = format!(
        "{} at the values of two parameters; between the trials it is the mean of those around, and \
         left out where there are none.",
        search.score
    );
    Some(figure.html(Html::text(&caption)))
}

/// Where the trials are along one parameter.
struct Line {
    places: Vec<Option<f64>>,
    axis: Value,
    low: f64,
    high: f64,
    log: bool,
}

impl Line {
    fn new(parameter: &Parameter, trials: &[(&Trial, f64)]) -> Self {
        let triples: Vec<(&Trial, &Value, f64)> = trials
            .iter()
            .filter_map(|(trial, score)| Some((*trial, trial.values.get(&parameter.name)?, *score)))
            .collect();
        let (places, axis) = match parameter.kind {
            ParameterKind::Choice => options(&triples),
            _ => quantities(parameter, &triples),
        };
        let known = || places.iter().flatten().copied();
        let (low, high) =
            (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
        Self { axis, low, high, log: parameter.log && low > 0.0, places }
    }

    fn is_wide(&self) -> bool {
        self.low < self.high && (self.high - self.low).is_finite()
    }

    /// How far a place is along the line, from 0 to 1.
    fn share(&self, place: f64) -> f64 {
        match self.log {
            true => (place / self.low).ln() / (self.high / self.low).ln(),
            false => (place - self.low) / (self.high - self.low),
        }
    }

    /// The inverse of [`Line::share`].
    fn at(&self, share: f64) -> f64 {
        match self.log {
            true => self.low * (self.high / self.low).powf(share),
            false => self.low + share * (self.high - self.low),
        }
    }
}

/// The scale of scores, light for bad ones and dark for good ones, or the other way round in the dark.
fn colours(trials: &[(&Trial, f64)], search: Search<'_>) -> (f64, f64, Value) {
    let scores = || trials.iter().map(|(_, score)| *score);
    let ends = ["var(--ramp-low)", "var(--ramp-high)"];
    let [low, high] = if search.metric.higher_is_better { ends } else { [ends[1], ends[0]] };
    // A few hopeless trials would leave one colour to all others.
    let mut sorted: Vec<f64> = scores().collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[(share * (sorted.len() - 1) as f64).round() as usize];
    let (least, most) = match search.metric.higher_is_better {
        true => (at(0.1), at(1.0)),
        false => (at(0.0), at(0.9)),
    };
    (least, most, json!([[0, low], [1, high]]))
}

fn surface(x: &Line, y: &Line, trials: &[(&Trial, f64)], search: Search<'_>) -> Value {
    let points: Vec<(f64, f64, f64)> = x
        .places
        .iter()
        .zip(&y.places)
        .zip(trials)
        .filter_map(|((a, b), (_, score))| Some((x.share((*a)?), y.share((*b)?), *score)))
        .collect();
    // Wide where trials are few.
    let width = (0.5 * (points.len() as f64).powf(-1.0 / 3.0)).clamp(0.04, 0.2);
    let share = |cell: usize| cell as f64 / (SIDE - 1) as f64;
    let mean = |u: f64, v: f64| {
        let (mut weights, mut sum) = (0.0, 0.0);
        for (a, b, score) in &points {
            let weight = (-((a - u).powi(2) + (b - v).powi(2)) / (2.0 * width * width)).exp();
            weights += weight;
            sum += weight * score;
        }
        // About what a single trial weighs two widths away.
        (weights > 0.1).then(|| sum / weights)
    };
    let rows = (0..SIDE).map(|row| (0..SIDE).map(|cell| mean(share(cell), share(row))).collect());
    let rows: Vec<Vec<Option<f64>>> = rows.collect();
    let (low, high, colours) = colours(trials, search);
    json!({
        "type": "contour", "z": rows, "zmin": low, "zmax": high, "colorscale": colours,
        "x": (0..SIDE).map(|cell| x.at(share(cell))).collect::<Vec<_>>(),
        "y": (0..SIDE).map(|cell| y.at(share(cell))).collect::<Vec<_>>(),
        "contours": { "coloring": "heatmap", "showlines": true },
        "line": { "width": 0.5, "color": "var(--ramp-edge)" },
        "hoverinfo": "skip", "connectgaps": false,
        "colorbar": { "thickness": 12, "outlinewidth": 0 },
    })
}

fn dots(x: &Line, y: &Line, trials: &[(&Trial, f64)], search: Search<'_>) -> Value {
    let (low, high, colours) = colours(trials, search);
    let best = |trial: &Trial| Some(trial.number) == search.tuning.best;
    let pick = |of_best: f64, other: f64| -> Vec<f64> {
        trials.iter().map(|(trial, _)| if best(trial) { of_best } else { other }).collect()
    };
    let edge = trials.iter().map(|(t, _)| if best(t) { "var(--warn)" } else { "var(--ink)" });
    json!({
        "type": "scatter", "mode": "markers", "x": x.places, "y": y.places, "cliponaxis": false,
        "marker": {
            "size": pick(12.0, 6.0), "opacity": 1,
            "line": { "color": edge.collect::<Vec<_>>(), "width": pick(3.0, 0.7) },
            "color": trials.iter().map(|(_, score)| *score).collect::<Vec<_>>(),
            "cmin": low, "cmax": high, "colorscale": colours,
        },
        "hovertext": trials.iter().map(|(t, s)| hover(t, number::finite(Some(*s)))).collect::<Vec<_>>(),
        "hovertemplate": "%{hovertext}<extra></extra>",
    })
}
