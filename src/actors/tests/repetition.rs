//! A trigger that comes again gives the run of the first, whatever the policy, and the first goes on.

use super::house::{House, employee, two_steps};
use crate::{
    actors::{
        Settings, TriggerRequest,
        employee::{EmployeeError, KeyOrigin, TriggerKey, new_key},
        faults::Faults,
        router::{Event, KeyFrom, RouteError},
    },
    domain::{EmployeeId, ExecutionId, TriggerType},
    graph::Decision,
    persistence::EmployeeStatus,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const POLICIES: [&str; 4] = ["enqueue", "reject", "interrupt", "rollback"];

fn asks() -> Value {
    json!({
        "graph_id": "asks", "type": "skill",
        "nodes": [
            {"id": "ask", "type": "approval", "title": "Go on?", "arguments": {"n": "trigger.payload.n"}},
            {"id": "note", "type": "transform", "output": {"n": "trigger.payload.n"}, "remember": {"employee": {"last": "trigger.payload.n"}}}
        ],
        "edges": [{"from": "ask", "to": "note"}]
    })
}

async fn hired(house: &House, policy: &str, extra: Value) -> EmployeeId {
    let mut concurrency = json!({"on_conflict": policy});
    for (name, value) in extra.as_object().cloned().unwrap_or_default() {
        concurrency[name] = value;
    }
    house
        .hire(employee(&[asks()], json!({"concurrency": concurrency})))
        .await
}

fn keyed(key: TriggerKey, n: i64) -> TriggerRequest {
    TriggerRequest {
        conversation: Some("c1".into()),
        dedupe: Some(key),
        ..House::request(json!({"n": n}))
    }
}

async fn status(house: &House, execution: ExecutionId) -> &'static str {
    house.inspect(execution).await.row.status.name()
}

async fn until_it_waits(house: &House, execution: ExecutionId) {
    house
        .until("a question", async |house| {
            (status(house, execution).await == "waiting").then_some(())
        })
        .await;
}

/// Keys of one employee are not another's.
fn source(id: EmployeeId) -> String {
    format!("api>{id}")
}

