//! Ingestion over restarts: one event, one run, whatever ends in between; and the order of a conversation.

use super::{
    effects::sandbox,
    house::{House, employee, two_steps},
};
use crate::{
    actors::{append::new_append, ingest::Receipt},
    connect::SecretName,
    connect::ingest::Incoming,
    domain::{ApprovalId, ConnectionId, ContentHash, EmployeeId, InboxId, OrgId},
    persistence::{
        ApprovalChange, ApprovalRow, ApprovalStatus, ConnectionRow, InboxChange, InboxFilter,
        InboxRow, InboxVerdict, OrgRow, PageRequest, RunFilter, Sealed, approval_list,
        connection_put, inbox_get, inbox_list, org_insert, org_set_settings, run_list,
    },
};
use serde_json::{Value, json};
use std::sync::Arc;

const SOURCE: &str = "hook:slack/main-1";

async fn listener(house: &House, extra: Value) -> EmployeeId {
    let mut spec = json!({"subscriptions": [{"source": "hook:slack"}]});
    for (field, value) in extra.as_object().expect("fields") {
        spec[field] = value.clone();
    }
    house.hire(employee(&[two_steps("sg")], spec)).await
}

fn incoming(name: &str, conversation: Option<&str>) -> Incoming {
    Incoming {
        external_id: Some(name.into()),
        kind: Some("message".into()),
        conversation: conversation.map(str::to_owned),
        payload: json!({"text": name}),
        echo: None,
    }
}

/// An event as it is when it is durable and nothing has become of it.
fn row(house: &House, name: &str, conversation: Option<&str>) -> InboxRow {
    let core = house.engine.core();
    let now = core.clock.now();
    InboxRow {
        org_id: house.org,
        id: InboxId::from_uuid(core.clock.uuid()),
        source: SOURCE.into(),
        scheme: "slack".into(),
        external_id: name.into(),
        kind: Some("message".into()),
        conversation_key: conversation.map(str::to_owned),
        received: now,
        headers: "{}".into(),
        payload: json!({"text": name}).to_string(),
        verdict: InboxVerdict::Pending,
        detail: None,
        triggered: "[]".into(),
        deliveries: 1,
        last: now,
        replays: 0,
    }
}

async fn store(house: &House, row: InboxRow) {
    let mut append = new_append(house.org);
    append.inbox.push(InboxChange::Receive(Arc::new(row)));
    let journal = &house.engine.core().journal;
    journal.write(None, append).await.expect("durable");
}

async fn take(house: &House, incoming: Incoming) -> Receipt {
    let ingest = house.engine.core().ingest();
    let headers = json!({});
    let taken = ingest.take(house.org, SOURCE, "slack", &headers, incoming);
    taken.await.expect("taken")
}

async fn runs(house: &House) -> usize {
    let mut tx = house
        .engine
        .core()
        .db
        .begin_read(house.org)
        .await
        .expect("a transaction");
    let request = PageRequest::new(Some(200), None).expect("a page");
    let found = run_list(&mut tx, &RunFilter::default(), &request).await;
    found.expect("a list").items.len()
}

async fn inbox(house: &House) -> Vec<InboxRow> {
    let mut tx = house
        .engine
        .core()
        .db
        .begin_read(house.org)
        .await
        .expect("a transaction");
    let request = PageRequest::new(Some(200), None).expect("a page");
    let found = inbox_list(&mut tx, &InboxFilter::default(), &request).await;
    found.expect("a list").items
}

