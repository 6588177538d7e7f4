//! A micro-agent: does one small piece of work, one step at a time; what has to wait on the outside runs in a task of its own.
//!
//! Invariant: each job that it was given is answered once to the employee, or the actor dies with `doing` naming the culprit.
//! Persists nothing; after a restart its employee gives it its unfinished jobs again.

use super::{
    core::Core,
    effects::{self, Behalf},
    employee::{EmployeeMailbox, Message as EmployeeMessage, StepAnswer, StepResult},
    evaluation::in_place,
    faults::FaultPoint,
    gate::Authority,
    mailbox::{Envelope, Mailbox, Named},
    vitals::{Vitals, Waiting},
};
use crate::{
    connect::ingest::slack::answer_in_thread,
    domain::{EmployeeId, ExecutionId, OrgId, TriggerType},
    graph::{StepContext, StepError, StepId, Work},
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use std::{collections::HashMap, sync::Arc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// Jobs that one micro-agent may have waiting; their number is bounded by the employee's `max_runs` and the width of its maps, this is
/// only what the introspection shows as the bound.
const MAILBOX: usize = 10_000;

/// One activation of this micro-agent.
#[derive(Clone)]
pub struct Job {
    pub org: OrgId,
    pub employee: EmployeeId,
    pub execution: ExecutionId,
    pub step: StepId,
    pub attempt: u32,
    /// False if an earlier life may have begun it: then the effect ledger is asked first.
    pub fresh: bool,
    pub context: StepContext,
}

impl Job {
    fn behalf(&self) -> Behalf {
        Behalf {
            org: self.org,
            employee: self.employee,
            execution: self.execution,
            step: self.step,
            fresh: self.fresh,
            of_run: true,
        }
    }
}

#[derive(Clone)]
pub struct MicroAgentHandle {
    mailbox: Mailbox<Message>,
    alive: CancellationToken,
}

pub struct Args {
    pub core: Arc<Core>,
    pub org: OrgId,
    pub path: String,
    pub employee: EmployeeMailbox,
    /// Cancelled when this micro-agent, its skill or its employee is given up: what it began must not go on beside its successor.
    pub alive: CancellationToken,
}

impl MicroAgentHandle {
    pub async fn spawn(parent: ActorCell, args: Args) -> Result<Self, ractor::SpawnErr> {
        let vitals =
            args.core
                .vitals
                .register(args.path.clone(), "micro_agent", Some(args.org), MAILBOX);
        let (actor, _) = Actor::spawn_linked(
            None,
            MicroAgent {
                core: args.core,
                employee: args.employee,
                alive: args.alive.clone(),
            },
            vitals.clone(),
            parent,
        )
        .await?;
        Ok(Self {
            mailbox: Mailbox::new(actor, vitals),
            alive: args.alive,
        })
    }

    /// Gives it a job. False if it is gone; the job comes again after its restart.
    pub fn start(&self, job: Job) -> bool {
        self.mailbox.tell(Message::Start(Box::new(job))).is_ok()
    }

    /// Closes what the step has open to the outside.
    pub fn cancel(&self, execution: ExecutionId, step: StepId) {
        let _ = self.mailbox.tell(Message::Cancel { execution, step });
    }

    /// Ends whatever it has under way to the outside.
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
    OutsideDone {
        execution: ExecutionId,
        step: StepId,
    },
}
impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Start(_) => "start",
            Message::Cancel { .. } => "cancel",
            Message::OutsideDone { .. } => "outside_done",
        }
    }
}

struct MicroAgent {
    core: Arc<Core>,
    employee: EmployeeMailbox,
    alive: CancellationToken,
}

struct State {
    vitals: Arc<Vitals>,
    outside: HashMap<(ExecutionId, StepId), AbortOnDrop>,
}

/// A task that ends with its owner.
struct AbortOnDrop(AbortHandle);
impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor for MicroAgent {
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
            outside: HashMap::new(),
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
            Message::Start(job) => self.start(*job, myself, state),
            Message::Cancel { execution, step } => {
                state.outside.remove(&(execution, step));
                state.show_outside(&self.core);
            }
            Message::OutsideDone { execution, step } => {
                state.outside.remove(&(execution, step));
                state.show_outside(&self.core);
            }
        }
        Ok(())
    }
}

