//! `luthier gate`: may this bundle replace the one in production?

mod junit;
mod latency;

use luthier_bundle::{Bundle, sha256_hex};
use luthier_eval::{
    Bootstrap, Metric, NonInferiority, NonInferiorityVerdict, Predictions, non_inferiority,
};
use serde::Serialize;

use super::labelled::{LabelledRows, beside};
use super::{print, print_json};
use crate::cli::{Format, GateArgs};
use crate::failure::Failure;
use crate::term::{Reporter, milliseconds, size, table};

/// More milliseconds that one row may always take, and more bytes that a bundle may always have.
/// Ratios of small numbers are large for no reason that matters.
const SLACK_MS: f64 = 0.1;
const SLACK_BYTES: u64 = 1_000_000;

/// What the gate says.
#[derive(Serialize)]
struct Gate {
    verdict: Verdict,
    /// Labelled rows that both bundles were measured on.
    rows: usize,
    checks: Vec<Check>,
}

/// One thing that was measured on both.
#[derive(Serialize)]
struct Check {
    /// `f1`, `ece`, `p50_ms`, `p99_ms`, `size_bytes`.
    name: String,
    verdict: Verdict,
    candidate: f64,
    production: f64,
    /// Candidate minus production of scores, candidate over production of times and sizes.
    change: f64,
    /// The worst change that the rows leave possible, at 95 % confidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_worst: Option<f64>,
    /// The change that is allowed.
    limit: f64,
    /// Rows at which it would be decided if all else stayed as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_needed: Option<usize>,
    /// Why it does not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip)]
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Score,
    Milliseconds,
    Bytes,
}

/// In the order of how much they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Pass,
    Undecidable,
    Fail,
}

pub(crate) fn gate(args: &GateArgs, format: Format) -> Result<(), Failure> {
    check_limits(args)?;
    let candidate = Bundle::open(&args.candidate)?;
    let metric = match &args.metric {
        Some(name) => name.parse()?,
        None => tuned_for(&candidate),
    };
    let production = beside(&candidate, &args.against)?;
    let rows = LabelledRows::read(&candidate, &args.data, &args.text, &args.label)?;
    warn_of_seen_rows(args, [&candidate, &production])?;
    let checks = checks(args, metric, [&candidate, &production], &rows)?;
    let worst = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Pass);
    let gate = Gate { verdict: worst, rows: rows.len(), checks };
    if let Some(path) = &args.junit {
        junit::write(&gate, args.allow_undecidable, path)?;
    }
    match format {
        Format::Json => print_json(&gate)?,
        Format::Text => print(&gate.render())?,
    }
    gate.outcome(args.allow_undecidable)
}

fn check_limits(args: &GateArgs) -> Result<(), Failure> {
    let limits = [
        ("--max-drop", args.max_drop, 0.0),
        ("--max-ece-rise", args.max_ece_rise, 0.0),
        ("--max-slower", args.max_slower, 1.0),
        ("--max-larger", args.max_larger, 1.0),
    ];
    match limits.into_iter().find(|(_, value, least)| !(value.is_finite() && value >= least)) {
        None => Ok(()),
        Some((name, value, least)) => {
            Err(Failure::input(format!("{name} is {value}, it must be at least {least}")))
        }
    }
}

/// The metric whose scores come first in the manifest is that of the job's objective.
fn tuned_for(bundle: &Bundle) -> Metric {
    let first = bundle.manifest().scores.first();
    first.and_then(|score| score.metric.parse().ok()).unwrap_or(Metric::Accuracy)
}

/// Rows that a model learned from, or was chosen by, flatter it.
fn warn_of_seen_rows(args: &GateArgs, bundles: [&Bundle; 2]) -> Result<(), Failure> {
    let digest = sha256_hex(&std::fs::read(&args.data).map_err(Failure::io(&args.data))?);
    for (bundle, path) in bundles.into_iter().zip([&args.candidate, &args.against]) {
        let mut parts = bundle.manifest().lineage.data.iter();
        let seen = parts.find(|data| data.sha256 == digest && data.part != "test");
        if let Some(data) = seen {
            let (file, part) = (args.data.display(), &data.part);
            let note =
                format!("{file} is the {part} data of {}, which it flatters", path.display());
            Reporter::new(false).line("note", &note);
        }
    }
    Ok(())
}

