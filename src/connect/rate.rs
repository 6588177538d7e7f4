//! What the headers of an answer tell of the provider's limits. Pure.

use super::{
    answer::RateHints,
    catalog::{QuotaHeaders, ResetUnit},
};
use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use std::time::Duration;

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
    let now = text("date").and_then(http_date).unwrap_or(now);
    let retry_after = text("retry-after").and_then(|value| {
        value
            .parse()
            .ok()
            .map(Duration::from_secs)
            .or_else(|| http_date(value).map(|date| until(date, now)))
    });
    let number = |own: Option<&String>, usual: [&str; 2]| match own {
        Some(name) => text(name)?.parse::<u64>().ok(),
        None => usual
            .into_iter()
            .find_map(|name| text(name)?.parse::<u64>().ok()),
    };
    let reset_after = match own.and_then(|own| Some((own.reset.as_ref()?, own.reset_unit))) {
        Some((name, unit)) => text(name).and_then(|value| reset(value, unit, now)),
        None => number(None, ["x-ratelimit-reset", "ratelimit-reset"])
            .map(|value| reset_guessed(value, now)),
    };
    RateHints {
        limit: number(
            own.and_then(|own| own.limit.as_ref()),
            ["x-ratelimit-limit", "ratelimit-limit"],
        ),
        remaining: number(
            own.and_then(|own| own.remaining.as_ref()),
            ["x-ratelimit-remaining", "ratelimit-remaining"],
        ),
        reset_after,
        retry_after,
    }
}

fn until(date: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (date - now).to_std().unwrap_or_default()
}

fn reset(value: &str, unit: ResetUnit, now: DateTime<Utc>) -> Option<Duration> {
    let whole = || value.parse::<u64>().ok();
    match unit {
        // Some write parts of a second.
        ResetUnit::Seconds => Duration::try_from_secs_f64(value.parse().ok()?).ok(),
        ResetUnit::Milliseconds => whole().map(Duration::from_millis),
        ResetUnit::Unix => {
            DateTime::from_timestamp(value.parse().ok()?, 0).map(|date| until(date, now))
        }
        ResetUnit::UnixMs => {
            DateTime::from_timestamp_millis(value.parse().ok()?).map(|date| until(date, now))
        }
        ResetUnit::Iso8601 => DateTime::parse_from_rfc3339(value)
            .ok()
            .map(|date| until(date.to_utc(), now)),
    }
}

/// Some say how many seconds from now, some the second since 1970.
fn reset_guessed(value: u64, now: DateTime<Utc>) -> Duration {
    match i64::try_from(value)
        .ok()
        .filter(|value| *value > 1_000_000_000)
        .and_then(|at| DateTime::from_timestamp(at, 0))
    {
        Some(date) => until(date, now),
        None => Duration::from_secs(value),
    }
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text)
        .ok()
        .map(|date| date.to_utc())
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
