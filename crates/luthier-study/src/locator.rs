//! Names of places where studies are kept.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a study is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Locator {
    /// An SQLite file, which holds one study.
    File(PathBuf),
    /// A PostgreSQL database, `postgres://user:password@host:port/database`, which may hold many.
    /// Connections are encrypted with `?sslmode=require`, and with `?sslmode=verify-full` only to a host
    /// with a certificate that the system trusts, or that leads to one of the file `sslrootcert`.
    Postgres(String),
}

impl FromStr for Locator {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        Ok(if is_url { Self::Postgres(text.to_owned()) } else { Self::File(text.into()) })
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Locator {
    fn from(path: &P) -> Self {
        Self::File(path.as_ref().to_owned())
    }
}

impl Locator {
    /// The locator without its password.
    fn shown(&self) -> String {
        let url = match self {
            Self::File(path) => return path.display().to_string(),
            Self::Postgres(url) => url,
        };
        let Some((scheme, rest)) = url.split_once("://") else { return url.clone() };
        // A password may contain an @, a host may not.
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let user = user.split(':').next().unwrap_or("");
        let at = if user.is_empty() { "" } else { "@" };
        let path = rest[authority.len()..].split('?').next().unwrap_or("");
        format!("{scheme}://{user}{at}{host}{path}")
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locator({})", self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let shown = |text: &str| text.parse::<Locator>().map(|l| l.to_string()).unwrap();
        assert_eq!(shown("run/study.db"), "run/study.db");
        assert_eq!(
            shown("postgres://me:s3cr@t@db.example:5432/hpo?password=x"),
            "postgres://me@db.example:5432/hpo"
        );
        assert_eq!(shown("postgresql:///hpo"), "postgresql:///hpo");
        let debug = format!("{:?}", "postgres://me:secret@h/d".parse::<Locator>());
        assert!(!debug.contains("secret"), "{debug}");
    }
}
