//! Consent: a browser departs for the provider with a state that is good once, and comes back with a code that becomes a credential.

use super::{
    Hub, HubError, keys::KIND_OAUTH_STATE, store::scopes_json, typed::NewCredential, way_of,
};
use crate::{
    connect::{
        Account, Integration, SecretPlace,
        catalog::{
            AuthWay,
            auth::{LearnFrom, fill_text},
        },
        oauth::{
            Credential, Grant, Granted, OauthApp, Provider, Secret, TokenOutcome, hash_of,
            pkce_challenge, random_text,
        },
    },
    domain::{LinkId, OrgId, Timestamp},
    persistence::{
        ConnectionRow, OauthStateRow, Sealed, connection_get, connection_put, oauth_state_insert,
    },
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// How long a person may take at the provider.
pub const STATE_TIME: Duration = Duration::from_secs(600);

/// What a consent is begun with.
pub struct Departure<'a> {
    /// The connection that is to become active; `is_new`: it is not in the database yet.
    pub row: ConnectionRow,
    pub is_new: bool,
    /// `None`: the integration's default.
    pub way: Option<&'a str>,
    /// Who begins it.
    pub user: Option<&'a str>,
    /// `None`: those that the catalog asks for.
    pub scopes: Option<Vec<String>>,
    /// Our callback; taken where `redirect_uri` is `None`.
    pub callback: String,
    /// One of the app's own.
    pub redirect_uri: Option<&'a str>,
    /// What is known of the account before.
    pub account: Map<String, Value>,
    /// The cookie of the browser that departs, where we see the browser.
    pub browser: Option<&'a Secret>,
    pub link: Option<LinkId>,
}

/// Where to send the browser.
#[derive(Debug)]
pub struct Departed {
    pub authorize_url: String,
    /// Stands in the URL too; for whoever brings the code back themselves.
    pub state: Secret,
    pub expires: Timestamp,
}

/// A browser that came back, with a state that was good.
pub struct Arrival<'a> {
    pub state: &'a OauthStateRow,
    pub code: &'a Secret,
    /// The callback's other parameters.
    pub query: &'a BTreeMap<String, String>,
}

impl Hub {
    /// Begins a consent.
    ///
    /// # Errors
    /// What is missing or does not fit; nothing is left behind then.
    pub async fn depart(&self, departure: Departure<'_>) -> Result<Departed, HubError> {
        let row = &departure.row;
        let integration = self.integration(row.org_id, &row.integration).await?;
        let integration = &*integration;
        let way = code_way(integration, departure.way)?;
        let app = self.app(row.org_id, &integration.id).await?;
        let account = account_before(integration, way, row, app.as_ref(), &departure.account)?;
        let redirect_uri = redirect_uri(&departure, app.as_ref())?;
        let scopes = departure.scopes.clone().unwrap_or_else(|| match way {
            AuthWay::Oauth2Code(way) => way.scopes.clone(),
            _ => Vec::new(),
        });
        let (state, verifier) = (random_text()?, verifier(way)?);
        let challenge = verifier.as_ref().map(pkce_challenge);
        let provider = Provider {
            integration,
            way,
            app: app.as_ref(),
            account: &account,
        };
        let url = provider.authorize_url(&state, &redirect_uri, &scopes, challenge.as_deref())?;
        let now = self.now();
        let state_row = OauthStateRow {
            org_id: row.org_id,
            state_hash: hash_of(state.expose()),
            connection_id: row.id,
            integration: integration.id.clone(),
            way: way.id().into(),
            user_id: departure.user.map(str::to_owned),
            sealed_verifier: self.seal_verifier(row.org_id, &state, verifier).await?,
            redirect_uri,
            scopes: scopes_json(&scopes),
            account: Value::Object(departure.account.clone()).to_string(),
            browser_hash: departure.browser.map(|cookie| hash_of(cookie.expose())),
            link_id: departure.link,
            created: now,
            expires: now.after(STATE_TIME),
        };
        let mut tx = self.parts.db.begin(row.org_id).await?;
        if departure.is_new {
            connection_put(&mut tx, row).await?;
        }
        oauth_state_insert(&mut tx, &state_row).await?;
        tx.commit().await?;
        Ok(Departed {
            authorize_url: url.into(),
            state,
            expires: state_row.expires,
        })
    }

