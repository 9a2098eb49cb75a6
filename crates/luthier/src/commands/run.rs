//! `luthier run` and `luthier tune`.

use std::sync::atomic::AtomicBool;

use luthier_report::{Compression, Outcome, RunReport, Trial, Tuning, Verdict};

use super::{assigned, print, print_json};
use crate::cli::{Format, JobArgs, RunArgs, TuneArgs};
use crate::failure::Failure;
use crate::job::Job;
use crate::launch;
use crate::stages;
use crate::term::{Reporter, milliseconds, size, table, times};

pub(crate) fn run(args: &RunArgs, format: Format, stop: &AtomicBool) -> Result<(), Failure> {
    let job = load_to_search(args)?;
    let report = stages::run(&job, &Reporter::new(false), stop)?;
    let has_model = report.evaluation.is_some();
    match (format, has_model) {
        (Format::Json, _) => print_json(&report)?,
        (Format::Text, true) => print(&closing(&job, &report))?,
        (Format::Text, false) => {
            print(&best(&job, &report))?;
            let why = match job.data {
                Some(_) => "the best trial is a program's, which has left no model.onnx",
                None => "without rows there is no model to finish",
            };
            print(&format!("\nThe run ends here: {why}.\n"))?;
        }
    }
    if has_model { verdict(&report) } else { Ok(()) }
}

pub(crate) fn tune(args: &TuneArgs, format: Format, stop: &AtomicBool) -> Result<(), Failure> {
    let mut job = load_to_search(&args.run)?;
    let tasks = &mut job.tune.tasks;
    tasks.count = args.tasks.unwrap_or(tasks.count);
    tasks.cpus = args.run.job.workers.unwrap_or(tasks.cpus);
    tasks.ray.address = args.address.clone().or_else(|| tasks.ray.address.take());
    let reporter = Reporter::new(false);
    let report = match args.on {
        None => stages::tune(&job, &reporter, stop)?,
        Some(cluster) => {
            let mut engine = launch::engine(cluster, &job, &args.run.job.path)?;
            if args.print {
                return print(&engine.text());
            }
            stages::tune_on(engine.as_mut(), &job, &reporter, stop)?
        }
    };
    match format {
        Format::Json => print_json(&report),
        Format::Text => print(&best(&job, &report)),
    }
}

/// The job with what the command line says otherwise.
pub(crate) fn load(args: &JobArgs) -> Result<Job, Failure> {
    let mut job = Job::load_with(&args.path, args.storage.as_deref())?;
    job.tune.trials = args.trials.unwrap_or(job.tune.trials);
    job.tune.workers = args.workers.map_or(job.tune.workers, usize::from);
    job.tune.seed = args.seed.unwrap_or(job.tune.seed);
    job.offline = args.offline;
    Ok(job)
}

/// The same for a search that may be the first in its space.
fn load_to_search(args: &RunArgs) -> Result<Job, Failure> {
    let mut job = load(&args.job)?;
    if args.extend_space {
        job.tune.extend = Some(assigned("--was ", &args.was, &job.tune.space)?);
    }
    Ok(job)
}

/// The best trial of a search.
fn best(job: &Job, report: &RunReport) -> String {
    let Some(tuning) = &report.tuning else { return String::new() };
    let Some(trial) = tuning.trials.iter().find(|trial| Some(trial.number) == tuning.best) else {
        return String::new();
    };
    let shown =
        |score: Option<f64>| score.map_or("undefined".into(), |score| format!("{score:.4}"));
    let mut score = shown(report.headline.score.value);
    if trial.again.is_some() {
        score += &format!(", mean of {} and {}", shown(trial.score), shown(trial.again));
    }
    let metric = &report.metric.name;
    let score = match (report.headline.rows, trial.reported) {
        (0, _) => format!("{metric} {score} (reported by the program)"),
        (rows, true) => format!("valid {metric} {score} ({rows} rows, reported by the program)"),
        (rows, false) => format!("valid {metric} {score} ({rows} rows)"),
    };
    let mut text =
        format!("\n{}\n  best      trial {}\n  score     {score}\n", report.name, trial.number);
    for (limit, beyond) in tuning.limits.iter().zip(&trial.violations) {
        text += &match *beyond {
            Some(beyond) if beyond <= 0.0 => format!("  yes       {limit} keeps its limit\n"),
            Some(beyond) => format!("  NO        {limit} is {beyond:.4} beyond its limit\n"),
            None => format!("  NO        {limit} is not known\n"),
        };
    }
    for verdict in &report.headline.verdicts {
        text += &verdict_line(verdict);
    }
    let folder = job.run_folder();
    let own = folder.join("trials").join(trial.number.to_string());
    if own.exists() {
        text += &format!("  files     {}\n", own.display());
    }
    text += &format!("  report    {}\n\n", folder.join("tuning.html").display());
    let mut lines = vec![vec!["parameter".to_owned(), "value".to_owned()]];
    lines.extend(trial.values.iter().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        vec![name.clone(), value]
    }));
    text += &table(&lines);
    if !tuning.front.is_empty() {
        text += &format!("\nPareto front\n{}", front(report, tuning));
    }
    text
}

