//! A connection put together: what is stored of it, where its provider is, and who renews its credential.

use super::{
    Hub, HubError,
    store::{DbStore, Renewal, stored},
};
use crate::{
    connect::{
        Account, HttpCaller, Integration,
        catalog::AuthWay,
        oauth::{Credential, Grant, OauthApp, Provider, TokenEndpoint, TokenOutcome},
        token::Held,
    },
    domain::{ConnectionId, OrgId, Timestamp},
    persistence::{ConnectionRow, Db, connection_get_system},
};
use async_trait::async_trait;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// What a connection knows of its account, with the base URL that calls go to.
///
/// # Errors
/// If the base URL needs a field that the account has not.
pub fn account_of(integration: &Integration, row: &ConnectionRow) -> Result<Account, HubError> {
    let mut account: Account = serde_json::from_str(&row.account).unwrap_or_default();
    account.base_url = match &row.base_url {
        Some(url) => url.clone(),
        None => integration.base_url_for(integration.way(Some(&row.way)), &account.data)?,
    };
    Ok(account)
}

/// When tokens of this way are renewed.
pub(super) fn renewal_of(way: Option<&AuthWay>) -> Renewal {
    let seconds = match way {
        Some(AuthWay::Oauth2Code(way)) => Some(way.refresh_margin_seconds),
        Some(AuthWay::Oauth2ClientCredentials(way)) => Some(way.refresh_margin_seconds),
        Some(AuthWay::JwtBearer(way)) => Some(way.refresh_margin_seconds),
        Some(AuthWay::TwoStep(way)) => Some(way.refresh_margin_seconds),
        _ => None,
    };
    Renewal {
        margin: seconds.map(Duration::from_secs),
        needs_refresh_token: matches!(way, Some(AuthWay::Oauth2Code(_))),
    }
}

fn renewal_in(integration: Option<&Integration>, row: &ConnectionRow) -> Renewal {
    renewal_of(integration.and_then(|integration| integration.way(Some(&row.way))))
}

impl Hub {
    /// The connection as it is stored, and who renews it; `None` if it is not there or nobody has consented yet.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn held(
        &self,
        org: OrgId,
        connection: ConnectionId,
    ) -> Result<Option<Held>, HubError> {
        let row = read(&self.parts.db, org, connection).await?;
        match row {
            Some(row) if !row.sealed_credential.0.is_empty() => Ok(Some(self.held_of(&row).await?)),
            _ => Ok(None),
        }
    }

    pub(super) async fn held_of(&self, row: &ConnectionRow) -> Result<Held, HubError> {
        let parts = &self.parts;
        let catalog = parts.catalogs.of(row.org_id).await?;
        let integration = catalog.shared(&row.integration).cloned();
        let renewal = renewal_in(integration.as_deref(), row);
        let endpoint: Option<Arc<dyn TokenEndpoint>> = match renewal.margin {
            None => None,
            Some(_) => Some(Arc::new(Endpoint {
                http: parts.http.clone(),
                integration: integration.clone(),
                app: self.app(row.org_id, &row.integration).await?,
                row: row.clone(),
            })),
        };
        Ok(Held {
            org: row.org_id,
            connection: row.id,
            stored: stored(&parts.vault, row).await?,
            store: Arc::new(DbStore {
                db: parts.db.clone(),
                fence: parts.fence,
                begun: OnceLock::new(),
                vault: parts.vault.clone(),
                org: row.org_id,
                connection: row.id,
                renewal,
                integration,
            }),
            endpoint,
        })
    }
}

pub(super) async fn read(
    db: &Db,
    org: OrgId,
    connection: ConnectionId,
) -> Result<Option<ConnectionRow>, HubError> {
    let mut tx = db.begin_system_read("a connection is used").await?;
    Ok(connection_get_system(&mut tx, org, connection).await?)
}

/// The provider's token endpoint for one connection.
struct Endpoint {
    http: HttpCaller,
    /// `None`: the org's catalog does not have it any more.
    integration: Option<Arc<Integration>>,
    app: Option<OauthApp>,
    row: ConnectionRow,
}

impl Endpoint {
    fn prepare(
        &self,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<crate::connect::oauth::Prepared, String> {
        let integration = self.integration.as_deref();
        let integration =
            integration.ok_or("the catalog does not have the integration any more")?;
        let way = integration.way(Some(&self.row.way));
        let way = way.ok_or("the catalog does not have the way any more")?;
        let account = account_of(integration, &self.row).map_err(|error| error.to_string())?;
        let provider = Provider {
            integration,
            way,
            app: self.app.as_ref(),
            account: &account,
        };
        let prepared = provider.prepare(Grant::Stored(credential), now);
        prepared.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl TokenEndpoint for Endpoint {
    async fn renew(&self, credential: &Credential, now: Timestamp) -> TokenOutcome {
        let renewal = renewal_in(self.integration.as_deref(), &self.row);
        if renewal.needs_refresh_token && credential.refresh_token.is_none() {
            return TokenOutcome::DeadGrant {
                reason: "the token has ended, and the provider gave none to renew it with".into(),
            };
        }
        match self.prepare(credential, now) {
            Ok(prepared) => self.http.obtain(prepared, now).await,
            Err(detail) => TokenOutcome::Misconfigured { detail },
        }
    }
}
