//! What a server is told.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

/// Settings of a server; [`ServeConfig::default`] has the values named here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// Address to listen on; loopback.
    pub host: IpAddr,
    /// Port of the REST interface, 0 for any that is free; 8501.
    pub rest_port: u16,
    /// Alias routes; none.
    pub routes: Vec<Route>,
    /// Largest request body; 4 MiB.
    pub max_body_bytes: usize,
    /// Longest time from the head of a request to its answer; 30 s.
    pub request_timeout: Duration,
    /// Longest time from one answer (or the connection's start) to the end of the next request's
    /// head; 75 s, longer than common load balancers keep an idle connection, so that they close
    /// it and not we, under a request that is on its way.
    pub idle_timeout: Duration,
    /// Most connections at a time; further ones wait in the system's queue; 4096.
    pub max_connections: usize,
    /// Most requests that wait for a worker; one more is refused; 1024.
    pub queue_requests: usize,
    /// Threads that run models, at least 1; one per core.
    pub workers: usize,
    /// Longest time for requests in flight at shutdown; 30 s.
    pub drain_timeout: Duration,
}

/// A route of the user's own: `POST path {"<input>": "a text"}` answers `{"<output>": score}` from
/// the latest version of `model`; a list of texts answers a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Path, such as `/sentiment`.
    pub path: String,
    /// Name of the model.
    pub model: String,
    /// Field of the request that holds the text; `text`.
    pub input: String,
    /// Field of the answer that holds the score; `score`.
    pub output: String,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            rest_port: 8501,
            routes: Vec::new(),
            max_body_bytes: 4 << 20,
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            max_connections: 4096,
            queue_requests: 1024,
            workers: thread::available_parallelism().map_or(1, usize::from),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Route {
    /// A route with the fields `text` and `score`.
    pub fn new(path: &str, model: &str) -> Self {
        Self {
            path: path.to_owned(),
            model: model.to_owned(),
            input: "text".to_owned(),
            output: "score".to_owned(),
        }
    }
}
