//! The waiting calls of a connection, shared fairly between those who wait: deficit round robin (Shreedhar and Varghese, 1995) over
//! employees. Pure.
//!
//! Every employee that has something waiting gets the same share of the quota, however many of its runs ask: one that splits its work
//! over fifty runs gains nothing. Among the calls of one employee the order is that in which they came.

use crate::domain::{EmployeeId, Timestamp};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// What an employee may spend each time its turn comes. A call that costs more is saved up for.
const QUANTUM: u32 = 1;

struct Waiting<T> {
    not_before: Timestamp,
    cost: u32,
    call: T,
}

struct Flow<T> {
    calls: VecDeque<Waiting<T>>,
    /// Saved from earlier turns.
    deficit: u32,
}

/// The call whose turn it is. It stays in the queue until it is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    pub employee: EmployeeId,
    pub cost: u32,
    place: usize,
}

/// Where an employee's next call stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub employee: EmployeeId,
    /// How many of its calls wait.
    pub waiting: usize,
    /// What goes before its next one, in the quota's unit.
    pub cost_before: u64,
}

pub struct FairQueue<T> {
    flows: HashMap<EmployeeId, Flow<T>>,
    /// Whose turn it is is in front. Exactly those who have a flow.
    ring: VecDeque<EmployeeId>,
    /// Whether the one in front has got its quantum for this turn.
    granted: bool,
    len: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            flows: HashMap::new(),
            ring: VecDeque::new(),
            granted: false,
            len: 0,
        }
    }
}

impl<T> FairQueue<T> {
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Who waits.
    pub fn employees(&self) -> usize {
        self.ring.len()
    }

    pub fn push(&mut self, employee: EmployeeId, cost: u32, call: T) {
        let waiting = Waiting {
            not_before: Timestamp::default(),
            cost,
            call,
        };
        self.flow(employee).calls.push_back(waiting);
        self.len += 1;
    }

    /// A call that was out once stands before the others of its employee, but does not go before `not_before`.
    pub fn push_again(&mut self, employee: EmployeeId, cost: u32, call: T, not_before: Timestamp) {
        let waiting = Waiting {
            not_before,
            cost,
            call,
        };
        self.flow(employee).calls.push_front(waiting);
        self.len += 1;
    }

    fn flow(&mut self, employee: EmployeeId) -> &mut Flow<T> {
        let ring = &mut self.ring;
        self.flows.entry(employee).or_insert_with(|| {
            ring.push_back(employee);
            Flow {
                calls: VecDeque::new(),
                deficit: 0,
            }
        })
    }

    /// Whose turn it is at `now`; the same answer until something is taken or added.
    ///
    /// # Errors
    /// Nothing may go yet: how long until something may, `None` if nothing waits.
    pub fn turn(&mut self, now: Timestamp) -> Result<Turn, Option<Duration>> {
        if !self.flows.values().any(|flow| flow.ready(now).is_some()) {
            return Err(self.earliest().map(|at| at.since(now)));
        }
        // It ends: somebody is ready, and each round of the ring gives it another quantum.
        loop {
            let Some(&employee) = self.ring.front() else {
                return Err(None);
            };
            let Some(flow) = self.flows.get_mut(&employee) else {
                self.ring.pop_front();
                continue;
            };
            if let Some(place) = flow.ready(now) {
                if !self.granted {
                    flow.deficit = flow.deficit.saturating_add(QUANTUM);
                    self.granted = true;
                }
                let cost = flow.calls[place].cost;
                if flow.deficit >= cost {
                    return Ok(Turn {
                        employee,
                        cost,
                        place,
                    });
                }
            }
            self.pass_on();
        }
    }

    /// Takes out the call of a turn.
    pub fn take(&mut self, turn: Turn) -> Option<T> {
        let flow = self.flows.get_mut(&turn.employee)?;
        let taken = flow.calls.remove(turn.place)?;
        flow.deficit = flow.deficit.saturating_sub(turn.cost);
        self.len -= 1;
        if flow.calls.is_empty() {
            // What an employee has saved is gone when it has nothing to spend it on.
            self.forget(turn.employee);
        }
        Some(taken.call)
    }

