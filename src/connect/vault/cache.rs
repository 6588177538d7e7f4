//! Data keys that were unwrapped lately. Bounded, forgotten after a while, and wiped when they are dropped.

use crate::domain::OrgId;
use aes_gcm::{Aes256Gcm, KeyInit};
use dashmap::DashMap;
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

use super::master::DataKeyBytes;

/// A data key is unwrapped again after this; a shredded one opens nothing on other nodes after this either.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Another node may have made a new version: until this is over, values may still be sealed with the one before, which is why it is kept.
pub const CURRENT_FOR: Duration = Duration::from_secs(30);
/// Keys of this many orgs, roughly; each takes about a kilobyte.
const KEYS_MAX: usize = 10_000;

/// A key that is ready for use. The cipher wipes its memory when it is dropped.
pub struct DataKey {
    pub version: u32,
    pub cipher: Aes256Gcm,
}

impl DataKey {
    pub fn new(version: u32, bytes: &DataKeyBytes) -> Self {
        Self {
            version,
            cipher: Aes256Gcm::new((&**bytes).into()),
        }
    }
}

struct Entry {
    key: Arc<OnceCell<Arc<DataKey>>>,
    since: Instant,
}

#[derive(Default)]
pub struct KeyCache {
    keys: DashMap<(OrgId, u32), Entry>,
    current: DashMap<OrgId, (u32, Instant)>,
}

impl KeyCache {
    /// The key, or what `load` gives; many who ask at once load once.
    pub async fn get<E>(
        &self,
        org: OrgId,
        version: u32,
        load: impl Future<Output = Result<DataKey, E>>,
    ) -> Result<Arc<DataKey>, E> {
        let cell = self.cell(org, version);
        let found = cell
            .get_or_try_init(|| async { load.await.map(Arc::new) })
            .await;
        match found {
            Ok(key) => Ok(key.clone()),
            Err(error) => {
                self.keys.remove(&(org, version));
                Err(error)
            }
        }
    }

    fn cell(&self, org: OrgId, version: u32) -> Arc<OnceCell<Arc<DataKey>>> {
        let known = self
            .keys
            .get(&(org, version))
            .filter(|entry| entry.since.elapsed() < KEPT_FOR)
            .map(|entry| entry.key.clone());
        if let Some(cell) = known {
            return cell;
        }
        if self.keys.len() >= KEYS_MAX {
            self.make_room();
        }
        let cell = Arc::new(OnceCell::new());
        let entry = Entry {
            key: cell.clone(),
            since: Instant::now(),
        };
        self.keys.insert((org, version), entry);
        cell
    }

    /// Drops what is too old, and if that is not a quarter, the oldest quarter.
    fn make_room(&self) {
        self.keys
            .retain(|_, entry| entry.since.elapsed() < KEPT_FOR);
        let wanted = KEYS_MAX - KEYS_MAX / 4;
        let mut ages: Vec<Instant> = self.keys.iter().map(|entry| entry.since).collect();
        if ages.len() <= wanted {
            return;
        }
        ages.sort_unstable();
        let oldest_kept = ages[ages.len() - wanted];
        self.keys.retain(|_, entry| entry.since >= oldest_kept);
        self.current.retain(|_, known| known.1 >= oldest_kept);
    }

    pub fn current(&self, org: OrgId) -> Option<u32> {
        let known = self.current.get(&org)?;
        (known.1.elapsed() < CURRENT_FOR).then_some(known.0)
    }

    pub fn set_current(&self, org: OrgId, version: u32) {
        self.current.insert(org, (version, Instant::now()));
    }

    pub fn forget(&self, org: OrgId) {
        self.current.remove(&org);
        self.keys.retain(|(owner, _), _| *owner != org);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[tokio::test]
    async fn the_number_of_keys_is_bounded() {
        let cache = KeyCache::default();
        let bytes = DataKeyBytes::default();
        for org in 0..(KEYS_MAX as u128 + 10) {
            let org = OrgId::from_uuid(Uuid::from_u128(org));
            let load = async { Ok::<_, ()>(DataKey::new(1, &bytes)) };
            cache.get(org, 1, load).await.unwrap();
        }
        assert!(cache.len() <= KEYS_MAX, "{}", cache.len());
    }

    #[tokio::test]
    async fn what_could_not_be_loaded_is_tried_again() {
        let cache = KeyCache::default();
        let org = OrgId::from_uuid(Uuid::from_u128(1));
        let failed = cache.get(org, 1, async { Err("away") }).await;
        assert_eq!(failed.err(), Some("away"));
        let bytes = DataKeyBytes::default();
        let load = async { Ok::<_, &str>(DataKey::new(1, &bytes)) };
        assert_eq!(cache.get(org, 1, load).await.unwrap().version, 1);
        cache.forget(org);
        assert_eq!(cache.len(), 0);
    }
}
