//! The command as people and scripts use it: the real binary, a real `tenure dev`, real kills.

mod call;
mod cluster;
mod connect;
pub mod dev;

use dev::{Dev, Said, eventually, run, tenure};
use serde_json::Value;
use std::{fs, net::TcpListener};

/// Invoices of the sandbox company that are over 500 and more than 30 days late.
const LATE_INVOICES: usize = 4;

#[test]
fn a_first_hour() {
    let dev = Dev::start();
    let told = dev.ok(&["tell", "clerk", "chase the late invoices"]);
    assert!(told.contains("waits: a person has to decide"), "{told}");
    let approval = dev.ok(&["approve", "-q"]).trim().to_owned();
    assert!(told.contains(&format!("approve {approval}")), "{told}");
    assert_eq!(
        dev.record("gmail").len(),
        0,
        "nothing is mailed before it was approved"
    );

    let approved = dev.ok(&["approve", "clerk", "--comment", "go on"]);
    assert!(approved.contains("gmail.send  done"), "{approved}");
    assert!(approved.contains("completed"), "{approved}");
    assert_eq!(dev.record("gmail").len(), LATE_INVOICES);

    let runs = dev.json(&["runs", "--employee", "clerk"]);
    let run = runs["items"][0]["execution_id"].as_str().expect("one run");
    assert_eq!(runs["items"][0]["status"], "completed");
    let shown = dev.ok(&["show", run]);
    assert!(
        shown.contains("completed") && shown.contains("gmail.send"),
        "{shown}"
    );
    assert!(dev.ok(&["runs"]).contains("clerk"));
    assert!(dev.ok(&["employees"]).contains("clerk"));
    assert!(dev.ok(&["top", "--once"]).contains("journal"));
    assert!(dev.ok(&["doctor"]).contains("answers at"));
    for id in ["clerk", approval.as_str(), "node/journal"] {
        assert!(!dev.ok(&["show", id]).is_empty(), "{id}");
    }
}

#[test]
fn killed_and_started_again_it_goes_on() {
    let mut dev = Dev::start();
    let before = dev.line.clone();
    let run = dev.ok(&["tell", "clerk", "chase the late invoices", "-q"]);
    let run = run.trim();
    eventually("the approval waits", || {
        dev.ok(&["approve", "-q"]).starts_with("apr_")
    });
    dev.kill();
    assert_eq!(dev.verb(&["runs"]).code, 5, "nobody answers");

    dev.start_again();
    for field in ["org", "api_key", "sandbox_url"] {
        assert_eq!(dev.line[field], before[field], "{field}");
    }
    assert_eq!(
        dev.json(&["employees"])["items"].as_array().map(Vec::len),
        Some(1)
    );
    dev.ok(&["approve", run, "-q"]);
    eventually("the first mail is out", || !dev.record("gmail").is_empty());
    dev.kill();

    dev.start_again();
    eventually("the run is over", || {
        dev.json(&["show", run])["status"] == "completed"
    });
    let mails = dev.record("gmail");
    let mut keys: Vec<&str> = mails
        .iter()
        .filter_map(|mail| mail["idempotency_key"].as_str())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let ambiguous = dev.json(&["show", run])["effects"]
        .as_array()
        .expect("effects")
        .iter()
        .filter(|effect| effect["status"] == "ambiguous")
        .count();
    assert_eq!(
        ambiguous, 0,
        "the kill may leave none that cannot be resolved"
    );
    assert_eq!(
        (mails.len(), keys.len()),
        (LATE_INVOICES, LATE_INVOICES),
        "each mail once: {mails:?}"
    );
}

#[test]
fn one_data_directory_has_one_process() {
    let dev = Dev::start();
    let second = tenure(&["dev", "--listen", "127.0.0.1:0", "--data", dev.data()]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.err.contains("in use"), "{second:?}");
    assert!(
        second.err.contains(dev.url()),
        "says where the first is: {second:?}"
    );
}

