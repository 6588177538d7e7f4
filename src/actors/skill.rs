//! A skill: supervises the micro-agents of one skill node of one employee; they are spawned on first use.
//!
//! Invariant: a job goes to the micro-agent of its node, or its employee hears that it could not. Persists nothing; after a restart
//! its employee gives it its unfinished jobs again.

use super::{
    core::Core,
    employee::{EmployeeMailbox, Message as EmployeeMessage},
    faults::FaultPoint,
    mailbox::{Envelope, Mailbox, Named},
    micro_agent::{self, Job, MicroAgentHandle},
    vitals::Vitals,
};
use crate::{
    domain::{ExecutionId, OrgId},
    graph::StepId,
};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{collections::HashMap, sync::Arc};
use tokio_util::sync::CancellationToken;

const MAILBOX: usize = 10_000;

#[derive(Clone)]
pub struct SkillHandle {
    mailbox: Mailbox<Message>,
    alive: CancellationToken,
}

pub struct Args {
    pub core: Arc<Core>,
    pub org: OrgId,
    /// Position of the skill in the plan.
    pub skill: u16,
    pub path: String,
    pub employee: EmployeeMailbox,
    /// As of its micro-agents, all of them.
    pub alive: CancellationToken,
}

impl SkillHandle {
    pub async fn spawn(parent: ActorCell, args: Args) -> Result<Self, ractor::SpawnErr> {
        let vitals = args
            .core
            .vitals
            .register(args.path.clone(), "skill", Some(args.org), MAILBOX);
        let alive = args.alive.clone();
        let (actor, _) = Actor::spawn_linked(None, Skill(args), vitals.clone(), parent).await?;
        Ok(Self {
            mailbox: Mailbox::new(actor, vitals),
            alive,
        })
    }

    /// Gives a job to its micro-agent. False if the skill is gone; the job comes again after its restart.
    pub fn start(&self, job: Job) -> bool {
        self.mailbox.tell(Message::Start(Box::new(job))).is_ok()
    }

    pub fn cancel(&self, execution: ExecutionId, step: StepId) {
        let _ = self.mailbox.tell(Message::Cancel { execution, step });
    }

    /// Ends whatever its micro-agents have under way to the outside.
    pub fn give_up(&self) {
        self.alive.cancel();
    }
    pub fn cell(&self) -> ActorCell {
        self.mailbox.cell()
    }
    pub fn vitals(&self) -> &Arc<Vitals> {
        self.mailbox.vitals()
    }
}

enum Message {
    Start(Box<Job>),
    Cancel {
        execution: ExecutionId,
        step: StepId,
    },
}
impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Start(_) => "start",
            Message::Cancel { .. } => "cancel",
        }
    }
}

struct Skill(Args);

struct State {
    vitals: Arc<Vitals>,
    agents: HashMap<u16, MicroAgentHandle>,
    by_actor: HashMap<ActorId, u16>,
}

impl Actor for Skill {
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
            agents: HashMap::new(),
            by_actor: HashMap::new(),
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
            Message::Start(job) => {
                self.0.core.faults.reach(FaultPoint::Skill {
                    execution: job.execution,
                });
                let agent = match state.agents.get(&job.step.node) {
                    Some(agent) => agent,
                    None => {
                        self.spawn_agent(job.step.node, job.context.node_name(), &myself, state)
                            .await?
                    }
                };
                // If it is just going down, its failure arrives next and the job comes again.
                agent.start(*job);
            }
            Message::Cancel { execution, step } => {
                if let Some(agent) = state.agents.get(&step.node) {
                    agent.cancel(execution, step);
                }
            }
        }
        Ok(())
    }

    /// A micro-agent that broke down fails the step that it was at; its employee decides what comes of that and gives the other
    /// steps of that micro-agent again, to a new one.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (who, why) = match &event {
            SupervisionEvent::ActorFailed(who, why) => (who, why.to_string()),
            SupervisionEvent::ActorTerminated(who, _, _) => (who, "stopped".to_string()),
            _ => return Ok(()),
        };
        let Some(node) = state.by_actor.remove(&who.get_id()) else {
            return Ok(());
        };
        let Some(agent) = state.agents.remove(&node) else {
            return Ok(());
        };
        agent.give_up();
        let vitals = agent.vitals();
        vitals.record_error(why, self.0.core.clock.now());
        vitals.record_restart();
        vitals.set_waiting(None);
        let culprit = vitals.take_current();
        let _ = self.0.employee.tell(EmployeeMessage::MicroAgentFailed {
            skill: self.0.skill,
            node,
            culprit,
        });
        Ok(())
    }
}

impl Skill {
    async fn spawn_agent<'a>(
        &self,
        node: u16,
        name: &str,
        myself: &ActorRef<Envelope<Message>>,
        state: &'a mut State,
    ) -> Result<&'a MicroAgentHandle, ActorProcessingErr> {
        let args = micro_agent::Args {
            core: self.0.core.clone(),
            org: self.0.org,
            path: format!("{}/micro_agent:{name}", self.0.path),
            employee: self.0.employee.clone(),
            alive: self.0.alive.child_token(),
        };
        let agent = MicroAgentHandle::spawn(myself.get_cell(), args).await?;
        state.by_actor.insert(agent.cell().get_id(), node);
        Ok(state.agents.entry(node).or_insert(agent))
    }
}
