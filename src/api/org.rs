//! `/v1/org`: the caller's organisation and what it chose.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    query::{NoQuery, Query},
    text,
};
use crate::{
    actors::{
        hub::telling::settings::{MailSettings, MailVia},
        ingest::approvals::SlackSettings,
    },
    domain::{KeyId, OrgId, Role, Timestamp},
    persistence::{OrgRow, org_get, org_set_settings},
};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize)]
pub struct OrgView {
    id: OrgId,
    name: String,
    settings: Value,
    created_at: Timestamp,
    /// Who asks.
    caller: CallerView,
    /// Where the sandbox providers are, if this process started them.
    sandbox_url: Option<String>,
}

#[derive(Serialize)]
struct CallerView {
    key_id: KeyId,
    role: Role,
    user: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgBody {
    /// Days for which finished runs are kept, 1 to 3650; null: the service's default.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<u32>")]
    retention_days: Option<Option<u32>>,
    /// Where approvals are asked in Slack; null: nowhere.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<SlackBody>")]
    slack: Option<Option<SlackBody>>,
    /// Where people of the org are told by mail that an account has to be connected again; null: nowhere.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<MailBody>")]
    mail: Option<Option<MailBody>>,
    /// IANA name of the zone in which employees work that are hired from now on and say none; null: UTC.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    time_zone: Option<Option<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SlackBody {
    /// A channel as `#name`, or its id.
    approvals_channel: Option<String>,
    /// Where it is told that an account has to be connected again; absent: the same.
    alerts_channel: Option<String>,
    /// Name of the connection; absent: the oldest one to Slack.
    connection: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MailBody {
    /// A mail address; absent: only the users whose own accounts it is about, where their name is their address.
    alerts_to: Option<String>,
    /// `gmail` or `microsoft`; absent: `gmail`.
    via: Option<MailVia>,
    /// Name of the connection; absent: the oldest one.
    connection: Option<String>,
}

/// Tells null from absent.
fn given<'de, D, T>(d: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Deserialize::deserialize(d).map(Some)
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<OrgView>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = org_get(&mut tx).await?;
    Ok(Json(view(&api, caller, row.ok_or_else(gone)?)))
}

fn gone() -> ApiError {
    ApiError::internal("the org of an API key is gone")
}

fn view(api: &ApiState, caller: Caller, row: OrgRow) -> OrgView {
    OrgView {
        id: row.id,
        name: row.name,
        settings: text::json(Some(&row.settings)),
        created_at: row.created,
        caller: CallerView {
            key_id: caller.key,
            role: caller.role,
            user: caller.user,
        },
        sandbox_url: api.sandbox_url().map(str::to_owned),
    }
}

pub async fn change(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<OrgBody>,
) -> ApiResult<Json<OrgView>> {
    let mut tx = api.db().begin(caller.org).await?;
    let mut row = org_get(&mut tx).await?.ok_or_else(gone)?;
    let mut settings = match text::json(Some(&row.settings)) {
        Value::Object(fields) => fields,
        _ => Default::default(),
    };
    match body.retention_days {
        Some(Some(days)) if !(1..=3_650).contains(&days) => {
            return Err(ApiError::field(
                "retention_days",
                "`retention_days` must be 1 to 3650",
            ));
        }
        Some(Some(days)) => {
            settings.insert("retention_days".into(), json!(days));
        }
        Some(None) => {
            settings.remove("retention_days");
        }
        None => {}
    }
    match body.slack {
        Some(Some(slack)) => {
            let slack = checked(slack)?;
            let slack = serde_json::to_value(slack).map_err(ApiError::internal)?;
            settings.insert("slack".into(), slack);
        }
        Some(None) => {
            settings.remove("slack");
        }
        None => {}
    }
    match body.mail {
        Some(Some(mail)) => {
            let mail = serde_json::to_value(checked_mail(mail)?).map_err(ApiError::internal)?;
            settings.insert("mail".into(), mail);
        }
        Some(None) => {
            settings.remove("mail");
        }
        None => {}
    }
    match body.time_zone {
        Some(Some(zone)) if zone.parse::<chrono_tz::Tz>().is_err() => {
            let detail = format!("`{zone}` is not an IANA time zone such as Europe/Zurich");
            return Err(ApiError::field("time_zone", detail));
        }
        Some(Some(zone)) => {
            settings.insert("time_zone".into(), json!(zone));
        }
        Some(None) => {
            settings.remove("time_zone");
        }
        None => {}
    }
    row.settings = Value::Object(settings).to_string();
    org_set_settings(&mut tx, &row.settings).await?;
    tx.commit().await?;
    Ok(Json(view(&api, caller, row)))
}

fn checked(slack: SlackBody) -> ApiResult<SlackSettings> {
    text::short_if("slack.connection", slack.connection.as_deref(), 100)?;
    for (field, channel) in [
        ("slack.approvals_channel", &slack.approvals_channel),
        ("slack.alerts_channel", &slack.alerts_channel),
    ] {
        if channel.as_deref().is_some_and(|text| !is_channel(text)) {
            let detail =
                format!("`{field}` must be a channel as `#name`, or an id such as C0123456789");
            return Err(ApiError::field(field, detail));
        }
    }
    Ok(SlackSettings {
        approvals_channel: slack.approvals_channel,
        alerts_channel: slack.alerts_channel,
        connection: slack.connection,
    })
}

fn checked_mail(mail: MailBody) -> ApiResult<MailSettings> {
    text::short_if("mail.connection", mail.connection.as_deref(), 100)?;
    text::short_if("mail.alerts_to", mail.alerts_to.as_deref(), 320)?;
    let is_address = |text: &String| text.contains('@') && !text.contains(char::is_whitespace);
    if mail
        .alerts_to
        .as_ref()
        .is_some_and(|text| !is_address(text))
    {
        let detail = "`mail.alerts_to` must be a mail address";
        return Err(ApiError::field("mail.alerts_to", detail));
    }
    Ok(MailSettings {
        alerts_to: mail.alerts_to,
        via: mail.via.unwrap_or_default(),
        connection: mail.connection,
    })
}

fn is_channel(text: &str) -> bool {
    match text.strip_prefix('#') {
        Some(name) => {
            (1..=80).contains(&name.chars().count())
                && !name
                    .chars()
                    .any(|c| c.is_whitespace() || c == '#' || c.is_control())
        }
        None => {
            (3..=21).contains(&text.len())
                && text.starts_with(['C', 'D', 'G', 'U'])
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        }
    }
}
