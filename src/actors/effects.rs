//! One call of a step to the outside, through the effect ledger if it writes.
//!
//! The rule: a write has a durable row before it leaves; what was sent and never answered is sent again only where that is harmless,
//! else it is looked up, else a person is asked. Reads have no row; their answers are facts.

mod ledger;
mod links;
mod lists;
mod orphan;
mod words;

pub use orphan::settle_orphan;

use super::{
    connector::{CallRequest, Waiter, connections::Connection},
    core::Core,
    employee::StepResult,
    gate::{self, Authority, Wanted},
};
use crate::{
    connect::{CallOutcome, Capability, passing::Sink, shape},
    domain::{EmployeeId, ExecutionId, OrgId},
    graph::{NamedWait, StepContext, StepError, StepId},
    persistence::EffectChange,
};
use ledger::write;
use serde_json::Value;
use std::sync::Arc;
use tokio::time::Instant;
use words::{bad_params, completed, failure, not_sent, unavailable};

/// Whose call it is.
#[derive(Clone, Copy, Debug)]
pub struct Behalf {
    pub org: OrgId,
    pub employee: EmployeeId,
    pub execution: ExecutionId,
    pub step: StepId,
    /// False if an earlier life may have begun it: then the effect ledger is asked first.
    pub fresh: bool,
    /// Whether it is a step of a run, whose acceptance may still turn out to be a duplicate.
    pub of_run: bool,
}

impl Behalf {
    fn waiter(&self) -> Waiter {
        Waiter {
            execution: self.execution,
            step: self.step,
        }
    }
}

/// What a step wants of the outside, with its arguments resolved.
pub struct Call {
    pub capability: String,
    /// Its name or id; absent: the user's oldest one, else the org's.
    pub connection: Option<String>,
    pub arguments: Value,
    /// Of a read of a list: all its pages are read, and so many items are kept.
    pub max_items: Option<u64>,
    pub authority: Authority,
    /// Of a step: what tells data from its author's words, where the capability has markup. Others send what they were given as it is.
    pub context: Option<StepContext>,
}

/// What the employee notes for a step, and the ledger's changes that become durable with it.
pub type Performed = (StepResult, Vec<EffectChange>);

/// Does the call on behalf of `job`. Dropping the future closes what is open to the outside.
pub async fn perform(core: &Core, job: &Behalf, call: Call) -> Performed {
    perform_into(core, job, call, None).await
}

/// The same with the answer given on to whoever reads the sink, where that can be.
pub async fn perform_into(
    core: &Core,
    job: &Behalf,
    call: Call,
    sink: Option<Arc<Sink>>,
) -> Performed {
    match prepare(core, job, call).await {
        Ok(call) if call.capability.write => write(core, job, Prepared { sink, ..call }).await,
        Ok(call) => {
            let call = Prepared { sink, ..call };
            let result = match call.pass(core, job).await {
                Ok(()) => match call.max_items {
                    Some(most) => lists::read_all(core, job, &call, most).await,
                    None => read(core, job, &call, call.outgoing()).await,
                },
                Err(result) => result,
            };
            (result, Vec::new())
        }
        Err(result) => (result, Vec::new()),
    }
}

struct Prepared {
    capability: Arc<Capability>,
    connection: Arc<Connection>,
    /// As they were resolved: what rules, people and the ledger see, and what the effect's key is made of.
    arguments: Value,
    /// As they leave, where that is something else: with data escaped for the provider's markup.
    marked: Option<Value>,
    authority: Authority,
    max_items: Option<u64>,
    deadline: Instant,
    sink: Option<Arc<Sink>>,
}

impl Prepared {
    /// The arguments as they leave.
    fn outgoing(&self) -> &Value {
        self.marked.as_ref().unwrap_or(&self.arguments)
    }

