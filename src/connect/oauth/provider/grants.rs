//! OAuth proper: codes, refresh tokens, client credentials.

use super::{Body, Exchange, Grant, Made, Misconfigured, Provider};
use crate::connect::{
    catalog::{
        AuthWay,
        auth::{ClientAuth, OauthClient, OauthCode, TokenBody},
    },
    oauth::{answer::Reading, credential::Credential, secret::Secret},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, Url};
use serde_json::{Map, Value};
use std::time::Duration;

impl Provider<'_> {
    /// What tells the provider that this credential is not needed any more (RFC 7009); `None` where it has no ear for that. The refresh
    /// token goes where there is one: with it most providers end the whole grant.
    ///
    /// # Errors
    /// Something is missing, and trying again will not help.
    pub fn revocation(&self, credential: &Credential) -> Made<Option<Exchange>> {
        let (declared, id_param, auth) = match self.way {
            AuthWay::Oauth2Code(way) => (&way.revoke_url, &way.client_id_param, way.client_auth),
            AuthWay::Oauth2ClientCredentials(way) => {
                (&way.revoke_url, &way.client_id_param, way.client_auth)
            }
            _ => return Ok(None),
        };
        let instead = self.app.and_then(|app| app.overrides.revoke_url.as_ref());
        let url = match (declared, instead) {
            (None, None) => return Ok(None),
            (declared, instead) => self.url(declared.as_deref().unwrap_or_default(), instead)?,
        };
        let (token, hint) = match (&credential.refresh_token, &credential.access_token) {
            (Some(token), _) => (token, "refresh_token"),
            (None, Some(token)) => (token, "access_token"),
            (None, None) => return Ok(None),
        };
        let (id, secret) = self.client_of(credential)?;
        let mut form = pairs([("token_type_hint", hint)]);
        form.push(("token".into(), token.clone()));
        let mut headers = Vec::new();
        let client = Client {
            id_param,
            id: &id,
            secret,
            auth,
        };
        client.prove(&mut form, &mut headers);
        let reading = Reading::default();
        Ok(Some(exchange(url, headers, form, TokenBody::Form, reading)))
    }

    /// The client that a person typed in for this connection, or else the app.
    fn client_of<'a>(&'a self, credential: &'a Credential) -> Made<(String, Option<&'a Secret>)> {
        let typed = |name: &str| credential.fields.get(name);
        match (typed("client_id"), self.app) {
            (Some(id), _) => Ok((id.expose().to_owned(), typed("client_secret"))),
            (None, Some(app)) => Ok((app.client_id.clone(), app.client_secret.as_ref())),
            (None, None) => Err(Misconfigured("`client_id` is missing".into())),
        }
    }

    pub(super) fn code_exchange(&self, way: &OauthCode, grant: Grant<'_>) -> Made<Exchange> {
        let app = self.app()?;
        let (url, mut form, extra) = match grant {
            Grant::Code {
                code,
                redirect_uri,
                verifier,
            } => {
                let mut form = pairs([
                    ("grant_type", "authorization_code"),
                    ("code", code),
                    ("redirect_uri", redirect_uri),
                ]);
                form.extend(verifier.map(|text| ("code_verifier".to_owned(), text.clone())));
                (&*way.token_url, form, &way.token_params)
            }
            Grant::Stored(credential) => {
                let token = credential
                    .refresh_token
                    .as_ref()
                    .ok_or_else(|| Misconfigured("the connection has no refresh token".into()))?;
                let mut form = pairs([("grant_type", "refresh_token")]);
                form.push(("refresh_token".into(), token.clone()));
                (way.refresh_url(), form, &way.refresh_params)
            }
        };
        let scope = self.scope(None);
        let mut headers = scope.texts(&way.token_headers)?;
        let client = Client {
            id_param: &way.client_id_param,
            id: &app.client_id,
            secret: app.client_secret.as_ref(),
            auth: way.client_auth,
        };
        client.prove(&mut form, &mut headers);
        set_all(&mut form, scope.texts(extra)?);
        let reading = Reading {
            token_at: way.token_at.clone(),
            errors: way.error.clone(),
            expires_default: way.expires_default_seconds.map(Duration::from_secs),
            learn: way.learn.clone(),
            typed_by_person: false,
            good_once: matches!(grant, Grant::Code { .. }),
            secrets: Vec::new(),
        };
        let url = self.url(url, app.overrides.token_url.as_ref())?;
        Ok(exchange(url, headers, form, way.token_body, reading))
    }

    pub(super) fn client_exchange(
        &self,
        way: &OauthClient,
        credential: &Credential,
    ) -> Made<Exchange> {
        let (id, secret) = self.client_of(credential)?;
        let scope = self.scope(Some(credential));
        let mut form = pairs([("grant_type", way.grant_type.as_str())]);
        let scopes = match credential.scopes.is_empty() {
            true => &way.scopes,
            false => &credential.scopes,
        };
        if !scopes.is_empty() {
            let joined = scopes.join(&way.scope_separator);
            form.push((way.scope_param.clone(), joined.into()));
        }
        let mut headers = scope.texts(&way.token_headers)?;
        let client = Client {
            id_param: &way.client_id_param,
            id: &id,
            secret,
            auth: way.client_auth,
        };
        client.prove(&mut form, &mut headers);
        set_all(&mut form, scope.texts(&way.token_params)?);
        let reading = Reading {
            token_at: way.token_at.clone(),
            errors: way.error.clone(),
            expires_default: way.expires_default_seconds.map(Duration::from_secs),
            learn: way.learn.clone(),
            typed_by_person: credential.fields.contains_key("client_id"),
            good_once: false,
            secrets: Vec::new(),
        };
        let instead = self.app.and_then(|app| app.overrides.token_url.as_ref());
        let url = self.url(&way.token_url, instead)?;
        Ok(exchange(url, headers, form, way.token_body, reading))
    }
}

