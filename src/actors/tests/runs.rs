//! Runs from trigger to end: durable, in both modes, over restarts.

use super::house::{House, employee, two_steps};
use crate::{
    actors::{
        DecisionRequest, Faults, Settings, TriggerRequest,
        employee::{EmployeeError, KeyOrigin, ON_THE_WAY, TriggerKey, approval_id},
        router::{Event, KeyFrom},
    },
    domain::{ContentHash, TriggerType},
    graph::{Decision, Fact, Outcome, RunStatus},
    persistence::{
        ApprovalFilter, ApprovalStatus, MemoryOwner, PageRequest, approval_list, memory_list,
    },
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

fn result(outcome: &Outcome) -> &Value {
    match outcome {
        Outcome::Completed { result } => result,
        other => panic!("not completed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_skills_in_sequence_in_both_modes() {
    let house = House::build().await;
    for durability in ["default", "step"] {
        let skills = [two_steps("a"), two_steps("b"), two_steps("c")];
        let id = house
            .hire(employee(&skills, json!({"durability": durability})))
            .await;
        let finished = house.run(id, json!({"x": 1, "y": 2})).await;
        assert_eq!(result(&finished.outcome), &json!({"got": 2}));
        let stored = house.inspect(finished.execution).await;
        assert_eq!(stored.machine.status(), RunStatus::Completed);
        assert_eq!(stored.facts.len(), 8, "accepted, six steps, finished");
        assert!(matches!(stored.facts.last(), Some(Fact::Finished { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_at_once_each_end_once() {
    let house = House::build().await;
    let id = house
        .hire(employee(&[two_steps("a"), two_steps("b")], json!({})))
        .await;
    let runs = futures::future::join_all((0..300).map(|n| house.run(id, json!({"n": n})))).await;
    assert!(
        runs.iter()
            .all(|run| result(&run.outcome) == &json!({"got": 2}))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_makes_one_run_of_two_triggers() {
    let house = House::build().await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let keyed = || TriggerRequest {
        dedupe: Some(TriggerKey::given("api", "k")),
        ..House::request(json!({}))
    };
    let both = futures::future::join(
        house.engine.trigger(house.org, id, keyed()),
        house.engine.trigger(house.org, id, keyed()),
    )
    .await;
    let (first, second) = (both.0.expect("accepted"), both.1.expect("accepted"));
    assert_eq!(first.execution, second.execution);
    assert_eq!(
        [first.duplicate, second.duplicate]
            .iter()
            .filter(|duplicate| **duplicate)
            .count(),
        1
    );
}

/// As a trigger from another node whose answer was lost: it starts before it is known to be no duplicate, and is taken back then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_is_sent_again_on_its_way_makes_one_run() {
    let house = House::build().await;
    for durability in ["default", "step"] {
        let skills = [asks(), two_steps("b")];
        let graph = employee(&skills, json!({"durability": durability}));
        let id = house.hire(graph).await;
        for round in 0..20 {
            let request = || TriggerRequest {
                dedupe: Some(TriggerKey {
                    origin: KeyOrigin::OtherNode,
                    ..TriggerKey::given(ON_THE_WAY, format!("{durability} {round}"))
                }),
                ..House::request(json!({"amount": round, "x": 1, "y": 2}))
            };
            let engine = &house.engine;
            let sent = (0..3).map(|_| engine.trigger_and_watch(house.org, id, request()));
            let accepted = futures::future::join_all(sent).await;
            let runs: Vec<_> = accepted.into_iter().map(Result::unwrap).collect();
            assert!(
                runs.iter()
                    .all(|run| run.0.execution == runs[0].0.execution)
            );
            let first = runs.iter().filter(|run| !run.0.duplicate).count();
            assert_eq!(first, 1, "{durability}");
        }
        // It is as before: nobody broke down, and what was taken back holds nobody up.
        let actor = format!("node/employee_host/employee:{id}");
        let vitals = house.engine.core().vitals.visible_to(house.org);
        let vitals = vitals.iter().find(|vitals| **vitals.path() == *actor);
        assert_eq!(vitals.expect("it is awake").view().restarts, 0);
        let asked = async |house: &House| {
            let all = house.approvals().await;
            let its = all.iter().filter(|approval| approval.employee_id == id);
            (its.count() >= 20).then_some(())
        };
        house.until("each run asks", asked).await;
        house.engine.core().journal.barrier().await;
        let all = house.approvals().await;
        let its = all.iter().filter(|approval| approval.employee_id == id);
        assert_eq!(its.count(), 20, "{durability}");
    }
}

fn asks() -> Value {
    json!({
        "graph_id": "asks", "type": "skill",
        "nodes": [
            {"id": "ask", "type": "approval", "title": "Pay {{ input.amount }}?", "arguments": {"amount": "input.amount"}, "expires_ms": 600000},
            {"id": "done", "type": "transform", "output": {"by": "input.by", "amount": "steps.ask.output.arguments.amount"}}
        ],
        "edges": [{"from": "ask", "to": "done"}]
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_waits_over_sleep_and_restart_and_is_decided_once() {
    let settings = Settings {
        idle_after: Duration::from_millis(50),
        ..Settings::default()
    };
    let mut house = House::with(settings, Faults::default()).await;
    let id = house.hire(employee(&[asks()], json!({}))).await;
    let execution = house.tell(id, json!({"amount": 7})).await;
    house
        .until("sleep", async |house| {
            (!house.engine.core().host().is_awake(id)).then_some(())
        })
        .await;
    house.restart().await;

    let mut tx = house
        .engine
        .core()
        .db
        .begin_read(house.org)
        .await
        .expect("a transaction");
    let page = approval_list(&mut tx, &ApprovalFilter::default(), &PageRequest::default())
        .await
        .expect("a page");
    drop(tx);
    let approval = &page.items[0];
    assert_eq!(
        (approval.title.as_str(), approval.status),
        ("Pay 7?", ApprovalStatus::Pending)
    );
    let step = approval.step.parse().expect("a step");
    assert_eq!(approval.id, approval_id(execution, step));
    let request = |hash: ContentHash| DecisionRequest {
        execution,
        step,
        decision: Decision::Approved,
        arguments_hash: hash,
        by: "anna".into(),
        comment: None,
    };
    let wrong = house
        .engine
        .decide(house.org, id, request(ContentHash::of(b"other")))
        .await;
    assert!(
        matches!(wrong, Err(EmployeeError::OtherArguments)),
        "{wrong:?}"
    );
    house
        .engine
        .decide(house.org, id, request(approval.arguments_hash))
        .await
        .expect("decided");
    let run = house
        .until("the end", async |house| {
            Some(house.inspect(execution).await).filter(|run| run.row.status.is_finished())
        })
        .await;
    assert_eq!(
        result(run.machine.outcome().expect("over")),
        &json!({"by": "anna", "amount": 7})
    );
    let again = house
        .engine
        .decide(house.org, id, request(approval.arguments_hash))
        .await;
    assert!(matches!(again, Err(EmployeeError::NotPending)), "{again:?}");
    let mut tx = house
        .engine
        .core()
        .db
        .begin_read(house.org)
        .await
        .expect("a transaction");
    let closed = crate::persistence::approval_get(&mut tx, approval.id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(
        (closed.status, closed.decided_by.as_deref()),
        (ApprovalStatus::Approved, Some("anna"))
    );
}

fn waits(ms: u64) -> Value {
    json!({
        "graph_id": "waits", "type": "skill",
        "nodes": [{"id": "w", "type": "wait", "duration_ms": ms}, {"id": "d", "type": "transform", "output": "input"}],
        "edges": [{"from": "w", "to": "d"}]
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_fires_after_a_restart() {
    let mut house = House::build().await;
    let id = house.hire(employee(&[waits(800)], json!({}))).await;
    let execution = house.tell(id, json!({"a": 1})).await;
    house
        .until("waiting", async |house| {
            (house.inspect(execution).await.row.status.name() == "waiting").then_some(())
        })
        .await;
    house.restart().await;
    let run = house
        .until("the end", async |house| {
            Some(house.inspect(execution).await).filter(|run| run.row.status.is_finished())
        })
        .await;
    assert_eq!(
        result(run.machine.outcome().expect("over")),
        &json!({"a": 1})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_keep_order_and_policies_hold() {
    let house = House::build().await;
    let in_conversation = || TriggerRequest {
        conversation: Some("c".into()),
        ..House::request(json!({}))
    };
    let spec = |policy: &str| {
        employee(
            &[waits(60_000)],
            json!({"concurrency": {"on_conflict": policy}}),
        )
    };

    let id = house.hire(spec("reject")).await;
    let first = house
        .engine
        .trigger(house.org, id, in_conversation())
        .await
        .expect("accepted");
    let refused = house.engine.trigger(house.org, id, in_conversation()).await;
    assert!(matches!(refused, Err(EmployeeError::ConversationBusy)));
    house
        .engine
        .cancel(house.org, id, first.execution, "anna".into(), None)
        .await
        .expect("cancelled");
    house
        .engine
        .trigger(house.org, id, in_conversation())
        .await
        .expect("free again");

    let id = house.hire(spec("interrupt")).await;
    let first = house
        .engine
        .trigger(house.org, id, in_conversation())
        .await
        .expect("accepted");
    let second = house
        .engine
        .trigger(house.org, id, in_conversation())
        .await
        .expect("accepted");
    let run = house
        .until("stop", async |house| {
            Some(house.inspect(first.execution).await).filter(|run| run.row.status.is_finished())
        })
        .await;
    assert!(matches!(
        run.machine.outcome(),
        Some(Outcome::Cancelled { .. })
    ));
    assert!(
        !house
            .inspect(second.execution)
            .await
            .row
            .status
            .is_finished()
    );

    let id = house.hire(spec("enqueue")).await;
    let first = house
        .engine
        .trigger(house.org, id, in_conversation())
        .await
        .expect("accepted");
    let second = house
        .engine
        .trigger(house.org, id, in_conversation())
        .await
        .expect("accepted");
    assert_eq!(
        house.inspect(second.execution).await.row.status.name(),
        "accepted",
        "its turn has not come"
    );
    house
        .engine
        .cancel(
            house.org,
            id,
            first.execution,
            "anna".into(),
            Some("not needed".into()),
        )
        .await
        .expect("cancelled");
    house
        .until("turn", async |house| {
            (house.inspect(second.execution).await.row.status.name() == "waiting").then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_takes_back_what_was_remembered() {
    let house = House::build().await;
    let skill = json!({
        "graph_id": "m", "type": "skill",
        "nodes": [
            {"id": "r", "type": "transform", "output": {"seen": "default(memory.n, 0)"}, "remember": {"employee": {"n": "default(memory.n, 0) + 1"}}},
            {"id": "w", "type": "wait", "duration_ms": 60000}
        ],
        "edges": [{"from": "r", "to": "w"}]
    });
    let id = house
        .hire(employee(
            &[skill],
            json!({"concurrency": {"on_conflict": "rollback"}}),
        ))
        .await;
    let request = || TriggerRequest {
        conversation: Some("c".into()),
        ..House::request(json!({}))
    };
    let remembered = async |house: &House| {
        let mut tx = house
            .engine
            .core()
            .db
            .begin_read(house.org)
            .await
            .expect("a transaction");
        let page = memory_list(
            &mut tx,
            Some(&MemoryOwner::employee(id)),
            &PageRequest::default(),
        )
        .await
        .expect("a page");
        page.items.first().and_then(|row| row.value.clone())
    };
    for _ in 0..3 {
        let run = house
            .engine
            .trigger(house.org, id, request())
            .await
            .expect("accepted")
            .execution;
        house
            .until("waiting", async |house| {
                (house.inspect(run).await.row.status.name() == "waiting").then_some(())
            })
            .await;
        assert_eq!(
            remembered(&house).await.as_deref(),
            Some("1"),
            "each run saw nothing of the one that it replaced"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_one_run_is_read_by_the_next_and_survives() {
    let mut house = House::build().await;
    let skill = json!({
        "graph_id": "m", "type": "skill",
        "nodes": [{"id": "r", "type": "transform", "output": {"n": "default(memory.n, 0) + 1"}, "remember": {"employee": {"n": "default(memory.n, 0) + 1"}}}],
        "edges": []
    });
    let id = house.hire(employee(&[skill], json!({}))).await;
    for n in 1..=3 {
        assert_eq!(
            result(&house.run(id, json!({})).await.outcome),
            &json!({"n": n})
        );
    }
    house.restart().await;
    assert_eq!(
        result(&house.run(id, json!({})).await.outcome),
        &json!({"n": 4})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_start_subscribers_and_resume_waiting_runs_once() {
    let house = House::build().await;
    let waiting = json!({
        "graph_id": "we", "type": "skill",
        "nodes": [{"id": "w", "type": "wait", "event": {"type": "invoice.paid", "match": {"/invoice": "input.invoice"}}}],
        "edges": []
    });
    let waiter = house.hire(employee(&[waiting], json!({}))).await;
    let subscription =
        json!([{"source": "hook:*", "event": "invoice.paid", "when": "event.amount > 5"}]);
    let subscriber = house
        .hire(employee(
            &[two_steps("a")],
            json!({"subscriptions": subscription}),
        ))
        .await;
    let execution = house.tell(waiter, json!({"invoice": "i1"})).await;
    house
        .until("waiting", async |house| {
            (house.inspect(execution).await.row.status.name() == "waiting").then_some(())
        })
        .await;
    let event = |invoice: &str, amount: i64, key: &str| Event {
        kind: TriggerType::ExternalEvent,
        source: "hook:bank".into(),
        aliases: Vec::new(),
        event: Some("invoice.paid".into()),
        payload: Arc::new(json!({"invoice": invoice, "amount": amount})),
        key: Some(key.into()),
        key_from: KeyFrom::System,
        conversation: None,
    };
    let other = house
        .engine
        .route(house.org, event("i2", 1, "e1"))
        .await
        .expect("routed");
    assert!(other.started.is_empty() && other.resumed.is_empty());
    let routed = house
        .engine
        .route(house.org, event("i1", 9, "e2"))
        .await
        .expect("routed");
    assert_eq!(routed.started.len(), 1);
    assert_eq!(routed.started[0].employee, subscriber);
    assert_eq!(routed.resumed, [execution]);
    let again = house
        .engine
        .route(house.org, event("i1", 9, "e2"))
        .await
        .expect("routed");
    assert!(again.started[0].accepted.duplicate && again.resumed.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_wakes_who_listens_to_it() {
    let house = House::build().await;
    let first = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let subscription = json!([{"source": format!("employee:{first}"), "event": "run.completed"}]);
    let second = house
        .hire(employee(
            &[two_steps("a")],
            json!({"subscriptions": subscription}),
        ))
        .await;
    house.run(first, json!({})).await;
    house
        .until("the second run", async |house| {
            let mut tx = house
                .engine
                .core()
                .db
                .begin_read(house.org)
                .await
                .expect("a transaction");
            let filter = crate::persistence::RunFilter {
                employee: Some(second),
                ..Default::default()
            };
            let page = crate::persistence::run_list(&mut tx, &filter, &PageRequest::default())
                .await
                .expect("a page");
            page.items
                .first()
                .filter(|run| {
                    run.status.is_finished() && run.trigger_type == TriggerType::InternalEvent
                })
                .map(|_| ())
        })
        .await;
}

/// The one before it works for a while: what the second shows of its first step is when that started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_queued_shows_when_its_first_step_started() {
    let mut house = House::build().await;
    house.connect_sandbox().await;
    house.allow("gmail.send").await;
    let slow = json!({"integration": "gmail", "kind": "latency", "count": 1, "ms": 5_000});
    super::effects::sandbox(&house, "POST", "/faults", slow).await;
    let skill = json!({
        "graph_id": "mail", "type": "skill", "edges": [],
        "nodes": [{"id": "mail", "type": "action", "capability": "gmail.send",
            "arguments": {"to": "'a@x.test'", "subject": "'hello'", "body": "'dear'"}}]
    });
    let one_at_a_time = json!({"concurrency": {"max_runs": 1}});
    let id = house.hire(employee(&[skill], one_at_a_time)).await;
    let first = house.tell(id, json!({"number": 1})).await;
    let second = house.tell(id, json!({"number": 2})).await;
    let (first, second) = (house.over(first).await, house.over(second).await);
    let ended = first.machine.last_at();
    let steps = second.machine.steps();
    assert!(
        steps.iter().all(|step| step.started_at >= ended),
        "{steps:?}"
    );
    assert!(second.machine.accepted_at() < ended, "it waited");
}
