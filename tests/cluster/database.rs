//! A database that starts anew, that is slow, that is down for longer than a lease: nodes stop what they own in time and say so, and all goes
//! on when it is back.

use crate::{
    employees::mailer,
    load::{Load, Report, Teller},
    net::{POSTGRES, Rule},
    world::{NAMES, Plan, World},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_runs_past_its_lease_and_all_goes_on() {
    let plan = Plan::default();
    let mut report = Report::default();
    let mut world = World::start(plan.clone()).await;
    let employees = world.hire(18, mailer).await;
    let load = Load::start(&world.addresses(), &employees, 4, Duration::from_millis(40));
    sleep(Duration::from_secs(2)).await;

    // As after a crash: at once and without a word.
    let began = Instant::now();
    world.stop_postgres().await;
    world.start_postgres_again().await;
    healed(&world, "the database started anew", began).await;
    slow(&world, &employees, &mut report).await;

    world.stop_postgres().await;
    sleep(plan.lease + Duration::from_millis(500)).await;
    let at_the_end = world.carried_out().await.len();
    let says = NAMES.map(|name| says_so(&world, name, &employees[0]));
    futures::future::join_all(says).await;
    sleep(Duration::from_secs(2)).await;
    let still = world.carried_out().await.len();
    assert_eq!(still, at_the_end, "nothing leaves after the lease");

    let began = Instant::now();
    world.start_postgres_again().await;
    healed(&world, "the database is back", began).await;
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

async fn healed(world: &World, what: &str, since: Instant) {
    world.until_all_ready().await;
    world.until_members(3).await;
    println!("{what}: all nodes are ready after {:.1?}", since.elapsed());
}

/// Ten times as far away: a commit takes ten times as long, and nobody is taken for dead.
async fn slow(world: &World, employees: &[String], report: &mut Report) {
    let commit = world.recorder.commit_time().await;
    let each_way = commit * 9 / 2;
    let usual = round_trip(world, employees, report).await;
    for name in NAMES {
        world.net.set_both(name, POSTGRES, Rule::Slow(each_way));
    }
    let slow = round_trip(world, employees, report).await;
    println!(
        "a commit takes {commit:.1?}; with a database that is {each_way:.1?} away each way a trigger takes {slow:.1?} instead of {usual:.1?}"
    );
    sleep(Duration::from_secs(6)).await;
    let lives = world.recorder.lives().await;
    let alive = lives.values().all(|(_, state)| state == "alive");
    assert!(alive, "slow is not dead: {lives:?}");
    world.net.heal();
    healed(world, "the database is as fast as before", Instant::now()).await;
}

/// The middle of a few triggers.
async fn round_trip(world: &World, employees: &[String], report: &mut Report) -> Duration {
    let mut few = Report::default();
    let mut teller = Teller::new(world.addresses(), 0);
    for employee in employees.iter().take(9) {
        teller.tell(employee, &mut few).await;
    }
    let (middle, _) = few.latency();
    report.add(few);
    middle
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
