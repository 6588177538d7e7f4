//! Time zones that a text names: `Europe/Zurich`, `Zurich time`, `CET`.

use super::text::{Kind, Token};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::ops::Range;

/// Letters that stand for one zone without doubt. `CST` or `IST` are several, and not here.
const LETTERS: &[(&str, &str)] = &[
    ("UTC", "UTC"),
    ("GMT", "UTC"),
    ("CET", "CET"),
    ("CEST", "CET"),
    ("EET", "EET"),
    ("WET", "WET"),
];

/// Finds the zone that a clause names, with its tokens.
pub fn zone(tokens: &[Token]) -> Option<(String, Range<usize>)> {
    tokens
        .iter()
        .enumerate()
        .find_map(|(at, token)| match token.kind {
            Kind::Path => token
                .text
                .parse::<Tz>()
                .ok()
                .map(|zone| (zone.name().to_owned(), with_time(tokens, at, at + 1))),
            Kind::Word => letters(token)
                .map(|zone| (zone, with_time(tokens, at, at + 1)))
                .or_else(|| city(tokens, at)),
            _ => None,
        })
}

/// Whether a text is an IANA name.
pub fn is_zone(name: &str) -> bool {
    name.parse::<Tz>().is_ok()
}

fn letters(token: &Token) -> Option<String> {
    LETTERS
        .iter()
        .find(|(letters, _)| *letters == token.text)
        .map(|(_, zone)| (*zone).to_owned())
}

/// `Zurich time`, `New York time`: a city of the zone database before the word "time".
fn city(tokens: &[Token], at: usize) -> Option<(String, Range<usize>)> {
    (1..=3).rev().find_map(|length| {
        let words = tokens.get(at..at + length)?;
        tokens
            .get(at + length)
            .filter(|next| next.is_word("time"))?;
        let name = words
            .iter()
            .map(|word| word.text.replace('ü', "u"))
            .collect::<Vec<_>>()
            .join("_");
        let fits = |zone: &&Tz| {
            zone.name().contains('/')
                && zone
                    .name()
                    .rsplit('/')
                    .next()
                    .is_some_and(|last| last.eq_ignore_ascii_case(&name))
        };
        let zone = TZ_VARIANTS.iter().find(fits)?;
        Some((zone.name().to_owned(), at..at + length + 1))
    })
}

fn with_time(tokens: &[Token], start: usize, end: usize) -> Range<usize> {
    start..end + usize::from(tokens.get(end).is_some_and(|next| next.is_word("time")))
}

#[cfg(test)]
mod tests {
    use super::{super::text::tokens, *};

    #[test]
    fn zones_by_name_city_and_letters() {
        let cases = [
            ("at nine Zurich time", Some("Europe/Zurich")),
            ("at nine Zürich time", Some("Europe/Zurich")),
            ("at 9 (Europe/Zurich)", Some("Europe/Zurich")),
            ("9:00 CET", Some("CET")),
            ("at 9 UTC", Some("UTC")),
            ("at 9 New York time", Some("America/New_York")),
            ("at 9 CST", None),
            ("at 9 our time", None),
            ("in Zurich", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                zone(&tokens(text)).map(|found| found.0).as_deref(),
                expected,
                "{text}"
            );
        }
    }
}
