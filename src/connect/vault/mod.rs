//! The vault: secrets of the orgs at rest. Each org has a data key of its own, which a master key wraps; destroying the wrapped key destroys
//! the secrets.
//!
//! A sealed value is bound to where it belongs: `org|kind|id|version`, for a connection the version of its credential, so that neither
//! another row's value nor an older one of the same row opens there. Values from before there were data keys (envelope version 1, see
//! [`super::seal`]) still open and are sealed anew when they are written.
//!
//! Invariants: a value is sealed with the newest key that is not retired, as this node knew it up to [`CURRENT_FOR`] ago; a retired key stays
//! until nothing is sealed with it. Nothing here logs or shows a secret.

mod cache;
mod master;

pub use cache::CURRENT_FOR;
pub use master::{DataKeyBytes, DataKeyName, MasterKey, MasterKeyError, Wrapped};

use super::seal::{
    self, SealError, Sealer, SecretName,
    envelope::{self, HEADER, Header},
};
use crate::domain::OrgId;
use async_trait::async_trait;
use cache::{DataKey, KeyCache};
use rand::{TryRngCore, rngs::OsRng};
use secrecy::{SecretString, zeroize::Zeroizing};
use std::{fmt, sync::Arc};

/// Version of the envelope of what is sealed with a data key.
const VERSION: u8 = 2;

/// What a sealed value is and where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct SecretPlace<'a> {
    pub org: OrgId,
    /// A word of ours: `connection`, `hook`, `oauth_client`, …
    pub kind: &'a str,
    pub id: &'a str,
    /// Of the row, where it has one; else 0.
    pub version: i64,
}

impl SecretPlace<'_> {
    fn text(&self) -> String {
        format!("{}|{}|{}|{}", self.org, self.kind, self.id, self.version)
    }
    /// What the place was called before values had versions.
    fn unversioned(&self) -> SecretName<'_> {
        SecretName {
            org: self.org,
            kind: self.kind,
            id: self.id,
        }
    }
}

/// A data key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    pub version: u32,
    pub wrapped: Wrapped,
}

/// The store of the wrapped keys does not answer, or not as it should.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct KeyStoreError {
    pub reason: String,
    /// It may work in a moment.
    pub transient: bool,
}

/// Where wrapped data keys are kept. Calls are transactions of their own.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The newest key that is not retired.
    async fn current(&self, org: OrgId) -> Result<Option<StoredKey>, KeyStoreError>;
    async fn get(&self, org: OrgId, version: u32) -> Result<Option<StoredKey>, KeyStoreError>;
    /// Adds a key and retires those before it. `false`: the org has this version already.
    async fn add(&self, org: OrgId, key: &StoredKey) -> Result<bool, KeyStoreError>;
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Master(#[from] MasterKeyError),
    #[error("the store of the data keys: {0}")]
    Store(#[from] KeyStoreError),
    /// Shredded with its org, or never there.
    #[error("{org} has no data key {version}: what was sealed with it cannot be read")]
    NoKey { org: OrgId, version: u32 },
}

impl VaultError {
    /// Whether the same call may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.transient,
            Self::Master(MasterKeyError::Unavailable(_)) => true,
            _ => false,
        }
    }
}

/// Seals and opens the secrets of all orgs. Shared by everybody who does.
pub struct Vault {
    master: Arc<dyn MasterKey>,
    /// Opens values from before there were data keys.
    before: Arc<Sealer>,
    store: Arc<dyn KeyStore>,
    cache: KeyCache,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// With master keys that stand in a file or the environment.
    pub fn local(keys: Arc<Sealer>, store: Arc<dyn KeyStore>) -> Self {
        Self::new(keys.clone(), keys, store)
    }

    /// `before` opens what was sealed directly with a master key.
    pub fn new(master: Arc<dyn MasterKey>, before: Arc<Sealer>, store: Arc<dyn KeyStore>) -> Self {
        Self {
            master,
            before,
            store,
            cache: KeyCache::default(),
        }
    }

    /// Seals with the org's newest key; makes its first one if it has none. Not to be called within a transaction that writes: it may
    /// need one itself.
    ///
    /// # Errors
    /// If the key cannot be had.
    pub async fn seal(&self, plain: &[u8], place: SecretPlace<'_>) -> Result<Vec<u8>, VaultError> {
        let key = self.current_key(place.org).await?;
        let header = header_of(key.version);
        Ok(envelope::seal(&key.cipher, header, &place.text(), plain)?)
    }

    /// # Errors
    /// Why it does not open; nothing of the content is in the error.
    pub async fn open(
        &self,
        sealed: &[u8],
        place: SecretPlace<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let header = Header::of(sealed)?;
        match header.version {
            // From before rows had versions, so in a row whose value has been replaced since it is somebody's copy.
            seal::VERSION if place.version != 0 => Err(SealError::Damaged.into()),
            seal::VERSION => Ok(self.before.open(sealed, place.unversioned())?),
            VERSION => {
                let key = self.key(place.org, u32::from_be_bytes(header.key)).await?;
                Ok(envelope::open(&key.cipher, &place.text(), sealed)?)
            }
            other => Err(SealError::UnknownVersion(other).into()),
        }
    }