#[cfg(unix)]
#[test]
fn secrets_on_disk_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dev = Dev::start();
    for name in ["dev.json", "master.key"] {
        let mode = fs::metadata(dev.path().join(name))
            .expect(name)
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn told_to_stop_it_stops() {
    for signal in ["TERM", "INT"] {
        let mut dev = Dev::start_with(&["--no-demo"]);
        assert_eq!(dev.json(&["employees"])["items"], Value::Array(Vec::new()));
        assert_eq!(dev.signal(signal), Some(0), "SIG{signal}");
    }
}

#[test]
fn hiring() {
    let dev = Dev::start_with(&["--no-demo"]);
    let greeter = dev.file(
        "greeter.md",
        "Every morning at eight post \"Good morning\" in #general. Juggle the elephants.",
    );
    let dry = dev.ok(&["hire", &greeter, "--name", "greeter", "--dry-run"]);
    assert!(
        dry.contains("would be hired") && dry.contains("elephants"),
        "{dry}"
    );
    assert_eq!(dev.ok(&["employees", "-q"]), "");
    let id = dev.ok(&["hire", &greeter, "--name", "greeter", "-q"]);
    assert!(id.starts_with("emp_"), "{id}");
    assert_eq!(
        dev.verb(&["hire", &greeter, "--name", "greeter"]).code,
        4,
        "the name is taken"
    );

    let graph = dev.file(
        "adder.yaml",
        "name: adder\n\
         graph: {graph_id: adder, type: employee, nodes: [{id: add, type: skill, skill_graph: add, permissions: []}], edges: []}\n\
         skill_graphs:\n  add:\n    graph_id: add\n    type: skill\n    nodes: [{id: n1, type: transform, output: {sum: input.a + input.b}}]\n    edges: []\n",
    );
    dev.ok(&["hire", &graph]);
    let run = dev.json(&["tell", "adder", "--payload", r#"{"a":1,"b":2}"#, "--wait"]);
    assert_eq!(
        (&run["status"], &run["result"]["sum"]),
        (&"completed".into(), &3.into())
    );
    let failed = dev.verb(&["tell", "adder", "--payload", r#"{"a":1}"#, "--wait"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.err.contains("error: the run failed"), "{failed:?}");

    let again = [
        "tell",
        "adder",
        "--payload",
        r#"{"a":1,"b":2}"#,
        "--idempotency-key",
        "k",
        "-q",
    ];
    assert_eq!(dev.ok(&again), dev.ok(&again), "one key, one run");

    let broken = dev.file("broken.yaml", "name: x\ngraph: {graph_id: x, type: employee, nodes: [{id: a, type: skill, skill_graph: none, permissions: []}], edges: []}\n");
    let refused = dev.verb(&["hire", &broken]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("(invalid_graph)"), "{refused:?}");
}

#[test]
fn denying_and_cancelling() {
    let dev = Dev::start();
    let wait = |run: &str| {
        eventually("it waits", || {
            dev.json(&["show", run])["status"] == "waiting"
        });
    };
    let run = dev.ok(&["tell", "clerk", "chase", "-q"]);
    wait(run.trim());
    let denied = dev.ok(&[
        "approve",
        run.trim(),
        "--deny",
        "--comment",
        "not this week",
    ]);
    assert!(denied.contains("denied"), "{denied}");
    let run = dev.ok(&["tell", "clerk", "chase", "-q"]);
    wait(run.trim());
    assert!(dev.ok(&["cancel", run.trim()]).contains("stopped"));
    eventually("it is over", || {
        dev.json(&["show", run.trim()])["status"] == "cancelled"
    });
    assert_eq!(dev.verb(&["cancel", run.trim()]).code, 4, "it is over");
    assert_eq!(dev.verb(&["approve", "clerk"]).code, 3, "nothing waits");
    assert_eq!(dev.record("gmail").len(), 0);
}

#[test]
fn what_goes_wrong_has_its_exit_code() {
    let dev = Dev::start_with(&["--no-demo"]);
    for (arguments, code, said) in [
        (&["show", "nobody"][..], 3, "no employee `nobody`"),
        (
            &["show", "0198f0c4-7b1e-7abc-8def-0123456789ab"],
            3,
            "not_found",
        ),
        (&["tell", "nobody", "x"], 3, "nobody"),
        (&["tell", "nobody"], 2, "Usage"),
        (&["runs", "--key", "tnk_wrong"], 4, "(unauthorized)"),
        (
            &["runs", "--url", "http://127.0.0.1:9", "--key", "x"],
            5,
            "not reachable",
        ),
        (&["runs", "--url", "nowhere", "--key", "x"], 2, "nowhere"),
        (&["runs", "--url", "http://127.0.0.1:9"], 2, "no key"),
        (&["hire", "/no/such/file"], 1, "cannot read"),
        (&["org", "list"], 2, "no database"),
        (
            &["org", "list", "--database-url", "mysql://x"],
            1,
            "sqlite:",
        ),
    ] {
        let Said { code: got, err, .. } = dev.verb(arguments);
        assert_eq!(got, code, "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let other = tempfile::tempdir().expect("a directory");
    let data = other.path().to_str().expect("text");
    let refused = tenure(&["dev", "--listen", &address, "--data", data]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains(&format!("cannot listen on {address}")),
        "{refused:?}"
    );
}

#[test]
fn orgs_and_keys_and_the_service() {
    let home = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite:{}", home.path().join("t.db").display());
    let on = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--database-url", &database]);
        tenure(&all)
    };
    assert_eq!(on(&["org", "list"]).code, 1, "it has to be migrated first");
    for _ in 0..2 {
        assert_eq!(on(&["migrate"]).code, 0);
    }
    assert!(on(&["org", "create", "acme", "-q"]).out.starts_with("org_"));
    assert_eq!(on(&["org", "create", "acme"]).code, 1, "it exists");
    assert_eq!(on(&["org", "create", "Not a name"]).code, 2);
    assert!(on(&["org", "list"]).out.contains("acme"));
    let key = |role: &str| {
        on(&["key", "create", "--org", "acme", "--role", role, "-q"])
            .out
            .trim()
            .to_owned()
    };
    let (admin, viewer) = (key("admin"), key("viewer"));
    assert!(admin.starts_with("tnk_"), "{admin}");
    assert_eq!(
        on(&["key", "create", "--org", "none", "--role", "admin"]).code,
        3
    );

    let no_key = run(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--database-url",
            &database,
        ],
        &[],
    );
    assert_eq!(no_key.code, 2, "{no_key:?}");
    let unknown = run(
        &["serve", "--database-url", &database],
        &[("TENURE_LISSEN", "x")],
    );
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.err.to_lowercase().contains("lissen"), "{unknown:?}");

    let serve = Dev::serve(&database);
    let with = |key: &str, arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--url", serve.url(), "--key", key]);
        tenure(&all)
    };
    assert_eq!(with(&admin, &["employees"]).code, 0);
    assert_eq!(with(&viewer, &["employees"]).code, 0);
    let file = serve.file(
        "a.md",
        "Every morning at eight post \"Good morning\" in #general.",
    );
    assert_eq!(
        with(&viewer, &["hire", &file]).code,
        4,
        "a viewer may not hire"
    );
    let list: Value =
        serde_json::from_str(&on(&["key", "list", "--org", "acme", "--json"]).out).expect("JSON");
    let keys = list["items"].as_array().expect("a list");
    let viewer_id = keys
        .iter()
        .find(|key| key["role"] == "viewer")
        .and_then(|key| key["id"].as_str());
    let revoke = ["key", "revoke", viewer_id.expect("an id"), "--org", "acme"];
    assert_eq!(on(&revoke).code, 0);
    assert_eq!(on(&revoke).code, 3, "it is revoked");
    eventually("the key opens nothing any more", || {
        with(&viewer, &["employees"]).code == 4
    });
}
