//! `luthier serve`.

use std::time::Duration;

use luthier_serve::{Models, ServeConfig, Server};
use tokio::runtime::{Builder, Runtime};

use crate::cli::ServeArgs;
use crate::failure::Failure;
use crate::log::log_events;

pub(crate) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    log_events(&args.log)?;
    let models = Models::find(&args.bundles)?;
    let names = models.names().collect::<Vec<_>>().join(", ");
    let config = config(args)?;
    let threads = config.workers;
    let server = Server::bind(&config, models)?;
    tracing::info!(
        address = %server.local_addr(),
        grpc_address = %server.grpc_addr(),
        models = names,
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

fn config(args: &ServeArgs) -> Result<ServeConfig, Failure> {
    let default = ServeConfig::default();
    Ok(ServeConfig {
        host: args.host,
        rest_port: args.rest_port,
        grpc_port: args.grpc_port,
        poll: if args.poll == 0.0 { None } else { Some(seconds("--poll", args.poll)?) },
        version_policy: args.version_policy.clone(),
        max_body_bytes: args.max_body_bytes,
        request_timeout: seconds("--timeout", args.timeout)?,
        queue_requests: args.queue,
        workers: args.workers.map_or(default.workers, usize::from),
        drain_timeout: seconds("--drain-timeout", args.drain_timeout)?,
        feedback_store: args.feedback_store.clone(),
        ..default
    })
}

/// Seconds that an option gives.
pub(super) fn seconds(name: &str, value: f64) -> Result<Duration, Failure> {
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(Failure::input(format!("{name} is {value}")).hint("give seconds above 0")),
    }
}

/// Threads for connections: one where the models have only one core, since a hand-over between
/// threads would only cost time.
pub(super) fn runtime(workers: usize) -> Result<Runtime, Failure> {
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
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
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
