//! Data keys in the database: making them, changing them while calls flow, and dropping them.
//!
//! A rotation has three steps, each durable and each repeatable: a new key is made and seals from then on; what the old ones sealed is sealed
//! anew, in batches, each value by compare-and-swap of its bytes; a key that nothing is sealed with any more is dropped. What a crash leaves undone the
//! housekeeping does.

use crate::{
    actors::clock::Clock,
    connect::{
        SecretPlace, Vault, VaultError,
        oauth::{BadCredential, Credential},
        seal::{self, Sealer},
        vault::{CURRENT_FOR, KeyStore, KeyStoreError, StoredKey, Wrapped, prefix_of},
    },
    domain::{ConnectionId, HookId, OauthClientId, OrgId, Timestamp},
    persistence::{
        Db, DbError, OrgKeyRow, PageRequest, Sealed, SealedRow, SealedTable, org_key_add,
        org_key_current, org_key_drop_unused, org_key_get, org_key_list, org_key_rewrap,
        org_keys_all, org_keys_by_master, org_keys_retired, org_list, sealed_otherwise,
        sealed_swap,
    },
};
use async_trait::async_trait;
use secrecy::zeroize::Zeroizing;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// The kinds under which secrets are sealed.
pub const KIND_CONNECTION: &str = "connection";
pub const KIND_HOOK: &str = "hook";
pub const KIND_OAUTH_CLIENT: &str = "oauth_client";
pub const KIND_OAUTH_STATE: &str = "oauth_state";

/// Values that one transaction seals anew.
const BATCH: u32 = 100;
/// How long it takes at most from reading the master key to storing what it wrapped.
const WRAPPED_WITHIN: Duration = Duration::from_secs(1);
/// How long a retired key stays at least. A node may seal with it for [`CURRENT_FOR`], and what it sealed is in the database soon after.
const GRACE: Duration = Duration::from_secs(600);
const _: () = assert!(GRACE.as_secs() >= 10 * CURRENT_FOR.as_secs());

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Credential(#[from] BadCredential),
}

/// The vault over this database with these master keys.
pub fn vault(db: &Db, clock: &Clock, sealer: &Arc<Sealer>) -> Arc<Vault> {
    let store = DbKeys {
        db: db.clone(),
        clock: clock.clone(),
    };
    Arc::new(Vault::local(sealer.clone(), Arc::new(store)))
}

/// The table of wrapped keys as the vault wants it.
struct DbKeys {
    db: Db,
    clock: Clock,
}

#[async_trait]
impl KeyStore for DbKeys {
    async fn current(&self, org: OrgId) -> Result<Option<StoredKey>, KeyStoreError> {
        let mut tx = self.db.begin_read(org).await.map_err(store_error)?;
        let row = org_key_current(&mut tx).await.map_err(store_error)?;
        row.map(stored).transpose()
    }

    async fn get(&self, org: OrgId, version: u32) -> Result<Option<StoredKey>, KeyStoreError> {
        let mut tx = self.db.begin_read(org).await.map_err(store_error)?;
        let row = org_key_get(&mut tx, version.into()).await;
        row.map_err(store_error)?.map(stored).transpose()
    }

    async fn add(&self, org: OrgId, key: &StoredKey) -> Result<bool, KeyStoreError> {
        let mut tx = self.db.begin(org).await.map_err(store_error)?;
        let row = row_of(org, key, self.clock.now());
        let added = org_key_add(&mut tx, &row).await.map_err(store_error)?;
        tx.commit().await.map_err(store_error)?;
        Ok(added)
    }
}

fn store_error(error: DbError) -> KeyStoreError {
    KeyStoreError {
        transient: error.is_transient(),
        reason: error.to_string(),
    }
}

fn stored(row: OrgKeyRow) -> Result<StoredKey, KeyStoreError> {
    let version = u32::try_from(row.version).map_err(|_| KeyStoreError {
        reason: format!("data key {} of {} cannot be", row.version, row.org_id),
        transient: false,
    })?;
    Ok(StoredKey {
        version,
        wrapped: Wrapped {
            master_id: row.master_id,
            bytes: row.wrapped.0,
        },
    })
}

fn row_of(org: OrgId, key: &StoredKey, now: Timestamp) -> OrgKeyRow {
    OrgKeyRow {
        org_id: org,
        version: key.version.into(),
        wrapped: Sealed(key.wrapped.bytes.clone()),
        master_id: key.wrapped.master_id.clone(),
        created: now,
        retired: None,
    }
}

