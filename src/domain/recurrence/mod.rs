//! When something happens again and again, in a time zone. Pure: the one place that says when a schedule is due.
//!
//! Clock changes. Fixed times (cron expressions that list hours and minutes, and everything said by `at`) come once a day each: one that the
//! clocks leave out comes at the end of the gap, as cron(8) has it (RFC 5545 drops it, which would lose a run); one that comes twice counts
//! the first time, as both have it. Two that the gap moves to one instant are one. Intervals (cron with `*` or `*/n` as its minute or hour,
//! and `every`) follow the time that passes.

mod cron;
mod rule;
mod spec;
#[cfg(test)]
mod tests;
mod wall;
mod working;

pub use spec::{Every, NthWorkingDay, OffDays, Period, RecurrenceSpec};
pub use working::{WeekDay, WorkingCalendar};

use super::Timestamp;
use chrono::{Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime};
use chrono_tz::Tz;
use std::{collections::VecDeque, sync::Arc};

/// Days of a rule that are looked at for one that counts. Beyond it there is none.
const LOOK: usize = 4_000;
/// Times that are counted one by one for a sum.
const COUNTED_MAX: u64 = 20_000;
const MINUTES_MAX: u64 = 366 * 24 * 60;
const TIMES_MAX: usize = 100;
const MICROS: i64 = 1_000_000;

/// Which field of a recurrence is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RecurrenceError {
    pub field: &'static str,
    pub message: String,
}

impl RecurrenceError {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

/// A recurrence that was found good.
#[derive(Debug)]
pub struct Recurrence {
    zone: Tz,
    rule: Rule,
    start: Option<Timestamp>,
    until: Option<Timestamp>,
    off_days: Option<OffDays>,
    calendar: Arc<WorkingCalendar>,
}

#[derive(Debug)]
enum Rule {
    /// Microseconds from one time to the next.
    Every { anchor: Timestamp, step: i64 },
    /// Days, and minutes of the day in ascending order; `interval`: in every hour that the clocks show.
    Days {
        days: Box<DayRule>,
        minutes: Vec<u16>,
        interval: bool,
    },
}

#[derive(Debug)]
enum DayRule {
    Cron(cron::CronDays),
    Rule(rule::RuleDays),
    Working(NthWorkingDay),
}

/// What was due in a span of time.
#[derive(Debug, PartialEq, Eq)]
pub struct Due {
    /// Those before `last`, from `first` on; at least so many if there are very many.
    pub older: u64,
    pub first: Timestamp,
    /// The last ones, ascending; never empty.
    pub last: Vec<Timestamp>,
}

impl Recurrence {
    /// # Errors
    /// The first field that is wrong; `time_zone` for the zone.
    pub fn parse(
        spec: &RecurrenceSpec,
        time_zone: &str,
        calendar: Arc<WorkingCalendar>,
    ) -> Result<Self, RecurrenceError> {
        let zone: Tz = time_zone.parse().map_err(|_| {
            let message =
                format!("time_zone `{time_zone}` is not an IANA time zone such as Europe/Zurich");
            RecurrenceError::new("time_zone", message)
        })?;
        let start = spec.start.as_deref().map(|text| moment("start", text));
        let start = start.transpose()?;
        let until = spec.until.as_deref().map(|text| moment("until", text));
        let until = until.transpose()?;
        let said = [
            spec.cron.is_some(),
            spec.every.is_some(),
            spec.rrule.is_some(),
            spec.working_day.is_some(),
        ];
        if said.iter().filter(|said| **said).count() != 1 {
            let message = "exactly one of `cron`, `every`, `rrule` and `working_day` must be given";
            return Err(RecurrenceError::new("cron", message));
        }
        let start_at = start.map(|moment| wall::once(zone, moment.first()));
        let mut end = until.map(|moment| moment.end(zone));
        let rule = rule_of(spec, zone, start, start_at, &mut end)?;
        if let (Rule::Every { .. } | Rule::Days { interval: true, .. }, Some(off)) =
            (&rule, spec.off_days)
            && off != OffDays::Skip
        {
            let message = "must be `skip` for an interval: its times belong to their days";
            return Err(RecurrenceError::new("off_days", message));
        }
        let recurrence = Self {
            zone,
            rule,
            start: start_at,
            until: end,
            off_days: spec.off_days,
            calendar,
        };
        let begin = start_at.unwrap_or(Timestamp::from_micros(0));
        if end.is_some_and(|end| end < begin) {
            let message = "must not be before `start`";
            return Err(RecurrenceError::new("until", message));
        }
        if recurrence.next_after(before(begin)).is_none() {
            let field = if end.is_some() { "until" } else { "off_days" };
            let message = "leaves nothing: it is never due";
            return Err(RecurrenceError::new(field, message));
        }
        Ok(recurrence)
    }

    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first time after `after`; `None` if there is none any more.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = self.start.map_or(after, |start| after.max(before(start)));
        let next = match &self.rule {
            Rule::Every { anchor, step } => self.worked(after, |after| {
                let passed = after.micros().checked_sub(anchor.micros())?;
                let number = passed.div_euclid(*step) + 1;
                let at = anchor.micros().checked_add(number.checked_mul(*step)?)?;
                Some(Timestamp::from_micros(at))
            }),
            Rule::Days {
                days,
                minutes,
                interval: true,
            } => self.worked(after, |after| {
                let next = |wall, inclusive| self.next_wall(days, minutes, wall, inclusive);
                wall::each(self.zone, after, next)
            }),
            Rule::Days { days, minutes, .. } => self.next_fixed(days, minutes, after),
        }?;
        self.until.is_none_or(|until| next <= until).then_some(next)
    }

