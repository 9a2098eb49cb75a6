//! Objectives against each other.

use serde_json::{Value, json};

use super::{StudyTrial, StudyView};
use crate::figure::{Figure, axis, label};
use crate::html::{Html, element};
use crate::{TrialState, number};

/// A plot for each pair of the first three objectives; `None` for a study with one.
pub(super) fn figures(study: &StudyView) -> Option<Html> {
    let count = study.objectives.len().min(3);
    let pairs = (0..count).flat_map(|x| (x + 1..count).map(move |y| (x, y)));
    let figures: Vec<Html> = pairs.filter_map(|pair| figure(study, pair)).collect();
    match figures.len() {
        0 => None,
        1 => Some(figures.into_iter().collect()),
        _ => Some(element("div", &[("class", "pair")], figures.into_iter().collect())),
    }
}

fn figure(study: &StudyView, (x, y): (usize, usize)) -> Option<Html> {
    let complete = study.trials.iter().filter(|trial| {
        let known = |at: usize| number::finite(trial.scores.get(at).copied()).is_some();
        trial.state == TrialState::Complete && known(x) && known(y)
    });
    let on_front = |trial: &&StudyTrial| study.best.contains(&trial.number);
    let (front, others): (Vec<_>, Vec<_>) = complete.partition(on_front);
    if front.is_empty() {
        return None;
    }
    let dots = |name: &str, trials: &[&StudyTrial], marker: Value| {
        let score = |at: usize| trials.iter().map(|trial| trial.scores[at]).collect::<Vec<_>>();
        json!({
            "type": "scatter", "mode": "markers", "name": name, "x": score(x), "y": score(y),
            "marker": marker, "cliponaxis": false,
            "hovertext": trials.iter().map(|trial| hover(study, trial)).collect::<Vec<_>>(),
            "hovertemplate": "%{hovertext}<extra></extra>",
        })
    };
    let faint = json!({ "color": "var(--muted)", "size": 6, "symbol": "circle-open" });
    let strong = json!({ "color": "var(--accent)", "size": 9 });
    let [x_axis, y_axis] = [x, y].map(|at| {
        let objective = &study.objectives[at];
        let goal = if objective.higher_is_better { "higher" } else { "lower" };
        axis(&format!("{} ({goal} is better)", label(&objective.name)))
    });
    let figure = Figure {
        title: format!("{} against {}", study.objectives[y].name, study.objectives[x].name),
        height: 380,
        data: vec![dots("dominated", &others, faint), dots("front", &front, strong)],
        layout: json!({ "xaxis": x_axis, "yaxis": y_axis, "showlegend": true }),
    };
    let caption = "Complete trials; to those on the front nothing is better in one objective and as good in all.";
    Some(figure.html(Html::text(caption)))
}

fn hover(study: &StudyView, trial: &StudyTrial) -> String {
    let scores = study.objectives.iter().zip(&trial.scores).map(|(objective, score)| {
        format!("<br>{}: {}", label(&objective.name), number::score(Some(*score)))
    });
    let values = trial.values.iter().take(12);
    let values =
        values.map(|(name, v)| format!("<br>{} = {}", label(name), label(&number::value(v))));
    std::iter::once(format!("trial {}", trial.number)).chain(scores).chain(values).collect()
}
