//! Schedules on a live engine: after an outage, and among others that cannot be fired.

use super::house::{House, employee, two_steps};
use crate::{
    domain::{EmployeeId, Misfire, Overlap, ScheduleId, Timestamp},
    persistence::{
        Db, DbConfig, FireOutcome, OrgEventRow, ScheduleFireRow, ScheduleRow, ScheduleStatus,
        VersionInsert, employee_insert, schedule_fires, schedule_get, schedule_set_next,
    },
};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

const MINUTE: i64 = 60_000_000;

/// The last whole minute, far enough from the next one for a test.
async fn last_minute(house: &House) -> Timestamp {
    loop {
        let now = house.engine.now().micros();
        if now % MINUTE < 40_000_000 {
            return Timestamp::from_micros(now / MINUTE * MINUTE);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn row(house: &House, name: &str, next_due: Timestamp) -> ScheduleRow {
    ScheduleRow {
        org_id: house.org,
        id: ScheduleId::from_uuid(Uuid::now_v7()),
        employee_id: EmployeeId::from_uuid(Uuid::nil()),
        name: name.into(),
        cron: "* * * * *".into(),
        recurrence: None,
        calendar: None,
        time_zone: "Europe/Zurich".into(),
        overlap: Overlap::Enqueue,
        misfire: Misfire::RunOnce,
        payload: "{}".into(),
        status: ScheduleStatus::Active,
        next_due: Some(next_due),
        last_due: None,
        last_run_id: None,
        retry: None,
        failures: 0,
    }
}

/// Hires an employee of two pure steps with these schedules.
async fn hire(house: &House, mut schedules: Vec<ScheduleRow>) -> EmployeeId {
    let core = house.engine.core();
    let spec = employee(&[two_steps("sg")], json!({}));
    let spec = serde_json::from_value(spec).expect("a spec");
    let (_, text) = core
        .versions
        .compile(core.catalogs.built_in(), spec)
        .expect("it compiles");
    let employee = EmployeeId::from_uuid(core.clock.uuid());
    for schedule in &mut schedules {
        schedule.employee_id = employee;
    }
    let event = OrgEventRow {
        id: core.clock.uuid(),
        kind: "GraphDefined".into(),
        body: "{}".into(),
        at: core.clock.now(),
    };
    let version = VersionInsert {
        employee,
        spec: &text,
        subscriptions: &[],
        schedules: &schedules,
        event: &event,
        at: core.clock.now(),
        by: "test",
    };
    let mut tx = core.db.begin(house.org).await.expect("a transaction");
    employee_insert(&mut tx, &employee.to_string(), &version)
        .await
        .expect("hired");
    tx.commit().await.expect("committed");
    employee
}

async fn account(house: &House, schedule: ScheduleId) -> Vec<ScheduleFireRow> {
    let mut tx = house
        .engine
        .core()
        .db
        .begin_read(house.org)
        .await
        .expect("a read");
    schedule_fires(&mut tx, schedule, None, 1_000)
        .await
        .expect("the account")
}

async fn advanced(house: &House, schedule: ScheduleId) -> ScheduleRow {
    house
        .until("the schedule is due next", async |house| {
            let mut tx = house
                .engine
                .core()
                .db
                .begin_read(house.org)
                .await
                .expect("a read");
            let row = schedule_get(&mut tx, schedule)
                .await
                .expect("read")
                .expect("there");
            row.next_due
                .is_some_and(|due| due > house.engine.now())
                .then_some(row)
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_outage_fires_the_last_time_and_accounts_for_all_others() {
    for (misfire, others) in [
        (Misfire::Skip, FireOutcome::SkippedMisfire),
        (Misfire::RunOnce, FireOutcome::Collapsed),
    ] {
        let house = House::build().await;
        let last = last_minute(&house).await;
        let first = Timestamp::from_micros(last.micros() - 3_000 * MINUTE);
        let schedule = ScheduleRow {
            misfire,
            ..row(&house, "minutely", first)
        };
        hire(&house, vec![schedule.clone()]).await;
        advanced(&house, schedule.id).await;
        let account = account(&house, schedule.id).await;
        let due = |row: &ScheduleFireRow| row.due;
        assert_eq!(account.first().map(due), Some(last), "{misfire:?}");
        assert_eq!(account.last().map(due), Some(first), "{misfire:?}");
        assert_eq!(account[0].outcome, FireOutcome::Fired, "{misfire:?}");
        assert!(account[1..].iter().all(|row| row.outcome == others));
        assert_eq!(account.iter().map(|row| row.times).sum::<i64>(), 3_001);
        assert!(account.len() < 200, "{}", account.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_page_of_schedules_that_fail_does_not_hold_back_the_rest() {
    let house = House::build().await;
    let last = last_minute(&house).await;
    let ages_ago = Timestamp::from_micros(last.micros() - 100 * MINUTE);
    let broken: Vec<ScheduleRow> = (0..620)
        .map(|number| ScheduleRow {
            cron: String::new(),
            recurrence: Some(if number % 2 == 0 {
                r#"{"cron": "0 9 1 * *", "calendar": "gone"}"#.into()
            } else {
                "not what it should be".into()
            }),
            ..row(&house, &format!("broken {number}"), ages_ago)
        })
        .collect();
    let good = row(&house, "good", last);
    hire(
        &house,
        broken.iter().cloned().chain([good.clone()]).collect(),
    )
    .await;
    advanced(&house, good.id).await;
    let account = account(&house, good.id).await;
    assert_eq!(
        account.first().map(|row| (row.due, row.outcome)),
        Some((last, FireOutcome::Fired))
    );
    // Each of the others waits longer after each failure, and keeps what is due.
    for schedule in [&broken[0], &broken[1], &broken[619]] {
        let waits = house
            .until("it waits", async |house| {
                let mut tx = house
                    .engine
                    .core()
                    .db
                    .begin_read(house.org)
                    .await
                    .expect("a read");
                let row = schedule_get(&mut tx, schedule.id)
                    .await
                    .expect("read")
                    .expect("there");
                (row.failures >= 2).then_some(row)
            })
            .await;
        assert_eq!(waits.next_due, Some(ages_ago));
        assert!(waits.retry > Some(last), "{waits:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_due_while_the_engine_was_away_is_fired_when_it_is_back() {
    let mut house = House::build().await;
    let last = last_minute(&house).await;
    let schedule = ScheduleRow {
        misfire: Misfire::Skip,
        ..row(&house, "minutely", last.after_ms(3_600_000))
    };
    hire(&house, vec![schedule.clone()]).await;
    house.engine.stop().await;
    // Nobody's life is over for this one: it writes what a test wants.
    let url = format!("sqlite:{}", house.dir.path().join("tenure.db").display());
    let db = Db::connect(&DbConfig::new(url)).await.expect("a database");
    let mut tx = db.begin(house.org).await.expect("a transaction");
    let due = schedule.next_due;
    assert!(
        schedule_set_next(&mut tx, schedule.id, due, Some(last))
            .await
            .expect("moved")
    );
    tx.commit().await.expect("committed");
    db.close().await;
    house.restart().await;
    advanced(&house, schedule.id).await;
    let account = account(&house, schedule.id).await;
    assert_eq!(
        account.last().map(|row| (row.due, row.outcome)),
        Some((last, FireOutcome::Fired))
    );
}
