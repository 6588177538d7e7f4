//! Two members over a directory in memory. Times are real and short.

use super::*;
use async_trait::async_trait;
use std::{
    collections::HashMap,
    sync::Mutex,
    sync::atomic::{AtomicBool, Ordering},
};
use uuid::Uuid;

const TERMS: LeaseTerms = LeaseTerms {
    ttl: Duration::from_millis(1_500),
    margin: Duration::from_millis(500),
    renew_every: Duration::from_millis(300),
};

#[derive(Default)]
struct Rows {
    rows: Mutex<HashMap<Uuid, (Member, Instant)>>,
    down: AtomicBool,
}

impl Rows {
    fn register(&self, number: u128, incarnation: u64) -> NodeIdentity {
        let identity = NodeIdentity {
            node_id: Uuid::from_u128(number),
            incarnation,
        };
        let member = Member {
            identity,
            state: NodeState::Alive,
            address: String::new(),
            build: String::new(),
            zone: String::new(),
            weight: 1,
            takes: Vec::new(),
            lease_left: Duration::ZERO,
        };
        let until = Instant::now() + TERMS.ttl;
        self.rows
            .lock()
            .unwrap()
            .insert(identity.node_id, (member, until));
        identity
    }
    fn up(&self) -> Result<(), DirectoryError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(DirectoryError::Unavailable("down".into()));
        }
        Ok(())
    }
    fn change<T>(
        &self,
        node: NodeIdentity,
        change: impl FnOnce(&mut Member, &mut Instant) -> T,
    ) -> Result<T, DirectoryError> {
        self.up()?;
        match self.rows.lock().unwrap().get_mut(&node.node_id) {
            Some((member, until)) if member.identity == node && member.is_in_service() => {
                Ok(change(member, until))
            }
            _ => Err(DirectoryError::Fenced),
        }
    }
}

#[async_trait]
impl Directory for Rows {
    async fn renew(&self, me: NodeIdentity) -> Result<(), DirectoryError> {
        self.change(me, |_, until| *until = Instant::now() + TERMS.ttl)
    }
    async fn list(&self) -> Result<Vec<Member>, DirectoryError> {
        self.up()?;
        let rows = self.rows.lock().unwrap();
        let now = Instant::now();
        let listed = rows.values().map(|(member, until)| Member {
            lease_left: until.saturating_duration_since(now),
            ..member.clone()
        });
        Ok(listed.collect())
    }
    async fn declare_dead(&self, node: NodeIdentity) -> Result<bool, DirectoryError> {
        let declared = self.change(node, |member, until| {
            let over = *until <= Instant::now();
            if over {
                member.state = NodeState::Dead;
            }
            over
        });
        Ok(declared.unwrap_or(false))
    }
    async fn drain(&self, me: NodeIdentity) -> Result<(), DirectoryError> {
        self.change(me, |member, _| member.state = NodeState::Draining)
    }
    async fn leave(&self, me: NodeIdentity) -> Result<(), DirectoryError> {
        self.change(me, |member, _| member.state = NodeState::Dead)
    }
}

struct Nobody;
impl Peers for Nobody {
    fn follow(&mut self, _: &[Member]) {}
}

fn join(rows: &Arc<Rows>, me: NodeIdentity) -> Membership {
    let (sender, events) = broadcast::channel(1);
    // Open for as long as the test runs.
    std::mem::forget(sender);
    Membership::start_with(me, TERMS, rows.clone(), Box::new(Nobody), events)
}

async fn until(membership: &Membership, what: impl Fn(&View) -> bool) -> View {
    let mut view = membership.view();
    let seen = timeout(Duration::from_secs(20), view.wait_for(what)).await;
    seen.expect("it is seen").unwrap().clone()
}

fn state(view: &View, node: NodeIdentity) -> Option<NodeState> {
    let of = |member: &&Member| member.identity == node;
    view.members.iter().find(of).map(|member| member.state)
}

