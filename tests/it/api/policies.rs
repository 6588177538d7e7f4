//! What an org lets be called: written, tried out, and enforced before anything leaves.

use super::{
    proxy::{connected, message, posts},
    world::{Client, World, employee_of, world},
};
use serde_json::{Value, json};
use tenure::domain::Role;

const POST: &str = "/proxy/slack.chat.post";

async fn rule(world: &World, rule: Value) -> String {
    let made = world.admin.post("/v1/policies", rule).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.text("id")
}

/// A call that has to be asked about, for rules that want that of `slack.chat.post`.
fn asked_for(name: &str) -> Value {
    json!({"name": name, "effect": "require_approval", "capabilities": ["slack.chat.post"], "reason": "people read it"})
}

async fn decide(world: &World, approval: &str, word: &str) {
    let path = format!("/v1/approvals/{approval}");
    let hash = world.viewer.get(&path).await.text("arguments_hash");
    let body = json!({"decision": word, "arguments_hash": hash});
    let decided = world
        .manager
        .post(&format!("{path}/decision"), body.clone())
        .await;
    assert_eq!(decided.status, 200, "{decided:?}");
    let again = world.manager.post(&format!("{path}/decision"), body).await;
    again.problem(409, "approval_not_pending");
}

fn with_key(text: &str, key: &str) -> Value {
    let mut body = message(text);
    body["idempotency_key"] = json!(key);
    body
}

