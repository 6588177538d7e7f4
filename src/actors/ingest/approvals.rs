//! Deciding an approval by a click in Slack. The people of an org are those that it has mapped; a click of anybody else, or on something
//! that was decided already, is answered to them alone.

use super::{super::core::Core, verdict::Outcome};
use crate::{
    actors::{
        approvals::decide as decide_approval, employee::EmployeeError, engine::DecisionRequest,
    },
    connect::{HttpCaller, ingest::blocks::Click},
    domain::{OrgId, Role},
    graph::Decision,
    persistence::{
        ApprovalRow, ApprovalStatus, DbError, InboxVerdict, PersonRow, approval_get, org_get,
        person_find,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// As the catalog calls it, and the people's provider.
pub const SLACK: &str = "slack";
/// Who may decide, here as by the API.
const NEEDED: Role = Role::Manager;
const SAY_TIME: Duration = Duration::from_secs(5);

/// What an org chose for Slack; part of its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlackSettings {
    /// Where approvals are asked: a channel as `#name`, or its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals_channel: Option<String>,
    /// Where it is told that an account has to be connected again; absent: where approvals are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerts_channel: Option<String>,
    /// Name of the connection; absent: the oldest one to Slack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

impl SlackSettings {
    /// Where the org is told of what its people have to mend.
    pub fn alerts(&self) -> Option<String> {
        let alerts = self.alerts_channel.as_ref();
        alerts.or(self.approvals_channel.as_ref()).cloned()
    }

    /// Of an org's settings, which are a JSON object.
    pub fn of(settings: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Settings {
            slack: SlackSettings,
        }
        serde_json::from_str::<Settings>(settings)
            .unwrap_or_default()
            .slack
    }
}

/// What it takes to decide.
#[derive(Clone)]
pub(super) struct Desk {
    core: Arc<Core>,
    http: HttpCaller,
}

impl Desk {
    pub fn new(core: Arc<Core>, http: HttpCaller) -> Self {
        Self { core, http }
    }
}

/// Why a click decided nothing, as whoever clicked is told.
struct Refusal(String);

enum Failure {
    Refused(Refusal),
    Later(String),
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Failure::Later(error.to_string())
    }
}

pub(super) async fn decide(desk: &Desk, org: OrgId, click: &Click) -> Outcome {
    match try_decide(desk, org, click).await {
        Ok(detail) => Outcome::Settled {
            verdict: InboxVerdict::Accepted,
            detail: Some(detail),
        },
        Err(Failure::Later(why)) => Outcome::Later(why),
        Err(Failure::Refused(Refusal(why))) => {
            say(desk, org, click, &why).await;
            Outcome::Settled {
                verdict: InboxVerdict::Refused,
                detail: Some(format!("{}: {why}", click.user)),
            }
        }
    }
}

async fn try_decide(desk: &Desk, org: OrgId, click: &Click) -> Result<String, Failure> {
    let refuse = |why: String| Err(Failure::Refused(Refusal(why)));
    let mut tx = desk.core.db.begin_read(org).await?;
    let person = person_find(&mut tx, SLACK, &click.user).await?;
    let approval = approval_get(&mut tx, click.approval).await?;
    drop(tx);
    let Some(person) = person.filter(|person| person.role >= NEEDED) else {
        return refuse("You may not decide this. An admin can let you: PUT /v1/org/people.".into());
    };
    // Whoever is asked in Slack is one person: of what is another's own they know nothing.
    let is_own = |approval: &ApprovalRow| {
        let owner = approval.owner_user.as_deref();
        owner.is_none_or(|owner| owner == person.user_name)
    };
    let Some(approval) = approval.filter(is_own) else {
        return refuse("This approval does not exist any more.".into());
    };
    let by = by(&person, click);
    if approval.status != ApprovalStatus::Pending {
        // The same click, given a second time after a crash, is no mistake of anybody.
        let wanted = if click.approve {
            ApprovalStatus::Approved
        } else {
            ApprovalStatus::Denied
        };
        if approval.status == wanted && approval.decided_by.as_deref() == Some(&by) {
            return Ok(format!(
                "{} {} by {by}",
                approval.id,
                approval.status.name()
            ));
        }
        return refuse(closed(&approval));
    }
    if approval.arguments_hash != click.arguments_hash {
        return refuse("What is asked has changed since. Look at the newest message.".into());
    }
    let Ok(step) = approval.step.parse() else {
        return refuse("This approval does not say what waits for it.".into());
    };
    let request = DecisionRequest {
        execution: approval.run_id,
        step,
        decision: match click.approve {
            true => Decision::Approved,
            false => Decision::Denied,
        },
        arguments_hash: click.arguments_hash,
        by: by.clone(),
        comment: None,
    };
    let word = if click.approve { "approved" } else { "denied" };
    match decide_approval(&desk.core, &approval, request).await {
        Ok(_) => Ok(format!("{} {word} by {by}", approval.id)),
        Err(EmployeeError::NotPending | EmployeeError::RunNotOpen(_)) => {
            let mut tx = desk.core.db.begin_read(org).await?;
            let now = approval_get(&mut tx, click.approval).await?;
            refuse(closed(now.as_ref().unwrap_or(&approval)))
        }
        Err(EmployeeError::Expired) => refuse(closed(&ApprovalRow {
            status: ApprovalStatus::Expired,
            ..approval
        })),
        Err(EmployeeError::OtherArguments) => {
            refuse("What is asked has changed since. Look at the newest message.".into())
        }
        Err(EmployeeError::NotFound | EmployeeError::Dismissed) => {
            refuse("Whoever asked this does not work here any more.".into())
        }
        Err(error) => Err(Failure::Later(error.to_string())),
    }
}

/// How a decision names who made it.
fn by(person: &PersonRow, click: &Click) -> String {
    format!("slack:{} ({})", click.user, person.user_name)
}

fn closed(approval: &ApprovalRow) -> String {
    match (approval.status, &approval.decided_by) {
        (ApprovalStatus::Pending, _) => "This does not wait for an answer any more.".into(),
        (status, Some(by)) => format!("This was {} already, by {by}.", status.name()),
        (status, None) => format!("This is {} already.", status.name()),
    }
}

/// Says something to whoever clicked, and to nobody else. It is only a courtesy: nothing depends on it.
async fn say(desk: &Desk, org: OrgId, click: &Click, text: &str) {
    let Some(url) = &click.response_url else {
        return;
    };
    let own = slack_address(desk, org).await.unwrap_or_default();
    let body = json!({"response_type": "ephemeral", "replace_original": false, "text": text});
    if let Err(error) = desk.http.say(url, own.as_deref(), &body, SAY_TIME).await {
        tracing::debug!(error, "whoever clicked could not be told");
    }
}

/// Where the org's Slack is, if not where all others are.
async fn slack_address(desk: &Desk, org: OrgId) -> Result<Option<String>, DbError> {
    let mut tx = desk.core.db.begin_read(org).await?;
    let settings = org_get(&mut tx)
        .await?
        .map(|org| SlackSettings::of(&org.settings));
    drop(tx);
    let name = settings.and_then(|settings| settings.connection);
    let connection = desk
        .core
        .connectors()
        .find(org, SLACK, name.as_deref())
        .await?;
    Ok(connection.map(|connection| connection.account.base_url.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_from_an_orgs() {
        let settings = SlackSettings::of(
            r##"{"retention_days": 5, "slack": {"approvals_channel": "#finance", "other": 1}}"##,
        );
        assert_eq!(settings.approvals_channel.as_deref(), Some("#finance"));
        assert_eq!(SlackSettings::of("{}"), SlackSettings::default());
        assert_eq!(SlackSettings::of("nonsense"), SlackSettings::default());
    }
}