/// The scores of the trials on the front, the best by the first of them marked.
fn front(report: &RunReport, tuning: &Tuning) -> String {
    let metrics = std::iter::once(&report.metric).chain(&tuning.also);
    let head = std::iter::once("trial".to_owned()).chain(metrics.map(|metric| metric.name.clone()));
    let mut lines = vec![head.collect::<Vec<_>>()];
    let on_front = |trial: &&Trial| tuning.front.contains(&trial.number);
    for trial in tuning.trials.iter().filter(on_front) {
        let scores = trial.also.iter().flatten();
        let scores = trial.score.iter().chain(scores).map(|score| format!("{score:.4}"));
        let best = (Some(trial.number) == tuning.best).then(|| "best".to_owned());
        lines.push(std::iter::once(trial.number.to_string()).chain(scores).chain(best).collect());
    }
    table(&lines)
}

/// What a reader wants to know when the work is done.
fn closing(job: &Job, report: &RunReport) -> String {
    let headline = &report.headline;
    let folder = job.run_folder();
    let part = if headline.test_openings > 0 { "test" } else { "valid" };
    let score = headline.score.value.map_or("undefined".to_owned(), |v| format!("{v:.4}"));
    let interval = match (headline.score.low, headline.score.high) {
        (Some(low), Some(high)) => format!(", 95 % {low:.4} to {high:.4}"),
        _ => String::new(),
    };
    let opened = match headline.test_openings {
        0 => String::new(),
        n => format!(", opened {}", times(n)),
    };
    let mut text = format!(
        "\n{}\n  score     {part} {} {score} ({} rows{interval}{opened})\n",
        report.name, report.metric.name, headline.rows
    );
    let shrinkage = report.compression.as_ref().and_then(shrinkage);
    let smaller =
        shrinkage.map_or(String::new(), |x| format!(" ({x:.1}x smaller than as trained)"));
    text += &format!("  size      {}{smaller}\n", size(headline.size_bytes.unwrap_or(0)));
    if let (Some(p50), Some(p99)) = (headline.p50_ms, headline.p99_ms) {
        let (p50, p99) = (milliseconds(p50), milliseconds(p99));
        text += &format!("  one row   {p50} median, {p99} at the 99th percentile\n");
    }
    for verdict in &headline.verdicts {
        text += &verdict_line(verdict);
    }
    text += &format!("  bundle    {}\n", folder.join("bundle").display());
    text += &format!("  report    {}\n", folder.join("report.html").display());
    let wanted = if job.route.is_some() { "short route" } else { "TensorFlow" };
    for snippet in &report.commands {
        if snippet.title.starts_with("Serve") {
            text += &format!("\nServe it:  {}\n", snippet.command);
        } else if snippet.title.contains(wanted) {
            text += &format!("Ask it:    {}\n", snippet.command);
        }
    }
    text
}

fn verdict_line(verdict: &Verdict) -> String {
    let mark = match verdict.outcome {
        Outcome::Holds => "yes",
        Outcome::Fails => "NO",
        Outcome::Undecided => "open",
    };
    format!("  {mark:<9} {}\n", verdict.text)
}

/// How many times smaller the chosen model is than the trained one, the first candidate, if that
/// is worth a word. Both sizes are of candidates: the finished bundle holds reports besides.
fn shrinkage(compression: &Compression) -> Option<f64> {
    let trained = compression.candidates.first()?;
    let chosen = compression.candidates.iter().find(|candidate| candidate.chosen)?;
    let times = trained.size_bytes as f64 / chosen.size_bytes as f64;
    (times > 1.05).then_some(times)
}

/// A target or limit that is missed is a "no" of the check that the job asked for.
fn verdict(report: &RunReport) -> Result<(), Failure> {
    let demands = report.headline.verdicts.iter().filter(|v| !v.text.contains("compress"));
    let missed: Vec<&str> = demands
        .filter(|verdict| verdict.outcome == Outcome::Fails)
        .map(|verdict| verdict.text.as_str())
        .collect();
    match missed.is_empty() {
        true => Ok(()),
        false => Err(Failure::no(format!("the model is finished, but {}", missed.join("; ")))
            .hint("raise `tune.trials`, widen `tune.space`, or move the target or limit")),
    }
}
