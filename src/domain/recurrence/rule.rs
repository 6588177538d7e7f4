//! iCalendar recurrence rules (RFC 5545) as sequences of days.
//!
//! The `rrule` crate expands them. It always begins at DTSTART, so the rule is begun anew close to the day that is asked for, a whole number
//! of intervals on; and it is held to a horizon, because it looks for a date that never comes up to the year 9999. `COUNT`, `UNTIL` and the
//! times of day are read here and not given to it. Only days are expanded: which instant a time of day is on them, the zone says.

use super::RecurrenceError;
use chrono::{Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use rrule::{Frequency, RRule, RRuleSet, Tz, Unvalidated};

/// Days beyond which a next date is not looked for: 120 years.
const HORIZON: u64 = 120 * 366;
const INTERVAL_MAX: u16 = 1_000;
const COUNT_MAX: usize = 1_000;

/// The days of a rule.
#[derive(Clone, Debug)]
pub struct RuleDays {
    rule: RRule<Unvalidated>,
    /// The first day of the first interval.
    anchor: NaiveDate,
    start: Option<NaiveDate>,
    last: Option<NaiveDate>,
}

/// A rule taken apart.
#[derive(Debug)]
pub struct Parsed {
    pub days: RuleDays,
    /// Minutes of the day that the rule names by `BYHOUR` and `BYMINUTE`.
    pub minutes: Vec<u16>,
    pub until: Option<Until>,
    pub counted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Until {
    Day(NaiveDate),
    Wall(NaiveDateTime),
    Utc(NaiveDateTime),
}

fn wrong(reason: impl Into<String>) -> RecurrenceError {
    RecurrenceError::new("rrule", reason)
}

/// Whether the rule can only be counted from a first day: every second week of which weeks?
pub fn needs_start(text: &str) -> bool {
    parts(text).any(|(name, value)| {
        name == "COUNT" || name == "INTERVAL" && value.trim_start_matches('0') != "1"
    })
}

fn parts(text: &str) -> impl Iterator<Item = (String, &str)> {
    let text = text.trim();
    let body = text
        .get(..6)
        .filter(|prefix| prefix.eq_ignore_ascii_case("RRULE:"))
        .map_or(text, |_| &text[6..]);
    body.split(';')
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.trim().to_ascii_uppercase(), value.trim())
        })
}

/// # Errors
/// What is wrong with the rule itself; `start`, if it cannot be counted without one; or that no date meets it.
pub fn parse(text: &str, start: Option<NaiveDate>) -> Result<Parsed, RecurrenceError> {
    if text.len() > 500 || text.chars().any(char::is_control) {
        return Err(wrong(
            "must be one line of at most 500 characters such as FREQ=WEEKLY;INTERVAL=2;BYDAY=TU",
        ));
    }
    let (mut kept, mut count, mut until) = (Vec::new(), None, None);
    let (mut hours, mut minutes) = (Vec::new(), vec![0]);
    let mut seen = std::collections::BTreeSet::new();
    for (name, value) in parts(text) {
        if !seen.insert(name.clone()) {
            return Err(wrong(format!("says {name} twice")));
        }
        match name.as_str() {
            "COUNT" => {
                let number = value.parse().ok().filter(|n| (1..=COUNT_MAX).contains(n));
                count =
                    Some(number.ok_or_else(|| wrong(format!("COUNT must be 1 to {COUNT_MAX}")))?);
            }
            "UNTIL" => until = Some(until_of(value)?),
            "BYHOUR" => hours = numbers("BYHOUR", value, 23)?,
            "BYMINUTE" => minutes = numbers("BYMINUTE", value, 59)?,
            "BYSECOND" if value == "0" => {}
            "BYSECOND" => {
                return Err(wrong(
                    "BYSECOND must be 0: a schedule is kept to the minute",
                ));
            }
            _ => kept.push(format!("{name}={value}")),
        }
    }
    if hours.is_empty() && seen.contains("BYMINUTE") {
        return Err(wrong("BYMINUTE needs BYHOUR"));
    }
    if count.is_some() && until.is_some() {
        return Err(wrong("says both COUNT and UNTIL"));
    }
    let rule: RRule<Unvalidated> = kept
        .join(";")
        .parse()
        .map_err(|error: rrule::RRuleError| wrong(error.to_string()))?;
    let minutes: Vec<u16> = hours
        .iter()
        .flat_map(|hour| minutes.iter().map(move |minute| hour * 60 + minute))
        .collect();
    if count.is_some() && minutes.len() > 1 {
        return Err(wrong("COUNT with several times of day: say UNTIL"));
    }
    let mut days = RuleDays::new(rule, start, count.is_some())?;
    let first = days.start.unwrap_or(days.anchor);
    let Some(first) = days.first_on_or_after(first) else {
        return Err(wrong("no date ever meets it"));
    };
    if let Some(count) = count {
        let counted =
            std::iter::successors(Some(first), |day| days.first_on_or_after(day.succ_opt()?));
        days.last = counted.take(count).last();
    }
    Ok(Parsed {
        days,
        minutes,
        until,
        counted: count.is_some(),
    })
}

fn numbers(name: &str, value: &str, most: u16) -> Result<Vec<u16>, RecurrenceError> {
    let numbers: Option<Vec<u16>> = value
        .split(',')
        .map(|part| part.trim().parse().ok().filter(|number| *number <= most))
        .collect();
    numbers.ok_or_else(|| wrong(format!("{name} must be numbers from 0 to {most}")))
}

