//! What a clause says of its times, put together as one recurrence, or why that cannot be done.

use super::{cadence::Cadence, time_of_day::TimeOfDay, window::Window};
use crate::domain::recurrence::{Every, NthWorkingDay, OffDays, RecurrenceSpec};

/// Everything that a clause says about when.
pub struct Said {
    pub cadences: Vec<Cadence>,
    pub times: Vec<TimeOfDay>,
    pub window: Option<Window>,
    pub start: Option<String>,
    pub until: Option<String>,
}

/// Runs a day that are written out as times; more are not.
const TIMES_MAX: usize = 100;
const NO_TIME: &str = "says on which days, but no time of day";
const SEVERAL: &str = "says more than one recurrence in one clause";

pub fn compose(said: Said) -> Result<RecurrenceSpec, String> {
    let mut cadences = said.cadences;
    if let Some(words) = cadences.iter().find_map(Cadence::unknown) {
        return Err(words);
    }
    let mut interval = None;
    let mut often = None;
    let mut weeks = None;
    cadences.retain(|cadence| match cadence {
        Cadence::Minutes(minutes) if interval.is_none() => {
            interval = Some(*minutes);
            false
        }
        Cadence::Often { times, per_day } if often.is_none() => {
            often = Some((*times, *per_day));
            false
        }
        Cadence::Weeks(number) if weeks.is_none() => {
            weeks = Some(*number);
            false
        }
        _ => true,
    });
    let days = cadences.pop();
    if !cadences.is_empty() {
        return Err(SEVERAL.into());
    }
    let mut spec = match (interval, weeks) {
        (Some(_), Some(_)) => return Err(SEVERAL.into()),
        (Some(minutes), None) => {
            if !said.times.is_empty() {
                return Err("says both an interval and a time of day".into());
            }
            if often.is_some() {
                return Err(SEVERAL.into());
            }
            repeated(minutes, days, said.window)?
        }
        (None, weeks) => {
            if said.window.is_some() {
                return Err("says between which hours, but not how often".into());
            }
            let minutes = minutes(&said.times);
            let days = match (often, days) {
                (None, days) => days,
                (Some((times, true)), days) => {
                    if times != minutes.len() {
                        let many = minutes.len();
                        return Err(format!(
                            "says {times} times a day, but gives {many} times of day"
                        ));
                    }
                    Some(days.unwrap_or_else(Cadence::every_day))
                }
                (Some((times, false)), Some(Cadence::Days { of_week, evening })) => {
                    let many = by_day(&of_week).split(',').count();
                    if times != many {
                        return Err(format!("says {times} times a week, but gives {many} days"));
                    }
                    Some(Cadence::Days { of_week, evening })
                }
                (Some((times, false)), _) => {
                    return Err(format!(
                        "the recurrence “{times} times a week” cannot be kept: it does not say on which days"
                    ));
                }
            };
            on_days(weeks, days, &minutes, said.start.is_some())?
        }
    };
    spec.start = said.start;
    spec.until = said.until;
    Ok(spec)
}

fn minutes(times: &[TimeOfDay]) -> Vec<u32> {
    let mut minutes: Vec<u32> = times.iter().map(|time| time.minutes()).collect();
    minutes.sort_unstable();
    minutes.dedup();
    minutes
}

fn clocks(minutes: &[u32]) -> Vec<String> {
    minutes
        .iter()
        .map(|minute| format!("{:02}:{:02}", minute / 60, minute % 60))
        .collect()
}

fn rule(rrule: String, minutes: &[u32]) -> RecurrenceSpec {
    RecurrenceSpec {
        rrule: Some(rrule),
        at: clocks(minutes),
        ..RecurrenceSpec::default()
    }
}

/// Days of the week as iCalendar has them.
fn by_day(of_week: &str) -> String {
    const NAMES: [&str; 8] = ["SU", "MO", "TU", "WE", "TH", "FR", "SA", "SU"];
    let number = |text: &str| text.parse::<usize>().unwrap_or(0).min(7);
    let days: Vec<&str> = match of_week.split_once('-') {
        _ if of_week == "*" => NAMES[..7].to_vec(),
        Some((first, last)) => NAMES[number(first)..=number(last)].to_vec(),
        None => of_week.split(',').map(|day| NAMES[number(day)]).collect(),
    };
    days.join(",")
}

fn weekly(of_week: &str) -> String {
    if of_week == "*" {
        "FREQ=DAILY".into()
    } else {
        format!("FREQ=WEEKLY;BYDAY={}", by_day(of_week))
    }
}