    fn pass_on(&mut self) {
        self.granted = false;
        self.ring.rotate_left(1);
    }

    fn forget(&mut self, employee: EmployeeId) {
        if self.ring.front() == Some(&employee) {
            self.granted = false;
        }
        self.flows.remove(&employee);
        self.ring.retain(|one| *one != employee);
    }

    fn earliest(&self) -> Option<Timestamp> {
        let waiting = self.flows.values().flat_map(|flow| &flow.calls);
        waiting.map(|waiting| waiting.not_before).min()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let waiting = self.flows.values().flat_map(|flow| &flow.calls);
        waiting.map(|waiting| &waiting.call)
    }

    /// Takes out every call that is `wanted`, wherever it stands.
    pub fn take_where(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        let mut empty = Vec::new();
        for (employee, flow) in &mut self.flows {
            if !flow.calls.iter().any(|waiting| wanted(&waiting.call)) {
                continue;
            }
            let (out, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut flow.calls)
                .into_iter()
                .partition(|waiting| wanted(&waiting.call));
            flow.calls = left;
            taken.extend(out.into_iter().map(|waiting| waiting.call));
            if flow.calls.is_empty() {
                empty.push(*employee);
            }
        }
        empty.into_iter().for_each(|employee| self.forget(employee));
        self.len -= taken.len();
        taken
    }

    /// Where the next call of each employee stands, in the order of their turns.
    pub fn places(&self) -> Vec<Place> {
        let mut cost_before = 0;
        let mut places = Vec::with_capacity(self.ring.len());
        for employee in &self.ring {
            let Some(flow) = self.flows.get(employee) else {
                continue;
            };
            places.push(Place {
                employee: *employee,
                waiting: flow.calls.len(),
                cost_before,
            });
            let next = flow.calls.front().map_or(0, |waiting| waiting.cost);
            cost_before += u64::from(next);
        }
        places
    }
}

impl<T> FairQueue<T> {
    /// Where each call stands that is `wanted`: how many leave before it, and their cost. Exact while all cost the same.
    pub fn standings(&self, wanted: impl Fn(&T) -> bool) -> Vec<(&T, usize, u64)> {
        let flows: Vec<&Flow<T>> = self
            .ring
            .iter()
            .filter_map(|employee| self.flows.get(employee))
            .collect();
        let mut standings = Vec::new();
        for (turn, flow) in flows.iter().enumerate() {
            for (nth, waiting) in flow.calls.iter().enumerate() {
                if !wanted(&waiting.call) {
                    continue;
                }
                let (mut place, mut cost_before) = (0, 0);
                for (other, flow) in flows.iter().enumerate() {
                    // Whoever has its turn earlier in the round is one call ahead.
                    let ahead = nth + usize::from(other < turn);
                    let before = flow.calls.iter().take(ahead);
                    place += flow.calls.len().min(ahead);
                    cost_before += before.map(|one| u64::from(one.cost)).sum::<u64>();
                }
                standings.push((&waiting.call, place, cost_before));
            }
        }
        standings
    }
}

impl<T> Flow<T> {
    fn ready(&self, now: Timestamp) -> Option<usize> {
        self.calls
            .iter()
            .position(|waiting| waiting.not_before <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn employee(number: usize) -> EmployeeId {
        EmployeeId::from_uuid(Uuid::from_u128(number as u128 + 1))
    }
    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn drain(queue: &mut FairQueue<(usize, usize)>, count: usize) -> Vec<(usize, usize)> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let turn = queue.turn(NOW).unwrap();
            assert_eq!(queue.turn(NOW), Ok(turn), "asking changes nothing");
            taken.push(queue.take(turn).unwrap());
        }
        taken
    }

