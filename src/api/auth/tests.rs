//! Keys against a database: what is asked of it, and what is not.

use super::*;
use crate::persistence::{DbConfig, OrgRow, key_insert, key_revoke, migrate, org_insert};
use axum::http::HeaderValue;
use secrecy::ExposeSecret;
use std::net::Ipv4Addr;
use tempfile::TempDir;
use uuid::Uuid;

const HERE: Client = Client(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
const THERE: Client = Client(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
const ORG: Uuid = Uuid::from_u128(1);

struct World {
    db: Db,
    keys: KeyCache,
    _dir: TempDir,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1_000)
}

fn headers(key: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {key}")).expect("a value");
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

impl World {
    async fn new(takes_legacy: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", dir.path().join("keys.db").display());
        migrate(&url).await.expect("migrates");
        let db = Db::connect(&DbConfig::new(url)).await.expect("connects");
        let mut tx = db.begin_system("an org").await.expect("begins");
        let org = OrgRow {
            id: OrgId::from_uuid(ORG),
            name: "mine".into(),
            settings: "{}".into(),
            created: at(0),
        };
        org_insert(&mut tx, &org).await.expect("inserts");
        tx.commit().await.expect("commits");
        Self {
            db,
            keys: KeyCache::new(takes_legacy),
            _dir: dir,
        }
    }

    async fn add(&self, text: &str, expires: Option<Timestamp>) -> KeyId {
        let org_id = OrgId::from_uuid(ORG);
        let id = KeyId::from_uuid(Uuid::now_v7());
        let row = KeyRow {
            org_id,
            id,
            hash: keys::hash(text),
            role: Role::Viewer,
            name: "k".into(),
            created: at(0),
            revoked: None,
            user: None,
            expires,
            last_used: None,
            tail: None,
        };
        let mut tx = self.db.begin(org_id).await.expect("begins");
        key_insert(&mut tx, &row).await.expect("inserts");
        tx.commit().await.expect("commits");
        id
    }

    async fn ask_at(&self, key: &str, from: Client, now: Timestamp) -> Result<KeyId, Problem> {
        let asked = self.keys.caller(&self.db, &headers(key), from, now).await;
        asked
            .map(|(caller, _)| caller.key)
            .map_err(|error| error.problem())
    }

    async fn ask(&self, key: &str, from: Client) -> Result<KeyId, Problem> {
        self.ask_at(key, from, at(0)).await
    }
}

fn new_key() -> String {
    let key = keys::generate().expect("randomness");
    key.text.expose_secret().to_owned()
}

fn legacy_key(number: usize) -> String {
    format!("tnk_{number:043}")
}

#[tokio::test]
async fn made_up_keys_are_refused_without_asking_the_database() {
    let world = World::new(true).await;
    let key = new_key();
    for n in 0..50 {
        let mut wrong = key.clone().into_bytes();
        wrong[10 + n % 30] = if wrong[10 + n % 30] == b'Q' {
            b'R'
        } else {
            b'Q'
        };
        let wrong = String::from_utf8(wrong).expect("ASCII");
        assert_eq!(world.ask(&wrong, HERE).await, Err(Problem::Unauthorized));
    }
    assert_eq!(
        world.ask("nonsense", HERE).await,
        Err(Problem::Unauthorized)
    );
    assert_eq!(world.keys.reads(), 0);
    assert!(world.keys.unknown.is_empty());
    let id = world.add(&key, None).await;
    for _ in 0..3 {
        assert_eq!(world.ask(&key, HERE).await, Ok(id));
    }
    assert_eq!(world.keys.reads(), 1);
}

#[tokio::test]
async fn address_that_tries_too_many_keys_is_told_to_wait_and_others_are_not() {
    let world = World::new(true).await;
    let good = new_key();
    let id = world.add(&good, None).await;
    assert_eq!(world.ask(&good, HERE).await, Ok(id));
    let mut answers = Vec::new();
    for n in 0..600 {
        // By turns of a form that is looked up and of one that is not.
        let key = if n % 2 == 0 {
            legacy_key(n)
        } else {
            "tnk_x".into()
        };
        answers.push(world.ask(&key, HERE).await.expect_err("no key"));
    }
    assert_eq!(answers[0], Problem::Unauthorized);
    assert_eq!(answers[599], Problem::RateLimited);
    // What is allowed in the seconds that this takes is little more than what is allowed at once.
    assert!(world.keys.reads() < 300, "{}", world.keys.reads());
    // Who is known is not held up by what the neighbour tries, and neither is who comes from elsewhere.
    assert_eq!(world.ask(&good, HERE).await, Ok(id));
    assert_eq!(
        world.ask(&legacy_key(7_000), THERE).await,
        Err(Problem::Unauthorized)
    );
    world.keys.tidy();
}

#[tokio::test]
async fn older_keys_are_good_while_the_setting_says_so() {
    for takes_legacy in [true, false] {
        let world = World::new(takes_legacy).await;
        let id = world.add(&legacy_key(1), None).await;
        let expected = if takes_legacy {
            Ok(id)
        } else {
            Err(Problem::Unauthorized)
        };
        assert_eq!(world.ask(&legacy_key(1), HERE).await, expected);
        assert_eq!(world.keys.reads(), u64::from(takes_legacy));
    }
}

#[tokio::test]
async fn expired_key_is_refused_also_while_it_is_remembered() {
    let world = World::new(true).await;
    let key = new_key();
    let id = world.add(&key, Some(at(10))).await;
    assert_eq!(world.ask_at(&key, HERE, at(9)).await, Ok(id));
    assert_eq!(
        world.ask_at(&key, HERE, at(10)).await,
        Err(Problem::KeyExpired)
    );
    assert_eq!(world.keys.reads(), 1);
}

#[tokio::test]
async fn revoked_key_that_is_just_being_read_is_not_remembered() {
    let world = World::new(true).await;
    let key = new_key();
    let id = world.add(&key, None).await;
    let hash = keys::digest(&key);
    // Read before the revocation, stored after it.
    let generation = world.keys.revocations();
    let begun = world.keys.begin_reading();
    let row = look_up(&world.db, &hash).await.expect("reads");
    assert!(row.is_some());
    let org = OrgId::from_uuid(ORG);
    let mut tx = world.db.begin(org).await.expect("begins");
    key_revoke(&mut tx, id, at(1)).await.expect("revokes");
    tx.commit().await.expect("commits");
    world.keys.forget(id);
    assert!(generation.has_changed().expect("it lives"));
    assert!(world.keys.remember(hash, row, begun, at(1)).is_none());
    assert!(world.keys.known.is_empty());
    assert_eq!(world.ask(&key, HERE).await, Err(Problem::Unauthorized));
}

#[tokio::test]
async fn use_is_written_once_a_minute() {
    let world = World::new(true).await;
    let key = new_key();
    let id = world.add(&key, None).await;
    for second in [0, 5, 20] {
        assert_eq!(world.ask_at(&key, HERE, at(second)).await, Ok(id));
    }
    assert_eq!(world.keys.used.len(), 1);
    world.keys.write_uses(&world.db).await.expect("writes");
    assert!(world.keys.used.is_empty());
    assert_eq!(world.ask_at(&key, HERE, at(30)).await, Ok(id));
    assert!(world.keys.used.is_empty());
    assert_eq!(world.ask_at(&key, HERE, at(90)).await, Ok(id));
    world.keys.write_uses(&world.db).await.expect("writes");
    let mut tx = world.db.begin_system_read("used").await.expect("begins");
    let row = key_find_by_hash(&mut tx, &keys::hash(&key)).await;
    let used = row.expect("reads").expect("a key").last_used;
    assert_eq!(used.map(|used| used.micros() % MINUTE_US), Some(0));
    assert!(used.is_some_and(|used| used <= at(90) && used > at(30)));
}

#[tokio::test]
async fn caches_are_bounded_apart() {
    let world = World::new(true).await;
    let key = new_key();
    let id = world.add(&key, None).await;
    assert_eq!(world.ask(&key, HERE).await, Ok(id));
    for n in 0..UNKNOWN_MAX {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        world.keys.unknown.insert(hash, Instant::now());
    }
    assert_eq!(
        world.ask(&legacy_key(1), THERE).await,
        Err(Problem::Unauthorized)
    );
    assert_eq!(world.keys.unknown.len(), UNKNOWN_MAX);
    assert_eq!(world.ask(&key, HERE).await, Ok(id));
    assert_eq!(world.keys.reads(), 2);
}
