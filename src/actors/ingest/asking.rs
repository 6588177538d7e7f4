//! Asks approvals in Slack, where the org wants that: posts the question with its buttons, and shows the outcome in the same message.
//!
//! Invariants: a question is posted once (the message is stored before it leaves, so that the effect ledger knows it again after a crash);
//! each message shows its approval's end, however that came about. Persists the notices, and its writes as effects of the run that asks.
//! An approval does not depend on any of this: it can be decided by the API at any time.

use super::{
    super::{
        core::Core,
        effects::{self, Behalf, Call},
        employee::StepResult,
        mailbox::{Envelope, Mailbox, Named},
        vitals::Vitals,
    },
    Waiting,
    approvals::{SLACK, SlackSettings},
};
use crate::{
    actors::append::new_append,
    connect::ingest::blocks::{Message as SlackMessage, Outcome, Question},
    domain::{OrgId, Timestamp},
    persistence::{
        ApprovalStatus, DbError, EffectChange, NoticeRow, NoticeStatus, NoticeTask, PageRequest,
        employee_get, notice_put, notices_due, notices_open, org_list,
    },
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const MAILBOX: usize = 10;
/// How often it looks, if something was written meanwhile; and if not.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const LOOK_ANYWAY: Duration = Duration::from_secs(15);
/// How long it is known which orgs want to be asked in Slack.
const ORGS_KEPT: Duration = Duration::from_secs(10);
/// Notices of one org in one look. They are posted one after the other: Slack takes about one message a second in a channel.
const AT_ONCE: u32 = 20;
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_LAST: Duration = Duration::from_secs(300);
const ATTEMPTS_MAX: i64 = 20;
const POST: &str = "slack.chat.post";
const UPDATE: &str = "slack.chat.update";

pub(super) async fn spawn(parent: ActorCell, core: Arc<Core>) -> Result<(), ractor::SpawnErr> {
    let vitals = core.vitals.register("node/asking", "asking", None, MAILBOX);
    Actor::spawn_linked(None, Asking(core), vitals, parent)
        .await
        .map(drop)
}

enum Message {
    Look,
    /// All of a look is done.
    Done(Result<Vec<(OrgId, SlackSettings)>, String>),
}
impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Look => "look",
            Message::Done(_) => "done",
        }
    }
}

struct Asking(Arc<Core>);

struct State {
    vitals: Arc<Vitals>,
    orgs: Option<(Instant, Vec<(OrgId, SlackSettings)>)>,
    commits: tokio::sync::watch::Receiver<u64>,
}

impl Actor for Asking {
    type Msg = Envelope<Message>;
    type State = State;
    type Arguments = Arc<Vitals>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        vitals: Arc<Vitals>,
    ) -> Result<State, ActorProcessingErr> {
        let _ = Mailbox::new(myself, vitals.clone()).tell(Message::Look);
        Ok(State {
            vitals,
            orgs: None,
            commits: self.0.journal.commits(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _handling) = message.open(&state.vitals);
        let own = Mailbox::new(myself, state.vitals.clone());
        match message {
            Message::Look => {
                state.vitals.set_waiting(None);
                let known = state.orgs.take().filter(|(at, _)| at.elapsed() < ORGS_KEPT);
                let (core, commits) = (self.0.clone(), state.commits.clone());
                state.commits.mark_unchanged();
                // The network is waited for beside the mailbox; the next look comes when this one is through.
                tokio::spawn(async move {
                    let result = look(&core, known.map(|(_, orgs)| orgs)).await;
                    let _ = own.tell(Message::Done(result.map_err(|error| error.to_string())));
                    drop(commits);
                });
            }
            Message::Done(result) => {
                match result {
                    Ok(orgs) => state.orgs = Some((Instant::now(), orgs)),
                    Err(error) => {
                        tracing::warn!(error, "approvals could not be asked in slack");
                        state.vitals.record_error(error, self.0.clock.now());
                    }
                }
                let wanted = state
                    .orgs
                    .as_ref()
                    .is_some_and(|(_, orgs)| !orgs.is_empty());
                state.vitals.set_waiting(Some(Waiting {
                    on: "something to ask".into(),
                    since: self.0.clock.now(),
                }));
                let mut commits = state.commits.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LOOK_EVERY).await;
                    if wanted {
                        let _ = tokio::time::timeout(LOOK_ANYWAY, commits.changed()).await;
                    } else {
                        tokio::time::sleep(ORGS_KEPT).await;
                    }
                    let _ = own.tell(Message::Look);
                });
            }
        }
        Ok(())
    }
}

