//! Whose facts have become durable: those who read along an org's journal wait for its ticks instead of asking the database.
//!
//! A tick is a hint and may come early: what PostgreSQL has committed may stay invisible for as long as an older transaction is open, and what
//! another node has committed is told over a link that may be cut. So once a second the node asks, in one statement for all orgs that are
//! followed here, how far each can be read, and ticks for those that have moved. Nobody follows: nothing is asked.

use super::core::Core;
use crate::{
    domain::OrgId,
    persistence::{DbError, stream_tips},
};
use dashmap::DashMap;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// How late a commit is seen at the latest whose hint was early or lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Beyond this other nodes are told that it may have been anybody.
const TOLD_MAX: usize = 256;

/// The ticks of all orgs on this node.
#[derive(Default)]
pub struct OrgCommits {
    followed: DashMap<OrgId, watch::Sender<u64>>,
    others_are_told: AtomicBool,
    /// Whose commits other nodes have not been told of yet.
    untold: Mutex<HashSet<OrgId>>,
}

impl OrgCommits {
    /// Changes with every commit of the org, and seldom without one.
    pub fn follow(&self, org: OrgId) -> watch::Receiver<u64> {
        let ticks = self.followed.entry(org);
        ticks.or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// This node has committed something of these orgs.
    pub fn committed(&self, orgs: impl Iterator<Item = OrgId>) {
        let orgs: HashSet<OrgId> = orgs.collect();
        orgs.iter().for_each(|org| self.tick(*org));
        if self.others_are_told.load(Ordering::Relaxed) {
            self.lock_untold().extend(orgs);
        }
    }

    /// Another node has committed something of these orgs; of whomever, if none is named.
    pub fn others_have_committed(&self, orgs: &[OrgId]) {
        match orgs {
            [] => self.followed.iter().for_each(|ticks| {
                ticks.send_modify(|count| *count += 1);
            }),
            orgs => orgs.iter().for_each(|org| self.tick(*org)),
        }
    }

    fn tick(&self, org: OrgId) {
        let is_left = match self.followed.get(&org) {
            Some(ticks) => {
                ticks.send_modify(|count| *count += 1);
                ticks.receiver_count() == 0
            }
            None => false,
        };
        if is_left {
            self.followed
                .remove_if(&org, |_, ticks| ticks.receiver_count() == 0);
        }
    }

    /// From now on it is kept whose commits others have to be told of.
    pub fn tell_others(&self) {
        self.others_are_told.store(true, Ordering::Relaxed);
    }

    /// Whose commits others have to be told of; empty: anybody's.
    pub fn take_untold(&self) -> Vec<OrgId> {
        let taken = std::mem::take(&mut *self.lock_untold());
        match taken.len() {
            0..=TOLD_MAX => taken.into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn lock_untold(&self) -> std::sync::MutexGuard<'_, HashSet<OrgId>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The orgs that somebody follows here.
    fn followed(&self) -> Vec<OrgId> {
        self.followed.retain(|_, ticks| ticks.receiver_count() > 0);
        self.followed.iter().map(|ticks| *ticks.key()).collect()
    }
}

/// Ticks for what becomes readable without a tick of its own; ends with the engine.
pub(super) fn watch_tips(core: &Arc<Core>) {
    let core = Arc::downgrade(core);
    tokio::spawn(async move {
        let mut known = HashMap::new();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(core) = Weak::upgrade(&core) else {
                return;
            };
            if let Err(error) = look(&core, &mut known).await {
                tracing::debug!(%error, "it is not known how far the journal can be read");
            }
        }
    });
}

async fn look(core: &Core, known: &mut HashMap<OrgId, i64>) -> Result<(), DbError> {
    let commits = core.journal.org_commits();
    let orgs = commits.followed();
    if orgs.is_empty() {
        known.clear();
        return Ok(());
    }
    let mut tx = core
        .db
        .begin_system_read("how far can the journal be read")
        .await?;
    let tips = stream_tips(&mut tx, &orgs).await?;
    drop(tx);
    let before = std::mem::replace(known, tips.into_iter().collect());
    for (org, tip) in known.iter() {
        // Who has just begun to follow looks by itself.
        if before.get(org).is_some_and(|before| before != tip) {
            commits.tick(*org);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn org(number: u128) -> OrgId {
        OrgId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn only_followers_of_the_org_are_woken() {
        let commits = OrgCommits::default();
        let (mut mine, mut others) = (commits.follow(org(1)), commits.follow(org(2)));
        commits.committed([org(1), org(1), org(3)].into_iter());
        assert!(mine.has_changed().unwrap() && !others.has_changed().unwrap());
        mine.mark_unchanged();
        commits.others_have_committed(&[org(2)]);
        assert!(!mine.has_changed().unwrap() && others.has_changed().unwrap());
        others.mark_unchanged();
        commits.others_have_committed(&[]);
        assert!(mine.has_changed().unwrap() && others.has_changed().unwrap());
    }

    #[test]
    fn orgs_that_nobody_follows_are_forgotten() {
        let commits = OrgCommits::default();
        let (one, other) = (commits.follow(org(1)), commits.follow(org(1)));
        drop(one);
        commits.committed([org(1)].into_iter());
        assert_eq!(commits.followed(), [org(1)]);
        drop(other);
        commits.committed([org(1)].into_iter());
        assert!(commits.followed.is_empty());
        drop(commits.follow(org(2)));
        assert!(commits.followed().is_empty() && commits.followed.is_empty());
    }

    #[test]
    fn others_are_told_whose_commits_they_were() {
        let commits = OrgCommits::default();
        commits.committed([org(1)].into_iter());
        assert!(commits.take_untold().is_empty());
        commits.tell_others();
        commits.committed([org(1), org(2)].into_iter());
        let mut told = commits.take_untold();
        told.sort();
        assert_eq!(told, [org(1), org(2)]);
        commits.committed((0..1_000).map(org));
        assert!(commits.take_untold().is_empty());
        assert!(commits.lock_untold().is_empty());
    }
}
