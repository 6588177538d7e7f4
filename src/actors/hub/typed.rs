//! Connections by what a person types: keys, names and passwords, tokens; and the end that every way has: verify, seal, store.

use super::{
    Hub, HubError,
    accounts::renewal_of,
    credentials::seal_credential,
    store::{scopes_json, stored},
    way_of,
};
use crate::{
    connect::{
        Account, BadParams, Integration, Quota,
        catalog::{AuthWay, Verdict},
        oauth::{Credential, Grant, OauthApp, Provider, Secret, TokenOutcome, WAY_AUTH0},
    },
    domain::{LinkId, Timestamp},
    persistence::{
        ConnectionRow, Consented, CredentialSwap, connect_link_complete,
        connection_credential_swap, connection_get, connection_notices_close, connection_put,
    },
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// What is typed is bounded; private keys are the longest.
const FIELD_MAX: usize = 16 * 1024;
/// For the verification call.
const VERIFY_TIME: Duration = Duration::from_secs(20);
/// How often a new credential is stored over one that was renewed at the same moment.
const STORE_ATTEMPTS: u32 = 5;

/// What a person gave.
pub struct Typed<'a> {
    /// The connection that is to become active; `is_new`: it is not in the database yet.
    pub row: ConnectionRow,
    pub is_new: bool,
    /// `None`: the first way that people type something for.
    pub way: Option<&'a str>,
    pub fields: BTreeMap<String, Secret>,
    pub account: Map<String, Value>,
    pub base_url: Option<String>,
    pub quota: Option<Quota>,
    pub link: Option<LinkId>,
    /// Whether the provider is asked if it is right.
    pub verify: bool,
}

/// A credential that is good, for a connection that is to have it.
pub(super) struct NewCredential<'a> {
    pub integration: &'a Integration,
    /// `None`: one that is not of the catalog.
    pub way: Option<&'a AuthWay>,
    pub row: ConnectionRow,
    pub is_new: bool,
    pub credential: Credential,
    pub account: Account,
    pub base_url: Option<String>,
    pub link: Option<LinkId>,
    pub verify: bool,
}

/// Who the account is, as the provider told.
#[derive(Default)]
struct Verified {
    at: Option<Timestamp>,
    name: Option<String>,
    reference: Option<String>,
}

impl Hub {
    /// Makes a connection active with what a person typed.
    ///
    /// # Errors
    /// What is missing or is not accepted; nothing is stored then.
    pub async fn connect_typed(&self, typed: Typed<'_>) -> Result<ConnectionRow, HubError> {
        let (org, id) = (typed.row.org_id, &typed.row.integration);
        let integration = self.integration(org, id).await?;
        let integration = &*integration;
        if typed.way == Some(WAY_AUTH0) {
            return self.connect_auth0(integration, typed).await;
        }
        let way = typed_way(integration, typed.way)?;
        check_fields(way, &typed.fields)?;
        let app = self.app(typed.row.org_id, &integration.id).await?;
        let mut account = account(integration, Some(way), &typed, app.as_ref());
        let credential = Credential::fields(way.id(), typed.fields, self.now());
        let provider = Provider {
            integration,
            way,
            app: app.as_ref(),
            account: &account,
        };
        let credential = match way.is_static() {
            true => credential,
            false => {
                let (credential, learned) = self.first_token(&provider, credential).await?;
                account.data.extend(learned);
                let known = &mut account;
                self.learn_by_calls(integration, way, &credential, known)
                    .await?;
                credential
            }
        };
        self.settle(NewCredential {
            integration,
            way: Some(way),
            row: typed.row,
            is_new: typed.is_new,
            credential,
            base_url: typed
                .base_url
                .or(app.and_then(|app| app.overrides.base_url)),
            account,
            link: typed.link,
            verify: typed.verify,
        })
        .await
    }

    /// The token that the typed credentials are exchanged for, which also shows that they are right, and what its answer told of the account.
    async fn first_token(
        &self,
        provider: &Provider<'_>,
        credential: Credential,
    ) -> Result<(Credential, Map<String, Value>), HubError> {
        let now = self.now();
        let prepared = provider.prepare(Grant::Stored(&credential), now)?;
        match self.parts.http.obtain(prepared, now).await {
            TokenOutcome::Granted(granted) => {
                let learned = granted.learned.clone();
                Ok((credential.renewed(*granted, now), learned))
            }
            TokenOutcome::DeadGrant { reason } => Err(HubError::Refused(reason)),
            TokenOutcome::Misconfigured { detail } => Err(HubError::Refused(detail)),
            TokenOutcome::Transient { reason, .. } => Err(HubError::Unavailable(reason)),
        }
    }

