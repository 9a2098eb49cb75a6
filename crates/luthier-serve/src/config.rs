//! What a server is told.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

/// Settings of a server; [`ServeConfig::default`] has the values named here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// Address to listen on; loopback.
    pub host: IpAddr,
    /// Port of the REST interface, 0 for any that is free; 8501.
    pub rest_port: u16,
    /// Port of the gRPC interface, 0 for any that is free; 8500. Both ports answer either protocol.
    pub grpc_port: u16,
    /// Alias routes beside those that bundles bring; none.
    pub routes: Vec<Route>,
    /// Time between two looks at the base paths, `None` for a single look at the start; 1 s.
    pub poll: Option<Duration>,
    /// Which of the versions in a base path are served; the latest.
    pub version_policy: VersionPolicy,
    /// Largest request body, over gRPC the largest message, compressed or not; 4 MiB.
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
    /// SQLite file in which predictions wait for labels; none, and then labels are not taken.
    pub feedback_store: Option<PathBuf>,
}

/// A route of the user's own: `POST path {"<input>": "a text"}` answers `{"<output>": score}` from
/// the latest version of `model`; a list of texts answers a list. A model of a table takes its row
/// as the whole body, `{"age": 34, "job": "cook"}`, or a list of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Path, such as `/sentiment`.
    pub path: String,
    /// Name of the model.
    pub model: String,
    /// Field of the request that holds the text; `text`. Without use where the model takes a table.
    pub input: String,
    /// Field of the answer that holds the score or number; `score`.
    pub output: String,
}

/// Which versions of a model are served, as in TensorFlow Serving. Versions that a label names are
/// served besides, and versions that cannot be loaded do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicy {
    /// This many of the highest, at least 1.
    Latest(usize),
    /// Every one.
    All,
    /// These, as far as they are there.
    Specific(BTreeSet<i64>),
}

/// A text that is no [`VersionPolicy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `latest`, `latest:2`, `all` or `specific:1,2`")]
pub struct NoVersionPolicy;

impl FromStr for VersionPolicy {
    type Err = NoVersionPolicy;

    /// Reads `latest`, `latest:2`, `all` or `specific:1,2`.
    fn from_str(text: &str) -> Result<Self, NoVersionPolicy> {
        let (kind, value) = text.split_once(':').map_or((text, None), |(k, v)| (k, Some(v)));
        let version = |text: &str| match text.trim().parse() {
            Ok(version) if version >= 0 => Ok(version),
            _ => Err(NoVersionPolicy),
        };
        match (kind, value) {
            ("latest", None) => Ok(Self::Latest(1)),
            ("latest", Some(count)) => match count.trim().parse() {
                Ok(count) if count > 0 => Ok(Self::Latest(count)),
                _ => Err(NoVersionPolicy),
            },
            ("all", None) => Ok(Self::All),
            ("specific", Some(list)) => {
                list.split(',').map(version).collect::<Result<_, _>>().map(Self::Specific)
            }
            _ => Err(NoVersionPolicy),
        }
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            rest_port: 8501,
            grpc_port: 8500,
            routes: Vec::new(),
            poll: Some(Duration::from_secs(1)),
            version_policy: VersionPolicy::Latest(1),
            max_body_bytes: 4 << 20,
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            max_connections: 4096,
            queue_requests: 1024,
            workers: thread::available_parallelism().map_or(1, usize::from),
            drain_timeout: Duration::from_secs(30),
            feedback_store: None,
        }
    }
}

impl Route {
    /// A route with the fields `text` and `score`.
    pub fn new(path: &str, model: &str) -> Self {
        Self {
            path: path.to_owned(),
            model: model.to_owned(),
            input: Self::input(),
            output: "score".to_owned(),
        }
    }

    /// The field that holds the text where none is named.
    pub(crate) fn input() -> String {
        "text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{NoVersionPolicy, VersionPolicy};

    #[test]
    fn version_policies_are_read() {
        let check = |text: &str, expected: Option<VersionPolicy>| {
            assert_eq!(text.parse(), expected.ok_or(NoVersionPolicy), "{text}");
        };
        check("latest", Some(VersionPolicy::Latest(1)));
        check("latest:3", Some(VersionPolicy::Latest(3)));
        check("all", Some(VersionPolicy::All));
        check("specific:2", Some(VersionPolicy::Specific([2].into())));
        check("specific:7, 2,7", Some(VersionPolicy::Specific([2, 7].into())));
        for wrong in ["", "newest", "latest:0", "latest:x", "latest:", "all:1", "specific"] {
            check(wrong, None);
        }
        for wrong in ["specific:", "specific:1,", "specific:-1", "specific:1;2"] {
            check(wrong, None);
        }
    }
}