async fn all_settled(house: &House, wanted: usize) -> Vec<InboxRow> {
    house
        .until("a verdict on every event", async |house| {
            let all = inbox(house).await;
            let settled = all.iter().all(|row| row.verdict != InboxVerdict::Pending);
            (settled && all.len() == wanted).then_some(all)
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_durable_and_not_routed_is_routed_after_a_restart() {
    let mut house = House::build().await;
    listener(&house, json!({})).await;
    // Durable, and then the process ends.
    for n in 0..50 {
        store(&house, row(&house, &format!("e{n}"), None)).await;
    }
    house.restart().await;
    let all = all_settled(&house, 50).await;
    assert!(all.iter().all(|row| row.verdict == InboxVerdict::Accepted));
    assert_eq!(runs(&house).await, 50);
    // Slack has heard nothing and sends again.
    let receipt = take(&house, incoming("e7", None)).await;
    assert!(receipt.duplicate);
    assert_eq!(runs(&house).await, 50);
}

/// The process ends after the runs were accepted and before that was written to the inbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routing_twice_starts_nothing_twice() {
    let mut house = House::build().await;
    listener(&house, json!({})).await;
    let core = house.engine.core().clone();
    let receipt = take(&house, incoming("e1", None)).await;
    receipt.settled.expect("the first").await.expect("settled");
    let first = all_settled(&house, 1).await.remove(0);
    // As if the verdict had not been written.
    let mut tx = core.db.begin_system("a test").await.expect("a transaction");
    crate::persistence::inbox_unsettle(&mut tx, first.id)
        .await
        .expect("changed");
    tx.commit().await.expect("committed");
    house.restart().await;
    let again = all_settled(&house, 1).await.remove(0);
    assert_eq!(
        (again.verdict, &again.triggered),
        (InboxVerdict::Accepted, &first.triggered)
    );
    assert_eq!(runs(&house).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_keeps_its_order_through_the_inbox() {
    let house = House::build().await;
    let asking = json!({
        "graph_id": "sg", "type": "skill", "edges": [],
        "nodes": [{"id": "ask", "type": "approval", "title": "May I?", "arguments": {"text": "trigger.payload.text"}}]
    });
    let spec = employee(&[asking], json!({"subscriptions": [{"source": SOURCE}]}));
    house.hire(spec).await;
    for n in 0..20 {
        take(&house, incoming(&format!("e{n:02}"), Some("talk"))).await;
    }
    let mut all = all_settled(&house, 20).await;
    all.sort_by_key(|row| row.id);
    let executions: Vec<String> = all
        .iter()
        .map(|row| {
            serde_json::from_str::<Value>(&row.triggered).expect("json")[0]["execution_id"]
                .to_string()
        })
        .collect();
    assert!(
        executions.is_sorted(),
        "accepted in the order of arrival: {executions:?}"
    );
    // The first asks, the others wait for their turn.
    let asked = house
        .until("a question", async |house| {
            let mut tx = house
                .engine
                .core()
                .db
                .begin_read(house.org)
                .await
                .expect("a transaction");
            let request = PageRequest::new(Some(50), None).expect("a page");
            let found = approval_list(&mut tx, &Default::default(), &request)
                .await
                .expect("a list")
                .items;
            (!found.is_empty()).then_some(found)
        })
        .await;
    assert_eq!((asked.len(), asked[0].status), (1, ApprovalStatus::Pending));
    assert!(asked[0].arguments.contains("e00"), "{}", asked[0].arguments);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_take_it_now_gets_it_later() {
    let house = House::build().await;
    let tight = json!({"concurrency": {"max_runs": 1, "max_queued": 0}});
    let asking = json!({
        "graph_id": "sg", "type": "skill", "edges": [],
        "nodes": [{"id": "w", "type": "wait", "duration": "1s"}]
    });
    let mut spec = employee(&[asking], tight);
    spec["subscriptions"] = json!([{"source": "hook:slack"}]);
    house.hire(spec).await;
    for n in 0..3 {
        take(&house, incoming(&format!("e{n}"), Some("talk"))).await;
    }
    let all = all_settled(&house, 3).await;
    assert!(
        all.iter().all(|row| row.verdict == InboxVerdict::Accepted),
        "{all:?}"
    );
    assert_eq!(runs(&house).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_deliveries_is_as_many_runs_as_events() {
    let house = House::build().await;
    listener(&house, json!({})).await;
    let core = house.engine.core().clone();
    let deliveries = (0..400).map(|n| {
        let (core, org) = (core.clone(), house.org);
        async move {
            let headers = json!({});
            let taken = core.ingest().take(
                org,
                SOURCE,
                "slack",
                &headers,
                incoming(&format!("e{}", n % 100), None),
            );
            taken.await.expect("taken").entry
        }
    });
    let entries = futures::future::join_all(deliveries).await;
    for n in 0..100 {
        let same: Vec<InboxId> = entries.iter().skip(n).step_by(100).copied().collect();
        assert!(same.iter().all(|entry| *entry == same[0]));
    }
    let all = all_settled(&house, 100).await;
    assert!(
        all.iter()
            .all(|row| row.verdict == InboxVerdict::Accepted && row.deliveries == 4)
    );
    assert_eq!(runs(&house).await, 100);
    let mut tx = core.db.begin_read(house.org).await.expect("a transaction");
    assert!(
        inbox_get(&mut tx, entries[0])
            .await
            .expect("readable")
            .is_some()
    );
}

/// The process ends again and again around the posting of a question: it is in the channel once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_posted_once_over_restarts() {
    let mut house = House::build().await;
    house.connect_sandbox().await;
    let asking = json!({
        "graph_id": "sg", "type": "skill", "edges": [],
        "nodes": [{"id": "ask", "type": "approval", "title": "May I?", "arguments": {"n": "trigger.payload.n"}}]
    });
    let who = house.hire(employee(&[asking], json!({}))).await;
    // An answer that is lost: nobody here knows whether the message is there.
    let lost = json!({"integration": "slack", "kind": "close_after_accept", "count": 1});
    sandbox(&house, "POST", "/faults", lost).await;
    let mut tx = house
        .engine
        .core()
        .db
        .begin(house.org)
        .await
        .expect("a transaction");
    let settings = r##"{"slack": {"approvals_channel": "#finance"}}"##;
    org_set_settings(&mut tx, settings).await.expect("set");
    tx.commit().await.expect("committed");
    for n in 0..3 {
        house.tell(who, json!({"n": n})).await;
        house.restart().await;
    }
    let posts = async |house: &House| {
        let record = sandbox(
            house,
            "GET",
            "/record?integration=slack&limit=1000",
            Value::Null,
        )
        .await;
        let items = record["items"].as_array().cloned().unwrap_or_default();
        let posted = items.into_iter().filter(|item| {
            item["path"]
                .as_str()
                .is_some_and(|path| path.ends_with("/chat.postMessage"))
                && (item["status"].is_null() || item["status"] == 200)
        });
        posted
            .map(|item| item["body"]["blocks"].to_string())
            .collect::<Vec<_>>()
    };
    house
        .until("three questions", async |house| {
            (posts(house).await.len() >= 3).then_some(())
        })
        .await;
    for _ in 0..3 {
        house.restart().await;
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    }
    let posted = posts(&house).await;
    let different: std::collections::BTreeSet<_> = posted.iter().collect();
    assert_eq!((posted.len(), different.len()), (3, 3), "{posted:?}");
}

fn executions(mut all: Vec<InboxRow>) -> Vec<String> {
    all.sort_by_key(|row| row.external_id.clone());
    let first = |row: &InboxRow| {
        let triggered: Value = serde_json::from_str(&row.triggered).expect("json");
        triggered[0]["execution_id"].to_string()
    };
    all.iter().map(first).collect()
}

/// Another node took the first ones and told nobody; its clock was ahead. What comes directly does not pass them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_directly_does_not_pass_what_is_pending() {
    let mut house = House::build().await;
    listener(&house, json!({})).await;
    for talk in 0..10 {
        let key = format!("talk-{talk}");
        for n in 0..3 {
            let ahead = row(&house, &format!("{key}-{n}"), Some(&key));
            let id = later_id(&ahead, 100 - n);
            store(&house, InboxRow { id, ..ahead }).await;
        }
        take(&house, incoming(&format!("{key}-3"), Some(&key))).await;
    }
    let order = executions(all_settled(&house, 40).await);
    for talk in order.chunks(4) {
        assert!(talk.is_sorted(), "{talk:?}");
    }
    // And over a restart, with a lower name for what came last.
    for n in 0..5 {
        let last = row(&house, &format!("z-{n}"), Some("z"));
        store(
            &house,
            InboxRow {
                id: later_id(&last, 1_000 - n),
                ..last
            },
        )
        .await;
    }
    house.restart().await;
    let order = executions(all_settled(&house, 45).await);
    assert!(order[40..].is_sorted(), "{order:?}");
}

/// A name as a clock makes it that is far ahead.
fn later_id(row: &InboxRow, n: u128) -> InboxId {
    let ahead = row.id.uuid().as_u128() + (1 << 100) + n;
    InboxId::from_uuid(uuid::Uuid::from_u128(ahead))
}

/// An org whose Slack takes requests and never answers, with many questions; another org's is asked all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slack_that_does_not_answer_holds_back_no_other_org() {
    let mut house = House::build().await;
    house.connect_sandbox().await;
    let core = house.engine.core().clone();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let base_url = format!("http://{}", silent.local_addr().expect("an address"));
    let (called, mut calls) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            open.push(stream);
            let _ = called.try_send(());
        }
    });
    let stuck = OrgId::from_uuid(core.clock.uuid());
    let mut tx = core.db.begin_system("a test").await.expect("a transaction");
    let org = OrgRow {
        id: stuck,
        name: "stuck".into(),
        settings: "{}".into(),
        created: core.clock.now(),
    };
    org_insert(&mut tx, &org).await.expect("an org");
    tx.commit().await.expect("committed");
    let id = ConnectionId::from_uuid(core.clock.uuid());
    let name = SecretName {
        org: stuck,
        kind: "connection",
        id: &id.to_string(),
    };
    let connection = ConnectionRow {
        sealed_credential: Sealed(core.sealer.seal(b"xoxb-1", name).expect("sealed")),
        account: json!({"base_url": base_url, "data": {}}).to_string(),
        base_url: Some(base_url),
        status: "active".into(),
        ..ConnectionRow::pending(stuck, id, "slack", "stuck", core.clock.now())
    };
    for org in [stuck, house.org] {
        let mut tx = core.db.begin(org).await.expect("a transaction");
        let settings = r##"{"slack": {"approvals_channel": "#finance"}}"##;
        org_set_settings(&mut tx, settings).await.expect("set");
        if org == stuck {
            connection_put(&mut tx, &connection)
                .await
                .expect("a connection");
        }
        tx.commit().await.expect("committed");
    }
    for n in 0..30 {
        question(&house, stuck, n).await;
    }
    let called = tokio::time::timeout(std::time::Duration::from_secs(30), calls.recv());
    called
        .await
        .expect("the silent one is called")
        .expect("a call");
    // Its look is under way, and will be for minutes.
    question(&house, house.org, 100).await;
    house
        .until("the other's question", async |house| {
            let path = "/record?integration=slack&limit=1000";
            let record = sandbox(house, "GET", path, Value::Null).await;
            record
                .to_string()
                .contains("Call number 100?")
                .then_some(())
        })
        .await;
}

/// A question about a client's call.
async fn question(house: &House, org: OrgId, n: u32) {
    let core = house.engine.core();
    let execution = core.clock.execution_id();
    let mut append = new_append(org);
    append
        .approvals
        .push(ApprovalChange::Ask(Box::new(ApprovalRow {
            org_id: org,
            id: ApprovalId::from_uuid(core.clock.uuid()),
            run_id: execution,
            employee_id: EmployeeId::from_uuid(core.clock.uuid()),
            step: "0.0.1.0".into(),
            title: format!("Call number {n}?"),
            arguments: "{}".into(),
            arguments_hash: ContentHash::of(b"{}"),
            status: ApprovalStatus::Pending,
            asked: core.clock.now(),
            expires: None,
            decided: None,
            decided_by: None,
            comment: None,
            asked_by: Some("a client".into()),
            owner_user: None,
        })));
    core.journal.write(None, append).await.expect("durable");
}