/// One look over all orgs that want to be asked in Slack; gives those.
async fn look(
    core: &Arc<Core>,
    known: Option<Vec<(OrgId, SlackSettings)>>,
) -> Result<Vec<(OrgId, SlackSettings)>, DbError> {
    let orgs = match known {
        Some(orgs) => orgs,
        None => orgs(core).await?,
    };
    let looks = orgs
        .iter()
        .map(|(org, settings)| ask_org(core, *org, settings));
    for result in futures::future::join_all(looks).await {
        result?;
    }
    Ok(orgs)
}

async fn orgs(core: &Core) -> Result<Vec<(OrgId, SlackSettings)>, DbError> {
    let mut found = Vec::new();
    let mut request = PageRequest::new(Some(200), None)?;
    loop {
        let mut tx = core.db.begin_system_read("who is asked in slack").await?;
        let page = org_list(&mut tx, &request).await?;
        drop(tx);
        found.extend(page.items.iter().filter_map(|org| {
            let settings = SlackSettings::of(&org.settings);
            settings
                .approvals_channel
                .is_some()
                .then_some((org.id, settings))
        }));
        match page.next {
            Some(next) => request = PageRequest::new(Some(200), Some(&next))?,
            None => return Ok(found),
        }
    }
}

async fn ask_org(core: &Arc<Core>, org: OrgId, settings: &SlackSettings) -> Result<(), DbError> {
    loop {
        let now = core.clock.now();
        let mut tx = core.db.begin_system("approvals to ask in slack").await?;
        notices_open(&mut tx, org, now, AT_ONCE).await?;
        let due = notices_due(&mut tx, org, now, AT_ONCE).await?;
        tx.commit().await?;
        let full = due.len() == AT_ONCE as usize;
        for task in due {
            let notice = match task.notice_status {
                NoticeStatus::Asking => ask(core, settings, &task).await?,
                _ => show_outcome(core, settings, &task).await?,
            };
            put(core, &notice).await?;
        }
        if !full {
            return Ok(());
        }
    }
}

async fn put(core: &Core, notice: &NoticeRow) -> Result<(), DbError> {
    let mut tx = core.db.begin_system("how a notice stands").await?;
    notice_put(&mut tx, notice).await?;
    tx.commit().await
}

fn notice(task: &NoticeTask, status: NoticeStatus) -> NoticeRow {
    NoticeRow {
        org_id: task.approval.org_id,
        approval_id: task.approval.id,
        status,
        channel: task.channel.clone(),
        ts: task.ts.clone(),
        message: task.message.clone(),
        attempts: task.attempts + 1,
        due: Timestamp::default(),
        error: None,
    }
}

/// It did not work: again later, or not at all any more.
fn failed(core: &Core, task: &NoticeTask, error: String, for_good: bool) -> NoticeRow {
    let attempts = task.attempts + 1;
    let given_up = for_good || attempts >= ATTEMPTS_MAX;
    tracing::warn!(approval = %task.approval.id, error, given_up, "approval could not be shown in slack");
    let exponent = u32::try_from(attempts.clamp(1, 10)).unwrap_or(1) - 1;
    let wait = (AGAIN_FIRST * 2u32.pow(exponent)).min(AGAIN_LAST);
    NoticeRow {
        due: core.clock.now().after(wait),
        error: Some(error),
        ..notice(
            task,
            if given_up {
                NoticeStatus::Failed
            } else {
                task.notice_status
            },
        )
    }
}

async fn ask(
    core: &Arc<Core>,
    settings: &SlackSettings,
    task: &NoticeTask,
) -> Result<NoticeRow, DbError> {
    // Without a stored message nothing can have left.
    if task.approval.status != ApprovalStatus::Pending && task.message.is_none() {
        return Ok(notice(task, NoticeStatus::Closed));
    }
    let arguments = match task
        .message
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
    {
        Some(stored) => stored,
        None => {
            let arguments = first_message(core, settings, task).await?;
            // Before it leaves: after a crash it must be the very same message, by which the ledger and Slack know it.
            let row = NoticeRow {
                message: Some(arguments.to_string()),
                attempts: task.attempts,
                due: core.clock.now(),
                ..notice(task, NoticeStatus::Asking)
            };
            put(core, &row).await?;
            arguments
        }
    };
    let task = &NoticeTask {
        message: Some(arguments.to_string()),
        ..task.clone()
    };
    Ok(match call(core, settings, task, POST, arguments).await {
        Ok(output) => {
            let text = |field: &str| output[field].as_str().map(str::to_owned);
            NoticeRow {
                channel: text("channel"),
                ts: text("ts"),
                attempts: 0,
                ..notice(task, NoticeStatus::Asked)
            }
        }
        Err((error, for_good)) => failed(core, task, error, for_good),
    })
}

