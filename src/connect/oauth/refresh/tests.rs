use super::*;
use crate::connect::oauth::outcome::Granted;
use serde_json::{Map, Value};
use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use uuid::Uuid;

const BEGAN: i64 = 1_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}
fn connection() -> ConnectionId {
    ConnectionId::from_uuid(Uuid::from_u128(1))
}

fn credential(generation: u32) -> Credential {
    let mut credential = Credential::token(format!("access-{generation}"), at(0));
    credential.refresh_token = Some(format!("refresh-{generation}").into());
    credential
}

fn granted(generation: u32) -> TokenOutcome {
    TokenOutcome::Granted(Box::new(Granted {
        access_token: format!("access-{generation}").into(),
        refresh_token: Some(format!("refresh-{generation}").into()),
        expires_at: Some(at(3_600_000)),
        scopes: None,
        learned: Map::new(),
    }))
}

fn transient(unsure: bool) -> TokenOutcome {
    TokenOutcome::Transient {
        reason: "503".into(),
        retry_after: Some(Duration::from_secs(7)),
        unsure,
    }
}

fn dead() -> TokenOutcome {
    TokenOutcome::DeadGrant {
        reason: "invalid_grant".into(),
    }
}

/// A store in memory, with switches for what can go wrong.
struct Kept {
    row: Mutex<Option<Stored>>,
    log: Mutex<Vec<String>>,
    failing_swaps: AtomicUsize,
    reauth: Mutex<Option<String>>,
    again: Mutex<Option<Timestamp>>,
    learned: Mutex<Map<String, Value>>,
}

impl Kept {
    fn new() -> Self {
        Self {
            row: Mutex::new(Some(Stored {
                version: 1,
                credential: credential(1),
                active: true,
                refresh_started: None,
            })),
            log: Mutex::default(),
            failing_swaps: AtomicUsize::new(0),
            reauth: Mutex::default(),
            again: Mutex::default(),
            learned: Mutex::default(),
        }
    }
    fn log(&self, what: &str) {
        self.log.lock().unwrap().push(what.into());
    }
    fn logged(&self) -> String {
        self.log.lock().unwrap().join(" ")
    }
    fn change(&self, change: impl FnOnce(&mut Stored)) {
        change(self.row.lock().unwrap().as_mut().unwrap());
    }
    fn row(&self) -> Stored {
        self.row.lock().unwrap().clone().unwrap()
    }
    /// Somebody else stores a grant of their own.
    fn sibling_stores(&self, generation: u32) {
        self.change(|row| {
            row.version += 1;
            row.credential = credential(generation);
            row.refresh_started = None;
        });
    }
}

#[async_trait]
impl CredentialStore for Kept {
    async fn read(&self) -> Result<Option<Stored>, StoreError> {
        self.log("read");
        Ok(self.row.lock().unwrap().clone())
    }
    async fn begin(&self, version: i64, at: Timestamp) -> Result<bool, StoreError> {
        self.log("begin");
        let mut row = self.row.lock().unwrap();
        let fits = row
            .as_mut()
            .filter(|row| row.version == version && row.active);
        Ok(fits.map(|row| row.refresh_started = Some(at)).is_some())
    }
    async fn swap(
        &self,
        version: i64,
        new: &Credential,
        learned: &Map<String, Value>,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        self.log("swap");
        let left = self.failing_swaps.load(Ordering::SeqCst);
        if left > 0 {
            self.failing_swaps.store(left - 1, Ordering::SeqCst);
            return Err(StoreError("the database is away".into()));
        }
        let mut row = self.row.lock().unwrap();
        let fits = row.as_mut().filter(|row| row.version == version);
        let swapped = fits.map(|row| {
            self.learned.lock().unwrap().extend(learned.clone());
            row.version += 1;
            row.credential = new.clone();
            row.active = true;
            row.refresh_started = None;
        });
        Ok(swapped.is_some())
    }
    async fn give_up(&self, _: i64, again: Timestamp) -> Result<(), StoreError> {
        self.log("give_up");
        *self.again.lock().unwrap() = Some(again);
        self.change(|row| row.refresh_started = None);
        Ok(())
    }
    async fn needs_reauth(
        &self,
        version: i64,
        reason: &str,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        self.log("needs_reauth");
        let mut row = self.row.lock().unwrap();
        let fits = row
            .as_mut()
            .filter(|row| row.version == version && row.active);
        let marked = fits.map(|row| row.active = false).is_some();
        if marked {
            *self.reauth.lock().unwrap() = Some(reason.into());
        }
        Ok(marked)
    }
}

