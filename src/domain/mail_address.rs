//! Mail addresses as people write them into the fields of other systems: several in one text, with names, beyond ASCII.
//!
//! Hosts are brought to the form that DNS knows (UTS 46, RFC 5891); a local part beyond ASCII stays as it is (RFC 6531, RFC 6532), which needs a
//! server that takes it, in normal form C, as RFC 6532 asks for. Quoted local parts are not read: hardly a provider takes them.

use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
};
use unicode_normalization::UnicodeNormalization;

/// The longest local part and the longest address, in bytes (RFC 5321, 4.5.3.1).
const LOCAL_MAX: usize = 64;
const ADDRESS_MAX: usize = 254;

/// The plain address, with its host as DNS knows it; `None` if it is none.
pub fn normalized(text: &str) -> Option<String> {
    let (local, host) = text.rsplit_once('@')?;
    // Before anything is made of them: neither becomes shorter than a sixteenth.
    if local.len() > 16 * LOCAL_MAX || host.len() > 16 * ADDRESS_MAX {
        return None;
    }
    let local: String = local.nfc().collect();
    let letter = |c: char| {
        c.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~".contains(c)
            || (!c.is_ascii() && is_visible(c))
    };
    let is_dotted = !local.is_empty()
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(letter));
    if !is_dotted || local.len() > LOCAL_MAX {
        return None;
    }
    let host = host_of(host)?;
    let address = format!("{local}@{host}");
    (address.len() <= ADDRESS_MAX).then_some(address)
}

/// Whether a character beyond ASCII can be told by who reads the address. Marks can: without them many scripts have no words. Blanks, characters
/// that steer the direction of text or have no shape, and those that stand for nothing cannot.
fn is_visible(c: char) -> bool {
    let steers = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}'
    );
    let private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    !c.is_control() && !c.is_whitespace() && !steers && !private
}

fn host_of(host: &str) -> Option<String> {
    // "example.com." is the same host; mail servers do not take it so.
    let host = host.strip_suffix('.').unwrap_or(host);
    let ascii = if host.is_ascii() {
        host.to_owned()
    } else {
        idna::domain_to_ascii(host).ok()?
    };
    let is_label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    // What claims to be encoded has to be.
    let is_readable = !ascii.to_ascii_lowercase().contains("xn--") || {
        let (_, read) = idna::domain_to_unicode(&ascii);
        read.is_ok()
    };
    (ascii.split('.').all(is_label) && is_readable).then_some(ascii)
}

/// A name, if there is one, and the address behind it: `a@b.example`, `Name <a@b.example>`, `"Name, First" <a@b.example>`.
pub fn with_name(text: &str) -> Option<(String, String)> {
    let text = text.trim();
    let (name, plain) = match text
        .strip_suffix('>')
        .and_then(|rest| rest.rsplit_once('<'))
    {
        Some((name, plain)) => (name.trim().trim_matches('"').trim(), plain.trim()),
        None => ("", text.strip_prefix("mailto:").unwrap_or(text)),
    };
    Some((name.to_owned(), normalized(plain)?))
}

/// An address as it is told from others: without the case of its letters.
struct Folded(String);

impl PartialEq for Folded {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        tests::COMPARISONS.set(tests::COMPARISONS.get() + 1);
        self.0 == other.0
    }
}

impl Eq for Folded {}

impl Hash for Folded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// All addresses of a text, in order, each once, without names: they may be separated by commas, semicolons, line breaks or blanks. What is none is passed over.
pub fn all_in(text: &str) -> Vec<String> {
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    let mut add = |address: String| {
        if known.insert(Folded(address.to_ascii_lowercase())) {
            found.push(address);
        }
    };
    for piece in pieces(text) {
        match with_name(piece) {
            Some((_, address)) => add(address),
            // "a@b.example c@d.example", "billing: a@b.example".
            None => piece
                .split_whitespace()
                .filter_map(|word| {
                    normalized(word.trim_matches(|c: char| "<>()[]\"':".contains(c)))
                })
                .for_each(&mut add),
        }
    }
    found
}

