//! `luthier data`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use luthier_data::{
    CategoryCount, ContentProfile, ContentSpec, Dataset, DatasetSpec, Distinct, FoldSpec,
    NumberProfile, PartProfile, Profile, Schema, Severity, Source, SplitPlan, TableProfile, Target,
    TextProfile, ValuesProfile, assign_folds, write_split,
};
use luthier_eval::Metric;
use luthier_report::LearningCurve;
use serde::Serialize;

use super::{print, print_json};
use crate::cli::{DataArgs, DataCommand, Format, SplitArgs};
use crate::failure::Failure;
use crate::job::{Deciding, FILE, Job};
use crate::stages;
use crate::term::{Reporter, table};

/// Rows that the schema of a file is inferred from.
const SCHEMA_ROWS: u64 = 100_000;

/// All that the command may have to say.
#[derive(Serialize)]
struct Seen {
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_curve: Option<LearningCurve>,
}

pub(crate) fn data(args: &DataArgs, format: Format, stop: &AtomicBool) -> Result<(), Failure> {
    if let Some(DataCommand::Split(split_args)) = &args.command {
        return split(split_args, format);
    }
    let path = args.path.as_deref().unwrap_or(Path::new("."));
    let is_job = path.is_dir() || path.extension().is_some_and(|ext| ext == "toml");
    let reporter = Reporter::new(format == Format::Json);
    let mut seen = Seen { schema: None, profile: None, learning_curve: None };
    if is_job {
        let job = Job::load(path)?;
        let data = job.data.ok_or_else(|| {
            Failure::input("the job has no [data]").hint("give the path of a file with rows")
        })?;
        let dataset = Dataset::open(&data.rows)?;
        seen.schema = Some(Source::open(&data.rows.train)?.schema(Some(SCHEMA_ROWS))?);
        seen.profile = Some(dataset.profile()?);
        if args.learning_curve {
            let curve =
                stages::learning_curve(&dataset, &data.deciding, data.metric, &reporter, stop)?;
            seen.learning_curve = Some(curve);
        }
    } else {
        seen.schema = Some(Source::open(path)?.schema(Some(SCHEMA_ROWS))?);
        if let Some(dataset) = guessed_dataset(path)? {
            seen.profile = Some(dataset.profile()?);
            if args.learning_curve {
                let deciding = Deciding::default();
                let curve =
                    stages::learning_curve(&dataset, &deciding, Metric::F1, &reporter, stop)?;
                seen.learning_curve = Some(curve);
            }
        } else if args.learning_curve {
            return Err(Failure::input("a learning curve needs columns `text` and `label`")
                .hint(format!("write a {FILE} that names the columns, and give its path")));
        }
    }
    match format {
        Format::Json => print_json(&seen),
        Format::Text => print(&render(&seen)),
    }
}

/// A lone file with columns `text` and `label` is profiled as a data set.
fn guessed_dataset(path: &Path) -> Result<Option<Dataset>, Failure> {
    let source = Source::open(path)?;
    let has = |name: &str| source.columns().iter().any(|column| column == name);
    if !has("text") || !has("label") {
        return Ok(None);
    }
    let spec =
        DatasetSpec { train: path.to_owned(), label: "label".to_owned(), ..DatasetSpec::default() };
    Ok(Some(Dataset::open(&spec)?))
}

fn render(seen: &Seen) -> String {
    let mut text = String::new();
    if let Some(schema) = &seen.schema {
        text += &render_schema(schema);
    }
    if let Some(profile) = &seen.profile {
        text += "\n";
        text += &render_profile(profile);
    }
    if let Some(curve) = &seen.learning_curve {
        text += "\n";
        text += &render_curve(curve);
    }
    text
}

