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
//! optimizer = { choice = ["adam", "sgd", "nesterov"] }
//! momentum = { float = [0.5, 0.99], when.optimizer = ["sgd", "nesterov"] }    # only beside one of these
//! epochs = 8                       # a plain value fixes the parameter
//! constraints = ["ngrams * epochs <= 16", "penalty == 'none' or learning_rate < 0.1"]
//! ```
//!
//! Below `when`, a table has the parameters that exist beside one of the choice's own options; a value
//! or a list of values says beside which options of another choice the parameter itself exists.
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
        let mut kept = vec![false; self.len()];
        for (index, dimension) in self.dimensions.iter().enumerate() {
            let Dimension { name, distribution, condition } = dimension;
            let form = table.get(name).filter(|form| !is_constraints(name, form));
            let hangs = condition.as_ref().map(|condition| self.hangs(condition));
            let lost = condition.as_ref().is_some_and(|condition| !kept[condition.parent()]);
            match (form, hangs) {
                (Some(form), _) if own_conditions(form).next().is_some() => {
                    reader.read_parameter(name, form, None)?;
                }
                (Some(_), Some(Hangs { parent, .. })) if lost => {
                    let message = format!(
                        "it hung on `{parent}`, which is replaced: say where it is, as \
                         `when.{parent} = …`"
                    );
                    return Err(parameter_error(name, &message));
                }
                (Some(form), hangs) => reader.read_parameter(name, form, hangs)?,
                (None, _) if lost || reader.has(name) => {}
                (None, hangs) => {
                    kept[index] = true;
                    reader.declare(name, distribution.clone(), hangs);
                }
            }
        }
        let is_there = |index: usize| reader.has(&self.dimensions[index].name);
        let kept =
            self.constraints.iter().filter(|constraint| constraint.dimensions().all(is_there));
        let kept: Vec<String> = kept.map(|constraint| constraint.text().to_owned()).collect();
        reader.constraints.splice(..0, kept);
        reader.read_constraints(table)?;
        reader.finish()
    }

    /// A condition by names and values.
    fn hangs(&self, condition: &Condition) -> Hangs {
        let parent = &self.dimensions[condition.parent()];
        let options = parent.distribution.options();
        let options = condition.options().iter().filter_map(|&option| options.get(option).cloned());
        Hangs { parent: parent.name.clone(), options: options.collect() }
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

impl Distribution {
    /// Reads what the parameter called `name` may be from its TOML form. What the form says of
    /// conditions is passed over.
    pub fn from_toml(name: &str, form: &Table) -> Result<Self, FormError> {
        let distribution =
            read_distribution(form).map_err(|message| parameter_error(name, &message))?;
        match distribution.fault() {
            Some(fault) => Err(parameter_error(name, &fault)),
            None => Ok(distribution),
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

/// A space on the way: what its parameters hang on, and its constraints, are looked up when all of
/// them are there.
#[derive(Default)]
struct Reader {
    declarations: Vec<Declaration>,
    constraints: Vec<String>,
}

/// A parameter as it was read.
struct Declaration {
    name: String,
    distribution: Distribution,
    hangs: Option<Hangs>,
}

/// A condition by names and values.
struct Hangs {
    parent: String,
    options: Vec<Value>,
}

impl Reader {
    fn has(&self, name: &str) -> bool {
        self.declarations.iter().any(|declared| declared.name == name)
    }

    fn declare(&mut self, name: &str, distribution: Distribution, hangs: Option<Hangs>) {
        self.declarations.push(Declaration { name: name.to_owned(), distribution, hangs });
    }

    /// The space: each parameter in its place, or, if that is before its parent, as soon as possible.
    fn finish(self) -> Result<Space, FormError> {
        let mut space = Space::default();
        let mut waiting = self.declarations;
        while !waiting.is_empty() {
            let mut later = Vec::new();
            let before = space.len();
            for declared in waiting {
                let Declaration { name, distribution, hangs } = &declared;
                match hangs {
                    Some(hangs) if space.get(&hangs.parent).is_none() => later.push(declared),
                    hangs => {
                        let condition = hangs.as_ref().map(|hangs| hangs.condition(&space));
                        let condition = condition.transpose();
                        let condition = condition.map_err(|fault| parameter_error(name, &fault))?;
                        space.push(name.clone(), distribution.clone(), condition);
                    }
                }
            }
            if space.len() == before {
                return Err(without_parent(&later));
            }
            waiting = later;
        }
        self.constraints.iter().try_for_each(|constraint| space.constrain(constraint))?;
        Ok(space)
    }

    fn read_table(
        &mut self,
        table: &Table,
        under: Option<(&str, &Value)>,
    ) -> Result<(), FormError> {
        for (name, form) in table.iter().filter(|(name, form)| !is_constraints(name, form)) {
            let hangs = under.map(|(parent, option)| Hangs {
                parent: parent.to_owned(),
                options: vec![option.clone()],
            });
            self.read_parameter(name, form, hangs)?;
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
        mut hangs: Option<Hangs>,
    ) -> Result<(), FormError> {
        let fail = |message: &str| parameter_error(name, message);
        if self.has(name) {
            return Err(fail("the name appears twice in the space"));
        }
        let Toml::Table(table) = form else {
            let fixed = scalar(form).ok_or_else(|| fail("expected a table or a plain value"))?;
            self.declare(name, Distribution::Choice { options: vec![fixed] }, hangs);
            return Ok(());
        };
        let distribution = Distribution::from_toml(name, table)?;
        let when = match table.get("when") {
            Some(when) => when.as_table().ok_or_else(|| fail("`when` must be a table"))?,
            None => &Table::new(),
        };
        for (parent, options) in own_conditions(form) {
            if let Some(Hangs { parent, .. }) = hangs {
                return Err(fail(&format!("it hangs on `{parent}` already")));
            }
            let options = read_options(options).ok_or_else(|| {
                fail(&format!(
                    "`when.{parent}` takes an option, a list of options or a table of parameters"
                ))
            })?;
            hangs = Some(Hangs { parent: parent.clone(), options });
        }
        self.declare(name, distribution.clone(), hangs);
        for (option, child) in when {
            let Some(child) = child.as_table() else { continue };
            let Distribution::Choice { options } = &distribution else {
                return Err(fail("`when` needs a `choice`"));
            };
            let option = options
                .iter()
                .find(|o| o.to_string() == *option)
                .ok_or_else(|| fail(&format!("`when.{option}` names no option of the choice")))?;
            self.read_table(child, Some((name, option)))?;
        }
        Ok(())
    }
}

impl Hangs {
    /// The condition in a space that has the parent, or what is wrong with it.
    fn condition(&self, space: &Space) -> Result<Condition, String> {
        let Self { parent, options } = self;
        let place = space.position(parent).unwrap_or_default();
        let distribution = &space.dimensions[place].distribution;
        if !matches!(distribution, Distribution::Choice { .. }) {
            return Err(format!("`when.{parent}` names a parameter that is no `choice`"));
        }
        let option = |value: &Value| {
            distribution.option_index(value).ok_or_else(|| {
                format!("`when.{parent}` has {value}, but `{parent}` is {distribution}")
            })
        };
        let options = options.iter().map(option).collect::<Result<Vec<_>, _>>()?;
        Ok(Condition::new(place, options))
    }
}

/// Why parameters that all wait for their parents never get there.
fn without_parent(waiting: &[Declaration]) -> FormError {
    let mut hanging = waiting.iter().filter_map(|d| Some((&d.name, &d.hangs.as_ref()?.parent)));
    let waits = |name: &String| waiting.iter().any(|declared| declared.name == *name);
    let lost = hanging.clone().find(|(_, parent)| !waits(parent));
    let circle = || hanging.next().map(|(name, parent)| (name, parent, "hangs on it in the end"));
    let lost = lost.map(|(name, parent)| (name, parent, "does not exist"));
    let (name, message) =
        lost.or_else(circle).map_or_else(Default::default, |(name, parent, why)| {
            (name.as_str(), format!("it hangs on `{parent}`, which {why}"))
        });
    parameter_error(name, &message)
}

/// What the form of a parameter says of other choices below `when`.
fn own_conditions(form: &Toml) -> impl Iterator<Item = (&String, &Toml)> {
    let when = form.get("when").and_then(Toml::as_table);
    when.into_iter().flatten().filter(|(_, entry)| !entry.is_table())
}

/// An option, or a list of at least one.
fn read_options(form: &Toml) -> Option<Vec<Value>> {
    match form.as_array() {
        Some(list) => list.iter().map(scalar).collect::<Option<Vec<_>>>().filter(|o| !o.is_empty()),
        None => scalar(form).map(|option| vec![option]),
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
