//! From when and until when: `from 3 March 2027`, `until 31 December`, `from March on`.

use crate::hire::text::{Token, ordinal};
use chrono::NaiveDate;
use std::ops::Range;

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// `2027-03-03`, `03-03` or `03`.
    pub start: Option<String>,
    pub until: Option<String>,
    pub spans: Vec<Range<usize>>,
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Date {
    Full(NaiveDate),
    /// Of the next year that has it.
    Day(u32, u32),
    Month(u32),
}

/// All bounds of a clause that are not part of something else. They stand beside the times: "list the invoices from March" says which
/// invoices, not from when on.
pub fn read(tokens: &[Token], covered: &[bool]) -> Bounds {
    let mut bounds = Bounds::default();
    let mut at = 0;
    while at < tokens.len() {
        let behind_comma = at > 1 && tokens[at - 1].is(',') && covered[at - 2];
        let beside = at == 0
            || covered[at - 1]
            || behind_comma
            || bounds
                .spans
                .iter()
                .any(|span: &Range<usize>| span.end == at);
        // "from 1 February to 31 March"
        let goes_on = || {
            let follows = bounds.start.is_some() && bounds.spans.last()?.end == at;
            let to = tokens[at].is_any(&["to", "through", "thru"]);
            (follows && to).then_some((Opens::Until, at + 1))
        };
        let found = opener(tokens, at)
            .or_else(goes_on)
            .filter(|_| beside && !covered[at]);
        let Some((opens, (date, mut end))) =
            found.and_then(|(opens, next)| Some((opens, date(tokens, next)?)))
        else {
            at += 1;
            continue;
        };
        let word = |place: usize, words: &[&str]| {
            tokens.get(place).is_some_and(|token| token.is_any(words))
        };
        if opens == Opens::Start && word(end, &["on", "onward", "onwards"]) {
            // "from March on", but not "from March on Mondays".
            let alone = tokens
                .get(end + 1)
                .is_none_or(|next| next.is(',') || next.is('.') || next.is_word("at"));
            if alone || !word(end, &["on"]) {
                end += 1;
            }
        }
        let words: Vec<&str> = tokens[at..end]
            .iter()
            .map(|token| token.text.as_str())
            .collect();
        let place = match opens {
            Opens::Start => &mut bounds.start,
            Opens::Until => &mut bounds.until,
        };
        if place.is_some() {
            bounds.problem = Some("says more than one first or last day".into());
        }
        match (opens, date) {
            (_, Date::Full(day)) => *place = Some(day.to_string()),
            (_, Date::Day(month, day)) => *place = Some(format!("{month:02}-{day:02}")),
            (Opens::Start, Date::Month(month)) => *place = Some(format!("{month:02}")),
            (Opens::Until, Date::Month(_)) => {
                let words = words.join(" ");
                bounds.problem = Some(format!("“{words}” does not say on which day it ends"));
            }
        }
        bounds.spans.push(at..end);
        at = end;
    }
    bounds
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Opens {
    Start,
    Until,
}

fn opener(tokens: &[Token], at: usize) -> Option<(Opens, usize)> {
    let first = tokens.get(at)?;
    let next = |words: &[&str]| tokens.get(at + 1).is_some_and(|token| token.is_any(words));
    if first.is_word("from") {
        return Some((Opens::Start, at + 1));
    }
    if first.is_any(&["starting", "beginning", "commencing"]) {
        let skip = usize::from(next(&["on", "from", "in", "with"]));
        return Some((Opens::Start, at + 1 + skip));
    }
    if first.is_any(&["until", "till"]) {
        return Some((Opens::Until, at + 1));
    }
    if first.is_word("ending") && next(&["on"]) {
        return Some((Opens::Until, at + 2));
    }
    (first.is_word("up") && next(&["to"])).then_some((Opens::Until, at + 2))
}

fn month(token: &Token) -> Option<u32> {
    let lower = token.text.to_lowercase();
    let full = |name: &&str| **name == lower || lower.len() == 3 && name.starts_with(&lower);
    let place = MONTHS.iter().position(full)?;
    u32::try_from(place + 1).ok()
}

fn day(token: &Token) -> Option<u32> {
    let lower = token.text.to_lowercase();
    let number = ordinal(&lower).or_else(|| lower.parse().ok())?;
    (1..=31).contains(&number).then_some(number)
}

fn year(token: &Token) -> Option<i32> {
    let year = token.text.parse().ok()?;
    (2000..=2200).contains(&year).then_some(year)
}

/// `3 March 2027`, `the 3rd of March`, `March 3, 2027`, `2027-03-03`, `March`.
fn date(tokens: &[Token], at: usize) -> Option<(Date, usize)> {
    let first = tokens.get(at)?;
    if let Ok(day) = NaiveDate::parse_from_str(&first.text, "%Y-%m-%d") {
        return Some((Date::Full(day), at + 1));
    }
    let mut at = at + usize::from(first.is_word("the"));
    let first = tokens.get(at)?;
    let (month, day, end) = if let Some(day) = day(first) {
        at += 1;
        at += usize::from(tokens.get(at)?.is_word("of"));
        (month(tokens.get(at)?)?, day, at + 1)
    } else {
        let month = month(first)?;
        match tokens.get(at + 1).and_then(day) {
            Some(day) => (month, day, at + 2),
            None => {
                return match tokens.get(at + 1).and_then(year) {
                    Some(year) => {
                        Some((Date::Full(NaiveDate::from_ymd_opt(year, month, 1)?), at + 2))
                    }
                    None => Some((Date::Month(month), at + 1)),
                };
            }
        }
    };
    let comma = usize::from(tokens.get(end).is_some_and(|token| token.is(',')));
    match tokens.get(end + comma).and_then(year) {
        Some(year) => Some((
            Date::Full(NaiveDate::from_ymd_opt(year, month, day)?),
            end + comma + 1,
        )),
        // 2028 has all days.
        None => NaiveDate::from_ymd_opt(2028, month, day).map(|_| (Date::Day(month, day), end)),
    }
}
