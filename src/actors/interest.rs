//! Which orgs have somebody who wants to hear of other employees' results. Without this knowledge every finished run would have to be
//! offered to nobody.

use super::core::Core;
use crate::{
    domain::{EmployeeId, OrgId},
    persistence::{DbError, internal_interests},
};
use dashmap::DashMap;
use std::collections::HashMap;

/// Patterns of sources, by org: exact, or with `*` at the end.
#[derive(Default)]
pub struct Interest(DashMap<OrgId, Vec<String>>);

impl Interest {
    pub fn wants(&self, org: OrgId, employee: EmployeeId) -> bool {
        let source = || format!("employee:{employee}");
        self.0.get(&org).is_some_and(|patterns| {
            let source = source();
            patterns
                .iter()
                .any(|pattern| match pattern.strip_suffix('*') {
                    Some(start) => source.starts_with(start),
                    None => *pattern == source,
                })
        })
    }

    /// Somebody is about to listen.
    pub fn add(&self, org: OrgId, pattern: &str) {
        let mut patterns = self.0.entry(org).or_default();
        if !patterns.iter().any(|known| known == pattern) {
            patterns.push(pattern.to_string());
        }
    }

    /// Reads all of it anew.
    ///
    /// # Errors
    /// If the database cannot be read; then the old knowledge stays.
    pub async fn refresh(&self, core: &Core) -> Result<(), DbError> {
        let mut tx = core.db.begin_system_read("who listens to results").await?;
        let mut all: HashMap<OrgId, Vec<String>> = HashMap::new();
        for (org, pattern) in internal_interests(&mut tx).await? {
            all.entry(org).or_default().push(pattern);
        }
        for (org, patterns) in &all {
            self.0.insert(*org, patterns.clone());
        }
        self.0.retain(|org, _| all.contains_key(org));
        Ok(())
    }
}
