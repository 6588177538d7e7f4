//! The ledger of writes to the outside.

use super::{
    error::Result,
    page::{Page, PageRequest, uuid_key},
    tx::{Tx, on_tx},
    words::words,
};
use crate::domain::{ConnectionId, ContentHash, EffectId, ExecutionId, OrgId, Timestamp};
use sqlx::{FromRow, QueryBuilder};

words! {
    EffectStatus {
        /// Durable, not sent.
        Intended = "intended",
        /// On its way; no answer yet.
        Sent = "sent",
        Done = "done",
        Failed = "failed",
        /// It was sent and nobody knows whether it happened.
        Ambiguous = "ambiguous",
        /// It was ambiguous and somebody found out.
        Reconciled = "reconciled",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct EffectRow {
    pub org_id: OrgId,
    pub id: EffectId,
    pub run_id: ExecutionId,
    /// As `StepId` prints.
    pub step: String,
    /// Derived by the runtime from the run, the step and the arguments; unique in the org.
    pub key: Vec<u8>,
    pub capability: String,
    pub integration: String,
    pub connection_id: Option<ConnectionId>,
    pub args_hash: ContentHash,
    /// JSON, as it is sent.
    pub args: String,
    /// What the provider is told, where it knows such a thing.
    pub idempotency_key: String,
    pub status: EffectStatus,
    pub attempts: i32,
    /// Of the owner that last touched it.
    pub epoch: i64,
    #[sqlx(rename = "intended_us")]
    pub intended: Timestamp,
    #[sqlx(rename = "sent_us")]
    pub sent: Option<Timestamp>,
    #[sqlx(rename = "settled_us")]
    pub settled: Option<Timestamp>,
    /// JSON.
    pub response: Option<String>,
    /// JSON.
    pub error: Option<String>,
    /// JSON: what is known about an ambiguous one, who reconciled it and how.
    pub note: Option<String>,
    /// The one user whose account it goes through; `None`: the org's.
    pub owner_user: Option<String>,
}

/// Whose writes, or questions about them, are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EffectOwners {
    #[default]
    All,
    /// Those through the org's accounts.
    OrgOnly,
    /// These and those through this user's.
    User(String),
}

/// The condition on `owner_user`, one for writes and for the questions about them.
macro_rules! push_owners {
    ($query:expr, $owners:expr) => {
        match &$owners {
            $crate::persistence::EffectOwners::All => {}
            $crate::persistence::EffectOwners::OrgOnly => {
                $query.push(" AND owner_user IS NULL");
            }
            $crate::persistence::EffectOwners::User(user) => {
                $query
                    .push(" AND (owner_user IS NULL OR owner_user = ")
                    .push_bind(user)
                    .push(")");
            }
        }
    };
}
pub(super) use push_owners;

impl EffectOwners {
    /// Whether a write through an account of `owner` is meant.
    pub fn include(&self, owner: Option<&str>) -> bool {
        match (self, owner) {
            (_, None) | (EffectOwners::All, _) => true,
            (EffectOwners::User(user), Some(owner)) => user == owner,
            (EffectOwners::OrgOnly, Some(_)) => false,
        }
    }
}

macro_rules! effect_columns {
    () => {
        "org_id, id, run_id, step, key, capability, integration, connection_id, args_hash, args, idempotency_key, status, attempts, epoch, \
         intended_us, sent_us, settled_us, response, error, note, owner_user"
    };
}
pub(super) use effect_columns;

pub async fn effect_get(tx: &mut Tx, effect: EffectId) -> Result<Option<EffectRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        effect_columns!(),
        " FROM effect WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(effect)
    .fetch_optional(conn)
    .await)?)
}

/// The row that the same step with the same arguments made before.
pub async fn effect_find_by_key(tx: &mut Tx, key: &[u8]) -> Result<Option<EffectRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        effect_columns!(),
        " FROM effect WHERE org_id = $1 AND key = $2"
    ))
    .bind(org)
    .bind(key)
    .fetch_optional(conn)
    .await)?)
}

#[derive(Clone, Debug, Default)]
pub struct EffectFilter {
    pub run: Option<ExecutionId>,
    pub status: Option<EffectStatus>,
    pub integration: Option<String>,
    pub owners: EffectOwners,
}

/// In the order of their ids.
pub async fn effect_list(
    tx: &mut Tx,
    filter: &EffectFilter,
    request: &PageRequest,
) -> Result<Page<EffectRow>> {
    let (org, after) = (tx.org(), request.after_uuid()?);
    let rows = on_tx!(tx, |conn| {
        let mut query = QueryBuilder::<DB>::new(concat!(
            "SELECT ",
            effect_columns!(),
            " FROM effect WHERE org_id = "
        ));
        query.push_bind(org);
        if let Some(run) = filter.run {
            query.push(" AND run_id = ").push_bind(run);
        }
        match filter.status {
            // With the condition of the index over the few that are not settled.
            Some(
                status @ (EffectStatus::Intended | EffectStatus::Sent | EffectStatus::Ambiguous),
            ) => {
                query
                    .push(" AND status IN ('intended', 'sent', 'ambiguous') AND status = ")
                    .push_bind(status);
            }
            Some(status) => {
                query.push(" AND status = ").push_bind(status);
            }
            None => {}
        }
        if let Some(integration) = &filter.integration {
            query.push(" AND integration = ").push_bind(integration);
        }
        push_owners!(query, filter.owners);
        if let Some(after) = after {
            query.push(" AND id > ").push_bind(after);
        }
        query.push(" ORDER BY id LIMIT ").push_bind(request.fetch());
        query.build_query_as().fetch_all(conn).await
    })?;
    Ok(request.page(rows, |effect: &EffectRow| uuid_key(effect.id.uuid())))
}
