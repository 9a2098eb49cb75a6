//! Why a server cannot be set up or kept running.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use luthier_bundle::BundleError;

use crate::StoreError;

/// Why a server cannot be set up or kept running.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Cause, such as a port in use.
        source: io::Error,
    },
    /// A bundle cannot be read, or the engine does not answer its probes as stored.
    #[error("model {name} version {version} cannot be served: {source}")]
    Model {
        /// Name of the model.
        name: String,
        /// Version of the model.
        version: i64,
        /// Cause.
        source: BundleError,
    },
    /// A loaded model failed on the request that was to warm it up.
    #[error("model {name} version {version} failed its first request: {reason}")]
    WarmUp {
        /// Name of the model.
        name: String,
        /// Version of the model.
        version: i64,
        /// What the client would have been told.
        reason: String,
    },
    /// A model's name cannot be part of a path.
    #[error("`{name}` cannot name a model: 1 to 128 characters, none of them `/`, `:` or control")]
    Name {
        /// The name.
        name: String,
    },
    /// A version is negative.
    #[error("version {version} of model {name} is negative")]
    Version {
        /// Name of the model.
        name: String,
        /// The version.
        version: i64,
    },
    /// Two models have the same name and version.
    #[error("model {name} version {version} is given twice")]
    Duplicate {
        /// Name of the model.
        name: String,
        /// Version of the model.
        version: i64,
    },
    /// There is nothing to serve.
    #[error("no model is given")]
    NoModel,
    /// A model is in two base paths, or in one and given as a bundle.
    #[error("model {name} is in {first} and in {second}")]
    TwoPlaces {
        /// Name of the model.
        name: String,
        /// Where it is served from.
        first: PathBuf,
        /// Where else it is.
        second: PathBuf,
    },
    /// No version of a model can be served, and none will be looked for.
    #[error("model {name} cannot be served: {reason}")]
    Unserved {
        /// Name of the model.
        name: String,
        /// What is wrong with its versions.
        reason: String,
    },
    /// The file that gives labels to versions cannot be understood.
    #[error("{path}: {reason}")]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A base path is no bundle and holds none.
    #[error("{path} is no bundle and holds none as <model>/<version>/")]
    NoBundle {
        /// The path.
        path: PathBuf,
    },
    /// An alias route cannot be served.
    #[error("route {path}: {problem}")]
    Route {
        /// Path of the route.
        path: String,
        /// What is wrong with it.
        problem: RouteProblem,
    },
    /// A folder cannot be listed.
    #[error("{path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The thread that loads models ended too early.
    #[error("the thread that loads models ended before it had loaded them")]
    Loader,
    /// The feedback store cannot be used.
    #[error("feedback store {0}")]
    Feedback(#[from] StoreError),
    /// A thread or the listening socket cannot be set up.
    #[error("the system refuses a thread or a socket: {0}")]
    System(io::Error),
}

/// What is wrong with an alias route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblem {
    /// It is not an absolute path of plain characters.
    #[error("a path starts with `/` and has no `?`, `#`, `%` or blanks")]
    Path,
    /// It hides a route of the server.
    #[error("the path belongs to the server")]
    Reserved,
    /// Two routes have the same path.
    #[error("the path is given twice")]
    Duplicate,
    /// There is no such model.
    #[error("there is no model `{0}`")]
    Model(String),
    /// A field name is empty.
    #[error("`input` and `output` are names of fields")]
    Field,
}
