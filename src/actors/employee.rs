//! An employee: the supervisor of its skills and the owner of its runs, as long as it is awake.
//!
//! Invariants: only this actor applies facts to its runs, and what it applied it hands to the journal in the same order; what a client
//! is told was durable before; it leaves only when nothing of it is on its way to the journal and nothing is in its mailbox.
//! Persists: facts and what belongs to them through the journal, a snapshot when it leaves. At a restart it takes up every
//! unfinished run where the journal says it is.

mod admission;
mod carry_out;
mod durable;
mod facts;
mod handle;
mod lifecycle;
mod live_run;
mod memory;
mod message;
mod trigger_key;
mod triggers;
mod unwritable;

pub use carry_out::approval_id;
pub use facts::named_wait_event;
pub use handle::{EmployeeHandle, EmployeeMailbox};
pub use lifecycle::{EmployeeState, MOVED_OUT, Woken, WokenRun};
pub use live_run::FinishedRun;
pub use message::{
    Accepted, Beginning, DecideMessage, EmployeeError, EventMessage, Looked, Message, ON_THE_WAY,
    Reply, StepAnswer, StepResult, StopMessage, TriggerMessage,
};
pub use trigger_key::{KeyOrigin, TriggerKey, new_key};
pub(super) use triggers::{answer_if_known, known_triggers};

use super::{
    core::Core,
    faults::FaultPoint,
    mailbox::{Envelope, Mailbox},
    micro_agent::Job,
    skill::SkillHandle,
    versions::LoadedVersion,
    vitals::Vitals,
};
use crate::{
    domain::{EmployeeId, ExecutionId, OrgId},
    graph::{StepId, StopKind},
    persistence::EmployeeStatus,
};
use admission::Admission;
use live_run::LiveRun;
use memory::Memory;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use triggers::Taking;

struct Employee {
    core: Arc<Core>,
    org: OrgId,
    id: EmployeeId,
}

struct State {
    core: Arc<Core>,
    org: OrgId,
    id: EmployeeId,
    path: String,
    own: EmployeeMailbox,
    current: Arc<LoadedVersion>,
    /// Quarantined: it takes triggers and starts nothing, because it kept breaking down or a person put it on hold. Dismissed: it ends what
    /// is unfinished and takes no trigger.
    status: EmployeeStatus,
    runs: HashMap<ExecutionId, LiveRun>,
    /// Runs some facts of which the journal has refused, until it is read what it has of them.
    unwritable: HashMap<ExecutionId, LiveRun>,
    admission: Admission,
    taking: Taking,
    memory: Memory,
    skills: HashMap<u16, SkillHandle>,
    skill_of_actor: HashMap<ActorId, u16>,
    /// Acceptances whose answer rides with the run's first commit: whoever told it waits for the result anyway.
    accepting: HashMap<ExecutionId, (Beginning, Reply<Accepted>)>,
    /// Steps that go on after a named wait: an earlier attempt may have left something in the effect ledger.
    resumed: HashSet<(ExecutionId, StepId)>,
    /// Jobs that wait to be given to their skill, which may have to be spawned first.
    jobs: VecDeque<Job>,
    counts: EmployeeState,
    counts_written: EmployeeState,
    /// Submissions that the journal has not answered yet.
    undurable: usize,
    last_work: Instant,
    idle_check_queued: bool,
    /// Steps that were given to their skills and have not come back.
    in_work: HashSet<(ExecutionId, StepId)>,
    /// It is given away: nothing new that reaches outside is begun, and it stops when nothing is in work.
    leaving: bool,
    /// Under which claim it lives here.
    epoch: u64,
    woken: Option<Woken>,
    alive: CancellationToken,
    vitals: Arc<Vitals>,
}

impl Actor for Employee {
    type Msg = Envelope<Message>;
    type State = State;
    type Arguments = (Woken, Arc<Vitals>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (woken, vitals): (Woken, Arc<Vitals>),
    ) -> Result<State, ActorProcessingErr> {
        let own = Mailbox::new(myself, vitals.clone());
        let state = State::new(self.core.clone(), self.org, self.id, own, woken, vitals);
        // The first message: comes before whatever the host has queued, and after the actor is linked.
        let _ = state.own.tell(Message::Begin);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _handling) = message.open(&state.vitals);
        self.core
            .faults
            .reach(FaultPoint::Employee { employee: self.id });
        if !matches!(message, Message::Idle | Message::Durable { .. }) {
            state.last_work = Instant::now();
        }
        match message {
            Message::Begin => state.begin(&myself).await?,
            Message::Trigger(message) => state.trigger(message),
            Message::Looked(looked) => state.looked(looked),
            Message::Answer(answer) => state.answer(*answer),
            Message::Timer { execution, timer } => state.timer(execution, timer),
            Message::Decide(message) => state.decide(*message),
            Message::Event(message) => state.event(*message),
            Message::Resume {
                execution,
                step,
                reply,
            } => state.resume(execution, step, reply),
            Message::Stop(message) => state.stop(*message),
            Message::Watch { execution, watcher } => state.watch(execution, watcher),
            Message::MicroAgentFailed {
                skill,
                node,
                culprit,
            } => state.micro_agent_failed(skill, node, culprit),
            Message::Durable {
                execution,
                facts,
                result,
            } => state.durable(execution, facts, result)?,
            // Two who make one may announce them in the other order.
            Message::NewVersion(version) if version.version > state.current.version => {
                state.current = version;
            }
            Message::NewVersion(_) => {}
            Message::Remember(writes, skill) => state.memory.apply(&writes, skill.as_deref()),
            Message::Reread { conversation, then } => state.reread(conversation.as_deref(), then),
            Message::Unwritable {
                execution,
                why,
                stored,
            } => state.end_unwritable(execution, &why, stored),
            Message::Idle => {
                if state.try_to_leave(&myself) {
                    return Ok(());
                }
            }
            Message::Leave => state.leaving = true,
        }
        state.start_what_may(&myself).await?;
        state.show_load();
        if state.leaving {
            state.move_out_when_done(&myself);
            return Ok(());
        }
        state.queue_idle_check(&myself);
        Ok(())
    }

    /// A skill that broke down is started again by its next job; what it had in work is given again now.
    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (who, why) = match &event {
            SupervisionEvent::ActorFailed(who, why) => (who, why.to_string()),
            SupervisionEvent::ActorTerminated(who, _, _) => (who, "stopped".to_string()),
            _ => return Ok(()),
        };
        state.skill_failed(who.get_id(), &why);
        state.start_what_may(&myself).await?;
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.forget_vitals();
        Ok(())
    }
}

impl State {
    fn now(&self) -> crate::domain::Timestamp {
        self.core.clock.now()
    }

    fn is_held(&self) -> bool {
        self.status == EmployeeStatus::Quarantined
    }

    /// Words for the stop of a run whose conversation goes on with a newer trigger.
    fn replacement_reason(kind: StopKind) -> Option<String> {
        Some(match kind {
            StopKind::RolledBack => {
                "a newer trigger of the conversation took its place and undid it".into()
            }
            _ => "a newer trigger of the conversation took its place".into(),
        })
    }
}