    /// Whether it may leave now. Nobody is asked about what the provider would not take.
    async fn pass(&self, core: &Core, job: &Behalf) -> Result<(), StepResult> {
        let wanted = Wanted {
            capability: &self.capability.id,
            integration: &self.capability.integration,
            risk: self.capability.risk,
            connection: &self.connection,
            arguments: &self.arguments,
        };
        let passed = gate::pass(core, job, &self.authority, &wanted).await;
        if matches!(passed, Err(StepResult::Asks(_))) {
            let account = &self.connection.account;
            let key = self.capability.write.then_some("");
            shape(&self.capability, self.outgoing(), account, key)
                .map_err(|error| StepResult::Failed(bad_params(&error)))?;
        }
        passed
    }
}

async fn prepare(core: &Core, job: &Behalf, call: Call) -> Result<Prepared, StepResult> {
    let found = core.catalogs.capability(job.org, &call.capability).await;
    let Some(capability) = found.map_err(|error| unavailable(&error))? else {
        return Err(StepResult::Failed(StepError::new(
            "unknown_capability",
            format!("{} is not in the catalog", call.capability),
        )));
    };
    gate::is_permitted(&call.authority, &capability).map_err(StepResult::Failed)?;
    let integration = capability.integration.clone();
    let found = core
        .connectors()
        .find_for(
            job.org,
            call.authority.user(),
            &integration,
            call.connection.as_deref(),
        )
        .await;
    let connection = match found {
        Ok(Some(connection)) => connection,
        Ok(None) => {
            let detail = match &call.connection {
                Some(name) => format!(
                    "needs the connection {name} to {integration}, which this org does not have"
                ),
                None => {
                    format!("needs a connection to {integration}, which this org does not have")
                }
            };
            return Err(StepResult::Parked(NamedWait {
                kind: "connection".into(),
                on: integration,
                detail,
            }));
        }
        Err(error) => return Err(unavailable(&error)),
    };
    let marked = marked(core, job, &capability, &call).await?;
    Ok(Prepared {
        capability,
        connection,
        marked,
        arguments: call.arguments,
        authority: call.authority,
        max_items: call.max_items,
        deadline: Instant::now() + core.settings.action_deadline,
        sink: None,
    })
}

/// The arguments with data escaped for the markup of the capability; `None` where that changes nothing.
async fn marked(
    core: &Core,
    job: &Behalf,
    capability: &Arc<Capability>,
    call: &Call,
) -> Result<Option<Value>, StepResult> {
    let Some(context) = &call.context else {
        return Ok(None);
    };
    if capability.markup.is_empty() || !call.arguments.is_object() {
        return Ok(None);
    }
    let (context, capability) = (context.clone(), capability.clone());
    let evaluated = core
        .evaluations
        .run(job.org, move |budget| {
            context.marked_arguments(&capability.markup, budget)
        })
        .await;
    let fields = match evaluated {
        Ok(Ok(fields)) => fields,
        Ok(Err(error)) => return Err(StepResult::Failed(error)),
        Err(error) => {
            let error = StepError::retryable("panicked", error.to_string());
            return Err(StepResult::Failed(error));
        }
    };
    let changed: Vec<_> = fields
        .into_iter()
        .filter(|(name, value)| call.arguments.get(name) != Some(value))
        .collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let mut arguments = call.arguments.clone();
    for (name, value) in changed {
        arguments[name] = value;
    }
    Ok(Some(arguments))
}

async fn read(core: &Core, job: &Behalf, call: &Prepared, arguments: &Value) -> StepResult {
    let request = match shape(&call.capability, arguments, &call.connection.account, None) {
        Ok(request) => request.into_sink(call.sink.clone()),
        Err(error) => return StepResult::Failed(bad_params(&error)),
    };
    let request = CallRequest {
        request,
        cost: call.capability.cost,
        deadline: call.deadline,
        employee: job.employee,
        effect: None,
    };
    let called = core
        .connectors()
        .call_for(job.waiter(), &call.connection, request);
    match called.await {
        Ok(CallOutcome::Ok { output, .. }) => completed(output),
        Ok(outcome) => StepResult::Failed(failure(&outcome)),
        Err(held) => not_sent(&call.connection, &held),
    }
}
