//! What one parameter may be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Value;

/// The values one parameter may take. Bounds are inclusive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Distribution {
    /// A real number between `low` and `high`, uniform on its scale; with `step`, one of `low,
    /// low + step, …` (only on the linear scale).
    Float {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
        /// What equal distances mean.
        #[serde(default, skip_serializing_if = "Scale::is_linear")]
        scale: Scale,
        /// Distance between neighbouring values.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<f64>,
    },
    /// An integer `low, low + step, … ≤ high`, uniform on its scale, which is not the logit; on
    /// another than the linear one every integer counts (`step` is 1).
    Int {
        /// Smallest value.
        low: i64,
        /// Largest value.
        high: i64,
        /// What equal distances mean.
        #[serde(default, skip_serializing_if = "Scale::is_linear")]
        scale: Scale,
        /// Distance between neighbouring values, at least 1.
        step: i64,
    },
    /// One of the options, which stand in an order and equally far apart. At least one.
    Ordinal {
        /// The options, in order.
        options: Vec<Value>,
    },
    /// One of the options, which have no order. At least one.
    Choice {
        /// The options.
        options: Vec<Value>,
    },
}

/// What equal distances between numbers mean: which changes count as equally large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Equal differences.
    #[default]
    Linear,
    /// Equal ratios, as of learning rates; `low > 0`.
    Log,
    /// Equal ratios of `low + high - x`: the logarithmic scale turned round, fine near `high`;
    /// `low > 0`. For shares close to 1 the logit says it better.
    ReverseLog,
    /// Equal ratios of odds, as of shares that may come close to 0 and to 1; `0 < low`, `high < 1`.
    Logit,
}

impl Scale {
    /// All scales, with their names in files.
    pub const NAMES: [(&str, Self); 4] = [
        ("linear", Self::Linear),
        ("log", Self::Log),
        ("reverse-log", Self::ReverseLog),
        ("logit", Self::Logit),
    ];

    fn is_linear(&self) -> bool {
        *self == Self::Linear
    }

    /// Name in files.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, scale)| *scale == self).map_or("", |(name, _)| name)
    }
}

impl Distribution {
    /// A real number in `[low, high]`.
    pub fn float(low: f64, high: f64) -> Self {
        Self::Float { low, high, scale: Scale::Linear, step: None }
    }

    /// A real number in `[low, high]`, `low > 0`, on a logarithmic scale.
    pub fn log_float(low: f64, high: f64) -> Self {
        Self::Float { low, high, scale: Scale::Log, step: None }
    }

    /// An integer in `[low, high]`.
    pub fn int(low: i64, high: i64) -> Self {
        Self::Int { low, high, scale: Scale::Linear, step: 1 }
    }

    /// An integer in `[low, high]`, `low ≥ 1`, on a logarithmic scale.
    pub fn log_int(low: i64, high: i64) -> Self {
        Self::Int { low, high, scale: Scale::Log, step: 1 }
    }

    /// One of `options`.
    pub fn choice<V: Into<Value>, const N: usize>(options: [V; N]) -> Self {
        Self::Choice { options: options.into_iter().map(Into::into).collect() }
    }

    /// One of `options`, which stand in an order.
    pub fn ordinal<V: Into<Value>, const N: usize>(options: [V; N]) -> Self {
        Self::Ordinal { options: options.into_iter().map(Into::into).collect() }
    }

