//! Tokens that Auth0 keeps, against a stand-in that answers as Auth0's documentation has it.

use super::bench;
use axum::{Form, Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tenure::{connect::TokenError, domain::ConnectionId};
use tokio::net::TcpListener;

const GRANT: &str =
    "urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token";
const REQUESTED: &str = "http://auth0.com/oauth/token-type/federated-connection-access-token";

#[derive(Default)]
struct Auth0 {
    asked: AtomicUsize,
    unlinked: AtomicUsize,
}

async fn exchange(
    State(auth0): State<Arc<Auth0>>,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let asked = auth0.asked.fetch_add(1, Ordering::SeqCst) + 1;
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let fits = field("grant_type") == GRANT
        && field("requested_token_type") == REQUESTED
        && field("subject_token_type") == "urn:ietf:params:oauth:token-type:refresh_token"
        && field("client_id") == "worker"
        && field("client_secret") == "worker-secret"
        && field("connection") == "slack-oauth";
    if !fits {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_request"})),
        );
    }
    if field("subject_token") != "user-refresh" || auth0.unlinked.load(Ordering::SeqCst) > 0 {
        let error = json!({"error": "federated_connection_refresh_token_not_found", "error_description": "no linked identity"});
        return (StatusCode::UNAUTHORIZED, Json(error));
    }
    let token = json!({
        "access_token": format!("federated-{asked}"), "expires_in": 3600, "scope": "chat:write", "token_type": "Bearer",
    });
    (StatusCode::OK, Json(token))
}

#[tokio::test]
async fn auth0_gives_the_token_and_we_keep_it_no_longer_than_it_lives() {
    let bench = bench().await;
    let admin = &bench.world.admin;
    let auth0 = Arc::new(Auth0::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new()
        .route("/oauth/token", post(exchange))
        .with_state(auth0.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let fields = json!({"refresh_token": "user-refresh", "connection": "slack-oauth"});
    let body = json!({"integration": "slack", "name": "kept", "way": "auth0_token_vault", "fields": fields});
    let made = admin.post("/v1/connections", body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id: ConnectionId = made.text("id").parse().expect("an id");
    let (core, org) = (bench.world.engine.core(), bench.world.org);
    let error = core.hub.live(org, id).await.expect_err("there is no app");
    assert!(matches!(error, TokenError::Misconfigured { .. }), "{error}");

    let app = json!({"client_id": "worker", "client_secret": "worker-secret", "token_url": format!("{url}/oauth/token")});
    let put = admin.put("/v1/oauth-clients/auth0", app).await;
    assert_eq!(put.status, 200, "{put:?}");
    let all = futures::future::join_all((0..50).map(|_| core.hub.live(org, id))).await;
    for live in all {
        let live = live.expect("a token");
        assert_eq!(live.credential.access_token, Some("federated-1".into()));
    }
    assert_eq!(auth0.asked.load(Ordering::SeqCst), 1, "once for everybody");
    let live = core.hub.renewed(org, id, 1).await.expect("another");
    assert_eq!(live.credential.access_token, Some("federated-2".into()));

    auth0.unlinked.store(1, Ordering::SeqCst);
    let error = core.hub.renewed(org, id, 1).await.expect_err("nothing");
    assert!(
        matches!(error, TokenError::NeedsConsent { first: true, .. }),
        "{error}"
    );
    assert!(!error.to_string().contains("user-refresh"));
    let connection = admin.get(&format!("/v1/connections/{id}")).await;
    assert_eq!(connection.text("status"), "needs_reauth");

    let mut incomplete = body;
    incomplete["fields"] = json!({"connection": "slack-oauth"});
    let refused = admin.post("/v1/connections", incomplete).await;
    assert_eq!(
        refused.problem(422, "invalid_field")["field"],
        "fields.refresh_token"
    );
}
