//! The richer side of Slack and GitHub, called as their clients call them.

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
