//! The one transaction that everything durable of a running employee goes through.
//!
//! Contract with the caller, the journal writer: the appends of one run are in order, and a run is never in two batches that are in
//! flight at once (with two transactions the later one could commit alone and leave a gap). Two batches of different runs may be.

mod append;
mod dedupe;
mod inbox;
mod ledger;
mod offers;
mod runs;
mod sides;
mod size;
mod snapshots;

pub use append::*;
pub(super) use offers::MAY_MEAN_AN_EMPLOYEE;
pub use offers::OFFER_KEY;

use super::{
    blobs::{self, BlobUse},
    db::Db,
    error::CommitError,
    events, memory_write,
    nodes::Fence,
};
use crate::domain::Timestamp;

/// Commits a batch: all of it, but for those appends that turn out to be duplicates. In the answer each append has its outcome, in order.
///
/// # Errors
/// `Stale` names runs that are not where the batch believes; `DbError::Fenced` if the node may not write any more. Nothing was written
/// then. After `Unavailable` it is not known whether the batch was committed; to try it again is safe, for a batch that was committed
/// comes back as `Stale`.
pub async fn commit(
    db: &Db,
    fence: Fence,
    batch: &[Append],
) -> Result<Vec<AppendOutcome>, CommitError> {
    match try_commit(db, fence, batch).await {
        Err(Failure::Stale) => Err(CommitError::Stale {
            runs: runs::stale(db, batch).await?,
        }),
        Err(Failure::Commit(error)) => Err(error),
        Ok(outcomes) => Ok(outcomes),
    }
}

/// `Stale` without the names, which are looked up when the transaction is over.
enum Failure {
    Stale,
    Commit(CommitError),
}
impl<E: Into<CommitError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Commit(error.into())
    }
}

async fn try_commit(
    db: &Db,
    fence: Fence,
    batch: &[Append],
) -> Result<Vec<AppendOutcome>, Failure> {
    let mut tx = db.begin_fenced("journal writer", fence).await?;
    let inner = &mut tx.inner;

    let mut outcomes = dedupe::claim(inner, batch).await?;
    inbox::receive(inner, batch, &mut outcomes).await?;
    let live: Vec<&Append> = batch
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| **outcome == AppendOutcome::Durable)
        .map(|(append, _)| append)
        .collect();

    let changes = runs::RunChanges::collect(&live);
    // SQLite counts its commits; PostgreSQL has the number of the transaction.
    let position = events::position(
        inner,
        changes.has_facts() || live.iter().any(|append| !append.events.is_empty()),
    )
    .await?;
    changes.write(inner, position).await?;
    let org_events: Vec<_> = live
        .iter()
        .flat_map(|append| append.events.iter().map(|event| (append.org, event)))
        .collect();
    events::events_insert(inner, &org_events, position).await?;

    ledger::write(inner, &live).await?;
    sides::write(inner, &live, &changes).await?;
    inbox::settle(inner, &live).await?;
    snapshots::write(inner, &live).await?;
    let changes: Vec<_> = live
        .iter()
        .flat_map(|append| append.memory.iter().map(|change| (append.org, change)))
        .collect();
    memory_write::memory_write(inner, &changes).await?;
    let undone: Vec<_> = live
        .iter()
        .flat_map(|append| append.undo.iter().map(|(run, at)| (append.org, *run, *at)))
        .collect();
    for (org, run, at) in undone {
        super::memory::memory_undo_run(&mut tx, org, run, at).await?;
    }
    let inner = &mut tx.inner;
    let uses: Vec<_> = live
        .iter()
        .flat_map(|append| append.blobs.iter().map(|blob| blob_use(append, blob)))
        .collect();
    let now = live
        .iter()
        .flat_map(|append| &append.blobs)
        .map(|blob| blob.at)
        .max()
        .unwrap_or(Timestamp::from_micros(0));
    blobs::blobs_put(inner, &uses, now).await?;

    tx.commit().await?;
    Ok(outcomes)
}

fn blob_use<'a>(append: &Append, blob: &'a BlobPut) -> BlobUse<'a> {
    BlobUse {
        org: append.org,
        owner: blob.owner,
        hash: blob.hash,
        body: &blob.body,
    }
}
