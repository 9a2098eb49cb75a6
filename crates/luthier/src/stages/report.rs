//! `report.json` and `report.html` from the finished values of all stages.

use luthier_compress::Verdict as Judged;
use luthier_data::{
    ColumnProfile, Dataset, Distinct, NumberProfile, Part, PartProfile, Severity, ValuesProfile,
};
use luthier_eval::{Comparison, MetricReport, Report};
use luthier_report::{
    Candidate, ClassScores, ColumnImportance, ColumnSummary, Compression, Contender, DataSummary,
    Estimate, Evaluation, Fact, Finding, Headline, MetricScores, Mistake, NumberFit,
    NumberQuantile, Objective, Outcome, Parameter, ParameterKind, PartSummary, Quantile,
    ReliabilityBin, ResidualBin, RunReport, Snippet, Suspect, Trial, TrialState, Tuning, Verdict,
};
use luthier_space::{Dimension, Distribution, Scale, Space, Values};
use luthier_tune::State;
use serde_json::Value;

use super::calibrate::Found;
use super::compress::Compressed;
use super::distil::{Distillation, Standing};
use super::finish::Finished;
use super::held_out;
use super::inputs::example;
use super::tune::Tuned;
use super::{Prepared, RunFolder};
use crate::failure::Failure;
use crate::job::{Goal, Job};
use crate::launch::shell;
use crate::term::{milliseconds, size};

/// The finished values of a run.
pub(super) struct Parts<'a> {
    pub(super) job: &'a Job,
    pub(super) prepared: &'a Prepared<'a>,
    pub(super) tuned: &'a Tuned,
    pub(super) compressed: &'a Compressed,
    pub(super) finished: &'a Finished,
    pub(super) seconds: f64,
}

/// Writes it as JSON and as HTML, under `name`.
pub(super) fn write(report: &RunReport, folder: &RunFolder, name: &str) -> Result<(), Failure> {
    folder.write(&format!("{name}.json"), report)?;
    folder.write_bytes(&format!("{name}.html"), luthier_report::render(report).as_bytes())
}

/// The report of a finished model.
pub(super) fn assemble(parts: &Parts<'_>) -> RunReport {
    let Parts { job, prepared, tuned, finished, seconds, .. } = *parts;
    let labels = prepared.dataset.labels();
    RunReport {
        headline: headline(parts),
        evaluation: Some(evaluation(finished)),
        importance: importance(finished),
        mistakes: mistakes(finished, labels),
        suspects: suspects(finished, held_out::part(&parts.prepared.dataset), labels),
        distillation: finished
            .findings
            .distillation
            .as_ref()
            .map(|found| distillation(found, finished)),
        compression: Some(compression(parts)),
        commands: commands(parts),
        lineage: lineage(parts),
        ..self::tuned(job, Some(prepared), tuned, seconds)
    }
}

/// The report of a search without a model.
pub(super) fn tuned(
    job: &Job,
    prepared: Option<&Prepared<'_>>,
    tuned: &Tuned,
    seconds: f64,
) -> RunReport {
    let dataset = prepared.map(|prepared| &prepared.dataset);
    let labels = dataset.map_or(&[][..], Dataset::labels);
    let score = tuned.best.score();
    RunReport {
        format: luthier_report::FORMAT,
        name: job.name.clone(),
        task: prepared.map(|prepared| prepared.data.task.to_string()),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        created: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        labels: labels.to_vec(),
        positive: dataset.and_then(Dataset::positive).map(|class| labels[class].clone()),
        metric: Objective { target: job.objective.target, ..objective(job.objective.first()) },
        headline: Headline {
            score: Estimate {
                value: score,
                low: tuned.folds.as_ref().map(|folds| folds.low),
                high: tuned.folds.as_ref().map(|folds| folds.high),
            },
            rows: dataset.map_or(0, |dataset| dataset.len(held_out::part(dataset))),
            wall_seconds: Some(seconds),
            verdicts: target_verdict(job, score).into_iter().collect(),
            ..Headline::default()
        },
        data: prepared.map(data),
        learning_curve: None,
        tuning: Some(tuning(job, tuned)),
        evaluation: None,
        importance: Vec::new(),
        mistakes: Vec::new(),
        suspects: Vec::new(),
        distillation: None,
        compression: None,
        commands: Vec::new(),
        lineage: Vec::new(),
    }
}

