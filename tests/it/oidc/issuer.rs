//! The authorisation server as a child process; what it says of itself.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Issuer {
    child: Child,
    pub url: String,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `scripts/test-needs` has put the modules.
fn modules() -> PathBuf {
    let directory = crate::needs::directory("oidc");
    let library = directory.join("node_modules/oidc-provider/lib/index.js");
    assert!(
        library.is_file(),
        "this test needs the authorisation server {}: scripts/test-needs (or `make test`) puts it there",
        library.display()
    );
    directory
}

impl Issuer {
    /// Starts it for one client's redirect address, with access tokens that live that long.
    pub fn start(redirect_uri: &str, access_seconds: u32) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/oidc/server.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .arg(modules())
            .args([redirect_uri, &access_seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs node, which scripts/test-needs installs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut first = String::new();
        lines.read_line(&mut first).expect("text");
        let ready: Value =
            serde_json::from_str(&first).unwrap_or_else(|error| panic!("{error}: {first:?}"));
        let url = ready["issuer"].as_str().expect("an issuer").to_owned();
        let said = Arc::new(Mutex::new(Vec::new()));
        thread::spawn({
            let said = said.clone();
            move || listen(lines, &said)
        });
        Self { child, url, said }
    }

    /// What happened there of this kind, in order.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = said.iter().filter(|line| line["event"] == kind);
        of_kind.cloned().collect()
    }

    /// The tokens that were given for this type of grant.
    pub fn grants(&self, grant_type: &str) -> Vec<Value> {
        let mut grants = self.events("grant");
        grants.retain(|grant| grant["type"] == grant_type);
        grants
    }

    /// Waits until it has said so many of a kind: what it writes comes a moment after what it answers.
    pub async fn heard(&self, kind: &str, at_least: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.events(kind);
            if events.len() >= at_least {
                return events;
            }
            assert!(
                Instant::now() < deadline,
                "wanted {at_least} of `{kind}`: {events:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn listen(lines: BufReader<ChildStdout>, said: &Mutex<Vec<Value>>) {
    for line in lines.lines().map_while(Result::ok) {
        if let Ok(line) = serde_json::from_str(&line) {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push(line);
        }
    }
}
