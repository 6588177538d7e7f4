//! Who works, and who tells them to: clients that send until they are heard, conversations whose messages follow each other, people who
//! approve and people who change their mind.

use super::checks::Told;
use crate::{
    employees::{asker, mailer, sleeper, thinker},
    load::{Load, Nodes, Report, Teller},
    world::World,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};

const MAILERS: usize = 8;
const CONVERSATIONS: usize = 3;
const PAUSE: Duration = Duration::from_millis(120);

pub struct Work {
    mailers: Vec<String>,
    sources: Vec<String>,
    listener: String,
    nodes: Nodes,
    stop: Arc<AtomicBool>,
    load: Load,
    talks: Vec<JoinHandle<(Report, Vec<String>)>>,
    people: Vec<JoinHandle<()>>,
    cancelling: JoinHandle<Report>,
}

fn rests(name: &str) -> Value {
    sleeper(name, 1_500)
}

fn every_minute(name: &str) -> Value {
    let mut spec = thinker(name);
    spec["schedules"] = json!([{"name": "tick", "cron": "* * * * *", "payload": {"key": "tick"}}]);
    spec
}

impl Work {
    pub async fn start(world: &World, seed: u64) -> Self {
        let mailers = world.hire(MAILERS, mailer).await;
        let sources = world.hire(2, thinker).await;
        let listener = listener(world, &sources).await;
        world.hire(2, every_minute).await;
        let asking = world.hire(2, asker).await;
        let resting = world.hire(2, rests).await;
        let nodes = world.addresses();
        let stop = Arc::new(AtomicBool::new(false));
        let told: Vec<String> = [&mailers, &sources, &asking, &resting]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let talks = (0..CONVERSATIONS).map(|number| {
            let talker = Talk {
                employee: mailers[number % mailers.len()].clone(),
                name: format!("talk-{seed}-{number}"),
                stop: stop.clone(),
            };
            tokio::spawn(talker.go_on(Teller::new(nodes.clone(), number)))
        });
        Self {
            talks: talks.collect(),
            load: Load::start(&nodes, &told, 3, PAUSE),
            people: vec![tokio::spawn(approve(nodes.clone(), stop.clone()))],
            cancelling: tokio::spawn(cancel(nodes.clone(), mailers.clone(), stop.clone(), seed)),
            mailers,
            sources,
            listener,
            nodes,
            stop,
        }
    }

    /// Those who may be held and changed.
    pub fn everybody(&self) -> Vec<String> {
        self.mailers.clone()
    }

    pub async fn stop(self, world: &World) -> Told {
        let mut report = self.load.stop().await;
        self.stop.store(true, Ordering::SeqCst);
        let mut conversations = Vec::new();
        for talk in self.talks {
            let (said, keys) = talk.await.expect("the conversation ended well");
            report.add(said);
            conversations.push(keys);
        }
        report.add(self.cancelling.await.expect("cancelled well"));
        for person in self.people {
            person.await.expect("decided well");
        }
        // What was asked since is decided too.
        let told = Told {
            report,
            conversations,
            sources: self.sources,
            listener: self.listener,
            nodes: self.nodes,
        };
        told.settle(world).await;
        told
    }
}

/// Hears the results of all sources.
async fn listener(world: &World, sources: &[String]) -> String {
    let subscriptions: Vec<Value> = sources
        .iter()
        .map(|source| json!({"source": format!("employee:{source}"), "event": "run.completed"}))
        .collect();
    let mut spec = thinker("listener");
    spec["skill_graphs"]["sg"]["nodes"][0]["output"] = json!({"key": "'heard'"});
    spec["subscriptions"] = json!(subscriptions);
    let hired = world.ask("POST", "/v1/employees", Some(&spec)).await;
    assert_eq!(hired.status, 201, "{hired:?}");
    hired.body["id"].as_str().expect("an id").to_owned()
}

struct Talk {
    employee: String,
    name: String,
    stop: Arc<AtomicBool>,
}

impl Talk {
    /// Each message is accepted before the next is sent.
    async fn go_on(self, mut teller: Teller) -> (Report, Vec<String>) {
        let (mut report, mut keys) = (Report::default(), Vec::new());
        while !self.stop.load(Ordering::SeqCst) {
            let key = format!("{}-{:06}", self.name, keys.len());
            teller
                .say(&self.employee, key.clone(), Some(&self.name), &mut report)
                .await;
            keys.push(key);
            sleep(PAUSE).await;
        }
        assert!(report.wrong.is_empty(), "{:?}", report.wrong);
        (report, keys)
    }
}

/// Approves whatever waits, at whatever node answers.
async fn approve(nodes: Nodes, stop: Arc<AtomicBool>) {
    let mut turn = 0;
    while !stop.load(Ordering::SeqCst) {
        approve_some(&nodes, turn).await;
        turn += 1;
        sleep(Duration::from_millis(400)).await;
    }
}

/// What a node that is in trouble does not answer is decided at the next one, the next time.
pub async fn approve_some(nodes: &Nodes, turn: usize) {
    let client = nodes.at(turn);
    let pending = client.try_list("/v1/approvals?status=pending");
    let pending = tokio::time::timeout(Duration::from_secs(5), pending).await;
    for approval in pending.ok().and_then(Result::ok).unwrap_or_default() {
        let id = approval["id"].as_str().expect("an id");
        let body = json!({"decision": "approve", "arguments_hash": approval["arguments_hash"]});
        let path = format!("/v1/approvals/{id}/decision");
        let asked = client.try_send("POST", &path, &[], Some(&body));
        if let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(5), asked).await {
            assert!(
                matches!(answer.status, 200 | 409 | 429 | 503),
                "a decision is taken, too late, or to be tried again: {answer:?}"
            );
        }
    }
}

/// Tells mailers to work, and takes it back.
async fn cancel(nodes: Nodes, mailers: Vec<String>, stop: Arc<AtomicBool>, seed: u64) -> Report {
    let mut rng = StdRng::seed_from_u64(seed ^ 0xCA_CE1);
    let mut report = Report::default();
    let mut teller = Teller::new(nodes.clone(), 1);
    while !stop.load(Ordering::SeqCst) {
        let mailer = &mailers[rng.random_range(0..mailers.len())];
        let run = teller.tell(mailer, &mut report).await;
        sleep(Duration::from_millis(rng.random_range(0..60))).await;
        let client = nodes.at(rng.random_range(0..3));
        let path = format!("/v1/runs/{run}/cancel");
        let asked = client.try_send("POST", &path, &[], None);
        // Whether it came in time is of no interest.
        drop(tokio::time::timeout(Duration::from_secs(5), asked).await);
        sleep(Duration::from_millis(700)).await;
    }
    assert!(report.wrong.is_empty(), "{:?}", report.wrong);
    report
}