fn distillation(found: &Distillation, finished: &Finished) -> luthier_report::Distillation {
    let contender = |standing: &Standing, p50_ms, against: Option<&Comparison>| Contender {
        name: standing.name.clone(),
        score: Estimate { value: standing.score, low: standing.low, high: standing.high },
        p50_ms,
        difference: against.map(|against| Estimate {
            value: Some(against.difference),
            low: Some(against.interval.low),
            high: Some(against.interval.high),
        }),
        p_value: against.and_then(|against| {
            let of_numbers = || against.sign_test.map(|test| test.exact);
            against.mcnemar.map(|test| test.exact).or_else(of_numbers)
        }),
    };
    let Distillation { teacher, alone, distilled, .. } = found;
    let models = vec![
        contender(teacher, Some(found.teacher_p50_ms), Some(&found.against_teacher)),
        contender(alone, None, Some(&found.against_alone)),
        contender(distilled, None, None),
    ];
    luthier_report::Distillation {
        part: found.part.clone(),
        rows: found.against_alone.rows as u64,
        models,
        finished_p50_ms: Some(finished.findings.p50_ms),
    }
}

fn objective(goal: &Goal) -> Objective {
    Objective {
        name: goal.measure.to_string(),
        higher_is_better: goal.higher_is_better(),
        target: None,
    }
}

fn estimate(found: Option<&MetricReport>) -> Estimate {
    found.map_or_else(Estimate::default, |found| Estimate {
        value: found.value,
        low: found.low,
        high: found.high,
    })
}

fn headline(parts: &Parts<'_>) -> Headline {
    let Finished { bundle, findings } = parts.finished;
    let judged = findings.test.as_ref().unwrap_or(&findings.valid);
    Headline {
        score: estimate(judged.metric(parts.prepared.data.metric)),
        rows: judged.rows as u64,
        test_openings: bundle.manifest().test_openings.into(),
        size_bytes: Some(bundle.size_bytes()),
        p50_ms: Some(findings.p50_ms),
        p99_ms: Some(findings.p99_ms),
        wall_seconds: Some(parts.seconds),
        verdicts: verdicts(parts, judged),
    }
}

fn verdicts(parts: &Parts<'_>, judged: &Report) -> Vec<Verdict> {
    let objective = &parts.job.objective;
    let Finished { bundle, findings } = parts.finished;
    let score = judged.metric(parts.prepared.data.metric).and_then(|found| found.value);
    let mut verdicts: Vec<Verdict> = target_verdict(parts.job, score).into_iter().collect();
    let mut add = |holds: bool, text: String| {
        let outcome = if holds { Outcome::Holds } else { Outcome::Fails };
        verdicts.push(Verdict { outcome, text });
    };
    if let Some(limit) = objective.limits.p99_latency_ms {
        let within = findings.p99_ms <= limit;
        let time = milliseconds(findings.p99_ms);
        add(within, format!("one row takes {time} (99th percentile), the limit is {limit} ms"));
    }
    if let Some(limit) = objective.limits.size_mb {
        let bytes = bundle.size_bytes();
        let within = bytes as f64 <= limit * 1e6;
        add(within, format!("the bundle has {}, the limit is {limit} MB", size(bytes)));
    }
    if let Some(verdict) = compression_verdict(parts) {
        verdicts.push(verdict);
    }
    verdicts
}

/// What the score is to the target, where there is one.
fn target_verdict(job: &Job, score: Option<f64>) -> Option<Verdict> {
    let first = job.objective.first();
    let (target, score) = (job.objective.target?, score?);
    let (outcome, verb) = match first.reaches(score, target) {
        true => (Outcome::Holds, "reaches"),
        false => (Outcome::Fails, "is short of"),
    };
    let text = format!("{} {score:.4} {verb} the target {target}", first.measure);
    Some(Verdict { outcome, text })
}

fn compression_verdict(parts: &Parts<'_>) -> Option<Verdict> {
    let search = &parts.compressed.search;
    if search.candidates.len() < 2 {
        return None;
    }
    let chosen = &search.candidates[search.chosen];
    let max_drop = parts.job.compress.max_drop;
    let metric = parts.prepared.data.metric;
    let difference = chosen.judgement.difference;
    let (outcome, text) = match (search.chosen, chosen.judgement.verdict) {
        (0, _) => (
            Outcome::Fails,
            format!("no compressed model stays within {max_drop} of {metric}; it is as trained"),
        ),
        (_, Judged::Undecidable) => (
            Outcome::Undecided,
            format!(
                "compression changes valid {metric} by {difference:+.4}; too few rows to prove \
                 that the loss stays within {max_drop}"
            ),
        ),
        (_, Judged::Alike) => (
            Outcome::Holds,
            format!(
                "compression changes valid {metric} by {difference:+.4} and probabilities hardly, \
                 as the log loss proves"
            ),
        ),
        _ => (
            Outcome::Holds,
            format!("compression changes valid {metric} by {difference:+.4}, within {max_drop}"),
        ),
    };
    Some(Verdict { outcome, text })
}

