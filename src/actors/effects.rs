//! One call of a step to the outside, through the effect ledger if it writes.
//!
//! The rule: a write has a durable row before it leaves; what was sent and never answered is sent again only where that is harmless,
//! else it is looked up, else a person is asked. Reads have no row; their answers are facts.

use super::{
    append::new_append,
    connector::{
        CallRequest, ConnectorError, EffectTicket, Waiter,
        connections::{CONNECTION_ACTIVE, Connection},
    },
    core::Core,
    employee::StepResult,
    gate::{self, Authority, Wanted},
};
use crate::{
    connect::{
        BadParams, CallOutcome, Capability, ProbeReading, Resolution, ShapedProbe, effect_key,
        passing::{Kept, Sink},
        resolution, shape,
        webhook::{HeaderName, HeaderValue},
    },
    domain::{ContentHash, EffectId, EmployeeId, ExecutionId, OrgId, Timestamp},
    graph::{Later, NamedWait, StepError, StepId},
    persistence::{
        DbError, EffectChange, EffectRow, EffectStatus, EffectUpdate, connection_get,
        effect_find_by_key,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// Times that an unclear write is looked up or sent again before a person is asked.
const RESOLVE_ATTEMPTS: u32 = 6;
const RESOLVE_PAUSE: Duration = Duration::from_millis(500);

/// Whose call it is.
#[derive(Clone, Copy, Debug)]
pub struct Behalf {
    pub org: OrgId,
    pub employee: EmployeeId,
    pub execution: ExecutionId,
    pub step: StepId,
    /// False if an earlier life may have begun it: then the effect ledger is asked first.
    pub fresh: bool,
}

impl Behalf {
    fn waiter(&self) -> Waiter {
        Waiter {
            execution: self.execution,
            step: self.step,
        }
    }
}

/// What a step wants of the outside, with its arguments resolved.
pub struct Call {
    pub capability: String,
    /// Its name or id; absent: the user's oldest one, else the org's.
    pub connection: Option<String>,
    pub arguments: Value,
    pub authority: Authority,
}

/// What the employee notes for a step, and the ledger's changes that become durable with it.
pub type Performed = (StepResult, Vec<EffectChange>);

/// Does the call on behalf of `job`. Dropping the future closes what is open to the outside.
pub async fn perform(core: &Core, job: &Behalf, call: Call) -> Performed {
    perform_into(core, job, call, None).await
}

/// The same with the answer given on to whoever reads the sink, where that can be.
pub async fn perform_into(
    core: &Core,
    job: &Behalf,
    call: Call,
    sink: Option<Arc<Sink>>,
) -> Performed {
    match prepare(core, job, call).await {
        Ok(call) if call.capability.write => write(core, job, Prepared { sink, ..call }).await,
        Ok(call) => {
            let call = Prepared { sink, ..call };
            let result = match call.pass(core, job).await {
                Ok(()) => read(core, job, &call).await,
                Err(result) => result,
            };
            (result, Vec::new())
        }
        Err(result) => (result, Vec::new()),
    }
}

struct Prepared {
    capability: Arc<Capability>,
    connection: Arc<Connection>,
    arguments: Value,
    authority: Authority,
    deadline: Instant,
    sink: Option<Arc<Sink>>,
}

impl Prepared {
    /// Whether it may leave now. Nobody is asked about what the provider would not take.
    async fn pass(&self, core: &Core, job: &Behalf) -> Result<(), StepResult> {
        let wanted = Wanted {
            capability: &self.capability.id,
            integration: &self.capability.integration,
            risk: self.capability.risk,
            connection: &self.connection,
            arguments: &self.arguments,
        };
        let passed = gate::pass(core, job, &self.authority, &wanted).await;
        if matches!(passed, Err(StepResult::Asks(_))) {
            let account = &self.connection.account;
            let key = self.capability.write.then_some("");
            shape(&self.capability, &self.arguments, account, key)
                .map_err(|error| StepResult::Failed(bad_params(&error)))?;
        }
        passed
    }
}

async fn prepare(core: &Core, job: &Behalf, call: Call) -> Result<Prepared, StepResult> {
    let found = core.catalogs.capability(job.org, &call.capability).await;
    let Some(capability) = found.map_err(|error| unavailable(&error))? else {
        return Err(StepResult::Failed(StepError::new(
            "unknown_capability",
            format!("{} is not in the catalog", call.capability),
        )));
    };
    gate::is_permitted(&call.authority, &capability).map_err(StepResult::Failed)?;
    let integration = capability.integration.clone();
    let found = core
        .connectors()
        .find_for(
            job.org,
            call.authority.user(),
            &integration,
            call.connection.as_deref(),
        )
        .await;
    let connection = match found {
        Ok(Some(connection)) => connection,
        Ok(None) => {
            let detail = match &call.connection {
                Some(name) => format!(
                    "needs the connection {name} to {integration}, which this org does not have"
                ),
                None => {
                    format!("needs a connection to {integration}, which this org does not have")
                }
            };
            return Err(StepResult::Parked(NamedWait {
                kind: "connection".into(),
                on: integration,
                detail,
            }));
        }
        Err(error) => return Err(unavailable(&error)),
    };
    Ok(Prepared {
        capability,
        connection,
        arguments: call.arguments,
        authority: call.authority,
        deadline: Instant::now() + core.settings.action_deadline,
        sink: None,
    })
}

fn unavailable(error: &DbError) -> StepResult {
    StepResult::Failed(StepError::retryable("unavailable", error.to_string()))
}

fn bad_params(error: &BadParams) -> StepError {
    StepError::new("bad_params", format!("argument {error}"))
}

async fn read(core: &Core, job: &Behalf, call: &Prepared) -> StepResult {
    let request = match shape(
        &call.capability,
        &call.arguments,
        &call.connection.account,
        None,
    ) {
        Ok(request) => request.into_sink(call.sink.clone()),
        Err(error) => return StepResult::Failed(bad_params(&error)),
    };
    let request = CallRequest {
        request,
        cost: call.capability.cost,
        deadline: call.deadline,
        employee: job.employee,
        effect: None,
    };
    let called = core
        .connectors()
        .call_for(job.waiter(), &call.connection, request);
    match called.await {
        Ok(CallOutcome::Ok { output, .. }) => completed(output),
        Ok(outcome) => StepResult::Failed(failure(&outcome)),
        Err(error) => not_sent(&call.connection, &error),
    }
}

fn completed(output: Value) -> StepResult {
    StepResult::Completed {
        output: Arc::new(output),
        remember: Vec::new(),
    }
}

/// An effect and where it stands.
struct Ledger<'a> {
    core: &'a Core,
    job: &'a Behalf,
    call: Prepared,
    id: EffectId,
    key: String,
    attempts: i32,
    /// When the first sending that may have happened left.
    sent: Option<Timestamp>,
    /// Nobody waits for the result any more: what did not happen is not done now.
    orphan: bool,
}

/// Finds out what became of a write that was sent and for which nobody waits any more: whoever asked for it was cut off with the process
/// that sent it. Not for the effects of runs, which their employees take up.
pub async fn settle_orphan(core: &Core, row: EffectRow) -> Vec<EffectChange> {
    let job = Behalf {
        org: row.org_id,
        // It queues for the connection on its own.
        employee: EmployeeId::from_uuid(row.run_id.uuid()),
        execution: row.run_id,
        step: row.step.parse().unwrap_or(StepId::ZERO),
        fresh: false,
    };
    let call = match locate(core, &row).await {
        Ok(Some(call)) => call,
        Ok(None) => {
            let mut update = EffectUpdate::new(row.id, EffectStatus::Ambiguous);
            let note = json!({"why": GONE, "doubt": "its connection or what was sent is not there any more"});
            update.note = Some(note.to_string());
            return vec![EffectChange::Update(Box::new(update))];
        }
        // Another time.
        Err(_) => return Vec::new(),
    };
    let mut ledger = Ledger {
        core,
        job: &job,
        call,
        id: row.id,
        key: row.idempotency_key,
        attempts: row.attempts,
        sent: row.sent,
        orphan: true,
    };
    ledger.resolve(GONE).await.1
}

const GONE: &str = "the process ended before the answer came";

/// What a row of the ledger was made from.
async fn locate(core: &Core, row: &EffectRow) -> Result<Option<Prepared>, DbError> {
    let capability = core
        .catalogs
        .capability(row.org_id, &row.capability)
        .await?;
    let arguments: Value = serde_json::from_str(&row.args).unwrap_or_default();
    // The ledger keeps no secret: what it has may be less than what was sent.
    let is_whole = ContentHash::of_json(&arguments) == row.args_hash;
    let mut tx = core.db.begin_read(row.org_id).await?;
    let connection = match row.connection_id.filter(|_| is_whole) {
        Some(id) => connection_get(&mut tx, id).await?,
        None => None,
    };
    drop(tx);
    // Whoever owns it: it was theirs to use when the write left.
    let connection = match connection {
        Some(row) if row.status == CONNECTION_ACTIVE => core.connectors().of_row(&row).await?,
        _ => None,
    };
    Ok(capability
        .zip(connection)
        .map(|(capability, connection)| Prepared {
            capability,
            connection,
            arguments,
            authority: Authority::Runtime,
            deadline: Instant::now() + core.settings.action_deadline,
            sink: None,
        }))
}

async fn write(core: &Core, job: &Behalf, call: Prepared) -> Performed {
    let args_hash = ContentHash::of_json(&call.arguments);
    let key = effect_key(job.execution, &job.step.to_string(), args_hash);
    let id = EffectId::from_uuid(Uuid::new_v5(&job.execution.uuid(), key.as_bytes()));
    let mut ledger = Ledger {
        core,
        job,
        call,
        id,
        key,
        attempts: 0,
        sent: None,
        orphan: false,
    };
    let known = if job.fresh {
        Ok(None)
    } else {
        ledger.look_up().await
    };
    let known = match known {
        Ok(known) => known,
        Err(error) => return (unavailable(&error), Vec::new()),
    };
    if !known.as_ref().is_some_and(has_left)
        && let Err(result) = ledger.call.pass(core, job).await
    {
        return (result, Vec::new());
    }
    match known {
        None => match ledger.intend(args_hash).await {
            Ok(()) => ledger.send().await,
            Err(result) => (result, Vec::new()),
        },
        Some(row) => ledger.take_up(row).await,
    }
}

/// Whether it may have left already. Then it was let through, and what became of it is found out whatever the rules say now.
fn has_left(row: &EffectRow) -> bool {
    match row.status {
        EffectStatus::Sent | EffectStatus::Done | EffectStatus::Ambiguous => true,
        EffectStatus::Reconciled => reconciled_as_done(row),
        EffectStatus::Intended | EffectStatus::Failed => false,
    }
}

impl Ledger<'_> {
    async fn look_up(&self) -> Result<Option<EffectRow>, DbError> {
        let mut tx = self.core.db.begin_read(self.job.org).await?;
        effect_find_by_key(&mut tx, self.key.as_bytes()).await
    }

    /// Makes the intention durable, with every fact that it follows from.
    async fn intend(&self, args_hash: ContentHash) -> Result<(), StepResult> {
        let row = EffectRow {
            org_id: self.job.org,
            id: self.id,
            run_id: self.job.execution,
            step: self.job.step.to_string(),
            key: self.key.as_bytes().to_vec(),
            capability: self.call.capability.id.clone(),
            integration: self.call.capability.integration.clone(),
            connection_id: Some(self.call.connection.id),
            args_hash,
            args: without_links(&self.call.arguments.to_string(), self.core),
            idempotency_key: self.key.clone(),
            status: EffectStatus::Intended,
            attempts: 0,
            epoch: self.core.epoch() as i64,
            intended: self.core.clock.now(),
            sent: None,
            settled: None,
            response: None,
            error: None,
            note: None,
            owner_user: self.call.connection.owner_user.clone(),
        };
        let mut append = new_append(self.job.org);
        append.effects.push(EffectChange::Intend(Box::new(row)));
        match self
            .core
            .journal
            .write(Some(self.job.execution), append)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => Err(StepResult::Failed(StepError::retryable(
                "not_durable",
                error.to_string(),
            ))),
        }
    }

    /// What an earlier life left behind.
    async fn take_up(&mut self, row: EffectRow) -> Performed {
        self.attempts = row.attempts;
        self.sent = row.sent;
        match row.status {
            EffectStatus::Intended | EffectStatus::Failed => self.send().await,
            EffectStatus::Sent => self.resolve(GONE).await,
            EffectStatus::Done => (completed(stored_response(&row)), Vec::new()),
            EffectStatus::Ambiguous => (
                self.parked("it is still not known whether this happened"),
                Vec::new(),
            ),
            EffectStatus::Reconciled => match reconciled_as_done(&row) {
                true => (completed(stored_response(&row)), Vec::new()),
                false => self.send().await,
            },
        }
    }

    async fn send(&mut self) -> Performed {
        let request = match shape(
            &self.call.capability,
            &self.call.arguments,
            &self.call.connection.account,
            Some(&self.key),
        ) {
            Ok(request) => request.into_sink(self.call.sink.clone()),
            Err(error) => return self.failed(bad_params(&error)),
        };
        self.attempts += 1;
        let ticket = EffectTicket {
            org: self.job.org,
            execution: self.job.execution,
            effect: self.id,
            attempts: self.attempts,
        };
        let request = CallRequest {
            request,
            cost: self.call.capability.cost,
            deadline: self.call.deadline,
            employee: self.job.employee,
            effect: Some(ticket),
        };
        let began = self.core.clock.now();
        match self
            .core
            .connectors()
            .call_for(self.job.waiter(), &self.call.connection, request)
            .await
        {
            Ok(CallOutcome::Ok { output, .. }) => {
                let kept = self.call.sink.as_ref().and_then(|sink| sink.kept());
                let output = kept.map_or(output, |kept| envelope(&kept));
                self.done(output, EffectStatus::Done, None)
            }
            Ok(CallOutcome::Unknown { reason, .. }) => {
                self.sent.get_or_insert(began);
                Box::pin(self.resolve(&reason)).await
            }
            Ok(outcome) => self.failed(failure(&outcome)),
            // The row stays as it is: it is sent when the account is connected again.
            Err(error @ ConnectorError::NeedsConsent(_)) => {
                (not_sent(&self.call.connection, &error), Vec::new())
            }
            Err(error) => self.failed(connector_failure(&error)),
        }
    }

    /// A sending whose answer nobody knows.
    async fn resolve(&mut self, why: &str) -> Performed {
        let sent = self.sent.unwrap_or_else(|| self.core.clock.now());
        let way = resolution(
            &self.call.capability,
            &self.call.arguments,
            &self.call.connection.account,
            &self.key,
            sent,
        );
        match way {
            Ok(Resolution::Resend) if self.attempts < RESOLVE_ATTEMPTS as i32 => {
                tokio::time::sleep(RESOLVE_PAUSE).await;
                Box::pin(self.send()).await
            }
            Ok(Resolution::Resend) => {
                self.ambiguous(why, "sending it again gave no answer either")
                    .await
            }
            Ok(Resolution::Probe(probe)) => self.probe(*probe, why).await,
            Ok(Resolution::AskPerson(reason)) => self.ambiguous(why, &reason).await,
            Err(error) => self.ambiguous(why, &error.to_string()).await,
        }
    }

    /// Asks the provider whether it happened.
    async fn probe(&mut self, probe: ShapedProbe, why: &str) -> Performed {
        let mut doubt = String::from("the provider could not be asked");
        for attempt in 0..RESOLVE_ATTEMPTS {
            tokio::time::sleep(
                probe.not_before.since(self.core.clock.now()) + RESOLVE_PAUSE * attempt,
            )
            .await;
            match self.read_probe(probe.clone()).await {
                Ok(ProbeReading::Happened(output)) => {
                    return self.done(
                        output,
                        EffectStatus::Reconciled,
                        Some(json!({"outcome": "done", "by": "probe", "why": why})),
                    );
                }
                Ok(ProbeReading::DidNotHappen) if self.orphan => {
                    let told = "the provider does not have it, and nobody waits for it any more";
                    return self.failed(StepError::retryable("not_done", told));
                }
                Ok(ProbeReading::DidNotHappen) => return Box::pin(self.send()).await,
                Ok(ProbeReading::Unclear(reason)) => doubt = reason,
                Ok(ProbeReading::Next(_)) => doubt = "the answer has too many pages".into(),
                Err(reason) => doubt = reason,
            }
        }
        self.ambiguous(why, &doubt).await
    }

    /// One look, over all its pages.
    async fn read_probe(&self, mut probe: ShapedProbe) -> Result<ProbeReading, String> {
        loop {
            let request = CallRequest {
                request: probe.request.clone(),
                cost: 1,
                deadline: Instant::now() + self.core.settings.request_timeout * 2,
                employee: self.job.employee,
                effect: None,
            };
            match self
                .core
                .connectors()
                .call_for(self.job.waiter(), &self.call.connection, request)
                .await
            {
                Ok(CallOutcome::Ok { output, .. }) => match probe.read(&output) {
                    ProbeReading::Next(next) => probe = *next,
                    reading => return Ok(reading),
                },
                Ok(outcome) => return Err(failure(&outcome).message),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn update(&self, status: EffectStatus) -> EffectUpdate {
        let mut update = EffectUpdate::new(self.id, status);
        update.attempts = Some(self.attempts);
        update.epoch = Some(self.core.epoch() as i64);
        update
    }

    fn done(&self, output: Value, status: EffectStatus, note: Option<Value>) -> Performed {
        let mut update = self.update(status);
        update.settled = Some(self.core.clock.now());
        update.response = Some(without_links(&output.to_string(), self.core));
        update.note = note.map(|note| note.to_string());
        (
            completed(output),
            vec![EffectChange::Update(Box::new(update))],
        )
    }

    /// It surely did not happen.
    fn failed(&self, error: StepError) -> Performed {
        let mut update = self.update(EffectStatus::Failed);
        update.settled = Some(self.core.clock.now());
        update.error = serde_json::to_string(&error).ok();
        (
            StepResult::Failed(error),
            vec![EffectChange::Update(Box::new(update))],
        )
    }

    async fn ambiguous(&self, why: &str, doubt: &str) -> Performed {
        crate::telemetry::ambiguous();
        let mut update = self.update(EffectStatus::Ambiguous);
        update.note = Some(json!({"why": why, "doubt": doubt}).to_string());
        (
            self.parked(&format!("{why}; {doubt}")),
            vec![EffectChange::Update(Box::new(update))],
        )
    }

    fn parked(&self, why: &str) -> StepResult {
        let detail = format!(
            "a person has to say whether {} happened: {why}",
            self.call.capability.id
        );
        StepResult::Parked(NamedWait {
            kind: "effect".into(),
            on: self.id.to_string(),
            detail,
        })
    }
}

/// Links by which somebody connects an account are secrets: the ledger shows a mark in their place.
fn without_links(text: &str, core: &Core) -> String {
    mask(text, &format!("{}/connect/", core.settings.public_url))
}

/// `text` with what follows each `start`, as far as it may be a link's token, masked.
fn mask(text: &str, start: &str) -> String {
    let mut parts = text.split(start);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        masked += start;
        masked += "[link]";
        masked += part.trim_start_matches(is_token);
    }
    masked
}

fn stored_response(row: &EffectRow) -> Value {
    row.response
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null)
}

