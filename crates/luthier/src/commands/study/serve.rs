//! `luthier study serve`: ask and tell over HTTP.

mod form;
mod http;
mod studies;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use luthier_serve::{CallConfig, CallServer, Code, Handlers, Status};
use luthier_study::Asking;
use serde_json::json;

use crate::cli::{Format, StudyServeArgs};
use crate::commands::print_json;
use crate::commands::serve::{runtime, seconds, stop_signal};
use crate::failure::Failure;
use crate::log::log_events;

use form::Setup;
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
    let token = token(args)?;
    let asking = Asking { silence: seconds("--silence", args.silence)?, trials: args.trials };
    let studies = Arc::new(Studies::new(&args.storage, asking)?);
    for file in &args.setup {
        let setup = Setup::from_file(file)?;
        let name = setup.name.clone();
        studies.set_up(setup).map_err(|fault| fault.into_failure().within(file.display()))?;
        tracing::info!(study = name, "set up");
    }
    let config = CallConfig {
        addr: SocketAddr::new(args.host, args.port),
        token,
        max_body_bytes: args.max_body_bytes,
        request_timeout: REQUEST_TIMEOUT,
        drain_timeout: DRAIN_TIMEOUT,
        open_paths: &[http::HEALTH],
        services: &[""],
    };
    let shared = Arc::clone(&studies);
    let server = CallServer::bind(
        config,
        Handlers {
            http: Box::new(move |call| http::answer(&shared, call)),
            grpc: Box::new(|path, _| Err(unknown_method(path))),
        },
    );
    let server =
        server.map_err(|error| Failure::from(error).hint("choose another port with --port"))?;
    tracing::info!(address = %server.local_addr(), storage = args.storage, "listening");
    if format == Format::Json {
        print_json(&json!({ "address": server.local_addr().to_string() }))?;
    }
    let drained = runtime(THREADS)?
        .block_on(async { server.run(stop_signal()?).await.map_err(Failure::from) })?;
    tracing::info!(finished = drained.finished, aborted = drained.aborted, "stopped");
    Ok(())
}

fn unknown_method(path: &str) -> Status {
    Status { code: Code::Unimplemented, message: format!("unknown method {path}") }
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