    /// Tokens that Auth0 keeps: what is typed is the user's refresh token there and the name of the connection there.
    async fn connect_auth0(
        &self,
        integration: &Integration,
        typed: Typed<'_>,
    ) -> Result<ConnectionRow, HubError> {
        let known = ["refresh_token", "connection", "login_hint"];
        if let Some(name) = typed
            .fields
            .keys()
            .find(|name| !known.contains(&name.as_str()))
        {
            return Err(unknown_field(name, &known));
        }
        let account = account(integration, None, &typed, None);
        let mut fields = typed.fields;
        let token = fields
            .remove("refresh_token")
            .ok_or_else(|| missing("refresh_token"))?;
        if !fields.contains_key("connection") {
            return Err(missing("connection"));
        }
        let credential = Credential {
            refresh_token: Some(token),
            ..Credential::fields(WAY_AUTH0, fields, self.now())
        };
        self.settle(NewCredential {
            integration,
            way: None,
            row: typed.row,
            is_new: typed.is_new,
            credential,
            base_url: typed.base_url,
            account,
            link: typed.link,
            // Its first token is fetched when it is used: the exchange needs nothing that could be wrong only now.
            verify: false,
        })
        .await
    }

    /// Verifies a credential and puts it in place.
    pub(super) async fn settle(&self, new: NewCredential<'_>) -> Result<ConnectionRow, HubError> {
        let mut account = new.account.clone();
        if let Some(url) = &new.base_url {
            account.base_url.clone_from(url);
        }
        if account.base_url.is_empty() {
            account.base_url = new.integration.base_url_for(new.way, &account.data)?;
        }
        complete(new.integration, &account)?;
        let verified = match new.verify {
            true => {
                self.verified(new.integration, &account, &new.credential)
                    .await?
            }
            false => Verified::default(),
        };
        if let (Some(known), Some(found)) = (&new.row.account_ref, &verified.reference)
            && known != found
        {
            let known = new
                .row
                .account_name
                .clone()
                .unwrap_or_else(|| known.clone());
            let found = verified.name.clone().unwrap_or_else(|| found.clone());
            return Err(HubError::OtherAccount { known, found });
        }
        self.store(&new, &account, &verified).await
    }

    /// Asks the provider whether the credential is right, if the catalog knows how.
    async fn verified(
        &self,
        integration: &Integration,
        account: &Account,
        credential: &Credential,
    ) -> Result<Verified, HubError> {
        let (Some(verify), Some(request)) =
            (&integration.verify, integration.verification(account))
        else {
            return Ok(Verified::default());
        };
        let (request, placed) = (request?, credential.placed(integration, account)?);
        let outcome = self.parts.http.call_with(&request, &placed, VERIFY_TIME);
        match verify.judge(&outcome.await) {
            Verdict::Works(account) => Ok(Verified {
                at: Some(self.now()),
                name: account.name,
                reference: account.id,
            }),
            Verdict::Refused(why) => {
                let name = &integration.name;
                Err(HubError::Refused(format!(
                    "{name} does not accept it: {why}"
                )))
            }
            // That a provider is busy says nothing about the credential.
            Verdict::Unknown(why) => {
                tracing::info!(integration = %integration.id, %why, "not verified yet");
                Ok(Verified::default())
            }
        }
    }

    async fn store(
        &self,
        new: &NewCredential<'_>,
        account: &Account,
        verified: &Verified,
    ) -> Result<ConnectionRow, HubError> {
        let (org, id, now) = (new.row.org_id, new.row.id, self.now());
        let account_json = serde_json::to_string(account).unwrap_or_else(|_| "{}".into());
        let scopes = scopes_json(&new.credential.scopes);
        let mut before = new.row.clone();
        for _ in 0..STORE_ATTEMPTS {
            let vault = &self.parts.vault;
            let credential = self.with_refresh_token(new, verified, &before).await?;
            let expected = before.credential_version;
            let sealed = seal_credential(vault, org, id, expected + 1, &credential).await?;
            let swap = CredentialSwap {
                expected,
                sealed: &sealed,
                expires: credential.expires_at,
                refresh_due: renewal_of(new.way).due(id, &credential),
                scopes: Some(&scopes),
                account: None,
                at: now,
                begun: None,
                consent: Some(Consented {
                    way: &new.credential.way,
                    account: &account_json,
                    account_name: verified.name.as_deref(),
                    account_ref: verified.reference.as_deref(),
                    base_url: new.base_url.as_deref(),
                    verified: verified.at,
                }),
            };
            let mut tx = self.parts.db.begin(org).await?;
            if new.is_new {
                connection_put(&mut tx, &new.row).await?;
            }
            let swapped = connection_credential_swap(&mut tx, id, &swap).await?;
            let row = connection_get(&mut tx, id)
                .await?
                .ok_or(HubError::Gone(id))?;
            if swapped {
                if let Some(link) = new.link {
                    connect_link_complete(&mut tx, link, now).await?;
                }
                connection_notices_close(&mut tx, id, now).await?;
                tx.commit().await?;
                return Ok(row);
            }
            // Renewed at this very moment: what a person has just given goes before it.
            before = row;
        }
        Err(HubError::Unavailable(
            "the connection changes all the time".into(),
        ))
    }

