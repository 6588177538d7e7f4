//! What the headers of an answer tell of the provider's limits. Pure.

use super::{
    answer::RateHints,
    catalog::{QuotaHeaders, ResetUnit},
};
use chrono::{DateTime, Datelike, NaiveDateTime, Utc};
use reqwest::header::HeaderMap;
use std::time::Duration;

/// No wait is believed that is longer. Whoever obeys it has a shorter bound of its own; this one keeps sums of times in their range.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Nobody counts so many seconds from now, 31 years: it is a second since 1970.
const IS_UNIX_FROM: f64 = 1e9;
/// The seconds since 1970 are this many in the year 5138: it is a millisecond since 1970.
const IS_UNIX_MS_FROM: f64 = 1e11;

/// Reads `Retry-After` (seconds or a date), and what is left of the quota: from the headers that the catalog names, else from the
/// `X-RateLimit-*` family. Dates are seen from the answer's own `Date`, so that clocks that differ do no harm.
pub(crate) fn rate_hints(
    headers: &HeaderMap,
    own: Option<&QuotaHeaders>,
    now: DateTime<Utc>,
) -> RateHints {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let now = text("date")
        .and_then(|date| http_date(date, now))
        .unwrap_or(now);
    // A proxy may have joined two lines; the comma of a date is none that parts.
    let retry_after = text("retry-after").and_then(|value| {
        let first = || guessed(value.split(',').next()?.trim(), now);
        guessed(value, now).or_else(first)
    });
    let retry_after_ms = || {
        let value = number(text("retry-after-ms")?)?;
        Some(wait(value / 1_000.0))
    };
    let count = |own: Option<&String>, usual: [&str; 2]| match own {
        Some(name) => count(text(name)?),
        None => usual.into_iter().find_map(|name| count(text(name)?)),
    };
    let reset_after = match own.and_then(|own| Some((own.reset.as_ref()?, own.reset_unit))) {
        Some((name, unit)) => text(name).and_then(|value| reset(value, unit, now)),
        None => ["x-ratelimit-reset", "ratelimit-reset"]
            .into_iter()
            .find_map(|name| guessed(text(name)?, now)),
    };
    RateHints {
        limit: count(
            own.and_then(|own| own.limit.as_ref()),
            ["x-ratelimit-limit", "ratelimit-limit"],
        ),
        remaining: count(
            own.and_then(|own| own.remaining.as_ref()),
            ["x-ratelimit-remaining", "ratelimit-remaining"],
        ),
        reset_after,
        retry_after: retry_after.or_else(retry_after_ms),
    }
}

/// Seconds as a wait: what lies in the past is none, and what is too long is the longest.
pub(crate) fn wait(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_WAIT.as_secs_f64()))
}

/// A decimal number. The parser alone would take `inf` and `nan`, too.
fn number(text: &str) -> Option<f64> {
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'));
    text.parse().ok().filter(|_| is_number)
}

/// A count of requests: `100`, and with the policy behind it that drafts of the standard have, `100, 100;w=60`.
fn count(text: &str) -> Option<u64> {
    let first = text.split([',', ';', ' ']).next()?;
    // Fractions are cut off, and what is below zero is used up.
    number(first).map(|count| count.max(0.0) as u64)
}

/// A length of time with its units, as servers written in Go tell it: `6m0s`, `1h30m`, `250ms`, `1.5s`.
fn length(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] = [
        ("ms", 1e-3),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ns", 1e-9),
        ("h", 3_600.0),
        ("m", 60.0),
        ("s", 1.0),
    ];
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let is_part = |letter: char| letter.is_ascii_digit() || letter == '.';
        let digits = rest.len() - rest.trim_start_matches(is_part).len();
        let (count, behind) = rest.split_at(digits);
        let (unit, size) = UNITS.iter().find(|(unit, _)| behind.starts_with(unit))?;
        seconds += count.parse::<f64>().ok()? * size;
        rest = &behind[unit.len()..];
    }
    (!text.is_empty()).then_some(seconds)
}

fn until(date: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (date - now).to_std().unwrap_or_default().min(LONGEST_WAIT)
}

/// How long it is until the moment that a header with this unit names; what is not in the unit is guessed.
fn reset(value: &str, unit: ResetUnit, now: DateTime<Utc>) -> Option<Duration> {
    let since_1970 = |seconds: f64| wait(seconds - now.timestamp_micros() as f64 / 1e6);
    match (number(value), unit) {
        (Some(count), ResetUnit::Seconds) if count < IS_UNIX_FROM => Some(wait(count)),
        (Some(count), ResetUnit::Milliseconds) if count < IS_UNIX_MS_FROM => {
            Some(wait(count / 1e3))
        }
        (Some(count), ResetUnit::Unix) if count < IS_UNIX_MS_FROM => Some(since_1970(count)),
        (Some(count), ResetUnit::UnixMs) => Some(since_1970(count / 1e3)),
        _ => guessed(value, now),
    }
}

