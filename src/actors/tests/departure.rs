//! Connectors that end while a call is under way, wherever it is: the provider has the write once at most, and the ledger never says of
//! what the provider has that it failed.

use super::{
    effects::effects,
    house::{House, employee},
};
use crate::{
    actors::{
        CallPoint, FaultPoint, Faults, Settings,
        connector::{Breakage, ConnectorPool},
        proxy::{self, ProxyAnswer, ProxyError, ProxyRequest},
    },
    domain::{ConnectionId, Role},
    graph::Outcome,
    persistence::{EffectRow, EffectStatus},
};
use serde_json::json;
use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// A provider that carries out what comes at once, and answers when it is let.
struct Provider {
    url: String,
    writes: Arc<AtomicUsize>,
    /// One for each request that has come.
    came: Arc<Semaphore>,
    /// One for each answer that may go.
    answers: Arc<Semaphore>,
    /// How the next requests are refused: status line and headers.
    refuses: Arc<Mutex<Vec<&'static str>>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let provider = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            writes: Arc::default(),
            came: Arc::new(Semaphore::new(0)),
            answers: Arc::new(Semaphore::new(0)),
            refuses: Arc::default(),
        };
        let (writes, came, answers, refuses) = (
            provider.writes.clone(),
            provider.came.clone(),
            provider.answers.clone(),
            provider.refuses.clone(),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let parts = (
                    writes.clone(),
                    came.clone(),
                    answers.clone(),
                    refuses.clone(),
                );
                tokio::spawn(serve(stream, parts));
            }
        });
        provider
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    async fn has_come(&self) {
        self.came.acquire().await.expect("open").forget();
    }
}

type Parts = (
    Arc<AtomicUsize>,
    Arc<Semaphore>,
    Arc<Semaphore>,
    Arc<Mutex<Vec<&'static str>>>,
);

