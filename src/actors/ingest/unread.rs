//! Events whose sender is proved and whose body cannot be read: kept as they came, so that they are seen, and can be read again by a service that
//! has learned to.

use super::{Door, IngestError, IngestHandle, KIND_MAX, NAME_MAX, clean};
use crate::{
    actors::append::new_append,
    connect::{
        ingest::{Incoming, Unreadable, kept_headers, slack::SlackRequest},
        webhook::{HeaderMap, HeaderValue, Verified},
    },
    domain::InboxId,
    persistence::{AppendOutcome, InboxChange, InboxReading, InboxRow, InboxVerdict},
    telemetry,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What takes the place of the payload.
#[derive(Serialize, Deserialize)]
struct Unread {
    unreadable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    /// What was signed with it, or is known of it otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    body_base64: String,
}

const CONTENT_TYPE: &str = "content-type";
const CONTENT_ENCODING: &str = "content-encoding";

impl IngestHandle {
    /// Keeps what cannot be read. Its name is another than that of the event: one that comes again and can be read is a new one.
    ///
    /// # Errors
    /// If it did not become durable.
    pub async fn keep_unreadable(
        &self,
        door: &Door,
        headers: &HeaderMap,
        body: &[u8],
        verified: Verified,
        why: &Unreadable,
    ) -> Result<InboxId, IngestError> {
        let core = &self.0.core;
        if core.journal.overloaded(door.org) {
            return Err(IngestError::Overloaded);
        }
        let told = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let unread = Unread {
            unreadable: true,
            content_type: told(CONTENT_TYPE),
            content_encoding: told(CONTENT_ENCODING),
            id: verified.id.clone(),
            kind: verified.kind.clone(),
            body_base64: STANDARD.encode(body),
        };
        let incoming = Incoming {
            external_id: verified.id.map(|id| format!("unreadable:{id}")),
            kind: verified.kind,
            payload: serde_json::to_value(unread).unwrap_or_default(),
            ..Incoming::default()
        };
        let headers = kept_headers(headers, &door.named_headers());
        let row = InboxRow {
            verdict: InboxVerdict::Unreadable,
            detail: Some(why.to_string()),
            ..self.row(
                door.org,
                &door.source,
                door.scheme.name(),
                &headers,
                incoming,
            )
        };
        let entry = row.id;
        telemetry::event_received(door.scheme.name(), row.verdict.name());
        let mut append = new_append(door.org);
        append.inbox.push(InboxChange::Receive(Arc::new(row)));
        Ok(match core.journal.write(None, append).await? {
            AppendOutcome::Known { entry } => entry,
            _ => entry,
        })
    }

    /// Reads once more what could not be read.
    ///
    /// # Errors
    /// Why it still cannot be.
    pub async fn read_again(&self, row: &InboxRow) -> Result<InboxReading, String> {
        let unread: Unread =
            serde_json::from_str(&row.payload).map_err(|error| error.to_string())?;
        let body = STANDARD
            .decode(&unread.body_base64)
            .map_err(|error| error.to_string())?;
        let place = row
            .source
            .strip_prefix("hook:")
            .and_then(|rest| rest.split_once('/'));
        let (source, endpoint) = place.ok_or("it did not come to an endpoint")?;
        let door = self
            .door(source, endpoint)
            .await
            .map_err(|error| error.to_string())?;
        let door = door
            .filter(|door| door.org == row.org_id)
            .ok_or("its endpoint does not exist any more")?;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (CONTENT_TYPE, &unread.content_type),
            (CONTENT_ENCODING, &unread.content_encoding),
        ] {
            if let Some(value) = value
                .as_deref()
                .and_then(|text| HeaderValue::from_str(text).ok())
            {
                headers.insert(name, value);
            }
        }
        let verified = Verified {
            id: unread.id,
            kind: unread.kind,
            at: None,
        };
        match door
            .read(&headers, &body, verified)
            .map_err(|error| error.to_string())?
        {
            SlackRequest::Challenge(_) => Err("it asks whether somebody is here".into()),
            SlackRequest::Event(incoming)
            | SlackRequest::Command(incoming)
            | SlackRequest::Interaction(incoming) => Ok(InboxReading {
                verdict: match incoming.echo {
                    Some(_) => InboxVerdict::OwnMessage,
                    None => InboxVerdict::Pending,
                },
                detail: incoming.echo.map(str::to_owned),
                kind: incoming.kind.map(|kind| clean(&kind, KIND_MAX)),
                conversation_key: incoming.conversation.map(|key| clean(&key, NAME_MAX)),
                payload: Some(incoming.payload.to_string()),
            }),
        }
    }
}
