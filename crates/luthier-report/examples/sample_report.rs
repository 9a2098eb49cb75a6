//! Writes the report of an invented run, or of a given `report.json`, to the path given first:
//! `cargo run -p luthier-report --example sample_report -- report.html [report.json]`.

use std::error::Error;

use luthier_report::{
    Candidate, ClassScores, Compression, Contender, CurvePoint, DataSummary, Distillation,
    Estimate, Evaluation, FORMAT, Fact, Finding, Headline, LearningCurve, MetricScores, Mistake,
    Objective, Outcome, Parameter, ParameterKind, PartSummary, Quantile, ReliabilityBin, RunReport,
    Severity, Snippet, Suspect, Trial, TrialState, Tuning, Verdict, render,
};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next().ok_or("usage: sample_report <report.html> [report.json]")?;
    let report = match arguments.next() {
        Some(json) => serde_json::from_slice(&std::fs::read(json)?)?,
        None => sample(),
    };
    std::fs::write(path, render(&report))?;
    Ok(())
}

/// The invented run.
pub(crate) fn sample() -> RunReport {
    RunReport {
        format: FORMAT,
        name: "reviews".to_owned(),
        task: Some("text-classification".to_owned()),
        release: "0.1.0".to_owned(),
        created: "2026-03-14T09:26:53Z".to_owned(),
        labels: vec!["negative".to_owned(), "positive".to_owned()],
        positive: Some("positive".to_owned()),
        metric: Objective { name: "f1".to_owned(), higher_is_better: true, target: Some(0.85) },
        headline: headline(),
        data: Some(data()),
        learning_curve: Some(learning_curve()),
        tuning: Some(tuning()),
        evaluation: Some(evaluation()),
        importance: Vec::new(),
        mistakes: mistakes(),
        suspects: suspects(),
        distillation: Some(distillation()),
        compression: Some(compression()),
        commands: commands(),
        lineage: lineage(),
    }
}

fn headline() -> Headline {
    let verdict = |outcome, text: &str| Verdict { outcome, text: text.to_owned() };
    Headline {
        score: estimate(0.8612, 0.0162),
        rows: 1821,
        test_openings: 1,
        size_bytes: Some(1_874_211),
        p50_ms: Some(0.0412),
        p99_ms: Some(0.118),
        wall_seconds: Some(312.4),
        verdicts: vec![
            verdict(Outcome::Holds, "f1 on test is 0.8612, the target is 0.85."),
            verdict(Outcome::Holds, "p99 latency is 0.118 ms, the limit is 5 ms."),
            verdict(Outcome::Fails, "The model takes 1.87 MB, the limit is 1.5 MB."),
            verdict(
                Outcome::Undecided,
                "The compressed model is 0.0021 below the uncompressed one; with 872 rows the \
                 lower bound is −0.0108, just past the largest drop of 0.01. About 1,100 rows would tell.",
            ),
        ],
    }
}

fn estimate(value: f64, reach: f64) -> Estimate {
    Estimate { value: Some(value), low: Some(value - reach), high: Some(value + 0.9 * reach) }
}

fn data() -> DataSummary {
    let part = |part: &str, negative, positive, longest| PartSummary {
        part: part.to_owned(),
        rows: negative + positive,
        classes: vec![negative, positive],
        lengths: [
            (0.0, 3),
            (0.05, 18),
            (0.25, 61),
            (0.5, 99),
            (0.75, 142),
            (0.95, 207),
            (1.0, longest),
        ]
        .map(|(quantile, characters)| Quantile { quantile, characters })
        .to_vec(),
        numbers: Vec::new(),
    };
    let finding = |severity, message: &str| Finding { severity, message: message.to_owned() };
    DataSummary {
        parts: vec![
            part("train", 3310, 3610, 1267),
            part("valid", 428, 444, 244),
            part("test", 912, 909, 256),
        ],
        findings: vec![
            finding(Severity::Warning, "2 texts of test are also in train (rows 118 and 1,402)."),
            finding(Severity::Note, "9 texts of train appear more than once."),
        ],
        columns: Vec::new(),
    }
}

