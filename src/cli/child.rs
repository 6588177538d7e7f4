//! A child process that says in one line of JSON when it is ready, and that never outlives this one.

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{self, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How long a server may take until it is ready, on a busy machine and with work to recover.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Ends with the value, and with this process however that ends.
pub struct Child {
    process: process::Child,
    /// Open as long as it may want to write there.
    _stdout: BufReader<ChildStdout>,
    keeper: Keeper,
}

impl Child {
    /// Starts it and waits for its line.
    ///
    /// # Errors
    /// If it ends, or says something else.
    pub async fn start<T: DeserializeOwned>(mut command: Command) -> Result<(Self, T)> {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the server")?;
        let pid = process.id().context("the server ended at once")?;
        let keeper = Keeper::of(pid)?;
        let stdout = process.stdout.take().context("the server has no output")?;
        let mut stdout = BufReader::new(stdout);
        let ready = read_ready(&mut stdout).await?;
        let child = Self {
            process,
            _stdout: stdout,
            keeper,
        };
        Ok((child, ready))
    }

    /// # Errors
    /// If it does not run any more.
    pub fn id(&self) -> Result<u32> {
        self.process.id().context("the server ended")
    }

    /// Whether it has ended by itself, or by somebody else.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub async fn has_ended(&mut self) -> Result<bool> {
        let ended = self.process.try_wait().context("look at the server")?;
        if ended.is_some() {
            self.keeper.dismiss().await;
        }
        Ok(ended.is_some())
    }

    /// Asks it to end, as an operator would (SIGTERM).
    ///
    /// # Errors
    /// If it cannot be told.
    pub async fn terminate(&mut self) -> Result<()> {
        let pid = self.id()?;
        // It ends by itself from now on.
        self.keeper.dismiss().await;
        let told = Command::new("kill").arg(pid.to_string()).status().await;
        ensure!(
            told.context("tell the server to end")?.success(),
            "the server, process {pid}, could not be told to end"
        );
        Ok(())
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub async fn ended(mut self) -> Result<()> {
        let ended = self.process.wait().await;
        self.keeper.dismiss().await;
        ended.context("wait for the server").map(drop)
    }

    /// Ends it as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// If it does not die.
    pub async fn kill(mut self) -> Result<()> {
        self.keeper.dismiss().await;
        self.process.kill().await.context("kill the server")
    }
}

/// Where a server of this machine listens.
///
/// # Errors
/// If it is no address of this machine.
pub fn address_of(url: &str) -> Result<SocketAddr> {
    url.strip_prefix("http://")
        .and_then(|rest| rest.trim_end_matches('/').parse().ok())
        .with_context(|| format!("`{url}` is no address of this machine"))
}

async fn read_ready<T: DeserializeOwned>(stdout: &mut BufReader<ChildStdout>) -> Result<T> {
    let mut line = String::new();
    timeout(START_TIMEOUT, stdout.read_line(&mut line))
        .await
        .with_context(|| format!("the server was not ready after {START_TIMEOUT:?}"))??;
    serde_json::from_str(&line)
        .context("the server ended or said something else than that it is ready")
}

/// A shell that kills the server should this process be killed: then nobody else would.
struct Keeper {
    shell: process::Child,
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