fn checks(
    args: &GateArgs,
    metric: Metric,
    [candidate, production]: [&Bundle; 2],
    rows: &LabelledRows,
) -> Result<Vec<Check>, Failure> {
    let mut checks = scored(args, metric, [candidate, production], rows)?;
    let [ours, theirs] = latency::side_by_side([candidate, production], &rows.timed())?;
    checks.push(Check::slower("p50_ms", ours.median, theirs.median, args.max_slower));
    checks.push(Check::slower("p99_ms", ours.p99, theirs.p99, args.max_slower));
    let sizes = [candidate.size_bytes(), production.size_bytes()];
    checks.push(Check::larger(sizes, args.max_larger));
    Ok(checks)
}

/// The metric and the calibration error; one check where the metric is the calibration error.
fn scored(
    args: &GateArgs,
    metric: Metric,
    [candidate, production]: [&Bundle; 2],
    rows: &LabelledRows,
) -> Result<Vec<Check>, Failure> {
    let decision = &candidate.manifest().decision;
    let score = |bundle| rows.score(bundle, decision.labels());
    let predictions = [score(candidate)?, score(production)?];
    let limits = match metric {
        Metric::Ece => vec![(Metric::Ece, args.max_ece_rise)],
        _ if metric.of_numbers() => vec![(metric, args.max_drop)],
        _ => vec![(metric, args.max_drop), (Metric::Ece, args.max_ece_rise)],
    };
    let checks = limits.into_iter().map(|(metric, limit)| {
        let mut found = compared(&predictions, metric, decision.positive(), limit)?;
        if candidate.answers_as(production) {
            // Few rows leave no doubt: on those that are missing nothing can differ either.
            (found.lower_bound, found.verdict) = (0.0, NonInferiorityVerdict::Holds);
        }
        let [candidate, production] = &predictions;
        let value = |of: &Predictions| metric.score(of, decision.positive()).unwrap_or(f64::NAN);
        Ok(Check::scored(&found, value(candidate), value(production)))
    });
    checks.collect()
}

fn compared(
    [candidate, production]: &[Predictions; 2],
    metric: Metric,
    positive: Option<usize>,
    limit: f64,
) -> Result<NonInferiority, Failure> {
    let bootstrap = Bootstrap::default();
    Ok(non_inferiority(candidate, production, metric, positive, limit, &bootstrap)?)
}

impl Check {
    fn scored(found: &NonInferiority, candidate: f64, production: f64) -> Self {
        // From here on a change is that of the metric itself, whichever way is better.
        let (sign, falls) = match found.metric.higher_is_better() {
            true => (1.0, "drop"),
            false => (-1.0, "rise"),
        };
        // Added to 0, a negative zero becomes a positive one.
        let (change, at_worst) = (0.0 + sign * found.difference, 0.0 + sign * found.lower_bound);
        let limit = -sign * found.max_drop;
        let name = found.metric.to_string();
        let allowed = found.max_drop;
        let (verdict, rows_needed, reason) = match found.verdict {
            NonInferiorityVerdict::Holds => (Verdict::Pass, None, None),
            NonInferiorityVerdict::Fails => {
                let by = found.difference.abs();
                let reason = format!("{name} {falls}s by {by:.4}, more than {allowed}");
                (Verdict::Fail, None, Some(reason))
            }
            NonInferiorityVerdict::Undecidable { rows, needed } => {
                let by = found.lower_bound.abs();
                let more = needed.map_or("more rows may not tell".to_owned(), |needed| {
                    format!("about {needed} rows would tell")
                });
                let reason = format!(
                    "{name} may {falls} by {by:.4}, more than {allowed}: {rows} rows are too few to \
                     tell, {more}"
                );
                (Verdict::Undecidable, needed, Some(reason))
            }
        };
        let (at_worst, unit) = (Some(at_worst), Unit::Score);
        Self {
            name,
            verdict,
            candidate,
            production,
            change,
            at_worst,
            limit,
            rows_needed,
            reason,
            unit,
        }
    }

