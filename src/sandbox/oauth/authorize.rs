//! The request for consent, and what becomes of the person's answer.

use super::{
    OAuth,
    hash::TokenHash,
    issue,
    settings::Pkce,
    state::{Change, Code, Consent, Entry},
};
use crate::{
    domain::Timestamp,
    sandbox::{call::Provider, seed, urlencoded},
};
use std::{collections::HashMap, io, time::Duration};

/// A SHA-256 in base64url without padding.
const CHALLENGE_LENGTH: usize = 43;

/// A request that a person may be asked about.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AuthorizeRequest {
    pub integration: Provider,
    pub client_id: String,
    pub redirect_uri: String,
    pub state: Option<String>,
    pub challenge: Option<String>,
    pub scope: String,
    pub user_scope: String,
    pub offline: bool,
}

#[derive(Debug, PartialEq)]
pub(super) enum Misasked {
    /// Nobody can be trusted with the answer, so the person sees it: the client or its redirect URI is not known.
    Shown(String),
    /// Told to the client, at this address.
    Returned(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Allow,
    Deny,
}

impl OAuth {
    /// Checks the query of `/oauth/{integration}/authorize`.
    pub(super) fn read_request(
        &self,
        integration: Provider,
        query: &str,
    ) -> Result<AuthorizeRequest, Misasked> {
        let shown = |message: &str| Misasked::Shown(message.to_owned());
        let mut given = HashMap::new();
        for (name, value) in urlencoded::pairs(query) {
            if given.insert(name.clone(), value).is_some() {
                return Err(Misasked::Shown(format!("{name} is given twice")));
            }
        }
        let text = |name: &str| given.get(name).filter(|value| !value.is_empty()).cloned();
        let settings = self.state.settings(integration);
        let client_id = text("client_id").ok_or_else(|| shown("client_id is missing"))?;
        let client = settings
            .client(&client_id)
            .ok_or_else(|| shown("client_id is not known"))?;
        let redirect_uri = text("redirect_uri").ok_or_else(|| shown("redirect_uri is missing"))?;
        if !client.redirect_uris.contains(&redirect_uri) {
            return Err(shown("redirect_uri is not one that the client registered"));
        }
        let request = AuthorizeRequest {
            integration,
            client_id,
            redirect_uri,
            state: text("state"),
            challenge: text("code_challenge"),
            scope: text("scope").unwrap_or_default(),
            user_scope: text("user_scope").unwrap_or_default(),
            // Google gives a refresh token to those only who ask for one.
            offline: integration != Provider::Gmail
                || text("access_type").as_deref() == Some("offline"),
        };
        // Slack and GitHub know no other, and do not ask for it.
        let implied = matches!(integration, Provider::Slack | Provider::Github);
        let response_type = text("response_type").or(implied.then(|| "code".to_owned()));
        if response_type.as_deref() != Some("code") {
            let message = "response_type must be code";
            return Err(request.failed("unsupported_response_type", message));
        }
        let method = text("code_challenge_method");
        let is_public = client.secret.is_none();
        match request.check_challenge(method.as_deref(), settings.pkce, is_public) {
            Err(message) => Err(request.failed("invalid_request", message)),
            Ok(()) => Ok(request),
        }
    }

    /// Carries out what `user` decided; gives the address to which the browser goes back.
    pub(super) fn decide(
        &mut self,
        at: Timestamp,
        request: AuthorizeRequest,
        user: &str,
        decision: Decision,
    ) -> io::Result<String> {
        if decision == Decision::Deny {
            return Ok(request.returning(&[("error", "access_denied")]));
        }
        let code = issue::new_code(request.integration);
        let ttl = self.state.settings(request.integration).code_ttl_seconds;
        let kept = Code {
            integration: request.integration,
            client_id: request.client_id.clone(),
            redirect_uri: request.redirect_uri.clone(),
            challenge: request.challenge.clone(),
            consent: Consent {
                scope: request.scope.clone(),
                user_scope: request.user_scope.clone(),
                user: user.to_owned(),
                offline: request.offline,
            },
            expires_at: at.after(Duration::from_secs(ttl)),
            used_for: None,
        };
        self.commit(Entry::of(at).changing(Change::Code(TokenHash::of(&code), kept)))?;
        let mut pairs = vec![("code", code.as_str())];
        if request.integration == Provider::Quickbooks {
            pairs.push(("realmId", seed::REALM_ID));
        }
        Ok(request.returning(&pairs))
    }
}

impl AuthorizeRequest {
    fn check_challenge(
        &self,
        method: Option<&str>,
        pkce: Pkce,
        is_public: bool,
    ) -> Result<(), &'static str> {
        match (&self.challenge, pkce) {
            (Some(_), Pkce::Refused) => Err("PKCE is not supported"),
            (None, Pkce::Required) => Err("code_challenge is missing"),
            (None, _) if is_public => Err("code_challenge is missing: the client has no secret"),
            (None, _) if method.is_some() => Err("code_challenge_method without code_challenge"),
            (None, _) => Ok(()),
            // Absent would mean `plain`.
            (Some(_), _) if method != Some("S256") => Err("code_challenge_method must be S256"),
            (Some(challenge), _) if challenge.len() != CHALLENGE_LENGTH => {
                Err("code_challenge is not a SHA-256 in base64url")
            }
            (Some(_), _) => Ok(()),
        }
    }

    fn failed(&self, error: &str, description: &str) -> Misasked {
        Misasked::Returned(self.returning(&[("error", error), ("error_description", description)]))
    }

    /// The redirect URI with these pairs and the state.
    fn returning(&self, pairs: &[(&str, &str)]) -> String {
        let mut pairs = pairs.to_vec();
        if let Some(state) = &self.state {
            pairs.push(("state", state));
        }
        let uri = &self.redirect_uri;
        let joint = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{joint}{}", urlencoded::encode(&pairs))
    }
}
