//! Serves bundles over HTTP.
//!
//! Start from [`Server::bind`]: a [`ServeConfig`] and [`Models`] in, a listening server out,
//! which [`Server::run`] drives until its shutdown future completes. The REST interface is
//! TensorFlow Serving's, so its clients work unchanged; alias routes ([`Route`]) answer in a shape
//! of the user's own.
//!
//! ```text
//! socket ─► rest: path, JSON ─► Service: limits, queue, counters ─► worker: rows, graph, scores
//!        ◄─ rest: JSON       ◄───────────────────────────────────◄─
//! ```
//!
//! The protocol only translates. What a call may cost, who waits, what is refused and what is
//! counted is decided once, in the service below, so that another protocol can stand beside REST.
//! Connections are asynchronous tasks; models run on worker threads of their own, each inside the
//! engine's thread pool, where starting a graph costs no hand-over. Between them lies one bounded
//! queue: when it is full a request is refused at once, because a client that is told so can go
//! elsewhere, and one that waits cannot.
//!
//! Which versions of a model answer is the registry's: a thread of its own that looks at the base
//! paths, loads what is new, and puts a new list of versions in the place of the old one. A request
//! takes its version from that list once and holds it to its end, so that a version that is
//! replaced goes when its last request has.
//!
//! [`CallServer`] is the outside of it, sockets to shutdown, for calls that closures answer.
//!
//! It trains nothing, reads no model file itself, prints nothing (logs are `tracing` events, and
//! never hold a request's text) and does not know where its configuration comes from.

mod access;
mod calls;
mod config;
mod connection;
mod error;
mod example;
mod feedback;
mod front;
mod grpc;
mod listening;
mod metrics;
mod models;
mod outgoing;
mod registry;
mod rest;
mod rows;
mod server;
mod service;
mod texts;
mod upload;
mod versions;
mod worker;

pub use calls::{
    Answer, Call, CallConfig, CallServer, GrpcHandler, Handlers, HttpHandler, Method, Status,
    StatusCode,
};
pub use config::{NoVersionPolicy, Route, ServeConfig, VersionPolicy};
pub use error::{RouteProblem, ServeError};
pub use feedback::{StoreError, observe};
pub use listening::Drained;
pub use models::{ModelSource, Models};
pub use server::Server;
pub use service::Code;
