//! `luthier serve`.

use std::io::IsTerminal;
use std::time::Duration;

use luthier_serve::{ModelSource, Models, Route, ServeConfig, Server};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use crate::cli::ServeArgs;
use crate::failure::Failure;

pub(crate) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    log_events(&args.log)?;
    let mut sources = Vec::new();
    for base in &args.bundles {
        sources.extend(ModelSource::discover(base)?);
    }
    let models = Models::load(&sources)?;
    let config = config(args, &models)?;
    let threads = config.workers;
    let server = Server::bind(config, models)?;
    tracing::info!(
        address = %server.local_addr(),
        models = sources.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", "),
        "listening"
    );
    let drained = runtime(threads)?
        .block_on(async { server.run(stop_signal()?).await.map_err(Failure::from) })?;
    tracing::info!(finished = drained.finished, aborted = drained.aborted, "stopped");
    match drained.aborted {
        0 => Ok(()),
        n => Err(Failure::fault(format!("{n} requests had no answer when the time was up"))
            .hint("raise --drain-timeout")),
    }
}

fn config(args: &ServeArgs, models: &Models) -> Result<ServeConfig, Failure> {
    let seconds = |name: &str, value: f64| match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(Failure::input(format!("{name} is {value}")).hint("give seconds above 0")),
    };
    let default = ServeConfig::default();
    Ok(ServeConfig {
        host: args.host,
        rest_port: args.rest_port,
        routes: models
            .iter()
            .filter_map(|(name, _, manifest)| {
                let route = manifest.route.as_ref()?;
                Some(Route {
                    path: route.path.clone(),
                    model: name.to_owned(),
                    input: route.input.clone(),
                    output: route.output.clone(),
                })
            })
            .collect(),
        max_body_bytes: args.max_body_bytes,
        request_timeout: seconds("--timeout", args.timeout)?,
        queue_requests: args.queue,
        workers: args.workers.map_or(default.workers, usize::from),
        drain_timeout: seconds("--drain-timeout", args.drain_timeout)?,
        ..default
    })
}

/// Threads for connections: one where the models have only one core, since a hand-over between
/// threads would only cost time.
fn runtime(workers: usize) -> Result<Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = match cores {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder
        .worker_threads(workers.min(cores))
        .enable_all()
        .build()
        .map_err(|error| Failure::fault(format!("the system refuses threads: {error}")))
}

/// Completes on the first SIGTERM or Ctrl-C.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let refused = |error: std::io::Error| Failure::fault(format!("cannot handle signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// One JSON document per event on standard error, or readable lines on a terminal.
fn log_events(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::input(format!("--log: {error}")).hint("use a level such as `info` or `warn`")
    })?;
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match std::io::stderr().is_terminal() {
        true => events.compact().with_target(false).try_init(),
        false => events.json().flatten_event(true).with_current_span(false).try_init(),
    };
    set.map_err(|error| Failure::fault(format!("cannot log: {error}")))
}