fn until_of(value: &str) -> Result<Until, RecurrenceError> {
    let day = NaiveDate::parse_from_str(value, "%Y%m%d").map(Until::Day);
    let wall = || NaiveDateTime::parse_from_str(value, "%Y%m%dT%H%M%S").map(Until::Wall);
    let utc = || NaiveDateTime::parse_from_str(value, "%Y%m%dT%H%M%SZ").map(Until::Utc);
    day.or_else(|_| wall())
        .or_else(|_| utc())
        .map_err(|_| wrong("UNTIL must be 20271231, 20271231T180000 or 20271231T180000Z"))
}

impl RuleDays {
    fn new(
        rule: RRule<Unvalidated>,
        start: Option<NaiveDate>,
        counted: bool,
    ) -> Result<Self, RecurrenceError> {
        let has_day = !rule.get_by_weekday().is_empty()
            || !rule.get_by_month_day().is_empty()
            || !rule.get_by_year_day().is_empty()
            || !rule.get_by_week_no().is_empty();
        if !(1..=INTERVAL_MAX).contains(&rule.get_interval()) {
            return Err(wrong(format!("INTERVAL must be 1 to {INTERVAL_MAX}")));
        }
        if let Frequency::Hourly | Frequency::Minutely | Frequency::Secondly = rule.get_freq() {
            return Err(wrong(
                "FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY; hours and minutes are said by `at`, `every` or `cron`",
            ));
        }
        if start.is_none() && (counted || rule.get_interval() != 1) {
            let message = "is needed to count INTERVAL or COUNT from";
            return Err(RecurrenceError::new("start", message));
        }
        let lacks = || wrong("needs BYDAY or BYMONTHDAY, or a `start` whose day counts");
        let rule = match rule.get_freq() {
            Frequency::Weekly | Frequency::Monthly | Frequency::Yearly if has_day => rule,
            Frequency::Weekly => {
                let day = rrule::NWeekday::Every(start.ok_or_else(lacks)?.weekday());
                rule.by_weekday(vec![day])
            }
            freq @ (Frequency::Monthly | Frequency::Yearly) => {
                let start = start.ok_or_else(lacks)?;
                let months: Vec<chrono::Month> = match freq {
                    Frequency::Yearly if rule.get_by_month().is_empty() => vec![start.month()],
                    _ => rule.get_by_month().iter().map(|m| u32::from(*m)).collect(),
                }
                .into_iter()
                .filter_map(|month: u32| u8::try_from(month).ok()?.try_into().ok())
                .collect();
                let day = i8::try_from(start.day()).unwrap_or(1);
                rule.by_month(&months).by_month_day(vec![day])
            }
            _ => rule,
        };
        let from = start.unwrap_or_else(|| NaiveDate::from_ymd_opt(2000, 1, 1).expect("a date"));
        let anchor = match rule.get_freq() {
            Frequency::Weekly => from.week(rule.get_week_start()).first_day(),
            Frequency::Monthly => from.with_day(1).unwrap_or(from),
            Frequency::Yearly => NaiveDate::from_ymd_opt(from.year(), 1, 1).unwrap_or(from),
            _ => from,
        };
        let days = Self {
            rule,
            anchor,
            start,
            last: None,
        };
        days.set(anchor).map_err(|error| wrong(error.to_string()))?;
        Ok(days)
    }

    fn set(&self, begin: NaiveDate) -> Result<RRuleSet, rrule::RRuleError> {
        let begin = begin.and_time(NaiveTime::MIN).and_utc();
        let end = begin
            .checked_add_days(Days::new(HORIZON))
            .unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC);
        let set = self.rule.clone().build(begin.with_timezone(&Tz::UTC))?;
        Ok(set.limit().before(end.with_timezone(&Tz::UTC)))
    }

    /// The first day of the last interval that begins before the one of `day`.
    fn begin_near(&self, day: NaiveDate) -> Option<NaiveDate> {
        let interval = i64::from(self.rule.get_interval());
        let whole = |passed: i64| (passed.div_euclid(interval) - 1).max(0) * interval;
        let months = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
        let passed = (day - self.anchor).num_days();
        match self.rule.get_freq() {
            Frequency::Yearly => {
                let years = whole(i64::from(day.year() - self.anchor.year()));
                let months = u32::try_from(years * 12).ok()?;
                self.anchor.checked_add_months(Months::new(months))
            }
            Frequency::Monthly => {
                let months = whole(months(day) - months(self.anchor));
                let months = u32::try_from(months).ok()?;
                self.anchor.checked_add_months(Months::new(months))
            }
            Frequency::Weekly => self
                .anchor
                .checked_add_signed(TimeDelta::try_weeks(whole(passed.div_euclid(7)))?),
            _ => self
                .anchor
                .checked_add_signed(TimeDelta::try_days(whole(passed))?),
        }
    }

    /// The first day from `day` on; `None` if there is none within the horizon.
    pub fn first_on_or_after(&self, day: NaiveDate) -> Option<NaiveDate> {
        let day = self.start.map_or(day, |start| day.max(start));
        let set = self.set(self.begin_near(day)?).ok()?;
        (&set)
            .into_iter()
            .map(|at| at.date_naive())
            .find(|found| *found >= day)
            .filter(|found| self.last.is_none_or(|last| *found <= last))
    }
}
