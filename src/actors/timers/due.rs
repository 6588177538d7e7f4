//! Reads the rows of timers: those of steps, which fire, and those of results that are to be offered.

use super::{AGAIN_AFTER, TimerTarget};
use crate::{
    actors::{
        cluster::{Cluster, employee_entity},
        core::Core,
        offers::back_off,
    },
    domain::{ExecutionId, Timestamp},
    graph::TimerKey,
    persistence::{DbError, OFFER_KEY, TimerRow, timers_due, timers_postpone},
};
use std::{str::FromStr, time::Duration};

/// Most timers that are read at once.
const PAGE: u32 = 5_000;
/// Most timers that one reading takes. The next one begins again with the earliest, of which those that fire are gone by then and those that
/// cannot are put off.
const TAKEN_MAX: usize = 100_000;
/// Most results that one reading takes: each is read and offered before the next reading gives any.
const OFFERS_MAX: usize = 1_000;
/// A timer that nobody took is due again after this at first, and at most. An employee that wakes or is released does not wait for it: it
/// sets its timers itself.
const STUCK_FIRST: Duration = Duration::from_secs(30);
const STUCK_LAST: Duration = Duration::from_secs(120);
/// The same for a row that cannot be read.
const UNKNOWN_LAST: Duration = Duration::from_secs(3_600);
/// A timer that is due for so long was left by whoever should have fired it: what is known of where its employee lives may be wrong.
const LATE: Duration = Duration::from_secs(5);

/// What a row is about, as its key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKey {
    /// A step of a run waits for a time.
    Step(TimerKey),
    /// The run's end is to be offered to those who listen.
    Offer,
}

#[derive(Debug, thiserror::Error)]
#[error("a timer with the key {0:?}, which nothing here reads")]
pub struct UnknownKey(String);

impl FromStr for RowKey {
    type Err = UnknownKey;
    fn from_str(key: &str) -> Result<Self, UnknownKey> {
        if key == OFFER_KEY {
            return Ok(Self::Offer);
        }
        let timer = serde_json::from_str(key);
        timer
            .map(Self::Step)
            .map_err(|_| UnknownKey(key.chars().take(200).collect()))
    }
}

/// What was read.
#[derive(Default)]
pub struct Due {
    pub timers: Vec<(TimerTarget, Timestamp)>,
    pub offers: Vec<TimerRow>,
    /// What is put off, until when.
    stuck: Vec<(TimerRow, Timestamp)>,
}

impl Due {
    fn add(&mut self, row: TimerRow, now: Timestamp) {
        let overdue = now.since(row.due);
        match row.key.parse() {
            Ok(RowKey::Step(timer)) => {
                let target = TimerTarget {
                    org: row.org_id,
                    employee: row.employee_id,
                    execution: ExecutionId::from_uuid(row.owner),
                    timer,
                };
                self.timers.push((target, row.due));
                if overdue >= AGAIN_AFTER {
                    self.put_off(row, now, STUCK_LAST);
                }
            }
            Ok(RowKey::Offer) if row.due <= now => {
                if self.offers.len() < OFFERS_MAX {
                    self.offers.push(row);
                }
            }
            Ok(RowKey::Offer) => {}
            Err(error) => {
                tracing::error!(run = %ExecutionId::from_uuid(row.owner), employee = %row.employee_id, %error, "a timer never fires");
                self.put_off(row, now, UNKNOWN_LAST);
            }
        }
    }

    fn put_off(&mut self, row: TimerRow, now: Timestamp, last: Duration) {
        let later = now.after(back_off(row.tries, STUCK_FIRST, last));
        self.stuck.push((row, later));
    }

    fn taken(&self) -> usize {
        self.timers.len() + self.offers.len()
    }
}

/// Timers that are due by `until` and this node's to fire. Those whose time has passed long ago fire once more and are put off.
pub async fn read(core: &Core, until: Timestamp) -> Result<Due, DbError> {
    let (mut due, now) = (Due::default(), core.clock.now());
    let mut after: Option<TimerRow> = None;
    loop {
        let mut tx = core.db.begin_system_read("timers due soon").await?;
        let rows = timers_due(&mut tx, until, after.as_ref(), PAGE).await?;
        drop(tx);
        let is_last = rows.len() < PAGE as usize;
        after = rows.last().cloned();
        for row in rows {
            if is_ours(core.cluster.as_deref(), &row, now) {
                due.add(row, now);
            }
        }
        if is_last || due.taken() >= TAKEN_MAX {
            break;
        }
    }
    let stuck = std::mem::take(&mut due.stuck);
    for part in stuck.chunks(PAGE as usize) {
        let part: Vec<(&TimerRow, Timestamp)> =
            part.iter().map(|(row, later)| (row, *later)).collect();
        let mut tx = core.db.begin_system("timers that nobody takes").await?;
        timers_postpone(&mut tx, &part).await?;
        tx.commit().await?;
    }
    Ok(due)
}

/// Whether the employee lives on this node, or nowhere and should live here. Two nodes may both think so for a moment: what fires twice
/// is ignored by its run. If none does, the next reading finds it.
fn is_ours(cluster: Option<&Cluster>, row: &TimerRow, now: Timestamp) -> bool {
    let Some(cluster) = cluster else { return true };
    let entity = employee_entity(row.employee_id);
    cluster.is_here(entity) || (now.since(row.due) > LATE && cluster.is_mine(entity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{StepId, TimerPurpose};

    #[test]
    fn keys_of_rows_are_read_and_others_are_named() {
        let step = StepId {
            skill: 0,
            skill_visit: 1,
            node: 0,
            visit: 1,
            item: None,
        };
        let timer = TimerKey {
            step,
            attempt: 1,
            purpose: TimerPurpose::Wait,
        };
        let key = serde_json::to_string(&timer).unwrap();
        assert_eq!(key.parse::<RowKey>().unwrap(), RowKey::Step(timer));
        assert_eq!("offer".parse::<RowKey>().unwrap(), RowKey::Offer);
        for unknown in ["", "offers", "{}", "null", "reminder:7", "[1]"] {
            let error = unknown.parse::<RowKey>().unwrap_err();
            assert!(
                error.to_string().contains(&format!("{unknown:?}")),
                "{error}"
            );
        }
    }
}
