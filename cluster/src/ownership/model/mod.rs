//! A small world of nodes, processes and one database, in which everything that can go wrong goes wrong in every order.
//!
//! The decisions are those of `ownership::rules`; this adds what they are decided about. Time is three ages of a lease: fresh, past the
//! self-fence, past the TTL. A tick ages everything at once, so that a process that was stopped wakes up to find its lease old.

mod check;
mod heal;
mod steps;

use super::{NodeRow, NodeState, PlacementRow};
use crate::NodeIdentity;
use uuid::Uuid;

/// The rules that may be taken away, to see what each is for.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// A write holds a share lock on its node's row until it commits; without it the row is only looked at when the write begins.
    share_lock: bool,
    /// Effects look at the self-fence.
    self_fence: bool,
    /// The journal's primary key refuses a second row at a position.
    primary_key: bool,
    /// The self-fence counts from when the renewal was sent, not from when its answer came.
    counts_from_sending: bool,
    /// A new life waits until the old one cannot act.
    register_waits: bool,
    /// The database gives up a transaction whose client says nothing (`idle_in_transaction_session_timeout`).
    gives_up_writes: bool,
}

const ALL: Rules = Rules {
    share_lock: true,
    self_fence: true,
    primary_key: true,
    counts_from_sending: true,
    register_waits: true,
    gives_up_writes: true,
};

/// Ages of a lease.
const FRESH: u8 = 0;
const OVER: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    nodes: Vec<Node>,
    entities: Vec<Record>,
    /// Something that must never happen did. The checks look at it.
    stale_effect: bool,
    stale_commit: bool,
    epoch_fell: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    row: NodeRow,
    lease_age: u8,
    /// Cut from the database.
    cut: bool,
    /// More than one: an old life that nobody stopped runs beside the new one.
    processes: Vec<Process>,
}

/// One life of a node, and what it believes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    incarnation: u64,
    suspended: bool,
    /// Of its lease, as it counts.
    age: u8,
    renewal: Option<Renewal>,
    owned: Vec<Option<Belief>>,
    write: Option<Write>,
}

/// A renewal in flight, and how old it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Renewal {
    Sent {
        age: u8,
    },
    Applied {
        age: u8,
    },
    /// The answer on its way says that this life is over.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Belief {
    epoch: u64,
    /// Where the next fact goes.
    next: usize,
}

/// An open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Write {
    entity: usize,
    belief: Belief,
    /// The database gave it up (the connection was idle for too long); the process does not know yet.
    broken: bool,
}

/// An entity in the database, and what its clients were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    placement: PlacementRow,
    journal: Vec<Fact>,
    acknowledged: Vec<(usize, Fact)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fact {
    writer: NodeIdentity,
    epoch: u64,
}

impl World {
    /// Every node is up for the first time; nothing is placed.
    fn new(nodes: usize, entities: usize) -> Self {
        let process = Process::new(1, entities);
        let node = Node {
            row: NodeRow {
                incarnation: 1,
                state: NodeState::Alive,
            },
            lease_age: FRESH,
            cut: false,
            processes: vec![process],
        };
        Self {
            nodes: vec![node; nodes],
            entities: vec![Record::default(); entities],
            stale_effect: false,
            stale_commit: false,
            epoch_fell: false,
        }
    }

    fn row(&self, node: NodeIdentity) -> Option<NodeRow> {
        self.nodes
            .get(node.node_id.as_u128() as usize)
            .map(|node| node.row)
    }

    /// Whether a transaction of this node holds a share lock on its row.
    fn is_share_locked(&self, node: usize, rules: Rules) -> bool {
        rules.share_lock
            && self.nodes[node]
                .processes
                .iter()
                .any(|process| process.write.is_some_and(|write| !write.broken))
    }
}

impl Process {
    fn new(incarnation: u64, entities: usize) -> Self {
        Self {
            incarnation,
            suspended: false,
            age: FRESH,
            renewal: None,
            owned: vec![None; entities],
            write: None,
        }
    }

    fn may_act(&self) -> bool {
        self.age == FRESH
    }
}

fn identity(node: usize, incarnation: u64) -> NodeIdentity {
    NodeIdentity {
        node_id: Uuid::from_u128(node as u128),
        incarnation,
    }
}
