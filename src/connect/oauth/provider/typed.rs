//! Ways without OAuth's parties: a JWT that we sign, and credentials that are exchanged.

use super::{
    Body, Exchange, Made, Misconfigured, Prepared, Provider, Scope,
    grants::{basic, exchange, pairs, set_all},
};
use crate::{
    connect::{
        catalog::auth::{JwtBearer, TokenBody, TwoStep, fill_value},
        oauth::{answer::Reading, credential::Credential, jwt, outcome::Granted, secret::Secret},
    },
    domain::Timestamp,
};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::time::Duration;

impl Provider<'_> {
    pub(super) fn jwt(
        &self,
        way: &JwtBearer,
        credential: &Credential,
        now: Timestamp,
    ) -> Made<Prepared> {
        let scope = self.scope(Some(credential));
        let key = scope.text(&way.key)?;
        let key: Secret = key
            .ok_or_else(|| Misconfigured("the key is missing".into()))?
            .into();
        let issued = now.micros().div_euclid(1_000_000);
        let lifetime = way.lifetime_seconds;
        let mut claims = self.object(&scope, &way.claims)?;
        claims.insert("iat".into(), json!(issued));
        claims.insert(
            "exp".into(),
            json!(issued.saturating_add_unsigned(lifetime)),
        );
        let header = self.object(&scope, &way.header)?;
        let assertion = jwt::sign(way.alg, &key, way.key_encoding, &header, &claims)
            .map_err(|error| Misconfigured(error.to_string()))?;
        let Some(token_url) = &way.token_url else {
            return Ok(Prepared::Signed(Box::new(Granted {
                access_token: assertion,
                refresh_token: None,
                expires_at: Some(now.after(Duration::from_secs(lifetime))),
                scopes: None,
                learned: Map::new(),
            })));
        };
        let mut form = pairs([("grant_type", way.grant_type.as_str())]);
        form.push(("assertion".into(), assertion));
        set_all(&mut form, scope.texts(&way.token_params)?);
        let reading = Reading {
            token_at: way.token_at.clone(),
            errors: way.error.clone(),
            expires_default: way.expires_default_seconds.map(Duration::from_secs),
            learn: Default::default(),
            typed_by_person: true,
            good_once: false,
            secrets: Vec::new(),
        };
        let instead = self.app.and_then(|app| app.overrides.token_url.as_ref());
        let url = self.url(token_url, instead)?;
        let headers = scope.texts(&way.token_headers)?;
        let exchange = exchange(url, headers, form, TokenBody::Form, reading);
        Ok(Prepared::Ask(Box::new(exchange)))
    }

    fn object(&self, scope: &Scope, template: &Map<String, Value>) -> Made<Map<String, Value>> {
        let template = Value::Object(template.clone());
        match fill_value(&template, &scope.credential, &scope.account)? {
            Some(Value::Object(mut fields)) => {
                fields.retain(|_, value| value.as_str() != Some(""));
                Ok(fields)
            }
            _ => Ok(Map::new()),
        }
    }

    pub(super) fn two_step(&self, way: &TwoStep, credential: &Credential) -> Made<Exchange> {
        let scope = self.scope(Some(credential));
        let asked = &way.request;
        let lacks = || Misconfigured("the token request lacks a value for its URL".into());
        let url = match (&asked.url, &asked.path) {
            (Some(url), _) => self.url(url, None)?,
            (None, path) => {
                let path = scope.text(path.as_deref().unwrap_or_default())?;
                let base = self.account.base_url.trim_end_matches('/');
                let text = format!("{base}{}", path.ok_or_else(lacks)?);
                text.parse().map_err(|_| lacks())?
            }
        };
        let method = asked.method.parse();
        let method: Method =
            method.map_err(|_| Misconfigured(format!("`{}` is no method", asked.method)))?;
        let mut headers = scope.texts(&asked.headers)?;
        if let Some((name, password)) = &asked.basic {
            let name = scope.text(name)?.unwrap_or_default();
            let password = scope.text(password)?.unwrap_or_default();
            headers.push(basic(&name, &password));
        }
        let body = match (&asked.json, &asked.form) {
            (Some(json), _) => {
                let filled = fill_value(json, &scope.credential, &scope.account)?;
                Body::Json(filled.unwrap_or_default().to_string().into())
            }
            (None, Some(form)) => Body::Form(scope.texts(form)?),
            (None, None) => Body::Empty,
        };
        Ok(Exchange {
            method,
            url,
            headers,
            body,
            reading: Reading {
                token_at: way.token_at.clone(),
                errors: way.error.clone(),
                expires_default: way.expires_default_seconds.map(Duration::from_secs),
                learn: way.learn.clone(),
                typed_by_person: true,
                good_once: false,
                secrets: credential.fields.values().cloned().collect(),
            },
        })
    }
}
