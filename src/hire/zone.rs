//! Time zones that a text names: `Europe/Zurich`, `Zurich time`, `Eastern time`, `CET`. What may be several is asked about, never chosen.

use super::text::{Kind, Token};
use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::{collections::BTreeSet, ops::Range};

/// Letters and names that stand for one zone without doubt.
const NAMES: &[(&str, &str)] = &[
    ("UTC", "UTC"),
    ("GMT", "UTC"),
    ("Z", "UTC"),
    ("CET", "CET"),
    ("CEST", "CET"),
    ("MEZ", "CET"),
    ("EET", "EET"),
    ("EEST", "EET"),
    ("WET", "WET"),
    ("WEST", "WET"),
    ("MSK", "Europe/Moscow"),
    ("ET", "America/New_York"),
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CDT", "America/Chicago"),
    ("MT", "America/Denver"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("PT", "America/Los_Angeles"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
    ("AKST", "America/Anchorage"),
    ("AKDT", "America/Anchorage"),
    ("HST", "Pacific/Honolulu"),
    ("NST", "America/St_Johns"),
    ("NDT", "America/St_Johns"),
    ("BRT", "America/Sao_Paulo"),
    ("SAST", "Africa/Johannesburg"),
    ("JST", "Asia/Tokyo"),
    ("KST", "Asia/Seoul"),
    ("PKT", "Asia/Karachi"),
    ("HKT", "Asia/Hong_Kong"),
    ("SGT", "Asia/Singapore"),
    ("AEST", "Australia/Sydney"),
    ("AEDT", "Australia/Sydney"),
    ("ACST", "Australia/Adelaide"),
    ("ACDT", "Australia/Adelaide"),
    ("AWST", "Australia/Perth"),
    ("NZST", "Pacific/Auckland"),
    ("NZDT", "Pacific/Auckland"),
];

/// Letters that are in use for several zones.
const SEVERAL: &[(&str, &[&str])] = &[
    (
        "CST",
        &["America/Chicago", "Asia/Shanghai", "America/Havana"],
    ),
    ("CT", &["America/Chicago", "Europe/Paris"]),
    ("IST", &["Asia/Kolkata", "Asia/Jerusalem", "Europe/Dublin"]),
    (
        "BST",
        &["Europe/London", "Asia/Dhaka", "Pacific/Bougainville"],
    ),
    ("AST", &["America/Halifax", "Asia/Riyadh"]),
    ("ADT", &["America/Halifax", "Asia/Baghdad"]),
    ("GST", &["Asia/Dubai", "Atlantic/South_Georgia"]),
    ("SST", &["Pacific/Pago_Pago", "Asia/Singapore"]),
    ("ECT", &["America/Guayaquil", "Europe/Paris"]),
];

/// What stands before "time" and is no city. Before the longer ones come those that they end with.
const SPOKEN: &[(&[&str], &str)] = &[
    (&["central", "european"], "CET"),
    (&["eastern", "european"], "EET"),
    (&["western", "european"], "WET"),
    (&["australian", "eastern"], "Australia/Sydney"),
    (&["australian", "central"], "Australia/Adelaide"),
    (&["australian", "western"], "Australia/Perth"),
    (&["us", "eastern"], "America/New_York"),
    (&["us", "central"], "America/Chicago"),
    (&["us", "mountain"], "America/Denver"),
    (&["us", "pacific"], "America/Los_Angeles"),
    (&["eastern"], "America/New_York"),
    (&["central"], "America/Chicago"),
    (&["mountain"], "America/Denver"),
    (&["pacific"], "America/Los_Angeles"),
    (&["atlantic"], "America/Halifax"),
    (&["newfoundland"], "America/St_Johns"),
    (&["alaska"], "America/Anchorage"),
    (&["hawaii"], "Pacific/Honolulu"),
    (&["uk"], "Europe/London"),
    (&["british"], "Europe/London"),
    (&["german"], "Europe/Berlin"),
    (&["swiss"], "Europe/Zurich"),
    (&["indian"], "Asia/Kolkata"),
    (&["india"], "Asia/Kolkata"),
    (&["japan"], "Asia/Tokyo"),
];

/// Areas whose names end with a place. Others (`US/Eastern`, `Canada/Pacific`) are older names of these.
const AREAS: &[&str] = &[
    "Africa",
    "America",
    "Antarctica",
    "Arctic",
    "Asia",
    "Atlantic",
    "Australia",
    "Europe",
    "Indian",
    "Pacific",
];
/// Last parts of names in `AREAS` that are no places that one would name.
const NO_PLACES: &[&str] = &["east", "west", "north", "south"];

/// The zone that a clause names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    Named(String),
    /// It may be any of these.
    Several {
        said: String,
        candidates: Vec<&'static str>,
    },
}

/// Finds the zone that a clause names, with its tokens.
pub fn read(tokens: &[Token]) -> Option<(Zone, Range<usize>)> {
    (0..tokens.len()).find_map(|at| {
        let token = &tokens[at];
        match token.kind {
            Kind::Path => token.text.parse::<Tz>().ok().map(|zone| {
                let zone = Zone::Named(zone.name().to_owned());
                (zone, at..behind_time(tokens, at + 1))
            }),
            Kind::Word => before_time(tokens, at).or_else(|| letters(tokens, at)),
            _ => None,
        }
    })
}

/// Whether a text is an IANA name.
pub fn is_zone(name: &str) -> bool {
    name.parse::<Tz>().is_ok()
}

fn letters(tokens: &[Token], at: usize) -> Option<(Zone, Range<usize>)> {
    let text = tokens[at].text.as_str();
    let span = at..behind_time(tokens, at + 1);
    // One letter, or "ET" in a name, is no zone unless a time stands before it.
    if text.len() <= 2 {
        let before = tokens.get(at.checked_sub(1)?)?;
        let timed = matches!(before.kind, Kind::Clock | Kind::Number | Kind::Dotted)
            || before.is_any(&["am", "pm", "noon", "midnight", "o'clock", "in"])
            || before.is('(')
            || before.is('.')
            || super::entity::number_word(before).is_some();
        if !timed {
            return None;
        }
    }
    if let Some((_, zone)) = NAMES.iter().find(|(letters, _)| *letters == text) {
        return Some((Zone::Named((*zone).to_owned()), span));
    }
    let (_, candidates) = SEVERAL.iter().find(|(letters, _)| *letters == text)?;
    let zone = Zone::Several {
        said: text.to_owned(),
        candidates: candidates.to_vec(),
    };
    Some((zone, span))
}

/// `Eastern time`, `Pacific Standard Time`, `Zurich time`, `New York time`.
fn before_time(tokens: &[Token], at: usize) -> Option<(Zone, Range<usize>)> {
    (1..=4).rev().find_map(|length| {
        let words = tokens.get(at..at + length)?;
        tokens
            .get(at + length)
            .filter(|next| next.is_word("time"))?;
        let span = at..at + length + 1;
        let lower: Vec<String> = words.iter().map(|word| word.text.to_lowercase()).collect();
        let bare = match lower.split_last() {
            Some((last, rest)) if ["standard", "daylight", "summer"].contains(&last.as_str()) => {
                rest
            }
            _ => &lower[..],
        };
        if let Some((_, zone)) = SPOKEN.iter().find(|(said, _)| *said == bare) {
            return Some((Zone::Named((*zone).to_owned()), span));
        }
        let said: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        city(&said.join(" ")).map(|zone| (zone, span))
    })
}

/// A place of the zone database.
fn city(said: &str) -> Option<Zone> {
    let plain = |letter: char| match letter {
        'ü' => 'u',
        'ã' | 'á' => 'a',
        'ó' => 'o',
        'é' => 'e',
        'í' => 'i',
        ' ' => '_',
        other => other,
    };
    let name: String = said.to_lowercase().chars().map(plain).collect();
    if NO_PLACES.contains(&name.as_str()) {
        return None;
    }
    let fits = |zone: &&Tz| {
        let mut parts = zone.name().split('/');
        let area = parts.next().unwrap_or_default();
        let last = parts.next_back();
        AREAS.contains(&area) && last.is_some_and(|last| last.eq_ignore_ascii_case(&name))
    };
    let found: Vec<Tz> = TZ_VARIANTS.iter().filter(fits).copied().collect();
    let first = found.first()?;
    // Two names of one place are no question.
    let clocks: BTreeSet<Vec<i32>> = found.iter().map(|zone| offsets(*zone)).collect();
    if clocks.len() > 1 {
        return Some(Zone::Several {
            said: format!("{said} time"),
            candidates: found.iter().map(|zone| zone.name()).collect(),
        });
    }
    let shortest = found
        .iter()
        .min_by_key(|zone| zone.name().matches('/').count());
    Some(Zone::Named(shortest.unwrap_or(first).name().to_owned()))
}

/// What the clocks of a zone show over some years, to tell zones apart.
fn offsets(zone: Tz) -> Vec<i32> {
    (0..240)
        .filter_map(|month| DateTime::from_timestamp(1_577_880_000 + month * 2_629_800, 0))
        .map(|at| {
            let offset = zone.offset_from_utc_datetime(&at.naive_utc());
            offset.fix().local_minus_utc()
        })
        .collect()
}

fn behind_time(tokens: &[Token], end: usize) -> usize {
    end + usize::from(tokens.get(end).is_some_and(|next| next.is_word("time")))
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
            ("at 9 Eastern time", Some("America/New_York")),
            ("at 9 Eastern Standard Time", Some("America/New_York")),
            ("at 9am ET", Some("America/New_York")),
            ("at 9 US Central time", Some("America/Chicago")),
            ("at 9 Pacific time", Some("America/Los_Angeles")),
            ("at 9 Mountain Daylight Time", Some("America/Denver")),
            ("at 9 Central European Time", Some("CET")),
            ("at nine PT", Some("America/Los_Angeles")),
            ("at 9 AEST", Some("Australia/Sydney")),
            ("at 9 São Paulo time", Some("America/Sao_Paulo")),
            ("at 9 Istanbul time", Some("Europe/Istanbul")),
            ("at 9 Buenos Aires time", Some("America/Buenos_Aires")),
            ("at 9 our time", None),
            ("at 9 West time", None),
            ("in Zurich", None),
            ("tell ET about it", None),
        ];
        for (text, expected) in cases {
            let found = read(&tokens(text)).map(|found| found.0);
            let expected = expected.map(|zone| Zone::Named(zone.to_owned()));
            let same = found == expected
                || matches!((&found, &expected), (Some(Zone::Named(a)), Some(Zone::Named(b)))
                    if offsets(a.parse().expect("a zone")) == offsets(b.parse().expect("a zone")));
            assert!(same, "{text}: {found:?}");
        }
    }

    #[test]
    fn letters_of_several_zones_name_the_candidates() {
        for (text, candidate) in [
            ("at 9 CST", "Asia/Shanghai"),
            ("at 9 IST", "Asia/Kolkata"),
            ("9:30 BST", "Europe/London"),
            ("at 9 AST", "America/Halifax"),
            ("at 9am CT", "America/Chicago"),
            ("at 9 GST", "Asia/Dubai"),
        ] {
            let found = read(&tokens(text)).map(|found| found.0);
            assert!(
                matches!(&found, Some(Zone::Several { candidates, .. }) if candidates.contains(&candidate)),
                "{text}: {found:?}"
            );
        }
    }
}
