//! Where the employees of the demo live.

use super::{house::House, node::NodeProcess};
use crate::{
    actors::cluster::kind,
    cli::{
        output::{Output, field},
        shell,
    },
    persistence::{DbError, NodeState, node_list, placement_list},
};
use serde_json::{Value, json};
use std::collections::HashMap;
use uuid::Uuid;

/// A row a node.
#[derive(PartialEq)]
pub struct Table(Vec<Value>);

impl Table {
    /// As the database has it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn of(house: &House, nodes: &[NodeProcess]) -> Result<Self, DbError> {
        let mut tx = house.db.begin_system_read("where employees live").await?;
        let mut lives: HashMap<Uuid, (NodeState, usize)> = HashMap::new();
        for row in node_list(&mut tx).await? {
            let placed = placement_list(&mut tx, row.fence()).await?;
            let employees = placed.iter().filter(|placed| placed.kind == kind::EMPLOYEE);
            lives.insert(row.id, (row.state, employees.count()));
        }
        let rows = nodes.iter().map(|node| {
            let (state, employees) = lives.get(&node.id).copied().unzip();
            json!({
                "name": node.name, "url": node.url, "pid": node.is_running().then_some(node.pid),
                "state": state_of(node.is_running(), state), "employees": employees,
            })
        });
        Ok(Self(rows.collect()))
    }

    pub fn text(&self, out: Output) -> String {
        let columns = [
            field("NODE", "name"),
            field("URL", "url"),
            field("PID", "pid"),
            field("EMPLOYEES", "employees"),
            field("STATE", "state"),
        ];
        format!("{}\n", out.table(&self.0, &columns))
    }
}

/// What the process and what the others know of it.
fn state_of(runs: bool, state: Option<NodeState>) -> &'static str {
    match (runs, state) {
        (true, Some(state)) => state.name(),
        (true, None) => "starting",
        (false, Some(NodeState::Dead)) => "gone",
        (false, _) => "gone; its lease still runs",
    }
}

/// What to do with it.
pub fn welcome(house: &House, nodes: &[NodeProcess], out: Output) -> String {
    let program = shell::program();
    let url = nodes.first().map_or("", |node| &node.url);
    let last = nodes.last();
    let (pid, name) = last.map_or((0, ""), |node| (node.pid, &node.name));
    [
        out.bold("A cluster is at work on this machine"),
        format!("  sandbox  {}", house.sandbox.url()),
        String::new(),
        "Try, in another terminal:".into(),
        format!("  export TENURE_URL={url} TENURE_KEY={}", house.key()),
        format!("  {program} nodes"),
        format!("  {program} tell clerk-001 \"say hello\""),
        format!("  {program} drain {name} --wait"),
        format!("  kill -9 {pid}"),
        String::new(),
        out.dim("Ctrl-C stops all of it and leaves nothing behind."),
        String::new(),
    ]
    .join("\n")
}
