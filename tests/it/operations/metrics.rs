//! `/metrics` is the operator's, and what Prometheus' own linter finds nothing wrong with.

use super::{
    logs::pure,
    service::{Place, Setup},
};
use crate::{cli::dev::eventually, needs};
use serde_json::json;
use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

const TOKEN: &str = "a-token-of-the-scraper-alone";

async fn scraped(url: &str, key: Option<&str>) -> (u16, String) {
    let mut request = reqwest::Client::new().get(format!("{url}/metrics"));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let answer = request.send().await.expect("it answers");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a text"))
}

#[tokio::test]
async fn metrics_are_for_the_operator_and_lint_clean() {
    let place = Place::sqlite();
    let operator = place.org_with_key("acme", "viewer");
    let stranger = place.org_with_key("other", "admin");
    let worker = place.ok(&["key", "create", "--org", "acme", "--role", "admin", "-q"]);
    let setup = Setup {
        more: format!("operator_org = 'acme'\nmetrics_token = '{TOKEN}'"),
        ..Setup::on(&place.url)
    };
    let service = setup.start(place.home.path());
    let client = service.client(&worker);
    assert_eq!(
        client.post("/v1/employees", &pure("busy")).await.status,
        201
    );
    for n in 0..3 {
        let told = json!({"payload": {"n": n}});
        let told = client.post("/v1/employees/busy/triggers", &told).await;
        assert_eq!(told.status, 202, "{told:?}");
    }
    for (who, key, status) in [
        ("nobody", None, 401),
        ("a wrong token", Some("a-token-of-somebody-else"), 401),
        ("another org's admin", Some(stranger.as_str()), 403),
        (
            "a viewer of the operator's org",
            Some(operator.as_str()),
            200,
        ),
        ("the scraper", Some(TOKEN), 200),
    ] {
        assert_eq!(scraped(&service.url, key).await.0, status, "{who}");
    }
    // The token opens nothing else.
    assert_eq!(service.client(TOKEN).get("/v1/runs").await.status, 401);

    let (_, text) = scraped(&service.url, Some(TOKEN)).await;
    let name = "tenure_http_request_seconds_bucket";
    assert!(
        text.lines().any(|line| line.starts_with(name)),
        "histograms have buckets: {text}"
    );
    for needed in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "tenure_build_info{version=",
    ] {
        assert!(text.contains(needed), "{needed} is missing: {text}");
    }
    lint(&text);
}

/// Where `scripts/test-needs` puts it, or whatever PATH has.
fn promtool() -> PathBuf {
    let kept = needs::directory("promtool").join("promtool");
    if kept.is_file() {
        kept
    } else {
        "promtool".into()
    }
}

/// Prometheus' own linter, which warns about names, units and missing help texts.
fn lint(text: &str) {
    let mut linter = Command::new(promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs promtool, of Debian's package `prometheus`: scripts/test-needs puts it there");
    let mut input = linter.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let said = linter.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(
        said.status.success() && words.is_empty(),
        "promtool: {words}"
    );
}

#[test]
fn metrics_token_that_could_be_guessed_is_refused() {
    let place = Place::sqlite();
    for bad in ["", "short", "with white space in it"] {
        let setup = Setup {
            more: format!("metrics_token = '{bad}'"),
            ..Setup::on(&place.url)
        };
        let said = setup.refused(place.home.path());
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("metrics_token"), "{said:?}");
    }
}

#[test]
fn variables_of_the_shell_say_where_the_service_is() {
    let dev = crate::cli::dev::Dev::start_with(&["--no-demo"]);
    let script = format!(
        "eval \"$({} env --data {})\" && printf '%s %s %s' \"$URL\" \"$KEY\" \"$SANDBOX\"",
        env!("CARGO_BIN_EXE_tenure"),
        dev.path().display()
    );
    let mut said = String::new();
    eventually("the shell has read it", || {
        let output = Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("sh");
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success()
    });
    let field = |name: &str| dev.line[name].as_str().expect("a text").to_owned();
    let expected = format!(
        "{} {} {}",
        field("url"),
        field("api_key"),
        field("sandbox_url")
    );
    assert_eq!(said, expected);
}
