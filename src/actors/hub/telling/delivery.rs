//! One message: to whom it goes, its link, and its way through the effect ledger.

use super::{settings::TellingSettings, words::Words};
use crate::{
    actors::{
        append::new_append,
        core::Core,
        effects::{self, Behalf, Call},
        employee::StepResult,
        gate::Authority,
        hub::HubError,
        ingest::approvals::SLACK,
    },
    connect::{
        SecretPlace, VaultError,
        oauth::{Secret, hash_of, random_text},
    },
    domain::{EmployeeId, ExecutionId, LinkId},
    graph::StepId,
    persistence::{
        ConnectLinkRow, ConnectionNoticeRow, ConnectionRow, Sealed, ToldBy,
        connect_link_insert_system, connection_notice_put, people_list,
    },
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// How long the link is good: over a weekend.
const LINK_TIME: Duration = Duration::from_secs(4 * 86_400);
const KIND_NOTICE: &str = "connection_notice";
/// Every message is the one step of an execution of its own.
const STEP: StepId = StepId {
    skill: 0,
    skill_visit: 1,
    node: 0,
    visit: 1,
    item: None,
};

/// Through what, and to whom.
pub struct Target {
    capability: &'static str,
    connection: Option<String>,
    to: String,
}

/// `None`: nobody is named who is to be told this way.
///
/// # Errors
/// If it cannot be read who somebody is in Slack.
pub async fn target(
    core: &Core,
    settings: &TellingSettings,
    row: &ConnectionRow,
    way: ToldBy,
) -> Result<Option<Target>, HubError> {
    let found = match (way, &row.owner_user) {
        (ToldBy::Slack, None) => settings.slack.alerts(),
        (ToldBy::Slack, Some(user)) => in_slack(core, row, user).await?,
        (ToldBy::Mail, owner) => settings.mail.as_ref().and_then(|mail| match owner {
            None => mail.alerts_to.clone(),
            Some(user) => user.contains('@').then(|| user.clone()),
        }),
    };
    Ok(found.map(|to| match way {
        ToldBy::Slack => Target {
            capability: "slack.chat.post",
            connection: settings.slack.connection.clone(),
            to,
        },
        ToldBy::Mail => {
            let mail = settings.mail.clone().unwrap_or_default();
            Target {
                capability: mail.via.capability(),
                connection: mail.connection,
                to,
            }
        }
    }))
}

/// A message to somebody's id in Slack is a direct message.
async fn in_slack(
    core: &Core,
    row: &ConnectionRow,
    user: &str,
) -> Result<Option<String>, HubError> {
    let mut tx = core.db.begin_read(row.org_id).await?;
    let people = people_list(&mut tx).await?;
    let mut people = people.into_iter().filter(|one| one.provider == SLACK);
    Ok(people
        .find(|one| one.user_name == user)
        .map(|one| one.external_id))
}

/// What is sent, link and all.
pub struct Message {
    words: Words,
    url: String,
}

/// The message as it was stored before, or a new one with a fresh link, stored now: it must be the very same after a crash, since the ledger
/// and the provider know it by what it says.
pub async fn message(
    core: &Core,
    row: &ConnectionRow,
    notice: &ConnectionNoticeRow,
) -> Result<(ConnectionNoticeRow, Message), HubError> {
    let stored = notice
        .message
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    if let (Some(words), Some(token)) = (stored, opened(core, notice).await?) {
        let url = url_of(core, &token);
        return Ok((notice.clone(), Message { words, url }));
    }
    let integration = core.hub.integration(row.org_id, &row.integration).await;
    let name = integration.map_or_else(|_| row.integration.clone(), |one| one.name.clone());
    let (words, token) = (Words::of(row, &name, notice.way), random_text()?);
    let now = core.clock.now();
    let link = ConnectLinkRow {
        org_id: row.org_id,
        id: LinkId::from_uuid(core.clock.uuid()),
        token_hash: hash_of(token.expose()),
        integration: row.integration.clone(),
        connection_id: row.id,
        name: row.name.clone(),
        owner_user: row.owner_user.clone(),
        scopes: None,
        created: now,
        expires: now.after(LINK_TIME),
        used: None,
        completed: None,
    };
    let id = place_id(notice);
    let sealed = core
        .vault
        .seal(token.expose().as_bytes(), place(notice, &id));
    let stored = ConnectionNoticeRow {
        link_id: Some(link.id),
        sealed_link: Sealed(sealed.await?),
        message: serde_json::to_string(&words).ok(),
        ..notice.clone()
    };
    let reason = "a link for a dead grant";
    let mut tx = core.db.begin_fenced(reason, core.fence()).await?;
    connect_link_insert_system(&mut tx, &link).await?;
    connection_notice_put(&mut tx, &stored).await?;
    tx.commit().await?;
    let url = url_of(core, &token);
    Ok((stored, Message { words, url }))
}

/// The token of the link that was made before. `None` if there is none, or its key is gone: then a new one is made.
async fn opened(core: &Core, notice: &ConnectionNoticeRow) -> Result<Option<Secret>, HubError> {
    if notice.sealed_link.0.is_empty() {
        return Ok(None);
    }
    let id = place_id(notice);
    let opened = core
        .vault
        .open_text(&notice.sealed_link.0, place(notice, &id));
    match opened.await {
        Ok(text) => Ok(Some(text.expose_secret().into())),
        Err(error) if error.is_transient() => Err(HubError::Vault(error)),
        Err(error) => {
            gone(notice, &error);
            Ok(None)
        }
    }
}

fn gone(notice: &ConnectionNoticeRow, error: &VaultError) {
    tracing::warn!(connection = %notice.connection_id, %error, "the link of a notice does not open, there will be another");
}

fn place_id(notice: &ConnectionNoticeRow) -> String {
    let way = notice.way.name();
    format!(
        "{}:{}:{way}",
        notice.connection_id, notice.credential_version
    )
}

fn place<'a>(notice: &ConnectionNoticeRow, id: &'a str) -> SecretPlace<'a> {
    SecretPlace {
        org: notice.org_id,
        kind: KIND_NOTICE,
        id,
        version: 0,
    }
}

