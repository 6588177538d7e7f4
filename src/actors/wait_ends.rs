//! Ends named waits: when a connection has come back, or a person has said what became of a write, the runs that waited for it go on.
//!
//! Invariant: what was ended is a row before whoever ended it is answered, and the row stays until every run has been told, over restarts. It
//! is carried out in the background, a page at a time: whoever changed a connection does not wait for all that waited for it. A run
//! that is told twice does not wait any more.

use super::{
    core::Core,
    employee::{EmployeeError, named_wait_event},
    engine,
};
use crate::{
    domain::{OrgId, Timestamp},
    graph::StepId,
    persistence::{
        DbError, WaitEndRow, WaitRow, wait_end_done, wait_end_put, wait_ends, waits_hash,
        waits_of_end,
    },
};
use dashmap::DashSet;
use futures::StreamExt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const PAGE: u32 = 500;
/// Runs that are told at once, so that one connection cannot take all places of the journal and of the database.
const AT_ONCE: usize = 16;
/// A run that found no connection a moment ago may note its wait after the change; so the row is carried out once more after this.
const SETTLES_AFTER: Duration = Duration::from_secs(10);

/// Which ends this node carries out just now.
#[derive(Clone, Default)]
pub struct UnderWay(Arc<DashSet<(OrgId, String)>>);

/// Notes durably that whoever waits for `on` is to go on, and begins with it.
///
/// # Errors
/// If it could not be noted.
pub async fn end(core: &Arc<Core>, org: OrgId, kind: &str, on: &str) -> Result<(), DbError> {
    let end = WaitEndRow {
        org_id: org,
        event: named_wait_event(kind, on),
        asked: core.clock.now(),
    };
    let mut tx = core.db.begin(org).await?;
    wait_end_put(&mut tx, &end.event, end.asked).await?;
    tx.commit().await?;
    start(core, end);
    Ok(())
}

/// Begins with everything that is noted and not done.
///
/// # Errors
/// If it cannot be read.
pub async fn carry_out_all(core: &Arc<Core>) -> Result<(), DbError> {
    let mut after: Option<WaitEndRow> = None;
    loop {
        let mut tx = core.db.begin_system_read("waits that were ended").await?;
        let page = wait_ends(&mut tx, after.as_ref(), PAGE).await?;
        drop(tx);
        for end in &page {
            start(core, end.clone());
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after = Some(last.clone()),
            _ => return Ok(()),
        }
    }
}

fn start(core: &Arc<Core>, end: WaitEndRow) {
    let key = (end.org_id, end.event.clone());
    // What was asked anew meanwhile has a newer row, which is not deleted and found by the next round.
    if !core.wait_ends.0.insert(key.clone()) {
        return;
    }
    let core = core.clone();
    tokio::spawn(async move {
        match carry_out(&core, &end).await {
            Ok(0) => {}
            Ok(resumed) => {
                tracing::info!(org = %end.org_id, event = %end.event, resumed, "runs go on")
            }
            Err(error) => {
                tracing::warn!(org = %end.org_id, event = %end.event, %error, "waiting runs are told later")
            }
        }
        core.wait_ends.0.remove(&key);
    });
}

/// Tells everybody who waits; gives how many go on.
async fn carry_out(core: &Core, end: &WaitEndRow) -> Result<usize, DbError> {
    let began = core.clock.now();
    // Rows from before they could be paged through.
    loop {
        let mut tx = core.db.begin_system("waits of before").await?;
        let hashed = waits_hash(&mut tx, PAGE).await?;
        tx.commit().await?;
        if hashed < PAGE as usize {
            break;
        }
    }
    let (resumed, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut after: Option<WaitRow> = None;
    loop {
        let mut tx = core
            .db
            .begin_system_read("who waits for what has come")
            .await?;
        let page = waits_of_end(&mut tx, end, after.as_ref(), PAGE).await?;
        drop(tx);
        after = page.last().cloned();
        let is_last = page.len() < PAGE as usize;
        futures::stream::iter(page)
            .for_each_concurrent(AT_ONCE, |wait| tell(core, wait, &resumed, &missed))
            .await;
        if is_last {
            break;
        }
    }
    if missed.into_inner() == 0 && is_settled(end, began) {
        let mut tx = core.db.begin_system("a wait that was ended").await?;
        wait_end_done(&mut tx, end).await?;
        tx.commit().await?;
    }
    Ok(resumed.into_inner())
}

fn is_settled(end: &WaitEndRow, began: Timestamp) -> bool {
    began.since(end.asked) >= SETTLES_AFTER
}

async fn tell(core: &Core, wait: WaitRow, resumed: &AtomicUsize, missed: &AtomicUsize) {
    let Ok(step) = wait.step.parse::<StepId>() else {
        return tracing::error!(run = %wait.run_id, step = wait.step, "a wait names no step");
    };
    match engine::resume(core, wait.org_id, wait.employee_id, wait.run_id, step).await {
        Ok(()) => {
            resumed.fetch_add(1, Ordering::Relaxed);
        }
        // It was told by an earlier round, has ended, or its employee is gone.
        Err(EmployeeError::NotPending | EmployeeError::NotFound | EmployeeError::Dismissed) => {}
        Err(error) => {
            missed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(run = %wait.run_id, %error, "a run that waits is told later");
        }
    }
}
