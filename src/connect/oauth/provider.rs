//! One way of one integration for one account, and the requests that it makes of the provider. Pure.

mod grants;
mod typed;

use super::{
    answer::Reading,
    app::OauthApp,
    credential::Credential,
    outcome::{Granted, TokenOutcome},
    secret::Secret,
};
use crate::{
    connect::{
        catalog::{
            AuthWay, Integration,
            auth::{Texts, fill_text},
        },
        request::{Account, BadParams},
    },
    domain::Timestamp,
};
use reqwest::{Method, Url};
use serde_json::{Map, Value};

/// Whom to ask, in whose name, for which account.
#[derive(Clone, Copy)]
pub struct Provider<'a> {
    pub integration: &'a Integration,
    pub way: &'a AuthWay,
    /// Of the org or the operator; only the code flow needs one.
    pub app: Option<&'a OauthApp>,
    pub account: &'a Account,
}

/// What is handed in for a token.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'a> {
    /// What the browser brought back from the consent.
    Code {
        code: &'a str,
        /// Exactly the one of the request.
        redirect_uri: &'a str,
        verifier: Option<&'a Secret>,
    },
    /// What the connection has: its refresh token, or the fields that a person typed.
    Stored(&'a Credential),
}

/// What has to be done for a token.
#[derive(Debug)]
pub enum Prepared {
    /// Ask the provider.
    Ask(Box<Exchange>),
    /// Nothing: we have signed it ourselves.
    Signed(Box<Granted>),
}

/// A request to a token endpoint and how to read its answer. `Debug` shows no secret.
#[derive(Debug)]
pub struct Exchange {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) body: Body,
    pub(super) reading: Reading,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    Empty,
    Form(Vec<(String, Secret)>),
    /// JSON as text.
    Json(Secret),
}

/// The request cannot be made: the app, the catalog or the connection lacks something. No secret is in the text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(pub String);

impl From<BadParams> for Misconfigured {
    fn from(error: BadParams) -> Self {
        Self(error.to_string())
    }
}
impl From<Misconfigured> for TokenOutcome {
    fn from(error: Misconfigured) -> Self {
        Self::misconfigured(error.0)
    }
}

type Made<T> = Result<T, Misconfigured>;

/// Texts are filled from these.
struct Scope {
    credential: Map<String, Value>,
    account: Map<String, Value>,
}

impl Scope {
    fn text(&self, text: &str) -> Made<Option<String>> {
        Ok(fill_text(text, &self.credential, &self.account)?)
    }
    /// The filled ones; what has no value is left out.
    fn texts(&self, texts: &Texts) -> Made<Vec<(String, Secret)>> {
        let mut filled = Vec::with_capacity(texts.len());
        for (name, text) in texts {
            if let Some(value) = self.text(text)? {
                filled.push((name.clone(), value.into()));
            }
        }
        Ok(filled)
    }
}

impl<'a> Provider<'a> {
    fn scope(&self, credential: Option<&Credential>) -> Scope {
        Scope {
            credential: credential.map(Credential::field_values).unwrap_or_default(),
            account: self.integration.account_data(self.account),
        }
    }

    fn app(&self) -> Made<&'a OauthApp> {
        self.app.ok_or_else(|| {
            let name = &self.integration.name;
            Misconfigured(format!(
                "nobody has registered an app at {name}: an admin can, with PUT /v1/oauth-clients/{}",
                self.integration.id
            ))
        })
    }

    /// A URL of the catalog, or the app's in its place.
    fn url(&self, declared: &str, instead: Option<&String>) -> Made<Url> {
        match instead {
            Some(url) => url
                .parse()
                .map_err(|_| Misconfigured(format!("`{url}` is no URL"))),
            None => {
                let data = self.integration.account_data(self.account);
                Ok(self.integration.fill_url(declared, &data)?)
            }
        }
    }

    /// Where a browser is sent to consent.
    ///
    /// # Errors
    /// The way has no consent page, or something is missing.
    pub fn authorize_url(
        &self,
        state: &Secret,
        redirect_uri: &str,
        scopes: &[String],
        challenge: Option<&str>,
    ) -> Made<Url> {
        let AuthWay::Oauth2Code(way) = self.way else {
            return Err(Misconfigured(format!(
                "{} has no consent page for this way",
                self.integration.name
            )));
        };
        let app = self.app()?;
        let mut url = self.url(&way.authorize_url, app.overrides.authorize_url.as_ref())?;
        let scope = self.scope(None);
        let extra = scope.texts(&way.authorize_params)?;
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair(&way.client_id_param, &app.client_id)
                .append_pair("redirect_uri", redirect_uri)
                .append_pair("state", state.expose());
            if !scopes.is_empty() {
                query.append_pair(&way.scope_param, &scopes.join(&way.scope_separator));
            }
            if let Some(challenge) = challenge {
                query
                    .append_pair("code_challenge", challenge)
                    .append_pair("code_challenge_method", "S256");
            }
            for (name, value) in &extra {
                query.append_pair(name, value.expose());
            }
        }
        Ok(url)
    }

    /// What has to be done to get a token.
    ///
    /// # Errors
    /// Something is missing, and trying again will not help.
    pub fn prepare(&self, grant: Grant<'_>, now: Timestamp) -> Made<Prepared> {
        let exchange = match (self.way, grant) {
            (AuthWay::Oauth2Code(way), grant) => self.code_exchange(way, grant)?,
            (AuthWay::Oauth2ClientCredentials(way), Grant::Stored(credential)) => {
                self.client_exchange(way, credential)?
            }
            (AuthWay::JwtBearer(way), Grant::Stored(credential)) => {
                return self.jwt(way, credential, now);
            }
            (AuthWay::TwoStep(way), Grant::Stored(credential)) => self.two_step(way, credential)?,
            (way, _) => {
                return Err(Misconfigured(format!(
                    "the way `{}` of {} fetches no token",
                    way.id(),
                    self.integration.name
                )));
            }
        };
        Ok(Prepared::Ask(Box::new(exchange)))
    }
}

#[cfg(test)]
mod tests;