impl MicroAgent {
    fn start(&self, job: Job, myself: ActorRef<Envelope<Message>>, state: &mut State) {
        state.vitals.set_current(Some((job.execution, job.step)));
        self.core.faults.reach(FaultPoint::MicroAgent {
            execution: job.execution,
        });
        match in_place(|budget| job.context.evaluate(budget)) {
            Some(Ok(Work::Output { output, remember })) => {
                self.answer(&job, StepResult::Completed { output, remember }, Vec::new())
            }
            Some(Err(error)) => self.answer(&job, StepResult::Failed(error), Vec::new()),
            // It has to wait, for the outside or for a thread that has the time.
            Some(Ok(call @ Work::Call { .. })) => self.apart(job, Some(call), myself, state),
            None => self.apart(job, None, myself, state),
        }
        state.vitals.set_current(None);
    }

    /// Does it in a task of its own; `None`: its expressions are still to be evaluated.
    fn apart(
        &self,
        job: Job,
        call: Option<Work>,
        myself: ActorRef<Envelope<Message>>,
        state: &mut State,
    ) {
        let own = Mailbox::new(myself, state.vitals.clone());
        let (core, employee, key) = (
            self.core.clone(),
            self.employee.clone(),
            (job.execution, job.step),
        );
        let alive = self.alive.clone();
        let task = tokio::spawn(async move {
            let (result, effects) = tokio::select! {
                biased;
                () = alive.cancelled() => return,
                done = carry_out(&core, &job, call) => done,
            };
            answer(&employee, &job, result, effects);
            let _ = own.tell(Message::OutsideDone {
                execution: job.execution,
                step: job.step,
            });
        });
        state.outside.insert(key, AbortOnDrop(task.abort_handle()));
        state.show_outside(&self.core);
    }

    fn answer(
        &self,
        job: &Job,
        result: StepResult,
        effects: Vec<crate::persistence::EffectChange>,
    ) {
        answer(&self.employee, job, result, effects);
    }
}

async fn carry_out(
    core: &Arc<Core>,
    job: &Job,
    call: Option<Work>,
) -> (StepResult, Vec<crate::persistence::EffectChange>) {
    let work = match call {
        Some(call) => Ok(call),
        None => {
            let context = job.context.clone();
            let evaluated = core
                .evaluations
                .apart(job.org, move |budget| context.evaluate(budget));
            evaluated.await.unwrap_or_else(|_| Err(panicked()))
        }
    };
    match work {
        Ok(Work::Output { output, remember }) => {
            (StepResult::Completed { output, remember }, Vec::new())
        }
        Ok(Work::Call {
            capability,
            connection,
            mut arguments,
            max_items,
        }) => {
            let trigger = job.context.trigger();
            if trigger.kind == TriggerType::ExternalEvent {
                answer_in_thread(&capability, &mut arguments, &trigger.payload);
            }
            let call = effects::Call {
                capability,
                connection,
                arguments,
                max_items,
                authority: Authority::Step {
                    permissions: job.context.permissions(),
                    agreed: job.context.agreed().clone(),
                },
                context: Some(job.context.clone()),
            };
            effects::perform(core, &job.behalf(), call).await
        }
        Err(error) => (StepResult::Failed(error), Vec::new()),
    }
}

fn answer(
    employee: &EmployeeMailbox,
    job: &Job,
    result: StepResult,
    effects: Vec<crate::persistence::EffectChange>,
) {
    let answer = StepAnswer {
        execution: job.execution,
        step: job.step,
        attempt: job.attempt,
        result,
        effects,
    };
    // A stopped employee has its unfinished steps in the journal.
    let _ = employee.tell(EmployeeMessage::Answer(Box::new(answer)));
}

impl State {
    fn show_outside(&self, core: &Core) {
        let waiting = match self.outside.len() {
            0 => None,
            count => {
                let since = self
                    .vitals
                    .waiting()
                    .map_or_else(|| core.clock.now(), |waiting| waiting.since);
                Some(Waiting {
                    on: format!("{count} call(s) to the outside"),
                    since,
                })
            }
        };
        self.vitals.set_waiting(waiting);
    }
}

/// Words for a panic, as far as it has any.
pub fn panicked() -> StepError {
    StepError::retryable("panicked", "the micro-agent broke down at this step")
}
