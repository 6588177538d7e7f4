//! The way in to one awake employee.

use super::{Employee, Message, Woken};
use crate::{
    actors::{
        core::Core,
        mailbox::{Mailbox, SendError},
        vitals::Vitals,
    },
    domain::{EmployeeId, OrgId},
};
use ractor::{Actor, ActorCell, ActorId, ActorStatus};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Messages from outside that may wait: at 10,000 messages a second a full mailbox is a second behind, beyond which a client is better
/// told to come back.
const MAILBOX: usize = 10_000;

pub type EmployeeMailbox = Mailbox<Message>;

#[derive(Clone)]
pub struct EmployeeHandle {
    pub org: OrgId,
    mailbox: EmployeeMailbox,
    alive: CancellationToken,
}

impl EmployeeHandle {
    /// Starts the actor below `parent` from what was read of it.
    pub async fn spawn(
        parent: ActorCell,
        core: Arc<Core>,
        woken: Woken,
    ) -> Result<Self, ractor::SpawnErr> {
        let (org, id, alive) = (woken.org, woken.employee, woken.alive.clone());
        let vitals = core
            .vitals
            .register(path(id), "employee", Some(org), MAILBOX);
        let (actor, _) = Actor::spawn_linked(
            None,
            Employee { core, org, id },
            (woken, vitals.clone()),
            parent,
        )
        .await?;
        Ok(Self {
            org,
            mailbox: Mailbox::new(actor, vitals),
            alive,
        })
    }

    /// Queues a message from outside.
    ///
    /// # Errors
    /// The message is given back: the mailbox is full, or the employee has just left or broken down.
    pub fn offer(&self, message: Message) -> Result<(), (SendError, Message)> {
        self.mailbox.offer(message)
    }

    /// Queues a message that must not be refused for a full mailbox.
    ///
    /// # Errors
    /// It has just left or broken down.
    pub fn tell(&self, message: Message) -> Result<(), (SendError, Message)> {
        self.mailbox.tell(message)
    }

    /// Ends whatever it has under way to the outside: another life of it begins.
    pub fn give_up(&self) {
        self.alive.cancel();
    }

    /// Whether it takes messages, or is about to.
    pub fn is_living(&self) -> bool {
        !matches!(
            self.mailbox.cell().get_status(),
            ActorStatus::Stopping | ActorStatus::Stopped
        )
    }

    pub fn depth(&self) -> usize {
        self.mailbox.depth()
    }
    pub fn actor_id(&self) -> ActorId {
        self.mailbox.cell().get_id()
    }
    pub fn cell(&self) -> ActorCell {
        self.mailbox.cell()
    }
    pub fn vitals(&self) -> &Arc<Vitals> {
        self.mailbox.vitals()
    }
}

/// Where the introspection shows an employee.
pub fn path(id: EmployeeId) -> String {
    format!("node/employee_host/employee:{id}")
}