    /// Up to `count` times after `after`.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let times = std::iter::successors(self.next_after(after), |at| self.next_after(*at));
        times.take(count).collect()
    }

    /// What was due from `first`, which counts, up to `now`: the last `keep` one by one, the older ones as a number. The work is bounded
    /// whatever the span is. `None` if `first` is after `now`.
    pub fn due(&self, first: Timestamp, now: Timestamp, keep: usize) -> Option<Due> {
        if first > now {
            return None;
        }
        let mut window = 3_600 * MICROS;
        let (last, complete) = loop {
            let from = now.micros().saturating_sub(window).max(first.micros());
            let from = Timestamp::from_micros(from);
            let complete = from == first;
            let (mut last, mut seen) = (VecDeque::with_capacity(keep + 1), 0);
            let begin = if complete {
                Some(first)
            } else {
                self.next_after(from)
            };
            let times = std::iter::successors(begin, |at| self.next_after(*at));
            for at in times.take_while(|at| *at <= now) {
                last.push_back(at);
                seen += 1;
                if last.len() > keep {
                    last.pop_front();
                }
            }
            if complete || seen >= keep {
                break (Vec::from(last), complete && seen <= keep);
            }
            window = window.saturating_mul(2);
        };
        let older = match last.first() {
            Some(oldest) if !complete => {
                let times = std::iter::successors(Some(first), |at| self.next_after(*at));
                let older = times
                    .take_while(|at| at < oldest)
                    .zip(1..=COUNTED_MAX)
                    .last();
                older.map_or(0, |(_, count)| count)
            }
            _ => 0,
        };
        Some(Due { older, first, last })
    }

    /// The first time of an interval on a day that counts.
    fn worked(
        &self,
        after: Timestamp,
        next: impl Fn(Timestamp) -> Option<Timestamp>,
    ) -> Option<Timestamp> {
        let mut after = after;
        for _ in 0..LOOK {
            let at = next(after)?;
            let day = wall::local(self.zone, at).date();
            if self.off_days.is_none() || self.calendar.is_worked(day) {
                return Some(at);
            }
            let free = self
                .calendar
                .first_on_or_after(day)?
                .and_time(NaiveTime::MIN);
            after = before(wall::once(self.zone, free)).max(at);
        }
        None
    }

    /// The first wall time of an interval from `from` on.
    fn next_wall(
        &self,
        days: &DayRule,
        minutes: &[u16],
        from: NaiveDateTime,
        inclusive: bool,
    ) -> Option<NaiveDateTime> {
        let mut day = days.first_on_or_after(from.date(), &self.calendar)?;
        loop {
            let found = minutes
                .iter()
                .map(|minute| at_minute(day, *minute))
                .find(|at| *at > from || inclusive && *at == from);
            if found.is_some() {
                return found;
            }
            day = days.first_on_or_after(day.succ_opt()?, &self.calendar)?;
        }
    }

    fn next_fixed(&self, days: &DayRule, minutes: &[u16], after: Timestamp) -> Option<Timestamp> {
        // A time that a gap at midnight leaves out comes on the next day.
        let mut day = wall::local(self.zone, after).date().pred_opt()?;
        for _ in 0..LOOK {
            day = self.day_from_on(days, day)?;
            let times = minutes.iter();
            let found = times
                .map(|minute| wall::once(self.zone, at_minute(day, *minute)))
                .find(|at| *at > after);
            if found.is_some() {
                return found;
            }
            day = day.succ_opt()?;
        }
        None
    }

    /// The first day from `from` on which the rule's times come, after days that are not worked were passed over or made up for.
    fn day_from_on(&self, days: &DayRule, from: NaiveDate) -> Option<NaiveDate> {
        // What is moved to the next working day may have been said of a day before.
        let mut raw = match self.off_days {
            Some(OffDays::Next) => self
                .calendar
                .up_to(from.pred_opt()?)
                .map_or(Some(from), |worked| worked.succ_opt())?,
            _ => from,
        };
        for _ in 0..LOOK {
            raw = days.first_on_or_after(raw, &self.calendar)?;
            let day = match self.off_days {
                None => Some(raw),
                Some(OffDays::Skip) => self.calendar.is_worked(raw).then_some(raw),
                Some(OffDays::Next) => self.calendar.first_on_or_after(raw),
                Some(OffDays::Previous) => self.calendar.up_to(raw),
            };
            if let Some(day) = day.filter(|day| *day >= from) {
                return Some(day);
            }
            raw = raw.succ_opt()?;
        }
        None
    }
}