/// A provider that gives these outcomes; before each, what it does to the store.
type Deed<'a> = Box<dyn Fn(&Kept) + Send + Sync + 'a>;
struct Provider<'a> {
    store: &'a Kept,
    outcomes: Mutex<VecDeque<TokenOutcome>>,
    meanwhile: Deed<'a>,
    asked_with: Mutex<Vec<String>>,
}

impl<'a> Provider<'a> {
    fn new(store: &'a Kept, outcomes: impl IntoIterator<Item = TokenOutcome>) -> Self {
        Self {
            store,
            outcomes: Mutex::new(outcomes.into_iter().collect()),
            meanwhile: Box::new(|_| {}),
            asked_with: Mutex::default(),
        }
    }
    fn meanwhile(mut self, deed: impl Fn(&Kept) + Send + Sync + 'a) -> Self {
        self.meanwhile = Box::new(deed);
        self
    }
}

#[async_trait]
impl TokenEndpoint for Provider<'_> {
    async fn renew(&self, credential: &Credential, _: Timestamp) -> TokenOutcome {
        self.store.log("renew");
        let token = credential.refresh_token.as_ref().unwrap();
        self.asked_with.lock().unwrap().push(token.expose().into());
        (self.meanwhile)(self.store);
        self.outcomes
            .lock()
            .unwrap()
            .pop_front()
            .expect("one more outcome")
    }
}

async fn run(store: &Kept, provider: &Provider<'_>, seen: i64) -> RefreshResult {
    refresh(connection(), seen, store, provider, &|| at(BEGAN)).await
}

#[tokio::test]
async fn what_is_granted_is_stored_before_it_is_used() {
    let store = Kept::new();
    let provider = Provider::new(&store, [granted(2), granted(3)]);
    let result = run(&store, &provider, 1).await;
    let RefreshResult::Refreshed(new) = result else {
        panic!("{result:?}")
    };
    assert_eq!(
        (new.version, &new.credential.access_token),
        (2, &Some("access-2".into()))
    );
    assert_eq!(store.logged(), "read begin renew swap");
    assert_eq!(store.row().credential, new.credential);
    run(&store, &provider, 2).await;
    let asked = provider.asked_with.lock().unwrap().clone();
    assert_eq!(asked, ["refresh-1", "refresh-2"], "each refresh token once");
}

#[tokio::test]
async fn what_a_refresh_tells_of_the_account_is_stored_with_the_token() {
    let store = Kept::new();
    let told = |address: &str| match granted(2) {
        TokenOutcome::Granted(granted) => {
            let learned = [("instance_url".to_owned(), Value::from(address))];
            let learned = learned.into_iter().collect();
            TokenOutcome::Granted(Box::new(Granted {
                learned,
                ..*granted
            }))
        }
        other => other,
    };
    let answers = [
        told("https://a.example"),
        granted(3),
        told("https://b.example"),
    ];
    let provider = Provider::new(&store, answers);
    for (version, expected) in [
        (1, "https://a.example"),
        (2, "https://a.example"),
        (3, "https://b.example"),
    ] {
        run(&store, &provider, version).await;
        assert_eq!(store.learned.lock().unwrap()["instance_url"], expected);
    }
}

#[tokio::test]
async fn a_sibling_that_was_faster_saves_the_asking() {
    let store = Kept::new();
    store.sibling_stores(2);
    let result = run(&store, &Provider::new(&store, []), 1).await;
    assert!(matches!(result, RefreshResult::SiblingWon(stored) if stored.version == 2));
    assert_eq!(store.logged(), "read");
}

#[tokio::test]
async fn invalid_grant_is_believed_only_if_no_sibling_has_won() {
    let store = Kept::new();
    let provider = Provider::new(&store, [dead()]).meanwhile(|store| store.sibling_stores(2));
    let result = run(&store, &provider, 1).await;
    assert!(matches!(result, RefreshResult::SiblingWon(stored) if stored.version == 2));
    assert!(store.reauth.lock().unwrap().is_none());

    // The sibling has its answer and has not stored it yet.
    let store = Kept::new();
    let provider = Provider::new(&store, [dead()])
        .meanwhile(|store| store.change(|row| row.refresh_started = Some(at(BEGAN + 1))));
    let result = run(&store, &provider, 1).await;
    assert!(matches!(result, RefreshResult::Later { .. }), "{result:?}");
    assert!(store.reauth.lock().unwrap().is_none());

    let store = Kept::new();
    let result = run(&store, &Provider::new(&store, [dead()]), 1).await;
    assert!(
        matches!(result, RefreshResult::NeedsReauth { first: true, .. }),
        "{result:?}"
    );
    assert_eq!(
        store.reauth.lock().unwrap().as_deref(),
        Some("invalid_grant")
    );
    let result = run(&store, &Provider::new(&store, []), 1).await;
    assert!(
        matches!(result, RefreshResult::Gone),
        "nobody asks again: {result:?}"
    );
}

