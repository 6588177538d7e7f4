//! Tokens from Auth0's Token Vault: Auth0 keeps the provider's tokens, and gives one for the user's own refresh token at Auth0.
//!
//! The connection's credential holds that refresh token and, among its fields, the name of the connection at Auth0 (`google-oauth2`) and
//! maybe a `login_hint`. Refresh token rotation must be off for the app at Auth0: the exchange does not give a new one.

use super::{
    answer::Reading,
    app::OauthApp,
    credential::Credential,
    outcome::TokenOutcome,
    provider::{Body, Exchange, Misconfigured, Prepared},
    stored::Now,
};
use crate::{
    connect::{
        HttpCaller,
        catalog::auth::{TokenAt, TokenErrors},
        token::{Held, Live, TokenError, TokenSource},
    },
    domain::{ConnectionId, OrgId},
};
use async_trait::async_trait;
use dashmap::DashMap;
use reqwest::Method;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The way of a connection whose tokens Auth0 keeps, and the name under which its app is registered here.
pub const WAY_AUTH0: &str = "auth0_token_vault";
pub const AUTH0: &str = "auth0";
/// Tokens that are kept; beyond that those that have ended are dropped.
const KEPT_MAX: usize = 10_000;

const GRANT: &str =
    "urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token";
const SUBJECT: &str = "urn:ietf:params:oauth:token-type:refresh_token";
const REQUESTED: &str = "http://auth0.com/oauth/token-type/federated-connection-access-token";

/// Gives the app at Auth0 of an org.
#[async_trait]
pub trait Auth0Apps: Send + Sync {
    /// # Errors
    /// Why it cannot be found out now.
    async fn app(&self, org: OrgId) -> Result<Option<OauthApp>, String>;
}

type Slot = Arc<Mutex<Option<Arc<Live>>>>;

/// Tokens are kept in memory until they end, and nowhere else: Auth0 is asked again after a restart.
pub struct Auth0Tokens {
    http: HttpCaller,
    apps: Arc<dyn Auth0Apps>,
    now: Now,
    kept: DashMap<ConnectionId, Slot>,
}

impl Auth0Tokens {
    pub fn new(http: HttpCaller, apps: Arc<dyn Auth0Apps>, now: Now) -> Self {
        Self {
            http,
            apps,
            now,
            kept: DashMap::new(),
        }
    }

    fn slot(&self, connection: ConnectionId) -> Slot {
        if self.kept.len() >= KEPT_MAX {
            let now = (self.now)();
            self.kept.retain(|_, slot| {
                // One that is locked is being filled.
                slot.try_lock().map_or(true, |held| {
                    held.as_ref().is_some_and(|live| live.is_fresh(now))
                })
            });
        }
        self.kept.entry(connection).or_default().clone()
    }

    async fn exchanged(&self, held: &Held) -> Result<Arc<Live>, TokenError> {
        let connection = held.connection;
        let unavailable = |reason| TokenError::Unavailable {
            connection,
            reason,
            retry_after: None,
        };
        let misconfigured = |detail| TokenError::Misconfigured { connection, detail };
        let app = self.apps.app(held.org).await.map_err(unavailable)?;
        let app =
            app.ok_or_else(|| misconfigured("nobody has registered an app at auth0".into()))?;
        let exchange = exchange(&app, &held.stored.credential)
            .map_err(|error| misconfigured(error.to_string()))?;
        let now = (self.now)();
        match self
            .http
            .obtain(Prepared::Ask(Box::new(exchange)), now)
            .await
        {
            TokenOutcome::Granted(granted) => Ok(Arc::new(Live {
                credential: held.stored.credential.renewed(*granted, now),
                version: held.stored.version,
            })),
            TokenOutcome::DeadGrant { reason } => {
                let store = &held.store;
                let version = held.stored.version;
                let first = store.needs_reauth(version, &reason, now).await;
                Err(TokenError::NeedsConsent {
                    connection,
                    reason,
                    first: first.map_err(|error| unavailable(error.to_string()))?,
                })
            }
            TokenOutcome::Transient {
                reason,
                retry_after,
                ..
            } => Err(TokenError::Unavailable {
                connection,
                reason,
                retry_after,
            }),
            TokenOutcome::Misconfigured { detail } => Err(misconfigured(detail)),
        }
    }
}

#[async_trait]
impl TokenSource for Auth0Tokens {
    async fn live(&self, held: &Held) -> Result<Arc<Live>, TokenError> {
        let slot = self.slot(held.connection);
        // Whoever comes meanwhile waits for the same answer.
        let mut kept = slot.lock().await;
        let now = (self.now)();
        let known = kept
            .as_ref()
            .filter(|live| live.version == held.stored.version && live.is_fresh(now));
        if let Some(live) = known {
            return Ok(live.clone());
        }
        let live = self.exchanged(held).await?;
        *kept = Some(live.clone());
        Ok(live)
    }

    async fn renewed(&self, held: &Held, _: i64) -> Result<Arc<Live>, TokenError> {
        *self.slot(held.connection).lock().await = None;
        self.live(held).await
    }
}

fn exchange(app: &OauthApp, credential: &Credential) -> Result<Exchange, Misconfigured> {
    let lacks = |what: &str| Misconfigured(format!("{what} is missing"));
    let url = app.overrides.token_url.as_deref();
    let url = url.ok_or_else(|| lacks("`token_url` of the app at auth0"))?;
    let secret = app.client_secret.clone();
    let secret = secret.ok_or_else(|| lacks("the client secret of the app at auth0"))?;
    let subject = credential.refresh_token.clone();
    let subject = subject.ok_or_else(|| lacks("`refresh_token` of the connection"))?;
    let name = credential.fields.get("connection");
    let name = name.ok_or_else(|| lacks("`connection`, its name at auth0,"))?;
    let mut form = vec![
        ("grant_type".to_owned(), GRANT.into()),
        ("client_id".into(), app.client_id.as_str().into()),
        ("client_secret".into(), secret.clone()),
        ("subject_token".into(), subject.clone()),
        ("subject_token_type".into(), SUBJECT.into()),
        ("requested_token_type".into(), REQUESTED.into()),
        ("connection".into(), name.clone()),
    ];
    if let Some(hint) = credential.fields.get("login_hint") {
        form.push(("login_hint".into(), hint.clone()));
    }
    let url = url
        .parse()
        .map_err(|_| Misconfigured(format!("`{url}` is no URL")))?;
    Ok(Exchange {
        method: Method::POST,
        url,
        headers: Vec::new(),
        body: Body::Form(form),
        reading: Reading {
            token_at: TokenAt::default(),
            errors: errors(),
            expires_default: None,
            learn: Default::default(),
            typed_by_person: false,
            good_once: false,
            secrets: vec![secret, subject],
        },
    })
}

/// What Auth0 says where the user has no identity at the provider any more, or its own grant has ended.
fn errors() -> TokenErrors {
    let codes = [
        "invalid_grant",
        "federated_connection_refresh_token_not_found",
        "federated_connection_refresh_token_flow_failed",
        "federated_connection_account_not_linked",
        "access_denied",
        "unauthorized",
    ];
    TokenErrors {
        dead_grant: codes.map(String::from).to_vec(),
        ..TokenErrors::default()
    }
}
