//! `POST /hooks/{source}/{endpoint}`: takes an event of an outside system. Nothing of its body is taken in before it is known that there is such
//! an endpoint, so that whoever tries addresses costs nothing. Who sends is proved over the body as it came, so nothing is read out of it before. The answer says that the event is durable; a known one is answered the same way. What cannot be read is refused, and kept
//! all the same: its sender is known, and somebody here has to see that it came.
//!
//! Slack waits three seconds and takes its own kinds of answers: it is answered at once. Other senders are told what became of the event, if
//! that is known within a few seconds.

use super::{
    ApiState, body,
    error::{ApiError, ApiResult, Problem},
    text::Path,
    triggers::{RoutedView, routed_view},
};
use crate::{
    actors::ingest::{Door, IngestError, Receipt},
    connect::{
        ingest::{Incoming, Unreadable, kept_headers, slack::SlackRequest},
        webhook::{Delivery, Scheme, WebhookError},
    },
    domain::InboxId,
    persistence::InboxVerdict,
};
use axum::{
    Json,
    extract::{RawQuery, Request, State},
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
    request: Request,
) -> ApiResult<Response> {
    let door = api.core().ingest().door(&source, &endpoint).await?;
    let door = door.ok_or_else(|| ApiError::not_found("hook", &source))?;
    let body = body::read(request).await?;
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
    let request = match door.read(&headers, &body, verified.clone()) {
        Ok(request) => request,
        Err(error) => {
            let ingest = api.core().ingest();
            let keeping = ingest.keep_unreadable(&door, &headers, &body, verified, &error);
            let entry = api.bounded(keeping).await??;
            return Err(ApiError::from(error).with("event", entry.to_string()));
        }
    };
    match (door.scheme, request) {
        (Scheme::Slack, request) => from_slack(&api, &door, &headers, request).await,
        (_, SlackRequest::Event(incoming)) => from_others(&api, &door, &headers, *incoming).await,
        (..) => Err(ApiError::internal("an endpoint read what is Slack's alone")),
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
    request: SlackRequest,
) -> ApiResult<Response> {
    match request {
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
    incoming: Incoming,
) -> ApiResult<Response> {
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
    let headers = kept_headers(headers, &door.named_headers());
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
            Unreadable::NotSlack(_) | Unreadable::NoPayload | Unreadable::Packed(_) => {
                Problem::BadWebhook
            }
            Unreadable::Encoding(_) | Unreadable::Charset(_) | Unreadable::MediaType(_) => {
                Problem::UnsupportedMediaType
            }
            Unreadable::TooLarge { .. } => Problem::PayloadTooLarge,
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
