//! `tenure cluster demo`, behind `make cluster`: a cluster of real processes on this machine, with nothing of it left when it ends.
//!
//! This process holds the sandbox and sees to the rest: PostgreSQL in a directory of its own, a `tenure serve` a node. A node that is
//! killed stays dead, and the table says so: what becomes of its employees is what there is to see.

pub mod house;
pub mod node;
mod staff;
mod table;

use super::super::{node::told_to_stop, output::Output, progress::slow};
use crate::cli::output::note;
use crate::telemetry;
use futures::future::try_join_all;
use house::House;
use node::{NodeOptions, NodeProcess};
use serde_json::json;
use staff::Staff;
use std::{path::PathBuf, time::Duration};
use table::Table;

/// How often it is looked where the employees live.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure cluster demo
  tenure cluster demo --json

With --json it prints a line for each node, {\"node_id\":…,\"url\":…,\"pid\":…}, then one when the employees are at work,
{\"api_key\":…,\"org\":…,\"sandbox_url\":…,\"ready\":true}, and nothing else. Ctrl-C stops all and leaves nothing behind.")]
pub struct DemoArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// How many employees
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    employees: u32,
    /// Where everything is put while it runs [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// What runs. Stopped in the order of the fields.
#[derive(Default)]
struct Demo {
    nodes: Vec<NodeProcess>,
    house: Option<House>,
}

/// # Errors
/// A part does not start; none is left running then.
pub async fn run(args: &DemoArgs, out: Output) -> anyhow::Result<()> {
    telemetry::log::init("warn", false)?;
    let mut demo = Demo::default();
    let ended = tokio::select! {
        ended = demo.run(args, out) => ended,
        () = told_to_stop() => Ok(()),
    };
    demo.stop().await;
    ended
}

impl Demo {
    async fn run(&mut self, args: &DemoArgs, out: Output) -> anyhow::Result<()> {
        let directory = args.directory.clone().unwrap_or_else(std::env::temp_dir);
        let house = slow(
            "starting PostgreSQL and the sandbox",
            House::open(directory),
        )
        .await?;
        let house = &*self.house.insert(house);
        let names: Vec<String> = (1..=args.nodes).map(|n| format!("node-{n}")).collect();
        let starting = names
            .iter()
            .map(|name| NodeProcess::start(house, name, NodeOptions::DEMO));
        self.nodes = slow("starting the nodes", try_join_all(starting)).await?;
        if !out.is_for_people() {
            for node in &self.nodes {
                out.json(&json!({"node_id": node.id, "url": node.url, "pid": node.pid}))?;
            }
        }
        let staff = Staff::new(house, &self.nodes, args.employees)?;
        slow("hiring", staff.hire()).await?;
        slow("telling everybody to work", staff.tell_all()).await?;
        if out.is_for_people() {
            out.line(table::welcome(house, &self.nodes, out))?;
        } else {
            out.json(&json!({
                "api_key": house.key(), "org": house.org.to_string(), "sandbox_url": house.sandbox.url(), "ready": true,
            }))?;
        }
        watch(house, &mut self.nodes, out).await
    }

    /// Nodes first: they would only complain that the database has gone.
    async fn stop(self) {
        for node in self.nodes {
            node.kill().await;
        }
        if let Some(house) = self.house {
            house.close().await;
        }
    }
}

/// Shows where the employees live, again when that changes, for ever.
async fn watch(house: &House, nodes: &mut [NodeProcess], out: Output) -> anyhow::Result<()> {
    let mut shown = None;
    loop {
        for node in nodes.iter_mut() {
            if node.look().await? && !out.is_for_people() {
                note!("{} (process {}) is gone", node.name, node.pid);
            }
        }
        // The database may be away for a while: it is somebody's experiment.
        if let Ok(table) = Table::of(house, nodes).await
            && out.is_for_people()
            && shown.as_ref() != Some(&table)
        {
            out.line(table.text(out))?;
            shown = Some(table);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
