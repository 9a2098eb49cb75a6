//! `luthier study serve`: ask and tell over HTTP, and suggestions for Katib over gRPC.

mod form;
mod http;
mod katib;
mod studies;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use luthier_serve::{CallConfig, CallServer, Handlers};
use luthier_study::Asking;
use serde_json::json;
use tokio::task::JoinSet;

use crate::cli::{Format, StudyServeArgs};
use crate::commands::print_json;
use crate::commands::serve::{runtime, seconds, stop_signal};
use crate::failure::Failure;
use crate::log::log_events;

pub(super) use form::{Setup, read as read_json};
use studies::Studies;

/// Shortest token that is taken, in bytes.
const MIN_TOKEN: usize = 16;
/// Longest time for an answer. A proposal may wait for those of many other clients.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for requests in flight at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Threads for connections; what takes long is done on others.
const THREADS: usize = 2;

pub(super) fn serve(args: &StudyServeArgs, format: Format) -> Result<(), Failure> {
    log_events(&args.log)?;
    // Held to the end: closing a database waits, which a runtime does not allow inside.
    let studies = args.storage.as_deref().map(|storage| studies(args, storage)).transpose()?;
    let studies = studies.map(Arc::new);
    let main = studies.as_ref().map(|studies| {
        let studies = Arc::clone(studies);
        bind(args, args.port, token(args)?, Some(studies))
    });
    let main = main.transpose()?;
    // Katib brings no token, and a call of its brings all that it is about.
    let katib = args.grpc_port.map(|port| bind(args, port, None, None)).transpose()?;
    let address = |server: &CallServer| server.local_addr().to_string();
    let (address, grpc_address) = (main.as_ref().map(address), katib.as_ref().map(address));
    tracing::info!(address, grpc_address, storage = args.storage, "listening");
    if format == Format::Json {
        print_json(&json!({ "address": address, "grpc_address": grpc_address }))?;
    }
    let servers = main.into_iter().chain(katib);
    let (finished, aborted) = runtime(THREADS)?.block_on(run(servers))?;
    tracing::info!(finished, aborted, "stopped");
    Ok(())
}

/// The studies of a storage, with those that files set up.
fn studies(args: &StudyServeArgs, storage: &str) -> Result<Studies, Failure> {
    let asking = Asking { silence: seconds("--silence", args.silence)?, trials: args.trials };
    let studies = Studies::new(storage, asking)?;
    for file in &args.setup {
        let setup = Setup::from_file(file)?;
        let name = setup.name.clone();
        studies.set_up(setup).map_err(|fault| fault.into_failure().within(file.display()))?;
        tracing::info!(study = name, "set up");
    }
    Ok(studies)
}

/// Listens on a port for calls of Katib, and of clients where there are studies.
fn bind(
    args: &StudyServeArgs,
    port: u16,
    token: Option<String>,
    studies: Option<Arc<Studies>>,
) -> Result<CallServer, Failure> {
    let config = CallConfig {
        addr: SocketAddr::new(args.host, port),
        token,
        max_body_bytes: args.max_body_bytes,
        request_timeout: REQUEST_TIMEOUT,
        drain_timeout: DRAIN_TIMEOUT,
        open_paths: &[http::HEALTH],
        services: katib::SERVICES,
    };
    let handlers = Handlers {
        http: Box::new(move |call| http::answer(studies.as_deref(), call)),
        grpc: Box::new(|path, message| katib::answer(path, &message)),
    };
    CallServer::bind(config, handlers)
        .map_err(|error| Failure::from(error).hint("choose another port with --port"))
}

/// Runs servers side by side until the first SIGTERM or Ctrl-C, and counts the requests that were in
/// flight then: those that were answered, and those that were not.
async fn run(servers: impl Iterator<Item = CallServer>) -> Result<(u64, u64), Failure> {
    let mut running = JoinSet::new();
    for server in servers {
        running.spawn(server.run(stop_signal()?));
    }
    let (mut finished, mut aborted) = (0, 0);
    while let Some(ended) = running.join_next().await {
        let ended = ended.map_err(|error| Failure::fault(format!("the server failed: {error}")))?;
        let drained = ended?;
        finished += drained.finished;
        aborted += drained.aborted;
    }
    Ok((finished, aborted))
}

/// The token that clients have to bring.
fn token(args: &StudyServeArgs) -> Result<Option<String>, Failure> {
    let Some(file) = &args.token_file else {
        if args.host.is_loopback() {
            return Ok(None);
        }
        return Err(Failure::input(format!("--host {} is reached from other machines", args.host))
            .hint("give a token with --token-file, as made by `openssl rand -hex 32`"));
    };
    read_token(file).map(Some)
}

fn read_token(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(Failure::io(file))?;
    let token = text.trim();
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.len() < MIN_TOKEN || !is_plain {
        let problem = format!("a token is {MIN_TOKEN} or more printable characters without blanks");
        return Err(Failure::input(format!("{}: {problem}", file.display()))
            .hint("make one with `openssl rand -hex 32`"));
    }
    Ok(token.to_owned())
}
