//! Stripe, called as its clients call it.

use super::*;

impl Bench {
    async fn stripe(&self, path: &str, form: &[(&str, &str)], key: &str) -> (u16, bool, Value) {
        let request = self.http.post(format!("{}/stripe/v1/{path}", self.url));
        let request = request
            .basic_auth("sandbox-stripe-token", Some(""))
            .form(form);
        let request = if key.is_empty() {
            request
        } else {
            request.header("idempotency-key", key)
        };
        let response = request.send().await.unwrap();
        let replayed = response.headers().contains_key("idempotent-replayed");
        (
            response.status().as_u16(),
            replayed,
            response.json().await.unwrap(),
        )
    }

    async fn stripe_get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}/stripe/v1/{path}", self.url));
        let response = request
            .bearer_auth("sandbox-stripe-token")
            .send()
            .await
            .unwrap();
        response.json().await.unwrap()
    }
}

#[tokio::test]
async fn stripe_takes_a_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, bench) = Bench::start(folder.path()).await;
    let form = [("email", "a@b.example"), ("metadata[order]", "7")];
    let (status, replayed, first) = bench.stripe("customers", &form, "k1").await;
    assert_eq!(
        (status, replayed, &first["metadata"]["order"]),
        (200, false, &json!("7"))
    );
    assert_eq!(
        bench.stripe("customers", &form, "k1").await,
        (200, true, first.clone())
    );
    let (status, _, other) = bench
        .stripe("customers", &[("email", "c@d.example")], "k1")
        .await;
    assert_eq!(
        (status, &other["error"]["type"]),
        (400, &json!("idempotency_error"))
    );
    assert_eq!(bench.stripe("invoices", &form, "k1").await.0, 400);
    let (status, _, bad) = bench
        .stripe("refunds", &[("charge", "ch_none")], "k2")
        .await;
    assert_eq!(
        (status, &bad["error"]["code"]),
        (404, &json!("resource_missing"))
    );
    assert_eq!(
        bench
            .stripe("refunds", &[("charge", "ch_demo1")], "k2")
            .await
            .0,
        200,
        "nothing was kept of the first"
    );
    handle.shutdown().await;
    let (_handle, bench) = Bench::start(folder.path()).await;
    assert_eq!(
        bench.stripe("customers", &form, "k1").await,
        (200, true, first)
    );
    let listed = bench.stripe_get("customers?email=a@b.example").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let found = bench
        .stripe_get("customers/search?query=metadata['order']:'7'")
        .await;
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn stripe_invoices_and_refunds() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let (_, _, customer) = bench.stripe("customers", &[("name", "Ann")], "").await;
    let id = customer["id"].as_str().unwrap();
    bench
        .stripe("invoiceitems", &[("customer", id), ("amount", "1500")], "")
        .await;
    let draft = [
        ("customer", id),
        ("pending_invoice_items_behavior", "include"),
        ("collection_method", "send_invoice"),
        ("days_until_due", "30"),
    ];
    let (_, _, invoice) = bench.stripe("invoices", &draft, "").await;
    assert_eq!(
        (&invoice["status"], &invoice["total"]),
        (&json!("draft"), &json!(1_500))
    );
    let path = format!("invoices/{}", invoice["id"].as_str().unwrap());
    for (step, status) in [("finalize", "open"), ("send", "open"), ("pay", "paid")] {
        let (_, _, next) = bench.stripe(&format!("{path}/{step}"), &[], "").await;
        assert_eq!(next["status"], status);
    }
    assert_eq!(bench.stripe(&format!("{path}/void"), &[], "").await.0, 400);
    assert_eq!(bench.stripe_get(&path).await["amount_paid"], 1_500);
    assert_eq!(
        bench.stripe_get("invoices?status=paid").await["has_more"],
        false
    );

    let part = [
        ("payment_intent", "pi_demo1"),
        ("amount", "500"),
        ("reason", "duplicate"),
    ];
    assert_eq!(
        bench.stripe("refunds", &part, "").await.2["status"],
        "succeeded"
    );
    let rest = [("charge", "ch_demo1")];
    assert_eq!(bench.stripe("refunds", &rest, "").await.2["amount"], 12_000);
    assert_eq!(
        bench.stripe("refunds", &rest, "").await.2["error"]["code"],
        "charge_already_refunded"
    );
    assert_eq!(bench.stripe_get("charges/ch_demo1").await["refunded"], true);
    for (path, form, status) in [
        (
            "refunds",
            vec![("charge", "ch_demo2"), ("amount", "999999")],
            400,
        ),
        (
            "refunds",
            vec![("charge", "ch_demo2"), ("amount", "much")],
            400,
        ),
        ("refunds", vec![], 400),
        ("invoices", vec![], 400),
        ("invoices", vec![("customer", "cus_none")], 404),
        ("subscriptions", vec![], 404),
    ] {
        assert_eq!(
            bench.stripe(path, &form, "").await.0,
            status,
            "{path} {form:?}"
        );
    }
}
