//! The TOML form of a space, as it stands under `[tune.space.<learner>]`.
//!
//! ```toml
//! learning_rate = { float = [1e-3, 1.0], log = true }
//! ngrams = { int = [1, 3] }
//! momentum = { float = [0.5, 0.999], scale = "logit" }    # or reverse-log; log = true is scale = "log"
//! batch = { ordinal = [16, 32, 64, 128] }                 # a choice in an order
//! steps = { permutation = ["clip", "scale", "rotate"] }                # all, in any order
//! features = { subset = ["age", "income", "region"], size = [1, 2] }   # some; without `size` any number
//! penalty = { choice = ["none", "l2"], when.l2 = { alpha = { float = [1e-8, 1e-2], log = true } } }
//! epochs = 8                       # a plain value fixes the parameter
//! constraints = ["ngrams * epochs <= 16", "penalty == 'none' or learning_rate < 0.1"]
//! ```
//!
//! `constraints` may stand in any table of parameters, because what is a list is no parameter; a
//! parameter may be called so, too. How they are written is said at [`Constraint`](crate::Constraint).

use toml::{Table, Value as Toml};

use crate::constraint::nearest;
use crate::{Condition, ConstraintError, Dimension, Distribution, Scale, Space, Value};

/// What is wrong with a space written as TOML.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FormError {
    /// A parameter's description cannot be read.
    #[error("parameter `{name}`: {message}")]
    Parameter {
        /// The parameter.
        name: String,
        /// What is wrong, as part of a sentence.
        message: String,
    },
    /// A constraint cannot be read.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The space has no parameter of that name.
    #[error("there is no parameter `{name}`")]
    Unknown {
        /// The name as written.
        name: String,
        /// The known name nearest to it, if one is near.
        nearest: Option<String>,
        /// All known names.
        known: Vec<String>,
    },
}

impl Space {
    /// Reads a space from its TOML form.
    pub fn from_toml(table: &Table) -> Result<Self, FormError> {
        let mut reader = Reader::default();
        reader.read_table(table, None)?;
        reader.finish()
    }

    /// Replaces the parameters named in `table` (TOML form), with all that hung on them, and keeps
    /// the others; its constraints are added. Naming a parameter that the space does not have is an
    /// error. Constraints on parameters that are gone go with them.
    pub fn replace(&self, table: &Table) -> Result<Self, FormError> {
        for (name, form) in table {
            if self.position(name).is_none() && !is_constraints(name, form) {
                return Err(self.unknown(name));
            }
        }
        let mut reader = Reader::default();
        let mut moved = vec![None; self.len()];
        for (index, dimension) in self.dimensions.iter().enumerate() {
            let condition = match dimension.condition {
                Some(Condition { parent, option }) => match moved[parent] {
                    Some(parent) => Some(Condition { parent, option }),
                    None => continue,
                },
                None => None,
            };
            let Dimension { name, distribution, .. } = dimension;
            match table.get(name) {
                Some(form) if !is_constraints(name, form) => {
                    reader.read_parameter(name, form, condition)?;
                }
                _ if reader.space.position(name).is_none() => {
                    moved[index] = Some(reader.space.len());
                    reader.space.push(name.clone(), distribution.clone(), condition);
                }
                _ => {}
            }
        }
        let is_there = |index: usize| reader.space.position(&self.dimensions[index].name).is_some();
        let kept =
            self.constraints.iter().filter(|constraint| constraint.dimensions().all(is_there));
        let kept = kept.map(|constraint| constraint.text().to_owned()).collect();
        let own = std::mem::replace(&mut reader.constraints, kept);
        reader.constraints.extend(own);
        reader.read_constraints(table)?;
        reader.finish()
    }

    fn unknown(&self, name: &str) -> FormError {
        let known = self.dimensions.iter().map(|d| d.name.clone()).collect();
        FormError::Unknown {
            name: name.to_owned(),
            nearest: nearest(&self.dimensions, name),
            known,
        }
    }
}

const CONSTRAINTS: &str = "constraints";

/// Whether an entry of a table is its constraints.
fn is_constraints(name: &str, form: &Toml) -> bool {
    name == CONSTRAINTS && form.is_array()
}

fn parameter_error(name: &str, message: &str) -> FormError {
    FormError::Parameter { name: name.to_owned(), message: message.to_owned() }
}

/// A space on the way. Constraints wait until all parameters are there.
#[derive(Default)]
struct Reader {
    space: Space,
    constraints: Vec<String>,
}

impl Reader {
    fn finish(mut self) -> Result<Space, FormError> {
        for constraint in &self.constraints {
            self.space.constrain(constraint)?;
        }
        Ok(self.space)
    }

    fn read_table(&mut self, table: &Table, condition: Option<Condition>) -> Result<(), FormError> {
        for (name, form) in table.iter().filter(|(name, form)| !is_constraints(name, form)) {
            self.read_parameter(name, form, condition)?;
        }
        self.read_constraints(table)
    }

    fn read_constraints(&mut self, table: &Table) -> Result<(), FormError> {
        let list = table.get(CONSTRAINTS).and_then(Toml::as_array);
        for constraint in list.into_iter().flatten() {
            let text = constraint.as_str().ok_or_else(|| {
                parameter_error(CONSTRAINTS, "a list of constraints takes texts, as \"a < b\"")
            })?;
            self.constraints.push(text.to_owned());
        }
        Ok(())
    }

