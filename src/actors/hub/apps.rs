//! In whose name people consent: the org's own app at the provider, or else the operator's.

use super::{Hub, HubError, HubParts, keys::KIND_OAUTH_CLIENT};
use crate::{
    connect::{
        SecretPlace, Vault, VaultError,
        oauth::{AUTH0, Auth0Apps, OauthApp, Secret},
    },
    domain::{OauthClientId, OrgId},
    persistence::{OauthClientRow, Sealed, oauth_client_find},
};
use async_trait::async_trait;
use secrecy::ExposeSecret;

/// Seals the secret of an org's app for `version` of its row; a public client has none.
///
/// # Errors
/// If the data key cannot be had.
pub async fn seal_secret(
    vault: &Vault,
    org: OrgId,
    client: OauthClientId,
    version: i64,
    secret: Option<&Secret>,
) -> Result<Sealed, VaultError> {
    let Some(secret) = secret else {
        return Ok(Sealed(Vec::new()));
    };
    let id = client.to_string();
    let sealed = vault.seal(secret.expose().as_bytes(), place(org, &id, version));
    Ok(Sealed(sealed.await?))
}

/// # Errors
/// Why it does not open.
pub async fn open_secret(
    vault: &Vault,
    row: &OauthClientRow,
) -> Result<Option<Secret>, VaultError> {
    if row.sealed_secret.0.is_empty() {
        return Ok(None);
    }
    let id = row.id.to_string();
    let place = place(row.org_id, &id, row.secret_version);
    let text = vault.open_text(&row.sealed_secret.0, place).await?;
    Ok(Some(text.expose_secret().into()))
}

fn place(org: OrgId, id: &str, version: i64) -> SecretPlace<'_> {
    SecretPlace {
        org,
        kind: KIND_OAUTH_CLIENT,
        id,
        version,
    }
}

impl Hub {
    /// The app in whose name the org's people consent at an integration.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn app(&self, org: OrgId, integration: &str) -> Result<Option<OauthApp>, HubError> {
        app(&self.parts, org, integration).await
    }
}

async fn app(
    parts: &HubParts,
    org: OrgId,
    integration: &str,
) -> Result<Option<OauthApp>, HubError> {
    let mut tx = parts.db.begin_read(org).await?;
    let row = oauth_client_find(&mut tx, integration).await?;
    drop(tx);
    let Some(row) = row else {
        return Ok(parts.apps.get(integration).cloned());
    };
    Ok(Some(OauthApp {
        client_secret: open_secret(&parts.vault, &row).await?,
        client_id: row.client_id,
        overrides: serde_json::from_str(&row.overrides).unwrap_or_default(),
    }))
}

/// The apps at Auth0, which are registered like those at an integration.
pub(super) struct Apps(pub HubParts);

#[async_trait]
impl Auth0Apps for Apps {
    async fn app(&self, org: OrgId) -> Result<Option<OauthApp>, String> {
        let found = app(&self.0, org, AUTH0).await;
        found.map_err(|error| error.to_string())
    }
}
