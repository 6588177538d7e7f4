//! Name and password in `Authorization: Basic …` (RFC 7617). It proves who sends, not what: only for senders that can do nothing better,
//! over TLS.

use super::{
    Delivery, Verified, Verifier, WebhookError, header,
    mac::same,
    scheme::{Naming, any_text, check_text},
    told,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

const HEADER: &str = "authorization";

#[derive(Clone, Debug, PartialEq)]
pub struct Basic {
    pub naming: Naming,
    pub kind_header: Option<String>,
}

impl Verifier for Basic {
    /// A secret is `name:password`.
    fn verify(
        &self,
        delivery: &Delivery<'_>,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError> {
        let given = header(delivery.headers, HEADER)?
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, text)| STANDARD.decode(text).ok())
            .ok_or(WebhookError::BadSignature)?;
        let fits = secrets
            .iter()
            .any(|secret| same(secret.expose_secret().as_bytes(), &given));
        if !fits {
            return Err(WebhookError::BadSignature);
        }
        let kind = self.kind_header.as_deref();
        Ok(Verified {
            id: self.naming.name(delivery),
            kind: kind.and_then(|name| told(delivery.headers, name)),
            at: None,
        })
    }

    fn check_secret(&self, secret: &SecretString) -> Result<(), WebhookError> {
        check_text(secret, 8)?;
        match secret.expose_secret().split_once(':') {
            Some((name, password)) if !name.is_empty() && password.len() >= 8 => Ok(()),
            _ => Err(WebhookError::BadSecret(
                "the secret must be `name:password` with 8 or more characters of password",
            )),
        }
    }

    fn generate_secret(&self, random: [u8; 32]) -> SecretString {
        format!("tenure:{}", any_text(random).expose_secret()).into()
    }
}