#[tokio::test]
async fn a_passing_failure_keeps_the_grant() {
    let store = Kept::new();
    let result = run(&store, &Provider::new(&store, [transient(false)]), 1).await;
    let wait = Some(Duration::from_secs(7));
    assert!(matches!(result, RefreshResult::Later { retry_after, .. } if retry_after == wait));
    assert_eq!(
        *store.again.lock().unwrap(),
        Some(at(BEGAN).after(Duration::from_secs(7)))
    );
    let row = store.row();
    assert!(row.active && row.refresh_started.is_none() && row.credential == credential(1));

    // The answer was lost: the note stays, since the provider may have acted.
    let store = Kept::new();
    run(&store, &Provider::new(&store, [transient(true)]), 1).await;
    assert_eq!(store.row().refresh_started, Some(at(BEGAN)));

    let store = Kept::new();
    let wrong = TokenOutcome::misconfigured("invalid_client");
    let result = run(&store, &Provider::new(&store, [wrong]), 1).await;
    assert!(matches!(result, RefreshResult::Misconfigured { .. }));
    assert!(store.row().active);
}

#[tokio::test]
async fn after_a_crash_the_old_refresh_token_is_tried_once_more() {
    // The note of the life before is there, its answer is not.
    let store = Kept::new();
    store.change(|row| row.refresh_started = Some(at(10)));
    let provider = Provider::new(&store, [granted(2)]);
    let result = run(&store, &provider, 1).await;
    assert!(matches!(result, RefreshResult::Refreshed(_)));
    assert_eq!(provider.asked_with.lock().unwrap()[0], "refresh-1");

    let store = Kept::new();
    store.change(|row| row.refresh_started = Some(at(10)));
    let result = run(&store, &Provider::new(&store, [dead()]), 1).await;
    let RefreshResult::NeedsReauth { reason, .. } = result else {
        panic!("{result:?}")
    };
    assert!(reason.contains("was cut off"), "{reason}");
}

#[tokio::test]
async fn a_database_that_is_away_costs_no_grant() {
    let store = Kept::new();
    store.failing_swaps.store(2, Ordering::SeqCst);
    let result = run(&store, &Provider::new(&store, [granted(2)]), 1).await;
    assert!(matches!(result, RefreshResult::Refreshed(_)), "{result:?}");
    assert_eq!(
        store.row().credential.refresh_token,
        Some("refresh-2".into())
    );
}

#[tokio::test]
async fn a_version_that_moved_without_a_new_grant_is_followed() {
    let store = Kept::new();
    let provider =
        Provider::new(&store, [granted(2)]).meanwhile(|store| store.change(|row| row.version += 1));
    let result = run(&store, &provider, 1).await;
    assert!(matches!(result, RefreshResult::Refreshed(new) if new.version == 3));

    let store = Kept::new();
    let provider = Provider::new(&store, [granted(2)]).meanwhile(|store| store.sibling_stores(9));
    let result = run(&store, &provider, 1).await;
    let newer = Some("access-9".into());
    assert!(
        matches!(&result, RefreshResult::SiblingWon(new) if new.credential.access_token == newer),
        "a person has consented anew meanwhile: {result:?}"
    );
    let store = Kept::new();
    let provider =
        Provider::new(&store, [granted(2)]).meanwhile(|store| *store.row.lock().unwrap() = None);
    assert!(matches!(
        run(&store, &provider, 1).await,
        RefreshResult::Gone
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_wait_are_one_refresh_that_outlives_them() {
    let (flights, asked) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
    let work = |asked: Arc<AtomicUsize>| async move {
        asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
        asked.fetch_add(100, Ordering::SeqCst);
        RefreshResult::Gone
    };
    let waiting = (0..1_000).map(|_| flights.join(connection(), || work(asked.clone())));
    let all = futures::future::join_all(waiting);
    let left = tokio::time::timeout(Duration::from_millis(50), all).await;
    assert!(left.is_err(), "they all went away");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let late = flights.join(connection(), || work(asked.clone())).await;
    assert!(matches!(late, RefreshResult::Gone));
    assert_eq!(
        asked.load(Ordering::SeqCst),
        101,
        "the same flight, to its end"
    );
    assert!(flights.0.is_empty());
    flights.join(connection(), || work(asked.clone())).await;
    assert_eq!(asked.load(Ordering::SeqCst), 202);
}
