//! A thousand calls meet a token that has ended, its renewal takes ten seconds, and the process is killed in the middle of it.
//!
//! The rule: a renewal that is not disturbed is asked for once. One that a kill cuts off is asked for once more, since its answer died with
//! the process: two requests, the second with the refresh token that the first had used, which a provider that rotates takes for a while.
//! In no case is a person bothered, and every call is carried out, the writes once.

use crate::{
    desk::{self, Sandbox},
    process::{Client, Launch},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

const CALLS: usize = 1_000;
const TOKEN_ENDPOINT_MS: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(180);

struct Case {
    /// Each renewal gives a new refresh token and uses the old one up.
    rotate: bool,
    kill: bool,
}

/// Calls until it is answered; the key makes the next try safe.
async fn call(mut current: watch::Receiver<Option<Client>>, n: usize) {
    let (path, input) = match n % 2 {
        0 => ("/proxy/desk.who", json!({})),
        _ => ("/proxy/desk.say", json!({"text": format!("message {n}")})),
    };
    let body = json!({"input": input, "idempotency_key": format!("call-{n}")});
    let give_up = Instant::now() + PATIENCE;
    loop {
        let seen = current.wait_for(Option::is_some).await;
        let client = seen.expect("the killer lives").clone();
        let client = client.expect("just seen");
        match client.try_send("POST", path, &[], Some(&body)).await {
            Ok(answer) if answer.status == 200 => return,
            // Too many at once, or the service is stopping: nothing else may be said.
            Ok(answer) => assert!(matches!(answer.status, 429 | 503), "call {n}: {answer:?}"),
            Err(_) => {}
        }
        assert!(Instant::now() < give_up, "call {n} was not carried out");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn until(what: &str, mut good: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !good().await {
        assert!(Instant::now() < give_up, "{what} did not come");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn refreshed_once(case: Case) {
    let data = tempfile::tempdir().expect("a directory");
    let sandbox = Sandbox::start(&data.path().join("provider")).await;
    let mut launch = Launch::new(&data.path().join("service"));
    launch.allow_private = Some("127.0.0.0/8".into());
    let server = launch.start().await;
    let client = server.client();
    desk::add(&client, &sandbox, &sandbox.url).await;

    // The first token lives shortly, the next ones outlive the test.
    let settings = |ttl: u64| json!({"access_ttl_seconds": ttl, "rotate_refresh": case.rotate, "reuse_revokes_family": case.rotate, "grace_seconds": 300});
    sandbox.oauth(settings(3)).await;
    let id = desk::connect(&client).await;
    sandbox.oauth(settings(36_000)).await;
    let slow = json!({"integration": "slack", "target": "token", "kind": "latency", "ms": TOKEN_ENDPOINT_MS, "count": 1});
    assert_eq!(sandbox.client().post("/faults", &slow).await.status, 201);
    let connection = format!("/v1/connections/{id}");
    let ends = client.get(&connection).await.body["expires_at"].clone();
    let ends =
        chrono::DateTime::parse_from_rfc3339(ends.as_str().expect("a time")).expect("a time");
    until("the token's end", async || chrono::Utc::now() > ends).await;

    let (current, clients) = watch::channel(Some(client));
    let mut calls = JoinSet::new();
    for n in 0..CALLS {
        calls.spawn(call(clients.clone(), n));
    }
    until("the first refresh", async || {
        !sandbox.token_requests("refresh_token").await.is_empty()
    })
    .await;
    let mut server = Some(server);
    if case.kill {
        // The calls are here, and the token endpoint is far from its answer.
        sleep(Duration::from_millis(TOKEN_ENDPOINT_MS / 3)).await;
        current.send_replace(None);
        server.take().expect("running").kill().await;
        let next = launch.start().await;
        current.send_replace(Some(next.client()));
        server = Some(next);
    }
    while let Some(done) = calls.join_next().await {
        done.expect("a call was carried out");
    }

    let refreshes = sandbox.token_requests("refresh_token").await;
    let outcomes: Vec<&Value> = refreshes.iter().map(|one| &one["outcome"]).collect();
    let expected = if case.kill { 2 } else { 1 };
    assert_eq!(outcomes, vec!["ok"; expected], "{refreshes:?}");
    let said = sandbox.posts().await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in &said {
        *counts.entry(text).or_default() += 1;
    }
    let wanted: BTreeSet<String> = (0..CALLS)
        .filter(|n| n % 2 == 1)
        .map(|n| format!("message {n}"))
        .collect();
    let found: BTreeSet<String> = counts.keys().map(|text| (*text).to_owned()).collect();
    assert_eq!(found, wanted, "no write is lost");
    assert!(
        counts.values().all(|count| *count == 1),
        "and none happened twice: {counts:?}"
    );

    let client = server.as_ref().expect("running").client();
    let connection = client.get(&connection).await.body;
    assert_eq!(connection["status"], "active", "{connection}");
    let events = client
        .get("/v1/events?format=json&types=connection.needs_reauth")
        .await;
    assert_eq!(events.body["items"], json!([]), "nobody was bothered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_renew_an_ended_token_once() {
    refreshed_once(Case {
        rotate: false,
        kill: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_costs_one_more_refresh_and_no_call() {
    refreshed_once(Case {
        rotate: false,
        kill: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_that_rotates_is_used_once() {
    refreshed_once(Case {
        rotate: true,
        kill: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_no_grant_whose_refresh_token_rotates() {
    refreshed_once(Case {
        rotate: true,
        kill: true,
    })
    .await;
}