    /// The new credential, with the refresh token that is stored if a consent gave none: providers give one with the first consent of an
    /// account and none with the next, and the first stays good. Only where it is certain that it is the same account's.
    async fn with_refresh_token(
        &self,
        new: &NewCredential<'_>,
        verified: &Verified,
        before: &ConnectionRow,
    ) -> Result<Credential, HubError> {
        let mut credential = new.credential.clone();
        let is_same_account =
            verified.reference.is_some() && verified.reference == before.account_ref;
        let may_keep = matches!(new.way, Some(AuthWay::Oauth2Code(_)))
            && before.way == credential.way
            && !before.sealed_credential.0.is_empty();
        if credential.refresh_token.is_none() && may_keep && is_same_account {
            let known = stored(&self.parts.vault, before).await?;
            credential.refresh_token = known.credential.refresh_token;
        }
        Ok(credential)
    }
}

fn account(
    integration: &Integration,
    way: Option<&AuthWay>,
    typed: &Typed<'_>,
    app: Option<&OauthApp>,
) -> Account {
    let before: Account = serde_json::from_str(&typed.row.account).unwrap_or_default();
    let mut data = before.data;
    data.extend(typed.account.clone());
    let instead = app.and_then(|app| app.overrides.base_url.clone());
    let base_url = typed.base_url.clone().or(instead);
    let base_url = base_url.or_else(|| typed.row.base_url.clone());
    let base_url = match base_url {
        Some(url) => url,
        // It may need what only the first token tells.
        None => integration.base_url_for(way, &data).unwrap_or_default(),
    };
    Account {
        base_url,
        data,
        quota: typed.quota.or(before.quota),
    }
}

/// Whether everything is known that calls need.
fn complete(integration: &Integration, account: &Account) -> Result<(), HubError> {
    let data = integration.account_data(account);
    for field in integration
        .account
        .iter()
        .filter(|field| field.is_required())
    {
        if !data.contains_key(&field.name) {
            let place = format!("account.data.{}", field.name);
            return Err(BadParams::new(place, format!("is missing: {}", field.description)).into());
        }
    }
    Ok(())
}

/// The way, if it is one that people type something for.
///
/// # Errors
/// `NoWay`, or that there is none such.
pub fn typed_way<'a>(
    integration: &'a Integration,
    id: Option<&str>,
) -> Result<&'a AuthWay, HubError> {
    let by_hand = |way: &&AuthWay| !matches!(way, AuthWay::Oauth2Code(_));
    let found = match id {
        Some(id) => Some(way_of(integration, Some(id))?),
        None => integration.auth.iter().find(by_hand),
    };
    found.filter(by_hand).ok_or_else(|| {
        let name = &integration.name;
        HubError::Refused(format!(
            "{name} wants a consent in the browser: POST /oauth/start, or a connect link"
        ))
    })
}

fn check_fields(way: &AuthWay, fields: &BTreeMap<String, Secret>) -> Result<(), HubError> {
    let known: Vec<&str> = way
        .fields()
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(unknown_field(name, &known));
    }
    for field in way.fields() {
        let value = fields.get(&field.name).map_or("", Secret::expose);
        if value.is_empty() && !field.optional {
            return Err(missing(&field.name));
        }
        // Line breaks stand in private keys; other control characters nowhere.
        let is_text = value
            .chars()
            .all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
        if value.len() > FIELD_MAX || !is_text {
            let place = format!("fields.{}", field.name);
            let message = format!("must have at most {FIELD_MAX} bytes and no control characters");
            return Err(BadParams::new(place, message).into());
        }
    }
    Ok(())
}

fn missing(name: &str) -> HubError {
    BadParams::new(format!("fields.{name}"), "is missing").into()
}

fn unknown_field(name: &str, known: &[&str]) -> HubError {
    let message = format!("is not known; there is {}", known.join(", "));
    BadParams::new(format!("fields.{name}"), message).into()
}
