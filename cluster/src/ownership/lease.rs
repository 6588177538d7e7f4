//! How long a node may act after it last renewed its lease.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A reading of this machine's clock since boot, in microseconds. Only differences mean something, and only on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Reads the clock. It goes on while the machine is suspended: `std::time::Instant` does not on Linux, and a laptop that wakes up,
    /// or a virtual machine that was paused, would believe in a lease that is long over.
    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(CLOCK);
        Self(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
    }

    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_micros() as u64))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What all nodes of a cluster agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// A lease is over this long after its last renewal, by the database's clock.
    pub ttl: Duration,
    /// A node stops acting this long before that: what two clocks may drift apart within a TTL, and what an effect may take between
    /// the look at the deadline and the wire.
    pub margin: Duration,
    pub renew_every: Duration,
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            margin: Duration::from_secs(2),
            renew_every: Duration::from_secs(3),
        }
    }
}

/// Until when a node may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfFence {
    /// When the last renewal that succeeded was *sent*: the database counted from some later moment.
    pub renewed_at: Moment,
    pub ttl: Duration,
    pub margin: Duration,
}

impl SelfFence {
    pub const fn new(renewed_at: Moment, terms: LeaseTerms) -> Self {
        Self {
            renewed_at,
            ttl: terms.ttl,
            margin: terms.margin,
        }
    }

    /// The first moment at which it may not act.
    pub const fn deadline(&self) -> Moment {
        self.renewed_at.plus(self.ttl.saturating_sub(self.margin))
    }

    pub fn may_act(&self, now: Moment) -> bool {
        now < self.deadline()
    }
}

/// The self-fence as everybody in the process sees it. Looked at just before each effect: one atomic load and one reading of the clock.
///
/// Closed until the first renewal, and closed for good once this life is over.
#[derive(Debug)]
pub struct FenceGate {
    terms: LeaseTerms,
    /// [`SelfFence::deadline`] in microseconds; [`CLOSED`] never rises again.
    deadline: AtomicU64,
}

const CLOSED: u64 = 0;
const NOT_YET: u64 = 1;

impl FenceGate {
    pub fn new(terms: LeaseTerms) -> Self {
        Self {
            terms,
            deadline: AtomicU64::new(NOT_YET),
        }
    }

    /// A renewal that was sent at `sent_at` succeeded. Older news than what is known changes nothing.
    pub fn renewed(&self, sent_at: Moment) {
        let deadline = SelfFence::new(sent_at, self.terms).deadline().0;
        // `None` (closed, or a later deadline is known) leaves it as it is.
        let _ = self
            .deadline
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |known| {
                (known != CLOSED && known < deadline).then_some(deadline)
            });
    }

    /// Somebody declared this life dead, or it has left: nothing may act from now on.
    pub fn close(&self) {
        self.deadline.store(CLOSED, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.deadline.load(Ordering::SeqCst) == CLOSED
    }

    pub fn may_act(&self) -> bool {
        self.may_act_at(Moment::now())
    }

    pub fn may_act_at(&self, now: Moment) -> bool {
        now.0 < self.deadline.load(Ordering::SeqCst)
    }

    /// How long it may still act; zero if it may not.
    pub fn remaining(&self, now: Moment) -> Duration {
        Moment(self.deadline.load(Ordering::SeqCst)).since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: LeaseTerms = LeaseTerms {
        ttl: Duration::from_secs(10),
        margin: Duration::from_secs(2),
        renew_every: Duration::from_secs(3),
    };
    const fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn it_acts_until_a_margin_before_the_lease_ends() {
        let fence = SelfFence::new(at(100), TERMS);
        for (now, may) in [
            (at(100), true),
            (Moment::from_micros(107_999_999), true),
            (at(108), false),
            (at(500), false),
        ] {
            assert_eq!(fence.may_act(now), may, "{now:?}");
        }
    }

    #[test]
    fn the_gate_is_closed_before_the_first_renewal_and_after_the_last() {
        let gate = FenceGate::new(TERMS);
        assert!(!gate.may_act_at(at(5)));
        gate.renewed(at(100));
        assert!(gate.may_act_at(at(107)) && !gate.may_act_at(at(108)));
        gate.renewed(at(90));
        assert!(gate.may_act_at(at(107)), "late news of an earlier renewal");
        assert_eq!(gate.remaining(at(105)), Duration::from_secs(3));
        gate.close();
        gate.renewed(at(200));
        assert!(!gate.may_act_at(at(100)) && gate.is_closed());
    }

    #[test]
    fn a_margin_above_the_ttl_lets_nobody_act() {
        let fence = SelfFence {
            renewed_at: at(1),
            ttl: Duration::from_secs(1),
            margin: Duration::from_secs(2),
        };
        assert!(!fence.may_act(at(1)));
    }

    #[test]
    fn the_clock_goes_on() {
        let earlier = Moment::now();
        assert!(Moment::now() >= earlier);
    }
}
