//! Signed webhooks by the Standard Webhooks scheme: `webhook-signature` holds, separated by spaces, entries `v1,` and the base64
//! of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{raw body}`. Pure.

use crate::domain::Timestamp;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use sha2::Sha256;
use std::time::Duration;

pub const ID_HEADER: &str = "webhook-id";
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How far the sender's clock may be off, either way.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// More entries than any rotation needs; the rest is not looked at, so that a request cannot buy work.
const ENTRY_LIMIT: usize = 16;
const ID_LIMIT: usize = 256;
const SECRET_PREFIX: &str = "whsec_";

/// The three headers; a missing one is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebhookHeaders<'a> {
    pub id: Option<&'a str>,
    pub timestamp: Option<&'a str>,
    pub signature: Option<&'a str>,
}

impl<'a> WebhookHeaders<'a> {
    /// Asks `header` for each by its lower-case name.
    pub fn from_lookup(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self {
            id: header(ID_HEADER),
            timestamp: header(TIMESTAMP_HEADER),
            signature: header(SIGNATURE_HEADER),
        }
    }
}

/// A request that is what its sender signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The same for every delivery of one event: the key to deduplicate by.
    pub id: String,
    pub timestamp: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("header `{0}` is missing")]
    MissingHeader(&'static str),
    #[error("header `webhook-id` must be 1 to 256 visible ascii characters without a full stop")]
    BadId,
    #[error("header `webhook-timestamp` must be whole seconds since 1970")]
    BadTimestamp,
    #[error("header `webhook-timestamp` is more than 5 minutes old")]
    TooOld,
    #[error("header `webhook-timestamp` is more than 5 minutes ahead")]
    TooNew,
    #[error("no signature in header `webhook-signature` fits")]
    BadSignature,
    #[error("a webhook secret must be `whsec_` and base64 of 24 to 64 bytes")]
    BadSecret,
}

/// Checks a request against every given secret (an endpoint has two while its secret is changed).
///
/// Entries of other versions and malformed ones are passed over. Secrets that cannot be read are passed over too: one that
/// works is enough, none is `BadSignature`.
///
/// # Errors
/// What does not fit. Do not tell an anonymous sender more than the text says.
pub fn verify(
    raw_body: &[u8],
    headers: WebhookHeaders,
    now: Timestamp,
    secrets: &[SecretString],
) -> Result<Verified, WebhookError> {
    let id = headers.id.ok_or(WebhookError::MissingHeader(ID_HEADER))?;
    let stamp = headers
        .timestamp
        .ok_or(WebhookError::MissingHeader(TIMESTAMP_HEADER))?;
    let signature = headers
        .signature
        .ok_or(WebhookError::MissingHeader(SIGNATURE_HEADER))?;
    check_id(id)?;
    let timestamp = check_timestamp(stamp, now)?;
    let given: Vec<_> = signature
        .split(' ')
        .filter_map(signature_bytes)
        .take(ENTRY_LIMIT)
        .collect();
    let fits = secrets
        .iter()
        .filter_map(|secret| secret_bytes(secret).ok())
        .any(|key| {
            let mac = mac(&key, id, stamp, raw_body);
            // `verify_slice` compares in constant time.
            given
                .iter()
                .any(|bytes| mac.clone().verify_slice(bytes).is_ok())
        });
    if fits {
        Ok(Verified {
            id: id.into(),
            timestamp,
        })
    } else {
        Err(WebhookError::BadSignature)
    }
}

/// The value of `webhook-signature` for a request.
///
/// # Errors
/// `BadSecret` or `BadId`.
pub fn sign(
    secret: &SecretString,
    id: &str,
    timestamp: Timestamp,
    raw_body: &[u8],
) -> Result<String, WebhookError> {
    check_id(id)?;
    let stamp = timestamp.micros().div_euclid(1_000_000).to_string();
    let bytes = mac(&secret_bytes(secret)?, id, &stamp, raw_body)
        .finalize()
        .into_bytes();
    Ok(format!("v1,{}", STANDARD.encode(bytes)))
}

/// A secret from 32 random bytes.
pub fn generate_secret(random: [u8; 32]) -> SecretString {
    format!("{SECRET_PREFIX}{}", STANDARD.encode(random)).into()
}

/// Whether a secret that somebody brings along can be used.
///
/// # Errors
/// `BadSecret`.
pub fn check_secret(secret: &SecretString) -> Result<(), WebhookError> {
    secret_bytes(secret).map(|_| ())
}

/// The signed text is id, timestamp and body joined by full stops. An id with a full stop in it could be read as id and
/// timestamp, and what was signed as a body be taken for something else: so there is none.
fn check_id(id: &str) -> Result<(), WebhookError> {
    let fits = (1..=ID_LIMIT).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if fits {
        Ok(())
    } else {
        Err(WebhookError::BadId)
    }
}

fn check_timestamp(text: &str, now: Timestamp) -> Result<Timestamp, WebhookError> {
    let digits = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text
        .parse::<i64>()
        .ok()
        .filter(|_| digits)
        .ok_or(WebhookError::BadTimestamp)?;
    let timestamp = Timestamp::from_micros(seconds * 1_000_000);
    if now.since(timestamp) > TOLERANCE {
        return Err(WebhookError::TooOld);
    }
    if timestamp.since(now) > TOLERANCE {
        return Err(WebhookError::TooNew);
    }
    Ok(timestamp)
}

fn signature_bytes(entry: &str) -> Option<Vec<u8>> {
    STANDARD.decode(entry.strip_prefix("v1,")?).ok()
}

fn secret_bytes(secret: &SecretString) -> Result<Zeroizing<Vec<u8>>, WebhookError> {
    let text = secret.expose_secret();
    let bytes = STANDARD
        .decode(text.strip_prefix(SECRET_PREFIX).unwrap_or(text))
        .map_err(|_| WebhookError::BadSecret)?;
    let bytes = Zeroizing::new(bytes);
    if (24..=64).contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err(WebhookError::BadSecret)
    }
}

fn mac(key: &[u8], id: &str, stamp: &str, body: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| Hmac::new(&Default::default()));
    for part in [id.as_bytes(), b".", stamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests;
