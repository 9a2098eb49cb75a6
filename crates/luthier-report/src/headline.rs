//! The figures a reader looks for first.

use crate::html::{Html, element};
use crate::input::Judge;
use crate::{Headline, Outcome, RunReport, number};

/// The title, the cards and the verdicts.
pub(crate) fn header(report: &RunReport) -> Html {
    let title = element("h1", &[], Html::isolated(&report.name));
    let about = [
        report.task.as_deref().map(Html::isolated),
        Some(Html::isolated(&report.created)),
        Some(Html::text("Luthier ").then(Html::isolated(&report.release))),
    ];
    let about = about.into_iter().flatten().map(|piece| element("span", &[], piece)).collect();
    let about = element("p", &[("class", "about")], about);
    let cards = element("div", &[("class", "cards")], cards(report).into_iter().collect());
    element("header", &[], title.then(about).then(cards).then(verdicts(&report.headline)))
}

fn cards(report: &RunReport) -> Vec<Html> {
    let headline = &report.headline;
    let mut cards = vec![score_card(report)];
    if report.data.is_some() {
        cards.push(openings_card(headline));
    }
    if let Some(size) = headline.size_bytes {
        cards.push(card(Html::text("Model size"), &number::bytes(size), "on disk"));
    }
    if headline.p50_ms.is_some() || headline.p99_ms.is_some() {
        let tail = format!("median of one row; p99 {}", number::milliseconds(headline.p99_ms));
        cards.push(card(Html::text("Latency"), &number::milliseconds(headline.p50_ms), &tail));
    }
    if headline.wall_seconds.is_some() {
        let time = number::duration(headline.wall_seconds);
        cards.push(card(Html::text("Wall time"), &time, "from rows to this report"));
    }
    cards
}

fn score_card(report: &RunReport) -> Html {
    let score = report.headline.score;
    let interval = number::interval(score.low, score.high);
    let target = number::finite(report.metric.target);
    let reported = report.evaluation.is_none() && best_is_reported(report);
    let details = [
        match (interval, &report.data) {
            (Some(interval), _) => {
                Some(format!("95 % interval {interval}, {}", rows(report.headline.rows)))
            }
            (None, Some(_)) => Some(rows(report.headline.rows)),
            (None, None) => None,
        },
        (!report.metric.higher_is_better).then(|| "lower is better".to_owned()),
        target.map(|target| format!("target {}", number::chosen(target))),
        reported.then(|| "as reported by the program that was tuned".to_owned()),
    ];
    let detail = details.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let part = match (report.judge(), &report.evaluation, &report.data) {
        (Judge::Test, Some(_), _) => "Test ",
        (_, None, None) => "",
        _ => "Validation ",
    };
    let name = Html::text(part).then(Html::isolated(&report.metric.name));
    let name = match &report.positive {
        Some(positive) => name.then(Html::text(", class ")).then(Html::isolated(positive)),
        None => name,
    };
    card(name, &number::score(score.value), &detail)
}

fn best_is_reported(report: &RunReport) -> bool {
    report.tuning.as_ref().is_some_and(|tuning| {
        tuning.trials.iter().any(|trial| Some(trial.number) == tuning.best && trial.reported)
    })
}

fn openings_card(headline: &Headline) -> Html {
    let (value, detail) = match headline.test_openings {
        0 => ("never".to_owned(), "there is no test score yet"),
        1 => ("once".to_owned(), "after all choices were made"),
        times => {
            (format!("{} times", number::count(times)), "choices made in between flatter the score")
        }
    };
    card(Html::text("Test split opened"), &value, detail)
}

/// A figure with its name above and what it means below.
pub(crate) fn card(name: Html, value: &str, detail: &str) -> Html {
    let pieces = [
        element("div", &[("class", "name")], name),
        element("div", &[("class", "value")], Html::text(value)),
        element("div", &[("class", "detail")], Html::text(detail)),
    ];
    element("div", &[("class", "card")], pieces.into_iter().collect())
}

fn verdicts(headline: &Headline) -> Html {
    if headline.verdicts.is_empty() {
        return Html::default();
    }
    let lines = headline.verdicts.iter().map(|verdict| {
        let text = element("span", &[], Html::clipped(&verdict.text));
        element("li", &[], badge(verdict.outcome).then(text))
    });
    element("ul", &[("class", "verdicts")], lines.collect())
}

/// The outcome as a sign and a word, so that it does not rest on its colour.
pub(crate) fn badge(outcome: Outcome) -> Html {
    let (class, text) = match outcome {
        Outcome::Holds => ("badge good", "✓ met"),
        Outcome::Fails => ("badge bad", "✗ not met"),
        Outcome::Undecided => ("badge warn", "? undecided"),
    };
    element("span", &[("class", class)], Html::text(text))
}

fn rows(rows: u64) -> String {
    format!("{} {}", number::count(rows), if rows == 1 { "row" } else { "rows" })
}
