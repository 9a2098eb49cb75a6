//! The TOML form of a space, as it stands under `[tune.space.<learner>]`.
//!
//! ```toml
//! learning_rate = { float = [1e-3, 1.0], log = true }
//! ngrams = { int = [1, 3] }
//! momentum = { float = [0.5, 0.999], scale = "logit" }    # or reverse-log; log = true is scale = "log"
//! batch = { ordinal = [16, 32, 64, 128] }                 # a choice in an order
//! penalty = { choice = ["none", "l2"], when.l2 = { alpha = { float = [1e-8, 1e-2], log = true } } }
//! epochs = 8                       # a plain value fixes the parameter
//! ```

use toml::{Table, Value as Toml};

use crate::{Condition, Dimension, Distribution, Scale, Space, Value};

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
        let mut space = Self::default();
        read_table(&mut space, table, None)?;
        Ok(space)
    }

    /// Replaces the parameters named in `table` (TOML form), with all that hung on them, and keeps
    /// the others. Naming a parameter that the space does not have is an error.
    pub fn replace(&self, table: &Table) -> Result<Self, FormError> {
        for name in table.keys() {
            if self.position(name).is_none() {
                return Err(self.unknown(name));
            }
        }
        let mut space = Self::default();
        let mut moved = vec![None; self.len()];
        for (index, dimension) in self.dimensions.iter().enumerate() {
            let condition = match dimension.condition {
                Some(Condition { parent, option }) => match moved[parent] {
                    Some(parent) => Some(Condition { parent, option }),
                    None => continue,
                },
                None => None,
            };
            if let Some(form) = table.get(&dimension.name) {
                read_parameter(&mut space, &dimension.name, form, condition)?;
            } else if space.position(&dimension.name).is_none() {
                moved[index] = Some(space.len());
                space.push(dimension.name.clone(), dimension.distribution.clone(), condition);
            }
        }
        Ok(space)
    }

    fn unknown(&self, name: &str) -> FormError {
        let known: Vec<String> = self.dimensions.iter().map(|d| d.name.clone()).collect();
        let nearest = known
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate))
            .min()
            .filter(|(distance, _)| *distance <= 1 + name.len() / 3)
            .map(|(_, candidate)| candidate.clone());
        FormError::Unknown { name: name.to_owned(), nearest, known }
    }
}

fn read_table(
    space: &mut Space,
    table: &Table,
    condition: Option<Condition>,
) -> Result<(), FormError> {
    for (name, form) in table {
        read_parameter(space, name, form, condition)?;
    }
    Ok(())
}

fn read_parameter(
    space: &mut Space,
    name: &str,
    form: &Toml,
    condition: Option<Condition>,
) -> Result<(), FormError> {
    let fail =
        |message: &str| FormError::Parameter { name: name.to_owned(), message: message.to_owned() };
    if space.position(name).is_some() {
        return Err(fail("the name appears twice in the space"));
    }
    let Toml::Table(table) = form else {
        let fixed = scalar(form).ok_or_else(|| fail("expected a table or a plain value"))?;
        let distribution = Distribution::Choice { options: vec![fixed] };
        space.dimensions.push(Dimension { name: name.to_owned(), distribution, condition });
        return Ok(());
    };
    let distribution = read_distribution(table).map_err(|message| fail(&message))?;
    if let Some(fault) = distribution.fault() {
        return Err(fail(&fault));
    }
    let parent = space.len();
    space.dimensions.push(Dimension {
        name: name.to_owned(),
        distribution: distribution.clone(),
        condition,
    });
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
        let child =
            child.as_table().ok_or_else(|| fail(&format!("`when.{option}` must be a table")))?;
        read_table(space, child, Some(Condition { parent, option: index }))?;
    }
    Ok(())
}

fn read_distribution(table: &Table) -> Result<Distribution, String> {
    const KINDS: [&str; 4] = ["float", "int", "ordinal", "choice"];
    const OTHERS: [&str; 4] = ["log", "scale", "step", "when"];
    let is_known = |key: &str| KINDS.contains(&key) || OTHERS.contains(&key);
    if let Some(key) = table.keys().find(|key| !is_known(key)) {
        let known = [KINDS, OTHERS].concat().join(", ");
        return Err(format!("unknown key `{key}`, known are {known}"));
    }
    let kinds: Vec<_> = KINDS.iter().filter_map(|k| Some((*k, table.get(*k)?))).collect();
    let [(kind, range)] = kinds.as_slice() else {
        return Err("expected exactly one of `float`, `int`, `ordinal`, `choice`".to_owned());
    };
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
                _ => Ok(Distribution::Choice { options }),
            }
        }
    }
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
