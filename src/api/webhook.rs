//! `POST /hooks/{source}/{endpoint}`: takes an event of an outside system. The signature is over the body as it came, so nothing is read
//! out of the body before it fits.

use super::{
    ApiState,
    body::Raw,
    error::{ApiError, ApiResult, Problem},
    hooks,
    text::Path,
    triggers::{RoutedView, deliver, repeat},
};
use crate::{
    actors::router::Event,
    connect::webhook::{WebhookError, WebhookHeaders, verify},
    domain::TriggerType,
    persistence::{HookRow, hook_find},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

#[derive(Serialize)]
pub struct Received {
    /// Everybody whom it concerns has had it before.
    duplicate: bool,
    #[serde(flatten)]
    routed: RoutedView,
}

pub async fn receive(
    State(api): State<ApiState>,
    Path((source, endpoint)): Path<(String, String)>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> ApiResult<(StatusCode, Json<Received>)> {
    let mut tx = api.db().begin_system_read("whose webhook is this").await?;
    let hook = hook_find(&mut tx, &source, &endpoint).await?;
    drop(tx);
    let hook = hook.ok_or_else(|| ApiError::not_found("hook", &source))?;
    let now = api.engine().now();
    let secrets = hooks::secrets(&api, &hook, now).await?;
    let given =
        WebhookHeaders::from_lookup(|name| headers.get(name).and_then(|value| value.to_str().ok()));
    let verified = verify(&body, given, now, &secrets).map_err(refused)?;
    let payload: Value = super::body::from_json(&body)?;
    let routed = deliver(&api, hook.org_id, event(&hook, &verified.id, payload)).await?;
    if routed.is_worth_repeating() {
        return Err(repeat());
    }
    let duplicate = routed.is_duplicate();
    Ok((StatusCode::ACCEPTED, Json(Received { duplicate, routed })))
}

fn refused(error: WebhookError) -> ApiError {
    let problem = match error {
        WebhookError::BadSignature | WebhookError::BadSecret => Problem::InvalidSignature,
        // An old request with a good signature may be somebody else's second sending.
        WebhookError::TooOld | WebhookError::TooNew => Problem::InvalidSignature,
        WebhookError::MissingHeader(_) | WebhookError::BadId | WebhookError::BadTimestamp => {
            Problem::BadWebhook
        }
    };
    ApiError::new(problem, error.to_string())
}

fn event(hook: &HookRow, id: &str, payload: Value) -> Event {
    let source = &hook.source;
    let mut aliases = vec![format!("hook:{source}")];
    if let Some(name) = hooks::name_of(&hook.endpoint) {
        aliases.push(format!("hook:{source}/{name}"));
    }
    Event {
        kind: TriggerType::ExternalEvent,
        source: format!("hook:{source}/{}", hook.endpoint),
        aliases,
        event: event_type(hook.event_type.as_deref(), &payload),
        payload: Arc::new(payload),
        key: Some(id.to_owned()),
    }
}

/// The hook's word, or what stands in the payload at its pointer.
fn event_type(declared: Option<&str>, payload: &Value) -> Option<String> {
    let declared = declared?;
    if !declared.starts_with('/') {
        return Some(declared.to_owned());
    }
    payload.pointer(declared)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_events_type_is_a_word_or_a_place_in_the_payload() {
        let payload = json!({"type": "invoice.paid", "n": 5});
        assert_eq!(event_type(None, &payload), None);
        assert_eq!(event_type(Some("push"), &payload).as_deref(), Some("push"));
        assert_eq!(
            event_type(Some("/type"), &payload).as_deref(),
            Some("invoice.paid")
        );
        assert_eq!(event_type(Some("/n"), &payload), None);
    }
}
