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
    connect::{
        CallOutcome, Doubt, ProbeReading, Resolution, ShapedProbe, effect_key, resolution, shape,
    },
    domain::{ContentHash, EffectId, EmployeeId, Timestamp},
    graph::{NamedWait, StepError},
    persistence::{
        DbError, EffectChange, EffectRow, EffectStatus, EffectUpdate, Hit, Intention, Receipt,
        effect_find_by_key,
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Times that an unclear write is looked up or sent again before a person is asked.
const RESOLVE_ATTEMPTS: i32 = 6;
const RESOLVE_PAUSE: Duration = Duration::from_millis(500);
/// How long a look that does not get its turn is tried again before a person is asked: quotas of a minute and of a quarter of an hour have
/// room again by then.
const LOOK_PATIENCE: Duration = Duration::from_secs(20 * 60);
/// How long one look waits for its turn and its answer.
const LOOK_TIME: Duration = Duration::from_secs(120);
/// The shortest and the longest pause before a look that did not get its turn.
const LOOK_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What is left to say of a write that was answered with success and that the provider does not show.
const NOT_SHOWN: &str = "the provider answered that it was done, and does not show it";

/// Why it is not known of a write that was under way.
pub(super) const GONE: &str = "the process ended before the answer came";

/// Why a look told nothing.
enum NoLook {
    /// It was not made: its turn did not come, or the provider wants to be left alone for now.
    NotYet {
        reason: String,
        wait: Duration,
    },
    Failed(String),
}

impl NoLook {
    fn of(outcome: &CallOutcome) -> Self {
        let reason = failure(outcome).message;
        match outcome {
            CallOutcome::RateLimited { retry_after, .. }
            | CallOutcome::Busy { retry_after, .. } => Self::NotYet {
                reason,
                wait: retry_after.unwrap_or_default(),
            },
            _ => Self::Failed(reason),
        }
    }

    fn held(error: &ConnectorError) -> Self {
        let reason = error.to_string();
        match error {
            ConnectorError::Overloaded | ConnectorError::Full(_) | ConnectorError::Late { .. } => {
                let wait = error.later().map_or(0, |later| later.estimate_ms);
                Self::NotYet {
                    reason,
                    wait: Duration::from_millis(wait),
                }
            }
            _ => Self::Failed(reason),
        }
    }
}

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
    /// The provider answered a sending with success. That it does not show the write proves nothing from then on: what it lists lags behind
    /// what it does. Only a look that finds it, or a person, settles it.
    pub(super) is_accepted: bool,
    /// It was settled as not done when nobody wanted it.
    pub(super) is_reopened: bool,
    pub(super) wanted: StillWanted,
}

