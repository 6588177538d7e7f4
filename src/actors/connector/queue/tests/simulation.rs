//! Hours of a provider with 60 requests a minute and 500 employees who always have something to ask, under a simulated clock.

use super::*;
use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

const HOURS: u64 = 4;
const PER_MINUTE: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// By then it is learned.
const LEARNED_AFTER: Duration = Duration::from_secs(5 * 60);
/// Refusals that are nearer to each other belong to one probe: the second follows when the provider asked to wait until its window is over.
const PROBE_TAKES: Duration = Duration::from_secs(90);
/// What the catalog thinks of the provider: far too much.
const CATALOG: Quota = Quota {
    requests: 500,
    per_seconds: 60,
    burst: 100,
};

/// How the provider counts and what it tells.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Provider {
    /// A window that begins with its first call; headers tell what is left, in whole seconds.
    FixedWithHeaders,
    /// No more than 60 in any minute; refuses with `Retry-After`.
    SlidingWithRetryAfter,
    /// The same, and it refuses without a word.
    SlidingSilent,
}

struct World {
    provider: Provider,
    accepted: VecDeque<Timestamp>,
    window: Timestamp,
    refused: Vec<Timestamp>,
    served: Vec<usize>,
    /// How often each had its turn, whatever came of it.
    turns: Vec<usize>,
}

