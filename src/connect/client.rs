//! Sends shaped requests. One client for all connections: it keeps the pool of open sockets.
//!
//! No redirect is followed, to whatever address (it would carry the token elsewhere; an answer 3xx is a refusal), and no proxy of the
//! environment is used, since then its addresses and not the provider's would be held to the rule. No call is repeated here (whether that
//! is allowed is the ledger's question), no answer is read beyond a bound, and no error text holds a token or a URL with arguments.
//!
//! Every request is held to [`Addresses`]: what its URL says before it is sent, and what its name leads to when a connection is opened.

use super::{
    address::{AddressError, Addresses, literal},
    answer::{AnswerBody, CallOutcome, RateHints},
    catalog::{PlacedSecret, auth::Place},
    fence::{Fenced, SendFence, Sent},
    json,
    passing::{Kept, given_on},
    rate::rate_hints,
    request::{Body, ShapedRequest},
    resolver::{LookupError, Names, Policed},
};
use chrono::Utc;
use reqwest::{
    Client, RequestBuilder, Response, Url,
    header::{CONTENT_TYPE, HeaderValue},
    redirect, retry,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// For the look at a name's addresses when an account is connected.
const LOOK_UP_TIME: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct CallerConfig {
    /// For the connection alone; a call that ends here was surely not sent.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept. Shorter than servers do, so that few are closed just as they are used again.
    pub idle_timeout: Duration,
    /// Longer answers are given up, in bytes.
    pub answer_limit: usize,
    /// What may be called beyond the public internet.
    pub addresses: Addresses,
    pub names: Names,
    /// Nothing leaves when it says no.
    pub fence: SendFence,
}

impl Default for CallerConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(20),
            answer_limit: 2 * 1024 * 1024,
            addresses: Addresses::default(),
            names: Names::default(),
            fence: SendFence::default(),
        }
    }
}

/// The client that all connectors share; cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpCaller {
    /// Speaks TLS, with what is public or opened.
    secure: Client,
    /// Speaks plain http, with what the operator opened and nothing else.
    plain: Client,
    addresses: Addresses,
    names: Names,
    fence: SendFence,
    answer_limit: usize,
}

/// An address below slack.com, over TLS; or where the org's own account is.
fn answer_address(url: &str, own: Option<&str>) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    let is_slack = url.scheme() == "https"
        && url.port().is_none()
        && (host == "slack.com" || host.ends_with(".slack.com"));
    let is_own = own
        .and_then(|own| Url::parse(own).ok())
        .is_some_and(|own| own.origin() == url.origin());
    (is_slack || is_own).then_some(url)
}