async fn first_message(
    core: &Core,
    settings: &SlackSettings,
    task: &NoticeTask,
) -> Result<Value, DbError> {
    let arguments = arguments_of(task);
    let employee = employee_name(core, task).await?;
    let message = question(task, &arguments, &employee).ask();
    let channel = settings.approvals_channel.clone().unwrap_or_default();
    Ok(json!({"channel": channel, "text": message.text, "blocks": message.blocks}))
}

async fn show_outcome(
    core: &Arc<Core>,
    settings: &SlackSettings,
    task: &NoticeTask,
) -> Result<NoticeRow, DbError> {
    let (Some(channel), Some(ts)) = (&task.channel, &task.ts) else {
        return Ok(notice(task, NoticeStatus::Closed));
    };
    let approval = &task.approval;
    let arguments = arguments_of(task);
    let outcome = Outcome {
        status: approval.status.name(),
        by: approval.decided_by.as_deref(),
        at: approval.decided,
        comment: approval.comment.as_deref(),
    };
    let SlackMessage { text, blocks } = question(task, &arguments, "").answered(&outcome);
    let arguments = json!({"channel": channel, "ts": ts, "text": text, "blocks": blocks});
    Ok(match call(core, settings, task, UPDATE, arguments).await {
        Ok(_) => notice(task, NoticeStatus::Closed),
        Err((error, for_good)) => failed(core, task, error, for_good),
    })
}

fn arguments_of(task: &NoticeTask) -> Value {
    serde_json::from_str(&task.approval.arguments).unwrap_or_default()
}

fn question<'a>(task: &'a NoticeTask, arguments: &'a Value, employee: &'a str) -> Question<'a> {
    Question {
        id: task.approval.id,
        title: &task.approval.title,
        arguments,
        arguments_hash: task.approval.arguments_hash,
        employee,
        expires: task.approval.expires,
    }
}

async fn employee_name(core: &Core, task: &NoticeTask) -> Result<String, DbError> {
    let mut tx = core.db.begin_read(task.approval.org_id).await?;
    let employee = employee_get(&mut tx, task.approval.employee_id).await?;
    Ok(employee.map_or_else(|| task.approval.employee_id.to_string(), |row| row.name))
}

/// One write to Slack, through the ledger, as an effect of the run that asks. The error says whether it is for good.
async fn call(
    core: &Core,
    settings: &SlackSettings,
    task: &NoticeTask,
    capability: &str,
    arguments: Value,
) -> Result<Value, (String, bool)> {
    let approval = &task.approval;
    if core.catalog.capability(capability).is_none() {
        return Err((format!("{capability} is not in the catalog"), true));
    }
    let Ok(step) = approval.step.parse() else {
        return Err((format!("the approval names no step of {SLACK}'s"), true));
    };
    let behalf = Behalf {
        org: approval.org_id,
        employee: approval.employee_id,
        execution: approval.run_id,
        step,
        fresh: false,
    };
    let call = Call {
        capability: capability.into(),
        connection: settings.connection.clone(),
        arguments,
    };
    let (result, changes) = effects::perform(core, &behalf, call).await;
    write(core, task, changes).await?;
    match result {
        StepResult::Completed { output, .. } => Ok((*output).clone()),
        StepResult::Failed(error) => Err((error.message, !error.retryable)),
        // Without a connection it may be there tomorrow; what is in doubt a person settles in the ledger.
        StepResult::Parked(wait) => Err((wait.detail, wait.kind != "connection")),
    }
}

async fn write(
    core: &Core,
    task: &NoticeTask,
    changes: Vec<EffectChange>,
) -> Result<(), (String, bool)> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut append = new_append(task.approval.org_id);
    append.effects = changes;
    core.journal
        .write(Some(task.approval.run_id), append)
        .await
        .map(drop)
        .map_err(|error| (error.to_string(), false))
}
