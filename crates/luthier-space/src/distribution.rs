//! What one parameter may be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Value;
use crate::values::joined;

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
    /// All items, in any order: a list. At least one and at most 18 of them.
    Permutation {
        /// The items, which are plain values.
        items: Vec<Value>,
    },
    /// Some of the items, in the order in which they stand here: a list. At most 2⁵³ subsets.
    Subset {
        /// The items, which are plain values.
        items: Vec<Value>,
        /// Fewest items of a subset.
        least: usize,
        /// Most items of a subset.
        most: usize,
    },
}

/// Most values of a permutation or a subset: numbers up to which a float has a place for each.
const MOST_LISTS: u64 = 1 << 53;

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

    /// All of `items`, in any order.
    pub fn permutation<V: Into<Value>, const N: usize>(items: [V; N]) -> Self {
        Self::Permutation { items: items.into_iter().map(Into::into).collect() }
    }

    /// From `least` to `most` of `items`.
    pub fn subset<V: Into<Value>, const N: usize>(
        items: [V; N],
        least: usize,
        most: usize,
    ) -> Self {
        Self::Subset { items: items.into_iter().map(Into::into).collect(), least, most }
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
            (Self::Permutation { items }, Value::List(list)) => {
                list.len() == items.len() && items.iter().all(|item| list.contains(item))
            }
            (Self::Subset { items, least, most }, Value::List(list)) => {
                let mut rest = items.iter();
                (*least..=*most).contains(&list.len())
                    && list.iter().all(|item| rest.any(|next| next == item))
            }
            _ => false,
        }
    }

    /// The value that a word of a command line or a cell of a table means: a number, an option as it is
    /// shown or as it is in JSON, a list in JSON. `None` if it is none of the distribution's values.
    pub fn parse(&self, text: &str) -> Option<Value> {
        let json = serde_json::from_str::<Value>(text).ok();
        let is_option = |option: &&Value| match option {
            // As Python writes it.
            Value::Bool(_) => option.to_string().eq_ignore_ascii_case(text),
            Value::Text(name) => name == text,
            other => json.as_ref() == Some(other),
        };
        let is_shown = |option: &&Value| option.to_string() == text;
        let value = match self {
            Self::Float { .. } => Value::Float(text.parse().ok()?),
            // A column of integers with gaps is often written as one of real numbers.
            Self::Int { .. } => {
                let number = text.parse().map(Value::Int);
                number.or_else(|_| text.parse().map(Value::Float)).ok()?
            }
            Self::Ordinal { options } | Self::Choice { options } => {
                let option = options.iter().find(is_option);
                option.or_else(|| options.iter().find(is_shown)).cloned().or(json)?
            }
            Self::Permutation { .. } | Self::Subset { .. } => json?,
        };
        let value = self.adopt(value);
        self.contains(&value).then_some(value)
    }

    /// A number as one of the kind that the distribution has, where it is one; anything else as it is.
    /// Other programs write `1` for a real number and `1.0` for an integer.
    pub(crate) fn adopt(&self, value: Value) -> Value {
        /// Whole numbers beyond are no longer exact.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match (self, value) {
            (Self::Float { .. }, Value::Int(number)) => Value::Float(number as f64),
            (Self::Int { .. }, Value::Float(number))
                if number.fract() == 0.0 && number.abs() <= EXACT =>
            {
                Value::Int(number as i64)
            }
            (Self::Ordinal { options } | Self::Choice { options }, value) => {
                let is_same = |option: &&Value| {
                    *option == &value
                        || option.as_f64().is_some_and(|option| Some(option) == value.as_f64())
                };
                options.iter().find(is_same).cloned().unwrap_or(value)
            }
            (_, value) => value,
        }
    }

    /// Whether all values of `other` are among its values. A permutation or subset has those of
    /// no other.
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
            _ => self == other,
        }
    }

    /// The options of an ordinal or a choice, or the items of a permutation or a subset.
    pub fn options(&self) -> &[Value] {
        match self {
            Self::Float { .. } | Self::Int { .. } => &[],
            Self::Ordinal { options } | Self::Choice { options } => options,
            Self::Permutation { items } | Self::Subset { items, .. } => items,
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

    /// Number of distinct values; `None` for a continuous range, or where it is too large.
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
            Self::Permutation { items } => {
                (1..=items.len() as u64).try_fold(1u64, u64::checked_mul)
            }
            Self::Subset { items, least, most } => subsets(items.len(), *least, *most),
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
            Self::Permutation { items } | Self::Subset { items, .. } => {
                return self.fault_of_list(items).map(str::to_owned);
            }
            _ => return None,
        };
        Some(fault.to_owned())
    }

    fn fault_of_list(&self, items: &[Value]) -> Option<&'static str> {
        let is_list = |item: &Value| matches!(item, Value::List(_));
        if items.is_empty() {
            return Some("there must be at least one item");
        }
        if items.iter().any(is_list) {
            return Some("items must be plain values");
        }
        if items.iter().enumerate().any(|(i, item)| items[..i].contains(item)) {
            return Some("an item appears twice");
        }
        match *self {
            Self::Subset { least, most, .. } if least > most => {
                return Some("the first size is above the second");
            }
            Self::Subset { most, .. } if most > items.len() => {
                return Some("the second size is above the number of items");
            }
            _ => {}
        }
        if self.cardinality().is_some_and(|count| count <= MOST_LISTS) {
            return None;
        }
        Some(match self {
            Self::Permutation { .. } => "there may be at most 18 items",
            _ => "there are more than 2^53 subsets: give fewer items or a smaller second size",
        })
    }
}

/// Number of subsets of `items` things with `least` to `most` of them.
fn subsets(items: usize, least: usize, most: usize) -> Option<u64> {
    (least..=most.min(items)).try_fold(0u64, |sum, size| sum.checked_add(binomial(items, size)?))
}

/// Number of subsets of `items` things with `size` of them.
fn binomial(items: usize, size: usize) -> Option<u64> {
    let step = |count: u64, taken: usize| {
        let more = u128::from(count) * (items - taken) as u128 / (taken as u128 + 1);
        u64::try_from(more).ok()
    };
    (0..size.min(items - size)).try_fold(1, step)
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
                write!(f, "one of {}", joined(options))
            }
            Self::Permutation { items } => write!(f, "{} in any order", joined(items)),
            Self::Subset { items, least, most } if least == most => {
                write!(f, "{least} of {}", joined(items))
            }
            Self::Subset { items, least, most } => {
                write!(f, "{least} to {most} of {}", joined(items))
            }
        }
    }
}
