//! Who is connected: caps in all and by address, and which connection makes way for a new one.

use super::{
    limits::Limits,
    meter::{Meter, Order},
    peer::{Networks, Peer},
};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Buffers are given back when nothing has come for this long: longer than a client pauses that is at work.
const REST_AFTER: Duration = Duration::from_secs(1);
/// A connection of HTTP/2 that was told to finish and has nothing to finish has this long to say goodbye.
const GOODBYE: Duration = Duration::from_secs(10);
/// When all places are taken, this share of them is freed at once: each look for the oldest goes over all.
const SHARE_FREED: usize = 64;

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("all connections are in use")]
    All,
    #[error("all connections that one address may have are in use")]
    Address,
}

pub struct Registry {
    limits: Limits,
    trusted: Networks,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Connection>,
    /// Numbers grow: the first of an address is its oldest.
    peers: HashMap<Peer, BTreeSet<u64>>,
}

struct Connection {
    peer: Peer,
    meter: Arc<Meter>,
}

/// The place of a connection. Gives it up when dropped.
pub struct Place {
    registry: Arc<Registry>,
    number: u64,
    pub meter: Arc<Meter>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.lock().remove(self.number);
    }
}

impl Registry {
    pub fn new(limits: Limits, trusted: Networks) -> Arc<Self> {
        Arc::new(Self {
            limits,
            trusted,
            open: Mutex::default(),
        })
    }