/// Between commas, semicolons and line breaks that stand in no quotation marks.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut quoted) = (Vec::new(), 0, false);
    for (place, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' | ';' | '\n' | '\r' if !quoted => {
                pieces.push(&text[start..place]);
                start = place + c.len_utf8();
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    pieces
        .into_iter()
        .filter(|piece| !piece.trim().is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// How often this thread has compared two addresses.
        pub(super) static COMPARISONS: Cell<u64> = const { Cell::new(0) };
    }

    #[test]
    fn a_long_list_is_read_without_comparing_each_with_all() {
        let count = 100_000;
        let twice: Vec<String> = (0..2 * count)
            .map(|n| format!("Somebody{}@b.example", n % count))
            .collect();
        COMPARISONS.set(0);
        let found = all_in(&twice.join(", "));
        assert_eq!(found.len(), count);
        // Each that stands twice is found again by one comparison; few others share a hash's group.
        let compared = COMPARISONS.get();
        assert!(compared >= count as u64, "{compared}: not counted");
        assert!(compared < 3 * count as u64, "{compared} comparisons");
    }

    #[test]
    fn what_is_far_too_long_is_no_address() {
        let long = "ä".repeat(1_000_000);
        assert_eq!(normalized(&format!("a@{long}.example")), None);
        assert_eq!(normalized(&format!("{long}@b.example")), None);
    }

    #[test]
    fn addresses_in_one_field_are_all_found() {
        for (text, found) in [
            ("", vec![]),
            ("a@b.example", vec!["a@b.example"]),
            (
                "a@b.example, c@d.example",
                vec!["a@b.example", "c@d.example"],
            ),
            (
                "a@b.example;c@d.example",
                vec!["a@b.example", "c@d.example"],
            ),
            (
                "a@b.example\r\nc@d.example",
                vec!["a@b.example", "c@d.example"],
            ),
            (
                "a@b.example c@d.example",
                vec!["a@b.example", "c@d.example"],
            ),
            (
                "\"Doe, Jane\" <jane@b.example>, Max <max@b.example>",
                vec!["jane@b.example", "max@b.example"],
            ),
            ("billing: a@b.example", vec!["a@b.example"]),
            ("a@b.example, A@B.example", vec!["a@b.example"]),
            ("mailto:a@b.example", vec!["a@b.example"]),
            ("nobody, a@b.example,", vec!["a@b.example"]),
            ("n/a", vec![]),
            ("a@b@c", vec![]),
        ] {
            assert_eq!(all_in(text), found, "{text}");
        }
    }

    #[test]
    fn addresses_beyond_ascii_are_understood() {
        for (text, address) in [
            ("info@müller.example", "info@xn--mller-kva.example"),
            ("info@xn--mller-kva.example", "info@xn--mller-kva.example"),
            ("用户@例子.example", "用户@xn--fsqu00a.example"),
            ("jörg@b.example", "jörg@b.example"),
            ("почта@пример.example", "почта@xn--e1afmkfd.example"),
            ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
            ("a@b.example.", "a@b.example"),
            // Words of Devanagari have vowel signs and a virama in them, of Thai tone marks.
            ("संपर्क@डाटामेल.भारत", "संपर्क@xn--c2bd4bq1db8d.xn--h2brj9c"),
            ("अजिंक्य@b.example", "अजिंक्य@b.example"),
            ("ที่อยู่@b.example", "ที่อยู่@b.example"),
            // As macOS writes it: two characters, one in normal form C.
            ("jo\u{308}rg@b.example", "jörg@b.example"),
            ("θσερ@εχαμπλε.example", "θσερ@xn--mxahbxey0c.example"),
            ("квіточка@пошта.укр", "квіточка@xn--80a1acn3a.xn--j1amh"),
            ("💌@b.example", "💌@b.example"),
            ("info@faß.example", "info@xn--fa-hia.example"),
        ] {
            assert_eq!(normalized(text).as_deref(), Some(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        let long = format!("{}@b.example", "a".repeat(65));
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a b@c.example",
            "a@b..example",
            ".a@b.example",
            "a.@b.example",
            "a@-b.example",
            "a@b_c.example",
            "a@b.example\n",
            "a\u{0}@b.example",
            "a@b example",
            "a\u{202e}@b.example",
            "a\u{200b}b@c.example",
            "a\u{200d}b@c.example",
            "a\u{ad}b@c.example",
            "a\u{a0}b@c.example",
            "a\u{2028}b@c.example",
            "a\u{feff}@b.example",
            "a\u{e000}@b.example",
            "\"a b\"@c.example",
            "a@xn--\u{e4}.example",
            &long,
        ] {
            assert_eq!(normalized(text), None, "{text:?}");
        }
    }
}
