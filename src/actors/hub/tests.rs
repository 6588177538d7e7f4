//! Rotations on a real database while it is used.

use super::{
    credentials::{open_credential, seal_credential},
    keys::{self, KIND_HOOK},
};
use crate::{
    actors::Clock,
    connect::{
        Sealer, SecretName, SecretPlace, Vault,
        oauth::Credential,
        seal::{MasterKeyBytes, read_or_create_master_key},
        vault::prefix_of,
    },
    domain::{ConnectionId, HookId, OrgId, Timestamp},
    persistence::*,
};
use secrecy::SecretBox;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

struct House {
    db: Db,
    clock: Clock,
    org: OrgId,
    dir: TempDir,
}

fn start() -> Timestamp {
    Timestamp::from_millis(1_750_000_000_000)
}

async fn house() -> House {
    let dir = TempDir::new().unwrap();
    let url = format!("sqlite:{}", dir.path().join("tenure.db").display());
    migrate(&url).await.unwrap();
    let db = Db::connect(&DbConfig::new(url)).await.unwrap();
    let clock = Clock::simulated(start());
    let org = OrgId::from_uuid(clock.uuid());
    let mut tx = db.begin_system("a test").await.unwrap();
    let row = OrgRow {
        id: org,
        name: "acme".into(),
        settings: "{}".into(),
        created: clock.now(),
    };
    org_insert(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
    House {
        db,
        clock,
        org,
        dir,
    }
}

fn master(byte: u8) -> MasterKeyBytes {
    SecretBox::new(Box::new([byte; 32]))
}

impl House {
    fn vault(&self, sealer: Sealer) -> Arc<Vault> {
        keys::vault(&self.db, &self.clock, &Arc::new(sealer))
    }

    fn pending(&self, name: &str) -> ConnectionRow {
        let id = ConnectionId::from_uuid(self.clock.uuid());
        ConnectionRow {
            status: connection_status::ACTIVE.into(),
            ..ConnectionRow::pending(self.org, id, "slack", name, self.clock.now())
        }
    }

    async fn connect(&self, vault: &Vault, name: &str) -> ConnectionId {
        let credential = Credential::token(format!("token of {name}"), self.clock.now());
        let row = self.pending(name);
        let sealed = seal_credential(vault, self.org, row.id, 1, &credential).await;
        let row = ConnectionRow {
            sealed_credential: sealed.unwrap(),
            credential_version: 1,
            ..row
        };
        self.put(&row).await;
        row.id
    }

    async fn put(&self, row: &ConnectionRow) {
        let mut tx = self.db.begin(self.org).await.unwrap();
        connection_put(&mut tx, row).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn get(&self, id: ConnectionId) -> ConnectionRow {
        let mut tx = self.db.begin_read(self.org).await.unwrap();
        connection_get(&mut tx, id).await.unwrap().unwrap()
    }

    async fn credential(&self, vault: &Vault, id: ConnectionId) -> Credential {
        let row = self.get(id).await;
        let (version, sealed) = (row.credential_version, &row.sealed_credential.0);
        open_credential(vault, self.org, id, version, sealed)
            .await
            .unwrap()
    }

    async fn key_versions(&self) -> Vec<i64> {
        let mut tx = self.db.begin_read(self.org).await.unwrap();
        let keys = org_key_list(&mut tx).await.unwrap();
        keys.iter().map(|key| key.version).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orgs_key_is_rotated_while_calls_flow() {
    let house = Arc::new(house().await);
    let vault = house.vault(Sealer::new(&master(1)));
    let mut ids = Vec::new();
    for number in 0..150 {
        ids.push(house.connect(&vault, &format!("c{number}")).await);
    }
    let (stop, opened) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    // Two nodes with caches of their own read all the time; one of them also writes new credentials.
    let other_node = house.vault(Sealer::new(&master(1)));
    let load: Vec<_> = [vault.clone(), other_node]
        .into_iter()
        .map(|node| {
            let (house, ids, stop, opened) =
                (house.clone(), ids.clone(), stop.clone(), opened.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    for id in &ids {
                        let credential = house.credential(&node, *id).await;
                        assert!(
                            credential
                                .access_token
                                .unwrap()
                                .expose()
                                .starts_with("token of")
                        );
                        opened.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    let writer = {
        let (house, vault, id) = (house.clone(), vault.clone(), ids[0]);
        tokio::spawn(async move {
            for turn in 0..100 {
                let row = house.get(id).await;
                let credential = Credential::token(format!("token of turn {turn}"), start());
                let version = row.credential_version + 1;
                let sealed = seal_credential(&vault, house.org, id, version, &credential).await;
                let sealed = sealed.unwrap();
                let swap = CredentialSwap {
                    expected: row.credential_version,
                    sealed: &sealed,
                    expires: None,
                    refresh_due: None,
                    scopes: None,
                    account: None,
                    at: start(),
                    begun: None,
                    consent: None,
                };
                let mut tx = house.db.begin(house.org).await.unwrap();
                assert!(
                    connection_credential_swap(&mut tx, id, &swap)
                        .await
                        .unwrap()
                );
                tx.commit().await.unwrap();
            }
        })
    };
    for version in 2..=4 {
        let rotated = keys::rotate_org(&house.db, &vault, house.org, house.clock.now()).await;
        let rotated = rotated.unwrap();
        assert_eq!(rotated.version, version);
        assert!(rotated.resealed >= 149, "{rotated:?}");
    }
    writer.await.unwrap();
    stop.store(true, Ordering::SeqCst);
    for task in load {
        task.await.unwrap();
    }
    assert!(opened.load(Ordering::SeqCst) > 150);
    assert_eq!(
        house.credential(&vault, ids[0]).await.access_token,
        Some("token of turn 99".into()),
        "no rotation undid a new credential"
    );
    assert_eq!(house.key_versions().await, [4, 3, 2, 1], "kept for a while");
    house.clock.advance(Duration::from_secs(3_600));
    keys::finish_rotations(&house.db, &vault, house.clock.now())
        .await
        .unwrap();
    assert_eq!(house.key_versions().await, [4]);
    let fresh = house.vault(Sealer::new(&master(1)));
    for id in ids {
        let row = house.get(id).await;
        assert_eq!(row.sealed_credential.0[..5], prefix_of(4));
        house.credential(&fresh, id).await;
    }
}

/// A connection and a hook as they were sealed before there were data keys.
async fn furnish_old(house: &House, sealer: &Sealer) -> (ConnectionId, HookRow) {
    let row = house.pending("old");
    let id = row.id.to_string();
    let name = |kind, id| SecretName {
        org: house.org,
        kind,
        id,
    };
    let sealed = sealer.seal(b"xoxb-old", name("connection", &id)).unwrap();
    let connection = ConnectionRow {
        sealed_credential: Sealed(sealed),
        ..row
    };
    house.put(&connection).await;
    let hook_id = HookId::from_uuid(house.clock.uuid());
    let sealed = sealer
        .seal(b"[]", name("hook", &hook_id.to_string()))
        .unwrap();
    let hook = HookRow {
        org_id: house.org,
        id: hook_id,
        source: "github".into(),
        endpoint: "x".into(),
        scheme: "standard_webhooks".into(),
        sealed_secrets: Sealed(sealed),
        event_type: None,
        options: "{}".into(),
        created: start(),
    };
    let mut tx = house.db.begin(house.org).await.unwrap();
    hook_insert(&mut tx, &hook).await.unwrap();
    tx.commit().await.unwrap();
    (connection.id, hook)
}

#[tokio::test]
async fn a_new_master_key_takes_over_without_a_restart() {
    let house = house().await;
    let path: PathBuf = house.dir.path().join("master.key");
    read_or_create_master_key(&path).unwrap();
    let old_text = std::fs::read_to_string(&path).unwrap();
    let running = house.vault(Sealer::from_file(&path).unwrap());
    let new = house.connect(&running, "new").await;
    let (old, hook) = furnish_old(&house, &Sealer::from_file(&path).unwrap()).await;
    let before = house.credential(&running, old).await;
    assert_eq!(before.access_token, Some("xoxb-old".into()));

    std::fs::write(&path, format!("{}\n{old_text}", "ab".repeat(32))).unwrap();
    let operator = house.vault(Sealer::from_file(&path).unwrap());
    let done = keys::rotate_master(&house.db, &operator).await.unwrap();
    assert_eq!((done.rewrapped, done.resealed), (1, 2), "{done:?}");
    let again = keys::rotate_master(&house.db, &operator).await.unwrap();
    assert_eq!((again.rewrapped, again.resealed), (0, 0));

    // The process that was there before, with an empty cache, and one that has the new key alone.
    running.forget(house.org);
    let alone = house.vault(Sealer::from_text(&"ab".repeat(32)).unwrap());
    for vault in [&running, &alone] {
        let credential = house.credential(vault, old).await;
        assert_eq!(credential.access_token, Some("xoxb-old".into()));
        house.credential(vault, new).await;
        let mut tx = house.db.begin_system_read("a test").await.unwrap();
        let stored = hook_find(&mut tx, "github", "x").await.unwrap().unwrap();
        drop(tx);
        let place = SecretPlace {
            org: house.org,
            kind: KIND_HOOK,
            id: &hook.id.to_string(),
            version: 0,
        };
        let secrets = vault.open(&stored.sealed_secrets.0, place).await.unwrap();
        assert_eq!(secrets.as_slice(), b"[]");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_opened_does_not_stop_a_rotation() {
    let house = house().await;
    let vault = house.vault(Sealer::new(&master(1)));
    let good = house.connect(&vault, "good").await;
    let broken = ConnectionRow {
        sealed_credential: Sealed([&prefix_of(1)[..], &[0; 40]].concat()),
        ..house.pending("broken")
    };
    house.put(&broken).await;
    let rotated = keys::rotate_org(&house.db, &vault, house.org, house.clock.now()).await;
    assert_eq!(rotated.unwrap().resealed, 1);
    house.credential(&vault, good).await;
    house.clock.advance(Duration::from_secs(3_600));
    keys::finish_rotations(&house.db, &vault, house.clock.now())
        .await
        .unwrap();
    assert_eq!(house.key_versions().await, [2, 1], "its key is kept");
}

#[tokio::test]
async fn a_copy_of_a_deleted_orgs_rows_cannot_be_read() {
    let house = house().await;
    let vault = house.vault(Sealer::new(&master(1)));
    let id = house.connect(&vault, "mine").await;
    // As it is in a dump that somebody made before.
    let copy = house.get(id).await;
    org_shred(&house.db, house.org, house.clock.now())
        .await
        .unwrap();
    let fresh = house.vault(Sealer::new(&master(1)));
    let (version, sealed) = (copy.credential_version, &copy.sealed_credential.0);
    let opened = open_credential(&fresh, house.org, id, version, sealed).await;
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("no data key 1"), "{error}");
}
