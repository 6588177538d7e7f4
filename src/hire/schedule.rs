//! Times in a clause: how often, at what time, from when to when, where. Reads them as a recurrence, or says what is missing; never fills
//! it in.

mod bounds;
mod cadence;
mod compose;
mod time_of_day;
mod window;

use super::{
    text::Token,
    zone::{self, Zone},
};
use crate::domain::recurrence::RecurrenceSpec;
use cadence::Cadence;
use compose::{Said, compose};
use time_of_day::{TimeOfDay, Written};

/// What a clause says about when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub found: Option<When>,
    /// By token: whether it belongs to the time.
    pub covered: Vec<bool>,
    /// Why a time that the clause speaks of cannot be kept.
    pub problem: Option<String>,
}

/// A recurring time. Its `start` and `until` may lack the year (`03-01`) or the day (`03`): whoever hires knows which is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    pub recurrence: RecurrenceSpec,
    /// IANA name, if the text gives one.
    pub zone: Option<String>,
}

/// Whether a recurrence begins here, as in "and every Monday"; such a clause is one of its own.
pub fn begins(tokens: &[Token]) -> bool {
    cadence::at(tokens, 0, false).is_some_and(|(_, end)| end > 0)
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
        let open = matches!(
            cadences.last(),
            Some(Cadence::Weeks(_) | Cadence::Often { .. })
        );
        match cadence::at(tokens, at, open) {
            Some((cadence, end)) => {
                reading.cover(at, end);
                cadences.push(cadence);
                at = end;
            }
            None => at += 1,
        }
    }
    // Without a recurrence a number after "at" may be anything.
    if cadences.is_empty() {
        return reading;
    }
    let evening = cadences
        .iter()
        .any(|cadence| matches!(cadence, Cadence::Days { evening: true, .. }));
    let zone = zone::read(tokens).map(|(zone, span)| {
        reading.cover(span.start, span.end);
        zone
    });
    let window = window::read(tokens, &reading.covered).map(|(window, span)| {
        reading.cover(span.start, span.end);
        window
    });
    let times = times(tokens, &mut reading, evening);
    let times = match time_of_day::settle(times) {
        Ok(times) => times,
        Err(problem) => {
            reading.problem = Some(problem);
            return reading;
        }
    };
    let bounds = bounds::read(tokens, &reading.covered);
    for span in &bounds.spans {
        reading.cover(span.start, span.end);
    }
    let zone = match zone {
        None => None,
        Some(Zone::Named(zone)) => Some(zone),
        Some(Zone::Several { said, candidates }) => {
            let candidates = candidates.join(", ");
            reading.problem = Some(format!(
                "“{said}” may be any of several time zones ({candidates}); name one of them"
            ));
            return reading;
        }
    };
    let said = Said {
        cadences,
        times,
        window,
        start: bounds.start,
        until: bounds.until,
    };
    match bounds.problem.map_or_else(|| compose(said), Err) {
        Ok(recurrence) => reading.found = Some(When { recurrence, zone }),
        Err(problem) => reading.problem = Some(problem),
    }
    reading
}

impl Reading {
    fn cover(&mut self, start: usize, end: usize) {
        self.covered[start..end].fill(true);
    }
}

/// All times of day of the clause, in order, each with how it is written.
fn times(tokens: &[Token], reading: &mut Reading, evening: bool) -> Vec<(TimeOfDay, Written)> {
    let mut times = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let follows = !times.is_empty() && at > 0 && reading.covered[at - 1];
        match time_of_day::at(tokens, at, follows, evening).filter(|_| !reading.covered[at]) {
            Some((time, end)) => {
                reading.cover(at, end);
                times.push((time, time_of_day::how_written(&tokens[at..end], time)));
                at = end;
            }
            None => at += 1,
        }
    }
    times
}

#[cfg(test)]
mod tests;
