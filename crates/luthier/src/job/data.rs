//! `[data]`: the rows of a job, and what is to be learnt of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use luthier_data::{ColumnChoice, ContentSpec, DatasetSpec, SplitPlan, TableSpec, Target};
use luthier_eval::Metric;
use luthier_train::TaskKind;
use serde::{Deserialize, Serialize};

use super::objective::Deciding;
use crate::failure::{Failure, did_you_mean, meant_or_known, nearest};

/// What is to be learnt of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// The class of a text.
    TextClassification,
    /// The class of a row of a table.
    TabularClassification,
    /// A number for a row of a table.
    TabularRegression,
}

/// Labelled rows, and what is made of them.
pub(crate) struct Data {
    pub(crate) task: Task,
    pub(crate) rows: DatasetSpec,
    /// What decides, computed from predictions.
    pub(crate) metric: Metric,
    /// How classes are decided for.
    pub(crate) deciding: Deciding,
    pub(crate) learning: Learning,
}

/// What learners are to make of the rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Learning {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) class_weights: Option<ClassWeights>,
    /// Columns whose numbers answers may only rise or fall with.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) monotone: BTreeMap<String, Way>,
}

/// How much the rows of a class count to learners, besides their own weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "\"balanced\" or a weight for each label")]
pub(crate) enum ClassWeights {
    Named(NamedWeights),
    /// By label; others have 1.
    Given(BTreeMap<String, f64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NamedWeights {
    /// All classes count the same together.
    Balanced,
}

/// How answers may change where a column rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    Rising,
    Falling,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataForm {
    train: PathBuf,
    valid: Option<PathBuf>,
    test: Option<PathBuf>,
    split: Option<SplitForm>,
    folds: Option<u32>,
    text: Option<OneOrMany>,
    columns: Option<Vec<String>>,
    #[serde(default)]
    kinds: BTreeMap<String, ColumnChoice>,
    label: String,
    positive: Option<Scalar>,
    id: Option<String>,
    weight: Option<String>,
    class_weights: Option<ClassWeights>,
    #[serde(default)]
    monotone: BTreeMap<String, Way>,
    #[serde(default)]
    ignore: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitForm {
    #[serde(default)]
    valid: Option<f64>,
    #[serde(default)]
    test: Option<f64>,
    seed: Option<u64>,
    group: Option<String>,
    time: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a column name or a list of them")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a label")]
enum Scalar {
    Text(String),
    Int(i64),
    Bool(bool),
}

impl Task {
    const ALL: [Self; 3] =
        [Self::TextClassification, Self::TabularClassification, Self::TabularRegression];

    /// Its name in `luthier.toml` and manifests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TextClassification => "text-classification",
            Self::TabularClassification => "tabular-classification",
            Self::TabularRegression => "tabular-regression",
        }
    }

    /// The same to learners.
    pub(crate) fn kind(self) -> TaskKind {
        match self {
            Self::TextClassification => TaskKind::TextClasses,
            Self::TabularClassification => TaskKind::TableClasses,
            Self::TabularRegression => TaskKind::TableNumbers,
        }
    }

    /// What its rows are labelled with.
    pub(crate) fn target(self) -> Target {
        match self {
            Self::TextClassification | Self::TabularClassification => Target::Class,
            Self::TabularRegression => Target::Number,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Task {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        Self::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name);
            Failure::input(format!("`task` is {name:?}"))
                .hint(meant_or_known(nearest(name, known), &known))
        })
    }
}

impl DataForm {
    /// The rows of a task.
    pub(super) fn check(
        mut self,
        task: Option<Task>,
        folder: &Path,
    ) -> Result<(DatasetSpec, Learning), Failure> {
        let task = task.ok_or_else(|| {
            let known = Task::ALL.map(|task| format!("\"{task}\"")).join(", ");
            Failure::input("`task` is missing")
                .hint(format!("say what is to be learnt: task is one of {known}"))
        })?;
        let learning = self.learning(task)?;
        Ok((self.into_spec(task, folder)?, learning))
    }

    /// What learners are to make of the rows. Labels and columns are looked up once the rows are open.
    fn learning(&mut self, task: Task) -> Result<Learning, Failure> {
        let refused =
            |key: &str| Failure::input(format!("`data.{key}` is given, and `task` is \"{task}\""));
        if self.class_weights.is_some() && task.target() == Target::Number {
            return Err(refused("class_weights").hint("leave it out: numbers have no classes"));
        }
        if !self.monotone.is_empty() && task == Task::TextClassification {
            return Err(refused("monotone").hint("leave it out: texts have no columns of numbers"));
        }
        if let Some(ClassWeights::Given(weights)) = &self.class_weights
            && let Some((label, weight)) =
                weights.iter().find(|(_, weight)| !(weight.is_finite() && **weight > 0.0))
        {
            return Err(Failure::input(format!("`data.class_weights.{label}` is {weight}"))
                .hint("give numbers above 0"));
        }
        let monotone = std::mem::take(&mut self.monotone);
        Ok(Learning { class_weights: self.class_weights.take(), monotone })
    }

