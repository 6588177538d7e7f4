//! How a recurrence is written, in JSON.

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

/// A length of time between runs, `{"minutes": 90}` or `{"hours": 2}`; both add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Every {
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hours: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub minutes: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a working day is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Week,
    Month,
    Quarter,
    Year,
}

/// A working day of each period, `{"nth": -1, "of": "month"}`: 1 is the first, -1 the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NthWorkingDay {
    pub nth: i32,
    pub of: Period,
}

/// What happens on a day that is not worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffDays {
    /// Nothing.
    Skip,
    /// It is done on the next working day.
    Next,
    /// It is done on the working day before.
    Previous,
}

/// When something happens again and again: exactly one of `cron`, `every`, `rrule` and `working_day`, and what narrows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecurrenceSpec {
    /// Five fields: minute, hour, day of month, month, day of week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Time that passes between two runs, counted from `start`, else from midnight of 1 January 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Every>,
    /// iCalendar rule of days (RFC 5545), for example `FREQ=WEEKLY;INTERVAL=2;BYDAY=TU`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rrule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_day: Option<NthWorkingDay>,
    /// Times of day for `rrule` and `working_day`, as `HH:MM`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<String>,
    /// A date (`2027-03-03`) or wall time (`2027-03-03T09:00`) before which nothing is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// The last date, included, or wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What happens on days that are not worked; absent: they are as good as others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_days: Option<OffDays>,
    /// Name of the org's calendar that says which days are worked; absent: Monday to Friday.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
}

/// The first day from `today` on that a text without a year means; `None` if it is no such text. A month that has begun counts from today.
fn next(text: &str, today: NaiveDate) -> Option<NaiveDate> {
    let (month, day) = match text.split_once('-') {
        Some((month, day)) if text.len() == 5 => (month.parse().ok()?, day.parse().ok()?),
        None if text.len() == 2 => (text.parse().ok()?, 1),
        _ => return None,
    };
    if text.len() == 2 && today.month() == month {
        return Some(today);
    }
    (today.year()..today.year() + 9)
        .filter_map(|year| NaiveDate::from_ymd_opt(year, month, day))
        .find(|found| *found >= today)
}

impl RecurrenceSpec {
    pub fn cron(cron: impl Into<String>) -> Self {
        Self {
            cron: Some(cron.into()),
            ..Self::default()
        }
    }

    /// Fills in what was left to the day on which it is decided: the year of a first or last day that lacks it (`03-01`, or `03` for a
    /// month), and the day from which "every second week" counts, which is `today`.
    pub fn settle(&mut self, today: NaiveDate) {
        if let Some(start) = self.start.as_deref().and_then(|text| next(text, today)) {
            self.start = Some(start.to_string());
        }
        let counts = self.rrule.as_deref().is_some_and(super::rule::needs_start);
        if counts && self.start.is_none() {
            self.start = Some(today.to_string());
        }
        let begin = self
            .start
            .as_deref()
            .and_then(|start| start.get(..10)?.parse().ok());
        let begin = begin.map_or(today, |begin: NaiveDate| begin.max(today));
        if let Some(until) = self.until.as_deref().and_then(|text| next(text, begin)) {
            self.until = Some(until.to_string());
        }
    }
}
