//! `/v1/approvals`: questions to people. A decision names the hash of the arguments that its maker saw, and is about nothing else.
//!
//! A question about a call through a user's own connection is shown to, and answered by, who may see that connection and what goes through it:
//! the user, and admins whose key is bound to nobody. To everybody else it is as unknown as another org's.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    effects::owners,
    error::{ApiError, ApiResult, Problem},
    query::{NoQuery, Query, id as id_filter, page, word},
    runs::empty,
    text::{self, Path},
};
use crate::{
    actors::{DecisionRequest, employee::EmployeeError},
    domain::{ApprovalId, ContentHash, EmployeeId, ExecutionId, Timestamp},
    graph::{Decision, StepId},
    persistence::{ApprovalFilter, ApprovalRow, ApprovalStatus, Page, approval_get, approval_list},
};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize)]
pub struct ApprovalView {
    id: ApprovalId,
    execution_id: ExecutionId,
    /// Absent where a client asks.
    employee_id: Option<EmployeeId>,
    /// The client whose call it is about; absent where an employee asks.
    asked_by: Option<String>,
    title: String,
    arguments: Value,
    arguments_hash: ContentHash,
    status: ApprovalStatus,
    asked_at: Timestamp,
    expires_at: Option<Timestamp>,
    decided_at: Option<Timestamp>,
    decided_by: Option<String>,
    comment: Option<String>,
}

impl From<ApprovalRow> for ApprovalView {
    fn from(row: ApprovalRow) -> Self {
        Self {
            id: row.id,
            execution_id: row.run_id,
            employee_id: row.asked_by.is_none().then_some(row.employee_id),
            asked_by: row.asked_by,
            title: row.title,
            arguments: text::json(Some(&row.arguments)),
            arguments_hash: row.arguments_hash,
            status: row.status,
            asked_at: row.asked,
            expires_at: row.expires,
            decided_at: row.decided,
            decided_by: row.decided_by,
            comment: row.comment,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// `pending`, `approved`, `denied`, `expired` or `withdrawn`.
    status: Option<String>,
    /// Id or name.
    employee_id: Option<String>,
    execution_id: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Page<ApprovalView>>> {
    let request = page(query.limit, query.after.as_deref())?;
    let words: Vec<&str> = ApprovalStatus::ALL.iter().map(|one| one.name()).collect();
    let status = word(
        "status",
        query.status.as_deref(),
        ApprovalStatus::parse,
        &words,
    )?;
    let run = id_filter("execution_id", query.execution_id.as_deref())?;
    let mut tx = api.db().begin_read(caller.org).await?;
    let Some(employee) = text::employee_filter(&mut tx, query.employee_id.as_deref()).await? else {
        return Ok(Json(empty()));
    };
    let filter = ApprovalFilter {
        run,
        employee,
        status,
        owners: owners(&caller),
    };
    let found = approval_list(&mut tx, &filter, &request).await?;
    Ok(Json(found.map(ApprovalView::from)))
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(approval): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<ApprovalView>> {
    Ok(Json(read(&api, &caller, &approval).await?.into()))
}

async fn read(api: &ApiState, caller: &Caller, text: &str) -> ApiResult<ApprovalRow> {
    let id: ApprovalId = text::id("approval", text)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    approval_get(&mut tx, id)
        .await?
        .filter(|row| owners(caller).include(row.owner_user.as_deref()))
        .ok_or_else(|| ApiError::not_found("approval", text))
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Approve,
    Deny,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionBody {
    decision: Verdict,
    /// As the approval shows it: `sha256:` and 64 hexadecimal digits.
    #[schemars(with = "String")]
    arguments_hash: ContentHash,
    comment: Option<String>,
}

pub async fn decide(
    State(api): State<ApiState>,
    caller: Caller,
    Path(approval): Path<String>,
    JsonBody(body): JsonBody<DecisionBody>,
) -> ApiResult<Json<ApprovalView>> {
    text::short_if("comment", body.comment.as_deref(), 2_000)?;
    let row = read(&api, &caller, &approval).await?;
    if row.status != ApprovalStatus::Pending {
        return Err(closed(&row));
    }
    if row.arguments_hash != body.arguments_hash {
        return Err(changed(&row));
    }
    let step: StepId = row
        .step
        .parse()
        .map_err(|()| ApiError::internal(format!("approval {} names no step", row.id)))?;
    let request = DecisionRequest {
        execution: row.run_id,
        step,
        decision: match body.decision {
            Verdict::Approve => Decision::Approved,
            Verdict::Deny => Decision::Denied,
        },
        arguments_hash: body.arguments_hash,
        by: caller.by(),
        comment: body.comment,
    };
    let (by, comment) = (request.by.clone(), request.comment.clone());
    let deciding = api.engine().decide_approval(&row, request);
    match api.bounded(deciding).await? {
        Ok(at) => {
            let status = match body.decision {
                Verdict::Approve => ApprovalStatus::Approved,
                Verdict::Deny => ApprovalStatus::Denied,
            };
            let decided = ApprovalRow {
                status,
                decided: Some(at),
                decided_by: Some(by),
                comment,
                ..row
            };
            Ok(Json(decided.into()))
        }
        Err(EmployeeError::OtherArguments) => Err(changed(&read(&api, &caller, &approval).await?)),
        // Its row may say `pending` yet: whoever closes it comes late.
        Err(EmployeeError::Expired) => {
            let row = read(&api, &caller, &approval).await?;
            Err(closed(&ApprovalRow {
                status: ApprovalStatus::Expired,
                ..row
            }))
        }
        // It was decided, or it ended, while we looked.
        Err(EmployeeError::NotPending | EmployeeError::RunNotOpen(_)) => {
            Err(closed(&read(&api, &caller, &approval).await?))
        }
        Err(error) => Err(error.into()),
    }
}

fn changed(row: &ApprovalRow) -> ApiError {
    ApiError::new(
        Problem::ArgumentsChanged,
        "`arguments_hash` is not that of the arguments that are asked for; read the approval again",
    )
    .at("arguments_hash")
    .with("arguments_hash", row.arguments_hash.to_string())
}

fn closed(row: &ApprovalRow) -> ApiError {
    let problem = match row.status {
        ApprovalStatus::Expired => Problem::ApprovalExpired,
        _ => Problem::ApprovalNotPending,
    };
    let detail = match row.status {
        ApprovalStatus::Pending => "the approval is not pending any more".to_owned(),
        status => format!("the approval is {}", status.name()),
    };
    ApiError::new(problem, detail).with("status_of_approval", row.status.name())
}
