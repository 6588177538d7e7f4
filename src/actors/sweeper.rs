//! The sweeper: proves that nothing is stuck, repairs what is, deletes what is too old.
//!
//! Invariant that it checks: every unfinished run has an owner at work, a durable timer or a named wait. What breaks it is counted. It looks at
//! a share of the runs each time; when nodes come and go, [`recover`] looks at all that have work at hand.

use super::{
    cluster::{duty, employee_entity, kind},
    core::Core,
    proxy::orphans,
    vitals::{Vitals, Waiting},
    wait_ends,
};
use crate::{
    domain::{EmployeeId, Timestamp},
    persistence::{
        self, DbError, PageRequest, UnfinishedPlace, approvals_of_calls_delete,
        approvals_of_calls_expire, dedupe_delete_batch, effects_proxied_delete, inbox_delete_batch,
        nodes_forget, org_list, placements_of_calls_delete, recovery_list, recovery_list_besides,
        retention_by_age_batch, retention_delete_batch, unfinished_share,
    },
    telemetry,
};
use std::{collections::HashSet, sync::Arc};
use tokio::time::{MissedTickBehavior, interval};

const PAGE: u32 = 1_000;
/// Finished runs that one deletion takes.
const RETENTION_BATCH: u32 = 500;
/// How long finished runs are kept where the org says nothing.
const RETENTION_DAYS: u64 = 30;
/// Events are known again for this long at least, whatever the org says: longer than any provider sends them again.
const INBOX_DAYS_LEAST: u64 = 30;

/// Looks again and again; runs until the process ends.
pub async fn run(core: Arc<Core>) {
    let vitals = core.vitals.register("node/sweeper", "sweeper", None, 1);
    let mut sweep = interval(core.settings.sweep_every);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lap = Lap::default();
    loop {
        sweep.tick().await;
        let result = look(&core, &mut lap).await;
        note(&core, &vitals, "sweeper", result);
    }
}

/// Deletes what is too old, again and again; runs until the process ends. Apart from [`run`]: the first time on a large database takes long.
pub async fn run_retention(core: Arc<Core>) {
    let vitals = core.vitals.register("node/retention", "retention", None, 1);
    let mut retention = interval(core.settings.retention_every);
    retention.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        retention.tick().await;
        let result = delete_old(&core).await;
        note(&core, &vitals, "retention", result);
    }
}

fn note(core: &Core, vitals: &Vitals, who: &str, result: Result<(), DbError>) {
    match result {
        Ok(()) => vitals.set_waiting(Some(Waiting {
            on: "the next round".into(),
            since: core.clock.now(),
        })),
        Err(error) => {
            vitals.record_error(error.to_string(), core.clock.now());
            tracing::warn!(%error, who, "a round was not finished");
        }
    }
}

/// Wakes every employee that has work at hand, belongs to this node and is not awake.
///
/// # Errors
/// If the database cannot be read.
pub async fn recover(core: &Core) -> Result<usize, DbError> {
    recover_those(core, |_| true).await
}

/// The same for some employees.
///
/// # Errors
/// If the database cannot be read.
pub async fn recover_of(core: &Core, employees: &[EmployeeId]) -> Result<usize, DbError> {
    let wanted: HashSet<EmployeeId> = employees.iter().copied().collect();
    recover_those(core, |employee| wanted.contains(&employee)).await
}

