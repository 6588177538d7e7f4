//! The decisions that the database's rows allow.

use crate::{Claim, NodeIdentity};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    Alive,
    /// Finishes and gives away what it has; takes nothing new.
    Draining,
    /// It left, or its lease ran out and another node said so.
    Dead,
}

/// A node's row without its lease, which only [`may_declare_dead`] and [`may_register`] look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeRow {
    pub incarnation: u64,
    pub state: NodeState,
}

/// Who has an entity. The row stays when it is released, so that epochs only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PlacementRow {
    pub owner: Option<NodeIdentity>,
    pub epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefused {
    #[error("entity is owned by node {}", .0.node_id)]
    OwnedBy(NodeIdentity),
    #[error("this node is draining")]
    Draining,
    #[error("this node has lost its lease")]
    Fenced,
}

/// Whether a node may write under this incarnation. A draining node may: it finishes what it has.
pub fn admits(row: Option<NodeRow>, incarnation: u64) -> bool {
    row.is_some_and(|row| row.incarnation == incarnation && row.state != NodeState::Dead)
}

/// Who gets an entity and under which epoch. `owner_row` is the row of the node in `placement.owner`.
///
/// An owner that claims what it has gets its epoch again, even while it drains.
pub fn claim(
    placement: Option<PlacementRow>,
    owner_row: Option<NodeRow>,
    claimant: NodeIdentity,
    claimant_row: Option<NodeRow>,
) -> Result<Claim, ClaimRefused> {
    if !admits(claimant_row, claimant.incarnation) {
        return Err(ClaimRefused::Fenced);
    }
    let PlacementRow { owner, epoch } = placement.unwrap_or_default();
    match owner {
        Some(owner) if owner == claimant => return Ok(Claim { epoch }),
        Some(owner) if admits(owner_row, owner.incarnation) => {
            return Err(ClaimRefused::OwnedBy(owner));
        }
        _ => {}
    }
    if claimant_row.is_some_and(|row| row.state == NodeState::Draining) {
        return Err(ClaimRefused::Draining);
    }
    Ok(Claim { epoch: epoch + 1 })
}

/// Whether a life of a node may be declared dead: it is the one in the row, not dead yet, and its lease is over by the database's clock.
/// The statement waits for the share locks on the row.
pub fn may_declare_dead(row: NodeRow, incarnation: u64, lease_is_over: bool) -> bool {
    admits(Some(row), incarnation) && lease_is_over
}

/// Whether a new life of a node may begin. `process_is_gone`: whoever starts it knows that no process of the old life is left, for
/// example because it holds the lock of the node's directory. The statement waits for the share locks on the row.
pub fn may_register(row: Option<NodeRow>, lease_is_over: bool, process_is_gone: bool) -> bool {
    row.is_none_or(|row| row.state == NodeState::Dead || lease_is_over || process_is_gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const A: NodeIdentity = NodeIdentity {
        node_id: Uuid::from_u128(1),
        incarnation: 4,
    };
    const B: NodeIdentity = NodeIdentity {
        node_id: Uuid::from_u128(2),
        incarnation: 7,
    };
    const fn row(incarnation: u64, state: NodeState) -> Option<NodeRow> {
        Some(NodeRow { incarnation, state })
    }
    const fn placed(owner: Option<NodeIdentity>, epoch: u64) -> Option<PlacementRow> {
        Some(PlacementRow { owner, epoch })
    }

    #[test]
    fn claims() {
        use NodeState::{Alive, Dead, Draining};
        let here = row(4, Alive);
        for (name, placement, owner_row, own_row, expected) in [
            ("never placed", None, None, here, Ok(1)),
            ("released", placed(None, 5), None, here, Ok(6)),
            ("mine", placed(Some(A), 5), here, here, Ok(5)),
            (
                "mine while I drain",
                placed(Some(A), 5),
                row(4, Draining),
                row(4, Draining),
                Ok(5),
            ),
            (
                "of a live node",
                placed(Some(B), 5),
                row(7, Alive),
                here,
                Err(ClaimRefused::OwnedBy(B)),
            ),
            (
                "of a draining node",
                placed(Some(B), 5),
                row(7, Draining),
                here,
                Err(ClaimRefused::OwnedBy(B)),
            ),
            (
                "of a dead node",
                placed(Some(B), 5),
                row(7, Dead),
                here,
                Ok(6),
            ),
            (
                "of an earlier life",
                placed(Some(B), 5),
                row(8, Alive),
                here,
                Ok(6),
            ),
            ("of a deleted node", placed(Some(B), 5), None, here, Ok(6)),
            (
                "by a dead node",
                None,
                None,
                row(4, Dead),
                Err(ClaimRefused::Fenced),
            ),
            (
                "by an earlier life",
                None,
                None,
                row(5, Alive),
                Err(ClaimRefused::Fenced),
            ),
            (
                "by a draining node",
                None,
                None,
                row(4, Draining),
                Err(ClaimRefused::Draining),
            ),
        ] {
            let claimed = claim(placement, owner_row, A, own_row).map(|claim| claim.epoch);
            assert_eq!(claimed, expected, "{name}");
        }
    }

    #[test]
    fn lives_end_and_begin() {
        let alive = NodeRow {
            incarnation: 4,
            state: NodeState::Alive,
        };
        assert!(may_declare_dead(alive, 4, true));
        assert!(!may_declare_dead(alive, 4, false));
        assert!(!may_declare_dead(alive, 3, true), "an earlier life");
        assert!(may_register(None, false, false));
        assert!(!may_register(Some(alive), false, false));
        assert!(may_register(Some(alive), true, false));
        assert!(may_register(Some(alive), false, true));
    }
}
