use super::*;
use crate::connect::seal::MasterKeyBytes;
use secrecy::SecretBox;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use uuid::Uuid;

/// Wrapped keys in memory, with a count of the readings.
#[derive(Default)]
struct Kept {
    keys: Mutex<BTreeMap<(OrgId, u32), Wrapped>>,
    read: AtomicUsize,
}

#[async_trait]
impl KeyStore for Kept {
    async fn current(&self, org: OrgId) -> Result<Option<StoredKey>, KeyStoreError> {
        let keys = self.keys.lock().unwrap();
        let newest = keys.range((org, 0)..=(org, u32::MAX)).next_back();
        Ok(newest.map(|((_, version), wrapped)| StoredKey {
            version: *version,
            wrapped: wrapped.clone(),
        }))
    }
    async fn get(&self, org: OrgId, version: u32) -> Result<Option<StoredKey>, KeyStoreError> {
        self.read.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let keys = self.keys.lock().unwrap();
        let found = keys.get(&(org, version)).cloned();
        Ok(found.map(|wrapped| StoredKey { version, wrapped }))
    }
    async fn add(&self, org: OrgId, key: &StoredKey) -> Result<bool, KeyStoreError> {
        let mut keys = self.keys.lock().unwrap();
        let is_new = !keys.contains_key(&(org, key.version));
        keys.entry((org, key.version))
            .or_insert_with(|| key.wrapped.clone());
        Ok(is_new)
    }
}

fn master(byte: u8) -> MasterKeyBytes {
    SecretBox::new(Box::new([byte; 32]))
}
fn org(number: u128) -> OrgId {
    OrgId::from_uuid(Uuid::from_u128(number))
}
fn vault(store: &Arc<Kept>, sealer: Sealer) -> Vault {
    Vault::local(Arc::new(sealer), store.clone())
}
fn place(owner: u128, kind: &'static str, id: &'static str, version: i64) -> SecretPlace<'static> {
    SecretPlace {
        org: org(owner),
        kind,
        id,
        version,
    }
}

#[tokio::test]
async fn a_secret_opens_where_it_belongs_and_nowhere_else() {
    let store = Arc::new(Kept::default());
    let vault = vault(&store, Sealer::new(&master(1)));
    let here = place(1, "connection", "conn_1", 3);
    let sealed = vault.seal(b"xoxb-1", here).await.unwrap();
    assert_eq!(
        vault.open(&sealed, here).await.unwrap().as_slice(),
        b"xoxb-1"
    );
    vault
        .seal(b"theirs", place(2, "connection", "conn_1", 3))
        .await
        .unwrap();
    for elsewhere in [
        place(2, "connection", "conn_1", 3),
        place(1, "hook", "conn_1", 3),
        place(1, "connection", "conn_2", 3),
        place(1, "connection", "conn_1", 2),
        place(1, "connection", "conn_1", 4),
    ] {
        let error = vault.open(&sealed, elsewhere).await.unwrap_err();
        assert!(
            matches!(error, VaultError::Seal(SealError::Damaged)),
            "{elsewhere:?}: {error}"
        );
    }
    for byte in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[byte] ^= 1;
        assert!(vault.open(&changed, here).await.is_err(), "byte {byte}");
        assert!(
            vault.open(&sealed[..byte], here).await.is_err(),
            "cut at {byte}"
        );
    }
}

#[tokio::test]
async fn what_a_master_key_sealed_still_opens() {
    let sealer = Sealer::new(&master(1));
    let here = place(1, "connection", "conn_1", 0);
    let sealed = sealer.seal(b"old", here.unversioned()).unwrap();
    let vault = vault(&Arc::default(), sealer);
    assert_eq!(vault.open(&sealed, here).await.unwrap().as_slice(), b"old");
    let anew = vault.seal(b"old", here).await.unwrap();
    assert_eq!((sealed[0], anew[..HEADER] == prefix_of(1)), (1, true));
    let later = place(1, "connection", "conn_1", 1);
    assert!(vault.open(&sealed, later).await.is_err(), "an old copy");
}

