//! `hf://owner/name@revision`.

use std::fmt;
use std::str::FromStr;

use crate::HubError;

const SCHEME: &str = "hf://";
/// Characters of the longest owner, name or part of a file's path.
const MAX_PART: usize = 128;

/// A repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `owner/name@revision`.
    text: String,
    /// Where the slash is.
    slash: usize,
    /// Where the at sign is.
    at: usize,
}

impl Reference {
    /// Whether `text` is meant to be a reference, and not a path.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Who the repository belongs to.
    pub fn owner(&self) -> &str {
        &self.text[..self.slash]
    }

    /// What the repository is called.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..self.at]
    }

    /// A commit, a branch or a tag.
    pub fn revision(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The revision where it is a commit, which never changes.
    pub fn commit(&self) -> Option<&str> {
        Some(self.revision()).filter(|revision| is_commit(revision))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.text)
    }
}

impl FromStr for Reference {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = |reason| HubError::Reference { text: text.to_owned(), reason };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("does not begin with hf://"))?;
        let (repository, revision) = rest.split_once('@').unwrap_or((rest, ""));
        let parts = repository.split_once('/');
        let parts = parts.filter(|(owner, name)| is_part(owner) && is_part(name));
        let (owner, name) = parts.ok_or_else(|| wrong("is not hf://owner/name@revision"))?;
        if revision.is_empty() {
            return Err(wrong("names no revision"));
        }
        if !is_path(revision) {
            return Err(wrong("has a revision that is no commit, branch or tag"));
        }
        let (slash, at) = (owner.len(), owner.len() + 1 + name.len());
        Ok(Self { text: format!("{repository}@{revision}"), slash, at })
    }
}

/// Whether `text` is the full name of a commit.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `text` is a relative path that stays within its folder and needs no escapes in a URL.
pub(crate) fn is_path(text: &str) -> bool {
    text.split('/').all(is_part)
}

/// Whether `text` can be a part of a path.
fn is_part(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=MAX_PART).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(is_plain)
}
