//! Why a file cannot be had.

use std::io;
use std::path::PathBuf;

use crate::Reference;

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A reference cannot be read.
    #[error("`{text}` {reason}")]
    Reference {
        /// The reference.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The endpoint is no address of a web server.
    #[error("`{endpoint}` is not the address of a server")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// The environment names no folder for the cache.
    #[error("there is no folder to keep files in: neither LUTHIER_CACHE nor HOME is set")]
    NoCache,
    /// A file's name could lead out of its folder.
    #[error("`{file}` cannot be the name of a file in a repository")]
    Name {
        /// The name.
        file: String,
    },
    /// A file is not in the cache, and nothing may be fetched.
    #[error("{file} of {reference} was not fetched before, and nothing is fetched now")]
    Offline {
        /// The repository.
        reference: Reference,
        /// The file.
        file: String,
    },
    /// The cache cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such repository, or it is not for everyone.
    #[error("{reference} does not exist, or is not open to {}", who(*.has_token))]
    NoRepository {
        /// The repository.
        reference: Reference,
        /// Whether a token was given.
        has_token: bool,
    },
    /// There is no such commit, branch or tag.
    #[error("{reference} has no such revision")]
    NoRevision {
        /// The repository.
        reference: Reference,
    },
    /// The hub refuses to give the file.
    #[error("{reference} is not open to {} (status {status})", who(*.has_token))]
    Denied {
        /// The repository.
        reference: Reference,
        /// Status of the answer.
        status: u16,
        /// Whether a token was given.
        has_token: bool,
    },
    /// The server answers with what makes no sense.
    #[error("{url}: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The server cannot be reached, or the connection broke again and again.
    #[error("{url}: {reason}")]
    Network {
        /// What was asked for.
        url: String,
        /// What happened last.
        reason: String,
    },
    /// The server does not say which commit a branch or a tag stands for.
    #[error("the server does not name the commit of {reference}")]
    NoCommit {
        /// The repository.
        reference: Reference,
    },
    /// What came is not what was announced.
    #[error("{file} of {reference} has the digest {found}, and not {expected}")]
    Digest {
        /// The repository.
        reference: Reference,
        /// The file.
        file: String,
        /// What was announced.
        expected: String,
        /// What came.
        found: String,
    },
    /// A file is larger than allowed.
    #[error("{file} of {reference} has {size} bytes or more, and {most} are allowed")]
    TooLarge {
        /// The repository.
        reference: Reference,
        /// The file.
        file: String,
        /// Its size, as far as it is known.
        size: u64,
        /// What is allowed.
        most: u64,
    },
    /// The report asked to stop.
    #[error("the download was stopped")]
    Stopped,
}

fn who(has_token: bool) -> &'static str {
    if has_token { "the owner of this token" } else { "everyone" }
}

impl HubError {
    /// The next thing to try, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Reference { .. } => {
                Some("write hf://owner/name@revision, best with a commit, as in hf://a/b@4f1e2c…")
            }
            Self::Endpoint { .. } => Some("set HF_ENDPOINT to https://… or http://…"),
            Self::NoCache => Some("set LUTHIER_CACHE to a folder"),
            Self::Offline { .. } => Some("fetch it once, without --offline and HF_HUB_OFFLINE"),
            Self::NoRepository { has_token: false, .. } | Self::Denied { has_token: false, .. } => {
                Some("set HF_TOKEN to a token that may read it")
            }
            Self::Denied { .. } => Some("accept the terms of the repository in a browser"),
            Self::NoCommit { .. } => Some("name the commit in place of a branch or tag"),
            Self::Network { .. } => {
                Some("the same command goes on where it stopped; HF_ENDPOINT names a mirror")
            }
            Self::Digest { .. } => Some("something between here and the hub changes files"),
            _ => None,
        }
    }
}
