//! The employee host: wakes employees, keeps track of who is awake, starts again who broke down, quarantines who keeps breaking down.
//!
//! Invariants: an employee is awake once at most; a message that was taken is handed to the employee or refused to its sender; the
//! meltdown of one employee touches no other. Persists the quarantine. At a restart of the process nobody is awake; who has
//! unfinished work is woken by the recovery.

use super::{
    core::Core,
    employee::{EmployeeError, EmployeeHandle, Message as EmployeeMessage},
    loader,
    mailbox::{Envelope, Mailbox, Named, SendError},
    vitals::Vitals,
};
use crate::{
    domain::{EmployeeId, OrgId, Timestamp},
    persistence::{EmployeeStatus, employee_set_status},
};
use dashmap::DashMap;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

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
    mailbox: Mailbox<Message>,
}

impl HostHandle {
    pub async fn spawn(parent: ActorCell, core: Arc<Core>) -> Result<Self, ractor::SpawnErr> {
        let vitals = core
            .vitals
            .register("node/employee_host", "employee_host", None, MAILBOX);
        let directory = Arc::new(Directory::new());
        let host = Host {
            core,
            directory: directory.clone(),
        };
        let (actor, _) = Actor::spawn_linked(None, host, vitals.clone(), parent).await?;
        Ok(Self {
            directory,
            mailbox: Mailbox::new(actor, vitals),
        })
    }

    /// Hands a message to an employee of `org`, which is woken if it sleeps. Whoever waits for an answer is answered in any case.
    pub fn tell(&self, org: OrgId, employee: EmployeeId, message: EmployeeMessage) {
        let message = match self.directory.get(&employee) {
            Some(handle) if handle.org != org => return message.refuse(EmployeeError::NotFound),
            Some(handle) => match handle.offer(message) {
                Ok(()) => return,
                Err((SendError::Full, message)) => {
                    return message.refuse(EmployeeError::Overloaded);
                }
                Err((SendError::Stopped, message)) => message,
            },
            None => message,
        };
        if let Err((
            error,
            Message::Wake {
                message: Some(message),
                ..
            },
        )) = self.mailbox.offer(Message::Wake {
            org,
            employee,
            message: Some(message),
        }) {
            message.refuse(if error == SendError::Full {
                EmployeeError::Overloaded
            } else {
                EmployeeError::Stopped
            });
        }
    }

    /// Wakes an employee that has unfinished work.
    pub fn wake(&self, org: OrgId, employee: EmployeeId) {
        if !self.directory.contains_key(&employee) {
            let _ = self.mailbox.tell(Message::Wake {
                org,
                employee,
                message: None,
            });
        }
    }

    /// Tells an employee something if it is awake; one that is asleep reads it when it wakes.
    pub fn tell_if_awake(&self, employee: EmployeeId, message: EmployeeMessage) {
        if let Some(handle) = self.directory.get(&employee) {
            let _ = handle.offer(message);
        }
    }

    /// Tells every awake employee of an org; walks over all that are awake, so only for what is rare.
    pub fn tell_awake_of(&self, org: OrgId, message: impl Fn() -> EmployeeMessage) {
        for handle in self.directory.iter().filter(|handle| handle.org == org) {
            let _ = handle.offer(message());
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

    /// Ends a quarantine or puts an employee on hold: it is read again, with what the database says now.
    pub fn reread(&self, org: OrgId, employee: EmployeeId) {
        let _ = self.mailbox.tell(Message::Reread { org, employee });
    }

    pub fn awake(&self) -> usize {
        self.directory.len()
    }
    pub fn is_awake(&self, employee: EmployeeId) -> bool {
        self.directory.contains_key(&employee)
    }
}

enum Message {
    Wake {
        org: OrgId,
        employee: EmployeeId,
        message: Option<EmployeeMessage>,
    },
    Loaded {
        employees: Vec<loader::Loaded>,
    },
    Reread {
        org: OrgId,
        employee: EmployeeId,
    },
}
impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Wake { .. } => "wake",
            Message::Loaded { .. } => "loaded",
            Message::Reread { .. } => "reread",
        }
    }
}

