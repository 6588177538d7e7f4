//! The employee host: wakes employees, keeps track of who is awake, starts again who broke down, quarantines who keeps breaking down.
//!
//! Invariants: an employee is awake once at most, and here only under a claim of this node; a message that was taken is handed to the
//! employee, sent to the node where it lives, or refused to its sender; the meltdown of one employee touches no other. Persists the
//! quarantine. At a restart of the process nobody is awake; who has unfinished work is woken by the recovery.

mod moving;
mod readings;

use super::{
    cluster::{Cluster, employee_entity},
    core::Core,
    employee::{
        EmployeeError, EmployeeHandle, MOVED_OUT, Message as EmployeeMessage, Woken,
        answer_if_known,
    },
    faults::FaultPoint,
    loader,
    mailbox::{Envelope, Mailbox, Named, SendError},
    vitals::Vitals,
};
use crate::{
    domain::{EmployeeId, OrgId, Timestamp},
    persistence::{EmployeeStatus, employee_set_status},
};
use dashmap::DashMap;
use moving::Moving;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use readings::{Readings, Stale};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use tenure_cluster::{Claim, PlacementError, Route};
use tokio::sync::oneshot;

/// Messages for employees that are asleep; those for awake ones do not come here.
const MAILBOX: usize = 50_000;
/// Messages that may wait for one employee while it is being woken.
const WAITING_MAX: usize = 10_000;
/// Employees that are read from the database at once, and readings at once.
const LOAD_BATCH: usize = 256;
const LOADS_MAX: usize = 3;
/// An employee that breaks down this often in this time is quarantined.
const CRASHES_MAX: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(60);

/// Who is awake. Read by every sender without asking the host.
type Directory = DashMap<EmployeeId, EmployeeHandle>;

#[derive(Clone)]
pub struct HostHandle {
    directory: Arc<Directory>,
    readings: Arc<Readings>,
    mailbox: Mailbox<Message>,
    cluster: Option<Arc<Cluster>>,
}

/// A message for an employee.
struct Told {
    message: EmployeeMessage,
    /// Another node sent it: it is taken here or refused, and not sent on.
    from_afar: bool,
}

impl HostHandle {
    pub async fn spawn(parent: ActorCell, core: Arc<Core>) -> Result<Self, ractor::SpawnErr> {
        let vitals = core
            .vitals
            .register("node/employee_host", "employee_host", None, MAILBOX);
        let directory = Arc::new(Directory::new());
        let readings = Arc::new(Readings::default());
        let cluster = core.cluster.clone();
        let host = Host {
            core,
            directory: directory.clone(),
            readings: readings.clone(),
        };
        let (actor, _) = Actor::spawn_linked(None, host, vitals.clone(), parent).await?;
        Ok(Self {
            directory,
            readings,
            mailbox: Mailbox::new(actor, vitals),
            cluster,
        })
    }

    /// Hands a message to an employee of `org` wherever it lives; it is woken if it sleeps. Whoever waits for an answer is answered in
    /// any case.
    pub fn tell(&self, org: OrgId, employee: EmployeeId, message: EmployeeMessage) {
        let Some(message) = self.give(org, employee, message) else {
            return;
        };
        if let Some(cluster) = &self.cluster
            && let Route::Node(node) = cluster.route(employee_entity(employee))
        {
            return cluster.forward(org, employee, message, node);
        }
        self.ask_to_wake(org, employee, message, false);
    }

    /// Hands over a message that another node sent. If the employee does not live here it is refused with `NotHere`.
    pub fn tell_here(&self, org: OrgId, employee: EmployeeId, message: EmployeeMessage) {
        if let Some(message) = self.give(org, employee, message) {
            self.ask_to_wake(org, employee, message, true);
        }
    }

    /// Gives a message to an employee that is awake here; gives it back if it is not.
    fn give(
        &self,
        org: OrgId,
        employee: EmployeeId,
        message: EmployeeMessage,
    ) -> Option<EmployeeMessage> {
        match self.directory.get(&employee) {
            Some(handle) if handle.org != org => message.refuse(EmployeeError::NotFound),
            Some(handle) => match handle.offer(message) {
                Ok(()) => {}
                Err((SendError::Full, message)) => message.refuse(EmployeeError::Overloaded),
                Err((SendError::Stopped, message)) => return Some(message),
            },
            None => return Some(message),
        }
        None
    }

