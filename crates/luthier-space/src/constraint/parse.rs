//! From the text of a constraint to its program: precedence climbing over a list of tokens, with the
//! types of operands checked on the way.

use std::fmt;
use std::ops::Range;

use super::{Binary, Constraint, ConstraintError, Op, Unary, nearest};
use crate::{Dimension, Distribution, Value};

/// Most operands and operators of a constraint, and most levels of nesting.
const MOST_OPS: usize = 1000;
const MOST_LEVELS: usize = 64;

impl Constraint {
    /// Reads a constraint on `dimensions`.
    pub(crate) fn parse(text: &str, dimensions: &[Dimension]) -> Result<Self, ConstraintError> {
        Parser::read(text, dimensions).map_err(|Fault { at, message, nearest }| {
            let column = 1 + text.get(..at).map_or(0, |before| before.chars().count());
            ConstraintError { text: text.to_owned(), column, message, nearest }
        })
    }
}

/// A name as it stands in a text.
pub(super) fn quoted(name: &str) -> String {
    let whole = |length: usize| length == name.len();
    match word(name).is_some_and(whole) && keyword(name).is_none() {
        true => name.to_owned(),
        false => format!("`{}`", name.replace('`', "``")),
    }
}

/// The inverse of [`quoted`].
pub(super) fn unquoted(text: &str) -> String {
    match text.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
        Some(inner) => inner.replace("``", "`"),
        None => text.to_owned(),
    }
}

/// What is wrong at a byte of the text.
struct Fault {
    at: usize,
    message: String,
    nearest: Option<String>,
}

fn fault<T>(at: usize, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into(), nearest: None })
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Constant(Value),
    Name(String),
    /// An operator, a parenthesis, a comma or a word of the language.
    Symbol(&'static str),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(value) => write!(f, "`{value}`"),
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// The longer ones first.
const SYMBOLS: [&str; 16] =
    ["**", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",", "="];
const WORDS: [&str; 4] = ["or", "and", "not", "in"];

fn keyword(word: &str) -> Option<Token> {
    match word {
        "true" => Some(Token::Constant(Value::Bool(true))),
        "false" => Some(Token::Constant(Value::Bool(false))),
        _ => WORDS.iter().find(|known| **known == word).map(|known| Token::Symbol(known)),
    }
}

/// Splits the text into tokens, each with the bytes it covers.
fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else { break };
        let (token, length) = match first {
            '\'' | '"' => match rest[1..].find(first) {
                Some(end) => (Token::Constant(rest[1..=end].into()), end + 2),
                None => return fault(at, "the text is not closed"),
            },
            '`' => match backquoted(rest) {
                Some(length) => (Token::Name(unquoted(&rest[..length])), length),
                None => return fault(at, "the name is not closed"),
            },
            '0'..='9' | '.' => match number(rest) {
                Some((number, length)) => (Token::Constant(Value::Float(number)), length),
                None => return fault(at, "this is no number"),
            },
            _ => match (word(rest), SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol))) {
                (Some(length), _) => {
                    let word = &rest[..length];
                    (keyword(word).unwrap_or_else(|| Token::Name(word.to_owned())), length)
                }
                (None, Some(&"=")) => return fault(at, "equality is written `==`"),
                (None, Some(symbol)) => (Token::Symbol(symbol), symbol.len()),
                (None, None) => return fault(at, format!("`{first}` has no meaning here")),
            },
        };
        tokens.push((token, at..at + length));
        at += length;
    }
    tokens.push((Token::End, at..at));
    Ok(tokens)
}

/// Length of the plain name at the start: words joined by dots.
fn word(text: &str) -> Option<usize> {
    let starts = |c: char| c.is_alphabetic() || c == '_';
    let mut end = 0;
    loop {
        let part = &text[end..];
        if !part.starts_with(starts) {
            return None;
        }
        let inside = |c: char| c.is_alphanumeric() || c == '_';
        end += part.find(|c| !inside(c)).unwrap_or(part.len());
        let dotted = text[end..].strip_prefix('.').is_some_and(|rest| rest.starts_with(starts));
        if !dotted {
            return Some(end);
        }
        end += 1;
    }
}

/// Length of the name in backquotes at the start, with them.
fn backquoted(text: &str) -> Option<usize> {
    let mut end = 1;
    loop {
        end += text[end..].find('`')? + 1;
        match text[end..].starts_with('`') {
            true => end += 1,
            false => return Some(end),
        }
    }
}

