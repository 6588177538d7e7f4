//! Reading a run as its journal has it: row, facts and the machine that they make. Independent of whether the employee is awake.

use super::{core::Core, evaluation::off_worker, versions::LoadedVersion};
use crate::{
    domain::{ContentHash, ExecutionId, MemoryView, OrgId},
    graph::{Fact, Outcome, Run},
    persistence::{DbError, RunRow, blob_get, employee_version_get, run_get, run_journal},
};
use std::sync::Arc;

/// Facts that are read at once.
const PAGE: u32 = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("run {execution} cannot be read: {reason}")]
    Broken {
        execution: ExecutionId,
        reason: String,
    },
}

/// A run as it stands in the database.
pub struct Inspected {
    pub row: RunRow,
    pub version: Arc<LoadedVersion>,
    pub facts: Vec<Fact>,
    pub context: Arc<MemoryView>,
    pub machine: Run,
}

/// Reads and replays a run; `None` if the org has none with this id.
///
/// # Errors
/// If the database or the run cannot be read.
pub async fn inspect(
    core: &Core,
    org: OrgId,
    execution: ExecutionId,
) -> Result<Option<Inspected>, InspectError> {
    let broken = |reason: String| InspectError::Broken { execution, reason };
    let mut tx = core.db.begin_read(org).await?;
    let Some(row) = run_get(&mut tx, execution).await? else {
        return Ok(None);
    };
    let mut facts: Vec<Fact> = Vec::new();
    loop {
        let page = run_journal(&mut tx, execution, facts.len() as u32, PAGE).await?;
        let last = page.len() < PAGE as usize;
        for fact in page {
            facts
                .push(serde_json::from_str(&fact.json).map_err(|error| broken(error.to_string()))?);
        }
        if last {
            break;
        }
    }
    let Some(accepted @ Fact::Accepted { context, .. }) = facts.first() else {
        return Err(broken("it has no first fact".into()));
    };
    let context = match context {
        Some(hash) => {
            let body = blob_get(&mut tx, *hash)
                .await?
                .ok_or_else(|| broken(format!("its memory {hash} is missing")))?;
            serde_json::from_slice(&body).map_err(|error| broken(error.to_string()))?
        }
        None => MemoryView::default(),
    };
    let version = employee_version_get(&mut tx, row.employee_id, row.version)
        .await?
        .ok_or_else(|| broken("its version is missing".into()))?;
    let compiled = match core.versions.get(version.spec_hash) {
        Some(compiled) => compiled,
        None => {
            let text = blob_get(&mut tx, version.spec_hash)
                .await?
                .ok_or_else(|| broken("its spec is missing".into()))?;
            core.versions
                .load(ContentHash::of(&text), &text)
                .map_err(|error| broken(error.to_string()))?
        }
    };
    drop(tx);
    let version = LoadedVersion::new(row.version, &compiled);
    let context = Arc::new(context);
    let begun = facts.get(1).and_then(Fact::begun);
    // Facts that are cheap are many together: all that the run ever had.
    let machine = off_worker(|| {
        let (mut machine, _) = version.begin(accepted, begun, execution, &context);
        for fact in &facts[1..] {
            machine.apply(fact);
        }
        machine
    });
    Ok(Some(Inspected {
        row,
        version,
        facts,
        context,
        machine,
    }))
}

/// How a run ended; `None` if it has not, or does not exist.
///
/// # Errors
/// As [`inspect`].
pub async fn outcome(
    core: &Core,
    org: OrgId,
    execution: ExecutionId,
) -> Result<Option<Outcome>, InspectError> {
    Ok(inspect(core, org, execution)
        .await?
        .and_then(|run| run.machine.outcome().cloned()))
}
