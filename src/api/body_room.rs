//! How much memory the bodies of requests may take, from their first byte to the answer: a share for each org and for each address of
//! strangers, and a bound for all. A body of a megabyte may take minutes to come; without a bound, as many of them as there are connections
//! would fill the memory, also of those who have no key.

use super::{
    error::{ApiError, Problem},
    server::peer::Peer,
};
use crate::domain::OrgId;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Bytes of an org, or of an address that shows no key. Senders of many orgs' webhooks come from few addresses.
const SHARE: usize = 64 * 1024 * 1024;
/// Bytes of all.
const ALL: usize = 512 * 1024 * 1024;
/// A body up to this size is taken as long as its holder's share has room, though all the rest is used up.
const SMALL: usize = 16 * 1024;

/// Whose share it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    Org(OrgId),
    Stranger(Peer),
}

/// Why a body is not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("the bodies of this organisation's requests that are under way are too large together")]
    Org,
    #[error("the bodies of this address's requests that are under way are too large together")]
    Address,
    #[error("the bodies of all requests that are under way are too large together")]
    All,
}

impl From<NoRoom> for ApiError {
    fn from(error: NoRoom) -> Self {
        ApiError::new(Problem::Unavailable, error.to_string())
            .retry_after(1)
            .nothing_done()
    }
}

pub struct BodyRoom {
    share: usize,
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    holders: HashMap<Holder, usize>,
}

impl BodyRoom {
    pub fn new() -> Arc<Self> {
        Self::with(SHARE, ALL)
    }

    fn with(share: usize, all: usize) -> Arc<Self> {
        Arc::new(Self {
            share,
            all,
            taken: Mutex::default(),
        })
    }

    /// What one request takes: nothing yet.
    pub fn hold(self: &Arc<Self>, holder: Holder) -> Hold {
        Hold(Arc::new(Held {
            room: self.clone(),
            holder,
            bytes: AtomicUsize::new(0),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the body of one request takes. It is given back when the last clone is dropped: the guard keeps one until the answer is there.
#[derive(Clone)]
pub struct Hold(Arc<Held>);

struct Held {
    room: Arc<BodyRoom>,
    holder: Holder,
    bytes: AtomicUsize,
}

impl Hold {
    /// Takes room for so many bytes more, before they are kept.
    ///
    /// # Errors
    /// There is none; what was taken before stays taken.
    pub fn take(&self, bytes: usize) -> Result<(), NoRoom> {
        let Held { room, holder, .. } = &*self.0;
        let mut taken = room.lock();
        let own = taken.holders.get(holder).copied().unwrap_or(0);
        if own + bytes > room.share {
            return Err(match holder {
                Holder::Org(_) => NoRoom::Org,
                Holder::Stranger(_) => NoRoom::Address,
            });
        }
        let is_small = self.0.bytes.load(Ordering::Relaxed) + bytes <= SMALL;
        if taken.all + bytes > room.all && !is_small {
            return Err(NoRoom::All);
        }
        taken.all += bytes;
        *taken.holders.entry(*holder).or_default() += bytes;
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Nothing is kept any more of what came.
    pub fn give_back(&self) {
        self.0.give_back();
    }
}

impl Held {
    fn give_back(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        if bytes == 0 {
            return;
        }
        let mut taken = self.room.lock();
        taken.all -= bytes;
        if let Some(own) = taken.holders.get_mut(&self.holder) {
            *own -= bytes;
            if *own == 0 {
                taken.holders.remove(&self.holder);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use uuid::Uuid;

    const KIB: usize = 1024;

    fn org(n: u128) -> Holder {
        Holder::Org(OrgId::from_uuid(Uuid::from_u128(n)))
    }

    fn stranger(n: u8) -> Holder {
        Holder::Stranger(Peer::from(IpAddr::from([192, 0, 2, n])))
    }

    #[test]
    fn everybody_has_a_share_and_no_more() {
        let room = BodyRoom::with(100 * KIB, 1000 * KIB);
        for (holder, other, refused) in [
            (org(1), org(2), NoRoom::Org),
            (stranger(1), stranger(2), NoRoom::Address),
        ] {
            let (one, two) = (room.hold(holder), room.hold(holder));
            assert_eq!(one.take(60 * KIB), Ok(()));
            assert_eq!(two.take(60 * KIB), Err(refused));
            assert_eq!(two.take(40 * KIB), Ok(()));
            assert_eq!(two.take(1), Err(refused), "also of what is small");
            assert_eq!(room.hold(other).take(100 * KIB), Ok(()));
            drop(one.clone());
            assert_eq!(two.take(1), Err(refused), "a clone holds it still");
            one.give_back();
            assert_eq!(two.take(60 * KIB), Ok(()));
        }
        let taken = room.lock();
        assert_eq!((taken.all, taken.holders.len()), (0, 0));
    }

    #[test]
    fn small_bodies_are_taken_though_others_hold_all() {
        let room = BodyRoom::with(100 * KIB, 200 * KIB);
        let (one, other) = (room.hold(org(1)), room.hold(stranger(1)));
        assert_eq!(one.take(100 * KIB), Ok(()));
        assert_eq!(other.take(100 * KIB), Ok(()));
        let third = room.hold(org(3));
        assert_eq!(third.take(SMALL + 1), Err(NoRoom::All));
        assert_eq!(third.take(SMALL), Ok(()));
        assert_eq!(third.take(1), Err(NoRoom::All), "it has grown");
        drop(one);
        assert_eq!(third.take(50 * KIB), Ok(()));
    }
}