    fn ask_to_wake(
        &self,
        org: OrgId,
        employee: EmployeeId,
        message: EmployeeMessage,
        from_afar: bool,
    ) {
        let told = Some(Told { message, from_afar });
        if let Err((
            error,
            Message::Wake {
                told: Some(Told { message, .. }),
                ..
            },
        )) = self.mailbox.offer(Message::Wake {
            org,
            employee,
            told,
        }) {
            message.refuse(if error == SendError::Full {
                EmployeeError::Overloaded
            } else {
                EmployeeError::Stopped
            });
        }
    }

    /// Wakes an employee that has unfinished work and lives here, or nowhere.
    pub fn wake(&self, org: OrgId, employee: EmployeeId) {
        if !self.directory.contains_key(&employee) {
            let _ = self.mailbox.tell(Message::Wake {
                org,
                employee,
                told: None,
            });
        }
    }

    /// Gives employees away: each finishes what is in work, for `grace` at most, and is released. `reply` is told their number when all of
    /// them are gone. `everything`: whoever lives here, asleep or awake, and nobody is taken from now on.
    pub fn move_out(
        &self,
        employees: Vec<EmployeeId>,
        everything: bool,
        grace: Duration,
    ) -> oneshot::Receiver<usize> {
        let (reply, gone) = oneshot::channel();
        let _ = self.mailbox.tell(Message::MoveOut {
            employees,
            everything,
            until: Instant::now() + grace,
            reply,
        });
        gone
    }

    /// Stops everybody at once, without a word to the database: this node may not act.
    pub fn suspend(&self) {
        let _ = self.mailbox.tell(Message::Suspend);
    }

    /// Tells an employee what was changed in the database if it is awake or being read; one that is asleep reads it when it wakes.
    pub fn tell_if_awake(&self, employee: EmployeeId, message: EmployeeMessage) {
        let Err(message) = self.readings.keep(employee, message) else {
            return;
        };
        // Not refused for a full mailbox: what it says was answered as done.
        if let Some(handle) = self.directory.get(&employee) {
            let _ = handle.tell(message);
        }
    }

    /// Tells every employee of an org that is awake or being read; walks over all of them, so only for what is rare.
    pub fn tell_awake_of(&self, org: OrgId, message: impl Fn() -> EmployeeMessage) {
        let kept = self.readings.keep_for_org(org, &message);
        let awake = self.directory.iter();
        for entry in awake.filter(|entry| entry.org == org && !kept.contains(entry.key())) {
            let _ = entry.tell(message());
        }
    }

    /// For the employee alone: takes it out of the directory if nothing is in its mailbox. Senders hold the entry while they send, so
    /// that after this nobody can reach it.
    pub(super) fn let_go(&self, employee: EmployeeId, actor: ActorId) -> bool {
        self.directory
            .remove_if(&employee, |_, handle| {
                handle.actor_id() == actor && handle.depth() == 0
            })
            .is_some()
    }

    /// An employee was put on hold, released or dismissed: if it is awake here, or being read, it is read again, with what the database
    /// says now. When this returns, the life of before takes nothing any more.
    pub async fn reread_here(&self, org: OrgId, employee: EmployeeId) {
        if self.is_awake_or_read(employee) {
            self.reread(org, employee).await;
        }
    }

    /// The same, and it is woken if it sleeps and lives here or nowhere.
    pub async fn reread(&self, org: OrgId, employee: EmployeeId) {
        // What is being read is out of date from now on, not only when the host comes to it.
        self.readings.outdate(employee);
        let (reply, done) = oneshot::channel();
        let message = Message::Reread {
            org,
            employee,
            reply: Some(reply),
        };
        if self.mailbox.tell(message).is_ok() {
            let _ = done.await;
        }
    }

