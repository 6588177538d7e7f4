//! Credentials of connections as they are sealed in the database.

use super::keys::KIND_CONNECTION;
use crate::{
    connect::{
        SecretPlace, Vault, VaultError,
        oauth::{BadCredential, Credential},
    },
    domain::{ConnectionId, OrgId},
    persistence::Sealed,
};

#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Nobody has consented yet.
    #[error("connection {0} has no credential")]
    Missing(ConnectionId),
    #[error("the credential of connection {connection}: {source}")]
    Vault {
        connection: ConnectionId,
        #[source]
        source: VaultError,
    },
    #[error("connection {connection}: {source}")]
    Unreadable {
        connection: ConnectionId,
        #[source]
        source: BadCredential,
    },
}

impl CredentialError {
    /// Whether the same call may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Vault { source, .. } if source.is_transient())
    }
}

/// Seals a credential for `version` of the connection.
///
/// # Errors
/// If the data key cannot be had.
pub async fn seal_credential(
    vault: &Vault,
    org: OrgId,
    connection: ConnectionId,
    version: i64,
    credential: &Credential,
) -> Result<Sealed, CredentialError> {
    let id = connection.to_string();
    let plain = credential.to_plain();
    let sealed = vault.seal(&plain, place(org, &id, version)).await;
    sealed
        .map(Sealed)
        .map_err(|source| CredentialError::Vault { connection, source })
}

/// Opens the credential that is `version` of the connection.
///
/// # Errors
/// Why it does not open; nothing of it is in the error.
pub async fn open_credential(
    vault: &Vault,
    org: OrgId,
    connection: ConnectionId,
    version: i64,
    sealed: &[u8],
) -> Result<Credential, CredentialError> {
    let Some(envelope) = sealed.first() else {
        return Err(CredentialError::Missing(connection));
    };
    let id = connection.to_string();
    let plain = vault
        .open(sealed, place(org, &id, version))
        .await
        .map_err(|source| CredentialError::Vault { connection, source })?;
    Credential::from_plain(&plain, *envelope)
        .map_err(|source| CredentialError::Unreadable { connection, source })
}

fn place(org: OrgId, id: &str, version: i64) -> SecretPlace<'_> {
    SecretPlace {
        org,
        kind: KIND_CONNECTION,
        id,
        version,
    }
}