    /// Whether `value` is one of the distribution's values (floats are accepted between steps only
    /// within rounding).
    pub fn contains(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Float { low, high, step, .. }, Value::Float(x)) => {
                let on_step = step.is_none_or(|step| {
                    let steps = (x - low) / step;
                    (steps - steps.round()).abs() < 1e-6
                });
                (*low..=*high).contains(x) && on_step
            }
            (Self::Int { low, high, step, .. }, Value::Int(x)) => {
                (*low..=*high).contains(x) && (x - low) % step == 0
            }
            (Self::Ordinal { .. } | Self::Choice { .. }, value) => {
                self.option_index(value).is_some()
            }
            _ => false,
        }
    }

    /// Whether all values of `other` are among its values.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Float { low, high, step, .. },
                Self::Float { low: inner, high: outer, step: other_step, .. },
            ) => {
                let is_grid = step.is_none_or(|step| {
                    let whole = |width: f64| (width / step - (width / step).round()).abs() < 1e-6;
                    whole(inner - low) && other_step.map_or(inner == outer, whole)
                });
                low <= inner && outer <= high && is_grid
            }
            (
                Self::Int { low, high, step, .. },
                Self::Int { low: inner, high: outer, step: other_step, .. },
            ) => {
                let whole = |width: u64| width.checked_rem(step.unsigned_abs()) == Some(0);
                let is_grid = whole(low.abs_diff(*inner)) && whole(other_step.unsigned_abs());
                low <= inner && outer <= high && is_grid
            }
            (_, Self::Ordinal { options } | Self::Choice { options }) => {
                options.iter().all(|option| self.contains(option))
            }
            _ => false,
        }
    }

    /// Position of `value` among the options of an ordinal or a choice.
    pub fn option_index(&self, value: &Value) -> Option<usize> {
        match self {
            Self::Ordinal { options } | Self::Choice { options } => {
                options.iter().position(|option| option == value)
            }
            _ => None,
        }
    }

    /// Number of distinct values; `None` for a continuous range.
    pub fn cardinality(&self) -> Option<u64> {
        match self {
            Self::Float { low, high, .. } if low == high => Some(1),
            Self::Float { low, high, step: Some(step), .. } => {
                Some(((high - low) / step + 1e-9).floor() as u64 + 1)
            }
            Self::Float { .. } => None,
            Self::Int { low, high, step, .. } => {
                Some(low.abs_diff(*high) / step.unsigned_abs() + 1)
            }
            Self::Ordinal { options } | Self::Choice { options } => Some(options.len() as u64),
        }
    }

    /// Says what is wrong with the distribution, if anything.
    pub fn fault(&self) -> Option<String> {
        let fault = match self {
            Self::Float { low, high, .. } if !(low.is_finite() && high.is_finite()) => {
                "bounds must be finite"
            }
            Self::Float { low, high, .. } if low > high => "the first bound is above the second",
            Self::Float { low, scale: Scale::Log | Scale::ReverseLog, .. } if *low <= 0.0 => {
                "a logarithmic range must start above 0"
            }
            Self::Float { low, high, scale: Scale::Logit, .. } if *low <= 0.0 || *high >= 1.0 => {
                "a range on the logit scale must lie between 0 and 1, without them"
            }
            Self::Float { scale, step: Some(_), .. } if *scale != Scale::Linear => {
                "`step` needs the linear scale"
            }
            Self::Float { step: Some(step), .. } if !(*step > 0.0 && step.is_finite()) => {
                "`step` must be above 0"
            }
            Self::Int { low, high, .. } if low > high => "the first bound is above the second",
            Self::Int { low, scale: Scale::Log | Scale::ReverseLog, .. } if *low < 1 => {
                "a logarithmic range must start at 1"
            }
            Self::Int { scale: Scale::Logit, .. } => "the logit scale is for shares, not integers",
            Self::Int { scale, step, .. } if *scale != Scale::Linear && *step != 1 => {
                "`step` needs the linear scale"
            }
            Self::Int { step, .. } if *step < 1 => "`step` must be at least 1",
            Self::Ordinal { options } | Self::Choice { options } if options.is_empty() => {
                "there must be at least one option"
            }
            Self::Ordinal { options } | Self::Choice { options }
                if options.iter().enumerate().any(|(i, o)| options[..i].contains(o)) =>
            {
                "an option appears twice"
            }
            _ => return None,
        };
        Some(fault.to_owned())
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float { low, high, scale, step } => {
                write!(f, "a number from {low} to {high}")?;
                match (scale, step) {
                    (Scale::Linear, None) => Ok(()),
                    (_, Some(step)) => write!(f, " in steps of {step}"),
                    (scale, None) => write!(f, " ({})", scale.name()),
                }
            }
            Self::Int { low, high, scale, step } => {
                write!(f, "an integer from {low} to {high}")?;
                match (scale, step) {
                    (Scale::Linear, 1) => Ok(()),
                    (Scale::Linear, step) => write!(f, " in steps of {step}"),
                    (scale, _) => write!(f, " ({})", scale.name()),
                }
            }
            Self::Ordinal { options } | Self::Choice { options } => {
                let names: Vec<_> = options.iter().map(Value::to_string).collect();
                write!(f, "one of {}", names.join(", "))
            }
        }
    }
}
