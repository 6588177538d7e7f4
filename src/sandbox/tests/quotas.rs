//! Limits as a client meets them.

use super::*;

async fn set(bench: &Bench, quota: Value) -> Value {
    let url = format!("{}/quotas", bench.url);
    let response = bench.http.post(url).json(&quota).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

async fn list(bench: &Bench) -> Value {
    let response = bench.http.get(format!("{}/quotas", bench.url)).send().await;
    response.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn too_much_is_refused_in_the_providers_words() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    for (integration, path, headers) in [
        ("slack", "/api/auth.test", "slack"),
        (
            "quickbooks",
            "/v3/company/9341452000000001/customer/1",
            "none",
        ),
        ("gmail", "/gmail/v1/users/me/messages", "hubspot"),
        ("github", "/user", "github"),
        ("stripe", "/v1/account", "ietf"),
    ] {
        let quota = json!({
            "integration": integration, "requests": 2, "per_seconds": 3_600, "headers": headers, "marker": "header:x-employee",
        });
        set(&bench, quota).await;
        let call = async |token: &str, employee: &str| {
            let request = bench.http.get(format!("{}/{integration}{path}", bench.url));
            let request = request.bearer_auth(token).header("x-employee", employee);
            request.send().await.unwrap()
        };
        let good = format!("sandbox-{integration}-token");
        for employee in ["ann", "bob"] {
            assert_eq!(call(&good, employee).await.status(), 200);
        }
        let over = call(&good, "bob").await;
        assert_eq!(over.status(), 429, "{integration}");
        let wait: u64 = over.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((3_590..=3_600).contains(&wait), "{wait}");
        let told = match headers {
            "github" => Some("x-ratelimit-remaining"),
            "hubspot" => Some("x-hubspot-ratelimit-remaining"),
            "ietf" => Some("ratelimit-remaining"),
            _ => None,
        };
        if let Some(name) = told {
            assert_eq!(over.headers()[name], "0");
        }
        let listed = list(&bench).await["items"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        assert_eq!(
            (&listed["accepted"], &listed["refused"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(listed["accounts"][0]["account"], "sandbox-token");
        assert_eq!(
            listed["markers"][1],
            json!({"marker": "bob", "accepted": 1, "refused": 1})
        );
        call("wrong", "bob").await;
        assert_eq!(
            list(&bench).await["items"]
                .as_array()
                .unwrap()
                .last()
                .unwrap(),
            &listed
        );
    }
    let clear = bench
        .http
        .delete(format!("{}/quotas", bench.url))
        .send()
        .await;
    assert_eq!(clear.unwrap().status(), 204);
    assert!(matches!(
        bench.call("slack.chat.post", message()).await,
        CallOutcome::Ok { .. }
    ));
    let wrong = json!({"integration": "slack", "requests": 0, "per_seconds": 1});
    let url = format!("{}/quotas", bench.url);
    let problem = bench.http.post(url).json(&wrong).send().await.unwrap();
    assert_eq!(problem.json::<Value>().await.unwrap()["field"], "requests");
}

#[tokio::test]
async fn what_was_refused_by_a_quota_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let quota = json!({
        "integration": "slack", "path": "/api/chat.postMessage", "requests": 1, "per_seconds": 3_600, "headers": "slack",
    });
    set(&bench, quota).await;
    bench.call("slack.chat.post", message()).await;
    let outcome = bench.call("slack.chat.post", message()).await;
    assert!(
        matches!(outcome, CallOutcome::RateLimited { .. }),
        "{outcome:?}"
    );
    let history = json!({"channel": "C0FINANCE"});
    let history = bench.output("slack.conversations.history", history).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1);
    assert_eq!(bench.statuses("slack").await, [200, 429, 200]);
}