/// The keys under which one trigger may come more than once: its sender's, one of ours that its sender gives back, and what another node
/// makes for the way.
fn keys(house: &House, id: EmployeeId) -> [TriggerKey; 4] {
    let source = source(id);
    let own = new_key(&house.engine.core().clock);
    let from_afar = |key| TriggerKey {
        origin: KeyOrigin::OtherNode,
        ..key
    };
    [
        TriggerKey::given(&source, "order-77"),
        TriggerKey::given(&source, &own),
        from_afar(TriggerKey::given("way", own.replace("trg_", "way-"))),
        from_afar(TriggerKey::given(
            &source,
            new_key(&house.engine.core().clock),
        )),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_trigger_gives_the_first_run_under_every_policy() {
    let house = House::build().await;
    for policy in POLICIES {
        for kind in 0..4 {
            let id = hired(&house, policy, json!({})).await;
            let key = keys(&house, id)[kind].clone();
            let send = || house.engine.trigger(house.org, id, keyed(key.clone(), 1));
            let first = send().await.expect("accepted");
            assert!(!first.duplicate, "{policy} {key:?}");
            until_it_waits(&house, first.execution).await;
            for _ in 0..3 {
                let again = send().await;
                let again = again.unwrap_or_else(|error| panic!("{policy} {key:?}: {error}"));
                assert_eq!(
                    (again.execution, again.duplicate),
                    (first.execution, true),
                    "{policy} {key:?}"
                );
            }
            assert_eq!(
                status(&house, first.execution).await,
                "waiting",
                "{policy} {key:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn triggers_sent_twice_at_once_make_one_run_each_under_every_policy() {
    let house = House::build().await;
    for policy in POLICIES {
        for kind in 0..4 {
            let id = hired(&house, policy, json!({})).await;
            let key = keys(&house, id)[kind].clone();
            let send = || house.engine.trigger(house.org, id, keyed(key.clone(), 1));
            let sent = futures::future::join_all((0..8).map(|_| send())).await;
            let accepted: Vec<_> = sent
                .into_iter()
                .map(|sent| sent.unwrap_or_else(|error| panic!("{policy} {key:?}: {error}")))
                .collect();
            let run = accepted[0].execution;
            assert!(
                accepted.iter().all(|one| one.execution == run),
                "{policy} {key:?}"
            );
            let firsts = accepted.iter().filter(|one| !one.duplicate).count();
            assert_eq!(firsts, 1, "{policy} {key:?}");
            until_it_waits(&house, run).await;
            let actor = format!("node/employee_host/employee:{id}");
            let vitals = house.engine.core().vitals.visible_to(house.org);
            let vitals = vitals.iter().find(|vitals| **vitals.path() == *actor);
            assert_eq!(
                vitals.expect("it is awake").view().restarts,
                0,
                "{policy} {key:?}"
            );
        }
    }
}

/// As an inbox that gives an event again after a crash, or a client that does not know whether its trigger arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_repeated_after_a_restart_gives_the_first_run_under_every_policy() {
    let mut house = House::build().await;
    let mut sent = Vec::new();
    for policy in POLICIES {
        for kind in 0..4 {
            let id = hired(&house, policy, json!({})).await;
            let key = keys(&house, id)[kind].clone();
            let first = house.engine.trigger(house.org, id, keyed(key.clone(), 1));
            let first = first.await.expect("accepted").execution;
            until_it_waits(&house, first).await;
            sent.push((policy, key, id, first));
        }
    }
    house.restart().await;
    for (policy, key, id, first) in sent {
        let again = house
            .engine
            .trigger(house.org, id, keyed(key.clone(), 1))
            .await;
        let again = again.unwrap_or_else(|error| panic!("{policy} {key:?}: {error}"));
        assert_eq!(
            (again.execution, again.duplicate),
            (first, true),
            "{policy} {key:?}"
        );
        assert_eq!(status(&house, first).await, "waiting", "{policy} {key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_trigger_of_a_finished_run_gives_that_run_and_stops_nothing() {
    let house = House::build().await;
    for policy in POLICIES {
        for kind in 0..4 {
            let id = hired(&house, policy, json!({})).await;
            let key = keys(&house, id)[kind].clone();
            let send = |key, n| house.engine.trigger(house.org, id, keyed(key, n));
            let first = send(key.clone(), 1).await.expect("accepted").execution;
            let approval = house
                .until("its question", async |house| {
                    let all = house.approvals().await;
                    all.into_iter().find(|row| row.run_id == first)
                })
                .await;
            house.decide(&approval, Decision::Approved).await;
            house.over(first).await;
            let other = send(TriggerKey::given(source(id), "another"), 2).await;
            let other = other.expect("accepted").execution;
            until_it_waits(&house, other).await;
            let again = send(key.clone(), 1).await.expect("known");
            assert_eq!(
                (again.execution, again.duplicate),
                (first, true),
                "{policy} {key:?}"
            );
            assert_eq!(status(&house, other).await, "waiting", "{policy} {key:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_trigger_is_known_where_no_other_would_be_taken() {
    let house = House::build().await;
    for kind in 0..4 {
        let id = hired(&house, "enqueue", json!({"max_runs": 1, "max_queued": 0})).await;
        let key = keys(&house, id)[kind].clone();
        let request = |key| TriggerRequest {
            conversation: None,
            ..keyed(key, 1)
        };
        let send = |key| house.engine.trigger(house.org, id, request(key));
        let first = send(key.clone()).await.expect("accepted").execution;
        until_it_waits(&house, first).await;
        // A waiting run leaves its room to another, which is at work for as long as its own question is not asked; so hold it instead.
        let core = house.engine.core();
        let mut tx = core.db.begin(house.org).await.expect("a transaction");
        let held = EmployeeStatus::Quarantined;
        crate::persistence::employee_set_status(&mut tx, id, held, core.clock.now())
            .await
            .expect("held");
        tx.commit().await.expect("committed");
        core.host().reread(house.org, id).await;
        send(TriggerKey::given(source(id), "second"))
            .await
            .expect("queued");
        let full = send(TriggerKey::given(source(id), "third")).await;
        assert!(matches!(full, Err(EmployeeError::QueueFull)), "{full:?}");
        let again = send(key.clone()).await.expect("known");
        assert_eq!((again.execution, again.duplicate), (first, true), "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn triggers_of_a_conversation_keep_their_order_while_one_is_looked_for() {
    let house = House::build().await;
    for policy in ["interrupt", "rollback"] {
        let id = hired(&house, policy, json!({})).await;
        let plain = |n| TriggerRequest {
            dedupe: None,
            ..keyed(TriggerKey::given(source(id), "-"), n)
        };
        let first = house.engine.trigger(house.org, id, plain(0)).await;
        until_it_waits(&house, first.expect("accepted").execution).await;
        // Handed over in this order without waiting: every other one has to be looked for in the database first.
        let sent: Vec<_> = (1..=20)
            .map(|n| match n % 2 {
                0 => plain(n),
                _ => keyed(TriggerKey::given(source(id), format!("{policy}{n}")), n),
            })
            .map(|request| {
                let (engine, org) = (house.engine.clone(), house.org);
                let mut sending = Box::pin(async move { engine.trigger(org, id, request).await });
                assert!(futures::FutureExt::now_or_never(&mut sending).is_none());
                sending
            })
            .collect();
        let accepted = futures::future::join_all(sent).await;
        let runs: Vec<_> = accepted
            .into_iter()
            .map(|one| one.expect("accepted").execution)
            .collect();
        let (last, others) = runs.split_last().expect("some");
        for run in others {
            house.over(*run).await;
        }
        until_it_waits(&house, *last).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_another_payload_is_refused_and_starts_nothing() {
    let house = House::build().await;
    for policy in POLICIES {
        let own = new_key(&house.engine.core().clock);
        for key in ["order-1", &own] {
            let id = hired(&house, policy, json!({})).await;
            let send = |n: i64| {
                let key = TriggerKey::given(source(id), key).for_payload(&json!({"n": n}));
                house.engine.trigger(house.org, id, keyed(key, n))
            };
            let first = send(1).await.expect("accepted").execution;
            until_it_waits(&house, first).await;
            for n in [2, 3] {
                let other = send(n).await;
                let refused =
                    matches!(other, Err(EmployeeError::OtherPayload(run)) if run == first);
                assert!(refused, "{policy} {key}: {other:?}");
            }
            assert!(send(1).await.expect("known").duplicate, "{policy} {key}");
            let at_once = TriggerKey::given(source(id), format!("{key}-at-once"));
            let sent = (0..6).map(|n| {
                let key = at_once.clone().for_payload(&json!({"n": n % 2}));
                house.engine.trigger(house.org, id, keyed(key, n % 2))
            });
            let sent = futures::future::join_all(sent).await;
            let taken = sent.iter().filter(|one| one.is_ok()).count();
            // Those with the payload of whichever came first; under `reject` none, for the conversation is busy.
            let wanted = if policy == "reject" { 0 } else { 3 };
            assert_eq!(taken, wanted, "{policy} {key}: {sent:?}");
            match policy {
                "interrupt" | "rollback" => drop(house.over(first).await),
                _ => assert_eq!(status(&house, first).await, "waiting"),
            }
        }
    }
}

/// A system that tells of an event again may say more of it the second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_system_is_known_by_its_name_alone() {
    let house = House::build().await;
    let subscription = json!([{"source": "hook:shop"}]);
    let graph = employee(&[two_steps("a")], json!({"subscriptions": subscription}));
    house.hire(graph).await;
    let event = |key_from, key: &str, n: i64| Event {
        kind: TriggerType::ExternalEvent,
        source: "hook:shop".into(),
        aliases: Vec::new(),
        event: Some("order.made".into()),
        payload: Arc::new(json!({"n": n})),
        key: Some(key.into()),
        key_from,
        conversation: None,
    };
    let route = |event| house.engine.route(house.org, event);
    let first = route(event(KeyFrom::System, "e1", 1))
        .await
        .expect("routed");
    let again = route(event(KeyFrom::System, "e1", 2))
        .await
        .expect("routed");
    assert!(again.started[0].accepted.duplicate && !first.started[0].accepted.duplicate);

    let first = route(event(KeyFrom::Client, "e2", 1))
        .await
        .expect("routed");
    let other = route(event(KeyFrom::Client, "e2", 2)).await;
    let run = first.started[0].accepted.execution;
    assert!(
        matches!(other, Err(RouteError::OtherPayload(its)) if its == run),
        "{other:?}"
    );
    let again = route(event(KeyFrom::Client, "e2", 1))
        .await
        .expect("routed");
    assert!(again.started[0].accepted.duplicate);

    let own = new_key(&house.engine.core().clock);
    let first = route(event(KeyFrom::ThisNode, &own, 1))
        .await
        .expect("routed");
    let again = route(event(KeyFrom::Client, &own, 1))
        .await
        .expect("routed");
    assert!(again.started[0].accepted.duplicate);
    assert_eq!(
        again.started[0].accepted.execution,
        first.started[0].accepted.execution
    );
    let other = route(event(KeyFrom::Client, &own, 2)).await;
    assert!(
        matches!(other, Err(RouteError::OtherPayload(_))),
        "{other:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_of_a_dismissed_employee_is_known_if_it_was_accepted() {
    let settings = Settings {
        idle_after: Duration::from_millis(50),
        ..Settings::default()
    };
    let house = House::with(settings, Faults::default()).await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let send = |key: &str| {
        let request = keyed(TriggerKey::given(source(id), key), 1);
        house.engine.trigger(house.org, id, request)
    };
    let first = send("k1").await.expect("accepted").execution;
    house.over(first).await;
    let dismissed = EmployeeStatus::Dismissed;
    crate::actors::staff::set_status(&house.engine, house.org, id, dismissed)
        .await
        .expect("dismissed");
    let again = send("k1").await.expect("known");
    assert_eq!((again.execution, again.duplicate), (first, true));
    let new = send("k2").await;
    assert!(matches!(new, Err(EmployeeError::Dismissed)), "{new:?}");
}