/// The finite number at the start, with its length.
fn number(text: &str) -> Option<(f64, usize)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut end = digits(text);
    if text[end..].starts_with('.') {
        end += 1 + digits(&text[end + 1..]);
    }
    if let Some(rest) = text[end..].strip_prefix(['e', 'E']) {
        let signed = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        end += 1 + (rest.len() - signed.len()) + digits(signed);
    }
    let number: f64 = text[..end].parse().ok()?;
    number.is_finite().then_some((number, end))
}

/// What an expression may turn out to be: a set of kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Types(u8);

impl Types {
    const NUMBER: Self = Self(1);
    const TRUTH: Self = Self(2);
    const TEXT: Self = Self(4);
    const LIST: Self = Self(8);
    const ANY: Self = Self(15);

    fn of(value: &Value) -> Self {
        match value {
            Value::Int(_) | Value::Float(_) => Self::NUMBER,
            Value::Bool(_) => Self::TRUTH,
            Value::Text(_) => Self::TEXT,
            Value::List(_) => Self::LIST,
        }
    }

    fn of_parameter(distribution: &Distribution) -> Self {
        match distribution {
            Distribution::Float { .. } | Distribution::Int { .. } => Self::NUMBER,
            Distribution::Choice { options } | Distribution::Ordinal { options } => {
                Self(options.iter().fold(0, |types, option| types | Self::of(option).0))
            }
            Distribution::Permutation { .. } | Distribution::Subset { .. } => Self::LIST,
        }
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::NUMBER, "a number"),
            (Self::TRUTH, "true or false"),
            (Self::TEXT, "a text"),
            (Self::LIST, "a list"),
        ];
        let named = names.iter().filter(|(types, _)| self.meets(*types)).map(|(_, name)| *name);
        f.write_str(&named.collect::<Vec<_>>().join(" or "))
    }
}

impl Binary {
    /// The operator written so, with how strongly it binds.
    fn of(symbol: &str) -> Option<(Self, u8)> {
        Some(match symbol {
            "or" => (Self::Or, 1),
            "and" => (Self::And, 2),
            "<" => (Self::Less, COMPARISON),
            "<=" => (Self::LessEqual, COMPARISON),
            ">" => (Self::Greater, COMPARISON),
            ">=" => (Self::GreaterEqual, COMPARISON),
            "==" => (Self::Equal, COMPARISON),
            "!=" => (Self::Unequal, COMPARISON),
            "in" => (Self::In, COMPARISON),
            "+" => (Self::Add, 4),
            "-" => (Self::Subtract, 4),
            "*" => (Self::Multiply, 5),
            "/" => (Self::Divide, 5),
            "%" => (Self::Remainder, 5),
            "**" => (Self::Power, POWER),
            _ => return None,
        })
    }

    /// What the operands must be, and what comes out.
    fn types(self) -> ([Types; 2], Types) {
        match self {
            Self::Or | Self::And => ([Types::TRUTH; 2], Types::TRUTH),
            Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual => {
                ([Types::NUMBER; 2], Types::TRUTH)
            }
            Self::Equal | Self::Unequal => ([Types::ANY; 2], Types::TRUTH),
            Self::In => ([Types::ANY, Types::LIST], Types::TRUTH),
            Self::Position => ([Types::LIST, Types::ANY], Types::NUMBER),
            _ => ([Types::NUMBER; 2], Types::NUMBER),
        }
    }

    fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::Unequal)
    }
}

impl Unary {
    /// What the operand must be, and what comes out.
    fn types(self) -> (Types, Types) {
        match self {
            Self::Not => (Types::TRUTH, Types::TRUTH),
            Self::Len => (Types::LIST, Types::NUMBER),
            _ => (Types::NUMBER, Types::NUMBER),
        }
    }
}

const COMPARISON: u8 = 3;
const POWER: u8 = 6;

/// A function of the language: of one argument, of two, or of two and folded over more.
enum Function {
    Unary(Unary),
    Binary(Binary),
    Folded(Binary),
}

const FUNCTIONS: [(&str, Function); 8] = [
    ("min", Function::Folded(Binary::Min)),
    ("max", Function::Folded(Binary::Max)),
    ("abs", Function::Unary(Unary::Abs)),
    ("log", Function::Unary(Unary::Log)),
    ("exp", Function::Unary(Unary::Exp)),
    ("sqrt", Function::Unary(Unary::Sqrt)),
    ("len", Function::Unary(Unary::Len)),
    ("position", Function::Binary(Binary::Position)),
];