fn data(prepared: &Prepared<'_>) -> DataSummary {
    let parts = prepared.profile.parts.iter().map(|part| PartSummary {
        part: part.part.to_string(),
        rows: part.rows,
        classes: prepared.dataset.class_counts(part.part).to_vec(),
        lengths: part
            .text()
            .iter()
            .flat_map(|text| &text.lengths)
            .map(|length| Quantile { quantile: length.q, characters: length.characters })
            .collect(),
        numbers: part.numbers.as_ref().map(quantiles).unwrap_or_default(),
    });
    let findings = prepared.profile.findings.iter().map(|finding| Finding {
        severity: match finding.severity {
            Severity::Note => luthier_report::Severity::Note,
            Severity::Warning => luthier_report::Severity::Warning,
        },
        message: finding.message.clone(),
    });
    let columns = columns(&prepared.profile.parts);
    DataSummary { parts: parts.collect(), findings: findings.collect(), columns }
}

/// The columns of a table by what the profile has of train, with how far they moved from there.
fn columns(parts: &[PartProfile]) -> Vec<ColumnSummary> {
    let Some((train, others)) = parts.split_first() else { return Vec::new() };
    let of_train = train.table().map_or(&[][..], |table| &table.columns);
    let share = |rows: u64| (train.rows > 0).then(|| rows as f64 / train.rows as f64);
    let summary = |(place, column): (usize, &ColumnProfile)| {
        let (kind, quantiles, top) = match &column.values {
            ValuesProfile::Number { numbers } => ("number", numbers.as_ref(), &[][..]),
            ValuesProfile::Time { numbers } => ("time", numbers.as_ref(), &[][..]),
            ValuesProfile::Category(categories) => ("category", None, &categories.top[..]),
        };
        let (distinct, more) = match column.distinct {
            Distinct::Exactly(count) => (count, false),
            Distinct::MoreThan(count) => (count, true),
        };
        let shift = |part: &PartProfile| {
            let drift = part.table()?.columns.get(place)?.drift;
            Some((part.part.to_string(), drift))
        };
        ColumnSummary {
            name: column.name.clone(),
            kind: kind.to_owned(),
            missing: share(column.missing),
            distinct,
            more,
            quantiles: quantiles.map(self::quantiles).unwrap_or_default(),
            top: top.iter().map(|known| (known.value.clone(), share(known.rows))).collect(),
            association: column.association,
            shifts: others.iter().filter_map(shift).collect(),
        }
    };
    of_train.iter().enumerate().map(summary).collect()
}

/// Quantiles with the smallest and the largest number.
fn quantiles(numbers: &NumberProfile) -> Vec<NumberQuantile> {
    let within = numbers.quantiles.iter().map(|known| (known.q, known.value));
    let all = [(0.0, numbers.min)].into_iter().chain(within).chain([(1.0, numbers.max)]);
    all.map(|(quantile, value)| NumberQuantile { quantile, value: Some(value) }).collect()
}

fn tuning(job: &Job, tuned: &Tuned) -> Tuning {
    let (goals, constraints) = (&job.objective.goals, &job.objective.constraints);
    let trials = tuned.trials.iter().map(|trial| Trial {
        number: trial.number,
        state: trial_state(trial.state),
        score: trial.score(),
        reported: tuned.reported.contains(&trial.number),
        again: tuned.again.get(&trial.number).and_then(luthier_tune::Trial::score),
        also: trial.scores.iter().skip(1).copied().map(Some).collect(),
        violations: trial.violations.iter().copied().map(Some).collect(),
        loss: trial.tiebreak.map(|tiebreak| tiebreak.loss),
        seconds: trial.seconds,
        values: values(&trial.values),
        steps: trial.steps.iter().map(|step| (step.step, Some(step.score()))).collect(),
        reason: trial.reason.clone(),
    });
    Tuning {
        trials: trials.collect(),
        space: parameters(&job.tune.space),
        best: Some(tuned.best.number),
        also: goals.iter().skip(1).map(objective).collect(),
        front: job.objective.front(&tuned.trials).iter().map(|trial| trial.number).collect(),
        limits: constraints.iter().map(|held| held.goal.measure.to_string()).collect(),
        margin: tuned.margin,
        sampler: job.tune.sampler.clone(),
        pruner: job.tune.pruner.to_string(),
        seconds: Some(tuned.seconds),
    }
}

