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
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};

const CONVERSATIONS: usize = 3;
const PAUSE: Duration = Duration::from_millis(120);

/// What somebody is employed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Mailer,
    /// Whose results are heard.
    Source,
    Listener,
    Scheduled,
    Asker,
    Sleeper,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Mailer,
        Self::Source,
        Self::Listener,
        Self::Scheduled,
        Self::Asker,
        Self::Sleeper,
    ];

    fn count(self) -> usize {
        match self {
            Self::Mailer => 8,
            Self::Listener => 1,
            Self::Source | Self::Scheduled | Self::Asker | Self::Sleeper => 2,
        }
    }

    /// Graphs of such a one, the same in each version but for its number.
    pub fn graphs(self, version: usize) -> Value {
        let mut spec = match self {
            Self::Mailer => mailer(""),
            Self::Source | Self::Scheduled => thinker(""),
            Self::Listener => {
                let mut spec = thinker("");
                spec["skill_graphs"]["sg"]["nodes"][0]["output"] = json!({"key": "'heard'"});
                spec
            }
            Self::Asker => asker(""),
            Self::Sleeper => sleeper("", 1_500),
        };
        spec["graph"]["graph_id"] = json!(format!("shown-{version}"));
        json!({"graph": spec["graph"], "skill_graphs": spec["skill_graphs"]})
    }
}

/// Everybody, by what they do.
pub type Staff = BTreeMap<Kind, Vec<String>>;

async fn hire(world: &World) -> Staff {
    let mut staff = Staff::new();
    for kind in Kind::ALL {
        for number in 0..kind.count() {
            let mut spec = kind.graphs(0);
            spec["name"] = json!(format!("{kind:?} {number}"));
            match kind {
                Kind::Listener => spec["subscriptions"] = subscriptions(&staff[&Kind::Source]),
                Kind::Scheduled => {
                    spec["schedules"] =
                        json!([{"name": "tick", "cron": "* * * * *", "payload": {"key": "tick"}}]);
                }
                _ => {}
            }
            let hired = world.ask("POST", "/v1/employees", Some(&spec)).await;
            assert_eq!(hired.status, 201, "{hired:?}");
            let id = hired.body["id"].as_str().expect("an id").to_owned();
            staff.entry(kind).or_default().push(id);
        }
    }
    staff
}

/// To the results of all sources.
fn subscriptions(sources: &[String]) -> Value {
    let to =
        |source: &String| json!({"source": format!("employee:{source}"), "event": "run.completed"});
    sources.iter().map(to).collect()
}

pub struct Work {
    staff: Staff,
    nodes: Nodes,
    stop: Arc<AtomicBool>,
    load: Load,
    talks: Vec<JoinHandle<(Report, Vec<String>)>>,
    deciding: JoinHandle<()>,
    cancelling: JoinHandle<Report>,
}

impl Work {
    pub async fn start(world: &World, seed: u64) -> Self {
        let staff = hire(world).await;
        let mailers = &staff[&Kind::Mailer];
        let nodes = world.addresses();
        let stop = Arc::new(AtomicBool::new(false));
        let told: Vec<String> = [Kind::Mailer, Kind::Source, Kind::Asker, Kind::Sleeper]
            .iter()
            .flat_map(|kind| staff[kind].clone())
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
            deciding: tokio::spawn(approve(nodes.clone(), stop.clone())),
            cancelling: tokio::spawn(cancel(nodes.clone(), mailers.clone(), stop.clone(), seed)),
            staff,
            nodes,
            stop,
        }
    }

    pub fn staff(&self) -> &Staff {
        &self.staff
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
        self.deciding.await.expect("decided well");
        let told = Told {
            report,
            conversations,
            sources: self.staff[&Kind::Source].clone(),
            listener: self.staff[&Kind::Listener][0].clone(),
            nodes: self.nodes,
        };
        // What was asked since is decided too.
        told.settle(world).await;
        told
    }
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

/// Tells mailers to work, and takes it back, in time or not.
async fn cancel(nodes: Nodes, mailers: Vec<String>, stop: Arc<AtomicBool>, seed: u64) -> Report {
    let mut rng = StdRng::seed_from_u64(seed ^ 0xCA_CE1);
    let mut report = Report::default();
    let mut teller = Teller::new(nodes.clone(), 1);
    let mut in_time = 0;
    while !stop.load(Ordering::SeqCst) {
        let mailer = &mailers[rng.random_range(0..mailers.len())];
        let run = teller.tell(mailer, &mut report).await;
        sleep(Duration::from_millis(rng.random_range(0..60))).await;
        let client = nodes.at(rng.random_range(0..3));
        let path = format!("/v1/runs/{run}/cancel");
        let asked = client.try_send("POST", &path, &[], None);
        let asked = tokio::time::timeout(Duration::from_secs(5), asked).await;
        in_time += usize::from(matches!(asked, Ok(Ok(answer)) if answer.status < 300));
        sleep(Duration::from_millis(700)).await;
    }
    assert!(report.wrong.is_empty(), "{:?}", report.wrong);
    println!("{in_time} of {} runs were cancelled", report.accepted.len());
    assert!(in_time > 0, "some were cancelled");
    report
}
