//! Reading a token endpoint's answer. Pure.

use super::{
    outcome::{Granted, TokenOutcome},
    secret::Secret,
};
use crate::{
    connect::{
        catalog::auth::{ExpiresUnit, LearnFrom, OneOrMore, TokenAt, TokenErrors},
        json,
    },
    domain::Timestamp,
};
use chrono::DateTime;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// Codes and descriptions of providers are shown to people; longer ones are cut here.
const TEXT_MAX: usize = 200;
/// Numbers beyond this are no lifetimes: a hundred years.
const SECONDS_MAX: f64 = 3_200_000_000.0;
/// From here on a number of seconds is a second since 1970, and from there on a millisecond.
const UNIX_FROM: f64 = 1e9;
const UNIX_MS_FROM: f64 = 1e11;
/// Codes that speak of the app and not of the grant.
const APP_CODES: [&str; 12] = [
    "invalid_client",
    "invalid_client_id",
    "bad_client_secret",
    "bad_redirect_uri",
    "incorrect_client_credentials",
    "redirect_uri_mismatch",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_request",
    "invalid_target",
    "invalid_client_secret",
];
/// Codes that refuse the credentials that a person gave, where those are what is exchanged.
const CREDENTIAL_CODES: [&str; 4] = [
    "invalid_client",
    "unauthorized_client",
    "invalid_grant",
    "access_denied",
];

/// Codes that ask for patience, whatever the status.
const PASSING_CODES: [&str; 4] = [
    "temporarily_unavailable",
    "slow_down",
    "server_error",
    "rate_limit_exceeded",
];

/// How to read the answers of one way.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub token_at: TokenAt,
    pub errors: TokenErrors,
    /// When the answer does not say how long the token lives.
    pub expires_default: Option<Duration>,
    pub learn: BTreeMap<String, LearnFrom>,
    /// What is exchanged was typed by a person, so that a refusal of it is for that person to mend.
    pub typed_by_person: bool,
    /// What is exchanged is good once, so that a refusal is final whatever its code.
    pub good_once: bool,
    /// What was sent and must not come back in a text.
    pub secrets: Vec<Secret>,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
    pub content_type: Option<&'a str>,
    pub retry_after: Option<Duration>,
}

impl Reading {
    pub fn read(&self, answer: Answer<'_>, now: Timestamp) -> TokenOutcome {
        // Some providers answer in the form of a query string unless they are asked nicely.
        let body = json::read_as(answer.body, answer.content_type)
            .ok()
            .or_else(|| from_form(answer.body))
            .unwrap_or(Value::Null);
        let is_good = (200..300).contains(&answer.status) && !self.is_flagged(&body);
        match first_text(&self.token_at.access_token, &body) {
            Some(token) if is_good => self.granted(token, &body, now),
            _ => self.refused(answer, &body),
        }
    }

    fn is_flagged(&self, body: &Value) -> bool {
        let flag = self.errors.ok_flag.as_deref();
        flag.is_some_and(|pointer| body.pointer(pointer) == Some(&Value::Bool(false)))
    }

    fn granted(&self, token: String, body: &Value, now: Timestamp) -> TokenOutcome {
        let at = &self.token_at;
        let told = at.expires_in.iter().find_map(|place| body.pointer(place));
        let expires_at = told
            .and_then(|value| end_of(value, at.expires_unit, now))
            .or_else(|| self.expires_default.map(|lifetime| now.after(lifetime)));
        TokenOutcome::Granted(Box::new(Granted {
            access_token: token.into(),
            refresh_token: first_text(&at.refresh_token, body).map(Secret::from),
            expires_at,
            scopes: at
                .scope
                .iter()
                .find_map(|place| scopes(body.pointer(place)?)),
            learned: self.learned(body),
        }))
    }

    fn learned(&self, body: &Value) -> Map<String, Value> {
        let fields = self.learn.iter().filter_map(|(field, from)| match from {
            LearnFrom::Token { token } => {
                let value = body.pointer(token).filter(|value| !value.is_null())?;
                Some((field.clone(), value.clone()))
            }
            _ => None,
        });
        fields.collect()
    }

