//! The listening socket, its connections, and their end.

use std::convert::Infallible;
use std::future::Future;
use std::iter;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::rest::Rest;
use crate::service::{Loading, Service};
use crate::{Models, ServeConfig, ServeError};

/// Largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How long an idle connection is kept at shutdown. A request that was sent before its client knew
/// arrives within this time, and is answered.
const IDLE_GRACE: Duration = Duration::from_secs(1);
/// Pause after the system refuses a connection, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that listens, and whose workers load their models.
pub struct Server {
    listener: std::net::TcpListener,
    local_addr: SocketAddr,
    rest: Arc<Rest>,
    loading: Loading,
    http: http1::Builder,
    max_connections: usize,
    drain_timeout: Duration,
}

/// What became of the requests that were in flight at shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were answered after the shutdown had begun.
    pub finished: u64,
    /// Requests that had no answer when the time was up.
    pub aborted: u64,
}

impl Server {
    /// Listens at once, and starts to load `models`. Connections are answered by [`Server::run`].
    pub fn bind(config: ServeConfig, models: Models) -> Result<Self, ServeError> {
        let addr = SocketAddr::new(config.host, config.rest_port);
        let bind_error = |source| ServeError::Bind { addr, source };
        let listener = std::net::TcpListener::bind(addr).map_err(bind_error)?;
        listener.set_nonblocking(true).map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;
        let (service, loading) = Service::start(models, &config)?;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(config.idle_timeout)
            .max_header_size(MAX_HEAD_BYTES);
        Ok(Self {
            listener,
            local_addr,
            max_connections: config.max_connections.max(1),
            drain_timeout: config.drain_timeout,
            rest: Arc::new(Rest::new(service, config)?),
            loading,
            http,
        })
    }

    /// The address it listens on, with the port that was chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` completes; then stops to be ready and to accept, and waits for the
    /// requests in flight. Fails when a model cannot be loaded. Runs inside a tokio runtime with
    /// time and I/O enabled.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, ServeError> {
        let Self { listener, rest, loading, http, max_connections, drain_timeout, .. } = self;
        let listener = TcpListener::from_std(listener).map_err(ServeError::System)?;
        let (closing, when_closing) = watch::channel(());
        let mut connections = JoinSet::new();
        let serve = |stream: TcpStream, connections: &mut JoinSet<()>| {
            // Answers are short and go out whole: waiting for more to send only costs time.
            let _ = stream.set_nodelay(true);
            connections.spawn(connection(
                http.clone(),
                stream,
                Arc::clone(&rest),
                when_closing.clone(),
            ));
        };
        let mut shutdown = pin!(shutdown);
        let mut loading = pin!(load(loading, &rest));
        let mut loaded = false;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                result = &mut loading, if !loaded => {
                    result?;
                    loaded = true;
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept(), if connections.len() < max_connections => {
                    match accepted {
                        Ok((stream, _)) => serve(stream, &mut connections),
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept a connection");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            }
        }
        let answered = rest.answered();
        rest.close();
        // Connections that the system has set up already may carry requests.
        for stream in accepted_already(listener) {
            serve(stream, &mut connections);
        }
        let _ = closing.send(());
        let all_closed = async { while connections.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(drain_timeout, all_closed).await.is_ok();
        let aborted = if in_time { 0 } else { rest.in_flight() as u64 };
        Ok(Drained { finished: rest.answered() - answered, aborted })
    }
}

/// Waits until the models are loaded, and warms each up.
async fn load(loading: Loading, rest: &Rest) -> Result<(), ServeError> {
    loading.finished().await?;
    for model in rest.service.models() {
        rest.warm_up(model).await?;
    }
    tracing::info!("every model answers");
    Ok(())
}

/// The connections that can be accepted without waiting; none after them.
fn accepted_already(listener: TcpListener) -> Vec<TcpStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accept = || {
        let (stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        TcpStream::from_std(stream).ok()
    };
    iter::from_fn(accept).collect()
}

/// Answers the requests of one connection until either side ends it.
async fn connection(
    http: http1::Builder,
    stream: TcpStream,
    rest: Arc<Rest>,
    mut closing: watch::Receiver<()>,
) {
    let answer = service_fn(|request| {
        let rest = Arc::clone(&rest);
        async move { Ok::<_, Infallible>(rest.respond(request).await) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = closing.changed() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => match tokio::time::timeout(IDLE_GRACE, connection.as_mut()).await {
            Ok(ended) => ended,
            Err(_) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
