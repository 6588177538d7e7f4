//! The richer side of the providers' APIs, called as their clients call them.

use super::*;

impl Bench {
    async fn slack(&self, method: &str, arguments: Value) -> Value {
        let url = format!("{}/slack/api/{method}", self.url);
        let request = self.http.post(url).bearer_auth("sandbox-slack-token");
        request
            .json(&arguments)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn github(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self
            .http
            .request(method, format!("{}/github{path}", self.url));
        let request = request.header("authorization", "token sandbox-github-token");
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

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
async fn slack_messages_can_be_changed_and_reacted_to() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, bench) = Bench::start(folder.path()).await;
    let posted = bench
        .slack(
            "chat.postMessage",
            json!({"channel": "U0NOAH", "text": "hello", "blocks": [{"type": "divider"}]}),
        )
        .await;
    assert_eq!(
        (&posted["ok"], &posted["channel"]),
        (&json!(true), &json!("D0NOAH"))
    );
    assert_eq!(posted["message"]["blocks"][0]["block_id"], "b0");
    let place = json!({"channel": "D0NOAH", "ts": posted["ts"], "text": "changed"});
    let changed = bench.slack("chat.update", place.clone()).await;
    assert_eq!(
        (&changed["ok"], &changed["text"], &changed["ts"]),
        (&json!(true), &json!("changed"), &posted["ts"])
    );
    let reaction = json!({"channel": "D0NOAH", "timestamp": posted["ts"], "name": "eyes"});
    assert_eq!(
        bench.slack("reactions.add", reaction.clone()).await,
        json!({"ok": true})
    );
    assert_eq!(
        bench.slack("reactions.add", reaction).await["error"],
        "already_reacted"
    );
    let whisper = json!({"channel": "#finance", "user": "U0LENA", "text": "psst"});
    assert!(bench.slack("chat.postEphemeral", whisper).await["message_ts"].is_string());
    assert_eq!(
        bench
            .slack("conversations.history", json!({"channel": "C0FINANCE"}))
            .await["messages"],
        json!([])
    );
    handle.shutdown().await;
    let (_handle, bench) = Bench::start(folder.path()).await;
    let history = bench
        .slack("conversations.history", json!({"channel": "D0NOAH"}))
        .await;
    let message = &history["messages"][0];
    assert_eq!(
        (&message["text"], &message["reactions"][0]["name"]),
        (&json!("changed"), &json!("eyes"))
    );
    assert!(
        message["edited"]["ts"].is_string() && message["blocks"].is_array(),
        "blocks stay"
    );
    assert_eq!(bench.slack("chat.delete", place.clone()).await["ok"], true);
    assert_eq!(
        bench.slack("chat.update", place).await["error"],
        "message_not_found"
    );
}

#[tokio::test]
async fn slack_knows_its_people_and_channels() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let user = bench.slack("users.info", json!({"user": "U0OMAR"})).await;
    assert_eq!(user["user"]["profile"]["email"], "omar@demo.example");
    assert_eq!(
        bench.slack("users.info", json!({"user": "U0NOBODY"})).await["error"],
        "user_not_found"
    );
    assert_eq!(
        bench.slack("users.list", json!({})).await["members"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    let all = bench.slack("conversations.list", json!({})).await;
    assert_eq!(all["channels"][1]["id"], "C0FINANCE");
    let direct = bench
        .slack("conversations.list", json!({"types": "im"}))
        .await;
    assert_eq!(
        direct["channels"][0],
        json!({"id": "D0MAYA", "is_im": true, "user": "U0MAYA", "is_archived": false})
    );
    let opened = bench
        .slack("conversations.open", json!({"users": "U0LENA"}))
        .await;
    assert_eq!(opened["channel"]["id"], "D0LENA");
    let info = bench
        .slack("conversations.info", json!({"channel": "C0SALES"}))
        .await;
    assert_eq!(info["channel"]["name"], "sales");
    let members = bench
        .slack("conversations.members", json!({"channel": "D0LENA"}))
        .await;
    assert_eq!(members["members"], json!(["U0LENA", "U0TENURE"]));
    assert_eq!(bench.slack("auth.test", json!({})).await["team"], "Demo");
    for (method, arguments, error) in [
        (
            "conversations.open",
            json!({"users": "U0NOBODY"}),
            "user_not_found",
        ),
        (
            "conversations.list",
            json!({"types": "island"}),
            "invalid_types",
        ),
        (
            "chat.postMessage",
            json!({"channel": "U0NOBODY", "text": "t"}),
            "channel_not_found",
        ),
        (
            "chat.postEphemeral",
            json!({"channel": "C0SALES", "text": "t"}),
            "user_not_in_channel",
        ),
        (
            "reactions.add",
            json!({"channel": "C0SALES", "name": "eyes"}),
            "no_item_specified",
        ),
        ("views.open", json!({}), "unknown_method"),
    ] {
        assert_eq!(
            bench.slack(method, arguments).await["error"],
            error,
            "{method}"
        );
    }
}

#[tokio::test]
async fn github_issues_and_comments() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, bench) = Bench::start(folder.path()).await;
    let issues = "/repos/demo/website/issues";
    for number in 1..=3 {
        let issue = json!({"title": format!("Bug {number}"), "body": format!("marker-{number}"), "labels": ["bug"]});
        let (status, made) = bench.github("POST", issues, issue).await;
        assert_eq!((status, &made["number"]), (201, &json!(number)));
    }
    let (status, comment) = bench
        .github(
            "POST",
            &format!("{issues}/2/comments"),
            json!({"body": "seen"}),
        )
        .await;
    assert_eq!((status, &comment["body"]), (201, &json!("seen")));
    let (_, closed) = bench
        .github("PATCH", &format!("{issues}/3"), json!({"state": "closed"}))
        .await;
    assert_eq!(
        (&closed["state"], &closed["state_reason"]),
        (&json!("closed"), &json!("completed"))
    );
    handle.shutdown().await;
    let (_handle, bench) = Bench::start(folder.path()).await;
    let numbers = |list: &Value| -> Vec<u64> {
        let items = list.as_array().unwrap().iter();
        items
            .map(|issue| issue["number"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(
        numbers(&bench.github("GET", issues, Value::Null).await.1),
        [2, 1]
    );
    let all = bench
        .github(
            "GET",
            &format!("{issues}?state=all&labels=bug"),
            Value::Null,
        )
        .await;
    assert_eq!(numbers(&all.1), [3, 2, 1]);
    let url = format!("{}/github{issues}?state=all&per_page=2", bench.url);
    let page = bench
        .http
        .get(url)
        .bearer_auth("sandbox-github-token")
        .send()
        .await
        .unwrap();
    assert!(
        page.headers()["link"]
            .to_str()
            .unwrap()
            .contains("&page=2>; rel=\"next\"")
    );
    let found = bench
        .github(
            "GET",
            "/search/issues?q=marker-2+repo:demo/website+in:body",
            Value::Null,
        )
        .await;
    assert_eq!(numbers(&found.1["items"]), [2]);
    let (_, comments) = bench
        .github("GET", &format!("{issues}/2/comments"), Value::Null)
        .await;
    assert_eq!(comments[0]["body"], "seen");
    for (method, path, body, status) in [
        ("POST", issues, json!({"body": "no title"}), 422),
        (
            "POST",
            "/repos/demo/website/issues/2/comments",
            json!({}),
            422,
        ),
        ("GET", "/repos/demo/website/issues/9", Value::Null, 404),
        ("GET", "/repos/demo/elsewhere/issues", Value::Null, 404),
        (
            "GET",
            "/repos/demo/website/issues?state=odd",
            Value::Null,
            422,
        ),
        ("GET", "/zen", Value::Null, 404),
    ] {
        assert_eq!(
            bench.github(method, path, body).await.0,
            status,
            "{method} {path}"
        );
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