impl DayRule {
    fn first_on_or_after(&self, day: NaiveDate, calendar: &WorkingCalendar) -> Option<NaiveDate> {
        match self {
            DayRule::Cron(days) => days.first_on_or_after(day),
            DayRule::Rule(days) => days.first_on_or_after(day),
            DayRule::Working(NthWorkingDay { nth, of }) => {
                let mut first = of.first_day(day)?;
                for _ in 0..60 {
                    let next = of.next(first)?;
                    let found = calendar.nth(first, next.pred_opt()?, *nth);
                    if let Some(found) = found.filter(|found| *found >= day) {
                        return Some(found);
                    }
                    first = next;
                }
                None
            }
        }
    }
}

impl Period {
    fn first_day(self, day: NaiveDate) -> Option<NaiveDate> {
        let month = match self {
            Period::Week => return Some(day.week(chrono::Weekday::Mon).first_day()),
            Period::Month => day.month(),
            Period::Quarter => day.month0() / 3 * 3 + 1,
            Period::Year => 1,
        };
        NaiveDate::from_ymd_opt(day.year(), month, 1)
    }

    fn next(self, first: NaiveDate) -> Option<NaiveDate> {
        match self {
            Period::Week => first.checked_add_days(Days::new(7)),
            Period::Month => first.checked_add_months(Months::new(1)),
            Period::Quarter => first.checked_add_months(Months::new(3)),
            Period::Year => first.checked_add_months(Months::new(12)),
        }
    }

    /// Working days that each has at least, without holidays.
    fn least(self) -> i32 {
        match self {
            Period::Week => 5,
            Period::Month => 20,
            Period::Quarter => 64,
            Period::Year => 260,
        }
    }
}

