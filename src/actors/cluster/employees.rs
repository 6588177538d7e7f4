//! Messages for employees that live on another node: sent after them until somebody answers, and taken when they come.
//!
//! The rule: what may have been done is asked again only if asking twice is harmless. So a trigger that has no key of its own gets one for
//! the way, and the second asking gives the run of the first.

use super::{
    Cluster, employee_entity,
    words::{
        Answered, EmployeeAnswer, EmployeeAsk, ToEmployee, Watch, decode, encode, key_from_afar,
        kinds,
    },
};
use crate::{
    actors::{
        core::Core,
        employee::{
            Accepted, DecideMessage, EmployeeError, EventMessage, FinishedRun, Message, ON_THE_WAY,
            Reply, StopMessage, TriggerKey, TriggerMessage,
        },
    },
    domain::{EmployeeId, OrgId, Timestamp},
    persistence::{approval_get, run_get},
    telemetry::trace,
};
use std::{sync::Arc, time::Duration};
use tenure_cluster::{
    NodeIdentity, PlacementError, Route,
    gateway::DeliveryError,
    protocol::{Envelope, HandlerError},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

/// How long somebody waits for an employee whose node has died: longer than a lease.
const PATIENCE: Duration = Duration::from_secs(20);
/// One asking.
const ASK_TIME: Duration = Duration::from_secs(10);
/// How long a node that has too much to do is asked again.
const OVERLOAD_PATIENCE: Duration = Duration::from_secs(2);
/// How long an acceptance may wait for the end of its run.
const QUICK_END: Duration = Duration::from_secs(2);
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LAST: Duration = Duration::from_millis(250);
/// One waiting for the end of a run.
const WATCH_TIME: Duration = Duration::from_secs(60);

/// Bytes of an answer. Results that are longer are read in the database by whoever waits for them: what an answer may have is counted as
/// being on its way from the start.
pub(super) const ANSWER_LIMIT: usize = 64 * 1024;

/// Who waits for what a message brings.
enum Waits {
    Accepted(Reply<Accepted>, Option<oneshot::Sender<FinishedRun>>),
    At(Reply<Timestamp>),
    Done(Reply<()>),
    Nobody,
}

/// A message in words, and who waits. `None`: it is not for others than an employee on this node.
fn in_words(message: Message) -> Option<(EmployeeAsk, Waits)> {
    Some(match message {
        Message::Trigger(message) => {
            let TriggerMessage {
                trigger,
                conversation,
                skill,
                dedupe,
                reply,
                watcher,
            } = *message;
            let on_the_way = || TriggerKey::made(ON_THE_WAY, uuid::Uuid::now_v7().to_string());
            let key = dedupe.unwrap_or_else(on_the_way);
            let ask = EmployeeAsk::Trigger {
                trigger,
                conversation,
                skill,
                made_on_the_way: key.starts_at_once(),
                payload_hash: key.payload,
                dedupe: Some((key.source, key.key)),
                watch: watcher.is_some(),
            };
            (ask, Waits::Accepted(reply, watcher))
        }
        Message::Decide(message) => {
            let DecideMessage {
                execution,
                step,
                decision,
                arguments_hash,
                by,
                comment,
                reply,
            } = *message;
            let ask = EmployeeAsk::Decide {
                execution,
                step,
                decision,
                arguments_hash,
                by,
                comment,
            };
            (ask, Waits::At(reply))
        }
        Message::Event(message) => {
            let EventMessage {
                execution,
                step,
                payload,
                source,
                reply,
            } = *message;
            let ask = EmployeeAsk::Event {
                execution,
                step,
                payload,
                source,
            };
            (ask, Waits::Done(reply))
        }
        Message::Resume {
            execution,
            step,
            reply,
        } => (EmployeeAsk::Resume { execution, step }, Waits::Done(reply)),
        Message::Stop(message) => {
            let StopMessage {
                execution,
                kind,
                by,
                reason,
                reply,
            } = *message;
            let ask = EmployeeAsk::Stop {
                execution,
                kind,
                by,
                reason,
            };
            (ask, Waits::Done(reply))
        }
        Message::Timer { execution, timer } => {
            (EmployeeAsk::Timer { execution, timer }, Waits::Nobody)
        }
        _ => return None,
    })
}

impl Cluster {
    /// Sends a message after an employee; whoever waits is answered in any case.
    pub fn forward(
        self: &Arc<Self>,
        org: OrgId,
        employee: EmployeeId,
        message: Message,
        node: NodeIdentity,
    ) {
        let name = crate::actors::mailbox::Named::name(&message);
        let Some((ask, waits)) = in_words(message) else {
            return tracing::debug!(%employee, message = name, "message is for this node only");
        };
        let cluster = self.clone();
        let sent = async move {
            let to = ToEmployee { org, employee, ask };
            let answer = cluster.send_after(&to, node).await;
            cluster.answer(&to, waits, answer);
        };
        tokio::spawn(trace::within(trace::current(), sent));
    }

    fn answer(self: &Arc<Self>, to: &ToEmployee, waits: Waits, answer: EmployeeAnswer) {
        match (waits, answer) {
            (Waits::Accepted(reply, watcher), Ok(Answered::Accepted { accepted, finished })) => {
                let execution = accepted.execution;
                let duplicate = accepted.duplicate;
                let _ = reply.send(Ok(accepted));
                match (watcher, finished) {
                    (Some(watcher), Some(finished)) => drop(watcher.send(finished)),
                    (Some(watcher), None) if !duplicate => {
                        let (org, employee) = (to.org, to.employee);
                        let watch = Watch {
                            org,
                            employee,
                            execution,
                        };
                        tokio::spawn(self.clone().watch(watch, watcher));
                    }
                    _ => {}
                }
            }
            (Waits::At(reply), Ok(Answered::At(at))) => drop(reply.send(Ok(at))),
            (Waits::Done(reply), Ok(Answered::Done)) => drop(reply.send(Ok(()))),
            (Waits::Nobody, _) => {}
            (waits, answer) => {
                // An answer of another kind than was asked for: a release that we do not understand.
                let error = answer.err().unwrap_or(EmployeeError::Stopped);
                match waits {
                    Waits::Accepted(reply, _) => drop(reply.send(Err(error))),
                    Waits::At(reply) => drop(reply.send(Err(error))),
                    Waits::Done(reply) => drop(reply.send(Err(error))),
                    Waits::Nobody => {}
                }
            }
        }
    }

    /// Asks the node where the employee should be, and then where the database says it is.
    async fn send_after(self: &Arc<Self>, to: &ToEmployee, first: NodeIdentity) -> EmployeeAnswer {
        let entity = employee_entity(to.employee);
        let body = bytes::Bytes::from(encode(to));
        let (began, mut pause, mut node) = (Instant::now(), PAUSE_FIRST, first);
        let mut unsure = false;
        loop {
            let envelope = Envelope {
                entity: Some(to.employee.uuid()),
                traceparent: trace::current(),
                ..Envelope::new(kinds::EMPLOYEE, ASK_TIME, body.clone())
            };
            let envelope = envelope.with_answer_limit(ANSWER_LIMIT);
            match self.gateway().ask(node.node_id, envelope).await {
                Ok(answer) => match decode::<EmployeeAnswer>(&answer) {
                    Ok(Err(EmployeeError::NotHere | EmployeeError::Suspended)) => {}
                    Ok(answer) => return self.as_first(to, answer, unsure).await,
                    Err(error) => {
                        tracing::error!(%error, "answer of another node cannot be read");
                        return Err(EmployeeError::Stopped);
                    }
                },
                Err(DeliveryError::TooLarge { size, limit }) => {
                    return Err(EmployeeError::TooLarge { size, limit });
                }
                Err(
                    DeliveryError::Overloaded(_)
                    | DeliveryError::Refused {
                        error: HandlerError::Overloaded,
                        ..
                    },
                ) if began.elapsed() > OVERLOAD_PATIENCE => return Err(EmployeeError::Overloaded),
                Err(error @ DeliveryError::OutcomeUnknown { .. }) => {
                    tracing::debug!(employee = %to.employee, %error, "it is asked again");
                    unsure = true;
                }
                Err(error) => tracing::debug!(employee = %to.employee, %error, "it is asked again"),
            }
            if began.elapsed() > PATIENCE {
                return Err(EmployeeError::Unreachable);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
            let core = self.core().ok_or(EmployeeError::Stopped)?;
            match core.placement.claim(entity).await {
                Ok(_) => {
                    let answer = ask_here(&core, to.clone()).await;
                    if !matches!(answer, Err(EmployeeError::NotHere)) {
                        return self.as_first(to, answer, unsure).await;
                    }
                }
                Err(PlacementError::OwnedBy(owner)) => node = owner,
                Err(PlacementError::NotTaken) => {
                    if let Route::Node(home) = self.route(entity) {
                        node = home;
                    }
                }
                Err(PlacementError::Fenced) => return Err(EmployeeError::Suspended),
                Err(PlacementError::Unavailable(_)) => {}
            }
        }
    }

    /// The answer to a second asking as the first one's would have been.
    async fn as_first(
        &self,
        to: &ToEmployee,
        answer: EmployeeAnswer,
        unsure: bool,
    ) -> EmployeeAnswer {
        match (answer, &to.ask) {
            // Under a key that nobody else has.
            (
                Ok(Answered::Accepted {
                    mut accepted,
                    finished,
                }),
                EmployeeAsk::Trigger {
                    made_on_the_way: true,
                    ..
                },
            ) => {
                accepted.duplicate = false;
                Ok(Answered::Accepted { accepted, finished })
            }
            (Err(EmployeeError::NotPending), EmployeeAsk::Decide { .. }) if unsure => {
                self.was_decided(to).await.ok_or(EmployeeError::NotPending)
            }
            (
                Err(EmployeeError::RunNotOpen(execution)),
                EmployeeAsk::Stop { .. } | EmployeeAsk::Resume { .. },
            ) if unsure => match self.was_stopped(to, execution).await {
                true => Ok(Answered::Done),
                false => Err(EmployeeError::RunNotOpen(execution)),
            },
            (answer, _) => answer,
        }
    }

    /// Whether this very decision has been taken already.
    async fn was_decided(&self, to: &ToEmployee) -> Option<Answered> {
        let EmployeeAsk::Decide {
            execution,
            step,
            by,
            ..
        } = &to.ask
        else {
            return None;
        };
        let core = self.core()?;
        let mut tx = core.db.begin_read(to.org).await.ok()?;
        let id = crate::actors::employee::approval_id(*execution, *step);
        let approval = approval_get(&mut tx, id).await.ok()??;
        let its = approval.decided_by.as_deref() == Some(by.as_str());
        approval.decided.filter(|_| its).map(Answered::At)
    }

    async fn was_stopped(&self, to: &ToEmployee, execution: crate::domain::ExecutionId) -> bool {
        let Some(core) = self.core() else {
            return false;
        };
        let Ok(mut tx) = core.db.begin_read(to.org).await else {
            return false;
        };
        matches!(
            run_get(&mut tx, execution).await,
            Ok(Some(run)) if run.status.is_finished()
        )
    }

    /// Waits for the end of a run at its employee's node. If that cannot be had, the database knows.
    async fn watch(self: Arc<Self>, watch: Watch, watcher: oneshot::Sender<FinishedRun>) {
        let body = encode(&watch);
        let entity = employee_entity(watch.employee);
        let mut watcher = watcher;
        loop {
            let Route::Node(node) = self.route(entity) else {
                let Some(core) = self.core() else { return };
                let message = Message::Watch {
                    execution: watch.execution,
                    watcher,
                };
                return core.host().tell_here(watch.org, watch.employee, message);
            };
            let envelope = Envelope::new(kinds::WATCH, WATCH_TIME, body.clone())
                .with_answer_limit(ANSWER_LIMIT);
            let asked = tokio::select! {
                () = watcher.closed() => return,
                asked = self.gateway().ask(node.node_id, envelope) => asked,
            };
            match asked.map(|body| decode::<Option<FinishedRun>>(&body)) {
                Ok(Ok(Some(finished))) => return drop(watcher.send(finished)),
                // Nobody knows it there: it is over.
                Ok(_) => return,
                Err(DeliveryError::OutcomeUnknown { .. }) => {}
                Err(_) => return,
            }
        }
    }
}

/// Gives what another node sent to an employee that lives here.
pub(super) async fn ask_here(core: &Arc<Core>, to: ToEmployee) -> EmployeeAnswer {
    let ToEmployee { org, employee, ask } = to;
    let tell = |message| core.host().tell_here(org, employee, message);
    match ask {
        EmployeeAsk::Trigger {
            trigger,
            conversation,
            skill,
            dedupe,
            payload_hash,
            made_on_the_way,
            watch,
        } => {
            let key = dedupe.map(|key| key_from_afar(key, payload_hash, made_on_the_way));
            let (reply, answer) = oneshot::channel();
            let (watcher, finished) = oneshot::channel();
            tell(Message::Trigger(Box::new(TriggerMessage {
                trigger,
                conversation,
                skill,
                dedupe: key,
                reply,
                watcher: watch.then_some(watcher),
            })));
            let accepted = answer.await.unwrap_or(Err(EmployeeError::Stopped))?;
            let finished = match watch {
                true => timeout(QUICK_END, finished).await.ok().and_then(Result::ok),
                false => None,
            };
            Ok(Answered::Accepted { accepted, finished })
        }
        EmployeeAsk::Decide {
            execution,
            step,
            decision,
            arguments_hash,
            by,
            comment,
        } => {
            let (reply, answer) = oneshot::channel();
            tell(Message::Decide(Box::new(DecideMessage {
                execution,
                step,
                decision,
                arguments_hash,
                by,
                comment,
                reply,
            })));
            let at = answer.await.unwrap_or(Err(EmployeeError::Stopped))?;
            Ok(Answered::At(at))
        }
        EmployeeAsk::Event {
            execution,
            step,
            payload,
            source,
        } => {
            let (reply, answer) = oneshot::channel();
            tell(Message::Event(Box::new(EventMessage {
                execution,
                step,
                payload,
                source,
                reply,
            })));
            done(answer).await
        }
        EmployeeAsk::Resume { execution, step } => {
            let (reply, answer) = oneshot::channel();
            tell(Message::Resume {
                execution,
                step,
                reply,
            });
            done(answer).await
        }
        EmployeeAsk::Stop {
            execution,
            kind,
            by,
            reason,
        } => {
            let (reply, answer) = oneshot::channel();
            tell(Message::Stop(Box::new(StopMessage {
                execution,
                kind,
                by,
                reason,
                reply,
            })));
            done(answer).await
        }
        EmployeeAsk::Timer { execution, timer } => {
            tell(Message::Timer { execution, timer });
            Ok(Answered::Done)
        }
    }
}

async fn done(answer: oneshot::Receiver<Result<(), EmployeeError>>) -> EmployeeAnswer {
    answer.await.unwrap_or(Err(EmployeeError::Stopped))?;
    Ok(Answered::Done)
}

/// The end of a run that lives here; `None`: it is not here any more.
pub(super) async fn watch_here(core: &Core, watch: Watch, time: Duration) -> Option<FinishedRun> {
    let (watcher, finished) = oneshot::channel();
    let message = Message::Watch {
        execution: watch.execution,
        watcher,
    };
    core.host().tell_if_awake(watch.employee, message);
    timeout(time, finished).await.ok()?.ok()
}
