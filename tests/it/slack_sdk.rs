//! Slack's own SDK for Python, from PyPI, against ours: it judges signatures beside the Slack endpoint, and is a client of the sandbox.
//!
//! `scripts/test-needs` (a part of `make test`) installs it outside of the checkout. Without it these tests fail and say so.

use crate::{needs, process::Launch};
use std::path::{Path, PathBuf};
use tokio::process::Command;

const REQUESTS: &str = "10000";
/// The sandbox's own token; `tenure dev` connects its org with it.
const TOKEN: &str = "sandbox-slack-token";

/// The Python that has the packages of `tests/interop/requirements.txt`.
fn python() -> PathBuf {
    let python = needs::directory("interop").join("bin/python3");
    assert!(
        python.exists(),
        "{} is missing, which has Slack's SDK (slack_sdk): call scripts/test-needs, or `make needs`",
        python.display()
    );
    python
}

async fn run(script: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(script);
    let ran = Command::new(python())
        .arg(&script)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .expect("python starts");
    let (said, complained) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    println!("{said}");
    assert!(
        ran.status.success(),
        "{}: {said}{complained}",
        script.display()
    );
}

#[tokio::test]
async fn both_accept_the_same_of_ten_thousand_requests() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Launch::new(data.path()).start().await;
    run("slack_signatures.py", &[&server.url, &server.key, REQUESTS]).await;
}

#[tokio::test]
async fn the_sdk_takes_the_sandbox_for_slack() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Launch::new(data.path()).start().await;
    run("slack_client.py", &[&server.sandbox_url, TOKEN]).await;
}
