//! What an append holds in memory, for whoever bounds how much may wait.

use super::{Append, ApprovalChange, EffectChange, InboxChange, RunAppend, SnapshotChange};
use crate::persistence::{EffectRow, InboxRow};

/// What a row, a message and its place in a queue take beside their texts.
const FIXED: usize = 512;

impl Append {
    /// Bytes that it holds, near enough: all texts and bodies, and a fixed amount for each part. Costs a look at each part, not at what is
    /// in it.
    pub fn size(&self) -> usize {
        let parts = [
            self.run.as_ref().map_or(0, of_run),
            self.blobs.iter().map(|blob| blob.body.len() + FIXED).sum(),
            self.approvals.iter().map(of_approval).sum(),
            self.timers.len() * FIXED,
            self.waits.len() * FIXED,
            self.effects.iter().map(of_effect).sum(),
            self.memory
                .iter()
                .map(|change| FIXED + change.key.len() + text(&change.value))
                .sum(),
            self.snapshots.iter().map(of_snapshot).sum(),
            (self.fires.len() + self.schedules.len() + self.undo.len()) * FIXED,
            self.events
                .iter()
                .map(|event| FIXED + event.kind.len() + event.body.len())
                .sum(),
            self.inbox.iter().map(of_inbox).sum(),
        ];
        FIXED + parts.into_iter().sum::<usize>()
    }
}

fn text(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

fn of_run(run: &RunAppend) -> usize {
    let facts: usize = run.facts.iter().map(bytes::Bytes::len).sum();
    let insert = run.insert.as_ref().map_or(0, |insert| {
        let key = insert.dedupe.as_ref();
        insert.source.len()
            + text(&insert.conversation_key)
            + key.map_or(0, |key| key.source.len() + key.key.len())
    });
    let status = run
        .status
        .as_ref()
        .map_or(0, |status| text(&status.waiting_on) + text(&status.error));
    facts + insert + status
}

fn of_approval(change: &ApprovalChange) -> usize {
    FIXED
        + match change {
            ApprovalChange::Ask(row) => row.title.len() + row.arguments.len(),
            ApprovalChange::Close { comment, .. } => text(comment),
        }
}

fn of_effect(change: &EffectChange) -> usize {
    let row =
        |row: &EffectRow| row.args.len() + text(&row.response) + text(&row.error) + text(&row.note);
    FIXED
        + match change {
            EffectChange::Intend(intended) => row(intended),
            EffectChange::Begin(intention) => row(&intention.row),
            EffectChange::Update(update) => {
                text(&update.response) + text(&update.error) + text(&update.note)
            }
        }
}

fn of_snapshot(change: &SnapshotChange) -> usize {
    FIXED
        + match change {
            SnapshotChange::Put(row) => row.body.len(),
            SnapshotChange::Delete { .. } => 0,
        }
}

fn of_inbox(change: &InboxChange) -> usize {
    let row = |row: &InboxRow| row.headers.len() + row.payload.len() + text(&row.detail);
    FIXED
        + match change {
            InboxChange::Receive(received) => row(received),
            InboxChange::Settle(settle) => text(&settle.detail) + settle.triggered.len(),
        }
}