struct Host {
    core: Arc<Core>,
    directory: Arc<Directory>,
}

/// Messages for an employee that is being read.
struct Waking {
    org: OrgId,
    messages: VecDeque<EmployeeMessage>,
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
                message,
            } => self.wake(org, employee, message, state),
            Message::Loaded { employees } => {
                state.loads -= 1;
                for loaded in employees {
                    self.place(loaded, &myself, state).await;
                }
            }
            Message::Reread { org, employee } => {
                state.crashes.remove(&employee);
                let actor = self
                    .directory
                    .get(&employee)
                    .map(|handle| handle.actor_id());
                match actor.and_then(|actor| self.give_up(employee, actor, state)) {
                    // Its end is seen by the supervision, which wakes it again.
                    Some(handle) => handle.cell().kill(),
                    None => self.wake(org, employee, None, state),
                }
            }
        }
        self.load_more(&myself, state);
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
                if reason.as_deref() != Some("asleep") {
                    self.give_up(employee, who.get_id(), state);
                    self.wake(org, employee, None, state);
                }
            }
            _ => {}
        }
        self.load_more(&myself, state);
        Ok(())
    }
}

impl Host {
    fn wake(
        &self,
        org: OrgId,
        employee: EmployeeId,
        message: Option<EmployeeMessage>,
        state: &mut State,
    ) {
        // It may have been woken since the sender looked.
        let known = self.directory.get(&employee).map(|handle| handle.clone());
        let message = match (known, message) {
            (Some(handle), Some(message)) => match handle.offer(message) {
                Ok(()) => return,
                Err((SendError::Full, message)) => {
                    return message.refuse(EmployeeError::Overloaded);
                }
                Err((SendError::Stopped, message)) => {
                    self.give_up(employee, handle.actor_id(), state);
                    Some(message)
                }
            },
            (Some(handle), None) if handle.is_living() => return,
            (Some(handle), None) => {
                self.give_up(employee, handle.actor_id(), state);
                None
            }
            (None, message) => message,
        };
        let waking = state.waking.entry(employee).or_insert_with(|| {
            state.to_load.push_back(employee);
            Waking {
                org,
                messages: VecDeque::new(),
            }
        });
        match message {
            Some(message) if waking.org != org => message.refuse(EmployeeError::NotFound),
            Some(message) if waking.messages.len() >= WAITING_MAX => {
                message.refuse(EmployeeError::Overloaded)
            }
            Some(message) => waking.messages.push_back(message),
            None => {}
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
                let employees = loader::load(&core, batch).await;
                let _ = own.tell(Message::Loaded { employees });
            });
        }
    }

    /// Starts an employee that was read and hands it what waited for it.
    async fn place(
        &self,
        loaded: loader::Loaded,
        myself: &ActorRef<Envelope<Message>>,
        state: &mut State,
    ) {
        let Some(waking) = state.waking.remove(&loaded.employee) else {
            return;
        };
        let refuse_all = |messages: VecDeque<EmployeeMessage>, error: EmployeeError| {
            messages
                .into_iter()
                .for_each(|message| message.refuse(error.clone()));
        };
        let woken = match loaded.result {
            Ok(woken) if woken.org == waking.org && woken.dismissed && woken.runs.is_empty() => {
                return refuse_all(waking.messages, EmployeeError::Dismissed);
            }
            Ok(woken) if woken.org == waking.org => woken,
            Ok(_) => return refuse_all(waking.messages, EmployeeError::NotFound),
            Err(error) => return refuse_all(waking.messages, error),
        };
        let (org, id) = (woken.org, woken.employee);
        match EmployeeHandle::spawn(myself.get_cell(), self.core.clone(), *woken).await {
            Ok(handle) => {
                state.by_actor.insert(handle.actor_id(), (org, id));
                for message in waking.messages {
                    if let Err((_, message)) = handle.offer(message) {
                        message.refuse(EmployeeError::Overloaded);
                    }
                }
                self.directory.insert(id, handle);
            }
            Err(error) => refuse_all(
                waking.messages,
                EmployeeError::NotWoken(error.to_string().into()),
            ),
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
