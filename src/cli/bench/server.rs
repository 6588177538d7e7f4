//! The measured server: the real binary as a child process, started, asked and killed.

pub use crate::cli::child::{Child, address_of};

use super::{client::Client, place::Place, processes};
use anyhow::Result;
use secrecy::SecretString;
use serde::Deserialize;
use std::net::SocketAddr;
use std::{
    fs::File,
    ops::{Deref, DerefMut},
    time::Duration,
};
use tokio::process::Command;

/// A running server, which is asked as its [`Client`]. It ends with the value, and with this process however that ends.
pub struct Server {
    child: Child,
    client: Client,
    /// Of the providers' sandbox.
    pub sandbox: SocketAddr,
}

/// What `tenure dev --json` says when it is ready.
#[derive(Deserialize)]
struct Ready {
    url: String,
    api_key: SecretString,
    sandbox_url: String,
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
            client: Client::new(address, ready.api_key),
            sandbox,
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
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
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
