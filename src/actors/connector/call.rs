//! A call as it comes to a connector, and who waits for it.

use super::{
    Waiter,
    connections::Connection,
    departure::{Answer, ConnectorError, Fate, Known},
    exchange::{Tokens, exchange},
    queue::Claim,
    token::Kept,
    turns::Guest,
};
use crate::{
    actors::{
        core::Core,
        faults::{CallPoint, FaultPoint},
    },
    connect::{HttpCaller, ShapedRequest},
    domain::{EffectId, EmployeeId, ExecutionId, OrgId, Timestamp},
};
use std::sync::Arc;
use tokio::{sync::oneshot, time::Instant};

/// The ledger's row of a write, for the note that it leaves now.
#[derive(Clone, Copy, Debug)]
pub struct EffectTicket {
    pub org: OrgId,
    pub execution: ExecutionId,
    pub effect: EffectId,
    pub attempts: i32,
    /// When the first sending left of which nobody knows what became of it.
    pub in_doubt_since: Option<Timestamp>,
    /// A person has settled it as not done when nobody wanted it; now somebody does.
    pub is_reopened: bool,
}

/// One call.
pub struct CallRequest {
    pub request: ShapedRequest,
    /// What it takes from the quota.
    pub cost: u32,
    /// When the caller stops waiting: for its turn, for retries, for the answer.
    pub deadline: Instant,
    pub employee: EmployeeId,
    /// Of a write.
    pub effect: Option<EffectTicket>,
}

/// A call in a connector's queue or on its way, and who waits for it. However it is let go, its caller is told what is known of it.
pub(super) struct Call {
    work: Work,
    fate: Fate,
    pub attempts: u32,
    /// Which limit counts for it.
    pub lane: usize,
    pub waiter: Option<Waiter>,
}

enum Work {
    Here {
        request: Arc<CallRequest>,
        /// Taken when the caller is told.
        reply: Option<oneshot::Sender<Answer>>,
    },
    /// The caller lives on another node, and makes the call there when it is its turn.
    Elsewhere(Box<Guest>),
}

impl Call {
    pub fn new(
        request: Arc<CallRequest>,
        waiter: Option<Waiter>,
    ) -> (Box<Self>, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let work = Work::Here {
            request,
            reply: Some(reply),
        };
        (Box::new(Self::of(work, waiter)), answer)
    }

    pub fn of_guest(guest: Guest, waiter: Option<Waiter>) -> Box<Self> {
        Box::new(Self::of(Work::Elsewhere(Box::new(guest)), waiter))
    }

    fn of(work: Work, waiter: Option<Waiter>) -> Self {
        Self {
            work,
            fate: Fate::held(),
            attempts: 0,
            lane: 0,
            waiter,
        }
    }

    pub fn claim(&self) -> Claim {
        let cost = match &self.work {
            Work::Here { request, .. } => request.cost,
            Work::Elsewhere(guest) => guest.asks.cost,
        };
        Claim {
            employee: self.employee(),
            cost,
            lane: self.lane,
        }
    }

    pub fn employee(&self) -> EmployeeId {
        match &self.work {
            Work::Here { request, .. } => request.employee,
            Work::Elsewhere(guest) => guest.asks.employee,
        }
    }

    pub fn capability(&self) -> &str {
        match &self.work {
            Work::Here { request, .. } => &request.request.capability,
            Work::Elsewhere(guest) => &guest.asks.capability,
        }
    }

    pub fn write(&self) -> bool {
        match &self.work {
            Work::Here { request, .. } => request.request.write,
            Work::Elsewhere(guest) => guest.asks.write,
        }
    }

    /// Whether the ledger has a row of it.
    pub fn has_effect(&self) -> bool {
        match &self.work {
            Work::Here { request, .. } => request.effect.is_some(),
            Work::Elsewhere(guest) => guest.asks.effect,
        }
    }

    pub fn deadline(&self) -> Instant {
        match &self.work {
            Work::Here { request, .. } => request.deadline,
            Work::Elsewhere(guest) => guest.deadline,
        }
    }

    /// Whether nobody waits for it any more.
    pub fn is_given_up(&self) -> bool {
        match &self.work {
            Work::Here { reply, .. } => reply.as_ref().is_none_or(oneshot::Sender::is_closed),
            Work::Elsewhere(guest) => guest.is_gone(),
        }
    }

    /// It is its turn. What comes of it is then [`Call::known`].
    pub async fn go(
        &mut self,
        core: &Arc<Core>,
        http: &HttpCaller,
        kept: &Kept,
        connection: &Arc<Connection>,
    ) {
        let fate = &mut self.fate;
        match &mut self.work {
            Work::Here { request, reply } => {
                let tokens = Tokens::Own(kept);
                let Some(reply) = reply else { return };
                tokio::select! {
                    // First: of a step that was cancelled or given up nothing may leave any more.
                    biased;
                    () = reply.closed() => {}
                    () = exchange(core, http, &tokens, connection, request, fate) => {}
                }
            }
            Work::Elsewhere(guest) => fate.told(guest.have_turn(core, kept, connection).await),
        }
        let (connection, at) = (connection.id, CallPoint::Returning);
        core.faults.reach(FaultPoint::Call { connection, at });
    }

    /// What is known of it now.
    pub fn known(&self) -> &Known {
        self.fate.known()
    }

    /// It waits for another turn.
    pub fn is_to_go_again(&self) {
        if let Work::Elsewhere(guest) = &self.work {
            guest.hears(true);
        }
    }

    /// It is over: its caller is told what came of it.
    pub fn end(self) {
        drop(self);
    }

    /// It does not leave, or not once more.
    pub fn refuse(mut self, why: ConnectorError) {
        self.fate.refuse(why);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let fate = std::mem::replace(&mut self.fate, Fate::held());
        match &mut self.work {
            Work::Here { reply, .. } => {
                if let Some(reply) = reply.take() {
                    let _ = reply.send(fate.into_answer());
                }
            }
            Work::Elsewhere(guest) => guest.end(fate.known()),
        }
    }
}
