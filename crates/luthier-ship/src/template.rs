//! Texts with places for values.

/// `text` with each `@{name}` replaced by the value of that name. A place without a value stays,
/// and a test sees to it that there is none.
pub(crate) fn fill(text: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(text.len() + 256);
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once("@{") {
        filled.push_str(before);
        let value = tail.split_once('}').and_then(|(name, after)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, after))
        });
        match value {
            Some((value, after)) => {
                filled.push_str(value);
                rest = after;
            }
            None => {
                filled.push_str("@{");
                rest = tail;
            }
        }
    }
    filled + rest
}
