//! Chosen values.

use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::{Names, shared};

/// One chosen value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A switch.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A name.
    Text(String),
    /// Plain values in an order: what a permutation or a subset takes.
    List(Vec<Value>),
}

impl Value {
    /// The value as a real number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(x) => Some(*x as f64),
            Self::Float(x) => Some(*x),
            _ => None,
        }
    }
}

/// Values as they are shown, one after the other.
pub(crate) fn joined(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<V: Into<Value>> From<Vec<V>> for Value {
    fn from(items: Vec<V>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(x) => write!(f, "{x}"),
            Self::Int(x) => write!(f, "{x}"),
            Self::Float(x) if *x != 0.0 && (x.abs() < 1e-3 || x.abs() >= 1e5) => {
                write!(f, "{x:.3e}")
            }
            Self::Float(x) => write!(f, "{}", (x * 1e4).round() / 1e4),
            Self::Text(x) => f.write_str(x),
            Self::List(items) => write!(f, "[{}]", joined(items)),
        }
    }
}

/// Names with their chosen values, in the order of the space.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    names: Names,
    /// One for each name.
    values: Vec<Value>,
}

/// Why values do not fit a space, or a reader's wish.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// An active parameter has no value.
    #[error("parameter `{name}` has no value")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// A value lies outside the parameter's distribution or has the wrong type.
    #[error("parameter `{name}` is {value}, expected {expected}")]
    OutOfRange {
        /// The parameter.
        name: String,
        /// The value found.
        value: Value,
        /// What would have been right.
        expected: String,
    },
    /// A value is given for a parameter that the other values switch off.
    #[error("parameter `{name}` has a value but is not active")]
    Inactive {
        /// The parameter.
        name: String,
    },
    /// The values together break a constraint of the space.
    #[error("the values break the constraint `{text}`")]
    Constraint {
        /// The constraint as written.
        text: String,
    },
    /// The space has no such parameter.
    #[error("the space has no parameter `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
}

impl Values {
    /// Sets `name`, replacing an earlier value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.place(&name) {
            Some(place) => self.values[place] = value,
            None => {
                Arc::make_mut(&mut self.names).push(name);
                self.values.push(value);
            }
        }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.place(name)?)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.names.iter().map(String::as_str).zip(&self.values)
    }

    /// All names, in order. Values that were read or collected share equal names as a rule, so that
    /// the same address says that the names are the same.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The values without their names, in the same order.
    pub fn as_slice(&self) -> &[Value] {
        &self.values
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values under `prefix.`, without it.
    #[must_use]
    pub fn scope(&self, prefix: &str) -> Self {
        let inner = self.iter().filter_map(|(name, value)| {
            let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((rest, value.clone()))
        });
        inner.collect()
    }

    /// The number called `name`.
    pub fn float(&self, name: &str) -> Result<f64, ValueError> {
        let value = self.required(name)?;
        value.as_f64().ok_or_else(|| wrong_type(name, value, "a number"))
    }

    /// The integer called `name`.
    pub fn int(&self, name: &str) -> Result<i64, ValueError> {
        match self.required(name)? {
            Value::Int(x) => Ok(*x),
            other => Err(wrong_type(name, other, "an integer")),
        }
    }

    /// The list called `name`.
    pub fn list(&self, name: &str) -> Result<&[Value], ValueError> {
        match self.required(name)? {
            Value::List(items) => Ok(items),
            other => Err(wrong_type(name, other, "a list")),
        }
    }

    /// The text called `name`.
    pub fn text(&self, name: &str) -> Result<&str, ValueError> {
        match self.required(name)? {
            Value::Text(x) => Ok(x),
            other => Err(wrong_type(name, other, "a name")),
        }
    }

    /// The same with its names shared.
    fn sharing(self) -> Self {
        let Self { names, values } = self;
        Self { names: shared(Arc::unwrap_or_clone(names)), values }
    }

    fn required(&self, name: &str) -> Result<&Value, ValueError> {
        self.get(name).ok_or_else(|| ValueError::Missing { name: name.to_owned() })
    }
}

fn wrong_type(name: &str, value: &Value, expected: &str) -> ValueError {
    ValueError::OutOfRange {
        name: name.to_owned(),
        value: value.clone(),
        expected: expected.to_owned(),
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Values {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut values = Self::default();
        for (name, value) in pairs {
            values.insert(name, value);
        }
        values.sharing()
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.iter().enumerate() {
            let gap = if index == 0 { "" } else { ", " };
            write!(f, "{gap}{name}={value}")?;
        }
        Ok(())
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of parameter values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut values = Values::default();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    values.insert(name, value);
                }
                Ok(values.sharing())
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
