//! Weighted rendezvous hashing: which node should own an entity, agreed on without a word.
//!
//! Every node computes a score for each candidate from the entity's and the candidate's ids; the highest wins. When a node comes, only
//! what it wins moves to it; when one leaves, only what it had moves, in shares of the weights. The answer is a hint for who claims and
//! where to ask first: the database decides.
//!
//! Scores are integers, so that every build on every machine agrees: floating-point logarithms differ in the last bit between libraries.

use crate::Entity;
use std::cmp::Ordering;
use uuid::Uuid;

/// A node that may own entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub node_id: Uuid,
    /// Its share of the entities, relative to the others'. Zero: none.
    pub weight: u32,
    /// What fails together, for example a data centre. Empty: unknown.
    pub zone: String,
    /// It is about to leave: it gets nothing.
    pub draining: bool,
}

impl Candidate {
    fn takes_part(&self) -> bool {
        self.weight > 0 && !self.draining
    }
}

/// Who should own the entity; `None` if nobody takes anything.
pub fn owner(entity: Entity, candidates: &[Candidate]) -> Option<Uuid> {
    candidates
        .iter()
        .filter(|candidate| candidate.takes_part())
        .map(|candidate| Score::of(entity, candidate))
        .max()
        .map(|score| score.node_id)
}

/// All who may own it, the owner first, then those to turn to if it does not answer: each from a zone that has not been named yet as
/// long as there is one, since zones fail as a whole.
pub fn ranked(entity: Entity, candidates: &[Candidate]) -> Vec<Uuid> {
    let mut left: Vec<(Score, &str)> = candidates
        .iter()
        .filter(|candidate| candidate.takes_part())
        .map(|candidate| (Score::of(entity, candidate), candidate.zone.as_str()))
        .collect();
    left.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let mut ranked = Vec::with_capacity(left.len());
    let mut named: Vec<&str> = Vec::new();
    while !left.is_empty() {
        let next = left.iter().position(|(_, zone)| !named.contains(zone));
        let Some(next) = next else {
            named.clear();
            continue;
        };
        let (score, zone) = left.remove(next);
        ranked.push(score.node_id);
        named.push(zone);
    }
    ranked
}

/// `weight / cost`, where the cost is exponentially distributed: the classic weighted score, kept as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Score {
    weight: u32,
    cost: u64,
    node_id: Uuid,
}

impl Score {
    fn of(entity: Entity, candidate: &Candidate) -> Self {
        Self {
            weight: candidate.weight,
            cost: negative_log2(hash(entity, candidate.node_id)).max(1),
            node_id: candidate.node_id,
        }
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        let ours = u128::from(self.weight) * u128::from(other.cost);
        let theirs = u128::from(other.weight) * u128::from(self.cost);
        ours.cmp(&theirs)
            .then_with(|| self.node_id.cmp(&other.node_id))
    }
}
impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// 64 evenly spread bits that depend on all of the entity and the node. Part of the protocol: a change moves every entity.
fn hash(entity: Entity, node_id: Uuid) -> u64 {
    // FNV-1a over the kind, then a splitmix64 round for each word of the ids.
    let kind = entity
        .kind
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let (entity_high, entity_low) = entity.id.as_u64_pair();
    let (node_high, node_low) = node_id.as_u64_pair();
    [entity_high, entity_low, node_high, node_low]
        .into_iter()
        .fold(mix(kind), |state, word| mix(state ^ word))
}

fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

const FRACTION_BITS: u32 = 40;

