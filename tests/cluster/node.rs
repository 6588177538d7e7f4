//! One node: the real binary as `tenure serve`, and what can be done to it.

use crate::process::Client;
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
};
use uuid::Uuid;

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(60);
/// How long an end may take: a drain, and then some.
const END: Duration = Duration::from_secs(60);

/// How to start it, again and again.
#[derive(Clone)]
pub struct Launch {
    pub name: &'static str,
    pub config: PathBuf,
    pub log: PathBuf,
    /// Of its HTTP.
    pub address: SocketAddr,
    pub key: String,
    /// The network namespace in which it runs.
    pub namespace: Option<String>,
}

/// A running node.
pub struct Node {
    pub name: &'static str,
    child: Child,
    pid: u32,
    client: Client,
    /// How often it has said that it is ready: more than once if it began a new life in the same process.
    ready: watch::Receiver<usize>,
}

impl Launch {
    /// Starts it and does not wait for anything.
    pub fn spawn(&self) -> Node {
        let mut command = match &self.namespace {
            None => Command::new(env!("CARGO_BIN_EXE_tenure")),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_tenure")]);
                command
            }
        };
        let mut child = command
            .args(["serve", "--json", "--config"])
            .arg(&self.config)
            .env("RUST_LOG", log_filter())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.log_file())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (said, ready) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if line["url"].is_string() {
                    said.send_modify(|times| *times += 1);
                }
            }
        });
        Node {
            name: self.name,
            pid: child.id().expect("it runs"),
            child,
            client: Client {
                base: format!("http://{}", self.address),
                key: Some(self.key.clone()),
            },
            ready,
        }
    }

    fn log_file(&self) -> File {
        let file = OpenOptions::new().create(true).append(true).open(&self.log);
        file.expect("a log")
    }
}

fn log_filter() -> String {
    std::env::var("SHOWS_LOG").unwrap_or_else(|_| "info,sqlx=warn".into())
}

impl Node {
    /// # Panics
    /// If it ends instead, or takes too long.
    pub async fn until_ready(&mut self) {
        let name = self.name;
        let ready = tokio::time::timeout(START, self.ready.wait_for(|times| *times > 0)).await;
        let ready = ready.unwrap_or_else(|_| panic!("node {name} is not ready in time"));
        assert!(ready.is_ok(), "node {name} ended instead of getting ready");
    }

    /// How often it has said that it is ready.
    pub fn lives(&self) -> usize {
        *self.ready.borrow()
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// If it does not end well, or not in time.
    pub async fn stop(mut self) {
        self.signal("TERM");
        let ended = tokio::time::timeout(END, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("node {} does not end", self.name));
        let status = ended.expect("waited for");
        assert!(status.success(), "node {} ended with {status}", self.name);
    }

    /// Waits for its end, which nobody asked for here.
    pub async fn until_ended(&mut self) -> std::process::ExitStatus {
        let ended = tokio::time::timeout(END, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("node {} does not end", self.name));
        ended.expect("waited for")
    }

    /// `STOP` and `CONT` among them.
    pub fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &self.pid.to_string()])
            .status();
        assert!(sent.expect("kill runs").success(), "{signal} is sent");
    }
}

/// The same name is the same node, on whatever machine it starts.
pub fn node_id(name: &str) -> Uuid {
    Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("tenure node {name}").as_bytes(),
    )
}

/// The end of a log, for whoever has to find out.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
