//! The sockets that listen, and their connections to the end.

use std::future::poll_fn;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ServeError;
use crate::connection::{Protocols, Responder};

/// Pause after the system refuses a connection, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that listens. Each speaks every protocol; there may be several because clients expect
/// each protocol on a port of its own.
pub(crate) struct Socket {
    listener: std::net::TcpListener,
    pub(crate) local_addr: SocketAddr,
}

/// What became of the requests that were in flight at shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were answered after the shutdown had begun.
    pub finished: u64,
    /// Requests that had no answer when the time was up.
    pub aborted: u64,
}

/// How sockets are listened on.
pub(crate) struct Listening {
    pub(crate) protocols: Protocols,
    pub(crate) max_connections: usize,
    pub(crate) drain_timeout: Duration,
}

impl Listening {
    /// Answers what comes on `sockets` until `shutdown` completes; then stops to accept, and waits
    /// for the requests in flight. Fails when `alongside` does.
    pub(crate) async fn run<R: Responder>(
        self,
        sockets: Vec<Socket>,
        responder: &Arc<R>,
        alongside: impl Future<Output = Result<(), ServeError>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, ServeError> {
        let Self { protocols, max_connections, drain_timeout } = self;
        let listeners = sockets.into_iter().map(Socket::listen).collect::<Result<Vec<_>, _>>()?;
        let (closing, when_closing) = watch::channel(false);
        let mut connections = JoinSet::new();
        let serve = |stream: TcpStream, connections: &mut JoinSet<()>| {
            // Answers are short and go out whole: waiting for more to send only costs time.
            let _ = stream.set_nodelay(true);
            let (protocols, responder) = (protocols.clone(), Arc::clone(responder));
            connections.spawn(protocols.serve(stream, responder, when_closing.clone()));
        };
        let mut shutdown = pin!(shutdown);
        let mut alongside = pin!(alongside);
        let mut is_done = false;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                result = &mut alongside, if !is_done => {
                    result?;
                    is_done = true;
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = accept(&listeners), if connections.len() < max_connections.max(1) => {
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
        let answered = responder.answered();
        responder.close();
        // Connections that the system has set up already may carry requests.
        for stream in listeners.into_iter().flat_map(accepted_already) {
            serve(stream, &mut connections);
        }
        let _ = closing.send(true);
        let all_closed = async { while connections.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(drain_timeout, all_closed).await.is_ok();
        let aborted = if in_time { 0 } else { responder.in_flight() as u64 };
        Ok(Drained { finished: responder.answered() - answered, aborted })
    }
}

impl Socket {
    pub(crate) fn bind(addr: SocketAddr) -> Result<Self, ServeError> {
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
async fn accept(listeners: &[TcpListener]) -> io::Result<TcpStream> {
    let next = poll_fn(|context| {
        let mut ready = listeners.iter().map(|listener| listener.poll_accept(context));
        ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
    });
    next.await.map(|(stream, _)| stream)
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
