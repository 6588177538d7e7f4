//! Who sent this request? One verifier a way of proving it, all behind one trait: raw body, headers, the time, and every secret that is
//! good at the moment go in; what the sender calls the event comes out. Pure.
//!
//! Invariants: the proof is over the bytes as they came; secrets and signatures are compared in constant time; a header that is there
//! twice proves nothing, since whoever stands between may read the other one; what a request can make us compute has a bound. What names
//! an event is signed, or is the body itself: a header that no signature covers names nothing, or one request that somebody has got hold of
//! could be sent again under other names.

mod basic;
mod github;
mod hmac;
mod mac;
mod scheme;
mod slack;
mod standard;
mod stripe;
mod token;

pub use github::sign as sign_github;
pub use scheme::{Options, SameBody, Scheme, SchemeError};
pub use slack::sign as sign_slack;
pub use standard::sign;
pub use stripe::sign as sign_stripe;

use crate::domain::{ContentHash, Timestamp};
pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use std::{fmt, time::Duration};

/// How far the sender's clock may be off, either way.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// More signatures than any rotation needs; the rest is not looked at, so that a request cannot buy work.
const SIGNATURES_MAX: usize = 16;
/// Bytes of an id or a kind that is taken from a request.
const WORD_MAX: usize = 256;

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub body: &'a [u8],
    pub headers: &'a HeaderMap,
    /// The query of the address, without the question mark.
    pub query: Option<&'a str>,
    /// When it came.
    pub now: Timestamp,
}

/// A request whose sender knows a secret. What the scheme does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    /// The same for every delivery of one event: the key to deduplicate by.
    pub id: Option<String>,
    /// The sender's word for what happened, for example `pull_request`.
    pub kind: Option<String>,
    /// When it was signed.
    pub at: Option<Timestamp>,
}

/// One way of proving who sends.
pub trait Verifier: fmt::Debug + Send + Sync {
    /// Checks a request against every given secret: an endpoint has two while its secret is changed, and several senders may share it.
    /// Secrets that cannot be read are passed over: one that works is enough, none is `BadSignature`.
    ///
    /// # Errors
    /// What does not fit. The texts hold nothing that an anonymous sender does not know.
    fn verify(
        &self,
        delivery: &Delivery<'_>,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError>;

    /// Whether a secret that somebody brings along can be used.
    ///
    /// # Errors
    /// `BadSecret` says what would be right.
    fn check_secret(&self, secret: &SecretString) -> Result<(), WebhookError>;

    /// A secret from 32 random bytes, for senders that do not bring one.
    fn generate_secret(&self, random: [u8; 32]) -> SecretString;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("header `{0}` is missing")]
    MissingHeader(String),
    #[error("header `{0}` is there more than once")]
    RepeatedHeader(String),
    #[error("parameter `{0}` must be in the address, once")]
    MissingParameter(String),
    #[error("header `{0}` must be 1 to 256 visible ascii characters without a full stop")]
    BadId(String),
    #[error("header `{0}` must hold whole seconds since 1970")]
    BadTimestamp(String),
    #[error("the request was signed more than 5 minutes ago")]
    TooOld,
    #[error("the request was signed more than 5 minutes ahead")]
    TooNew,
    #[error("no signature of the request fits")]
    BadSignature,
    #[error("{0}")]
    BadSecret(&'static str),
}

/// The one value of a header, as text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, WebhookError> {
    let mut values = headers.get_all(name).iter();
    let value = values
        .next()
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| WebhookError::MissingHeader(name.into()))?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(WebhookError::RepeatedHeader(name.into())),
    }
}

/// A header that tells something but proves nothing: `None` if it is not there once, or is no short visible text.
fn told(headers: &HeaderMap, name: &str) -> Option<String> {
    header(headers, name)
        .ok()
        .filter(|text| is_word(text))
        .map(str::to_owned)
}

fn is_word(text: &str) -> bool {
    (1..=WORD_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What names an event whose signature covers no name: the same body is the same event.
fn name_of_body(body: &[u8]) -> String {
    ContentHash::of(body).to_string()
}

/// Whole seconds in digits alone (no sign, no fraction, so that each moment has one spelling but for leading zeros), near `now`.
fn near(text: &str, name: &str, now: Timestamp) -> Result<Timestamp, WebhookError> {
    let digits = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text
        .parse::<i64>()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| WebhookError::BadTimestamp(name.into()))?;
    let at = Timestamp::from_micros(seconds * 1_000_000);
    if now.since(at) > TOLERANCE {
        return Err(WebhookError::TooOld);
    }
    if at.since(now) > TOLERANCE {
        return Err(WebhookError::TooNew);
    }
    Ok(at)
}

/// The header's form of a time.
fn seconds(at: Timestamp) -> String {
    at.micros().div_euclid(1_000_000).to_string()
}

#[cfg(test)]
mod tests;
