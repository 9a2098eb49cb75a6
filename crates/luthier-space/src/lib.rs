//! Search spaces: what a study may choose from.
//!
//! Start from [`Space`], an ordered list of [`Dimension`]s. A dimension has a [`Distribution`] and
//! may depend on some options of an earlier choice ([`Condition`]); it is *active* in a set of
//! [`Values`] when that choice is active and took one of them. Parents always come before their
//! children, so samplers walk the list once, from front to back. A [`Constraint`] is an expression that
//! the values of several dimensions must make true. A space may be *open*: it grows by what is asked
//! for, and values need not have all of it.
//!
//! The crate knows nothing of models, samplers or storage: it describes, checks and converts.

mod condition;
mod constraint;
mod distribution;
mod form;
mod names;
mod part;
mod values;

pub use condition::Condition;
pub use constraint::{Constraint, ConstraintError, Known};
pub use distribution::{Distribution, Scale};
pub use form::FormError;
pub use values::{Value, ValueError, Values};

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The dimensions of a search, parents before children, and the constraints between them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Space {
    dimensions: Vec<Dimension>,
    constraints: Vec<Constraint>,
    open: bool,
}

/// A space in files: the list of its dimensions, or, with constraints or where it is open, an object.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Free(Vec<Dimension>),
    Constrained { dimensions: Vec<Dimension>, constraints: Vec<String> },
    Open { dimensions: Vec<Dimension>, open: bool },
}

impl From<Space> for Stored {
    fn from(Space { dimensions, constraints, open }: Space) -> Self {
        match constraints.as_slice() {
            [] if open => Self::Open { dimensions, open },
            [] => Self::Free(dimensions),
            constraints => {
                let constraints = constraints.iter().map(|c| c.text().to_owned()).collect();
                Self::Constrained { dimensions, constraints }
            }
        }
    }
}

impl TryFrom<Stored> for Space {
    type Error = ConstraintError;

    fn try_from(stored: Stored) -> Result<Self, ConstraintError> {
        let (dimensions, constraints, open) = match stored {
            Stored::Free(dimensions) => (dimensions, Vec::new(), false),
            Stored::Constrained { dimensions, constraints } => (dimensions, constraints, false),
            Stored::Open { dimensions, open } => (dimensions, Vec::new(), open),
        };
        let mut space = Self { dimensions, constraints: Vec::new(), open };
        constraints.iter().try_for_each(|text| space.constrain(text))?;
        Ok(space)
    }
}

/// One named parameter of a [`Space`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dimension {
    /// Name, unique within the space.
    pub name: String,
    /// The values it may take.
    pub distribution: Distribution,
    /// When it is active; `None` means always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

impl Space {
    /// A space of these dimensions.
    ///
    /// # Panics
    /// If two share a name, or one hangs on another that does not come before it.
    pub fn new(dimensions: Vec<Dimension>) -> Self {
        let mut space = Self::default();
        for Dimension { name, distribution, condition } in dimensions {
            let hangs = condition.as_ref().is_some_and(|hangs| hangs.parent() >= space.len());
            assert!(!hangs, "the parent of `{name}` comes after it");
            space.push(name, distribution, condition);
        }
        space
    }

    /// A space of independent dimensions.
    ///
    /// # Panics
    /// If two dimensions share a name.
    pub fn of<const N: usize>(dimensions: [(&str, Distribution); N]) -> Self {
        let mut space = Self::default();
        for (name, distribution) in dimensions {
            space.push(name.to_owned(), distribution, None);
        }
        space
    }

    /// An open space: one that grows by what is asked for ([`Space::add`]), and whose values need not
    /// have all of it. It has no constraints.
    ///
    /// # Panics
    /// As [`Space::new`].
    pub fn open(dimensions: Vec<Dimension>) -> Self {
        Self { open: true, ..Self::new(dimensions) }
    }

    /// Whether it is open: any of its dimensions may be absent from values.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Adds a dimension without a condition behind the others.
    ///
    /// # Panics
    /// If there is one of that name.
    pub fn add(&mut self, name: impl Into<String>, distribution: Distribution) {
        self.push(name.into(), distribution, None);
    }

