//! The listening sockets, their connections, and the end.

use std::future::Future;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection::Protocols;
use crate::front::Front;
use crate::registry::Loading;
use crate::rest;
use crate::service::Service;
use crate::{Models, ServeConfig, ServeError};

/// Pause after the system refuses a connection, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that listens, and loads its models.
pub struct Server {
    rest: Socket,
    grpc: Socket,
    front: Arc<Front>,
    loading: Loading,
    protocols: Protocols,
    max_connections: usize,
    drain_timeout: Duration,
}

/// A socket that listens. Each speaks every protocol; they are two because clients expect each
/// protocol on a port of its own.
struct Socket {
    listener: std::net::TcpListener,
    local_addr: SocketAddr,
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
    pub fn bind(config: &ServeConfig, models: Models) -> Result<Self, ServeError> {
        let rest = Socket::bind(SocketAddr::new(config.host, config.rest_port))?;
        let grpc = Socket::bind(SocketAddr::new(config.host, config.grpc_port))?;
        rest::check_routes(&config.routes, &models)?;
        let (service, loading) = Service::start(models, config, rest::check_alias)?;
        Ok(Self {
            rest,
            grpc,
            front: Arc::new(Front::new(service, config)),
            loading,
            protocols: Protocols::new(config),
            max_connections: config.max_connections.max(1),
            drain_timeout: config.drain_timeout,
        })
    }

    /// The address for REST, with the port that was chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.rest.local_addr
    }

    /// The address for gRPC, with the port that was chosen.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc.local_addr
    }

    /// Serves until `shutdown` completes; then stops to be ready and to accept, and waits for the
    /// requests in flight. Fails when a model cannot be loaded and will not be looked for again.
    /// Runs inside a tokio runtime with time and I/O enabled.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, ServeError> {
        let Self { rest, grpc, front, loading, protocols, max_connections, drain_timeout } = self;
        let listeners = [rest.listen()?, grpc.listen()?];
        let (closing, when_closing) = watch::channel(false);
        let mut connections = JoinSet::new();
        let serve = |stream: TcpStream, connections: &mut JoinSet<()>| {
            // Answers are short and go out whole: waiting for more to send only costs time.
            let _ = stream.set_nodelay(true);
            let (protocols, front) = (protocols.clone(), Arc::clone(&front));
            connections.spawn(protocols.serve(stream, front, when_closing.clone()));
        };
        let mut shutdown = pin!(shutdown);
        let mut loading = pin!(load(loading));
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
                accepted = accept(&listeners), if connections.len() < max_connections => {
                    match accepted {
                        Ok(stream) => serve(stream, &mut connections),
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept a connection");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            }
        }
        let answered = front.answered();
        front.close();
        // Connections that the system has set up already may carry requests.
        for stream in listeners.into_iter().flat_map(accepted_already) {
            serve(stream, &mut connections);
        }
        let _ = closing.send(true);
        let all_closed = async { while connections.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(drain_timeout, all_closed).await.is_ok();
        let aborted = if in_time { 0 } else { front.in_flight() as u64 };
        front.service.tracker().flush().await;
        Ok(Drained { finished: front.answered() - answered, aborted })
    }
}

impl Socket {
    fn bind(addr: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Bind { addr, source };
        let listener = std::net::TcpListener::bind(addr).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, local_addr })
    }

    fn listen(self) -> Result<TcpListener, ServeError> {
        TcpListener::from_std(self.listener).map_err(ServeError::System)
    }
}

/// The next connection of any.
async fn accept([first, second]: &[TcpListener; 2]) -> io::Result<TcpStream> {
    let (stream, _) = tokio::select! {
        accepted = first.accept() => accepted?,
        accepted = second.accept() => accepted?,
    };
    Ok(stream)
}

/// Waits until the models are loaded and warmed up.
async fn load(loading: Loading) -> Result<(), ServeError> {
    loading.finished().await?;
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