fn rule_of(
    spec: &RecurrenceSpec,
    zone: Tz,
    start: Option<Moment>,
    start_at: Option<Timestamp>,
    end: &mut Option<Timestamp>,
) -> Result<Rule, RecurrenceError> {
    let at = times(&spec.at)?;
    let needs_at = |minutes: Vec<u16>| {
        if minutes.is_empty() {
            let message = "must name at least one time of day such as 09:00";
            return Err(RecurrenceError::new("at", message));
        }
        Ok(minutes)
    };
    let no_at = |minutes: &[u16]| {
        if !minutes.is_empty() {
            let message = "belongs to `rrule` and `working_day`; the times are said already";
            return Err(RecurrenceError::new("at", message));
        }
        Ok(())
    };
    if let Some(text) = &spec.cron {
        no_at(&at)?;
        let cron::Parsed {
            days,
            minutes,
            interval,
        } = cron::parse(text)?;
        return Ok(Rule::Days {
            days: Box::new(DayRule::Cron(days)),
            minutes,
            interval,
        });
    }
    if let Some(every) = spec.every {
        no_at(&at)?;
        let minutes = u64::from(every.hours) * 60 + u64::from(every.minutes);
        if !(1..=MINUTES_MAX).contains(&minutes) {
            let message = format!("must be 1 to {MINUTES_MAX} minutes");
            return Err(RecurrenceError::new("every", message));
        }
        let midnight = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
        return Ok(Rule::Every {
            anchor: start_at.unwrap_or_else(|| wall::once(zone, midnight.and_time(NaiveTime::MIN))),
            step: minutes as i64 * 60 * MICROS,
        });
    }
    if let Some(working) = spec.working_day {
        let most = working.of.least();
        if working.nth == 0 || working.nth.abs() > most {
            let message = format!("must be 1 to {most} or -1 to -{most}");
            return Err(RecurrenceError::new("working_day.nth", message));
        }
        return Ok(Rule::Days {
            days: Box::new(DayRule::Working(working)),
            minutes: needs_at(at)?,
            interval: false,
        });
    }
    let text = spec.rrule.as_deref().unwrap_or_default();
    let start = start.map(|moment| moment.first().date());
    let parsed = rule::parse(text, start)?;
    if !parsed.minutes.is_empty() {
        no_at(&at)?;
    }
    if parsed.counted && at.len() > 1 {
        let message = "COUNT with several times of day: say `until`";
        return Err(RecurrenceError::new("rrule", message));
    }
    if let Some(until) = parsed.until {
        let own = match until {
            rule::Until::Day(day) => Moment::Day(day).end(zone),
            rule::Until::Wall(wall) => Moment::Wall(wall).end(zone),
            rule::Until::Utc(utc) => utc.and_utc().into(),
        };
        *end = Some(end.map_or(own, |end| end.min(own)));
    }
    let minutes = if parsed.minutes.is_empty() {
        needs_at(at)?
    } else {
        let mut minutes = parsed.minutes;
        minutes.sort_unstable();
        minutes
    };
    Ok(Rule::Days {
        days: Box::new(DayRule::Rule(parsed.days)),
        minutes,
        interval: false,
    })
}

/// A date or a wall time.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Day(NaiveDate),
    Wall(NaiveDateTime),
}

impl Moment {
    fn first(self) -> NaiveDateTime {
        match self {
            Moment::Day(day) => day.and_time(NaiveTime::MIN),
            Moment::Wall(wall) => wall,
        }
    }

    /// The last instant that belongs to it.
    fn end(self, zone: Tz) -> Timestamp {
        match self {
            Moment::Day(day) => {
                let next = day.succ_opt().unwrap_or(day).and_time(NaiveTime::MIN);
                before(wall::once(zone, next))
            }
            Moment::Wall(wall) => wall::once(zone, wall),
        }
    }
}

fn moment(field: &'static str, text: &str) -> Result<Moment, RecurrenceError> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(Moment::Day);
    let wall = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").map(Moment::Wall);
    let found = day.or_else(|_| wall()).ok().filter(|moment| {
        let year = moment.first().year();
        (1970..=9000).contains(&year)
    });
    found.ok_or_else(|| {
        let message = format!(
            "`{text}` is neither a date such as 2027-03-03 nor a time such as 2027-03-03T09:00"
        );
        RecurrenceError::new(field, message)
    })
}

fn times(texts: &[String]) -> Result<Vec<u16>, RecurrenceError> {
    if texts.len() > TIMES_MAX {
        let message = format!("must be {TIMES_MAX} times at most");
        return Err(RecurrenceError::new("at", message));
    }
    let read = |text: &String| {
        let (hour, minute) = text.split_once(':')?;
        let digits = |part: &str, most: u16| {
            let plain = part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            let number: Option<u16> = part.parse().ok();
            number.filter(|number| plain && *number <= most)
        };
        Some(digits(hour, 23)? * 60 + digits(minute, 59)?)
    };
    let mut minutes = texts
        .iter()
        .map(|text| {
            read(text).ok_or_else(|| {
                let message = format!("`{text}` is no time of day such as 09:00");
                RecurrenceError::new("at", message)
            })
        })
        .collect::<Result<Vec<u16>, _>>()?;
    minutes.sort_unstable();
    minutes.dedup();
    Ok(minutes)
}

fn at_minute(day: NaiveDate, minute: u16) -> NaiveDateTime {
    day.and_time(NaiveTime::MIN) + chrono::Duration::minutes(minute.into())
}

fn before(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_sub(1))
}