/// The state of a trial, as reports have it.
pub(crate) fn trial_state(state: State) -> TrialState {
    match state {
        State::Running => TrialState::Running,
        State::Paused => TrialState::Paused,
        State::Complete => TrialState::Complete,
        State::Pruned => TrialState::Pruned,
        State::Failed => TrialState::Failed,
    }
}

/// The values of a trial, as reports have them.
pub(crate) fn values(values: &Values) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(values) {
        Ok(serde_json::Value::Object(values)) => values,
        _ => serde_json::Map::new(),
    }
}

/// The parameters of a space, as reports have them.
pub(crate) fn parameters(space: &Space) -> Vec<Parameter> {
    let parameter = |dimension: &Dimension| {
        let (kind, scale) = match &dimension.distribution {
            Distribution::Float { scale, .. } => (ParameterKind::Float, *scale),
            Distribution::Int { scale, .. } => (ParameterKind::Int, *scale),
            Distribution::Ordinal { .. }
            | Distribution::Choice { .. }
            | Distribution::Permutation { .. }
            | Distribution::Subset { .. } => (ParameterKind::Choice, Scale::Linear),
        };
        Parameter { name: dimension.name.clone(), log: scale == Scale::Log, kind }
    };
    space.dimensions().iter().map(parameter).collect()
}

fn evaluation(finished: &Finished) -> Evaluation {
    let findings = &finished.findings;
    let (valid, test) = (&findings.valid, findings.test.as_ref());
    let shown = test.unwrap_or(valid);
    let metrics = valid.metrics.iter().map(|found| MetricScores {
        name: found.name.clone(),
        higher_is_better: found.higher_is_better,
        valid: Some(estimate(Some(found))),
        test: test.map(|test| estimate(test.metrics.iter().find(|m| m.name == found.name))),
    });
    let classes = shown.classes.iter().map(|class| ClassScores {
        label: class.label.clone(),
        support: class.support,
        precision: Some(class.precision),
        recall: Some(class.recall),
        f1: Some(class.f1),
    });
    let reliability = shown.reliability.iter().map(|bin| ReliabilityBin {
        lower: bin.lower,
        upper: bin.upper,
        count: bin.count as u64,
        confidence: bin.confidence,
        accuracy: bin.accuracy,
    });
    Evaluation {
        metrics: metrics.collect(),
        classes: classes.collect(),
        confusion: shown.confusion.clone(),
        reliability: reliability.collect(),
        threshold: finished.bundle.manifest().decision.class().and_then(|class| class.threshold),
        numbers: shown.numbers.as_ref().map(|numbers| NumberFit {
            points: findings.numbers.iter().map(|(p, truth)| (Some(*p), Some(*truth))).collect(),
            residuals: numbers.histogram.iter().map(residual_bin).collect(),
        }),
    }
}

fn residual_bin(bin: &luthier_eval::ResidualBin) -> ResidualBin {
    ResidualBin { lower: bin.lower, upper: bin.upper, count: bin.count as u64 }
}

fn importance(finished: &Finished) -> Vec<ColumnImportance> {
    let columns = finished.findings.importance.iter().map(|column| ColumnImportance {
        name: column.column.clone(),
        contribution: column.contribution,
        gain: Some(column.gain),
    });
    columns.collect()
}

fn mistakes(finished: &Finished, labels: &[String]) -> Vec<Mistake> {
    let mistakes = finished.findings.mistakes.iter().map(|shown| Mistake {
        row: shown.row,
        id: shown.id.clone(),
        text: shown.text.clone(),
        truth: labels[shown.finding.truth as usize].clone(),
        predicted: labels[shown.finding.predicted as usize].clone(),
        probability: Some(shown.finding.probability_truth),
        residual: None,
    });
    let errors = finished.findings.errors.iter().map(|shown| Mistake {
        row: shown.row,
        id: shown.id.clone(),
        text: shown.text.clone(),
        truth: shown.finding.truth.to_string(),
        predicted: (shown.finding.predicted as f32).to_string(),
        probability: None,
        residual: Some(shown.finding.truth - shown.finding.predicted),
    });
    mistakes.chain(errors).collect()
}

