//! Where files come from, and where they are kept.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::HubError;

/// What is asked where nothing else is said.
const ENDPOINT: &str = "https://huggingface.co";

/// Where files come from, and where they are kept.
#[derive(Clone)]
pub struct Settings {
    /// What paths of repositories are appended to, without a slash at its end.
    pub endpoint: String,
    /// Opens repositories that are not public.
    pub token: Option<String>,
    /// Folder of the files that were fetched.
    pub cache: PathBuf,
    /// Whether to do with what is in the cache.
    pub is_offline: bool,
    /// How long a server may take to accept a connection, or give the next bytes.
    pub timeout: Duration,
    /// How many attempts in a row may bring nothing before a file is given up.
    pub attempts: u32,
    /// The pause after the first of them; each further one is twice as long.
    pub pause: Duration,
    /// Most bytes of a file.
    pub max_bytes: u64,
}

impl fmt::Debug for Settings {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, token, cache, is_offline, .. } = self;
        f.debug_struct("Settings")
            .field("endpoint", endpoint)
            .field("has_token", &token.is_some())
            .field("cache", cache)
            .field("is_offline", is_offline)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// What the environment asks for, in the names that `huggingface_hub` reads: `HF_ENDPOINT`,
    /// `HF_TOKEN` and `HF_HUB_OFFLINE`. The cache is `LUTHIER_CACHE`, or `luthier` in the user's
    /// folder of caches, and `hub` within.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let cache = lookup("LUTHIER_CACHE").map(PathBuf::from);
        let users = || {
            let home = || lookup("HOME").map(|home| PathBuf::from(home).join(".cache"));
            let caches = lookup("XDG_CACHE_HOME").map(PathBuf::from).filter(|c| c.is_absolute());
            caches.or_else(home).map(|caches| caches.join("luthier"))
        };
        let settings = Self {
            endpoint: lookup("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
            token: lookup("HF_TOKEN").map(|token| token.trim().to_owned()),
            cache: cache.or_else(users).ok_or(HubError::NoCache)?.join("hub"),
            is_offline: lookup("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            timeout: Duration::from_secs(20),
            attempts: 5,
            pause: Duration::from_millis(500),
            max_bytes: 64 << 30,
        };
        settings.checked()
    }

    fn checked(mut self) -> Result<Self, HubError> {
        self.endpoint.truncate(self.endpoint.trim_end_matches('/').len());
        let rest = ["https://", "http://"].iter().find_map(|s| self.endpoint.strip_prefix(s));
        let is_plain = |rest: &&str| {
            !rest.is_empty() && !rest.contains(|c: char| "?#@ ".contains(c) || c.is_control())
        };
        match rest.filter(is_plain) {
            Some(_) => Ok(self),
            None => Err(HubError::Endpoint { endpoint: self.endpoint }),
        }
    }
}

/// What `huggingface_hub` takes for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())
}
