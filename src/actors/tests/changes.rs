//! What is answered as done holds, also for an employee that is just being read.

use super::house::{House, employee, two_steps};
use crate::{
    actors::{
        Clock, DecisionRequest, FaultPoint, Faults, Settings, TriggerRequest,
        cluster::words::News,
        employee::{EmployeeError, Message},
        staff,
        versions::LoadedVersion,
    },
    domain::{EmployeeId, EmployeeSpec, ExecutionId, MemoryLayer, MemoryWrite, Timestamp},
    graph::{Decision, Outcome},
    persistence::{EmployeeStatus, OrgEventRow, VersionInsert, employee_version_insert},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Stops the waking of employees between the reading and the placing.
struct Stopped {
    reached: mpsc::UnboundedReceiver<EmployeeId>,
    gates: Arc<Mutex<VecDeque<oneshot::Sender<()>>>>,
    armed: Arc<std::sync::atomic::AtomicBool>,
}

impl Stopped {
    fn new() -> (Self, Faults) {
        let (reach, reached) = mpsc::unbounded_channel();
        let gates: Arc<Mutex<VecDeque<oneshot::Sender<()>>>> = Arc::default();
        let armed = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (held, is_armed) = (gates.clone(), armed.clone());
        let faults = Faults::pausing(move |point| {
            let FaultPoint::EmployeeRead { employee } = point else {
                return None;
            };
            if !is_armed.swap(false, std::sync::atomic::Ordering::SeqCst) {
                return None;
            }
            let (gate, opened) = oneshot::channel();
            held.lock().expect("not poisoned").push_back(gate);
            let _ = reach.send(employee);
            Some(opened)
        });
        let stopped = Self {
            reached,
            gates,
            armed,
        };
        (stopped, faults)
    }

    /// The next waking is stopped.
    fn arm(&self) {
        self.armed.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    async fn until_read(&mut self) {
        self.reached.recv().await.expect("the hook lives");
    }

    fn go_on(&self) {
        let gate = self.gates.lock().expect("not poisoned").pop_front();
        let _ = gate.expect("one is stopped").send(());
    }
}

/// A house whose employees fall asleep at once, and the hook.
async fn house() -> (House, Stopped) {
    let settings = Settings {
        idle_after: Duration::from_millis(20),
        ..Settings::default()
    };
    let (stopped, faults) = Stopped::new();
    (House::with(settings, faults).await, stopped)
}

async fn asleep(house: &House, id: EmployeeId) {
    house
        .until("sleep", async |house| {
            (!house.engine.core().host().is_awake_or_read(id)).then_some(())
        })
        .await;
}

fn asks() -> Value {
    json!({
        "graph_id": "asks", "type": "skill",
        "nodes": [{"id": "ask", "type": "approval", "title": "Go on?", "arguments": {"n": "1"}}], "edges": []
    })
}

/// Sends a trigger to a sleeping employee, does `change` while it is being read, and gives what the trigger was told.
async fn change_while_read(
    house: &House,
    stopped: &mut Stopped,
    id: EmployeeId,
    change: impl Future<Output = ()>,
) -> Result<ExecutionId, EmployeeError> {
    asleep(house, id).await;
    stopped.arm();
    let engine = house.engine.clone();
    let org = house.org;
    let told = tokio::spawn(async move {
        let accepted = engine
            .trigger(org, id, House::request(json!({"n": 1})))
            .await?;
        Ok(accepted.execution)
    });
    stopped.until_read().await;
    // The host is to hear of it while the reading is stopped, and the change may have to wait for the host alone.
    change.await;
    stopped.go_on();
    told.await.expect("it does not panic")
}

async fn set(house: &House, id: EmployeeId, status: EmployeeStatus) {
    staff::set_status(&house.engine, house.org, id, status)
        .await
        .expect("set");
}

async fn status(house: &House, execution: ExecutionId) -> &'static str {
    house.inspect(execution).await.row.status.name()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hold_while_it_is_being_read_holds() {
    let (house, mut stopped) = house().await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let hold = set(&house, id, EmployeeStatus::Quarantined);
    let kept = change_while_read(&house, &mut stopped, id, hold).await;
    let kept = kept.expect("kept");
    let later = house.tell(id, json!({"n": 2})).await;
    house.engine.core().journal.barrier().await;
    for run in [kept, later] {
        assert_eq!(status(&house, run).await, "accepted", "kept, not started");
    }
    set(&house, id, EmployeeStatus::Active).await;
    for run in [kept, later] {
        house.over(run).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_release_while_it_is_being_read_is_no_hold_any_more() {
    let (house, mut stopped) = house().await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    set(&house, id, EmployeeStatus::Quarantined).await;
    let release = set(&house, id, EmployeeStatus::Active);
    let run = change_while_read(&house, &mut stopped, id, release).await;
    house.over(run.expect("accepted")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dismissal_while_it_is_being_read_dismisses() {
    let (house, mut stopped) = house().await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let dismissal = set(&house, id, EmployeeStatus::Dismissed);
    let told = change_while_read(&house, &mut stopped, id, dismissal).await;
    assert!(matches!(told, Err(EmployeeError::Dismissed)), "{told:?}");

    // With an unfinished run it is placed, and takes no trigger all the same.
    let id = house.hire(employee(&[asks()], json!({}))).await;
    let open = house.tell(id, json!({})).await;
    let question = house.asked().await;
    let dismissal = set(&house, id, EmployeeStatus::Dismissed);
    let told = change_while_read(&house, &mut stopped, id, dismissal).await;
    assert!(matches!(told, Err(EmployeeError::Dismissed)), "{told:?}");
    house.decide(&question, Decision::Approved).await;
    house.over(open).await;
}

fn version_of(house: &House, step: &str) -> EmployeeSpec {
    let mut skill = two_steps("a");
    skill["nodes"][1]["output"] = json!({"version": format!("'{step}'")});
    let _ = house;
    serde_json::from_value(employee(&[skill], json!({}))).expect("a spec")
}

async fn result_of(house: &House, run: ExecutionId) -> Value {
    let over = house.over(run).await;
    serde_json::to_value(over.machine.outcome().expect("over")).expect("json")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_version_while_it_is_being_read_is_in_force() {
    let (house, mut stopped) = house().await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let change = async {
        let spec = version_of(&house, "second");
        staff::new_version(&house.engine, house.org, "test", id, spec, None)
            .await
            .expect("a version");
    };
    let run = change_while_read(&house, &mut stopped, id, change).await;
    let result = result_of(&house, run.expect("accepted")).await;
    assert!(result.to_string().contains("second"), "{result}");
}

/// Stores a version and tells nobody.
async fn store_version(
    house: &House,
    id: EmployeeId,
    number: i32,
    step: &str,
) -> Arc<LoadedVersion> {
    let core = house.engine.core();
    let (compiled, text) = core
        .versions
        .compile(core.catalogs.built_in(), version_of(house, step))
        .unwrap_or_else(|errors| panic!("{errors}"));
    let event = OrgEventRow {
        id: core.clock.uuid(),
        kind: "GraphDefined".into(),
        body: "{}".into(),
        at: core.clock.now(),
    };
    let version = VersionInsert {
        employee: id,
        spec: &text,
        subscriptions: &compiled.spec.subscriptions,
        schedules: &[],
        event: &event,
        at: core.clock.now(),
        by: "test",
    };
    let mut tx = core.db.begin(house.org).await.expect("a transaction");
    let stored = employee_version_insert(&mut tx, number - 1, &version).await;
    assert_eq!(stored.expect("stored"), number);
    tx.commit().await.expect("committed");
    LoadedVersion::new(number, &compiled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_higher_version_wins_in_whichever_order_they_are_announced() {
    let (sleepy, mut stopped) = house().await;
    let lively = House::build().await;
    for is_awake in [true, false] {
        let house = if is_awake { &lively } else { &sleepy };
        let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
        let core = house.engine.core();
        // Stored only now: what is awake or read already knows of neither but by what it is told.
        let announce = async {
            let second = store_version(house, id, 2, "second").await;
            let third = store_version(house, id, 3, "third").await;
            for version in [third, second] {
                let message = Message::NewVersion(version);
                core.host().tell_if_awake(id, message);
            }
        };
        let run = if is_awake {
            house.run(id, json!({})).await;
            assert!(core.host().is_awake(id));
            announce.await;
            house.tell(id, json!({})).await
        } else {
            let run = change_while_read(house, &mut stopped, id, announce).await;
            run.expect("accepted")
        };
        let result = result_of(house, run).await;
        assert!(
            result.to_string().contains("third"),
            "awake: {is_awake}: {result}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_remembered_while_it_is_being_read_is_remembered() {
    let (house, mut stopped) = house().await;
    let mut skill = two_steps("a");
    skill["nodes"][1]["output"] = json!({"own": "memory.color", "shared": "org.city"});
    let id = house.hire(employee(&[skill], json!({}))).await;
    let write = |layer, key: &str, value: &str| MemoryWrite {
        layer,
        key: key.into(),
        value: json!(value),
    };
    let core = house.engine.core();
    let change = async {
        for color in ["blue", "green"] {
            let news = News::Memory {
                employee: id,
                writes: vec![write(MemoryLayer::Employee, "color", color)],
                skill: None,
            };
            core.changed(news).await;
        }
        let news = News::OrgMemory {
            org: house.org,
            writes: vec![write(MemoryLayer::Org, "city", "Berlin")],
        };
        core.changed(news).await;
    };
    let run = change_while_read(&house, &mut stopped, id, change).await;
    let result = result_of(&house, run.expect("accepted")).await.to_string();
    assert!(
        result.contains("green") && result.contains("Berlin"),
        "{result}"
    );
}

/// Somebody who names another org's employee gets nothing, and takes nothing from those who may.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_asks_for_it_in_another_org_does_not_have_others_refused() {
    let (house, mut stopped) = house().await;
    let id = house.hire(employee(&[two_steps("a")], json!({}))).await;
    asleep(&house, id).await;
    stopped.arm();
    let stranger = crate::domain::OrgId::from_uuid(house.engine.core().clock.uuid());
    let (engine, org) = (house.engine.clone(), house.org);
    let send = move |org| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.trigger(org, id, House::request(json!({}))).await })
    };
    let theirs = send(stranger);
    stopped.until_read().await;
    let ours = send(org);
    // The host takes messages in order: it has ours when it has answered this.
    house.engine.core().host().reread(org, id).await;
    stopped.go_on();
    let theirs = theirs.await.expect("no panic");
    assert!(matches!(theirs, Err(EmployeeError::NotFound)), "{theirs:?}");
    assert!(ours.await.expect("no panic").is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dismissed_employee_ends_what_is_unfinished_and_takes_nothing() {
    let house = House::build().await;
    let concurrency = json!({"max_runs": 5});
    let id = house
        .hire(employee(&[asks()], json!({"concurrency": concurrency})))
        .await;
    let open = house.tell(id, json!({})).await;
    let question = house.asked().await;
    let conversation = || TriggerRequest {
        conversation: Some("c".into()),
        ..House::request(json!({}))
    };
    set(&house, id, EmployeeStatus::Dismissed).await;
    for request in [House::request(json!({})), conversation()] {
        let told = house.engine.trigger(house.org, id, request).await;
        assert!(matches!(told, Err(EmployeeError::Dismissed)), "{told:?}");
    }
    house.decide(&question, Decision::Approved).await;
    house.over(open).await;
}

/// One on hold goes on with nothing, not even with what a person decides meanwhile; it does when it is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_during_a_hold_is_carried_out_after_the_release() {
    let house = House::build().await;
    let mut skill = asks();
    skill["nodes"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"id": "after", "type": "transform", "output": {"done": "true"}}));
    skill["edges"] = json!([{"from": "ask", "to": "after"}]);
    let id = house.hire(employee(&[skill], json!({}))).await;
    let run = house.tell(id, json!({})).await;
    let question = house.asked().await;
    set(&house, id, EmployeeStatus::Quarantined).await;
    house.decide(&question, Decision::Approved).await;
    house.engine.core().journal.barrier().await;
    let later = house.tell(id, json!({})).await;
    assert_eq!(status(&house, later).await, "accepted");
    assert!(!house.inspect(run).await.row.status.is_finished());
    set(&house, id, EmployeeStatus::Active).await;
    house.over(run).await;
}

/// The time counts, not the timer, which may be late after an outage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_after_its_time_is_refused_as_expired_whatever_the_timer_does() {
    let clock = Clock::simulated(Timestamp::from_millis(1_800_000_000_000));
    let house = House::at(clock.clone(), Settings::default(), Faults::default()).await;
    let mut skill = asks();
    skill["nodes"][0]["expires_ms"] = json!(600_000);
    for decision in [Decision::Approved, Decision::Denied] {
        let id = house
            .hire(employee(std::slice::from_ref(&skill), json!({})))
            .await;
        let run = house.tell(id, json!({})).await;
        let question = house.asked().await;
        let request = || DecisionRequest {
            execution: run,
            step: question.step.parse().expect("a step"),
            decision,
            arguments_hash: question.arguments_hash,
            by: "anna".into(),
            comment: None,
        };
        // To the microsecond, and before the timers look at the clock again.
        clock.advance(Duration::from_secs(600));
        let late = house.engine.decide(house.org, id, request()).await;
        let refused = matches!(
            late,
            Err(EmployeeError::Expired | EmployeeError::NotPending)
        );
        assert!(refused, "{decision:?}: {late:?}");
        let over = house.over(run).await;
        match over.machine.outcome().expect("over") {
            Outcome::Failed { error } => assert_eq!(error.error.code, "approval_expired"),
            other => panic!("{decision:?}: {other:?}"),
        }
    }
}
