//! How an account at an integration is authorised, as its file declares it: a list of ways, the first of which is the default.
//!
//! Everything here is data. Texts that may hold paths in braces (URLs, parameters, claims, bodies) are checked when the catalog
//! is loaded and filled by [`fill_text`] and [`fill_url`](super::Integration::fill_url): `{account.…}` is what the connection
//! knows of its account, `{credential.…}` one of the sealed fields.

mod assertion;
mod fill;
mod key;
mod oauth;
mod parts;

pub use assertion::{Algorithm, JwtBearer, KeyEncoding, TokenRequest, TwoStep};
pub use fill::{Place, PlacedSecret, fill_text, fill_value, place};
pub use key::{ApiKey, Basic, Bearer};
pub use oauth::{ClientAuth, LearnFrom, OauthClient, OauthCode, TokenBody};
pub use parts::{ExpiresUnit, Field, OneOrMore, Placement, Text, Texts, TokenAt, TokenErrors};

use serde::{Deserialize, Serialize};

/// One way in which an account can be authorised.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AuthWay {
    /// RFC 6749 section 4.1: a person consents in a browser.
    Oauth2Code(OauthCode),
    /// RFC 6749 section 4.4: id and secret alone.
    Oauth2ClientCredentials(OauthClient),
    /// Secrets that travel in every call as they are.
    ApiKey(ApiKey),
    /// RFC 7617.
    Basic(Basic),
    /// A token that a person pastes.
    Bearer(Bearer),
    /// RFC 7523: a token that we sign ourselves, or an assertion that is exchanged for one.
    JwtBearer(JwtBearer),
    /// Credentials that are exchanged for a token that expires.
    TwoStep(TwoStep),
}

impl AuthWay {
    /// The name of the type, as it stands in files.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Oauth2Code(_) => "oauth2_code",
            Self::Oauth2ClientCredentials(_) => "oauth2_client_credentials",
            Self::ApiKey(_) => "api_key",
            Self::Basic(_) => "basic",
            Self::Bearer(_) => "bearer",
            Self::JwtBearer(_) => "jwt_bearer",
            Self::TwoStep(_) => "two_step",
        }
    }

    /// Its name in the integration: its own, or its type's.
    pub fn id(&self) -> &str {
        let own = match self {
            Self::Oauth2Code(way) => &way.id,
            Self::Oauth2ClientCredentials(way) => &way.id,
            Self::ApiKey(way) => &way.id,
            Self::Basic(way) => &way.id,
            Self::Bearer(way) => &way.id,
            Self::JwtBearer(way) => &way.id,
            Self::TwoStep(way) => &way.id,
        };
        own.as_deref().unwrap_or(self.kind())
    }

    /// Where calls go that are authorised this way, if not to the integration's base URL.
    pub fn base_url(&self) -> Option<&str> {
        match self {
            Self::Oauth2Code(way) => way.base_url.as_deref(),
            Self::Oauth2ClientCredentials(way) => way.base_url.as_deref(),
            Self::ApiKey(way) => way.base_url.as_deref(),
            Self::Basic(way) => way.base_url.as_deref(),
            Self::Bearer(way) => way.base_url.as_deref(),
            Self::JwtBearer(way) => way.base_url.as_deref(),
            Self::TwoStep(way) => way.base_url.as_deref(),
        }
    }

    /// What a person is asked for; nothing where a provider's consent page does the asking.
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Oauth2Code(_) => &[],
            Self::Oauth2ClientCredentials(way) => &way.fields,
            Self::ApiKey(way) => &way.fields,
            Self::Basic(way) => &way.fields,
            Self::Bearer(way) => std::slice::from_ref(&way.field),
            Self::JwtBearer(way) => &way.fields,
            Self::TwoStep(way) => &way.fields,
        }
    }

    /// Where the credential travels in calls; never empty.
    pub fn send(&self) -> &[Placement] {
        match self {
            Self::Oauth2Code(way) => way.send.as_slice(),
            Self::Oauth2ClientCredentials(way) => way.send.as_slice(),
            Self::ApiKey(way) => way.send.as_slice(),
            Self::Basic(_) => Placement::basic(),
            Self::Bearer(way) => way.send.as_slice(),
            Self::JwtBearer(way) => way.send.as_slice(),
            Self::TwoStep(way) => way.send.as_slice(),
        }
    }

    /// Whether a secret that a person pastes is itself what travels, so that nothing has to be fetched before a call.
    pub fn is_static(&self) -> bool {
        matches!(self, Self::ApiKey(_) | Self::Basic(_) | Self::Bearer(_))
    }
}
