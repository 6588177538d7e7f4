//! What an app may do at a provider that counts all of its accounts together, shared between the connections that were made through it.
//! Pure.
//!
//! Each connection has a queue of its own, so the app's quota is shared between those that have something waiting, by start-time fair
//! queueing (Goyal, Vin and Cheng, 1996). A connection weighs as much as employees wait at it: an employee gets the same whether it
//! shares its account with fifty others or has one to itself.

use super::{
    bucket::{Bucket, BucketState, BucketView},
    catalog::Quota,
};
use crate::domain::Timestamp;
use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Duration,
};

/// One unit of cost for a connection of weight 1, in virtual time.
const UNIT: u64 = 1 << 20;

/// The quota of one app. `K` names a connection.
#[derive(Debug)]
pub struct AppQuota<K> {
    open: usize,
    open_max: Option<usize>,
    lanes: BTreeMap<String, Lane<K>>,
}

/// A limit of its own: the integration's (its name is empty) or a capability's.
#[derive(Debug)]
struct Lane<K> {
    bucket: Bucket,
    now: u64,
    /// Where those would go on that were served lately.
    finished: HashMap<K, u64>,
    waiting: HashMap<K, Wanted>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    start: u64,
    cost: u32,
    weight: u32,
}

/// A call that wants to leave.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub cost: u32,
    /// How many employees wait with it.
    pub weight: u32,
}

/// Why a call may not leave now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held<K> {
    /// When to ask again; `None`: one is told.
    pub wait: Option<Duration>,
    /// Whose turn it is, and could be taken.
    pub turn_of: Option<K>,
}

impl<K: Copy + Eq + Hash + Ord> AppQuota<K> {
    pub fn new(open_max: Option<u32>) -> Self {
        Self {
            open: 0,
            open_max: open_max.map(|most| most.max(1) as usize),
            lanes: BTreeMap::new(),
        }
    }

    /// Takes note of a limit, with what an earlier life knew of it.
    pub fn add_lane(&mut self, name: &str, quota: Quota, kept: Option<BucketState>) {
        let lane = self.lanes.entry(name.into()).or_insert_with(|| Lane {
            bucket: Bucket::of(quota),
            now: 0,
            finished: HashMap::new(),
            waiting: HashMap::new(),
        });
        if let Some(kept) = kept {
            lane.bucket.absorb(kept);
        }
    }

    /// Whether `who` may send a call now. From here on it waits, until it takes or leaves.
    ///
    /// # Errors
    /// Why not.
    pub fn ask(&mut self, name: &str, who: K, wish: Wish, now: Timestamp) -> Result<(), Held<K>> {
        let has_room = self.open_max.is_none_or(|most| self.open < most);
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(());
        };
        lane.want(who, wish);
        if !has_room {
            return Err(Held {
                wait: None,
                turn_of: None,
            });
        }
        let held = |wait, turn_of| Err(Held { wait, turn_of });
        match (lane.bucket.may_pass(now, wish.cost), lane.front()) {
            (Err(wait), _) => held(Some(wait), None),
            (Ok(()), Some(front)) if front != who => held(None, Some(front)),
            (Ok(()), _) => Ok(()),
        }
    }

    /// A call leaves that may.
    pub fn take(&mut self, name: &str, who: K, now: Timestamp) {
        self.open += 1;
        if let Some(lane) = self.lanes.get_mut(name)
            && let Some(wanted) = lane.waiting.remove(&who)
        {
            lane.bucket.pass(now, wanted.cost);
            lane.now = lane.now.max(wanted.start);
            let share = UNIT * u64::from(wanted.cost) / u64::from(wanted.weight.max(1));
            lane.finished
                .insert(who, wanted.start.saturating_add(share));
            let now = lane.now;
            lane.finished.retain(|_, finish| *finish > now);
        }
    }

    /// `who` has nothing more that waits for this limit.
    pub fn leave(&mut self, name: &str, who: K) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.waiting.remove(&who);
        }
    }

    /// A call is back.
    pub fn returned(&mut self, name: &str) {
        self.open = self.open.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.bucket.returned();
        }
    }

    pub fn bucket(&mut self, name: &str) -> Option<&mut Bucket> {
        self.lanes.get_mut(name).map(|lane| &mut lane.bucket)
    }

    /// Whose turn it is next, at every limit.
    pub fn fronts(&self) -> Vec<K> {
        self.lanes.values().filter_map(Lane::front).collect()
    }

    /// How long a call of `who` waits behind `cost_before` others of its own, if nobody else comes.
    pub fn estimate(&self, name: &str, who: K, cost_before: u64, now: Timestamp) -> Duration {
        let Some(lane) = self.lanes.get(name) else {
            return Duration::ZERO;
        };
        let all: u64 = lane
            .waiting
            .values()
            .map(|wanted| u64::from(wanted.weight))
            .sum();
        let own = lane
            .waiting
            .get(&who)
            .map_or(1, |wanted| u64::from(wanted.weight.max(1)));
        let before = cost_before.saturating_mul(all.max(own)) / own;
        lane.bucket.estimate(now, before)
    }

    pub fn states(&self) -> Vec<(String, BucketState)> {
        let lanes = self.lanes.iter();
        lanes
            .map(|(name, lane)| (name.clone(), lane.bucket.state()))
            .collect()
    }

    pub fn views(&self, now: Timestamp) -> Vec<(String, BucketView)> {
        let lanes = self.lanes.iter();
        lanes
            .map(|(name, lane)| (name.clone(), lane.bucket.view(now)))
            .collect()
    }

    /// Calls that are on their way, and how many may be.
    pub fn open(&self) -> (usize, Option<usize>) {
        (self.open, self.open_max)
    }
}

