//! The `luthier` command: reads settings, shows progress, wires the crates together and turns
//! their errors into words. Algorithms live elsewhere.

mod checkpoints;
mod cli;
mod commands;
mod failure;
mod job;
mod launch;
mod log;
mod memory;
mod program;
mod stages;
mod term;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{CommandFactory, Parser};

use cli::{Cli, Command};
use failure::{Code, Failure};

/// Set by the first Ctrl-C or SIGTERM; long work looks at it and stops in good order.
static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            commands::complain(&failure);
            ExitCode::from(failure.code as u8)
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let format = cli.format;
    match cli.command {
        Command::Run(args) => commands::run::run(&args, format, stop_flag()?),
        Command::Tune(args) => commands::run::tune(&args, format, stop_flag()?),
        Command::Worker(args) => commands::worker::worker(&args, format, stop_flag()?),
        Command::Data(args) => commands::data::data(&args, format, stop_flag()?),
        Command::Study(command) => commands::study::study(&command, format),
        Command::Predict(args) => commands::predict::predict(&args, format),
        Command::Eval(args) => commands::eval::eval(&args, format),
        Command::Bundle(command) => commands::bundle::bundle(&command, format),
        Command::Serve(args) => commands::serve::serve(&args),
        Command::Gate(args) => commands::gate::gate(&args, format),
        Command::Ship(args) => commands::ship::ship(&args, format, stop_flag),
        Command::Guard { grace_ms } => {
            program::guard(std::io::stdin().lock(), Duration::from_millis(grace_ms));
            Ok(())
        }
        Command::Probe(args) => commands::probe::probe(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "luthier", &mut script);
            commands::print_bytes(&script)
        }
    }
}

/// The flag that Ctrl-C and SIGTERM set; the second of them ends the process at once.
fn stop_flag() -> Result<&'static AtomicBool, Failure> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            term::leave();
            std::process::exit(Code::Interrupted as i32);
        }
        term::announce_stop();
    })
    .map_err(|error| Failure::fault(format!("cannot handle signals: {error}")))?;
    Ok(&STOP)
}
