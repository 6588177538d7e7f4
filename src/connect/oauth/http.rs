//! Asking token endpoints. No redirect is followed, no answer is read beyond a bound, and nothing of request or answer is logged.

use super::{
    answer::Answer,
    outcome::TokenOutcome,
    provider::{Body, Exchange, Prepared},
};
use crate::{
    connect::{
        CallOutcome, HttpCaller,
        catalog::{PlacedSecret, auth::Place},
        client::no_answer,
        json,
        rate::rate_hints,
    },
    domain::Timestamp,
};
use chrono::Utc;
use reqwest::{
    RequestBuilder, Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue},
};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::time::Duration;

/// Answers of token endpoints have a few kilobytes.
const ANSWER_MAX: usize = 256 * 1024;
/// Slow token endpoints are common; a refresh that is given up may have used up its refresh token.
pub const TOKEN_TIME: Duration = Duration::from_secs(30);

impl HttpCaller {
    /// Gets the token; `now` is when that begins, so that an expiry is never thought to be later than it is.
    pub async fn obtain(&self, prepared: Prepared, now: Timestamp) -> TokenOutcome {
        match prepared {
            Prepared::Signed(granted) => TokenOutcome::Granted(granted),
            Prepared::Ask(exchange) => self.ask(&exchange, now).await,
        }
    }

    async fn ask(&self, exchange: &Exchange, now: Timestamp) -> TokenOutcome {
        let builder = match self.token_request(exchange) {
            Ok(builder) => builder,
            Err(detail) => return TokenOutcome::misconfigured(detail),
        };
        let asked = async {
            let response = builder.send().await.map_err(not_answered)?;
            let status = response.status().as_u16();
            let retry_after = rate_hints(response.headers(), None, Utc::now()).retry_after;
            let content_type = content_type(&response);
            let body = bounded(response)
                .await
                .map_err(|reason| lost(reason, true))?;
            let answer = Answer {
                status,
                body: &body,
                content_type: content_type.as_deref(),
                retry_after,
            };
            Ok(exchange.reading.read(answer, now))
        };
        match tokio::time::timeout(TOKEN_TIME, asked).await {
            Ok(Ok(outcome)) | Ok(Err(outcome)) => outcome,
            Err(_) => {
                let seconds = TOKEN_TIME.as_secs();
                lost(
                    format!("the token endpoint gave no answer within {seconds} s"),
                    true,
                )
            }
        }
    }

    fn token_request(&self, exchange: &Exchange) -> Result<RequestBuilder, String> {
        let client = self
            .client(&exchange.url)
            .map_err(|error| format!("the address of the token endpoint {error}"))?;
        let mut builder = client.request(exchange.method.clone(), exchange.url.clone());
        if !exchange
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("accept"))
        {
            builder = builder.header(ACCEPT, "application/json");
        }
        for (name, value) in &exchange.headers {
            let name: HeaderName = name
                .parse()
                .map_err(|_| format!("`{name}` is no name of a header"))?;
            builder = builder.header(name, sensitive(value.expose())?);
        }
        Ok(match &exchange.body {
            Body::Empty => builder,
            Body::Json(json) => builder
                .header(CONTENT_TYPE, "application/json")
                .body(json.expose().to_owned()),
            Body::Form(fields) => {
                let fields: Vec<(&str, &str)> = fields
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.expose()))
                    .collect();
                builder.form(&fields)
            }
        })
    }

    /// Reads JSON with a new token, for what the token answer does not tell of the account. `None` for whatever goes wrong.
    pub async fn read_with(&self, url: &str, credential: &[PlacedSecret]) -> Option<Value> {
        let mut url: reqwest::Url = url.parse().ok()?;
        for secret in credential.iter().filter(|one| one.place == Place::Query) {
            url.query_pairs_mut()
                .append_pair(&secret.name, secret.value.expose_secret());
        }
        let client = self.client(&url).ok()?;
        let mut builder = client.get(url).header(ACCEPT, "application/json");
        for secret in credential.iter().filter(|one| one.place == Place::Header) {
            builder = builder.header(&secret.name, sensitive(secret.value.expose_secret()).ok()?);
        }
        let read = async {
            let response = builder.send().await.ok()?;
            let is_good = response.status().is_success();
            let content_type = content_type(&response);
            let body = bounded(response).await.ok().filter(|_| is_good)?;
            json::read_as(&body, content_type.as_deref()).ok()
        };
        tokio::time::timeout(TOKEN_TIME, read).await.ok()?
    }

    /// Tells the provider that a token is not needed any more. Whether it listens is its business.
    pub async fn revoke(&self, revocation: &Exchange) -> bool {
        let Ok(builder) = self.token_request(revocation) else {
            return false;
        };
        match tokio::time::timeout(TOKEN_TIME, builder.send()).await {
            Ok(Ok(response)) => response.status().is_success(),
            _ => false,
        }
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "a credential has characters that a header cannot carry")?;
    value.set_sensitive(true);
    Ok(value)
}

fn not_answered(error: reqwest::Error) -> TokenOutcome {
    match no_answer(error) {
        CallOutcome::Blocked { reason } => {
            TokenOutcome::misconfigured(format!("the token endpoint: {reason}"))
        }
        CallOutcome::Unsent { reason } => lost(format!("the token endpoint: {reason}"), false),
        CallOutcome::Unknown { reason, .. } => lost(format!("the token endpoint: {reason}"), true),
        _ => lost("the token endpoint gave no answer".into(), true),
    }
}

fn lost(reason: String, unsure: bool) -> TokenOutcome {
    TokenOutcome::Transient {
        reason,
        retry_after: None,
        unsure,
    }
}

fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(CONTENT_TYPE)?;
    value.to_str().ok().map(str::to_owned)
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|_| "the connection broke in the middle of the token endpoint's answer")?
    {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(format!(
                "the token endpoint's answer is longer than {ANSWER_MAX} bytes"
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
