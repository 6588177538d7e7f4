//! Results that other employees listen to: offered until they are taken, whatever becomes of the process, and holding back nothing else.

use super::house::{House, employee, two_steps};
use crate::{
    actors::{Faults, Settings, append::new_append, staff},
    domain::{EmployeeId, ExecutionId},
    graph::{StepId, TimerKey, TimerPurpose},
    persistence::{
        EmployeeStatus, OFFER_KEY, PageRequest, RunFilter, RunRow, TimerChange, TimerRow, run_list,
        timers_due, wait_end_put,
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

async fn runs_of(house: &House, employee: EmployeeId) -> Vec<RunRow> {
    let mut tx = house
        .engine
        .core()
        .db
        .begin_read(house.org)
        .await
        .expect("a transaction");
    let filter = RunFilter {
        employee: Some(employee),
        ..RunFilter::default()
    };
    let page = run_list(&mut tx, &filter, &PageRequest::default()).await;
    page.expect("a page").items
}

/// The results that wait to be taken.
async fn offer_rows(house: &House) -> Vec<TimerRow> {
    let core = house.engine.core();
    let mut tx = core
        .db
        .begin_system_read("test")
        .await
        .expect("a transaction");
    let until = core.clock.now().after(Duration::from_secs(10_000));
    let rows = timers_due(&mut tx, until, None, 100_000).await;
    let mut rows = rows.expect("rows");
    rows.retain(|row| row.key == OFFER_KEY);
    rows
}

async fn offers(house: &House) -> usize {
    offer_rows(house).await.len()
}

async fn listener(house: &House, source: EmployeeId, extra: Value) -> EmployeeId {
    let mut extra = extra;
    extra["subscriptions"] =
        json!([{"source": format!("employee:{source}"), "event": "run.completed"}]);
    house.hire(employee(&[two_steps("a")], extra)).await
}

async fn heard(house: &House, listener: EmployeeId, results: usize) {
    house
        .until("the listener's runs and no offer", async |house| {
            let runs = runs_of(house, listener).await;
            let done = runs.len() == results && runs.iter().all(|run| run.status.is_finished());
            (done && offers(house).await == 0).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_reaches_a_listener_of_whom_this_node_was_not_told() {
    let house = House::build().await;
    let source = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let listener = listener(&house, source, json!({})).await;
    house.engine.core().interest.forget();
    house.run(source, json!({})).await;
    heard(&house, listener, 1).await;
}

/// The process ends between the commit that has the end of a run and the offer of its result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_was_not_offered_before_a_crash_is_offered_after_it() {
    let mut house = House::build().await;
    let source = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let listener = listener(&house, source, json!({})).await;
    house.engine.core().interest.forget();
    for n in 0..3 {
        house.run(source, json!({"n": n})).await;
    }
    assert_eq!(
        offers(&house).await,
        3,
        "noted with the end, and nobody has acted on it"
    );
    assert!(runs_of(&house, listener).await.is_empty());
    house.restart().await;
    heard(&house, listener, 3).await;
}

/// A row as an older binary has left it, of a run that ended long before somebody listened, and one of a run that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_left_by_an_older_binary_are_taken_or_deleted() {
    let mut house = House::build().await;
    let source = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let execution = house.tell(source, json!({})).await;
    house.over(execution).await;
    let listener = listener(&house, source, json!({})).await;
    let mut append = new_append(house.org);
    for owner in [execution.uuid(), Uuid::now_v7()] {
        append.timers.push(TimerChange::Set {
            owner,
            key: OFFER_KEY.into(),
            employee: source,
            due: house.engine.now(),
        });
    }
    house
        .engine
        .core()
        .journal
        .write(None, append)
        .await
        .expect("written");
    house.restart().await;
    heard(&house, listener, 1).await;
}

/// A listener on hold takes as many results as it could work on at once, and refuses the others until it is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_a_listener_on_hold_refused_are_taken_when_it_is_released() {
    let house = House::build().await;
    let source = house.hire(employee(&[two_steps("a")], json!({}))).await;
    let concurrency = json!({"concurrency": {"max_runs": 2, "max_queued": 0}});
    let listener = listener(&house, source, concurrency).await;
    let set = async |status| {
        let set = staff::set_status(&house.engine, house.org, listener, status).await;
        set.expect("set");
    };
    set(EmployeeStatus::Quarantined).await;
    for n in 0..5 {
        house.run(source, json!({"n": n})).await;
    }
    house
        .until("two taken, the others refused and put off", async |house| {
            let rows = offer_rows(house).await;
            (rows.len() == 3 && rows.iter().all(|row| row.tries > 0)).then_some(())
        })
        .await;
    assert_eq!(runs_of(&house, listener).await.len(), 2);
    set(EmployeeStatus::Active).await;
    heard(&house, listener, 5).await;
}

/// More rows than a page holds stand in front, none of which anybody can take; and a timer behind them that only the table knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_fires_behind_more_stuck_rows_than_a_page_holds() {
    let settings = Settings {
        idle_after: Duration::from_secs(60),
        // Timers are found in the database alone.
        timer_horizon: Duration::ZERO,
        ..Settings::default()
    };
    let house = House::with(settings, Faults::default()).await;
    let waits = json!({
        "graph_id": "w", "type": "skill",
        "nodes": [{"id": "w", "type": "wait", "duration": "1s"}], "edges": []
    });
    let waiter = house.hire(employee(&[waits], json!({}))).await;
    let long_ago =
        crate::domain::Timestamp::from_micros(house.engine.now().micros() - 3_600_000_000);
    let step = StepId {
        skill: 0,
        skill_visit: 1,
        node: 0,
        visit: 1,
        item: None,
    };
    let timer = TimerKey {
        step,
        attempt: 1,
        purpose: TimerPurpose::Wait,
    };
    let timer = serde_json::to_string(&timer).expect("a key");
    let keys = [OFFER_KEY.to_owned(), "of an unknown kind".to_owned(), timer];
    let nobody = EmployeeId::from_uuid(Uuid::now_v7());
    let mut append = new_append(house.org);
    for key in &keys {
        for _ in 0..5_100 {
            append.timers.push(TimerChange::Set {
                owner: ExecutionId::from_uuid(Uuid::new_v4()).uuid(),
                key: key.clone(),
                employee: nobody,
                due: long_ago,
            });
        }
    }
    house
        .engine
        .core()
        .journal
        .write(None, append)
        .await
        .expect("written");
    let execution = house.tell(waiter, json!({})).await;
    house.over(execution).await;
}

/// What was ended is carried out over a crash: the row is there, and nobody has told the runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_whose_wait_was_ended_before_a_crash_go_on_after_it() {
    let settings = Settings {
        idle_after: Duration::from_secs(60),
        sweep_every: Duration::from_millis(500),
        ..Settings::default()
    };
    let mut house = House::with(settings, Faults::default()).await;
    house.allow("gmail.send").await;
    let mails = json!({
        "graph_id": "m", "type": "skill",
        "nodes": [{"id": "m", "type": "action", "capability": "gmail.send", "arguments": {
            "to": "['a@x.test']", "subject": "'s'", "body": "'b'"}}],
        "edges": []
    });
    let mailer = house.hire(employee(&[mails], json!({}))).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(house.tell(mailer, json!({})).await);
    }
    for run in &runs {
        house
            .until("parked", async |house| {
                let run = house.inspect(*run).await;
                (run.row.status.name() == "waiting").then_some(())
            })
            .await;
    }
    let before = house.inspect(runs[0]).await.facts.len();
    let event = crate::actors::employee::named_wait_event("connection", "gmail");
    let core = house.engine.core().clone();
    let mut tx = core.db.begin(house.org).await.expect("a transaction");
    wait_end_put(&mut tx, &event, core.clock.now())
        .await
        .expect("noted");
    tx.commit().await.expect("committed");
    house.restart().await;
    for run in &runs {
        house
            .until(
                "told, and parked again: there is no connection",
                async |house| (house.inspect(*run).await.facts.len() > before).then_some(()),
            )
            .await;
    }
}
