//! Snapshots: the last one of an entity counts.

use super::{Append, SnapshotChange, sides::delete_keys};
use crate::{
    domain::OrgId,
    persistence::{
        SnapshotRow,
        error::Result,
        rows::{Column, Rows},
        tx::Inner,
    },
};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) async fn write(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    let mut last: BTreeMap<(Uuid, &str), Option<(OrgId, &SnapshotRow)>> = BTreeMap::new();
    for append in live {
        for change in &append.snapshots {
            match change {
                SnapshotChange::Put(row) => {
                    last.insert((row.entity, &row.kind), Some((append.org, row)))
                }
                SnapshotChange::Delete { kind, entity } => last.insert((*entity, kind), None),
            };
        }
    }
    let gone: Vec<(Uuid, &str)> = last
        .iter()
        .filter(|(_, put)| put.is_none())
        .map(|(key, _)| *key)
        .collect();
    delete_keys(inner, "snapshot", "entity", "kind", &gone).await?;
    let put: Vec<(OrgId, &SnapshotRow)> = last.into_values().flatten().collect();
    let columns = vec![
        (
            "org_id",
            Column::Uuid(put.iter().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "kind",
            Column::Text(put.iter().map(|(_, row)| row.kind.as_str()).collect()),
        ),
        (
            "entity",
            Column::Uuid(put.iter().map(|(_, row)| row.entity).collect()),
        ),
        (
            "epoch",
            Column::Long(put.iter().map(|(_, row)| row.epoch).collect()),
        ),
        (
            "seq",
            Column::Long(put.iter().map(|(_, row)| row.seq).collect()),
        ),
        (
            "body",
            Column::Bytes(put.iter().map(|(_, row)| row.body.as_slice()).collect()),
        ),
        (
            "at_us",
            Column::Long(put.iter().map(|(_, row)| row.at.micros()).collect()),
        ),
    ];
    const NAMES: &str = "org_id, kind, entity, epoch, seq, body, at_us";
    let statement = format!(
        "INSERT INTO snapshot ({NAMES}) SELECT {NAMES} FROM t WHERE true
         ON CONFLICT (entity, kind) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, body = excluded.body, at_us = excluded.at_us
         WHERE (snapshot.epoch, snapshot.seq) <= (excluded.epoch, excluded.seq)"
    );
    Rows::new(columns)
        .execute(inner, &statement)
        .await
        .map(drop)
}
