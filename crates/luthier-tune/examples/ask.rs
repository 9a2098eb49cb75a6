//! Proposes configurations to another program, line by line: the benchmarks drive samplers and
//! pruners with it.
//!
//! The first line of standard input says what is searched and how. Each trial is then printed, and
//! answered by its steps, if it has any, and its loss. A step is answered by what becomes of the
//! trial: `continue`, `pause` or `prune`. A paused trial may be printed again, to go on after its last
//! step.
//!
//! ```text
//! < {"space": [{"name": "x", "distribution": {"kind": "float", "low": 0.0, "high": 1.0}}],
//!    "sampler": "gp", "pruner": "median", "seed": 7}
//! > {"number":0,"values":{"x":0.25}}
//! < {"step": 1, "loss": 0.7}
//! > continue
//! < {"loss": 0.5}
//! > {"number":1,"values":{"x":0.75}}
//! ```

use std::error::Error;
use std::fmt::Display;
use std::io::{BufRead, Write, stdin, stdout};

use luthier_space::Space;
use luthier_tune::{
    Direction, Pruner, PrunerSpec, Request, Sampler, State, Trial, Verdict, sampler_by_name,
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Setup {
    space: Space,
    sampler: String,
    #[serde(default = "no_pruner")]
    pruner: PrunerSpec,
    seed: u64,
    /// Those that are there already, numbered from 0.
    #[serde(default)]
    trials: Vec<Trial>,
}

/// A step of a trial, or its end.
#[derive(Deserialize)]
struct Told {
    step: Option<u64>,
    loss: f64,
}

const DIRECTIONS: &[Direction] = &[Direction::Minimize];

fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = stdin().lock().lines();
    let setup: Setup = serde_json::from_str(&lines.next().ok_or("no setup")??)?;
    let sampler = sampler_by_name(&setup.sampler)?;
    let mut trials = setup.trials.clone();
    while let Some(mut trial) = next(&setup, sampler.as_ref(), &trials) {
        say(json!({"number": trial.number, "values": trial.values}))?;
        trial.state = State::Running;
        while trial.state == State::Running {
            let Some(line) = lines.next() else { return Ok(()) };
            let told: Told = serde_json::from_str(&line?)?;
            let Some(step) = told.step else {
                trial.scores = vec![told.loss];
                trial.state = State::Complete;
                break;
            };
            trial.steps.push((step, told.loss).into());
            let (state, word) = match setup.pruner.judge(DIRECTIONS, &trials, &trial) {
                Verdict::Continue => (State::Running, "continue"),
                Verdict::Pause => (State::Paused, "pause"),
                Verdict::Prune => (State::Pruned, "prune"),
            };
            trial.state = state;
            say(word)?;
        }
        let place = usize::try_from(trial.number)?;
        match trials.get_mut(place) {
            Some(paused) => *paused = trial,
            None => trials.push(trial),
        }
    }
    Ok(())
}

/// The trial that a study would evaluate next: a paused one that is promoted, or a new one.
fn next(setup: &Setup, sampler: &dyn Sampler, trials: &[Trial]) -> Option<Trial> {
    let promoted = setup.pruner.promote(DIRECTIONS, trials);
    let promoted = promoted.and_then(|number| trials.iter().find(|trial| trial.number == number));
    promoted.cloned().or_else(|| {
        let (space, number, seed) = (&setup.space, trials.len() as u64, setup.seed);
        let request = Request { space, directions: DIRECTIONS, trials, number, seed };
        Some(Trial::running(number, sampler.suggest(&request)?))
    })
}

fn no_pruner() -> PrunerSpec {
    PrunerSpec::None
}

fn say(line: impl Display) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
