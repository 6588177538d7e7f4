//! Asks a server over HTTP: single requests, lists, and states that are waited for.

use super::http::{Connection, request_head, write_request};
use anyhow::{Context, Result, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// For one request that is not part of a load.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a state is looked at that is waited for.
const POLL: Duration = Duration::from_millis(5);

/// Where a server is and with which key it is asked.
pub struct Client {
    pub address: SocketAddr,
    key: SecretString,
    idle: Option<Connection>,
}

#[derive(Debug, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl Client {
    pub fn new(address: SocketAddr, key: SecretString) -> Self {
        Self {
            address,
            key,
            idle: None,
        }
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

    /// # Errors
    /// If the answer is not 200 or not of this shape.
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: &Value) -> Result<T> {
        self.request("POST", path, Some(body), 200).await
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

impl Client {
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