/// `-log2((hash + 1) / 2^64)` with 40 bits behind the point.
fn negative_log2(hash: u64) -> u64 {
    let value = u128::from(hash) + 1;
    let whole = 127 - value.leading_zeros();
    // The mantissa in [1, 2), with 62 bits behind the point; each squaring gives one bit of its logarithm.
    let mut mantissa = if whole <= 62 {
        value << (62 - whole)
    } else {
        value >> (whole - 62)
    };
    let mut fraction = 0_u64;
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 62;
        fraction <<= 1;
        if mantissa >> 63 != 0 {
            mantissa >>= 1;
            fraction |= 1;
        }
    }
    (64 << FRACTION_BITS) - ((u64::from(whole) << FRACTION_BITS) | fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn entity(number: u128) -> Entity {
        Entity {
            kind: "employee",
            id: Uuid::from_u128(number),
        }
    }
    fn node(number: u128, weight: u32, zone: &str) -> Candidate {
        Candidate {
            node_id: Uuid::from_u128(number),
            weight,
            zone: zone.into(),
            draining: false,
        }
    }
    fn five() -> Vec<Candidate> {
        (1..=5).map(|number| node(number, 100, "")).collect()
    }
    const MANY: u128 = 20_000;

    #[test]
    fn the_logarithm_is_one() {
        for hash in [
            0,
            1,
            12_345,
            u64::MAX / 3,
            u64::MAX / 2,
            u64::MAX - 7,
            u64::MAX,
        ] {
            let expected = 64.0 - (hash as f64 + 1.0).log2();
            let found = negative_log2(hash) as f64 / (1_u64 << FRACTION_BITS) as f64;
            assert!(
                (expected - found).abs() < 1e-9,
                "{hash}: {expected} {found}"
            );
        }
    }

    /// Other releases and other machines must agree.
    #[test]
    fn it_is_the_same_everywhere() {
        assert_eq!(hash(entity(1), Uuid::from_u128(1)), 0xd9a2_3437_adc5_6565);
        assert_eq!(
            hash(entity(u128::MAX), Uuid::from_u128(7)),
            0x0c68_660c_359c_6de2
        );
        let owners = |nodes: &[Candidate]| -> Vec<u128> {
            (0..16)
                .map(|number| owner(entity(number), nodes).unwrap().as_u128())
                .collect()
        };
        // Computed with fifty decimals elsewhere.
        let equal = [1, 1, 1, 3, 4, 3, 5, 2, 1, 3, 3, 3, 5, 2, 3, 4];
        assert_eq!(owners(&five()), equal);
        let weighted: Vec<_> = (1..=5)
            .map(|number| node(number, number as u32, ""))
            .collect();
        let by_weight = [2, 1, 4, 3, 4, 3, 5, 5, 5, 3, 4, 5, 5, 2, 3, 5];
        assert_eq!(owners(&weighted), by_weight);
    }

    #[test]
    fn only_what_must_moves() {
        let all = five();
        let four = &all[..4];
        for number in 0..MANY {
            let (before, after) = (owner(entity(number), four), owner(entity(number), &all));
            assert!(
                before == after || after == Some(all[4].node_id),
                "moved between nodes that stayed"
            );
        }
        let mut drained = all.clone();
        drained[2].draining = true;
        for number in 0..MANY {
            let before = owner(entity(number), &all);
            let after = owner(entity(number), &drained);
            assert!(before == after || before == Some(all[2].node_id));
            assert_ne!(after, Some(all[2].node_id));
        }
    }

    #[test]
    fn shares_follow_weights() {
        let nodes = [
            node(1, 100, ""),
            node(2, 200, ""),
            node(3, 100, ""),
            node(4, 0, ""),
        ];
        let mut shares: HashMap<Uuid, f64> = HashMap::new();
        for number in 0..MANY {
            *shares
                .entry(owner(entity(number), &nodes).unwrap())
                .or_default() += 1.0;
        }
        for (node, expected) in nodes.iter().zip([0.25, 0.5, 0.25, 0.0]) {
            let share = shares.get(&node.node_id).copied().unwrap_or(0.0) / MANY as f64;
            assert!((share - expected).abs() < 0.02, "{share} for {expected}");
        }
    }

    #[test]
    fn a_weight_that_grows_takes_from_the_others_only() {
        let before = five();
        let mut after = before.clone();
        after[0].weight = 150;
        for number in 0..MANY {
            let (old, new) = (
                owner(entity(number), &before),
                owner(entity(number), &after),
            );
            assert!(old == new || new == Some(after[0].node_id));
        }
    }

    #[test]
    fn the_second_choice_is_in_another_zone() {
        let nodes = [
            node(1, 100, "a"),
            node(2, 100, "a"),
            node(3, 100, "a"),
            node(4, 100, "b"),
        ];
        for number in 0..200 {
            let ranked = ranked(entity(number), &nodes);
            assert_eq!(ranked.first().copied(), owner(entity(number), &nodes));
            assert_eq!(ranked.len(), 4);
            let first_two = &ranked[..2];
            assert!(
                first_two.contains(&nodes[3].node_id),
                "zone b holds the first or the second"
            );
        }
    }

    #[test]
    fn nobody() {
        let mut nodes = five();
        for node in &mut nodes {
            node.draining = true;
        }
        assert_eq!(owner(entity(1), &nodes), None);
        assert!(ranked(entity(1), &nodes).is_empty());
    }
}
