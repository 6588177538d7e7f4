//! How much memory requests may hold from their head to the last byte of their answer: a share for each address, and a bound for all. One
//! connection of HTTP/2 has a hundred of them, and whoever reads none of the answers would have them all kept.

use super::peer::Peer;
use axum::{
    body::{Body, HttpBody},
    http::{Response, header::CONTENT_ENCODING},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of one address.
const SHARE: usize = 64 * 1024 * 1024;
/// Bytes of all.
const ALL: usize = 512 * 1024 * 1024;
/// What a request takes beside the body of its answer: tasks, heads, buffers. Also what a stream takes, whose length nobody knows.
const REQUEST: usize = 16 * 1024;
/// What packing an answer takes.
const PACKING: usize = 256 * 1024;
/// Whoever holds no more than this is answered though all is used up.
const SMALL: usize = 4 * REQUEST;

/// Why a request is not answered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error(
        "the answers to this address that are under way are too large together; read them first"
    )]
    Address,
    #[error("the answers that are under way are too large together")]
    All,
}

pub struct AnswerRoom {
    share: usize,
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    addresses: HashMap<Peer, usize>,
}

impl AnswerRoom {
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

    /// Room for a request. How long its answer is shows later, and is held then, whether there is room or not: what a request did is never left
    /// without its answer.
    ///
    /// `None`: for an operator's own proxy, which no share holds.
    ///
    /// # Errors
    /// There is none.
    pub fn admit(self: &Arc<Self>, address: Option<Peer>) -> Result<Held, NoRoom> {
        let mut taken = self.lock();
        let own = address.map(|address| taken.addresses.get(&address).copied().unwrap_or(0));
        if own.is_some_and(|own| own + REQUEST > self.share) {
            return Err(NoRoom::Address);
        }
        let is_small = own.is_some_and(|own| own + REQUEST <= SMALL);
        if taken.all + REQUEST > self.all && !is_small {
            return Err(NoRoom::All);
        }
        let mut held = Held {
            room: self.clone(),
            address,
            bytes: 0,
        };
        held.take(&mut taken, REQUEST);
        Ok(held)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.lock().all
    }
}

/// What one request holds. Given back when dropped.
pub struct Held {
    room: Arc<AnswerRoom>,
    address: Option<Peer>,
    bytes: usize,
}

impl Held {
    /// The answer is there, and held until it is taken.
    pub fn answers_with(&mut self, answer: &Response<Body>) {
        let length = answer.body().size_hint().exact().unwrap_or(0);
        let mut bytes = usize::try_from(length).unwrap_or(usize::MAX / 4);
        if answer.headers().contains_key(CONTENT_ENCODING) {
            bytes += PACKING;
        }
        let room = self.room.clone();
        self.take(&mut room.lock(), bytes);
    }

    fn take(&mut self, taken: &mut Taken, bytes: usize) {
        taken.all += bytes;
        if let Some(address) = self.address {
            *taken.addresses.entry(address).or_default() += bytes;
        }
        self.bytes += bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.all -= self.bytes;
        let Some(address) = self.address else { return };
        if let Some(own) = taken.addresses.get_mut(&address) {
            *own -= self.bytes;
            if *own == 0 {
                taken.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn address(n: u8) -> Option<Peer> {
        Some(Peer::from(IpAddr::from([192, 0, 2, n])))
    }

    fn answer(bytes: usize) -> Response<Body> {
        Response::new(Body::from(vec![b'x'; bytes]))
    }

    #[test]
    fn address_has_its_share_and_what_it_did_is_answered() {
        let room = AnswerRoom::with(10 * REQUEST, 100 * REQUEST);
        let (mut one, mut two) = (
            room.admit(address(1)).expect("room"),
            room.admit(address(1)).expect("room"),
        );
        one.answers_with(&answer(7 * REQUEST));
        two.answers_with(&answer(7 * REQUEST));
        assert_eq!(room.taken(), 16 * REQUEST, "also beyond the share");
        assert_eq!(room.admit(address(1)).err(), Some(NoRoom::Address));
        assert!(room.admit(address(2)).is_ok() && room.admit(None).is_ok());
        drop(one);
        assert!(room.admit(address(1)).is_ok());
        drop(two);
        assert_eq!(room.taken(), 0);
        assert!(room.lock().addresses.is_empty());
    }

    #[test]
    fn whoever_holds_little_is_answered_though_others_hold_all() {
        let room = AnswerRoom::with(10 * REQUEST, 10 * REQUEST);
        let mut one = room.admit(address(1)).expect("room");
        one.answers_with(&answer(9 * REQUEST));
        let small: Vec<_> = (0..SMALL / REQUEST)
            .map(|_| room.admit(address(2)).expect("room"))
            .collect();
        assert_eq!(room.admit(address(2)).err(), Some(NoRoom::All));
        assert_eq!(room.admit(None).err(), Some(NoRoom::All));
        drop((one, small));
        assert_eq!(room.taken(), 0);
    }

    #[test]
    fn what_packs_an_answer_counts() {
        let room = AnswerRoom::new();
        let mut held = room.admit(None).expect("room");
        let mut packed = answer(0);
        let gzip = axum::http::HeaderValue::from_static("gzip");
        packed.headers_mut().insert(CONTENT_ENCODING, gzip);
        held.answers_with(&packed);
        assert_eq!(room.taken(), REQUEST + PACKING);
    }
}