async fn serve(mut stream: TcpStream, (writes, came, answers, refuses): Parts) {
    let (mut held, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        held.extend_from_slice(&chunk[..read]);
        // Every request of these tests ends with the end of its JSON.
        if !held.ends_with(b"}") {
            continue;
        }
        held.clear();
        let refused = refuses.lock().expect("not poisoned").pop();
        if refused.is_none() {
            writes.fetch_add(1, Ordering::SeqCst);
        }
        came.add_permits(1);
        answers.acquire().await.expect("open").forget();
        let (head, body) = match refused {
            Some(head) => (head, r#"{"ok":false}"#),
            None => ("200 OK", r#"{"ok":true,"channel":"C123456789","ts":"1.1"}"#),
        };
        let (length, kind) = (body.len(), "content-type: application/json");
        let answer = format!("HTTP/1.1 {head}\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// An engine with a connection to the provider, and the fault that is to come.
struct World {
    house: Arc<House>,
    provider: Provider,
    connection: ConnectionId,
    plan: Arc<Plan>,
}

/// Where what happens, once.
#[derive(Default)]
struct Plan {
    at: Mutex<Option<(CallPoint, Breakage)>>,
    pool: OnceLock<ConnectorPool>,
    /// The connector breaks down at its next message.
    breaks_down: AtomicBool,
    /// What came about.
    met: AtomicUsize,
}

impl Plan {
    /// Whether the one who asks is to break down.
    fn meet(&self, point: FaultPoint) -> bool {
        match point {
            FaultPoint::Connector {
                message: "wake", ..
            } => self.breaks_down.swap(false, Ordering::SeqCst),
            FaultPoint::Call { connection, at } => {
                let mut planned = self.at.lock().expect("not poisoned");
                let Some((_, how)) = planned.take_if(|(point, _)| *point == at) else {
                    return false;
                };
                drop(planned);
                self.met.fetch_add(1, Ordering::SeqCst);
                if how == Breakage::Task {
                    return true;
                }
                self.break_connector(connection, how);
                false
            }
            _ => false,
        }
    }

    fn break_connector(&self, connection: ConnectionId, how: Breakage) {
        if how == Breakage::Panic {
            self.breaks_down.store(true, Ordering::SeqCst);
        }
        let pool = self.pool.get().expect("set");
        pool.break_connector(connection, how);
    }
}

impl World {
    async fn build() -> Self {
        let plan = Arc::new(Plan::default());
        let faults = Faults::with({
            let plan = plan.clone();
            move |point| plan.meet(point)
        });
        let house = House::with(Settings::default(), faults).await;
        house.allow("slack.raw").await;
        house.allow("slack.chat.post").await;
        let _ = plan.pool.set(house.engine.core().connectors().clone());
        let provider = Provider::start().await;
        let connection = house.connect("slack", &provider.url).await;
        Self {
            house: Arc::new(house),
            provider,
            connection,
            plan,
        }
    }

    /// The write of a client, under a key.
    async fn write(&self, key: &str) -> Result<ProxyAnswer, ProxyError> {
        write(self.house.clone(), key.to_owned()).await
    }

    async fn row(&self, key: &str) -> Option<EffectRow> {
        let marked = |row: &EffectRow| row.args.contains(&format!("\"{key}\""));
        let mut all = effects(&self.house).await;
        all.retain(marked);
        all.pop()
    }
}

async fn write(house: Arc<House>, key: String) -> Result<ProxyAnswer, ProxyError> {
    let request = ProxyRequest {
        org: house.org,
        by: "test".into(),
        role: Role::Admin,
        user: None,
        capability: "slack.raw".into(),
        connection: Some("mine".into()),
        arguments: json!({"method": "POST", "path": key, "content_type": "application/json", "body": "{\"amount\":100}"}),
        idempotency_key: Some(key),
    };
    proxy::call(house.engine.core(), request).await
}

const POINTS: [CallPoint; 5] = [
    CallPoint::Begun,
    CallPoint::Ready,
    CallPoint::Noted,
    CallPoint::Answered,
    CallPoint::Returning,
];
const WAYS: [Breakage; 5] = [
    Breakage::Change,
    Breakage::Stop,
    Breakage::Kill,
    Breakage::Panic,
    Breakage::Task,
];

/// The first try is over: what the ledger says is so, and trying again with the same key writes nothing twice.
async fn check(world: &World, key: &str, before: usize, first_ok: bool, what: &str) {
    let had = world.provider.writes() - before;
    assert!(had <= 1, "{what}: written {had} times");
    let row = world.row(key).await;
    let status = row.map(|row| row.status);
    let knows = [
        Some(EffectStatus::Done),
        Some(EffectStatus::Reconciled),
        Some(EffectStatus::Ambiguous),
    ];
    if had == 1 {
        assert!(knows.contains(&status), "{what}: {status:?}");
    }
    if first_ok {
        assert_eq!((had, status), (1, Some(EffectStatus::Done)), "{what}");
    }
    let again = world.write(key).await;
    let had = world.provider.writes() - before;
    assert!(had <= 1, "{what}: written {had} times after the second try");
    let status = world.row(key).await.map(|row| row.status);
    match again {
        Ok(_) => assert_eq!((had, status), (1, Some(EffectStatus::Done)), "{what}"),
        Err(ProxyError::Ambiguous { .. }) => {
            assert_eq!(status, Some(EffectStatus::Ambiguous), "{what}");
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_ends_while_a_write_is_under_way_doubles_nothing() {
    let world = World::build().await;
    world.provider.answers.add_permits(10_000);
    let mut met = 0;
    for at in POINTS {
        for how in WAYS {
            let (what, key) = (format!("{how:?} at {at:?}"), format!("{how:?}-{at:?}"));
            let before = world.provider.writes();
            *world.plan.at.lock().expect("not poisoned") = Some((at, how));
            let first = world.write(&key).await;
            met += 1;
            assert_eq!(world.plan.met.load(Ordering::SeqCst), met, "{what}");
            check(&world, &key, before, first.is_ok(), &what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_ends_while_the_provider_works_doubles_nothing() {
    let world = World::build().await;
    for how in WAYS.into_iter().filter(|how| *how != Breakage::Task) {
        let (what, key) = (format!("{how:?} at the provider"), format!("{how:?}"));
        let before = world.provider.writes();
        let first = tokio::spawn(write(world.house.clone(), key.clone()));
        world.provider.has_come().await;
        world.plan.break_connector(world.connection, how);
        // Others are served meanwhile, by the next one.
        let other = tokio::spawn(write(world.house.clone(), format!("other-{how:?}")));
        world.provider.has_come().await;
        world.provider.answers.add_permits(2);
        assert!(other.await.expect("no panic").is_ok(), "{what}");
        let first = first.await.expect("no panic");
        assert!(first.is_ok(), "{what}: its answer is not lost");
        check(&world, &key, before + 1, true, &what).await;
        let view = world.house.engine.core().connectors();
        if let Some(view) = view.look(world.connection).await {
            assert_eq!(view.open, 0, "{what}");
        }
    }
}

/// Nobody has to do anything: the step's own policy tries again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_is_tried_again_does_not_repeat_a_write_whose_connection_changed() {
    let world = World::build().await;
    let skill = json!({
        "graph_id": "post", "type": "skill",
        "nodes": [{"id": "post", "type": "action", "capability": "slack.chat.post", "connection": "mine",
            "arguments": {"channel": "'C123456789'", "text": "'reminder'"},
            "retry": {"max_attempts": 3, "initial_ms": 10, "factor": 1, "max_ms": 20}}],
        "edges": []
    });
    let id = world.house.hire(employee(&[skill], json!({}))).await;
    for how in WAYS.into_iter().filter(|how| *how != Breakage::Task) {
        let before = world.provider.writes();
        let run = world
            .house
            .tell(id, json!({"how": format!("{how:?}")}))
            .await;
        world.provider.has_come().await;
        world.plan.break_connector(world.connection, how);
        world.provider.answers.add_permits(1);
        let over = world.house.over(run).await;
        assert_eq!(world.provider.writes() - before, 1, "{how:?}");
        let outcome = over.machine.outcome();
        assert!(
            matches!(outcome, Some(Outcome::Completed { .. })),
            "{how:?}: {outcome:?}"
        );
    }
    let all = effects(&world.house).await;
    assert!(
        all.iter().all(|row| row.status == EffectStatus::Done),
        "{all:?}"
    );
}

/// Whatever refuses it for now: while it waits for its next try, the ledger knows that it did not happen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_waits_for_its_next_try_is_an_intention() {
    for head in [
        "429 Too Many Requests\r\nretry-after: 1",
        "403 Forbidden\r\nretry-after: 1",
        "403 Forbidden\r\nx-ratelimit-remaining: 0\r\nretry-after: 1",
    ] {
        let world = World::build().await;
        let key = "refused".to_owned();
        world
            .provider
            .refuses
            .lock()
            .expect("not poisoned")
            .push(head);
        let first = tokio::spawn(write(world.house.clone(), key.clone()));
        world.provider.has_come().await;
        let sent = world.row(&key).await.expect("a row");
        assert_eq!(sent.status, EffectStatus::Sent, "{head}");
        world.provider.answers.add_permits(1);
        let back = world.house.until("an intention again", async |_| {
            let row = world.row(&key).await?;
            (row.status == EffectStatus::Intended).then_some(row)
        });
        assert_eq!(back.await.sent, None, "{head}");
        world.provider.has_come().await;
        world.provider.answers.add_permits(1);
        assert!(first.await.expect("no panic").is_ok(), "{head}");
        assert_eq!(world.provider.writes(), 1, "{head}");
        let row = world.row(&key).await.expect("a row");
        assert_eq!(
            (row.status, row.attempts),
            (EffectStatus::Done, 1),
            "{head}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_in_no_state_to_be_sent_from_keeps_the_write_here() {
    let world = World::build().await;
    world.provider.answers.add_permits(100);
    assert!(world.write("k").await.is_ok());
    let row = world.row("k").await.expect("a row");
    let core = world.house.engine.core();
    // Somebody settles it between the look at the row and the note that it leaves.
    let connector = core.connectors();
    let connection = connector
        .find(world.house.org, "slack", Some("mine"))
        .await
        .expect("readable")
        .expect("there");
    let catalog = core.catalogs.of(world.house.org).await.expect("readable");
    let capability = catalog
        .integration("slack")
        .expect("there")
        .raw("slack.raw");
    let arguments = serde_json::from_str(&row.args).expect("json");
    let request = crate::connect::shape(
        &capability.expect("there"),
        &arguments,
        &connection.account,
        Some(&row.idempotency_key),
    );
    let ticket = crate::actors::connector::EffectTicket {
        org: world.house.org,
        execution: row.run_id,
        effect: row.id,
        attempts: 2,
        in_doubt_since: None,
        is_reopened: false,
    };
    let request = crate::actors::connector::CallRequest {
        request: request.expect("fits"),
        cost: 1,
        deadline: tokio::time::Instant::now() + super::house::PATIENCE,
        employee: crate::domain::EmployeeId::from_uuid(row.run_id.uuid()),
        effect: Some(ticket),
    };
    let before = world.provider.writes();
    let answer = connector.call(&connection, request).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(world.provider.writes(), before);
    assert_eq!(world.row("k").await.expect("a row"), row);
}
