//! GitHub: `X-Hub-Signature-256` is `sha256=` and the hexadecimal HMAC-SHA256 over the raw body; `X-GitHub-Delivery` names the delivery,
//! the same for each time that it is sent again, and `X-GitHub-Event` says what happened. There is no time in what is signed.

use super::{
    Delivery, Verified, Verifier, WebhookError, header,
    mac::{Algorithm, hex, tag, unhex},
    scheme::{any_text, check_text},
    told,
};
use secrecy::{ExposeSecret, SecretString};

const SIGNATURE: &str = "x-hub-signature-256";
const VERSION: &str = "sha256=";

#[derive(Debug)]
pub struct GitHub;

impl Verifier for GitHub {
    fn verify(
        &self,
        delivery: &Delivery<'_>,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError> {
        let signature = header(delivery.headers, SIGNATURE)?;
        let given = signature
            .strip_prefix(VERSION)
            .and_then(unhex)
            .ok_or(WebhookError::BadSignature)?;
        let fits = secrets.iter().any(|secret| {
            let key = secret.expose_secret().as_bytes();
            tag(Algorithm::Sha256, key, &[delivery.body]).fits(&given)
        });
        if !fits {
            return Err(WebhookError::BadSignature);
        }
        Ok(Verified {
            id: told(delivery.headers, "x-github-delivery"),
            kind: told(delivery.headers, "x-github-event"),
            at: None,
        })
    }

    fn check_secret(&self, secret: &SecretString) -> Result<(), WebhookError> {
        check_text(secret, 8)
    }

    fn generate_secret(&self, random: [u8; 32]) -> SecretString {
        any_text(random)
    }
}

/// The value of `X-Hub-Signature-256` for a request.
pub fn sign(secret: &SecretString, body: &[u8]) -> String {
    let key = secret.expose_secret().as_bytes();
    let tag = tag(Algorithm::Sha256, key, &[body]);
    format!("{VERSION}{}", hex(&tag.bytes()))
}