/// Whether the person who settled it said that it had happened.
fn reconciled_as_done(row: &EffectRow) -> bool {
    let note: Value = row
        .note
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    note["outcome"] == "done"
}

/// How a call that gave no result is told to the run.
fn failure(outcome: &CallOutcome) -> StepError {
    match outcome {
        CallOutcome::RateLimited { retry_after, .. } => {
            let later = retry_after.map(|wait| Later {
                estimate_ms: wait.as_millis() as u64,
                place: None,
            });
            StepError::retryable("rate_limited", "the provider asks to come back later")
                .later(later)
        }
        CallOutcome::Busy { code, message, .. } => {
            StepError::retryable("provider_busy", format!("{code}: {message}"))
        }
        CallOutcome::Rejected {
            status,
            code,
            message,
        } => StepError::new(
            "provider_error",
            format!("{code} (HTTP {status}): {message}"),
        ),
        CallOutcome::Auth { code, message, .. } => StepError::new(
            "auth_error",
            format!("the account is not accepted: {code} {message}"),
        ),
        CallOutcome::Unsent { reason } => {
            StepError::retryable("provider_unreachable", reason.clone())
        }
        CallOutcome::TooLong { limit } => StepError::new(
            "output_too_large",
            format!("the answer has more than {limit} bytes"),
        ),
        CallOutcome::Blocked { reason } => StepError::new("address_blocked", reason.clone()),
        CallOutcome::Unknown { reason, .. } => {
            StepError::retryable("provider_error", reason.clone())
        }
        CallOutcome::Ok { .. } => StepError::new("provider_error", "unexpected answer"),
    }
}

