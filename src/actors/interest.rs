//! Which orgs have somebody who wants to hear of other employees' results. Whether a result is offered is decided in the database, in the commit
//! that has it ([`super::offers`]); this only says for which it is worth to try at once.
//!
//! A pattern that is added while all is read anew stays: what was read may be from before it.

use super::core::Core;
use crate::{
    domain::{EmployeeId, OrgId},
    persistence::{DbError, internal_interests, result_source},
};
use dashmap::DashMap;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// Patterns of sources, by org: exact, or with `*` at the end. Beside each, during which reading it was added.
#[derive(Default)]
pub struct Interest {
    patterns: DashMap<OrgId, HashMap<String, u64>>,
    reading: AtomicU64,
}

impl Interest {
    pub fn wants(&self, org: OrgId, employee: EmployeeId) -> bool {
        self.patterns.get(&org).is_some_and(|patterns| {
            let source = result_source(employee);
            patterns
                .keys()
                .any(|pattern| match pattern.strip_suffix('*') {
                    Some(start) => source.starts_with(start),
                    None => *pattern == source,
                })
        })
    }

    /// Somebody is about to listen.
    pub fn add(&self, org: OrgId, pattern: &str) {
        let reading = self.reading.load(Ordering::Acquire);
        let mut patterns = self.patterns.entry(org).or_default();
        patterns.insert(pattern.to_owned(), reading);
    }

    /// Reads all of it anew.
    ///
    /// # Errors
    /// If the database cannot be read; then the old knowledge stays.
    pub async fn refresh(&self, core: &Core) -> Result<(), DbError> {
        let reading = self.begin_reading();
        let mut tx = core.db.begin_system_read("who listens to results").await?;
        let found = internal_interests(&mut tx).await?;
        self.replace(reading, found);
        Ok(())
    }

    /// As if nobody had told this node of any listener.
    #[cfg(test)]
    pub fn forget(&self) {
        self.patterns.clear();
    }

    /// Names a reading that begins now; what is added from now on outlives it.
    fn begin_reading(&self) -> u64 {
        self.reading.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn replace(&self, reading: u64, found: Vec<(OrgId, String)>) {
        let mut all: HashMap<OrgId, HashMap<String, u64>> = HashMap::new();
        for (org, pattern) in found {
            all.entry(org).or_default().insert(pattern, 0);
        }
        for (org, patterns) in &all {
            self.patterns
                .entry(*org)
                .or_default()
                .extend(patterns.clone());
        }
        self.patterns.retain(|org, patterns| {
            let known = all.get(org);
            patterns.retain(|pattern, added| {
                *added >= reading || known.is_some_and(|known| known.contains_key(pattern))
            });
            !patterns.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_listener_added_while_all_is_read_outlives_the_reading() {
        let interest = Interest::default();
        let (org, other) = (
            OrgId::from_uuid(Uuid::from_u128(1)),
            OrgId::from_uuid(Uuid::from_u128(2)),
        );
        let employee = EmployeeId::from_uuid(Uuid::from_u128(3));
        interest.add(org, "employee:emp_gone");
        let reading = interest.begin_reading();
        interest.add(org, &result_source(employee));
        interest.add(other, "employee:*");
        interest.replace(reading, vec![(other, "employee:emp_x".into())]);
        assert!(interest.wants(org, employee), "added meanwhile");
        assert!(
            interest.wants(other, employee),
            "added meanwhile, to what was found"
        );
        assert!(
            !interest
                .patterns
                .get(&org)
                .unwrap()
                .contains_key("employee:emp_gone")
        );
        let reading = interest.begin_reading();
        interest.replace(reading, Vec::new());
        assert!(!interest.wants(org, employee), "nobody listens any more");
        assert!(interest.patterns.is_empty());
    }
}