/// The HTTP client could not be set up, for example because the system has no root certificates.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the http client")]
pub struct CallerError(#[from] reqwest::Error);

impl HttpCaller {
    /// # Errors
    /// Only if TLS cannot be set up.
    pub fn new(config: &CallerConfig) -> Result<Self, CallerError> {
        let client = |secure: bool| {
            Client::builder()
                .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .https_only(secure)
                .dns_resolver(Arc::new(Policed {
                    names: config.names.clone(),
                    addresses: config.addresses.clone(),
                    secure,
                }))
                .retry(retry::never())
                .connect_timeout(config.connect_timeout)
                .connector_layer(config.fence.clone())
                .pool_idle_timeout(config.idle_timeout)
                .tcp_nodelay(true)
                .build()
        };
        Ok(Self {
            secure: client(true)?,
            plain: client(false)?,
            addresses: config.addresses.clone(),
            names: config.names.clone(),
            fence: config.fence.clone(),
            answer_limit: config.answer_limit,
        })
    }

    /// The client for requests to this URL. Every request goes through here.
    ///
    /// # Errors
    /// If it is none that may be asked.
    pub(super) fn client(&self, url: &Url) -> Result<&Client, AddressError> {
        self.addresses.check_url(url)?;
        Ok(match url.scheme() {
            "https" => &self.secure,
            _ => &self.plain,
        })
    }

    /// Whether calls to this address could be made, as far as it can be told now: for whoever writes it down.
    ///
    /// # Errors
    /// Why not. That a name is not known now is no reason.
    pub async fn check_address(&self, url: &str) -> Result<(), AddressError> {
        let url = Url::parse(url).map_err(|_| AddressError::NotHttp)?;
        self.addresses.check_url(&url)?;
        let host = url.host_str().unwrap_or_default();
        if literal(host).is_some() {
            return Ok(());
        }
        let secure = url.scheme() == "https";
        let looked = self.names.open(host, &self.addresses, secure);
        match tokio::time::timeout(LOOK_UP_TIME, looked).await {
            Ok(Err(LookupError::Refused(error))) => Err(error),
            _ => Ok(()),
        }
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
        let client = match self.client(&request.url) {
            Ok(client) => client,
            Err(error) => return blocked(&error),
        };
        let builder = match prepare(client, request, credential) {
            Ok(builder) => builder,
            Err(reason) => return CallOutcome::Unsent { reason },
        };
        let sending = match builder.build() {
            Ok(sending) => sending,
            Err(error) => return no_answer(error),
        };
        let left = until.saturating_duration_since(Instant::now());
        let late = || unknown(format!("no answer within {} ms", left.as_millis()), None);
        let head = tokio::select! {
            // The clock first: who was frozen meanwhile does not go on where it stood.
            biased;
            () = sleep_until(until) => return late(),
            head = self.fence.send(client, sending) => head,
        };
        let response = match head {
            Sent::Answered(Ok(response)) => response,
            Sent::Answered(Err(error)) => return no_answer(error),
            Sent::Fenced {
                may_have_left: true,
            } => return unknown(Fenced.to_string(), None),
            Sent::Fenced {
                may_have_left: false,
            } => {
                return CallOutcome::Unsent {
                    reason: Fenced.to_string(),
                };
            }
        };
        let status = response.status().as_u16();
        let quota = request.answer.quota.as_deref();
        let rate = rate_hints(response.headers(), quota, Utc::now());
        if let Some(sink) = &request.sink
            && !request.write
            && sink.takes(status)
        {
            // Its time is its own: a long answer takes as long as it takes.
            sink.give_on(response).await;
            let output = Value::Null;
            return CallOutcome::Ok {
                status,
                output,
                rate,
            };
        }
        let left = until.saturating_duration_since(Instant::now());
        let read = self.read_answer(response, request, status, rate);
        tokio::time::timeout(left, read)
            .await
            .unwrap_or_else(|_| late())
    }

    /// Posts a word to an address that a provider gave along with a request of its own, where it takes an answer without a token: Slack's
    /// `response_url`. `own` is the address of the org's own account, which may be elsewhere than the provider's.
    ///
    /// # Errors
    /// If the address is not one of the provider's, or it did not take the word.
    pub async fn say(
        &self,
        url: &str,
        own: Option<&str>,
        body: &Value,
        deadline: Duration,
    ) -> Result<(), String> {
        let url = answer_address(url, own).ok_or("the address is not one of slack's")?;
        let client = self.client(&url).map_err(|error| error.to_string())?;
        let request = client.post(url).json(body).timeout(deadline).build();
        let request = request.map_err(|error| error.without_url().to_string())?;
        match self.fence.send(client, request).await {
            Sent::Answered(Ok(response)) if response.status().is_success() => Ok(()),
            Sent::Answered(Ok(response)) => Err(format!("status {}", response.status().as_u16())),
            Sent::Answered(Err(error)) => Err(error.without_url().to_string()),
            Sent::Fenced { .. } => Err(Fenced.to_string()),
        }
    }

    async fn read_answer(
        &self,
        response: Response,
        request: &ShapedRequest,
        status: u16,
        rate: RateHints,
    ) -> CallOutcome {
        let headers = request.sink.as_ref().map(|_| given_on(response.headers()));
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        match self.read_body(response).await {
            Ok(bytes) => {
                let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
                let body = match json::read_as(&bytes, content_type) {
                    Ok(json) => AnswerBody::Json(json),
                    Err(_) => AnswerBody::Text(json::text(&bytes, content_type).into_owned()),
                };
                if let (Some(sink), Some(headers)) = (&request.sink, headers) {
                    sink.keep(Kept {
                        status,
                        headers,
                        body: bytes.into(),
                    });
                }
                request.answer.read(status, body, rate)
            }
            Err(reason) => without_body(request, status, &reason, rate),
        }
    }

    async fn read_body(&self, mut response: Response) -> Result<Vec<u8>, NoBody> {
        let limit = self.answer_limit;
        let told = response.content_length().unwrap_or_default();
        if told > limit as u64 {
            return Err(NoBody::TooLong { limit });
        }
        let mut bytes = Vec::with_capacity(told as usize);
        while let Some(chunk) = response.chunk().await.map_err(|_| NoBody::Broken)? {
            if bytes.len() + chunk.len() > limit {
                return Err(NoBody::TooLong { limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// Why an answer has a status and nothing else.
#[derive(Debug, thiserror::Error)]
enum NoBody {
    #[error("the connection broke in the middle of the answer")]
    Broken,
    #[error("the answer is longer than {limit} bytes")]
    TooLong { limit: usize },
}

/// A refusal is known from its status alone; of a success the result is missing.
fn without_body(
    request: &ShapedRequest,
    status: u16,
    reason: &NoBody,
    rate: RateHints,
) -> CallOutcome {
    match reason {
        _ if !(200..300).contains(&status) => {
            let text = AnswerBody::Text(reason.to_string());
            request.answer.read(status, text, rate)
        }
        // The same answer would come again.
        NoBody::TooLong { limit } if !request.write => CallOutcome::TooLong { limit: *limit },
        _ => unknown(format!("answered {status}, but {reason}"), Some(status)),
    }
}

/// The request as the client takes it, with the credential in its places.
fn prepare(
    client: &Client,
    request: &ShapedRequest,
    credential: &[PlacedSecret],
) -> Result<RequestBuilder, String> {
    let mut url = request.url.clone();
    for secret in credential.iter().filter(|one| one.place == Place::Query) {
        without(&mut url, &secret.name);
        url.query_pairs_mut()
            .append_pair(&secret.name, secret.value.expose_secret());
    }
    let mut builder = client.request(request.method.clone(), url);
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

/// Takes a parameter out that the caller has written where the credential belongs: two of a name are read by chance.
fn without(url: &mut Url, name: &str) {
    if !url.query_pairs().any(|(known, _)| known == name) {
        return;
    }
    let others = url.query_pairs().into_owned();
    let others: Vec<(String, String)> = others.filter(|(known, _)| known != name).collect();
    url.query_pairs_mut().clear().extend_pairs(others);
}

fn blocked(error: &dyn std::fmt::Display) -> CallOutcome {
    CallOutcome::Blocked {
        reason: format!("the call was not sent: its address {error}"),
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
    let refused = |source: &(dyn std::error::Error + 'static)| {
        let lookup = source.downcast_ref::<LookupError>()?;
        matches!(lookup, LookupError::Refused(_)).then(|| lookup.to_string())
    };
    if let Some(reason) = sources(&error).find_map(refused) {
        return CallOutcome::Blocked {
            reason: format!("the call was not sent: {reason}"),
        };
    }
    let reason = deepest(&error);
    if error.is_connect() {
        return CallOutcome::Unsent {
            reason: format!("cannot connect: {reason}"),
        };
    }
    // What is fenced was stopped before the first byte.
    let is_fenced = sources(&error).any(|source| source.is::<Fenced>());
    if error.is_builder() || is_fenced || never_written(&error) {
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
