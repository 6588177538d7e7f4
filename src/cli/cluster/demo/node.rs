//! A node: `tenure serve` of this binary as a child process.

use super::house::House;
use crate::{
    actors::Clock,
    cli::{child::Child, cluster::setup::node_id},
};
use anyhow::Context;
use serde::Deserialize;
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};
use tenure_cluster::tls::{TlsFiles, write_private};
use tokio::process::Command;
use uuid::Uuid;

/// The demo's certificates outlive any demo.
const CERTIFICATE: Duration = Duration::from_secs(30 * 86_400);

/// How a node is started.
#[derive(Clone, Copy, Debug)]
pub struct NodeOptions<'a> {
    /// One of several; else it is alone.
    pub in_cluster: bool,
    /// Variables beyond those that every node is given.
    pub settings: &'a [(&'a str, &'a str)],
}

impl NodeOptions<'static> {
    /// One of up to nine that share a PostgreSQL with two hundred connections: fewer of them than a node takes by itself.
    pub const DEMO: Self = Self {
        in_cluster: true,
        settings: &[
            ("TENURE_DATABASE_CONNECTIONS", "10"),
            ("TENURE_ENGINE_CONNECTIONS", "8"),
        ],
    };
}

pub struct NodeProcess {
    pub name: String,
    pub id: Uuid,
    pub url: String,
    pub pid: u32,
    /// `None`: it has ended.
    child: Option<Child>,
}

/// What `tenure serve --json` says when it is ready.
#[derive(Deserialize)]
struct Ready {
    url: String,
    node_id: Uuid,
}

impl NodeProcess {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// With the end of its log, if it does not become ready.
    pub async fn start(
        house: &House,
        name: &str,
        options: NodeOptions<'_>,
    ) -> anyhow::Result<Self> {
        let room = house.room(name)?;
        let log = room.join("log");
        let file = File::options().create(true).append(true).open(&log)?;
        let command = command(house, name, &room, options, file)?;
        let started = Child::start::<Ready>(command).await;
        let (child, ready) = started.map_err(|error| error.context(end_of(&log)))?;
        Ok(Self {
            name: name.to_owned(),
            id: ready.node_id,
            url: ready.url,
            pid: child.id()?,
            child: Some(child),
        })
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Looks whether it still runs; gives whether it ended since the last look.
    ///
    /// # Errors
    /// That cannot be found out.
    pub async fn look(&mut self) -> anyhow::Result<bool> {
        let ended = match &mut self.child {
            Some(child) => child.has_ended().await?,
            None => false,
        };
        if ended {
            self.child = None;
        }
        Ok(ended)
    }

    /// Ends it as a power cut would.
    pub async fn kill(self) {
        if let Some(child) = self.child {
            let _ = child.kill().await;
        }
    }

    /// Tells it to end, as an operator would.
    ///
    /// # Errors
    /// It does not run.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        let child = self.child.as_mut().context("the node has ended")?;
        child.terminate().await
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// That cannot be found out.
    pub async fn ended(self) -> anyhow::Result<()> {
        match self.child {
            Some(child) => child.ended().await,
            None => Ok(()),
        }
    }
}

fn command(
    house: &House,
    name: &str,
    room: &Path,
    options: NodeOptions<'_>,
    log: File,
) -> anyhow::Result<Command> {
    // The same ports after the node has begun a new life by itself.
    let [http, door] = free_ports()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--json"]);
    for (variable, _) in std::env::vars_os() {
        if variable.as_encoded_bytes().starts_with(b"TENURE_") {
            command.env_remove(variable);
        }
    }
    let rust_log = std::env::var_os("RUST_LOG").unwrap_or_else(|| "info".into());
    command
        .env("TENURE_DATABASE_URL", &house.database_url)
        .env("TENURE_MASTER_KEY_FILE", house.master_key_file())
        .env("TENURE_LISTEN", http.to_string())
        .env("TENURE_NODE_NAME", name)
        .env("TENURE_OPERATOR_ORG", house.org.to_string())
        .env("TENURE_ALLOW_PRIVATE", house.sandbox.address().to_string())
        .env("RUST_LOG", rust_log)
        .envs(options.settings.iter().copied())
        .stderr(log)
        // Ctrl-C is for this process alone, which then stops the nodes.
        .process_group(0);
    if options.in_cluster {
        let files = certificates(house, name, room)?;
        command
            .env("TENURE_CLUSTER_NAME", house.cluster.as_str())
            .env("TENURE_CLUSTER_LISTEN", door.to_string())
            .env("TENURE_CLUSTER_CA_FILE", files.ca)
            .env("TENURE_CLUSTER_CERT_FILE", files.cert)
            .env("TENURE_CLUSTER_KEY_FILE", files.key);
    }
    Ok(command)
}

fn certificates(house: &House, name: &str, room: &Path) -> anyhow::Result<TlsFiles> {
    let files = TlsFiles::in_dir(room);
    let now = Clock::system().now().to_chrono().into();
    let issued = house.authority.issue(node_id(name), now, CERTIFICATE)?;
    fs::write(
        &files.ca,
        house.authority.certify(now, CERTIFICATE)?.certificate,
    )?;
    fs::write(&files.cert, issued.certificate)?;
    write_private(&files.key, &issued.key)?;
    Ok(files)
}

/// Two ports that were free a moment ago.
fn free_ports() -> anyhow::Result<[SocketAddr; 2]> {
    let take = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port");
    let both = [take()?, take()?];
    Ok([both[0].local_addr()?, both[1].local_addr()?])
}

/// The last lines of what it logged.
fn end_of(log: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!(
        "the log of the node ends with:\n{}",
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    )
}
