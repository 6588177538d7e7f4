//! Whether accounts still work: each connection's verification call is made now and then, through its connector, so that it keeps to the quota.
//!
//! Invariants: a probe takes one turn in the connection's queue, as one employee does, and none at all while others wait there: calls that
//! are made anyway say more than a probe. What was found is of the credential that was tried. A probe that learned nothing (busy, held back)
//! changes nothing.

use super::{HubError, store::spread};
use crate::{
    actors::{
        connector::{CallRequest, ConnectorError},
        core::Core,
        vitals::Waiting,
    },
    connect::{CallOutcome, catalog::Verdict},
    domain::{ConnectionId, EmployeeId, OrgId, Timestamp},
    persistence::{
        ConnectionRow, DbError, Found, Health, connection_get_system, connection_health_put,
        connection_probe_plan, connection_status, connections_probe_due,
    },
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 8;
/// For the call with its waiting for a turn.
const PROBE_TIME: Duration = Duration::from_secs(20);
/// One that learned nothing is made again after this.
const AGAIN: Duration = Duration::from_secs(60);
/// Longer errors are cut, in characters.
const ERROR_MAX: usize = 300;

/// Runs until the process ends; at once over if probes are switched off.
pub async fn run(core: Arc<Core>) {
    if core.settings.probe_every.is_zero() {
        return;
    }
    let vitals = core.vitals.register("node/probing", "probing", None, 1);
    let mut rounds = interval(LOOK_EVERY.min(core.settings.probe_every));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut under_way, mut probes) = (HashSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                if let Err(error) = start_due(&core, &mut under_way, &mut probes).await {
                    vitals.record_error(error.to_string(), core.clock.now());
                    tracing::warn!(%error, "connections could not be probed");
                }
            }
            Some(ended) = probes.join_next(), if !probes.is_empty() => match ended {
                Ok(id) => drop(under_way.remove(&id)),
                Err(_) if probes.is_empty() => under_way.clear(),
                Err(_) => {}
            },
        }
        vitals.set_load(probes.len(), 0, 0);
        vitals.set_waiting(Some(Waiting {
            on: "a connection to probe".into(),
            since: core.clock.now(),
        }));
    }
}

async fn start_due(
    core: &Arc<Core>,
    under_way: &mut HashSet<ConnectionId>,
    probes: &mut JoinSet<ConnectionId>,
) -> Result<(), DbError> {
    let room = AT_ONCE.saturating_sub(under_way.len());
    if room == 0 || !core.placement.may_act() {
        return Ok(());
    }
    let now = core.clock.now();
    let mut tx = core.db.begin_system_read("connections to probe").await?;
    let due = connections_probe_due(&mut tx, now, (AT_ONCE + under_way.len()) as u32).await?;
    drop(tx);
    for row in due
        .into_iter()
        .filter(|row| !under_way.contains(&row.id))
        .take(room)
        .collect::<Vec<_>>()
    {
        let every = core.settings.probe_every;
        // About an interval apart, and the first one further: those of one start do not stay together.
        let next = match row.probe_due {
            None => now.after(every / 2 + spread(row.id, now, every)),
            Some(_) => now.after(every.mul_f64(0.9) + spread(row.id, now, every / 5)),
        };
        if !plan(core, &row, next).await? || row.probe_due.is_none() {
            continue;
        }
        under_way.insert(row.id);
        let core = core.clone();
        probes.spawn(async move {
            let id = row.id;
            if let Err(error) = probe_planned(&core, row, next).await {
                tracing::warn!(connection = %id, %error, "a connection was not probed");
            }
            id
        });
    }
    Ok(())
}

async fn plan(core: &Core, row: &ConnectionRow, next: Timestamp) -> Result<bool, DbError> {
    let reason = "when a connection is probed";
    let mut tx = core.db.begin_fenced(reason, core.fence()).await?;
    let planned = connection_probe_plan(&mut tx, row, next).await?;
    tx.commit().await?;
    Ok(planned)
}

async fn probe_planned(core: &Core, row: ConnectionRow, next: Timestamp) -> Result<(), HubError> {
    let is_busy = match core.connectors().look(row.id).await {
        Some(connector) => connector.waiting > 0,
        None => false,
    };
    let planned = ConnectionRow {
        probe_due: Some(next),
        ..row
    };
    let learned = !is_busy && probe(core, &planned).await?;
    if !learned && AGAIN < core.settings.probe_every {
        plan(core, &planned, core.clock.now().after(AGAIN)).await?;
    }
    Ok(())
}

