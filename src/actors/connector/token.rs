//! What a connector's calls carry: the credential that it holds, as long as it is fresh, and then what the hub gives. Holds it in memory
//! only.

use super::{ConnectorError, connections::Connection, elsewhere};
use crate::{
    actors::{cluster::words::News, core::Core, hub::credentials::open_credential},
    connect::{
        catalog::PlacedSecret,
        token::{Live, TokenError},
    },
};
use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};
use tenure_cluster::NodeIdentity;

/// The credential that was good last.
#[derive(Default)]
pub struct Kept(Mutex<Option<Arc<Live>>>);

impl Kept {
    fn get(&self) -> Option<Arc<Live>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps it, unless a newer one is there.
    pub fn put(&self, live: &Arc<Live>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept
            .as_ref()
            .is_none_or(|kept| kept.version <= live.version)
        {
            *kept = Some(live.clone());
        }
    }

    /// A credential that is good now. Renewing it happens once for everybody who waits.
    pub async fn live(
        &self,
        core: &Core,
        connection: &Connection,
    ) -> Result<Arc<Live>, ConnectorError> {
        let kept = match self.get() {
            Some(kept) => kept,
            None => opened(core, connection).await?,
        };
        let live = match kept.is_fresh(core.clock.now()) {
            true => kept,
            false => core
                .hub
                .live(connection.org, connection.id)
                .await
                .map_err(refused)
                .inspect(|live| changed(core, connection, live))?,
        };
        self.put(&live);
        Ok(live)
    }

    /// Another one than `live`, which the provider did not accept although its time is not over. `None` if nobody can make one: what a
    /// person gave is all that there is.
    pub async fn instead_of(
        &self,
        live: &Live,
        core: &Core,
        connection: &Connection,
    ) -> Result<Option<Arc<Live>>, ConnectorError> {
        let credential = &live.credential;
        if credential.refresh_token.is_none() && credential.expires_at.is_none() {
            return Ok(None);
        }
        let renewed = core
            .hub
            .renewed(connection.org, connection.id, live.version)
            .await
            .map_err(refused)?;
        changed(core, connection, &renewed);
        self.put(&renewed);
        Ok(Some(renewed))
    }
}

/// A token's answer may have told something new of the account, such as another address: what is known of the connection is read again, here
/// and elsewhere. Once a refresh, since `connection` is of the refreshed version then.
fn changed(core: &Core, connection: &Connection, live: &Live) {
    if live.version == connection.credential_version {
        return;
    }
    let (org, integration) = (connection.org, connection.integration.clone());
    core.connectors().forget(org, &integration);
    core.let_others_know(News::Credential {
        org,
        integration,
        id: connection.id,
    });
}

/// A credential for a call whose connector is on another node. Read in the database, where that node has put it.
pub struct Lent {
    /// The version that is good.
    pub version: i64,
    /// The connector's node, which renews it.
    pub by: NodeIdentity,
    /// The last one that was used here.
    pub kept: Arc<Kept>,
}

impl Lent {
    pub async fn live(
        &self,
        core: &Core,
        connection: &Connection,
    ) -> Result<Arc<Live>, ConnectorError> {
        self.at_least(self.version, core, connection).await
    }

    /// As [`Kept::instead_of`], by the node where the connector is: once for everybody.
    pub async fn instead_of(
        &self,
        live: &Live,
        core: &Core,
        connection: &Connection,
    ) -> Result<Option<Arc<Live>>, ConnectorError> {
        let credential = &live.credential;
        if credential.refresh_token.is_none() && credential.expires_at.is_none() {
            return Ok(None);
        }
        let version = elsewhere::renewed(core, self.by, connection, live.version).await?;
        self.at_least(version, core, connection).await.map(Some)
    }

    async fn at_least(
        &self,
        version: i64,
        core: &Core,
        connection: &Connection,
    ) -> Result<Arc<Live>, ConnectorError> {
        if let Some(kept) = self.kept.get().filter(|kept| kept.version >= version) {
            return Ok(kept);
        }
        let live = match connection.credential_version >= version {
            true => opened(core, connection).await?,
            false => {
                let read = core.connectors().read(connection.org, connection.id).await;
                let later = |reason: String| ConnectorError::TokenLater {
                    reason,
                    retry_after: None,
                };
                let read = read.map_err(|error| later(error.to_string()))?;
                let read = read.ok_or_else(|| later("the connection is gone".into()))?;
                opened(core, &read).await?
            }
        };
        self.kept.put(&live);
        Ok(live)
    }
}

async fn opened(core: &Core, connection: &Connection) -> Result<Arc<Live>, ConnectorError> {
    let (org, id, version) = (connection.org, connection.id, connection.credential_version);
    let credential = open_credential(&core.vault, org, id, version, &connection.sealed)
        .await
        .map_err(|error| unusable(&error))?;
    Ok(Arc::new(Live {
        credential,
        version,
    }))
}

/// Where the parts of a credential go in a request.
pub async fn placed(
    live: &Live,
    core: &Core,
    connection: &Connection,
) -> Result<Vec<PlacedSecret>, ConnectorError> {
    let catalog = core.catalogs.of(connection.org).await;
    let catalog = catalog.map_err(|error| ConnectorError::TokenLater {
        reason: error.to_string(),
        retry_after: None,
    })?;
    let integration = catalog
        .integration(&connection.integration)
        .ok_or_else(|| unusable(&"the catalog has its integration no more"))?;
    live.credential
        .placed(integration, &connection.account)
        .map_err(|error| unusable(&error))
}

fn unusable(error: &dyn Display) -> ConnectorError {
    ConnectorError::Token(error.to_string())
}

pub(super) fn refused(error: TokenError) -> ConnectorError {
    match error {
        TokenError::NeedsConsent { reason, .. } => ConnectorError::NeedsConsent(reason),
        TokenError::Unavailable {
            reason,
            retry_after,
            ..
        } => ConnectorError::TokenLater {
            reason,
            retry_after,
        },
        error => unusable(&error),
    }
}
