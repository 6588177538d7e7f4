//! Recurrences against plain lists, and over clock changes against a slow oracle that looks at every minute.

use super::*;
use chrono::{DateTime, Duration, Timelike, Utc};

mod clocks;
mod days;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|| panic!("{text} is no time"))
}

fn spec(json: serde_json::Value) -> RecurrenceSpec {
    serde_json::from_value(json).expect("a recurrence")
}

fn parsed(json: serde_json::Value, zone: &str) -> Recurrence {
    Recurrence::parse(&spec(json), zone, Arc::default()).expect("a good recurrence")
}

fn cron(text: &str, zone: &str) -> Recurrence {
    Recurrence::parse(&RecurrenceSpec::cron(text), zone, Arc::default())
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The wall times, `2027-03-28T03:00`, of the next ones after a wall time.
fn walls(recurrence: &Recurrence, after: &str, count: usize) -> Vec<String> {
    let after = NaiveDateTime::parse_from_str(after, "%Y-%m-%dT%H:%M").expect("a wall time");
    let after = wall::once(recurrence.zone(), after);
    let times = recurrence.upcoming(after, count);
    times
        .into_iter()
        .map(|at| {
            wall::local(recurrence.zone(), at)
                .format("%Y-%m-%dT%H:%M")
                .to_string()
        })
        .collect()
}