/// A call that surely did not leave: it waits for a person who connects the account again, or the step fails.
fn not_sent(connection: &Connection, error: &ConnectorError) -> StepResult {
    match error {
        ConnectorError::NeedsConsent(_) => StepResult::Parked(NamedWait {
            kind: "connection".into(),
            on: connection.integration.clone(),
            detail: format!("{} at {}: {error}", connection.name, connection.integration),
        }),
        error => StepResult::Failed(connector_failure(error)),
    }
}

fn connector_failure(error: &ConnectorError) -> StepError {
    StepError::retryable(error.code(), error.to_string()).later(error.later())
}

/// An answer as the ledger keeps it, where the caller is to have it as it came: `{"status","headers","body"|"body_base64"}`.
fn envelope(kept: &Kept) -> Value {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), Value::from(value)))
    };
    let headers: Map<String, Value> = kept.headers.iter().filter_map(text).collect();
    let mut envelope = json!({"status": kept.status, "headers": headers});
    match std::str::from_utf8(&kept.body) {
        Ok(text) => envelope["body"] = text.into(),
        Err(_) => envelope["body_base64"] = STANDARD.encode(&kept.body).into(),
    }
    envelope
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn connect_links_are_masked() {
        let start = "http://here/connect/";
        for (text, masked) in [
            ("nothing", "nothing"),
            (
                r#"{"text":"open http://here/connect/aB-_9 or http://here/connect/x."}"#,
                r#"{"text":"open http://here/connect/[link] or http://here/connect/[link]."}"#,
            ),
            ("http://there/connect/a", "http://there/connect/a"),
        ] {
            assert_eq!(mask(text, start), masked);
        }
    }
}