#[tokio::test]
async fn rotation_seals_with_a_new_key_and_opens_what_the_old_one_sealed() {
    let store = Arc::new(Kept::default());
    let here = place(1, "connection", "conn_1", 1);
    let (one, other) = (
        vault(&store, Sealer::new(&master(1))),
        vault(&store, Sealer::new(&master(1))),
    );
    let old = one.seal(b"a", here).await.unwrap();
    assert_eq!(one.rotate(org(1)).await.unwrap(), 2);
    let new = one.seal(b"b", here).await.unwrap();
    assert_eq!(new[..HEADER], prefix_of(2));
    for node in [&one, &other] {
        assert_eq!(node.open(&old, here).await.unwrap().as_slice(), b"a");
        assert_eq!(node.open(&new, here).await.unwrap().as_slice(), b"b");
    }
}

#[tokio::test]
async fn keys_are_wrapped_anew_by_another_master_key() {
    let store = Arc::new(Kept::default());
    let here = place(1, "connection", "conn_1", 1);
    let sealed = vault(&store, Sealer::new(&master(1)))
        .seal(b"a", here)
        .await
        .unwrap();
    let both = vault(&store, Sealer::new(&master(2)).with_previous(&master(1)));
    let kept = store.current(org(1)).await.unwrap().unwrap();
    let rewrapped = both.rewrap(org(1), &kept).await.unwrap().unwrap();
    assert_ne!(kept.wrapped.master_id, rewrapped.wrapped.master_id);
    assert_eq!(both.rewrap(org(1), &rewrapped).await.unwrap(), None);
    store
        .keys
        .lock()
        .unwrap()
        .insert((org(1), 1), rewrapped.wrapped);
    let new_alone = vault(&store, Sealer::new(&master(2)));
    assert_eq!(
        new_alone.open(&sealed, here).await.unwrap().as_slice(),
        b"a"
    );
    let old_alone = vault(&store, Sealer::new(&master(1)));
    assert!(old_alone.open(&sealed, here).await.is_err());
}

#[tokio::test]
async fn a_wrapped_key_opens_for_its_org_and_version_alone() {
    let sealer = Sealer::new(&master(1));
    let name = |owner, version| DataKeyName {
        org: org(owner),
        version,
    };
    let bytes = DataKeyBytes::new([7; 32]);
    let wrapped = sealer.wrap(&bytes, name(1, 1)).await.unwrap();
    assert_eq!(sealer.unwrap(&wrapped, name(1, 1)).await.unwrap(), bytes);
    for elsewhere in [name(2, 1), name(1, 2)] {
        let error = sealer.unwrap(&wrapped, elsewhere).await.unwrap_err();
        assert!(matches!(error, MasterKeyError::Refused { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_shredded_org_cannot_be_read() {
    let store = Arc::new(Kept::default());
    let here = place(1, "connection", "conn_1", 1);
    let vault = vault(&store, Sealer::new(&master(1)));
    let sealed = vault.seal(b"a", here).await.unwrap();
    store.keys.lock().unwrap().clear();
    vault.forget(org(1));
    let error = vault.open(&sealed, here).await.unwrap_err();
    assert!(
        matches!(error, VaultError::NoKey { version: 1, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn many_who_open_at_once_unwrap_once() {
    let store = Arc::new(Kept::default());
    let here = place(1, "connection", "conn_1", 1);
    let sealed = vault(&store, Sealer::new(&master(1)))
        .seal(b"a", here)
        .await
        .unwrap();
    store.read.store(0, Ordering::SeqCst);
    let fresh = vault(&store, Sealer::new(&master(1)));
    let all = (0..100).map(|_| fresh.open(&sealed, here));
    for opened in futures::future::join_all(all).await {
        assert_eq!(opened.unwrap().as_slice(), b"a");
    }
    assert_eq!(store.read.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_new_data_key_is_wrapped_by_the_master_key_of_the_day() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    crate::connect::seal::read_or_create_master_key(&path).unwrap();
    let store = Arc::new(Kept::default());
    let running = vault(&store, Sealer::from_file(&path).unwrap());
    running.rotate(org(1)).await.unwrap();
    // The master key of its start is taken out of service, and it goes on running.
    std::fs::write(&path, "ab".repeat(32)).unwrap();
    let version = running.rotate(org(1)).await.unwrap();
    let key = store.get(org(1), version).await.unwrap().unwrap();
    let today = Sealer::from_file(&path).unwrap();
    assert_eq!(key.wrapped.master_id, today.key_id());
}
