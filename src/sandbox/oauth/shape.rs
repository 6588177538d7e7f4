//! What the providers' token endpoints say, each in its own words.

use super::{
    settings::Settings,
    state::Actor,
    token::{Granted, TokenError, TokenRequest},
};
use crate::sandbox::{
    call::{Answer, Provider},
    seed, urlencoded,
};
use serde_json::{Map, Value, json};

/// 101 days.
const QUICKBOOKS_REFRESH_SECONDS: u64 = 8_726_400;
/// Half a year.
const GITHUB_REFRESH_SECONDS: u64 = 15_811_200;

pub(super) fn granted(request: &TokenRequest, granted: &Granted, settings: &Settings) -> Answer {
    let told = settings.expires_in_is_told;
    let expires_in = settings.access_ttl_seconds.filter(|_| told);
    let body = match request.integration {
        Provider::Slack => slack(granted, expires_in),
        provider => others(provider, granted, expires_in),
    };
    let answer = if request.integration == Provider::Github && !request.wants_json {
        as_form(&body)
    } else {
        Answer::ok(body)
    };
    no_store(answer)
}

/// Access and refresh token with what every provider says beside them.
fn pair(granted: &Granted, actor: Actor, expires_in: Option<u64>) -> Option<Map<String, Value>> {
    let tokens = granted.tokens.iter().find(|one| one.actor == actor)?;
    let mut pair = Map::new();
    pair.insert("access_token".into(), json!(tokens.access));
    if let Some(seconds) = expires_in {
        pair.insert("expires_in".into(), json!(seconds));
    }
    if let Some(refresh) = &tokens.refresh {
        pair.insert("refresh_token".into(), json!(refresh));
    }
    Some(pair)
}

/// The app's token stands at the top, the person's under `authed_user`; a refresh of the latter stands at the top too.
fn slack(granted: &Granted, expires_in: Option<u64>) -> Value {
    let consent = &granted.grant.consent;
    let app = pair(granted, Actor::App, expires_in);
    let person = pair(granted, Actor::User, expires_in);
    let mut body = json!({
        "ok": true, "app_id": seed::APP_ID, "team": {"id": seed::TEAM_ID, "name": "Demo"}, "enterprise": null,
        "is_enterprise_install": false, "authed_user": {"id": consent.user},
    });
    let mut put = |tokens: Map<String, Value>, kind: &str, scope: &str, at_top: bool| {
        let place = if at_top {
            &mut body
        } else {
            &mut body["authed_user"]
        };
        for (name, value) in tokens {
            place[name] = value;
        }
        place["token_type"] = json!(kind);
        place["scope"] = json!(scope);
    };
    if let Some(tokens) = app {
        put(tokens, "bot", &consent.scope, true);
    }
    if let Some(tokens) = person {
        put(tokens, "user", &consent.user_scope, granted.refreshed);
    }
    if body.get("token_type").is_some_and(|kind| kind == "bot") {
        body["bot_user_id"] = json!(seed::BOT);
    }
    body
}

fn others(provider: Provider, granted: &Granted, expires_in: Option<u64>) -> Value {
    let found = pair(granted, Actor::User, expires_in);
    let found = found.or_else(|| pair(granted, Actor::App, expires_in));
    let mut body = Value::Object(found.unwrap_or_default());
    let has_refresh = body.get("refresh_token").is_some();
    let scope = json!(granted.grant.consent.scope);
    match provider {
        Provider::Quickbooks => {
            body["token_type"] = json!("bearer");
            if has_refresh {
                body["x_refresh_token_expires_in"] = json!(QUICKBOOKS_REFRESH_SECONDS);
            }
        }
        Provider::Github => {
            body["token_type"] = json!("bearer");
            body["scope"] = scope;
            if has_refresh {
                body["refresh_token_expires_in"] = json!(GITHUB_REFRESH_SECONDS);
            }
        }
        Provider::Stripe => {
            body["token_type"] = json!("bearer");
            body["scope"] = scope;
            body["livemode"] = json!(false);
            body["stripe_user_id"] = json!(seed::STRIPE_ACCOUNT);
        }
        Provider::Slack | Provider::Gmail => {
            body["token_type"] = json!("Bearer");
            body["scope"] = scope;
        }
    }
    body
}

pub(super) fn denied(request: &TokenRequest, error: TokenError) -> Answer {
    let plain = || json!({"error": error.code(), "error_description": error.reason()});
    let answer = match request.integration {
        Provider::Slack => Answer::ok(json!({"ok": false, "error": slack_code(error)})),
        Provider::Github => {
            let body = json!({
                "error": github_code(error), "error_description": error.reason(),
                "error_uri": "https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors",
            });
            if request.wants_json {
                Answer::ok(body)
            } else {
                as_form(&body)
            }
        }
        _ if error.code() == "invalid_client" => {
            let answer = Answer::new(401, plain());
            if request.basic.is_some() {
                answer.with_header("www-authenticate", "Basic realm=\"token\"")
            } else {
                answer
            }
        }
        _ => Answer::new(400, plain()),
    };
    no_store(answer)
}

fn slack_code(error: TokenError) -> &'static str {
    match error {
        TokenError::InvalidRequest(_) => "invalid_arguments",
        TokenError::UnknownClient => "invalid_client_id",
        TokenError::BadSecret => "bad_client_secret",
        TokenError::UnauthorizedClient | TokenError::UnsupportedGrantType => "invalid_grant_type",
        TokenError::InvalidCode | TokenError::CodeExpired => "invalid_code",
        TokenError::CodeUsed => "code_already_used",
        TokenError::RedirectMismatch => "bad_redirect_uri",
        TokenError::BadVerifier => "invalid_code_verifier",
        TokenError::InvalidRefresh
        | TokenError::RefreshExpired
        | TokenError::RefreshReused
        | TokenError::GrantEnded => "invalid_refresh_token",
    }
}

fn github_code(error: TokenError) -> &'static str {
    match error {
        TokenError::UnknownClient | TokenError::BadSecret => "incorrect_client_credentials",
        TokenError::RedirectMismatch => "redirect_uri_mismatch",
        TokenError::InvalidCode
        | TokenError::CodeExpired
        | TokenError::CodeUsed
        | TokenError::BadVerifier => "bad_verification_code",
        TokenError::InvalidRefresh
        | TokenError::RefreshExpired
        | TokenError::RefreshReused
        | TokenError::GrantEnded => "bad_refresh_token",
        other => other.code(),
    }
}

/// What the revocation endpoint says when it did as told.
pub(super) fn revoked(provider: Provider) -> Answer {
    match provider {
        Provider::Slack => Answer::ok(json!({"ok": true, "revoked": true})),
        Provider::Github => Answer::new(204, Value::Null),
        Provider::Stripe => Answer::ok(json!({"stripe_user_id": seed::STRIPE_ACCOUNT})),
        Provider::Quickbooks | Provider::Gmail => Answer::ok(json!({})),
    }
}

fn as_form(body: &Value) -> Answer {
    let pairs: Vec<(String, String)> = body
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let text = Value::String(urlencoded::encode(&pairs));
    Answer::ok(text).with_header(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    )
}

fn no_store(answer: Answer) -> Answer {
    answer
        .with_header("cache-control", "no-store")
        .with_header("pragma", "no-cache")
}
