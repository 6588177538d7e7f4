//! How many strangers may be at the door.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Bounds on handshakes in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub total: usize,
    /// From one address. Nodes may share one (NAT, one machine), so that it is not small.
    pub per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: 256,
            per_address: 64,
        }
    }
}

/// Admits everybody, and lets the one go that has waited longest when there are too many: from the same address if that has too many,
/// else of all.
///
/// Refusing the newcomer instead would let a few silent connections lock honest nodes out. An honest handshake takes milliseconds, so
/// that it is hardly ever the oldest.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By arrival. Dropping the sender tells the handshake to end.
    all: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    per_address: HashMap<IpAddr, usize>,
}

/// A handshake's place. Gives it up when dropped.
pub(super) struct Ticket {
    admission: Arc<Admission>,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            waiting: Mutex::default(),
        })
    }

    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Ticket {
        let mut waiting = self.lock();
        let here = waiting.per_address.get(&address).copied().unwrap_or(0);
        if here >= self.limits.per_address {
            waiting.evict(|from| from == address);
        } else if waiting.all.len() >= self.limits.total {
            waiting.evict(|_| true);
        }
        let (sender, evicted) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.all.insert(number, (address, sender));
        *waiting.per_address.entry(address).or_default() += 1;
        Ticket {
            admission: self.clone(),
            number,
            evicted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.lock().all.len()
    }
}

impl Waiting {
    fn evict(&mut self, of: impl Fn(IpAddr) -> bool) {
        let oldest = self.all.iter().find(|(_, (address, _))| of(*address));
        if let Some(number) = oldest.map(|(number, _)| *number) {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some((address, _)) = self.all.remove(&number) else {
            return;
        };
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }
}

impl Ticket {
    /// Resolves when others take its place.
    pub(super) async fn evicted(&mut self) {
        // The sender never sends: that it is gone is the message.
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::time::{Duration, timeout};

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    async fn is_evicted(ticket: &mut Ticket) -> bool {
        timeout(Duration::from_millis(1), ticket.evicted())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn the_oldest_of_the_same_address_goes() {
        let admission = Admission::new(Limits {
            total: 10,
            per_address: 2,
        });
        let mut other = admission.admit(B);
        let mut first = admission.admit(A);
        let mut second = admission.admit(A);
        let mut third = admission.admit(A);
        assert!(is_evicted(&mut first).await);
        assert!(!is_evicted(&mut second).await);
        assert!(!is_evicted(&mut third).await && !is_evicted(&mut other).await);
        assert_eq!(admission.count(), 3);
        drop((first, second, third, other));
        assert_eq!(admission.count(), 0);
        assert!(admission.lock().per_address.is_empty());
    }

    #[tokio::test]
    async fn the_oldest_of_all_goes() {
        let admission = Admission::new(Limits {
            total: 2,
            per_address: 2,
        });
        let mut first = admission.admit(A);
        let mut second = admission.admit(B);
        let _third = admission.admit(B);
        assert!(is_evicted(&mut first).await);
        assert!(!is_evicted(&mut second).await);
    }
}
