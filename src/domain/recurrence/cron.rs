//! Cron expressions: which days, which times of day, and whether they are times or an interval.
//!
//! The `croner` crate reads them and says which days fit. What happens at clock changes is decided here, as cron(8) does it: a job whose
//! minute or hour field begins with `*` is an interval and follows the clock as it runs; any other names fixed times, each of which comes
//! once a day. The same star decides how the two day fields go together: `1,15 * 1` is any of them, `*/2 * 1` Mondays with an odd number.

use super::RecurrenceError;
use chrono::{Datelike, Months, NaiveDate};
use croner::{Cron, Weekday, parser::CronParser};

/// Within so many years every date that exists comes: a 29 February on a given weekday can be 40 years away.
const YEARS: u32 = 41;

/// The days that a cron expression names.
#[derive(Debug, Clone)]
pub struct CronDays(Cron);

/// An expression taken apart.
#[derive(Debug)]
pub struct Parsed {
    pub days: CronDays,
    /// Minutes of the day, ascending.
    pub minutes: Vec<u16>,
    /// Whether it follows the clock instead of naming times.
    pub interval: bool,
}

/// # Errors
/// What is wrong with the expression, or that no date meets it.
pub fn parse(text: &str) -> Result<Parsed, RecurrenceError> {
    let wrong = |reason: String| RecurrenceError::new("cron", format!("cron `{text}`: {reason}"));
    let trimmed = text.trim();
    let spelled = match trimmed.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => trimmed,
    };
    let fields: Vec<&str> = spelled.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(wrong(format!(
            "has {} fields; right are five: minute, hour, day of month, month, day of week",
            fields.len()
        )));
    };
    // Of two day fields one is enough, unless one of them begins with `*`: `*/2` beside a weekday is no day of its own.
    let needs_both = day.starts_with('*') || weekday.starts_with('*');
    let cron = CronParser::builder()
        .dom_and_dow(needs_both)
        .build()
        .parse(spelled)
        .map_err(|error| wrong(error.to_string()))?;
    let (hours, in_hour) = (cron.pattern.hours.values(), cron.pattern.minutes.values());
    let minutes = hours
        .iter()
        .flat_map(|hour| in_hour.iter().map(move |minute| hour * 60 + minute))
        .collect();
    let days = CronDays(cron);
    let some_day = NaiveDate::from_ymd_opt(2000, 1, 1).expect("a date");
    if days.first_on_or_after(some_day).is_none() {
        return Err(wrong(format!(
            "no date ever meets it: there is no day of month `{day}` in month `{month}`"
        )));
    }
    Ok(Parsed {
        days,
        minutes,
        interval: minute.starts_with('*') || hour.starts_with('*'),
    })
}

impl CronDays {
    /// The first day from `day` on.
    pub fn first_on_or_after(&self, day: NaiveDate) -> Option<NaiveDate> {
        let end = day.checked_add_months(Months::new(12 * YEARS))?;
        let mut day = day;
        while day < end {
            if self.fits_month(day) {
                if self.fits(day) {
                    return Some(day);
                }
                day = day.succ_opt()?;
            } else {
                day = day.with_day(1)?.checked_add_months(Months::new(1))?;
            }
        }
        None
    }

    fn fits_month(&self, day: NaiveDate) -> bool {
        let pattern = &self.0.pattern;
        pattern.month_match(day.month()).unwrap_or(false)
    }

    fn fits(&self, day: NaiveDate) -> bool {
        let weekday = Weekday::from_days_from_sunday(day.weekday().num_days_from_sunday());
        let pattern = &self.0.pattern;
        pattern
            .day_match(day.year(), day.month(), day.day(), weekday)
            .unwrap_or(false)
    }
}