    pub fn awake(&self) -> usize {
        self.directory.len()
    }
    pub fn is_awake(&self, employee: EmployeeId) -> bool {
        self.directory.contains_key(&employee)
    }
    /// Whether something of it may be in memory: then it has to be told of changes.
    pub fn is_awake_or_read(&self, employee: EmployeeId) -> bool {
        self.readings.contains(employee) || self.is_awake(employee)
    }
}

enum Message {
    Wake {
        org: OrgId,
        employee: EmployeeId,
        told: Option<Told>,
    },
    Loaded {
        employees: Vec<Read>,
    },
    Reread {
        org: OrgId,
        employee: EmployeeId,
        reply: Option<oneshot::Sender<()>>,
    },
    MoveOut {
        employees: Vec<EmployeeId>,
        everything: bool,
        until: Instant,
        reply: oneshot::Sender<usize>,
    },
    /// The time of those who move out may be over.
    MoveOn,
    /// They belong to nobody now, or the database could not be told.
    Released {
        employees: Vec<EmployeeId>,
        released: bool,
    },
    Suspend,
}

/// An employee that was to be read: under which claim, or why it may not live here.
struct Read {
    employee: EmployeeId,
    read: Result<(Claim, loader::Loaded), PlacementError>,
}

impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Wake { .. } => "wake",
            Message::Loaded { .. } => "loaded",
            Message::Reread { .. } => "reread",
            Message::MoveOut { .. } => "move_out",
            Message::MoveOn => "move_on",
            Message::Released { .. } => "released",
            Message::Suspend => "suspend",
        }
    }
}

struct Host {
    core: Arc<Core>,
    directory: Arc<Directory>,
    readings: Arc<Readings>,
}

/// Messages for an employee that is being read, with the org that each sender believes it to be of.
struct Waking {
    /// As the first of them says; whether it is right is known when the employee was read.
    org: OrgId,
    messages: VecDeque<(OrgId, Told)>,
}

struct State {
    vitals: Arc<Vitals>,
    waking: HashMap<EmployeeId, Waking>,
    to_load: VecDeque<EmployeeId>,
    loads: usize,
    by_actor: HashMap<ActorId, (OrgId, EmployeeId)>,
    crashes: HashMap<EmployeeId, VecDeque<Instant>>,
    /// Whose last life ended badly and may still have something on its way to the journal.
    broken: HashSet<EmployeeId>,
    moving: Moving,
}

impl Actor for Host {
    type Msg = Envelope<Message>;
    type State = State;
    type Arguments = Arc<Vitals>;

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        vitals: Arc<Vitals>,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State {
            vitals,
            waking: HashMap::new(),
            to_load: VecDeque::new(),
            loads: 0,
            by_actor: HashMap::new(),
            crashes: HashMap::new(),
            broken: HashSet::new(),
            moving: Moving::default(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _handling) = message.open(&state.vitals);
        match message {
            Message::Wake {
                org,
                employee,
                told,
            } => self.wake(org, employee, told, state),
            Message::Loaded { employees } => {
                state.loads -= 1;
                for read in employees {
                    self.place(read, &myself, state).await;
                }
            }
            Message::MoveOut {
                employees,
                everything,
                until,
                reply,
            } => self.move_out(employees, everything, until, reply, state),
            Message::MoveOn => state.moving.tick_is_due(),
            Message::Released {
                employees,
                released,
            } => self.released(employees, released, state),
            Message::Suspend => self.suspend(state),
            Message::Reread {
                org,
                employee,
                reply,
            } => {
                self.reread(org, employee, state);
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
            }
        }
        self.load_more(&myself, state);
        self.move_on(&myself, state);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, why) => {
                self.broke_down(who.get_id(), &why.to_string(), state).await
            }
            SupervisionEvent::ActorTerminated(who, _, reason) => {
                let Some((org, employee)) = state.by_actor.remove(&who.get_id()) else {
                    return Ok(());
                };
                match reason.as_deref() {
                    Some("asleep") => self.has_fallen_asleep(employee, state),
                    Some(MOVED_OUT) => state.moving.has_stopped(employee),
                    _ if state.moving.is_moving(employee) => {
                        state.broken.insert(employee);
                        state.moving.has_stopped(employee);
                    }
                    _ => {
                        self.give_up(employee, who.get_id(), state);
                        self.wake(org, employee, None, state);
                    }
                }
            }
            _ => {}
        }
        self.load_more(&myself, state);
        self.move_on(&myself, state);
        Ok(())
    }
}

