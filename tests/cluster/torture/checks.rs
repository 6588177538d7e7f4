//! What must be true when all is over.

use super::work::approve_some;
use crate::{
    history::History,
    load::{Nodes, Report},
    world::{World, until},
};
use serde_json::json;
use std::collections::BTreeSet;
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
        let last_minute = world.rest_schedules().await;
        let uuid = |id: &str| {
            let id: EmployeeId = id.parse().expect("an employee's id");
            id.uuid().to_string()
        };
        let listener = uuid(&listener);
        let sources: Vec<String> = sources.iter().map(|source| uuid(source)).collect();
        until("every result has been heard", async || {
            let results = world.recorder.results(&sources).await;
            let heard = world.recorder.heard(&listener).await;
            results.iter().all(|result| heard.contains(result))
                && world.recorder.unfinished().await == 0
        })
        .await;
        let told = world.recorder.keys_of_schedules().await;
        report.tried.extend(told);
        report.tried.extend(world.recorder.keys_of_results().await);
        let history = History {
            conversations: world.recorder.conversations(&conversations).await,
            results: world.recorder.results(&sources).await,
            heard: world.recorder.heard(&listener).await,
            last_minute: Some(last_minute),
            ..world.history(report).await
        };
        let fires = history.schedules.iter().map(|one| one.fires.len());
        let amounts = [
            history.results.len(),
            history.effects.len(),
            fires.sum(),
            history
                .conversations
                .iter()
                .map(Vec::len)
                .min()
                .unwrap_or(0),
        ];
        world.judge(&history);
        assert!(
            !amounts.contains(&0),
            "something of each kind was there to check: {amounts:?}"
        );
    }
}
