//! Encoded states of actors. What is inside is the codec's affair.

use super::{
    error::Result,
    tx::{SystemTx, on_tx},
};
use crate::domain::{OrgId, Timestamp};
use sqlx::FromRow;
use uuid::Uuid;

/// Kinds of entities that have snapshots.
pub mod kind {
    pub const RUN: &str = "run";
    pub const EMPLOYEE: &str = "employee";
    pub const CONNECTOR: &str = "connector";
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SnapshotRow {
    pub org_id: OrgId,
    /// See `kind`.
    pub kind: String,
    /// The run, the employee, the connection.
    pub entity: Uuid,
    /// Of the owner that wrote it.
    pub epoch: i64,
    /// Of a run: how many facts it covers, so that the journal from `seq` on is still to be applied.
    pub seq: i64,
    pub body: Vec<u8>,
    #[sqlx(rename = "at_us")]
    pub at: Timestamp,
}

pub async fn snapshot_get(
    tx: &mut SystemTx,
    kind: &str,
    entity: Uuid,
) -> Result<Option<SnapshotRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT org_id, kind, entity, epoch, seq, body, at_us FROM snapshot WHERE entity = $1 AND kind = $2"
    )
    .bind(entity)
    .bind(kind)
    .fetch_optional(conn)
    .await
    })?)
}

/// The fold of a long run. Version 1 of its snapshot.
impl super::codec::Versioned for crate::graph::RunState {
    const SCHEMA_ID: [u8; 4] = *b"RUNS";
    const VERSION: u16 = 1;
    fn decode_version(_: u16, body: &[u8]) -> Result<Self, super::codec::CodecError> {
        super::codec::decode_body(body)
    }
}
