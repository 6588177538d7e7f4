//! `POST /hooks/{source}/{endpoint}`: takes an event of an outside system. Who sends is proved over the body as it came, so nothing is read
//! out of it before. The answer says that the event is durable; a known one is answered the same way.
//!
//! Slack waits three seconds and takes its own kinds of answers: it is answered at once. Other senders are told what became of the event, if
//! that is known within a few seconds.

use super::{
    ApiState,
    body::Raw,
    error::{ApiError, ApiResult, Problem},
    text::Path,
    triggers::{RoutedView, routed_view},
};
use crate::{
    actors::ingest::{Door, IngestError, Receipt},
    connect::{
        ingest::{
            Incoming, Unreadable, generic, kept_headers,
            slack::{self, SlackRequest},
        },
        webhook::{Delivery, Scheme, Verified, WebhookError},
    },
    domain::InboxId,
    persistence::InboxVerdict,
};
use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

/// How long a sender's answer waits for what becomes of the event. GitHub gives up after ten seconds.
const SETTLE_TIME: Duration = Duration::from_secs(5);

#[derive(Serialize)]
pub struct Received {
    /// In the inbox.
    id: InboxId,
    /// The event had come before.
    duplicate: bool,
    /// `pending` if that is not known yet. Absent for a duplicate.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<InboxVerdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(flatten)]
    routed: RoutedView,
}

pub async fn receive(
    State(api): State<ApiState>,
    Path((source, endpoint)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Raw(body): Raw,
) -> ApiResult<Response> {
    let door = api.core().ingest().door(&source, &endpoint).await?;
    let door = door.ok_or_else(|| ApiError::not_found("hook", &source))?;
    let delivery = Delivery {
        body: &body,
        headers: &headers,
        query: query.as_deref(),
        now: api.engine().now(),
    };
    let verified = door.verify(&delivery).map_err(|error| {
        api.core().ingest().refused(&door, &error, &headers);
        refused(error)
    })?;
    match door.scheme {
        Scheme::Slack => from_slack(&api, &door, &headers, &body).await,
        _ => from_others(&api, &door, &headers, &body, verified).await,
    }
}

fn refused(error: WebhookError) -> ApiError {
    let problem = match error {
        // An old request with a good signature may be somebody else's second sending.
        WebhookError::BadSignature
        | WebhookError::BadSecret(_)
        | WebhookError::TooOld
        | WebhookError::TooNew => Problem::InvalidSignature,
        WebhookError::MissingHeader(_)
        | WebhookError::RepeatedHeader(_)
        | WebhookError::MissingParameter(_)
        | WebhookError::BadId(_)
        | WebhookError::BadTimestamp(_) => Problem::BadWebhook,
    };
    ApiError::new(problem, error.to_string())
}

async fn from_slack(
    api: &ApiState,
    door: &Door,
    headers: &HeaderMap,
    body: &[u8],
) -> ApiResult<Response> {
    match slack::read(headers, body, &door.options.bots)? {
        SlackRequest::Challenge(challenge) => {
            Ok(Json(json!({"challenge": challenge})).into_response())
        }
        SlackRequest::Event(incoming) | SlackRequest::Interaction(incoming) => {
            take(api, door, headers, *incoming).await?;
            Ok(StatusCode::OK.into_response())
        }
        SlackRequest::Command(incoming) => {
            let text = match incoming.payload["command"].as_str() {
                Some(command) => format!("{command}: got it."),
                None => "Got it.".into(),
            };
            take(api, door, headers, *incoming).await?;
            Ok(Json(json!({"response_type": "ephemeral", "text": text})).into_response())
        }
    }
}

async fn from_others(
    api: &ApiState,
    door: &Door,
    headers: &HeaderMap,
    body: &[u8],
    verified: Verified,
) -> ApiResult<Response> {
    let places = generic::Places {
        kind: door.event_type.as_deref(),
        id: door.options.id_at.as_deref(),
    };
    let incoming = generic::read(headers, body, verified, places)?;
    let receipt = take(api, door, headers, incoming).await?;
    let received = match receipt.settled {
        None => Received {
            id: receipt.entry,
            duplicate: true,
            verdict: None,
            detail: None,
            routed: RoutedView::default(),
        },
        Some(settled) => match tokio::time::timeout(SETTLE_TIME, settled).await {
            Ok(Ok(settled)) => Received {
                id: receipt.entry,
                duplicate: false,
                verdict: Some(settled.verdict),
                detail: settled.detail,
                routed: routed_view(api, door.org, settled.routed).await?,
            },
            _ => Received {
                id: receipt.entry,
                duplicate: false,
                verdict: Some(InboxVerdict::Pending),
                detail: None,
                routed: RoutedView::default(),
            },
        },
    };
    Ok((StatusCode::ACCEPTED, Json(received)).into_response())
}

async fn take(
    api: &ApiState,
    door: &Door,
    headers: &HeaderMap,
    incoming: Incoming,
) -> ApiResult<Receipt> {
    let headers = kept_headers(headers);
    let ingest = api.core().ingest();
    let taking = ingest.take(
        door.org,
        &door.source,
        door.scheme.name(),
        &headers,
        incoming,
    );
    Ok(api.bounded(taking).await??)
}

impl From<Unreadable> for ApiError {
    fn from(error: Unreadable) -> Self {
        let problem = match error {
            Unreadable::NotJson(_) => Problem::MalformedJson,
            Unreadable::NotSlack(_) => Problem::BadWebhook,
        };
        ApiError::new(problem, error.to_string())
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Overloaded => {
                ApiError::new(Problem::Unavailable, error.to_string()).retry_after(2)
            }
            IngestError::Journal(error) => error.into(),
        }
    }
}
