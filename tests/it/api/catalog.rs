//! The catalog with its filters, and what an org adds to it for itself.

use super::world::{employee_of, send, world};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::HeaderMap,
    routing::{any, post},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// Ids of what an answer of `/catalog` holds.
fn ids(catalog: &Value) -> (Vec<&str>, Vec<&str>) {
    let items = catalog["items"].as_array().expect("items");
    let integrations = items.iter().filter_map(|item| item["id"].as_str());
    let capabilities = items
        .iter()
        .flat_map(|item| item["capabilities"].as_array().into_iter().flatten())
        .filter_map(|one| one["id"].as_str());
    (integrations.collect(), capabilities.collect())
}

#[tokio::test]
async fn the_catalog_is_filtered() {
    let world = world().await;
    let all = world.viewer.get("/catalog").await;
    assert_eq!(all.status, 200, "{all:?}");
    let (integrations, capabilities) = ids(&all.body);
    assert!(integrations.len() >= 40 && capabilities.len() >= 150);
    assert_eq!(world.viewer.get("/v1/catalog").await.body, all.body);

    let slack = world.viewer.get("/catalog?integration=slack").await;
    let (integrations, capabilities) = ids(&slack.body);
    assert_eq!(integrations, ["slack"]);
    assert!(capabilities.contains(&"slack.chat.post"));
    let one = &slack.body["items"][0];
    assert_eq!(one["auth"][0]["type"], "oauth2_code");
    assert_eq!(
        one["auth"][0]["authorize_url"],
        "https://slack.com/oauth/v2/authorize"
    );
    assert_eq!(one["built_in"], true);
    assert!(one["capabilities"][0]["input"]["properties"].is_object());

    let found = world.viewer.get("/catalog?q=Message+post&write=true").await;
    let (_, capabilities) = ids(&found.body);
    assert!(capabilities.contains(&"slack.chat.post"));
    assert!(!capabilities.contains(&"slack.conversations.history"));

    let risky = world
        .viewer
        .get("/catalog?integration=gmail&risk=high&schemas=false")
        .await;
    let (_, capabilities) = ids(&risky.body);
    assert_eq!(capabilities, ["gmail.send", "gmail.drafts.send"]);
    assert!(
        risky.body["items"][0]["capabilities"][0]
            .get("input")
            .is_none()
    );

    let signed = world
        .viewer
        .get("/catalog?auth=jwt_bearer&schemas=false")
        .await;
    let (integrations, _) = ids(&signed.body);
    assert!(integrations.contains(&"calendar") && !integrations.contains(&"slack"));

    for (query, name) in [
        ("risk=big", "risk"),
        ("auth=oauth", "auth"),
        ("colour=red", "colour"),
    ] {
        let answer = world.viewer.get(&format!("/catalog?{query}")).await;
        assert_eq!(answer.problem(400, "invalid_parameter")["field"], name);
    }
    let none = world.viewer.get("/catalog?q=zzzz").await;
    assert_eq!(none.body, json!({"items": [], "next": null}));
}

#[tokio::test]
async fn one_of_the_catalog_is_shown_by_its_id() {
    let world = world().await;
    let integration = world.viewer.get("/v1/catalog/stripe").await;
    assert_eq!(integration.body["name"], "Stripe");
    let capability = world.viewer.get("/v1/catalog/stripe.refund.create").await;
    assert_eq!(capability.body["risk"], "high");
    assert_eq!(
        capability.body["idempotency"],
        json!({"native": "Idempotency-Key"})
    );
    let near = world.viewer.get("/v1/catalog/stripe.refund.creat").await;
    assert_eq!(
        near.problem(404, "not_found")["nearest"],
        "stripe.refund.create"
    );
}

