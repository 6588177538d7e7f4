//! What people and the provider do meanwhile: they hold employees and change them, connect the account anew, and answer badly.

use super::{
    deck::Deck,
    pause,
    work::{Kind, Staff},
};
use crate::{load::Nodes, process::Client, world::World};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Provider(Fault),
    /// The connection gets its credential anew.
    Reconnect,
    /// It is removed and made again.
    Recreate,
    Hold(Kind),
    Version(Kind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Slow,
    TooMany,
    Broken,
    Hangs,
    ClosesAfterAccepting,
}

impl Fault {
    const ALL: [Self; 5] = [
        Self::Slow,
        Self::TooMany,
        Self::Broken,
        Self::Hangs,
        Self::ClosesAfterAccepting,
    ];

    /// As the sandbox has it.
    fn body(self, count: u64) -> Value {
        let (kind, ms) = match self {
            Self::Slow => ("latency", Some(400)),
            Self::TooMany => ("status_429", Some(1_000)),
            Self::Broken => ("status_500", None),
            Self::Hangs => ("hang", Some(1_500)),
            Self::ClosesAfterAccepting => ("close_after_accept", None),
        };
        let mut fault = json!({"integration": "gmail", "kind": kind, "count": count});
        if let Some(ms) = ms {
            fault["ms"] = json!(ms);
        }
        fault
    }
}

fn all() -> Vec<Trouble> {
    let mut all = vec![Trouble::Reconnect, Trouble::Recreate];
    all.extend(Fault::ALL.map(Trouble::Provider));
    all.extend(Kind::ALL.map(Trouble::Hold));
    all.extend(Kind::ALL.map(Trouble::Version));
    all
}

/// Goes on by itself until it is stopped.
pub struct People {
    stop: Arc<AtomicBool>,
    has_seen_all: Arc<AtomicBool>,
    acting: JoinHandle<Deck<Trouble>>,
}

impl People {
    pub fn start(world: &World, staff: &Staff, seed: u64) -> Self {
        let (stop, has_seen_all) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let acts = Acts {
            nodes: world.addresses(),
            sandbox: world.sandbox(),
            account: world.account("gmail", world.plan.sandbox_quota.clone()),
            staff: staff.clone(),
            versions: 0,
        };
        let rng = StdRng::seed_from_u64(seed ^ 0x9E0_91E);
        let acting = acts.go_on(rng, stop.clone(), has_seen_all.clone());
        Self {
            stop,
            has_seen_all,
            acting: tokio::spawn(acting),
        }
    }

    /// Whether each trouble has come once.
    pub fn have_seen_all(&self) -> bool {
        self.has_seen_all.load(Ordering::SeqCst)
    }

    /// Ends what is under way; says what never came.
    pub async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let met = self.acting.await.expect("they did well");
        println!("people and provider: {}", met.summary());
        met.missing().iter().map(|one| format!("{one:?}")).collect()
    }
}

struct Acts {
    nodes: Nodes,
    sandbox: Client,
    account: Value,
    staff: Staff,
    versions: usize,
}

impl Acts {
    async fn go_on(
        mut self,
        mut rng: StdRng,
        stop: Arc<AtomicBool>,
        has_seen_all: Arc<AtomicBool>,
    ) -> Deck<Trouble> {
        let mut deck = Deck::new(all());
        while !stop.load(Ordering::SeqCst) {
            let trouble = deck.draw(&mut rng);
            self.meet(trouble, &mut rng).await;
            deck.was_met(trouble);
            has_seen_all.store(deck.missing().is_empty(), Ordering::SeqCst);
            pause(&mut rng, 50, 700).await;
        }
        deck
    }

    async fn meet(&mut self, trouble: Trouble, rng: &mut StdRng) {
        match trouble {
            Trouble::Provider(fault) => {
                let set = self
                    .sandbox
                    .post("/faults", &fault.body(rng.random_range(1..6)))
                    .await;
                assert_eq!(set.status, 201, "{set:?}");
            }
            Trouble::Reconnect => self.connect().await,
            Trouble::Recreate => {
                self.disconnect().await;
                pause(rng, 0, 500).await;
                self.connect().await;
            }
            Trouble::Hold(kind) => {
                let employee = self.staff[&kind].choose(rng).expect("somebody").clone();
                self.done("POST", &format!("/v1/employees/{employee}/hold"), None)
                    .await;
                pause(rng, 100, 1_200).await;
                self.done("POST", &format!("/v1/employees/{employee}/release"), None)
                    .await;
            }
            Trouble::Version(kind) => {
                let employee = self.staff[&kind].choose(rng).expect("somebody").clone();
                self.versions += 1;
                let path = format!("/v1/employees/{employee}/graph");
                let put = self
                    .nodes
                    .ask("PUT", &path, Some(&kind.graphs(self.versions)))
                    .await;
                // An asking whose answer was lost may come between.
                assert!(put.status < 300 || put.status == 409, "{put:?}");
            }
        }
    }

    async fn done(&self, method: &str, path: &str, body: Option<&Value>) {
        let done = self.nodes.ask(method, path, body).await;
        assert!(done.status < 300, "{method} {path}: {done:?}");
    }

    async fn connect(&self) {
        self.done("POST", "/v1/connections", Some(&self.account))
            .await;
    }

    async fn disconnect(&self) {
        let listed = self.nodes.ask("GET", "/v1/connections", None).await;
        let items = listed.body["items"].as_array().expect("a list");
        for connection in items.iter().filter(|one| one["integration"] == "gmail") {
            let id = connection["id"].as_str().expect("an id");
            let gone = self
                .nodes
                .ask("DELETE", &format!("/v1/connections/{id}"), None)
                .await;
            assert!(gone.status < 300 || gone.status == 404, "{gone:?}");
        }
    }
}