struct Parser<'a> {
    dimensions: &'a [Dimension],
    tokens: Vec<(Token, Range<usize>)>,
    /// Index of the token that is next.
    next: usize,
    /// Levels of nesting that are open.
    levels: usize,
    names: Vec<(Range<usize>, usize)>,
    program: Vec<Op>,
}

impl<'a> Parser<'a> {
    fn read(text: &str, dimensions: &'a [Dimension]) -> Result<Constraint, Fault> {
        let mut parser = Self {
            dimensions,
            tokens: tokens(text)?,
            next: 0,
            levels: 0,
            names: Vec::new(),
            program: Vec::new(),
        };
        let types = parser.expression(0)?;
        let (token, at) = (parser.peek(), parser.at());
        if token != Token::End {
            return fault(at, format!("expected an operator, found {token}"));
        }
        if !types.meets(Types::TRUTH) {
            return fault(0, format!("it must be true or false, as `a < b` is, not {types}"));
        }
        if parser.names.is_empty() {
            return fault(0, "it names no parameter");
        }
        Ok(Constraint { text: text.to_owned(), names: parser.names, program: parser.program })
    }

    fn peek(&self) -> Token {
        self.tokens.get(self.next).map_or(Token::End, |(token, _)| token.clone())
    }

    /// The byte at which the next token begins.
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(0, |(_, range)| range.start)
    }

    fn take(&mut self, symbol: &'static str) -> bool {
        let found = self.peek() == Token::Symbol(symbol);
        self.next += usize::from(found);
        found
    }

    fn push(&mut self, op: Op) -> Result<(), Fault> {
        if self.program.len() == MOST_OPS {
            return fault(self.at(), format!("it has more than {MOST_OPS} terms and operators"));
        }
        self.program.push(op);
        Ok(())
    }

    /// An expression of operators that bind at least as strongly as `lowest`.
    fn expression(&mut self, lowest: u8) -> Result<Types, Fault> {
        if self.levels == MOST_LEVELS {
            return fault(self.at(), format!("it is nested more than {MOST_LEVELS} levels deep"));
        }
        self.levels += 1;
        let mut left = self.prefix()?;
        let mut compared = false;
        while let Some((symbol, binary, strength)) = self.operator() {
            if strength < lowest {
                break;
            }
            let at = self.at();
            if compared && strength == COMPARISON {
                return fault(at, "join comparisons with `and`");
            }
            compared = strength == COMPARISON;
            let negated = self.take("not");
            self.next += 1;
            let right = self.expression(strength + u8::from(binary != Binary::Power))?;
            left = self.apply(binary, symbol, at, [left, right])?;
            if negated {
                self.push(Op::Unary(Unary::Not))?;
            }
        }
        self.levels -= 1;
        Ok(left)
    }

    /// The operator that is next, with how strongly it binds; `not in` as `in`.
    fn operator(&self) -> Option<(&'static str, Binary, u8)> {
        let second = self.tokens.get(self.next + 1).map(|(token, _)| token);
        let symbol = match (self.peek(), second) {
            (Token::Symbol("not"), Some(Token::Symbol("in"))) => "in",
            (Token::Symbol(symbol), _) => symbol,
            _ => return None,
        };
        let (binary, strength) = Binary::of(symbol)?;
        Some((symbol, binary, strength))
    }

    /// A term with the operators before it.
    fn prefix(&mut self) -> Result<Types, Fault> {
        let at = self.at();
        let (unary, symbol, lowest) = if self.take("-") {
            (Unary::Negate, "-", POWER)
        } else if self.take("not") {
            (Unary::Not, "not", COMPARISON)
        } else {
            return self.term();
        };
        let operand = self.expression(lowest)?;
        self.apply_unary(unary, symbol, at, operand)
    }

    fn term(&mut self) -> Result<Types, Fault> {
        let (token, at) = (self.peek(), self.at());
        if self.take("(") {
            let types = self.expression(0)?;
            self.close()?;
            return Ok(types);
        }
        match token {
            Token::Constant(value) => {
                self.next += 1;
                let types = Types::of(&value);
                self.push(Op::Constant(value))?;
                Ok(types)
            }
            Token::Name(name) => {
                let range = self.tokens[self.next].1.clone();
                self.next += 1;
                match self.peek() {
                    Token::Symbol("(") => self.call(&name, at),
                    _ => self.parameter(&name, range),
                }
            }
            other => fault(at, format!("expected a value, found {other}")),
        }
    }

    fn close(&mut self) -> Result<(), Fault> {
        let (token, at) = (self.peek(), self.at());
        match self.take(")") {
            true => Ok(()),
            false => fault(at, format!("expected `)`, found {token}")),
        }
    }

    fn parameter(&mut self, name: &str, range: Range<usize>) -> Result<Types, Fault> {
        let Some(index) = self.dimensions.iter().position(|d| d.name == name) else {
            return Err(Fault {
                at: range.start,
                message: format!("there is no parameter `{name}`"),
                nearest: nearest(self.dimensions, name),
            });
        };
        self.names.push((range, index));
        self.push(Op::Parameter(index))?;
        Ok(Types::of_parameter(&self.dimensions[index].distribution))
    }

    fn call(&mut self, name: &str, at: usize) -> Result<Types, Fault> {
        let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
            let known = FUNCTIONS.map(|(name, _)| name).join(", ");
            return fault(at, format!("there is no function `{name}`, known are {known}"));
        };
        self.take("(");
        let first = self.expression(0)?;
        let types = match *function {
            Function::Unary(unary) => self.apply_unary(unary, name, at, first)?,
            Function::Binary(binary) => self.argument(binary, name, at, first)?,
            Function::Folded(binary) => {
                let mut folded = self.argument(binary, name, at, first)?;
                while self.peek() == Token::Symbol(",") {
                    folded = self.argument(binary, name, at, folded)?;
                }
                folded
            }
        };
        self.close()?;
        Ok(types)
    }

    /// Another argument of a function, combined with what comes before it.
    fn argument(
        &mut self,
        binary: Binary,
        name: &str,
        at: usize,
        left: Types,
    ) -> Result<Types, Fault> {
        let (found, here) = (self.peek(), self.at());
        if !self.take(",") {
            return fault(here, format!("expected another argument of `{name}`, found {found}"));
        }
        let right = self.expression(0)?;
        self.apply(binary, name, at, [left, right])
    }

    /// Adds an operator whose operand is there already.
    fn apply_unary(
        &mut self,
        unary: Unary,
        symbol: &str,
        at: usize,
        operand: Types,
    ) -> Result<Types, Fault> {
        let (wanted, result) = unary.types();
        require(symbol, at, wanted, operand)?;
        self.push(Op::Unary(unary))?;
        Ok(result)
    }

    /// Adds an operator whose operands are there already.
    fn apply(
        &mut self,
        binary: Binary,
        symbol: &str,
        at: usize,
        operands: [Types; 2],
    ) -> Result<Types, Fault> {
        let (wanted, result) = binary.types();
        for (wanted, operand) in wanted.into_iter().zip(operands) {
            require(symbol, at, wanted, operand)?;
        }
        let [left, right] = operands;
        if binary.is_equality() && !left.meets(right) {
            return fault(at, format!("`{symbol}` compares {left} with {right}"));
        }
        if binary.is_equality() || matches!(binary, Binary::In | Binary::Position) {
            self.require_option(at)?;
        }
        self.push(Op::Binary(binary))?;
        Ok(result)
    }

    /// Refuses a constant beside a parameter with options or items that is none of them.
    fn require_option(&self, at: usize) -> Result<(), Fault> {
        let (parameter, value) = match self.program.as_slice() {
            [.., Op::Parameter(index), Op::Constant(value)]
            | [.., Op::Constant(value), Op::Parameter(index)] => (&self.dimensions[*index], value),
            _ => return Ok(()),
        };
        let is_same = |option: &Value| match (option.as_f64(), value.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => option == value,
        };
        let (name, known) = (&parameter.name, &parameter.distribution);
        match known.options() {
            [] => Ok(()),
            options if options.iter().any(is_same) => Ok(()),
            _ => fault(at, format!("{value} is not among the values of `{name}`: {known}")),
        }
    }
}

fn require(symbol: &str, at: usize, types: Types, found: Types) -> Result<(), Fault> {
    match types.meets(found) {
        true => Ok(()),
        false => fault(at, format!("`{symbol}` needs {types}, not {found}")),
    }
}
