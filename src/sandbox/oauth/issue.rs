//! New codes and tokens, in the dress of their provider.

use super::{
    hash::TokenHash,
    settings::Settings,
    state::{Access, Actor, Change, Consent, Entry, Grant, Refresh},
};
use crate::{domain::Timestamp, sandbox::call::Provider};
use std::time::Duration;

/// Tokens for one actor, in clear: they are in the answer and nowhere else.
pub(super) struct NewTokens {
    pub actor: Actor,
    pub access: String,
    pub refresh: Option<String>,
}

pub(super) fn new_code(provider: Provider) -> String {
    let prefix = match provider {
        Provider::Gmail => "4/",
        Provider::Stripe => "ac_",
        _ => "",
    };
    random_with(prefix)
}

/// New tokens for `actor`, and the changes that make them good.
pub(super) fn issue(
    mut entry: Entry,
    grant: &Grant,
    actor: Actor,
    settings: &Settings,
    with_refresh: bool,
) -> (Entry, NewTokens) {
    let provider = grant.integration;
    let expires = settings.access_ttl_seconds.is_some();
    let tokens = NewTokens {
        actor,
        access: random_with(access_prefix(provider, actor, expires)),
        refresh: with_refresh.then(|| random_with(refresh_prefix(provider))),
    };
    let access = Access {
        grant: grant.id,
        actor,
        expires_at: expiry(entry.at, settings),
        revoked: false,
    };
    entry = entry.changing(Change::Access(TokenHash::of(&tokens.access), access));
    if let Some(token) = &tokens.refresh {
        let refresh = Refresh {
            grant: grant.id,
            actor,
            used_at: None,
            expired: false,
        };
        entry = entry.changing(Change::Refresh(TokenHash::of(token), refresh));
    }
    (entry, tokens)
}

/// For whom an exchanged code gives tokens: at Slack for the app, the person, or both.
pub(super) fn actors(provider: Provider, consent: &Consent) -> Vec<Actor> {
    if provider != Provider::Slack {
        return vec![Actor::User];
    }
    let mut actors = Vec::new();
    if !consent.scope.is_empty() || consent.user_scope.is_empty() {
        actors.push(Actor::App);
    }
    if !consent.user_scope.is_empty() {
        actors.push(Actor::User);
    }
    actors
}

/// Slack and GitHub give a refresh token only with an access token that expires.
pub(super) fn gives_refresh(provider: Provider, consent: &Consent, settings: &Settings) -> bool {
    let needs_expiry = matches!(provider, Provider::Slack | Provider::Github);
    settings.refresh_is_given
        && consent.offline
        && (!needs_expiry || settings.access_ttl_seconds.is_some())
}

fn expiry(at: Timestamp, settings: &Settings) -> Option<Timestamp> {
    settings
        .access_ttl_seconds
        .map(|seconds| at.after(Duration::from_secs(seconds)))
}

fn access_prefix(provider: Provider, actor: Actor, expires: bool) -> &'static str {
    match (provider, actor, expires) {
        (Provider::Slack, Actor::App, true) => "xoxe.xoxb-1-",
        (Provider::Slack, Actor::App, false) => "xoxb-",
        (Provider::Slack, Actor::User, true) => "xoxe.xoxp-1-",
        (Provider::Slack, Actor::User, false) => "xoxp-",
        (Provider::Quickbooks, ..) => "eyJ",
        (Provider::Gmail, ..) => "ya29.",
        (Provider::Github, ..) => "ghu_",
        (Provider::Stripe, ..) => "sk_test_",
    }
}

fn refresh_prefix(provider: Provider) -> &'static str {
    match provider {
        Provider::Slack => "xoxe-1-",
        Provider::Quickbooks => "RT1-",
        Provider::Gmail => "1//0",
        Provider::Github => "ghr_",
        Provider::Stripe => "rt_",
    }
}

fn random_with(prefix: &str) -> String {
    let random: [u8; 24] = rand::random();
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{hex}")
}
