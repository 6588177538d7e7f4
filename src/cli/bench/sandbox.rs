//! The provider that proxied calls go to: `tenure sandbox` of the same binary as a process of its own, so that neither its memory nor
//! its time is taken for the server's.

use super::{
    http::{Connection, request_head, write_request},
    place::Place,
    server::Child,
};
use anyhow::{Context, Result, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use std::{net::SocketAddr, process::Stdio};
use tokio::process::Command;

/// A running sandbox. It ends with the value, and with this process however that ends.
pub struct Sandbox {
    child: Child,
    pub address: SocketAddr,
    accounts: Vec<Account>,
}

/// What `tenure sandbox --json` says when it is ready.
#[derive(Deserialize)]
struct Ready {
    sandbox_url: String,
    accounts: Vec<Account>,
}

/// An account there.
#[derive(Deserialize)]
pub struct Account {
    integration: String,
    pub base_url: String,
    pub token: SecretString,
    pub data: Value,
}

impl Sandbox {
    /// Starts one that keeps its record in `place`.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start(place: &Place) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["sandbox", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(place.sandbox())
            .stderr(Stdio::null());
        let (child, ready) = Child::start::<Ready>(command).await?;
        Ok(Self {
            child,
            address: super::server::address_of(&ready.sandbox_url)?,
            accounts: ready.accounts,
        })
    }

    /// # Errors
    /// If the sandbox has no such provider.
    pub fn account(&self, integration: &str) -> Result<&Account> {
        let mut all = self.accounts.iter();
        all.find(|account| account.integration == integration)
            .with_context(|| format!("the sandbox has no {integration}"))
    }

    /// A whole request as a client of the provider would send it, with the account's token.
    pub fn request(&self, account: &Account, method: &str, path: &str, body: &str) -> Vec<u8> {
        let head = request_head(method, path, account.token.expose_secret(), None);
        let mut request = Vec::new();
        write_request(&mut request, &head, body.as_bytes());
        request
    }

    /// Empties its record, which has a bound that a measurement reaches.
    ///
    /// # Errors
    /// If it refuses.
    pub async fn forget(&self) -> Result<()> {
        let mut request = Vec::new();
        write_request(
            &mut request,
            &request_head("DELETE", "/record", "", None),
            b"",
        );
        let mut connection = Connection::open(self.address).await?;
        let answer = connection.exchange(&request).await?;
        ensure!(
            matches!(answer.status, 200 | 204),
            "the sandbox answered {} to DELETE /record",
            answer.status
        );
        Ok(())
    }

    /// # Errors
    /// If it does not die.
    pub async fn kill(self) -> Result<()> {
        self.child.kill().await
    }
}
