//! Which triggers were accepted before.

use super::{
    error::{DbError, Result},
    rows::{Column, Rows},
    runs::run_journal,
    tx::{SystemTx, Tx},
    writer::DedupeKey,
};
use crate::domain::{ContentHash, ExecutionId, OrgId, Timestamp};
use serde_json::Value;
use sqlx::FromRow;
use std::collections::HashMap;

/// What a trigger's key was used for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownTrigger {
    pub run: ExecutionId,
    /// Hash of the payload that came with it, where its source keeps to one.
    pub payload: Option<ContentHash>,
}

#[derive(FromRow)]
struct KnownRow {
    source: String,
    key: String,
    run_id: ExecutionId,
    payload_hash: Option<ContentHash>,
}

/// Those of these keys that are taken.
pub async fn triggers_known(
    tx: &mut Tx,
    keys: &[DedupeKey],
) -> Result<HashMap<DedupeKey, KnownTrigger>> {
    let org = tx.org();
    let rows: Vec<KnownRow> = Rows::new(vec![
        ("org_id", Column::Uuid(vec![org.uuid(); keys.len()])),
        (
            "source",
            Column::Text(keys.iter().map(|key| key.source.as_str()).collect()),
        ),
        (
            "key",
            Column::Text(keys.iter().map(|key| key.key.as_str()).collect()),
        ),
    ])
    .fetch(
        &mut tx.inner,
        "SELECT d.source, d.key, d.run_id, d.payload_hash FROM t
         JOIN dedupe d ON d.org_id = t.org_id AND d.source = t.source AND d.key = t.key",
    )
    .await?;
    let known = rows.into_iter().map(|row| {
        let (run, payload) = (row.run_id, row.payload_hash);
        (
            DedupeKey::new(&row.source, &row.key),
            KnownTrigger { run, payload },
        )
    });
    Ok(known.collect())
}

#[derive(FromRow)]
struct SeenRow {
    source: String,
    key: String,
}

/// Those of these keys that came for the last time before `before`, as far as it is noted.
pub async fn triggers_last_seen_before(
    tx: &mut Tx,
    keys: &[DedupeKey],
    before: Timestamp,
) -> Result<Vec<DedupeKey>> {
    let rows: Vec<SeenRow> = Rows::new(seen_columns(tx.org(), keys, before))
        .fetch(
            &mut tx.inner,
            "SELECT d.source, d.key FROM t
             JOIN dedupe d ON d.org_id = t.org_id AND d.source = t.source AND d.key = t.key AND d.last_us < t.at_us",
        )
        .await?;
    let keys = rows.iter();
    Ok(keys
        .map(|row| DedupeKey::new(&row.source, &row.key))
        .collect())
}

/// Notes that keys came again: they are kept from their last sight.
pub async fn triggers_seen(
    tx: &mut SystemTx,
    org: OrgId,
    keys: &[DedupeKey],
    at: Timestamp,
) -> Result<()> {
    Rows::new(seen_columns(org, keys, at))
        .execute(
            &mut tx.inner,
            "UPDATE dedupe SET last_us = t.at_us FROM t
             WHERE dedupe.org_id = t.org_id AND dedupe.source = t.source AND dedupe.key = t.key AND dedupe.last_us < t.at_us",
        )
        .await
        .map(drop)
}

fn seen_columns(org: OrgId, keys: &[DedupeKey], at: Timestamp) -> Vec<(&'static str, Column<'_>)> {
    vec![
        ("org_id", Column::Uuid(vec![org.uuid(); keys.len()])),
        (
            "source",
            Column::Text(keys.iter().map(|key| key.source.as_str()).collect()),
        ),
        (
            "key",
            Column::Text(keys.iter().map(|key| key.key.as_str()).collect()),
        ),
        ("at_us", Column::Long(vec![at.micros(); keys.len()])),
    ]
}

/// The hash of the payload with which a run was accepted; `None` if the org has no such run.
pub async fn accepted_payload(
    tx: &mut Tx,
    run: ExecutionId,
) -> Result<Option<Option<ContentHash>>> {
    let Some(first) = run_journal(tx, run, 0, 1).await?.into_iter().next() else {
        return Ok(None);
    };
    let fact: Value =
        serde_json::from_str(&first.json).map_err(|error| DbError::corrupt("fact", error))?;
    Ok(Some(
        fact.pointer("/trigger/payload").map(ContentHash::of_json),
    ))
}
