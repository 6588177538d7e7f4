//! A call to the outside that a client asks for, not a step: the same way through connector and ledger, without a run around it.
//!
//! Three rules make a client's retry safe. Its idempotency key names an execution, so that the second try finds the first one's row in the
//! ledger; two tries at the same time go one after the other ([`Gate`]); and a key that comes with other arguments is refused, because one
//! of the two would be lost. What a crash leaves behind is settled by [`orphans`].

mod gate;
pub mod orphans;
mod pages;

pub use gate::Gate;
pub use pages::{Pages, stream};

use super::{
    append::new_append,
    core::Core,
    effects::{Behalf, Call, perform_into},
    employee::StepResult,
};
use crate::{
    connect::passing::Sink,
    domain::{ContentHash, EmployeeId, ExecutionId, OrgId},
    graph::{StepError, StepId},
    persistence::{DbError, EffectFilter, PageRequest, effect_list},
};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// Every call by proxy is the one step of an execution of its own. No run has a step of this name, so that their rows are known by it.
const STEP: StepId = StepId::ZERO;

#[derive(Clone)]
pub struct ProxyRequest {
    pub org: OrgId,
    /// Who asks: shares the quota as one employee does.
    pub by: String,
    pub capability: String,
    /// The name of the connection; absent: the org's oldest one.
    pub connection: Option<String>,
    pub arguments: Value,
    /// A second call with it gives the answer of the first.
    pub idempotency_key: Option<String>,
}

/// What a call gave. Its row in the ledger, if it wrote, has this execution.
pub struct ProxyAnswer {
    pub execution: ExecutionId,
    pub output: Arc<Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("capability {0} is not in the catalog")]
    UnknownCapability(String),
    #[error("the idempotency key was used with other arguments")]
    OtherArguments,
    /// It surely did not happen.
    #[error("{}", .0.message)]
    Failed(StepError),
    /// An account is missing or has to be connected again.
    #[error("{0}")]
    NoAccount(String),
    /// Nobody here can tell whether it happened; a person can say so in the ledger.
    #[error("{detail}")]
    Ambiguous { effect: String, detail: String },
    /// It may have happened, and that could not be noted.
    #[error("what became of it could not be made durable: {0}")]
    NotDurable(String),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Does a call and notes what became of it.
///
/// # Errors
/// What went wrong; see the variants for what is known of the call then.
pub async fn call(core: &Core, request: ProxyRequest) -> Result<ProxyAnswer, ProxyError> {
    call_into(core, request, None).await
}

/// The same with the answer given on to whoever reads the sink: as it comes, if the call reads. What then comes back is the end of it.
///
/// # Errors
/// As [`call`].
pub async fn call_into(
    core: &Core,
    request: ProxyRequest,
    sink: Option<Arc<Sink>>,
) -> Result<ProxyAnswer, ProxyError> {
    let known = core
        .catalogs
        .capability(request.org, &request.capability)
        .await?;
    if known.is_none() {
        return Err(ProxyError::UnknownCapability(request.capability));
    }
    let ProxyRequest { org, by, .. } = &request;
    let alone;
    let execution = match &request.idempotency_key {
        Some(key) => {
            let execution = named(*org, &["execution", by, &request.capability, key]);
            let execution = ExecutionId::from_uuid(execution);
            alone = core.proxied.enter(execution).await;
            let hash = ContentHash::of_json(&request.arguments);
            only_with(core, *org, execution, hash).await?;
            execution
        }
        None => {
            let execution = ExecutionId::from_uuid(core.clock.uuid());
            alone = core.proxied.enter(execution).await;
            execution
        }
    };
    let behalf = Behalf {
        org: *org,
        employee: EmployeeId::from_uuid(named(*org, &["caller", by])),
        execution,
        step: STEP,
        fresh: request.idempotency_key.is_none(),
    };
    let call = Call {
        capability: request.capability,
        connection: request.connection,
        arguments: request.arguments,
    };
    let (result, changes) = perform_into(core, &behalf, call, sink).await;
    if !changes.is_empty() {
        let mut append = new_append(behalf.org);
        append.effects = changes;
        let written = core.journal.write(Some(execution), append).await;
        written.map_err(|error| ProxyError::NotDurable(error.to_string()))?;
    }
    drop(alone);
    match result {
        StepResult::Completed { output, .. } => Ok(ProxyAnswer { execution, output }),
        StepResult::Failed(error) => Err(ProxyError::Failed(error)),
        StepResult::Parked(wait) if wait.kind == "connection" => {
            Err(ProxyError::NoAccount(wait.detail))
        }
        StepResult::Parked(wait) => Err(ProxyError::Ambiguous {
            effect: wait.on,
            detail: wait.detail,
        }),
    }
}

/// A name that is the same for the same words, and another for every org.
fn named(org: OrgId, words: &[&str]) -> Uuid {
    let text: Vec<String> = words
        .iter()
        .map(|word| format!("{}:{word}", word.len()))
        .collect();
    Uuid::new_v5(&org.uuid(), text.join("|").as_bytes())
}

/// Refuses a key whose first call had other arguments.
async fn only_with(
    core: &Core,
    org: OrgId,
    execution: ExecutionId,
    arguments: ContentHash,
) -> Result<(), ProxyError> {
    let filter = EffectFilter {
        run: Some(execution),
        ..EffectFilter::default()
    };
    let mut tx = core.db.begin_read(org).await?;
    let known = effect_list(&mut tx, &filter, &PageRequest::default()).await?;
    match known.items.iter().all(|row| row.args_hash == arguments) {
        true => Ok(()),
        false => Err(ProxyError::OtherArguments),
    }
}