fn url_of(core: &Core, token: &Secret) -> String {
    format!("{}/connect/{}", core.settings.public_url, token.expose())
}

/// Sends the message through the ledger. The error says whether it is for good.
pub async fn send(
    core: &Core,
    notice: &ConnectionNoticeRow,
    target: &Target,
    message: &Message,
) -> Result<(), (String, bool)> {
    let Message { words, url } = message;
    let arguments: Value = match notice.way {
        ToldBy::Slack => {
            json!({"channel": target.to, "text": format!("*{}*\n{}\n{url}", words.subject, words.text)})
        }
        ToldBy::Mail => {
            json!({"to": target.to, "subject": words.subject, "body": format!("{}\n\n{url}\n", words.text)})
        }
    };
    let name = format!("telling:{}", place_id(notice));
    let execution = ExecutionId::from_uuid(Uuid::new_v5(&notice.org_id.uuid(), name.as_bytes()));
    let behalf = Behalf {
        org: notice.org_id,
        employee: EmployeeId::from_uuid(Uuid::new_v5(&notice.org_id.uuid(), b"telling")),
        execution,
        step: STEP,
        fresh: false,
        of_run: false,
    };
    let call = Call {
        max_items: None,
        capability: target.capability.into(),
        connection: target.connection.clone(),
        arguments,
        authority: Authority::Runtime,
        context: None,
    };
    let (result, changes) = effects::perform(core, &behalf, call).await;
    if !changes.is_empty() {
        let mut append = new_append(notice.org_id);
        append.effects = changes;
        let written = core.journal.write(Some(execution), append).await;
        written.map_err(|error| (error.to_string(), false))?;
    }
    match result {
        StepResult::Completed { .. } => Ok(()),
        StepResult::Failed(error) => Err((error.message, !error.retryable)),
        // Nobody is asked about what the runtime says for itself.
        StepResult::Asks(question) => Err((question.title, true)),
        // Without a connection it may be there later; what is in doubt a person settles in the ledger.
        StepResult::Parked(wait) => Err((wait.detail, wait.kind != "connection")),
    }
}
