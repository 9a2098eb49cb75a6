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

use serde::Serialize;

use crate::failure::{Code, Failure};

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
