//! The ledger of writes to the outside.

use super::{
    error::Result,
    page::{Page, PageRequest, WINDOW, uuid_key, windowed_page},
    tx::{Tx, on_tx},
    words::words,
};
use crate::domain::{ConnectionId, ContentHash, EffectId, ExecutionId, OrgId, Timestamp};
use serde::{Deserialize, Serialize};
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

/// Whose writes, questions about them, or connectors are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// In the order of their ids. One condition narrows what is read by an index, a window bounds how many rows are asked for the rest.
pub async fn effect_list(
    tx: &mut Tx,
    filter: &EffectFilter,
    request: &PageRequest,
) -> Result<Page<EffectRow>> {
    windowed_page!(
        tx,
        request,
        effect_columns!(),
        "effect",
        Ascending,
        WINDOW,
        narrow: |query: &mut QueryBuilder<DB>| {
            // As the indexes have it.
            let by_status = match filter.status {
                Some(EffectStatus::Intended | EffectStatus::Sent | EffectStatus::Ambiguous) => {
                    Some(" AND status IN ('intended', 'sent', 'ambiguous')")
                }
                Some(EffectStatus::Failed) => Some(" AND status = 'failed'"),
                Some(EffectStatus::Reconciled) => Some(" AND status = 'reconciled'"),
                Some(EffectStatus::Done) | None => None,
            };
            match (filter.run, by_status, &filter.integration) {
                (Some(run), ..) => {
                    query.push(" AND run_id = ").push_bind(run);
                }
                (None, Some(by_status), _) => {
                    query.push(by_status);
                }
                (None, None, Some(integration)) => {
                    query.push(" AND integration = ").push_bind(integration);
                }
                (None, None, None) => {}
            }
        },
        filter: |query: &mut QueryBuilder<DB>| {
            if let Some(status) = filter.status {
                query.push(" AND status = ").push_bind(status);
            }
            if let Some(integration) = &filter.integration {
                query.push(" AND integration = ").push_bind(integration);
            }
            push_owners!(query, filter.owners);
            filter.status.is_some() || filter.integration.is_some() || filter.owners != EffectOwners::All
        },
        key: |effect: &EffectRow| uuid_key(effect.id.uuid()),
    )
}
