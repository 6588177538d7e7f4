//! How much waits to become durable, in appends and in bytes, in all and for each org.
//!
//! While the database is away everything that was admitted waits in memory. What would admit more asks here first, so that neither many
//! small appends nor few large ones fill the memory, and one org leaves half of the room to the others. What follows from admitted work is
//! always taken.

use crate::domain::OrgId;
use dashmap::{DashMap, Entry};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Room for what waits.
#[derive(Clone, Copy, Debug)]
pub struct LoadLimits {
    pub appends: usize,
    pub bytes: usize,
}

impl LoadLimits {
    pub const JOURNAL: Self = Self {
        appends: 20_000,
        bytes: 256 << 20,
    };

    fn halved(self) -> Self {
        Self {
            appends: self.appends / 2,
            bytes: self.bytes / 2,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Amount {
    appends: usize,
    bytes: usize,
}

impl Amount {
    fn reaches(self, limits: LoadLimits) -> bool {
        self.appends >= limits.appends || self.bytes >= limits.bytes
    }
}

/// Counts what waits; cheap to clone.
#[derive(Clone)]
pub struct Load(Arc<Inner>);

struct Inner {
    limits: LoadLimits,
    appends: AtomicUsize,
    bytes: AtomicUsize,
    orgs: DashMap<OrgId, Amount>,
}

impl Load {
    pub fn new(limits: LoadLimits) -> Self {
        Self(Arc::new(Inner {
            limits,
            appends: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            orgs: DashMap::new(),
        }))
    }

    /// Counts one append of `org` until the guard is dropped. Never refuses.
    pub fn queue(&self, org: OrgId, bytes: usize) -> Queued {
        self.0.appends.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut amount = self.0.orgs.entry(org).or_default();
        amount.appends += 1;
        amount.bytes += bytes;
        Queued {
            load: self.clone(),
            org,
            bytes,
        }
    }

    /// Whether so much waits, of this org or of all, that no new work of it should be taken.
    pub fn is_full_for(&self, org: OrgId) -> bool {
        let all = Amount {
            appends: self.0.appends.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
        };
        let own = || self.0.orgs.get(&org).map(|amount| *amount);
        all.reaches(self.0.limits) || own().is_some_and(|own| own.reaches(self.0.limits.halved()))
    }
}

/// One append that waits; dropped when it is answered, however that came about.
pub struct Queued {
    load: Load,
    org: OrgId,
    bytes: usize,
}

impl Queued {
    /// What it holds, as it was counted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let inner = &self.load.0;
        inner.appends.fetch_sub(1, Ordering::Relaxed);
        inner.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Entry::Occupied(mut entry) = inner.orgs.entry(self.org) {
            let amount = entry.get_mut();
            amount.appends -= 1;
            amount.bytes -= self.bytes;
            if amount.appends == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const LIMITS: LoadLimits = LoadLimits {
        appends: 8,
        bytes: 1_000,
    };

    fn org(number: u128) -> OrgId {
        OrgId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn an_org_fills_half_and_leaves_the_rest_to_others() {
        for bytes in [1, 125] {
            let load = Load::new(LIMITS);
            let held: Vec<Queued> = (0..4).map(|_| load.queue(org(1), bytes)).collect();
            assert!(load.is_full_for(org(1)), "four of {bytes} bytes");
            assert!(!load.is_full_for(org(2)));
            let _others: Vec<Queued> = (0..4).map(|_| load.queue(org(2), bytes)).collect();
            assert!(load.is_full_for(org(3)), "all of the room is taken");
            drop(held);
            assert!(!load.is_full_for(org(1)));
            assert!(!load.is_full_for(org(3)));
        }
    }

    #[test]
    fn few_large_ones_count_as_much_as_many_small_ones() {
        let load = Load::new(LIMITS);
        let large = load.queue(org(1), 500);
        assert!(load.is_full_for(org(1)));
        drop(large);
        assert!(!load.is_full_for(org(1)));
        assert!(load.0.orgs.is_empty(), "orgs without work take no room");
    }
}
