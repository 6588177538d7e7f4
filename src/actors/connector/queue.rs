//! What may leave now: the limits of account, capabilities and app, the breaker, the number of open calls, and the calls that wait. It
//! reads no clock and does no io.
//!
//! What has a limit of its own waits in a lane of its own, so that a capability that is used up holds no other one up. Within a lane
//! employees take turns; lanes take turns for what they share.

use super::{
    ConnectorError,
    app::{Poke, Seat},
    departure::Known,
    fair::FairQueue,
    rules::Rules,
    state::LimiterState,
    view::{AppView, ConnectorView, PlaceView, QuotaView},
};
use crate::{
    connect::{
        Backoff, Breaker, BreakerPolicy, Bucket, BucketState, CallOutcome, RateHints,
        app_quota::Wish, breaker::BreakerState, catalog::RetryRule,
    },
    domain::{EmployeeId, Timestamp},
    graph::Later,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Calls of one connection that may be open at once.
const OPEN_MAX: usize = 32;
/// Employees whose place in the queue is told; the number of the others is.
const PLACES_SHOWN: usize = 100;
/// Tries of a call that has to wait for a token.
const TOKEN_TRIES_MAX: u32 = 8;

/// What a call that waits is about.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub employee: EmployeeId,
    pub cost: u32,
    /// Which limit counts for it; see [`Rules::lane`].
    pub lane: usize,
}

/// What to do next.
pub enum Next<T> {
    Send(T),
    /// Nothing may leave; something may after this time, or after an answer if there is none.
    Wait(Option<Duration>),
}

/// Whether a call that came back goes out once more.
#[derive(Debug, PartialEq)]
pub enum Retry {
    No,
    At(Duration),
}

/// A call that came back.
#[derive(Clone, Copy, Debug)]
pub struct Came<'a> {
    pub claim: Claim,
    pub write: bool,
    /// How often it was out.
    pub tries: u32,
    pub retry: &'a RetryRule,
    /// Spreads the pauses of calls that fail together.
    pub seed: u64,
}

/// A call that is on its way and holds a place. If it is let go without coming back, because its task broke down, the place is given back
/// all the same, and whoever waits for it is poked.
pub struct Out {
    claim: Claim,
    lost: Arc<Lost>,
    poke: Poke,
    is_back: bool,
}

/// What calls held that were let go.
#[derive(Default)]
struct Lost(Mutex<Vec<Claim>>);

impl Out {
    /// It has come back, and is settled by [`Queue::settle`].
    pub fn came_back(mut self) {
        self.is_back = true;
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if self.is_back {
            return;
        }
        let lost = self.lost.0.lock();
        lost.unwrap_or_else(PoisonError::into_inner)
            .push(self.claim);
        (self.poke)();
    }
}

/// What an answer says of the limit that counted the call.
enum Lesson<'a> {
    LetThrough(&'a RateHints),
    Refused { wait: Duration, rate: &'a RateHints },
    Nothing,
}

/// What an answer says of the provider's health.
enum Health {
    Good,
    Bad,
    /// It did not leave: neither for nor against the provider.
    Unknown,
}

/// Where a call stands: how many leave before it, and about how long that takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    pub place: usize,
    pub estimate: Duration,
    pub lane: usize,
}

/// Calls that wait for the same limit.
struct Lane<T> {
    /// The capability's id; empty for everything that has no limit of its own.
    name: String,
    waiting: FairQueue<T>,
    /// Unless the app counts it.
    own: Option<Bucket>,
}

pub struct Queue<T> {
    /// At least one.
    lanes: Vec<Lane<T>>,
    /// Which is asked first.
    first: usize,
    account: Option<Bucket>,
    account_for_all: bool,
    app: Option<Seat>,
    bound: usize,
    open: usize,
    lost: Arc<Lost>,
    open_max: usize,
    breaker: Breaker,
}