/// Whether somebody still waits for a write of which it is not known whether it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StillWanted {
    /// If it did not happen, it is done now.
    Yes,
    /// Its client is gone, and may come again. It is sent again only where the provider knows the key: that is how it can be asked.
    ByKeyAlone,
    /// Its run is over: nothing is sent any more, whatever became of it.
    No,
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
        is_accepted: false,
        is_reopened: false,
        wanted: StillWanted::Yes,
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
        None => ledger.begin(args_hash).await,
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

    async fn begin(&mut self, args_hash: ContentHash) -> Performed {
        match self.intend(args_hash).await {
            Ok(Hit::Row) => return self.send().await,
            Ok(Hit::NoRow) => {}
            Err(result) => return (result, Vec::new()),
        }
        // An earlier life has begun it, or its run is not there: its trigger was taken before, and nobody waits.
        match self.look_up().await {
            Ok(Some(row)) => self.take_up(row).await,
            Ok(None) => {
                let error = StepError::new("not_accepted", "the run was not accepted");
                (StepResult::Failed(error), Vec::new())
            }
            Err(error) => (unavailable(&error), Vec::new()),
        }
    }

    /// Makes the intention durable, with every fact that it follows from.
    async fn intend(&self, args_hash: ContentHash) -> Result<Hit, StepResult> {
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
        let receipt = Receipt::default();
        let intention = Intention {
            row,
            of_run: self.job.of_run,
            receipt: receipt.clone(),
        };
        append
            .effects
            .push(EffectChange::Begin(Box::new(intention)));
        match self
            .core
            .journal
            .write(Some(self.job.execution), append)
            .await
        {
            Ok(_) => Ok(receipt.read()),
            Err(error) => Err(StepResult::Failed(StepError::retryable(
                "not_durable",
                error.to_string(),
            ))),
        }
    }

    /// What an earlier life left behind.
    async fn take_up(&mut self, row: EffectRow) -> Performed {
        self.attempts = row.attempts;
        // Of what was settled as not done, no sending is in doubt.
        self.sent = row.sent.filter(|_| row.status == EffectStatus::Sent);
        self.is_accepted = was_accepted(&row);
        match row.status {
            EffectStatus::Intended | EffectStatus::Failed => self.send().await,
            EffectStatus::Sent => self.resolve(GONE).await,
            EffectStatus::Done => (completed(stored_response(&row)), Vec::new()),
            EffectStatus::Ambiguous => (
                self.parked("it is still not known whether this happened"),
                Vec::new(),
            ),
            EffectStatus::Reconciled if reconciled_as_done(&row) => {
                (completed(stored_response(&row)), Vec::new())
            }
            EffectStatus::Reconciled => {
                self.is_reopened = true;
                self.send().await
            }
        }
    }

    async fn send(&mut self) -> Performed {
        let request = match shape(
            &self.call.capability,
            self.call.outgoing(),
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
            in_doubt_since: self.sent,
            is_reopened: self.is_reopened,
        };
        let request = CallRequest {
            request,
            cost: self.call.capability.cost,
            deadline: self.deadline(),
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
            Ok(CallOutcome::Unknown { reason, status, .. }) => {
                self.sent.get_or_insert(began);
                if let Some(status) = status.filter(|status| (200..300).contains(status)) {
                    self.note_accepted(status).await;
                }
                Box::pin(self.resolve(&reason)).await
            }
            Ok(outcome) => self.refused(failure(&outcome)).await,
            // The row stays as it is: it is sent when the account is connected again.
            Err(held) if matches!(*held, ConnectorError::NeedsConsent(_)) => {
                (not_sent(&self.call.connection, &held), Vec::new())
            }
            Err(held) => self.refused(connector_failure(&held)).await,
        }
    }

    /// Makes it durable that a sending was answered with success, for whoever takes the write up after a crash.
    async fn note_accepted(&mut self, status: u16) {
        self.is_accepted = true;
        let mut update = self.update(EffectStatus::Sent);
        update.note = Some(json!({"answered": status}).to_string());
        let mut append = new_append(self.job.org);
        append.effects.push(EffectChange::Update(Box::new(update)));
        let written = self.core.journal.write(Some(self.job.execution), append);
        if let Err(error) = written.await {
            tracing::warn!(effect = %self.id, %error, "that a write was answered is not in the ledger");
        }
    }

    /// How long a sending may take. One that relies on the provider's knowing the key must arrive while it does.
    fn deadline(&self) -> Instant {
        let valid_for = self.call.capability.key_valid_for;
        let Some((sent, valid_for)) = self.sent.zip(valid_for) else {
            return self.call.deadline;
        };
        let left = sent.after(valid_for).since(self.core.clock.now());
        self.call.deadline.min(Instant::now() + left)
    }

    /// This sending surely had no effect. Of an earlier one that is in doubt that says nothing.
    async fn refused(&mut self, error: StepError) -> Performed {
        match self.sent {
            None => self.failed(error),
            Some(_) if error.retryable => Box::pin(self.resolve(&error.message)).await,
            Some(_) => {
                let doubt = "an earlier sending may have happened before this one was refused";
                self.ambiguous(&error.message, doubt)
            }
        }
    }

    /// A sending whose answer nobody knows.
    pub(super) async fn resolve(&mut self, why: &str) -> Performed {
        let now = self.core.clock.now();
        let sent = self.sent.unwrap_or(now);
        let way = resolution(
            &self.call.capability,
            self.call.outgoing(),
            &self.call.connection.account,
            &self.key,
            Doubt { sent, now },
        );
        match way {
            Ok(Resolution::Resend) if self.wanted == StillWanted::No => {
                self.ambiguous(why, "it could only be sent again, and its run is over")
            }
            Ok(Resolution::Resend) if self.attempts < RESOLVE_ATTEMPTS => {
                tokio::time::sleep(RESOLVE_PAUSE).await;
                Box::pin(self.send()).await
            }
            Ok(Resolution::Resend) => self.ambiguous(why, "sending it again gave no answer either"),
            Ok(Resolution::Probe(probe)) => self.probe(*probe, why).await,
            Ok(Resolution::AskPerson(reason)) => self.ambiguous(why, &reason),
            Err(error) => self.ambiguous(why, &error.to_string()),
        }
    }

    /// Asks the provider whether it happened.
    async fn probe(&mut self, probe: ShapedProbe, why: &str) -> Performed {
        let mut doubt = String::from("the provider could not be asked");
        let (until, mut attempt) = (Instant::now() + LOOK_PATIENCE, 0_i32);
        while attempt < RESOLVE_ATTEMPTS {
            tokio::time::sleep(
                probe.not_before.since(self.core.clock.now()) + self.pause_before_look(attempt),
            )
            .await;
            attempt += 1;
            match self.read_probe(probe.clone()).await {
                Ok(ProbeReading::Happened(output)) => {
                    return self.done(
                        output,
                        EffectStatus::Reconciled,
                        Some(json!({"outcome": "done", "by": "probe", "why": why})),
                    );
                }
                Ok(ProbeReading::DidNotHappen) if self.is_accepted => doubt = NOT_SHOWN.into(),
                Ok(ProbeReading::DidNotHappen) if self.wanted != StillWanted::Yes => {
                    let told = "the provider does not have it, and nobody waits for it any more";
                    return self.failed(StepError::retryable("not_done", told));
                }
                Ok(ProbeReading::DidNotHappen) if self.attempts >= RESOLVE_ATTEMPTS => {
                    let told = "the provider does not have it, however often it was sent";
                    return self.failed(StepError::retryable("not_done", told));
                }
                Ok(ProbeReading::DidNotHappen) => {
                    self.sent = None;
                    return Box::pin(self.send()).await;
                }
                Ok(ProbeReading::Unclear(reason)) => doubt = reason,
                Ok(ProbeReading::Next(_)) => doubt = "the answer has too many pages".into(),
                // The row stays as it is, and is looked at again by the next sweep.
                Err(NoLook::NotYet { reason, .. }) if self.wanted != StillWanted::Yes => {
                    return (self.parked(&reason), Vec::new());
                }
                Err(NoLook::NotYet { wait, .. }) if Instant::now() < until => {
                    // It was no look: others used the quota up.
                    attempt -= 1;
                    let (least, most) = LOOK_PAUSE;
                    tokio::time::sleep(wait.clamp(least, most)).await;
                }
                Err(NoLook::NotYet { reason, .. } | NoLook::Failed(reason)) => doubt = reason,
            }
        }
        self.ambiguous(why, &doubt)
    }

    /// What was answered with success is given longer to show, twice as long from look to look.
    fn pause_before_look(&self, looks: i32) -> Duration {
        match (looks, self.is_accepted) {
            (0, _) => Duration::ZERO,
            (_, true) => self.core.settings.look_pause * (1 << (looks - 1)),
            (_, false) => RESOLVE_PAUSE * looks.unsigned_abs(),
        }
    }

    /// One look, over all its pages.
    async fn read_probe(&self, mut probe: ShapedProbe) -> Result<ProbeReading, NoLook> {
        loop {
            let request = CallRequest {
                request: probe.request.clone(),
                cost: 1,
                deadline: Instant::now() + LOOK_TIME,
                // It queues for the connection on its own, and not behind what its employee has waiting: the connection shares its quota
                // evenly between those who wait.
                employee: EmployeeId::from_uuid(self.id.uuid()),
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
                Ok(outcome) => return Err(NoLook::of(&outcome)),
                Err(held) => return Err(NoLook::held(&held)),
            }
        }
    }

    fn update(&self, status: EffectStatus) -> EffectUpdate {
        let mut update = EffectUpdate::new(self.id, status);
        update.attempts = Some(self.attempts);
        update.epoch = Some(self.core.epoch() as i64);
        update.at = Some(self.core.clock.now());
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

    fn ambiguous(&self, why: &str, doubt: &str) -> Performed {
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

/// Whether a sending was answered with success of which nobody has said more since.
pub(super) fn was_accepted(row: &EffectRow) -> bool {
    let note = note_of(row);
    row.status == EffectStatus::Sent && note["answered"].is_u64() && note["outcome"].is_null()
}

fn note_of(row: &EffectRow) -> Value {
    let note = row.note.as_deref();
    note.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Whether the person who settled it said that it had happened.
fn reconciled_as_done(row: &EffectRow) -> bool {
    note_of(row)["outcome"] == "done"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connect::RateHints, graph::Later};

    /// Six looks that tell nothing make a person be asked; what did not get its turn is none of them.
    #[test]
    fn a_look_that_did_not_get_its_turn_is_no_look() {
        let seconds = Duration::from_secs;
        let wait = |look: NoLook| match look {
            NoLook::NotYet { wait, .. } => Some(wait),
            NoLook::Failed(_) => None,
        };
        let limited = |retry_after| CallOutcome::RateLimited {
            retry_after,
            rate: RateHints::default(),
        };
        let busy = CallOutcome::Busy {
            code: "locked".into(),
            message: "locked".into(),
            retry_after: Some(seconds(3)),
        };
        let unknown = CallOutcome::Unknown {
            reason: "no answer".into(),
            status: None,
            retry_after: Some(seconds(5)),
        };
        for (outcome, expected) in [
            (limited(Some(seconds(7))), Some(seconds(7))),
            (limited(None), Some(seconds(0))),
            (busy, Some(seconds(3))),
            (unknown, None),
        ] {
            assert_eq!(wait(NoLook::of(&outcome)), expected, "{outcome:?}");
        }
        let later = Later {
            estimate_ms: 9_000,
            place: None,
        };
        let late = ConnectorError::Late {
            reason: "its limit".into(),
            later,
        };
        for (error, expected) in [
            (late, Some(seconds(9))),
            (ConnectorError::Full(later), Some(seconds(9))),
            (ConnectorError::Overloaded, Some(seconds(0))),
            (ConnectorError::NeedsConsent("revoked".into()), None),
            (ConnectorError::Unreachable, None),
        ] {
            assert_eq!(wait(NoLook::held(&error)), expected, "{error:?}");
        }
    }
}