#[tokio::test]
async fn rules_are_made_changed_and_removed() {
    let world = world().await;
    let body = json!({"name": "ours", "effect": "deny", "capabilities": ["slack.*"], "when": "input.channel != '#finance'"});
    let id = rule(&world, body.clone()).await;
    world
        .admin
        .post("/v1/policies", body.clone())
        .await
        .problem(409, "name_taken");
    let path = format!("/v1/policies/{id}");
    let shown = world.viewer.get(&path).await;
    assert_eq!(
        (
            &shown.body["name"],
            &shown.body["when"],
            &shown.body["capabilities"]
        ),
        (&body["name"], &body["when"], &body["capabilities"])
    );
    let mut changed = body.clone();
    changed["name"] = json!("theirs");
    let put = world.admin.put(&path, changed).await;
    assert_eq!(
        (put.status.as_u16(), put.text("name").as_str()),
        (200, "theirs")
    );
    assert_eq!(
        world.viewer.get("/v1/policies").await.body["items"][0]["name"],
        "theirs"
    );
    assert_eq!(world.admin.delete(&path).await.status, 204);
    world.viewer.get(&path).await.problem(404, "not_found");
    let yaml = "name: y\neffect: allow\ncapabilities: ['*']\n";
    let made = super::world::send(
        world
            .admin
            .request(reqwest::Method::POST, "/v1/policies")
            .header("content-type", "application/yaml")
            .body(yaml),
    )
    .await;
    assert_eq!(made.status, 201, "{made:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_rule_is_named() {
    let world = world().await;
    let (_dir, _sandbox) = connected(&world).await;
    let good = json!({"name": "x", "effect": "deny", "capabilities": ["slack.*"]});
    for (field, value, at) in [
        (
            "capabilities",
            json!(["slack.chat.pots"]),
            "capabilities[0]",
        ),
        ("capabilities", json!([]), "capabilities"),
        ("connections", json!(["nobody"]), "connections[0]"),
        ("employees", json!(["nobody"]), "employees[0]"),
        ("when", json!("input.amount >"), "when"),
        ("when", json!("trigger.payload.x"), "when"),
        ("effect", json!("forbid"), "effect"),
        ("roles", json!(["chief"]), "roles[0]"),
        ("expires_ms", json!(1000), "expires_ms"),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let answer = world.admin.post("/v1/policies", bad).await;
        assert_eq!(
            answer.problem(422, "invalid_field")["field"],
            at,
            "{answer:?}"
        );
    }
    let mut right = good.clone();
    right["connections"] = json!(["default"]);
    right["capabilities"] = json!(["slack.raw", "slack.chat.*"]);
    rule(&world, right).await;
    world
        .manager
        .post("/v1/policies", good)
        .await
        .problem(403, "forbidden");
}

#[tokio::test]
async fn a_dry_run_says_which_rule_decides() {
    let world = world().await;
    let (_dir, sandbox) = connected(&world).await;
    let employee = world.manager.hire(super::world::pure("clerk")).await;
    let id = rule(
        &world,
        json!({"name": "few", "effect": "deny", "capabilities": ["slack.*"], "employees": ["clerk"], "when": "input.text.contains('secret')"}),
    )
    .await;
    let check = async |body: Value| world.viewer.post("/v1/policies/check", body).await.body;
    let call = json!({"capability": "slack.chat.post", "input": {"channel": "#a", "text": "a secret"}, "employee": "clerk"});
    let denied = check(call.clone()).await;
    assert_eq!(denied["effect"], "deny", "{denied}");
    assert_eq!(denied["rule"], json!({"id": id, "name": "few"}));
    assert_eq!(denied["connection"]["name"], "default");
    let mut by_id = call.clone();
    by_id["employee"] = json!(employee);
    assert_eq!(check(by_id).await["effect"], "deny");
    let mut mine = call.clone();
    mine.as_object_mut().expect("fields").remove("employee");
    assert_eq!(check(mine).await["decided_by"], "default");
    let broken = json!({"capability": "slack.chat.post", "input": {}, "employee": "clerk"});
    assert_eq!(check(broken).await["decided_by"], "broken_rule");
    let risky = check(json!({"capability": "gmail.send"})).await;
    assert_eq!(
        (&risky["effect"], &risky["decided_by"]),
        (&json!("require_approval"), &json!("risk"))
    );
    let raw = check(json!({"capability": "slack.raw"})).await;
    assert_eq!(raw["effect"], "require_approval");
    let unknown = world
        .viewer
        .post(
            "/v1/policies/check",
            json!({"capability": "slack.chat.pots"}),
        )
        .await;
    assert_eq!(unknown.problem(422, "invalid_field")["field"], "capability");
    assert_eq!(posts(&sandbox).await.len(), 0, "nothing was called");
}

#[tokio::test]
async fn a_client_is_refused_before_anything_leaves() {
    let world = world().await;
    let (_dir, sandbox) = connected(&world).await;
    rule(
        &world,
        json!({"name": "only finance", "effect": "deny", "capabilities": ["slack.chat.*"], "when": "!(input.channel in ['#finance'])"}),
    )
    .await;
    let elsewhere = json!({"input": {"channel": "#general", "text": "x"}});
    let refused = world.operator.post(POST, elsewhere).await;
    refused.problem(403, "POLICY_DENIED");
    assert!(
        refused.text("detail").contains("only finance"),
        "{refused:?}"
    );
    assert_eq!(posts(&sandbox).await.len(), 0);
    let effects = world.viewer.get("/v1/effects").await;
    assert_eq!(effects.body["items"], json!([]), "no row either");
    let sent = world.operator.post(POST, message("ours")).await;
    assert_eq!(sent.status, 200, "{sent:?}");
}

#[tokio::test]
async fn a_client_waits_for_a_person_and_comes_again() {
    let world = world().await;
    let (_dir, sandbox) = connected(&world).await;
    rule(&world, asked_for("asked")).await;
    let first = world
        .operator
        .post(POST, with_key("hello", "greeting-1"))
        .await;
    assert_eq!(
        (first.status.as_u16(), first.text("code").as_str()),
        (202, "APPROVAL_REQUIRED"),
        "{first:?}"
    );
    assert_eq!(first.text("idempotency_key"), "greeting-1");
    let approval = first.text("approval_id");
    let shown = world.viewer.get(&format!("/v1/approvals/{approval}")).await;
    assert_eq!(shown.body["arguments"]["capability"], "slack.chat.post");
    assert_eq!(shown.body["arguments"]["input"]["text"], "hello");
    assert!(shown.text("asked_by").starts_with("api:key_"), "{shown:?}");
    assert_eq!(shown.body["employee_id"], json!(null));
    assert_eq!(shown.body["execution_id"], first.body["execution_id"]);

    let again = world
        .operator
        .post(POST, with_key("hello", "greeting-1"))
        .await;
    assert_eq!(again.body, first.body, "the same question");
    world
        .operator
        .post(POST, with_key("other words", "greeting-1"))
        .await
        .problem(409, "idempotency_conflict");
    assert_eq!(posts(&sandbox).await.len(), 0);

    decide(&world, &approval, "approve").await;
    for _ in 0..2 {
        let sent = world
            .operator
            .post(POST, with_key("hello", "greeting-1"))
            .await;
        assert_eq!(sent.status, 200, "{sent:?}");
        assert_eq!(sent.body["execution_id"], first.body["execution_id"]);
    }
    assert_eq!(posts(&sandbox).await.len(), 1);

    // Another caller's key of the same name is another call.
    let other = world
        .manager
        .post(POST, with_key("hello", "greeting-1"))
        .await;
    assert_eq!(other.status, 202, "{other:?}");
    assert_ne!(other.text("approval_id"), approval);
}

#[tokio::test]
async fn a_client_without_a_key_is_given_one() {
    let world = world().await;
    let (_dir, sandbox) = connected(&world).await;
    rule(&world, asked_for("asked")).await;
    let first = world.operator.post(POST, message("hello")).await;
    assert_eq!(first.status, 202, "{first:?}");
    let key = first.text("idempotency_key");
    decide(&world, &first.text("approval_id"), "deny").await;
    let denied = world.operator.post(POST, with_key("hello", &key)).await;
    denied.problem(403, "APPROVAL_DENIED");
    let next = world.operator.post(POST, message("hello")).await;
    assert_eq!(next.status, 202, "a new call is a new question");
    assert_ne!(next.body["approval_id"], first.body["approval_id"]);
    decide(&world, &next.text("approval_id"), "approve").await;
    let key = next.text("idempotency_key");
    let sent = world.operator.post(POST, with_key("hello", &key)).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(posts(&sandbox).await.len(), 1);
}

#[tokio::test]
async fn a_question_about_a_call_expires() {
    let world = world().await;
    let (_dir, sandbox) = connected(&world).await;
    let mut soon = asked_for("soon");
    soon["expires_ms"] = json!(1);
    rule(&world, soon).await;
    let first = world.operator.post(POST, with_key("x", "k")).await;
    assert_eq!(first.status, 202, "{first:?}");
    let late = world.operator.post(POST, with_key("x", "k")).await;
    late.problem(409, "approval_expired");
    let path = format!("/v1/approvals/{}", first.text("approval_id"));
    let hash = world.viewer.get(&path).await.text("arguments_hash");
    let body = json!({"decision": "approve", "arguments_hash": hash});
    let late = world.manager.post(&format!("{path}/decision"), body).await;
    assert_eq!(late.status, 409, "{late:?}");
    assert_eq!(posts(&sandbox).await.len(), 0);
}

#[tokio::test]
async fn nobody_is_asked_about_what_the_provider_would_not_take() {
    let world = world().await;
    let (_dir, _sandbox) = connected(&world).await;
    rule(&world, asked_for("asked")).await;
    world
        .operator
        .post(POST, json!({"input": {"text": "no channel"}}))
        .await
        .problem(422, "BAD_PARAMS");
    let approvals = world.viewer.get("/v1/approvals").await;
    assert_eq!(approvals.body["items"], json!([]));
}

#[tokio::test]
async fn a_skills_permission_counts_when_the_catalog_has_changed() {
    let world = world().await;
    let own = |permission: &str| {
        json!({
            "id": "own", "name": "Own", "base_url": "https://own.example", "auth": [{"type": "bearer"}],
            "quota": {"requests": 1, "per_seconds": 1, "burst": 1},
            "capabilities": [{
                "id": "own.thing.get", "title": "Get a thing", "permission": permission, "risk": "low", "write": false,
                "description": "Gets a thing.",
                "input": {"type": "object", "properties": {}}, "output": {"type": "object"},
                "request": {"method": "GET", "path": "/thing"},
            }],
        })
    };
    let added = world.admin.post("/v1/integrations", own("own.read")).await;
    assert_eq!(added.status, 201, "{added:?}");
    let mut body = employee_of(
        "reader",
        json!([{"id": "get", "type": "action", "capability": "own.thing.get", "arguments": {}}]),
    );
    body["graph"]["nodes"][0]["permissions"] = json!(["own.read"]);
    let employee = world.manager.hire(body).await;
    let changed = world.admin.post("/v1/integrations", own("own.admin")).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let run = world.operator.work(&employee, json!({})).await;
    assert_eq!(run.body["error"]["code"], "permission_denied", "{run:?}");
}

/// A connection of one person to the sandbox's Slack.
async fn own_connection(client: &Client, account: &Value, name: &str) -> String {
    let body = json!({"integration": "slack", "name": name, "token": account["token"], "account": account["account"]});
    let made = client.post("/v1/connections", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.text("id")
}

#[tokio::test]
async fn a_persons_own_account_is_used_for_them_and_for_nobody_else() {
    use secrecy::ExposeSecret;
    use tenure::domain::Role;
    let world = world().await;
    let (_dir, sandbox) = connected(&world).await;
    let accounts = sandbox.accounts();
    let slack = accounts
        .iter()
        .find(|one| one.integration == "slack")
        .expect("slack");
    let account = json!({
        "token": slack.token.expose_secret(),
        "account": {"base_url": slack.account.base_url, "quota": slack.account.quota},
    });
    let ann = world.user("ann", Role::Operator).await;
    let bob = world.user("bob", Role::Operator).await;
    let of_ann = own_connection(&ann, &account, "mine").await;
    let used = async |client: &Client, connection: Option<&str>| {
        let mut body = message("hello");
        if let Some(connection) = connection {
            body["connection"] = json!(connection);
        }
        let answer = client.post(POST, body).await;
        let Some(run) = answer.body["execution_id"].as_str() else {
            return Err(answer.text("code"));
        };
        let path = format!("/v1/effects?execution_id={run}");
        // Whoever's account it went through sees it; everybody else sees only what went through the org's.
        let effects = client.get(&path).await;
        if effects.body["items"][0]["connection_id"] == json!(of_ann) {
            for stranger in [&bob, &world.manager] {
                let seen = stranger.get(&path).await;
                assert_eq!(seen.body["items"], json!([]), "{seen:?}");
            }
        }
        Ok(effects.body["items"][0]["connection_id"]
            .as_str()
            .map(str::to_owned))
    };
    let own = Ok(Some(of_ann.clone()));
    assert_eq!(used(&ann, None).await, own, "her own goes first");
    assert_eq!(used(&ann, Some("mine")).await, own);
    assert_eq!(used(&ann, Some(&of_ann)).await, own);
    let org = used(&bob, None).await;
    assert!(org.is_ok() && org != own, "{org:?}");
    assert_eq!(used(&ann, Some("default")).await, org, "the org's by name");
    for stranger in [&bob, &world.operator, &world.admin] {
        for name in ["mine", of_ann.as_str()] {
            let refused = used(stranger, Some(name)).await;
            assert_eq!(refused, Err("AUTH_ERROR".into()), "{name}");
        }
    }
}

/// A call through a user's own connection is theirs in the ledger; the question about it is no more public.
#[tokio::test]
async fn a_question_about_a_users_own_connection_is_theirs() {
    let world = world().await;
    let slack = super::fake_slack::FakeSlack::start().await;
    rule(&world, asked_for("ask")).await;
    let (ann, bob) = (
        world.user("ann", Role::Manager).await,
        world.user("bob", Role::Admin).await,
    );
    let body = json!({"integration": "slack", "name": "private", "token": "xoxp-ann", "base_url": slack.url});
    let made = ann.post("/v1/connections", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let mut call = with_key("confidential: my salary", "k");
    call["connection"] = json!("private");
    let asked = ann.post(POST, call).await;
    assert_eq!(asked.text("code"), "APPROVAL_REQUIRED", "{asked:?}");
    let path = format!("/v1/approvals/{}", asked.text("approval_id"));
    let hash = ann.get(&path).await.text("arguments_hash");
    let decision = json!({"decision": "approve", "arguments_hash": hash});
    for other in [
        &bob,
        &world.viewer,
        &world.operator,
        &world.manager,
        &world.other_org,
    ] {
        other.get(&path).await.problem(404, "not_found");
        assert_eq!(other.get("/v1/approvals").await.body["items"], json!([]));
        let pending = other.get("/v1/approvals?status=pending").await.body;
        assert_eq!(pending["items"], json!([]));
    }
    for other in [&bob, &world.manager] {
        let answer = other
            .post(&format!("{path}/decision"), decision.clone())
            .await;
        answer.problem(404, "not_found");
    }
    for who in [&ann, &world.admin] {
        assert_eq!(
            who.get("/v1/approvals").await.body["items"]
                .as_array()
                .map(Vec::len),
            Some(1)
        );
    }
    let decided = ann.post(&format!("{path}/decision"), decision).await;
    assert_eq!(decided.status, 200, "{decided:?}");
    // One through the org's is everybody's.
    let body =
        json!({"integration": "slack", "name": "ours", "token": "xoxb-1", "base_url": slack.url});
    assert_eq!(world.admin.post("/v1/connections", body).await.status, 201);
    let asked = world.operator.post(POST, with_key("hello", "k2")).await;
    assert_eq!(asked.text("code"), "APPROVAL_REQUIRED", "{asked:?}");
    let shown = world.viewer.get("/v1/approvals").await.body;
    assert_eq!(shown["items"].as_array().map(Vec::len), Some(1));
}
