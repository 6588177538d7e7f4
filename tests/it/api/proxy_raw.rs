//! Requests that a client writes itself, below a connection's base URL.

use super::world::{Answer, World, send, world};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Says what it was asked and remembers it; `/base/endless` never ends.
#[derive(Clone, Default)]
struct Provider {
    seen: Arc<Mutex<Vec<Value>>>,
    sent: Arc<AtomicUsize>,
}

impl Provider {
    fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect("unpoisoned").clone()
    }
}

const PIECE: usize = 64 * 1024;

async fn answer(State(provider): State<Provider>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let headers: serde_json::Map<String, Value> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").into()))
        .collect();
    let asked = json!({
        "method": parts.method.as_str(), "path": parts.uri.path(), "query": parts.uri.query(),
        "headers": headers, "body": String::from_utf8_lossy(&body),
    });
    provider
        .seen
        .lock()
        .expect("unpoisoned")
        .push(asked.clone());
    match parts.uri.path() {
        "/base/endless" => {
            let pieces = futures::stream::repeat_with(move || {
                provider.sent.fetch_add(PIECE, Ordering::SeqCst);
                Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; PIECE]))
            });
            Body::from_stream(pieces).into_response()
        }
        "/base/missing" => (StatusCode::NOT_FOUND, "no such thing here").into_response(),
        "/base/wrong" => (StatusCode::UNPROCESSABLE_ENTITY, "{\"why\":\"wrong\"}").into_response(),
        "/base/away" => (StatusCode::FOUND, [("location", "http://127.0.0.1:1/x")]).into_response(),
        _ => (
            StatusCode::CREATED,
            [
                ("content-type", "application/vnd.thing+json"),
                ("etag", "\"7\""),
                ("set-cookie", "session=theirs"),
                ("access-control-allow-origin", "*"),
            ],
            asked.to_string(),
        )
            .into_response(),
    }
}

/// A world with a connection to such a provider; gives the path of the raw proxy.
async fn connected() -> (World, Provider, String) {
    let world = world().await;
    let provider = Provider::default();
    let router = Router::new()
        .fallback(any(answer))
        .with_state(provider.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let quota = json!({"requests": 1000, "per_seconds": 1, "burst": 1000});
    let body = json!({"integration": "slack", "token": "xoxb-token", "account": {"base_url": url, "quota": quota}});
    let made = world.admin.post("/v1/connections", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    // Nobody knows what a request does that a client writes itself: without a rule a person is asked about each that writes.
    let rule = json!({"name": "raw", "effect": "allow", "capabilities": ["slack.raw"]});
    let allowed = world.admin.post("/v1/policies", rule).await;
    assert_eq!(allowed.status, 201, "{allowed:?}");
    let path = format!("/proxy/connections/{}", made.text("id"));
    (world, provider, path)
}

#[tokio::test]
async fn what_is_safe_goes_through_and_comes_back_and_nothing_else() {
    let (world, provider, path) = connected().await;
    let request = world
        .manager
        .request(Method::GET, &format!("{path}/things/a%2Fb?x=1&y=%20z"))
        .header("accept", "application/vnd.thing+json")
        .header("notion-version", "2022-06-28")
        .header("cookie", "mine=1")
        .header("x-http-method-override", "DELETE")
        .header("x-forwarded-for", "10.0.0.1");
    let got = send(request).await;
    assert_eq!(got.status, 201, "{got:?}");
    assert_eq!(got.headers["content-type"], "application/vnd.thing+json");
    assert_eq!(got.headers["etag"], "\"7\"");
    assert_eq!(got.headers["x-content-type-options"], "nosniff");
    for stripped in ["set-cookie", "access-control-allow-origin"] {
        assert!(!got.headers.contains_key(stripped), "{got:?}");
    }
    let asked = &provider.seen()[0];
    assert_eq!(asked["path"], "/base/things/a%2Fb");
    assert_eq!(asked["query"], "x=1&y=%20z");
    let headers = &asked["headers"];
    assert_eq!(headers["authorization"], "Bearer xoxb-token");
    assert_eq!(headers["notion-version"], "2022-06-28");
    for kept_here in ["cookie", "x-http-method-override", "x-forwarded-for"] {
        assert!(headers.get(kept_here).is_none(), "{headers}");
    }
    // A refusal and a redirect are the provider's own answers.
    let missing = world.manager.get(&format!("{path}/missing")).await;
    assert_eq!(
        (missing.status.as_u16(), &missing.body),
        (404, &json!("no such thing here"))
    );
    let away = world.manager.request(Method::GET, &format!("{path}/away"));
    let away = without_redirects(away).await;
    assert_eq!(away.status, 302, "{away:?}");
}

async fn without_redirects(request: reqwest::RequestBuilder) -> Answer {
    let request = request.build().expect("a request");
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    send(reqwest::RequestBuilder::from_parts(http, request)).await
}

#[tokio::test]
async fn a_path_cannot_leave_the_base() {
    let (world, provider, path) = connected().await;
    let client = world.manager.as_it_is();
    for wrong in [
        "../x",
        "a/../../x",
        "%2e%2e/x",
        "%252e%252e/x",
        "a%2f..%2f..%2fx",
        "..%5cx",
        "..;/x",
        "/evil.example/x",
        "http://evil.example/x",
    ] {
        let answer = client
            .try_send("GET", &format!("{path}/{wrong}"), &[], None)
            .await
            .expect("an answer");
        assert_eq!(answer.status, 422, "{wrong}: {answer:?}");
        assert_eq!(answer.body["code"], "BAD_PARAMS", "{wrong}: {answer:?}");
    }
    assert!(provider.seen().is_empty(), "{:?}", provider.seen());
}

#[tokio::test]
async fn a_write_is_in_the_ledger_and_its_key_holds() {
    let (world, provider, path) = connected().await;
    let put = |body: &str| {
        world
            .manager
            .request(Method::PUT, &format!("{path}/things/1"))
            .header("content-type", "application/json")
            .header("idempotency-key", "put-1")
            .body(body.to_owned())
    };
    let first = send(put("{\"a\":1}")).await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = send(put("{\"a\":1}")).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.headers["etag"], "\"7\"");
    send(put("{\"a\":2}"))
        .await
        .problem(409, "idempotency_conflict");
    let seen = provider.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(
        (&seen[0]["method"], &seen[0]["body"]),
        (&json!("PUT"), &json!("{\"a\":1}"))
    );
    assert!(
        seen[0]["headers"]["idempotency-key"]
            .as_str()
            .is_some_and(|key| key.starts_with("tnr_"))
    );

    let run = first.headers["tenure-execution-id"].to_str().expect("text");
    let effects = world
        .viewer
        .get(&format!("/v1/effects?execution_id={run}"))
        .await;
    let effect = &effects.body["items"][0];
    assert_eq!(
        (&effect["capability"], &effect["status"]),
        (&json!("slack.raw"), &json!("done"))
    );
    assert_eq!(effect["arguments"]["path"], "things/1");
    // This provider tells back what it was sent; what was asked for holds no token.
    assert!(
        !effect["arguments"].to_string().contains("xoxb-token"),
        "{effect}"
    );

    let post = world
        .manager
        .request(Method::POST, &format!("{path}/wrong"))
        .header("content-type", "application/json")
        .body("{}");
    let refused = send(post).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body),
        (422, &json!({"why": "wrong"}))
    );
    let failed = world.viewer.get("/v1/effects?status=failed").await;
    assert_eq!(
        failed.body["items"].as_array().map(Vec::len),
        Some(1),
        "{failed:?}"
    );
}

