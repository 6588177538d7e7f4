//! Credentials that are good now. A connector keeps what it is given for as long as it is fresh, and asks again then.

use super::{Hub, HubError, store::stored};
use crate::{
    connect::{
        Account,
        oauth::{Provider, WAY_AUTH0},
        token::{Held, Live, TokenError, TokenSource},
    },
    domain::{ConnectionId, OrgId},
    persistence::{ConnectionRow, connection_status},
};
use std::sync::Arc;

impl Hub {
    /// A credential of the connection that is good now, renewed if need be: once for everybody who asks meanwhile. It may take as long as a
    /// token endpoint does.
    ///
    /// # Errors
    /// What is missing, and whether a person or time can mend it.
    pub async fn live(
        &self,
        org: OrgId,
        connection: ConnectionId,
    ) -> Result<Arc<Live>, TokenError> {
        let held = self.usable(org, connection).await?;
        self.source(&held).live(&held).await
    }

    /// Another one than that of version `refused`, which the provider did not accept although its time is not over.
    ///
    /// # Errors
    /// As [`Hub::live`].
    pub async fn renewed(
        &self,
        org: OrgId,
        connection: ConnectionId,
        refused: i64,
    ) -> Result<Arc<Live>, TokenError> {
        let held = self.usable(org, connection).await?;
        self.source(&held).renewed(&held, refused).await
    }

    /// Whose the tokens are stands in the connection itself.
    fn source(&self, held: &Held) -> &dyn TokenSource {
        match held.stored.credential.way.as_str() {
            WAY_AUTH0 => &self.auth0,
            _ => &self.stored,
        }
    }

    async fn usable(&self, org: OrgId, connection: ConnectionId) -> Result<Held, TokenError> {
        let unavailable = |error: HubError| TokenError::Unavailable {
            connection,
            reason: error.to_string(),
            retry_after: None,
        };
        let row = super::accounts::read(&self.parts.db, org, connection)
            .await
            .map_err(unavailable)?;
        let row = row.ok_or(TokenError::Missing(connection))?;
        match row.status.as_str() {
            connection_status::ACTIVE => self.held_of(&row).await.map_err(unavailable),
            connection_status::NEEDS_REAUTH => Err(TokenError::NeedsConsent {
                connection,
                reason: row.status_reason.unwrap_or_default(),
                first: false,
            }),
            _ => Err(TokenError::Missing(connection)),
        }
    }
}

impl Hub {
    /// Tells the provider that a connection's token is not needed any more, where it has an ear for that. Nothing depends on it.
    pub async fn give_back(&self, row: &ConnectionRow) {
        let Ok(integration) = self.integration(row.org_id, &row.integration).await else {
            return;
        };
        let Some(way) = integration.way(Some(&row.way)) else {
            return;
        };
        let (Ok(app), Ok(stored)) = (
            self.app(row.org_id, &row.integration).await,
            stored(&self.parts.vault, row).await,
        ) else {
            return;
        };
        let account: Account = serde_json::from_str(&row.account).unwrap_or_default();
        let provider = Provider {
            integration: &integration,
            way,
            app: app.as_ref(),
            account: &account,
        };
        if let Ok(Some(revocation)) = provider.revocation(&stored.credential) {
            let heard = self.parts.http.revoke(&revocation).await;
            tracing::info!(connection = %row.id, heard, "the grant was given back");
        }
    }
}
