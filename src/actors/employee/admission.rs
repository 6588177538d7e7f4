//! Who may work now: the concurrency policy of one employee. Pure.
//!
//! Invariants: at most one unfinished run of a conversation has started; runs of a conversation start in the order in which they were
//! accepted; a run is queued, working or parked, never two of these.

use crate::domain::{Concurrency, ConflictPolicy, ExecutionId};
use std::collections::{HashMap, VecDeque};

/// Why a trigger is not taken. Nothing is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The policy is `reject` and the conversation has an unfinished run.
    ConversationBusy,
    /// As many runs as allowed wait already.
    QueueFull,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it; it starts when its turn comes.
    Take,
    /// Stop these runs first, then take it.
    Replace(Vec<ExecutionId>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Queued,
    Working,
    Parked,
}

#[derive(Debug, Default)]
pub struct Admission {
    places: HashMap<ExecutionId, Place>,
    /// May start as soon as there is room.
    ready: VecDeque<ExecutionId>,
    /// Unfinished runs by conversation, oldest first; only the first may be started.
    conversations: HashMap<String, VecDeque<ExecutionId>>,
    working: usize,
    queued: usize,
    /// Taken, and on their way in here once it is known that they are new.
    expected: usize,
}

impl Admission {
    /// What to do with a new trigger.
    ///
    /// # Errors
    /// The reason for which it is not taken.
    pub fn check(
        &self,
        rules: &Concurrency,
        conversation: Option<&str>,
    ) -> Result<Verdict, Refusal> {
        let busy = conversation.and_then(|key| self.conversations.get(key));
        match (busy, rules.on_conflict) {
            (Some(_), ConflictPolicy::Reject) => Err(Refusal::ConversationBusy),
            (Some(runs), ConflictPolicy::Interrupt | ConflictPolicy::Rollback) => {
                Ok(Verdict::Replace(runs.iter().copied().collect()))
            }
            _ if self.queued + self.expected >= self.room(rules) => Err(Refusal::QueueFull),
            _ => Ok(Verdict::Take),
        }
    }

    /// How many may be queued: what may wait, and what could start at once.
    fn room(&self, rules: &Concurrency) -> usize {
        rules.max_queued as usize + (rules.max_runs as usize).saturating_sub(self.working)
    }

    /// One more was taken that enters later, or turns out not to be new. Until then it counts as if it waited.
    pub fn expect(&mut self) {
        self.expected += 1;
    }

    /// What became of one that was expected is known.
    pub fn expect_no_longer(&mut self) {
        self.expected -= 1;
    }

    /// Adds an accepted run at the end of its line.
    pub fn enter(&mut self, run: ExecutionId, conversation: Option<&str>) {
        self.places.insert(run, Place::Queued);
        self.queued += 1;
        let first = match conversation {
            Some(key) => {
                let line = self.conversations.entry(key.to_string()).or_default();
                line.push_back(run);
                line.len() == 1
            }
            None => true,
        };
        if first {
            self.ready.push_back(run);
        }
    }

    /// Adds a run that had started before the employee slept or broke down.
    pub fn restore_started(&mut self, run: ExecutionId, conversation: Option<&str>, parked: bool) {
        self.places.insert(
            run,
            if parked {
                Place::Parked
            } else {
                Place::Working
            },
        );
        self.working += usize::from(!parked);
        if let Some(key) = conversation {
            self.conversations
                .entry(key.to_string())
                .or_default()
                .push_front(run);
        }
    }

    /// The next run that may start, if there is room. It counts as working from here on.
    pub fn next(&mut self, rules: &Concurrency) -> Option<ExecutionId> {
        if self.working >= rules.max_runs as usize {
            return None;
        }
        let run = self.ready.pop_front()?;
        self.places.insert(run, Place::Working);
        self.queued -= 1;
        self.working += 1;
        Some(run)
    }

    /// A started run now only waits, or works again. Waiting runs leave their room to others.
    pub fn set_parked(&mut self, run: ExecutionId, parked: bool) {
        match (self.places.get_mut(&run), parked) {
            (Some(place @ Place::Working), true) => {
                *place = Place::Parked;
                self.working -= 1;
            }
            (Some(place @ Place::Parked), false) => {
                *place = Place::Working;
                self.working += 1;
            }
            _ => {}
        }
    }

