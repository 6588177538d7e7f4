//! The connector's client against the sandbox, over real sockets.

use super::*;
use crate::{
    connect::{
        CallOutcome, CallerConfig, Catalog, HttpCaller, ProbeReading, Resolution, ShapedProbe,
        resolution, shape,
    },
    domain::Timestamp,
};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

const DEADLINE: Duration = Duration::from_secs(10);

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 21).unwrap()
}

/// A sandbox, and a client with an account at each of its providers.
struct Bench {
    url: String,
    caller: HttpCaller,
    catalog: Arc<Catalog>,
    http: reqwest::Client,
}

impl Bench {
    fn at(url: String) -> Self {
        let caller = HttpCaller::new(&CallerConfig::default()).unwrap();
        Self {
            url,
            caller,
            catalog: Arc::new(Catalog::embedded().unwrap()),
            http: reqwest::Client::new(),
        }
    }

    async fn start(folder: &Path) -> (SandboxHandle, Self) {
        let handle = Sandbox::start(([127, 0, 0, 1], 0).into(), folder.into(), today())
            .await
            .unwrap();
        let bench = Self::at(handle.url());
        (handle, bench)
    }

    fn account(&self, id: &str) -> SandboxAccount {
        let integration = id.split('.').next().unwrap();
        accounts_at(&self.url)
            .into_iter()
            .find(|account| account.integration == integration)
            .unwrap()
    }

    async fn call_within(
        &self,
        id: &str,
        arguments: &Value,
        key: &str,
        deadline: Duration,
    ) -> CallOutcome {
        let capability = self.catalog.capability(id).unwrap();
        let account = self.account(id);
        let request = shape(
            capability,
            arguments,
            &account.account,
            capability.write.then_some(key),
        )
        .unwrap();
        self.caller.call(&request, &account.token, deadline).await
    }

    async fn call(&self, id: &str, arguments: Value) -> CallOutcome {
        self.call_within(id, &arguments, "tnr_test", DEADLINE).await
    }

    async fn output(&self, id: &str, arguments: Value) -> Value {
        match self.call(id, arguments).await {
            CallOutcome::Ok { output, .. } => output,
            other => panic!("{id}: {other:?}"),
        }
    }

    /// What the provider says about a write, as the ledger would ask.
    async fn happened(&self, id: &str, arguments: &Value, key: &str) -> Option<Value> {
        let account = self.account(id);
        let sent = Timestamp::from_millis(chrono::Utc::now().timestamp_millis());
        let capability = self.catalog.capability(id).unwrap();
        let found = resolution(capability, arguments, &account.account, key, sent).unwrap();
        let Resolution::Probe(mut probe): Resolution = found else {
            panic!("no probe")
        };
        loop {
            match self.ask(&probe, &account).await {
                ProbeReading::Happened(output) => return Some(output),
                ProbeReading::DidNotHappen => return None,
                ProbeReading::Next(next) => probe = next,
                ProbeReading::Unclear(reason) => panic!("{reason}"),
            }
        }
    }

    async fn ask(&self, probe: &ShapedProbe, account: &SandboxAccount) -> ProbeReading {
        match self
            .caller
            .call(&probe.request, &account.token, DEADLINE)
            .await
        {
            CallOutcome::Ok { output, .. } => probe.read(&output),
            other => panic!("{other:?}"),
        }
    }