    /// A choice called `name` between sub-spaces: each option brings the dimensions of its own
    /// space, whose names get the option as prefix (`linear.learning_rate`).
    ///
    /// # Panics
    /// If two options share a name.
    pub fn choice_of(name: &str, options: Vec<(String, Space)>) -> Self {
        let mut space = Self::default();
        let names = options.iter().map(|(option, _)| Value::Text(option.clone())).collect();
        space.push(name.to_owned(), Distribution::Choice { options: names }, None);
        for (index, (option, child)) in options.into_iter().enumerate() {
            let scoped = |inner: &str| format!("{option}.{inner}");
            space.extend(child, Some(&Condition::new(0, [index])), scoped);
        }
        space
    }

    /// Adds a constraint on parameters that are there already.
    pub fn subject_to(mut self, constraint: &str) -> Result<Self, ConstraintError> {
        self.constrain(constraint)?;
        Ok(self)
    }

    /// Adds `child`, active only when dimension `parent` takes option `option`.
    ///
    /// # Panics
    /// If there is no such option.
    #[must_use]
    pub fn when(self, parent: &str, option: &str, child: Space) -> Self {
        self.when_one_of(parent, [option], child)
    }

    /// Adds `child`, active only when dimension `parent` takes one of `options`.
    ///
    /// # Panics
    /// If one of them does not exist, or there is none.
    #[must_use]
    pub fn when_one_of<const N: usize>(
        mut self,
        parent: &str,
        options: [&str; N],
        child: Space,
    ) -> Self {
        let index = self.position(parent).expect("the parent is part of the space");
        let Distribution::Choice { options: known } = &self.dimensions[index].distribution else {
            panic!("parent `{parent}` is not a choice");
        };
        let place = |option: &str| known.iter().position(|other| other.to_string() == option);
        let options = options.map(|option| place(option).expect("the option exists"));
        self.extend(child, Some(&Condition::new(index, options)), str::to_owned);
        self
    }

    /// Adds what is in `more`, behind the rest.
    ///
    /// # Panics
    /// If the two share a name.
    #[must_use]
    pub fn with(mut self, more: Space) -> Self {
        self.extend(more, None, str::to_owned);
        self
    }

    /// All dimensions, parents before children.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// What must hold between the dimensions.
    pub fn constraints(&self) -> &[Constraint] {
        &self.constraints
    }

    /// Number of dimensions, active or not.
    pub fn len(&self) -> usize {
        self.dimensions.len()
    }

    /// Whether there is nothing to choose.
    pub fn is_empty(&self) -> bool {
        self.dimensions.is_empty()
    }

    /// The dimension called `name`.
    pub fn get(&self, name: &str) -> Option<&Dimension> {
        self.dimensions.iter().find(|d| d.name == name)
    }