fn render_schema(schema: &Schema) -> String {
    let head = ["column", "kind", "missing", "distinct", "example"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for column in &schema.columns {
        let distinct = match column.distinct {
            Distinct::Exactly(n) => n.to_string(),
            Distinct::MoreThan(n) => format!("{n}+"),
        };
        let example: String = column.example.as_deref().unwrap_or("–").chars().take(40).collect();
        lines.push(vec![
            column.name.clone(),
            format!("{:?}", column.kind).to_lowercase(),
            column.missing.to_string(),
            distinct,
            example.replace(['\n', '\r', '\t'], " "),
        ]);
    }
    table(&lines)
}

fn render_profile(profile: &Profile) -> String {
    let is_table = profile.parts.iter().any(|part| part.table().is_some());
    let facts: &[&str] = match is_table {
        true => &["twins"],
        false => &["median", "95 %", "longest", "empty", "twins", "near"],
    };
    let mut lines = vec![vec!["part".to_owned(), "rows".to_owned()]];
    let shown = profile.labels.iter().take(8);
    lines[0].extend(shown.clone().map(|label| format!("class {label}")));
    lines[0].extend(facts.iter().map(|&fact| fact.to_owned()));
    for part in &profile.parts {
        let mut line = vec![part.part.to_string(), part.rows.to_string()];
        line.extend(shown.clone().zip(&part.class_counts).map(|(_, count)| count.to_string()));
        match &part.content {
            ContentProfile::Text(text) => line.extend(text_facts(text)),
            ContentProfile::Table(table) => line.push(table.duplicates.to_string()),
        }
        lines.push(line);
    }
    let mut text = table(&lines);
    if profile.classes > 8 {
        text += &format!("and {} more classes\n", profile.classes - 8);
    }
    text += match is_table {
        true => "twins: rows all of whose cells stand earlier in the part\n",
        false => {
            "median, 95 %, longest: characters; twins: rows whose text stands earlier in the part\n"
        }
    };
    if let Some(train) = profile.parts.first().and_then(PartProfile::table) {
        text += &format!("\n{}", render_columns(train));
    }
    if !profile.findings.is_empty() {
        text += "\n";
    }
    for finding in &profile.findings {
        let severity = match finding.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
        };
        text += &format!("{severity}: {}\n", finding.message);
    }
    text
}

fn text_facts(text: &TextProfile) -> impl Iterator<Item = String> {
    let at = |q: f64| {
        let found = text.lengths.iter().find(|length| length.q == q);
        found.map_or("–".to_owned(), |length| length.characters.to_string())
    };
    let counts = [text.empty, text.duplicates, text.near_duplicates];
    [at(0.5), at(0.95), at(1.0)].into_iter().chain(counts.map(|count| count.to_string()))
}

