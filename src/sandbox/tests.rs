//! The connector's client against the sandbox, over real sockets.

use super::*;
use crate::{
    connect::{
        CallOutcome, CallerConfig, Catalog, Doubt, HttpCaller, ProbeReading, Resolution,
        ShapedProbe, resolution, shape,
    },
    domain::Timestamp,
};
use serde_json::json;
use std::{path::Path, sync::Arc};

mod apis;
mod faults;
mod kill;
mod oauth;
mod quotas;
mod record;
mod send;
mod stripe;

const DEADLINE: Duration = Duration::from_secs(10);

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 21).unwrap()
}

/// A client that may call this machine.
fn here() -> CallerConfig {
    CallerConfig {
        addresses: "127.0.0.0/8".parse().unwrap(),
        ..CallerConfig::default()
    }
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
        let caller = HttpCaller::new(&here()).unwrap();
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
        let found = resolution(
            capability,
            arguments,
            &account.account,
            key,
            Doubt { sent, now: sent },
        )
        .unwrap();
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
async fn what_the_demo_uses_gives_what_its_schema_says() {
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
