//! Parts of a space.

use crate::{Condition, Dimension, Distribution, Space};

impl Space {
    /// The part of the space in which each dimension takes the values of the distribution that
    /// `narrow` gives for it, all of which are values that it had. A choice may lose options. With
    /// them go the dimensions that hang on these, and the constraints that name such dimensions,
    /// which would never apply.
    #[must_use]
    pub fn part(&self, narrow: impl Fn(&Dimension) -> Distribution) -> Self {
        let mut part = Self { open: self.open, ..Self::default() };
        // Where each dimension is in the part, if it is there.
        let mut places: Vec<Option<usize>> = Vec::with_capacity(self.len());
        for dimension in &self.dimensions {
            let condition = match &dimension.condition {
                None => Some(None),
                Some(condition) => self.kept(condition, &places, &part).map(Some),
            };
            places.push(condition.map(|condition| {
                part.push(dimension.name.clone(), narrow(dimension), condition);
                part.len() - 1
            }));
        }
        let kept = self.constraints.iter().filter_map(|c| c.placed(|dimension| places[dimension]));
        part.constraints.extend(kept);
        part
    }

    /// A condition in a part of the space, unless nothing there fulfils it.
    fn kept(
        &self,
        condition: &Condition,
        places: &[Option<usize>],
        part: &Self,
    ) -> Option<Condition> {
        let parent = places[condition.parent()]?;
        let Distribution::Choice { options } = &self.dimensions[condition.parent()].distribution
        else {
            return None;
        };
        let narrow = &part.dimensions[parent].distribution;
        let place = |option: &usize| narrow.option_index(options.get(*option)?);
        let kept: Vec<usize> = condition.options().iter().filter_map(place).collect();
        (!kept.is_empty()).then(|| Condition::new(parent, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Value, Values};

    fn whole() -> Space {
        let momentum = Space::of([("momentum", Distribution::float(0.0, 1.0))]);
        let beta = Space::of([("beta", Distribution::float(0.0, 1.0))]);
        let decay = Space::of([("decay", Distribution::float(0.0, 1.0))]);
        let optimizer = Distribution::choice(["sgd", "adam", "lion"]);
        let space = Space::of([("optimizer", optimizer), ("units", Distribution::int(1, 64))]);
        let space = space.when("optimizer", "sgd", momentum).when("optimizer", "lion", beta);
        let space = space.when_one_of("optimizer", ["sgd", "lion"], decay);
        let space = space.subject_to("momentum < 0.5 or units < 9").unwrap();
        space.subject_to("beta * units < 8").unwrap()
    }

    #[test]
    fn what_hangs_on_a_lost_option_goes_with_it() {
        let part = whole().part(|dimension| match dimension.name.as_str() {
            "optimizer" => Distribution::choice(["adam", "lion"]),
            "units" => Distribution::int(4, 8),
            _ => dimension.distribution.clone(),
        });
        let names: Vec<&str> = part.dimensions().iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["optimizer", "units", "beta", "decay"]);
        assert_eq!(part.dimensions()[2].condition, Some(Condition::new(0, [1])));
        assert_eq!(part.dimensions()[3].condition, Some(Condition::new(0, [1])));
        let constraints: Vec<&str> = part.constraints().iter().map(|c| c.text()).collect();
        assert_eq!(constraints, ["beta * units < 8"]);
        let values = |beta: f64| -> Values {
            let named: [(&str, Value); 4] = [
                ("optimizer", "lion".into()),
                ("units", 8.into()),
                ("beta", beta.into()),
                ("decay", 0.5.into()),
            ];
            named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
        };
        assert!(part.check(&values(0.9)).is_ok());
        assert!(part.check(&values(1.0)).is_err());
        assert!(whole().check(&values(0.9)).is_ok());
    }

    #[test]
    fn a_space_is_a_part_of_itself() {
        assert_eq!(whole().part(|dimension| dimension.distribution.clone()), whole());
    }
}
