//! The measured server: the real binary as a child process, started, asked and killed.

pub use crate::cli::child::{Child, address_of};

use super::{
    http::{Connection, request_head, write_request},
    place::Place,
    processes,
};
use anyhow::{Context, Result, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;
use std::{
    fs::File,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

/// For one request that is not part of a load.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a state is looked at that is waited for.
const POLL: Duration = Duration::from_millis(5);

/// A running server. It ends with the value, and with this process however that ends.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Of the providers' sandbox.
    pub sandbox: SocketAddr,
    key: SecretString,
    idle: Option<Connection>,
}

/// What `tenure dev --json` says when it is ready.
#[derive(Deserialize)]
struct Ready {
    url: String,
    api_key: SecretString,
    sandbox_url: String,
}

#[derive(Debug, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl Server {
    /// Starts the server on the data of `place` and waits until it is ready. Employees sleep after `idle`.
    ///
    /// # Errors
    /// With the end of its log, if it does not become ready.
    pub async fn start(place: &Place, idle: Duration) -> Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(place.log())?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["dev", "--json", "--no-demo", "--listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(place.data())
            .args(["--idle-after", &idle.as_secs().max(1).to_string()]);
        // The caller's own settings are not what is measured.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"TENURE_") {
                command.env_remove(name);
            }
        }
        if let Some(url) = place.database_url() {
            command.args(["--database-url", url]);
        }
        // The sandbox that proxied calls go to is on this machine.
        command.env("TENURE_ALLOW_PRIVATE", "127.0.0.0/8");
        command.env("RUST_LOG", "warn").stderr(log);
        let started = Child::start::<Ready>(command).await;
        let (child, ready) = started.map_err(|error| error.context(log_end(place)))?;
        let (address, sandbox) = (address_of(&ready.url)?, address_of(&ready.sandbox_url)?);
        Ok(Self {
            child,
            address,
            sandbox,
            key: ready.api_key,
            idle: None,
        })
    }

    /// Ends it as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// If it does not die.
    pub async fn kill(self) -> Result<()> {
        self.child.kill().await
    }

    /// # Errors
    /// If it does not run any more.
    pub fn resident_bytes(&self) -> Result<u64> {
        processes::resident_bytes(self.child.id()?)
    }

    /// Request line and headers for a load.
    pub fn head(&self, method: &str, path: &str, prefer: Option<&str>) -> String {
        request_head(method, path, self.key.expose_secret(), prefer)
    }

    /// # Errors
    /// If the answer is not 200 or not of this shape.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        self.request("GET", path, None, 200).await
    }

    async fn request<T: DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        expected: u16,
    ) -> Result<T> {
        let body = body
            .map(serde_json::to_vec)
            .transpose()?
            .unwrap_or_default();
        let answer = self.ask(method, path, &body, expected).await?;
        serde_json::from_slice(&answer)
            .with_context(|| format!("{method} {path}: answer of another shape"))
    }

    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        expected: u16,
    ) -> Result<Vec<u8>> {
        let mut request = Vec::new();
        write_request(&mut request, &self.head(method, path, None), body);
        let mut connection = match self.idle.take() {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        let answer = timeout(REQUEST_TIMEOUT, connection.exchange(&request))
            .await
            .with_context(|| format!("{method} {path}: no answer in {REQUEST_TIMEOUT:?}"))??;
        answer
            .expect(expected)
            .with_context(|| format!("{method} {path}"))?;
        let body = answer.body.to_vec();
        self.idle = Some(connection);
        Ok(body)
    }

    /// All items of a list; `path` without a query or ending in a filter.
    ///
    /// # Errors
    /// If a page cannot be read.
    pub async fn list<T: DeserializeOwned>(&mut self, path: &str) -> Result<Vec<T>> {
        let glue = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page: Page<T> = self.get(&format!("{path}{glue}limit=200{after}")).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(items),
            }
        }
    }

    /// # Errors
    /// If the list cannot be read.
    pub async fn is_empty(&mut self, path: &str) -> Result<bool> {
        let page: Page<Value> = self.get(&format!("{path}&limit=1")).await?;
        Ok(page.items.is_empty())
    }

    /// Waits until no list of `paths` (each with a filter) has an item.
    ///
    /// # Errors
    /// If that takes longer than `deadline`.
    pub async fn wait_until_empty(&mut self, paths: &[&str], deadline: Duration) -> Result<()> {
        let begin = Instant::now();
        for path in paths {
            while !self.is_empty(path).await? {
                if begin.elapsed() > deadline {
                    bail!("GET {path} still has items after {deadline:?}");
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }
}

impl Server {
    /// Employees that are in memory now.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub async fn awake(&mut self) -> Result<usize> {
        Ok(self
            .list::<IgnoredAny>("/v1/actors?kind=employee")
            .await?
            .len())
    }

    /// # Errors
    /// If that takes longer than `deadline`.
    pub async fn wait_until_asleep(&mut self, deadline: Duration) -> Result<()> {
        self.wait_until_none("employee", deadline).await
    }

    /// Waits until no actor of this kind is alive.
    ///
    /// # Errors
    /// If that takes longer than `deadline`.
    pub async fn wait_until_none(&mut self, kind: &str, deadline: Duration) -> Result<()> {
        let begin = Instant::now();
        let path = format!("/v1/actors?kind={kind}");
        // Rarely: the list is made of all actors, and nothing is timed meanwhile.
        while !self.is_empty(&path).await? {
            ensure!(
                begin.elapsed() < deadline,
                "there are still actors of kind {kind} after {deadline:?}"
            );
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// What the program holds in memory, bytes.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn heap_bytes(&mut self) -> Result<f64> {
        let heap = self.metric("tenure_heap_allocated_bytes").await?;
        heap.context("the server tells no heap")
    }

    /// A number of `/metrics`; `series` with its labels as it is written there. `None` if there is none yet.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn metric(&mut self, series: &str) -> Result<Option<f64>> {
        let text = String::from_utf8(self.ask("GET", "/metrics", b"", 200).await?)?;
        Ok(text
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .find(|(name, _)| *name == series)
            .and_then(|(_, value)| value.parse().ok()))
    }
}

/// The last lines of what it logged.
fn log_end(place: &Place) -> String {
    const LINES: usize = 15;
    let log = std::fs::read_to_string(place.log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    format!(
        "the log of the server ends with:\n{}",
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    )
}