    async fn seal_verifier(
        &self,
        org: OrgId,
        state: &Secret,
        verifier: Option<Secret>,
    ) -> Result<Sealed, HubError> {
        let Some(verifier) = verifier else {
            return Ok(Sealed(Vec::new()));
        };
        let id = hex(&hash_of(state.expose()));
        let sealed = self
            .parts
            .vault
            .seal(verifier.expose().as_bytes(), place(org, &id));
        Ok(Sealed(sealed.await?))
    }

    /// Ends a consent: exchanges the code, learns what the account is, verifies, and makes the connection active.
    ///
    /// # Errors
    /// Why it came to nothing, in words for people. The connection is then as it was.
    pub async fn arrive(&self, arrival: Arrival<'_>) -> Result<ConnectionRow, HubError> {
        let state = arrival.state;
        let integration = self.integration(state.org_id, &state.integration).await?;
        let integration = &*integration;
        let way = code_way(integration, Some(&state.way))?;
        let mut tx = self.parts.db.begin_read(state.org_id).await?;
        let row = connection_get(&mut tx, state.connection_id).await?;
        drop(tx);
        let row = row.ok_or(HubError::Gone(state.connection_id))?;
        let app = self.app(state.org_id, &integration.id).await?;
        let said = object(&state.account);
        let mut account = account_before(integration, way, &row, app.as_ref(), &said)?;
        let provider = Provider {
            integration,
            way,
            app: app.as_ref(),
            account: &account,
        };
        let verifier = self.open_verifier(state).await?;
        let grant = Grant::Code {
            code: arrival.code.expose(),
            redirect_uri: &state.redirect_uri,
            verifier: verifier.as_ref(),
        };
        let now = self.now();
        let prepared = provider.prepare(grant, now)?;
        let granted = match self.parts.http.obtain(prepared, now).await {
            TokenOutcome::Granted(granted) => *granted,
            TokenOutcome::DeadGrant { reason } => return Err(HubError::Refused(reason)),
            TokenOutcome::Misconfigured { detail } => return Err(HubError::Refused(detail)),
            TokenOutcome::Transient { reason, .. } => return Err(HubError::Unavailable(reason)),
        };
        let learned = granted.learned.clone();
        let credential = credential_of(way, state, granted, now);
        account.data.extend(learned_from_query(way, arrival.query));
        account.data.extend(learned);
        self.learn_by_calls(integration, way, &credential, &mut account)
            .await?;
        self.settle(NewCredential {
            integration,
            way: Some(way),
            row,
            is_new: false,
            credential,
            base_url: app.and_then(|app| app.overrides.base_url),
            account,
            link: state.link_id,
            verify: true,
        })
        .await
    }

    async fn open_verifier(&self, state: &OauthStateRow) -> Result<Option<Secret>, HubError> {
        if state.sealed_verifier.0.is_empty() {
            return Ok(None);
        }
        let id = hex(&state.state_hash);
        let place = place(state.org_id, &id);
        let text = self
            .parts
            .vault
            .open_text(&state.sealed_verifier.0, place)
            .await?;
        Ok(Some(text.expose_secret().into()))
    }

    /// Asks the provider for account fields that only a call tells.
    pub(super) async fn learn_by_calls(
        &self,
        integration: &Integration,
        way: &AuthWay,
        credential: &Credential,
        account: &mut Account,
    ) -> Result<(), HubError> {
        for (field, from) in learning(way) {
            let LearnFrom::Call { get, at } = from else {
                continue;
            };
            let filled = fill_text(get, &Map::new(), &account.data)?.unwrap_or_default();
            let url = match filled.starts_with('/') {
                true => format!("{}{filled}", account.base_url),
                false => filled,
            };
            let placed = credential.placed(integration, account)?;
            let answer = self.parts.http.read_with(&url, &placed).await;
            let told = answer.as_ref().and_then(|answer| answer.pointer(at));
            match told.filter(|value| !value.is_null()) {
                Some(value) => account.data.insert(field.clone(), value.clone()),
                None => {
                    let name = &integration.name;
                    return Err(HubError::Refused(format!("{name} does not tell `{field}`")));
                }
            };
        }
        Ok(())
    }
}

