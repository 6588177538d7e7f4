//! Times in a clause: how often, at what time, where. Reads them as cron, or says what is missing; never fills it in.

mod cadence;
mod time_of_day;

use super::{text::Token, zone};
use cadence::Cadence;
use time_of_day::TimeOfDay;

/// What a clause says about when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub found: Option<When>,
    /// By token: whether it belongs to the time.
    pub covered: Vec<bool>,
    /// Why a time that the clause speaks of cannot be kept.
    pub problem: Option<String>,
}

/// A recurring time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// Five fields.
    pub cron: String,
    /// IANA name, if the text gives one.
    pub zone: Option<String>,
}

/// Whether a recurrence begins here, as in "and every Monday"; such a clause is one of its own.
pub fn begins(tokens: &[Token]) -> bool {
    cadence::at(tokens, 0).is_some_and(|(_, end)| end > 0)
        && tokens
            .first()
            .is_some_and(|first| first.is_any(&["every", "each", "on"]))
}

/// Reads the times of a clause.
pub fn read(tokens: &[Token]) -> Reading {
    let mut reading = Reading {
        covered: vec![false; tokens.len()],
        ..Reading::default()
    };
    let mut cadences = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match cadence::at(tokens, at) {
            Some((cadence, end)) => {
                reading.cover(at, end);
                cadences.push(cadence);
                at = end;
            }
            None => at += 1,
        }
    }
    // Without a recurrence a number after "at" may be anything.
    let Some(cadence) = cadences.first().cloned() else {
        return reading;
    };
    let zone = zone::zone(tokens).map(|(zone, span)| {
        reading.cover(span.start, span.end);
        zone
    });
    let evening = cadences
        .iter()
        .any(|cadence| matches!(cadence, Cadence::Days { evening: true, .. }));
    let times = times(tokens, &mut reading, evening);
    match cron(&cadence, cadences.len(), &times) {
        Ok(cron) => reading.found = Some(When { cron, zone }),
        Err(problem) => reading.problem = Some(problem),
    }
    reading
}

impl Reading {
    fn cover(&mut self, start: usize, end: usize) {
        self.covered[start..end].fill(true);
    }
}

/// All times of day of the clause, in order.
fn times(tokens: &[Token], reading: &mut Reading, evening: bool) -> Vec<TimeOfDay> {
    let mut times = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let follows = !times.is_empty() && at > 0 && reading.covered[at - 1];
        match time_of_day::at(tokens, at, follows, evening).filter(|_| !reading.covered[at]) {
            Some((time, end)) => {
                reading.cover(at, end);
                times.push(time);
                at = end;
            }
            None => at += 1,
        }
    }
    times
}

fn cron(cadence: &Cadence, cadences: usize, times: &[TimeOfDay]) -> Result<String, String> {
    if cadences > 1 {
        return Err("says more than one recurrence in one clause".into());
    }
    let (days, fixed) = match cadence {
        Cadence::Unknown(words) => {
            return Err(format!(
                "the recurrence “{words}” cannot be kept as a calendar entry"
            ));
        }
        Cadence::Every(cron) if times.is_empty() => return Ok(cron.clone()),
        Cadence::Every(_) => return Err("says both an interval and a time of day".into()),
        Cadence::Days { of_week, .. } => ("* *".to_owned(), of_week.as_str()),
        Cadence::OfMonth(days) => (format!("{days} *"), "*"),
    };
    let Some(first) = times.first() else {
        return Err("says on which days, but no time of day".into());
    };
    if times.iter().any(|time| time.minute != first.minute) {
        return Err(
            "says times of day with different minutes; say them in clauses of their own".into(),
        );
    }
    let mut hours: Vec<u32> = times.iter().map(|time| time.hour).collect();
    hours.sort_unstable();
    hours.dedup();
    let hours = hours
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",");
    Ok(format!("{} {hours} {days} {fixed}", first.minute))
}

#[cfg(test)]
mod tests;