    #[test]
    fn one_that_asks_fifty_times_gets_what_one_that_asks_once_gets() {
        let mut queue = FairQueue::default();
        for run in 0..50 {
            queue.push(employee(0), 1, (0, run));
        }
        for who in 1..4 {
            queue.push(employee(who), 1, (who, 0));
        }
        let first: Vec<usize> = drain(&mut queue, 4)
            .into_iter()
            .map(|call| call.0)
            .collect();
        assert_eq!(first, [0, 1, 2, 3]);
        assert_eq!(drain(&mut queue, 3), [(0, 1), (0, 2), (0, 3)]);
        assert_eq!((queue.len(), queue.employees()), (46, 1));
    }

    #[test]
    fn with_all_busy_the_shares_are_equal_whatever_the_costs() {
        let mut queue = FairQueue::default();
        let costs = [1, 1, 5, 3, 1, 2];
        for (who, cost) in costs.into_iter().enumerate() {
            for call in 0..3_000 {
                queue.push(employee(who), cost, (who, call));
            }
        }
        let mut spent = [0u32; 6];
        while spent.iter().sum::<u32>() < 6_000 {
            let turn = queue.turn(NOW).unwrap();
            let (who, _) = queue.take(turn).unwrap();
            spent[who] += costs[who];
        }
        let (least, most) = (spent.iter().min().unwrap(), spent.iter().max().unwrap());
        assert!(most - least <= 5, "{spent:?}");
    }

    #[test]
    fn a_newcomer_waits_for_one_round_at_most_and_saves_nothing_while_away() {
        let mut queue = FairQueue::default();
        for who in 0..3 {
            for call in 0..10 {
                queue.push(employee(who), 1, (who, call));
            }
        }
        drain(&mut queue, 4);
        queue.push(employee(9), 1, (9, 0));
        let next: Vec<usize> = drain(&mut queue, 4)
            .into_iter()
            .map(|call| call.0)
            .collect();
        assert!(next.contains(&9), "{next:?}");
        queue.push(employee(9), 1, (9, 1));
        queue.push(employee(9), 1, (9, 2));
        let next = drain(&mut queue, 4);
        assert_eq!(
            next.iter().filter(|call| call.0 == 9).count(),
            1,
            "{next:?}"
        );
    }

    #[test]
    fn what_must_wait_lets_the_others_pass() {
        let mut queue = FairQueue::default();
        let later = NOW.after(Duration::from_secs(5));
        queue.push_again(employee(0), 1, (0, 0), later);
        assert_eq!(queue.turn(NOW), Err(Some(Duration::from_secs(5))));
        queue.push(employee(0), 1, (0, 1));
        queue.push(employee(1), 1, (1, 0));
        assert_eq!(drain(&mut queue, 2), [(0, 1), (1, 0)]);
        let turn = queue.turn(later).unwrap();
        assert_eq!(queue.take(turn), Some((0, 0)));
        assert_eq!(queue.turn(later), Err(None));
        assert!(queue.is_empty());
    }

    #[test]
    fn places_say_what_goes_before() {
        let mut queue = FairQueue::default();
        queue.push(employee(0), 2, (0, 0));
        queue.push(employee(0), 1, (0, 1));
        queue.push(employee(1), 1, (1, 0));
        let places: Vec<_> = queue
            .places()
            .into_iter()
            .map(|place| (place.waiting, place.cost_before))
            .collect();
        assert_eq!(places, [(2, 0), (1, 2)]);
        let standings: Vec<_> = queue
            .standings(|_| true)
            .into_iter()
            .map(|(call, place, cost)| (*call, place, cost))
            .collect();
        assert_eq!(
            standings,
            [((0, 0), 0, 0), ((0, 1), 2, 3), ((1, 0), 1, 2)],
            "the second of the first employee has its turn after the other's first"
        );
        let taken = queue.take_where(|call| call.0 == 0);
        assert_eq!((taken.len(), queue.len(), queue.employees()), (2, 1, 1));
    }
}
