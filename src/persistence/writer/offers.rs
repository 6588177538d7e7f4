//! Which ends of runs are offered to other employees. It is decided here, in the commit that has the end, by who is listening in the
//! database: what a node remembers of listeners may be late, and what is not written then is never offered.

use super::runs::Finished;
use crate::persistence::rows::Column;

/// The key of the timer row that stands for an offer.
pub const OFFER_KEY: &str = "offer";
/// When the row is due after the end of its run, in microseconds. The node that wrote it offers at once; the row is for when it cannot.
const DUE_AFTER_US: i64 = 5_000_000;

/// Which patterns are looked at; as the index has it.
pub(in crate::persistence) const MAY_MEAN_AN_EMPLOYEE: &str = "substr(s.source, length(s.source)) = '*'
    AND substr(substr(s.source, 1, length(s.source) - 1), 1, 9) = substr('employee:', 1, length(s.source) - 1)";

/// Puts a row for each run of `t` that has ended and that somebody listens to: by a subscription to this employee or to a pattern, or by a
/// wait for such an event. More is for the router to see. PostgreSQL takes it
/// along with the statement that writes the runs, in one round trip.
pub(super) fn insert_offers() -> String {
    format!(
        "INSERT INTO timer (org_id, owner, key, employee_id, due_us)
         SELECT t.org_id, t.id, '{OFFER_KEY}', t.employee_id, t.finished_us + {DUE_AFTER_US} FROM t
         WHERE t.finished_us IS NOT NULL AND (
             EXISTS (SELECT 1 FROM subscription s WHERE s.org_id = t.org_id AND s.source = t.result_source)
             OR EXISTS (SELECT 1 FROM subscription s WHERE s.org_id = t.org_id AND {MAY_MEAN_AN_EMPLOYEE}
                 AND substr(s.source, 1, length(s.source) - 1) = substr(t.result_source, 1, length(s.source) - 1))
             OR EXISTS (SELECT 1 FROM event_wait w WHERE w.org_id = t.org_id AND w.event = t.result_event))
         ON CONFLICT (owner, key) DO NOTHING"
    )
}

/// The columns that [`insert_offers`] reads of a run beside those of its row.
pub(super) fn columns<'a>(
    finished: impl Iterator<Item = Option<&'a Finished>> + Clone,
) -> Vec<(&'static str, Column<'a>)> {
    vec![
        (
            "result_source",
            Column::MaybeText(
                finished
                    .clone()
                    .map(|one| one.map(|one| one.source.as_str()))
                    .collect(),
            ),
        ),
        (
            "result_event",
            Column::MaybeText(finished.map(|one| one.map(|one| one.event)).collect()),
        ),
    ]
}
