//! Files of repositories of the Hugging Face hub, fetched once.
//!
//! Start from [`Hub::new`] and [`Hub::snapshot`]: a [`Reference`], `hf://owner/name@revision`, in, a
//! [`Snapshot`] out, whose [`fetch`](Snapshot::fetch) gives paths of files. A file that is in the
//! cache is never asked for again, and a revision that is a branch or a tag is looked up once: the
//! commit it stood for is kept, and all later files are those of that commit.
//!
//! The transport is plain HTTP GET of `<endpoint>/<owner>/<name>/resolve/<revision>/<file>`, so that
//! mirrors and a folder behind any HTTP server will do. A download that breaks goes on where it
//! broke; only what has the size and the digest that the hub announced gets its name in the cache.
//! The token goes to the endpoint and never to where it redirects.
//!
//! It knows nothing of models; what files there are is the caller's matter.

mod digest;
mod download;
mod error;
mod reference;
mod settings;
mod snapshot;

use std::ops::ControlFlow;
use std::sync::OnceLock;

pub use error::HubError;
pub use reference::Reference;
pub use settings::Settings;
pub use snapshot::Snapshot;

use download::Client;

/// Fetches files.
pub struct Hub {
    settings: Settings,
    /// Made when it is first needed, since reading the system's certificates takes a while.
    client: OnceLock<Client>,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Another process is fetching from the same repository.
    Waiting,
    /// A file is on its way.
    Fetching {
        /// The file.
        file: &'a str,
        /// Bytes that are here.
        done: u64,
        /// Bytes in all, where they are known.
        total: Option<u64>,
    },
    /// The connection broke, and is tried again after a pause.
    Retrying {
        /// The file.
        file: &'a str,
        /// How many attempts in a row brought nothing.
        failures: u32,
    },
}

/// Is told of each piece that came and during pauses, and stops the download by breaking; what came so
/// far is kept.
pub type Report<'r> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'r;

impl Hub {
    /// A client; nothing is asked for yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, client: OnceLock::new() }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(&self.settings))
    }

    /// The files of a repository at a revision. Asks for nothing yet.
    pub fn snapshot(&self, reference: &Reference) -> Result<Snapshot<'_>, HubError> {
        Snapshot::open(self, reference)
    }
}