/// What a rotation of an org's key did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rotated {
    /// Of the key that seals now.
    pub version: u32,
    /// Values that were sealed anew.
    pub resealed: u64,
    /// Old keys that are still kept; they go by themselves.
    pub kept: usize,
}

/// Gives the org a new data key and seals everything of it anew.
///
/// # Errors
/// Where it stopped; what is left the housekeeping does.
pub async fn rotate_org(
    db: &Db,
    vault: &Vault,
    org: OrgId,
    now: Timestamp,
) -> Result<Rotated, KeysError> {
    let version = vault.rotate(org).await?;
    let resealed = reseal(db, vault, org, version).await?;
    let kept = drop_unused(db, org, now).await?;
    tracing::info!(%org, version, resealed, kept, "the org has a new data key");
    Ok(Rotated {
        version,
        resealed,
        kept,
    })
}

/// What a rotation of the master key did.
#[derive(Clone, Debug, Serialize)]
pub struct MasterRotated {
    /// The master key under which everything is now.
    pub master_id: String,
    /// Data keys that were wrapped anew.
    pub rewrapped: u64,
    /// Values that had been sealed with a master key directly.
    pub resealed: u64,
}

/// Wraps every data key by the current master key. After this the master keys before it are needed no more.
///
/// # Errors
/// Where it stopped; it can be called again.
pub async fn rotate_master(db: &Db, vault: &Vault) -> Result<MasterRotated, KeysError> {
    let mut rewrapped = rewrap_all(db, vault).await?;
    // A service may have looked up the master key just before it was changed, and write what it wrapped just behind us.
    tokio::time::sleep(WRAPPED_WITHIN).await;
    loop {
        match rewrap_all(db, vault).await? {
            0 => break,
            more => rewrapped += more,
        }
    }
    let resealed = reseal_all(db, vault).await?;
    Ok(MasterRotated {
        master_id: vault.master_id().await?,
        rewrapped,
        resealed,
    })
}

/// Whether this process's master keys open the data keys that are in the database: one of each master key is tried. A service with another
/// key would start, and fail at every secret.
///
/// # Errors
/// `Vault` with `NotThisKey` if a master key is missing here.
pub async fn check_master_keys(db: &Db, vault: &Vault) -> Result<(), KeysError> {
    let mut tx = db.begin_system_read("master keys are checked").await?;
    let rows = org_keys_by_master(&mut tx).await?;
    drop(tx);
    for row in rows {
        let org = row.org_id;
        let key = stored(row).map_err(VaultError::from)?;
        vault.check(org, &key).await?;
    }
    Ok(())
}

async fn rewrap_all(db: &Db, vault: &Vault) -> Result<u64, KeysError> {
    let (mut rewrapped, mut after) = (0, (OrgId::from_uuid(Uuid::nil()), 0));
    loop {
        let mut tx = db.begin_system_read("data keys are wrapped anew").await?;
        let page = org_keys_all(&mut tx, after, BATCH).await?;
        drop(tx);
        for row in &page {
            rewrapped += u64::from(rewrap(db, vault, row).await?);
            after = (row.org_id, row.version);
        }
        if page.len() < BATCH as usize {
            return Ok(rewrapped);
        }
    }
}

async fn rewrap(db: &Db, vault: &Vault, row: &OrgKeyRow) -> Result<bool, KeysError> {
    let key = stored(row.clone()).map_err(VaultError::from)?;
    let Some(new) = vault.rewrap(row.org_id, &key).await? else {
        return Ok(false);
    };
    let new = row_of(row.org_id, &new, row.created);
    let mut tx = db.begin_system("a data key is wrapped anew").await?;
    let changed = org_key_rewrap(&mut tx, &new, &row.wrapped).await?;
    tx.commit().await?;
    Ok(changed)
}

/// Every value of every org that is not sealed with the org's newest key.
async fn reseal_all(db: &Db, vault: &Vault) -> Result<u64, KeysError> {
    let (mut resealed, mut request) = (0, PageRequest::default());
    loop {
        let mut tx = db.begin_system_read("values are sealed anew").await?;
        let page = org_list(&mut tx, &request).await?;
        drop(tx);
        for org in page.items {
            resealed += reseal_org(db, vault, org.id).await?;
        }
        match page.next {
            Some(next) => request = PageRequest::new(None, Some(&next))?,
            None => return Ok(resealed),
        }
    }
}

async fn reseal_org(db: &Db, vault: &Vault, org: OrgId) -> Result<u64, KeysError> {
    let mut tx = db.begin_read(org).await?;
    let current = org_key_current(&mut tx).await?;
    drop(tx);
    // An org without a key may have values from before there were data keys: the first seal makes its first key.
    let version = current.map_or(1, |key| key.version);
    reseal(db, vault, org, u32::try_from(version).unwrap_or(1)).await
}

