//! The backlog against a table of pending events: whatever is late, lost, left out, refused for the moment or given by two nodes at once, a
//! conversation keeps its order, everything is given, and what is held is bounded.

use super::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::BTreeSet;
use uuid::Uuid;

fn org(n: u128) -> OrgId {
    OrgId::from_uuid(Uuid::from_u128(n))
}
fn id(n: u128) -> InboxId {
    InboxId::from_uuid(Uuid::from_u128(n))
}

/// A row of the inbox.
#[derive(Clone, Debug)]
struct Row {
    org: OrgId,
    event: PendingEvent,
    pending: bool,
}

/// The database.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// In the order in which they were first given.
    given: Vec<usize>,
}

impl Table {
    fn first(&self, of: OrgId, lane: &Lane) -> Option<usize> {
        let is_of = |row: &Row| {
            row.org == of
                && row.pending
                && *lane == Lane::new(row.event.id, row.event.conversation_key.clone())
        };
        let rows = self.rows.iter().enumerate().filter(|(_, row)| is_of(row));
        rows.min_by_key(|(_, row)| (row.event.arrival, row.event.id))
            .map(|(place, _)| place)
    }

    fn page(&self, of: OrgId, place: Place) -> Vec<PendingEvent> {
        let mut rows: Vec<PendingEvent> = self
            .rows
            .iter()
            .filter(|row| row.org == of && row.pending)
            .map(|row| row.event.clone())
            .filter(|event| place.is_none_or(|place| (event.arrival, event.id) > place))
            .collect();
        rows.sort_by_key(|event| (event.arrival, event.id));
        rows.truncate(PAGE);
        rows
    }

    fn orgs(&self) -> BTreeSet<OrgId> {
        let pending = self.rows.iter().filter(|row| row.pending);
        pending.map(|row| row.org).collect()
    }
}

/// A node's dispatcher: what it has under way ends in any order, also after another has taken over.
struct Node {
    backlog: Backlog,
    at_work: Vec<(OrgId, Lane, Option<usize>)>,
    pages: Vec<(OrgId, Vec<PendingEvent>)>,
    wakes: Vec<(Instant, OrgId, Lane)>,
}

impl Node {
    fn new() -> Self {
        Self {
            backlog: Backlog::default(),
            at_work: Vec::new(),
            pages: Vec::new(),
            wakes: Vec::new(),
        }
    }

    /// What the actor does after each message.
    fn go_on(&mut self, table: &Table, now: Instant) {
        for (org, place) in self.backlog.pages(now) {
            self.pages.push((org, table.page(org, place)));
        }
        while let Some((org, lanes)) = self.backlog.take(64) {
            for (lane, _) in lanes {
                let first = table.first(org, &lane);
                self.at_work.push((org, lane, first));
            }
        }
    }

    fn end_one(&mut self, table: &mut Table, which: usize, later: bool, now: Instant) {
        let (org, lane, first) = self.at_work.swap_remove(which);
        let turn = match first {
            None => Turn::Empty,
            Some(_) if later => Turn::Later,
            Some(place) => {
                if !table.given.contains(&place) {
                    table.given.push(place);
                }
                table.rows[place].pending = false;
                Turn::Settled
            }
        };
        if let Some(wait) = self.backlog.ended(org, lane.clone(), turn, now) {
            self.wakes.push((now + wait, org, lane));
        }
    }

    fn wake_due(&mut self, now: Instant) {
        let (due, rest) = std::mem::take(&mut self.wakes)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.wakes = rest;
        for (_, org, lane) in due {
            self.backlog.wake(org, lane);
        }
    }
}

#[test]
fn a_conversation_keeps_its_order_through_every_interleaving() {
    for case in 0..300 {
        let seed = rand::random();
        run(seed, case);
    }
}

fn run(seed: u64, case: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut table = Table::default();
    let mut nodes = vec![Node::new()];
    let mut hints: Vec<usize> = Vec::new();
    let mut now = Instant::now();
    for step in 0..400 {
        let duty = nodes.len() - 1;
        match random.random_range(0..20) {
            0..7 => {
                let talk = random.random_range(0..6);
                let row = Row {
                    org: org(random.random_range(1..3)),
                    event: PendingEvent {
                        // Clocks of nodes differ: names say nothing of the order.
                        id: id(random.random_range(1..1_000_000) * 1_000 + step),
                        conversation_key: (talk > 0).then(|| format!("talk-{talk}")),
                        arrival: i64::try_from(table.rows.len()).expect("few"),
                    },
                    pending: true,
                };
                table.rows.push(row);
                let place = table.rows.len() - 1;
                match random.random_range(0..4) {
                    0 => {}
                    1 => hints.push(place),
                    _ => offer(&mut nodes[duty], &table, place),
                }
            }
            7..9 if !hints.is_empty() => {
                let place = hints.swap_remove(random.random_range(0..hints.len()));
                offer(&mut nodes[duty], &table, place);
            }
            9..16 => {
                // Any node, those too that do not give any more.
                let node = random.random_range(0..nodes.len());
                if let count @ 1.. = nodes[node].at_work.len() {
                    let later = random.random_bool(0.3);
                    let which = random.random_range(0..count);
                    nodes[node].end_one(&mut table, which, later, now);
                }
            }
            16 => {
                if let Some((org, page)) = nodes[duty].pages.pop() {
                    nodes[duty].backlog.read(org, Some(page), now);
                }
            }
            17 => {
                for org in table.orgs() {
                    nodes[duty].backlog.audit(org);
                }
            }
            18 if random.random_bool(0.2) => {
                nodes[duty].backlog.clear();
                nodes.push(Node::new());
            }
            _ => {
                now += Duration::from_millis(random.random_range(0..3_000));
                nodes[duty].wake_due(now);
                nodes[duty].backlog.tick(now);
            }
        }
        let duty = nodes.len() - 1;
        nodes[duty].go_on(&table, now);
    }
    // The world becomes quiet, and everybody can take what comes.
    for _ in 0..2_000 {
        now += Duration::from_secs(1);
        let duty = nodes.len() - 1;
        for node in &mut nodes {
            while !node.at_work.is_empty() {
                node.end_one(&mut table, 0, false, now);
            }
        }
        let node = &mut nodes[duty];
        while let Some((org, page)) = node.pages.pop() {
            node.backlog.read(org, Some(page), now);
        }
        for org in table.orgs() {
            node.backlog.audit(org);
        }
        node.wake_due(now);
        node.backlog.tick(now);
        node.go_on(&table, now);
        if table.rows.iter().all(|row| !row.pending) {
            break;
        }
    }
    let left = table.rows.iter().filter(|row| row.pending).count();
    assert_eq!(left, 0, "never given; case {case}, seed {seed}");
    for of in [org(1), org(2)] {
        for talk in 1..6 {
            let key = Some(format!("talk-{talk}"));
            let order: Vec<i64> = table
                .given
                .iter()
                .map(|place| &table.rows[*place])
                .filter(|row| row.org == of && row.event.conversation_key == key)
                .map(|row| row.event.arrival)
                .collect();
            assert!(order.is_sorted(), "{order:?}; case {case}, seed {seed}");
        }
    }
}

