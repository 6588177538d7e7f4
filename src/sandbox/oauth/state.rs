//! What the authorisation servers know. It follows from the journal's entries and from nothing else.

use super::{Refusal, hash::TokenHash, settings::Settings};
use crate::{domain::Timestamp, sandbox::call::Provider};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// One request, one line: all of it happened or nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogItem>,
}

impl Entry {
    pub fn of(at: Timestamp) -> Self {
        Self {
            at,
            changes: Vec::new(),
            log: None,
        }
    }
    pub fn changing(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
    pub fn logged(mut self, item: LogItem) -> Self {
        self.log = Some(item);
        self
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Settings(Provider, Settings),
    Code(TokenHash, Code),
    CodeUsed {
        code: TokenHash,
        grant: u64,
    },
    Grant(Grant),
    Access(TokenHash, Access),
    /// One access token, its grant lives on.
    AccessRevoked(TokenHash),
    /// All access tokens that a grant has so far.
    AccessesRevoked {
        grant: u64,
    },
    Refresh(TokenHash, Refresh),
    RefreshUsed(TokenHash),
    GrantEnded {
        grant: u64,
        why: String,
    },
    /// Everything of these kinds that the grants hold has expired.
    Expired {
        grants: Vec<u64>,
        access: bool,
        refresh: bool,
    },
}

/// What a person agreed to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Consent {
    /// As it was asked for, with the provider's own separators.
    pub scope: String,
    /// Slack's second list: what the token of the person may do.
    pub user_scope: String,
    /// Who agreed.
    pub user: String,
    /// Whether a refresh token is given at all.
    pub offline: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Code {
    pub integration: Provider,
    pub client_id: String,
    pub redirect_uri: String,
    /// Of PKCE, S256.
    pub challenge: Option<String>,
    pub consent: Consent,
    pub expires_at: Timestamp,
    /// The grant that it was exchanged for.
    pub used_for: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Grant {
    pub id: u64,
    pub integration: Provider,
    pub client_id: String,
    pub consent: Consent,
    /// `authorization_code` or `client_credentials`.
    pub flow: String,
    pub made_at: Timestamp,
    /// Why it is over.
    pub ended: Option<String>,
}

/// For whom a token acts. Only Slack gives both kinds in one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Actor {
    App,
    User,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Access {
    pub grant: u64,
    pub actor: Actor,
    pub expires_at: Option<Timestamp>,
    pub revoked: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Refresh {
    pub grant: u64,
    pub actor: Actor,
    /// When it was exchanged for its successor.
    pub used_at: Option<Timestamp>,
    pub expired: bool,
}

/// A request to a token or revocation endpoint, without a token in clear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::sandbox) struct LogItem {
    pub integration: Provider,
    /// As it was sent; `revoke` at the revocation endpoint.
    pub grant_type: String,
    /// `ok`, the error's OAuth code, or the fault that was met.
    pub outcome: String,
    /// What exactly was wrong, or unusual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<u64>,
    /// Short hash of the code or token that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented: Option<String>,
    /// Short hash of the access token that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<String>,
    /// The fault under which it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    settings: BTreeMap<Provider, Settings>,
    pub codes: HashMap<TokenHash, Code>,
    pub access: HashMap<TokenHash, Access>,
    pub refresh: HashMap<TokenHash, Refresh>,
    pub grants: BTreeMap<u64, Grant>,
    pub log: Vec<(Timestamp, LogItem)>,
}

impl State {
    pub fn settings(&self, provider: Provider) -> Settings {
        let known = self.settings.get(&provider).cloned();
        known.unwrap_or_else(|| Settings::of(provider))
    }
    pub fn next_grant(&self) -> u64 {
        self.grants.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    pub fn apply(&mut self, entry: Entry) {
        for change in entry.changes {
            self.change(entry.at, change);
        }
        if let Some(item) = entry.log {
            self.log.push((entry.at, item));
        }
    }

    fn change(&mut self, at: Timestamp, change: Change) {
        match change {
            Change::Settings(provider, settings) => {
                self.settings.insert(provider, settings);
            }
            Change::Code(hash, code) => {
                self.codes.insert(hash, code);
            }
            Change::CodeUsed { code, grant } => {
                if let Some(code) = self.codes.get_mut(&code) {
                    code.used_for = Some(grant);
                }
            }
            Change::Grant(grant) => {
                self.grants.insert(grant.id, grant);
            }
            Change::Access(hash, access) => {
                self.access.insert(hash, access);
            }
            Change::AccessRevoked(hash) => {
                if let Some(access) = self.access.get_mut(&hash) {
                    access.revoked = true;
                }
            }
            Change::AccessesRevoked { grant } => {
                let of_grant = self.access.values_mut().filter(|one| one.grant == grant);
                of_grant.for_each(|access| access.revoked = true);
            }
            Change::Refresh(hash, refresh) => {
                self.refresh.insert(hash, refresh);
            }
            Change::RefreshUsed(hash) => {
                if let Some(refresh) = self.refresh.get_mut(&hash) {
                    refresh.used_at.get_or_insert(at);
                }
            }
            Change::GrantEnded { grant, why } => {
                if let Some(grant) = self.grants.get_mut(&grant) {
                    grant.ended.get_or_insert(why);
                }
            }
            Change::Expired {
                grants,
                access,
                refresh,
            } => self.expire(at, &grants, access, refresh),
        }
    }

    fn expire(&mut self, at: Timestamp, grants: &[u64], access: bool, refresh: bool) {
        for token in self.access.values_mut() {
            if access && grants.contains(&token.grant) {
                token.expires_at = Some(token.expires_at.map_or(at, |own| own.min(at)));
            }
        }
        for token in self.refresh.values_mut() {
            token.expired |= refresh && grants.contains(&token.grant);
        }
    }

    /// The grant that an access token acts under.
    pub fn access_is_good(
        &self,
        provider: Provider,
        token: &TokenHash,
        at: Timestamp,
    ) -> Result<u64, Refusal> {
        let access = self.access.get(token).ok_or(Refusal::Unknown)?;
        let grant = self.grants.get(&access.grant);
        let grant = grant
            .filter(|grant| grant.integration == provider)
            .ok_or(Refusal::Unknown)?;
        if access.revoked || grant.ended.is_some() {
            return Err(Refusal::Revoked);
        }
        if access.expires_at.is_some_and(|expiry| expiry <= at) {
            return Err(Refusal::Expired);
        }
        Ok(grant.id)
    }

    /// With its newest access token, if it has one.
    pub fn grant_to_json(&self, grant: &Grant, at: Timestamp) -> Value {
        let of_grant = |access: &&Access| access.grant == grant.id;
        let live =
            self.access.values().filter(of_grant).filter(|access| {
                !access.revoked && access.expires_at.is_none_or(|expiry| expiry > at)
            });
        let refresh = self.refresh.values().filter(|refresh| {
            refresh.grant == grant.id && refresh.used_at.is_none() && !refresh.expired
        });
        let over = grant.ended.is_some();
        json!({
            "id": grant.id, "integration": grant.integration, "client_id": grant.client_id, "flow": grant.flow,
            "scope": grant.consent.scope, "user": grant.consent.user, "made_at": grant.made_at, "ended": grant.ended,
            "live_access_tokens": if over { 0 } else { live.count() },
            "live_refresh_tokens": if over { 0 } else { refresh.count() },
        })
    }
}
