//! The log tells an operator what is going on, and never gets in the way of it.

use super::service::{Place, Setup};
use crate::cli::dev::run;
use serde_json::json;
use std::fs::{self, OpenOptions};

/// Writes to it fail as on a full disk.
const FULL: &str = "/dev/full";

#[tokio::test]
async fn log_that_cannot_be_written_holds_up_nothing() {
    let place = Place::sqlite();
    let key = place.org_with_key("acme", "admin");
    let full = OpenOptions::new().write(true).open(FULL).expect(FULL);
    let setup = Setup {
        more: "log = 'trace'".into(),
        ..Setup::on(&place.url)
    };
    let service = setup.start_logging_to(place.home.path(), full);
    let client = service.client(&key);
    let hired = client.post("/v1/employees", &pure("quiet")).await;
    assert_eq!(hired.status, 201, "{hired:?}");
    for n in 0..50 {
        let told = client
            .post(
                "/v1/employees/quiet/triggers",
                &json!({"payload": {"n": n}}),
            )
            .await;
        assert_eq!(told.status, 202, "{told:?}");
    }
    // An error that is logged, too: somebody who is not known, on a route that the guard logs.
    assert_eq!(client.get("/v1/runs/exec_nothing").await.status, 404);
    assert_eq!(client.get("/readyz").await.status, 200);
    service.stop();
}

pub fn pure(name: &str) -> serde_json::Value {
    json!({
        "name": name,
        "graph": {"graph_id": "g", "type": "employee", "edges": [],
            "nodes": [{"id": "skill", "type": "skill", "skill_graph": "sg", "permissions": []}]},
        "skill_graphs": {"sg": {"graph_id": "sg", "type": "skill", "edges": [],
            "nodes": [{"id": "only", "type": "transform", "output": {"n": "input.n"}}]}},
    })
}

#[test]
fn log_filter_that_cannot_be_read_is_an_error_at_the_start() {
    let place = Place::sqlite();
    let setup = Setup {
        more: "log = 'tenure=loud'".into(),
        ..Setup::on(&place.url)
    };
    let said = setup.refused(place.home.path());
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("log `tenure=loud`"), "{said:?}");

    let data = place.home.path().join("dev");
    let arguments = [
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--data",
        &data.to_string_lossy(),
    ];
    let said = run(&arguments, &[("RUST_LOG", "info,tenure=verbose")]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.err.contains("RUST_LOG `info,tenure=verbose`"),
        "{said:?}"
    );
}

#[test]
fn log_says_what_was_started_and_that_it_stopped() {
    let place = Place::sqlite();
    let setup = Setup {
        more: "log_format = 'json'".into(),
        ..Setup::on(&place.url)
    };
    setup.start(place.home.path()).stop();
    let log = fs::read_to_string(place.home.path().join("tenure.log")).expect("a log");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let fields = |message: &str| {
        let found = lines
            .iter()
            .find(|line| line["fields"]["message"] == message);
        found.unwrap_or_else(|| panic!("no `{message}` in {log}"))["fields"].clone()
    };
    let starting = fields("starting");
    assert_eq!(starting["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(starting["database"], place.url.as_str());
    assert!(starting["migrations"].as_i64() > Some(15), "{starting}");
    assert_eq!(starting["node"], "tenure");
    assert!(
        fields("ready")["url"]
            .to_string()
            .contains("http://127.0.0.1:")
    );
    fields("stopping");
    fields("stopped");
}
