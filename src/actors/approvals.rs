//! Deciding an approval, whoever asks: an employee whose run waits, or a client whose call does.

use super::{
    append::new_append,
    core::Core,
    employee::EmployeeError,
    engine::{DecisionRequest, decide as tell_employee},
};
use crate::{
    domain::Timestamp,
    graph::Decision,
    persistence::{ApprovalChange, ApprovalRow, ApprovalStatus, approval_get},
};

/// When it was decided, once that is durable.
///
/// # Errors
/// If the approval is not pending any more or other arguments were meant.
pub async fn decide(
    core: &Core,
    row: &ApprovalRow,
    request: DecisionRequest,
) -> Result<Timestamp, EmployeeError> {
    if row.asked_by.is_none() {
        return tell_employee(core, row.org_id, row.employee_id, request).await;
    }
    if row.arguments_hash != request.arguments_hash {
        return Err(EmployeeError::OtherArguments);
    }
    decide_call(core, row, request).await
}

/// No run waits: the client comes again and finds what was decided. Of two who decide at once the journal takes the first.
async fn decide_call(
    core: &Core,
    row: &ApprovalRow,
    request: DecisionRequest,
) -> Result<Timestamp, EmployeeError> {
    let at = core.clock.now();
    if row.status != ApprovalStatus::Pending {
        return Err(EmployeeError::NotPending);
    }
    if row.expires.is_some_and(|expires| expires <= at) {
        return Err(EmployeeError::Expired);
    }
    let status = match request.decision {
        Decision::Approved => ApprovalStatus::Approved,
        Decision::Denied => ApprovalStatus::Denied,
    };
    let mut append = new_append(row.org_id);
    append.approvals.push(ApprovalChange::Close {
        id: row.id,
        status,
        at,
        by: Some(request.by.clone()),
        comment: request.comment,
    });
    core.journal.write(Some(row.run_id), append).await?;
    let read = async {
        let mut tx = core.db.begin_read(row.org_id).await?;
        approval_get(&mut tx, row.id).await
    };
    let now = read
        .await
        .map_err(|error| EmployeeError::NotWoken(error.to_string().into()))?;
    let is_ours = now.is_some_and(|now| {
        now.status == status
            && now.decided == Some(at)
            && now.decided_by.as_deref() == Some(&request.by)
    });
    match is_ours {
        true => Ok(at),
        false => Err(EmployeeError::NotPending),
    }
}