    /// A place for a new connection. Where there is none, the connection goes that has had nothing to do for the longest: of the same address
    /// if that one has too many, else of all. One that is being answered never goes.
    ///
    /// # Errors
    /// All that could go are at work.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let peer = Peer::from(address);
        let mut open = self.lock();
        let here = open.peers.get(&peer).map_or(0, BTreeSet::len);
        if here >= self.limits.per_address && !self.trusted.has(address) {
            open.free_of(peer).ok_or(Full::Address)?;
        }
        if open.connections.len() >= self.limits.connections {
            let share = self.limits.connections.div_ceil(SHARE_FREED);
            if open.free(share) == 0 {
                return Err(Full::All);
            }
        }
        let number = open.next;
        open.next += 1;
        let meter = Arc::new(Meter::default());
        let connection = Connection {
            peer,
            meter: meter.clone(),
        };
        open.connections.insert(number, connection);
        open.peers.entry(peer).or_default().insert(number);
        Ok(Place {
            registry: self.clone(),
            number,
            meter,
        })
    }

    /// Frees places because the process has no descriptors left.
    pub fn make_room(&self) {
        let mut open = self.lock();
        let share = open.connections.len().div_ceil(SHARE_FREED);
        open.free(share);
    }

    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    pub fn tell_all(&self, order: Order) {
        for connection in self.lock().connections.values() {
            connection.meter.tell(order);
        }
    }

    /// Ends what has rested too long and whose clients do not take what they asked for, and lets others give back their buffers.
    pub fn sweep(&self) {
        for connection in self.lock().connections.values() {
            if let Some(order) = self.due(&connection.meter) {
                connection.meter.tell(order);
            }
        }
    }

    fn due(&self, meter: &Meter) -> Option<Order> {
        if meter.is_stalled(self.limits.stalled) {
            return Some(Order::End);
        }
        let rested = meter.at_rest()?;
        if rested >= self.limits.idle + GOODBYE {
            Some(Order::End)
        } else if rested >= self.limits.idle {
            Some(Order::Finish)
        } else if rested >= REST_AFTER && meter.needs_no_buffers() {
            Some(Order::Rest)
        } else {
            None
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn remove(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        if let Some(numbers) = self.peers.get_mut(&connection.peer) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.peers.remove(&connection.peer);
            }
        }
    }

    /// The one of `peer` that has rested longest goes.
    fn free_of(&mut self, peer: Peer) -> Option<()> {
        let numbers = self.peers.get(&peer)?.iter();
        let resting = numbers.filter_map(|number| {
            let rested = self.connections.get(number)?.meter.at_rest()?;
            Some((rested, std::cmp::Reverse(*number)))
        });
        let (_, std::cmp::Reverse(number)) = resting.max()?;
        self.end(number);
        Some(())
    }

    /// Up to `count` that have rested longest go; gives how many.
    fn free(&mut self, count: usize) -> usize {
        let connections = self.connections.iter();
        let mut resting: Vec<_> = connections
            .filter_map(|(number, connection)| {
                let rested = connection.meter.at_rest()?;
                Some((std::cmp::Reverse(rested), *number))
            })
            .collect();
        resting.sort_unstable();
        resting.truncate(count);
        for (_, number) in &resting {
            self.end(*number);
        }
        resting.len()
    }

    /// Its place is free at once; it closes its socket a moment later.
    fn end(&mut self, number: u64) {
        if let Some(connection) = self.connections.get(&number) {
            connection.meter.tell(Order::End);
        }
        self.remove(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn registry(connections: usize, per_address: usize) -> Arc<Registry> {
        let limits = Limits {
            connections,
            per_address,
            ..Limits::default()
        };
        Registry::new(limits, "10.0.0.0/8".parse().expect("a range"))
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn let_pass(places: &[&Place], time: Duration) {
        places.iter().for_each(|place| place.meter.let_pass(time));
    }

    fn is_ended(place: &Place) -> bool {
        place.meter.order() == Order::End
    }

    #[test]
    fn address_at_its_cap_loses_its_oldest_idle_connection() {
        let registry = registry(100, 3);
        let other = registry.admit(B).unwrap();
        let (busy, idle, used) = (
            registry.admit(A).unwrap(),
            registry.admit(A).unwrap(),
            registry.admit(A).unwrap(),
        );
        busy.meter.request_began();
        let_pass(&[&other, &busy, &idle, &used], SECOND);
        used.meter.request_began();
        used.meter.request_ended();
        let new = registry.admit(A).unwrap();
        assert!(is_ended(&idle));
        assert!(![&other, &busy, &used, &new].into_iter().any(is_ended));
        drop(idle);
        assert_eq!(registry.len(), 4);
        new.meter.request_began();
        used.meter.request_began();
        assert_eq!(registry.admit(A).err(), Some(Full::Address));
        assert!(registry.admit(B).is_ok());
    }

    #[test]
    fn full_service_loses_its_oldest_idle_connections() {
        let registry = registry(64, 64);
        let places: Vec<_> = (0..64)
            .map(|n| registry.admit(if n % 2 == 0 { A } else { B }).unwrap())
            .collect();
        let_pass(&places.iter().collect::<Vec<_>>(), SECOND);
        for place in &places[..10] {
            place.meter.request_began();
            place.meter.request_ended();
        }
        let new = registry.admit(PROXY).unwrap();
        let ended: Vec<_> = (0..64).filter(|n| is_ended(&places[*n])).collect();
        assert_eq!(ended, [10]);
        for place in places.iter().chain([&new]) {
            place.meter.request_began();
        }
        assert_eq!(registry.admit(A).err(), Some(Full::All));
    }

    #[test]
    fn trusted_proxies_have_no_cap_of_their_own() {
        let registry = registry(10, 2);
        let places: Vec<_> = (0..10).map(|_| registry.admit(PROXY).unwrap()).collect();
        assert!(!places.iter().any(is_ended));
    }

    #[test]
    fn what_rests_gives_back_its_buffers_and_ends_at_last() {
        let registry = registry(10, 10);
        let place = registry.admit(A).unwrap();
        place.meter.set_awake(true);
        registry.sweep();
        assert_eq!(place.meter.order(), Order::GoOn);
        let_pass(&[&place], REST_AFTER);
        registry.sweep();
        assert_eq!(place.meter.order(), Order::Rest);
        place.meter.set_awake(false);
        registry.sweep();
        assert_eq!(place.meter.order(), Order::GoOn);
        let_pass(&[&place], Limits::default().idle);
        registry.sweep();
        assert_eq!(place.meter.order(), Order::Finish);
        let_pass(&[&place], GOODBYE);
        registry.sweep();
        assert_eq!(place.meter.order(), Order::End);
    }

    #[test]
    fn reader_that_takes_nothing_is_ended_though_it_is_being_answered() {
        let registry = registry(10, 10);
        let (stuck, slow) = (registry.admit(A).unwrap(), registry.admit(A).unwrap());
        for place in [&stuck, &slow] {
            place.meter.request_began();
            place.meter.write_is_blocked();
        }
        let_pass(&[&stuck, &slow], 25 * SECOND);
        slow.meter.wrote(16 * 1024);
        slow.meter.write_is_blocked();
        let_pass(&[&stuck, &slow], 10 * SECOND);
        registry.sweep();
        assert!(is_ended(&stuck) && !is_ended(&slow));
    }
}
