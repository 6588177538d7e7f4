//! What the catalog holds for each org: the built-in integrations, which all share, and those that the org has added.

use super::cache::Cache;
use crate::{
    connect::{Capability, Catalog, catalog::integration_from},
    domain::OrgId,
    persistence::{Db, DbError, IntegrationRow, integration_list},
};
use std::{sync::Arc, time::Duration};

/// Another node may have changed an org's integrations: they are read again after this.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Orgs whose catalog is kept; a miss costs a query.
const KEPT_MAX: usize = 10_000;

/// Cheap to clone.
#[derive(Clone)]
pub struct Catalogs {
    db: Db,
    built_in: Arc<Catalog>,
    known: Arc<Cache<OrgId, Arc<Catalog>>>,
}

impl Catalogs {
    pub fn new(db: Db, built_in: Arc<Catalog>) -> Self {
        Self {
            db,
            built_in,
            known: Arc::new(Cache::new(KEPT_FOR, KEPT_MAX)),
        }
    }

    /// What everybody has.
    pub fn built_in(&self) -> &Arc<Catalog> {
        &self.built_in
    }

    /// What the org has.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn of(&self, org: OrgId) -> Result<Arc<Catalog>, DbError> {
        self.known.get_or_read(org, self.read(org)).await
    }

    async fn read(&self, org: OrgId) -> Result<Arc<Catalog>, DbError> {
        let mut tx = self.db.begin_read(org).await?;
        let rows = integration_list(&mut tx).await?;
        drop(tx);
        Ok(self.with_own(rows))
    }

    /// A capability that the org may use, also a raw one. Built-in ones are found without a look at the org.
    ///
    /// # Errors
    /// As [`Catalogs::of`].
    pub async fn capability(
        &self,
        org: OrgId,
        id: &str,
    ) -> Result<Option<Arc<Capability>>, DbError> {
        if let Some(capability) = self.built_in.capability(id) {
            return Ok(Some(capability.clone()));
        }
        let catalog = self.of(org).await?;
        let known = catalog.capability(id).cloned();
        Ok(known.or_else(|| {
            let integration = catalog.integration(id.split('.').next()?)?;
            integration.raw(id).map(Arc::new)
        }))
    }

    /// The org's integrations have changed.
    pub fn forget(&self, org: OrgId) {
        self.known.forget(&org);
    }

    /// One that a newer version of the built-in catalog has an integration of the same name as, or that does not pass its checks,
    /// is left out and told to the log: the others go on working.
    fn with_own(&self, rows: Vec<IntegrationRow>) -> Arc<Catalog> {
        let mut own = Vec::new();
        for row in rows {
            if self.built_in.is_built_in(&row.id) {
                tracing::warn!(org = %row.org_id, integration = row.id, "a built-in integration has this id now");
                continue;
            }
            match integration_from(&row.id, &row.definition) {
                Ok(integration) => own.push(integration),
                Err(mistakes) => {
                    let mistake = mistakes.first().map(ToString::to_string);
                    tracing::warn!(org = %row.org_id, integration = row.id, mistake, "integration left out");
                }
            }
        }
        if own.is_empty() {
            return self.built_in.clone();
        }
        match self.built_in.with_own(own) {
            Ok(catalog) => Arc::new(catalog),
            Err(error) => {
                tracing::warn!(%error, "own integrations left out");
                self.built_in.clone()
            }
        }
    }
}
