//! Times of day: `at nine`, `9:30 am`, `noon`, `half past eight`.

use super::super::{
    entity::number_word,
    text::{Kind, Token},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    pub hour: u32,
    pub minute: u32,
}

impl TimeOfDay {
    /// Since midnight.
    pub fn minutes(self) -> u32 {
        self.hour * 60 + self.minute
    }

    /// The same on the clock, after noon; `None` if it is already.
    pub fn after_noon(self) -> Option<Self> {
        (self.hour < 12).then_some(Self {
            hour: self.hour + 12,
            ..self
        })
    }

    /// The same on the clock, as late as it can be before `end`.
    pub fn no_later_than(self, end: Self) -> Self {
        let later = self.after_noon();
        later
            .filter(|later| later.minutes() < end.minutes())
            .unwrap_or(self)
    }
}

/// A time that need not be opened by "at".
pub fn bare(tokens: &[Token], place: usize) -> Option<(TimeOfDay, usize)> {
    let place = place + usize::from(tokens.get(place)?.is_word("at"));
    let (hour, minute, end) = clock(tokens, place, true)?;
    let (half, end) = half_of_day(tokens, end);
    let hour = match half {
        Some(Half::After) if hour < 12 => hour + 12,
        Some(Half::Before) if hour == 12 => 0,
        _ => hour,
    };
    (hour < 24 && minute < 60).then_some((TimeOfDay { hour, minute }, end))
}

/// The time at a place and where it ends. A bare number is one only after "at", or where it `follows` another time ("at 9 and 17").
/// `evening`: the recurrence says that it is after noon ("every evening").
pub fn at(
    tokens: &[Token],
    place: usize,
    follows: bool,
    evening: bool,
) -> Option<(TimeOfDay, usize)> {
    let opened = tokens.get(place)?.is_word("at");
    let joined = follows && (tokens[place].is_word("and") || tokens[place].is(','));
    let start = place + usize::from(opened || joined);
    let (hour, minute, end) = clock(tokens, start, opened || joined)?;
    let (half, end) = half_of_day(tokens, end);
    let hour = match half.or(evening.then_some(Half::After)) {
        Some(Half::After) if hour < 12 => hour + 12,
        Some(Half::Before) if hour == 12 => 0,
        _ => hour,
    };
    (hour < 24 && minute < 60).then_some((TimeOfDay { hour, minute }, end))
}

/// How a time is written, by which its half of the day is known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// `9`, `9:30`, `nine`: the half of the day is that of the times beside it.
    Open,
    /// `9 am`, `noon`, `in the evening`.
    Half,
    /// `17`, `05:30`: of a clock of 24 hours.
    Wide,
}

/// How the tokens write a time. One that the recurrence moves after noon ("every evening at 7") is no longer open.
pub fn how_written(tokens: &[Token], time: TimeOfDay) -> Written {
    const HALVES: &[&str] = &[
        "am",
        "a.m",
        "pm",
        "p.m",
        "noon",
        "midday",
        "midnight",
        "morning",
        "afternoon",
        "evening",
    ];
    let halved = |token: &Token| {
        let lower = token.text.to_lowercase();
        token.is_any(HALVES)
            || token.kind == Kind::Clock && (lower.ends_with("am") || lower.ends_with("pm"))
    };
    let wide = |token: &Token| {
        matches!(token.kind, Kind::Clock | Kind::Number) && token.text.starts_with('0')
    };
    if tokens.iter().any(halved) {
        Written::Half
    } else if tokens.iter().any(wide) || !(1..=12).contains(&time.hour) {
        Written::Wide
    } else {
        Written::Open
    }
}

/// Gives the open times of a list their half of the day, as people list them: in the order of the day ("9 and 5" is 9:00 and 17:00, "5 and 9
/// pm" is 17:00 and 21:00). One time of a clock of 24 hours makes all of them such.
///
/// # Errors
/// An open time has no half of the day in which it comes after the one before it.
pub fn settle(times: Vec<(TimeOfDay, Written)>) -> Result<Vec<TimeOfDay>, String> {
    let (mut times, written): (Vec<TimeOfDay>, Vec<Written>) = times.into_iter().unzip();
    if written.contains(&Written::Wide) {
        return Ok(times);
    }
    for at in 1..times.len() {
        let before = at - 1;
        if written[before] == Written::Open && written[at] == Written::Half {
            times[before] = times[before].no_later_than(times[at]);
        }
    }
    for at in 1..times.len() {
        if written[at] != Written::Open || times[at].minutes() >= times[at - 1].minutes() {
            continue;
        }
        let (open, before) = (times[at], times[at - 1]);
        let later = open
            .after_noon()
            .filter(|later| later.minutes() > before.minutes());
        times[at] = later.ok_or_else(|| {
            format!(
                "“{}:{:02}” may be before or after noon; say which",
                open.hour, open.minute
            )
        })?;
    }
    Ok(times)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Before,
    After,
}

