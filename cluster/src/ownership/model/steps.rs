//! What can happen in the world, one step at a time.

use super::{Belief, FRESH, Fact, OVER, Process, Renewal, Rules, World, Write, identity};
use crate::ownership::{NodeRow, NodeState, admits, claim, may_declare_dead, may_register};

/// Which process of which node.
pub(super) type At = (usize, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Time passes for everybody.
    Tick,
    RenewSend(At),
    RenewArrives(At),
    RenewAnswered(At),
    /// The renewal or its answer is lost.
    RenewLost(At),
    /// It sees that its deadline is over and stops what it owns.
    StopsItself(At),
    Claim(At, usize),
    Release(At, usize),
    Begin(At, usize),
    Commit(At),
    /// It commits, but the process never hears of it.
    CommitAnswerLost(At),
    /// The database gives up a transaction of a client that says nothing.
    BreakWrite(At),
    Effect(At, usize),
    DeclareDead {
        by: At,
        node: usize,
    },
    Drain(usize),
    Leave(At),
    Crash(At),
    Suspend(At),
    Resume(At),
    Cut(usize),
    Mend(usize),
    Start(usize),
}

impl World {
    /// Takes the step if it is possible in this world, and says whether it was.
    pub(super) fn step(&mut self, step: Step, rules: Rules) -> bool {
        match step {
            Step::Tick => self.tick(),
            Step::RenewSend(at) => self.renew_send(at),
            Step::RenewArrives(at) => self.renew_arrives(at),
            Step::RenewAnswered(at) => self.renew_answered(at, rules),
            Step::RenewLost(at) => self
                .process(at)
                .is_some_and(|process| process.renewal.take().is_some()),
            Step::StopsItself(at) => self.stops_itself(at),
            Step::Claim(at, entity) => self.claim(at, entity),
            Step::Release(at, entity) => self.release(at, entity),
            Step::Begin(at, entity) => self.begin(at, entity),
            Step::Commit(at) => self.commit(at, true, rules),
            Step::CommitAnswerLost(at) => self.commit(at, false, rules),
            Step::BreakWrite(at) => rules.gives_up_writes && self.break_write(at),
            Step::Effect(at, entity) => self.effect(at, entity, rules),
            Step::DeclareDead { by, node } => self.declare_dead(by, node, rules),
            Step::Drain(node) => self.drain(node, rules),
            Step::Leave(at) => self.leave(at, rules),
            Step::Crash(at) => self.crash(at),
            Step::Suspend(at) => self
                .running(at)
                .map(|process| process.suspended = true)
                .is_some(),
            Step::Resume(at) => self
                .process(at)
                .is_some_and(|process| std::mem::take(&mut process.suspended)),
            Step::Cut(node) => !std::mem::replace(&mut self.nodes[node].cut, true),
            Step::Mend(node) => std::mem::take(&mut self.nodes[node].cut),
            Step::Start(node) => self.start(node, rules),
        }
    }

    fn process(&mut self, (node, process): At) -> Option<&mut Process> {
        self.nodes[node].processes.get_mut(process)
    }

    /// The process, unless it is suspended.
    fn running(&mut self, at: At) -> Option<&mut Process> {
        self.process(at).filter(|process| !process.suspended)
    }

    /// The process, if it runs and reaches the database.
    fn talking(&mut self, at: At) -> Option<&mut Process> {
        if self.nodes[at.0].cut {
            return None;
        }
        self.running(at)
    }

    fn tick(&mut self) -> bool {
        let before = self.clone();
        let older = |age: &mut u8| *age = (*age + 1).min(OVER);
        for node in &mut self.nodes {
            older(&mut node.lease_age);
            for process in &mut node.processes {
                older(&mut process.age);
                match &mut process.renewal {
                    Some(Renewal::Sent { age } | Renewal::Applied { age }) => older(age),
                    Some(Renewal::Refused) | None => {}
                }
            }
        }
        *self != before
    }

