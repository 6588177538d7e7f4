//! Employees, their versions, and what wakes them without naming them.

use super::{
    blobs::{BlobUse, blobs_put},
    error::{DbError, Result},
    events::{OrgEventRow, org_event_insert},
    page::{Page, PageRequest, WINDOW, uuid_key, windowed_page},
    rows::{Column, Rows},
    schedules::{ScheduleRow, schedules_replace},
    tx::{Tx, on_tx, one_row},
    words::words,
};
use crate::domain::{ContentHash, EmployeeId, OrgId, SubscriptionSpec, Timestamp};
use sqlx::{FromRow, QueryBuilder};
use std::collections::BTreeSet;

words! {
    EmployeeStatus {
        Active = "active",
        /// It kept crashing: its triggers are kept, a person has to release it.
        Quarantined = "quarantined",
        /// Its name is free again; its history stays.
        Dismissed = "dismissed",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct EmployeeRow {
    pub org_id: OrgId,
    pub id: EmployeeId,
    /// Unique among those of the org that are not dismissed.
    pub name: String,
    /// The version that new runs get, from 1.
    pub version: i32,
    pub status: EmployeeStatus,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "updated_us")]
    pub updated: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct EmployeeVersionRow {
    pub org_id: OrgId,
    pub employee_id: EmployeeId,
    pub version: i32,
    /// The JSON of its `EmployeeSpec` is in the blob store, once for all employees of the org that are alike.
    pub spec_hash: ContentHash,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    pub created_by: String,
}

/// What a version of an employee is made of.
#[derive(Clone, Debug)]
pub struct VersionInsert<'a> {
    pub employee: EmployeeId,
    /// JSON of the `EmployeeSpec`.
    pub spec: &'a [u8],
    pub subscriptions: &'a [SubscriptionSpec],
    /// Those of the version; one with a known name keeps its id and its account.
    pub schedules: &'a [ScheduleRow],
    /// `GraphDefined`.
    pub event: &'a OrgEventRow,
    pub at: Timestamp,
    pub by: &'a str,
}

macro_rules! employee_columns {
    () => {
        "org_id, id, name, version, status, created_us, updated_us"
    };
}
pub(super) use employee_columns;

/// Hires an employee with its first version.
///
/// # Errors
/// `Duplicate` if the org has one of that name.
pub async fn employee_insert(tx: &mut Tx, name: &str, version: &VersionInsert<'_>) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| {
        sqlx::query(
        "INSERT INTO employee (org_id, id, name, version, status, created_us, updated_us) VALUES ($1, $2, $3, 1, $4, $5, $5)"
    )
    .bind(org)
    .bind(version.employee)
    .bind(name)
    .bind(EmployeeStatus::Active)
    .bind(version.at)
    .execute(conn)
    .await
    .map(drop)
    })?;
    version_write(tx, 1, version).await
}

/// Gives an employee its next version; runs that are not finished keep theirs. Gives its number.
///
/// # Errors
/// `Stale` if its version is not `expected` any more, or it was dismissed.
pub async fn employee_version_insert(
    tx: &mut Tx,
    expected: i32,
    version: &VersionInsert<'_>,
) -> Result<i32> {
    let org = tx.org();
    let number: Option<i32> = on_tx!(tx, |conn| {
        sqlx::query_scalar(
        "UPDATE employee SET version = version + 1, updated_us = $4
         WHERE org_id = $1 AND id = $2 AND version = $3 AND status <> 'dismissed' RETURNING version"
    )
    .bind(org)
    .bind(version.employee)
    .bind(expected)
    .bind(version.at)
    .fetch_optional(conn)
    .await
    })?;
    let number = number.ok_or(DbError::Stale("employee"))?;
    version_write(tx, number, version).await?;
    Ok(number)
}

