//! The one place where a call is let through, asked about, or refused, before anything of it leaves and before it has a row in the ledger:
//! what the skill was given, what the org's rules say, and what people have agreed to.

use super::{
    connector::connections::Connection,
    core::Core,
    effects::Behalf,
    employee::{StepResult, approval_id},
};
use crate::{
    connect::{
        Capability, Risk,
        policy::{self, Asked, Decider, Party, RuleEffect, Verdict},
    },
    domain::{EmployeeId, OrgId, Role, Timestamp},
    graph::{Agreed, StepError},
    persistence::{ApprovalRow, ApprovalStatus, DbError, approval_get, employee_get},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a question is open where the rule that asks says nothing.
const OPEN_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The role of an employee, as rules name it.
const EMPLOYEE: &str = "employee";

/// On what a call stands.
#[derive(Clone, Debug)]
pub enum Authority {
    /// The runtime's own, for example when it asks somebody something: the org's rules are about its employees and clients.
    Runtime,
    /// A step of an employee.
    Step {
        /// What its skill was given.
        permissions: Arc<[String]>,
        agreed: Agreed,
    },
    /// A client with an API key.
    Client {
        role: Role,
        /// The one person to whom the key belongs.
        user: Option<String>,
    },
}

impl Authority {
    /// Whose own connections it may use.
    pub fn user(&self) -> Option<&str> {
        match self {
            Authority::Client { user, .. } => user.as_deref(),
            Authority::Runtime | Authority::Step { .. } => None,
        }
    }
}

/// A call, as far as the gate looks at it.
pub struct Wanted<'a> {
    pub capability: &'a str,
    pub integration: &'a str,
    pub risk: Risk,
    pub connection: &'a Connection,
    pub arguments: &'a Value,
}

/// What a person has to agree to before a call leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// A short line for people.
    pub title: String,
    /// The whole call and why it is asked about. A decision is about exactly this.
    pub arguments: Value,
    pub expires: Timestamp,
    /// Whose own account the call would go through; `None`: the org's.
    pub owner_user: Option<String>,
}

/// Whether the skill of a step was given the capability.
pub fn is_permitted(authority: &Authority, capability: &Capability) -> Result<(), StepError> {
    let Authority::Step { permissions, .. } = authority else {
        return Ok(());
    };
    let covers = |granted: &String| {
        capability.is_covered_by(granted)
            || granted.ends_with(".*") && policy::fits(granted, &capability.id)
    };
    if permissions.iter().any(covers) {
        return Ok(());
    }
    let message = format!(
        "the skill was not given {}; its permissions are {}",
        capability.id,
        if permissions.is_empty() {
            "none".to_owned()
        } else {
            permissions.join(", ")
        }
    );
    Err(StepError::new("permission_denied", message))
}

/// Lets a call through, or says what becomes of it instead.
///
/// # Errors
/// `Asks` where a person has to agree first, `Failed` where it may not be made or that cannot be found out.
pub async fn pass(
    core: &Core,
    job: &Behalf,
    authority: &Authority,
    wanted: &Wanted<'_>,
) -> Result<(), StepResult> {
    if matches!(authority, Authority::Runtime) {
        return Ok(());
    }
    let verdict = verdict(core, job, authority, wanted).await?;
    match verdict.effect {
        RuleEffect::Allow => Ok(()),
        RuleEffect::Deny => Err(StepResult::Failed(StepError::new(
            "policy_denied",
            format!(
                "{} is not allowed here: {}",
                wanted.capability,
                verdict.because()
            ),
        ))),
        RuleEffect::RequireApproval if is_agreed(authority, wanted, &verdict) => Ok(()),
        RuleEffect::RequireApproval => asked_before(core, job, wanted, &verdict).await,
    }
}

fn unknown(error: &dyn std::fmt::Display) -> StepResult {
    let message = format!("it cannot be found out whether this is allowed: {error}");
    StepResult::Failed(StepError::retryable("unavailable", message))
}

