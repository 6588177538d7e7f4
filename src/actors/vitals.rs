//! What can be seen of every actor without asking it, so that a stuck one is visible too.

use crate::{
    domain::{ExecutionId, OrgId, Timestamp},
    graph::StepId,
    persistence::EffectOwners,
};
use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Upper bounds of the handler time classes in microseconds: powers of two from 1 µs to about 16 s, and the rest.
const TIME_CLASSES: usize = 26;

/// The path of an actor in the tree, for example `employee:emp_…/skill:skill_invoices/micro_agent:n1`.
pub type ActorPath = Arc<str>;

/// Counters of one actor, written by its mailbox, read by anybody.
pub struct Vitals {
    path: ActorPath,
    kind: &'static str,
    /// `None`: belongs to the node and is shown to administrators of any org without what it works on.
    org: Option<OrgId>,
    /// The one user of the org whose account it works with.
    user: Option<String>,
    /// Most messages that the mailbox takes before it answers `Overloaded`.
    bound: usize,
    epoch: Instant,
    handled: AtomicU64,
    failed: AtomicU64,
    restarts: AtomicU32,
    /// Microseconds since `epoch` at which the message in work was taken; 0: idle.
    busy_since: AtomicU64,
    times: [AtomicU32; TIME_CLASSES],
    queue: Mutex<VecDeque<u64>>,
    load: [AtomicU32; 3],
    /// Paths right below it, of an employee and of a skill: what goes with it.
    children: Mutex<Vec<ActorPath>>,
    words: Mutex<Words>,
}

#[derive(Default)]
struct Words {
    last_message: &'static str,
    /// The step in work: if the actor dies now, it was this one's fault.
    current: Option<(ExecutionId, StepId)>,
    doing: Option<String>,
    waiting: Option<Waiting>,
    last_error: Option<LastError>,
}

/// What an actor waits for.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Waiting {
    pub on: String,
    pub since: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct LastError {
    pub message: String,
    pub at: Timestamp,
}

/// One actor as the introspection endpoint shows it. Times in microseconds where the name says so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActorView {
    pub id: String,
    pub kind: Cow<'static, str>,
    /// The name of the node on which it lives, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub parent: Option<String>,
    /// `idle`, `busy` or `waiting`.
    pub status: Cow<'static, str>,
    pub doing: Option<String>,
    pub waiting_on: Option<Waiting>,
    pub mailbox: MailboxView,
    pub handled: u64,
    pub failed: u64,
    pub restarts: u32,
    pub last_error: Option<LastError>,
    pub last_message: Cow<'static, str>,
    /// How long the message in work has been in work.
    pub busy_us: Option<u64>,
    pub handler_p50_us: Option<u64>,
    pub handler_p99_us: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MailboxView {
    pub depth: usize,
    pub bound: usize,
    pub oldest_age_us: Option<u64>,
}

impl Vitals {
    fn new(
        path: ActorPath,
        kind: &'static str,
        (org, user): (Option<OrgId>, Option<&str>),
        bound: usize,
    ) -> Self {
        Self {
            path,
            kind,
            org,
            user: user.map(str::to_owned),
            bound,
            epoch: Instant::now(),
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            restarts: AtomicU32::new(0),
            busy_since: AtomicU64::new(0),
            times: std::array::from_fn(|_| AtomicU32::new(0)),
            queue: Mutex::default(),
            load: Default::default(),
            children: Mutex::default(),
            words: Mutex::default(),
        }
    }

