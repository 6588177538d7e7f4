//! Sends shaped requests. One client for all connections: it keeps the pool of open sockets.
//!
//! No redirect is followed (a redirect would carry the token elsewhere), no call is repeated here (whether that is allowed is
//! the ledger's question), no answer is read beyond a bound, and no error text holds a token or a URL with arguments.

use super::{
    answer::{AnswerBody, CallOutcome, RateHints},
    catalog::{PlacedSecret, auth::Place},
    rate::rate_hints,
    request::{Body, ShapedRequest},
};
use chrono::Utc;
use reqwest::{
    Client, RequestBuilder, Response,
    header::{CONTENT_TYPE, HeaderValue},
    redirect, retry,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Debug)]
pub struct CallerConfig {
    /// For the connection alone; a call that ends here was surely not sent.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept. Shorter than servers do, so that few are closed just as they are used again.
    pub idle_timeout: Duration,
    /// Longer answers are given up, in bytes.
    pub answer_limit: usize,
}

impl Default for CallerConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(20),
            answer_limit: 2 * 1024 * 1024,
        }
    }
}

/// The client that all connectors share; cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpCaller {
    client: Client,
    answer_limit: usize,
}

/// The HTTP client could not be set up, for example because the system has no root certificates.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the http client")]
pub struct CallerError(#[from] reqwest::Error);

impl HttpCaller {
    /// # Errors
    /// Only if TLS cannot be set up.
    pub fn new(config: &CallerConfig) -> Result<Self, CallerError> {
        let client = Client::builder()
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(config.idle_timeout)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self {
            client,
            answer_limit: config.answer_limit,
        })
    }

    /// For requests that are no calls of a capability: those to token endpoints.
    pub(super) fn raw(&self) -> &Client {
        &self.client
    }

    /// Sends the request and reads the answer, all within `deadline`. Dropping the future closes the connection.
    pub async fn call(
        &self,
        request: &ShapedRequest,
        token: &SecretString,
        deadline: Duration,
    ) -> CallOutcome {
        let placed = request.send.with(token.expose_secret());
        self.call_with(request, &[placed], deadline).await
    }

    /// As [`HttpCaller::call`], with a credential that has its places already.
    pub async fn call_with(
        &self,
        request: &ShapedRequest,
        credential: &[PlacedSecret],
        deadline: Duration,
    ) -> CallOutcome {
        let until = Instant::now() + deadline;
        let mut step = None;
        loop {
            let current = step.as_ref().unwrap_or(request);
            let outcome = self.send(current, credential, until).await;
            let Some(rest) = &current.rest else {
                return outcome;
            };
            let CallOutcome::Ok { output, .. } = outcome else {
                return before_it_counts(outcome);
            };
            step = match rest.after(output) {
                Ok(next) => Some(next),
                Err(error) => {
                    return CallOutcome::Unsent {
                        reason: error.to_string(),
                    };
                }
            };
        }
    }

    async fn send(
        &self,
        request: &ShapedRequest,
        credential: &[PlacedSecret],
        until: Instant,
    ) -> CallOutcome {
        let credential = if request.with_credential {
            credential
        } else {
            &[]
        };
        let builder = match self.prepare(request, credential) {
            Ok(builder) => builder,
            Err(reason) => return CallOutcome::Unsent { reason },
        };
        let left = until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, self.exchange(builder, request)).await {
            Ok(outcome) => outcome,
            Err(_) => unknown(format!("no answer within {} ms", left.as_millis()), None),
        }
    }

    fn prepare(
        &self,
        request: &ShapedRequest,
        credential: &[PlacedSecret],
    ) -> Result<RequestBuilder, String> {
        let mut url = request.url.clone();
        for secret in credential.iter().filter(|one| one.place == Place::Query) {
            url.query_pairs_mut()
                .append_pair(&secret.name, secret.value.expose_secret());
        }
        let mut builder = self.client.request(request.method.clone(), url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        for secret in credential.iter().filter(|one| one.place == Place::Header) {
            let mut value = HeaderValue::from_str(secret.value.expose_secret())
                .map_err(|_| "the token has characters that a header cannot carry")?;
            value.set_sensitive(true);
            builder = builder.header(&secret.name, value);
        }
        Ok(match &request.body {
            None => builder,
            Some(Body::Json(json)) => builder.json(json),
            Some(Body::Form(fields)) => builder.form(fields),
            Some(Body::Bytes {
                content_type,
                bytes,
            }) => builder
                .header(CONTENT_TYPE, content_type)
                .body(bytes.clone()),
        })
    }

    async fn exchange(&self, builder: RequestBuilder, request: &ShapedRequest) -> CallOutcome {
        let response = match builder.send().await {
            Ok(response) => response,
            Err(error) => return no_answer(error),
        };
        let status = response.status().as_u16();
        let rate = rate_hints(
            response.headers(),
            request.answer.quota.as_deref(),
            Utc::now(),
        );
        match self.read_body(response).await {
            Ok(bytes) => {
                let body = match serde_json::from_slice::<Value>(&bytes) {
                    Ok(json) => AnswerBody::Json(json),
                    Err(_) => AnswerBody::Text(String::from_utf8_lossy(&bytes).into_owned()),
                };
                request.answer.read(status, body, rate)
            }
            Err(reason) => self.without_body(request, status, reason, rate),
        }
    }

    /// A refusal is known from its status alone; of a success the result is missing.
    fn without_body(
        &self,
        request: &ShapedRequest,
        status: u16,
        reason: String,
        rate: RateHints,
    ) -> CallOutcome {
        if (200..300).contains(&status) {
            return unknown(format!("answered {status}, but {reason}"), Some(status));
        }
        request.answer.read(status, AnswerBody::Text(reason), rate)
    }

    async fn read_body(&self, mut response: Response) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|_| "the connection broke in the middle of the answer")?
        {
            if bytes.len() + chunk.len() > self.answer_limit {
                return Err(format!(
                    "the answer is longer than {} bytes",
                    self.answer_limit
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// A step before the request that counts did not give what it should: nothing has happened yet that anybody sees.
fn before_it_counts(outcome: CallOutcome) -> CallOutcome {
    match outcome {
        CallOutcome::Unknown { reason, .. } => CallOutcome::Unsent { reason },
        other => other,
    }
}

fn unknown(reason: String, status: Option<u16>) -> CallOutcome {
    CallOutcome::Unknown {
        reason,
        status,
        retry_after: None,
    }
}

/// Whether a request without an answer can have reached the provider.
pub(super) fn no_answer(error: reqwest::Error) -> CallOutcome {
    let error = error.without_url();
    let reason = deepest(&error);
    if error.is_connect() {
        return CallOutcome::Unsent {
            reason: format!("cannot connect: {reason}"),
        };
    }
    if error.is_builder() || never_written(&error) {
        return CallOutcome::Unsent { reason };
    }
    unknown(
        format!("the connection broke before the answer: {reason}"),
        None,
    )
}

/// hyper marks a request as cancelled only if none of it was written.
fn never_written(error: &reqwest::Error) -> bool {
    sources(error)
        .filter_map(|source| source.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_canceled)
}

fn deepest(error: &reqwest::Error) -> String {
    sources(error)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

fn sources(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |source| source.source())
}