async fn recover_those(
    core: &Core,
    is_wanted: impl Fn(EmployeeId) -> bool,
) -> Result<usize, DbError> {
    let (mut after, mut woken) = (None, 0);
    loop {
        let mut tx = core.db.begin_system_read("unfinished runs").await?;
        let page = match &core.cluster {
            None => recovery_list(&mut tx, after, PAGE).await?,
            Some(cluster) => {
                let me = cluster.me().node_id;
                recovery_list_besides(&mut tx, me, kind::EMPLOYEE, after, PAGE).await?
            }
        };
        drop(tx);
        for employee in &page {
            let is_mine = core
                .cluster
                .as_ref()
                .is_none_or(|cluster| cluster.is_mine(employee_entity(employee.employee)));
            if is_mine && is_wanted(employee.employee) && !core.host().is_awake(employee.employee) {
                core.host().wake(employee.org_id, employee.employee);
                woken += 1;
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after = Some(last.employee),
            _ => return Ok(woken),
        }
    }
}

/// How many unfinished runs one look takes: with more, a lap over all takes several.
const SHARE: u32 = 5_000;
/// Every so many looks it is read anew who listens to results. Nodes tell each other, and a result that is not offered at once is by its row.
const INTEREST_EVERY: u32 = 30;

/// How far the sweeper has come in its lap over all unfinished runs.
#[derive(Default)]
struct Lap {
    after: Option<UnfinishedPlace>,
    counts: [i64; 3],
    stranded: usize,
    looks: u32,
}

async fn look(core: &Arc<Core>, lap: &mut Lap) -> Result<(), DbError> {
    look_at_share(core, lap).await?;
    if lap.looks.is_multiple_of(INTEREST_EVERY) {
        core.interest.refresh(core).await?;
    }
    lap.looks = lap.looks.wrapping_add(1);
    telemetry::actors(
        core.vitals.len(),
        core.host().awake(),
        core.vitals.pressure(),
    );
    if let Some(cluster) = &core.cluster {
        cluster.give_duties_home().await;
    }
    if !core.has_duty(duty::SWEEPING).await {
        return Ok(());
    }
    wait_ends::carry_out_all(core).await?;
    if let Ok(one) = core.orphans.clone().try_lock_owned() {
        // Apart: it asks providers, and nothing else is to wait for them.
        let core = core.clone();
        tokio::spawn(async move {
            if let Err(error) = orphans::settle(&core).await {
                tracing::warn!(%error, "writes that nobody waits for");
            }
            drop(one);
        });
    }
    expire_calls(core).await
}

/// Looks at the next share of the unfinished runs: wakes those that have work at hand and nobody who is at it, and those that nothing would
/// ever wake. What a look costs does not grow with the runs that wait.
async fn look_at_share(core: &Arc<Core>, lap: &mut Lap) -> Result<(), DbError> {
    let me = core.cluster.as_ref().map(|cluster| cluster.me().node_id);
    let mut tx = core.db.begin_system_read("unfinished runs").await?;
    let share = unfinished_share(&mut tx, me, kind::EMPLOYEE, lap.after, SHARE).await?;
    drop(tx);
    let is_mine = |employee| {
        let cluster = core.cluster.as_ref();
        cluster.is_none_or(|cluster| cluster.is_mine(employee_entity(employee)))
    };
    for run in &share {
        if let Some(count) = lap.counts.get_mut(run.status as usize) {
            *count += 1;
        }
        if run.is_stranded {
            lap.stranded += 1;
            if is_mine(run.employee) {
                tracing::error!(run = %run.execution, employee = %run.employee, "run waits for nothing, its employee is woken");
                core.host().wake(run.org_id, run.employee);
            }
        } else if run.is_at_hand && is_mine(run.employee) && !core.host().is_awake(run.employee) {
            core.host().wake(run.org_id, run.employee);
        }
    }
    match share.last() {
        Some(last) if share.len() == SHARE as usize => lap.after = Some(last.place()),
        _ => {
            telemetry::unfinished(lap.counts, lap.stranded);
            *lap = Lap {
                looks: lap.looks,
                ..Lap::default()
            };
        }
    }
    Ok(())
}

/// Questions about calls of clients that nobody decided: no run has a timer for them.
async fn expire_calls(core: &Core) -> Result<(), DbError> {
    let mut tx = core.db.begin_system("questions nobody decided").await?;
    approvals_of_calls_expire(&mut tx, core.clock.now()).await?;
    tx.commit().await
}

async fn delete_old(core: &Core) -> Result<(), DbError> {
    if !core.has_duty(duty::RETENTION).await {
        return Ok(());
    }
    let mut tx = core.db.begin_system("nodes that are long gone").await?;
    nodes_forget(&mut tx).await?;
    tx.commit().await?;
    loop {
        let mut tx = core
            .db
            .begin_system("claims of calls that are over")
            .await?;
        let gone = placements_of_calls_delete(&mut tx, kind::PROXIED, RETENTION_BATCH).await?;
        tx.commit().await?;
        if gone < u64::from(RETENTION_BATCH) {
            break;
        }
    }
    let now = core.clock.now();
    let mut request = PageRequest::new(Some(200), None)?;
    loop {
        let mut tx = core.db.begin_system_read("retention of all orgs").await?;
        let orgs = org_list(&mut tx, &request).await?;
        drop(tx);
        for org in &orgs.items {
            delete_of_org(core, org, now).await?;
        }
        match orgs.next {
            Some(next) => request = PageRequest::new(Some(200), Some(&next))?,
            None => return Ok(()),
        }
    }
}

async fn delete_of_org(
    core: &Core,
    org: &persistence::OrgRow,
    now: Timestamp,
) -> Result<(), DbError> {
    let settings: serde_json::Value = serde_json::from_str(&org.settings).unwrap_or_default();
    let days = settings["retention_days"]
        .as_u64()
        .unwrap_or(RETENTION_DAYS);
    let before =
        Timestamp::from_micros(now.micros().saturating_sub((days * 86_400_000_000) as i64));
    loop {
        let mut tx = core.db.begin_system("retention").await?;
        let batch = retention_delete_batch(&mut tx, org.id, before, now, RETENTION_BATCH).await?;
        tx.commit().await?;
        if batch.runs < RETENTION_BATCH as usize {
            break;
        }
    }
    loop {
        let mut tx = core.db.begin_system("retention of triggers' keys").await?;
        let gone = dedupe_delete_batch(&mut tx, org.id, before, RETENTION_BATCH).await?;
        tx.commit().await?;
        if gone < u64::from(RETENTION_BATCH) {
            break;
        }
    }
    loop {
        let mut tx = core.db.begin_system("retention by age").await?;
        let most = retention_by_age_batch(&mut tx, org.id, before, RETENTION_BATCH).await?;
        tx.commit().await?;
        if most < u64::from(RETENTION_BATCH) {
            break;
        }
    }
    delete_proxied(core, org, before).await?;
    let mut tx = core.db.begin_system("retention of questions").await?;
    approvals_of_calls_delete(&mut tx, org.id, before).await?;
    tx.commit().await?;
    delete_of_inbox(core, org, now, days.max(INBOX_DAYS_LEAST)).await
}

/// Writes by proxy, which go with no run.
async fn delete_proxied(
    core: &Core,
    org: &persistence::OrgRow,
    before: Timestamp,
) -> Result<(), DbError> {
    loop {
        let mut tx = core.db.begin_system("retention of writes by proxy").await?;
        let gone = effects_proxied_delete(&mut tx, org.id, before, RETENTION_BATCH).await?;
        tx.commit().await?;
        if gone < u64::from(RETENTION_BATCH) {
            return Ok(());
        }
    }
}

async fn delete_of_inbox(
    core: &Core,
    org: &persistence::OrgRow,
    now: Timestamp,
    days: u64,
) -> Result<(), DbError> {
    let before =
        Timestamp::from_micros(now.micros().saturating_sub((days * 86_400_000_000) as i64));
    loop {
        let mut tx = core.db.begin_system("retention of the inbox").await?;
        let gone = inbox_delete_batch(&mut tx, org.id, before, RETENTION_BATCH).await?;
        tx.commit().await?;
        if gone < u64::from(RETENTION_BATCH) {
            return Ok(());
        }
    }
}
