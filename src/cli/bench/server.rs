//! The measured server: the real binary as a child process, started, asked and killed.

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
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

/// How long a server may take until it is ready, on a busy machine and with work to recover.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// For one request that is not part of a load.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a state is looked at that is waited for.
const POLL: Duration = Duration::from_millis(5);

/// A running server. It ends with the value, and with this process however that ends.
pub struct Server {
    child: Child,
    /// Open as long as the server may want to write there.
    _stdout: BufReader<ChildStdout>,
    keeper: Keeper,
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
        let mut child = command
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start the server")?;
        let pid = child.id().context("the server ended at once")?;
        let keeper = Keeper::of(pid)?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut stdout = BufReader::new(stdout);
        let ready = match read_ready(&mut stdout).await {
            Ok(ready) => ready,
            Err(error) => return Err(error.context(log_end(place))),
        };
        let (address, sandbox) = (address_of(&ready.url)?, address_of(&ready.sandbox_url)?);
        Ok(Self {
            child,
            _stdout: stdout,
            keeper,
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
    pub async fn kill(mut self) -> Result<()> {
        self.keeper.dismiss().await;
        self.child.kill().await.context("kill the server")
    }

    /// # Errors
    /// If it does not run any more.
    pub fn resident_bytes(&self) -> Result<u64> {
        processes::resident_bytes(self.child.id().context("the server ended")?)
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
        let begin = Instant::now();
        // Rarely: the list is made of all actors, and nothing is timed meanwhile.
        while !self.is_empty("/v1/actors?kind=employee").await? {
            ensure!(
                begin.elapsed() < deadline,
                "employees are still awake after {deadline:?}"
            );
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
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

fn address_of(url: &str) -> Result<SocketAddr> {
    url.strip_prefix("http://")
        .and_then(|rest| rest.trim_end_matches('/').parse().ok())
        .with_context(|| format!("`{url}` is no address of this machine"))
}

async fn read_ready(stdout: &mut BufReader<ChildStdout>) -> Result<Ready> {
    let mut line = String::new();
    timeout(START_TIMEOUT, stdout.read_line(&mut line))
        .await
        .with_context(|| format!("the server was not ready after {START_TIMEOUT:?}"))??;
    serde_json::from_str(&line)
        .context("the server ended or said something else than that it is ready")
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

/// A shell that kills the server should this process be killed: then nobody else would.
struct Keeper {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Keeper {
    fn of(pid: u32) -> Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", r#"read -r word; [ "$word" = end ] || kill -9 "$1""#])
            .arg("keeper")
            .arg(pid.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt from the terminal goes to all; this one must outlive us.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start the shell that guards the server")?;
        let input = shell.stdin.take();
        Ok(Self { shell, input })
    }

    /// Must end before the server does, so that it never kills another process that got the same number.
    async fn dismiss(&mut self) {
        let _ = self.shell.kill().await;
        self.input = None;
    }
}