    /// A run is over; the next of its conversation may start.
    pub fn leave(&mut self, run: ExecutionId, conversation: Option<&str>) {
        match self.places.remove(&run) {
            Some(Place::Working) => self.working -= 1,
            Some(Place::Queued) => {
                self.queued -= 1;
                self.ready.retain(|ready| *ready != run);
            }
            Some(Place::Parked) => {}
            None => return,
        }
        let Some(key) = conversation else { return };
        let Some(line) = self.conversations.get_mut(key) else {
            return;
        };
        let was_first = line.front() == Some(&run);
        line.retain(|waiting| *waiting != run);
        match line.front() {
            Some(next) if was_first => self.ready.push_back(*next),
            Some(_) => {}
            None => {
                self.conversations.remove(key);
            }
        }
    }

    pub fn place(&self, run: ExecutionId) -> Option<Place> {
        self.places.get(&run).copied()
    }
    pub fn working(&self) -> usize {
        self.working
    }
    pub fn queued(&self) -> usize {
        self.queued
    }
    /// Whether something could start right now.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn run(n: u128) -> ExecutionId {
        ExecutionId::from_uuid(Uuid::from_u128(n))
    }
    fn rules(max_runs: u32, max_queued: u32, on_conflict: ConflictPolicy) -> Concurrency {
        Concurrency {
            max_runs,
            max_queued,
            on_conflict,
        }
    }

    #[test]
    fn a_conversation_keeps_its_order_and_others_pass() {
        let rules = rules(10, 10, ConflictPolicy::Enqueue);
        let mut admission = Admission::default();
        admission.enter(run(1), Some("a"));
        admission.enter(run(2), Some("a"));
        admission.enter(run(3), Some("b"));
        admission.enter(run(4), None);
        assert_eq!(
            std::iter::from_fn(|| admission.next(&rules)).collect::<Vec<_>>(),
            [run(1), run(3), run(4)]
        );
        admission.set_parked(run(1), true);
        assert_eq!(
            admission.next(&rules),
            None,
            "a parked run still holds its conversation"
        );
        admission.leave(run(1), Some("a"));
        assert_eq!(admission.next(&rules), Some(run(2)));
    }

    #[test]
    fn at_most_max_runs_work_and_parked_ones_make_room() {
        let rules = rules(1, 1, ConflictPolicy::Enqueue);
        let mut admission = Admission::default();
        admission.enter(run(1), None);
        assert_eq!(admission.next(&rules), Some(run(1)));
        admission.enter(run(2), None);
        assert_eq!(admission.next(&rules), None);
        assert_eq!(admission.check(&rules, None), Err(Refusal::QueueFull));
        admission.set_parked(run(1), true);
        assert_eq!(admission.next(&rules), Some(run(2)));
    }

    #[test]
    fn what_is_expected_has_its_place_in_the_queue() {
        let rules = rules(1, 1, ConflictPolicy::Enqueue);
        let mut admission = Admission::default();
        admission.expect();
        assert_eq!(admission.check(&rules, None), Ok(Verdict::Take));
        admission.expect();
        assert_eq!(admission.check(&rules, None), Err(Refusal::QueueFull));
        admission.expect_no_longer();
        admission.enter(run(1), None);
        assert_eq!(admission.check(&rules, None), Err(Refusal::QueueFull));
        // The other was not new.
        admission.expect_no_longer();
        assert_eq!(admission.check(&rules, None), Ok(Verdict::Take));
    }

    #[test]
    fn policies_for_a_busy_conversation() {
        let mut admission = Admission::default();
        admission.enter(run(1), Some("a"));
        for (policy, wanted) in [
            (ConflictPolicy::Enqueue, Ok(Verdict::Take)),
            (ConflictPolicy::Reject, Err(Refusal::ConversationBusy)),
            (
                ConflictPolicy::Interrupt,
                Ok(Verdict::Replace(vec![run(1)])),
            ),
            (ConflictPolicy::Rollback, Ok(Verdict::Replace(vec![run(1)]))),
        ] {
            assert_eq!(admission.check(&rules(5, 5, policy), Some("a")), wanted);
            assert_eq!(
                admission.check(&rules(5, 5, policy), Some("b")),
                Ok(Verdict::Take)
            );
        }
    }

    #[test]
    fn a_cancelled_queued_run_leaves_no_trace() {
        let rules = rules(1, 10, ConflictPolicy::Enqueue);
        let mut admission = Admission::default();
        for n in 1..=3 {
            admission.enter(run(n), Some("a"));
        }
        assert_eq!(admission.next(&rules), Some(run(1)));
        admission.leave(run(2), Some("a"));
        admission.leave(run(1), Some("a"));
        assert_eq!(admission.next(&rules), Some(run(3)));
        admission.leave(run(3), Some("a"));
        assert_eq!(
            (
                admission.working(),
                admission.queued(),
                admission.conversations.len()
            ),
            (0, 0, 0)
        );
    }
}
