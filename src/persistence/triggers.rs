//! Which triggers were accepted before.

use super::{
    error::{DbError, Result},
    rows::{Column, Rows},
    runs::run_journal,
    tx::Tx,
    writer::DedupeKey,
};
use crate::domain::{ContentHash, ExecutionId};
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
