//! Katib's algorithms, and which sampler does their work.

use std::fmt;
use std::str::FromStr;

use luthier_tune::{Auto, CmaEs, Gp, Grid, Random, Sampler, Sobol, Tpe};

use super::{Fault, wire};

/// Katib's names of algorithms.
const ALGORITHMS: [&str; 9] = [
    "auto",
    "luthier",
    "tpe",
    "multivariate-tpe",
    "bayesianoptimization",
    "cmaes",
    "sobol",
    "random",
    "grid",
];
/// Most candidates of a proposal, which takes time in proportion.
const MOST_CANDIDATES: usize = 1000;
/// Most trials before the sampler learns from them.
const MOST_STARTUP: usize = 1_000_000;

/// A sampler with its settings.
pub(super) struct Algorithm {
    pub(super) sampler: Box<dyn Sampler>,
    pub(super) seed: u64,
}

impl Algorithm {
    pub(super) fn new(spec: Option<&wire::AlgorithmSpec>) -> Result<Self, Fault> {
        let spec = spec.ok_or("the experiment has no algorithm")?;
        let name = spec.algorithm_name.as_str();
        let mut settings =
            Settings { algorithm: name, left: &spec.algorithm_settings, known: Vec::new() };
        let seed = settings.take(&["random_state"], 0, u64::MAX)?.unwrap_or(0);
        let sampler: Box<dyn Sampler> = match name {
            "auto" | "luthier" => Box::new(Auto),
            "tpe" | "multivariate-tpe" => {
                let Tpe { startup_trials, candidates } = Tpe::default();
                let startup =
                    settings.take(&["n_startup_trials", "startup_trials"], 0, MOST_STARTUP)?;
                let several =
                    settings.take(&["n_EI_candidates", "ei_candidates"], 1, MOST_CANDIDATES)?;
                Box::new(Tpe {
                    startup_trials: startup.unwrap_or(startup_trials),
                    candidates: several.unwrap_or(candidates),
                })
            }
            "bayesianoptimization" => {
                settings.only("base_estimator", "GP")?;
                let startup_trials = settings.take(&["n_initial_points"], 0, MOST_STARTUP)?;
                Box::new(Gp { startup_trials, ..Gp::default() })
            }
            "cmaes" => {
                let startup = settings.take(&["n_startup_trials"], 1, MOST_STARTUP)?;
                let CmaEs { startup_trials } = CmaEs::default();
                Box::new(CmaEs { startup_trials: startup.unwrap_or(startup_trials) })
            }
            "sobol" => Box::new(Sobol),
            "random" => Box::new(Random),
            "grid" => Box::new(Grid::default()),
            _ => {
                let known = ALGORITHMS.join(", ");
                return Err(format!("unknown algorithm name `{name}`, known are {known}"));
            }
        };
        settings.end()?;
        Ok(Self { sampler, seed })
    }
}

/// The settings of an algorithm, asked for one by one.
struct Settings<'s> {
    algorithm: &'s str,
    left: &'s [wire::AlgorithmSetting],
    /// The names that were asked for.
    known: Vec<&'static str>,
}

impl Settings<'_> {
    fn get(&mut self, names: &[&'static str]) -> Option<&wire::AlgorithmSetting> {
        self.known.extend(names);
        self.left.iter().find(|setting| names.contains(&setting.name.as_str()))
    }

    /// A number from `least` to `most`, which goes by any of these names.
    fn take<N>(&mut self, names: &[&'static str], least: N, most: N) -> Result<Option<N>, Fault>
    where
        N: Copy + FromStr + PartialOrd + fmt::Display,
    {
        let Some(wire::AlgorithmSetting { name, value }) = self.get(names) else { return Ok(None) };
        match value.parse() {
            Ok(number) if least <= number && number <= most => Ok(Some(number)),
            _ => Err(format!("setting `{name}` is `{value}`, expected {least} to {most}")),
        }
    }

    /// Accepts a setting that has one value only.
    fn only(&mut self, name: &'static str, expected: &str) -> Result<(), Fault> {
        match self.get(&[name]) {
            Some(setting) if setting.value != expected => {
                Err(format!("setting `{name}` is `{}`, expected {expected}", setting.value))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what was not asked for.
    fn end(self) -> Result<(), Fault> {
        let Self { algorithm, left, known } = self;
        match left.iter().find(|setting| !known.contains(&setting.name.as_str())) {
            None => Ok(()),
            Some(wire::AlgorithmSetting { name, .. }) => {
                let known = known.join(", ");
                Err(format!(
                    "unknown setting `{name}` for algorithm {algorithm}, known are {known}"
                ))
            }
        }
    }
}
