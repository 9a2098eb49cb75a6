//! Proposes configurations to another program, line by line: the benchmarks drive samplers with it.
//!
//! The first line of standard input says what is searched and how, each further one is the loss of the
//! configuration that was printed last.
//!
//! ```text
//! < {"space": [{"name": "x", "distribution": {"kind": "float", "low": 0.0, "high": 1.0}}],
//!    "sampler": "gp", "seed": 7}
//! > {"x": 0.25}
//! < 0.5
//! > {"x": 0.75}
//! ```

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};

use luthier_space::Space;
use luthier_tune::{Direction, Request, State, Trial, sampler_by_name};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = stdin().lock().lines();
    let setup: Value = serde_json::from_str(&lines.next().ok_or("no setup")??)?;
    let space: Space = serde_json::from_value(setup["space"].clone())?;
    let sampler = sampler_by_name(setup["sampler"].as_str().unwrap_or("auto"))?;
    let seed = setup["seed"].as_u64().unwrap_or(0);
    let mut trials: Vec<Trial> = Vec::new();
    for number in 0.. {
        let directions = &[Direction::Minimize];
        let request = Request { space: &space, directions, trials: &trials, number, seed };
        let Some(values) = sampler.suggest(&request) else { break };
        let mut out = stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&values)?)?;
        out.flush()?;
        trials.push(Trial::running(number, values));
        let Some(line) = lines.next() else { break };
        if let Some(trial) = trials.last_mut() {
            trial.scores = vec![line?.trim().parse()?];
            trial.state = State::Complete;
        }
    }
    Ok(())
}
