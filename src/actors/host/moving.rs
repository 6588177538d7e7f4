//! Giving employees away: on a drain all of them, on a rebalancing those that should live elsewhere.
//!
//! An employee that moves is taken out of the directory at once; it finishes what is in work and stops, or is stopped when its time is over.
//! Then it is released, together with others, and what came for it meanwhile is sent after it. Nothing of it is lost if this node dies in
//! between: it is what the journal says, and whoever claims it takes it up there.

use super::{Directory, EmployeeHandle, Envelope, Host, Mailbox, Message, OrgId, State, Told};
use crate::{
    actors::{
        cluster::{employee_entity, kind},
        employee::{EmployeeError, Message as EmployeeMessage},
    },
    domain::EmployeeId,
};
use ractor::ActorRef;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};
use tenure_cluster::Entity;
use tokio::sync::oneshot;

/// Employees that are released in one statement.
const BATCH: usize = 500;
/// Messages that may wait for one employee while it moves.
const HELD_MAX: usize = 1_000;
const AGAIN: Duration = Duration::from_millis(500);

/// Who is moving out.
#[derive(Default)]
pub(super) struct Moving {
    of: HashMap<EmployeeId, Mover>,
    /// Those that have not stopped yet.
    handles: HashMap<EmployeeId, EmployeeHandle>,
    /// Stopped and not released yet.
    stopped: VecDeque<EmployeeId>,
    releasing: bool,
    /// Everybody goes, and nobody is taken.
    everything: bool,
    tick_queued: bool,
    waiting: Vec<Waiting>,
}

struct Mover {
    until: Instant,
    /// What came for it meanwhile.
    held: Vec<(OrgId, Told)>,
    has_stopped: bool,
}

/// Somebody who waits until they are gone.
struct Waiting {
    left: Vec<EmployeeId>,
    count: usize,
    everything: bool,
    reply: oneshot::Sender<usize>,
}

impl Moving {
    pub(super) fn is_moving(&self, employee: EmployeeId) -> bool {
        self.of.contains_key(&employee)
    }

    /// Keeps a message for an employee that is moving; gives it back if it is not.
    pub(super) fn hold_back(
        &mut self,
        org: OrgId,
        employee: EmployeeId,
        told: Option<Told>,
    ) -> Result<(), Option<Told>> {
        let Some(mover) = self.of.get_mut(&employee) else {
            return Err(told);
        };
        match told {
            Some(told) if mover.held.len() >= HELD_MAX => {
                told.message.refuse(EmployeeError::Overloaded)
            }
            Some(told) => mover.held.push((org, told)),
            None => {}
        }
        Ok(())
    }

    pub(super) fn has_stopped(&mut self, employee: EmployeeId) {
        if let Some(mover) = self.of.get_mut(&employee)
            && !mover.has_stopped
        {
            mover.has_stopped = true;
            self.handles.remove(&employee);
            self.stopped.push_back(employee);
        }
    }

    /// Stops those whose time is over. Their steps are taken up at their next home; what had left already the ledger tells there.
    fn cut_off_the_late(&mut self) {
        let now = Instant::now();
        let of = &self.of;
        let is_late = |employee: &EmployeeId| of.get(employee).is_none_or(|one| one.until <= now);
        for (_, handle) in self.handles.extract_if(|employee, _| is_late(employee)) {
            handle.give_up();
            handle.cell().kill();
        }
    }

    pub(super) fn tick_is_due(&mut self) {
        self.tick_queued = false;
    }

    fn add(&mut self, employee: EmployeeId, until: Instant) -> bool {
        let is_new = !self.is_moving(employee);
        if is_new {
            self.of.insert(
                employee,
                Mover {
                    until,
                    held: Vec::new(),
                    has_stopped: false,
                },
            );
        }
        is_new
    }
}

impl Host {
    pub(super) fn move_out(
        &self,
        employees: Vec<EmployeeId>,
        everything: bool,
        until: Instant,
        reply: oneshot::Sender<usize>,
        state: &mut State,
    ) {
        state.moving.everything |= everything;
        let employees = match everything {
            true => self.all_here(),
            false => employees,
        };
        for employee in &employees {
            self.begin_move(*employee, until, state);
        }
        state.moving.waiting.push(Waiting {
            count: employees.len(),
            left: employees,
            everything,
            reply,
        });
    }

    /// Whoever lives here, awake or asleep.
    fn all_here(&self) -> Vec<EmployeeId> {
        let cluster = self.core.cluster.as_ref();
        let owned = cluster.map(|cluster| cluster.owned_of(kind::EMPLOYEE));
        let owned = owned.into_iter().flatten();
        owned
            .map(|entity| EmployeeId::from_uuid(entity.id))
            .collect()
    }

    /// An employee has gone to sleep. Its claim is kept, unless it should live on another node: so a cluster whose nodes come and go finds
    /// its balance again by itself.
    pub(super) fn has_fallen_asleep(&self, employee: EmployeeId, state: &mut State) {
        let Some(cluster) = &self.core.cluster else {
            return;
        };
        if cluster.lives_better_elsewhere(employee_entity(employee)) {
            self.begin_move(employee, Instant::now(), state);
        }
    }