/// Hour and minute as they are written, before any "pm".
fn clock(tokens: &[Token], at: usize, bare: bool) -> Option<(u32, u32, usize)> {
    let token = tokens.get(at)?;
    if token.is_any(&["noon", "midday"]) {
        return Some((12, 0, at + 1));
    }
    if token.is_word("midnight") {
        return Some((0, 0, at + 1));
    }
    if token.kind == Kind::Clock {
        return written(&token.text.to_lowercase()).map(|(hour, minute)| (hour, minute, at + 1));
    }
    if let Some(found) = past(tokens, at) {
        return Some(found);
    }
    // "at 9.30", as much of Europe writes it. Elsewhere it may be an amount.
    if let Some((hour, minute)) = with_point(token).filter(|_| bare) {
        return Some((hour, minute, at + 1));
    }
    let hour = hour(token)?;
    if half_of_day(tokens, at + 1).0.is_some()
        || tokens
            .get(at + 1)
            .is_some_and(|next| next.is_any(&["o'clock", "o’clock"]))
    {
        let end = at + 1 + usize::from(tokens[at + 1].is_any(&["o'clock", "o’clock"]));
        return Some((hour, 0, end));
    }
    if !bare {
        return None;
    }
    match tokens.get(at + 1).and_then(number_word) {
        Some(minute @ (15 | 30 | 45)) if token.kind == Kind::Word => Some((hour, minute, at + 2)),
        _ => Some((hour, 0, at + 1)),
    }
}

/// `9:30`, `9am`, `9:30pm`; the half of the day is applied here, so that nothing later changes it.
fn written(lower: &str) -> Option<(u32, u32)> {
    let (digits, half) = match (lower.strip_suffix("am"), lower.strip_suffix("pm")) {
        (Some(digits), _) => (digits, Some(Half::Before)),
        (_, Some(digits)) => (digits, Some(Half::After)),
        _ => (lower, None),
    };
    let (hour, minute) = digits.split_once(':').unwrap_or((digits, "0"));
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    match half {
        Some(_) if !(1..=12).contains(&hour) => None,
        Some(Half::After) => Some((hour % 12 + 12, minute)),
        Some(Half::Before) => Some((hour % 12, minute)),
        None => Some((hour, minute)),
    }
}

fn with_point(token: &Token) -> Option<(u32, u32)> {
    let (hour, minute) = token.text.split_once('.')?;
    let fits = token.kind == Kind::Number && (1..=2).contains(&hour.len()) && minute.len() == 2;
    fits.then_some(())?;
    Some((hour.parse().ok()?, minute.parse().ok()?))
}

/// `half past eight`, `quarter to nine`.
fn past(tokens: &[Token], at: usize) -> Option<(u32, u32, usize)> {
    let at = at + usize::from(tokens.get(at)?.is_word("a"));
    let minutes = if tokens.get(at)?.is_word("half") {
        30
    } else if tokens.get(at)?.is_word("quarter") {
        15
    } else {
        return None;
    };
    let hour = hour(tokens.get(at + 2)?)?;
    let side = tokens.get(at + 1)?;
    if side.is_word("past") {
        return Some((hour, minutes, at + 3));
    }
    (side.is_word("to") && minutes == 15 && hour > 0).then_some((hour - 1, 45, at + 3))
}

fn hour(token: &Token) -> Option<u32> {
    let hour = if token.kind == Kind::Number {
        token.text.parse().ok()?
    } else {
        number_word(token)?
    };
    (hour <= 23).then_some(hour)
}

/// `am`, `p.m.`, `in the morning`.
fn half_of_day(tokens: &[Token], at: usize) -> (Option<Half>, usize) {
    let Some(token) = tokens.get(at) else {
        return (None, at);
    };
    let dotted = |end: usize| end + usize::from(tokens.get(end).is_some_and(|next| next.is('.')));
    if token.is_any(&["am", "a.m"]) {
        return (Some(Half::Before), dotted(at + 1));
    }
    if token.is_any(&["pm", "p.m"]) {
        return (Some(Half::After), dotted(at + 1));
    }
    if token.is_word("in") && tokens.get(at + 1).is_some_and(|next| next.is_word("the")) {
        match tokens.get(at + 2) {
            Some(part) if part.is_word("morning") => return (Some(Half::Before), at + 3),
            Some(part) if part.is_any(&["afternoon", "evening"]) => {
                return (Some(Half::After), at + 3);
            }
            _ => {}
        }
    }
    (None, at)
}
