//! What drift looks at in a text.

use luthier_model::{Preprocess, Scratch};
use luthier_monitor::Observation;

/// Measures a text that was answered with class `predicted` by a model that takes it as `preprocess`
/// does. Baselines and served texts are measured by this one function.
pub fn observe(
    text: &str,
    predicted: u32,
    preprocess: &Preprocess,
    scratch: &mut Scratch,
) -> Observation {
    // A text that was answered could be read, and can be again.
    let unknown_share = preprocess.unknown_share(text, scratch).unwrap_or(1.0);
    let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    Observation { characters, unknown_share, predicted }
}
