//! Sends shaped requests. One client for all connections: it keeps the pool of open sockets.
//!
//! No redirect is followed (a redirect would carry the token elsewhere), no call is repeated here (whether that is allowed is
//! the ledger's question), no answer is read beyond a bound, and no error text holds a token or a URL with arguments.

use super::{
    answer::{AnswerBody, CallOutcome, RateHints},
    catalog::Auth,
    request::{Body, ShapedRequest},
};
use chrono::{DateTime, Utc};
use reqwest::{
    Client, RequestBuilder, Response, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect, retry,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::time::Duration;

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

    /// Sends the request and reads the answer, all within `deadline`. Dropping the future closes the connection.
    pub async fn call(
        &self,
        request: &ShapedRequest,
        token: &SecretString,
        deadline: Duration,
    ) -> CallOutcome {
        let builder = match self.prepare(request, token) {
            Ok(builder) => builder,
            Err(reason) => return CallOutcome::Unsent { reason },
        };
        match tokio::time::timeout(deadline, self.exchange(builder, request)).await {
            Ok(outcome) => outcome,
            Err(_) => unknown(
                format!("no answer within {} ms", deadline.as_millis()),
                None,
            ),
        }
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
        let sending = self.client.post(url).json(body).timeout(deadline).send();
        match sending.await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("status {}", response.status().as_u16())),
            Err(error) => Err(error.without_url().to_string()),
        }
    }

    fn prepare(
        &self,
        request: &ShapedRequest,
        token: &SecretString,
    ) -> Result<RequestBuilder, String> {
        let mut builder = self
            .client
            .request(request.method.clone(), request.url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let (name, text) = match &request.auth {
            Auth::Bearer => (
                AUTHORIZATION.as_str(),
                format!("Bearer {}", token.expose_secret()),
            ),
            Auth::Header { name } => (name.as_str(), token.expose_secret().to_owned()),
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "the token has characters that a header cannot carry")?;
        value.set_sensitive(true);
        builder = builder.header(name, value);
        Ok(match &request.body {
            None => builder,
            Some(Body::Json(json)) => builder.json(json),
            Some(Body::Form(fields)) => builder.form(fields),
        })
    }

    async fn exchange(&self, builder: RequestBuilder, request: &ShapedRequest) -> CallOutcome {
        let response = match builder.send().await {
            Ok(response) => response,
            Err(error) => return no_answer(error),
        };
        let status = response.status().as_u16();
        let rate = rate_hints(response.headers(), Utc::now());
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

fn unknown(reason: String, status: Option<u16>) -> CallOutcome {
    CallOutcome::Unknown {
        reason,
        status,
        retry_after: None,
    }
}

/// Whether a request without an answer can have reached the provider.
fn no_answer(error: reqwest::Error) -> CallOutcome {
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

/// Reads `Retry-After` (seconds or a date) and the `X-RateLimit-*` family. Dates are seen from the answer's own `Date`, so that
/// clocks that differ do no harm.
pub(crate) fn rate_hints(headers: &HeaderMap, now: DateTime<Utc>) -> RateHints {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let number = |names: [&str; 2]| {
        names
            .into_iter()
            .find_map(|name| text(name)?.parse::<u64>().ok())
    };
    let now = text("date").and_then(http_date).unwrap_or(now);
    let until = |date: DateTime<Utc>| (date - now).to_std().unwrap_or_default();
    let retry_after = text("retry-after").and_then(|value| {
        value
            .parse()
            .ok()
            .map(Duration::from_secs)
            .or_else(|| http_date(value).map(until))
    });
    let reset_after = number(["x-ratelimit-reset", "ratelimit-reset"]).map(|value| {
        // Some say how many seconds from now, some the second since 1970.
        match i64::try_from(value)
            .ok()
            .filter(|value| *value > 1_000_000_000)
            .and_then(|at| DateTime::from_timestamp(at, 0))
        {
            Some(date) => until(date),
            None => Duration::from_secs(value),
        }
    });
    RateHints {
        limit: number(["x-ratelimit-limit", "ratelimit-limit"]),
        remaining: number(["x-ratelimit-remaining", "ratelimit-remaining"]),
        reset_after,
        retry_after,
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
            rate_hints(&headers, now)
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
}