    fn renew_send(&mut self, at: At) -> bool {
        match self.talking(at) {
            Some(process) if process.renewal.is_none() => {
                process.renewal = Some(Renewal::Sent { age: FRESH });
                true
            }
            _ => false,
        }
    }

    /// Messages travel on while their sender is suspended.
    fn renew_arrives(&mut self, at: At) -> bool {
        let cut = self.nodes[at.0].cut;
        let row = self.nodes[at.0].row;
        let Some(process) = self.process(at) else {
            return false;
        };
        let Some(Renewal::Sent { age }) = process.renewal else {
            return false;
        };
        if cut {
            return false;
        }
        if !admits(Some(row), process.incarnation) {
            process.renewal = Some(Renewal::Refused);
            return true;
        }
        process.renewal = Some(Renewal::Applied { age });
        self.nodes[at.0].lease_age = FRESH;
        true
    }

    fn renew_answered(&mut self, at: At, rules: Rules) -> bool {
        let Some(process) = self.talking(at) else {
            return false;
        };
        let age = match process.renewal {
            Some(Renewal::Applied { age }) => age,
            Some(Renewal::Refused) => {
                self.nodes[at.0].processes.remove(at.1);
                return true;
            }
            Some(Renewal::Sent { .. }) | None => return false,
        };
        process.renewal = None;
        process.age = if rules.counts_from_sending {
            process.age.min(age)
        } else {
            FRESH
        };
        true
    }

    fn stops_itself(&mut self, at: At) -> bool {
        match self.running(at) {
            Some(process) if !process.may_act() && process.owned.iter().any(Option::is_some) => {
                process.owned.fill(None);
                true
            }
            _ => false,
        }
    }

    fn claim(&mut self, at: At, entity: usize) -> bool {
        let Some(process) = self.talking(at) else {
            return false;
        };
        if process.owned[entity].is_some() || !process.may_act() {
            return false;
        }
        let claimant = identity(at.0, process.incarnation);
        let placement = self.entities[entity].placement;
        let owner_row = placement.owner.and_then(|owner| self.row(owner));
        let Ok(claimed) = claim(Some(placement), owner_row, claimant, self.row(claimant)) else {
            return false;
        };
        let record = &mut self.entities[entity];
        self.epoch_fell |= claimed.epoch < record.placement.epoch;
        record.placement.owner = Some(claimant);
        record.placement.epoch = claimed.epoch;
        let next = record.journal.len();
        self.nodes[at.0].processes[at.1].owned[entity] = Some(Belief {
            epoch: claimed.epoch,
            next,
        });
        true
    }

    /// On purpose, by the owner, when nothing of it is in flight. Telling the next owner is a hint and changes nothing here.
    fn release(&mut self, at: At, entity: usize) -> bool {
        let Some(process) = self.talking(at) else {
            return false;
        };
        if process.write.is_some() || process.owned[entity].take().is_none() {
            return false;
        }
        let owner = identity(at.0, process.incarnation);
        let placement = &mut self.entities[entity].placement;
        if placement.owner == Some(owner) {
            placement.owner = None;
        }
        true
    }

    fn begin(&mut self, at: At, entity: usize) -> bool {
        let row = self.nodes[at.0].row;
        let Some(process) = self.talking(at) else {
            return false;
        };
        let Some(belief) = process.owned[entity] else {
            return false;
        };
        if process.write.is_some() {
            return false;
        }
        if !admits(Some(row), process.incarnation) {
            process.owned.fill(None);
            return true;
        }
        process.write = Some(Write {
            entity,
            belief,
            broken: false,
        });
        true
    }

