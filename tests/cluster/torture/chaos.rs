//! What goes wrong with machines, one trouble after the other, each with its end.

use super::{deck::Deck, pause};
use crate::{
    net::{POSTGRES, PROVIDER, Place, Rule},
    node::node_id,
    world::{NAMES, World, until},
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use std::time::Duration;

/// Long enough for a takeover: the lease is four seconds.
const LONGEST_FREEZE_MS: u64 = 7_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Kill,
    Freeze,
    FreezeWhileConnecting,
    CutNodes,
    CutDatabase,
    SlowDatabase,
    Drain,
    RestartDatabase,
}

const ALL: [Trouble; 8] = [
    Trouble::Kill,
    Trouble::Freeze,
    Trouble::FreezeWhileConnecting,
    Trouble::CutNodes,
    Trouble::CutDatabase,
    Trouble::SlowDatabase,
    Trouble::Drain,
    Trouble::RestartDatabase,
];

pub struct Chaos {
    deck: Deck<Trouble>,
    /// Connects that were under way when their node was frozen, and through when it went on.
    frozen_connects: usize,
}

impl Chaos {
    pub fn new() -> Self {
        Self {
            deck: Deck::new(ALL.into()),
            frozen_connects: 0,
        }
    }

    /// What never came.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.deck.missing();
        missing.iter().map(|one| format!("{one:?}")).collect()
    }

    pub fn summary(&self) -> String {
        format!(
            "{}; {} connects were frozen",
            self.deck.summary(),
            self.frozen_connects
        )
    }

    pub async fn one_more(&mut self, world: &mut World, rng: &mut StdRng) {
        let trouble = self.deck.draw(rng);
        let began = tokio::time::Instant::now();
        self.meet(trouble, world, rng).await;
        println!("{trouble:?} took {:.1?}", began.elapsed());
        self.deck.was_met(trouble);
        pause(rng, 100, 1_000).await;
    }

    async fn meet(&mut self, trouble: Trouble, world: &mut World, rng: &mut StdRng) {
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
            Trouble::FreezeWhileConnecting => self.freeze_while_connecting(world, rng).await,
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
                if rng.random() {
                    let path = format!("/v1/nodes/{}/drain", node_id(victim));
                    let told = world.ask("POST", &path, None).await;
                    assert!(told.status < 300, "{told:?}");
                    pause(rng, 0, 2_000).await;
                }
                world.take(victim).stop().await;
                world.start_node(victim).await;
            }
            Trouble::RestartDatabase => {
                world.stop_postgres().await;
                pause(rng, 100, 2_000).await;
                world.start_postgres_again().await;
                world.until_all_ready().await;
            }
        }
    }

    /// Writes that are connecting when their node is stopped, and connected when it goes on after its lease: what the kernel did meanwhile
    /// must not let them leave.
    async fn freeze_while_connecting(&mut self, world: &World, rng: &mut StdRng) {
        let door = world.provider().clone();
        let (victim, frozen) = loop {
            let (victim, _) = world.busiest().await;
            let connects = || world.net.connecting(victim, door.address);
            door.hold_connects().await;
            // Links of before would be used again.
            world.net.set_both(victim, PROVIDER, Rule::Reset);
            until("its links to the provider have ended", async || {
                connects().1 == 0
            })
            .await;
            world.net.heal();
            until("its writes are connecting", async || connects().0 > 0).await;
            world.node(victim).signal("STOP");
            match connects().0 {
                // Given up a moment before.
                0 => world.node(victim).signal("CONT"),
                frozen => break (victim, frozen),
            }
        };
        door.let_in();
        until(
            "others have its employees, and its connects are through",
            async || {
                let owners = world.recorder.owners().await;
                owners.values().all(|life| life.node != node_id(victim))
                    && world.net.connecting(victim, door.address).0 == 0
            },
        )
        .await;
        pause(rng, 0, 1_000).await;
        world.node(victim).signal("CONT");
        self.frozen_connects += frozen;
        world.until_all_ready().await;
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
