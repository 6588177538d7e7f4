//! Which triggers of a batch are new.

use super::{Append, AppendOutcome, DedupeKey};
use crate::{
    domain::{ExecutionId, OrgId},
    persistence::{
        error::Result,
        rows::{Column, Rows},
        tx::Inner,
    },
};
use sqlx::FromRow;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

#[derive(FromRow)]
struct Claimed {
    org_id: OrgId,
    source: String,
    key: String,
    run_id: ExecutionId,
}

/// Claims the keys of the batch's triggers. A key that is taken, by an earlier commit or earlier in the batch, makes a duplicate of its
/// append and of all others of the same run.
pub(super) async fn claim(inner: &mut Inner, batch: &[Append]) -> Result<Vec<AppendOutcome>> {
    let mut first: BTreeMap<(OrgId, &DedupeKey), (ExecutionId, i64)> = BTreeMap::new();
    for append in batch {
        if let Some((key, run, accepted)) = claim_of(append) {
            first.entry((append.org, key)).or_insert((run, accepted));
        }
    }
    if first.is_empty() {
        return Ok(vec![AppendOutcome::Durable; batch.len()]);
    }
    let owners = owners(inner, &first).await?;
    let duplicates: HashMap<ExecutionId, ExecutionId> = batch
        .iter()
        .filter_map(|append| {
            let (key, run, _) = claim_of(append)?;
            let owner = *owners.get(&(append.org, key.source.clone(), key.key.clone()))?;
            (owner != run).then_some((run, owner))
        })
        .collect();
    if !duplicates.is_empty() {
        seen(inner, &first, &owners).await?;
    }
    Ok(batch
        .iter()
        .map(|append| {
            match append
                .run
                .as_ref()
                .and_then(|run| duplicates.get(&run.execution))
            {
                Some(execution) => AppendOutcome::Duplicate {
                    execution: *execution,
                },
                None => AppendOutcome::Durable,
            }
        })
        .collect())
}

/// Notes that keys came again: they are kept from their last sight.
async fn seen(
    inner: &mut Inner,
    first: &BTreeMap<(OrgId, &DedupeKey), (ExecutionId, i64)>,
    owners: &HashMap<(OrgId, String, String), ExecutionId>,
) -> Result<()> {
    let again: Vec<_> = first
        .iter()
        .filter(|((org, key), (run, _))| {
            let owner = owners.get(&(*org, key.source.clone(), key.key.clone()));
            owner.is_some_and(|owner| owner != run)
        })
        .collect();
    let columns = vec![
        (
            "org_id",
            Column::Uuid(again.iter().map(|((org, _), _)| org.uuid()).collect()),
        ),
        (
            "source",
            Column::Text(
                again
                    .iter()
                    .map(|((_, key), _)| key.source.as_str())
                    .collect(),
            ),
        ),
        (
            "key",
            Column::Text(again.iter().map(|((_, key), _)| key.key.as_str()).collect()),
        ),
        (
            "at_us",
            Column::Long(again.iter().map(|(_, (_, at))| *at).collect()),
        ),
    ];
    let statement = "UPDATE dedupe SET last_us = t.at_us FROM t
         WHERE dedupe.org_id = t.org_id AND dedupe.source = t.source AND dedupe.key = t.key AND dedupe.last_us < t.at_us";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}

fn claim_of(append: &Append) -> Option<(&DedupeKey, ExecutionId, i64)> {
    let run = append.run.as_ref()?;
    let insert = run.insert.as_ref()?;
    Some((
        insert.dedupe.as_ref()?,
        run.execution,
        insert.accepted.micros(),
    ))
}

/// Inserts what is free and gives who has each key now. The keys are in order, so that two batches cannot wait for each other; a key
/// that another transaction is just claiming is waited for, and the second statement sees it.
async fn owners(
    inner: &mut Inner,
    first: &BTreeMap<(OrgId, &DedupeKey), (ExecutionId, i64)>,
) -> Result<HashMap<(OrgId, String, String), ExecutionId>> {
    let columns = || {
        vec![
            (
                "org_id",
                Column::Uuid(first.keys().map(|(org, _)| org.uuid()).collect()),
            ),
            (
                "source",
                Column::Text(first.keys().map(|(_, key)| key.source.as_str()).collect()),
            ),
            (
                "key",
                Column::Text(first.keys().map(|(_, key)| key.key.as_str()).collect()),
            ),
        ]
    };
    let mut claims = columns();
    claims.push((
        "run_id",
        Column::Uuid(
            first
                .values()
                .map(|(run, _)| run.uuid())
                .collect::<Vec<Uuid>>(),
        ),
    ));
    claims.push((
        "at_us",
        Column::Long(first.values().map(|(_, at)| *at).collect()),
    ));
    let statement = "INSERT INTO dedupe (org_id, source, key, run_id, at_us, last_us) SELECT org_id, source, key, run_id, at_us, at_us FROM t WHERE true
         ON CONFLICT (org_id, source, key) DO NOTHING";
    let claimed = Rows::new(claims).execute(inner, statement).await?;
    if claimed == first.len() as u64 {
        return Ok(first
            .iter()
            .map(|((org, key), (run, _))| ((*org, key.source.clone(), key.key.clone()), *run))
            .collect());
    }
    let rows: Vec<Claimed> = Rows::new(columns())
        .fetch(
            inner,
            "SELECT d.org_id, d.source, d.key, d.run_id FROM t
             JOIN dedupe d ON d.org_id = t.org_id AND d.source = t.source AND d.key = t.key",
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.org_id, row.source, row.key), row.run_id))
        .collect())
}
