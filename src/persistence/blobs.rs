//! Bodies by content hash: each is stored once an org, and as long as a run or an employee refers to it.

use super::{
    body,
    error::{DbError, Result},
    rows::{Column, Rows},
    tx::{Inner, Tx, on_tx},
};
use crate::domain::{ContentHash, OrgId, Timestamp};
use sqlx::FromRow;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A body stored again within this time is not written again; retention never deletes one that is younger than twice that.
const REUSE_US: i64 = 3_600_000_000;

#[derive(FromRow)]
struct Stored {
    hash: ContentHash,
    body: Vec<u8>,
}

/// The body, or `None` if this org has none with that hash.
///
/// # Errors
/// `Corrupt` if the stored bytes do not have the hash.
pub async fn blob_get(tx: &mut Tx, hash: ContentHash) -> Result<Option<Vec<u8>>> {
    let org = tx.org();
    let stored: Option<Stored> = on_tx!(tx, |conn| sqlx::query_as(
        "SELECT hash, body FROM blob WHERE org_id = $1 AND hash = $2"
    )
    .bind(org)
    .bind(hash)
    .fetch_optional(conn)
    .await)?;
    stored
        .map(|stored| checked(stored.hash, &stored.body))
        .transpose()
}

/// Decodes a stored body and holds it against its address.
pub(super) fn checked(hash: ContentHash, stored: &[u8]) -> Result<Vec<u8>> {
    let body = body::decode(stored)?;
    if ContentHash::of(&body) == hash {
        Ok(body)
    } else {
        Err(DbError::corrupt("blob", format!("{hash} has other bytes")))
    }
}

/// A body and who needs it.
pub(super) struct BlobUse<'a> {
    pub org: OrgId,
    pub owner: Uuid,
    pub hash: ContentHash,
    pub body: &'a [u8],
}

/// Stores what is not there yet and notes who needs it. Sorted, so that two transactions cannot wait for each other.
pub(super) async fn blobs_put(
    inner: &mut Inner,
    uses: &[BlobUse<'_>],
    now: Timestamp,
) -> Result<()> {
    if uses.is_empty() {
        return Ok(());
    }
    let bodies: BTreeMap<(OrgId, ContentHash), &[u8]> = uses
        .iter()
        .map(|one| ((one.org, one.hash), one.body))
        .collect();
    let stored: Vec<Vec<u8>> = bodies.values().map(|body| body::encode(body)).collect();
    let blobs = Rows::new(vec![
        (
            "org_id",
            Column::Uuid(bodies.keys().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "hash",
            Column::Bytes(
                bodies
                    .keys()
                    .map(|(_, hash)| hash.bytes().as_slice())
                    .collect(),
            ),
        ),
        (
            "body",
            Column::Bytes(stored.iter().map(Vec::as_slice).collect()),
        ),
        ("used_us", Column::Long(vec![now.micros(); bodies.len()])),
    ]);
    // A body that was stored or used within the hour is left alone: retention deletes none that is younger than two, and the row's lock
    // would make every transaction that stores the same spec wait for the one before.
    let statement = format!(
        "INSERT INTO blob (org_id, hash, body, used_us) SELECT org_id, hash, body, used_us FROM t
         WHERE NOT EXISTS (SELECT 1 FROM blob b WHERE b.org_id = t.org_id AND b.hash = t.hash AND b.used_us >= t.used_us - {REUSE_US})
         ON CONFLICT (org_id, hash) DO UPDATE SET used_us = excluded.used_us WHERE blob.used_us < excluded.used_us - {REUSE_US}"
    );
    blobs.execute(inner, &statement).await?;

    let mut owners: Vec<(Uuid, ContentHash, OrgId)> = uses
        .iter()
        .map(|one| (one.owner, one.hash, one.org))
        .collect();
    owners.sort_unstable();
    owners.dedup();
    let references = Rows::new(vec![
        (
            "org_id",
            Column::Uuid(owners.iter().map(|(_, _, org)| org.uuid()).collect()),
        ),
        (
            "owner",
            Column::Uuid(owners.iter().map(|(owner, _, _)| *owner).collect()),
        ),
        (
            "hash",
            Column::Bytes(
                owners
                    .iter()
                    .map(|(_, hash, _)| hash.bytes().as_slice())
                    .collect(),
            ),
        ),
    ]);
    let statement = "INSERT INTO blob_ref (org_id, owner, hash) SELECT org_id, owner, hash FROM t WHERE true ON CONFLICT DO NOTHING";
    references.execute(inner, statement).await?;
    Ok(())
}

/// Deletes those of `hashes` that nobody needs and nobody has stored again lately.
pub(super) async fn blobs_delete_unused(
    inner: &mut Inner,
    org: OrgId,
    hashes: &[ContentHash],
    now: Timestamp,
) -> Result<u64> {
    let before = now.micros().saturating_sub(2 * REUSE_US);
    let rows = Rows::new(vec![
        ("org_id", Column::Uuid(vec![org.uuid(); hashes.len()])),
        (
            "hash",
            Column::Bytes(hashes.iter().map(|hash| hash.bytes().as_slice()).collect()),
        ),
    ]);
    let statement = format!(
        "DELETE FROM blob WHERE (org_id, hash) IN (SELECT org_id, hash FROM t) AND used_us < {before}
         AND NOT EXISTS (SELECT 1 FROM blob_ref r WHERE r.org_id = blob.org_id AND r.hash = blob.hash)"
    );
    rows.execute(inner, &statement).await
}
