//! What one connection is doing: written by whatever serves it, read once a second by whoever ends what does nothing.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    GoOn,
    /// Give back the buffers: nothing has come for a moment.
    Rest,
    /// Answer what is under way, then end.
    Finish,
    /// End now.
    End,
}

impl Order {
    const ALL: [Order; 4] = [Order::GoOn, Order::Rest, Order::Finish, Order::End];
}

/// Milliseconds since long before the first connection of the process; never 0, which stands for "not".
fn now() -> u64 {
    static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
    const BEFORE: u64 = 1 << 40;
    BEFORE + u64::try_from(BEGINNING.elapsed().as_millis()).unwrap_or(BEFORE)
}

fn age(since: u64) -> Duration {
    Duration::from_millis(now().saturating_sub(since))
}

/// The state of one connection. Cheap to write: atomics only, but for the answers of HTTP/2.
#[derive(Debug)]
pub struct Meter {
    /// From a request's head to the last byte of its answer's body.
    requests: AtomicU32,
    /// Since when there are none.
    at_rest_since: AtomicU64,
    /// Bytes have come that are no request yet.
    has_begun_one: AtomicBool,
    /// Whether it holds buffers: parsers and whatever belongs to a protocol.
    is_awake: AtomicBool,
    /// The client has not taken anything since then, while there is something for it; 0: it takes what it is given.
    write_blocked_since: AtomicU64,
    /// Answers that flow control can hold up one by one, which the socket does not show. HTTP/2 only.
    answers: Mutex<Option<Vec<Weak<Progress>>>>,
    order: AtomicU8,
    told: Notify,
}

/// How far the body of one answer is.
#[derive(Debug)]
pub struct Progress {
    /// A part was given and the next not asked for since then; 0: the next one is waited for.
    given_at: AtomicU64,
}

impl Progress {
    pub fn given(&self) {
        self.given_at.store(now(), Ordering::Relaxed);
    }
    pub fn asked(&self) {
        self.given_at.store(0, Ordering::Relaxed);
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            requests: AtomicU32::new(0),
            at_rest_since: AtomicU64::new(now()),
            has_begun_one: AtomicBool::new(false),
            is_awake: AtomicBool::new(false),
            write_blocked_since: AtomicU64::new(0),
            answers: Mutex::new(None),
            order: AtomicU8::new(0),
            told: Notify::new(),
        }
    }
}

impl Meter {
    // ---- written by the connection

    pub fn read(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 {
            self.has_begun_one.store(true, Ordering::Relaxed);
        }
    }

    pub fn wrote(&self) {
        if self.write_blocked_since.load(Ordering::Relaxed) != 0 {
            self.write_blocked_since.store(0, Ordering::Relaxed);
        }
    }

