//! Slack sends, the process is killed again and again, Slack sends again: one event, one run, one answer in the thread.

use crate::process::{Client, Launch, Server};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tenure::{
    connect::webhook::sign_slack, domain::Timestamp, persistence::private_postgres::PrivatePostgres,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

const EVENTS: usize = 120;
/// Deliveries of each event: the first, and what Slack repeats.
const DELIVERIES: usize = 4;
const KILLS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(240);
const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

fn answerer() -> Value {
    json!({
        "name": "answerer",
        "graph": {"graph_id": "answerer", "type": "employee",
            "nodes": [{"id": "answer", "type": "skill", "skill_graph": "sg_answer", "permissions": ["slack.chat.post"]}], "edges": []},
        "skill_graphs": {"sg_answer": {"graph_id": "sg_answer", "type": "skill", "edges": [],
            "nodes": [{"id": "say", "type": "action", "capability": "slack.chat.post",
                "arguments": {"channel": "input.channel", "thread_ts": "input.thread_ts", "text": "'answer to ' + input.text"},
                "retry": {"max_attempts": 20, "initial_ms": 50, "factor": 2, "max_ms": 1000}}]}},
        "subscriptions": [{"source": "hook:slack", "event": "message"}],
    })
}

fn message(n: usize) -> Value {
    json!({
        "type": "event_callback", "team_id": "T1", "api_app_id": "A1", "event_id": format!("Ev{n:04}"), "authorizations": [],
        "event": {"type": "message", "channel": "C0FINANCE", "user": "U0MAYA", "text": format!("question {n}"), "ts": format!("17000{n:05}.000100")},
    })
}

fn now() -> Timestamp {
    chrono::Utc::now().into()
}

/// Delivers as Slack does: what was not answered with 200 comes again.
async fn deliver(current: watch::Receiver<Option<Client>>, path: String, n: usize, retry: usize) {
    let mut current = current;
    loop {
        let client = current
            .wait_for(Option::is_some)
            .await
            .expect("the killer lives")
            .clone()
            .expect("just seen");
        let (body, at) = (message(n), now());
        let signature = sign_slack(&SECRET.into(), at, body.to_string().as_bytes());
        let stamp = (at.micros() / 1_000_000).to_string();
        let number = retry.to_string();
        let mut headers = vec![
            ("x-slack-request-timestamp", stamp.as_str()),
            ("x-slack-signature", signature.as_str()),
        ];
        if retry > 0 {
            headers.push(("x-slack-retry-num", number.as_str()));
        }
        match client.try_send("POST", &path, &headers, Some(&body)).await {
            Ok(answer) if answer.status == 200 => return,
            Ok(answer) => assert!(answer.status >= 500, "{answer:?}"),
            Err(_) => {}
        }
        sleep(Duration::from_millis(30)).await;
    }
}

async fn crash(launch: Launch, seed: u64) {
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = launch.start().await;
    let client = server.client();
    let hired = client.post("/v1/employees", &answerer()).await;
    assert_eq!(hired.status, 201, "{hired:?}");
    let hook = json!({"source": "slack", "scheme": "slack", "secret": SECRET});
    let hook = client.post("/v1/hooks", &hook).await;
    let path = hook.body["path"].as_str().expect("a path").to_owned();

    let (current, client) = watch::channel(Some(client));
    let mut all: Vec<(usize, usize)> = (0..EVENTS)
        .flat_map(|n| (0..DELIVERIES).map(move |retry| (n, retry)))
        .collect();
    // Near each other, as a storm is, and not in order; of the deliveries of every other event two arrive at the same moment.
    for storm in all.chunks_mut(DELIVERIES * 4) {
        let (together, apart) = storm.split_at_mut(DELIVERIES * 2);
        apart.shuffle(&mut random);
        together.swap(2, DELIVERIES);
        together.swap(3, DELIVERIES + 1);
    }
    let deliveries = tokio::spawn({
        let (client, path) = (client.clone(), path.clone());
        async move {
            let mut waiting = tokio::task::JoinSet::new();
            for pair in all.chunks(2) {
                for (n, retry) in pair {
                    waiting.spawn(deliver(client.clone(), path.clone(), *n, *retry));
                }
                sleep(Duration::from_millis(25)).await;
            }
            while let Some(done) = waiting.join_next().await {
                done.expect("delivered");
            }
        }
    });
    let mut server: Option<Server> = Some(server);
    for _ in 0..KILLS {
        sleep(Duration::from_millis(random.random_range(50..700))).await;
        current.send_replace(None);
        server.take().expect("running").kill().await;
        let next = launch.start().await;
        current.send_replace(Some(next.client()));
        server = Some(next);
    }
    tokio::time::timeout(PATIENCE, deliveries)
        .await
        .expect("all delivered in time")
        .expect("delivered");
    let server = Arc::new(server.expect("running"));
    until_over(&server.client()).await;
    check(&server).await;
}

async fn until_over(client: &Client) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let pending = client
            .try_list("/v1/inbox?verdict=pending")
            .await
            .expect("a list");
        let runs = client.try_list("/v1/runs").await.expect("a list");
        let open = runs.iter().filter(|run| {
            !matches!(
                run["status"].as_str(),
                Some("completed" | "failed" | "cancelled")
            )
        });
        let open = open.count();
        if pending.is_empty() && open == 0 && runs.len() >= EVENTS {
            return;
        }
        assert!(
            Instant::now() < give_up,
            "{} events are pending, {open} of {} runs are open",
            pending.len(),
            runs.len()
        );
        sleep(Duration::from_millis(200)).await;
    }
}

