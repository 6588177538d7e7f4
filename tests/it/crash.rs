//! The process is killed again and again in the middle of its work, and nothing is lost and nothing happens twice.

use crate::process::{Client, Launch, Server};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tenure::persistence::private_postgres::PrivatePostgres;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep},
};

const RUNS: usize = 200;
const KILLS: usize = 20;
const SENDS: usize = 3;
/// For all of it, beyond which something is stuck.
const PATIENCE: Duration = Duration::from_secs(300);

/// Like the clerk: think, ask, mail each, sum up. Where the graph's own question does not speak for the mails, each of them is asked about.
fn clerk_like(approves: &[&str]) -> Value {
    let mut clerk = json!({
        "name": "crash-clerk",
        "graph": {"graph_id": "crash", "type": "employee",
            "nodes": [{"id": "chase", "type": "skill", "skill_graph": "sg_chase", "permissions": ["gmail.send"]}], "edges": []},
        "skill_graphs": {"sg_chase": {"graph_id": "sg_chase", "type": "skill",
            "nodes": [
                {"id": "plan", "type": "transform", "output": {"n": "input.n", "to": "input.to"}},
                {"id": "ask", "type": "approval", "title": "Mail {{ input.n }}?", "arguments": {"n": "input.n", "to": "input.to"}},
                {"id": "mail", "type": "map", "items": "steps.plan.output.to", "as": "to", "width": 3,
                    "do": {"type": "action", "capability": "gmail.send",
                           "arguments": {"to": "to", "subject": {"$text": "run {{ steps.plan.output.n }}"}, "body": "'please pay'"},
                           "retry": {"max_attempts": 20, "initial_ms": 50, "factor": 2, "max_ms": 1000}}},
                {"id": "sum", "type": "transform", "output": {"n": "steps.plan.output.n", "sent": "size(input)"}}
            ],
            "edges": [{"from": "plan", "to": "ask"}, {"from": "ask", "to": "mail"}, {"from": "mail", "to": "sum"}]}}
    });
    if !approves.is_empty() {
        clerk["skill_graphs"]["sg_chase"]["nodes"][1]["approves"] = json!(approves);
    }
    clerk
}

/// The server of the moment; absent while it is being started again.
type Current = Arc<watch::Sender<Option<Client>>>;

async fn client(current: &Current) -> Client {
    let mut receiver = current.subscribe();
    let client = receiver
        .wait_for(Option::is_some)
        .await
        .expect("the killer lives as long as the test");
    client.clone().expect("just seen")
}