    /// # Errors
    /// As [`Vault::open`]; `Damaged` too if it is not text.
    pub async fn open_text(
        &self,
        sealed: &[u8],
        place: SecretPlace<'_>,
    ) -> Result<SecretString, VaultError> {
        let plain = self.open(sealed, place).await?;
        let text = std::str::from_utf8(&plain).map_err(|_| SealError::Damaged)?;
        Ok(SecretString::from(text))
    }

    /// Makes a new data key for the org, with which everything is sealed from now on. Gives its version. What was sealed before stays as
    /// it is.
    ///
    /// # Errors
    /// If the key cannot be made.
    pub async fn rotate(&self, org: OrgId) -> Result<u32, VaultError> {
        loop {
            let newest = self.store.current(org).await?;
            let version = newest.map_or(1, |key| key.version + 1);
            if let Some(key) = self.make_key(org, version).await? {
                return Ok(key.version);
            }
        }
    }

    /// The same key, wrapped by the current master key; `None` if it is already.
    ///
    /// # Errors
    /// If either master key is not to be had.
    pub async fn rewrap(
        &self,
        org: OrgId,
        key: &StoredKey,
    ) -> Result<Option<StoredKey>, VaultError> {
        if key.wrapped.master_id == self.master.current().await? {
            return Ok(None);
        }
        let name = DataKeyName {
            org,
            version: key.version,
        };
        let bytes = self.master.unwrap(&key.wrapped, name).await?;
        Ok(Some(StoredKey {
            version: key.version,
            wrapped: self.master.wrap(&bytes, name).await?,
        }))
    }

    /// Whether the master key opens this data key, which is not kept.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check(&self, org: OrgId, key: &StoredKey) -> Result<(), VaultError> {
        let name = DataKeyName {
            org,
            version: key.version,
        };
        self.master.unwrap(&key.wrapped, name).await?;
        Ok(())
    }

    /// The id of the master key under which keys are wrapped.
    ///
    /// # Errors
    /// If its keeper cannot be asked.
    pub async fn master_id(&self) -> Result<String, VaultError> {
        Ok(self.master.current().await?)
    }

    /// The org is gone or its keys have changed: nothing is kept of it here.
    pub fn forget(&self, org: OrgId) {
        self.cache.forget(org);
    }

    async fn current_key(&self, org: OrgId) -> Result<Arc<DataKey>, VaultError> {
        if let Some(version) = self.cache.current(org) {
            return self.key(org, version).await;
        }
        let found = match self.store.current(org).await? {
            Some(key) => self.hold(org, &key).await?,
            None => match self.make_key(org, 1).await? {
                Some(key) => key,
                // Another node was faster.
                None => self.key(org, 1).await?,
            },
        };
        self.cache.set_current(org, found.version);
        Ok(found)
    }

    async fn make_key(&self, org: OrgId, version: u32) -> Result<Option<Arc<DataKey>>, VaultError> {
        let mut bytes = DataKeyBytes::default();
        OsRng
            .try_fill_bytes(bytes.as_mut_slice())
            .map_err(|_| SealError::NoRandomness)?;
        let wrapped = self
            .master
            .wrap(&bytes, DataKeyName { org, version })
            .await?;
        if !self.store.add(org, &StoredKey { version, wrapped }).await? {
            return Ok(None);
        }
        let load = async { Ok::<_, VaultError>(DataKey::new(version, &bytes)) };
        let key = self.cache.get(org, version, load).await?;
        self.cache.set_current(org, version);
        Ok(Some(key))
    }

    async fn key(&self, org: OrgId, version: u32) -> Result<Arc<DataKey>, VaultError> {
        let load = async {
            let stored = self.store.get(org, version).await?;
            self.unwrapped(org, &stored.ok_or(VaultError::NoKey { org, version })?)
                .await
        };
        self.cache.get(org, version, load).await
    }

    async fn hold(&self, org: OrgId, stored: &StoredKey) -> Result<Arc<DataKey>, VaultError> {
        let load = self.unwrapped(org, stored);
        self.cache.get(org, stored.version, load).await
    }

    async fn unwrapped(&self, org: OrgId, stored: &StoredKey) -> Result<DataKey, VaultError> {
        let name = DataKeyName {
            org,
            version: stored.version,
        };
        let bytes = self.master.unwrap(&stored.wrapped, name).await?;
        Ok(DataKey::new(stored.version, &bytes))
    }
}

fn header_of(version: u32) -> Header {
    Header {
        version: VERSION,
        key: version.to_be_bytes(),
    }
}

/// How every value begins that is sealed with this data key.
pub fn prefix_of(version: u32) -> [u8; HEADER] {
    header_of(version).bytes()
}

#[cfg(test)]
mod tests;
