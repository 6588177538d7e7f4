//! What goes wrong, one trouble after the other, each with its end.

use crate::{
    employees::mailer,
    net::{POSTGRES, Place, Rule},
    world::{NAMES, World},
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// Long enough for a takeover: the lease is four seconds.
const LONGEST_FREEZE_MS: u64 = 7_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Kill,
    Freeze,
    CutNodes,
    CutDatabase,
    SlowDatabase,
    Drain,
    RestartDatabase,
    Provider,
    Reconnect,
    Hold,
    Version,
}

const ALL: [Trouble; 11] = [
    Trouble::Kill,
    Trouble::Freeze,
    Trouble::CutNodes,
    Trouble::CutDatabase,
    Trouble::SlowDatabase,
    Trouble::Drain,
    Trouble::RestartDatabase,
    Trouble::Provider,
    Trouble::Reconnect,
    Trouble::Hold,
    Trouble::Version,
];

pub struct Chaos {
    /// Ids of those who mail.
    employees: Vec<String>,
    met: BTreeMap<Trouble, usize>,
    /// So that each kind comes before one comes again.
    left: Vec<Trouble>,
}

impl Chaos {
    pub fn new(employees: Vec<String>) -> Self {
        Self {
            employees,
            met: BTreeMap::new(),
            left: Vec::new(),
        }
    }

    pub fn count(&self) -> usize {
        self.met.values().sum()
    }

    pub fn summary(&self) -> String {
        let met = self
            .met
            .iter()
            .map(|(trouble, times)| format!("{trouble:?} {times}"));
        met.collect::<Vec<_>>().join(", ")
    }

    pub async fn one_more(&mut self, world: &mut World, rng: &mut StdRng) {
        if self.left.is_empty() {
            self.left = ALL.to_vec();
        }
        let at = rng.random_range(0..self.left.len());
        let trouble = self.left.swap_remove(at);
        *self.met.entry(trouble).or_default() += 1;
        self.meet(trouble, world, rng).await;
        pause(rng, 100, 1_500).await;
    }

    async fn meet(&self, trouble: Trouble, world: &mut World, rng: &mut StdRng) {
        let victim = *NAMES.choose(rng).expect("a node");
        match trouble {
            Trouble::Kill => {
                world.take(victim).kill().await;
                pause(rng, 0, 5_000).await;
                world.start_node(victim).await;
            }
            Trouble::Freeze => {
                world.node(victim).signal("STOP");
                pause(rng, 200, LONGEST_FREEZE_MS).await;
                world.node(victim).signal("CONT");
                world.until_all_ready().await;
            }
            Trouble::CutNodes => {
                let others: Vec<Place> = NAMES.into_iter().filter(|name| *name != victim).collect();
                let other = *others.choose(rng).expect("another");
                let rule = if rng.random() {
                    Rule::BlackHole
                } else {
                    Rule::Reset
                };
                match rng.random() {
                    true => world.net.set_both(victim, other, rule),
                    false => world.net.set(victim, other, rule),
                }
                pause(rng, 500, 5_000).await;
                world.net.heal();
            }
            Trouble::CutDatabase => {
                let rule = if rng.random() {
                    Rule::BlackHole
                } else {
                    Rule::Reset
                };
                world.net.set_both(victim, POSTGRES, rule);
                pause(rng, 300, LONGEST_FREEZE_MS).await;
                world.net.heal();
                world.until_all_ready().await;
            }
            Trouble::SlowDatabase => {
                let late = Duration::from_millis(rng.random_range(20..150));
                world.net.set_both(victim, POSTGRES, Rule::Slow(late));
                pause(rng, 500, 2_000).await;
                world.net.heal();
            }
            Trouble::Drain => {
                world.take(victim).stop().await;
                world.start_node(victim).await;
            }
            Trouble::RestartDatabase => {
                world.stop_postgres().await;
                pause(rng, 100, 2_000).await;
                world.start_postgres_again().await;
                world.until_all_ready().await;
            }
            Trouble::Provider => provider(world, rng).await,
            Trouble::Reconnect => world.reconnect("gmail").await,
            Trouble::Hold => self.hold(world, rng).await,
            Trouble::Version => self.version(world, rng).await,
        }
    }

    async fn hold(&self, world: &World, rng: &mut StdRng) {
        let employee = self.employees.choose(rng).expect("somebody");
        let done = world
            .ask("POST", &format!("/v1/employees/{employee}/hold"), None)
            .await;
        assert!(done.status < 300, "{done:?}");
        pause(rng, 100, 1_500).await;
        let done = world
            .ask("POST", &format!("/v1/employees/{employee}/release"), None)
            .await;
        assert!(done.status < 300, "{done:?}");
    }

    async fn version(&self, world: &World, rng: &mut StdRng) {
        let employee = self.employees.choose(rng).expect("somebody");
        let spec = mailer("unused");
        let body = json!({"graph": spec["graph"], "skill_graphs": spec["skill_graphs"]});
        let done = world
            .ask(
                "PUT",
                &format!("/v1/employees/{employee}/graph"),
                Some(&body),
            )
            .await;
        assert!(done.status < 300, "{done:?}");
    }

    /// Everything is as it should be again.
    pub async fn heal(&self, world: &mut World) {
        world.net.heal();
        let cleared = world
            .sandbox()
            .try_send("DELETE", "/faults", &[], None)
            .await;
        assert_eq!(cleared.expect("the sandbox answers").status, 204);
        world.until_all_ready().await;
        world.until_members(NAMES.len()).await;
    }
}

/// The next few writes and look-ups of the provider meet a fault.
async fn provider(world: &World, rng: &mut StdRng) {
    let kinds = [
        ("latency", Some(400)),
        ("status_429", Some(1_000)),
        ("status_500", None),
        ("hang", Some(1_500)),
        ("close_after_accept", None),
    ];
    let (kind, ms) = *kinds.choose(rng).expect("a kind");
    let mut fault = json!({"integration": "gmail", "kind": kind, "count": rng.random_range(1..6)});
    if let Some(ms) = ms {
        fault["ms"] = json!(ms);
    }
    let set = world.sandbox().post("/faults", &fault).await;
    assert_eq!(set.status, 201, "{set:?}");
}

async fn pause(rng: &mut StdRng, from_ms: u64, to_ms: u64) {
    sleep(Duration::from_millis(rng.random_range(from_ms..to_ms))).await;
}