/// Seals anew what is not sealed with key `version`. Values that are written meanwhile are left as they are written.
async fn reseal(db: &Db, vault: &Vault, org: OrgId, version: u32) -> Result<u64, KeysError> {
    let (prefix, mut resealed) = (prefix_of(version), 0);
    for table in SealedTable::ALL {
        let mut after = Uuid::nil();
        loop {
            let mut tx = db.begin_read(org).await?;
            let rows = sealed_otherwise(&mut tx, table, &prefix, after, BATCH).await?;
            drop(tx);
            let Some(last) = rows.last() else { break };
            after = last.id;
            resealed += reseal_batch(db, vault, org, table, &rows).await?;
        }
    }
    Ok(resealed)
}

async fn reseal_batch(
    db: &Db,
    vault: &Vault,
    org: OrgId,
    table: SealedTable,
    rows: &[SealedRow],
) -> Result<u64, KeysError> {
    let mut anew = Vec::with_capacity(rows.len());
    for row in rows {
        match seal_anew(vault, org, table, row).await {
            Ok(sealed) => anew.push((row, sealed)),
            // A value that cannot be opened stays as it is, and so does its key; it must not keep the others from being sealed anew.
            Err(KeysError::Vault(error)) if !error.is_transient() => {
                tracing::error!(%org, ?table, id = %row.id, %error, "a value cannot be sealed anew");
            }
            Err(error) => return Err(error),
        }
    }
    let mut changed = 0;
    let mut tx = db.begin(org).await?;
    for (row, sealed) in &anew {
        changed += u64::from(sealed_swap(&mut tx, table, row.id, &row.sealed, sealed).await?);
    }
    tx.commit().await?;
    Ok(changed)
}

async fn seal_anew(
    vault: &Vault,
    org: OrgId,
    table: SealedTable,
    row: &SealedRow,
) -> Result<Sealed, KeysError> {
    let (kind, id) = match table {
        SealedTable::Connection => (KIND_CONNECTION, ConnectionId::from_uuid(row.id).to_string()),
        SealedTable::Hook => (KIND_HOOK, HookId::from_uuid(row.id).to_string()),
        SealedTable::OauthClient => (
            KIND_OAUTH_CLIENT,
            OauthClientId::from_uuid(row.id).to_string(),
        ),
    };
    let place = SecretPlace {
        org,
        kind,
        id: &id,
        version: row.version,
    };
    let plain = vault.open(&row.sealed.0, place).await?;
    let plain = in_todays_form(table, &row.sealed, plain)?;
    Ok(Sealed(vault.seal(&plain, place).await?))
}

/// The first seals of connections held a token's text alone, and the envelope's version says so: under a newer one the content must be newer.
fn in_todays_form(
    table: SealedTable,
    sealed: &Sealed,
    plain: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, BadCredential> {
    match (table, sealed.0.first()) {
        (SealedTable::Connection, Some(&seal::VERSION)) => {
            Ok(Credential::from_plain(&plain, seal::VERSION)?.to_plain())
        }
        _ => Ok(plain),
    }
}

/// Drops the org's retired keys that nothing is sealed with; gives how many retired ones stay.
async fn drop_unused(db: &Db, org: OrgId, now: Timestamp) -> Result<usize, KeysError> {
    let before = Timestamp::from_micros(now.micros() - GRACE.as_micros() as i64);
    let mut tx = db.begin(org).await?;
    let keys = org_key_list(&mut tx).await?;
    let mut kept = 0;
    for key in keys.iter().filter(|key| key.retired.is_some()) {
        let prefix = prefix_of(u32::try_from(key.version).unwrap_or(0));
        if !org_key_drop_unused(&mut tx, key.version, &prefix, before).await? {
            kept += 1;
        }
    }
    tx.commit().await?;
    Ok(kept)
}

/// Finishes the rotations of all orgs: seals anew what is left, and drops old keys.
///
/// # Errors
/// Where it stopped; it is called again.
pub async fn finish_rotations(db: &Db, vault: &Vault, now: Timestamp) -> Result<(), KeysError> {
    let before = Timestamp::from_micros(now.micros() - GRACE.as_micros() as i64);
    let mut tx = db.begin_system_read("old data keys").await?;
    let orgs = org_keys_retired(&mut tx, before).await?;
    drop(tx);
    for org in orgs {
        reseal_org(db, vault, org).await?;
        drop_unused(db, org, now).await?;
    }
    Ok(())
}
