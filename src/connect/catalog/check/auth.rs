//! The auth section: what the published schema cannot say of it.

use super::Report;
use crate::connect::{
    catalog::{
        AccountField, Integration,
        auth::{AuthWay, Field, JwtBearer, LearnFrom, OneOrMore, Placement, TokenAt, TwoStep},
    },
    template::Template,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(report: &mut Report, integration: &Integration) {
    url(
        report,
        "/base_url",
        &integration.base_url,
        &integration.account,
    );
    let mut ids = BTreeSet::new();
    for (number, way) in integration.auth.iter().enumerate() {
        let place = format!("/auth/{number}");
        if !ids.insert(way.id()) {
            report.add(
                &place,
                format!(
                    "another way is called `{}`; give one of them an `id`",
                    way.id()
                ),
            );
        }
        let mut section = Section {
            report,
            place,
            account: &integration.account,
            fields: way.fields(),
        };
        section.way(way);
    }
}

/// A text that starts with `http://` or `https://` or with one account field, which then holds the whole start.
fn url(report: &mut Report, place: &str, text: &str, account: &[AccountField]) {
    let template = match Template::parse(&Value::String(text.into())) {
        Ok(template) => template,
        Err(message) => return report.add(place, message),
    };
    for reference in template.references() {
        let known = reference.keys.first().and_then(|name| {
            account
                .iter()
                .find(|field| field.name == *name && reference.root == "account")
        });
        match known {
            None => report.add(
                place,
                format!(
                    "`{{{}}}` is no field of the account; a URL may name nothing else",
                    path(&reference.root, &reference.keys)
                ),
            ),
            Some(field) if text.starts_with('{') && field.pattern.is_none() => report.add(
                place,
                format!(
                    "`account.{}` holds a whole address, so it needs a `pattern` that binds it to the provider's hosts",
                    field.name
                ),
            ),
            Some(_) => {}
        }
    }
    if !text.starts_with("https://") && !text.starts_with("http://") && !text.starts_with('{') {
        report.add(place, format!("`{text}` is no http or https URL"));
    }
}

fn path(root: &str, keys: &[String]) -> String {
    [&[root.to_owned()], keys].concat().join(".")
}

/// One way, while it is checked.
struct Section<'a, 'r, 'f> {
    report: &'a mut Report<'r>,
    place: String,
    account: &'a [AccountField],
    fields: &'f [Field],
}

