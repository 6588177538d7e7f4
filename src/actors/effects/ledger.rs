//! A write and its row in the ledger, from the intention to the end, over crashes and lost answers.

use super::{
    Behalf, Performed, Prepared,
    links::without_links,
    words::{bad_params, completed, connector_failure, envelope, failure, not_sent, unavailable},
};
use crate::{
    actors::{
        append::new_append,
        connector::{CallRequest, ConnectorError, EffectTicket},
        core::Core,
        employee::StepResult,
    },
    connect::{CallOutcome, ProbeReading, Resolution, ShapedProbe, effect_key, resolution, shape},
    domain::{ContentHash, EffectId, Timestamp},
    graph::{NamedWait, StepError},
    persistence::{
        DbError, EffectChange, EffectRow, EffectStatus, EffectUpdate, effect_find_by_key,
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Times that an unclear write is looked up or sent again before a person is asked.
const RESOLVE_ATTEMPTS: u32 = 6;
const RESOLVE_PAUSE: Duration = Duration::from_millis(500);

/// Why it is not known of a write that was under way.
pub(super) const GONE: &str = "the process ended before the answer came";

/// An effect and where it stands.
pub(super) struct Ledger<'a> {
    pub(super) core: &'a Core,
    pub(super) job: &'a Behalf,
    pub(super) call: Prepared,
    pub(super) id: EffectId,
    pub(super) key: String,
    pub(super) attempts: i32,
    /// When the first sending that may have happened left.
    pub(super) sent: Option<Timestamp>,
    /// Nobody waits for the result any more: what did not happen is not done now.
    pub(super) orphan: bool,
}

pub(super) async fn write(core: &Core, job: &Behalf, call: Prepared) -> Performed {
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
    pub(super) async fn resolve(&mut self, why: &str) -> Performed {
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
