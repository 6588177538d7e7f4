//! What happens when actors break down.

use super::house::{House, employee, two_steps};
use crate::{
    actors::{FaultPoint, Faults, Settings},
    graph::Outcome,
    persistence::{EmployeeStatus, employee_get},
};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Breaks the first `times` of the points that `wanted` picks.
fn break_first(times: usize, wanted: fn(&FaultPoint) -> bool) -> (Faults, Arc<AtomicUsize>) {
    let broken = Arc::new(AtomicUsize::new(0));
    let count = broken.clone();
    let faults =
        Faults::with(move |point| wanted(&point) && count.fetch_add(1, Ordering::SeqCst) < times);
    (faults, broken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_micro_agent_fails_its_step_which_is_tried_again() {
    let (faults, _) = break_first(1, |point| matches!(point, FaultPoint::MicroAgent { .. }));
    let house = House::with(Settings::default(), faults).await;
    let mut skill = two_steps("a");
    skill["nodes"][0]["retry"] =
        json!({"max_attempts": 2, "initial_ms": 1, "factor": 1, "max_ms": 10});
    let id = house.hire(employee(&[skill], json!({}))).await;
    assert!(matches!(
        house.run(id, json!({})).await.outcome,
        Outcome::Completed { .. }
    ));

    let (faults, _) = break_first(1, |point| matches!(point, FaultPoint::MicroAgent { .. }));
    let house = House::with(Settings::default(), faults).await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    match house.run(id, json!({})).await.outcome {
        Outcome::Failed { error } => assert_eq!(error.error.code, "panicked"),
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(
            house.run(id, json!({})).await.outcome,
            Outcome::Completed { .. }
        ),
        "it is there again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_skill_is_restarted_and_its_steps_go_on() {
    let (faults, broken) = break_first(2, |point| matches!(point, FaultPoint::Skill { .. }));
    let house = House::with(Settings::default(), faults).await;
    let id = house
        .hire(employee(&[two_steps("a"), two_steps("b")], json!({})))
        .await;
    assert!(matches!(
        house.run(id, json!({})).await.outcome,
        Outcome::Completed { .. }
    ));
    assert!(broken.load(Ordering::SeqCst) > 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_employee_is_restarted_from_its_journal() {
    let (faults, broken) = break_first(2, |point| matches!(point, FaultPoint::Employee { .. }));
    let house = House::with(Settings::default(), faults).await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    // The trigger in the broken mailbox is answered with an error, never left hanging.
    let first = house
        .engine
        .trigger(house.org, id, House::request(json!({})))
        .await;
    house
        .until("calm", async |_| {
            (broken.load(Ordering::SeqCst) >= 2).then_some(())
        })
        .await;
    let second = house.run(id, json!({})).await;
    assert!(
        matches!(second.outcome, Outcome::Completed { .. }),
        "first: {first:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_keeps_breaking_is_quarantined_keeps_its_triggers_and_is_released() {
    let (faults, _) = break_first(5, |point| matches!(point, FaultPoint::Employee { .. }));
    let house = House::with(Settings::default(), faults).await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let healthy = house.hire(employee(&[two_steps("b")], json!({}))).await;
    house
        .until("quarantine", async |house| {
            let _ = house
                .engine
                .trigger(house.org, id, House::request(json!({})))
                .await;
            let mut tx = house
                .engine
                .core()
                .db
                .begin_read(house.org)
                .await
                .expect("a transaction");
            let row = employee_get(&mut tx, id)
                .await
                .expect("read")
                .expect("there");
            (row.status == EmployeeStatus::Quarantined).then_some(())
        })
        .await;
    let kept = house
        .until("taken", async |house| {
            house
                .engine
                .trigger(house.org, id, House::request(json!({})))
                .await
                .ok()
        })
        .await;
    assert_eq!(
        house.inspect(kept.execution).await.row.status.name(),
        "accepted",
        "kept, not started"
    );
    assert!(
        matches!(
            house.run(healthy, json!({})).await.outcome,
            Outcome::Completed { .. }
        ),
        "others work on"
    );

    let core = house.engine.core();
    let mut tx = core.db.begin(house.org).await.expect("a transaction");
    crate::persistence::employee_set_status(&mut tx, id, EmployeeStatus::Active, core.clock.now())
        .await
        .expect("released");
    tx.commit().await.expect("committed");
    core.host().reread(house.org, id).await;
    house
        .until("the kept run", async |house| {
            house
                .inspect(kept.execution)
                .await
                .row
                .status
                .is_finished()
                .then_some(())
        })
        .await;
}

/// The database refuses what one run has to note: that run fails, and nobody else's does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_facts_are_refused_fails_alone() {
    let house = House::build().await;
    let db = &house.engine.core().db;
    db.tamper(
        "CREATE TRIGGER refuse BEFORE INSERT ON approval WHEN NEW.title LIKE '%unwritable%'
           BEGIN SELECT RAISE(ABORT, 'it cannot be stored'); END",
    )
    .await
    .expect("tampered");
    let skill = json!({
        "graph_id": "asks", "type": "skill",
        "nodes": [
            {"id": "note", "type": "transform", "output": {"n": "1"}, "remember": {"employee": {"seen": "trigger.payload.name"}}},
            {"id": "ask", "type": "approval", "title": "Pay {{ trigger.payload.name }}?", "arguments": {"n": "1"}}
        ],
        "edges": [{"from": "note", "to": "ask"}]
    });
    for durability in ["default", "step"] {
        let graph = employee(
            std::slice::from_ref(&skill),
            json!({"durability": durability}),
        );
        let id = house.hire(graph).await;
        let waiting = house.tell(id, json!({"name": "Ann"})).await;
        let keyed = |key: &str| crate::actors::TriggerRequest {
            conversation: Some("c".into()),
            dedupe: Some(crate::actors::employee::TriggerKey::given(
                "api",
                format!("{durability}{key}"),
            )),
            ..House::request(json!({"name": "unwritable"}))
        };
        let mut failing = Vec::new();
        // More often than an employee may break down.
        for n in 0..8 {
            let accepted = house
                .engine
                .trigger(house.org, id, keyed(&n.to_string()))
                .await;
            failing.push(accepted.expect("accepted").execution);
        }
        for run in failing {
            let over = house.over(run).await;
            match over.machine.outcome().expect("over") {
                Outcome::Failed { error } => assert_eq!(error.error.code, "not_durable"),
                other => panic!("{durability}: {other:?}"),
            }
        }
        let actor = format!("node/employee_host/employee:{id}");
        let vitals = house.engine.core().vitals.visible_to(house.org);
        let vitals = vitals.iter().find(|vitals| **vitals.path() == *actor);
        assert_eq!(
            vitals.expect("it is awake").view().restarts,
            0,
            "{durability}"
        );
        assert_eq!(house.inspect(waiting).await.row.status.name(), "waiting");
        let after = house.tell(id, json!({"name": "Bob"})).await;
        house
            .until("the next run", async |house| {
                (house.inspect(after).await.row.status.name() == "waiting").then_some(())
            })
            .await;
    }
}