impl Section<'_, '_, '_> {
    fn way(&mut self, way: &AuthWay) {
        let mut names = BTreeSet::new();
        for field in way.fields() {
            if !names.insert(&field.name) {
                self.wrong("fields", format!("`{}` stands twice", field.name));
            }
        }
        self.send(way);
        if let Some(text) = way.base_url() {
            url(
                self.report,
                &format!("{}/base_url", self.place),
                text,
                self.account,
            );
        }
        match way {
            AuthWay::Oauth2Code(code) => {
                self.url("authorize_url", Some(&code.authorize_url));
                self.url("token_url", Some(&code.token_url));
                self.url("refresh_url", code.refresh_url.as_ref());
                self.url("revoke_url", code.revoke_url.as_ref());
                self.texts("authorize_params", code.authorize_params.values());
                self.texts("token_params", code.token_params.values());
                self.texts("refresh_params", code.refresh_params.values());
                self.texts("token_headers", code.token_headers.values());
                self.token_at(&code.token_at);
                self.learn(&code.learn);
            }
            AuthWay::Oauth2ClientCredentials(client) => {
                for name in ["client_id", "client_secret"] {
                    if !client.fields.iter().any(|field| field.name == name) {
                        self.wrong("fields", format!("there is no `{name}`"));
                    }
                }
                self.url("token_url", Some(&client.token_url));
                self.url("revoke_url", client.revoke_url.as_ref());
                self.texts("token_params", client.token_params.values());
                self.texts("token_headers", client.token_headers.values());
                self.token_at(&client.token_at);
                self.learn(&client.learn);
            }
            AuthWay::ApiKey(_) | AuthWay::Bearer(_) => {}
            AuthWay::Basic(basic) => self.texts("username", [&basic.username, &basic.password]),
            AuthWay::JwtBearer(jwt) => self.jwt(jwt),
            AuthWay::TwoStep(two) => self.two_step(two),
        }
    }

    fn send(&mut self, way: &AuthWay) {
        let wants_secret = way.send().iter().any(|one: &Placement| one.value.is_none());
        let has_secret = way.fields().iter().any(|field| field.secret);
        if way.is_static() && wants_secret && !has_secret {
            self.wrong("fields", "none of them is `secret: true`");
        }
        self.texts(
            "send",
            way.send().iter().filter_map(|one| one.value.as_ref()),
        );
    }

    fn jwt(&mut self, jwt: &JwtBearer) {
        self.url("token_url", jwt.token_url.as_ref());
        self.texts("key", [&jwt.key]);
        self.value("header", &Value::Object(jwt.header.clone()));
        self.value("claims", &Value::Object(jwt.claims.clone()));
        self.texts("token_params", jwt.token_params.values());
        self.texts("token_headers", jwt.token_headers.values());
        self.token_at(&jwt.token_at);
    }

    fn two_step(&mut self, two: &TwoStep) {
        let request = &two.request;
        match (&request.url, &request.path) {
            (Some(text), None) => self.url("request/url", Some(text)),
            (None, Some(text)) => self.texts("request/path", [text]),
            _ => self.wrong("request", "needs `url` or `path`, and not both"),
        }
        self.texts("request/headers", request.headers.values());
        if let Some(json) = &request.json {
            self.value("request/json", json);
        }
        self.texts(
            "request/form",
            request.form.iter().flat_map(|form| form.values()),
        );
        self.texts(
            "request/basic",
            request.basic.iter().flat_map(|(name, word)| [name, word]),
        );
        self.token_at(&two.token_at);
        self.learn(&two.learn);
    }

    fn learn(&mut self, learn: &BTreeMap<String, LearnFrom>) {
        for (name, from) in learn {
            if !self.account.iter().any(|field| field.name == *name) {
                self.wrong("learn", format!("`{name}` is no field of the account"));
            }
            match from {
                LearnFrom::Query { .. } => {}
                LearnFrom::Token { token } => self.pointer("learn", token),
                LearnFrom::Call { get, at } => {
                    self.url("learn", Some(get));
                    self.pointer("learn", at);
                }
            }
        }
    }

    fn token_at(&mut self, at: &TokenAt) {
        let all: [&OneOrMore<String>; 5] = [
            &at.access_token,
            &at.refresh_token,
            &at.expires_in,
            &at.refresh_expires_in,
            &at.scope,
        ];
        for pointer in all.into_iter().flat_map(OneOrMore::iter) {
            self.pointer("token_at", pointer);
        }
    }

    fn pointer(&mut self, key: &str, pointer: &str) {
        if !pointer.starts_with('/') {
            self.wrong(
                key,
                format!("`{pointer}` is no JSON pointer; `/{pointer}` may be meant"),
            );
        }
    }

    fn url(&mut self, key: &str, text: Option<&String>) {
        if let Some(text) = text {
            url(
                self.report,
                &format!("{}/{key}", self.place),
                text,
                self.account,
            );
        }
    }

    fn texts<'t>(&mut self, key: &str, texts: impl IntoIterator<Item = &'t String>) {
        for text in texts {
            self.value(key, &Value::String(text.clone()));
        }
    }

    fn value(&mut self, key: &str, value: &Value) {
        let template = match Template::parse(value) {
            Ok(template) => template,
            Err(message) => return self.wrong(key, message),
        };
        for reference in template.references() {
            let name = reference.keys.first().map_or("", String::as_str);
            let known = match reference.root.as_str() {
                "account" => self.account.iter().any(|field| field.name == name),
                "credential" => self.fields.iter().any(|field| field.name == name),
                _ => false,
            };
            if !known {
                self.wrong(
                    key,
                    format!(
                        "`{{{}}}` names no field",
                        path(&reference.root, &reference.keys)
                    ),
                );
            }
        }
    }

    fn wrong(&mut self, key: &str, message: impl Into<String>) {
        let place = format!("{}/{key}", self.place);
        self.report.add(place, message);
    }
}