/// Who asks, and how that is proved.
struct Client<'a> {
    id_param: &'a str,
    id: &'a str,
    secret: Option<&'a Secret>,
    auth: ClientAuth,
}

impl Client<'_> {
    fn prove(&self, form: &mut Vec<(String, Secret)>, headers: &mut Vec<(String, Secret)>) {
        match (self.auth, self.secret) {
            (ClientAuth::Basic, Some(secret)) => {
                // Encoded like a form first, as RFC 6749 section 2.3.1 has it.
                headers.push(basic(
                    &form_encoded(self.id),
                    &form_encoded(secret.expose()),
                ));
            }
            (ClientAuth::Body, Some(secret)) => {
                form.push((self.id_param.into(), self.id.into()));
                form.push(("client_secret".into(), secret.clone()));
            }
            _ => form.push((self.id_param.into(), self.id.into())),
        }
    }
}

pub(super) fn exchange(
    url: Url,
    headers: Vec<(String, Secret)>,
    form: Vec<(String, Secret)>,
    body: TokenBody,
    mut reading: Reading,
) -> Exchange {
    reading.secrets = form
        .iter()
        .filter(|(name, _)| !is_public(name))
        .map(|(_, value)| value.clone())
        .collect();
    let body = match body {
        TokenBody::Form => Body::Form(form),
        TokenBody::Json => {
            let fields: Map<String, Value> = form
                .into_iter()
                .map(|(name, value)| (name, Value::String(value.expose().to_owned())))
                .collect();
            Body::Json(Value::Object(fields).to_string().into())
        }
    };
    Exchange {
        method: Method::POST,
        url,
        headers,
        body,
        reading,
    }
}

/// Parameters whose values may stand in a provider's message.
fn is_public(name: &str) -> bool {
    matches!(name, "grant_type" | "redirect_uri" | "scope" | "audience")
        || name.ends_with("client_id")
}

pub(super) fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, Secret)> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

/// The catalog's parameters go before ours of the same name.
pub(super) fn set_all(form: &mut Vec<(String, Secret)>, extra: Vec<(String, Secret)>) {
    for (name, value) in extra {
        form.retain(|(known, _)| *known != name);
        form.push((name, value));
    }
}

pub(super) fn basic(name: &str, password: &str) -> (String, Secret) {
    let encoded = STANDARD.encode(format!("{name}:{password}"));
    ("Authorization".into(), format!("Basic {encoded}").into())
}

fn form_encoded(text: &str) -> String {
    let mut url = Url::parse("http://form/").expect("a URL");
    url.query_pairs_mut().append_pair("", text);
    url.query()
        .unwrap_or_default()
        .trim_start_matches('=')
        .to_owned()
}
