//! What one parameter may be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Value;

/// The values one parameter may take. Bounds are inclusive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Distribution {
    /// A real number between `low` and `high`; with `log`, uniform in its logarithm
    /// (`low > 0`); with `step`, one of `low, low + step, …` (never together with `log`).
    Float {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
        /// Whether the scale is logarithmic.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        log: bool,
        /// Distance between neighbouring values.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<f64>,
    },
    /// An integer `low, low + step, … ≤ high`; with `log`, uniform in its logarithm (`low ≥ 1`).
    Int {
        /// Smallest value.
        low: i64,
        /// Largest value.
        high: i64,
        /// Whether the scale is logarithmic.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        log: bool,
        /// Distance between neighbouring values, at least 1.
        step: i64,
    },
    /// One of the options, which have no order. At least one.
    Choice {
        /// The options.
        options: Vec<Value>,
    },
}

impl Distribution {
    /// A real number in `[low, high]`.
    pub fn float(low: f64, high: f64) -> Self {
        Self::Float { low, high, log: false, step: None }
    }

    /// A real number in `[low, high]`, `low > 0`, on a logarithmic scale.
    pub fn log_float(low: f64, high: f64) -> Self {
        Self::Float { low, high, log: true, step: None }
    }

    /// An integer in `[low, high]`.
    pub fn int(low: i64, high: i64) -> Self {
        Self::Int { low, high, log: false, step: 1 }
    }

    /// An integer in `[low, high]`, `low ≥ 1`, on a logarithmic scale.
    pub fn log_int(low: i64, high: i64) -> Self {
        Self::Int { low, high, log: true, step: 1 }
    }

    /// One of `options`.
    pub fn choice<V: Into<Value>, const N: usize>(options: [V; N]) -> Self {
        Self::Choice { options: options.into_iter().map(Into::into).collect() }
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
            (Self::Choice { .. }, value) => self.option_index(value).is_some(),
            _ => false,
        }
    }

    /// Position of `value` among the options of a choice.
    pub fn option_index(&self, value: &Value) -> Option<usize> {
        match self {
            Self::Choice { options } => options.iter().position(|option| option == value),
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
            Self::Choice { options } => Some(options.len() as u64),
        }
    }

    /// Says what is wrong with the distribution, if anything.
    pub fn fault(&self) -> Option<String> {
        let fault = match self {
            Self::Float { low, high, .. } if !(low.is_finite() && high.is_finite()) => {
                "bounds must be finite"
            }
            Self::Float { low, high, .. } if low > high => "the first bound is above the second",
            Self::Float { low, log: true, .. } if *low <= 0.0 => {
                "a logarithmic range must start above 0"
            }
            Self::Float { log: true, step: Some(_), .. } => "`log` and `step` exclude each other",
            Self::Float { step: Some(step), .. } if !(*step > 0.0 && step.is_finite()) => {
                "`step` must be above 0"
            }
            Self::Int { low, high, .. } if low > high => "the first bound is above the second",
            Self::Int { low, log: true, .. } if *low < 1 => "a logarithmic range must start at 1",
            Self::Int { log: true, step, .. } if *step != 1 => {
                "`log` and `step` exclude each other"
            }
            Self::Int { step, .. } if *step < 1 => "`step` must be at least 1",
            Self::Choice { options } if options.is_empty() => "a choice needs at least one option",
            Self::Choice { options }
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
            Self::Float { low, high, log, step } => {
                write!(f, "a number from {low} to {high}")?;
                match (log, step) {
                    (true, _) => write!(f, " (log)"),
                    (_, Some(step)) => write!(f, " in steps of {step}"),
                    _ => Ok(()),
                }
            }
            Self::Int { low, high, log, step } => {
                write!(f, "an integer from {low} to {high}")?;
                match (log, step) {
                    (true, _) => write!(f, " (log)"),
                    (_, 1) => Ok(()),
                    (_, step) => write!(f, " in steps of {step}"),
                }
            }
            Self::Choice { options } => {
                let names: Vec<_> = options.iter().map(Value::to_string).collect();
                write!(f, "one of {}", names.join(", "))
            }
        }
    }
}