/// The way, if it is one that people consent to in a browser.
fn code_way<'a>(integration: &'a Integration, id: Option<&str>) -> Result<&'a AuthWay, HubError> {
    let by_browser = |way: &&AuthWay| matches!(way, AuthWay::Oauth2Code(_));
    let found = match id {
        Some(id) => Some(way_of(integration, Some(id))?),
        None => integration.auth.iter().find(by_browser),
    };
    found.filter(by_browser).ok_or_else(|| {
        let name = &integration.name;
        HubError::Refused(format!(
            "{name} has no consent page; it is connected by what a person types: POST /v1/connections, or a connect link"
        ))
    })
}

/// Account fields that this way's grant tells, and where.
fn learning(way: &AuthWay) -> &BTreeMap<String, LearnFrom> {
    static NOTHING: BTreeMap<String, LearnFrom> = BTreeMap::new();
    match way {
        AuthWay::Oauth2Code(way) => &way.learn,
        AuthWay::Oauth2ClientCredentials(way) => &way.learn,
        AuthWay::TwoStep(way) => &way.learn,
        _ => &NOTHING,
    }
}

/// The account as it is known before the consent.
fn account_before(
    integration: &Integration,
    way: &AuthWay,
    row: &ConnectionRow,
    app: Option<&OauthApp>,
    said: &Map<String, Value>,
) -> Result<Account, HubError> {
    let mut account: Account = serde_json::from_str(&row.account).unwrap_or_default();
    account.data.extend(said.clone());
    let instead = app.and_then(|app| app.overrides.base_url.clone());
    account.base_url = match instead.or_else(|| row.base_url.clone()) {
        Some(url) => url,
        // It may need what only the consent tells.
        None => integration
            .base_url_for(Some(way), &account.data)
            .unwrap_or_default(),
    };
    Ok(account)
}

fn redirect_uri(departure: &Departure<'_>, app: Option<&OauthApp>) -> Result<String, HubError> {
    match departure.redirect_uri {
        None => Ok(departure.callback.clone()),
        Some(given) if given == departure.callback => Ok(given.to_owned()),
        Some(given) => {
            let is_known = app.is_some_and(|app| {
                app.overrides
                    .redirect_uris
                    .iter()
                    .any(|known| known == given)
            });
            match is_known {
                true => Ok(given.to_owned()),
                false => Err(HubError::RedirectUri(given.into())),
            }
        }
    }
}

fn verifier(way: &AuthWay) -> Result<Option<Secret>, HubError> {
    match way {
        AuthWay::Oauth2Code(way) if way.pkce => Ok(Some(random_text()?)),
        _ => Ok(None),
    }
}

fn credential_of(
    way: &AuthWay,
    state: &OauthStateRow,
    granted: Granted,
    now: Timestamp,
) -> Credential {
    let asked: Vec<String> = serde_json::from_str(&state.scopes).unwrap_or_default();
    let empty = Credential {
        scopes: asked,
        ..Credential::fields(way.id(), BTreeMap::new(), now)
    };
    empty.renewed(granted, now)
}

fn learned_from_query(way: &AuthWay, query: &BTreeMap<String, String>) -> Map<String, Value> {
    let fields = learning(way).iter().filter_map(|(field, from)| match from {
        LearnFrom::Query { query: name } => {
            Some((field.clone(), Value::String(query.get(name)?.clone())))
        }
        _ => None,
    });
    fields.collect()
}

pub(super) fn object(text: &str) -> Map<String, Value> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn place(org: OrgId, id: &str) -> SecretPlace<'_> {
    SecretPlace {
        org,
        kind: KIND_OAUTH_STATE,
        id,
        version: 0,
    }
}
