//! Whatever node is asked: triggers are taken, events of every node's runs are streamed, every actor is shown.

use crate::{
    employees::mailer,
    load::{Nodes, Report, Teller},
    process::Client,
    world::{NAMES, World, until},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tenure::domain::EmployeeId;
use tokio::time::{Instant, sleep};

pub async fn show(world: &World, report: &mut Report) {
    let employees = world.hire(18, mailer).await;
    let runs = tell_all_by_all(world, &employees, report).await;
    let owners = world.recorder.owners().await;
    let mut homes: BTreeMap<&str, usize> = BTreeMap::new();
    for life in owners.values() {
        *homes.entry(world.name_of(*life)).or_default() += 1;
    }
    println!("employees live at {homes:?}");
    assert_eq!(homes.len(), 3, "somebody lives at each node");

    // The stream of each run, from each node, to its end.
    for (employee, run) in employees.iter().zip(&runs).take(9) {
        let id: EmployeeId = employee.parse().expect("an id");
        let home = world.name_of(owners[&id.uuid()]);
        for name in NAMES {
            let names = follow(&world.client(name), run).await;
            assert_eq!(
                (
                    names.first().map(String::as_str),
                    names.last().map(String::as_str)
                ),
                (Some("runIntent"), Some("executionResult")),
                "the run of {home} as {name} tells it: {names:?}"
            );
        }
    }
    live_stream(world, &employees, report).await;
    actors(world, &employees).await;
}

/// Each employee by each node; gives the last run of each.
async fn tell_all_by_all(world: &World, employees: &[String], report: &mut Report) -> Vec<String> {
    let mut runs = Vec::new();
    for name in NAMES {
        runs.clear();
        let mut teller = Teller::new(Nodes::new(vec![world.client(name)]), 0);
        for employee in employees {
            runs.push(teller.tell(employee, report).await);
        }
    }
    let (middle, longest) = report.latency();
    println!("a trigger at any node: p50 {middle:.1?}, longest {longest:.1?}");
    assert_eq!(report.told_to_wait, 0, "nobody is sent elsewhere");
    runs
}

/// The names of a run's events, until its stream ends.
async fn follow(client: &Client, run: &str) -> Vec<String> {
    let mut response = open(client, &format!("/v1/runs/{run}/events")).await;
    let mut text = String::new();
    let read = async {
        while let Some(chunk) = response.chunk().await.expect("a chunk") {
            text += &String::from_utf8_lossy(&chunk);
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
    assert!(ended.is_ok(), "the stream of {run} does not end: {text}");
    names_in(&text)
}

async fn open(client: &Client, path: &str) -> reqwest::Response {
    let request = reqwest::Client::new().get(format!("{}{path}", client.base));
    let request = request.bearer_auth(client.key.as_deref().expect("a key"));
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    response
}

fn names_in(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.strip_prefix("event:"));
    names.map(|name| name.trim().to_owned()).collect()
}

/// What a node streams of the org while it happens, at all nodes.
async fn live_stream(world: &World, employees: &[String], report: &mut Report) {
    for name in NAMES {
        let path = "/v1/events?after=now&types=executionResult";
        let mut response = open(&world.client(name), path).await;
        let began = Instant::now();
        let mut teller = Teller::new(world.addresses(), 0);
        for employee in employees {
            teller.tell(employee, report).await;
        }
        let mut text = String::new();
        while names_in(&text).len() < employees.len() {
            let chunk = tokio::time::timeout(Duration::from_secs(20), response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("{name} misses events: {text}"));
            text += &String::from_utf8_lossy(&chunk.expect("a chunk").expect("it goes on"));
        }
        println!(
            "{name} streamed the ends of {} runs of all nodes within {:.1?}",
            employees.len(),
            began.elapsed()
        );
    }
}

/// Every node shows the employees of all; one that does not answer is named, and soon.
async fn actors(world: &World, employees: &[String]) {
    for name in NAMES {
        let client = world.client(name);
        until(&format!("{name} shows all employees"), async || {
            let seen = employees_seen(&client).await;
            seen.1.is_none() && employees.iter().all(|one| seen.0.contains(one))
        })
        .await;
    }
    world.node("c").signal("STOP");
    let began = Instant::now();
    let (seen, missing) = employees_seen(&world.client("a")).await;
    let took = began.elapsed();
    println!(
        "with c stopped, a shows {} of {} employees after {took:.1?}, missing: {missing:?}",
        seen.len(),
        employees.len()
    );
    world.node("c").signal("CONT");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let missing = missing.expect("the answer says that it is partial");
    assert_eq!(missing.as_array().map(Vec::len), Some(1), "{missing}");
    assert!(seen.len() < employees.len() && !seen.is_empty());
    sleep(Duration::from_millis(500)).await;
    world.until_all_ready().await;
}

/// The employees that the node knows of, and what is missing if something is.
async fn employees_seen(client: &Client) -> (BTreeSet<String>, Option<Value>) {
    let answer = client.get("/v1/actors?kind=employee&limit=200").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let ids = answer.body["items"].as_array().expect("items").iter();
    let ids = ids.filter_map(|actor| actor["id"].as_str());
    // A path ends with `employee:` and the id.
    let ids = ids.filter_map(|path| path.rsplit_once(':').map(|(_, id)| id));
    let partial = answer.body["partial"] == true;
    (
        ids.map(str::to_owned).collect(),
        partial.then(|| answer.body["missing"].clone()),
    )
}