    fn read_parameter(
        &mut self,
        name: &str,
        form: &Toml,
        condition: Option<Condition>,
    ) -> Result<(), FormError> {
        let fail = |message: &str| parameter_error(name, message);
        if self.space.position(name).is_some() {
            return Err(fail("the name appears twice in the space"));
        }
        let Toml::Table(table) = form else {
            let fixed = scalar(form).ok_or_else(|| fail("expected a table or a plain value"))?;
            let fixed = Distribution::Choice { options: vec![fixed] };
            self.space.push(name.to_owned(), fixed, condition);
            return Ok(());
        };
        let distribution = read_distribution(table).map_err(|message| fail(&message))?;
        if let Some(fault) = distribution.fault() {
            return Err(fail(&fault));
        }
        let parent = self.space.len();
        self.space.push(name.to_owned(), distribution.clone(), condition);
        let Some(branches) = table.get("when") else { return Ok(()) };
        let branches = branches.as_table().ok_or_else(|| fail("`when` must be a table"))?;
        for (option, child) in branches {
            let Distribution::Choice { options } = &distribution else {
                return Err(fail("`when` needs a `choice`"));
            };
            let index = options
                .iter()
                .position(|o| o.to_string() == *option)
                .ok_or_else(|| fail(&format!("`when.{option}` names no option of the choice")))?;
            let child = child
                .as_table()
                .ok_or_else(|| fail(&format!("`when.{option}` must be a table")))?;
            self.read_table(child, Some(Condition { parent, option: index }))?;
        }
        Ok(())
    }
}

fn read_distribution(table: &Table) -> Result<Distribution, String> {
    const KINDS: [&str; 6] = ["float", "int", "ordinal", "choice", "permutation", "subset"];
    const OTHERS: [&str; 5] = ["log", "scale", "step", "size", "when"];
    let is_known = |key: &str| KINDS.contains(&key) || OTHERS.contains(&key);
    if let Some(key) = table.keys().find(|key| !is_known(key)) {
        let known = [&KINDS[..], &OTHERS].concat().join(", ");
        return Err(format!("unknown key `{key}`, known are {known}"));
    }
    let kinds: Vec<_> = KINDS.iter().filter_map(|k| Some((*k, table.get(*k)?))).collect();
    let [(kind, range)] = kinds.as_slice() else {
        return Err(format!("expected exactly one of `{}`", KINDS.join("`, `")));
    };
    if table.contains_key("size") && *kind != "subset" {
        return Err("`size` needs a `subset`".to_owned());
    }
    let (scale, step) = (read_scale(table)?, table.get("step"));
    match *kind {
        "float" => {
            let [low, high] = pair(range, number).ok_or("`float` takes two numbers")?;
            let step = step.map(|s| number(s).ok_or("`step` must be a number")).transpose()?;
            let scale = scale.unwrap_or_default();
            Ok(Distribution::Float { low, high, scale, step })
        }
        "int" => {
            let [low, high] = pair(range, Toml::as_integer).ok_or("`int` takes two integers")?;
            let step =
                step.map(|s| s.as_integer().ok_or("`step` must be an integer")).transpose()?;
            let (scale, step) = (scale.unwrap_or_default(), step.unwrap_or(1));
            Ok(Distribution::Int { low, high, scale, step })
        }
        _ if scale.is_some() || step.is_some() => {
            Err(format!("`{kind}` has options and takes no `scale`, `log` or `step`"))
        }
        kind => {
            let options = range.as_array().ok_or_else(|| format!("`{kind}` takes a list"))?;
            let options = options.iter().map(scalar).collect::<Option<Vec<_>>>();
            let options = options.ok_or("options must be plain values")?;
            match kind {
                "ordinal" => Ok(Distribution::Ordinal { options }),
                "permutation" => Ok(Distribution::Permutation { items: options }),
                "subset" => {
                    let [least, most] = read_size(table)?.unwrap_or([0, options.len()]);
                    Ok(Distribution::Subset { items: options, least, most })
                }
                _ => Ok(Distribution::Choice { options }),
            }
        }
    }
}

/// Fewest and most items of a subset.
fn read_size(table: &Table) -> Result<Option<[usize; 2]>, String> {
    let Some(size) = table.get("size") else { return Ok(None) };
    let count = |number: &Toml| usize::try_from(number.as_integer()?).ok();
    pair(size, count).map(Some).ok_or_else(|| "`size` takes two integers from 0".to_owned())
}

/// The scale that is named, with `log = true` as a short form of the most usual one.
fn read_scale(table: &Table) -> Result<Option<Scale>, String> {
    match (table.get("scale"), table.get("log")) {
        (Some(_), Some(_)) => {
            Err("`log = true` is `scale = \"log\"`: write one of them".to_owned())
        }
        (None, None) => Ok(None),
        (None, Some(log)) => match log.as_bool() {
            Some(true) => Ok(Some(Scale::Log)),
            Some(false) => Ok(Some(Scale::Linear)),
            None => Err("`log` must be true or false".to_owned()),
        },
        (Some(name), None) => {
            let found = name.as_str().and_then(|name| {
                Scale::NAMES.iter().find(|(known, _)| *known == name).map(|(_, scale)| *scale)
            });
            let known = Scale::NAMES.map(|(name, _)| name).join(", ");
            found.map(Some).ok_or_else(|| format!("`scale` is {name}, known are {known}"))
        }
    }
}

fn pair<T: Copy>(value: &Toml, read: impl Fn(&Toml) -> Option<T>) -> Option<[T; 2]> {
    match value.as_array()?.as_slice() {
        [low, high] => Some([read(low)?, read(high)?]),
        _ => None,
    }
}

fn number(value: &Toml) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|x| x as f64))
}

fn scalar(value: &Toml) -> Option<Value> {
    Some(match value {
        Toml::String(text) => Value::Text(text.clone()),
        Toml::Integer(x) => Value::Int(*x),
        Toml::Float(x) => Value::Float(*x),
        Toml::Boolean(x) => Value::Bool(*x),
        _ => return None,
    })
}