async fn check(server: &Server) {
    let client = server.client();
    let events = client.try_list("/v1/inbox").await.expect("a list");
    assert_eq!(events.len(), EVENTS, "one entry an event");
    let mut runs = BTreeSet::new();
    for event in &events {
        assert_eq!(event["verdict"], "accepted", "{event}");
        // What was durable and not answered is known when it comes again, so none comes less often than it was sent.
        assert!(
            event["deliveries"].as_u64() >= Some(DELIVERIES as u64),
            "{event}"
        );
        let triggered = event["triggered"].as_array().expect("a list");
        assert_eq!(triggered.len(), 1, "{event}");
        runs.insert(
            triggered[0]["execution_id"]
                .as_str()
                .expect("an id")
                .to_owned(),
        );
    }
    assert_eq!(runs.len(), EVENTS, "a run each");
    assert_eq!(
        client.try_list("/v1/runs").await.expect("a list").len(),
        EVENTS,
        "and no other"
    );
    let record = server
        .sandbox()
        .get("/record?integration=slack&limit=100000")
        .await;
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for call in record.body["items"].as_array().expect("items") {
        let carried_out = call["status"].is_null() || call["status"] == 200;
        if call["path"] == "/api/chat.postMessage" && carried_out {
            let text = call["body"]["text"].as_str().expect("a text").to_owned();
            *answers.entry(text).or_default() += 1;
        }
    }
    assert_eq!(answers.len(), EVENTS, "each was answered");
    let twice: Vec<_> = answers.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "answered more than once: {twice:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_is_one_run_and_one_answer_on_sqlite() {
    let data = tempfile::tempdir().expect("a directory");
    crash(Launch::new(data.path()), rand::random()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_is_one_run_and_one_answer_on_postgres() {
    let data = tempfile::tempdir().expect("a directory");
    let postgres = tokio::task::spawn_blocking(|| PrivatePostgres::start(&std::env::temp_dir()))
        .await
        .expect("ran")
        .expect("postgresql");
    let launch = Launch {
        database_url: Some(postgres.url("postgres")),
        ..Launch::new(data.path())
    };
    crash(launch, rand::random()).await;
}
