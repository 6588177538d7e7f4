use super::*;
use crate::domain::Timestamp;
use axum::http::HeaderMap;

fn call(seconds: f64, path: &str, who: &str) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert("x-employee", who.parse().unwrap());
    Call {
        provider: Provider::Github,
        at: Timestamp::from_millis(1_700_000_000_000 + (seconds * 1_000.0) as i64),
        method: "GET".into(),
        path: path.into(),
        query: format!("who={who}"),
        body: json!({"who": who}),
        idempotency_key: None,
        token: None,
        headers,
    }
}

fn quotas(quota: Value) -> Quotas {
    let mut quotas = Quotas::default();
    quotas.set(Quota::parse(&quota).unwrap());
    quotas
}

fn header<'a>(headers: &'a Headers, name: &str) -> &'a str {
    let found = headers.iter().find(|(known, _)| *known == name);
    found.map_or("", |(_, value)| value)
}

#[test]
fn a_fixed_window_is_free_again_all_at_once() {
    let mut quotas = quotas(
        json!({"integration": "github", "requests": 2, "per_seconds": 60, "headers": "github"}),
    );
    let first = quotas.meet(&call(0.0, "/a", "x"), "one").unwrap();
    assert_eq!(header(&first, "x-ratelimit-remaining"), "1");
    assert_eq!(header(&first, "x-ratelimit-reset"), "1700000060");
    quotas.meet(&call(50.0, "/a", "x"), "one").unwrap();
    let over = quotas.meet(&call(50.5, "/a", "x"), "one").unwrap_err();
    assert_eq!(over.retry_after_seconds, 10);
    assert_eq!(header(&over.headers, "x-ratelimit-remaining"), "0");
    // Another account has its own.
    quotas.meet(&call(51.0, "/a", "x"), "two").unwrap();
    for _ in 0..2 {
        quotas.meet(&call(60.0, "/a", "x"), "one").unwrap();
    }
}

#[test]
fn a_sliding_window_frees_one_by_one() {
    let mut quotas = quotas(json!({
        "integration": "github", "requests": 2, "per_seconds": 10, "headers": "hubspot", "per": "app",
    }));
    let first = quotas.meet(&call(0.0, "/a", "x"), "one").unwrap();
    assert_eq!(header(&first, "x-hubspot-ratelimit-remaining"), "1");
    assert_eq!(
        header(&first, "x-hubspot-ratelimit-interval-milliseconds"),
        "10000"
    );
    quotas.meet(&call(6.0, "/a", "x"), "two").unwrap();
    let over = quotas.meet(&call(7.0, "/a", "x"), "three").unwrap_err();
    assert_eq!(over.retry_after_seconds, 3);
    quotas.meet(&call(10.0, "/a", "x"), "one").unwrap();
    let over = quotas.meet(&call(10.0, "/a", "x"), "one").unwrap_err();
    assert_eq!(over.retry_after_seconds, 6);
}

#[test]
fn a_path_may_have_its_own() {
    let mut quotas =
        quotas(json!({"integration": "github", "requests": 1, "per_seconds": 10, "path": "/a"}));
    quotas.meet(&call(0.0, "/a", "x"), "one").unwrap();
    assert!(quotas.meet(&call(0.0, "/a", "x"), "one").is_err());
    assert!(quotas.meet(&call(0.0, "/b", "x"), "one").is_ok());
}

#[test]
fn who_was_let_through_is_counted() {
    for marker in ["header:x-employee", "query:who", "body:/who"] {
        let mut quotas = quotas(json!({
            "integration": "github", "requests": 3, "per_seconds": 10, "headers": "ietf", "marker": marker,
        }));
        for (who, seconds) in [("ann", 0.0), ("bob", 1.0), ("ann", 2.0), ("bob", 3.0)] {
            if let Ok(headers) = quotas.meet(&call(seconds, "/a", who), "one") {
                let reset = 10 - seconds as u64;
                assert_eq!(header(&headers, "ratelimit-reset"), reset.to_string());
            }
        }
        let listed = &quotas.list()[0];
        assert_eq!(
            (&listed["accepted"], &listed["refused"]),
            (&json!(3), &json!(1))
        );
        assert_eq!(
            listed["markers"],
            json!([
                {"marker": "ann", "accepted": 2, "refused": 0},
                {"marker": "bob", "accepted": 1, "refused": 1},
            ])
        );
        assert_eq!(
            listed["accounts"],
            json!([{"account": "one", "accepted": 3, "refused": 1}])
        );
    }
}

#[test]
fn a_wrong_quota_names_the_field() {
    let good = json!({"integration": "slack", "requests": 1, "per_seconds": 1});
    assert!(Quota::parse(&good).is_ok());
    for (field, value) in [
        ("integration", json!("teams")),
        ("requests", json!(0)),
        ("per_seconds", json!("1")),
        ("headers", json!("teams")),
        ("window", json!("round")),
        ("marker", json!("body:who")),
        ("limit", json!(1)),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value;
        assert_eq!(Quota::parse(&wrong).unwrap_err().field, field);
    }
}
