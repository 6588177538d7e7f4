//! Putting together what is handed to the journal.

use crate::{domain::OrgId, persistence::Append};

/// An append of `org` with nothing in it.
pub fn new_append(org: OrgId) -> Append {
    Append::new(org)
}

/// Whether the facts of `later` follow on those of `earlier`. If not, two employees believe that the run is theirs.
pub fn follows(earlier: &Append, later: &Append) -> bool {
    match (&earlier.run, &later.run) {
        (Some(run), Some(next)) if !run.facts.is_empty() && !next.facts.is_empty() => {
            next.first_seq == run.first_seq + run.facts.len() as u32
        }
        _ => true,
    }
}

/// Adds `later`, of the same run, to `earlier`: one run's facts of one transaction are one row.
///
/// The caller has seen that it [`follows`].
pub fn merge(earlier: &mut Append, later: Append) {
    match (&mut earlier.run, later.run) {
        (Some(run), Some(next)) => {
            if run.facts.is_empty() {
                run.first_seq = next.first_seq;
            }
            run.facts.extend(next.facts);
            run.insert = run.insert.take().or(next.insert);
            run.status = next.status.or(run.status.take());
        }
        (slot @ None, next) => *slot = next,
        (Some(_), None) => {}
    }
    earlier.blobs.extend(later.blobs);
    earlier.approvals.extend(later.approvals);
    earlier.timers.extend(later.timers);
    earlier.waits.extend(later.waits);
    earlier.effects.extend(later.effects);
    earlier.memory.extend(later.memory);
    earlier.undo.extend(later.undo);
    earlier.snapshots.extend(later.snapshots);
    earlier.fires.extend(later.fires);
    earlier.schedules.extend(later.schedules);
    earlier.events.extend(later.events);
    earlier.inbox.extend(later.inbox);
}
