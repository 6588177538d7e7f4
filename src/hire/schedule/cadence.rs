//! How often: `every weekday`, `on Mondays`, `every 15 minutes`, `on the first of the month`.

use super::super::{
    entity::number_at,
    text::{Kind, Token, folded, ordinal},
};
use crate::domain::recurrence::Period;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cadence {
    /// An interval.
    Minutes(u32),
    /// Days of the week, as cron has them.
    Days {
        of_week: String,
        /// "every evening": the hours are after noon.
        evening: bool,
    },
    /// Days of the month, as cron has them.
    OfMonth(String),
    /// Days as iCalendar has them.
    Rule(String),
    /// A working day of each period.
    Working(i32, Period),
    /// Every so many weeks; the day is said beside it, or the first one counts.
    Weeks(u32),
    /// "twice a day", "three times a week": says how many times or days the clause has to give.
    Often { times: usize, per_day: bool },
    /// A recurrence that cannot be kept, or that lacks its day; and why.
    Unknown(String, &'static str),
}

const CANNOT: &str = "cannot be kept as a calendar entry";
const WHICH_DAY: &str = "cannot be kept as a calendar entry: it does not say on which day";
const TWO_MEANINGS: &str = "cannot be kept as a calendar entry: it means every so many weeks or one day of the month; say which";

impl Cadence {
    pub fn every_day() -> Self {
        days("*")
    }

    /// Why it cannot be kept, if it cannot.
    pub fn unknown(&self) -> Option<String> {
        match self {
            Cadence::Unknown(words, why) => Some(format!("the recurrence “{words}” {why}")),
            _ => None,
        }
    }
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

/// The recurrence that begins at a place, and where it ends. `follows`: after one that leaves the day open ("every other week on Monday").
pub fn at(tokens: &[Token], place: usize, follows: bool) -> Option<(Cadence, usize)> {
    let first = tokens.get(place)?;
    let opened = first.is_any(&["every", "each", "all", "once"]);
    let on = first.is_word("on") || first.is_word("from");
    let start = place + usize::from(opened || on);
    interval(tokens, place, opened)
        .or_else(|| of_period(tokens, place))
        .or_else(|| often(tokens, place))
        .or_else(|| alternating(tokens, place, opened))
        .or_else(|| unknown(tokens, place, opened))
        .or_else(|| of_month(tokens, place))
        .or_else(|| days_of_week(tokens, start, opened || on && follows))
        .or_else(|| whole_days(tokens, place, start, opened))
        .map(|(cadence, end)| without_days(tokens, cadence, end))
}

/// `every weekday except Friday`, `every day but Saturdays and Sundays`.
fn without_days(tokens: &[Token], cadence: Cadence, end: usize) -> (Cadence, usize) {
    let Cadence::Days { of_week, evening } = &cadence else {
        return (cadence, end);
    };
    let mut at = end + usize::from(tokens.get(end).is_some_and(|token| token.is(',')));
    let pair = |first, second| word_at(tokens, at, &[first]) && word_at(tokens, at + 1, &[second]);
    if word_at(
        tokens,
        at,
        &["except", "excepting", "excluding", "but", "save"],
    ) {
        at += 1 + usize::from(word_at(tokens, at + 1, &["for", "on"]));
    } else if pair("other", "than") || pair("apart", "from") {
        at += 2;
    } else {
        return (cadence, end);
    }
    let Some((Cadence::Days { of_week: not, .. }, after)) = days_of_week(tokens, at, true) else {
        return (cadence, end);
    };
    let not = numbers_of(&not);
    let left: Vec<String> = numbers_of(of_week)
        .into_iter()
        .filter(|day| !not.contains(day))
        .map(|day| day.to_string())
        .collect();
    if left.is_empty() {
        return (Cadence::Unknown(words(tokens, end, after), CANNOT), after);
    }
    let of_week = left.join(",");
    let evening = *evening;
    (Cadence::Days { of_week, evening }, after)
}

/// The days of the week that a field of cron's names, from Sunday.
fn numbers_of(of_week: &str) -> Vec<usize> {
    let mut days: Vec<usize> = of_week
        .split(',')
        .flat_map(|part| match part.split_once('-') {
            _ if part == "*" => 0..=6,
            Some((from, to)) => from.parse().unwrap_or(0)..=to.parse().unwrap_or(0),
            None => {
                let day = part.parse().unwrap_or(0);
                day..=day
            }
        })
        .map(|day| day % 7)
        .collect();
    days.sort_unstable();
    days.dedup();
    days
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

fn words(tokens: &[Token], place: usize, end: usize) -> String {
    let tokens = &tokens[place..end.min(tokens.len())];
    let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    folded(&words.join(" "))
}

/// `hourly`, `every hour`, `every 15 minutes`, `every two weeks`, `every 3 days`.
fn interval(tokens: &[Token], place: usize, opened: bool) -> Option<(Cadence, usize)> {
    if word_at(tokens, place, &["hourly"]) {
        return Some((Cadence::Minutes(60), place + 1));
    }
    if !opened {
        return None;
    }
    if word_at(tokens, place + 1, &["minute"]) {
        return Some((Cadence::Minutes(1), place + 2));
    }
    let an = usize::from(word_at(tokens, place + 1, &["an"]));
    if word_at(tokens, place + 1 + an, &["hour"]) {
        return Some((Cadence::Minutes(60), place + 2 + an));
    }
    if word_at(tokens, place + 1, &["half"]) && word_at(tokens, place + 2, &["hour", "an"]) {
        let end = place + 3 + usize::from(word_at(tokens, place + 2, &["an"]));
        return Some((Cadence::Minutes(30), end.min(tokens.len())));
    }
    let (number, end) = number_at(tokens, place + 1)?;
    let number: u32 = number.parse().ok()?;
    let unit = |units: &[&str]| word_at(tokens, end, units);
    let cannot = |why| Cadence::Unknown(words(tokens, place, end + 1), why);
    let cadence = if unit(&["minute", "minutes"]) {
        Cadence::Minutes(number)
    } else if unit(&["hour", "hours"]) {
        Cadence::Minutes(number.checked_mul(60)?)
    } else if unit(&["day", "days"]) {
        Cadence::Rule(format!("FREQ=DAILY;INTERVAL={number}"))
    } else if unit(&["week", "weeks"]) {
        Cadence::Weeks(number)
    } else if unit(&["month", "months", "years", "quarters"]) {
        cannot(WHICH_DAY)
    } else if unit(&["second", "seconds"]) {
        cannot(CANNOT)
    } else {
        return None;
    };
    let fits = match cadence {
        Cadence::Minutes(minutes) => (1..=MINUTES_MAX).contains(&minutes),
        Cadence::Rule(_) | Cadence::Weeks(_) => (1..=100).contains(&number),
        _ => true,
    };
    Some((if fits { cadence } else { cannot(CANNOT) }, end + 1))
}

/// A week.
const MINUTES_MAX: u32 = 7 * 24 * 60;

/// `on the first working day of each month`, `the last Friday of the month`, `at the end of each quarter`, `every quarter`.
fn of_period(tokens: &[Token], place: usize) -> Option<(Cadence, usize)> {
    let every = word_at(tokens, place, &["every", "each"]);
    // "monthly on the last working day", "every quarter on the first Monday"
    let (said, at) = if word_at(tokens, place, &["monthly"]) {
        (Some(Period::Month), place + 1)
    } else if word_at(tokens, place, &["quarterly"]) {
        (Some(Period::Quarter), place + 1)
    } else if every && word_at(tokens, place + 1, &["month"]) {
        (Some(Period::Month), place + 2)
    } else if every && word_at(tokens, place + 1, &["quarter"]) {
        (Some(Period::Quarter), place + 2)
    } else {
        (None, place)
    };
    let whole = match said {
        Some(Period::Quarter) => Some((day_of(Period::Quarter, 1)?, at)),
        _ => None,
    };
    let mut at = at;
    at += usize::from(word_at(tokens, at, &["on", "at"]));
    at += usize::from(word_at(tokens, at, &["the", "every", "each"]));
    if word_at(tokens, at, &["end", "start", "beginning"]) {
        let nth = if word_at(tokens, at, &["end"]) { -1 } else { 1 };
        let (period, end) = period(tokens, at + 1)?;
        return Some((day_of(period, nth)?, end));
    }
    if let Some((nths, kind, end)) = nth_days(tokens, at) {
        let (period, end) = period(tokens, end).or_else(|| Some((said?, end)))?;
        let said = words(tokens, place, end);
        return Some((nths_of(&nths, kind, period, said), end));
    }
    let Some((nth, kind, end)) = nth_day(tokens, at) else {
        return whole;
    };
    match (said, period(tokens, end)) {
        (None, None) => None,
        (None, Some((period, end))) => Some((nth_of(nth, kind, period)?, end)),
        (Some(said), None) => Some((nth_of(nth, kind, said)?, end)),
        (Some(said), Some((period, end))) if said == period => {
            Some((nth_of(nth, kind, period)?, end))
        }
        (Some(_), Some((_, end))) => {
            let words = words(tokens, place, end);
            Some((Cadence::Unknown(words, CANNOT), end))
        }
    }
}

enum Kinds {
    Working,
    Any,
    Weekday(usize),
}

/// `first working day`, `last Friday`, `third day`, `last day`: the number, of what, and where it ends.
fn nth_day(tokens: &[Token], at: usize) -> Option<(i32, Kinds, usize)> {
    let at = at + usize::from(word_at(tokens, at, &["the", "every", "each"]));
    let (nth, next) = nth(tokens, at)?;
    let (kind, end) = counted_day(tokens, next)?;
    Some((nth, kind, end))
}

/// `1st and 3rd Monday`, `first and the last working day`: at least two numbers of one kind of day, other than calendar days.
fn nth_days(tokens: &[Token], at: usize) -> Option<(Vec<i32>, Kinds, usize)> {
    let at = at + usize::from(word_at(tokens, at, &["the", "every", "each"]));
    let (first, mut next) = nth(tokens, at)?;
    let mut nths = vec![first];
    loop {
        let comma = usize::from(tokens.get(next).is_some_and(|token| token.is(',')));
        let and = usize::from(word_at(tokens, next + comma, &["and"]));
        if comma + and == 0 {
            break;
        }
        let from = next + comma + and;
        let the = usize::from(word_at(tokens, from, &["the"]));
        let Some((more, end)) = nth(tokens, from + the) else {
            break;
        };
        nths.push(more);
        next = end;
    }
    let (kind, end) = counted_day(tokens, next)?;
    let counts = nths.len() > 1 && !matches!(kind, Kinds::Any);
    counts.then_some((nths, kind, end))
}

/// `first`, `3rd`, `last`, and from the end: `second last`, `next-to-last`, `penultimate`, `last but one`.
fn nth(tokens: &[Token], at: usize) -> Option<(i32, usize)> {
    let first = tokens.get(at)?;
    let number = |word: &str| match word {
        "next" => Some(2),
        word => i32::try_from(ordinal_word(word)?).ok(),
    };
    let lower = first.text.to_lowercase();
    if let [nth, "last"] | [nth, "to", "last"] = lower.split('-').collect::<Vec<_>>()[..] {
        return Some((-number(nth)?, at + 1));
    }
    if first.is_word("penultimate") {
        return Some((-2, at + 1));
    }
    if first.is_word("last") {
        let but = word_at(tokens, at + 1, &["but"]).then(|| number_at(tokens, at + 2));
        return match but.flatten() {
            Some((before, end)) => {
                let before: i32 = before.parse().ok().filter(|before| *before <= 30)?;
                Some((-1 - before, end))
            }
            None => Some((-1, at + 1)),
        };
    }
    let nth = number(&lower)?;
    let to = usize::from(word_at(tokens, at + 1, &["to"]));
    match word_at(tokens, at + 1 + to, &["last"]) {
        true => Some((-nth, at + 2 + to)),
        false => month_day(first).map(|_| (nth, at + 1)),
    }
}

fn counted_day(tokens: &[Token], next: usize) -> Option<(Kinds, usize)> {
    if word_at(tokens, next, &["working", "business", "work", "week"])
        && word_at(tokens, next + 1, &["day"])
    {
        return Some((Kinds::Working, next + 2));
    }
    if word_at(tokens, next, &["workday", "weekday"]) {
        return Some((Kinds::Working, next + 1));
    }
    if word_at(tokens, next, &["day"]) {
        return Some((Kinds::Any, next + 1));
    }
    let (day, false) = day(tokens.get(next)?)? else {
        return None;
    };
    Some((Kinds::Weekday(day), next + 1))
}

/// `of the month`, `of each quarter`, `each month`, `of a year`.
fn period(tokens: &[Token], at: usize) -> Option<(Period, usize)> {
    let of = usize::from(word_at(tokens, at, &["of", "in"]));
    let article = ["the", "every", "each", "a"];
    let said = usize::from(word_at(tokens, at + of, &article));
    if of + said == 0 {
        return None;
    }
    let place = at + of + said;
    let period = if word_at(tokens, place, &["month"]) {
        Period::Month
    } else if word_at(tokens, place, &["quarter"]) {
        Period::Quarter
    } else if word_at(tokens, place, &["year"]) {
        Period::Year
    } else {
        return None;
    };
    Some((period, place + 1))
}

const CODES: [&str; 7] = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];

fn nths_of(nths: &[i32], kind: Kinds, period: Period, said: String) -> Cadence {
    let are_in_each = nths.iter().all(|nth| nth.abs() <= 4);
    match kind {
        Kinds::Weekday(day) if period == Period::Month && are_in_each => {
            let days = nths.iter().map(|nth| format!("{nth}{}", CODES[day]));
            let days = days.collect::<Vec<_>>().join(",");
            Cadence::Rule(format!("FREQ=MONTHLY;BYDAY={days}"))
        }
        _ => Cadence::Unknown(said, CANNOT),
    }
}

fn nth_of(nth: i32, kind: Kinds, period: Period) -> Option<Cadence> {
    match (kind, period) {
        (Kinds::Working, _) => Some(Cadence::Working(nth, period)),
        (Kinds::Any, _) => day_of(period, nth),
        (Kinds::Weekday(day), Period::Month) if nth.abs() <= 4 => Some(Cadence::Rule(format!(
            "FREQ=MONTHLY;BYDAY={nth}{}",
            CODES[day]
        ))),
        (Kinds::Weekday(day), Period::Year) if nth.abs() <= 50 => Some(Cadence::Rule(format!(
            "FREQ=YEARLY;BYDAY={nth}{}",
            CODES[day]
        ))),
        (Kinds::Weekday(day), Period::Quarter) if nth.abs() <= 4 => {
            let months = if nth > 0 { "1,4,7,10" } else { "3,6,9,12" };
            Some(Cadence::Rule(format!(
                "FREQ=YEARLY;BYMONTH={months};BYDAY={nth}{}",
                CODES[day]
            )))
        }
        (Kinds::Weekday(day), _) => Some(Cadence::Unknown(
            format!("{nth}. {} of the period", DAYS[day]),
            CANNOT,
        )),
    }
}

/// A calendar day of each period, counted from its beginning or its end.
fn day_of(period: Period, nth: i32) -> Option<Cadence> {
    let rule = match period {
        Period::Month if (1..=28).contains(&nth) => return Some(Cadence::OfMonth(nth.to_string())),
        Period::Month if (-28..0).contains(&nth) => format!("FREQ=MONTHLY;BYMONTHDAY={nth}"),
        Period::Quarter if (-28..0).contains(&nth) => {
            format!("FREQ=YEARLY;BYMONTH=3,6,9,12;BYMONTHDAY={nth}")
        }
        Period::Quarter if (1..=28).contains(&nth) => {
            format!("FREQ=YEARLY;BYMONTH=1,4,7,10;BYMONTHDAY={nth}")
        }
        Period::Year if (-365..0).contains(&nth) => format!("FREQ=YEARLY;BYYEARDAY={nth}"),
        Period::Year if (1..=365).contains(&nth) => format!("FREQ=YEARLY;BYYEARDAY={nth}"),
        _ => return None,
    };
    Some(Cadence::Rule(rule))
}

/// `once a day`, `twice a day`, `three times a week`.
fn often(tokens: &[Token], place: usize) -> Option<(Cadence, usize)> {
    let (times, at) = if word_at(tokens, place, &["once"]) {
        (1, place + 1)
    } else if word_at(tokens, place, &["twice"]) {
        (2, place + 1)
    } else if word_at(tokens, place, &["thrice"]) {
        (3, place + 1)
    } else {
        let (number, end) = number_at(tokens, place)?;
        if !word_at(tokens, end, &["times"]) {
            return None;
        }
        (number.parse().ok()?, end + 1)
    };
    if !word_at(tokens, at, &["a", "per", "each", "every"]) {
        return None;
    }
    let per_day = word_at(tokens, at + 1, &["day"]);
    if per_day || word_at(tokens, at + 1, &["week"]) {
        return Some((Cadence::Often { times, per_day }, at + 2));
    }
    let end = at + 2;
    word_at(tokens, at + 1, &["month", "quarter", "year", "hour"])
        .then(|| (Cadence::Unknown(words(tokens, place, end), CANNOT), end))
}

/// `every other Friday`, `every second Tuesday`, `every other week`, `fortnightly`.
fn alternating(tokens: &[Token], place: usize, opened: bool) -> Option<(Cadence, usize)> {
    if word_at(tokens, place, &["fortnightly"]) {
        return Some((Cadence::Weeks(2), place + 1));
    }
    if opened && word_at(tokens, place + 1, &["fortnight"]) {
        return Some((Cadence::Weeks(2), place + 2));
    }
    let second = tokens.get(place + 1).is_some_and(|token| {
        token.is_any(&["other", "second", "alternate"]) || token.text.eq_ignore_ascii_case("2nd")
    });
    if !opened || !second {
        return None;
    }
    if of_the_month(tokens, place + 2) || of_the_month(tokens, place + 3) {
        return None;
    }
    if word_at(tokens, place + 2, &["week"]) {
        return Some((Cadence::Weeks(2), place + 3));
    }
    if word_at(tokens, place + 2, &["day"]) {
        return Some((Cadence::Rule("FREQ=DAILY;INTERVAL=2".into()), place + 3));
    }
    let (of_week, end) = match days_of_week(tokens, place + 2, true)? {
        (Cadence::Days { of_week, .. }, end) => (of_week, end),
        _ => return None,
    };
    let days: Option<Vec<&str>> = of_week
        .split(',')
        .map(|day| CODES.get(day.parse::<usize>().ok()? % 7).copied())
        .collect();
    let cadence = match days {
        Some(days) => {
            let days = days.join(",");
            Cadence::Rule(format!("FREQ=WEEKLY;INTERVAL=2;BYDAY={days}"))
        }
        None => Cadence::Unknown(words(tokens, place, end), CANNOT),
    };
    Some((cadence, end))
}

/// Recurrences that do not say enough. They must not be taken for the simpler ones that they contain.
fn unknown(tokens: &[Token], place: usize, opened: bool) -> Option<(Cadence, usize)> {
    let token = &tokens[place];
    let cannot = |end: usize, why| {
        let end = end.min(tokens.len());
        Some((Cadence::Unknown(words(tokens, place, end), why), end))
    };
    let alone = [
        "biweekly",
        "bi-weekly",
        "yearly",
        "annually",
        "bimonthly",
        "bi-monthly",
        "semiweekly",
    ];
    if token.is_any(&alone) {
        return cannot(place + 1, CANNOT);
    }
    if token.is_word("weekly") && !names_day(tokens)
        || token.is_word("monthly") && !names_month_day(tokens)
    {
        return cannot(place + 1, WHICH_DAY);
    }
    let numbered = ["other", "second", "third", "fourth", "last", "alternate"];
    let of_day = tokens
        .get(place + 2)
        .is_some_and(|next| day(next).is_some());
    let in_digits = tokens
        .get(place + 1)
        .is_some_and(|token| token.kind == Kind::Ordinal);
    let counts = word_at(tokens, place + 1, &numbered) || in_digits && of_day;
    if opened && counts && !of_the_month(tokens, place + 2) {
        let why = if of_day { TWO_MEANINGS } else { CANNOT };
        return cannot(place + 3, why);
    }
    let nth = token.is_any(&["first", "second", "third", "fourth", "last"]);
    if nth
        && tokens
            .get(place + 1)
            .is_some_and(|next| day(next).is_some())
    {
        let end = (2..=5)
            .find(|length| word_at(tokens, place + length, &["month"]))
            .map_or(place + 2, |length| place + length + 1);
        return cannot(end, CANNOT);
    }
    if opened && word_at(tokens, place + 1, &["year"]) {
        return cannot(place + 2, WHICH_DAY);
    }
    let bare = word_at(tokens, place + 1, &["week"]) && !names_day(tokens)
        || word_at(tokens, place + 1, &["month"]) && !names_month_day(tokens);
    if opened && bare {
        return cannot(place + 2, WHICH_DAY);
    }
    None
}

fn names_day(tokens: &[Token]) -> bool {
    tokens.iter().any(|token| day(token).is_some())
}

fn names_month_day(tokens: &[Token]) -> bool {
    tokens
        .iter()
        .any(|token| token.kind == Kind::Ordinal || token.is_any(ORDINALS) || token.is_word("last"))
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
    let (first, mut at) = listed_day(tokens, at)?;
    let mut found = vec![first];
    while word_at(tokens, at, &["and"]) || tokens.get(at).is_some_and(|token| token.is(',')) {
        let skip = at + 1 + usize::from(word_at(tokens, at + 1, &["the"]));
        let Some((next, end)) = listed_day(tokens, skip) else {
            break;
        };
        found.push(next);
        at = end;
    }
    let end = match month_end(tokens, at) {
        Some(end) => end,
        // "on the 15th and the last day" can be of nothing else.
        None if monthly + every_month > 0 || found.len() > 1 && found.contains(&-1) => at,
        None => return None,
    };
    found.sort_unstable();
    found.dedup();
    let list = found
        .iter()
        .map(i32::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let cadence = if found.iter().all(|day| (1..=28).contains(day)) {
        Cadence::OfMonth(list)
    } else if found.iter().all(|day| (-1..=28).contains(day)) {
        Cadence::Rule(format!("FREQ=MONTHLY;BYMONTHDAY={list}"))
    } else {
        Cadence::Unknown(format!("day {list} of the month"), SHORT_MONTHS)
    };
    Some((cadence, end))
}

const SHORT_MONTHS: &str = "cannot be kept as a calendar entry: not every month has that day; say “the last day” if that is meant";

/// `15th`, `the last day`; the last is -1.
fn listed_day(tokens: &[Token], at: usize) -> Option<(i32, usize)> {
    let at = at + usize::from(word_at(tokens, at, &["the"]));
    if word_at(tokens, at, &["last"]) && word_at(tokens, at + 1, &["day"]) {
        return Some((-1, at + 2));
    }
    let day = month_day(tokens.get(at)?)?;
    Some((i32::try_from(day).ok()?, at + 1))
}

fn month_day(token: &Token) -> Option<u32> {
    ordinal_word(&token.text.to_lowercase())
}

/// `first`, `3rd`: up to the days of a month.
fn ordinal_word(lower: &str) -> Option<u32> {
    let word = ORDINALS
        .iter()
        .position(|known| *known == lower)
        .and_then(|place| u32::try_from(place + 1).ok());
    word.or_else(|| ordinal(lower).filter(|day| (1..=31).contains(day)))
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
