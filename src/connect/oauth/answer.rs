//! Reading a token endpoint's answer. Pure.

use super::{
    outcome::{Granted, TokenOutcome},
    secret::Secret,
};
use crate::{
    connect::catalog::auth::{ExpiresUnit, LearnFrom, OneOrMore, TokenAt, TokenErrors},
    domain::Timestamp,
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// Codes and descriptions of providers are shown to people; longer ones are cut here.
const TEXT_MAX: usize = 200;
/// Numbers beyond this are no lifetimes: a hundred years.
const SECONDS_MAX: f64 = 3_200_000_000.0;
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
#[derive(Clone, Debug)]
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
    pub retry_after: Option<Duration>,
}

impl Reading {
    pub fn read(&self, answer: Answer<'_>, now: Timestamp) -> TokenOutcome {
        // Some providers answer in the form of a query string unless they are asked nicely.
        let body = serde_json::from_slice(answer.body)
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
    if unit == ExpiresUnit::AtRfc3339 {
        return Timestamp::parse(value.as_str()?);
    }
    // Some write the number as a text.
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
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
mod tests {
    use super::*;
    use serde_json::json;

    fn reading(section: Value) -> Reading {
        let part = |name: &str| section.get(name).cloned().unwrap_or(json!({}));
        Reading {
            token_at: serde_json::from_value(part("token_at")).unwrap(),
            errors: serde_json::from_value(part("error")).unwrap(),
            expires_default: section["expires_default_seconds"]
                .as_u64()
                .map(Duration::from_secs),
            learn: serde_json::from_value(part("learn")).unwrap(),
            typed_by_person: section["typed"].as_bool().unwrap_or(false),
            good_once: section["once"].as_bool().unwrap_or(false),
            secrets: vec!["s3nt-secret".into()],
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_000_000_000_000)
    }

    fn read(reading: &Reading, status: u16, body: &str) -> TokenOutcome {
        let answer = Answer {
            status,
            body: body.as_bytes(),
            retry_after: Some(Duration::from_secs(7)),
        };
        reading.read(answer, now())
    }

    fn granted(reading: &Reading, body: Value) -> Granted {
        match read(reading, 200, &body.to_string()) {
            TokenOutcome::Granted(granted) => *granted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_plain_answer() {
        let body =
            json!({"access_token": "a", "refresh_token": "r", "expires_in": 3600, "scope": "x y"});
        let got = granted(&reading(json!({})), body);
        assert_eq!(got.access_token, "a".into());
        assert_eq!(got.refresh_token, Some("r".into()));
        assert_eq!(
            got.expires_at,
            Some(now().after(Duration::from_secs(3_600)))
        );
        assert_eq!(got.scopes, Some(vec!["x".into(), "y".into()]));
    }

    #[test]
    fn tokens_stand_at_other_places_too() {
        let slack = reading(json!({
            "token_at": {"access_token": ["/access_token", "/authed_user/access_token"], "scope": ["/authed_user/scope"]},
            "learn": {"team_id": {"token": "/team/id"}, "realm": {"query": "realmId"}},
        }));
        let body = json!({"ok": true, "authed_user": {"access_token": "u", "scope": "a,b"}, "team": {"id": "T1"}});
        let got = granted(&slack, body);
        assert_eq!(got.access_token, "u".into());
        assert_eq!(got.scopes, Some(vec!["a".into(), "b".into()]));
        assert_eq!(Value::Object(got.learned), json!({"team_id": "T1"}));
        assert_eq!(got.expires_at, None);
        let form = read(
            &reading(json!({})),
            200,
            "access_token=gho_1&scope=repo%2Cgist&token_type=bearer",
        );
        assert!(matches!(form, TokenOutcome::Granted(got) if got.access_token == "gho_1".into()));
    }

    #[test]
    fn expiry_is_told_in_many_ways() {
        let at = |seconds| Some(now().after(Duration::from_secs(seconds)));
        for (unit, value, expected) in [
            ("s", json!(60), at(60)),
            ("s", json!("60"), at(60)),
            ("ms", json!(60_000), at(60)),
            ("at_unix_s", json!(1_000_000_060), at(60)),
            ("at_unix_ms", json!(1_000_000_060_000_i64), at(60)),
            ("at_rfc3339", json!("2001-09-09T01:47:40Z"), at(60)),
            ("s", json!(null), at(999)),
            ("s", json!(0), at(999)),
            ("s", json!(-5), at(999)),
            ("s", json!(1e300), at(999)),
            ("at_rfc3339", json!("soon"), at(999)),
        ] {
            let rules = json!({"token_at": {"expires_in": "/expires_in", "expires_unit": unit}, "expires_default_seconds": 999});
            let got = granted(
                &reading(rules),
                json!({"access_token": "a", "expires_in": value}),
            );
            assert_eq!(got.expires_at, expected, "{unit} {value}");
        }
    }

    #[test]
    fn a_failure_kills_the_grant_only_if_it_says_so() {
        let plain = json!({});
        let slack = json!({"error": {"ok_flag": "/ok", "dead_grant": ["token_revoked"]}});
        let typed = json!({"typed": true});
        let once = json!({"once": true, "error": {"ok_flag": "/ok"}});
        for (rules, status, body, expected) in [
            (&plain, 400, r#"{"error":"invalid_grant"}"#, "dead"),
            (&plain, 401, r#"{"error":"invalid_grant"}"#, "dead"),
            (
                &plain,
                400,
                r#"{"error":"temporarily_unavailable"}"#,
                "transient",
            ),
            (
                &plain,
                401,
                r#"{"error":"invalid_client"}"#,
                "misconfigured",
            ),
            (&plain, 404, "<html>", "misconfigured"),
            (&plain, 500, r#"{"error":"internal"}"#, "transient unsure"),
            (&plain, 503, "", "transient unsure"),
            (&plain, 408, "", "transient unsure"),
            (&plain, 429, r#"{"error":"slow_down"}"#, "transient"),
            (&plain, 200, "<html>", "transient unsure"),
            (&plain, 200, r#"{"access_token":""}"#, "transient unsure"),
            (
                &slack,
                200,
                r#"{"ok":false,"error":"token_revoked","access_token":"x"}"#,
                "dead",
            ),
            (
                &slack,
                200,
                r#"{"ok":false,"error":"internal_error"}"#,
                "transient",
            ),
            (
                &slack,
                200,
                r#"{"ok":false,"error":"bad_client_secret"}"#,
                "misconfigured",
            ),
            (&once, 200, r#"{"ok":false,"error":"invalid_code"}"#, "dead"),
            (&typed, 401, r#"{"error":"invalid_client"}"#, "dead"),
            (&typed, 403, "", "dead"),
            (&typed, 400, r#"{"error":"invalid_scope"}"#, "misconfigured"),
            (&typed, 502, "", "transient unsure"),
        ] {
            let found = match read(&reading(rules.clone()), status, body) {
                TokenOutcome::Granted(_) => "granted",
                TokenOutcome::DeadGrant { .. } => "dead",
                TokenOutcome::Transient {
                    unsure: true,
                    retry_after,
                    ..
                } => {
                    assert_eq!(retry_after, Some(Duration::from_secs(7)));
                    "transient unsure"
                }
                TokenOutcome::Transient { .. } => "transient",
                TokenOutcome::Misconfigured { .. } => "misconfigured",
            };
            assert_eq!(found, expected, "{status} {body}");
        }
    }

    #[test]
    fn what_was_sent_does_not_come_back_in_a_text() {
        let body =
            json!({"error": "invalid_grant", "error_description": "no such token s3nt-secret"});
        let outcome = read(&reading(json!({})), 400, &body.to_string());
        assert!(
            !format!("{outcome:?}").contains("s3nt-secret"),
            "{outcome:?}"
        );
        let told = json!({"error": "invalid_grant", "error_description": "it was revoked\u{7}"});
        let outcome = read(&reading(json!({})), 400, &told.to_string());
        assert_eq!(
            outcome,
            TokenOutcome::DeadGrant {
                reason: "the token endpoint answered 400: invalid_grant: it was revoked".into()
            }
        );
    }
}
