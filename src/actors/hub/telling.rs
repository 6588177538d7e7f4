//! Dead grants: whoever can mend them is told at once, with a link that is good once.
//!
//! Invariants: a notice is opened together with the mark that the grant is dead, so that no crash comes between; a message leaves once a way
//! (it is stored before it leaves, and the effect ledger knows it again after a crash); one that there is nothing to say about any more is not sent. The
//! link itself is in the message and nowhere else: it is sealed until the message has left, and the ledger shows a mark in its place.
//!
//! Of an org's connection the org's channel and mail address are told; of one user's that user alone, since the link is for nobody else.

mod delivery;
pub mod settings;
mod words;

use super::{Hub, HubError};
use crate::{
    actors::{
        cluster::duty,
        core::Core,
        engine::resume,
        vitals::{Vitals, Waiting},
    },
    domain::{
        ConnectionId, Timestamp,
        event::{ConnectionNeedsReauth, PlatformEvent},
    },
    graph::StepId,
    persistence::{
        ConnectionNoticeRow, ConnectionRow, DbError, OrgEventRow, TellingStatus, ToldBy,
        connection_notice_put, connection_notices_due, connection_status, org_get, waits_overtaken,
    },
};
use settings::TellingSettings;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Messages that are on their way at once.
const AT_ONCE: usize = 20;
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_LAST: Duration = Duration::from_secs(300);
const ATTEMPTS_MAX: i64 = 20;
/// How often it is looked for steps that wait for a connection that is there.
const OVERTAKEN_EVERY: u32 = 10;
/// A step may have found the connection missing this long before its wait became durable.
const OVERTAKEN_SLACK_US: i64 = 30_000_000;
const OVERTAKEN_MAX: u32 = 500;

/// What the stream says of a dead grant.
pub fn event(row: &ConnectionRow, at: Timestamp) -> OrgEventRow {
    let name = format!("needs_reauth:{}:{}", row.credential_version, at.micros());
    let id = Uuid::new_v5(&row.id.uuid(), name.as_bytes());
    let event = PlatformEvent::ConnectionNeedsReauth(Box::new(ConnectionNeedsReauth {
        event_id: id,
        org_id: row.org_id,
        connection_id: row.id,
        integration: row.integration.clone(),
        name: row.name.clone(),
        owner: row.owner_user.clone(),
        account_name: row.account_name.clone(),
        reason: row.status_reason.clone().unwrap_or_default(),
        timestamp: at,
    }));
    OrgEventRow {
        id,
        kind: event.name().into(),
        body: serde_json::to_string(&event).expect("events hold JSON values with string keys"),
        at,
    }
}

/// What names a notice.
type Name = (ConnectionId, i64, ToldBy);

fn name_of(notice: &ConnectionNoticeRow) -> Name {
    (notice.connection_id, notice.credential_version, notice.way)
}

/// Runs until the process ends.
pub async fn run(core: Arc<Core>) {
    let vitals = core.vitals.register("node/telling", "telling", None, 1);
    let mut rounds = interval(LOOK_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Each beside the others, so that one slow provider does not keep the others from being told.
    let (mut under_way, mut messages) = (HashSet::new(), JoinSet::new());
    let mut number: u32 = 0;
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                noted(&core, &vitals, start_due(&core, &mut under_way, &mut messages).await);
                if number.is_multiple_of(OVERTAKEN_EVERY) {
                    noted(&core, &vitals, resume_overtaken(&core).await);
                }
                number = number.wrapping_add(1);
            }
            Some(ended) = messages.join_next(), if !messages.is_empty() => match ended {
                Ok(name) => drop(under_way.remove(&name)),
                Err(_) if messages.is_empty() => under_way.clear(),
                Err(_) => {}
            },
        }
        vitals.set_load(messages.len(), 0, 0);
        vitals.set_waiting(Some(Waiting {
            on: "a dead grant to tell of".into(),
            since: core.clock.now(),
        }));
    }
}

fn noted(core: &Core, vitals: &Vitals, result: Result<(), DbError>) {
    if let Err(error) = result {
        vitals.record_error(error.to_string(), core.clock.now());
        tracing::warn!(%error, "owners of dead grants could not be told");
    }
}

async fn start_due(
    core: &Arc<Core>,
    under_way: &mut HashSet<Name>,
    messages: &mut JoinSet<Name>,
) -> Result<(), DbError> {
    let room = AT_ONCE.saturating_sub(under_way.len());
    if room == 0 || !core.has_duty(duty::TELLING).await {
        return Ok(());
    }
    let (now, limit) = (core.clock.now(), AT_ONCE + under_way.len());
    let reason = "who is to be told of dead grants";
    let mut tx = core.db.begin_system_read(reason).await?;
    let due = connection_notices_due(&mut tx, now, limit as u32).await?;
    drop(tx);
    let due: Vec<ConnectionNoticeRow> = due
        .into_iter()
        .filter(|notice| !under_way.contains(&name_of(notice)))
        .take(room)
        .collect();
    for notice in due {
        under_way.insert(name_of(&notice));
        let core = core.clone();
        messages.spawn(async move {
            let after = match tell(&core, &notice).await {
                Ok(after) => after,
                Err(error) => failed(&core, &notice, error.to_string(), false),
            };
            if let Err(error) = put(&core, &after).await {
                tracing::warn!(connection = %notice.connection_id, %error, "how a notice stands was not noted");
            }
            name_of(&notice)
        });
    }
    Ok(())
}