    /// What the rows consist of.
    fn content(&mut self, task: Task) -> Result<ContentSpec, Failure> {
        let refused = |key: &str, instead: &str| {
            Err(Failure::input(format!("`data.{key}` is given, and `task` is \"{task}\""))
                .hint(instead.to_owned()))
        };
        if task != Task::TextClassification {
            if self.text.is_some() {
                return refused(
                    "text",
                    "name columns in `data.columns`, or leave both out for all",
                );
            }
            let ignored = self.ignore.iter().map(|name| (name.clone(), ColumnChoice::Ignore));
            let kinds = std::mem::take(&mut self.kinds).into_iter().chain(ignored).collect();
            return Ok(ContentSpec::Table(TableSpec { columns: self.columns.take(), kinds }));
        }
        if self.columns.is_some() || !self.kinds.is_empty() {
            let key = if self.columns.is_some() { "columns" } else { "kinds" };
            return refused(key, "name the columns of text in `data.text`");
        }
        let text = match self.text.take() {
            Some(OneOrMany::One(column)) => vec![column],
            Some(OneOrMany::Many(columns)) => columns,
            None => {
                return Err(Failure::input("`data.text` is missing")
                    .hint("name the column of text, or a list of them"));
            }
        };
        if text.is_empty() {
            return Err(Failure::input("`data.text` names no column"));
        }
        Ok(ContentSpec::Text(text))
    }

    fn into_spec(mut self, task: Task, folder: &Path) -> Result<DatasetSpec, Failure> {
        let content = self.content(task)?;
        let named: &[String] = match &content {
            ContentSpec::Text(columns) => columns,
            ContentSpec::Table(table) => table.columns.as_deref().unwrap_or_default(),
        };
        let used = named.iter().chain([&self.label]).chain(&self.id).chain(&self.weight);
        if let Some(both) = used.into_iter().find(|column| self.ignore.contains(column)) {
            return Err(Failure::input(format!("column `{both}` is both used and ignored")));
        }
        if let (Some(_), Some(valid)) = (self.folds, self.split.as_ref().and_then(|s| s.valid)) {
            let what =
                format!("`data.folds` takes the place of `data.split.valid`, which is {valid}");
            return Err(Failure::input(what).hint("leave one of them out"));
        }
        let split = self.split.map(SplitForm::into_plan);
        let no_share = split.as_ref().is_some_and(|split| split.valid == 0.0);
        if self.valid.is_none() && self.folds.is_none() && no_share {
            return Err(Failure::input("`data.split.valid` is 0, and there is no `data.valid`")
                .hint("give a share of the rows above 0, or a file of its own in `data.valid`"));
        }
        let train = folder.join(&self.train);
        if !self.ignore.is_empty() {
            let columns = luthier_data::Source::open(&train)?;
            let known = || columns.columns().iter().map(String::as_str);
            let missing = self.ignore.iter().find(|column| !known().any(|k| k == column.as_str()));
            if let Some(column) = missing {
                let message =
                    format!("`data.ignore`: {} has no column `{column}`", train.display());
                let failure = Failure::input(message);
                return Err(match nearest(column, known()) {
                    Some(nearest) => failure.hint(did_you_mean(nearest)),
                    None => failure,
                });
            }
        }
        Ok(DatasetSpec {
            train,
            valid: self.valid.map(|path| folder.join(path)),
            test: self.test.map(|path| folder.join(path)),
            split,
            folds: self.folds,
            content,
            label: self.label,
            target: task.target(),
            positive: self.positive.map(|positive| match positive {
                Scalar::Text(text) => text,
                Scalar::Int(x) => x.to_string(),
                Scalar::Bool(x) => x.to_string(),
            }),
            id: self.id,
            weight: self.weight,
        })
    }
}

impl SplitForm {
    fn into_plan(self) -> SplitPlan {
        let default = SplitPlan::default();
        SplitPlan {
            valid: self.valid.unwrap_or(0.0),
            test: self.test.unwrap_or(0.0),
            seed: self.seed.unwrap_or(default.seed),
            group: self.group,
            time: self.time,
        }
    }
}