    fn refused(&self, answer: Answer<'_>, body: &Value) -> TokenOutcome {
        let code = first_text(&self.errors.code, body).unwrap_or_default();
        let reason = self.reason(answer.status, &code, body);
        if self.errors.dead_grant.contains(&code) || self.refuses_a_person(answer.status, &code) {
            return TokenOutcome::DeadGrant { reason };
        }
        let is_refusal = answer.status == 429 || PASSING_CODES.contains(&code.as_str());
        if is_refusal || answer.status == 408 || answer.status >= 500 {
            return TokenOutcome::Transient {
                reason,
                retry_after: answer.retry_after,
                unsure: !is_refusal,
            };
        }
        let is_success = (200..300).contains(&answer.status);
        if self.good_once && is_success && !code.is_empty() {
            return TokenOutcome::DeadGrant { reason };
        }
        if APP_CODES.contains(&code.as_str()) || !is_success {
            return TokenOutcome::Misconfigured { detail: reason };
        }
        // Status 200, no token, and a code that says nothing to us: taken for a passing failure, as the catalog promises.
        TokenOutcome::Transient {
            reason,
            retry_after: answer.retry_after,
            unsure: code.is_empty(),
        }
    }

    fn refuses_a_person(&self, status: u16, code: &str) -> bool {
        self.typed_by_person
            && (matches!(status, 401 | 403) || CREDENTIAL_CODES.contains(&code))
            && !PASSING_CODES.contains(&code)
    }

    /// For example `the token endpoint answered 400: invalid_grant: Token has been revoked`.
    fn reason(&self, status: u16, code: &str, body: &Value) -> String {
        let description = body["error_description"].as_str().unwrap_or_default();
        let told = [code, description].map(|text| self.printable(text));
        let told: Vec<String> = told.into_iter().filter(|text| !text.is_empty()).collect();
        match told.is_empty() {
            true => format!("the token endpoint answered {status}"),
            false => format!("the token endpoint answered {status}: {}", told.join(": ")),
        }
    }

    /// A provider's text without control characters, cut, and nothing at all if it quotes what was sent.
    fn printable(&self, text: &str) -> String {
        let quotes =
            |secret: &Secret| !secret.expose().is_empty() && text.contains(secret.expose());
        if self.secrets.iter().any(quotes) {
            return String::new();
        }
        text.chars()
            .filter(|c| !c.is_control())
            .take(TEXT_MAX)
            .collect()
    }
}

fn first_text(places: &OneOrMore<String>, body: &Value) -> Option<String> {
    places.iter().find_map(|place| match body.pointer(place)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    })
}

/// When a token ends, as the answer says it; what cannot be a lifetime counts as not said.
fn end_of(value: &Value, unit: ExpiresUnit, now: Timestamp) -> Option<Timestamp> {
    // Some write the number as a text, and some a date where others count.
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().parse() {
            Ok(number) => number,
            Err(_) => return date(text.trim()),
        },
        _ => return None,
    };
    let unit = match unit {
        // A lifetime of 31 years is a moment.
        ExpiresUnit::S | ExpiresUnit::AtRfc3339 if number >= UNIX_MS_FROM => ExpiresUnit::AtUnixMs,
        ExpiresUnit::S | ExpiresUnit::AtRfc3339 if number >= UNIX_FROM => ExpiresUnit::AtUnixS,
        ExpiresUnit::AtRfc3339 => ExpiresUnit::S,
        unit => unit,
    };
    let seconds = match unit {
        ExpiresUnit::S | ExpiresUnit::AtUnixS => number,
        _ => number / 1_000.0,
    };
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return None;
    }
    let span = Duration::from_secs_f64(seconds);
    match unit {
        ExpiresUnit::AtUnixS | ExpiresUnit::AtUnixMs => Some(Timestamp::default().after(span)),
        // Nothing lives for no time at all: it means that nothing is said.
        _ if span.is_zero() => None,
        _ => Some(now.after(span)),
    }
}

fn date(text: &str) -> Option<Timestamp> {
    let http = || {
        let date = DateTime::parse_from_rfc2822(text).ok()?;
        Some(Timestamp::from_micros(date.timestamp_micros()))
    };
    Timestamp::parse(text).or_else(http)
}

/// A list, or a text with blanks or commas between the scopes.
fn scopes(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(
            text.split([' ', ','])
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect(),
        ),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

/// `a=1&b=2` as an object of texts.
fn from_form(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if !text.contains('=') || text.contains(['<', '{', '\n']) {
        return None;
    }
    let url = reqwest::Url::parse(&format!("http://form/?{text}")).ok()?;
    let fields = url
        .query_pairs()
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())));
    Some(Value::Object(fields.collect()))
}

#[cfg(test)]
mod tests;
