//! From a bundle's manifest to the files that put it into production.
//!
//! Start from [`Plan::new`]: what a bundle says of itself and [`Settings`] in, a checked plan out,
//! whose [`Plan::files`] are an image's Dockerfile, a docker-compose file, a Helm chart, a GitHub
//! Actions workflow, scrape configuration and alert rules with their test cases, a Grafana
//! dashboard and the way of the logs into Elasticsearch.
//!
//! Texts are templates that look like what they become (`templates/`), with `@{name}` where a
//! value goes; what is a list in a format that must be typed (dashboard, index template) is built
//! as JSON. All that ends up in them is checked at the door, in [`Plan::new`]: no value can leave
//! the quotes, the shell word or the label that it is put into.
//!
//! The same manifest and settings give the same bytes. It writes no file, starts nothing and knows
//! neither podman nor kubectl: the binary does that.

mod elastic;
mod grafana;
mod plan;
mod settings;
mod template;

use std::fmt;

pub use plan::Plan;
pub use settings::{Settings, Thresholds};

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where, below the folder of all; parts are separated by `/`.
    pub path: String,
    /// What is in it.
    pub contents: String,
}

/// Why nothing is shipped.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ShipError {
    /// The model cannot be called so in a cluster.
    #[error(
        "`{name}` cannot name a service of a cluster: lower-case letters, digits and `-`, a letter \
         first, no `-` last, at most {MAX_NAME} characters"
    )]
    Name {
        /// The name in the manifest.
        name: String,
    },
    /// A setting has no possible value.
    #[error("{setting} is `{value}`; it must be {must}")]
    Setting {
        /// Which one.
        setting: Setting,
        /// Its value.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// Nothing says how accurate the model has to be.
    #[error("the bundle has no accuracy from which a limit of the live accuracy could follow")]
    NoAccuracy,
}

/// Longest name of a model: what Helm allows for a release.
pub const MAX_NAME: usize = 53;

/// A setting, as errors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The image's name.
    Image,
    /// The namespace in the cluster.
    Namespace,
    /// Where alerts are sent.
    Webhook,
    /// The folder of the job in its repository.
    Job,
    /// The rows of the gate.
    GateData,
    /// The text columns of these rows.
    GateText,
    /// The label column of these rows.
    GateLabel,
    /// Whether few rows hold a release back.
    AllowUndecidable,
    /// The limit of the 99th percentile.
    TargetP99,
    /// The limit of failed requests.
    ErrorRate,
    /// The limit of the live accuracy.
    MinAccuracy,
    /// The limit of drift.
    MaxPsi,
}

impl Setting {
    /// Its name as an option of a command line.
    pub fn option(self) -> &'static str {
        match self {
            Self::Image => "--image",
            Self::Namespace => "--namespace",
            Self::Webhook => "--webhook",
            Self::Job => "--job",
            Self::GateData => "--gate-data",
            Self::GateText => "--gate-text",
            Self::GateLabel => "--gate-label",
            Self::AllowUndecidable => "--allow-undecidable",
            Self::TargetP99 => "--target-p99-ms",
            Self::ErrorRate => "--error-rate",
            Self::MinAccuracy => "--min-accuracy",
            Self::MaxPsi => "--max-psi",
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.option())
    }
}

#[cfg(test)]
mod tests;