    fn begin_move(&self, employee: EmployeeId, until: Instant, state: &mut State) {
        // One that is being read finds that its claim is gone and is sent after the others.
        if state.waking.contains_key(&employee) || !state.moving.add(employee, until) {
            return;
        }
        match take_out(&self.directory, employee) {
            Some(handle) => {
                // Whatever its mailbox holds comes before.
                if handle.tell(EmployeeMessage::Leave).is_err() {
                    state.moving.has_stopped(employee);
                }
                state.moving.handles.insert(employee, handle);
            }
            None => state.moving.has_stopped(employee),
        }
    }

    /// Stops those whose time is over, and releases those that have stopped.
    pub(super) fn move_on(&self, myself: &ActorRef<Envelope<Message>>, state: &mut State) {
        if state.moving.of.is_empty() && state.moving.waiting.is_empty() {
            return;
        }
        state.moving.cut_off_the_late();
        self.sweep_in(state);
        self.release_some(myself, state);
        self.tell_who_waits(state);
        if !state.moving.tick_queued && !state.moving.of.is_empty() {
            state.moving.tick_queued = true;
            let own = Mailbox::new(myself.clone(), state.vitals.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = own.tell(Message::MoveOn);
            });
        }
    }

    /// In a drain those go too that were being woken when it began.
    fn sweep_in(&self, state: &mut State) {
        if !state.moving.everything || !state.moving.of.is_empty() {
            return;
        }
        let until = Instant::now() + Duration::from_secs(1);
        for employee in self.all_here() {
            self.begin_move(employee, until, state);
        }
    }

    fn release_some(&self, myself: &ActorRef<Envelope<Message>>, state: &mut State) {
        if state.moving.releasing || state.moving.stopped.is_empty() {
            return;
        }
        state.moving.releasing = true;
        let count = state.moving.stopped.len().min(BATCH);
        let employees: Vec<EmployeeId> = state.moving.stopped.drain(..count).collect();
        let broken = employees.iter().filter(|id| state.broken.remove(id));
        let wait = broken.count() > 0;
        let (core, own) = (
            self.core.clone(),
            Mailbox::new(myself.clone(), state.vitals.clone()),
        );
        tokio::spawn(async move {
            if wait {
                // What a life that was cut off gave to the journal is there before the next one reads.
                core.journal.barrier().await;
            }
            let entities: Vec<Entity> = employees.iter().map(|id| employee_entity(*id)).collect();
            let released = core.placement.release_all(&entities).await;
            if let Err(error) = &released {
                tracing::warn!(%error, employees = employees.len(), "employees could not be released, it is tried again");
                tokio::time::sleep(AGAIN).await;
            }
            let released = released.is_ok();
            let _ = own.tell(Message::Released {
                employees,
                released,
            });
        });
    }

    /// They belong to nobody: what came for them is sent after them, and who has work at hand is woken at its next home.
    pub(super) fn released(&self, employees: Vec<EmployeeId>, released: bool, state: &mut State) {
        state.moving.releasing = false;
        if !released {
            state.moving.stopped.extend(employees);
            return;
        }
        let Some(cluster) = &self.core.cluster else {
            return;
        };
        for employee in &employees {
            state.moving.handles.remove(employee);
            let Some(mover) = state.moving.of.remove(employee) else {
                continue;
            };
            let next = cluster.next_home(employee_entity(*employee));
            for (org, Told { message, from_afar }) in mover.held {
                match next {
                    Some(node) if !from_afar => cluster.forward(org, *employee, message, node),
                    _ => message.refuse(EmployeeError::NotHere),
                }
            }
        }
        let gone: std::collections::HashSet<EmployeeId> = employees.iter().copied().collect();
        for waiting in &mut state.moving.waiting {
            waiting.left.retain(|employee| !gone.contains(employee));
        }
        cluster.moved_out(&employees);
    }

    fn tell_who_waits(&self, state: &mut State) {
        let nobody_left = state.moving.of.is_empty() && self.all_here().is_empty();
        for waiting in std::mem::take(&mut state.moving.waiting) {
            let is_over = match waiting.everything {
                true => nobody_left,
                false => waiting.left.iter().all(|id| !state.moving.is_moving(*id)),
            };
            match is_over {
                true => drop(waiting.reply.send(waiting.count)),
                false => state.moving.waiting.push(waiting),
            }
        }
    }

    /// Stops everybody at once. What they had on its way to the outside ends, and who is asked for is refused until this node may act again.
    pub(super) fn suspend(&self, state: &mut State) {
        let awake: Vec<EmployeeId> = self.directory.iter().map(|entry| *entry.key()).collect();
        for employee in awake {
            if let Some(handle) = take_out(&self.directory, employee) {
                handle.give_up();
                state.broken.insert(employee);
                handle.cell().kill();
            }
        }
    }
}

fn take_out(directory: &Directory, employee: EmployeeId) -> Option<EmployeeHandle> {
    directory.remove(&employee).map(|(_, handle)| handle)
}
