//! Slack's version 0: `X-Slack-Signature` is `v0=` and the hexadecimal HMAC-SHA256 over `v0:{X-Slack-Request-Timestamp}:{raw body}`.
//! What happened and its id stand in the body; [`crate::connect::ingest::slack`] reads them.

use super::{
    Delivery, Verified, Verifier, WebhookError, header,
    mac::{Algorithm, Encoding, Tag, hashes, hex, tag},
    name_of_body, near,
    scheme::{any_text, check_text},
    seconds,
};
use crate::domain::Timestamp;
use secrecy::{ExposeSecret, SecretString};

pub const TIMESTAMP: &str = "x-slack-request-timestamp";
pub const SIGNATURE: &str = "x-slack-signature";
const VERSION: &str = "v0=";

#[derive(Debug)]
pub struct Slack;

impl Verifier for Slack {
    fn verify(
        &self,
        delivery: &Delivery<'_>,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError> {
        let stamp = header(delivery.headers, TIMESTAMP)?;
        let signature = header(delivery.headers, SIGNATURE)?;
        let at = near(stamp, TIMESTAMP, delivery.now)?;
        let given = hashes(signature, VERSION, Encoding::Hex);
        let fits = secrets.iter().any(|secret| {
            signed(secret.expose_secret().as_bytes(), stamp, delivery.body).fits_any(&given)
        });
        if !fits {
            return Err(WebhookError::BadSignature);
        }
        Ok(Verified {
            // For what names itself nowhere in its body.
            id: Some(name_of_body(delivery.body)),
            kind: None,
            at: Some(at),
        })
    }

    fn check_secret(&self, secret: &SecretString) -> Result<(), WebhookError> {
        check_text(secret, 16)
    }

    fn generate_secret(&self, random: [u8; 32]) -> SecretString {
        any_text(random)
    }
}

/// The value of `X-Slack-Signature` for a request; `X-Slack-Request-Timestamp` is `at` in whole seconds.
pub fn sign(secret: &SecretString, at: Timestamp, body: &[u8]) -> String {
    let tag = signed(secret.expose_secret().as_bytes(), &seconds(at), body);
    format!("{VERSION}{}", hex(&tag.bytes()))
}

fn signed(key: &[u8], stamp: &str, body: &[u8]) -> Tag {
    tag(
        Algorithm::Sha256,
        key,
        &[b"v0:", stamp.as_bytes(), b":", body],
    )
}
