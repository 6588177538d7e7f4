//! Clients: each trigger has a key and is sent until it is accepted, to the next node whenever one cannot take it.

use crate::{
    history::Accepted,
    process::{Answer, Client},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

/// For one request: longer than any wait that is meant.
const REQUEST: Duration = Duration::from_secs(8);
/// Whoever is told nothing else tries the next node after this.
const PAUSE: Duration = Duration::from_millis(30);
/// For one trigger.
const PATIENCE: Duration = Duration::from_secs(90);

/// The nodes that a client knows.
#[derive(Clone)]
pub struct Nodes(Arc<Vec<Client>>);

impl Nodes {
    pub fn new(clients: Vec<Client>) -> Self {
        Self(Arc::new(clients))
    }

    /// One of them, in turn.
    pub fn at(&self, turn: usize) -> &Client {
        &self.0[turn % self.0.len()]
    }

    /// Asks one after the other until one can say more than that it cannot just now.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let began = Instant::now();
        for turn in 0.. {
            let asked = self.at(turn).try_send(method, path, &[], body);
            if let Ok(Ok(answer)) = tokio::time::timeout(REQUEST, asked).await
                && !matches!(answer.status, 429 | 503)
            {
                return answer;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{method} {path} is never answered"
            );
            sleep(PAUSE).await;
        }
        unreachable!("it goes on until it is answered")
    }
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct Report {
    pub tried: BTreeSet<String>,
    pub accepted: Vec<Accepted>,
    /// How long each took from its first try.
    pub took: Vec<Duration>,
    /// When, and for whom, each was accepted.
    pub when: Vec<(Instant, String)>,
    /// Nobody listened there.
    pub refused: usize,
    /// 503 or 429 with `Retry-After`.
    pub told_to_wait: usize,
    /// The connection ended before the answer, or no answer came.
    pub broken: Vec<String>,
    /// Anything else.
    pub wrong: Vec<String>,
}

impl Report {
    pub fn add(&mut self, other: Report) {
        self.tried.extend(other.tried);
        self.accepted.extend(other.accepted);
        self.took.extend(other.took);
        self.when.extend(other.when);
        self.refused += other.refused;
        self.told_to_wait += other.told_to_wait;
        self.broken.extend(other.broken);
        self.wrong.extend(other.wrong);
    }

    /// The longest that one of them took, and the middle.
    pub fn latency(&self) -> (Duration, Duration) {
        let mut took = self.took.clone();
        took.sort_unstable();
        let middle = took.get(took.len() / 2).copied().unwrap_or_default();
        (middle, took.last().copied().unwrap_or_default())
    }

    pub fn print(&self) {
        let (middle, longest) = self.latency();
        println!(
            "{} triggers accepted (p50 {middle:.0?}, longest {longest:.0?}); {} told to wait, {} refused connections, {} broken",
            self.accepted.len(),
            self.told_to_wait,
            self.refused,
            self.broken.len()
        );
    }

    /// # Panics
    /// If a client that follows `Retry-After` and goes to the next node saw an error.
    pub fn no_errors(&self) {
        assert!(self.wrong.is_empty(), "{:?}", self.wrong);
        assert!(self.broken.is_empty(), "{:?}", self.broken);
    }
}

/// Load until it is told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: JoinSet<Report>,
}

impl Load {
    /// So many clients, each with a pause between its triggers, over all employees in turn.
    pub fn start(nodes: &Nodes, employees: &[String], clients: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let turn = Arc::new(AtomicUsize::new(0));
        let employees: Arc<[String]> = employees.into();
        let mut workers = JoinSet::new();
        for client in 0..clients {
            let (nodes, employees) = (nodes.clone(), employees.clone());
            let (stop, turn) = (stop.clone(), turn.clone());
            workers.spawn(async move {
                let mut report = Report::default();
                let mut teller = Teller::new(nodes, client);
                while !stop.load(Ordering::SeqCst) {
                    let employee = turn.fetch_add(1, Ordering::SeqCst) % employees.len();
                    teller.tell(&employees[employee], &mut report).await;
                    sleep(pause).await;
                }
                report
            });
        }
        Self { stop, workers }
    }

    /// Each client ends the trigger that it is at.
    pub async fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Report::default();
        while let Some(report) = self.workers.join_next().await {
            all.add(report.expect("the client ended well"));
        }
        all.print();
        assert!(all.wrong.is_empty(), "{:?}", all.wrong);
        all
    }
}

/// One client. It stays with a node until that one cannot take a trigger.
pub struct Teller {
    nodes: Nodes,
    at: usize,
}

impl Teller {
    pub fn new(nodes: Nodes, at: usize) -> Self {
        Self { nodes, at }
    }

    /// Tells an employee until it is heard.
    pub async fn tell(&mut self, employee: &str, report: &mut Report) -> String {
        let key = format!("k-{}", Uuid::new_v4().simple());
        self.tell_with(employee, key, report).await
    }

    /// # Panics
    /// If it is never heard.
    pub async fn tell_with(&mut self, employee: &str, key: String, report: &mut Report) -> String {
        self.say(employee, key, None, report).await
    }

    /// As a message of a conversation, if one is named.
    ///
    /// # Panics
    /// If it is never heard.
    pub async fn say(
        &mut self,
        employee: &str,
        key: String,
        conversation: Option<&str>,
        report: &mut Report,
    ) -> String {
        let path = format!("/v1/employees/{employee}/triggers");
        let body = json!({
            "payload": {"key": key}, "idempotency_key": key, "conversation_key": conversation,
        });
        let began = Instant::now();
        report.tried.insert(key.clone());
        loop {
            let client = &self.nodes.0[self.at % self.nodes.0.len()];
            let asked = client.try_send("POST", &path, &[], Some(&body));
            let answered = tokio::time::timeout(REQUEST, asked).await;
            let pause = match answered {
                Ok(Ok(answer)) if answer.status == 202 => {
                    let run = answer.body["execution_id"].as_str().expect("an id");
                    report.accepted.push(Accepted {
                        key,
                        run: Uuid::parse_str(run).expect("a uuid"),
                    });
                    report.took.push(began.elapsed());
                    report.when.push((Instant::now(), employee.to_owned()));
                    return run.to_owned();
                }
                Ok(Ok(answer)) if matches!(answer.status, 429 | 503) => match answer.retry_after {
                    Some(pause) => {
                        report.told_to_wait += 1;
                        Duration::from_secs(pause.min(5).into())
                    }
                    None => {
                        report.wrong.push(format!("no Retry-After: {answer:?}"));
                        PAUSE
                    }
                },
                Ok(Ok(answer)) => {
                    report.wrong.push(format!("{}: {answer:?}", client.base));
                    PAUSE
                }
                Ok(Err(error)) if error.contains("refused") => {
                    report.refused += 1;
                    PAUSE
                }
                Ok(Err(error)) => {
                    report.broken.push(format!("{}: {error}", client.base));
                    PAUSE
                }
                Err(_) => {
                    report.broken.push(format!("{}: no answer", client.base));
                    PAUSE
                }
            };
            assert!(
                began.elapsed() < PATIENCE,
                "{employee} was told {key} in vain: {} accepted, {} told to wait, wrong {:?}, broken {:?}",
                report.accepted.len(),
                report.told_to_wait,
                report.wrong,
                report.broken,
            );
            self.at += 1;
            // The next node may take it at once; a round through all of them without luck is worth the pause that was asked for.
            let round = self.at.is_multiple_of(self.nodes.0.len());
            sleep(if round { pause } else { PAUSE }).await;
        }
    }
}