fn learning_curve() -> LearningCurve {
    let rows = [432u32, 865, 1730, 3460, 6920];
    let points = rows.map(|rows| {
        let score = 0.90 - 1.6 / f64::from(rows).sqrt() - 0.018;
        let reach = 0.021;
        CurvePoint {
            rows: u64::from(rows),
            score: Some(score),
            low: Some(score - reach),
            high: Some(score + reach),
        }
    });
    LearningCurve {
        points: points.to_vec(),
        sentence:
            "The last doubling of the rows raised the validation f1 by 0.008: more rows would \
                   still help a little."
                .to_owned(),
    }
}

/// Noise in [0, 1) that is the same everywhere.
fn noise(seed: u64) -> f64 {
    let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

fn tuning() -> Tuning {
    let parameter = |name: &str, kind, log| Parameter { name: name.to_owned(), log, kind };
    let trials: Vec<Trial> = (0..30).map(trial).collect();
    let finished = trials.iter().filter(|trial| trial.score.is_some());
    let best = finished.max_by(|a, b| a.score.partial_cmp(&b.score).expect("scores are numbers"));
    let size = Objective { name: "size_mb".to_owned(), higher_is_better: false, target: None };
    Tuning {
        also: vec![size],
        front: front(&trials),
        limits: vec!["size_mb".to_owned()],
        best: best.map(|trial| trial.number),
        space: vec![
            parameter("learner", ParameterKind::Choice, false),
            parameter("linear.learning_rate", ParameterKind::Float, true),
            parameter("linear.ngrams", ParameterKind::Int, false),
            parameter("linear.penalty", ParameterKind::Choice, false),
            parameter("linear.penalty.l2.alpha", ParameterKind::Float, true),
            parameter("embedding.dimension", ParameterKind::Int, true),
            parameter("embedding.dropout", ParameterKind::Float, false),
            parameter("embedding.learning_rate", ParameterKind::Float, true),
        ],
        trials,
        margin: Some(0.0084),
        sampler: "tpe".to_owned(),
        pruner: "median".to_owned(),
        seconds: Some(241.7),
    }
}

/// The trials to which none is better in score and size.
fn front(trials: &[Trial]) -> Vec<u64> {
    let point = |trial: &Trial| Some((trial.score?, trial.also.first().copied()??));
    let dominated = |own: (f64, f64)| {
        trials.iter().filter_map(point).any(|other| other.0 > own.0 && other.1 <= own.1)
    };
    let is_on_front = |trial: &&Trial| point(trial).is_some_and(|own| !dominated(own));
    trials.iter().filter(is_on_front).map(|trial| trial.number).collect()
}

fn trial(number: u64) -> Trial {
    let draw = |index: u64| noise(number * 16 + index);
    // The search settles on the better learner and on its better values.
    let settled = (number as f64 / 30.0).sqrt();
    let linear = draw(0) > 0.3 + 0.4 * settled;
    let mut values = Map::new();
    let distance = (1.0 - 0.8 * settled) * (draw(1) - 0.4);
    let mut score = 0.862 - 0.25 * distance * distance - 0.012 * draw(2);
    if linear {
        values.insert("learner".to_owned(), json!("linear"));
        values.insert("linear.learning_rate".to_owned(), json!(10f64.powf(-1.5 + 3.0 * distance)));
        values.insert("linear.ngrams".to_owned(), json!(1 + (draw(3) * 3.0) as i64));
        let penalty = if draw(4) > 0.5 { "l2" } else { "none" };
        values.insert("linear.penalty".to_owned(), json!(penalty));
        if penalty == "l2" {
            let alpha: Value = json!(10f64.powf(-8.0 + 6.0 * draw(5)));
            values.insert("linear.penalty.l2.alpha".to_owned(), alpha);
        }
        score -= 0.021;
    } else {
        values.insert("learner".to_owned(), json!("embedding"));
        let dimension = 16u64 << ((draw(3) * 5.0) as u32);
        values.insert("embedding.dimension".to_owned(), json!(dimension));
        values.insert("embedding.dropout".to_owned(), json!(0.5 * draw(4)));
        values
            .insert("embedding.learning_rate".to_owned(), json!(10f64.powf(-2.3 + 2.0 * distance)));
    }
    let failed = number == 7;
    let pruned = !failed && number > 5 && (score < 0.836 || draw(6) < 0.15);
    let last = if failed {
        1
    } else if pruned {
        2 + number % 3
    } else {
        8
    };
    let at = |step: u64| {
        let wobble = 0.006 * (noise(number * 64 + step) - 0.5);
        score - 0.17 * (-0.6 * step as f64).exp() + if step < 8 { wobble } else { 0.0 }
    };
    let size = if linear { 0.4 + 0.9 * draw(9) } else { 1.0 + 4.0 * draw(9) };
    let size = (!failed && !pruned).then_some(size);
    Trial {
        number,
        state: match (failed, pruned) {
            (true, _) => TrialState::Failed,
            (_, true) => TrialState::Pruned,
            _ => TrialState::Complete,
        },
        score: (!failed && !pruned).then(|| at(8)),
        reported: false,
        again: None,
        also: size.into_iter().map(Some).collect(),
        violations: size.into_iter().map(|size| Some(size - 3.0)).collect(),
        loss: (!failed && !pruned).then(|| 1.2 - at(8)),
        seconds: Some(1.1 + last as f64 * (0.7 + draw(8))),
        values,
        steps: (1..=last).map(|step| (step, Some(at(step)).filter(|_| !failed))).collect(),
        reason: match (failed, pruned) {
            (true, _) => Some("the loss is not a number after step 1".to_owned()),
            (_, true) => Some(format!("below the median at step {last}")),
            _ => None,
        },
    }
}

fn evaluation() -> Evaluation {
    let metric = |name: &str, higher_is_better, valid, test, reach| MetricScores {
        name: name.to_owned(),
        higher_is_better,
        valid: Some(estimate(valid, reach * 1.3)),
        test: Some(estimate(test, reach)),
    };
    let class = |label: &str, support, precision, recall: f64| ClassScores {
        label: label.to_owned(),
        support,
        precision: Some(precision),
        recall: Some(recall),
        f1: Some(2.0 * precision * recall / (precision + recall)),
    };
    let counts = [131, 84, 70, 58, 60, 49, 44, 47, 50, 52, 63, 81, 118, 232, 682];
    let reliability = counts.iter().enumerate().map(|(index, count)| {
        let middle = (index as f64 + 0.5) / 15.0;
        ReliabilityBin {
            lower: index as f64 / 15.0,
            upper: (index + 1) as f64 / 15.0,
            count: *count,
            confidence: Some(middle + 0.01),
            accuracy: Some(middle + 0.09 * (0.5 - middle) * (6.0 * middle).sin().abs()),
        }
    });
    Evaluation {
        metrics: vec![
            metric("f1", true, 0.8641, 0.8612, 0.0162),
            metric("accuracy", true, 0.8624, 0.8600, 0.0159),
            metric("roc_auc", true, 0.9358, 0.9341, 0.0107),
            metric("log_loss", false, 0.3391, 0.3457, 0.0241),
            metric("ece", false, 0.0243, 0.0219, 0.0081),
        ],
        classes: vec![
            class("negative", 912, 0.8697, 0.8476),
            class("positive", 909, 0.8509, 0.8724),
        ],
        confusion: vec![vec![773, 139], vec![116, 793]],
        reliability: reliability.collect(),
        threshold: Some(0.4637),
        numbers: None,
    }
}

const LONG: &str = "\
    It would be easy to say that the film means well, and for its first hour it does: the \
    camera lingers, the actors are given room, the score knows when to keep quiet. Then the \
    plot wakes up, remembers that it has three endings to deliver, and spends the last forty \
    minutes apologising for everything that made the beginning worth sitting through. I left \
    the cinema unsure whether I had been moved or merely moved along, which may be the point, \
    and if it is, the film makes it better than I do.";

fn mistakes() -> Vec<Mistake> {
    let mistake = |row, text: &str, truth: &str, predicted: &str, probability| Mistake {
        row,
        id: None,
        text: text.to_owned(),
        truth: truth.to_owned(),
        predicted: predicted.to_owned(),
        probability: Some(probability),
        residual: None,
    };
    vec![
        mistake(402, "Not the worst thing to happen to a Tuesday.", "positive", "negative", 0.0123),
        mistake(
            1377,
            "送餐倒是挺快的,可惜打开一看汤全洒了,店家还说是我自己弄的。",
            "negative",
            "positive",
            0.0288,
        ),
        mistake(93, LONG, "negative", "positive", 0.0412),
        mistake(
            1650,
            "Sharp, funny, and gone from memory by the car park.",
            "negative",
            "positive",
            0.0523,
        ),
        mistake(
            718,
            "一开始以为又是踩雷,没想到味道居然可以,下次还点。",
            "positive",
            "negative",
            0.0671,
        ),
    ]
}

fn suspects() -> Vec<Suspect> {
    let suspect =
        |part: &str, row, text: &str, given: &str, suggested: &str, probability| Suspect {
            part: part.to_owned(),
            row,
            id: None,
            text: text.to_owned(),
            given: given.to_owned(),
            suggested: suggested.to_owned(),
            probability: Some(probability),
        };
    vec![
        suspect(
            "train",
            5121,
            "A warm, wise and very funny little film.",
            "negative",
            "positive",
            0.9931,
        ),
        suspect("train", 88, "难吃,再也不会点了", "positive", "negative", 0.9874),
        suspect("valid", 311, "Dull from the titles on.", "positive", "negative", 0.9712),
    ]
}

fn distillation() -> Distillation {
    let contender = |name: &str, score, p50, better: Option<(f64, f64)>| Contender {
        name: name.to_owned(),
        score: estimate(score, 0.0162),
        p50_ms: p50,
        difference: better.map(|(difference, _)| estimate(difference, 0.011)),
        p_value: better.map(|(_, p)| p),
    };
    Distillation {
        part: "test".to_owned(),
        rows: 1821,
        models: vec![
            contender("reviews-large", 0.8913, Some(14.2), Some((-0.0301, 2.1e-5))),
            contender("student alone", 0.8307, None, Some((0.0305, 0.0012))),
            contender("student distilled", 0.8612, None, None),
        ],
        finished_p50_ms: Some(0.0412),
    }
}

fn compression() -> Compression {
    let candidate =
        |name: &str, size_bytes, p50, score, difference, lower_bound, verdict| Candidate {
            name: name.to_owned(),
            size_bytes,
            p50_ms: Some(p50),
            p99_ms: Some(2.6 * p50),
            score: Some(score),
            difference,
            lower_bound,
            verdict,
            chosen: name == "prune 50 % + int8",
        };
    let holds = Some(Outcome::Holds);
    Compression {
        candidates: vec![
            candidate("uncompressed", 7_412_330, 0.0621, 0.8641, None, None, None),
            candidate("int8", 1_981_204, 0.0455, 0.8637, Some(-0.0004), Some(-0.0031), holds),
            candidate(
                "prune 50 % + int8",
                1_874_211,
                0.0412,
                0.8652,
                Some(0.0011),
                Some(-0.0042),
                holds,
            ),
            candidate(
                "prune 80 %",
                3_120_508,
                0.0398,
                0.8503,
                Some(-0.0138),
                Some(-0.0221),
                Some(Outcome::Fails),
            ),
            candidate(
                "dimension 32",
                1_220_019,
                0.0377,
                0.8588,
                Some(-0.0053),
                Some(-0.0117),
                Some(Outcome::Undecided),
            ),
        ],
        max_drop: Some(0.01),
    }
}

fn commands() -> Vec<Snippet> {
    let snippet = |title: &str, command: &str| Snippet {
        title: title.to_owned(),
        command: command.to_owned(),
    };
    vec![
        snippet("Serve it", "luthier serve run/bundle"),
        snippet(
            "Predict from the terminal",
            "echo 'A warm, wise little film.' | luthier predict run/bundle",
        ),
        snippet(
            "Predict over REST",
            "curl -s http://127.0.0.1:8501/v1/models/reviews:predict \\\n\
             \x20 -d '{\"instances\": [{\"text\": \"A warm, wise little film.\"}]}'",
        ),
        snippet(
            "Predict over the alias route",
            "curl -s http://127.0.0.1:8501/reviews -d '{\"text\": \"A warm, wise little film.\"}'",
        ),
        snippet(
            "Predict from Python",
            "import json, urllib.request\n\n\
             body = json.dumps({\"text\": \"A warm, wise little film.\"}).encode()\n\
             with urllib.request.urlopen(\"http://127.0.0.1:8501/reviews\", body) as answer:\n\
             \x20   print(json.load(answer)[\"score\"])",
        ),
    ]
}

fn lineage() -> Vec<Fact> {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    [
        ("train", digest),
        ("valid", "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"),
        ("test", "fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13"),
        ("study", "reviews, 30 trials, tpe, seed 42"),
        ("trial", "21"),
        ("release", "0.1.0"),
    ]
    .map(|(key, value)| Fact { key: key.to_owned(), value: value.to_owned() })
    .to_vec()
}
