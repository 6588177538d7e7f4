//! Standard Webhooks: `webhook-signature` holds, separated by spaces, entries `v1,` and the base64 of HMAC-SHA256 over
//! `{webhook-id}.{webhook-timestamp}.{raw body}`.

use super::{
    Delivery, SIGNATURES_MAX, Verified, Verifier, WORD_MAX, WebhookError, header,
    mac::{Algorithm, Tag, tag},
    near, seconds,
};
use crate::domain::Timestamp;
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";
const SECRET_PREFIX: &str = "whsec_";
const BAD_SECRET: WebhookError =
    WebhookError::BadSecret("a webhook secret must be `whsec_` and base64 of 24 to 64 bytes");

#[derive(Debug)]
pub struct StandardWebhooks;

impl Verifier for StandardWebhooks {
    /// Entries of other versions and malformed ones are passed over.
    fn verify(
        &self,
        delivery: &Delivery<'_>,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError> {
        let id = header(delivery.headers, ID)?;
        let stamp = header(delivery.headers, TIMESTAMP)?;
        let signature = header(delivery.headers, SIGNATURE)?;
        check_id(id)?;
        let at = near(stamp, TIMESTAMP, delivery.now)?;
        let given: Vec<_> = signature
            .split(' ')
            .filter_map(signature_bytes)
            .take(SIGNATURES_MAX)
            .collect();
        let fits = secrets
            .iter()
            .filter_map(|secret| secret_bytes(secret).ok())
            .any(|key| {
                let tag = signed(&key, id, stamp, delivery.body);
                tag.fits_any(&given)
            });
        if !fits {
            return Err(WebhookError::BadSignature);
        }
        Ok(Verified {
            id: Some(id.into()),
            kind: None,
            at: Some(at),
        })
    }

    fn check_secret(&self, secret: &SecretString) -> Result<(), WebhookError> {
        secret_bytes(secret).map(drop)
    }

    fn generate_secret(&self, random: [u8; 32]) -> SecretString {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(random)).into()
    }
}

/// The value of `webhook-signature` for a request.
///
/// # Errors
/// `BadSecret` or `BadId`.
pub fn sign(
    secret: &SecretString,
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> Result<String, WebhookError> {
    check_id(id)?;
    let tag = signed(&secret_bytes(secret)?, id, &seconds(at), body);
    Ok(format!("v1,{}", STANDARD.encode(tag.bytes())))
}

/// The signed text is id, timestamp and body joined by full stops. An id with a full stop in it could be read as id and
/// timestamp, and what was signed as a body be taken for something else: so there is none.
fn check_id(id: &str) -> Result<(), WebhookError> {
    let fits = (1..=WORD_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if fits {
        Ok(())
    } else {
        Err(WebhookError::BadId(ID.into()))
    }
}

fn signature_bytes(entry: &str) -> Option<Vec<u8>> {
    STANDARD.decode(entry.strip_prefix("v1,")?).ok()
}

fn secret_bytes(secret: &SecretString) -> Result<Zeroizing<Vec<u8>>, WebhookError> {
    let text = secret.expose_secret();
    let bytes = STANDARD
        .decode(text.strip_prefix(SECRET_PREFIX).unwrap_or(text))
        .map_err(|_| BAD_SECRET)?;
    let bytes = Zeroizing::new(bytes);
    if (24..=64).contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err(BAD_SECRET)
    }
}

fn signed(key: &[u8], id: &str, stamp: &str, body: &[u8]) -> Tag {
    let parts = [id.as_bytes(), b".", stamp.as_bytes(), b".", body];
    tag(Algorithm::Sha256, key, &parts)
}
