//! Master keys: what wraps the data keys of the orgs. They never leave their keeper, so that a KMS fits here as well as a file.

use crate::{
    connect::seal::{SealError, Sealer, SecretName, envelope::Header, hex},
    domain::OrgId,
};
use async_trait::async_trait;
use secrecy::zeroize::Zeroizing;

/// The 32 bytes of a data key.
pub type DataKeyBytes = Zeroizing<[u8; 32]>;

/// A data key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The master key that opens it.
    pub master_id: String,
    pub bytes: Vec<u8>,
}

/// Which data key it is; the keeper binds it to the wrapped bytes (a KMS: its encryption context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataKeyName {
    pub org: OrgId,
    pub version: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The keeper does not have the key that wrapped it.
    #[error(
        "a data key of {org} is wrapped by master key {wrapped_by}, and the configured master key is {configured}"
    )]
    NotThisKey {
        /// Ids, as [`MasterKey::current`] gives them; several that are configured stand with commas between them.
        wrapped_by: String,
        configured: String,
        org: OrgId,
    },
    /// It was not wrapped for this place, or is damaged.
    #[error("a data key of {org}, wrapped by master key {wrapped_by}, cannot be opened: {reason}")]
    Refused {
        wrapped_by: String,
        org: OrgId,
        reason: String,
    },
    /// It may work in a moment.
    #[error("the keeper of the master key does not answer: {0}")]
    Unavailable(String),
}

#[async_trait]
pub trait MasterKey: Send + Sync {
    /// The id of the master key under which new data keys are wrapped. May look at its source again: it is asked for seldom.
    ///
    /// # Errors
    /// If the keeper cannot be asked.
    async fn current(&self) -> Result<String, MasterKeyError>;

    /// # Errors
    /// If the keeper cannot be asked.
    async fn wrap(&self, key: &DataKeyBytes, name: DataKeyName) -> Result<Wrapped, MasterKeyError>;

    /// # Errors
    /// `NotThisKey` if another key wrapped it, `Refused` if it was wrapped for another place.
    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        name: DataKeyName,
    ) -> Result<DataKeyBytes, MasterKeyError>;
}

/// What a data key is called among the things that are sealed with a master key.
const KIND: &str = "data_key";

/// The keys of a file or of the environment. The file is read by a call that blocks: it is small, and it is read for a key that is not known,
/// and for a new one.
#[async_trait]
impl MasterKey for Sealer {
    async fn current(&self) -> Result<String, MasterKeyError> {
        self.reload().map_err(unavailable)?;
        Ok(self.key_id())
    }

    /// Reads the file first: a process that has run for months knows the master key of its start, and a data key under one that has been
    /// taken out of service since would be lost with it.
    async fn wrap(&self, key: &DataKeyBytes, name: DataKeyName) -> Result<Wrapped, MasterKeyError> {
        self.reload().map_err(unavailable)?;
        let version = name.version.to_string();
        let bytes = self
            .seal(key.as_slice(), secret_name(name, &version))
            .map_err(unavailable)?;
        // From the bytes, since the file may give other keys meanwhile.
        let header = Header::of(&bytes).map_err(unavailable)?;
        Ok(Wrapped {
            master_id: hex(&header.key),
            bytes,
        })
    }

    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        name: DataKeyName,
    ) -> Result<DataKeyBytes, MasterKeyError> {
        let version = name.version.to_string();
        let refused = |reason: String| MasterKeyError::Refused {
            wrapped_by: wrapped.master_id.clone(),
            org: name.org,
            reason,
        };
        let plain = self
            .open(&wrapped.bytes, secret_name(name, &version))
            .map_err(|error| match error {
                SealError::UnknownKey(key) => MasterKeyError::NotThisKey {
                    wrapped_by: hex(&key),
                    configured: self.key_ids().join(", "),
                    org: name.org,
                },
                other => refused(other.to_string()),
            })?;
        let mut key = DataKeyBytes::default();
        if plain.len() != key.len() {
            return Err(refused("it is not 32 bytes long".into()));
        }
        key.copy_from_slice(&plain);
        Ok(key)
    }
}

fn secret_name(name: DataKeyName, version: &str) -> SecretName<'_> {
    SecretName {
        org: name.org,
        kind: KIND,
        id: version,
    }
}

fn unavailable(error: SealError) -> MasterKeyError {
    MasterKeyError::Unavailable(error.to_string())
}