/// How long it is until a moment: seconds from now, seconds or milliseconds since 1970, a date of HTTP or one of RFC 3339, a length of time.
fn guessed(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let since_1970 = |seconds: f64| wait(seconds - now.timestamp_micros() as f64 / 1e6);
    match number(value) {
        Some(count) if count >= IS_UNIX_MS_FROM => Some(since_1970(count / 1e3)),
        Some(count) if count >= IS_UNIX_FROM => Some(since_1970(count)),
        Some(count) => Some(wait(count)),
        None => http_date(value, now)
            .or_else(|| Some(DateTime::parse_from_rfc3339(value).ok()?.to_utc()))
            .map(|date| until(date, now))
            .or_else(|| length(value).map(wait)),
    }
}

/// A date in one of the three forms of RFC 9110, section 5.6.7. The day of the week is not looked at.
fn http_date(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(date.to_utc());
    }
    // The first word is the day of the week in all three forms; `asctime` pads the day with a second blank.
    let words: Vec<&str> = text.split_whitespace().skip(1).collect();
    let is_utc = |zone: &str| {
        ["GMT", "UTC", "Z"]
            .iter()
            .any(|utc| zone.eq_ignore_ascii_case(utc))
    };
    let read = |text: String, form: &str| {
        let date = NaiveDateTime::parse_from_str(&text, form).ok()?;
        Some(date.and_utc())
    };
    match words.as_slice() {
        // `Sunday, 06-Nov-94 08:49:37 GMT`. A year of two digits is never more than 50 years ahead.
        [date, time, zone] if is_utc(zone) && date.contains('-') => {
            let (day, year) = date.rsplit_once('-')?;
            let year = match (year.len(), year.parse::<i32>().ok()?) {
                (2, short) => {
                    let near = now.year().div_euclid(100) * 100 + short;
                    if near > now.year() + 50 {
                        near - 100
                    } else {
                        near
                    }
                }
                (_, year) => year,
            };
            read(format!("{day}-{year} {time}"), "%d-%b-%Y %H:%M:%S")
        }
        // `Sun, 06 Nov 1994 08:49:37 GMT`, on a day that was none.
        [day, month, year, time, zone] if is_utc(zone) => {
            read(format!("{day} {month} {year} {time}"), "%d %b %Y %H:%M:%S")
        }
        // `Sun Nov  6 08:49:37 1994`
        [month, day, time, year] => {
            read(format!("{day} {month} {year} {time}"), "%d %b %Y %H:%M:%S")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_in_all_their_forms() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let read = |pairs: &[(&'static str, &str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            rate_hints(&headers, None, now)
        };
        let seconds = |value| Some(Duration::from_secs(value));
        assert_eq!(read(&[("retry-after", "30")]).retry_after, seconds(30));
        let dated = [
            ("retry-after", "Wed, 21 Oct 2015 07:28:10 GMT"),
            ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ];
        assert_eq!(read(&dated).retry_after, seconds(10));
        assert_eq!(
            read(&[("retry-after", "Wed, 21 Oct 2015 07:28:10 GMT")]).retry_after,
            seconds(0),
            "long ago"
        );
        assert_eq!(read(&[("retry-after", "soon")]).retry_after, None);
        assert_eq!(
            read(&[("x-ratelimit-reset", "1800000007")]).reset_after,
            seconds(7)
        );
        assert_eq!(read(&[("x-ratelimit-reset", "7")]).reset_after, seconds(7));
        assert_eq!(
            read(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-limit", "50")]).remaining,
            Some(0)
        );
        assert_eq!(read(&[]), RateHints::default());
    }

    #[test]
    fn retry_after_is_read_in_every_form_that_is_sent() {
        // 2026-11-30T15:00:00Z, a Monday.
        let now = DateTime::from_timestamp(1_796_050_800, 0).unwrap();
        let read = |value: &str| {
            let headers = [("retry-after".parse().unwrap(), value.parse().unwrap())];
            rate_hints(&headers.into_iter().collect(), None, now).retry_after
        };
        let ms = |value| Some(Duration::from_millis(value));
        for (value, expected) in [
            ("0", ms(0)),
            (" 120 ", ms(120_000)),
            ("1.5", ms(1_500)),
            ("-5", ms(0)),
            ("+3", ms(3_000)),
            ("99999999", Some(LONGEST_WAIT)),
            ("99999999999999999999999999", Some(LONGEST_WAIT)),
            ("1796050830", ms(30_000)),
            ("1796050830.25", ms(30_250)),
            ("1796050830250", ms(30_250)),
            ("1000000001", ms(0)),
            ("Mon, 30 Nov 2026 15:00:10 GMT", ms(10_000)),
            ("Monday, 30-Nov-26 15:00:10 GMT", ms(10_000)),
            ("Mon Nov 30 15:00:10 2026", ms(10_000)),
            ("Tue Dec  1 15:00:00 2026", ms(86_400_000)),
            ("tuesday, 01-dec-26 15:00:00 gmt", ms(86_400_000)),
            // The wrong day of the week.
            ("Fri, 30 Nov 2026 15:00:10 GMT", ms(10_000)),
            ("Mon, 30 Nov 2026 16:00:10 +0100", ms(10_000)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", ms(0)),
            ("Sun Nov  6 08:49:37 1994", ms(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", ms(0)),
            ("Saturday, 30-Nov-74 15:00:00 GMT", Some(LONGEST_WAIT)),
            ("Wednesday, 30-Nov-77 15:00:00 GMT", ms(0)),
            ("2026-11-30T15:00:10Z", ms(10_000)),
            ("2026-11-30T17:00:10.5+02:00", ms(10_500)),
            ("120s", ms(120_000)),
            ("6m0s", ms(360_000)),
            ("1h2m3.5s", ms(3_723_500)),
            ("250ms", ms(250)),
            ("30, 30", ms(30_000)),
            (
                "Mon, 30 Nov 2026 15:00:10 GMT, Mon, 30 Nov 2026 15:00:10 GMT",
                None,
            ),
            ("soon", None),
            ("s", None),
            ("5 minutes", None),
            ("", None),
            ("nan", None),
            ("inf", None),
            ("1e3", None),
            ("Mon, 30 Feb 2026 15:00:10 GMT", None),
            ("Mon Nov 30 25:00:10 2026", None),
        ] {
            assert_eq!(read(value), expected, "{value:?}");
        }
        let headers = [("retry-after-ms".parse().unwrap(), "250".parse().unwrap())];
        let hints = rate_hints(&headers.into_iter().collect(), None, now);
        assert_eq!(hints.retry_after, ms(250));
    }

    #[test]
    fn a_reset_is_read_in_every_form_that_is_sent() {
        let now = DateTime::from_timestamp(1_796_050_800, 0).unwrap();
        let read = |value: &str, unit: Option<ResetUnit>| {
            let own = unit.map(|reset_unit| QuotaHeaders {
                reset: Some("x-ratelimit-reset".into()),
                reset_unit,
                ..QuotaHeaders::default()
            });
            let headers = [
                ("x-ratelimit-reset".parse().unwrap(), value.parse().unwrap()),
                (
                    "x-ratelimit-remaining".parse().unwrap(),
                    "-1".parse().unwrap(),
                ),
                (
                    "x-ratelimit-limit".parse().unwrap(),
                    "100, 100;w=60".parse().unwrap(),
                ),
            ];
            let hints = rate_hints(&headers.into_iter().collect(), own.as_ref(), now);
            assert_eq!((hints.limit, hints.remaining), (Some(100), Some(0)));
            hints.reset_after
        };
        let ms = |value| Some(Duration::from_millis(value));
        for (value, unit, expected) in [
            ("60", None, ms(60_000)),
            ("0.25", None, ms(250)),
            ("1796050815", None, ms(15_000)),
            ("1796050815.5", None, ms(15_500)),
            ("1796050815500", None, ms(15_500)),
            ("1796050790", None, ms(0)),
            ("Mon, 30 Nov 2026 15:00:15 GMT", None, ms(15_000)),
            ("Mon Nov 30 15:00:15 2026", None, ms(15_000)),
            ("2026-11-30T15:00:15Z", None, ms(15_000)),
            ("1m30s", None, ms(90_000)),
            ("17ms", Some(ResetUnit::Seconds), ms(17)),
            ("tomorrow", None, None),
            ("15", Some(ResetUnit::Seconds), ms(15_000)),
            ("15000", Some(ResetUnit::Milliseconds), ms(15_000)),
            ("1796050815", Some(ResetUnit::Unix), ms(15_000)),
            ("1796050815000", Some(ResetUnit::UnixMs), ms(15_000)),
            ("2026-11-30T15:00:15Z", Some(ResetUnit::Iso8601), ms(15_000)),
            // Not in the unit that the catalog says.
            ("1796050815", Some(ResetUnit::Seconds), ms(15_000)),
            ("1796050815000", Some(ResetUnit::Unix), ms(15_000)),
            (
                "Mon, 30 Nov 2026 15:00:15 GMT",
                Some(ResetUnit::Unix),
                ms(15_000),
            ),
            ("1796050815", Some(ResetUnit::Iso8601), ms(15_000)),
        ] {
            assert_eq!(read(value, unit), expected, "{value:?} as {unit:?}");
        }
    }

    #[test]
    fn the_catalog_may_name_the_headers() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for (unit, value, expected) in [
            (ResetUnit::Seconds, "1.5", 1_500),
            (ResetUnit::Milliseconds, "250", 250),
            (ResetUnit::Unix, "1800000002", 2_000),
            (ResetUnit::UnixMs, "1800000000750", 750),
            (ResetUnit::Iso8601, "2027-01-15T08:00:05Z", 5_000),
        ] {
            let own = QuotaHeaders {
                limit: Some("x-app-limit".into()),
                remaining: Some("x-app-left".into()),
                reset: Some("x-app-reset".into()),
                reset_unit: unit,
            };
            let headers = [("x-app-left", "3"), ("x-app-reset", value)]
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let hints = rate_hints(&headers, Some(&own), now);
            assert_eq!(hints.remaining, Some(3));
            assert_eq!(
                hints.reset_after,
                Some(Duration::from_millis(expected)),
                "{unit:?}"
            );
        }
    }
}
