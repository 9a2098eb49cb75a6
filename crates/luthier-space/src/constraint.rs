//! Conditions that the values of several parameters must keep together.

use std::borrow::Cow;
use std::ops::Range;

use crate::{Dimension, Value};

mod parse;

/// An expression over the parameters of a space that every configuration must make true, as
/// `units * layers <= 4096` or `optimizer != 'sgd' or momentum > 0.5`.
///
/// There are numbers, texts in quotes, `true` and `false`; names of parameters, in backquotes where
/// they are not plain words joined by dots; `or`, `and`, `not`; `<`, `<=`, `>`, `>=`, `==`, `!=`,
/// `in`, `not in`; `+`, `-`, `*`, `/`, `%`, `**`, which bind as in Python; and `min`, `max`, `abs`,
/// `log` (natural), `exp`, `sqrt`, `len(subset)` and `position(permutation, item)`, which starts at 0.
/// Numbers are computed in double precision.
///
/// A constraint one of whose parameters is not active does not apply. What has no value, as `1 / 0`
/// or the position of an item that is not there, does not fulfil a comparison or its opposite.
#[derive(Debug, Clone)]
pub struct Constraint {
    text: String,
    /// Where the text names which dimension, in the order of the text.
    names: Vec<(Range<usize>, usize)>,
    /// The expression with operands before their operator.
    program: Vec<Op>,
}

/// Why a text is no constraint of a space.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("constraint `{text}`, column {column}: {message}")]
pub struct ConstraintError {
    /// The text.
    pub text: String,
    /// The character at which it goes wrong, from 1.
    pub column: usize,
    /// What is wrong, as part of a sentence.
    pub message: String,
    /// For an unknown name, the known one nearest to it, if one is near.
    pub nearest: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Op {
    Constant(Value),
    /// The value of a dimension.
    Parameter(usize),
    Unary(Unary),
    Binary(Binary),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unary {
    Negate,
    Not,
    Abs,
    Log,
    Exp,
    Sqrt,
    Len,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binary {
    Or,
    And,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    Unequal,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    Min,
    Max,
    Position,
}

impl Constraint {
    /// The expression as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Positions in the space of the dimensions that it names, with repetitions.
    pub fn dimensions(&self) -> impl Iterator<Item = usize> + '_ {
        self.names.iter().map(|(_, dimension)| *dimension)
    }

    /// Whether it is true, or one of its dimensions is not active; `look` is given the position of a
    /// dimension. `None` if it has no value, or not yet: while dimensions are open, the answer is one
    /// that holds whatever becomes of them, as long as they become active.
    pub fn judge<'a>(&'a self, look: impl Fn(usize) -> Known<'a>) -> Option<bool> {
        let mut stack: Vec<Operand<'a>> = Vec::with_capacity(self.program.len());
        for op in &self.program {
            let result = match op {
                Op::Constant(value) => Operand::from(Cow::Borrowed(value)),
                Op::Parameter(dimension) => match look(*dimension) {
                    Known::Value(value) => Operand::from(value),
                    Known::Inactive => return Some(true),
                    Known::Open => Operand::Open,
                },
                Op::Unary(unary) => unary.apply(&stack.pop()?),
                Op::Binary(binary) => {
                    let (b, a) = (stack.pop()?, stack.pop()?);
                    binary.apply(&a, &b)
                }
            };
            stack.push(result);
        }
        stack.pop()?.truth()
    }

    /// The same constraint of a space in which the dimensions stand `offset` places later and are
    /// called otherwise.
    pub(crate) fn moved(&self, offset: usize, rename: impl Fn(&str) -> String) -> Self {
        let mut moved = Self { text: String::new(), names: Vec::new(), program: Vec::new() };
        let mut copied = 0;
        for (range, dimension) in &self.names {
            moved.text.push_str(&self.text[copied..range.start]);
            let start = moved.text.len();
            let name = parse::unquoted(&self.text[range.clone()]);
            moved.text.push_str(&parse::quoted(&rename(&name)));
            moved.names.push((start..moved.text.len(), dimension + offset));
            copied = range.end;
        }
        moved.text.push_str(&self.text[copied..]);
        let program = self.program.iter().map(|op| match op {
            Op::Parameter(dimension) => Op::Parameter(dimension + offset),
            other => other.clone(),
        });
        moved.program = program.collect();
        moved
    }

    /// The same where the dimensions are at other places; `None` if one of them has none.
    pub(crate) fn placed(&self, place: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        let names = self.names.iter().map(|(range, at)| Some((range.clone(), place(*at)?)));
        let program = self.program.iter().map(|op| match op {
            Op::Parameter(dimension) => Some(Op::Parameter(place(*dimension)?)),
            other => Some(other.clone()),
        });
        let text = self.text.clone();
        Some(Self {
            text,
            names: names.collect::<Option<_>>()?,
            program: program.collect::<Option<_>>()?,
        })
    }
}

/// What is known of a dimension while a configuration is put together.
#[derive(Debug, Clone)]
pub enum Known<'a> {
    /// Its value.
    Value(Cow<'a, Value>),
    /// That it is not active.
    Inactive,
    /// Nothing so far.
    Open,
}

/// Within one space the text says it all.
impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A value on the way.
enum Operand<'a> {
    /// A number; NaN where there is none.
    Number(f64),
    /// `None` where it cannot be told.
    Truth(Option<bool>),
    /// A text or a list.
    Other(Cow<'a, Value>),
    /// What is not known yet.
    Open,
}

impl<'a> From<Cow<'a, Value>> for Operand<'a> {
    fn from(value: Cow<'a, Value>) -> Self {
        match *value {
            Value::Bool(x) => Self::Truth(Some(x)),
            Value::Int(x) => Self::Number(x as f64),
            Value::Float(x) => Self::Number(x),
            Value::Text(_) | Value::List(_) => Self::Other(value),
        }
    }
}

