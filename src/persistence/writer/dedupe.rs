//! Which triggers of a batch are new.

use super::{Append, AppendOutcome, DedupeKey};
use crate::{
    domain::{ContentHash, ExecutionId, OrgId},
    persistence::{
        error::Result,
        rows::{Column, Rows},
        tx::Inner,
    },
};
use sqlx::FromRow;
use std::collections::{BTreeMap, HashMap};

#[derive(FromRow)]
struct Claimed {
    org_id: OrgId,
    source: String,
    key: String,
    run_id: ExecutionId,
    payload_hash: Option<ContentHash>,
}

/// What a trigger of the batch wants to have.
#[derive(Clone, Copy)]
struct Claim {
    run: ExecutionId,
    accepted: i64,
    payload: Option<ContentHash>,
}

/// Who has a key.
type Owner = (ExecutionId, Option<ContentHash>);

/// Claims the keys of the batch's triggers. A key that is taken, by an earlier commit or earlier in the batch, makes a duplicate of its
/// append and of all others of the same run.
pub(super) async fn claim(inner: &mut Inner, batch: &[Append]) -> Result<Vec<AppendOutcome>> {
    let mut first: BTreeMap<(OrgId, &DedupeKey), Claim> = BTreeMap::new();
    for append in batch {
        if let Some((key, claim)) = claim_of(append) {
            first.entry((append.org, key)).or_insert(claim);
        }
    }
    if first.is_empty() {
        return Ok(vec![AppendOutcome::Durable; batch.len()]);
    }
    let owners = owners(inner, &first).await?;
    let refused: HashMap<ExecutionId, AppendOutcome> = batch
        .iter()
        .filter_map(|append| {
            let (key, claim) = claim_of(append)?;
            let owner = owners.get(&(append.org, key.source.clone(), key.key.clone()))?;
            Some((claim.run, refusal(&claim, *owner)?))
        })
        .collect();
    if !refused.is_empty() {
        seen(inner, &first, &owners).await?;
    }
    Ok(batch
        .iter()
        .map(|append| {
            let run = append.run.as_ref();
            let outcome = run.and_then(|run| refused.get(&run.execution));
            outcome.copied().unwrap_or(AppendOutcome::Durable)
        })
        .collect())
}

/// Notes that keys came again: they are kept from their last sight.
async fn seen(
    inner: &mut Inner,
    first: &BTreeMap<(OrgId, &DedupeKey), Claim>,
    owners: &HashMap<(OrgId, String, String), Owner>,
) -> Result<()> {
    let again: Vec<_> = first
        .iter()
        .filter(|((org, key), claim)| {
            let owner = owners.get(&(*org, key.source.clone(), key.key.clone()));
            owner.is_some_and(|(owner, _)| *owner != claim.run)
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
            Column::Long(again.iter().map(|(_, claim)| claim.accepted).collect()),
        ),
    ];
    let statement = "UPDATE dedupe SET last_us = t.at_us FROM t
         WHERE dedupe.org_id = t.org_id AND dedupe.source = t.source AND dedupe.key = t.key AND dedupe.last_us < t.at_us";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}

/// What becomes of a claim whose key belongs to `owner`; `None`: it has the key.
fn refusal(claim: &Claim, (execution, payload): Owner) -> Option<AppendOutcome> {
    if execution == claim.run {
        return None;
    }
    let both = claim.payload.zip(payload);
    Some(match both.is_none_or(|(one, other)| one == other) {
        true => AppendOutcome::Duplicate { execution },
        false => AppendOutcome::OtherPayload { execution },
    })
}

fn claim_of(append: &Append) -> Option<(&DedupeKey, Claim)> {
    let run = append.run.as_ref()?;
    let insert = run.insert.as_ref()?;
    let claim = Claim {
        run: run.execution,
        accepted: insert.accepted.micros(),
        payload: insert.payload_hash,
    };
    Some((insert.dedupe.as_ref()?, claim))
}

/// Inserts what is free and gives who has each key now. The keys are in order, so that two batches cannot wait for each other; a key
/// that another transaction is just claiming is waited for, and the second statement sees it.
async fn owners(
    inner: &mut Inner,
    first: &BTreeMap<(OrgId, &DedupeKey), Claim>,
) -> Result<HashMap<(OrgId, String, String), Owner>> {
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
        Column::Uuid(first.values().map(|claim| claim.run.uuid()).collect()),
    ));
    claims.push((
        "at_us",
        Column::Long(first.values().map(|claim| claim.accepted).collect()),
    ));
    let payloads = first.values().map(|claim| claim.payload.as_ref());
    claims.push((
        "payload_hash",
        Column::MaybeBytes(
            payloads
                .map(|hash| hash.map(|hash| hash.bytes().as_slice()))
                .collect(),
        ),
    ));
    let statement = "INSERT INTO dedupe (org_id, source, key, run_id, at_us, last_us, payload_hash)
         SELECT org_id, source, key, run_id, at_us, at_us, payload_hash FROM t WHERE true ON CONFLICT (org_id, source, key) DO NOTHING";
    let claimed = Rows::new(claims).execute(inner, statement).await?;
    if claimed == first.len() as u64 {
        return Ok(first
            .iter()
            .map(|((org, key), claim)| {
                let owner = (claim.run, claim.payload);
                ((*org, key.source.clone(), key.key.clone()), owner)
            })
            .collect());
    }
    let rows: Vec<Claimed> = Rows::new(columns())
        .fetch(
            inner,
            "SELECT d.org_id, d.source, d.key, d.run_id, d.payload_hash FROM t
             JOIN dedupe d ON d.org_id = t.org_id AND d.source = t.source AND d.key = t.key",
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let owner = (row.run_id, row.payload_hash);
            ((row.org_id, row.source, row.key), owner)
        })
        .collect())
}
