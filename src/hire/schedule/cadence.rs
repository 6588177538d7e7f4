//! How often: `every weekday`, `on Mondays`, `every 15 minutes`, `on the first of the month`.

use super::super::{
    entity::number_at,
    text::{Kind, Token, folded, ordinal},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cadence {
    /// A whole cron line: an interval of minutes or hours.
    Every(String),
    /// Days of the week, as cron has them.
    Days {
        of_week: String,
        /// "every evening": the hours are after noon.
        evening: bool,
    },
    /// Days of the month, as cron has them.
    OfMonth(String),
    /// A recurrence that cron cannot say, or that lacks its day.
    Unknown(String),
}

const DAYS: &[&str] = &[
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
const ORDINALS: &[&str] = &[
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
];

/// The recurrence that begins at a place, and where it ends.
pub fn at(tokens: &[Token], place: usize) -> Option<(Cadence, usize)> {
    let first = tokens.get(place)?;
    let opened = first.is_any(&["every", "each", "all", "once"]);
    let on = first.is_word("on") || first.is_word("from");
    let start = place + usize::from(opened || on);
    interval(tokens, place, opened)
        .or_else(|| unknown(tokens, place, opened))
        .or_else(|| of_month(tokens, place))
        .or_else(|| days_of_week(tokens, start, opened))
        .or_else(|| whole_days(tokens, place, start, opened))
}

fn days(of_week: &str) -> Cadence {
    Cadence::Days {
        of_week: of_week.to_owned(),
        evening: false,
    }
}

fn word_at(tokens: &[Token], at: usize, words: &[&str]) -> bool {
    tokens.get(at).is_some_and(|token| token.is_any(words))
}

/// `hourly`, `every hour`, `every 15 minutes`.
fn interval(tokens: &[Token], place: usize, opened: bool) -> Option<(Cadence, usize)> {
    if word_at(tokens, place, &["hourly"]) {
        return Some((Cadence::Every("0 * * * *".into()), place + 1));
    }
    if !opened {
        return None;
    }
    if word_at(tokens, place + 1, &["minute"]) {
        return Some((Cadence::Every("* * * * *".into()), place + 2));
    }
    if word_at(tokens, place + 1, &["hour"])
        || (word_at(tokens, place + 1, &["an"]) && word_at(tokens, place + 2, &["hour"]))
    {
        return Some((
            Cadence::Every("0 * * * *".into()),
            place + 2 + usize::from(word_at(tokens, place + 1, &["an"])),
        ));
    }
    if word_at(tokens, place + 1, &["half"]) && word_at(tokens, place + 2, &["hour", "an"]) {
        let end = place + 3 + usize::from(word_at(tokens, place + 2, &["an"]));
        return Some((Cadence::Every("*/30 * * * *".into()), end.min(tokens.len())));
    }
    let (number, end) = number_at(tokens, place + 1)?;
    let number: u32 = number.parse().ok()?;
    let words = || {
        folded(
            &tokens[place..(end + 1).min(tokens.len())]
                .iter()
                .map(|token| token.text.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    let even = |whole: u32| number > 0 && number < whole && whole.is_multiple_of(number);
    let cadence = if word_at(tokens, end, &["minute", "minutes"]) {
        if even(60) {
            Cadence::Every(format!("*/{number} * * * *"))
        } else {
            Cadence::Unknown(words())
        }
    } else if word_at(tokens, end, &["hour", "hours"]) {
        if even(24) {
            Cadence::Every(format!("0 */{number} * * *"))
        } else {
            Cadence::Unknown(words())
        }
    } else if word_at(
        tokens,
        end,
        &[
            "second", "seconds", "day", "days", "week", "weeks", "month", "months", "years",
        ],
    ) {
        Cadence::Unknown(words())
    } else {
        return None;
    };
    Some((cadence, end + 1))
}

/// Recurrences that cron cannot say or that do not say enough. They must not be taken for the simpler ones that they contain.
fn unknown(tokens: &[Token], place: usize, opened: bool) -> Option<(Cadence, usize)> {
    let token = &tokens[place];
    let text = |end: usize| {
        Cadence::Unknown(
            tokens[place..end]
                .iter()
                .map(|token| token.text.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    let alone = [
        "biweekly",
        "bi-weekly",
        "fortnightly",
        "quarterly",
        "yearly",
        "annually",
        "bimonthly",
        "bi-monthly",
        "semiweekly",
    ];
    if token.is_any(&alone)
        || (token.is_word("weekly") && !names_day(tokens))
        || (token.is_word("monthly") && !names_month_day(tokens))
    {
        return Some((text(place + 1), place + 1));
    }
    if token.is_any(&["once", "twice", "thrice"])
        && word_at(tokens, place + 1, &["a", "per", "each", "every"])
        && place + 2 < tokens.len()
    {
        return Some((text(place + 3), place + 3));
    }
    if opened
        && word_at(
            tokens,
            place + 1,
            &["other", "second", "third", "fourth", "last", "alternate"],
        )
        && !of_the_month(tokens, place + 2)
    {
        let end = (place + 3).min(tokens.len());
        return Some((text(end), end));
    }
    if token.is_any(&["first", "second", "third", "fourth", "last"])
        && tokens
            .get(place + 1)
            .is_some_and(|next| day(next).is_some())
    {
        let end = (2..=5)
            .find(|length| word_at(tokens, place + length, &["month"]))
            .map_or(place + 2, |length| place + length + 1);
        return Some((text(end), end));
    }
    if opened && word_at(tokens, place + 1, &["quarter", "year", "fortnight"]) {
        return Some((text(place + 2), place + 2));
    }
    let bare = word_at(tokens, place + 1, &["week"]) && !names_day(tokens)
        || word_at(tokens, place + 1, &["month"]) && !names_month_day(tokens);
    (opened && bare).then(|| (text(place + 2), place + 2))
}

fn names_day(tokens: &[Token]) -> bool {
    tokens.iter().any(|token| day(token).is_some())
}

fn names_month_day(tokens: &[Token]) -> bool {
    tokens
        .iter()
        .any(|token| token.kind == Kind::Ordinal || token.is_any(ORDINALS))
}

/// `of the month`, `of every month`, `of each month`, `day of the month`.
fn of_the_month(tokens: &[Token], at: usize) -> bool {
    month_end(tokens, at).is_some()
}

fn month_end(tokens: &[Token], at: usize) -> Option<usize> {
    let at = at + usize::from(word_at(tokens, at, &["day"]));
    let whole = word_at(tokens, at, &["of"])
        && word_at(tokens, at + 1, &["the", "every", "each", "a"])
        && word_at(tokens, at + 2, &["month"]);
    let short = word_at(tokens, at, &["each", "every"]) && word_at(tokens, at + 1, &["month"]);
    if whole {
        Some(at + 3)
    } else {
        short.then_some(at + 2)
    }
}

/// `on the first of the month`, `every 15th of the month`, `on the 1st and 15th of every month`, `monthly on the 1st`.
fn of_month(tokens: &[Token], place: usize) -> Option<(Cadence, usize)> {
    let monthly = usize::from(word_at(tokens, place, &["monthly"]));
    let every_month =
        if word_at(tokens, place, &["every", "each"]) && word_at(tokens, place + 1, &["month"]) {
            2
        } else {
            0
        };
    let mut at = place + monthly + every_month;
    at += usize::from(word_at(tokens, at, &["on"]));
    at += usize::from(word_at(tokens, at, &["every", "each", "the"]));
    let mut found = vec![month_day(tokens.get(at)?)?];
    at += 1;
    while word_at(tokens, at, &["and"]) || tokens.get(at).is_some_and(|token| token.is(',')) {
        let skip = at + 1 + usize::from(word_at(tokens, at + 1, &["the"]));
        let Some(next) = tokens.get(skip).and_then(month_day) else {
            break;
        };
        found.push(next);
        at = skip + 1;
    }
    let end = match month_end(tokens, at) {
        Some(end) => end,
        None if monthly + every_month > 0 => at,
        None => return None,
    };
    found.sort_unstable();
    let list = found
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",");
    Some((
        if found.iter().all(|day| *day <= 28) {
            Cadence::OfMonth(list)
        } else {
            Cadence::Unknown(format!("day {list} of the month"))
        },
        end,
    ))
}

fn month_day(token: &Token) -> Option<u32> {
    let lower = token.text.to_lowercase();
    let word = ORDINALS
        .iter()
        .position(|known| *known == lower)
        .and_then(|place| u32::try_from(place + 1).ok());
    word.or_else(|| ordinal(&lower).filter(|day| (1..=31).contains(day)))
}

/// `every Monday and Thursday`, `Mondays`, `Monday to Friday`. A single "on Monday" is once, and no recurrence.
fn days_of_week(tokens: &[Token], start: usize, opened: bool) -> Option<(Cadence, usize)> {
    if let Some(range) = tokens
        .get(start)
        .and_then(|token| token.text.split_once('-'))
    {
        let (from, to) = (day_name(range.0)?, day_name(range.1)?);
        return Some((days(&span(from, to)?), start + 1));
    }
    let (first, plural) = day(tokens.get(start)?)?;
    if word_at(
        tokens,
        start + 1,
        &["to", "through", "thru", "till", "until"],
    ) || tokens.get(start + 1).is_some_and(|token| token.is('–'))
    {
        let (last, _) = day(tokens.get(start + 2)?)?;
        return Some((days(&span(first, last)?), start + 3));
    }
    if !opened && !plural {
        return None;
    }
    let (mut found, mut at) = (vec![first], start + 1);
    while word_at(tokens, at, &["and"]) || tokens.get(at).is_some_and(|token| token.is(',')) {
        let mut skip = at + 1;
        skip += usize::from(word_at(tokens, skip, &["and"]));
        skip += usize::from(word_at(tokens, skip, &["every", "each", "on"]));
        let Some((next, _)) = tokens.get(skip).and_then(day) else {
            break;
        };
        found.push(next);
        at = skip + 1;
    }
    found.sort_unstable();
    found.dedup();
    Some((
        days(
            &found
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(","),
        ),
        at,
    ))
}

/// `monday`, `mondays`, `Mon`: number of the day from Sunday, and whether it is a plural.
fn day(token: &Token) -> Option<(usize, bool)> {
    (token.kind == Kind::Word).then_some(())?;
    let lower = token.text.to_lowercase();
    let singular = lower.strip_suffix('s').filter(|rest| rest.ends_with("day"));
    day_name(singular.unwrap_or(&lower)).map(|day| (day, singular.is_some()))
}

fn day_name(name: &str) -> Option<usize> {
    let lower = name.to_lowercase();
    let short = |day: &&str| {
        lower == day[..3] && lower != "sun" && lower != "sat"
            || lower == "tues" && **day == *"tuesday"
            || lower == "thurs" && **day == *"thursday"
    };
    DAYS.iter()
        .position(|day| *day == lower)
        .or_else(|| DAYS.iter().position(short))
}

fn span(from: usize, to: usize) -> Option<String> {
    // Cron's week begins on Sunday; "Friday to Monday" would have to be split.
    let to = if to == 0 && from > 0 { 7 } else { to };
    (from < to).then(|| {
        if (from, to) == (1, 7) {
            "*".to_owned()
        } else {
            format!("{from}-{to}")
        }
    })
}

/// `every weekday`, `daily`, `each working day`, `every evening`.
fn whole_days(
    tokens: &[Token],
    place: usize,
    start: usize,
    opened: bool,
) -> Option<(Cadence, usize)> {
    let on = start > place;
    let token = tokens.get(start)?;
    if token.is_word("weekdays") || ((opened || on) && token.is_word("weekday")) {
        return Some((days("1-5"), start + 1));
    }
    let working = token.is_any(&["working", "business", "work", "week"]);
    if working
        && (opened && word_at(tokens, start + 1, &["day"])
            || on && word_at(tokens, start + 1, &["days"]))
    {
        return Some((days("1-5"), start + 2));
    }
    if opened && token.is_any(&["workday"]) || token.is_any(&["workdays"]) {
        return Some((days("1-5"), start + 1));
    }
    if opened && token.is_word("weekend") || on && token.is_any(&["weekends"]) {
        return Some((days("0,6"), start + 1));
    }
    if token.is_word("daily") && !on || opened && token.is_any(&["day", "morning"]) {
        return Some((days("*"), start + 1));
    }
    let evening = opened && token.is_any(&["evening", "night", "afternoon"]);
    evening.then(|| {
        (
            Cadence::Days {
                of_week: "*".into(),
                evening: true,
            },
            start + 1,
        )
    })
}