/// Every so many minutes, perhaps on some days and between some hours only.
fn repeated(
    minutes: u32,
    days: Option<Cadence>,
    window: Option<Window>,
) -> Result<RecurrenceSpec, String> {
    let of_week = match days {
        None => "*".to_owned(),
        Some(Cadence::Days {
            of_week,
            evening: false,
        }) => of_week,
        Some(_) => return Err(SEVERAL.into()),
    };
    let hours = minutes / 60;
    let whole_hours = minutes.is_multiple_of(60);
    if let Some(Window { first, last }) = window {
        if whole_hours && first.minute == last.minute {
            let step = if hours == 1 {
                String::new()
            } else {
                format!("/{hours}")
            };
            let (minute, first, last) = (first.minute, first.hour, last.hour);
            let cron = format!("{minute} {first}-{last}{step} * * {of_week}");
            return Ok(RecurrenceSpec::cron(cron));
        }
        let times: Vec<u32> = (first.minutes()..=last.minutes())
            .step_by(minutes as usize)
            .collect();
        if times.len() > TIMES_MAX {
            return Err(format!(
                "{} runs a day between these hours are more than can be kept",
                times.len()
            ));
        }
        return Ok(rule(weekly(&of_week), &times));
    }
    if minutes == 1 {
        return Ok(RecurrenceSpec::cron(format!("* * * * {of_week}")));
    }
    if minutes < 60 && 60_u32.is_multiple_of(minutes) {
        return Ok(RecurrenceSpec::cron(format!("*/{minutes} * * * {of_week}")));
    }
    if minutes == 60 {
        return Ok(RecurrenceSpec::cron(format!("0 * * * {of_week}")));
    }
    if whole_hours && hours < 24 && 24_u32.is_multiple_of(hours) {
        return Ok(RecurrenceSpec::cron(format!("0 */{hours} * * {of_week}")));
    }
    let off_days = match of_week.as_str() {
        "*" => None,
        "1-5" => Some(OffDays::Skip),
        _ => {
            return Err(format!(
                "{minutes} minutes do not divide a day; say between which hours"
            ));
        }
    };
    Ok(RecurrenceSpec {
        every: Some(Every { hours: 0, minutes }),
        off_days,
        ..RecurrenceSpec::default()
    })
}

/// On some days, at times of day.
fn on_days(
    weeks: Option<u32>,
    days: Option<Cadence>,
    minutes: &[u32],
    has_start: bool,
) -> Result<RecurrenceSpec, String> {
    let Some(first) = minutes.first() else {
        return Err(NO_TIME.into());
    };
    let same_minute = minutes.iter().all(|minute| minute % 60 == first % 60);
    let hours: Vec<String> = minutes
        .iter()
        .map(|minute| (minute / 60).to_string())
        .collect();
    let clock = format!("{} {}", first % 60, hours.join(","));
    let every = |number: u32| {
        if number == 1 {
            String::new()
        } else {
            format!(";INTERVAL={number}")
        }
    };
    Ok(match (weeks, days) {
        (Some(weeks), Some(Cadence::Days { of_week, .. })) => {
            let rrule = format!("FREQ=WEEKLY{};BYDAY={}", every(weeks), by_day(&of_week));
            rule(rrule, minutes)
        }
        (Some(weeks), None) if has_start => rule(format!("FREQ=WEEKLY{}", every(weeks)), minutes),
        (Some(weeks), None) => {
            return Err(format!(
                "says every {weeks} weeks, but neither on which day nor from which day on"
            ));
        }
        (Some(_), Some(_)) => return Err(SEVERAL.into()),
        (None, Some(Cadence::Days { of_week, .. })) if same_minute => {
            RecurrenceSpec::cron(format!("{clock} * * {of_week}"))
        }
        (None, Some(Cadence::Days { of_week, .. })) => rule(weekly(&of_week), minutes),
        (None, Some(Cadence::OfMonth(days))) if same_minute => {
            RecurrenceSpec::cron(format!("{clock} {days} * *"))
        }
        (None, Some(Cadence::OfMonth(days))) => {
            rule(format!("FREQ=MONTHLY;BYMONTHDAY={days}"), minutes)
        }
        (None, Some(Cadence::Rule(rrule))) => rule(rrule, minutes),
        (None, Some(Cadence::Working(nth, of))) => RecurrenceSpec {
            working_day: Some(NthWorkingDay { nth, of }),
            at: clocks(minutes),
            ..RecurrenceSpec::default()
        },
        (None, _) => return Err(NO_TIME.into()),
    })
}
