//! Pending events in memory, and which of the database's are not. Pure.
//!
//! When more comes than can be held, it lets go of what comes and reads it from the database instead, in order, until it has caught up: what
//! was let go is never passed by what came later.

use super::{
    dispatch::Settled,
    lanes::{Lane, Lanes},
};
use crate::{
    domain::{InboxId, Timestamp},
    persistence::InboxRow,
};
use serde_json::Value;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Events in memory; what is beyond stays in the database until there is room.
pub const QUEUE_MAX: usize = 20_000;
/// Events younger than this are surely at work and were not forgotten.
const AUDIT_AGE: Duration = Duration::from_secs(30);

/// An event in memory.
pub struct Entry {
    pub row: Arc<InboxRow>,
    pub payload: Arc<Value>,
    pub watcher: Option<oneshot::Sender<Settled>>,
    pub attempts: u32,
}

pub struct Backlog {
    pub lanes: Lanes<Box<Entry>>,
    /// Events in memory whose verdict is not durable yet.
    known: HashSet<InboxId>,
    /// There may be pending events in the database that are not in memory: they go first.
    behind: bool,
    /// Something was let go while it was being read, and may not have been seen.
    missed: bool,
    reading: bool,
    read_up_to: Option<InboxId>,
    /// The reading under way looks for forgotten events, and leaves young ones alone.
    auditing: bool,
}

/// Where a page of pending events begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    Start,
    After(InboxId),
}

impl Default for Backlog {
    /// What an earlier life left behind has to be read first.
    fn default() -> Self {
        Self {
            lanes: Lanes::default(),
            known: HashSet::new(),
            behind: true,
            missed: false,
            reading: false,
            read_up_to: None,
            auditing: false,
        }
    }
}

impl Backlog {
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// An event that has just become durable.
    pub fn offer(&mut self, entry: Box<Entry>) {
        if self.behind || self.lanes.len() >= QUEUE_MAX {
            self.fall_behind();
        } else {
            self.queue(entry);
        }
    }

    /// An event was let go.
    pub fn fall_behind(&mut self) {
        if !self.behind {
            self.behind = true;
            self.auditing = false;
            self.read_up_to = None;
        }
        self.missed = true;
    }

    /// Its verdict is durable, or it has to be found in the database again.
    pub fn forget(&mut self, entry: InboxId) {
        self.known.remove(&entry);
    }

    /// Lets the database be asked for events that were forgotten.
    pub fn audit(&mut self) {
        if !self.behind && !self.reading {
            self.auditing = true;
            self.read_up_to = None;
        }
    }

    /// Which page of pending events should be read now, if any; it counts as being read from then on.
    pub fn next_read(&mut self) -> Option<ReadFrom> {
        let wanted =
            (self.behind || self.auditing) && !self.reading && self.lanes.len() < QUEUE_MAX / 2;
        self.reading |= wanted;
        wanted.then(|| self.read_up_to.map_or(ReadFrom::Start, ReadFrom::After))
    }

    pub fn not_read(&mut self) {
        self.reading = false;
        self.auditing = false;
    }

    /// A page of pending events, in order.
    pub fn read(&mut self, rows: Vec<InboxRow>, is_last: bool, now: Timestamp) {
        self.reading = false;
        let last = rows.last().map(|row| row.id);
        for row in rows {
            if self.auditing && !self.behind && now.since(row.last) < AUDIT_AGE {
                continue;
            }
            self.queue(Box::new(Entry {
                payload: Arc::new(serde_json::from_str(&row.payload).unwrap_or_default()),
                row: Arc::new(row),
                watcher: None,
                attempts: 0,
            }));
        }
        match (is_last, self.missed) {
            (false, _) => self.read_up_to = last,
            (true, true) => {
                self.missed = false;
                self.read_up_to = None;
            }
            (true, false) => {
                self.behind = false;
                self.auditing = false;
                self.read_up_to = None;
            }
        }
    }