    async fn fault(&self, fault: Value) -> (u16, Value) {
        let response = self
            .http
            .post(format!("{}/faults", self.url))
            .json(&fault)
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn record(&self, query: &str) -> Value {
        let response = self
            .http
            .get(format!("{}/record?{query}", self.url))
            .send()
            .await
            .unwrap();
        response.json().await.unwrap()
    }

    async fn statuses(&self, integration: &str) -> Vec<Value> {
        let record = self.record(&format!("integration={integration}")).await;
        record["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["status"].clone())
            .collect()
    }
}

fn mail() -> Value {
    json!({"to": "a@b.example", "subject": "Grüezi", "body": "Hello"})
}
fn message() -> Value {
    json!({"channel": "#finance", "text": "hello"})
}

#[tokio::test]
async fn every_capability_gives_what_its_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let late = json!({"balance_over": 500, "due_before": "2026-10-22", "order_by": "DueDate"});
    let calls = [
        ("slack.chat.post", message()),
        (
            "slack.conversations.history",
            json!({"channel": "C0FINANCE"}),
        ),
        (
            "slack.users.lookupByEmail",
            json!({"email": "maya@demo.example"}),
        ),
        ("quickbooks.invoice.query", late),
        ("quickbooks.customer.get", json!({"id": "3"})),
        ("gmail.send", mail()),
        ("gmail.search", json!({"query": "subject:grüezi"})),
    ];
    assert_eq!(calls.len(), bench.catalog.capabilities().count());
    let mut outputs = Vec::new();
    for (id, arguments) in calls {
        let output = bench.output(id, arguments).await;
        let schema =
            jsonschema::validator_for(&bench.catalog.capability(id).unwrap().output).unwrap();
        assert!(schema.is_valid(&output), "{id}: {output}");
        outputs.push(output);
    }
    assert_eq!(outputs[1]["messages"][0]["text"], "hello");
    assert_eq!(outputs[2]["user"]["id"], "U0MAYA");
    let numbers: Vec<_> = outputs[3]["invoices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["DocNumber"])
        .collect();
    assert_eq!(numbers, ["1007", "1001", "1003", "1005"]);
    assert_eq!(
        outputs[4]["customer"]["PrimaryEmailAddr"]["Address"],
        "billing@cedar-dental.example"
    );
    assert_eq!(outputs[6]["messages"][0]["id"], outputs[5]["id"]);
    let none = bench
        .output(
            "quickbooks.invoice.query",
            json!({"balance_over": 1_000_000}),
        )
        .await;
    assert_eq!((&none["invoices"], &none["count"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn pages_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    for number in 0..5 {
        let key = format!("tnr_{number}");
        bench
            .call_within("gmail.send", &mail(), &key, DEADLINE)
            .await;
        bench
            .call_within("slack.chat.post", &message(), &key, DEADLINE)
            .await;
    }
    let (mut seen, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let mut arguments = json!({"channel": "C0FINANCE", "limit": 2});
        if cursor.is_string() {
            arguments["cursor"] = cursor;
        }
        let page = bench.output("slack.conversations.history", arguments).await;
        seen.extend(
            page["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|message| message["ts"].to_string()),
        );
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|newer, older| newer > older));
    let first = bench
        .output("gmail.search", json!({"query": "hello", "max_results": 3}))
        .await;
    let rest = json!({"query": "hello", "max_results": 3, "page_token": first["next_page_token"]});
    let second = bench.output("gmail.search", rest).await;
    assert_eq!(second["messages"].as_array().unwrap().len(), 2);
    assert!(second.get("next_page_token").is_none());
    let third = json!({"start_position": 11, "max_results": 5});
    assert_eq!(
        bench.output("quickbooks.invoice.query", third).await["count"],
        2
    );
}

#[tokio::test]
async fn refusals_are_the_providers_own_and_hold_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let rejected = |outcome: CallOutcome| match outcome {
        CallOutcome::Rejected { status, code, .. } => (status, code),
        other => panic!("{other:?}"),
    };
    let nowhere = json!({"channel": "#nowhere", "text": "t"});
    assert_eq!(
        rejected(bench.call("slack.chat.post", nowhere).await),
        (200, "channel_not_found".into())
    );
    assert_eq!(
        rejected(
            bench
                .call("quickbooks.customer.get", json!({"id": "99"}))
                .await
        ),
        (400, "610".into())
    );
    let wrong = json!({"where": [{"field": "Id", "operator": "IN", "value": ["1"]}], "order_by": "DueDate", "page": 1});
    let capability = bench
        .catalog
        .capability("quickbooks.invoice.query")
        .unwrap();
    assert!(
        shape(
            capability,
            &wrong,
            &bench.account("quickbooks").account,
            None
        )
        .is_err()
    );
    for id in [
        "slack.users.lookupByEmail",
        "quickbooks.customer.get",
        "gmail.search",
    ] {
        let arguments = json!({"email": "a@b.example"});
        let arguments = if id.starts_with("slack") {
            arguments
        } else {
            json!({"id": "1"})
        };
        let arguments = if id.starts_with("gmail") {
            json!({"query": "x"})
        } else {
            arguments
        };
        let capability = bench.catalog.capability(id).unwrap();
        let request = shape(capability, &arguments, &bench.account(id).account, None).unwrap();
        let outcome = bench
            .caller
            .call(&request, &"very-secret".into(), DEADLINE)
            .await;
        assert!(
            matches!(outcome, CallOutcome::Auth { .. }),
            "{id}: {outcome:?}"
        );
        let broken = bench
            .caller
            .call(&request, &"very-secret\n".into(), DEADLINE)
            .await;
        assert!(matches!(broken, CallOutcome::Unsent { .. }));
        assert!(!format!("{outcome:?} {broken:?} {request:?}").contains("very-secret"));
    }
}

#[tokio::test]
async fn each_fault_is_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let short = Duration::from_millis(150);
    for (id, arguments, integration) in [
        ("slack.chat.post", message(), "slack"),
        ("gmail.send", mail(), "gmail"),
    ] {
        let meet = async |kind: &str, ms: Option<u64>, key: &str| {
            let fault = json!({"integration": integration, "kind": kind, "count": 1, "ms": ms});
            assert_eq!(bench.fault(fault).await.0, 201);
            bench.call_within(id, &arguments, key, short).await
        };
        let limited = meet("status_429", Some(1_500), "tnr_a").await;
        assert!(
            matches!(limited, CallOutcome::RateLimited { retry_after: Some(wait), .. } if wait.as_secs() == 2)
        );
        let broken = meet("status_500", None, "tnr_a").await;
        assert!(
            matches!(
                broken,
                CallOutcome::Unknown {
                    status: Some(500),
                    ..
                }
            ),
            "{broken:?}"
        );
        assert_eq!(bench.happened(id, &arguments, "tnr_a").await, None);
        assert!(matches!(
            meet("latency", Some(20), "tnr_b").await,
            CallOutcome::Ok { .. }
        ));
        let late = meet("latency", Some(10_000), "tnr_c").await;
        assert!(
            matches!(late, CallOutcome::Unknown { status: None, .. }),
            "{late:?}"
        );
        assert!(matches!(
            meet("hang", None, "tnr_d").await,
            CallOutcome::Unknown { status: None, .. }
        ));
        let start = Instant::now();
        let lost = meet("close_after_accept", None, "tnr_e").await;
        assert!(
            matches!(lost, CallOutcome::Unknown { status: None, .. }),
            "{lost:?}"
        );
        assert!(start.elapsed() < short, "the connection was really closed");
        for key in ["tnr_b", "tnr_c", "tnr_d", "tnr_e"] {
            assert!(
                bench.happened(id, &arguments, key).await.is_some(),
                "{id} {key}"
            );
        }
        let statuses: Vec<_> = bench.record(&format!("integration={integration}")).await["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["method"] == "POST")
            .map(|item| item["status"].clone())
            .collect();
        assert_eq!(
            statuses,
            [
                json!(429),
                json!(500),
                json!(200),
                json!(200),
                Value::Null,
                Value::Null
            ]
        );
    }
}

#[tokio::test]
async fn a_fault_that_is_wrong_is_a_problem_that_names_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let (status, problem) = bench
        .fault(json!({"integration": "slack", "kind": "explode", "count": 1}))
        .await;
    assert_eq!((status, &problem["field"]), (400, &json!("kind")));
    let url = format!("{}/faults", bench.url);
    let response = bench.http.post(&url).body("{").send().await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    bench
        .fault(json!({"integration": "slack", "kind": "hang", "count": 3}))
        .await;
    let listed: Value = bench
        .http
        .get(&url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        listed["items"],
        json!([{"integration": "slack", "kind": "hang", "count": 3, "ms": null}])
    );
    assert_eq!(bench.http.delete(&url).send().await.unwrap().status(), 204);
    assert!(matches!(
        bench.call("slack.chat.post", message()).await,
        CallOutcome::Ok { .. }
    ));
    assert_eq!(
        bench.record("integration=teams").await["field"],
        "integration"
    );
    assert_eq!(bench.record("limit=0").await["field"], "limit");
}

#[tokio::test]
async fn nobody_there_is_surely_unsent_and_too_much_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, bench) = Bench::start(folder.path()).await;
    let account = bench.account("quickbooks");
    let capability = bench
        .catalog
        .capability("quickbooks.invoice.query")
        .unwrap();
    let request = shape(capability, &json!({}), &account.account, None).unwrap();
    let small = HttpCaller::new(&CallerConfig {
        answer_limit: 100,
        ..CallerConfig::default()
    })
    .unwrap();
    let outcome = small.call(&request, &account.token, DEADLINE).await;
    assert!(
        matches!(
            outcome,
            CallOutcome::Unknown {
                status: Some(200),
                ..
            }
        ),
        "{outcome:?}"
    );
    handle.shutdown().await;
    let fresh = HttpCaller::new(&CallerConfig::default()).unwrap();
    let outcome = fresh.call(&request, &account.token, DEADLINE).await;
    assert!(matches!(outcome, CallOutcome::Unsent { .. }), "{outcome:?}");
    assert!(
        !format!("{outcome:?}").contains("Invoice"),
        "no arguments in errors"
    );
}

#[tokio::test]
async fn the_record_can_be_read_in_pages_and_reset() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    bench.call("gmail.send", mail()).await;
    for _ in 0..3 {
        bench.call("slack.chat.post", message()).await;
    }
    let item = &bench.record("integration=gmail").await["items"][0];
    assert_eq!(item["idempotency_key"], "tnr_test");
    assert_eq!(item["path"], "/gmail/v1/users/me/messages/send");
    let readable = json!({
        "to": "a@b.example", "cc": null, "bcc": null, "subject": "Grüezi", "message_id": "<tnr_test@tenure>", "text": "Hello",
    });
    assert_eq!(item["body"]["message"], readable);
    assert!(!item.to_string().contains("sandbox-gmail-token"));
    let first = bench.record("integration=slack&limit=2").await;
    assert_eq!(
        (first["items"].as_array().unwrap().len(), &first["next"]),
        (2, &json!(3))
    );
    let second = bench.record("integration=slack&limit=2&after=3").await;
    assert_eq!(
        (second["items"].as_array().unwrap().len(), &second["next"]),
        (1, &Value::Null)
    );
    assert_eq!(
        bench
            .http
            .delete(format!("{}/record", bench.url))
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(bench.record("").await["items"], json!([]));
    assert_eq!(
        bench
            .happened("slack.chat.post", &message(), "tnr_test")
            .await,
        None
    );
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_any_other_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, bench) = Bench::start(folder.path()).await;
    bench.call("slack.chat.post", message()).await;
    handle.shutdown().await;
    let path = folder.path().join("record.jsonl");
    let append = |text: &str| {
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap()
    };
    append("{\"seq\":2,\"at\":\"20");
    let (handle, bench) = Bench::start(folder.path()).await;
    bench.call("gmail.send", mail()).await;
    assert_eq!(bench.statuses("slack").await, [200]);
    assert_eq!(bench.statuses("gmail").await, [200]);
    handle.shutdown().await;
    append("nonsense\n");
    let failed = Sandbox::start(([127, 0, 0, 1], 0).into(), folder.path().into(), today()).await;
    assert!(matches!(failed, Err(SandboxError::Damaged { line: 3, .. })));
}

