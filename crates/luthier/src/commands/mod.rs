//! One module per command; here is what they share.

pub(crate) mod bundle;
pub(crate) mod data;
pub(crate) mod eval;
pub(crate) mod gate;
mod labelled;
pub(crate) mod predict;
pub(crate) mod probe;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod ship;
pub(crate) mod study;
pub(crate) mod worker;

use std::io::{ErrorKind, Write};

use luthier_space::{Space, Values};
use serde::Serialize;

use crate::failure::{Code, Failure, meant_or_known, nearest};

/// Prints a result. A reader that went away, as `head` does, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Prints a result of bytes, as [`print()`] does a text.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::fault(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a result as one JSON document.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::fault(format!("writing JSON: {error}")))?;
    print(&(text + "\n"))
}

/// Says on standard error why a command failed.
pub(crate) fn complain(failure: &Failure) {
    let text = match failure.code {
        Code::Interrupted | Code::No => failure.to_string().replacen("error: ", "", 1),
        _ => failure.to_string(),
    };
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Values that are given by parameter, each as its distribution has it. What is wrong is said of
/// `flag`, before the name.
fn assigned(flag: &str, given: &[(String, String)], space: &Space) -> Result<Values, Failure> {
    let read = |(name, text): &(String, String)| {
        let dimension = space.get(name).ok_or_else(|| {
            let known: Vec<&str> = space.dimensions().iter().map(|d| d.name.as_str()).collect();
            let nearest = nearest(name, known.iter().copied());
            Failure::input(format!("{flag}{name}: the space has no such parameter"))
                .hint(meant_or_known(nearest, &known))
        })?;
        let distribution = &dimension.distribution;
        let value = distribution.parse(text).ok_or_else(|| {
            Failure::input(format!("{flag}{name}={text}: expected {distribution}"))
        })?;
        Ok((name.clone(), value))
    };
    given.iter().map(read).collect()
}
