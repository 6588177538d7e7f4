//! Questions to people.

use super::{
    effects::{EffectOwners, push_owners},
    error::Result,
    page::{Page, PageRequest, WINDOW, uuid_key, windowed_page},
    tx::{SystemTx, Tx, on_tx},
    words::words,
};
use crate::domain::{ApprovalId, ContentHash, EmployeeId, ExecutionId, OrgId, Timestamp};
use sqlx::{FromRow, QueryBuilder};

words! {
    ApprovalStatus {
        Pending = "pending",
        Approved = "approved",
        Denied = "denied",
        Expired = "expired",
        /// The run stopped or took another way.
        Withdrawn = "withdrawn",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ApprovalRow {
    pub org_id: OrgId,
    pub id: ApprovalId,
    pub run_id: ExecutionId,
    pub employee_id: EmployeeId,
    /// The step that waits, as `StepId` prints.
    pub step: String,
    pub title: String,
    /// JSON: exactly what is asked for.
    pub arguments: String,
    /// What a decision has to name.
    pub arguments_hash: ContentHash,
    pub status: ApprovalStatus,
    #[sqlx(rename = "asked_us")]
    pub asked: Timestamp,
    #[sqlx(rename = "expires_us")]
    pub expires: Option<Timestamp>,
    #[sqlx(rename = "decided_us")]
    pub decided: Option<Timestamp>,
    pub decided_by: Option<String>,
    pub comment: Option<String>,
    /// The client whose call it is about; `None`: a step of a run asks.
    pub asked_by: Option<String>,
    /// The user through whose own account the call would go; `None`: through the org's. Nobody else sees it.
    pub owner_user: Option<String>,
}

macro_rules! approval_columns {
    () => {
        approval_columns!("")
    };
    ($of:literal) => {
        concat!(
            $of,
            "org_id, ",
            $of,
            "id, ",
            $of,
            "run_id, ",
            $of,
            "employee_id, ",
            $of,
            "step, ",
            $of,
            "title, ",
            $of,
            "arguments, ",
            $of,
            "arguments_hash, ",
            $of,
            "status, ",
            $of,
            "asked_us, ",
            $of,
            "expires_us, ",
            $of,
            "decided_us, ",
            $of,
            "decided_by, ",
            $of,
            "comment, ",
            $of,
            "asked_by, ",
            $of,
            "owner_user"
        )
    };
}
pub(super) use approval_columns;

pub async fn approval_get(tx: &mut Tx, approval: ApprovalId) -> Result<Option<ApprovalRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        approval_columns!(),
        " FROM approval WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(approval)
    .fetch_optional(conn)
    .await)?)
}

#[derive(Clone, Debug, Default)]
pub struct ApprovalFilter {
    pub run: Option<ExecutionId>,
    pub employee: Option<EmployeeId>,
    pub status: Option<ApprovalStatus>,
    pub owners: EffectOwners,
}

/// In the order of their ids. A window bounds how many rows are asked whether they fit.
pub async fn approval_list(
    tx: &mut Tx,
    filter: &ApprovalFilter,
    request: &PageRequest,
) -> Result<Page<ApprovalRow>> {
    windowed_page!(
        tx,
        request,
        approval_columns!(),
        "approval",
        Ascending,
        WINDOW,
        narrow: |query: &mut QueryBuilder<DB>| match (filter.run, filter.status) {
            (Some(run), _) => {
                query.push(" AND run_id = ").push_bind(run);
            }
            // As text, so that the index over the pending ones can serve.
            (None, Some(ApprovalStatus::Pending)) => {
                query.push(" AND status = 'pending'");
            }
            (None, _) => {}
        },
        filter: |query: &mut QueryBuilder<DB>| {
            if let Some(employee) = filter.employee {
                query.push(" AND employee_id = ").push_bind(employee);
            }
            if let Some(status) = filter.status {
                query.push(" AND status = ").push_bind(status);
            }
            push_owners!(query, filter.owners);
            filter.employee.is_some() || filter.status.is_some() || filter.owners != EffectOwners::All
        },
        key: |approval: &ApprovalRow| uuid_key(approval.id.uuid()),
    )
}

/// Closes the questions about calls of clients that nobody decided in time; gives their number. Those of runs have their timers.
pub async fn approvals_of_calls_expire(tx: &mut SystemTx, now: Timestamp) -> Result<u64> {
    Ok(on_tx!(tx, |conn| sqlx::query(
        "UPDATE approval SET status = 'expired', decided_us = $1
         WHERE status = 'pending' AND asked_by IS NOT NULL AND expires_us <= $1"
    )
    .bind(now)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?)
}

/// Deletes the questions about calls of clients that were closed before a time, with their notices; gives their number.
pub async fn approvals_of_calls_delete(
    tx: &mut SystemTx,
    org: OrgId,
    before: Timestamp,
) -> Result<u64> {
    const STATEMENTS: [&str; 2] = [
        "DELETE FROM approval_notice WHERE org_id = $1 AND approval_id IN
           (SELECT id FROM approval WHERE org_id = $1 AND asked_by IS NOT NULL AND decided_us < $2)",
        "DELETE FROM approval WHERE org_id = $1 AND asked_by IS NOT NULL AND decided_us < $2",
    ];
    let mut gone = 0;
    for statement in STATEMENTS {
        gone = on_tx!(tx, |conn| sqlx::query(statement)
            .bind(org)
            .bind(before)
            .execute(conn)
            .await
            .map(|done| done.rows_affected()))?;
    }
    Ok(gone)
}
