//! A server of models.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::connection::Protocols;
use crate::front::Front;
use crate::listening::{Drained, Listening, Socket};
use crate::registry::Loading;
use crate::rest;
use crate::service::Service;
use crate::{Models, ServeConfig, ServeError};

/// A server that listens, and loads its models.
pub struct Server {
    rest: Socket,
    grpc: Socket,
    front: Arc<Front>,
    loading: Loading,
    listening: Listening,
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
            listening: Listening {
                protocols: Protocols::new(config.idle_timeout, config.request_timeout),
                max_connections: config.max_connections,
                drain_timeout: config.drain_timeout,
            },
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
        let Self { rest, grpc, front, loading, listening } = self;
        let drained = listening.run(vec![rest, grpc], &front, load(loading), shutdown).await?;
        front.service.tracker().flush().await;
        Ok(drained)
    }
}

/// Waits until the models are loaded and warmed up.
async fn load(loading: Loading) -> Result<(), ServeError> {
    loading.finished().await?;
    tracing::info!("every model answers");
    Ok(())
}