impl Host {
    fn wake(&self, org: OrgId, employee: EmployeeId, told: Option<Told>, state: &mut State) {
        let told = match state.moving.hold_back(org, employee, told) {
            Ok(()) => return,
            Err(told) => told,
        };
        // It may have been woken since the sender looked.
        let known = self.directory.get(&employee).map(|handle| handle.clone());
        let told = match (known, told) {
            (Some(handle), Some(Told { message, from_afar })) => match handle.offer(message) {
                Ok(()) => return,
                Err((SendError::Full, message)) => {
                    return message.refuse(EmployeeError::Overloaded);
                }
                Err((SendError::Stopped, message)) => {
                    self.give_up(employee, handle.actor_id(), state);
                    Some(Told { message, from_afar })
                }
            },
            (Some(handle), None) if handle.is_living() => return,
            (Some(handle), None) => {
                self.give_up(employee, handle.actor_id(), state);
                None
            }
            (None, told) => told,
        };
        let waking = state.waking.entry(employee).or_insert_with(|| {
            self.readings.expect(employee, org);
            state.to_load.push_back(employee);
            Waking {
                org,
                messages: VecDeque::new(),
            }
        });
        match told {
            Some(told) if waking.messages.len() >= WAITING_MAX => {
                told.message.refuse(EmployeeError::Overloaded)
            }
            Some(told) => waking.messages.push_back((org, told)),
            None => {}
        }
    }

    /// The life of now ends, and the next one is read with what the database says.
    fn reread(&self, org: OrgId, employee: EmployeeId, state: &mut State) {
        state.crashes.remove(&employee);
        let known = self.directory.get(&employee);
        let actor = known.map(|handle| handle.actor_id());
        match actor.and_then(|actor| self.give_up(employee, actor, state)) {
            // Its end is seen by the supervision, which wakes it again.
            Some(handle) => handle.cell().kill(),
            None => {
                self.readings.outdate(employee);
                self.wake(org, employee, None, state);
            }
        }
    }

    /// Takes a broken life of an employee out of the way of the next one: what it has under way to the outside ends, and it is read
    /// again only when what it gave to the journal is there.
    fn give_up(
        &self,
        employee: EmployeeId,
        actor: ActorId,
        state: &mut State,
    ) -> Option<EmployeeHandle> {
        let of_this_life = |_: &EmployeeId, handle: &EmployeeHandle| handle.actor_id() == actor;
        let (_, handle) = self.directory.remove_if(&employee, of_this_life)?;
        handle.give_up();
        state.broken.insert(employee);
        Some(handle)
    }

    /// Reads who has to be woken, many at once: 10,000 employees cost some hundred queries, not 30,000.
    fn load_more(&self, myself: &ActorRef<Envelope<Message>>, state: &mut State) {
        while state.loads < LOADS_MAX && !state.to_load.is_empty() {
            let count = state.to_load.len().min(LOAD_BATCH);
            let batch: Vec<(OrgId, EmployeeId)> = state
                .to_load
                .drain(..count)
                .filter_map(|id| state.waking.get(&id).map(|waking| (waking.org, id)))
                .collect();
            for (_, employee) in &batch {
                self.readings.begin(*employee);
            }
            state.loads += 1;
            let (core, own) = (
                self.core.clone(),
                Mailbox::new(myself.clone(), state.vitals.clone()),
            );
            let wait = batch
                .iter()
                .filter(|(_, id)| state.broken.remove(id))
                .count()
                > 0;
            tokio::spawn(async move {
                if wait {
                    core.journal.barrier().await;
                }
                let employees = claim_and_read(&core, batch).await;
                let _ = own.tell(Message::Loaded { employees });
            });
        }
    }

