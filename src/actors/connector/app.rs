//! The apps whose quota several connections share: one [`AppQuota`] for all connectors of this node that were connected through one app.
//!
//! A connector that may not send is told when it is its turn. What a connector leaves behind when it stops, its place and its open calls,
//! is given back by dropping its [`Seat`].

use crate::{
    connect::{
        AppQuota, BucketState, BucketView, Quota,
        app_quota::{Held, Wish},
        bucket::Bucket,
    },
    domain::{ConnectionId, OrgId, Timestamp},
};
use dashmap::DashMap;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use uuid::Uuid;

/// An app at a provider. An org's own app is nobody else's, even if another org writes down the same client id: ids are public, and a quota
/// that is shared with a stranger could be used up by the stranger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppKey {
    pub integration: String,
    /// Whose app it is; `None`: the operator's.
    pub org: Option<OrgId>,
    pub client_id: String,
}

impl AppKey {
    /// The same for the same app, everywhere and always.
    pub fn uuid(&self) -> Uuid {
        let org = self.org.map(|org| org.to_string()).unwrap_or_default();
        let name = format!("app\0{}\0{org}\0{}", self.integration, self.client_id);
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    }
}

/// Tells a connector that it may be its turn. Must not block.
pub type Poke = Arc<dyn Fn() + Send + Sync>;

/// The apps that connectors of this node use now.
#[derive(Default)]
pub struct Apps(DashMap<AppKey, Weak<App>>);

struct App(Mutex<Shared>);

struct Shared {
    quota: AppQuota<SeatId>,
    pokes: HashMap<SeatId, Poke>,
    seats: u64,
}

/// One connector of a connection: the one that leaves and the one that comes after it are two.
type SeatId = (ConnectionId, u64);

impl App {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Those whose turn it is, besides `who`, which looks for itself.
    fn others(&self, who: SeatId) -> Vec<Poke> {
        let mut fronts = self.quota.fronts();
        fronts.sort_unstable();
        fronts.dedup();
        let others = fronts.into_iter().filter(|front| *front != who);
        others
            .filter_map(|front| self.pokes.get(&front).cloned())
            .collect()
    }
}

fn tell(pokes: Vec<Poke>) {
    pokes.into_iter().for_each(|poke| poke());
}

/// What a connector brings to its app.
pub struct Joining<'a> {
    pub who: ConnectionId,
    /// The limits: the integration's has the empty name, the others are named by their capabilities.
    pub limits: &'a [(String, Quota)],
    pub concurrency: Option<u32>,
    /// What it has kept of them.
    pub kept: Vec<(String, BucketState)>,
    pub poke: Poke,
}

impl Apps {
    /// A connector's place at its app.
    pub fn join(&self, key: &AppKey, joining: Joining<'_>) -> Seat {
        let app = {
            let mut entry = self.0.entry(key.clone()).or_default();
            match entry.upgrade() {
                Some(app) => app,
                None => {
                    let app = Arc::new(App(Mutex::new(Shared {
                        quota: AppQuota::new(joining.concurrency),
                        pokes: HashMap::new(),
                        seats: 0,
                    })));
                    *entry = Arc::downgrade(&app);
                    app
                }
            }
        };
        let mut kept: HashMap<String, BucketState> = joining.kept.into_iter().collect();
        let mut shared = app.shared();
        for (name, quota) in joining.limits {
            shared.quota.add_lane(name, *quota, kept.remove(name));
        }
        shared.seats += 1;
        let who = (joining.who, shared.seats);
        shared.pokes.insert(who, joining.poke);
        drop(shared);
        self.0
            .retain(|other, app| other == key || app.strong_count() > 0);
        Seat {
            app,
            who,
            waits_for: BTreeSet::new(),
            open: Vec::new(),
        }
    }
}

/// A connector's place at its app.
pub struct Seat {
    app: Arc<App>,
    who: SeatId,
    waits_for: BTreeSet<String>,
    /// The limit of each open call.
    open: Vec<String>,
}

impl Seat {
    /// Whether a call may leave that is counted for `limit`.
    ///
    /// # Errors
    /// When to ask again; `None`: the connector is poked.
    pub fn ask(&mut self, limit: &str, wish: Wish, now: Timestamp) -> Result<(), Option<Duration>> {
        if !self.waits_for.contains(limit) {
            self.waits_for.insert(limit.into());
        }
        let mut shared = self.app.shared();
        let Err(Held { wait, turn_of }) = shared.quota.ask(limit, self.who, wish, now) else {
            return Ok(());
        };
        let poke = turn_of.and_then(|front| shared.pokes.get(&front).cloned());
        drop(shared);
        tell(poke.into_iter().collect());
        Err(wait)
    }

    /// The call leaves for which [`Seat::ask`] said yes.
    pub fn take(&mut self, limit: &str, now: Timestamp) {
        self.waits_for.remove(limit);
        self.open.push(limit.into());
        let mut shared = self.app.shared();
        shared.quota.take(limit, self.who, now);
        let others = shared.others(self.who);
        drop(shared);
        tell(others);
    }

    /// Nothing waits here for `limit` any more, or not because of it.
    pub fn leave(&mut self, limit: &str) {
        if !self.waits_for.remove(limit) {
            return;
        }
        let mut shared = self.app.shared();
        shared.quota.leave(limit, self.who);
        let others = shared.others(self.who);
        drop(shared);
        tell(others);
    }

    pub fn leave_all(&mut self) {
        for limit in self.waits_for.clone() {
            self.leave(&limit);
        }
    }

    /// A call is back; `learn` reads what its answer tells of the limit.
    pub fn returned(&mut self, limit: &str, learn: impl FnOnce(&mut Bucket)) {
        if let Some(place) = self.open.iter().position(|open| open == limit) {
            self.open.swap_remove(place);
        }
        let mut shared = self.app.shared();
        shared.quota.returned(limit);
        if let Some(bucket) = shared.quota.bucket(limit) {
            learn(bucket);
        }
        let others = shared.others(self.who);
        drop(shared);
        tell(others);
    }

    pub fn estimate(&self, limit: &str, cost_before: u64, now: Timestamp) -> Duration {
        let shared = self.app.shared();
        shared.quota.estimate(limit, self.who, cost_before, now)
    }

    /// Until when the provider has asked the app to stay away.
    pub fn held_back_until(&self, limit: &str, now: Timestamp) -> Option<Timestamp> {
        let mut shared = self.app.shared();
        shared.quota.bucket(limit)?.held_back_until(now)
    }

    pub fn states(&self) -> Vec<(String, BucketState)> {
        self.app.shared().quota.states()
    }

    /// The limits, and the calls that are open at all connections of the app, with how many may be.
    pub fn view(&self, now: Timestamp) -> (Vec<(String, BucketView)>, usize, Option<usize>) {
        let shared = self.app.shared();
        let (open, open_max) = shared.quota.open();
        (shared.quota.views(now), open, open_max)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut shared = self.app.shared();
        shared.pokes.remove(&self.who);
        for limit in &self.waits_for {
            shared.quota.leave(limit, self.who);
        }
        for limit in &self.open {
            shared.quota.returned(limit);
        }
        let others = shared.others(self.who);
        drop(shared);
        tell(others);
    }
}
