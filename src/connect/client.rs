//! Sends shaped requests. One client for all connections: it keeps the pool of open sockets.
//!
//! No redirect is followed (a redirect would carry the token elsewhere), no call is repeated here (whether that is allowed is
//! the ledger's question), no answer is read beyond a bound, and no error text holds a token or a URL with arguments.

use super::{
    answer::{AnswerBody, CallOutcome, RateHints},
    catalog::{PlacedSecret, QuotaHeaders, ResetUnit, auth::Place},
    request::{Body, ShapedRequest},
};
use chrono::{DateTime, Utc};
use reqwest::{
    Client, RequestBuilder, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
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

/// Reads `Retry-After` (seconds or a date), and what is left of the quota: from the headers that the catalog names, else from the
/// `X-RateLimit-*` family. Dates are seen from the answer's own `Date`, so that clocks that differ do no harm.
pub(crate) fn rate_hints(
    headers: &HeaderMap,
    own: Option<&QuotaHeaders>,
    now: DateTime<Utc>,
) -> RateHints {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let now = text("date").and_then(http_date).unwrap_or(now);
    let retry_after = text("retry-after").and_then(|value| {
        value
            .parse()
            .ok()
            .map(Duration::from_secs)
            .or_else(|| http_date(value).map(|date| until(date, now)))
    });
    let number = |own: Option<&String>, usual: [&str; 2]| match own {
        Some(name) => text(name)?.parse::<u64>().ok(),
        None => usual
            .into_iter()
            .find_map(|name| text(name)?.parse::<u64>().ok()),
    };
    let reset_after = match own.and_then(|own| Some((own.reset.as_ref()?, own.reset_unit))) {
        Some((name, unit)) => text(name).and_then(|value| reset(value, unit, now)),
        None => number(None, ["x-ratelimit-reset", "ratelimit-reset"])
            .map(|value| reset_guessed(value, now)),
    };
    RateHints {
        limit: number(
            own.and_then(|own| own.limit.as_ref()),
            ["x-ratelimit-limit", "ratelimit-limit"],
        ),
        remaining: number(
            own.and_then(|own| own.remaining.as_ref()),
            ["x-ratelimit-remaining", "ratelimit-remaining"],
        ),
        reset_after,
        retry_after,
    }
}

fn until(date: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (date - now).to_std().unwrap_or_default()
}

fn reset(value: &str, unit: ResetUnit, now: DateTime<Utc>) -> Option<Duration> {
    let whole = || value.parse::<u64>().ok();
    match unit {
        // Some write parts of a second.
        ResetUnit::Seconds => Duration::try_from_secs_f64(value.parse().ok()?).ok(),
        ResetUnit::Milliseconds => whole().map(Duration::from_millis),
        ResetUnit::Unix => {
            DateTime::from_timestamp(value.parse().ok()?, 0).map(|date| until(date, now))
        }
        ResetUnit::UnixMs => {
            DateTime::from_timestamp_millis(value.parse().ok()?).map(|date| until(date, now))
        }
        ResetUnit::Iso8601 => DateTime::parse_from_rfc3339(value)
            .ok()
            .map(|date| until(date.to_utc(), now)),
    }
}

/// Some say how many seconds from now, some the second since 1970.
fn reset_guessed(value: u64, now: DateTime<Utc>) -> Duration {
    match i64::try_from(value)
        .ok()
        .filter(|value| *value > 1_000_000_000)
        .and_then(|at| DateTime::from_timestamp(at, 0))
    {
        Some(date) => until(date, now),
        None => Duration::from_secs(value),
    }
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text)
        .ok()
        .map(|date| date.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_in_all_their_forms() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let read = |pairs: &[(&'static str, &str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            rate_hints(&headers, None, now)
        };
        let seconds = |value| Some(Duration::from_secs(value));
        assert_eq!(read(&[("retry-after", "30")]).retry_after, seconds(30));
        let dated = [
            ("retry-after", "Wed, 21 Oct 2015 07:28:10 GMT"),
            ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ];
        assert_eq!(read(&dated).retry_after, seconds(10));
        assert_eq!(
            read(&[("retry-after", "Wed, 21 Oct 2015 07:28:10 GMT")]).retry_after,
            seconds(0),
            "long ago"
        );
        assert_eq!(read(&[("retry-after", "soon")]).retry_after, None);
        assert_eq!(
            read(&[("x-ratelimit-reset", "1800000007")]).reset_after,
            seconds(7)
        );
        assert_eq!(read(&[("x-ratelimit-reset", "7")]).reset_after, seconds(7));
        assert_eq!(
            read(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-limit", "50")]).remaining,
            Some(0)
        );
        assert_eq!(read(&[]), RateHints::default());
    }

    #[test]
    fn the_catalog_may_name_the_headers() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for (unit, value, expected) in [
            (ResetUnit::Seconds, "1.5", 1_500),
            (ResetUnit::Milliseconds, "250", 250),
            (ResetUnit::Unix, "1800000002", 2_000),
            (ResetUnit::UnixMs, "1800000000750", 750),
            (ResetUnit::Iso8601, "2027-01-15T08:00:05Z", 5_000),
        ] {
            let own = QuotaHeaders {
                limit: Some("x-app-limit".into()),
                remaining: Some("x-app-left".into()),
                reset: Some("x-app-reset".into()),
                reset_unit: unit,
            };
            let headers = [("x-app-left", "3"), ("x-app-reset", value)]
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let hints = rate_hints(&headers, Some(&own), now);
            assert_eq!(hints.remaining, Some(3));
            assert_eq!(
                hints.reset_after,
                Some(Duration::from_millis(expected)),
                "{unit:?}"
            );
        }
    }
}