    pub fn path(&self) -> &ActorPath {
        &self.path
    }
    pub fn org(&self) -> Option<OrgId> {
        self.org
    }
    pub fn depth(&self) -> usize {
        lock(&self.queue).len()
    }
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
    pub fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }
    pub fn doing(&self) -> Option<String> {
        lock(&self.words).doing.clone()
    }
    pub fn set_doing(&self, doing: Option<String>) {
        lock(&self.words).doing = doing;
    }
    /// What it has in hand: at work, only waiting, in its own queue. For actors whose `doing` is that.
    pub fn set_load(&self, working: usize, waiting: usize, queued: usize) {
        for (slot, count) in self.load.iter().zip([working, waiting, queued]) {
            slot.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }
    pub fn set_waiting(&self, waiting: Option<Waiting>) {
        lock(&self.words).waiting = waiting;
    }
    pub fn waiting(&self) -> Option<Waiting> {
        lock(&self.words).waiting.clone()
    }
    pub fn set_current(&self, step: Option<(ExecutionId, StepId)>) {
        lock(&self.words).current = step;
    }
    pub fn take_current(&self) -> Option<(ExecutionId, StepId)> {
        lock(&self.words).current.take()
    }
    pub fn record_error(&self, message: String, at: Timestamp) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        lock(&self.words).last_error = Some(LastError { message, at });
    }
    pub fn record_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message in, unless the mailbox is full.
    pub(super) fn enqueue(&self, bounded: bool) -> bool {
        let now = self.micros();
        let mut queue = lock(&self.queue);
        if bounded && queue.len() >= self.bound {
            return false;
        }
        queue.push_back(now);
        true
    }

    /// Takes back the last [`Vitals::enqueue`]: the actor was gone.
    pub(super) fn unqueue(&self) {
        lock(&self.queue).pop_back();
    }

    pub(super) fn begin(&self, message: &'static str) {
        lock(&self.queue).pop_front();
        lock(&self.words).last_message = message;
        self.busy_since
            .store(self.micros().max(1), Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        let began = self.busy_since.swap(0, Ordering::Relaxed);
        let took = self.micros().saturating_sub(began);
        let class = (64 - took.leading_zeros() as usize).min(TIME_CLASSES - 1);
        self.times[class].fetch_add(1, Ordering::Relaxed);
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that were in the mailbox when the actor died are not there any more.
    pub(super) fn forget_queue(&self) {
        lock(&self.queue).clear();
        self.busy_since.store(0, Ordering::Relaxed);
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Upper bound of the class in which `quantile` of the handled messages lie.
    fn handler_time(&self, quantile: f64) -> Option<u64> {
        let counts: Vec<u64> = self
            .times
            .iter()
            .map(|count| count.load(Ordering::Relaxed).into())
            .collect();
        let total: u64 = counts.iter().sum();
        let wanted = (total as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        counts
            .iter()
            .position(|count| {
                seen += count;
                total > 0 && seen >= wanted
            })
            .map(|class| 1u64 << class)
    }

    pub fn view(&self) -> ActorView {
        let now = self.micros();
        let (depth, oldest) = {
            let queue = lock(&self.queue);
            (queue.len(), queue.front().copied())
        };
        let busy = Some(self.busy_since.load(Ordering::Relaxed)).filter(|since| *since > 0);
        let words = lock(&self.words);
        let load: Vec<u32> = self
            .load
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let doing = words
            .doing
            .clone()
            .or_else(|| {
                words
                    .current
                    .map(|(run, step)| format!("step {step} of run {run}"))
            })
            .or_else(|| load_in_words(&load));
        let waiting_only = words.waiting.is_some() || (load[0] == 0 && load[1] > 0);
        let status = match (
            busy,
            load[0] > 0 || (doing.is_some() && !waiting_only),
            waiting_only,
        ) {
            (Some(_), _, _) | (None, true, _) => "busy",
            (None, false, true) => "waiting",
            (None, false, false) => "idle",
        };
        ActorView {
            id: self.path.to_string(),
            kind: self.kind.into(),
            node: None,
            parent: self
                .path
                .rsplit_once('/')
                .map(|(parent, _)| parent.to_string()),
            status: status.into(),
            doing,
            waiting_on: words.waiting.clone(),
            mailbox: MailboxView {
                depth,
                bound: self.bound,
                oldest_age_us: oldest.map(|at| now.saturating_sub(at)),
            },
            handled: self.handled.load(Ordering::Relaxed),
            failed: self.failed(),
            restarts: self.restarts(),
            last_error: words.last_error.clone(),
            last_message: words.last_message.into(),
            busy_us: busy.map(|since| now.saturating_sub(since)),
            handler_p50_us: self.handler_time(0.50),
            handler_p99_us: self.handler_time(0.99),
        }
    }
}

/// `2 at work, 1 waiting`; `None` with nothing in hand.
fn load_in_words(load: &[u32]) -> Option<String> {
    let words: Vec<String> = load
        .iter()
        .zip(["at work", "waiting", "queued"])
        .filter(|(count, _)| **count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// The live actors of this process by path.
#[derive(Clone, Default)]
pub struct VitalsRegistry(Arc<DashMap<ActorPath, Arc<Vitals>>>);

impl VitalsRegistry {
    /// Registers an actor. One that comes back under its path keeps its counters, so that restarts can be counted.
    pub fn register(
        &self,
        path: impl Into<ActorPath>,
        kind: &'static str,
        org: Option<OrgId>,
        bound: usize,
    ) -> Arc<Vitals> {
        self.register_for(path, kind, (org, None), bound)
    }

    /// The same for one that works with what belongs to one user of the org, and is nobody else's to see.
    pub fn register_for(
        &self,
        path: impl Into<ActorPath>,
        kind: &'static str,
        owner: (Option<OrgId>, Option<&str>),
        bound: usize,
    ) -> Arc<Vitals> {
        let path = path.into();
        if let Some(known) = self.get(&path) {
            known.forget_queue();
            return known;
        }
        let vitals = Arc::new(Vitals::new(path.clone(), kind, owner, bound));
        self.0.insert(path.clone(), vitals.clone());
        let parent = path
            .rsplit_once('/')
            .and_then(|(parent, _)| self.get(parent));
        if let Some(parent) = parent.filter(|parent| matches!(parent.kind, "employee" | "skill")) {
            lock(&parent.children).push(path);
        }
        vitals
    }

    /// Removes an employee or a skill and everything below it, without a walk over all actors.
    pub fn remove_tree(&self, path: &str) {
        if let Some((_, vitals)) = self.0.remove(path) {
            for child in std::mem::take(&mut *lock(&vitals.children)) {
                self.remove_tree(&child);
            }
        }
    }

    pub fn get(&self, path: &str) -> Option<Arc<Vitals>> {
        self.0.get(path).map(|entry| entry.value().clone())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many actors of a kind there are, whosever they are.
    pub fn of_kind(&self, kind: &str) -> usize {
        let found = self.0.iter().filter(|entry| entry.value().kind == kind);
        found.count()
    }

    /// All actors that `org` may see, sorted by path: its own, and the node's.
    pub fn visible_to(&self, org: OrgId) -> Vec<Arc<Vitals>> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|entry| entry.value().clone())
            .filter(|v| v.org.is_none_or(|owner| owner == org))
            .collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// The actors that somebody of an org may see, by path, `limit` at most: those of the org and of the users that are meant, and if wanted the
    /// node's, of which it is not told what they work on, since that may be another org's.
    pub fn views_of(
        &self,
        org: OrgId,
        owners: &EffectOwners,
        with_node: bool,
        limit: usize,
    ) -> Vec<ActorView> {
        let all = self.visible_to(org).into_iter();
        let wanted = all
            .filter(|vitals| with_node || vitals.org.is_some())
            .filter(|vitals| owners.include(vitals.user.as_deref()));
        wanted
            .take(limit)
            .map(|vitals| {
                let mut view = vitals.view();
                if vitals.org.is_none() {
                    view.doing = None;
                    view.waiting_on = None;
                    view.last_error = None;
                }
                view
            })
            .collect()
    }

    /// Deepest mailbox and oldest message of the process, for the metrics.
    pub fn pressure(&self) -> (usize, Duration) {
        self.0
            .iter()
            .fold((0, Duration::ZERO), |(depth, age), entry| {
                let view = entry.value().view();
                (
                    depth.max(view.mailbox.depth),
                    age.max(Duration::from_micros(
                        view.mailbox.oldest_age_us.unwrap_or(0),
                    )),
                )
            })
    }
}

/// A poisoned lock guards plain numbers and words here: they are still right.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_takes_no_more_until_one_is_handled() {
        let vitals = VitalsRegistry::default().register("a", "test", None, 2);
        assert!(vitals.enqueue(true) && vitals.enqueue(true));
        assert!(!vitals.enqueue(true));
        vitals.begin("work");
        assert_eq!(vitals.view().status, "busy");
        vitals.end();
        assert!(vitals.enqueue(true));
        assert_eq!((vitals.view().handled, vitals.view().mailbox.depth), (1, 2));
    }

    #[test]
    fn a_tree_is_removed_without_its_neighbours() {
        let registry = VitalsRegistry::default();
        for (path, kind) in [
            ("e:1", "employee"),
            ("e:1/skill:a", "skill"),
            ("e:1/skill:a/m:n", "micro_agent"),
            ("e:10", "employee"),
        ] {
            registry.register(path, kind, None, 1);
        }
        registry.remove_tree("e:1");
        assert_eq!(registry.len(), 1);
        assert!(registry.get("e:10").is_some());
    }

    #[test]
    fn another_org_sees_only_the_nodes_actors() {
        let (mine, other) = (
            OrgId::from_uuid(uuid::Uuid::from_u128(1)),
            OrgId::from_uuid(uuid::Uuid::from_u128(2)),
        );
        let registry = VitalsRegistry::default();
        registry.register("journal", "journal", None, 1);
        registry.register("employee:x", "employee", Some(mine), 1);
        assert_eq!(registry.visible_to(mine).len(), 2);
        assert_eq!(registry.visible_to(other).len(), 1);
    }

    #[test]
    fn what_works_for_one_user_is_seen_by_that_user() {
        let org = OrgId::from_uuid(uuid::Uuid::from_u128(1));
        let registry = VitalsRegistry::default();
        registry.register("employee:x", "employee", Some(org), 1);
        registry.register_for("connector:a", "connector", (Some(org), Some("ann")), 1);
        for (owners, seen) in [
            (EffectOwners::All, 2),
            (EffectOwners::User("ann".into()), 2),
            (EffectOwners::User("bob".into()), 1),
            (EffectOwners::OrgOnly, 1),
        ] {
            let views = registry.views_of(org, &owners, false, 10);
            assert_eq!(views.len(), seen, "{owners:?}");
        }
    }
}
