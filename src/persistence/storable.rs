//! Texts in the form in which both databases can store and index them.
//!
//! PostgreSQL takes no U+0000 in a text, and no entry of an index that is longer than a third of a page. A text that breaks one of the two
//! fails the whole transaction that it is in, whoever else's rows are in it, so no text of outside gets there as it is.

use crate::domain::ContentHash;
use std::borrow::Cow;

/// Bytes of a text that is part of a key. Two of them fit into an entry of an index with what else is in it.
pub const KEY_BYTES_MAX: usize = 1_100;
/// Bytes of a longer one that stay readable.
const KEPT_BYTES: usize = 400;

/// The text with U+FFFD in place of each U+0000.
pub fn storable(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// The text as part of a key: one that is too long is cut and ends with its hash, so that two that differ stay two.
pub fn storable_key(text: &str) -> Cow<'_, str> {
    if text.len() <= KEY_BYTES_MAX && !text.contains('\0') {
        return Cow::Borrowed(text);
    }
    let clean = storable(text);
    let mut end = clean.len().min(KEPT_BYTES);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!(
        "{}…{}",
        &clean[..end],
        ContentHash::of(text.as_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_their_zero_characters_and_nothing_else() {
        for text in ["", "a", "ä\u{1}\u{fffd}", "\u{10ffff}"] {
            assert_eq!(storable(text), text);
            assert_eq!(storable_key(text), text);
        }
        assert_eq!(storable("a\0b\0"), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn long_keys_are_cut_and_stay_apart() {
        let long = |last: char| "ä".repeat(5_000) + &last.to_string();
        let (one, other) = (
            storable_key(&long('a')).into_owned(),
            storable_key(&long('b')).into_owned(),
        );
        assert_ne!(one, other);
        assert!(one.len() <= KEY_BYTES_MAX, "{}", one.len());
        assert_eq!(one, storable_key(&long('a')));
        assert_ne!(
            storable_key("a\0b"),
            storable_key("a\u{fffd}b"),
            "a key stays what it is"
        );
        assert_eq!(storable_key(&one), one, "once more changes nothing");
    }
}
