//! A plain keyed hash over the raw body in a header of the sender's choice. There is no time in it, so an old request stays good: the
//! inbox knows it by its id.

use super::{
    Delivery, Verified, Verifier, WebhookError, header,
    mac::{Algorithm, Encoding, tag},
    scheme::{any_text, check_text},
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
    pub id_header: Option<String>,
    pub kind_header: Option<String>,
}

impl Verifier for PlainHmac {
    fn verify(
        &self,
        delivery: &Delivery<'_>,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError> {
        let signature = header(delivery.headers, &self.header)?;
        let given = signature
            .strip_prefix(&self.prefix)
            .and_then(|text| self.encoding.decode(text))
            .ok_or(WebhookError::BadSignature)?;
        let fits = secrets.iter().any(|secret| {
            let key = secret.expose_secret().as_bytes();
            tag(self.algorithm, key, &[delivery.body]).fits(&given)
        });
        if !fits {
            return Err(WebhookError::BadSignature);
        }
        Ok(Verified {
            id: self
                .id_header
                .as_deref()
                .and_then(|name| told(delivery.headers, name)),
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