impl<K: Copy + Eq + Hash + Ord> Lane<K> {
    fn want(&mut self, who: K, wish: Wish) {
        let start = match self.waiting.get(&who) {
            Some(known) => known.start,
            None => self
                .finished
                .get(&who)
                .map_or(self.now, |finish| self.now.max(*finish)),
        };
        let wanted = Wanted {
            start,
            cost: wish.cost,
            weight: wish.weight,
        };
        self.waiting.insert(who, wanted);
    }

    fn front(&self) -> Option<K> {
        let waiting = self.waiting.iter();
        waiting
            .min_by_key(|(who, wanted)| (wanted.start, **who))
            .map(|(who, _)| *who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        requests: 60,
        per_seconds: 60,
        burst: 1,
    };
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + seconds * 1_000)
    }
    fn quota(open_max: Option<u32>) -> AppQuota<u8> {
        let mut quota = AppQuota::new(open_max);
        quota.add_lane("", QUOTA, None);
        quota
    }
    fn wish(weight: u32) -> Wish {
        Wish { cost: 1, weight }
    }

    /// Whatever order they ask in, whoever is fastest.
    #[test]
    fn connections_get_as_much_as_employees_wait_at_them() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let mut quota = quota(None);
            let mut served = [0; 4];
            for second in 0..600 {
                // Each asks; the one whose turn it is is told, and takes.
                let mut turn = None;
                for who in order {
                    match quota.ask("", who, wish(who.into()), at(second)) {
                        Ok(()) => turn = Some(who),
                        Err(held) => turn = turn.or(held.turn_of),
                    }
                }
                let who = turn.unwrap();
                assert_eq!(quota.ask("", who, wish(who.into()), at(second)), Ok(()));
                quota.take("", who, at(second));
                quota.returned("");
                served[usize::from(who)] += 1;
            }
            assert!(
                served
                    .iter()
                    .zip([0, 100, 200, 300])
                    .all(|(got, wanted): (&i32, i32)| (got - wanted).abs() <= 2),
                "{served:?}"
            );
        }
    }

    #[test]
    fn who_leaves_holds_nobody_up() {
        let mut quota = quota(None);
        assert_eq!(quota.ask("", 1, wish(1), at(0)), Ok(()));
        let held = quota.ask("", 2, wish(1), at(0)).unwrap_err();
        assert_eq!((held.wait, held.turn_of), (None, Some(1)));
        quota.leave("", 1);
        assert_eq!(quota.fronts(), [2]);
        assert_eq!(quota.ask("", 2, wish(1), at(0)), Ok(()));
        quota.take("", 2, at(0));
        let held = quota.ask("", 1, wish(1), at(0)).unwrap_err();
        assert_eq!(
            (held.wait, held.turn_of),
            (Some(Duration::from_secs(1)), None)
        );
        assert_eq!(
            quota.estimate("", 1, 3, at(0)),
            Duration::from_secs(4),
            "its own three before it"
        );
    }

    #[test]
    fn open_calls_are_bounded_over_all_connections_and_limits() {
        let mut quota = quota(Some(1));
        quota.add_lane("zoom.report", QUOTA, None);
        quota.ask("", 1, wish(1), at(0)).unwrap();
        quota.take("", 1, at(0));
        let held = quota.ask("zoom.report", 2, wish(1), at(0)).unwrap_err();
        assert_eq!((held.wait, held.turn_of), (None, None));
        quota.returned("");
        assert_eq!(quota.fronts(), [2]);
        assert_eq!(quota.ask("zoom.report", 2, wish(1), at(0)), Ok(()));
    }
}