/// Probes a connection at once, and gives it as it is then.
///
/// # Errors
/// If the database fails.
pub async fn probe_now(core: &Core, row: ConnectionRow) -> Result<ConnectionRow, HubError> {
    if row.status == connection_status::ACTIVE {
        probe(core, &row).await?;
    }
    let (org, id) = (row.org_id, row.id);
    let now = super::accounts::read(&core.db, org, id).await?;
    now.ok_or(HubError::Gone(id))
}

/// Whether something was learned; it is noted then.
async fn probe(core: &Core, row: &ConnectionRow) -> Result<bool, HubError> {
    let Some(Learned {
        health,
        error,
        refused,
    }) = ask(core, row).await?
    else {
        return Ok(false);
    };
    // A second time, and nobody can renew it: only a person can give another.
    if let (Some(reason), true, Health::Failing) = (&error, refused, row.health) {
        core.hub.give_up(row, reason).await?;
    }
    let error = error.map(|error| error.chars().take(ERROR_MAX).collect::<String>());
    if health == Health::Failing && row.health != Health::Failing {
        tracing::warn!(connection = %row.id, integration = row.integration, ?error, "a connection fails its probe");
    }
    let found = Found {
        version: row.credential_version,
        health,
        error: error.as_deref(),
        at: core.clock.now(),
    };
    let reason = "a connection was probed";
    let mut tx = core.db.begin_fenced(reason, core.fence()).await?;
    let (org, id) = (row.org_id, row.id);
    let mut noted = connection_health_put(&mut tx, org, id, &found).await?;
    // The call itself may have renewed the token on its way; that it went well is then said of the new one.
    if !noted
        && health == Health::Healthy
        && let Some(renewed) = connection_get_system(&mut tx, org, id).await?
    {
        let version = renewed.credential_version;
        noted = connection_health_put(&mut tx, org, id, &Found { version, ..found }).await?;
    }
    tx.commit().await?;
    Ok(noted)
}

struct Learned {
    health: Health,
    /// For people.
    error: Option<String>,
    /// The provider said clearly that it does not accept the credential.
    refused: bool,
}

impl Learned {
    fn failing(error: impl Into<String>) -> Option<Self> {
        Some(Self {
            health: Health::Failing,
            error: Some(error.into()),
            refused: false,
        })
    }
}

async fn ask(core: &Core, row: &ConnectionRow) -> Result<Option<Learned>, HubError> {
    let (org, integration) = (
        row.org_id,
        core.hub.integration(row.org_id, &row.integration).await?,
    );
    let connection = core.connectors().of_row(row).await?;
    let Some(connection) = connection else {
        return Ok(Learned::failing("the catalog and the account do not fit"));
    };
    let (Some(verify), Some(request)) = (
        &integration.verify,
        integration.verification(&connection.account),
    ) else {
        let name = &integration.name;
        return Ok(Some(Learned {
            health: Health::Unknown,
            error: Some(format!("{name} has no verification call")),
            refused: false,
        }));
    };
    let request = match request {
        Ok(request) => request,
        Err(error) => return Ok(Learned::failing(error.to_string())),
    };
    let call = CallRequest {
        request,
        cost: 1,
        deadline: Instant::now() + PROBE_TIME,
        employee: asker(org),
        effect: None,
    };
    let called = core.connectors().call(&connection, call).await;
    Ok(match called.map_err(|held| held.why()) {
        Ok(CallOutcome::RateLimited { .. }) => None,
        Ok(outcome) => match verify.judge(&outcome) {
            Verdict::Works(_) => Some(Learned {
                health: Health::Healthy,
                error: None,
                refused: false,
            }),
            Verdict::Refused(why) => Some(Learned {
                refused: matches!(outcome, CallOutcome::Auth { .. }),
                health: Health::Failing,
                error: Some(why),
            }),
            Verdict::Unknown(why) => Learned::failing(why),
        },
        // These say nothing of the account.
        Err(
            ConnectorError::Overloaded
            | ConnectorError::Full(_)
            | ConnectorError::Late { .. }
            | ConnectorError::Stopped
            | ConnectorError::Moved
            | ConnectorError::Unreachable,
        ) => None,
        // Its mark as dead says it already.
        Err(ConnectorError::NeedsConsent(_)) => None,
        Err(error) => Learned::failing(error.to_string()),
    })
}

/// Probes of an org queue like one employee of its own.
fn asker(org: OrgId) -> EmployeeId {
    EmployeeId::from_uuid(uuid::Uuid::new_v5(&org.uuid(), b"probe"))
}