/// How the notice stands after this try.
async fn tell(core: &Core, notice: &ConnectionNoticeRow) -> Result<ConnectionNoticeRow, HubError> {
    let (org, id) = (notice.org_id, notice.connection_id);
    let row = super::accounts::read(&core.db, org, id).await?;
    let row = row.filter(|row| {
        row.status == connection_status::NEEDS_REAUTH
            && row.credential_version == notice.credential_version
    });
    let Some(row) = row else {
        return Ok(over(notice, TellingStatus::Closed, None));
    };
    let mut tx = core.db.begin_read(org).await?;
    let settings = org_get(&mut tx).await?.map(|org| org.settings);
    drop(tx);
    let settings = TellingSettings::of(settings.as_deref().unwrap_or_default());
    let Some(target) = delivery::target(core, &settings, &row, notice.way).await? else {
        let nobody = "nobody is named who is to be told this way".to_owned();
        return Ok(over(notice, TellingStatus::Closed, Some(nobody)));
    };
    let (notice, message) = delivery::message(core, &row, notice).await?;
    Ok(
        match delivery::send(core, &notice, &target, &message).await {
            Ok(()) => over(&notice, TellingStatus::Told, None),
            Err((error, for_good)) => failed(core, &notice, error, for_good),
        },
    )
}

/// Nothing more is done; the link is not kept.
fn over(
    notice: &ConnectionNoticeRow,
    status: TellingStatus,
    error: Option<String>,
) -> ConnectionNoticeRow {
    ConnectionNoticeRow {
        status,
        error,
        sealed_link: crate::persistence::Sealed(Vec::new()),
        attempts: notice.attempts + 1,
        ..notice.clone()
    }
}

/// It did not work: again later, or not at all any more.
fn failed(
    core: &Core,
    notice: &ConnectionNoticeRow,
    error: String,
    for_good: bool,
) -> ConnectionNoticeRow {
    let attempts = notice.attempts + 1;
    let given_up = for_good || attempts >= ATTEMPTS_MAX;
    tracing::warn!(connection = %notice.connection_id, way = notice.way.name(), error, given_up, "the owner of a dead grant could not be told");
    if given_up {
        return over(notice, TellingStatus::Failed, Some(error));
    }
    let exponent = u32::try_from(attempts.clamp(1, 10)).unwrap_or(1) - 1;
    let wait = (AGAIN_FIRST * 2u32.pow(exponent)).min(AGAIN_LAST);
    ConnectionNoticeRow {
        attempts,
        due: core.clock.now().after(wait),
        error: Some(error),
        ..notice.clone()
    }
}

async fn put(core: &Core, notice: &ConnectionNoticeRow) -> Result<(), DbError> {
    let reason = "how a notice of a dead grant stands";
    let mut tx = core.db.begin_fenced(reason, core.fence()).await?;
    connection_notice_put(&mut tx, notice).await?;
    tx.commit().await
}

/// Steps that wait for a connection although it is there: their wait became durable just behind the consent that would have ended it, or
/// the process died between the two. They look again.
async fn resume_overtaken(core: &Core) -> Result<(), DbError> {
    if !core.has_duty(duty::TELLING).await {
        return Ok(());
    }
    let prefix = crate::actors::employee::named_wait_event("connection", "");
    let mut tx = core
        .db
        .begin_system_read("steps that wait for nothing")
        .await?;
    let waits = waits_overtaken(&mut tx, &prefix, OVERTAKEN_SLACK_US, OVERTAKEN_MAX).await?;
    drop(tx);
    for wait in waits {
        let Ok(step) = wait.step.parse::<StepId>() else {
            continue;
        };
        let (org, run) = (wait.org_id, wait.run_id);
        // What is kept may be from before it was there.
        if let Some(integration) = wait.event.strip_prefix(&prefix) {
            core.connectors().forget(org, integration);
        }
        if let Err(error) = resume(core, org, wait.employee_id, run, step).await {
            tracing::debug!(%run, %error, "run did not wait any more");
        }
    }
    Ok(())
}

impl Hub {
    /// The provider refuses a credential that nobody can renew: a person has to give another. Gives whether that is so and was not known.
    ///
    /// # Errors
    /// If it cannot be noted.
    pub async fn give_up(&self, row: &ConnectionRow, reason: &str) -> Result<bool, HubError> {
        let held = self.held_of(row).await?;
        if held.endpoint.is_some() || row.way == crate::connect::oauth::WAY_AUTH0 {
            return Ok(false);
        }
        let marked = held
            .store
            .needs_reauth(row.credential_version, reason, self.now());
        marked
            .await
            .map_err(|error| HubError::Unavailable(error.to_string()))
    }
}
