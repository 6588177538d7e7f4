//! Whose turn it is: events of one conversation one after the other, in the order of their arrival; the others side by side; the orgs in
//! turn. Pure.

use crate::domain::{InboxId, OrgId};
use std::collections::{HashMap, VecDeque};

/// What keeps its order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    Conversation(OrgId, String),
    /// An event that belongs to no conversation.
    Alone(OrgId, InboxId),
}

impl Lane {
    pub fn org(&self) -> OrgId {
        match self {
            Lane::Conversation(org, _) | Lane::Alone(org, _) => *org,
        }
    }
}

/// A lane is in `waiting` as long as it has something waiting or at work; in `ready` if its first may go.
#[derive(Debug)]
pub struct Lanes<T> {
    waiting: HashMap<Lane, VecDeque<T>>,
    ready: HashMap<OrgId, VecDeque<Lane>>,
    turns: VecDeque<OrgId>,
    len: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            ready: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Lanes<T> {
    /// How many wait; those at work are not counted.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn push(&mut self, lane: Lane, item: T) {
        self.len += 1;
        match self.waiting.get_mut(&lane) {
            Some(queue) => queue.push_back(item),
            None => {
                self.waiting
                    .insert(lane.clone(), VecDeque::from_iter([item]));
                self.make_ready(lane);
            }
        }
    }

    /// Up to `max` that may go now, of one org, one a lane.
    pub fn take(&mut self, max: usize) -> Vec<(Lane, T)> {
        let Some(org) = self.turns.pop_front() else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        let ready = self.ready.entry(org).or_default();
        while taken.len() < max
            && let Some(lane) = ready.pop_front()
        {
            let next = self.waiting.get_mut(&lane).and_then(VecDeque::pop_front);
            if let Some(item) = next {
                taken.push((lane, item));
            }
        }
        if ready.is_empty() {
            self.ready.remove(&org);
        } else {
            self.turns.push_back(org);
        }
        self.len -= taken.len();
        taken
    }

    /// What was taken from the lane is done: its next may go.
    pub fn done(&mut self, lane: Lane) {
        match self.waiting.get(&lane) {
            Some(queue) if queue.is_empty() => drop(self.waiting.remove(&lane)),
            Some(_) => self.make_ready(lane),
            None => {}
        }
    }

    /// What was taken from the lane goes first once more.
    pub fn put_back(&mut self, lane: Lane, item: T) {
        self.len += 1;
        self.waiting
            .entry(lane.clone())
            .or_default()
            .push_front(item);
        self.make_ready(lane);
    }

    fn make_ready(&mut self, lane: Lane) {
        let org = lane.org();
        let ready = self.ready.entry(org).or_default();
        if ready.is_empty() {
            self.turns.push_back(org);
        }
        ready.push_back(lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn org(n: u128) -> OrgId {
        OrgId::from_uuid(Uuid::from_u128(n))
    }
    fn talk(of: u128, name: &str) -> Lane {
        Lane::Conversation(org(of), name.into())
    }
    fn alone(of: u128, n: u128) -> Lane {
        Lane::Alone(org(of), InboxId::from_uuid(Uuid::from_u128(n)))
    }

    #[test]
    fn a_conversation_goes_one_by_one_and_the_others_side_by_side() {
        let mut lanes = Lanes::default();
        for (lane, item) in [
            (talk(1, "a"), 1),
            (talk(1, "a"), 2),
            (alone(1, 7), 3),
            (talk(1, "b"), 4),
            (talk(1, "a"), 5),
        ] {
            lanes.push(lane, item);
        }
        let first = lanes.take(10);
        let items: Vec<_> = first.iter().map(|(_, item)| *item).collect();
        assert_eq!((items, lanes.len()), (vec![1, 3, 4], 2));
        assert!(lanes.take(10).is_empty(), "the first is at work");
        for (lane, _) in first {
            lanes.done(lane);
        }
        assert_eq!(lanes.take(10), [(talk(1, "a"), 2)]);
        lanes.put_back(talk(1, "a"), 2);
        assert_eq!(lanes.take(10), [(talk(1, "a"), 2)], "the order is kept");
        lanes.done(talk(1, "a"));
        assert_eq!(lanes.take(10), [(talk(1, "a"), 5)]);
        lanes.done(talk(1, "a"));
        assert!(lanes.waiting.is_empty() && lanes.ready.is_empty() && lanes.turns.is_empty());
    }

    #[test]
    fn orgs_take_turns() {
        let mut lanes = Lanes::default();
        for n in 0..5 {
            lanes.push(alone(1, n), n);
        }
        lanes.push(alone(2, 9), 9);
        let mut turns = || {
            let taken = lanes.take(2);
            taken.into_iter().map(|(_, item)| item).collect::<Vec<_>>()
        };
        assert_eq!(
            [turns(), turns(), turns(), turns(), turns()],
            [vec![0, 1], vec![9], vec![2, 3], vec![4], vec![]]
        );
    }
}