    fn slower(name: &str, candidate: f64, production: f64, limit: f64) -> Self {
        let is_slow = candidate > limit * production && candidate > production + SLACK_MS;
        let reason = || {
            let (ours, theirs) = (milliseconds(candidate), milliseconds(production));
            format!("one row takes {ours} instead of {theirs}, more than {limit} times as long")
        };
        Self::ratio(name, Unit::Milliseconds, [candidate, production], limit, is_slow, reason)
    }

    fn larger([candidate, production]: [u64; 2], limit: f64) -> Self {
        let (ours, theirs) = (candidate as f64, production as f64);
        let is_large = ours > limit * theirs && candidate > production.saturating_add(SLACK_BYTES);
        let reason = || {
            let (ours, theirs) = (size(candidate), size(production));
            format!("the bundle has {ours} instead of {theirs}, more than {limit} times as much")
        };
        Self::ratio("size_bytes", Unit::Bytes, [ours, theirs], limit, is_large, reason)
    }

    fn ratio(
        name: &str,
        unit: Unit,
        [candidate, production]: [f64; 2],
        limit: f64,
        is_beyond: bool,
        reason: impl Fn() -> String,
    ) -> Self {
        Self {
            name: name.to_owned(),
            verdict: if is_beyond { Verdict::Fail } else { Verdict::Pass },
            candidate,
            production,
            change: candidate / production,
            at_worst: None,
            limit,
            rows_needed: None,
            reason: is_beyond.then(reason),
            unit,
        }
    }

    fn cells(&self) -> Vec<String> {
        let value = |x: f64| match self.unit {
            Unit::Score => format!("{x:.4}"),
            Unit::Milliseconds => milliseconds(x),
            Unit::Bytes => size(x as u64),
        };
        let change = |x: f64| match self.unit {
            Unit::Score => format!("{x:+.4}"),
            _ => format!("{x:.2}x"),
        };
        let name = match self.name.as_str() {
            "p50_ms" => "one row, median",
            "p99_ms" => "one row, 99 %",
            "size_bytes" => "size",
            metric => metric,
        };
        vec![
            name.to_owned(),
            value(self.candidate),
            value(self.production),
            change(self.change),
            self.at_worst.map_or("–".to_owned(), change),
            change(self.limit),
            self.verdict.name().to_owned(),
        ]
    }
}

impl Gate {
    fn render(&self) -> String {
        let head = ["check", "candidate", "production", "change", "at worst", "limit", "verdict"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(self.checks.iter().map(Check::cells));
        let verdict = self.verdict.name();
        format!("{}\n{verdict} on {} rows\n", table(&lines), self.rows)
    }

    /// Success, or the reasons against it in one line.
    fn outcome(&self, allow_undecidable: bool) -> Result<(), Failure> {
        let tolerated = if allow_undecidable { Verdict::Undecidable } else { Verdict::Pass };
        if self.verdict <= tolerated {
            return Ok(());
        }
        let against = self.checks.iter().filter(|check| check.verdict > tolerated);
        let reasons: Vec<&str> = against.filter_map(|check| check.reason.as_deref()).collect();
        let failure = Failure::no(format!("the gate says no: {}", reasons.join("; ")));
        Err(match self.verdict {
            Verdict::Undecidable => {
                failure.hint("give more labelled rows, or --allow-undecidable to go on without")
            }
            _ => failure,
        })
    }
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Undecidable => "undecidable",
            Self::Fail => "fail",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_of_small_numbers_pass() {
        let slower = |ours, theirs| Check::slower("p50_ms", ours, theirs, 1.5).verdict;
        assert_eq!(slower(0.09, 0.01), Verdict::Pass);
        assert_eq!(slower(0.12, 0.01), Verdict::Fail);
        assert_eq!(slower(1.49, 1.0), Verdict::Pass);
        assert_eq!(slower(1.51, 1.0), Verdict::Fail);
        let larger = |ours, theirs| Check::larger([ours, theirs], 1.5).verdict;
        assert_eq!(larger(900_000, 10), Verdict::Pass);
        assert_eq!(larger(2_000_000, 900_000), Verdict::Fail);
        assert_eq!(larger(14_000_000, 10_000_000), Verdict::Pass);
        assert_eq!(larger(16_000_000, 10_000_000), Verdict::Fail);
    }
}