fn offer(node: &mut Node, table: &Table, place: usize) {
    let Row { org, event, .. } = &table.rows[place];
    let lane = Lane::new(event.id, event.conversation_key.clone());
    node.backlog.offer(*org, event.id, lane, None);
}

/// Thousands that nobody can take, of one org; what is held is counted all the time, and another org notices nothing.
#[test]
fn what_cannot_be_taken_is_held_by_name_up_to_a_share_and_given_when_it_can() {
    let (mut table, mut node, mut now) = (Table::default(), Node::new(), Instant::now());
    let bounded = |node: &Node| {
        for of_org in node.backlog.orgs.values() {
            assert!(of_org.lanes.len() <= LANES_MAX);
            assert!(of_org.ready.len() <= LANES_MAX && of_org.asleep <= ASLEEP_MAX);
            assert!(of_org.at_work <= AT_WORK_OF_ORG_MAX);
            assert!(of_org.watchers.len() <= WATCHERS_MAX);
        }
        assert!(node.wakes.len() <= ASLEEP_MAX && node.pages.len() <= READING_MAX);
    };
    for n in 0..6_000 {
        table.rows.push(Row {
            org: org(1),
            event: PendingEvent {
                id: id(n + 1),
                conversation_key: None,
                arrival: i64::try_from(n).expect("few"),
            },
            pending: true,
        });
        let (watcher, _) = oneshot::channel();
        let event = id(n + 1);
        node.backlog
            .offer(org(1), event, Lane::Alone(event), Some(watcher));
        node.go_on(&table, now);
        bounded(&node);
    }
    let round = |node: &mut Node, table: &mut Table, now: Instant, later: bool| {
        let mut tried = 0;
        for _ in 0..300 {
            node.wake_due(now);
            node.backlog.tick(now);
            while let Some((org, page)) = node.pages.pop() {
                node.backlog.read(org, Some(page), now);
            }
            node.go_on(table, now);
            while !node.at_work.is_empty() {
                tried += 1;
                let of_first = node.at_work[0].0 == org(1);
                node.end_one(table, 0, later && of_first, now);
                bounded(node);
            }
        }
        tried
    };
    let mut tried = 0;
    for _ in 0..20 {
        now += Duration::from_secs(1);
        tried += round(&mut node, &mut table, now, true);
    }
    assert!(tried >= 6_000, "each was tried: {tried}");
    assert!(tried < 60_000, "and not for ever: {tried}");
    // Another org, whose event goes at once.
    table.rows.push(Row {
        org: org(2),
        event: PendingEvent {
            id: id(9_999),
            conversation_key: Some("talk".into()),
            arrival: 9_999,
        },
        pending: true,
    });
    let last = table.rows.len() - 1;
    offer(&mut node, &table, last);
    round(&mut node, &mut table, now, true);
    assert_eq!(table.given, [last]);
    // And the first, when it can.
    for _ in 0..200 {
        now += Duration::from_secs(1);
        round(&mut node, &mut table, now, false);
    }
    assert!(table.rows.iter().all(|row| !row.pending));
    now += Duration::from_secs(100);
    for org in [org(1), org(2)] {
        node.backlog.audit(org);
    }
    round(&mut node, &mut table, now, false);
    node.backlog.tick(now);
    assert!(node.backlog.orgs.is_empty(), "nothing is left of them");
}

/// One org with many in hand does not keep others waiting.
#[test]
fn orgs_take_turns() {
    let mut backlog = Backlog::default();
    for n in 0..400 {
        backlog.offer(org(1), id(n), Lane::Alone(id(n)), None);
    }
    backlog.offer(org(2), id(999), Lane::Alone(id(999)), None);
    let mut turns = Vec::new();
    while let Some((org, lanes)) = backlog.take(16) {
        turns.push((org, lanes.len()));
    }
    let mut expected = vec![(org(1), 16); 16];
    expected.insert(1, (org(2), 1));
    assert_eq!(turns, expected);
    assert_eq!(backlog.load(), (401, 257), "a share of the first at once");
}
