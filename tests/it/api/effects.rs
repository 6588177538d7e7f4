//! The ledger: what a run waits for is ended by a connection or by a person's word, and the run goes on.

use super::world::{World, employee_of, world};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tenure::{
    domain::{ContentHash, EffectId, ExecutionId, Timestamp},
    persistence::{Append, EffectChange, EffectRow, EffectStatus},
    sandbox::Sandbox,
};
use uuid::Uuid;

/// Posts one message.
fn poster() -> Value {
    let action = json!({"id": "post", "type": "action", "capability": "slack.chat.post",
        "arguments": {"channel": "'#finance'", "text": "'hello'"}});
    let mut body = employee_of("poster", json!([action]));
    body["graph"]["nodes"][0]["permissions"] = json!(["slack.write"]);
    body
}

#[tokio::test]
async fn a_run_that_lacks_a_connection_goes_on_when_there_is_one() {
    let world = world().await;
    let dir = tempfile::tempdir().expect("a directory");
    let today = chrono::NaiveDate::from_ymd_opt(2026, 1, 1).expect("a day");
    let sandbox = Sandbox::start(([127, 0, 0, 1], 0).into(), dir.path().into(), today)
        .await
        .expect("starts");
    let account = sandbox
        .accounts()
        .into_iter()
        .find(|one| one.integration == "slack")
        .expect("slack");

    let employee = world.manager.hire(poster()).await;
    let path = format!("/v1/employees/{employee}/triggers");
    let run = world
        .operator
        .post(&path, json!({"payload": {}}))
        .await
        .text("execution_id");
    let shown = world
        .viewer
        .until(&format!("/v1/runs/{run}"), |run| run["status"] == "waiting")
        .await;
    assert_eq!(shown["waiting_on"][0]["kind"], "connection");
    assert_eq!(shown["waiting_on"][0]["on"], "slack");

    let connection = json!({
        "integration": "slack",
        "token": account.token.expose_secret(),
        "account": {"base_url": account.account.base_url, "quota": account.account.quota},
    });
    let made = world.admin.post("/v1/connections", connection).await;
    assert_eq!(made.status, 201, "{made:?}");
    world
        .viewer
        .until(&format!("/v1/runs/{run}"), |run| {
            run["status"] == "completed"
        })
        .await;
    let effects = world.viewer.get(&format!("/v1/runs/{run}/effects")).await;
    assert_eq!(effects.body["items"][0]["status"], "done", "{effects:?}");
    assert_eq!(effects.body["items"][0]["arguments"]["text"], "hello");
    let id = effects.body["items"][0]["id"].as_str().expect("an id");
    let settled = world
        .manager
        .post(
            &format!("/v1/effects/{id}/reconcile"),
            json!({"outcome": "done"}),
        )
        .await;
    settled.problem(409, "effect_not_ambiguous");
}

/// Puts an effect into the ledger of which nobody knows whether it happened.
async fn ambiguous(world: &World) -> EffectId {
    let id = EffectId::from_uuid(Uuid::now_v7());
    let arguments = json!({"text": "hello"});
    let row = EffectRow {
        org_id: world.org,
        id,
        run_id: ExecutionId::from_uuid(Uuid::now_v7()),
        step: "0.1.0.1".into(),
        key: id.to_string().into_bytes(),
        capability: "slack.chat.post".into(),
        integration: "slack".into(),
        connection_id: None,
        args_hash: ContentHash::of_json(&arguments),
        args: arguments.to_string(),
        idempotency_key: "k".into(),
        status: EffectStatus::Ambiguous,
        attempts: 1,
        epoch: 1,
        intended: Timestamp::from_millis(1),
        sent: Some(Timestamp::from_millis(2)),
        settled: None,
        response: None,
        error: None,
        note: Some(json!({"why": "the connection broke"}).to_string()),
        owner_user: None,
    };
    let mut append = Append::new(world.org);
    append.effects.push(EffectChange::Intend(Box::new(row)));
    let journal = &world.engine.core().journal;
    journal.write(None, append).await.expect("is durable");
    id
}

#[tokio::test]
async fn an_ambiguous_effect_is_settled_once_by_a_person() {
    let world = world().await;
    let id = ambiguous(&world).await;
    let listed = world.viewer.get("/v1/effects?status=ambiguous").await;
    assert_eq!(listed.body["items"][0]["id"], json!(id));
    let path = format!("/v1/effects/{id}/reconcile");
    world
        .other_org
        .post(&path, json!({"outcome": "done"}))
        .await
        .problem(404, "not_found");
    let wrong = world
        .manager
        .post(&path, json!({"outcome": "not_done", "response": {}}))
        .await;
    assert_eq!(wrong.problem(422, "invalid_field")["field"], "response");

    let body =
        json!({"outcome": "done", "response": {"ts": "1.2"}, "comment": "seen in the channel"});
    let settled = world.manager.post(&path, body.clone()).await;
    assert_eq!(settled.text("status"), "reconciled");
    assert_eq!(settled.body["response"], json!({"ts": "1.2"}));
    let note = &settled.body["note"];
    assert_eq!(
        (note["outcome"].as_str(), note["why"].as_str()),
        (Some("done"), Some("the connection broke"))
    );
    assert!(
        note["by"]
            .as_str()
            .is_some_and(|by| by.starts_with("api:key_"))
    );
    world
        .manager
        .post(&path, body)
        .await
        .problem(409, "effect_not_ambiguous");
}
