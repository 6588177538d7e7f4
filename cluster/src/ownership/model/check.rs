//! What must hold in every world that can be reached, and what goes wrong without a rule.

use super::{ALL, Record, Rules, World, steps::Step};
use stateright::{Checker, HasDiscoveries, Model, Property};

/// How large a world is explored.
#[derive(Clone, Debug)]
struct Explored {
    nodes: usize,
    entities: usize,
    /// Facts in a journal.
    facts: usize,
    epochs: u64,
    incarnations: u64,
    /// Whether lives of one node may overlap, and nodes drain.
    lives: bool,
    /// Whether processes are suspended and nodes cut off.
    faults: bool,
    /// How many steps from the start; `None`: until there is nothing new.
    depth: Option<usize>,
    /// Whether liveness is looked at.
    liveness: bool,
    rules: Rules,
}

const WRITER: &str = "one writer an epoch, and epochs only grow";
const LOST: &str = "no acknowledged fact is lost";
const COMMIT: &str = "a zombie's commit never succeeds";
const EFFECT: &str = "an effect is its owner's";
const TAKEN: &str = "what a silent node has is taken over while it is silent";
const HEALS: &str = "after healing all is owned and at work";

impl Model for Explored {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.nodes, self.entities)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        for node in 0..self.nodes {
            if self.faults {
                steps.extend([Step::Cut(node), Step::Mend(node)]);
            }
            if self.lives {
                steps.push(Step::Drain(node));
            }
            let lives = world.nodes[node].processes.len();
            if lives == 0 || self.lives {
                steps.push(Step::Start(node));
            }
            for process in 0..lives {
                let at = (node, process);
                steps.extend([
                    Step::RenewSend(at),
                    Step::RenewArrives(at),
                    Step::RenewAnswered(at),
                    Step::RenewLost(at),
                    Step::StopsItself(at),
                    Step::Commit(at),
                    Step::CommitAnswerLost(at),
                    Step::Crash(at),
                ]);
                if self.lives {
                    steps.push(Step::Leave(at));
                }
                if self.faults {
                    steps.extend([Step::Suspend(at), Step::Resume(at), Step::BreakWrite(at)]);
                }
                for entity in 0..self.entities {
                    steps.extend([
                        Step::Claim(at, entity),
                        Step::Release(at, entity),
                        Step::Begin(at, entity),
                        Step::Effect(at, entity),
                    ]);
                }
                for dead in (0..self.nodes).filter(|other| *other != node) {
                    steps.push(Step::DeclareDead { by: at, node: dead });
                }
            }
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.step(step, self.rules).then_some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.entities.iter().all(|record| {
            record.journal.len() <= self.facts
                && record.acknowledged.len() <= self.facts
                && record.placement.epoch <= self.epochs
        }) && world
            .nodes
            .iter()
            .all(|node| node.row.incarnation <= self.incarnations)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(WRITER, |_, world: &World| {
                !world.epoch_fell && world.entities.iter().all(one_writer_an_epoch)
            }),
            Property::always(LOST, |_, world: &World| {
                world.entities.iter().all(|record| {
                    let is_there = |(at, fact): &(usize, _)| record.journal.get(*at) == Some(fact);
                    record.acknowledged.iter().all(is_there)
                })
            }),
            Property::always(COMMIT, |_, world: &World| !world.stale_commit),
            Property::always(EFFECT, |_, world: &World| !world.stale_effect),
        ];
        // Costs most by far, and without a rule safety is what is asked about.
        if self.liveness {
            properties.push(Property::always(HEALS, |model: &Self, world: &World| {
                world.heals(model.rules)
            }));
            properties.push(Property::always(TAKEN, |model: &Self, world: &World| {
                world.is_taken_over(model.rules)
            }));
        }
        properties
    }
}

fn one_writer_an_epoch(record: &Record) -> bool {
    record.journal.windows(2).all(|two| {
        two[0].epoch < two[1].epoch
            || (two[0].epoch == two[1].epoch && two[0].writer == two[1].writer)
    })
}

/// Two nodes and one entity, no faults but crashes and lost messages. Enough for most of the violations.
const SMALL: Explored = Explored {
    nodes: 2,
    entities: 1,
    facts: 1,
    epochs: 2,
    incarnations: 1,
    lives: false,
    faults: false,
    depth: None,
    liveness: true,
    rules: ALL,
};

