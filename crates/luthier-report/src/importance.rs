//! Which parameters make the difference between good trials and the others.

mod density;

/// Where the trials are along one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Name of the parameter.
    pub name: String,
    /// Into how many cells its values are put, at least 1.
    pub cells: usize,
    /// Whether the cells stand in an order, equally far apart.
    pub ordered: bool,
    /// The cell of each trial, below `cells`; `None` where the parameter is not active.
    pub places: Vec<Option<usize>>,
}

/// How much each parameter has to do with how good a trial is.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    /// Each parameter's share by name, the largest first. They sum to 1, or are all 0 where nothing
    /// can be told.
    pub shares: Vec<(String, f64)>,
    /// How many trials count as good.
    pub good: usize,
    /// How many trials were looked at.
    pub trials: usize,
}

impl Importance {
    /// Whether there are enough good trials for the shares to mean something.
    pub fn is_certain(&self) -> bool {
        self.good >= 5 && self.good < self.trials
    }
}

/// The importance of parameters for being among the good trials, by PED-ANOVA (Watanabe et al., arXiv
/// 2304.10255): how far the distribution of a parameter's places among the good trials is from that
/// among all. A parameter that not every trial has counts where it is active (conditional PED-ANOVA,
/// arXiv 2601.20800).
///
/// `good` says of each trial whether it is. Of places under one name, the parameter's share is that
/// of those that make the greatest difference.
pub fn importance(good: &[bool], parameters: &[Placed]) -> Importance {
    let all_good = good.iter().filter(|good| **good).count();
    let mut shares: Vec<(String, f64)> = Vec::new();
    for parameter in parameters {
        let share = share(good, all_good, parameter);
        match shares.iter_mut().find(|(name, _)| *name == parameter.name) {
            Some((_, known)) => *known = known.max(share),
            None => shares.push((parameter.name.clone(), share)),
        }
    }
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    if sum > 0.0 {
        shares.iter_mut().for_each(|(_, share)| *share /= sum);
    }
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    Importance { shares, good: all_good, trials: good.len() }
}

/// The divergence where the parameter is active, weighted by how often that is so.
fn share(good: &[bool], all_good: usize, parameter: &Placed) -> f64 {
    let mut everywhere = vec![0; parameter.cells.max(1)];
    let mut among_good = everywhere.clone();
    for (place, good) in parameter.places.iter().zip(good) {
        let Some(place) = place.filter(|place| *place < everywhere.len()) else { continue };
        everywhere[place] += 1;
        among_good[place] += usize::from(*good);
    }
    let [active, active_good] =
        [&everywhere, &among_good].map(|counts| counts.iter().sum::<usize>());
    if parameter.cells < 2 || active < 2 || active_good == 0 {
        return 0.0;
    }
    let divergence = match parameter.ordered {
        true => density::of_cells(&among_good, &everywhere),
        false => density::of_options(&among_good, &everywhere),
    };
    let part = active_good as f64 / all_good as f64;
    part.powi(2) / (active as f64 / good.len() as f64) * divergence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(
        name: &str,
        cells: usize,
        ordered: bool,
        place: impl Fn(usize) -> Option<usize>,
    ) -> Placed {
        Placed { name: name.to_owned(), cells, ordered, places: (0..100).map(place).collect() }
    }

    #[test]
    fn what_sets_good_trials_apart_matters() {
        let good: Vec<bool> = (0..100).map(|trial| trial % 10 == 3).collect();
        let parameters = [
            placed("noise", 7, true, |trial| Some(trial * 5 / 3 % 7)),
            placed("digit", 10, true, |trial| Some(trial % 10)),
            placed("rare", 2, false, |trial| (trial % 10 == 7).then_some(0)),
            placed("fixed", 1, true, |_| Some(0)),
        ];
        let found = importance(&good, &parameters);
        assert!(found.is_certain());
        assert_eq!((found.good, found.trials, found.shares[0].0.as_str()), (10, 100, "digit"));
        assert!(found.shares[0].1 > 0.9, "{found:?}");
        let sum: f64 = found.shares.iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn without_trials_there_are_no_shares() {
        let empty = Placed { places: Vec::new(), ..placed("a", 3, true, |_| None) };
        let found = importance(&[], &[empty]);
        assert_eq!((found.shares, found.good), (vec![("a".to_owned(), 0.0)], 0));
        // A place that there is not, and fewer places than trials.
        let odd = placed("a", 0, false, |_| Some(9));
        assert!(!importance(&[true; 200], &[odd]).is_certain());
    }
}
