//! What other nodes ask of this one.

use super::{
    Cluster, employees, news,
    words::{Answered, EmployeeAnswer, ToEmployee, decode, encode, kinds},
};
use crate::{
    actors::core::Core,
    domain::{EmployeeId, OrgId},
    telemetry::trace,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::{Arc, OnceLock, Weak};
use tenure_cluster::{
    NodeIdentity,
    gateway::Handler,
    protocol::{Envelope, HandlerError},
};

/// Answers for a core that comes to be after the door is open.
#[derive(Default)]
pub struct Door(OnceLock<Weak<Core>>);

impl Door {
    pub fn open(&self, core: &Arc<Core>) {
        let _ = self.0.set(Arc::downgrade(core));
    }

    pub fn core(&self) -> Option<Arc<Core>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

#[async_trait]
impl Handler for Door {
    async fn handle(&self, from: NodeIdentity, envelope: Envelope) -> Result<Bytes, HandlerError> {
        let core = self.core().ok_or(HandlerError::Leaving)?;
        let cluster = core.cluster.clone().ok_or(HandlerError::Leaving)?;
        let context = envelope.traceparent.clone();
        let answered = answer(&core, &cluster, from, &envelope);
        let body = trace::within(context, answered).await?;
        Ok(body.into())
    }
}

async fn answer(
    core: &Arc<Core>,
    cluster: &Arc<Cluster>,
    from: NodeIdentity,
    envelope: &Envelope,
) -> Result<Vec<u8>, HandlerError> {
    let body = &envelope.body;
    match envelope.kind.as_str() {
        kinds::EMPLOYEE => {
            let to: ToEmployee = decode(body)?;
            let answered = employees::ask_here(core, to).await;
            Ok(within(envelope.answer_limit, answered))
        }
        kinds::WATCH => {
            let finished = employees::watch_here(core, decode(body)?, envelope.time_left).await;
            let answer = encode(&finished);
            Ok(match answer.len() > envelope.answer_limit {
                true => encode(&None::<()>),
                false => answer,
            })
        }
        kinds::WAKE => {
            cluster.wake_here(core, decode(body)?);
            Ok(Vec::new())
        }
        kinds::NEWS => {
            news::hear(core, decode(body)?).await;
            Ok(Vec::new())
        }
        kinds::COMMITS => {
            // Nodes of an older release do not say whose commits they were.
            let orgs: Vec<OrgId> = if body.is_empty() {
                Vec::new()
            } else {
                decode(body)?
            };
            core.journal.others_have_committed(&orgs);
            Ok(Vec::new())
        }
        kinds::AWAKE => {
            let employees: Vec<EmployeeId> = decode(body)?;
            let awake = employees.into_iter().filter(|id| core.host().is_awake(*id));
            Ok(encode(&awake.collect::<Vec<_>>()))
        }
        kinds::STATUS => Ok(encode(&cluster.status(core))),
        kinds::DRAIN => {
            cluster.begin_to_drain(core);
            Ok(Vec::new())
        }
        kinds::REBALANCE => Ok(encode(&cluster.rebalance_here(core).await)),
        kinds::ACTORS => Ok(encode(&cluster.actors_here(core, &decode(body)?))),
        kinds::TURN | kinds::GRANT | kinds::CONNECTOR => core
            .connectors()
            .from_afar(from, &envelope.kind, body)
            .await
            .map(Vec::from),
        _ => Err(HandlerError::UnknownKind),
    }
}

/// Without the result of a run if it is too long; the database has it.
fn within(limit: usize, answered: EmployeeAnswer) -> Vec<u8> {
    let answer = encode(&answered);
    match answered {
        Ok(Answered::Accepted {
            accepted,
            finished: Some(_),
        }) if answer.len() > limit => encode::<EmployeeAnswer>(&Ok(Answered::Accepted {
            accepted,
            finished: None,
        })),
        _ => answer,
    }
}
