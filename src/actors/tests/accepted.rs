//! Writes that a provider answered with success and a body nobody can use, and does not show for a while: sent once, whatever comes.

use super::{
    effects::effects,
    house::{House, employee},
};
use crate::{
    actors::{Faults, Settings},
    domain::ExecutionId,
    persistence::{EffectRow, EffectStatus},
};
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// A Slack whose answer to a message lacks what every good one has, and whose history lags.
struct Slack {
    /// How many looks at the history find nothing.
    lag: usize,
    keys: Mutex<Vec<Value>>,
    looks: Mutex<usize>,
}

impl Slack {
    async fn start(lag: usize) -> (Arc<Self>, String) {
        let slack = Arc::new(Self {
            lag,
            keys: Mutex::default(),
            looks: Mutex::default(),
        });
        let app = Router::new()
            .route("/api/chat.postMessage", post(take))
            .route("/api/conversations.history", get(show))
            .with_state(slack.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (slack, url)
    }

    fn writes(&self) -> usize {
        self.keys.lock().expect("not poisoned").len()
    }

    fn looks(&self) -> usize {
        *self.looks.lock().expect("not poisoned")
    }
}

async fn take(State(slack): State<Arc<Slack>>, Json(body): Json<Value>) -> Json<Value> {
    let key = body["metadata"]["event_payload"]["tenure_effect"].clone();
    slack.keys.lock().expect("not poisoned").push(key);
    Json(json!({"ok": true}))
}

async fn show(State(slack): State<Arc<Slack>>) -> Json<Value> {
    let mut looks = slack.looks.lock().expect("not poisoned");
    *looks += 1;
    let keys = slack.keys.lock().expect("not poisoned");
    let message =
        |key: &Value| json!({"ts": "7.1", "metadata": {"event_payload": {"tenure_effect": key}}});
    let messages: Vec<Value> = match *looks > slack.lag {
        true => keys.iter().map(message).collect(),
        false => Vec::new(),
    };
    Json(json!({"ok": true, "messages": messages}))
}

/// An employee has written to Slack.
async fn write(settings: Settings, lag: usize) -> (House, Arc<Slack>, ExecutionId) {
    let house = House::with(settings, Faults::default()).await;
    let (slack, url) = Slack::start(lag).await;
    house.connect("slack", &url).await;
    house.allow("slack.chat.post").await;
    let skill = json!({
        "graph_id": "post", "type": "skill", "edges": [],
        "nodes": [{"id": "post", "type": "action", "capability": "slack.chat.post",
                   "arguments": {"channel": "'C123456789'", "text": "'hello'"},
                   "retry": {"max_attempts": 3, "initial_ms": 10, "factor": 2, "max_ms": 100}}]
    });
    let id = house.hire(employee(&[skill], json!({}))).await;
    let execution = house.tell(id, json!({})).await;
    (house, slack, execution)
}

fn settings(look_pause: Duration) -> Settings {
    Settings {
        look_pause,
        request_timeout: Duration::from_secs(3),
        sweep_every: Duration::from_millis(200),
        ..Settings::default()
    }
}

const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(3_600);

async fn row(house: &House, is_wanted: impl Fn(&EffectRow) -> bool) -> EffectRow {
    house
        .until("the effect", async |house| {
            effects(house).await.into_iter().find(&is_wanted)
        })
        .await
}

fn is_settled(row: &EffectRow) -> bool {
    !matches!(row.status, EffectStatus::Intended | EffectStatus::Sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_late_is_found_and_not_sent_again() {
    let (house, slack, execution) = write(settings(SHORT), 3).await;
    let row = row(&house, is_settled).await;
    assert_eq!(row.status, EffectStatus::Reconciled, "{row:?}");
    let run = house.over(execution).await;
    assert_eq!(run.row.status.name(), "completed");
    assert_eq!((slack.writes(), slack.looks()), (1, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_shown_waits_for_a_person() {
    let (house, slack, _) = write(settings(SHORT), usize::MAX).await;
    let row = row(&house, is_settled).await;
    assert_eq!(row.status, EffectStatus::Ambiguous, "{row:?}");
    assert_eq!((slack.writes(), slack.looks()), (1, 6));
    let note = row.note.unwrap_or_default();
    assert!(note.contains("does not show it"), "{note}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_it_was_answered_is_known_after_a_crash() {
    let (mut house, slack, _) = write(settings(LONG), usize::MAX).await;
    row(&house, |row| row.note.is_some()).await;
    house.settings.look_pause = SHORT;
    house.restart().await;
    let row = row(&house, is_settled).await;
    assert_eq!(row.status, EffectStatus::Ambiguous, "{row:?}");
    assert_eq!(slack.writes(), 1);
}

/// That the provider does not show it would otherwise settle it as not done, and let it be sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_says_of_a_cancelled_runs_write_that_it_did_not_happen() {
    let (mut house, slack, execution) = write(settings(LONG), usize::MAX).await;
    let sent = row(&house, |row| row.note.is_some()).await;
    let run = house.inspect(execution).await;
    let (org, by) = (house.org, "anna".to_owned());
    house
        .engine
        .cancel(org, run.row.employee_id, execution, by, None)
        .await
        .expect("cancelled");
    house.settings.look_pause = SHORT;
    house.restart().await;
    let row = row(&house, is_settled).await;
    assert_eq!(
        (row.id, row.status),
        (sent.id, EffectStatus::Ambiguous),
        "{row:?}"
    );
    assert_eq!(slack.writes(), 1);
}
