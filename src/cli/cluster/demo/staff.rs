//! The demo's employees: hired over all nodes, each told once to work, so that each has somewhere to live.

use super::{house::House, node::NodeProcess};
use crate::cli::{
    client::{Client, ClientError},
    exit::Exit,
};
use futures::{StreamExt, TryStreamExt, future, stream};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What each of them does when it is told to work: the sandbox's Slack has the messages then.
const JOB: &str = "Post \"At your service\" in #general.";
/// Requests at once.
const AT_ONCE: usize = 8;
/// How long the nodes may need to find each other.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

pub struct Staff {
    clients: Vec<Client>,
    employees: u32,
}

/// What is asked for an employee.
#[derive(Clone, Copy)]
enum Ask {
    Hire,
    Tell,
}

impl Staff {
    /// # Errors
    /// The HTTP client does not start.
    pub fn new(house: &House, nodes: &[NodeProcess], employees: u32) -> anyhow::Result<Self> {
        let client = |node: &NodeProcess| Client::new(&node.url, Some(house.key().into()));
        let clients = nodes.iter().map(client).collect::<Result<_, _>>()?;
        Ok(Self { clients, employees })
    }

    /// Every node hires its share.
    ///
    /// # Errors
    /// A node does not answer or says no.
    pub async fn hire(&self) -> anyhow::Result<()> {
        Ok(self.each(Ask::Hire).await?)
    }

    /// Returns when all of it is accepted. Triggers may arrive anywhere: each goes to the node after the one that hired.
    ///
    /// # Errors
    /// As [`Staff::hire`].
    pub async fn tell_all(&self) -> anyhow::Result<()> {
        Ok(self.each(Ask::Tell).await?)
    }

    async fn each(&self, ask: Ask) -> Result<(), ClientError> {
        let numbers = stream::iter(1..=self.employees);
        numbers
            .map(|number| patiently(ask, self.client(ask, number), name(number)))
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| future::ready(Ok(())))
            .await
    }

    fn client(&self, ask: Ask, number: u32) -> &Client {
        let place = match ask {
            Ask::Hire => number as usize,
            Ask::Tell => number as usize + 1,
        };
        &self.clients[place % self.clients.len()]
    }
}

fn name(number: u32) -> String {
    format!("clerk-{number:03}")
}

/// Again while the service is not ready to answer.
async fn patiently(ask: Ask, client: &Client, name: String) -> Result<(), ClientError> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match once(ask, client, &name).await {
            Err(error) if error.exit() == Exit::Unreachable && Instant::now() < give_up => {
                sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

async fn once(ask: Ask, client: &Client, name: &str) -> Result<(), ClientError> {
    let (path, body) = match ask {
        Ask::Hire => (
            "/v1/employees".to_owned(),
            json!({"name": name, "job_description": JOB}),
        ),
        // The same trigger however often it is sent.
        Ask::Tell => (
            format!("/v1/employees/{name}/triggers"),
            json!({"payload": {"text": "say hello"}, "idempotency_key": format!("hello-{name}")}),
        ),
    };
    match client.post(&path, &[], &body).await {
        Ok(_) => Ok(()),
        // An answer got lost: it was hired the first time.
        Err(ClientError::Problem(problem)) if problem.code == "name_taken" => Ok(()),
        Err(error) => Err(error),
    }
}