/// Fires every run once, with a key, as often as it takes to hear that it was taken.
async fn fire(current: Current, employee: String) -> HashMap<usize, String> {
    let mut accepted = HashMap::new();
    for n in 0..RUNS {
        let to: Vec<String> = (0..SENDS)
            .map(|item| format!("r{n}-{item}@example.test"))
            .collect();
        let body = json!({"payload": {"n": n, "to": to}, "idempotency_key": format!("run-{n}")});
        loop {
            let client = client(&current).await;
            match client
                .try_send(
                    "POST",
                    &format!("/v1/employees/{employee}/triggers"),
                    &[],
                    Some(&body),
                )
                .await
            {
                Ok(answer) if answer.status == 202 => {
                    accepted.insert(
                        n,
                        answer.body["execution_id"]
                            .as_str()
                            .expect("an id")
                            .to_string(),
                    );
                    break;
                }
                Ok(answer) => assert!(answer.status >= 500 || answer.status == 429, "{answer:?}"),
                // It was killed; the key makes the next try safe.
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
        sleep(Duration::from_millis(40)).await;
    }
    accepted
}

/// Approves whatever waits, until told to stop.
async fn approve(current: Current, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow_and_update() {
        let client = client(&current).await;
        for approval in client
            .try_list("/v1/approvals?status=pending")
            .await
            .unwrap_or_default()
        {
            let decision =
                json!({"decision": "approve", "arguments_hash": approval["arguments_hash"]});
            let path = format!(
                "/v1/approvals/{}/decision",
                approval["id"].as_str().expect("an id")
            );
            match client.try_send("POST", &path, &[], Some(&decision)).await {
                // 409: the answer to an earlier decision was lost, the decision was not.
                Ok(answer) => assert!(matches!(answer.status, 200 | 409 | 429 | 503), "{answer:?}"),
                Err(_) => break,
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn crash(launch: Launch, approves: &[&str], seed: u64) {
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = launch.start().await;
    let hired = server
        .client()
        .post("/v1/employees", &clerk_like(approves))
        .await;
    assert_eq!(hired.status, 201, "{hired:?}");
    let employee = hired.body["id"].as_str().expect("an id").to_string();

    let current: Current = Arc::new(watch::channel(Some(server.client())).0);
    let (stop, stopped) = watch::channel(false);
    let fired = tokio::spawn(fire(current.clone(), employee.clone()));
    let approver = tokio::spawn(approve(current.clone(), stopped));
    let server: Arc<Mutex<Option<Server>>> = Arc::new(Mutex::new(Some(server)));

    for _ in 0..KILLS {
        sleep(Duration::from_millis(random.random_range(20..600))).await;
        let mut running = server.lock().await;
        current.send_replace(None);
        running.take().expect("running").kill().await;
        let next = launch.start().await;
        current.send_replace(Some(next.client()));
        *running = Some(next);
    }
    let accepted = tokio::time::timeout(PATIENCE, fired)
        .await
        .expect("all fired in time")
        .expect("fired");
    let client = client(&current).await;
    let runs = until_over(&client, &employee).await;
    stop.send_replace(true);
    approver.await.expect("approved");

    let by_id: BTreeMap<String, Value> = runs
        .iter()
        .map(|run| {
            (
                run["execution_id"].as_str().expect("an id").to_string(),
                run.clone(),
            )
        })
        .collect();
    assert_eq!(runs.len(), RUNS, "one run for each trigger and no other");
    for (n, execution) in &accepted {
        let run = by_id
            .get(execution)
            .unwrap_or_else(|| panic!("run {n} is lost"));
        assert_eq!(run["status"], "completed", "run {n}: {run}");
    }
    check_effects(&client).await;
    let sandbox = server.lock().await.as_ref().expect("running").sandbox();
    check_record(&sandbox).await;
}

async fn until_over(client: &Client, employee: &str) -> Vec<Value> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let runs = client
            .try_list(&format!("/v1/runs?employee_id={employee}"))
            .await
            .expect("a list");
        let open: Vec<&Value> = runs
            .iter()
            .filter(|run| {
                !matches!(
                    run["status"].as_str(),
                    Some("completed" | "failed" | "cancelled")
                )
            })
            .collect();
        if open.is_empty() && runs.len() >= RUNS {
            return runs;
        }
        assert!(
            Instant::now() < give_up,
            "{} runs of {} are not over, the first: {:?}",
            open.len(),
            runs.len(),
            open.first()
        );
        sleep(Duration::from_millis(200)).await;
    }
}

/// Every intended write is settled; none is in doubt, since the provider can be asked.
async fn check_effects(client: &Client) {
    let effects = client.try_list("/v1/effects").await.expect("a list");
    assert_eq!(effects.len(), RUNS * SENDS);
    for effect in &effects {
        assert!(
            matches!(effect["status"].as_str(), Some("done" | "reconciled")),
            "{effect}"
        );
    }
}

/// The sandbox carried out each write once.
async fn check_record(sandbox: &Client) {
    let record = sandbox.get("/record?integration=gmail&limit=100000").await;
    let mut sent: HashMap<String, usize> = HashMap::new();
    for item in record.body["items"].as_array().expect("items") {
        let carried_out =
            item["method"] == "POST" && (item["status"].is_null() || item["status"] == 200);
        if carried_out {
            *sent
                .entry(item["idempotency_key"].as_str().expect("a key").to_string())
                .or_default() += 1;
        }
    }
    let twice: Vec<_> = sent.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "sent more than once: {twice:?}");
    assert_eq!(sent.len(), RUNS * SENDS, "each mail went out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_on_sqlite() {
    let data = tempfile::tempdir().expect("a directory");
    crash(Launch::new(data.path()), &["gmail.send"], rand::random()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_about_each_call_survives() {
    let data = tempfile::tempdir().expect("a directory");
    crash(Launch::new(data.path()), &[], rand::random()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_on_postgres() {
    let data = tempfile::tempdir().expect("a directory");
    let postgres = tokio::task::spawn_blocking(|| PrivatePostgres::start(&std::env::temp_dir()))
        .await
        .expect("ran")
        .expect("postgresql");
    let launch = Launch {
        database_url: Some(postgres.url("postgres")),
        ..Launch::new(data.path())
    };
    crash(launch, &["gmail.send"], rand::random()).await;
}
