//! A cluster on an empty database of its own: what the nodes share, and the nodes.

use super::super::Ask;
use crate::{
    actors::cluster::kind,
    cli::{
        bench::{client::Client, place::Place},
        child::address_of,
        cluster::demo::{
            house::House,
            node::{NodeOptions, NodeProcess},
        },
    },
    domain::EmployeeId,
    persistence::{Fence, node_list, placement_list},
};
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde::Deserialize;
use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long nodes may need to find each other.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const QUIET: (&str, &str) = ("RUST_LOG", "warn");

pub struct Site {
    // Before the place: nodes end first.
    pub nodes: Vec<Node>,
    pub house: House,
    place: Place,
    settings: Vec<(&'static str, &'static str)>,
}

/// A node at work.
pub struct Node {
    pub process: NodeProcess,
    pub client: Client,
}

#[derive(Deserialize)]
struct Nodes {
    items: Vec<NodeShown>,
    partial: bool,
}

#[derive(Deserialize)]
struct NodeShown {
    name: String,
    state: String,
    status: Option<Status>,
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Status {
    /// Employees in memory.
    pub awake: usize,
}

impl Site {
    /// What the nodes share, and no node. `settings` are variables for each of them.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or a part does not start.
    pub async fn open(
        ask: &mut Ask<'_>,
        settings: &[(&'static str, &'static str)],
    ) -> Result<Self> {
        let place = ask.places.make(ask.database).await?;
        let url = place.database_url().context("nodes share a server")?;
        fs::create_dir_all(place.data())?;
        let house = House::furnish(url.to_owned(), place.data()).await?;
        Ok(Self {
            nodes: Vec::new(),
            house,
            place,
            settings: [QUIET].iter().chain(settings).copied().collect(),
        })
    }

    /// Starts these nodes beside those that run, and waits until all of them see each other.
    ///
    /// # Errors
    /// A node does not start, or they do not find each other in a minute.
    pub async fn start(&mut self, names: &[&str]) -> Result<()> {
        let starting = names.iter().map(|name| self.start_one(name, true));
        let started = try_join_all(starting).await?;
        self.nodes.extend(started);
        self.wait_until_linked().await
    }

    /// Starts the only node, without `[cluster]`.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_alone(&mut self, name: &str) -> Result<()> {
        let node = self.start_one(name, false).await?;
        self.nodes.push(node);
        self.wait_until_linked().await
    }

    async fn start_one(&self, name: &str, in_cluster: bool) -> Result<Node> {
        let options = NodeOptions {
            in_cluster,
            settings: &self.settings,
        };
        let process = NodeProcess::start(&self.house, name, options).await?;
        let address = address_of(&process.url)?;
        Ok(Node {
            client: Client::new(address, self.house.key().into()),
            process,
        })
    }

    /// Starts the node again that was at this place.
    ///
    /// # Errors
    /// As [`Site::start`].
    pub async fn start_again(&mut self, place: usize, name: &str) -> Result<()> {
        let node = self.start_one(name, true).await?;
        self.nodes.insert(place, node);
        self.wait_until_linked().await
    }

    async fn wait_until_linked(&mut self) -> Result<()> {
        let count = self.nodes.len();
        let give_up = Instant::now() + PATIENCE;
        for node in &mut self.nodes {
            loop {
                let seen: Nodes = node.client.get("/v1/nodes").await?;
                let answering = seen
                    .items
                    .iter()
                    .filter(|one| one.state == "alive" && one.status.is_some());
                if answering.count() == count && !seen.partial {
                    break;
                }
                ensure!(
                    Instant::now() < give_up,
                    "{} does not see {count} nodes after {PATIENCE:?}",
                    node.process.name
                );
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Closes what is left of it and deletes its data.
    ///
    /// # Errors
    /// The database cannot be dropped.
    pub async fn close(self, ask: &mut Ask<'_>) -> Result<()> {
        for node in self.nodes {
            node.process.kill().await;
        }
        self.house.close().await;
        ask.places.remove(self.place).await
    }
}

impl Site {
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.client.address).collect()
    }

    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process.pid).collect()
    }

    /// At which place in [`Site::nodes`] each employee lives, by its id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn homes(&self) -> Result<HashMap<String, usize>> {
        let mut homes = HashMap::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let life = self.life_of(node).await?;
            let mut tx = self
                .house
                .db
                .begin_system_read("where employees live")
                .await?;
            let placed = placement_list(&mut tx, life).await?.into_iter();
            let employees = placed.filter(|row| row.kind == kind::EMPLOYEE);
            homes.extend(
                employees.map(|row| (EmployeeId::from_uuid(row.entity).to_string(), place)),
            );
        }
        Ok(homes)
    }

    /// Under which incarnation a node is at work.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn life_of(&self, node: &Node) -> Result<Fence> {
        let mut tx = self.house.db.begin_system_read("lives of nodes").await?;
        let rows = node_list(&mut tx).await?;
        let row = rows.iter().find(|row| row.id == node.process.id);
        Ok(row.context("the node has no row")?.fence())
    }

    /// Employees in memory, by the node's name.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn awake(&mut self) -> Result<HashMap<String, usize>> {
        let first = self.nodes.first_mut().context("no node runs")?;
        let seen: Nodes = first.client.get("/v1/nodes").await?;
        ensure!(!seen.partial, "a node does not say how it is");
        let shown = seen
            .items
            .into_iter()
            .filter_map(|node| Some((node.name, node.status?.awake)));
        Ok(shown.collect())
    }
}
