//! What providers send by themselves: events, clicks, commands and webhooks, signed as they sign them, posted for real.
//!
//! | module | what |
//! |---|---|
//! | [`sign`] | the signatures |
//! | [`slack`] | events with Slack's retries, clicks, slash commands, `url_verification` |
//! | [`webhooks`] | GitHub's and Stripe's deliveries |
//! | [`http`] | the routes |

pub(super) mod http;
mod sign;
mod slack;
mod webhooks;

#[cfg(test)]
pub(super) use sign::slack as slack_signature;

use crate::domain::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::{
    error::Error,
    time::{Duration, Instant},
};

/// How much of an answer is shown.
const BODY_LIMIT: usize = 64 * 1024;

/// Sends requests; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sender(reqwest::Client);

/// A request that is ready, but for its retry headers.
#[derive(Clone, Debug)]
struct Delivery {
    url: String,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
    timeout: Duration,
}

/// One try.
#[derive(Debug, Serialize)]
struct Attempt {
    at: Timestamp,
    /// Null if there was no answer.
    status: Option<u16>,
    /// JSON if it is JSON, else text; null if there was none.
    body: Value,
    /// How long it took until the answer was there or was given up.
    ms: u64,
    /// Why there was no answer, in Slack's words: `http_timeout`, `connection_failed`, `too_many_redirects`, `unknown_error`;
    /// `http_error` if there was one that is not 2xx.
    error: Option<&'static str>,
    /// The receiver asked for no more tries (`X-Slack-No-Retry: 1`).
    #[serde(skip)]
    no_more: bool,
}

impl Attempt {
    fn is_good(&self) -> bool {
        self.error.is_none()
    }
}

impl Sender {
    pub fn new() -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self(client))
    }

    async fn send(&self, delivery: &Delivery, more: &[(&'static str, String)]) -> Attempt {
        let mut request = self
            .0
            .post(&delivery.url)
            .timeout(delivery.timeout)
            .header("content-type", delivery.content_type)
            .body(delivery.body.clone());
        for (name, value) in delivery.headers.iter().chain(more) {
            request = request.header(*name, value);
        }
        let (at, start) = (super::routes::now(), Instant::now());
        let ms = || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let failed = |error: reqwest::Error, status: Option<u16>, ms: u64| Attempt {
            at,
            status,
            body: Value::Null,
            ms,
            error: Some(reason(&error)),
            no_more: false,
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return failed(error, None, ms()),
        };
        let status = response.status();
        let no_retry = response.headers().get("x-slack-no-retry");
        let no_more = no_retry.is_some_and(|value| value == "1");
        match response.bytes().await {
            Ok(bytes) => Attempt {
                at,
                status: Some(status.as_u16()),
                body: read(&bytes),
                ms: ms(),
                error: (!status.is_success()).then_some("http_error"),
                no_more,
            },
            Err(error) => failed(error, Some(status.as_u16()), ms()),
        }
    }
}

fn reason(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "http_timeout"
    } else if error.is_connect()
        || error
            .source()
            .is_some_and(|source| source.is::<std::io::Error>())
    {
        "connection_failed"
    } else if error.is_redirect() {
        "too_many_redirects"
    } else {
        "unknown_error"
    }
}

fn read(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    if bytes.len() <= BODY_LIMIT
        && let Ok(json) = serde_json::from_slice(bytes)
    {
        return json;
    }
    let shown = bytes.get(..BODY_LIMIT).unwrap_or(bytes);
    Value::String(String::from_utf8_lossy(shown).into_owned())
}