#[tokio::test]
async fn who_stops_renewing_is_declared_dead_when_the_lease_is_over() {
    let rows = Arc::new(Rows::default());
    let (one, two) = (rows.register(1, 1), rows.register(2, 1));
    let (first, second) = (join(&rows, one), join(&rows, two));
    until(&first, |view| view.standing == Standing::Acting).await;
    until(&second, |view| view.standing == Standing::Acting).await;
    assert!(first.gate().may_act());

    let silent_from = Instant::now();
    drop(second);
    until(&first, |view| state(view, two) == Some(NodeState::Dead)).await;
    let took = silent_from.elapsed();
    assert!(
        took >= TERMS.ttl - TERMS.renew_every * 2,
        "too early: {took:?}"
    );
    assert!(took <= TERMS.ttl + Duration::from_secs(1), "late: {took:?}");
}

#[tokio::test]
async fn without_the_database_it_suspends_itself_and_comes_back() {
    let rows = Arc::new(Rows::default());
    let one = rows.register(1, 1);
    let membership = join(&rows, one);
    until(&membership, |view| view.standing == Standing::Acting).await;
    rows.down.store(true, Ordering::SeqCst);
    until(&membership, |view| view.standing == Standing::Suspended).await;
    assert!(!membership.gate().may_act());
    rows.down.store(false, Ordering::SeqCst);
    until(&membership, |view| view.standing == Standing::Acting).await;
    assert!(membership.gate().may_act());
}

#[tokio::test]
async fn a_life_that_was_declared_dead_ends_for_good() {
    let rows = Arc::new(Rows::default());
    let one = rows.register(1, 1);
    let membership = join(&rows, one);
    until(&membership, |view| view.standing == Standing::Acting).await;
    rows.register(1, 2);
    until(&membership, |view| view.standing == Standing::Ended).await;
    assert!(membership.gate().is_closed());
}

#[tokio::test]
async fn drained_and_left() {
    let rows = Arc::new(Rows::default());
    let (one, two) = (rows.register(1, 1), rows.register(2, 1));
    let (first, second) = (join(&rows, one), join(&rows, two));
    until(&second, |view| view.standing == Standing::Acting).await;
    second.drain().await.unwrap();
    until(&first, |view| state(view, two) == Some(NodeState::Draining)).await;
    let gate = second.gate().clone();
    assert!(gate.may_act(), "it finishes what it has");
    second.leave().await.unwrap();
    assert!(!gate.may_act());
    until(&first, |view| state(view, two) == Some(NodeState::Dead)).await;
}

#[tokio::test]
async fn after_the_database_was_away_the_others_get_time_to_come_back() {
    let rows = Arc::new(Rows::default());
    let (one, two) = (rows.register(1, 1), rows.register(2, 1));
    let (first, second) = (join(&rows, one), join(&rows, two));
    until(&first, |view| view.standing == Standing::Acting).await;
    until(&second, |view| view.standing == Standing::Acting).await;
    rows.down.store(true, Ordering::SeqCst);
    // The second one is slower to come back than the first.
    drop(second);
    until(&first, |view| view.standing == Standing::Suspended).await;
    sleep(TERMS.ttl).await;
    rows.down.store(false, Ordering::SeqCst);
    until(&first, |view| view.standing == Standing::Acting).await;
    let over = |view: &View| {
        let mut members = view.members.iter();
        members.any(|member| member.identity == two && member.lease_left.is_zero())
    };
    let seen = until(&first, over).await;
    assert_eq!(state(&seen, two), Some(NodeState::Alive));

    let second = join(&rows, two);
    until(&second, |view| view.standing == Standing::Acting).await;
    sleep(TERMS.renew_every * 3).await;
    assert_eq!(
        state(&first.view().borrow(), two),
        Some(NodeState::Alive),
        "it has come back in time"
    );
}
