//! Writes to the outside: once each, whatever gets lost.

use super::house::{House, employee};
use crate::{
    actors::{Faults, Settings},
    domain::{ContentHash, EffectId, ExecutionId},
    graph::{Outcome, RunStatus},
    persistence::{
        Append, EffectChange, EffectFilter, EffectRow, EffectStatus, PageRequest, effect_list,
    },
};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::time::Duration;

fn mails() -> Value {
    json!({
        "graph_id": "mails", "type": "skill",
        "nodes": [{
            "id": "each", "type": "map", "items": "input.to", "as": "to", "width": 3,
            "do": {"type": "action", "capability": "gmail.send",
                   "arguments": {"to": "to", "subject": "'hello'", "body": {"$text": "dear {{ to }}"}},
                   "retry": {"max_attempts": 3, "initial_ms": 10, "factor": 2, "max_ms": 100}}
        }],
        "edges": []
    })
}

/// A request to the sandbox's own routes.
pub async fn sandbox(house: &House, method: &str, path: &str, body: Value) -> Value {
    let url = house.sandbox.as_ref().expect("a sandbox").url();
    let address = url.trim_start_matches("http://").to_string();
    let stream = tokio::net::TcpStream::connect(&address)
        .await
        .expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .expect("a handshake");
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .header("content-type", "application/json")
        .body(Full::new(bytes::Bytes::from(body.to_string())))
        .expect("a request");
    let answer = sender
        .send_request(request)
        .await
        .expect("an answer")
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    serde_json::from_slice(&answer).unwrap_or(Value::Null)
}

pub async fn sent(house: &House) -> Vec<Value> {
    let record = sandbox(house, "GET", "/record?integration=gmail", Value::Null).await;
    let items = record["items"].as_array().cloned().unwrap_or_default();
    items
        .into_iter()
        .filter(|item| {
            item["method"] == "POST"
                && (item["status"].is_null() || item["status"] == 200)
                && item["refused"] != true
        })
        .collect()
}

pub async fn effects(house: &House) -> Vec<EffectRow> {
    let mut tx = house
        .engine
        .core()
        .db
        .begin_read(house.org)
        .await
        .expect("a transaction");
    effect_list(&mut tx, &EffectFilter::default(), &PageRequest::default())
        .await
        .expect("a page")
        .items
}

