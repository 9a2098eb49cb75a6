//! Pruners by name, with their settings.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{
    Halving, Hyperband, Median, Patience, Percentile, Pruner, Threshold, Verdict, Wilcoxon,
};
use crate::{Direction, Folds, Trial, UnknownName};

/// The names of pruners.
pub const PRUNERS: &[&str] =
    &["none", "median", "percentile", "threshold", "patience", "halving", "hyperband", "wilcoxon"];

/// A pruner with its settings.
///
/// It is read from its name, `"median"`, or from a table with the name as `kind` beside settings
/// that are not to have their defaults, `{ kind = "halving", reduction_factor = 4 }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PrunerSpec {
    /// Every trial is evaluated to its end.
    None,
    /// See [`Median`].
    Median(Median),
    /// See [`Percentile`].
    Percentile(Percentile),
    /// See [`Threshold`].
    Threshold(Threshold),
    /// See [`Patience`].
    Patience(Patience),
    /// See [`Halving`].
    Halving(Halving),
    /// See [`Hyperband`].
    Hyperband(Hyperband),
    /// See [`Wilcoxon`].
    Wilcoxon(Wilcoxon),
}

/// Why something describes no pruner.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidPruner {
    /// There is none of that name.
    #[error(transparent)]
    Name(#[from] UnknownName),
    /// A setting is unknown, missing, of another type, or out of range.
    #[error("pruner `{kind}`: {fault}")]
    Setting {
        /// The pruner.
        kind: &'static str,
        /// What is wrong.
        fault: String,
    },
    /// Neither a name nor a table with a name as `kind`.
    #[error("a pruner is a name, or a table with a name as `kind`")]
    Form,
}

impl PrunerSpec {
    /// The pruner that a name stands for, with its default settings.
    pub fn from_name(name: &str) -> Result<Self, InvalidPruner> {
        Self::from_value(Value::String(name.to_owned()))
    }

    /// The pruner that a name or a table describes.
    pub fn from_value(value: Value) -> Result<Self, InvalidPruner> {
        let mut settings = match value {
            Value::String(name) => Map::from_iter([("kind".to_owned(), name.into())]),
            Value::Object(settings) => settings,
            _ => return Err(InvalidPruner::Form),
        };
        let Some(Value::String(name)) = settings.remove("kind") else {
            return Err(InvalidPruner::Form);
        };
        let unknown = || UnknownName::new("pruner", &name, PRUNERS);
        let kind = *PRUNERS.iter().find(|known| **known == name).ok_or_else(unknown)?;
        let spec = Self::of(kind, settings)
            .map_err(|error| InvalidPruner::Setting { kind, fault: error.to_string() })?;
        match spec.fault() {
            Some(fault) => Err(InvalidPruner::Setting { kind, fault: fault.to_owned() }),
            None => Ok(spec),
        }
    }

    fn of(kind: &str, settings: Map<String, Value>) -> Result<Self, serde_json::Error> {
        if let ("none", Some(setting)) = (kind, settings.keys().next()) {
            return Err(serde_json::Error::custom(format!("unknown field `{setting}`")));
        }
        let settings = Value::Object(settings);
        Ok(match kind {
            "median" => Self::Median(Median::deserialize(settings)?),
            "percentile" => Self::Percentile(Percentile::deserialize(settings)?),
            "threshold" => Self::Threshold(Threshold::deserialize(settings)?),
            "patience" => Self::Patience(Patience::deserialize(settings)?),
            "halving" => Self::Halving(Halving::deserialize(settings)?),
            "hyperband" => Self::Hyperband(Hyperband::deserialize(settings)?),
            "wilcoxon" => Self::Wilcoxon(Wilcoxon::deserialize(settings)?),
            _ => Self::None,
        })
    }

    /// The same for trials that are cross-validated.
    #[must_use]
    pub fn over(self, folds: Folds) -> Self {
        match self {
            Self::Wilcoxon(pruner) => Self::Wilcoxon(Wilcoxon { folds: Some(folds), ..pruner }),
            other => other,
        }
    }

    /// The first setting that is out of its range.
    fn fault(&self) -> Option<&'static str> {
        let factor = |factor: u64| (factor < 2).then_some("`reduction_factor` must be at least 2");
        let rung =
            |rung: Option<u64>| (rung == Some(0)).then_some("`min_resource` must be at least 1");
        match self {
            Self::Percentile(p) if !(0.0..=100.0).contains(&p.percent) => {
                Some("`percent` must be between 0 and 100")
            }
            Self::Median(Median { every: 0, .. })
            | Self::Percentile(Percentile { every: 0, .. })
            | Self::Threshold(Threshold { every: 0, .. }) => Some("`every` must be at least 1"),
            Self::Threshold(Threshold { lower: None, upper: None, .. }) => {
                Some("give `lower`, `upper` or both")
            }
            Self::Patience(p) if p.min_delta.is_nan() || p.min_delta < 0.0 => {
                Some("`min_delta` must be at least 0")
            }
            Self::Halving(h) => factor(h.reduction_factor).or_else(|| rung(h.min_resource)),
            Self::Hyperband(h) => factor(h.reduction_factor).or_else(|| rung(Some(h.min_resource))),
            Self::Wilcoxon(Wilcoxon { folds: Some(Folds { count, steps, .. }), .. })
                if *count < 2 || *steps == 0 =>
            {
                Some("`folds` must be at least two, of at least one step")
            }
            Self::Wilcoxon(w) if !(0.0..=1.0).contains(&w.p) => Some("`p` must be between 0 and 1"),
            _ => None,
        }
    }

    /// The name of the pruner.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Median(_) => "median",
            Self::Percentile(_) => "percentile",
            Self::Threshold(_) => "threshold",
            Self::Patience(_) => "patience",
            Self::Halving(_) => "halving",
            Self::Hyperband(_) => "hyperband",
            Self::Wilcoxon(_) => "wilcoxon",
        }
    }

    fn pruner(&self) -> Option<&dyn Pruner> {
        Some(match self {
            Self::None => return None,
            Self::Median(pruner) => pruner,
            Self::Percentile(pruner) => pruner,
            Self::Threshold(pruner) => pruner,
            Self::Patience(pruner) => pruner,
            Self::Halving(pruner) => pruner,
            Self::Hyperband(pruner) => pruner,
            Self::Wilcoxon(pruner) => pruner,
        })
    }
}

impl Pruner for PrunerSpec {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        self.pruner().map_or(Verdict::Continue, |pruner| pruner.judge(directions, trials, trial))
    }

    fn promote(&self, directions: &[Direction], trials: &[Trial]) -> Option<u64> {
        self.pruner()?.promote(directions, trials)
    }
}

impl Default for PrunerSpec {
    fn default() -> Self {
        Self::Median(Median::default())
    }
}

impl<'de> Deserialize<'de> for PrunerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Display for PrunerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