fn erp(base_url: &str) -> Value {
    json!({
        "id": "erp",
        "name": "Acme ERP",
        "base_url": base_url,
        "auth": [{"type": "api_key", "send": {"in": "header", "name": "X-Erp-Key"}}],
        "verify": {"request": {"method": "GET", "path": "/me"}},
        "quota": {"requests": 10, "per_seconds": 1, "burst": 10},
        "capabilities": [{
            "id": "erp.order.create",
            "title": "Order",
            "description": "Orders something.",
            "permission": "erp.write",
            "risk": "medium",
            "write": true,
            "input": {
                "type": "object", "additionalProperties": false, "required": ["what"],
                "properties": {"what": {"type": "string"}},
            },
            "output": {"type": "object"},
            "request": {"method": "POST", "path": "/orders", "json": {"what": "{input.what}"}},
            "idempotency": {"native": "X-Request-Id"},
        }],
    })
}

/// What came: the key, the effect's key, the body.
type Seen = Arc<Mutex<Vec<(String, String, Value)>>>;

async fn provider() -> (String, Seen) {
    async fn order(
        State(seen): State<Seen>,
        headers: HeaderMap,
        Json(body): Json<Value>,
    ) -> Json<Value> {
        let text = |name: &str| headers[name].to_str().expect("text").to_owned();
        let call = (text("x-erp-key"), text("x-request-id"), body);
        seen.lock().expect("unpoisoned").push(call);
        Json(json!({"number": 7}))
    }
    let seen = Seen::default();
    let router = Router::new()
        .route("/orders", post(order))
        .with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

#[tokio::test]
async fn an_orgs_own_integration_is_used_like_any_other() {
    let world = world().await;
    let (url, seen) = provider().await;
    let mut orderer = employee_of(
        "orderer",
        json!([{"id": "order", "type": "action", "capability": "erp.order.create",
            "arguments": {"what": "'paper'"}}]),
    );
    orderer["graph"]["nodes"][0]["permissions"] = json!(["erp.write"]);
    let early = world.manager.post("/v1/employees", orderer.clone()).await;
    early.problem(422, "invalid_graph");

    let made = world.admin.post("/v1/integrations", erp(&url)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["capabilities"], json!(["erp.order.create"]));
    let shown = world.viewer.get("/v1/integrations/erp").await;
    assert_eq!(shown.body["definition"]["name"], "Acme ERP");
    let listed = world.viewer.get("/catalog?integration=erp").await;
    assert_eq!(listed.body["items"][0]["built_in"], false);

    let connection = world
        .admin
        .post(
            "/v1/connections",
            json!({"integration": "erp", "token": "secret-key"}),
        )
        .await;
    assert_eq!(connection.status, 201, "{connection:?}");
    let employee = world.manager.hire(orderer.clone()).await;
    let done = world.operator.work(&employee, json!({})).await;
    assert_eq!(done.body["status"], "completed", "{done:?}");
    let calls = seen.lock().expect("unpoisoned").clone();
    let [(key, effect, body)] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert_eq!(
        (key.as_str(), body),
        ("secret-key", &json!({"what": "paper"}))
    );
    assert!(effect.starts_with("tnr_"), "{effect}");

    // The other org has nothing of it, and may have one of the same name.
    let other = &world.other_org;
    let theirs = other.get("/catalog?integration=erp").await;
    assert_eq!(theirs.body["items"], json!([]));
    other
        .get("/v1/integrations/erp")
        .await
        .problem(404, "not_found");
    other
        .delete("/v1/integrations/erp")
        .await
        .problem(404, "not_found");
    other
        .post(
            "/v1/connections",
            json!({"integration": "erp", "token": "x"}),
        )
        .await
        .problem(422, "invalid_field");
    other
        .post("/v1/employees", orderer)
        .await
        .problem(422, "invalid_graph");
    assert_eq!(other.post("/v1/integrations", erp(&url)).await.status, 201);

    // It goes when nothing needs it any more; the employee stays and says what it lacks.
    let refused = world.admin.delete("/v1/integrations/erp").await;
    refused.problem(409, "in_use");
    let path = format!("/v1/connections/{}", connection.text("id"));
    assert_eq!(world.admin.delete(&path).await.status, 204);
    assert_eq!(world.admin.delete("/v1/integrations/erp").await.status, 204);
    let failed = world.operator.work(&employee, json!({})).await;
    assert_eq!(failed.body["status"], "failed", "{failed:?}");
    assert!(
        failed.body.to_string().contains("unknown_capability"),
        "{failed:?}"
    );
    let kept = other.get("/v1/integrations").await;
    assert_eq!(kept.body["items"][0]["id"], "erp");
}

#[tokio::test]
async fn a_wrong_integration_is_refused_with_every_mistake() {
    let world = world().await;
    let mut wrong = erp("https://erp.example");
    wrong["auth"][0]["send"]["value"] = json!("{credential.word}");
    wrong["capabilities"][0]["request"]["path"] = json!("/orders/{input.number}");
    let answer = world.admin.post("/v1/integrations", wrong).await;
    let problem = answer.problem(422, "invalid_field");
    let errors = problem["errors"].as_array().expect("errors");
    let fields: Vec<_> = errors.iter().map(|one| one["field"].clone()).collect();
    assert_eq!(fields, ["/auth/0/send", "erp.order.create"]);

    let mut taken = erp("https://erp.example");
    taken["id"] = json!("gmail");
    taken["capabilities"] = json!([]);
    let answer = world.admin.post("/v1/integrations", taken).await;
    assert_eq!(answer.problem(409, "already_exists")["field"], "id");

    let yaml = "id: erp\nname: ERP\nbase_url: https://erp.example\nauth: [{ type: basic }]\nquota: { requests: 1, per_seconds: 1, burst: 1 }\n";
    let request = world
        .admin
        .request(Method::POST, "/v1/integrations")
        .header("content-type", "application/yaml");
    let answer = send(request.body(yaml)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let again = world
        .admin
        .post("/v1/integrations", erp("https://erp.example"))
        .await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.body["created_at"], answer.body["created_at"]);
}

#[tokio::test]
async fn a_call_in_steps_keeps_its_key_from_the_address_that_it_was_given() {
    let world = world().await;
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (base, notes) = (url.clone(), seen.clone());
    let answer = move |request: Request| async move {
        let key = request.headers().contains_key("x-erp-key");
        let path = request.uri().path().to_owned();
        let body = axum::body::to_bytes(request.into_body(), 1_000)
            .await
            .expect("a body");
        let body = String::from_utf8_lossy(&body);
        notes
            .lock()
            .expect("unpoisoned")
            .push(format!("{path} {key} {body}"));
        match path.as_str() {
            "/ticket" => json!({"at": format!("{base}/blob/1"), "id": "f1"}).to_string(),
            "/files" => json!({"id": "f1"}).to_string(),
            _ => "thank you".to_owned(),
        }
    };
    let router = Router::new().fallback(any(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let mut own = erp(&url);
    own["capabilities"][0]["steps"] = json!([
        {"name": "ticket", "request": {"method": "POST", "path": "/ticket"}, "take": {"at": "{body.at}", "id": "{body.id}"}},
        {"name": "content", "request": {
            "method": "PUT",
            "url": {"from": "{step.ticket.at}", "hosts": ["files.acme.example"]},
            "bytes": {"type": "text/plain", "text": "{input.what}"},
        }},
    ]);
    own["capabilities"][0]["request"] =
        json!({"method": "POST", "path": "/files", "json": {"file": "{step.ticket.id}"}});
    assert_eq!(world.admin.post("/v1/integrations", own).await.status, 201);
    let token = json!({"integration": "erp", "token": "secret-key"});
    assert_eq!(world.admin.post("/v1/connections", token).await.status, 201);
    let mut orderer = employee_of(
        "filer",
        json!([{"id": "order", "type": "action", "capability": "erp.order.create",
            "arguments": {"what": "'paper'"}}]),
    );
    orderer["graph"]["nodes"][0]["permissions"] = json!(["erp.write"]);
    let employee = world.manager.hire(orderer).await;
    let done = world.operator.work(&employee, json!({})).await;
    assert_eq!(done.body["status"], "completed", "{done:?}");
    assert_eq!(
        *seen.lock().expect("unpoisoned"),
        [
            "/ticket true ",
            "/blob/1 false paper",
            "/files true {\"file\":\"f1\"}"
        ]
    );
}
