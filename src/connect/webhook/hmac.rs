//! A plain keyed hash over the raw body in a header of the sender's choice. Neither a time nor a header is in it, so an old request stays
//! good, and a header with an id could be changed: the inbox knows the event by its body, unless the endpoint is told that the same body
//! may be a new event.

use super::{
    Delivery, Verified, Verifier, WebhookError, header,
    mac::{Algorithm, Encoding, hashes, tag},
    scheme::{Naming, any_text, check_text},
    told,
};
use secrecy::{ExposeSecret, SecretString};

#[derive(Clone, Debug, PartialEq)]
pub struct PlainHmac {
    /// Lower case.
    pub header: String,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
    /// What stands before the hash, for example `sha256=`.
    pub prefix: String,
    pub naming: Naming,
    pub kind_header: Option<String>,
}

impl Verifier for PlainHmac {
    fn verify(
        &self,
        delivery: &Delivery<'_>,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError> {
        let signature = header(delivery.headers, &self.header)?;
        let given = hashes(signature, &self.prefix, self.encoding);
        let fits = secrets.iter().any(|secret| {
            let key = secret.expose_secret().as_bytes();
            tag(self.algorithm, key, &[delivery.body]).fits_any(&given)
        });
        if !fits {
            return Err(WebhookError::BadSignature);
        }
        Ok(Verified {
            id: self.naming.name(delivery),
            kind: self
                .kind_header
                .as_deref()
                .and_then(|name| told(delivery.headers, name)),
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
