//! GitHub: `X-Hub-Signature-256` is `sha256=` and the hexadecimal HMAC-SHA256 over the raw body; `X-GitHub-Event` says what happened.
//!
//! Neither a time nor a name is signed: whoever has got hold of one request could send its body under as many `X-GitHub-Delivery` as it
//! likes. So the event is known by its body. GitHub sends the very same body when it delivers once more, and two events never have the same
//! one, since each tells ids and times of what it is about.

use super::{
    Delivery, Verified, Verifier, WebhookError, header,
    mac::{Algorithm, Encoding, hashes, hex, tag},
    name_of_body,
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
        let given = hashes(signature, VERSION, Encoding::Hex);
        let fits = secrets.iter().any(|secret| {
            let key = secret.expose_secret().as_bytes();
            tag(Algorithm::Sha256, key, &[delivery.body]).fits_any(&given)
        });
        if !fits {
            return Err(WebhookError::BadSignature);
        }
        Ok(Verified {
            id: Some(name_of_body(delivery.body)),
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