async fn verdict(
    core: &Core,
    job: &Behalf,
    authority: &Authority,
    wanted: &Wanted<'_>,
) -> Result<Verdict, StepResult> {
    let rules = core.policies.of(job.org).await;
    let rules = rules.map_err(|error| unknown(&error))?;
    let (employee, role) = match authority {
        Authority::Client { role, .. } => (None, role.name()),
        _ if rules.looks_at_employees() => {
            let found = employee(core, job.org, job.employee).await;
            (Some(found.map_err(|error| unknown(&error))?), EMPLOYEE)
        }
        // Nobody asks for its name.
        _ => (Some((job.employee.to_string(), String::new())), EMPLOYEE),
    };
    let connection = wanted.connection.id.to_string();
    let asked = Asked {
        capability: wanted.capability,
        integration: wanted.integration,
        risk: wanted.risk,
        input: wanted.arguments,
        connection: Some(Party {
            id: &connection,
            name: &wanted.connection.name,
        }),
        employee: employee.as_ref().map(|(id, name)| Party { id, name }),
        role,
    };
    let verdict = core.evaluations.verdict(job.org, &rules, &asked).await;
    verdict.map_err(|error| unknown(&error))
}

/// Id and name.
async fn employee(core: &Core, org: OrgId, id: EmployeeId) -> Result<(String, String), DbError> {
    let mut tx = core.db.begin_read(org).await?;
    let row = employee_get(&mut tx, id).await?;
    Ok((id.to_string(), row.map(|row| row.name).unwrap_or_default()))
}

/// Whether the graph itself has asked already. That an approval of the graph names the capability answers the question that its risk asks;
/// a rule of the org wants to see the very call.
fn is_agreed(authority: &Authority, wanted: &Wanted<'_>, verdict: &Verdict) -> bool {
    let Authority::Step { agreed, .. } = authority else {
        return false;
    };
    agreed.exactly(wanted.capability, wanted.arguments)
        || verdict.by == Decider::HighRisk && agreed.in_kind()
}

/// What became of the question about this call, if it was asked before.
async fn asked_before(
    core: &Core,
    job: &Behalf,
    wanted: &Wanted<'_>,
    verdict: &Verdict,
) -> Result<(), StepResult> {
    let question = question(core.clock.now(), wanted, verdict);
    let known = match job.fresh {
        true => None,
        false => known(core, job).await.map_err(|error| unknown(&error))?,
    };
    let Some(row) = known else {
        return Err(StepResult::Asks(Box::new(question)));
    };
    let refused =
        |code: &str, message: String| Err(StepResult::Failed(StepError::new(code, message)));
    let by = row.decided_by.as_deref().unwrap_or("somebody");
    match row.status {
        ApprovalStatus::Approved if is_same_call(&row, &question) => Ok(()),
        ApprovalStatus::Approved => refused(
            "approval_stale",
            format!("{by} has approved another call than this one"),
        ),
        ApprovalStatus::Denied => refused(
            "approval_denied",
            match &row.comment {
                Some(comment) => format!("{by} denied it: {comment}"),
                None => format!("{by} denied it"),
            },
        ),
        ApprovalStatus::Pending if row.expires.is_none_or(|at| at > core.clock.now()) => {
            Err(StepResult::Asks(Box::new(question)))
        }
        ApprovalStatus::Pending | ApprovalStatus::Expired => {
            refused("approval_expired", "nobody decided in time".into())
        }
        ApprovalStatus::Withdrawn => {
            refused("approval_denied", "the question was withdrawn".into())
        }
    }
}

async fn known(core: &Core, job: &Behalf) -> Result<Option<ApprovalRow>, DbError> {
    let mut tx = core.db.begin_read(job.org).await?;
    approval_get(&mut tx, approval_id(job.execution, job.step)).await
}

fn question(now: Timestamp, wanted: &Wanted<'_>, verdict: &Verdict) -> Question {
    let because = verdict.because();
    let expires = match verdict.by {
        Decider::Rule {
            expires_ms: Some(millis),
            ..
        } => now.after_ms(millis),
        _ => now.after(OPEN_FOR),
    };
    Question {
        title: format!("Call {}? ({because})", wanted.capability),
        arguments: json!({
            "capability": wanted.capability,
            "connection": {"id": wanted.connection.id, "name": wanted.connection.name},
            "input": wanted.arguments,
            "because": because,
        }),
        expires,
        owner_user: wanted.connection.owner_user.clone(),
    }
}

/// Whether what was approved is what is to leave now. Why it was asked may have changed.
fn is_same_call(row: &ApprovalRow, question: &Question) -> bool {
    let shown: Value = serde_json::from_str(&row.arguments).unwrap_or_default();
    let same = |pointer: &str| shown.pointer(pointer) == question.arguments.pointer(pointer);
    ["/capability", "/connection/id", "/input"]
        .into_iter()
        .all(same)
}
