//! A call to the outside that a client asks for, not a step: the same way through connector and ledger, without a run around it.
//!
//! Three rules make a client's retry safe. Its idempotency key names an execution, so that the second try finds the first one's row in the
//! ledger; two tries at the same time go one after the other ([`UnderWay`]); and a key that comes with other arguments is refused, because
//! one of the two would be lost. What a crash leaves behind is settled by [`orphans`]. A call that a person has to agree to is a question
//! under the same execution: the client comes again with its key and finds the answer.

pub mod orphans;
mod pages;
mod under_way;

pub use pages::{Pages, stream};
pub use under_way::UnderWay;

use under_way::Placed;

use super::{
    append::new_append,
    core::Core,
    effects::{Behalf, Call, perform_into},
    employee::{StepResult, approval_id},
    gate::{Authority, Question},
};
use crate::{
    connect::passing::Sink,
    domain::{ApprovalId, ContentHash, EmployeeId, ExecutionId, OrgId, Role, Timestamp},
    graph::{StepError, StepId},
    persistence::{
        ApprovalChange, ApprovalRow, ApprovalStatus, DbError, EffectFilter, PageRequest,
        approval_get, effect_list,
    },
};
use serde_json::Value;
use std::sync::Arc;
use tenure_cluster::PlacementError;
use uuid::Uuid;

/// Every call by proxy is the one step of an execution of its own. No run has a step of this name, so that their rows are known by it.
const STEP: StepId = StepId::ZERO;
/// Under which the question about it is shown outside, so that what is written for that is never taken for the call.
const QUESTION_STEP: StepId = StepId { node: 1, ..STEP };

#[derive(Clone)]
pub struct ProxyRequest {
    pub org: OrgId,
    /// Who asks: shares the quota as one employee does.
    pub by: String,
    pub role: Role,
    /// The one person for whom it is asked; their own connections may be used.
    pub user: Option<String>,
    pub capability: String,
    /// The name of the connection, or its id; absent: the user's oldest one, else the org's.
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

/// A call that waits for a person.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub approval: ApprovalId,
    pub execution: ExecutionId,
    /// With which the client has to come again; made for it if it gave none.
    pub idempotency_key: String,
    pub title: String,
    pub expires: Option<Timestamp>,
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
    /// A person has to agree first. It did not happen.
    #[error("approval {} is needed first", .0.approval)]
    ApprovalNeeded(Box<Waiting>),
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
    let fresh = request.idempotency_key.is_none();
    let key = match &request.idempotency_key {
        Some(key) => key.clone(),
        None => format!("call-{}", core.clock.uuid()),
    };
    let execution = named(*org, &["execution", by, &request.capability, &key]);
    let execution = ExecutionId::from_uuid(execution);
    let alone = core.proxied.enter(execution).await;
    let mut placed = None;
    if !fresh {
        let claim = Placed::claim(core, execution, core.settings.request_timeout).await;
        let busy = |error: PlacementError| StepError::retryable("unavailable", error.to_string());
        placed = Some(claim.map_err(|error| ProxyError::Failed(busy(error)))?);
        only_with(core, *org, execution, &request.arguments).await?;
    }
    let behalf = Behalf {
        org: *org,
        employee: EmployeeId::from_uuid(named(*org, &["caller", by])),
        execution,
        step: STEP,
        fresh,
        of_run: false,
    };
    let call = Call {
        max_items: None,
        capability: request.capability,
        connection: request.connection,
        arguments: request.arguments,
        authority: Authority::Client {
            role: request.role,
            user: request.user,
        },
        // The caller's own text: nobody else's is in it as far as we know.
        context: None,
    };
    let (result, changes) = perform_into(core, &behalf, call, sink).await;
    if !changes.is_empty() {
        let mut append = new_append(behalf.org);
        append.effects = changes;
        let written = core.journal.write(Some(execution), append).await;
        written.map_err(|error| ProxyError::NotDurable(error.to_string()))?;
    }
    drop(placed);
    drop(alone);
    match result {
        StepResult::Completed { output, .. } => Ok(ProxyAnswer { execution, output }),
        StepResult::Failed(error) => Err(ProxyError::Failed(error)),
        StepResult::Asks(question) => {
            let waiting = ask(core, &behalf, request.by, *question, key).await?;
            Err(ProxyError::ApprovalNeeded(Box::new(waiting)))
        }
        StepResult::Parked(wait) if wait.kind == "connection" => {
            Err(ProxyError::NoAccount(wait.detail))
        }
        StepResult::Parked(wait) => Err(ProxyError::Ambiguous {
            effect: wait.on,
            detail: wait.detail,
        }),
    }
}

/// Asks people about a call. A question that is open already stands as it is.
async fn ask(
    core: &Core,
    behalf: &Behalf,
    by: String,
    question: Question,
    idempotency_key: String,
) -> Result<Waiting, ProxyError> {
    let arguments = question.arguments.to_string();
    let id = approval_id(behalf.execution, STEP);
    let row = ApprovalRow {
        org_id: behalf.org,
        id,
        run_id: behalf.execution,
        employee_id: behalf.employee,
        step: QUESTION_STEP.to_string(),
        title: question.title,
        arguments_hash: ContentHash::of(arguments.as_bytes()),
        arguments,
        status: ApprovalStatus::Pending,
        asked: core.clock.now(),
        expires: Some(question.expires),
        decided: None,
        decided_by: None,
        comment: None,
        asked_by: Some(by),
        owner_user: question.owner_user,
    };
    let mut append = new_append(behalf.org);
    append
        .approvals
        .push(ApprovalChange::Ask(Box::new(row.clone())));
    let written = core.journal.write(Some(behalf.execution), append).await;
    written.map_err(|error| {
        let message = error.to_string();
        ProxyError::Failed(StepError::retryable("not_durable", message))
    })?;
    let mut tx = core.db.begin_read(behalf.org).await?;
    let stands = approval_get(&mut tx, id).await?.unwrap_or(row);
    Ok(Waiting {
        approval: id,
        execution: behalf.execution,
        idempotency_key,
        title: stands.title,
        expires: stands.expires,
    })
}

/// A name that is the same for the same words, and another for every org.
fn named(org: OrgId, words: &[&str]) -> Uuid {
    let text: Vec<String> = words
        .iter()
        .map(|word| format!("{}:{word}", word.len()))
        .collect();
    Uuid::new_v5(&org.uuid(), text.join("|").as_bytes())
}

/// Refuses a key whose first call had other arguments, whether it was made or only asked about.
async fn only_with(
    core: &Core,
    org: OrgId,
    execution: ExecutionId,
    arguments: &Value,
) -> Result<(), ProxyError> {
    let filter = EffectFilter {
        run: Some(execution),
        ..EffectFilter::default()
    };
    let mut tx = core.db.begin_read(org).await?;
    let known = effect_list(&mut tx, &filter, &PageRequest::default()).await?;
    let asked = approval_get(&mut tx, approval_id(execution, STEP)).await?;
    drop(tx);
    let (hash, step) = (ContentHash::of_json(arguments), STEP.to_string());
    let was_made = known.items.iter().filter(|row| row.step == step);
    let was_asked = asked.map(|row| {
        let shown: Value = serde_json::from_str(&row.arguments).unwrap_or_default();
        shown["input"] == *arguments
    });
    match was_made.map(|row| row.args_hash).all(|made| made == hash) && was_asked != Some(false) {
        true => Ok(()),
        false => Err(ProxyError::OtherArguments),
    }
}
