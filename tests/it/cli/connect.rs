//! Connecting an account, and the keys that seal it, as an operator does it: the real binary, the sandbox's consent page.

use super::dev::{Dev, eventually, run};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// What the person's browser does with a connect link: it agrees.
fn agree(link: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        let header = |answer: &reqwest::Response, name: &str| {
            let value = answer
                .headers()
                .get(name)
                .unwrap_or_else(|| panic!("no {name}"));
            value.to_str().expect("text").to_owned()
        };
        let form = [("way", "oauth2_code")];
        let departed = http.post(link).form(&form).send().await.expect("a page");
        let (there, cookie) = (
            header(&departed, "location"),
            header(&departed, "set-cookie"),
        );
        let form = [("decision", "allow"), ("user", "U0MAYA")];
        let agreed = http.post(there).form(&form).send().await.expect("a page");
        let back = http
            .get(header(&agreed, "location"))
            .header("cookie", cookie.split(';').next().unwrap_or_default());
        let page = back.send().await.expect("a page");
        assert_eq!(
            page.status(),
            200,
            "{}",
            page.text().await.unwrap_or_default()
        );
    });
}

#[test]
fn connect_waits_for_the_person_and_says_what_it_got() {
    let dev = Dev::start_with(&["--no-demo"]);
    let data = dev.path();
    let mut verb = Command::new(env!("CARGO_BIN_EXE_tenure"))
        .args(["connect", "slack", "--name", "mine", "--json", "--data"])
        .arg(&data)
        .env_remove("TENURE_URL")
        .env_remove("TENURE_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(verb.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let link = next();
    agree(link["url"].as_str().expect("a url"));
    let connection = next();
    assert_eq!(connection["status"], "active", "{connection}");
    assert!(verb.wait().expect("it ends").success());

    let id = connection["id"].as_str().expect("an id");
    let listed = dev.json(&["connections", "--integration", "slack"]);
    let all = listed["items"].as_array().expect("a list");
    assert!(all.iter().any(|item| item["id"] == id), "{listed}");
    let shown = dev.ok(&["connections", "show", id]);
    assert!(
        shown.contains("oauth2_code") && !shown.contains("xox"),
        "{shown}"
    );
    let again = dev.ok(&["connect", "slack", "--connection", id, "--no-wait"]);
    assert!(again.contains("/connect/"), "{again}");
    dev.ok(&["connections", "delete", id]);
    assert_eq!(dev.verb(&["connections", "show", id]).code, 3);
    assert_eq!(dev.verb(&["connect", "slak", "--no-wait"]).code, 1);
}

#[test]
fn the_master_key_is_changed_beside_the_running_service() {
    let mut dev = Dev::start();
    let (file, database) = (dev.path().join("master.key"), dev.path().join("tenure.db"));
    let (file_text, url) = (
        file.to_string_lossy(),
        format!("sqlite:{}", database.display()),
    );
    let key = |verb: &[&str]| {
        let mut arguments = vec!["key"];
        arguments.extend(verb);
        arguments.extend(["--database-url", &url, "--json"]);
        let said = run(&arguments, &[("TENURE_MASTER_KEY_FILE", &file_text)]);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str::<Value>(&said.out).expect("json")
    };
    assert_eq!(key(&["rotate-org", "demo"])["version"], 2);
    let old = std::fs::read_to_string(&file).expect("a key");
    let new = "6b".repeat(32);
    std::fs::write(&file, format!("{new}\n{old}")).expect("written");
    let rotated = key(&["rotate-master"]);
    assert_eq!(rotated["rewrapped"], 2, "{rotated}");
    std::fs::write(&file, &new).expect("written");

    // The running service has the old key and meets the new one when it opens the connections.
    let told = dev.ok(&["tell", "clerk", "chase the late invoices"]);
    assert!(told.contains("waits: a person has to decide"), "{told}");
    dev.kill();
    dev.start_again();
    eventually("the approval waits", || {
        dev.ok(&["approve", "-q"]).starts_with("apr_")
    });
    let approved = dev.ok(&["approve", "clerk"]);
    assert!(approved.contains("gmail.send  done"), "{approved}");

    let created = run(&["org", "create", "gone", "--database-url", &url], &[]);
    assert_eq!(created.code, 0, "{created:?}");
    let deleted = run(
        &["org", "delete", "gone", "--yes", "--database-url", &url],
        &[],
    );
    assert_eq!(deleted.code, 0, "{deleted:?}");
    let again = run(
        &["org", "delete", "gone", "--yes", "--database-url", &url],
        &[],
    );
    assert_eq!(again.code, 3, "{again:?}");
}