/// Kills the child when a test ends early.
struct Killed(Child);
impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const FOLDER: &str = "TENURE_TEST_SANDBOX_FOLDER";

/// Not a test: the process that the next test kills.
#[tokio::test]
#[ignore = "started by another test"]
async fn serve_until_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let handle = Sandbox::start(([127, 0, 0, 1], 0).into(), folder.into(), today())
        .await
        .unwrap();
    println!("url={}", handle.url());
    std::future::pending::<()>().await;
}

fn start_process(folder: &Path) -> (Killed, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "sandbox::tests::serve_until_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines
        .find_map(|line| {
            line.unwrap()
                .split_once("url=")
                .map(|(_, url)| url.to_owned())
        })
        .unwrap();
    // The rest of its output goes nowhere, but the pipe has to stay open.
    std::thread::spawn(move || lines.for_each(drop));
    (Killed(child), url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered: Vec<String> = Vec::new();
    for round in 0..3 {
        let (child, url) = start_process(folder.path());
        let bench = Arc::new(Bench::at(url));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let bench = bench.clone();
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for number in 0.. {
                        let key = format!("tnr_{round}_{writer}_{number}");
                        match bench
                            .call_within("slack.chat.post", &message(), &key, DEADLINE)
                            .await
                        {
                            CallOutcome::Ok { .. } => done.push(key),
                            _ => break,
                        }
                    }
                    done
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(250)).await;
        drop(child);
        for writer in writers {
            answered.extend(writer.await.unwrap());
        }
    }
    assert!(answered.len() > 100, "only {}", answered.len());
    let (_handle, bench) = Bench::start(folder.path()).await;
    let record = bench.record("integration=slack&limit=100000").await;
    let recorded: std::collections::HashSet<_> = record["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["idempotency_key"].as_str())
        .collect();
    let lost: Vec<_> = answered
        .iter()
        .filter(|key| !recorded.contains(key.as_str()))
        .collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    let last = answered.last().unwrap();
    assert!(
        bench
            .happened("slack.chat.post", &message(), last)
            .await
            .is_some()
    );
}
