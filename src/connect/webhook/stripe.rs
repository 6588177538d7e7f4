//! Stripe: `Stripe-Signature` is a list `t=SECONDS,v1=HEX[,v1=HEX…]`; each `v1` is HMAC-SHA256 over `{t}.{raw body}` with the whole text of
//! the secret, its `whsec_` included. `v0` is for Stripe's own tests and is never taken. Id and kind stand in the body
//! ([`super::Scheme::named_in_body`]), which nobody reads before it is proved and unpacked.

use super::{
    Delivery, SIGNATURES_MAX, Verified, Verifier, WebhookError, header,
    mac::{Algorithm, Tag, hex, tag, unhex},
    name_of_body, near,
    scheme::check_text,
    seconds,
};
use crate::domain::Timestamp;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

const SIGNATURE: &str = "stripe-signature";

#[derive(Debug)]
pub struct Stripe;

impl Verifier for Stripe {
    fn verify(
        &self,
        delivery: &Delivery<'_>,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError> {
        let list = header(delivery.headers, SIGNATURE)?;
        let items = || {
            list.split(',')
                .filter_map(|item| item.trim_matches(' ').split_once('='))
        };
        let mut stamps = items().filter(|(name, _)| *name == "t");
        let stamp = match (stamps.next(), stamps.next()) {
            (Some((_, stamp)), None) => stamp,
            _ => return Err(WebhookError::BadTimestamp(SIGNATURE.into())),
        };
        let at = near(stamp, SIGNATURE, delivery.now)?;
        let given: Vec<_> = items()
            .filter(|(name, _)| *name == "v1")
            .filter_map(|(_, value)| unhex(value))
            .take(SIGNATURES_MAX)
            .collect();
        let fits = secrets.iter().any(|secret| {
            let tag = signed(secret.expose_secret().as_bytes(), stamp, delivery.body);
            tag.fits_any(&given)
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
        format!("whsec_{}", URL_SAFE_NO_PAD.encode(random)).into()
    }
}

/// The value of `Stripe-Signature` for a request.
pub fn sign(secret: &SecretString, at: Timestamp, body: &[u8]) -> String {
    let stamp = seconds(at);
    let tag = signed(secret.expose_secret().as_bytes(), &stamp, body);
    format!("t={stamp},v1={}", hex(&tag.bytes()))
}

fn signed(key: &[u8], stamp: &str, body: &[u8]) -> Tag {
    tag(Algorithm::Sha256, key, &[stamp.as_bytes(), b".", body])
}
