//! Looking things up by the name that a user wrote.

/// No sampler or pruner goes by that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} `{name}`")]
pub struct UnknownName {
    /// What was looked for: `sampler` or `pruner`.
    pub kind: &'static str,
    /// The name as written.
    pub name: String,
    /// The known name nearest to it, if one is near.
    pub nearest: Option<&'static str>,
    /// All known names.
    pub known: &'static [&'static str],
}

impl UnknownName {
    pub(crate) fn new(kind: &'static str, name: &str, known: &'static [&'static str]) -> Self {
        let nearest = known
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(candidate, name), *candidate))
            .min()
            .filter(|(distance, _)| *distance <= 1 + name.len() / 3)
            .map(|(_, candidate)| candidate);
        Self { kind, name: name.to_owned(), nearest, known }
    }
}
