//! Wall clock times as instants: what happens to times that a clock change leaves out or repeats.

use crate::domain::Timestamp;
use chrono::{DateTime, Duration, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

/// Steps in which a clock change is looked for. No zone changes its clocks twice within one.
const STEP: Duration = Duration::hours(12);

/// What the clocks of the zone show at an instant.
pub fn local(zone: Tz, at: Timestamp) -> NaiveDateTime {
    at.to_chrono().with_timezone(&zone).naive_local()
}

/// The instant of a wall clock time that is meant once: the first of two, and the end of the gap for one that is left out.
///
/// Never goes back: a later wall time is never an earlier instant.
pub fn once(zone: Tz, wall: NaiveDateTime) -> Timestamp {
    match zone.from_local_datetime(&wall) {
        chrono::LocalResult::Single(at) => at.with_timezone(&Utc).into(),
        chrono::LocalResult::Ambiguous(one, other) => one.min(other).with_timezone(&Utc).into(),
        chrono::LocalResult::None => gap_end(zone, wall).into(),
    }
}

/// The first instant whose wall time is later than one that the clocks leave out.
fn gap_end(zone: Tz, wall: NaiveDateTime) -> DateTime<Utc> {
    let (mut before, mut behind) = (
        (wall - Duration::hours(26)).and_utc(),
        (wall + Duration::hours(26)).and_utc(),
    );
    while behind - before > Duration::seconds(1) {
        let middle = before + (behind - before) / 2;
        if middle.with_timezone(&zone).naive_local() > wall {
            behind = middle;
        } else {
            before = middle;
        }
    }
    // The halves are not whole seconds; the changes are.
    DateTime::from_timestamp(behind.timestamp(), 0).unwrap_or(behind)
}

fn offset(zone: Tz, at: DateTime<Utc>) -> Duration {
    let offset = zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    Duration::seconds(offset.local_minus_utc().into())
}

/// The first instant after `after` whose wall time is one of those that `next` gives, in every hour that the clocks show: what is left
/// out is not made up for, what comes twice counts twice. `next(wall, inclusive)` gives the first wanted wall time from there on.
pub fn each(
    zone: Tz,
    after: Timestamp,
    next: impl Fn(NaiveDateTime, bool) -> Option<NaiveDateTime>,
) -> Option<Timestamp> {
    let (mut from, mut inclusive) = (after.to_chrono(), false);
    loop {
        let shift = offset(zone, from);
        let wanted = next(from.naive_utc() + shift, inclusive)?;
        let at = (wanted - shift).and_utc();
        match change(zone, from, at) {
            None => return Some(at.into()),
            Some(change) => (from, inclusive) = (change, true),
        }
    }
}

/// The first instant after `from` and not after `to` from which the clocks show another offset than at `from`.
fn change(zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let shift = offset(zone, from);
    let mut before = from;
    while before < to {
        let behind = (before + STEP).min(to);
        if offset(zone, behind) != shift {
            let (mut before, mut behind) = (before.timestamp(), behind.timestamp());
            while behind - before > 1 {
                let middle = before + (behind - before) / 2;
                let same = DateTime::from_timestamp(middle, 0)
                    .is_some_and(|middle| offset(zone, middle) == shift);
                if same {
                    before = middle;
                } else {
                    behind = middle;
                }
            }
            return DateTime::from_timestamp(behind, 0);
        }
        before = behind;
    }
    None
}