fn suspects(finished: &Finished, part: Part, labels: &[String]) -> Vec<Suspect> {
    let suspects = finished.findings.suspects.iter().map(|shown| Suspect {
        part: part.to_string(),
        row: shown.row,
        id: shown.id.clone(),
        text: shown.text.clone(),
        given: labels[shown.finding.given as usize].clone(),
        suggested: labels[shown.finding.suggested as usize].clone(),
        probability: Some(shown.finding.probability_suggested),
    });
    suspects.collect()
}

fn compression(parts: &Parts<'_>) -> Compression {
    let search = &parts.compressed.search;
    let candidates = search.candidates.iter().enumerate().map(|(index, candidate)| {
        let judged = &candidate.judgement;
        let compared = (index > 0).then_some(judged);
        Candidate {
            name: candidate.recipe.to_string(),
            size_bytes: judged.size_bytes,
            p50_ms: Some(judged.p50_ms),
            p99_ms: Some(judged.p99_ms),
            score: Some(judged.score),
            difference: compared.map(|judged| judged.difference),
            lower_bound: compared.map(|judged| judged.lower_bound),
            verdict: compared.map(|judged| match judged.verdict {
                Judged::Accepted | Judged::Alike => Outcome::Holds,
                Judged::Rejected => Outcome::Fails,
                Judged::Undecidable => Outcome::Undecided,
            }),
            chosen: index == search.chosen,
        }
    });
    Compression { candidates: candidates.collect(), max_drop: Some(parts.job.compress.max_drop) }
}

/// How to serve and to call the result.
fn commands(parts: &Parts<'_>) -> Vec<Snippet> {
    let manifest = parts.finished.bundle.manifest();
    let (name, bundle) = (&parts.job.name, parts.finished.bundle.path().display().to_string());
    let snippet = |title: &str, command: String| Snippet { title: title.to_owned(), command };
    let url = format!("http://localhost:8501/v1/models/{name}:predict");
    let curl = |url: &str, body: String| {
        let words = ["curl", "-s", url, "-d", &body].map(str::to_owned);
        shell(&words)
    };
    let row = example(manifest);
    let (title, given) = match &row {
        Value::String(text) => ("Answer a text without a server", format!("\"{text}\"")),
        row => ("Answer a row without a server", shell(&[row.to_string()])),
    };
    let mut commands = vec![
        snippet("Serve the model", format!("luthier serve {bundle}")),
        snippet(title, format!("luthier predict {bundle} {given}")),
        snippet(
            "Ask the server, in TensorFlow Serving's protocol",
            curl(&url, format!("{{\"instances\": [{row}]}}")),
        ),
    ];
    if let Some(route) = &manifest.route {
        let body = match &route.input {
            Some(input) => format!("{{{}: {row}}}", Value::from(input.as_str())),
            None => row.to_string(),
        };
        let call = curl(&format!("http://localhost:8501{}", route.path), body);
        commands.push(snippet("Ask the server, by the short route", call));
    }
    commands.push(snippet(
        "Ask from Python",
        format!(
            "import json, urllib.request\nbody = json.dumps({{\"instances\": [{row}]}})\n\
             answer = urllib.request.urlopen(\"{url}\", body.encode())\n\
             print(json.load(answer)[\"predictions\"])"
        ),
    ));
    commands
}

fn lineage(parts: &Parts<'_>) -> Vec<Fact> {
    let manifest = parts.finished.bundle.manifest();
    let fact = |key: &str, value: String| Fact { key: key.to_owned(), value };
    let mut facts = vec![
        fact("release", manifest.release.clone()),
        fact("bundle digest", manifest.digest.clone()),
    ];
    for data in &manifest.lineage.data {
        let value = format!("{} ({} rows)", data.sha256, data.rows);
        facts.push(fact(&format!("{} data", data.part), value));
    }
    if let Some(trial) = &manifest.lineage.trial {
        facts.push(fact("study", trial.study.clone()));
        facts.push(fact("trial", trial.number.to_string()));
        facts.push(fact("seed", trial.seed.to_string()));
        let values = parts.tuned.best.values.to_string();
        facts.push(fact("values", values));
    }
    if let Some(recipe) = &manifest.lineage.compression {
        facts.push(fact("compression", recipe.clone()));
    }
    if let Some(found) = Found::of(&parts.finished.bundle) {
        facts.push(fact("calibration", found.calibration()));
        let threshold = manifest.decision.class().and_then(|class| class.threshold);
        facts.extend(found.threshold(threshold).map(|text| fact("threshold", text)));
    }
    facts
}