    pub fn write_is_blocked(&self) {
        let _ = self.write_blocked_since.compare_exchange(
            0,
            now(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    pub fn request_began(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.has_begun_one.store(false, Ordering::Relaxed);
    }

    pub fn request_ended(&self) {
        // Before the count: whoever sees that there are none sees since when.
        self.at_rest_since.store(now(), Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Release);
    }

    /// Buffers are held from now on, or not.
    pub fn set_awake(&self, is_awake: bool) {
        self.is_awake.store(is_awake, Ordering::Relaxed);
        if !is_awake {
            self.has_begun_one.store(false, Ordering::Relaxed);
            let _ = self.order.compare_exchange(
                Order::Rest as u8,
                Order::GoOn as u8,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// From now on answers are followed one by one.
    pub fn follow_answers(&self) {
        *self.lock_answers() = Some(Vec::new());
    }

    pub fn answer_begins(&self) -> Option<Arc<Progress>> {
        let mut answers = self.lock_answers();
        let answers = answers.as_mut()?;
        let progress = Arc::new(Progress {
            given_at: AtomicU64::new(now()),
        });
        // Those that are over are few: a connection has a hundred at most.
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(&progress));
        Some(progress)
    }

    fn lock_answers(&self) -> std::sync::MutexGuard<'_, Option<Vec<Weak<Progress>>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when there is an order.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    pub fn order(&self) -> Order {
        Order::ALL[usize::from(self.order.load(Ordering::Acquire)).min(3)]
    }

    /// As if all that it knows had been this much earlier.
    #[cfg(test)]
    pub fn let_pass(&self, time: Duration) {
        let earlier = |since: &AtomicU64| {
            let before = since.load(Ordering::Relaxed);
            if before == 0 {
                return;
            }
            let millis = u64::try_from(time.as_millis()).expect("a short time");
            since.store(before.saturating_sub(millis), Ordering::Relaxed);
        };
        earlier(&self.at_rest_since);
        earlier(&self.write_blocked_since);
        for answer in self.lock_answers().iter().flatten() {
            answer
                .upgrade()
                .iter()
                .for_each(|one| earlier(&one.given_at));
        }
    }

    // ---- read by others

    /// Orders only grow: what was told to end does not go on.
    pub fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.told.notify_one();
    }

    /// How long nothing has been asked and answered here; `None`: something is.
    pub fn at_rest(&self) -> Option<Duration> {
        let at_rest = self.requests.load(Ordering::Acquire) == 0;
        at_rest.then(|| age(self.at_rest_since.load(Ordering::Relaxed)))
    }

    /// Whether buffers could be given back: no request, not even half of one, and nothing that the client has not taken.
    pub fn needs_no_buffers(&self) -> bool {
        self.requests.load(Ordering::Acquire) == 0
            && self.is_awake.load(Ordering::Relaxed)
            && !self.has_begun_one.load(Ordering::Relaxed)
            && self.write_blocked_since.load(Ordering::Relaxed) == 0
    }

    /// How long the client has taken nothing of what there is for it.
    pub fn stalled(&self) -> Duration {
        let socket = self.write_blocked_since.load(Ordering::Relaxed);
        let answers = self.lock_answers();
        let given = answers.iter().flatten().filter_map(|answer| {
            let progress = answer.upgrade()?;
            Some(progress.given_at.load(Ordering::Relaxed))
        });
        let since = given.chain([socket]).filter(|since| *since != 0).min();
        since.map(age).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1_000);

    #[test]
    fn connection_without_requests_is_at_rest_since_the_last_answer() {
        let meter = Meter::default();
        meter.let_pass(LONG);
        assert!(meter.at_rest() >= Some(LONG));
        meter.request_began();
        meter.request_began();
        assert_eq!(meter.at_rest(), None);
        meter.request_ended();
        assert_eq!(meter.at_rest(), None);
        meter.request_ended();
        assert!(meter.at_rest().is_some_and(|rested| rested < LONG));
    }

    #[test]
    fn half_a_request_keeps_the_buffers() {
        let meter = Meter::default();
        meter.set_awake(true);
        assert!(meter.needs_no_buffers());
        meter.read();
        assert!(!meter.needs_no_buffers());
        meter.request_began();
        meter.read();
        meter.request_ended();
        assert!(meter.needs_no_buffers());
        meter.write_is_blocked();
        assert!(!meter.needs_no_buffers());
    }

    #[test]
    fn one_answer_that_is_not_taken_is_seen_beside_others_that_are() {
        let meter = Meter::default();
        assert!(meter.answer_begins().is_none());
        meter.follow_answers();
        let (taken, stuck) = (meter.answer_begins(), meter.answer_begins());
        let (taken, stuck) = (taken.expect("followed"), stuck.expect("followed"));
        stuck.given();
        taken.asked();
        meter.let_pass(LONG);
        assert!(meter.stalled() >= LONG);
        drop(stuck);
        assert_eq!(meter.stalled(), Duration::ZERO);
    }

    #[test]
    fn orders_only_grow() {
        let meter = Meter::default();
        meter.tell(Order::End);
        meter.tell(Order::Rest);
        assert_eq!(meter.order(), Order::End);
    }
}
