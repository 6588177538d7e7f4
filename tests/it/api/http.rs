//! HTTP as proxies, browsers and people with curl know it.

use super::world::{Answer, Client, pure, send, settings, world, world_at};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Read;
use tenure::api::{Access, ApiSettings, origins, routes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The answer to bytes as they are written.
async fn raw(url: &str, request: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn request_names_exactly_one_host() {
    let world = world().await;
    let ask = |hosts: &str| {
        let request = format!("GET /healthz HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let url = world.url();
        async move { raw(url, &request).await }
    };
    for good in ["host: a.example\r\n", "Host: [::1]:7117\r\n"] {
        let answer = ask(good).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{good}: {answer}");
    }
    for bad in [
        "",
        "host: \r\n",
        "host: a.example\r\nhost: a.example\r\n",
        "host: a.example\r\nhost: b.example\r\n",
        "host: a/b\r\n",
    ] {
        let answer = ask(bad).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad}: {answer}");
        assert!(answer.contains("invalid_host"), "{bad}: {answer}");
    }
}

async fn with(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = client.request(Method::GET, path);
    let headers = headers.iter();
    send(headers.fold(request, |request, (name, value)| {
        request.header(*name, *value)
    }))
    .await
}

#[tokio::test]
async fn request_has_one_name_in_the_answer_and_in_its_problem() {
    let world = world().await;
    for path in ["/v1/runs/none", "/v2/nothing", "/v1/runs?limit=x"] {
        let given = with(&world.viewer, path, &[("x-request-id", "abc-1.2:3")]).await;
        assert_eq!(given.headers["x-request-id"], "abc-1.2:3");
        assert_eq!(given.body["request_id"], "abc-1.2:3");
        let made = world.viewer.get(path).await;
        assert_eq!(
            made.headers["x-request-id"].to_str().expect("text"),
            made.text("request_id")
        );
    }
    for wrong in ["a b", "{\"x\":1}", "<script>", &"a".repeat(129)] {
        let answer = with(&world.viewer, "/healthz", &[("x-request-id", wrong)]).await;
        assert_eq!(answer.headers["x-request-id"].len(), 32, "{wrong}");
    }
    let answer = world.anonymous.get("/v1/runs").await;
    assert!(answer.problem(401, "unauthorized")["request_id"].is_string());
}

#[tokio::test]
async fn answers_are_packed_for_whom_can_unpack_them() {
    let world = world().await;
    let plain = world.viewer.get("/v1/catalog").await;
    let request = world.viewer.request(Method::GET, "/v1/catalog");
    let request = request.header("accept-encoding", "gzip");
    let packed = request.send().await.expect("an answer");
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert!(
        packed.headers()["vary"]
            .to_str()
            .expect("text")
            .contains("accept-encoding")
    );
    let packed = packed.bytes().await.expect("a body");
    let mut text = String::new();
    let mut reader = flate2::read::GzDecoder::new(&*packed);
    reader.read_to_string(&mut text).expect("gzip");
    assert_eq!(
        serde_json::from_str::<Value>(&text).expect("JSON"),
        plain.body
    );
    assert!(
        packed.len() * 4 < text.len(),
        "{} of {}",
        packed.len(),
        text.len()
    );

    // A stream comes as it happens, and what is small as it is.
    for path in ["/v1/events", "/v1/org"] {
        let request = world.viewer.request(Method::GET, path);
        let answer = request.header("accept-encoding", "gzip").send().await;
        let answer = answer.expect("an answer");
        assert!(!answer.headers().contains_key("content-encoding"), "{path}");
    }
}

#[tokio::test]
async fn answers_for_one_caller_are_nobodys_to_keep() {
    let world = world().await;
    let made = world
        .admin
        .post("/v1/keys", json!({"name": "k", "role": "viewer"}))
        .await;
    assert!(made.body["key"].is_string());
    let hook = world
        .admin
        .post("/v1/hooks", json!({"source": "github"}))
        .await;
    let link = json!({"integration": "slack"});
    let link = world.admin.post("/v1/connect-links", link).await;
    for answer in [made, hook, link] {
        assert_eq!(answer.headers["cache-control"], "no-store", "{answer:?}");
    }
    for route in routes() {
        let is_read = route.access != Access::Public && route.method == Method::GET;
        if is_read && !route.path.contains('{') {
            let request = world.admin.request(Method::GET, route.path);
            let answer = request.send().await.expect("an answer");
            let kept = answer.headers()["cache-control"].to_str().expect("text");
            // Streams say so in their own words.
            assert!(
                ["no-store", "no-cache"].contains(&kept),
                "{}: {kept}",
                route.path
            );
        }
    }
}

#[tokio::test]
async fn options_says_what_a_route_takes_and_head_is_get_without_a_body() {
    let world = world().await;
    let answer = send(world.anonymous.request(Method::OPTIONS, "/v1/keys")).await;
    assert_eq!(answer.status, 204);
    let allow = answer.headers["allow"].to_str().expect("text");
    assert!(
        ["GET", "HEAD", "POST"]
            .iter()
            .all(|method| allow.contains(method)),
        "{allow}"
    );
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    let head = send(world.viewer.request(Method::HEAD, "/v1/org")).await;
    assert_eq!((head.status.as_u16(), &head.body), (200, &json!("")));
    assert!(head.headers["content-length"] != "0");
    let answer = send(world.admin.request(Method::PATCH, "/v1/keys")).await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.headers["allow"], allow);
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_where_the_operator_says_so() {
    let api = ApiSettings {
        cors_origins: origins("https://app.example, http://localhost:3000").expect("origins"),
        ..ApiSettings::default()
    };
    let world = world_at(settings(), api).await;
    let preflight = |origin: &'static str| {
        let request = world.anonymous.request(Method::OPTIONS, "/v1/keys");
        let request = request.header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        send(request.header(
            "access-control-request-headers",
            "authorization, content-type",
        ))
    };
    for origin in ["https://app.example", "http://localhost:3000"] {
        let answer = preflight(origin).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["access-control-allow-origin"], origin);
        let methods = answer.headers["access-control-allow-methods"].to_str();
        assert!(methods.expect("text").contains("DELETE"));
        assert!(
            !answer
                .headers
                .contains_key("access-control-allow-credentials")
        );
        let read = with(&world.viewer, "/v1/org", &[("origin", origin)]).await;
        assert_eq!(read.headers["access-control-allow-origin"], origin);
        let exposed = read.headers["access-control-expose-headers"].to_str();
        assert!(exposed.expect("text").contains("x-request-id"));
        let refused = with(&world.anonymous, "/v1/org", &[("origin", origin)]).await;
        assert_eq!(refused.headers["access-control-allow-origin"], origin);
    }
    let stranger = preflight("https://evil.example").await;
    assert!(!stranger.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn cursor_of_another_list_is_refused() {
    let world = world().await;
    let mut runs = Vec::new();
    for name in ["a", "b", "c"] {
        let employee = world.manager.hire(pure(name)).await;
        runs.push(
            world
                .operator
                .work(&employee, json!({}))
                .await
                .text("execution_id"),
        );
        let key = format!("/v1/memory/org/{name}");
        world.manager.put(&key, json!({"value": 1})).await;
    }
    let lists = [
        "/v1/runs?".to_owned(),
        "/v1/runs?status=completed".into(),
        "/v1/employees?".into(),
        "/v1/memory?layer=org".into(),
        "/v1/keys?".into(),
        "/v1/actors?".into(),
        format!("/v1/runs/{}/steps?", runs[0]),
        format!("/v1/runs/{}/steps?", runs[1]),
        format!("/v1/runs/{}/journal?", runs[0]),
    ];
    let mut cursors = Vec::new();
    for list in &lists {
        let page = world.admin.get(&format!("{list}&limit=1")).await;
        cursors.push(page.text("next"));
    }
    for (place, list) in lists.iter().enumerate() {
        for (from, cursor) in cursors.iter().enumerate() {
            let answer = world
                .admin
                .get(&format!("{list}&limit=2&after={cursor}"))
                .await;
            if place == from {
                assert_eq!(answer.status, 200, "{list}: {answer:?}");
                assert!(!answer.body["items"].as_array().expect("items").is_empty());
            } else {
                let problem = answer.problem(400, "invalid_parameter");
                assert_eq!(problem["field"], "after", "{list} after {from}");
            }
        }
    }
}