#[tokio::test]
async fn without_a_rule_a_person_is_asked_about_a_write_and_not_about_a_read() {
    let (world, provider, path) = connected().await;
    let rules = world.admin.get("/v1/policies").await;
    let rule = rules.body["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let gone = world.admin.delete(&format!("/v1/policies/{rule}")).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(
        world.manager.get(&format!("{path}/things")).await.status,
        201
    );
    let asked = world
        .manager
        .post(&format!("{path}/things"), json!({"a": 1}))
        .await;
    assert_eq!(
        (asked.status.as_u16(), &asked.body["code"]),
        (202, &json!("APPROVAL_REQUIRED"))
    );
    assert_eq!(provider.seen().len(), 1, "nothing has left");
    let id = asked.text("approval_id");
    let approval = world.manager.get(&format!("/v1/approvals/{id}")).await;
    assert_eq!(
        approval.body["arguments"]["input"]["path"], "things",
        "{approval:?}"
    );
    let decision =
        json!({"decision": "approve", "arguments_hash": approval.body["arguments_hash"]});
    let decided = world
        .manager
        .post(&format!("/v1/approvals/{id}/decision"), decision)
        .await;
    assert_eq!(decided.status, 200, "{decided:?}");
    let again = world
        .manager
        .request(Method::POST, &format!("{path}/things"))
        .header("idempotency-key", asked.text("idempotency_key"))
        .json(&json!({"a": 1}));
    let done = send(again).await;
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test]
async fn only_managers_of_the_org_reach_it() {
    let (world, provider, path) = connected().await;
    let path = format!("{path}/things");
    world.operator.get(&path).await.problem(403, "forbidden");
    world.other_org.get(&path).await.problem(404, "not_found");
    world
        .anonymous
        .get(&path)
        .await
        .problem(401, "unauthorized");
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn a_long_answer_is_given_on_as_it_is_read_and_no_faster() {
    let (world, provider, path) = connected().await;
    let request = world
        .manager
        .request(Method::GET, &format!("{path}/endless"));
    let mut response = request.send().await.expect("an answer");
    let mut read = 0;
    while read < 8 << 20 {
        read += response.chunk().await.expect("more").expect("more").len();
    }
    // Nobody reads any more: what is under way is in the buffers of sockets and channels, and does not grow.
    let mut sent = provider.sent.load(Ordering::SeqCst);
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let now = provider.sent.load(Ordering::SeqCst);
        if now == sent {
            break;
        }
        assert!(
            now - read < 64 << 20,
            "{now} bytes were sent and {read} read"
        );
        sent = now;
    }
    drop(response);
    // The call ends with its reader: the connector has nothing open, and sleeps in time.
    let gone = |body: &Value| {
        body["items"].as_array().is_some_and(|all| {
            all.iter().all(|one| {
                one["doing"].is_null() || !one["doing"].to_string().contains("1 working")
            })
        })
    };
    world.viewer.until("/v1/actors?kind=connector", gone).await;
}
