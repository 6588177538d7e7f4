//! The database is down for longer than a lease: nodes stop what they own in time and say so, and all goes on when it is back.

use crate::{
    employees::mailer,
    load::{Load, Report, Teller},
    world::{NAMES, Plan, World},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_runs_past_its_lease_and_all_goes_on() {
    let plan = Plan::default();
    let mut world = World::start(plan.clone()).await;
    let employees = world.hire(18, mailer).await;
    let load = Load::start(&world.addresses(), &employees, 4, Duration::from_millis(40));
    sleep(Duration::from_secs(2)).await;

    world.stop_postgres().await;
    sleep(plan.lease + Duration::from_millis(500)).await;
    let at_the_end = world.carried_out().await.len();
    for name in NAMES {
        says_so(&world, name, &employees[0]).await;
    }
    sleep(Duration::from_secs(3)).await;
    let still = world.carried_out().await.len();
    assert_eq!(still, at_the_end, "nothing leaves after the lease");

    let began = Instant::now();
    world.start_postgres_again().await;
    world.until_all_ready().await;
    world.until_members(3).await;
    println!(
        "all nodes are ready {:.1?} after the database is back",
        began.elapsed()
    );
    let mut report = Report::default();
    let mut teller = Teller::new(world.addresses(), 0);
    for employee in &employees {
        teller.tell(employee, &mut report).await;
    }
    println!(
        "all employees have heard again after {:.1?}",
        began.elapsed()
    );
    report.add(load.stop().await);
    world.check(report).await;
}

/// 503 with `Retry-After`, soon, to whoever asks for anything.
async fn says_so(world: &World, name: &'static str, employee: &str) {
    let client = world.client(name);
    let trigger = json!({"payload": {"key": "never"}});
    let triggers = format!("/v1/employees/{employee}/triggers");
    let requests = [
        ("GET", "/readyz", None),
        ("GET", "/v1/runs", None),
        ("POST", triggers.as_str(), Some(&trigger)),
    ];
    for (method, path, body) in requests {
        let began = Instant::now();
        let asked = client.try_send(method, path, &[], body);
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name} {path}: no answer"));
        let answer = answer.unwrap_or_else(|error| panic!("{name} {path}: {error}"));
        println!(
            "{name} {path}: {} after {:.1?}",
            answer.status,
            began.elapsed()
        );
        assert_eq!(answer.status, 503, "{name} {path}: {answer:?}");
        assert!(answer.retry_after.is_some(), "{name} {path}: {answer:?}");
    }
    let alive = client.get("/healthz").await;
    assert_eq!(alive.status, 200, "the process lives: {alive:?}");
}
