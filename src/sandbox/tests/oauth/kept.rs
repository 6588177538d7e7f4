//! Faults of the token endpoint, its log, and what a killed process remembers.

use super::*;
use crate::sandbox::tests::kill::start_process;

#[tokio::test]
async fn the_token_endpoint_meets_its_own_faults_and_logs_them() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let visitor = Visitor::new(&bench, "slack", json!({"rotate_refresh": false})).await;
    let code = visitor.code(&[]).await;
    let (_, tokens) = visitor.exchange(&code, &[]).await;
    let refresh = text(&tokens, "refresh_token");
    let fault = |kind: &str, ms: Value| json!({"integration": "slack", "target": "token", "kind": kind, "ms": ms});
    bench.fault(fault("status_429", json!(2_000))).await;
    assert_eq!(visitor.refresh(refresh).await.0, 429);
    bench.fault(fault("status_500", Value::Null)).await;
    assert!(
        visitor.is_good(text(&tokens, "access_token")).await,
        "not meant for the api"
    );
    assert_eq!(visitor.refresh(refresh).await.0, 500);
    bench.fault(fault("latency", json!(1))).await;
    assert_eq!(visitor.refresh(refresh).await.0, 200);
    bench.fault(fault("close_after_accept", Value::Null)).await;
    let url = format!("{}/oauth/slack/token", bench.url);
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh),
        ("client_id", "app"),
        ("client_secret", "hush"),
    ];
    assert!(visitor.http.post(url).form(&form).send().await.is_err());
    assert_eq!(
        visitor.refresh("xoxe-1-other").await.1["error"],
        "invalid_refresh_token"
    );

    let log = visitor
        .get("log?integration=slack&grant_type=refresh_token")
        .await;
    let shown: Vec<_> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (text(item, "outcome"), text(item, "fault")))
        .collect();
    assert_eq!(
        shown,
        [
            ("status_429", ""),
            ("status_500", ""),
            ("ok", "latency"),
            ("ok", "close_after_accept"),
            ("invalid_grant", ""),
        ]
    );
    assert_eq!(log["counts"]["refresh_token"]["ok"], 2);
    assert_eq!(text(&log["items"][0], "presented").len(), 12);
    let all = visitor.get("log").await.to_string();
    for secret in [
        refresh,
        text(&tokens, "access_token"),
        code.as_str(),
        "hush",
    ] {
        assert!(!all.contains(secret));
        let kept = std::fs::read_to_string(folder.path().join("oauth.jsonl")).unwrap();
        assert!(!kept.contains(secret));
    }
}

#[tokio::test]
async fn grants_codes_and_tokens_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let (child, url) = start_process(folder.path());
    let visitor = Visitor::new(&Bench::at(url), "quickbooks", json!({"pkce": "optional"})).await;
    let code = visitor.code(&[]).await;
    let (_, tokens) = visitor.exchange(&code, &[]).await;
    let (_, newer) = visitor.refresh(text(&tokens, "refresh_token")).await;
    let unused = visitor.code(&[]).await;
    drop(child);
    let (_child, url) = start_process(folder.path());
    let visitor = Visitor { url, ..visitor };
    for tokens in [&tokens, &newer] {
        assert!(visitor.is_good(text(tokens, "access_token")).await);
    }
    assert_eq!(visitor.exchange(&unused, &[]).await.0, 200);
    assert_eq!(
        visitor.refresh(text(&tokens, "refresh_token")).await.0,
        400,
        "used up before"
    );
    assert_eq!(visitor.refresh(text(&newer, "refresh_token")).await.0, 200);
    assert_eq!(visitor.exchange(&code, &[]).await.0, 400);
    assert!(!visitor.is_good(text(&newer, "access_token")).await);
    let counts = visitor.get("log?integration=quickbooks").await["counts"].clone();
    assert_eq!(
        counts["authorization_code"],
        json!({"ok": 2, "invalid_grant": 1})
    );
    assert_eq!(
        counts["refresh_token"],
        json!({"ok": 2, "invalid_grant": 1})
    );
    let reset = visitor
        .http
        .delete(format!("{}/oauth", visitor.url))
        .send()
        .await;
    assert_eq!(reset.unwrap().status(), 204);
    assert_eq!(visitor.get("grants").await["items"], json!([]));
}

/// Slack refuses with 200: what was refused must not be done when the record is read again.
#[tokio::test]
async fn a_call_with_a_dead_token_stays_undone_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, bench) = Bench::start(folder.path()).await;
    let post = bench
        .http
        .post(format!("{}/slack/api/chat.postMessage", bench.url));
    let post = post.bearer_auth("dead").json(&message());
    let answer: Value = post.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["error"], "invalid_auth");
    assert_eq!(bench.record("").await["items"][0]["refused"], true);
    handle.shutdown().await;
    let (_handle, bench) = Bench::start(folder.path()).await;
    let history = json!({"channel": "C0FINANCE"});
    let history = bench.output("slack.conversations.history", history).await;
    assert_eq!(history["messages"], json!([]));
}
