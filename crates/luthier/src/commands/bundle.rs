//! `luthier bundle`.

use std::path::{Path, PathBuf};

use luthier_bundle::{Bundle, Manifest};
use luthier_engine::Threads;
use luthier_model::{ClassDecision, Decision};
use serde_json::json;

use super::{print, print_json};
use crate::cli::{BundleCommand, Format};
use crate::failure::Failure;
use crate::term::{size, table, times};

pub(crate) fn bundle(command: &BundleCommand, format: Format) -> Result<(), Failure> {
    match command {
        BundleCommand::Show { bundle } => show(bundle, format),
        BundleCommand::Verify { bundle } => verify(bundle, format),
        BundleCommand::Pack { bundle, output } => pack(bundle, output.as_deref(), format),
        BundleCommand::Publish { bundle, model, version } => {
            publish(bundle, model, *version, format)
        }
    }
}

fn show(path: &Path, format: Format) -> Result<(), Failure> {
    let bundle = Bundle::open(path)?;
    match format {
        Format::Json => print_json(bundle.manifest()),
        Format::Text => print(&render(&bundle)),
    }
}

fn render(bundle: &Bundle) -> String {
    let manifest = bundle.manifest();
    let mut lines = facts(manifest);
    lines.insert(3, vec!["size".to_owned(), size(bundle.size_bytes())]);
    let mut text = table(&lines);
    let mut lines = vec![["part", "metric", "value", "95 %", "rows"].map(str::to_owned).to_vec()];
    for score in &manifest.scores {
        let number = |x: Option<f64>| x.map_or("–".to_owned(), |x| format!("{x:.4}"));
        lines.push(vec![
            score.part.clone(),
            score.metric.clone(),
            format!("{:.4}", score.value),
            format!("{} to {}", number(score.low), number(score.high)),
            score.rows.to_string(),
        ]);
    }
    text += "\n";
    text += &table(&lines);
    let mut lines = vec![["file", "bytes", "sha256"].map(str::to_owned).to_vec()];
    for file in &manifest.files {
        lines.push(vec![file.name.clone(), file.bytes.to_string(), file.sha256.clone()]);
    }
    text += "\n";
    text + &table(&lines)
}

fn facts(manifest: &Manifest) -> Vec<Vec<String>> {
    let decision = &manifest.decision;
    let mut facts: Vec<(&str, String)> =
        vec![("name", manifest.name.clone()), ("task", manifest.task.clone())];
    match decision {
        Decision::Class(decision) => {
            facts.push(("labels", decision.labels.join(", ")));
            let positive = decision.positive.and_then(|class| decision.labels.get(class));
            facts.extend(positive.map(|label| ("positive", label.clone())));
            facts.extend(decision.threshold.map(|from| ("threshold", format!("{from:.4}"))));
            if !decision.costs.is_empty() {
                facts.push(("costs", costs(decision)));
            }
        }
        Decision::Number(decision) => facts.push(("number", decision.number.clone())),
    }
    if let Some(route) = &manifest.route {
        let input = route.input.as_deref().unwrap_or("columns");
        facts.push(("route", format!("{} ({input} to {})", route.path, route.output)));
    }
    facts.push(("test", format!("opened {}", times(manifest.test_openings.into()))));
    for data in &manifest.lineage.data {
        let short: String = data.sha256.chars().take(16).collect();
        facts.push(("data", format!("{}: {} rows, sha256 {short}…", data.part, data.rows)));
    }
    if let Some(trial) = &manifest.lineage.trial {
        let values: Vec<String> =
            trial.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        facts.push((
            "trial",
            format!("{} of study {}, seed {}", trial.number, trial.study, trial.seed),
        ));
        facts.push(("values", values.join(", ")));
    }
    if let Some(recipe) = &manifest.lineage.compression {
        facts.push(("compressed", recipe.clone()));
    }
    facts.push(("release", manifest.release.clone()));
    facts.push(("digest", manifest.digest.clone()));
    facts.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect()
}

fn verify(path: &Path, format: Format) -> Result<(), Failure> {
    let bundle = Bundle::open(path)?;
    bundle.predictor(&Threads::new(1))?;
    let (files, probes) = (bundle.manifest().files.len() + 1, bundle.manifest().probes.len());
    match format {
        Format::Json => print_json(&json!({ "ok": true, "files": files, "probes": probes })),
        Format::Text => print(&format!(
            "{}: {files} files are as written, {probes} probes are answered as stored\n",
            path.display()
        )),
    }
}

fn pack(path: &Path, output: Option<&Path>, format: Format) -> Result<(), Failure> {
    let bundle = Bundle::open(path)?;
    let beside = || {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".luthier");
        path.with_file_name(name)
    };
    let target: PathBuf = output.map_or_else(beside, Path::to_owned);
    if target.is_dir() {
        return Err(Failure::input(format!("{} is a folder", target.display()))
            .hint("give the name of a file with --output"));
    }
    let bytes = bundle.pack(&target)?;
    match format {
        Format::Json => print_json(&json!({ "path": target, "bytes": bytes })),
        Format::Text => print(&format!("{}: {}\n", target.display(), size(bytes))),
    }
}

fn publish(path: &Path, model: &Path, version: Option<i64>, format: Format) -> Result<(), Failure> {
    let published = Bundle::open(path)?.publish(model, version)?;
    match format {
        Format::Json => {
            print_json(&json!({ "path": published.path, "version": published.version }))
        }
        Format::Text => print(&format!("{}\n", published.path.display())),
    }
}

/// What costs something, as true and decided class.
fn costs(decision: &ClassDecision) -> String {
    let labels = &decision.labels;
    let of_truth = decision.costs.iter().zip(labels).flat_map(|(costs, truth)| {
        let each = costs.iter().zip(labels).filter(|(cost, _)| **cost != 0.0);
        each.map(move |(cost, decided)| format!("{truth} as {decided} {cost}"))
    });
    of_truth.collect::<Vec<_>>().join(", ")
}
