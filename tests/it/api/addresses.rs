//! Where calls may go: to nothing inside that the operator has not opened, by whatever way an address is named, and after no redirect.

use super::world::{World, world, world_with};
use axum::{Router, http::StatusCode, response::IntoResponse, routing::any};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tenure::actors::Settings;

/// A provider that counts who comes; it answers with a redirect, if it has somewhere to send people.
async fn provider(to: Option<String>) -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let router = Router::new().fallback(any(move || {
        let to = to.clone();
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            match to {
                Some(to) => (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response(),
                None => axum::Json(json!({"ok": true, "user": {"id": "U0MAYA", "name": "maya"}}))
                    .into_response(),
            }
        }
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seen)
}

/// A service whose operator has opened only this.
async fn opened(ranges: &str) -> World {
    world_with(Settings {
        allow_private: ranges.parse().expect("ranges"),
        ..Settings::default()
    })
    .await
}

fn slack(base_url: &str) -> serde_json::Value {
    json!({"integration": "slack", "token": "xoxb-very-secret", "base_url": base_url})
}

const LOOK_UP: &str = "/proxy/slack.users.lookupByEmail";

#[tokio::test]
async fn an_account_inside_is_refused_by_its_field_when_it_is_written_down() {
    let world = opened("127.0.0.1:7").await;
    for url in [
        "http://127.0.0.1:8/x",
        "https://127.0.0.1:8/x",
        "https://localhost/x",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://0x7f.1/",
        "http://example.com/",
    ] {
        let made = world.admin.post("/v1/connections", slack(url)).await;
        let problem = made.problem(422, "invalid_field");
        assert_eq!(problem["field"], "base_url", "{url}: {made:?}");
    }
    let client =
        json!({"client_id": "x", "client_secret": "y", "token_url": "https://10.0.0.1/token"});
    let made = world.admin.put("/v1/oauth-clients/slack", client).await;
    assert_eq!(made.problem(422, "invalid_field")["field"], "token_url");
}

#[tokio::test]
async fn what_was_written_down_before_the_operator_closed_it_is_not_called_either() {
    let (address, seen) = provider(None).await;
    let open = opened(&address.to_string()).await;
    let url = format!("http://{address}");
    let made = open.admin.post("/v1/connections", slack(&url)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let body = json!({"input": {"email": "maya@demo.example"}});
    let good = open.operator.post(LOOK_UP, body.clone()).await;
    assert_eq!(good.status, 200, "{good:?}");
    let closed = open.restarted(Settings::default()).await;
    let refused = closed.operator.post(LOOK_UP, body).await;
    refused.problem(502, "PROVIDER_ERROR");
    assert_eq!(refused.body["cause"], "address_blocked");
    assert!(refused.text("detail").contains("127.0.0.1"), "{refused:?}");
    assert_eq!(
        seen.load(Ordering::SeqCst),
        1,
        "nobody came the second time"
    );
}

#[tokio::test]
async fn no_redirect_is_followed_and_no_token_travels_with_one() {
    let world = world().await;
    let (target, reached) = provider(None).await;
    let (redirecting, seen) = provider(Some(format!("http://{target}/api/x"))).await;
    let (same, same_seen) = provider(Some("/api/elsewhere".into())).await;
    for (at, seen) in [(redirecting, &seen), (same, &same_seen)] {
        let made = world
            .admin
            .post("/v1/connections", slack(&format!("http://{at}")))
            .await;
        assert!(made.status.is_success(), "{made:?}");
        let body = json!({"input": {"email": "maya@demo.example"}});
        let refused = world.operator.post(LOOK_UP, body).await;
        refused.problem(502, "PROVIDER_ERROR");
        assert_eq!(seen.load(Ordering::SeqCst), 1, "asked once");
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0, "not followed");
}