    /// Position of the dimension called `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.dimensions.iter().position(|d| d.name == name)
    }

    /// Whether dimension `index` is active in `values`, which hold at least its ancestors.
    pub fn is_active(&self, index: usize, values: &Values) -> bool {
        let Some(condition) = &self.dimensions[index].condition else { return true };
        let parent = &self.dimensions[condition.parent()];
        let option = |value| parent.distribution.option_index(value);
        self.is_active(condition.parent(), values)
            && values.get(&parent.name).and_then(option).is_some_and(|option| condition.has(option))
    }

    /// Walks the space front to back, asking `pick` for a value of each dimension that is active
    /// given the values picked before it. Constraints are not looked at.
    pub fn pick(&self, mut pick: impl FnMut(usize, &Dimension) -> Value) -> Values {
        let mut values = Values::default();
        for (index, dimension) in self.dimensions.iter().enumerate() {
            if self.is_active(index, &values) {
                values.insert(dimension.name.clone(), pick(index, dimension));
            }
        }
        values
    }

    /// Checks that `values` has exactly the active dimensions, or in an open space some of them, each
    /// inside its distribution, and keeps the constraints.
    pub fn check(&self, values: &Values) -> Result<(), ValueError> {
        for (index, dimension) in self.dimensions.iter().enumerate() {
            match (self.is_active(index, values), values.get(&dimension.name)) {
                (true, None) if self.open => {}
                (true, None) => return Err(ValueError::Missing { name: dimension.name.clone() }),
                (true, Some(value)) if !dimension.distribution.contains(value) => {
                    return Err(ValueError::OutOfRange {
                        name: dimension.name.clone(),
                        value: value.clone(),
                        expected: dimension.distribution.to_string(),
                    });
                }
                (false, Some(_)) => {
                    return Err(ValueError::Inactive { name: dimension.name.clone() });
                }
                _ => {}
            }
        }
        if let Some((name, _)) = values.iter().find(|(name, _)| self.position(name).is_none()) {
            return Err(ValueError::Unknown { name: name.to_owned() });
        }
        let look = |index: usize| {
            let value = values.get(&self.dimensions[index].name);
            value.map_or(Known::Inactive, |value| Known::Value(Cow::Borrowed(value)))
        };
        let mut constraints = self.constraints.iter();
        match constraints.find(|constraint| constraint.judge(look) != Some(true)) {
            Some(broken) => Err(ValueError::Constraint { text: broken.text().to_owned() }),
            None => Ok(()),
        }
    }

    /// Values that come from elsewhere as the space has them, in its order and each number of the kind
    /// of its parameter; or what [`Space::check`] finds wrong with them.
    pub fn adopt(&self, values: &Values) -> Result<Values, ValueError> {
        let known = self.dimensions.iter().filter_map(|dimension| {
            let value = values.get(&dimension.name)?.clone();
            Some((dimension.name.clone(), dimension.distribution.adopt(value)))
        });
        let unknown = values.iter().filter(|(name, _)| self.position(name).is_none());
        let unknown = unknown.map(|(name, value)| (name.to_owned(), value.clone()));
        let adopted = known.chain(unknown).collect();
        self.check(&adopted)?;
        Ok(adopted)
    }

    /// Number of distinct configurations, constraints not considered; `None` when a continuous
    /// dimension makes it infinite or the count does not fit.
    pub fn cardinality(&self) -> Option<u64> {
        let roots = |dimension: &Dimension| dimension.condition.is_none();
        self.cardinality_of(&roots)
    }

    /// Number of configurations of dimensions that are active together, with what hangs on them.
    fn cardinality_of(&self, is_among: &dyn Fn(&Dimension) -> bool) -> Option<u64> {
        let mut product = 1u64;
        let among = self.dimensions.iter().enumerate().filter(|(_, d)| is_among(d));
        for (index, dimension) in among {
            let count = match &dimension.distribution {
                Distribution::Choice { options } => {
                    let branch = |option: usize| {
                        self.cardinality_of(&|child| {
                            let condition = child.condition.as_ref();
                            condition.is_some_and(|c| c.parent() == index && c.has(option))
                        })
                    };
                    (0..options.len())
                        .try_fold(0u64, |sum, option| sum.checked_add(branch(option)?))?
                }
                other => other.cardinality()?,
            };
            product = product.checked_mul(count)?;
        }
        Some(product)
    }

    fn push(&mut self, name: String, distribution: Distribution, condition: Option<Condition>) {
        assert!(self.position(&name).is_none(), "parameter `{name}` appears twice");
        self.dimensions.push(Dimension { name, distribution, condition });
    }

    fn constrain(&mut self, constraint: &str) -> Result<(), ConstraintError> {
        self.constraints.push(Constraint::parse(constraint, &self.dimensions)?);
        Ok(())
    }

    /// Adds the dimensions and constraints of `child`, whose roots hang on `root`.
    fn extend(
        &mut self,
        child: Space,
        root: Option<&Condition>,
        rename: impl Fn(&str) -> String + Copy,
    ) {
        let offset = self.len();
        for dimension in child.dimensions {
            let condition = match dimension.condition {
                None => root.cloned(),
                Some(inner) => Some(inner.moved(offset)),
            };
            self.push(rename(&dimension.name), dimension.distribution, condition);
        }
        self.constraints.extend(child.constraints.iter().map(|c| c.moved(offset, rename)));
    }
}

#[cfg(test)]
mod tests;