/// What the columns that a model reads are like in training.
fn render_columns(profile: &TableProfile) -> String {
    let head = ["read", "as", "missing", "tells", "values"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for column in &profile.columns {
        let (kind, values) = match &column.values {
            ValuesProfile::Number { numbers } => ("number", range(numbers.as_ref())),
            ValuesProfile::Time { numbers } => ("time", range(numbers.as_ref())),
            ValuesProfile::Category(categories) => ("category", commonest(&categories.top)),
        };
        let tells = column.association.map_or("–".to_owned(), |share| format!("{share:.2}"));
        let missing = column.missing.to_string();
        lines.push(vec![column.name.clone(), kind.to_owned(), missing, tells, values]);
    }
    table(&lines) + "tells: how much of the label the column alone tells, from 0 to 1\n"
}

fn range(numbers: Option<&NumberProfile>) -> String {
    let Some(numbers) = numbers else { return "–".to_owned() };
    let median = numbers.quantiles.iter().find(|quantile| quantile.q == 0.5);
    // Cells have no more digits than that.
    let short = |number: f64| (number as f32).to_string();
    let median = median.map_or(String::new(), |median| format!(", median {}", short(median.value)));
    format!("{} to {}{median}", short(numbers.min), short(numbers.max))
}

/// As many of the most frequent categories as are read at a glance.
fn commonest(top: &[CategoryCount]) -> String {
    const SHOWN: usize = 4;
    let count = |category: &CategoryCount| format!("{} {}", category.value, category.rows);
    let mut text = top.iter().take(SHOWN).map(count).collect::<Vec<_>>().join(", ");
    if top.len() > SHOWN {
        text += ", …";
    }
    text
}

fn render_curve(curve: &LearningCurve) -> String {
    let mut lines = vec![["rows", "score", "95 %"].map(str::to_owned).to_vec()];
    for point in &curve.points {
        let number = |x: Option<f64>| x.map_or("–".to_owned(), |x| format!("{x:.4}"));
        let interval = format!("{} to {}", number(point.low), number(point.high));
        lines.push(vec![point.rows.to_string(), number(point.score), interval]);
    }
    format!("{}{}\n", table(&lines), curve.sentence)
}

/// What was written where.
#[derive(Serialize)]
struct Written {
    path: PathBuf,
    rows: u64,
}

fn split(args: &SplitArgs, format: Format) -> Result<(), Failure> {
    let source = Source::open(&args.file)?;
    let (assignment, names) = match args.folds {
        Some(folds) => {
            let spec = FoldSpec {
                file: args.file.clone(),
                content: ContentSpec::Text(args.text.clone()),
                label: args.label.clone(),
                target: Target::Class,
                group: args.group.clone(),
                folds,
                seed: args.seed,
            };
            let names = (0..folds).map(|fold| format!("fold{fold}")).collect::<Vec<_>>();
            (assign_folds(&spec)?.fold_of_row, names)
        }
        None => {
            let spec = DatasetSpec {
                train: args.file.clone(),
                split: Some(SplitPlan {
                    valid: args.valid,
                    test: args.test,
                    seed: args.seed,
                    group: args.group.clone(),
                    time: args.time.clone(),
                }),
                content: ContentSpec::Text(args.text.clone()),
                label: args.label.clone(),
                ..DatasetSpec::default()
            };
            let assignment = Dataset::open(&spec)?.assignment().map(<[u8]>::to_vec);
            (assignment.unwrap_or_default(), ["train", "valid", "test"].map(String::from).to_vec())
        }
    };
    let beside = args.file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let folder = args.out.clone().unwrap_or(beside);
    std::fs::create_dir_all(&folder).map_err(Failure::io(&folder))?;
    let written = write_parts(&source, &assignment, &names, &folder)?;
    match format {
        Format::Json => print_json(&written),
        Format::Text => {
            let mut lines = vec![["file", "rows"].map(str::to_owned).to_vec()];
            let line = |w: &Written| vec![w.path.display().to_string(), w.rows.to_string()];
            lines.extend(written.iter().map(line));
            print(&table(&lines))
        }
    }
}

/// Writes the parts that got rows, none of them over a file that is there.
fn write_parts(
    source: &Source,
    assignment: &[u8],
    names: &[String],
    folder: &Path,
) -> Result<Vec<Written>, Failure> {
    let extension = match source.format().extension() {
        "parquet" => "csv",
        other => other,
    };
    let used: Vec<usize> =
        (0..names.len()).filter(|part| assignment.contains(&(*part as u8))).collect();
    let position = |part: u8| used.iter().position(|used| *used == usize::from(part));
    let dense: Vec<u8> = assignment.iter().map(|part| position(*part).unwrap_or(0) as u8).collect();
    let paths: Vec<PathBuf> =
        used.iter().map(|part| folder.join(format!("{}.{extension}", names[*part]))).collect();
    if let Some(there) = paths.iter().find(|path| path.exists()) {
        return Err(Failure::input(format!("{} exists already", there.display()))
            .hint("give another folder for the parts with --out"));
    }
    let counts = write_split(source, &dense, &paths)?;
    Ok(paths.into_iter().zip(counts).map(|(path, rows)| Written { path, rows }).collect())
}
