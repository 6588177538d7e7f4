//! What must be true when all is over.

use super::work::approve_some;
use crate::{
    load::{Nodes, Report},
    world::{World, until},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use tenure::domain::EmployeeId;

/// All that was told, and to whom.
pub struct Told {
    pub report: Report,
    /// The keys of each conversation, in the order in which they were accepted.
    pub conversations: Vec<Vec<String>>,
    pub sources: Vec<String>,
    pub listener: String,
    pub nodes: Nodes,
}

impl Told {
    /// Lets everything end: what waits for people is decided, and what nobody knows is looked up at the provider, as a person would.
    pub async fn settle(&self, world: &World) {
        let mut turn = 0;
        until("every run is over", async || {
            approve_some(&self.nodes, turn).await;
            self.reconcile(world, turn).await;
            turn += 1;
            world.recorder.unfinished().await == 0
        })
        .await;
    }

    async fn reconcile(&self, world: &World, turn: usize) {
        let client = self.nodes.at(turn);
        let Ok(doubtful) = client.try_list("/v1/effects?status=ambiguous").await else {
            return;
        };
        if doubtful.is_empty() {
            return;
        }
        let there: BTreeSet<String> = world
            .carried_out()
            .await
            .into_iter()
            .map(|one| one.key)
            .collect();
        for effect in doubtful {
            let key = effect["idempotency_key"].as_str().expect("a key");
            let outcome = if there.contains(key) {
                "done"
            } else {
                "not_done"
            };
            let body = json!({"outcome": outcome});
            let path = format!(
                "/v1/effects/{}/reconcile",
                effect["id"].as_str().expect("an id")
            );
            let answer = client.try_send("POST", &path, &[], Some(&body)).await;
            if let Ok(answer) = answer {
                assert!(matches!(answer.status, 200 | 409 | 429 | 503), "{answer:?}");
            }
        }
    }

    pub async fn check(self, world: &World) {
        let Self {
            mut report,
            conversations,
            sources,
            listener,
            ..
        } = self;
        rest_schedules(world).await;
        results_are_heard_once(world, &sources, &listener).await;
        conversations_keep_their_order(world, &conversations).await;
        schedules_are_accounted_for(world).await;
        report
            .tried
            .extend(world.recorder.keys_of_schedules().await);
        report.tried.extend(world.recorder.keys_of_results().await);
        world.check(report).await;
    }
}

/// No minute is to begin between two looks.
async fn rest_schedules(world: &World) {
    let listed = world.ask("GET", "/v1/schedules", None).await;
    for schedule in listed.body["items"].as_array().expect("a list") {
        let id = schedule["id"].as_str().expect("an id");
        let paused = world
            .ask("POST", &format!("/v1/schedules/{id}/pause"), None)
            .await;
        assert!(paused.status < 300, "{paused:?}");
    }
}

/// A run of the listener for each run of a source that was completed, and no more.
async fn results_are_heard_once(world: &World, sources: &[String], listener: &str) {
    let uuid = |id: &str| {
        let id: EmployeeId = id.parse().expect("an employee's id");
        id.uuid().to_string()
    };
    let listener = uuid(listener);
    let sources: Vec<String> = sources.iter().map(|source| uuid(source)).collect();
    until("every result has been heard", async || {
        let results = world.recorder.results(&sources).await;
        let heard = world.recorder.heard(&listener).await;
        results.iter().all(|result| heard.contains_key(result))
            && world.recorder.unfinished().await == 0
    })
    .await;
    let results = world.recorder.results(&sources).await;
    let heard: BTreeMap<String, usize> = world.recorder.heard(&listener).await;
    assert!(!results.is_empty(), "there were results");
    let twice: Vec<_> = heard.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "heard more than once: {twice:?}");
    let strange: Vec<_> = heard.keys().filter(|key| !results.contains(*key)).collect();
    assert!(strange.is_empty(), "heard, and nobody said it: {strange:?}");
    println!("{} results were heard once", results.len());
}

/// One run after the other, in the order in which the messages were accepted.
async fn conversations_keep_their_order(world: &World, conversations: &[Vec<String>]) {
    let finished = world.recorder.finished_by_key().await;
    for keys in conversations {
        let times: Vec<_> = keys
            .iter()
            .map(|key| (finished.get(key).copied().flatten(), key))
            .collect();
        let wrong = times
            .windows(2)
            .find(|pair| pair[0].0 > pair[1].0 || pair[0].0.is_none());
        assert!(wrong.is_none(), "out of order: {wrong:?}");
    }
    println!(
        "{} conversations kept their order: {:?} messages",
        conversations.len(),
        conversations.iter().map(Vec::len).collect::<Vec<_>>()
    );
}

/// Each schedule has a row for each full minute between its first and its last, once; a time that no row tells of is summed up in one that does.
async fn schedules_are_accounted_for(world: &World) {
    let twice = "SELECT count(*) FROM (SELECT 1 FROM schedule_fire GROUP BY schedule_id, due_us HAVING count(*) > 1) t";
    assert_eq!(world.recorder.count(twice).await, 0, "a time fired twice");
    let (runs, fired) = (
        world
            .recorder
            .count("SELECT count(*) FROM run WHERE source LIKE 'schedule:%'")
            .await,
        world
            .recorder
            .count("SELECT count(*) FROM schedule_fire WHERE run_id IS NOT NULL")
            .await,
    );
    assert_eq!(runs, fired, "one run a fire");
    println!("{fired} fires of schedules, a run each");
}
