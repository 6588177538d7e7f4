//! One approval in Slack: its question, and later its outcome.

use super::{
    super::super::{
        append::new_append,
        core::Core,
        effects::{self, Behalf, Call},
        employee::StepResult,
        gate::Authority,
    },
    put,
};
use crate::{
    actors::ingest::approvals::SlackSettings,
    connect::ingest::blocks::{Message as SlackMessage, Outcome, Question},
    domain::Timestamp,
    persistence::{
        ApprovalStatus, DbError, EffectChange, NoticeRow, NoticeStatus, NoticeTask, employee_get,
    },
};
use serde_json::{Value, json};
use std::time::Duration;

const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_LAST: Duration = Duration::from_secs(300);
const ATTEMPTS_MAX: i64 = 20;
const POST: &str = "slack.chat.post";
const UPDATE: &str = "slack.chat.update";

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

pub async fn ask(
    core: &Core,
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

pub async fn show_outcome(
    core: &Core,
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
    if let Some(client) = &task.approval.asked_by {
        return Ok(client.clone());
    }
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
        return Err(("the approval names no step".into(), true));
    };
    let behalf = Behalf {
        org: approval.org_id,
        employee: approval.employee_id,
        execution: approval.run_id,
        step,
        fresh: false,
        of_run: false,
    };
    let call = Call {
        max_items: None,
        capability: capability.into(),
        connection: settings.connection.clone(),
        arguments,
        authority: Authority::Runtime,
        context: None,
    };
    let (result, changes) = effects::perform(core, &behalf, call).await;
    write(core, task, changes).await?;
    match result {
        StepResult::Completed { output, .. } => Ok((*output).clone()),
        StepResult::Failed(error) => Err((error.message, !error.retryable)),
        // Without a connection it may be there tomorrow; what is in doubt a person settles in the ledger.
        StepResult::Asks(question) => Err((question.title, true)),
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
