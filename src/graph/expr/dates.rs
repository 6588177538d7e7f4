//! Days between RFC 3339 times and `YYYY-MM-DD` dates. There is no `now()`: a run must see the same when it is replayed.

use super::EvalError;
use chrono::{DateTime, Days, FixedOffset, NaiveDate, SecondsFormat};
use chrono_tz::Tz;

enum Moment {
    Day(NaiveDate),
    Time(DateTime<FixedOffset>),
}

fn parse(text: &str) -> Result<Moment, EvalError> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .map(Moment::Day)
        .or_else(|_| DateTime::parse_from_rfc3339(text).map(Moment::Time))
        .map_err(|_| EvalError::wrong(format!("`{text}` is neither a date (2025-06-09) nor an RFC 3339 time (2025-06-09T18:00:00Z)")))
}

/// The form that was given is the form that comes back.
pub(super) fn add_days(text: &str, days: i64) -> Result<String, EvalError> {
    let far = || {
        EvalError::wrong(format!(
            "{days} days from {text} is outside of the calendar"
        ))
    };
    let span = Days::new(days.unsigned_abs());
    match parse(text)? {
        Moment::Day(day) => {
            let moved = if days < 0 {
                day.checked_sub_days(span)
            } else {
                day.checked_add_days(span)
            };
            moved.map(|day| day.to_string()).ok_or_else(far)
        }
        Moment::Time(time) => {
            let moved = if days < 0 {
                time.checked_sub_days(span)
            } else {
                time.checked_add_days(span)
            };
            moved
                .map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
                .ok_or_else(far)
        }
    }
}

/// Whole calendar days from `from` to `to`, each in the zone, else in its own offset; negative if `to` is earlier.
pub(super) fn days_between(from: &str, to: &str, zone: Option<&str>) -> Result<i64, EvalError> {
    Ok((day_of(to, zone)? - day_of(from, zone)?).num_days())
}

/// The day of a time, in the zone, else in its own offset. A date is its own day everywhere.
pub(super) fn day_of(text: &str, zone: Option<&str>) -> Result<NaiveDate, EvalError> {
    let parsed = parse(text)?;
    let zone = zone.map(|name| {
        name.parse::<Tz>().map_err(|_| {
            EvalError::wrong(format!(
                "`{name}` is not an IANA time zone such as Europe/Zurich"
            ))
        })
    });
    Ok(match (parsed, zone.transpose()?) {
        (Moment::Day(day), _) => day,
        (Moment::Time(time), None) => time.date_naive(),
        (Moment::Time(time), Some(zone)) => time.with_timezone(&zone).date_naive(),
    })
}