fn holds(name: &str, world: Explored) {
    let depth = world.depth.unwrap_or(usize::MAX);
    let checker = world.checker().target_max_depth(depth).spawn_bfs().join();
    checker.assert_properties();
    println!("{name}: {} worlds", checker.unique_state_count());
}

/// Every world that can be reached.
#[test]
fn a_small_world_holds() {
    holds("small", SMALL);
}

/// Suspended processes, nodes cut off, transactions that the database gives up.
#[test]
fn a_world_with_faults_holds() {
    let world = Explored {
        faults: true,
        facts: 2,
        incarnations: 2,
        depth: Some(9),
        ..SMALL
    };
    holds("faults", world);
}

/// Drains, and lives of one node that overlap.
#[test]
fn a_world_with_many_lives_holds() {
    let world = Explored {
        lives: true,
        incarnations: 3,
        depth: Some(8),
        ..SMALL
    };
    holds("lives", world);
}

#[test]
fn a_larger_world_holds() {
    let world = Explored {
        nodes: 3,
        entities: 2,
        faults: true,
        incarnations: 2,
        depth: Some(5),
        ..SMALL
    };
    holds("larger", world);
}

/// The same, further.
#[test]
#[ignore = "takes minutes"]
fn worlds_hold_far_out() {
    let small = Explored {
        faults: true,
        lives: true,
        facts: 2,
        epochs: 3,
        incarnations: 3,
        depth: Some(10),
        ..SMALL
    };
    let larger = Explored {
        nodes: 3,
        entities: 2,
        depth: Some(7),
        ..small.clone()
    };
    holds("small, far out", small);
    holds("larger, far out", larger);
}

/// The shortest way to what goes wrong without a rule.
fn breaks(property: &'static str, world: Explored) {
    let world = Explored {
        liveness: property == TAKEN,
        ..world
    };
    let found = world
        .checker()
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join();
    let path = found
        .discovery(property)
        .unwrap_or_else(|| panic!("without the rule, {property:?} should break"));
    println!("{property:?} breaks by {:?}", path.into_actions());
}

#[test]
fn without_the_share_lock_a_zombie_commits() {
    let rules = Rules {
        share_lock: false,
        ..ALL
    };
    breaks(COMMIT, Explored { rules, ..SMALL });
}

#[test]
fn the_primary_key_is_the_second_lock() {
    let neither = Rules {
        share_lock: false,
        primary_key: false,
        ..ALL
    };
    breaks(
        LOST,
        Explored {
            rules: neither,
            ..SMALL
        },
    );
    // With it alone a zombie may write first, but nothing that was acknowledged is lost.
    let key_only = Explored {
        rules: Rules {
            share_lock: false,
            ..ALL
        },
        liveness: false,
        ..SMALL
    };
    let checker = key_only
        .checker()
        .finish_when(HasDiscoveries::AnyOf([LOST].into()))
        .spawn_bfs()
        .join();
    assert!(checker.discovery(LOST).is_none());
}

#[test]
fn without_the_self_fence_two_act() {
    let rules = Rules {
        self_fence: false,
        ..ALL
    };
    breaks(EFFECT, Explored { rules, ..SMALL });
}

#[test]
fn a_fence_that_counts_from_the_answer_is_too_late() {
    let rules = Rules {
        counts_from_sending: false,
        ..ALL
    };
    breaks(EFFECT, Explored { rules, ..SMALL });
}

#[test]
fn a_new_life_that_does_not_wait_lets_two_act() {
    let rules = Rules {
        register_waits: false,
        ..ALL
    };
    let world = Explored {
        rules,
        lives: true,
        incarnations: 2,
        ..SMALL
    };
    breaks(EFFECT, world);
}

/// A process that hangs in the middle of a write holds the share lock on its node's row: nobody can declare it dead until the database
/// gives the write up.
#[test]
fn a_hanging_write_would_keep_its_node_alive() {
    let rules = Rules {
        gives_up_writes: false,
        ..ALL
    };
    let world = Explored {
        rules,
        faults: true,
        ..SMALL
    };
    breaks(TAKEN, world);
}
