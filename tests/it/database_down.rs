//! PostgreSQL goes away, and comes back: meanwhile every route says so soon and in the same words, and afterwards all is as before.

use crate::process::{Answer, Client, Launch};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use tenure::persistence::private_postgres::PrivatePostgres;
use tokio::time::{Instant, sleep};

/// Within which an answer has to come; the runtime waits for two seconds, and the machine may be busy.
const SOON: Duration = Duration::from_secs(6);
/// Within which all is well again.
const BACK: Duration = Duration::from_secs(30);
/// What this process knows by itself, or has kept.
const NEEDS_NONE: [&str; 2] = ["/v1/actors", "/v1/catalog"];

/// Every route that reads, with ids of things that do not exist.
async fn routes(client: &Client) -> Vec<String> {
    let document = client.get("/openapi.json").await.body;
    let paths = document["paths"].as_object().expect("paths");
    let reads = paths
        .iter()
        .filter(|(_, methods)| methods.get("get").is_some());
    let filled = reads.map(|(path, _)| {
        let segments = path.split('/').map(|segment| match segment {
            text if text.starts_with('{') => "0198a2b4-0000-7000-8000-000000000001",
            text => text,
        });
        let path = segments.collect::<Vec<_>>().join("/");
        // A stream is opened at once, and ends when it cannot be read.
        match path.ends_with("/events") {
            true => path + "?format=json",
            false => path,
        }
    });
    filled.collect()
}

async fn timed(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let asked = Instant::now();
    let answer = client.try_send(method, path, &[], body).await;
    let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    assert!(
        asked.elapsed() < SOON,
        "{method} {path}: {:?}",
        asked.elapsed()
    );
    answer
}

fn says_unavailable(path: &str, answer: &Answer) {
    assert_eq!(
        answer.status,
        503,
        "{path}: {:.300}",
        answer.body.to_string()
    );
    assert_eq!(answer.body["code"], "unavailable", "{path}");
    assert!(answer.retry_after.is_some(), "{path}");
}

/// All routes at once say that the database is away.
async fn everything_is_unavailable(client: &Client, employee: &str) {
    let trigger = format!("/v1/employees/{employee}/triggers");
    let body = json!({"payload": {}});
    let writes = [
        (trigger.as_str(), &body),
        ("/v1/employees", &body),
        ("/v1/connections", &body),
        ("/hooks/slack/main-0198a2b4", &body),
        ("/proxy/gmail.send", &body),
    ];
    let writes = writes.map(|(path, body)| async move {
        (
            path.to_owned(),
            timed(client, "POST", path, Some(body)).await,
        )
    });
    for (path, answer) in futures::future::join_all(writes).await {
        // What is wrong with a request in itself may be said all the same.
        if !matches!(answer.status, 400 | 415 | 422) {
            says_unavailable(&path, &answer);
        }
        if path == trigger {
            says_unavailable(&path, &answer);
        }
    }
    let reads = routes(client).await.into_iter().map(|path| async move {
        let answer = timed(client, "GET", &path, None).await;
        (path, answer)
    });
    for (path, answer) in futures::future::join_all(reads).await {
        if path.starts_with("/proxy/") || !path.starts_with("/v1/") {
            assert!(answer.status != 500, "{path}: {}", answer.body);
        } else if !NEEDS_NONE.iter().any(|free| path.starts_with(free)) {
            // An id that is none is told from one that is not there.
            if !matches!(answer.status, 400 | 404) {
                says_unavailable(&path, &answer);
            }
        }
    }
    assert_eq!(timed(client, "GET", "/healthz", None).await.status, 200);
    says_unavailable("/readyz", &timed(client, "GET", "/readyz", None).await);
}

async fn everything_is_back(client: &Client, employee: &str) {
    let began = Instant::now();
    loop {
        let ready = client.get("/readyz").await.status == 200;
        let body = json!({"payload": {}});
        let path = format!("/v1/employees/{employee}/triggers");
        if ready && client.post(&path, &body).await.status == 202 {
            break;
        }
        assert!(began.elapsed() < BACK, "it does not come back");
        sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..40 {
        assert_eq!(client.get("/v1/runs").await.status, 200);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it does not panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_every_route_says_so_soon() {
    let start = || PrivatePostgres::start(&std::env::temp_dir());
    let mut postgres = blocking(start).await.expect("a private cluster");
    let data = TempDir::new().expect("a directory");
    let server = Launch {
        database_url: Some(postgres.url("postgres")),
        ..Launch::new(data.path())
    };
    let server = server.start().await;
    let client = server.client();
    let hired = client
        .post(
            "/v1/employees",
            &json!({
                "name": "clerk",
                "graph": {"graph_id": "g", "type": "employee",
                    "nodes": [{"id": "s", "type": "skill", "skill_graph": "sg", "permissions": []}], "edges": []},
                "skill_graphs": {"sg": {"graph_id": "sg", "type": "skill",
                    "nodes": [{"id": "plan", "type": "transform", "output": {"n": "1"}}], "edges": []}}
            }),
        )
        .await;
    assert_eq!(hired.status, 201, "{}", hired.body);
    let employee = hired.body["id"].as_str().expect("an id").to_owned();
    everything_is_back(&client, &employee).await;

    for _ in 0..2 {
        postgres = blocking(move || {
            postgres.stop().expect("stopped");
            postgres
        })
        .await;
        everything_is_unavailable(&client, &employee).await;
        postgres = blocking(move || {
            postgres.start_again().expect("started");
            postgres
        })
        .await;
        everything_is_back(&client, &employee).await;
    }

    postgres.pause().expect("paused");
    everything_is_unavailable(&client, &employee).await;
    postgres.go_on().expect("going on");
    everything_is_back(&client, &employee).await;
    server.kill().await;
}