    /// Starts an employee that was read and hands it what waited for it.
    async fn place(&self, read: Read, myself: &ActorRef<Envelope<Message>>, state: &mut State) {
        let employee = read.employee;
        let Some(waking) = state.waking.remove(&employee) else {
            return;
        };
        let (claim, loaded) = match read.read {
            Ok(read) => read,
            Err(error) => {
                self.readings.give_up(employee);
                return self.not_here(employee, waking, error);
            }
        };
        // It may have been given away, changed, or the lease lost, while it was being read.
        let is_stale = self.readings.is_stale(employee);
        if is_stale || self.core.placement.owned(employee_entity(employee)) != Some(claim) {
            return self.wake_again(employee, waking, state);
        }
        let woken = match loaded.result {
            Ok(woken) if woken.org != waking.org => {
                return self.wake_for(woken.org, employee, waking, state);
            }
            Ok(woken) if woken.status == EmployeeStatus::Dismissed && woken.runs.is_empty() => {
                self.readings.give_up(employee);
                return self.refuse_dismissed(waking);
            }
            Ok(woken) => woken,
            Err(error) => {
                self.readings.give_up(employee);
                return waking.refuse_all(error);
            }
        };
        let org = woken.org;
        let woken = Box::new(Woken {
            epoch: claim.epoch,
            ..*woken
        });
        let handle = match EmployeeHandle::spawn(myself.get_cell(), self.core.clone(), *woken).await
        {
            Ok(handle) => handle,
            Err(error) => {
                self.readings.give_up(employee);
                return waking.refuse_all(EmployeeError::NotWoken(error.to_string().into()));
            }
        };
        state.by_actor.insert(handle.actor_id(), (org, employee));
        let placed = self.readings.end(employee, |news| {
            for message in news {
                let _ = handle.tell(message);
            }
            for (asked_in, told) in waking.messages {
                if asked_in != org {
                    told.message.refuse(EmployeeError::NotFound);
                } else if let Err((_, message)) = handle.offer(told.message) {
                    message.refuse(EmployeeError::Overloaded);
                }
            }
            self.directory.insert(employee, handle);
        });
        if placed == Err(Stale) {
            self.reread(org, employee, state);
        }
    }

    /// Somebody asked for it in an org that is not its own, and was the first: the others are not to suffer for it.
    fn wake_for(&self, org: OrgId, employee: EmployeeId, waking: Waking, state: &mut State) {
        self.readings.give_up(employee);
        for (asked_in, told) in waking.messages {
            match asked_in == org {
                true => self.wake(org, employee, Some(told), state),
                false => told.message.refuse(EmployeeError::NotFound),
            }
        }
    }

    /// Nothing comes of what it is told, but for a trigger that it took before.
    fn refuse_dismissed(&self, waking: Waking) {
        for (org, told) in waking.messages {
            match told.message {
                message if org != waking.org => message.refuse(EmployeeError::NotFound),
                EmployeeMessage::Trigger(message) => {
                    let (core, dismissed) = (self.core.clone(), EmployeeError::Dismissed);
                    tokio::spawn(answer_if_known(core, org, message, dismissed));
                }
                message => message.refuse(EmployeeError::Dismissed),
            }
        }
    }

    /// Sends on what waited for an employee that lives on another node, or says that it cannot be had.
    fn not_here(&self, employee: EmployeeId, waking: Waking, why: PlacementError) {
        let Some(cluster) = &self.core.cluster else {
            return waking.refuse_all(refusal(&why));
        };
        let elsewhere = match why {
            PlacementError::OwnedBy(node) => Some(node),
            PlacementError::NotTaken => match cluster.route(employee_entity(employee)) {
                Route::Node(node) => Some(node),
                Route::Here => None,
            },
            PlacementError::Fenced | PlacementError::Unavailable(_) => None,
        };
        let Some(node) = elsewhere else {
            return waking.refuse_all(refusal(&why));
        };
        for (org, Told { message, from_afar }) in waking.messages {
            match from_afar {
                true => message.refuse(EmployeeError::NotHere),
                false => cluster.forward(org, employee, message, node),
            }
        }
    }