impl World {
    /// A request that arrives at `at`.
    fn answer(&mut self, who: usize, at: Timestamp) -> Known {
        let fixed = self.provider == Provider::FixedWithHeaders;
        match fixed {
            true if at >= self.window.after(MINUTE) => {
                self.accepted.clear();
                self.window = at;
            }
            true => {}
            false => self.accepted.retain(|one| one.after(MINUTE) > at),
        }
        self.turns[who] += 1;
        let accepted = self.accepted.len() < PER_MINUTE;
        if accepted {
            self.accepted.push_back(at);
            self.served[who] += 1;
        } else {
            self.refused.push(at);
        }
        let free_at = match fixed {
            true => self.window.after(MINUTE),
            false => self.accepted.front().map_or(at, |one| one.after(MINUTE)),
        };
        let seconds = Duration::from_secs(free_at.since(at).as_millis().div_ceil(1_000) as u64);
        let rate = RateHints {
            limit: fixed.then_some(PER_MINUTE as u64),
            remaining: fixed.then_some((PER_MINUTE - self.accepted.len()) as u64),
            reset_after: fixed.then_some(seconds),
            retry_after: None,
        };
        match accepted {
            true => Ok(CallOutcome::Ok {
                status: 200,
                output: serde_json::Value::Null,
                rate,
            }),
            false => Ok(CallOutcome::RateLimited {
                retry_after: (self.provider != Provider::SlidingSilent).then_some(seconds),
                rate,
            }),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Ask {
    queue: usize,
    who: usize,
    tries: u32,
}

enum Event {
    Wake,
    Back(Ask, Box<Known>),
}

/// Runs the queues against one provider; `runs[who]` is how many calls employee `who` always has waiting, `at[who]` at which queue.
struct Simulation {
    world: World,
    queues: Vec<Queue<Ask>>,
    poked: Vec<Arc<AtomicBool>>,
    events: Vec<Option<(usize, Event)>>,
    calendar: BinaryHeap<Reverse<(Timestamp, usize)>>,
    random: u64,
}

impl Simulation {
    fn new(provider: Provider, queues: Vec<Queue<Ask>>, poked: Vec<Arc<AtomicBool>>) -> Self {
        Self {
            world: World {
                provider,
                accepted: VecDeque::new(),
                window: Timestamp::default(),
                refused: Vec::new(),
                served: Vec::new(),
                turns: Vec::new(),
            },
            queues,
            poked,
            events: Vec::new(),
            calendar: BinaryHeap::new(),
            random: 42,
        }
    }

    fn run(mut self, runs: &[usize], at: &[usize]) -> World {
        self.world.served = vec![0; runs.len()];
        self.world.turns = vec![0; runs.len()];
        for (who, runs) in runs.iter().enumerate() {
            for _ in 0..*runs {
                let (queue, tries) = (at[who], 0);
                self.push(Ask { queue, who, tries });
            }
        }
        let end = NOW.after(Duration::from_secs(HOURS * 3_600));
        (0..self.queues.len()).for_each(|queue| self.send(queue, NOW));
        while let Some(Reverse((now, event))) = self.calendar.pop() {
            if now > end {
                break;
            }
            let (queue, event) = self.events[event].take().expect("happens once");
            if let Event::Back(ask, answer) = event {
                self.back(ask, &answer, now);
            }
            self.send(queue, now);
            // Poked queues look in another order each time, as actors do.
            let mut rest: BTreeSet<usize> = (0..self.queues.len()).collect();
            while let Some(poked) = rest
                .iter()
                .copied()
                .find(|queue| self.poked[*queue].swap(false, Ordering::Relaxed))
            {
                rest.remove(&poked);
                self.send(poked, now);
                rest.extend(0..self.queues.len());
            }
        }
        self.world
    }

    fn claim(ask: Ask) -> Claim {
        Claim {
            employee: employee(ask.who),
            cost: 1,
            lane: 0,
        }
    }

    fn push(&mut self, ask: Ask) {
        let pushed = self.queues[ask.queue].push(Self::claim(ask), ask);
        pushed.expect("fewer wait than may");
    }

    fn send(&mut self, queue: usize, now: Timestamp) {
        loop {
            match self.queues[queue].next(now) {
                Next::Send(mut ask) => {
                    ask.tries += 1;
                    // Between 20 and 220 ms; it arrives half-way.
                    self.random = self
                        .random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let travel = Duration::from_millis(10 + (self.random >> 33) % 100);
                    let answer = self.world.answer(ask.who, now.after(travel));
                    self.at(
                        now.after(travel * 2),
                        queue,
                        Event::Back(ask, Box::new(answer)),
                    );
                }
                Next::Wait(Some(wait)) => return self.at(now.after(wait), queue, Event::Wake),
                Next::Wait(None) => return,
            }
        }
    }

    fn at(&mut self, at: Timestamp, queue: usize, event: Event) {
        self.calendar.push(Reverse((at, self.events.len())));
        self.events.push(Some((queue, event)));
    }

    fn back(&mut self, ask: Ask, answer: &Known, now: Timestamp) {
        let claim = Self::claim(ask);
        let retry = RetryRule::default();
        let came = Came {
            seed: ask.who as u64,
            ..came(claim, ask.tries, &retry)
        };
        match self.queues[ask.queue].settle(answer, came, now) {
            Retry::At(wait) => {
                self.queues[ask.queue].push_again(claim, ask, now.after(wait));
                self.at(now.after(wait), ask.queue, Event::Wake);
            }
            Retry::No => self.push(Ask { tries: 0, ..ask }),
        }
    }
}

/// What is asked of every provider: few refusals, little of its quota unused, and equal turns. `under_way`: how many calls may be at once.
fn judge(world: &World, under_way: usize) {
    let provider = world.provider;
    let mut refused = world.refused.clone();
    refused.sort_unstable();
    match provider {
        Provider::FixedWithHeaders => {
            // Who heeds what headers say is not refused.
            assert!(refused.len() <= under_way, "{provider:?}: {refused:?}");
            let late = refused.last().filter(|at| **at > NOW.after(LEARNED_AFTER));
            assert_eq!(late, None, "{provider:?}: {refused:?}");
        }
        Provider::SlidingWithRetryAfter | Provider::SlidingSilent => {
            // What only refusals tell is learned, and then probed after one, two and four minutes, and each eight.
            let probes = refused.chunk_by(|one, next| next.since(*one) < PROBE_TAKES);
            let refused: Vec<usize> = probes.map(<[Timestamp]>::len).collect();
            let most = 4 + HOURS as usize * 60 / 8;
            assert!(refused.len() <= most, "{provider:?}: {refused:?}");
            // It takes two refusals, and those that were under way are refused with each.
            assert!(
                refused.iter().all(|calls| *calls <= 2 * under_way),
                "{provider:?}: {refused:?}"
            );
        }
    }
    let served: usize = world.served.iter().sum();
    let possible = PER_MINUTE * 60 * HOURS as usize;
    assert!(served * 100 >= possible * 90, "{provider:?}: {served}");
    let (least, most) = spread(&world.turns);
    assert!(
        most as f64 <= least as f64 * 1.2,
        "{provider:?}: {least} to {most}"
    );
}

fn spread(served: &[usize]) -> (usize, usize) {
    let least = served.iter().min().copied().unwrap_or_default();
    (least, served.iter().max().copied().unwrap_or_default())
}

#[test]
fn five_hundred_employees_share_sixty_a_minute() {
    for provider in [
        Provider::FixedWithHeaders,
        Provider::SlidingWithRetryAfter,
        Provider::SlidingSilent,
    ] {
        let rules = Rules {
            account: of_account(CATALOG),
            ..Rules::default()
        };
        let queue = Queue::new(&rules, None, 1_000, None);
        let mut runs = [1; 500];
        // One splits its work over fifty runs.
        runs[123] = 50;
        let world =
            Simulation::new(provider, vec![queue], vec![Arc::default()]).run(&runs, &[0; 500]);
        judge(&world, OPEN_MAX);
        let others = [&world.served[..123], &world.served[124..]].concat();
        let (_, most) = spread(&others);
        // At most the call of the round that is not over.
        assert!(
            world.served[123] <= most + 1,
            "{provider:?}: {} for fifty runs, {most} for one",
            world.served[123]
        );
    }
}

#[test]
fn employees_of_all_accounts_of_an_app_share_its_quota() {
    for provider in [Provider::FixedWithHeaders, Provider::SlidingWithRetryAfter] {
        let key = AppKey {
            integration: "zoom".into(),
            org: None,
            client_id: "app".into(),
        };
        let rules = Rules {
            app: Some(AppRule {
                key: key.clone(),
                quota: CATALOG,
                concurrency: Some(20),
            }),
            ..Rules::default()
        };
        let apps = Apps::default();
        let poked: Vec<Arc<AtomicBool>> = (0..3).map(|_| Arc::default()).collect();
        let queues = (0..3).map(|which| {
            let flag = poked[which].clone();
            let joining = Joining {
                who: connection(which),
                limits: &rules.app_limits(),
                concurrency: Some(20),
                kept: Vec::new(),
                poke: Arc::new(move || flag.store(true, Ordering::Relaxed)),
            };
            Queue::new(&rules, Some(apps.join(&key, joining)), 1_000, None)
        });
        let queues = queues.collect();
        let at: Vec<usize> = (0..500)
            .map(|who| match who {
                0..300 => 0,
                300..490 => 1,
                _ => 2,
            })
            .collect();
        let mut runs = [1; 500];
        runs[123] = 50;
        let world = Simulation::new(provider, queues, poked).run(&runs, &at);
        judge(&world, 20);
    }
}

/// A connector that stops, even with calls under way, neither keeps the turn nor the open calls of the others of its app.
#[test]
fn who_stops_gives_everything_back() {
    let key = AppKey {
        integration: "zoom".into(),
        org: None,
        client_id: "app".into(),
    };
    let rules = Rules {
        app: Some(AppRule {
            key: key.clone(),
            quota: CATALOG,
            concurrency: Some(1),
        }),
        ..Rules::default()
    };
    let apps = Apps::default();
    let pokes = Arc::new(Mutex::new(Vec::new()));
    let join = |which| {
        let pokes = pokes.clone();
        let joining = Joining {
            who: connection(which),
            limits: &rules.app_limits(),
            concurrency: Some(1),
            kept: Vec::new(),
            poke: Arc::new(move || pokes.lock().unwrap().push(which)),
        };
        Some(apps.join(&key, joining))
    };
    let mut first = Queue::new(&rules, join(1), 10, None);
    let mut second = Queue::new(&rules, join(2), 10, None);
    for queue in [&mut first, &mut second] {
        queue.push(claim(0), "one").unwrap();
        queue.push(claim(0), "two").unwrap();
    }
    assert_eq!(sent(&mut first, NOW), (vec!["one"], None));
    assert_eq!(sent(&mut second, NOW), (vec![], None));
    pokes.lock().unwrap().clear();
    drop(first);
    assert_eq!(*pokes.lock().unwrap(), [2]);
    assert_eq!(sent(&mut second, NOW), (vec!["one"], None));
}
