//! What one connection is doing: written by whatever serves it, read once a second by whoever ends what does nothing.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
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
    /// What the socket takes.
    writing: Taking,
    /// Answers that flow control can hold up one by one, which the socket does not show. HTTP/2 only.
    answers: Mutex<Option<Vec<Weak<Progress>>>>,
    order: AtomicU8,
    told: Notify,
}

/// What a byte is worth of the time that is waited for a client: 100 bytes a second are the least that it has to take on average.
const BYTE_WORTH_MS: u64 = 10;

/// How a client takes what there is for it. Time counts only while there is something; a stream that has nothing to say waits for nobody.
/// Written by the connection alone.
#[derive(Debug, Default)]
pub struct Taking {
    /// There is something for it that it has not taken since then; 0: it takes what it is given.
    waits_since: AtomicU64,
    /// Milliseconds that were waited for it before, less what it has taken since is worth.
    behind: AtomicU64,
}

impl Taking {
    fn waits(&self) {
        let _ = self
            .waits_since
            .compare_exchange(0, now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    fn took(&self, bytes: usize) {
        let since = self.waits_since.load(Ordering::Relaxed);
        let behind = self.behind.load(Ordering::Relaxed);
        if since == 0 && behind == 0 {
            return;
        }
        let worth = (bytes as u64).saturating_mul(BYTE_WORTH_MS);
        let behind = behind + self.waited_ms();
        // Before the time: whoever looks in between sees some of it twice, for a moment, and none of it lost.
        self.behind
            .store(behind.saturating_sub(worth), Ordering::Relaxed);
        self.waits_since.store(0, Ordering::Relaxed);
    }

    fn is_waiting(&self) -> bool {
        self.waits_since.load(Ordering::Relaxed) != 0
    }

    fn waited_ms(&self) -> u64 {
        match self.waits_since.load(Ordering::Relaxed) {
            0 => 0,
            since => now().saturating_sub(since),
        }
    }

    /// It took nothing for `most`, or so little at a time that it was waited for twice as long.
    fn is_stalled(&self, most: Duration) -> bool {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        let waited = self.waited_ms();
        let behind = self.behind.load(Ordering::Relaxed).saturating_add(waited);
        waited >= most || (waited > 0 && behind >= most.saturating_mul(2))
    }
}

/// How far the body of one answer is.
#[derive(Debug, Default)]
pub struct Progress {
    taking: Taking,
    /// Bytes of the part that was given last.
    given: AtomicUsize,
}

impl Progress {
    pub fn given(&self, bytes: usize) {
        self.given.store(bytes, Ordering::Relaxed);
        self.taking.waits();
    }

    /// The next part is wanted: there is room for it, the one before is taken.
    pub fn asked(&self) {
        self.taking.took(self.given.swap(0, Ordering::Relaxed));
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            requests: AtomicU32::new(0),
            at_rest_since: AtomicU64::new(now()),
            has_begun_one: AtomicBool::new(false),
            is_awake: AtomicBool::new(false),
            writing: Taking::default(),
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

    pub fn wrote(&self, bytes: usize) {
        self.writing.took(bytes);
    }

    pub fn write_is_blocked(&self) {
        self.writing.waits();
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
        let progress = Arc::new(Progress::default());
        progress.given(0);
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
        earlier(&self.writing.waits_since);
        for answer in self.lock_answers().iter().flatten() {
            answer
                .upgrade()
                .iter()
                .for_each(|one| earlier(&one.taking.waits_since));
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
            && !self.writing.is_waiting()
    }

    /// The client takes nothing of what there is for it for `most`, or too little; of one answer at least.
    pub fn is_stalled(&self, most: Duration) -> bool {
        let mut answers = self.lock_answers();
        let mut answers = answers.iter_mut().flatten().filter_map(|one| one.upgrade());
        self.writing.is_stalled(most) || answers.any(|answer| answer.taking.is_stalled(most))
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
        stuck.given(100);
        taken.asked();
        meter.let_pass(LONG);
        assert!(meter.is_stalled(LONG));
        drop(stuck);
        assert!(!meter.is_stalled(Duration::from_millis(1)));
    }

    /// Whether one is stalled at last that takes so many bytes after every wait, for twenty minutes.
    fn stalls(bytes: usize, wait: Duration) -> bool {
        let meter = Meter::default();
        let (mut passed, most) = (Duration::ZERO, Duration::from_secs(30));
        while passed < Duration::from_secs(1_200) {
            meter.write_is_blocked();
            meter.let_pass(wait);
            if meter.is_stalled(most) {
                return true;
            }
            meter.wrote(bytes);
            passed += wait;
        }
        false
    }

    #[test]
    fn whoever_takes_a_little_now_and_then_is_stalled_as_well() {
        for (bytes, seconds, expected) in [
            (1, 29, true),
            (1, 1, true),
            (500, 10, true),
            (2_500, 29, true),
            (1_100, 10, false),
            (16 * 1024, 29, false),
            (1_000_000, 31, true),
        ] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(stalls(bytes, wait), expected, "{bytes} every {wait:?}");
        }
    }

    #[test]
    fn what_was_taken_fast_does_not_pay_for_what_is_not_taken_later() {
        let (meter, most) = (Meter::default(), Duration::from_secs(30));
        meter.write_is_blocked();
        meter.wrote(1 << 30);
        for _ in 0..3 {
            assert!(!meter.is_stalled(most));
            meter.write_is_blocked();
            meter.let_pass(Duration::from_secs(25));
            meter.wrote(1);
        }
        meter.let_pass(LONG);
        assert!(!meter.is_stalled(most), "there is nothing for it now");
        meter.write_is_blocked();
        meter.let_pass(Duration::from_millis(1));
        assert!(meter.is_stalled(most));
    }

    #[test]
    fn stream_that_has_nothing_to_say_waits_for_nobody() {
        let (meter, most) = (Meter::default(), Duration::from_secs(30));
        meter.follow_answers();
        let stream = meter.answer_begins().expect("followed");
        for _ in 0..100 {
            stream.asked();
            meter.let_pass(LONG);
            assert!(!meter.is_stalled(most));
            stream.given(10);
        }
        for _ in 0..3 {
            meter.let_pass(Duration::from_secs(25));
            stream.asked();
            stream.given(1);
        }
        meter.let_pass(Duration::from_millis(1));
        assert!(meter.is_stalled(most), "its events are not taken");
    }

    #[test]
    fn orders_only_grow() {
        let meter = Meter::default();
        meter.tell(Order::End);
        meter.tell(Order::Rest);
        assert_eq!(meter.order(), Order::End);
    }
}