impl Operand<'_> {
    fn number(&self) -> f64 {
        match self {
            Self::Number(x) => *x,
            _ => f64::NAN,
        }
    }

    fn truth(&self) -> Option<bool> {
        match self {
            Self::Truth(x) => *x,
            _ => None,
        }
    }

    /// The place of `item` in a list.
    fn position(&self, item: &Self) -> Option<usize> {
        let Self::Other(list) = self else { return None };
        let Value::List(items) = list.as_ref() else { return None };
        items
            .iter()
            .position(|other| item.equals(&Operand::from(Cow::Borrowed(other))) == Some(true))
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Number(x) => x.is_nan(),
            Self::Truth(x) => x.is_none(),
            Self::Open => true,
            Self::Other(_) => false,
        }
    }

    fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => compared(*a, *b, a == b),
            (Self::Truth(a), Self::Truth(b)) => Some((*a)? == (*b)?),
            (Self::Other(a), Self::Other(b)) => Some(a == b),
            (Self::Open, _) | (_, Self::Open) => None,
            _ => Some(false),
        }
    }
}

/// `outcome`, unless one of the numbers compared is none.
fn compared(a: f64, b: f64, outcome: bool) -> Option<bool> {
    (!a.is_nan() && !b.is_nan()).then_some(outcome)
}

impl Unary {
    fn apply<'a>(self, a: &Operand<'_>) -> Operand<'a> {
        Operand::Number(match self {
            Self::Not => return Operand::Truth(a.truth().map(|a| !a)),
            Self::Negate => -a.number(),
            Self::Abs => a.number().abs(),
            Self::Log => a.number().ln(),
            Self::Exp => a.number().exp(),
            Self::Sqrt => a.number().sqrt(),
            Self::Len => match a {
                Operand::Other(list) => match list.as_ref() {
                    Value::List(items) => items.len() as f64,
                    _ => f64::NAN,
                },
                _ => f64::NAN,
            },
        })
    }
}

impl Binary {
    fn apply<'a>(self, a: &Operand<'_>, b: &Operand<'_>) -> Operand<'a> {
        let (x, y) = (a.number(), b.number());
        let truth = match self {
            Self::Add => return Operand::Number(x + y),
            Self::Subtract => return Operand::Number(x - y),
            Self::Multiply => return Operand::Number(x * y),
            Self::Divide if y == 0.0 => return Operand::Number(f64::NAN),
            Self::Divide => return Operand::Number(x / y),
            Self::Remainder => return Operand::Number(x - y * (x / y).floor()),
            Self::Power => return Operand::Number(x.powf(y)),
            // Unlike `f64::min` these make no number of none.
            Self::Min => return Operand::Number(if x < y || x.is_nan() { x } else { y }),
            Self::Max => return Operand::Number(if x > y || x.is_nan() { x } else { y }),
            Self::Position => {
                return Operand::Number(a.position(b).map_or(f64::NAN, |place| place as f64));
            }
            Self::In => (!a.is_open() && !b.is_open()).then(|| b.position(a).is_some()),
            Self::Or => match (a.truth(), b.truth()) {
                (Some(false), b) => b,
                (a, Some(false)) => a,
                (a, b) => (a == Some(true) || b == Some(true)).then_some(true),
            },
            Self::And => match (a.truth(), b.truth()) {
                (Some(true), b) => b,
                (a, Some(true)) => a,
                (a, b) => (a == Some(false) || b == Some(false)).then_some(false),
            },
            Self::Less => compared(x, y, x < y),
            Self::LessEqual => compared(x, y, x <= y),
            Self::Greater => compared(x, y, x > y),
            Self::GreaterEqual => compared(x, y, x >= y),
            Self::Equal => a.equals(b),
            Self::Unequal => a.equals(b).map(|equal| !equal),
        };
        Operand::Truth(truth)
    }
}

/// Names the dimension that was meant, if one is called nearly so.
pub(crate) fn nearest(dimensions: &[Dimension], name: &str) -> Option<String> {
    let distances = dimensions
        .iter()
        .map(|dimension| (strsim::damerau_levenshtein(&dimension.name, name), &dimension.name));
    let near = distances.min().filter(|(distance, _)| *distance <= 1 + name.len() / 3);
    near.map(|(_, name)| name.clone())
}