async fn version_write(tx: &mut Tx, number: i32, version: &VersionInsert<'_>) -> Result<()> {
    let (org, hash) = (tx.org(), ContentHash::of(version.spec));
    let body = BlobUse {
        org,
        owner: version.employee.uuid(),
        hash,
        body: version.spec,
    };
    blobs_put(&mut tx.inner, &[body], version.at).await?;
    on_tx!(tx, |conn| {
        sqlx::query(
        "INSERT INTO employee_version (org_id, employee_id, version, spec_hash, created_us, created_by) VALUES ($1, $2, $3, $4, $5, $6)"
    )
    .bind(org)
    .bind(version.employee)
    .bind(number)
    .bind(hash)
    .bind(version.at)
    .bind(version.by)
    .execute(conn)
    .await
    .map(drop)
    })?;
    subscriptions_replace(tx, version.employee, version.subscriptions).await?;
    schedules_replace(tx, version.employee, version.schedules, version.at).await?;
    org_event_insert(tx, version.event).await
}

async fn subscriptions_replace(
    tx: &mut Tx,
    employee: EmployeeId,
    subscriptions: &[SubscriptionSpec],
) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM subscription WHERE org_id = $1 AND employee_id = $2"
    )
    .bind(org)
    .bind(employee)
    .execute(conn)
    .await
    .map(drop))?;
    let all = || subscriptions.iter();
    let filters: Vec<Option<String>> = all()
        .map(|one| (!one.filter.is_empty()).then(|| serde_json::to_string(&one.filter)))
        .map(|text| {
            text.transpose()
                .map_err(|error| DbError::corrupt("filter", error))
        })
        .collect::<Result<_>>()?;
    let columns = vec![
        (
            "org_id",
            Column::Uuid(vec![org.uuid(); subscriptions.len()]),
        ),
        (
            "employee_id",
            Column::Uuid(vec![employee.uuid(); subscriptions.len()]),
        ),
        (
            "position",
            Column::Int((0..).take(subscriptions.len()).collect()),
        ),
        (
            "source",
            Column::Text(all().map(|one| one.source.as_str()).collect()),
        ),
        (
            "event",
            Column::MaybeText(all().map(|one| one.event.as_deref()).collect()),
        ),
        (
            "when_expr",
            Column::MaybeText(all().map(|one| one.when.as_deref()).collect()),
        ),
        (
            "filter",
            Column::MaybeText(filters.iter().map(Option::as_deref).collect()),
        ),
        (
            "skill",
            Column::MaybeText(all().map(|one| one.skill.as_deref()).collect()),
        ),
        (
            "conversation_key",
            Column::MaybeText(all().map(|one| one.conversation_key.as_deref()).collect()),
        ),
    ];
    const NAMES: &str =
        "org_id, employee_id, position, source, event, when_expr, filter, skill, conversation_key";
    Rows::new(columns)
        .execute(
            &mut tx.inner,
            &format!("INSERT INTO subscription ({NAMES}) SELECT {NAMES} FROM t"),
        )
        .await
        .map(drop)
}

pub async fn employee_get(tx: &mut Tx, employee: EmployeeId) -> Result<Option<EmployeeRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        employee_columns!(),
        " FROM employee WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(employee)
    .fetch_optional(conn)
    .await)?)
}

/// The one of that name that is not dismissed.
pub async fn employee_find(tx: &mut Tx, name: &str) -> Result<Option<EmployeeRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        employee_columns!(),
        " FROM employee WHERE org_id = $1 AND name = $2 AND status <> 'dismissed'"
    ))
    .bind(org)
    .bind(name)
    .fetch_optional(conn)
    .await)?)
}

/// In the order of their ids; with `status` only those, without it all that are not dismissed.
pub async fn employee_list(
    tx: &mut Tx,
    status: Option<EmployeeStatus>,
    request: &PageRequest,
) -> Result<Page<EmployeeRow>> {
    windowed_page!(
        tx,
        request,
        employee_columns!(),
        "employee",
        Ascending,
        WINDOW,
        narrow: |query: &mut QueryBuilder<DB>| {
            // As the index has it; the dismissed may be many, and stand in front.
            if status != Some(EmployeeStatus::Dismissed) {
                query.push(" AND status <> 'dismissed'");
            }
        },
        filter: |query: &mut QueryBuilder<DB>| {
            if let Some(status) = status {
                query.push(" AND status = ").push_bind(status);
            }
            status.is_some()
        },
        key: |employee: &EmployeeRow| uuid_key(employee.id.uuid()),
    )
}

