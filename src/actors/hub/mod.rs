//! ConnectHub above the database: the data keys of the orgs, the credentials of connections, and consents. What is here is called by the
//! connectors and the API; it is no actor and keeps nothing but caches.
//!
//! | module | what |
//! |---|---|
//! | [`keys`] | data keys: making, rotating, dropping them |
//! | [`credentials`] | sealing and opening what a connection has |
//! | [`apps`] | in whose name people consent |
//! | [`accounts`] | a connection, its provider and its store put together |
//! | [`tokens`] | a credential that is good now, for connectors |
//! | [`consent`] | from a browser's departure to an active connection |
//! | [`typed`] | the same for fields that a person types |
//! | [`housekeeping`] | what nobody waits for |
//! | [`renewing`] | tokens ahead of their end |
//! | [`probing`] | whether accounts still work |
//! | [`telling`] | dead grants: their owners are told, with a link |

pub mod accounts;
pub mod apps;
pub mod consent;
pub mod credentials;
mod housekeeping;
pub mod keys;
pub mod probing;
mod renewing;
mod store;
pub mod telling;
pub mod tokens;
pub mod typed;

#[cfg(test)]
mod tests;

pub use housekeeping::run as keep_house;
pub use probing::run as probe;
pub use renewing::run as renew;
pub use telling::run as tell;

use super::{catalogs::Catalogs, clock::Clock};
use crate::{
    connect::{
        BadParams, HttpCaller, Integration, Vault, VaultError,
        catalog::AuthWay,
        oauth::{Auth0Tokens, Misconfigured, NoRandomness, OperatorApps, StoredTokens},
    },
    domain::{ConnectionId, OrgId, Timestamp},
    persistence::{Db, DbError, Fence},
};
use credentials::CredentialError;
use std::sync::Arc;

/// What this needs of the node.
#[derive(Clone)]
pub struct HubParts {
    pub db: Db,
    /// Under which this node renews.
    pub fence: Fence,
    pub vault: Arc<Vault>,
    /// What each org has, its own integrations too.
    pub catalogs: Catalogs,
    pub http: HttpCaller,
    pub clock: Clock,
    /// The operator's apps at providers.
    pub apps: Arc<OperatorApps>,
}

/// The way to every credential of the node's orgs.
pub struct Hub {
    parts: HubParts,
    stored: StoredTokens,
    auth0: Auth0Tokens,
}

/// Why a connection cannot be made or used. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// Not in the catalog, or not any more.
    #[error("there is no integration `{0}`")]
    NoIntegration(String),
    #[error("{integration} has no way `{way}`; it has {known}")]
    NoWay {
        integration: String,
        way: String,
        known: String,
    },
    /// Something that was given does not fit; `0` names it.
    #[error(transparent)]
    BadParams(#[from] BadParams),
    /// The app, the catalog or the provider's settings must be changed first.
    #[error("{0}")]
    Misconfigured(#[from] Misconfigured),
    /// The redirect address is not one that was registered here.
    #[error(
        "`{0}` is not a redirect address of this org's app; an admin can add it to the oauth client"
    )]
    RedirectUri(String),
    /// The provider does not accept what it was given.
    #[error("{0}")]
    Refused(String),
    /// Another account than the one that the connection was made for.
    #[error("this is {found}, and the connection is for {known}: connect it under another name")]
    OtherAccount { known: String, found: String },
    /// It may work in a moment.
    #[error("{0}")]
    Unavailable(String),
    #[error("the connection was deleted meanwhile")]
    Gone(ConnectionId),
}

impl Hub {
    pub fn new(parts: HubParts) -> Self {
        let clock = parts.clock.clone();
        let now: crate::connect::oauth::Now = Arc::new(move || clock.now());
        let apps = Arc::new(apps::Apps(parts.clone()));
        Self {
            stored: StoredTokens::new(now.clone()),
            auth0: Auth0Tokens::new(parts.http.clone(), apps, now),
            parts,
        }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// One of the built-in integrations, or of those that the org has added.
    ///
    /// # Errors
    /// `NoIntegration`, or the org's catalog cannot be read.
    pub async fn integration(&self, org: OrgId, id: &str) -> Result<Arc<Integration>, HubError> {
        let catalog = self.parts.catalogs.of(org).await?;
        let found = catalog.shared(id).cloned();
        found.ok_or_else(|| HubError::NoIntegration(id.into()))
    }
}

/// The way with this id, or the integration's default one.
///
/// # Errors
/// `NoWay` with those that there are.
pub fn way_of<'a>(integration: &'a Integration, id: Option<&str>) -> Result<&'a AuthWay, HubError> {
    integration.way(id).ok_or_else(|| {
        let known: Vec<&str> = integration.auth.iter().map(AuthWay::id).collect();
        HubError::NoWay {
            integration: integration.name.clone(),
            way: id.unwrap_or_default().into(),
            known: known.join(", "),
        }
    })
}
