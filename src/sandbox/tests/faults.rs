//! Failures as the client sees them.

use super::*;
use std::time::Instant;

#[tokio::test]
async fn each_fault_is_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let short = Duration::from_millis(150);
    for (id, arguments, integration) in [
        ("slack.chat.post", message(), "slack"),
        ("gmail.send", mail(), "gmail"),
    ] {
        let meet = async |kind: &str, ms: Option<u64>, key: &str| {
            let fault = json!({"integration": integration, "kind": kind, "count": 1, "ms": ms});
            assert_eq!(bench.fault(fault).await.0, 201);
            bench.call_within(id, &arguments, key, short).await
        };
        let limited = meet("status_429", Some(1_500), "tnr_a").await;
        assert!(
            matches!(limited, CallOutcome::RateLimited { retry_after: Some(wait), .. } if wait.as_secs() == 2)
        );
        let broken = meet("status_500", None, "tnr_a").await;
        assert!(
            matches!(
                broken,
                CallOutcome::Unknown {
                    status: Some(500),
                    ..
                }
            ),
            "{broken:?}"
        );
        assert_eq!(bench.happened(id, &arguments, "tnr_a").await, None);
        assert!(matches!(
            meet("latency", Some(20), "tnr_b").await,
            CallOutcome::Ok { .. }
        ));
        let late = meet("latency", Some(10_000), "tnr_c").await;
        assert!(
            matches!(late, CallOutcome::Unknown { status: None, .. }),
            "{late:?}"
        );
        assert!(matches!(
            meet("hang", None, "tnr_d").await,
            CallOutcome::Unknown { status: None, .. }
        ));
        let start = Instant::now();
        let lost = meet("close_after_accept", None, "tnr_e").await;
        assert!(
            matches!(lost, CallOutcome::Unknown { status: None, .. }),
            "{lost:?}"
        );
        assert!(start.elapsed() < short, "the connection was really closed");
        for key in ["tnr_b", "tnr_c", "tnr_d", "tnr_e"] {
            assert!(
                bench.happened(id, &arguments, key).await.is_some(),
                "{id} {key}"
            );
        }
        let statuses: Vec<_> = bench.record(&format!("integration={integration}")).await["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["method"] == "POST")
            .map(|item| item["status"].clone())
            .collect();
        assert_eq!(
            statuses,
            [
                json!(429),
                json!(500),
                json!(200),
                json!(200),
                Value::Null,
                Value::Null
            ]
        );
    }
}

#[tokio::test]
async fn a_fault_that_is_wrong_is_a_problem_that_names_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let (status, problem) = bench
        .fault(json!({"integration": "slack", "kind": "explode", "count": 1}))
        .await;
    assert_eq!((status, &problem["field"]), (400, &json!("kind")));
    let url = format!("{}/faults", bench.url);
    let response = bench.http.post(&url).body("{").send().await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    bench
        .fault(json!({"integration": "slack", "kind": "hang", "count": 3}))
        .await;
    let listed: Value = bench
        .http
        .get(&url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        listed["items"],
        json!([{"integration": "slack", "kind": "hang", "count": 3, "ms": null}])
    );
    assert_eq!(bench.http.delete(&url).send().await.unwrap().status(), 204);
    assert!(matches!(
        bench.call("slack.chat.post", message()).await,
        CallOutcome::Ok { .. }
    ));
    assert_eq!(
        bench.record("integration=teams").await["field"],
        "integration"
    );
    assert_eq!(bench.record("limit=0").await["field"], "limit");
}

#[tokio::test]
async fn nobody_there_is_surely_unsent_and_too_much_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, bench) = Bench::start(folder.path()).await;
    let account = bench.account("quickbooks");
    let capability = bench
        .catalog
        .capability("quickbooks.invoice.query")
        .unwrap();
    let request = shape(capability, &json!({}), &account.account, None).unwrap();
    let small = HttpCaller::new(&CallerConfig {
        answer_limit: 100,
        ..here()
    })
    .unwrap();
    let outcome = small.call(&request, &account.token, DEADLINE).await;
    assert!(
        matches!(outcome, CallOutcome::TooLong { limit: 100 }),
        "{outcome:?}"
    );
    handle.shutdown().await;
    let fresh = HttpCaller::new(&here()).unwrap();
    let outcome = fresh.call(&request, &account.token, DEADLINE).await;
    assert!(matches!(outcome, CallOutcome::Unsent { .. }), "{outcome:?}");
    assert!(
        !format!("{outcome:?}").contains("Invoice"),
        "no arguments in errors"
    );
}

#[tokio::test]
async fn answers_with_status_200_need_not_be_successes() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let note = json!({"customer_id": "1", "lines": [{"amount": 5.0, "item_id": "1"}]});
    for (id, arguments, integration) in [
        ("slack.chat.post", message(), "slack"),
        ("gmail.send", mail(), "gmail"),
        ("quickbooks.invoice.create", note, "quickbooks"),
    ] {
        let meet = async |kind: &str, key: &str| {
            let fault = json!({"integration": integration, "kind": kind, "count": 1});
            assert_eq!(bench.fault(fault).await.0, 201);
            bench.call_within(id, &arguments, key, DEADLINE).await
        };
        let told = meet("error_200", "tnr_a").await;
        assert!(
            matches!(told, CallOutcome::Rejected { status: 200, .. }),
            "{told:?}"
        );
        let told = meet("limit_200", "tnr_a").await;
        assert!(matches!(told, CallOutcome::RateLimited { .. }), "{told:?}");
        let told = meet("token_200", "tnr_a").await;
        assert!(
            matches!(told, CallOutcome::Auth { status: 200, .. }),
            "{told:?}"
        );
        for (kind, key) in [("empty_200", "tnr_b"), ("html_200", "tnr_c")] {
            let told = meet(kind, key).await;
            assert!(
                matches!(
                    told,
                    CallOutcome::Unknown {
                        status: Some(200),
                        ..
                    }
                ),
                "{kind}: {told:?}"
            );
        }
        // What was not carried out is not in the record as if it had been.
        let record = bench.record(&format!("integration={integration}")).await;
        let items = record["items"].as_array().unwrap();
        let posts = items.iter().filter(|item| item["method"] == "POST");
        let refused: Vec<_> = posts.map(|item| item["refused"] == true).collect();
        assert_eq!(refused, [true, true, true, false, false], "{integration}");
    }
    for id in ["slack.chat.post", "gmail.send"] {
        let arguments = if id == "gmail.send" {
            mail()
        } else {
            message()
        };
        assert_eq!(bench.happened(id, &arguments, "tnr_a").await, None);
        for key in ["tnr_b", "tnr_c"] {
            assert!(
                bench.happened(id, &arguments, key).await.is_some(),
                "{id} {key}"
            );
        }
    }
}
