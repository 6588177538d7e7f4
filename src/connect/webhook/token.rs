//! A fixed token in a header or in the address. Like a password, it proves who sends, not what; one in the address also ends up in the
//! logs of whoever stands between, so a header is to be preferred.

use super::{
    Delivery, Verified, Verifier, WebhookError, header,
    mac::same,
    scheme::{Naming, any_text, check_text},
    told,
};
use crate::connect::form;
use secrecy::{ExposeSecret, SecretString};

/// Where the token stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// In the header of this name (lower case), after `prefix`.
    Header { name: String, prefix: String },
    /// In the parameter of this name.
    Query { name: String },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub place: Place,
    pub naming: Naming,
    pub kind_header: Option<String>,
}

impl Verifier for Token {
    fn verify(
        &self,
        delivery: &Delivery<'_>,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError> {
        let given = match &self.place {
            Place::Header { name, prefix } => header(delivery.headers, name)?
                .strip_prefix(prefix.as_str())
                .ok_or(WebhookError::BadSignature)?
                .to_owned(),
            Place::Query { name } => parameter(delivery.query.unwrap_or_default(), name)?,
        };
        let fits = secrets
            .iter()
            .any(|secret| same(secret.expose_secret().as_bytes(), given.as_bytes()));
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
        check_text(secret, 16)
    }

    fn generate_secret(&self, random: [u8; 32]) -> SecretString {
        any_text(random)
    }
}

/// The parameter's value, if it is there once.
fn parameter(query: &str, name: &str) -> Result<String, WebhookError> {
    let mut values = form::pairs(query).filter(|(known, _)| known == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Ok(value),
        _ => Err(WebhookError::MissingParameter(name.into())),
    }
}