    fn wake_again(&self, employee: EmployeeId, waking: Waking, state: &mut State) {
        self.readings.give_up(employee);
        self.wake(waking.org, employee, None, state);
        for (org, told) in waking.messages {
            self.wake(org, employee, Some(told), state);
        }
    }

    /// Wakes a broken employee again, or quarantines it.
    async fn broke_down(&self, actor: ActorId, why: &str, state: &mut State) {
        let Some((org, employee)) = state.by_actor.remove(&actor) else {
            return;
        };
        tracing::error!(%org, %employee, why, "employee broke down");
        if let Some(handle) = self.give_up(employee, actor, state) {
            handle
                .vitals()
                .record_error(why.to_string(), self.core.clock.now());
            handle.vitals().record_restart();
        }
        if state.moving.is_moving(employee) {
            state.broken.insert(employee);
            return state.moving.has_stopped(employee);
        }
        let now = Instant::now();
        let crashes = state.crashes.entry(employee).or_default();
        crashes.push_back(now);
        crashes.retain(|at| now.duration_since(*at) <= CRASH_WINDOW);
        if crashes.len() >= CRASHES_MAX {
            crashes.clear();
            self.quarantine(org, employee, why, self.core.clock.now())
                .await;
        }
        self.wake(org, employee, None, state);
    }

    /// From now on it takes triggers and starts nothing, over restarts, until a person releases it.
    async fn quarantine(&self, org: OrgId, employee: EmployeeId, why: &str, at: Timestamp) {
        crate::telemetry::quarantined();
        let result = async {
            let mut tx = self.core.db.begin(org).await?;
            employee_set_status(&mut tx, employee, EmployeeStatus::Quarantined, at).await?;
            tx.commit().await
        };
        match result.await {
            Ok(()) => {
                tracing::error!(%org, %employee, why, "employee is quarantined until a person releases it")
            }
            // It will break down again and this will be tried again.
            Err(error) => {
                tracing::error!(%org, %employee, %error, "quarantine could not be stored")
            }
        }
    }
}

impl Waking {
    fn refuse_all(self, error: EmployeeError) {
        for (_, told) in self.messages {
            told.message.refuse(error.clone());
        }
    }
}

/// What a sender is told who wanted an employee that may not live here.
fn refusal(why: &PlacementError) -> EmployeeError {
    match why {
        PlacementError::Fenced => EmployeeError::Suspended,
        PlacementError::OwnedBy(_) | PlacementError::NotTaken => EmployeeError::Unreachable,
        PlacementError::Unavailable(why) => EmployeeError::NotWoken(why.as_str().into()),
    }
}

/// Claims employees for this node and reads those that it got.
async fn claim_and_read(core: &Core, batch: Vec<(OrgId, EmployeeId)>) -> Vec<Read> {
    let entities: Vec<_> = batch.iter().map(|(_, id)| employee_entity(*id)).collect();
    let claims = core.placement.claim_all(&entities).await;
    let (mut refused, mut claimed, mut wanted) = (Vec::new(), HashMap::new(), Vec::new());
    for ((org, employee), claim) in batch.into_iter().zip(claims) {
        match claim {
            Ok(claim) => {
                claimed.insert(employee, claim);
                wanted.push((org, employee));
            }
            Err(error) => refused.push(Read {
                employee,
                read: Err(error),
            }),
        }
    }
    if wanted.is_empty() {
        return refused;
    }
    // After the claim: whatever an earlier owner wrote is there now.
    let loaded = loader::load(core, wanted).await;
    for loaded in &loaded {
        let employee = loaded.employee;
        core.faults
            .pause(FaultPoint::EmployeeRead { employee })
            .await;
    }
    let read = loaded.into_iter().filter_map(|loaded| {
        let claim = claimed.get(&loaded.employee)?;
        Some(Read {
            employee: loaded.employee,
            read: Ok((*claim, loaded)),
        })
    });
    refused.extend(read);
    refused
}
