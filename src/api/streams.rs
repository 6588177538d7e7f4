//! How many event streams may be open: a share for each key and for each org, so that nobody's streams are in the way of others'.

use super::{
    auth::Caller,
    error::{ApiError, ApiResult, Problem},
};
use crate::domain::{KeyId, OrgId};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Streams that may be open at once on one node. Each holds a connection, so their sum is bounded by those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    pub per_key: usize,
    pub per_org: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            per_key: 100,
            per_org: 1_000,
        }
    }
}

pub struct Streams {
    limits: StreamLimits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    keys: HashMap<KeyId, usize>,
    orgs: HashMap<OrgId, usize>,
}

/// The place of a stream. Gives it up when dropped.
pub struct StreamPlace {
    streams: Arc<Streams>,
    key: KeyId,
    org: OrgId,
}

impl Streams {
    pub fn new(limits: StreamLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            open: Mutex::default(),
        })
    }

    /// # Errors
    /// `too_many_streams`: whose, and how many there may be.
    pub fn admit(self: &Arc<Self>, caller: &Caller) -> ApiResult<StreamPlace> {
        let mut open = self.lock();
        let count = |of: Option<&usize>| of.copied().unwrap_or(0);
        if count(open.keys.get(&caller.key)) >= self.limits.per_key {
            return Err(too_many("API key", self.limits.per_key));
        }
        if count(open.orgs.get(&caller.org)) >= self.limits.per_org {
            return Err(too_many("organisation", self.limits.per_org));
        }
        *open.keys.entry(caller.key).or_default() += 1;
        *open.orgs.entry(caller.org).or_default() += 1;
        Ok(StreamPlace {
            streams: self.clone(),
            key: caller.key,
            org: caller.org,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many(whose: &str, limit: usize) -> ApiError {
    let detail = format!("one {whose} may have {limit} event streams open on a node; close others");
    ApiError::new(Problem::TooManyStreams, detail)
        .with("limit", limit)
        .retry_after(5)
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        take_one(&mut open.keys, &self.key);
        take_one(&mut open.orgs, &self.org);
    }
}

fn take_one<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Role;
    use uuid::Uuid;

    fn caller(org: u128, key: u128) -> Caller {
        Caller {
            org: OrgId::from_uuid(Uuid::from_u128(org)),
            role: Role::Viewer,
            key: KeyId::from_uuid(Uuid::from_u128(key)),
            user: None,
        }
    }

    #[test]
    fn one_key_and_one_org_have_their_share_and_no_more() {
        let streams = Streams::new(StreamLimits {
            per_key: 2,
            per_org: 3,
        });
        let one = streams.admit(&caller(1, 1)).expect("a place");
        let two = streams.admit(&caller(1, 1)).expect("a place");
        let refused = streams.admit(&caller(1, 1)).err().expect("refused");
        assert_eq!(refused.problem(), Problem::TooManyStreams);
        let other_key = streams.admit(&caller(1, 2)).expect("a place");
        assert!(streams.admit(&caller(1, 3)).is_err());
        let other_org = streams.admit(&caller(2, 4)).expect("a place");
        drop(one);
        drop(streams.admit(&caller(1, 3)).expect("a place again"));
        drop((two, other_key, other_org));
        let open = streams.lock();
        assert!(open.keys.is_empty() && open.orgs.is_empty());
    }
}
