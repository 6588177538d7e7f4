//! The rules of the orgs, compiled and kept until they change.

use super::cache::Cache;
use crate::{
    connect::policy::{PolicySet, RuleSpec},
    domain::OrgId,
    persistence::{Db, DbError, PolicyRow, policy_list},
};
use std::{sync::Arc, time::Duration};

/// Another node may have changed an org's rules: they are read again after this.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Orgs whose rules are kept; a miss costs a query.
const KEPT_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    #[error(transparent)]
    Db(#[from] DbError),
    /// What a newer version wrote, or what was damaged. Nothing may be called then: the rule may have been there to forbid it.
    #[error("policy {name} cannot be read: {source}")]
    Unreadable {
        name: String,
        source: serde_json::Error,
    },
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Policies {
    db: Db,
    known: Arc<Cache<OrgId, Arc<PolicySet>>>,
}

impl Policies {
    pub fn new(db: Db) -> Self {
        Self {
            db,
            known: Arc::new(Cache::new(KEPT_FOR, KEPT_MAX)),
        }
    }

    /// The org's rules.
    ///
    /// # Errors
    /// If they cannot be read; nothing is allowed then.
    pub async fn of(&self, org: OrgId) -> Result<Arc<PolicySet>, PoliciesError> {
        self.known.get_or_read(org, self.read(org)).await
    }

    async fn read(&self, org: OrgId) -> Result<Arc<PolicySet>, PoliciesError> {
        let mut tx = self.db.begin_read(org).await?;
        let rows = policy_list(&mut tx).await?;
        drop(tx);
        let rules = rows.iter().map(|row| Ok((row.id, rule(row)?)));
        Ok(Arc::new(PolicySet::new(
            rules.collect::<Result<Vec<_>, PoliciesError>>()?,
        )))
    }

    /// The org's rules have changed: they hold from now on, here.
    pub fn forget(&self, org: OrgId) {
        self.known.forget(&org);
    }
}

/// What a stored rule says.
///
/// # Errors
/// `Unreadable`.
fn rule(row: &PolicyRow) -> Result<RuleSpec, PoliciesError> {
    serde_json::from_str(&row.rule).map_err(|source| PoliciesError::Unreadable {
        name: row.name.clone(),
        source,
    })
}
