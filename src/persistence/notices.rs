//! Approvals that are asked outside: which still have to be, where their messages are, and which messages do not show the outcome yet.

use super::{
    approvals::{ApprovalRow, approval_columns},
    error::Result,
    rows::{Column, Rows},
    tx::{SystemTx, on_tx},
    words::words,
};
use crate::domain::{ApprovalId, OrgId, Timestamp};
use sqlx::FromRow;

words! {
    NoticeStatus {
        /// To be posted, or to be posted again.
        Asking = "asking",
        /// The message is there.
        Asked = "asked",
        /// The message shows the outcome, or there is none to show it.
        Closed = "closed",
        /// It was given up; the approval can be decided everywhere else.
        Failed = "failed",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct NoticeRow {
    pub org_id: OrgId,
    pub approval_id: ApprovalId,
    pub status: NoticeStatus,
    /// Id of the channel, and the message's time, by which Slack knows it.
    pub channel: Option<String>,
    pub ts: Option<String>,
    /// JSON: the message as it leaves, stored before it does.
    pub message: Option<String>,
    pub attempts: i64,
    /// When it may be tried again.
    #[sqlx(rename = "due_us")]
    pub due: Timestamp,
    pub error: Option<String>,
}

/// A notice that needs something done, and its approval.
#[derive(Clone, Debug, FromRow)]
pub struct NoticeTask {
    #[sqlx(flatten)]
    pub approval: ApprovalRow,
    pub notice_status: NoticeStatus,
    pub channel: Option<String>,
    pub ts: Option<String>,
    pub message: Option<String>,
    pub attempts: i64,
}

/// Makes a notice of each pending approval of the org that has none; gives their number. A question about one user's own account is shown to
/// nobody else, so it is not asked where the whole channel reads.
pub async fn notices_open(
    tx: &mut SystemTx,
    org: OrgId,
    now: Timestamp,
    limit: u32,
) -> Result<u64> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(
        "INSERT INTO approval_notice (org_id, approval_id, status, attempts, due_us)
         SELECT a.org_id, a.id, 'asking', 0, $2 FROM approval a
         WHERE a.org_id = $1 AND a.status = 'pending' AND a.owner_user IS NULL
           AND NOT EXISTS (SELECT 1 FROM approval_notice n WHERE n.org_id = a.org_id AND n.approval_id = a.id)
         ORDER BY a.id LIMIT $3
         ON CONFLICT (org_id, approval_id) DO NOTHING"
    )
    .bind(org)
    .bind(now)
    .bind(i64::from(limit))
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?)
}

/// Which of these orgs have a pending approval without a notice, or a notice that is due.
pub async fn notices_wanting(
    tx: &mut SystemTx,
    orgs: &[OrgId],
    now: Timestamp,
) -> Result<Vec<OrgId>> {
    #[derive(FromRow)]
    struct Wanting {
        org_id: OrgId,
    }
    let columns = vec![
        (
            "org_id",
            Column::Uuid(orgs.iter().map(|org| org.uuid()).collect()),
        ),
        ("now_us", Column::Long(vec![now.micros(); orgs.len()])),
    ];
    // The first row of each org, in place of EXISTS, for which PostgreSQL may read the questions of all orgs.
    let statement = "SELECT t.org_id AS org_id FROM t
         WHERE (SELECT 1 FROM approval a
                WHERE a.org_id = t.org_id AND a.status = 'pending' AND a.owner_user IS NULL
                  AND NOT EXISTS (SELECT 1 FROM approval_notice n WHERE n.org_id = a.org_id AND n.approval_id = a.id)
                LIMIT 1) IS NOT NULL
            OR (SELECT 1 FROM approval_notice n JOIN approval a ON a.org_id = n.org_id AND a.id = n.approval_id
                WHERE n.org_id = t.org_id AND n.due_us <= t.now_us AND n.status IN ('asking', 'asked')
                  AND (n.status = 'asked' AND a.status <> 'pending' OR n.status = 'asking' AND a.owner_user IS NULL)
                LIMIT 1) IS NOT NULL";
    let rows: Vec<Wanting> = Rows::new(columns).fetch(&mut tx.inner, statement).await?;
    Ok(rows.into_iter().map(|row| row.org_id).collect())
}

/// What is due of an org: to be posted, and posted ones whose approval is not pending any more.
pub async fn notices_due(
    tx: &mut SystemTx,
    org: OrgId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<NoticeTask>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "SELECT ",
        approval_columns!("a."),
        ", n.status AS notice_status, n.channel, n.ts, n.message, n.attempts
         FROM approval_notice n JOIN approval a ON a.org_id = n.org_id AND a.id = n.approval_id
         WHERE n.org_id = $1 AND n.due_us <= $2
           AND (n.status = 'asked' AND a.status <> 'pending' OR n.status = 'asking' AND a.owner_user IS NULL)
         ORDER BY n.due_us, n.approval_id LIMIT $3"
    ))
    .bind(org)
    .bind(now)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// Writes how a notice stands now.
pub async fn notice_put(tx: &mut SystemTx, notice: &NoticeRow) -> Result<()> {
    on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE approval_notice SET status = $3, channel = $4, ts = $5, message = $6, attempts = $7, due_us = $8, error = $9
         WHERE org_id = $1 AND approval_id = $2"
    )
    .bind(notice.org_id)
    .bind(notice.approval_id)
    .bind(notice.status)
    .bind(&notice.channel)
    .bind(&notice.ts)
    .bind(&notice.message)
    .bind(notice.attempts)
    .bind(notice.due)
    .bind(&notice.error)
    .execute(conn)
    .await
    .map(drop)
    })?;
    Ok(())
}