impl<T> Queue<T> {
    /// `app`: where the provider counts by app. `kept`: what an earlier life knew.
    pub fn new(rules: &Rules, app: Option<Seat>, bound: usize, kept: Option<LimiterState>) -> Self {
        let (breaker, account, own) = match kept {
            Some(kept) => (Some(kept.breaker), kept.account, kept.own),
            None => (None, None, Vec::new()),
        };
        let mut own: HashMap<String, BucketState> = own.into_iter().collect();
        let counts_by_app = app.is_some();
        let lane = |name: &str, bucket| Lane {
            name: name.into(),
            waiting: FairQueue::default(),
            own: bucket,
        };
        let mut lanes = vec![lane("", None)];
        for (name, quota) in &rules.own {
            let kept = own.remove(name);
            let bucket = (!counts_by_app).then(|| Bucket::restored(*quota, kept));
            lanes.push(lane(name, bucket));
        }
        let policy = BreakerPolicy::default();
        Self {
            lanes,
            first: 0,
            account: rules
                .account
                .map(|given| Bucket::restored(given.quota, account)),
            account_for_all: rules.account.is_some_and(|given| given.for_all),
            app,
            bound,
            open: 0,
            lost: Arc::default(),
            open_max: rules
                .concurrency
                .map_or(OPEN_MAX, |wanted| (wanted as usize).clamp(1, OPEN_MAX)),
            breaker: match breaker {
                Some(state) => Breaker::restored(policy, state),
                None => Breaker::new(policy),
            },
        }
    }

    pub fn limiter_state(&self) -> LimiterState {
        let own = self.lanes.iter();
        LimiterState {
            breaker: self.breaker.state(),
            account: self.account.as_ref().map(Bucket::state),
            own: own
                .filter_map(|lane| Some((lane.name.clone(), lane.own.as_ref()?.state())))
                .collect(),
            app: self.app.as_ref().map(Seat::states).unwrap_or_default(),
        }
    }

    /// # Errors
    /// Gives the call back if as many wait as may.
    pub fn push(&mut self, claim: Claim, call: T) -> Result<(), T> {
        if self.len() >= self.bound {
            return Err(call);
        }
        let waiting = &mut self.lane_mut(claim.lane).waiting;
        waiting.push(claim.employee, claim.cost, call);
        Ok(())
    }

    /// A call that was out once keeps its place before the others of its employee, but not before `not_before`.
    pub fn push_again(&mut self, claim: Claim, call: T, not_before: Timestamp) {
        let waiting = &mut self.lane_mut(claim.lane).waiting;
        waiting.push_again(claim.employee, claim.cost, call, not_before);
    }

    fn lane_mut(&mut self, lane: usize) -> &mut Lane<T> {
        let lane = if lane < self.lanes.len() { lane } else { 0 };
        &mut self.lanes[lane]
    }