async fn three_mails_with(fault: Value) {
    let mut house = House::build().await;
    house.connect_sandbox().await;
    house.allow("gmail.send").await;
    let id = house.hire(employee(&[mails()], json!({}))).await;
    if !fault.is_null() {
        sandbox(&house, "POST", "/faults", fault.clone()).await;
    }
    let finished = house
        .run(id, json!({"to": ["a@x.test", "b@x.test", "c@x.test"]}))
        .await;
    assert!(
        matches!(finished.outcome, Outcome::Completed { .. }),
        "{fault}: {:?}",
        finished.outcome
    );
    assert_eq!(sent(&house).await.len(), 3, "{fault}");
    let rows = effects(&house).await;
    assert_eq!(rows.len(), 3);
    assert!(
        rows.iter()
            .all(|row| matches!(row.status, EffectStatus::Done | EffectStatus::Reconciled)),
        "{rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_happens_once() {
    three_mails_with(Value::Null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_looked_up_and_not_sent_again() {
    three_mails_with(json!({"integration": "gmail", "kind": "close_after_accept", "count": 2}))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_for_now_is_waited_out() {
    three_mails_with(json!({"integration": "gmail", "kind": "status_429", "count": 2})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_error_is_looked_up_before_it_is_sent_again() {
    three_mails_with(json!({"integration": "gmail", "kind": "status_500", "count": 1})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_told_with_status_200_is_waited_out() {
    three_mails_with(json!({"integration": "gmail", "kind": "limit_200", "count": 2})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_lacks_its_id_is_looked_up_and_not_sent_again() {
    for kind in ["empty_200", "html_200"] {
        let path = "/gmail/v1/users/me/messages/send";
        three_mails_with(json!({"integration": "gmail", "kind": kind, "count": 2, "path": path}))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_told_with_status_200_is_no_success() {
    let mut house = House::build().await;
    house.connect_sandbox().await;
    house.allow("gmail.send").await;
    let id = house.hire(employee(&[mails()], json!({}))).await;
    let fault = json!({"integration": "gmail", "kind": "error_200", "count": 100});
    sandbox(&house, "POST", "/faults", fault).await;
    let finished = house.run(id, json!({"to": ["a@x.test"]})).await;
    let Outcome::Failed { error } = &finished.outcome else {
        panic!("{:?}", finished.outcome);
    };
    assert_eq!(error.error.code, "provider_error", "{error:?}");
    assert_eq!(sent(&house).await.len(), 0);
    let rows = effects(&house).await;
    let statuses: Vec<_> = rows.iter().map(|row| row.status).collect();
    assert_eq!(statuses, [EffectStatus::Failed]);
}

/// What the provider answers is no list, so the run must not say that there are no invoices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_none_fails_the_run() {
    let graph = json!({
        "graph_id": "late", "type": "skill",
        "nodes": [{"id": "list", "type": "action", "capability": "quickbooks.invoice.query", "arguments": {"unpaid": "true"},
                   "retry": {"max_attempts": 1, "initial_ms": 10, "factor": 2, "max_ms": 100}}],
        "edges": []
    });
    let mut house = House::build().await;
    house.connect_sandbox().await;
    house.allow("quickbooks.invoice.query").await;
    let id = house.hire(employee(&[graph], json!({}))).await;
    for kind in ["error_200", "empty_200", "html_200"] {
        let fault = json!({"integration": "quickbooks", "kind": kind, "count": 100});
        sandbox(&house, "POST", "/faults", fault).await;
        let finished = house.run(id, json!({})).await;
        let Outcome::Failed { error } = &finished.outcome else {
            panic!("{kind}: {:?}", finished.outcome);
        };
        assert_eq!(error.error.code, "provider_error", "{kind}: {error:?}");
        sandbox(&house, "DELETE", "/faults", Value::Null).await;
        let finished = house.run(id, json!({})).await;
        assert!(matches!(finished.outcome, Outcome::Completed { .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_connection_parks_the_run_until_it_is_there() {
    let mut house = House::build().await;
    house.allow("gmail.send").await;
    let id = house.hire(employee(&[mails()], json!({}))).await;
    let execution = house.tell(id, json!({"to": ["a@x.test"]})).await;
    let run = house
        .until("parked", async |house| {
            Some(house.inspect(execution).await).filter(|run| run.row.status.name() == "waiting")
        })
        .await;
    assert_eq!(run.machine.waiting_on()[0].kind, "connection");
    house.connect_sandbox().await;
    let run = house
        .until("the end", async |house| {
            Some(house.inspect(execution).await).filter(|run| run.row.status.is_finished())
        })
        .await;
    assert_eq!(run.machine.status(), RunStatus::Completed);
    assert_eq!(sent(&house).await.len(), 1);
}

/// Nobody waits for them any more: the provider is asked what it has, and nothing is sent for a run that is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_of_cancelled_runs_are_looked_up_and_never_sent_again() {
    let settings = Settings {
        request_timeout: Duration::from_secs(3),
        sweep_every: Duration::from_millis(200),
        ..Settings::default()
    };
    let mut house = House::with(settings, Faults::default()).await;
    house.connect_sandbox().await;
    for (capability, integration, arguments, wanted) in [
        (
            "gmail.send",
            "gmail",
            json!({"to": "'a@x.test'", "subject": "'hello'", "body": "'dear'"}),
            EffectStatus::Reconciled,
        ),
        (
            "quickbooks.customer.create",
            "quickbooks",
            json!({"display_name": "'Foo AG'"}),
            EffectStatus::Ambiguous,
        ),
    ] {
        house.allow(capability).await;
        let skill = json!({
            "graph_id": "once", "type": "skill", "edges": [],
            "nodes": [{"id": "once", "type": "action", "capability": capability, "arguments": arguments}]
        });
        let mut spec = employee(&[skill], json!({}));
        spec["graph"]["nodes"][0]["permissions"] = json!([format!("{integration}.*")]);
        let id = house.hire(spec).await;
        let hang = json!({"integration": integration, "kind": "hang", "count": 1});
        sandbox(&house, "POST", "/faults", hang).await;
        let execution = house.tell(id, json!({})).await;
        let posts = async |house: &House| {
            let path = format!("/record?integration={integration}");
            let record = sandbox(house, "GET", &path, Value::Null).await;
            let items = record["items"].as_array().cloned().unwrap_or_default();
            items.iter().filter(|one| one["method"] == "POST").count()
        };
        house
            .until("the write at the provider", async |house| {
                (posts(house).await == 1).then_some(())
            })
            .await;
        let (org, by) = (house.org, "anna".to_owned());
        house
            .engine
            .cancel(org, id, execution, by, None)
            .await
            .expect("cancelled");
        let settled = house.until("settled", async |house| {
            let all = effects(house).await;
            all.into_iter()
                .find(|row| row.run_id == execution && row.status != EffectStatus::Sent)
        });
        let settled = settled.await;
        assert_eq!(settled.status, wanted, "{settled:?}");
        assert_eq!(posts(&house).await, 1, "{capability}");
    }
}

/// Intentions of runs that are not there, as a trigger that was taken before can leave them, and of runs that are over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_effect_stays_between_two_states_after_a_sweep() {
    let settings = Settings {
        action_deadline: Duration::from_millis(100),
        request_timeout: Duration::from_millis(100),
        sweep_every: Duration::from_millis(100),
        ..Settings::default()
    };
    let house = House::with(settings, Faults::default()).await;
    let core = house.engine.core();
    let mut rows = Vec::new();
    for step in ["0.1.0.1", "0.0.0.0", "0.0.1.0", "3.2.0.7.1"] {
        for status in [EffectStatus::Intended, EffectStatus::Sent] {
            let id = EffectId::from_uuid(core.clock.uuid());
            rows.push(EffectRow {
                org_id: house.org,
                id,
                run_id: ExecutionId::from_uuid(core.clock.uuid()),
                step: step.into(),
                key: id.to_string().into_bytes(),
                capability: "slack.raw".into(),
                integration: "slack".into(),
                connection_id: None,
                args_hash: ContentHash::of_json(&json!({})),
                args: "{}".into(),
                idempotency_key: "k".into(),
                status,
                attempts: 1,
                epoch: 1,
                intended: core.clock.now(),
                sent: None,
                settled: None,
                response: None,
                error: None,
                note: None,
                owner_user: None,
            });
        }
    }
    let mut append = Append::new(house.org);
    append.effects = rows
        .into_iter()
        .map(|row| EffectChange::Intend(Box::new(row)))
        .collect();
    core.journal.write(None, append).await.expect("durable");
    let settled = house
        .until("settled", async |house| {
            let all = effects(house).await;
            let is_open =
                |row: &EffectRow| matches!(row.status, EffectStatus::Intended | EffectStatus::Sent);
            (!all.iter().any(is_open)).then_some(all)
        })
        .await;
    let count = |status| settled.iter().filter(|row| row.status == status).count();
    assert_eq!(
        (count(EffectStatus::Failed), count(EffectStatus::Ambiguous)),
        (4, 4),
        "{settled:?}"
    );
}