    fn commit(&mut self, at: At, answered: bool, rules: Rules) -> bool {
        let Some(process) = self.talking(at) else {
            return false;
        };
        let Some(Write {
            entity,
            belief,
            broken,
        }) = process.write.take()
        else {
            return false;
        };
        let writer = identity(at.0, process.incarnation);
        let record = &mut self.entities[entity];
        let position_taken = rules.primary_key && belief.next < record.journal.len();
        if broken || position_taken {
            self.nodes[at.0].processes[at.1].owned[entity] = None;
            return true;
        }
        let fact = Fact {
            writer,
            epoch: belief.epoch,
        };
        self.stale_commit |=
            record.placement.owner != Some(writer) || record.placement.epoch != belief.epoch;
        match record.journal.get_mut(belief.next) {
            Some(overwritten) => *overwritten = fact,
            None => record.journal.push(fact),
        }
        if answered {
            record.acknowledged.push((belief.next, fact));
        }
        let believed = &mut self.nodes[at.0].processes[at.1].owned[entity];
        *believed = believed.filter(|_| answered).map(|known| Belief {
            next: belief.next + 1,
            ..known
        });
        true
    }

    fn break_write(&mut self, at: At) -> bool {
        let silent = self.nodes[at.0].cut || self.process(at).is_some_and(|p| p.suspended);
        match self.process(at).and_then(|process| process.write.as_mut()) {
            Some(write) if silent => !std::mem::replace(&mut write.broken, true),
            _ => false,
        }
    }

    /// To a provider: it needs no database.
    fn effect(&mut self, at: At, entity: usize, rules: Rules) -> bool {
        let Some(process) = self.running(at) else {
            return false;
        };
        let Some(belief) = process.owned[entity] else {
            return false;
        };
        if rules.self_fence && !process.may_act() {
            return false;
        }
        let actor = identity(at.0, process.incarnation);
        let placement = self.entities[entity].placement;
        let stale = placement.owner != Some(actor) || placement.epoch != belief.epoch;
        self.stale_effect |= stale;
        stale
    }

    fn declare_dead(&mut self, by: At, node: usize, rules: Rules) -> bool {
        let Node { row, lease_age } = self.lease(node);
        if self.talking(by).is_none()
            || by.0 == node
            || !may_declare_dead(row, row.incarnation, lease_age == OVER)
            || self.is_share_locked(node, rules)
        {
            return false;
        }
        self.nodes[node].row.state = NodeState::Dead;
        true
    }

    fn lease(&self, node: usize) -> Node {
        Node {
            row: self.nodes[node].row,
            lease_age: self.nodes[node].lease_age,
        }
    }

    fn drain(&mut self, node: usize, rules: Rules) -> bool {
        if self.nodes[node].row.state != NodeState::Alive || self.is_share_locked(node, rules) {
            return false;
        }
        self.nodes[node].row.state = NodeState::Draining;
        true
    }

    /// The end of a drain: it has nothing any more and says so.
    fn leave(&mut self, at: At, rules: Rules) -> bool {
        if self.is_share_locked(at.0, rules) {
            return false;
        }
        let row = self.nodes[at.0].row;
        let Some(process) = self.talking(at) else {
            return false;
        };
        if row.state != NodeState::Draining
            || row.incarnation != process.incarnation
            || process.write.is_some()
            || process.owned.iter().any(Option::is_some)
        {
            return false;
        }
        self.nodes[at.0].row.state = NodeState::Dead;
        self.nodes[at.0].processes.remove(at.1);
        true
    }

    fn crash(&mut self, (node, process): At) -> bool {
        let processes = &mut self.nodes[node].processes;
        let there = process < processes.len();
        if there {
            processes.remove(process);
        }
        there
    }

    fn start(&mut self, node: usize, rules: Rules) -> bool {
        let entities = self.entities.len();
        let locked = self.is_share_locked(node, rules);
        let node = &mut self.nodes[node];
        let may = !rules.register_waits
            || may_register(
                Some(node.row),
                node.lease_age == OVER,
                node.processes.is_empty(),
            );
        if node.cut || locked || node.processes.len() > 1 || !may {
            return false;
        }
        node.row.incarnation += 1;
        node.row.state = NodeState::Alive;
        node.lease_age = FRESH;
        let process = Process::new(node.row.incarnation, entities);
        node.processes.push(process);
        true
    }
}

/// What is looked at when a life is to end.
struct Node {
    row: NodeRow,
    lease_age: u8,
}