    pub fn take_where(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let lanes = self.lanes.iter_mut();
        lanes
            .flat_map(|lane| lane.waiting.take_where(&wanted))
            .collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.lanes.iter().flat_map(|lane| lane.waiting.iter())
    }
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.waiting.is_empty())
    }
    pub fn open(&self) -> usize {
        self.open
    }
    pub fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).sum()
    }

    pub fn next(&mut self, now: Timestamp) -> Next<T> {
        let passes = match self.open < self.open_max {
            true => self.breaker.may_pass(now),
            // An answer decides.
            false => Err(Duration::ZERO),
        };
        if let (false, Err(wait)) = (self.is_empty(), passes) {
            // What it cannot use it does not wait for: others of its app may.
            self.leave_app();
            return Next::Wait(Some(wait).filter(|wait| !wait.is_zero()));
        }
        let mut soonest: Option<Duration> = None;
        for step in 0..self.lanes.len() {
            let place = (self.first + step) % self.lanes.len();
            match self.next_of(place, now) {
                Ok(call) => {
                    self.first = (place + 1) % self.lanes.len();
                    return Next::Send(call);
                }
                Err(wait) => soonest = soonest.into_iter().chain(wait).min(),
            }
        }
        Next::Wait(soonest)
    }

    fn leave_app(&mut self) {
        if let Some(app) = &mut self.app {
            app.leave_all();
        }
    }

    /// A call of this lane that may leave, or when one may.
    fn next_of(&mut self, place: usize, now: Timestamp) -> Result<T, Option<Duration>> {
        let lane = &mut self.lanes[place];
        let account = self
            .account
            .as_mut()
            .filter(|_| place == 0 || self.account_for_all);
        let may = lane.waiting.turn(now).and_then(|turn| {
            let mut wait = Duration::ZERO;
            for bucket in account.into_iter().chain(&mut lane.own) {
                wait = wait.max(bucket.may_pass(now, turn.cost).err().unwrap_or_default());
            }
            match wait.is_zero() {
                true => Ok(turn),
                false => Err(Some(wait)),
            }
        });
        let turn = match may {
            Ok(turn) => turn,
            Err(wait) => {
                if let Some(app) = &mut self.app {
                    app.leave(&lane.name);
                }
                return Err(wait);
            }
        };
        if let Some(app) = &mut self.app {
            let weight = u32::try_from(lane.waiting.employees()).unwrap_or(u32::MAX);
            let cost = turn.cost;
            app.ask(&lane.name, Wish { cost, weight }, now)?;
        }
        let Some(call) = lane.waiting.take(turn) else {
            return Err(None);
        };
        // It was asked before and nothing has changed since.
        let _ = self.breaker.try_pass(now);
        self.pass(place, turn.cost, now);
        Ok(call)
    }

    fn pass(&mut self, place: usize, cost: u32, now: Timestamp) {
        self.open += 1;
        if let Some(app) = &mut self.app {
            app.take(&self.lanes[place].name, now);
        }
        if let Some(account) = &mut self.account
            && (place == 0 || self.account_for_all)
        {
            account.pass(now, cost);
        }
        if let Some(own) = &mut self.lanes[place].own {
            own.pass(now, cost);
        }
    }

    /// What a call holds that leaves now. `poke` is called if it is let go without being settled.
    pub fn out(&self, claim: Claim, poke: Poke) -> Out {
        Out {
            claim,
            lost: self.lost.clone(),
            poke,
            is_back: false,
        }
    }

    /// Takes back what calls held that were let go.
    pub fn count_back_lost(&mut self, now: Timestamp) {
        let lost = self.lost.0.lock();
        let lost = std::mem::take(&mut *lost.unwrap_or_else(PoisonError::into_inner));
        for claim in lost {
            self.breaker.withdrawn(now);
            self.back(claim.lane, Bucket::lost);
        }
    }

    /// Counts a call as back, and lets the limit that the provider speaks of learn from its answer: the one with the narrowest name.
    fn back(&mut self, place: usize, learn: impl FnOnce(&mut Bucket)) {
        self.open = self.open.saturating_sub(1);
        let Some(lane) = self.lanes.get_mut(place) else {
            return;
        };
        let account = self
            .account
            .as_mut()
            .filter(|_| place == 0 || self.account_for_all);
        let (speaks_of, besides) = match (&mut self.app, &mut lane.own) {
            (Some(app), _) => {
                app.returned(&lane.name, learn);
                return account.into_iter().for_each(Bucket::returned);
            }
            (None, Some(own)) => (Some(own), account),
            (None, None) => (account, None),
        };
        besides.into_iter().for_each(Bucket::returned);
        if let Some(bucket) = speaks_of {
            bucket.returned();
            learn(bucket);
        }
    }

    /// Learns from an answer and says whether the call may go out again: a refusal for now always, a failure that surely had no effect
    /// and a read as often as the catalog says, a write whose answer was lost never (that is the ledger's question).
    pub fn settle(&mut self, known: &Known, came: Came<'_>, now: Timestamp) -> Retry {
        let pause = came.retry.backoff().wait(came.tries, came.seed);
        let (lane, cost) = (came.claim.lane, came.claim.cost);
        let again = |wait| match came.tries < came.retry.max_attempts {
            true => Retry::At(wait),
            false => Retry::No,
        };
        let silent = RateHints::default();
        let (health, lesson, retry) = match known {
            Ok(CallOutcome::RateLimited { retry_after, rate }) => {
                let wait = retry_after.unwrap_or(pause);
                (
                    Health::Good,
                    Lesson::Refused { wait, rate },
                    Retry::At(wait),
                )
            }
            Ok(CallOutcome::Busy { retry_after, .. }) => (
                Health::Good,
                Lesson::LetThrough(&silent),
                again(retry_after.unwrap_or(pause)),
            ),
            Ok(outcome) if outcome.is_provider_failure() => {
                let retry = match !came.write || outcome.is_surely_not_applied() {
                    true => again(asked_to_wait(outcome).unwrap_or_default().max(pause)),
                    false => Retry::No,
                };
                (Health::Bad, Lesson::Nothing, retry)
            }
            Ok(CallOutcome::Blocked { .. }) => (Health::Unknown, Lesson::Nothing, Retry::No),
            Ok(CallOutcome::Ok { rate, .. }) => (Health::Good, Lesson::LetThrough(rate), Retry::No),
            Ok(_) => (Health::Good, Lesson::LetThrough(&silent), Retry::No),
            Err(ConnectorError::TokenLater { retry_after, .. }) => {
                let pause = Backoff::default().wait(came.tries, came.seed);
                let retry = match came.tries < TOKEN_TRIES_MAX {
                    true => Retry::At(retry_after.unwrap_or(pause)),
                    false => Retry::No,
                };
                (Health::Unknown, Lesson::Nothing, retry)
            }
            Err(_) => (Health::Unknown, Lesson::Nothing, Retry::No),
        };
        match health {
            Health::Good => self.breaker.succeeded(),
            Health::Bad => self.breaker.failed(now),
            Health::Unknown => self.breaker.withdrawn(now),
        }
        // Whatever came of it, its place is free.
        self.back(lane, |bucket| match lesson {
            Lesson::LetThrough(hints) => bucket.let_through(now, cost, hints),
            Lesson::Refused { wait, rate } => bucket.refused(now, cost, wait, rate),
            Lesson::Nothing => bucket.lost(),
        });
        retry
    }

    /// How long a call of this lane waits behind `cost_before`, if nobody else comes.
    fn estimate(&self, place: usize, cost_before: u64, now: Timestamp) -> Duration {
        let Some(lane) = self.lanes.get(place) else {
            return Duration::ZERO;
        };
        let account = self
            .account
            .iter()
            .filter(|_| place == 0 || self.account_for_all);
        let buckets = account.chain(&lane.own);
        let by_buckets = buckets.map(|bucket| bucket.estimate(now, cost_before));
        let by_app = self.app.iter();
        let by_app = by_app.map(|app| app.estimate(&lane.name, cost_before, now));
        let by_breaker = self.breaker.may_pass(now).err();
        by_buckets
            .chain(by_app)
            .chain(by_breaker)
            .max()
            .unwrap_or_default()
    }

    /// Where the next call of an employee stands in a lane, or would stand if it has none there, and about how long until it leaves.
    pub fn later(&self, employee: EmployeeId, lane: usize, now: Timestamp) -> Later {
        let Some(waiting) = self.lanes.get(lane) else {
            return Later {
                estimate_ms: 0,
                place: None,
            };
        };
        let places = waiting.waiting.places();
        let own = places.iter().position(|one| one.employee == employee);
        let cost_before = match own {
            Some(place) => places[place].cost_before,
            // A whole round goes before it.
            None => places.last().map_or(0, |last| last.cost_before + 1),
        };
        Later {
            estimate_ms: millis(self.estimate(lane, cost_before, now)),
            place: Some(own.unwrap_or(places.len())),
        }
    }

    /// Where the calls stand that are `wanted`.
    pub fn standings<'a>(
        &'a self,
        wanted: impl Fn(&T) -> bool + 'a,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a T, Standing)> + 'a {
        let lanes = self.lanes.iter().enumerate();
        lanes.flat_map(move |(lane, waiting)| {
            let standings = waiting.waiting.standings(&wanted);
            standings
                .into_iter()
                .map(move |(call, place, cost_before)| {
                    let estimate = self.estimate(lane, cost_before, now);
                    let standing = Standing {
                        place,
                        estimate,
                        lane,
                    };
                    (call, standing)
                })
                .collect::<Vec<_>>()
        })
    }

    pub fn view(&self, now: Timestamp) -> ConnectorView {
        let breaker_until = match self.breaker.state() {
            BreakerState::Open { until, .. } => Some(until).filter(|until| *until > now),
            _ => None,
        };
        let app = self.app.as_ref().map(|app| app.view(now));
        let account = self.account.iter().map(|bucket| ("", bucket));
        let own = self.lanes.iter();
        let own = own.filter_map(|lane| Some((lane.name.as_str(), lane.own.as_ref()?)));
        let mut quotas: Vec<QuotaView> = account
            .chain(own)
            .map(|(name, bucket)| QuotaView::new("account", name, bucket, now))
            .collect();
        let of_app = app.iter().flat_map(|(views, ..)| views);
        quotas.extend(of_app.map(|(name, view)| QuotaView {
            of: "app",
            capability: named(name),
            bucket: view.clone(),
        }));
        ConnectorView {
            awake: true,
            open: self.open,
            open_max: self.open_max,
            waiting: self.len(),
            employees_waiting: self.lanes.iter().map(|lane| lane.waiting.employees()).sum(),
            places: self.places(now),
            breaker: self.breaker.state().word(),
            breaker_until,
            quotas,
            app: app.map(|(_, open, open_max)| AppView { open, open_max }),
        }
    }

    fn places(&self, now: Timestamp) -> Vec<PlaceView> {
        let lanes = self.lanes.iter().enumerate();
        let places = lanes.flat_map(|(lane, waiting)| {
            let places = waiting.waiting.places().into_iter().enumerate();
            places.map(move |(place, one)| PlaceView {
                employee: one.employee,
                waiting: one.waiting,
                place,
                estimate_ms: millis(self.estimate(lane, one.cost_before, now)),
                capability: named(&waiting.name),
            })
        });
        places.take(PLACES_SHOWN).collect()
    }

    /// What the first of a lane waits for.
    pub fn reason_in_words(&self, lane: usize, now: Timestamp) -> String {
        let Some(waiting) = self.lanes.get(lane) else {
            return String::new();
        };
        let account = self
            .account
            .iter()
            .filter(|_| lane == 0 || self.account_for_all);
        let held = account.chain(&waiting.own);
        let held = held.filter_map(|bucket| bucket.held_back_until(now));
        let by_app = self.app.iter();
        let by_app = by_app.filter_map(|app| app.held_back_until(&waiting.name, now));
        let held_back_until = held.chain(by_app).max();
        match (self.breaker.state(), held_back_until) {
            (BreakerState::Open { .. }, _) => "the provider to recover (circuit breaker)".into(),
            _ if self.open >= self.open_max => {
                format!("one of {} open calls to return", self.open_max)
            }
            (_, Some(until)) => format!("the provider's Retry-After, until {until}"),
            _ if lane > 0 => format!("its turn in the quota of {}", waiting.name),
            _ if self.app.is_some() => "its turn in the app's quota".into(),
            _ => "its turn in the connection's quota".into(),
        }
    }

    /// The lane of the first call that waits.
    pub fn busiest(&self) -> usize {
        let lanes = self.lanes.iter().enumerate();
        let longest = lanes.max_by_key(|(_, lane)| lane.waiting.len());
        longest.map_or(0, |(place, _)| place)
    }
}

fn asked_to_wait(outcome: &CallOutcome) -> Option<Duration> {
    match outcome {
        CallOutcome::Unknown { retry_after, .. } => *retry_after,
        _ => None,
    }
}

fn named(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