    fn queue(&mut self, entry: Box<Entry>) {
        if self.known.insert(entry.row.id) {
            let org = entry.row.org_id;
            let lane = match &entry.row.conversation_key {
                Some(key) => Lane::Conversation(org, key.clone()),
                None => Lane::Alone(org, entry.row.id),
            };
            self.lanes.push(lane, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::OrgId, persistence::InboxVerdict};
    use uuid::Uuid;

    fn row(n: u128) -> InboxRow {
        InboxRow {
            org_id: OrgId::from_uuid(Uuid::from_u128(1)),
            id: InboxId::from_uuid(Uuid::from_u128(n)),
            source: "hook:x".into(),
            scheme: "slack".into(),
            external_id: n.to_string(),
            kind: None,
            conversation_key: None,
            received: Timestamp::default(),
            headers: "{}".into(),
            payload: "{}".into(),
            verdict: InboxVerdict::Pending,
            detail: None,
            triggered: "[]".into(),
            deliveries: 1,
            last: Timestamp::default(),
            replays: 0,
        }
    }
    fn entry(n: u128) -> Box<Entry> {
        Box::new(Entry {
            row: Arc::new(row(n)),
            payload: Arc::default(),
            watcher: None,
            attempts: 0,
        })
    }
    fn after(n: u128) -> Option<ReadFrom> {
        Some(ReadFrom::After(InboxId::from_uuid(Uuid::from_u128(n))))
    }
    fn taken(backlog: &mut Backlog) -> Vec<String> {
        let taken = backlog.lanes.take(100).into_iter();
        taken
            .map(|(_, entry)| entry.row.external_id.clone())
            .collect()
    }
    fn caught_up() -> Backlog {
        let mut backlog = Backlog::default();
        backlog.next_read();
        backlog.read(Vec::new(), true, Timestamp::default());
        backlog
    }

    #[test]
    fn what_comes_while_behind_is_read_in_order_and_once() {
        let (mut backlog, now) = (Backlog::default(), Timestamp::from_millis(1));
        assert_eq!(backlog.next_read(), Some(ReadFrom::Start));
        assert_eq!(backlog.next_read(), None, "one at a time");
        backlog.offer(entry(3));
        assert_eq!(
            backlog.lanes.len(),
            0,
            "it would pass what is in the database"
        );
        backlog.read(vec![row(1)], false, now);
        assert_eq!(backlog.next_read(), after(1));
        backlog.read(vec![row(2)], true, now);
        assert!(
            backlog.is_behind(),
            "the third may have come too late for that page"
        );
        assert_eq!(backlog.next_read(), Some(ReadFrom::Start));
        backlog.read(vec![row(1), row(2), row(3)], true, now);
        assert!(!backlog.is_behind());
        assert_eq!(taken(&mut backlog), ["1", "2", "3"]);
        backlog.offer(entry(4));
        backlog.offer(entry(4));
        assert_eq!(taken(&mut backlog), ["4"]);
        assert_eq!(backlog.next_read(), None);
    }

    #[test]
    fn an_audit_finds_what_was_forgotten_and_leaves_the_young_alone() {
        let mut backlog = caught_up();
        backlog.offer(entry(1));
        backlog.audit();
        assert_eq!(backlog.next_read(), Some(ReadFrom::Start));
        let young = InboxRow {
            last: Timestamp::from_millis(50_000),
            ..row(3)
        };
        let now = Timestamp::from_millis(60_000);
        backlog.read(vec![row(1), row(2), young], true, now);
        assert_eq!(taken(&mut backlog), ["1", "2"]);
        assert_eq!(backlog.next_read(), None);
    }

    #[test]
    fn too_much_stays_in_the_database() {
        let mut backlog = caught_up();
        for n in 0..QUEUE_MAX as u128 + 5 {
            backlog.offer(entry(n + 1));
        }
        assert_eq!(
            (backlog.lanes.len(), backlog.is_behind()),
            (QUEUE_MAX, true)
        );
        assert_eq!(backlog.next_read(), None, "there is no room");
        while backlog.lanes.len() >= QUEUE_MAX / 2 {
            taken(&mut backlog);
        }
        assert_eq!(backlog.next_read(), Some(ReadFrom::Start));
    }
}
