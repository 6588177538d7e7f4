//! What is sealed in a connection.

use super::{outcome::Granted, secret::Secret};
use crate::{
    connect::{
        catalog::{Integration, PlacedSecret, auth::place},
        request::{Account, BadParams},
        seal,
    },
    domain::Timestamp,
};
use secrecy::{ExposeSecret, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// The way of a connection whose token somebody pasted, whatever the integration declares.
pub const WAY_TOKEN: &str = "token";

/// Everything secret that a connection has. `Debug` shows which parts there are and nothing of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Id of the integration's way by which it was got, or [`WAY_TOKEN`].
    pub way: String,
    /// What a person typed, by the names that the catalog gives: `api_key`, `username`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret>,
    /// When the access token ends; absent: never, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// When the provider gave the access token, or a person the fields.
    pub got_at: Timestamp,
}

/// Stored bytes that are no credential. Nothing of them is in the error.
#[derive(Debug, thiserror::Error)]
#[error("the stored credential cannot be read")]
pub struct BadCredential;

impl Credential {
    /// A token that somebody pasted.
    pub fn token(token: impl Into<Secret>, now: Timestamp) -> Self {
        Self {
            access_token: Some(token.into()),
            ..Self::fields(WAY_TOKEN, BTreeMap::new(), now)
        }
    }

    /// Fields that somebody typed.
    pub fn fields(way: &str, fields: BTreeMap<String, Secret>, now: Timestamp) -> Self {
        Self {
            way: way.into(),
            fields,
            access_token: None,
            refresh_token: None,
            expires_at: None,
            scopes: Vec::new(),
            got_at: now,
        }
    }

    /// As it is sealed.
    pub fn to_plain(&self) -> Zeroizing<Vec<u8>> {
        // Maps of texts and times always have a JSON form.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// What was in the seal. `envelope` is the first byte of the sealed value: in its first version the seal held the token's text alone.
    ///
    /// # Errors
    /// `BadCredential`.
    pub fn from_plain(plain: &[u8], envelope: u8) -> Result<Self, BadCredential> {
        if envelope == seal::VERSION {
            let token = std::str::from_utf8(plain).map_err(|_| BadCredential)?;
            return Ok(Self::token(token, Timestamp::default()));
        }
        // The message of the parser could quote the text.
        serde_json::from_slice(plain).map_err(|_| BadCredential)
    }

    /// The typed fields as templates take them.
    pub fn field_values(&self) -> Map<String, Value> {
        let fields = self.fields.iter();
        fields
            .map(|(name, value)| (name.clone(), Value::String(value.expose().to_owned())))
            .collect()
    }

    /// What a call carries: the token or the fields, at the places that the way names.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn placed(
        &self,
        integration: &Integration,
        account: &Account,
    ) -> Result<Vec<PlacedSecret>, BadParams> {
        let token = self.access_token.as_ref().map(Secret::text);
        match (integration.way(Some(&self.way)), token) {
            (Some(way), token) => {
                let data = integration.account_data(account);
                place(way, &self.field_values(), &data, token)
            }
            // A pasted token, or one of a way that the catalog has no more.
            (None, Some(token)) => Ok(vec![
                integration.pasted_placement().with(token.expose_secret()),
            ]),
            (None, None) => Err(BadParams::new("credential", "has no token")),
        }
    }

    /// This credential with what the provider has granted since.
    pub fn renewed(&self, granted: Granted, now: Timestamp) -> Self {
        Self {
            access_token: Some(granted.access_token),
            refresh_token: granted.refresh_token.or_else(|| self.refresh_token.clone()),
            expires_at: granted.expires_at,
            scopes: granted.scopes.unwrap_or_else(|| self.scopes.clone()),
            got_at: now,
            ..self.clone()
        }
    }

    /// Whether the access token is good for longer than `margin` from `now`.
    pub fn is_fresh(&self, now: Timestamp, margin: Duration) -> bool {
        self.access_token.is_some() && self.expires_at.is_none_or(|end| now.after(margin) < end)
    }

    /// Whether both came from the same answer of the provider.
    pub fn is_same_grant(&self, other: &Self) -> bool {
        self.access_token == other.access_token && self.refresh_token == other.refresh_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_went_and_shows_nothing() {
        let mut credential = Credential::token("xoxb-secret", Timestamp::from_millis(1_000));
        credential.refresh_token = Some("refresh-secret".into());
        credential
            .fields
            .insert("api_key".into(), "field-secret".into());
        let plain = credential.to_plain();
        assert_eq!(Credential::from_plain(&plain, 2).unwrap(), credential);
        assert!(!format!("{credential:?}").contains("-secret"));
        let error = Credential::from_plain(b"xoxb-secret", 2).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("secret"));
    }

    #[test]
    fn the_first_seals_held_a_token_alone() {
        let credential = Credential::from_plain(b"xoxb-1", 1).unwrap();
        assert_eq!(credential.access_token, Some("xoxb-1".into()));
        assert_eq!(credential.way, WAY_TOKEN);
    }

    #[test]
    fn freshness_looks_ahead() {
        let at = Timestamp::from_millis;
        let mut credential = Credential::token("t", at(0));
        let margin = Duration::from_secs(10);
        assert!(credential.is_fresh(at(i64::from(u32::MAX)), margin));
        credential.expires_at = Some(at(60_000));
        assert!(credential.is_fresh(at(49_999), margin));
        assert!(!credential.is_fresh(at(50_000), margin));
    }
}
