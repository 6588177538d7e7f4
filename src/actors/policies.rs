//! The rules of the orgs, compiled and kept until they change.

use crate::{
    connect::policy::{PolicySet, RuleSpec},
    domain::OrgId,
    persistence::{Db, DbError, PolicyRow, policy_list},
};
use dashmap::DashMap;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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
    known: Arc<DashMap<OrgId, (Instant, Arc<PolicySet>)>>,
}

impl Policies {
    pub fn new(db: Db) -> Self {
        Self {
            db,
            known: Arc::default(),
        }
    }

    /// The org's rules.
    ///
    /// # Errors
    /// If they cannot be read; nothing is allowed then.
    pub async fn of(&self, org: OrgId) -> Result<Arc<PolicySet>, PoliciesError> {
        let known = self
            .known
            .get(&org)
            .filter(|entry| entry.0.elapsed() < KEPT_FOR)
            .map(|entry| entry.1.clone());
        if let Some(set) = known {
            return Ok(set);
        }
        let read = Instant::now();
        let mut tx = self.db.begin_read(org).await?;
        let rows = policy_list(&mut tx).await?;
        drop(tx);
        let rules = rows.iter().map(|row| Ok((row.id, rule(row)?)));
        let set = Arc::new(PolicySet::new(
            rules.collect::<Result<Vec<_>, PoliciesError>>()?,
        ));
        if self.known.len() >= KEPT_MAX {
            self.known.clear();
        }
        self.known.insert(org, (read, set.clone()));
        Ok(set)
    }

    /// The org's rules have changed: they hold from now on, here.
    pub fn forget(&self, org: OrgId) {
        self.known.remove(&org);
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
