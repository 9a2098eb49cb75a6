//! What drift looks at in a text.

use luthier_model::{Extractor, NgramText};
use luthier_monitor::Observation;

/// Measures a text that was answered with class `predicted` by a model with the n-grams `text_model`.
/// Baselines and served texts are measured by this one function.
pub fn observe(
    text: &str,
    predicted: u32,
    text_model: &NgramText,
    extractor: &mut Extractor,
) -> Observation {
    let (words, chars, index) = (text_model.words(), text_model.chars(), text_model.index());
    let (mut ngrams, mut unknown) = (0u64, 0u64);
    extractor.extract(text, words, chars, |_, bucket| {
        ngrams += 1;
        unknown += u64::from(index.row(bucket).is_none());
    });
    Observation {
        characters: u32::try_from(text.chars().count()).unwrap_or(u32::MAX),
        unknown_share: unknown as f64 / ngrams.max(1) as f64,
        predicted,
    }
}