/// # Errors
/// `NotFound` if there is no such employee or it was dismissed; `Duplicate` never: a dismissed one stays so.
pub async fn employee_set_status(
    tx: &mut Tx,
    employee: EmployeeId,
    status: EmployeeStatus,
    at: Timestamp,
) -> Result<()> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE employee SET status = $3, updated_us = $4 WHERE org_id = $1 AND id = $2 AND status <> 'dismissed'"
    )
    .bind(org)
    .bind(employee)
    .bind(status)
    .bind(at)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    one_row(changed, "employee")
}

/// All versions of an employee, the newest first.
pub async fn employee_versions(
    tx: &mut Tx,
    employee: EmployeeId,
) -> Result<Vec<EmployeeVersionRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT org_id, employee_id, version, spec_hash, created_us, created_by FROM employee_version
         WHERE org_id = $1 AND employee_id = $2 ORDER BY version DESC"
    )
    .bind(org)
    .bind(employee)
    .fetch_all(conn)
    .await
    })?)
}

pub async fn employee_version_get(
    tx: &mut Tx,
    employee: EmployeeId,
    version: i32,
) -> Result<Option<EmployeeVersionRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT org_id, employee_id, version, spec_hash, created_us, created_by FROM employee_version
         WHERE org_id = $1 AND employee_id = $2 AND version = $3"
    )
    .bind(org)
    .bind(employee)
    .bind(version)
    .fetch_optional(conn)
    .await
    })?)
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SubscriptionRow {
    pub org_id: OrgId,
    pub employee_id: EmployeeId,
    pub position: i32,
    pub source: String,
    pub event: Option<String>,
    #[sqlx(rename = "when_expr")]
    pub when: Option<String>,
    /// JSON of an `EventFilter`; `None`: all.
    pub filter: Option<String>,
    pub skill: Option<String>,
    pub conversation_key: Option<String>,
}

impl SubscriptionRow {
    /// Whether it is for events of this type.
    pub fn is_for(&self, event: Option<&str>) -> bool {
        self.event.is_none() || self.event.as_deref() == event
    }
}

/// Subscriptions of the org's employees that are not dismissed to one of these names of a source (exactly, or by a pattern with `*` at its
/// end), each once. Type, filter and condition are for the caller to see.
///
/// A pattern that means a name is one of the name's own beginnings with `*`, so that all are found by the index, whatever else is listened to.
pub async fn subscriptions_find(tx: &mut Tx, sources: &[&str]) -> Result<Vec<SubscriptionRow>> {
    let wanted: BTreeSet<String> = sources
        .iter()
        .flat_map(|source| {
            let ends = source.char_indices().map(|(end, _)| end);
            let patterns = ends
                .chain([source.len()])
                .map(|end| format!("{}*", &source[..end]));
            patterns.chain([(*source).to_owned()])
        })
        .collect();
    let columns = vec![
        ("org_id", Column::Uuid(vec![tx.org().uuid(); wanted.len()])),
        (
            "name",
            Column::Text(wanted.iter().map(String::as_str).collect()),
        ),
    ];
    let statement = "SELECT s.org_id, s.employee_id, s.position, s.source, s.event, s.when_expr, s.filter, s.skill, s.conversation_key
         FROM t JOIN subscription s ON s.org_id = t.org_id AND s.source = t.name
         JOIN employee e ON e.id = s.employee_id AND e.org_id = s.org_id AND e.status <> 'dismissed'";
    let mut rows: Vec<SubscriptionRow> = Rows::new(columns).fetch(&mut tx.inner, statement).await?;
    rows.sort_by_key(|row| (row.employee_id, row.position));
    Ok(rows)
}
