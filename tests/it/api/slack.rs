//! Slack's one address: events, commands and clicks, each durable before its answer, each once.

use super::{
    fake_slack::{FakeSlack, SIGNING_SECRET, Sender},
    world::{Answer, World, asking, employee_of, pure, world},
};
use reqwest::Method;
use serde_json::{Value, json};
use tenure::domain::Timestamp;

async fn hook(world: &World) -> Answer {
    let body =
        json!({"source": "slack", "scheme": "slack", "name": "main", "secret": SIGNING_SECRET});
    let hook = world.admin.post("/v1/hooks", body).await;
    assert_eq!(hook.status, 201, "{hook:?}");
    hook
}

async fn sender(world: &World) -> Sender<'_> {
    let hook = hook(world).await;
    Sender {
        world,
        path: hook.text("path"),
        secret: SIGNING_SECRET.into(),
    }
}

/// Hires somebody who listens with this subscription.
async fn listener(world: &World, name: &str, subscription: Value) -> String {
    let mut body = pure(name);
    body["subscriptions"] = json!([subscription]);
    world.manager.hire(body).await
}

fn message(event_id: &str, more: Value) -> Value {
    let mut event = json!({"type": "message", "channel": "C1", "user": "U1", "text": "where is invoice 7?", "ts": "1700000000.000100"});
    for (field, value) in more.as_object().expect("fields") {
        event[field] = value.clone();
    }
    json!({
        "token": "old-verification-token", "team_id": "T1", "api_app_id": "A1", "type": "event_callback", "event_id": event_id,
        "authorizations": [{"team_id": "T1", "user_id": "UBOT", "is_bot": true}], "event": event,
    })
}

/// The event of the inbox with this external id, when it is settled.
async fn settled(world: &World, external_id: &str) -> Value {
    let path = format!("/v1/inbox?search={external_id}");
    let page = world
        .viewer
        .until(&path, |body| {
            body["items"][0].is_object() && body["items"][0]["verdict"] != "pending"
        })
        .await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "{page}");
    page["items"][0].clone()
}

async fn runs(world: &World) -> Vec<Value> {
    let runs = world.viewer.get("/v1/runs").await;
    runs.body["items"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn the_address_is_proved_by_its_challenge() {
    let world = world().await;
    let sender = sender(&world).await;
    let challenge = json!({"token": "t", "challenge": "abc123", "type": "url_verification"});
    let answer = sender.event(&challenge, &[]).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body),
        (200, &json!({"challenge": "abc123"}))
    );
    let forged = Sender {
        secret: "another-secret-0123456789".into(),
        ..sender.clone()
    };
    forged
        .event(&challenge, &[])
        .await
        .problem(401, "invalid_signature");
}

#[tokio::test]
async fn an_event_starts_one_run_with_what_it_takes_to_answer() {
    let world = world().await;
    let sender = sender(&world).await;
    let employee = listener(
        &world,
        "clerk",
        json!({"source": "hook:slack/main", "event": "message"}),
    )
    .await;
    let answer = sender
        .event(
            &message("Ev1", json!({"thread_ts": "1699999999.000001"})),
            &[],
        )
        .await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!("")));
    let event = settled(&world, "A1:T1:Ev1").await;
    assert_eq!(event["verdict"], "accepted", "{event}");
    assert_eq!(event["conversation_key"], "slack:T1:C1:1699999999.000001");
    assert_eq!(event["triggered"][0]["employee_id"], json!(employee));
    let run = event["triggered"][0]["execution_id"]
        .as_str()
        .expect("an id");
    let run = world.viewer.get(&format!("/v1/runs/{run}")).await.body;
    assert_eq!(
        run["conversation_key"], "slack:T1:C1:1699999999.000001",
        "{run}"
    );
    let payload = &run["trigger"]["payload"];
    for (field, value) in [
        ("channel", "C1"),
        ("thread_ts", "1699999999.000001"),
        ("user", "U1"),
        ("text", "where is invoice 7?"),
    ] {
        assert_eq!(payload[field], value, "{payload}");
    }
    let shown = world
        .viewer
        .get(&format!(
            "/v1/inbox/{}",
            event["id"].as_str().expect("an id")
        ))
        .await;
    assert_eq!(&shown.body["payload"], payload);
    assert!(!shown.body.to_string().contains("old-verification-token"));
    world
        .other_org
        .get(&format!(
            "/v1/inbox/{}",
            event["id"].as_str().expect("an id")
        ))
        .await
        .problem(404, "not_found");
    assert_eq!(
        world.other_org.get("/v1/inbox").await.body["items"],
        json!([])
    );
}

#[tokio::test]
async fn a_retry_storm_is_one_run() {
    let world = world().await;
    let sender = sender(&world).await;
    listener(&world, "clerk", json!({"source": "hook:slack"})).await;
    let event = message("Ev1", json!({}));
    // Two at once, then two more as Slack marks them. A retry is never dropped for being one: the first may not have been kept.
    let retry = |number: &'static str| {
        [
            ("x-slack-retry-num", number),
            ("x-slack-retry-reason", "http_timeout"),
        ]
    };
    let (second, third, fourth) = (retry("1"), retry("2"), retry("3"));
    let (first, at_once) = tokio::join!(sender.event(&event, &[]), sender.event(&event, &second));
    let rest = [
        sender.event(&event, &third).await,
        sender.event(&event, &fourth).await,
    ];
    for answer in [first, at_once].iter().chain(&rest) {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let stored = settled(&world, "A1:T1:Ev1").await;
    assert_eq!(
        (&stored["verdict"], &stored["deliveries"]),
        (&json!("accepted"), &json!(4))
    );
    assert_eq!(runs(&world).await.len(), 1);
    // One that comes as a retry alone is as good as any.
    sender.event(&message("Ev2", json!({})), &retry("3")).await;
    assert_eq!(settled(&world, "A1:T1:Ev2").await["verdict"], "accepted");
    assert_eq!(runs(&world).await.len(), 2);
    let duplicates = world.viewer.get("/v1/inbox?verdict=duplicate").await.body;
    assert_eq!(duplicates["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn bots_are_not_answered() {
    let world = world().await;
    let sender = sender(&world).await;
    listener(&world, "clerk", json!({"source": "hook:slack"})).await;
    for (place, echo) in [
        json!({"bot_id": "B1"}),
        json!({"subtype": "bot_message"}),
        json!({"user": "UBOT"}),
        json!({"subtype": "message_changed", "message": {"bot_id": "B1", "ts": "1.5"}}),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("Ev{place}");
        assert_eq!(sender.event(&message(&id, echo), &[]).await.status, 200);
        assert_eq!(
            settled(&world, &format!("T1:{id}")).await["verdict"],
            "own_message"
        );
    }
    assert_eq!(runs(&world).await.len(), 0);
}

#[tokio::test]
async fn subscriptions_choose_by_channel_keyword_sender_and_condition() {
    let world = world().await;
    let sender = sender(&world).await;
    let slack = FakeSlack::start().await;
    slack.connect(&world).await;
    for (name, subscription) in [
        ("by-channel", json!({"filter": {"channel": "C1"}})),
        ("by-name", json!({"filter": {"channel": ["#finance"]}})),
        (
            "by-keyword",
            json!({"filter": {"keyword": ["invoice", "bill"]}}),
        ),
        ("by-sender", json!({"filter": {"sender": ["U9"]}})),
        (
            "by-all",
            json!({"filter": {"channel": "C1", "keyword": "refund"}, "when": "event.user == 'U9'"}),
        ),
    ] {
        let mut subscription = subscription;
        subscription["source"] = json!("hook:slack/*");
        listener(&world, name, subscription).await;
    }
    let names = |event: Value| {
        let world = &world;
        async move {
            let mut names = Vec::new();
            for run in event["triggered"].as_array().expect("a list") {
                let id = run["employee_id"].as_str().expect("an id");
                let employee = world.viewer.get(&format!("/v1/employees/{id}")).await;
                names.push(employee.text("name"));
            }
            names.sort();
            names
        }
    };
    for (place, (more, expected)) in [
        (json!({}), vec!["by-channel", "by-keyword", "by-name"]),
        (json!({"channel": "C2", "text": "hello"}), vec![]),
        (
            json!({"channel": "C2", "text": "Bill?", "user": "U9"}),
            vec!["by-keyword", "by-sender"],
        ),
        (
            json!({"text": "a refund", "user": "U9"}),
            vec!["by-all", "by-channel", "by-name", "by-sender"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("Ev{place}");
        sender.event(&message(&id, more), &[]).await;
        let event = settled(&world, &format!("T1:{id}")).await;
        let verdict = if expected.is_empty() {
            "filtered"
        } else {
            "accepted"
        };
        assert_eq!(event["verdict"], verdict, "{event}");
        assert_eq!(names(event).await, expected);
    }
    let mut wrong = pure("wrong");
    wrong["subscriptions"] = json!([{"source": "hook:slack", "when": "event.text >"}]);
    let refused = world.manager.post("/v1/employees", wrong.clone()).await;
    assert_eq!(
        refused.problem(422, "invalid_subscription")["field"],
        "subscriptions[0].when"
    );
    wrong["subscriptions"] = json!([{"source": "hook:slack", "filter": {"keyword": [""]}}]);
    let refused = world.manager.post("/v1/employees", wrong.clone()).await;
    assert_eq!(
        refused.problem(422, "invalid_subscription")["field"],
        "subscriptions[0].filter.keyword"
    );
    wrong["subscriptions"] = json!([{"source": "hook:slack", "filter": {"chanel": "C1"}}]);
    world
        .manager
        .post("/v1/employees", wrong)
        .await
        .problem(422, "invalid_field");
}

#[tokio::test]
async fn commands_are_answered_at_once() {
    let world = world().await;
    let sender = sender(&world).await;
    listener(&world, "clerk", json!({"source": "hook:slack", "event": "slash_command", "when": "event.command == '/ask'"})).await;
    let form = [
        ("token", "old-verification-token"),
        ("team_id", "T1"),
        ("channel_id", "C1"),
        ("user_id", "U1"),
        ("command", "/ask"),
        ("text", "who owes?"),
        ("trigger_id", "13.7"),
        ("response_url", "https://hooks.slack.com/commands/x"),
    ];
    let answer = sender.form(&form).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body),
        (
            200,
            &json!({"response_type": "ephemeral", "text": "/ask: got it."})
        )
    );
    let event = settled(&world, "command:T1:13.7").await;
    assert_eq!(
        (&event["verdict"], &event["kind"]),
        (&json!("accepted"), &json!("slash_command"))
    );
}

/// What is posted by somebody who listens with this subscription and does this one thing.
async fn speaker(world: &World, subscription: Value, action: Value) {
    let mut body = employee_of("speaker", json!([action]));
    body["graph"]["nodes"][0]["permissions"] = json!(["slack.write"]);
    body["subscriptions"] = json!([subscription]);
    world.manager.hire(body).await;
}

#[tokio::test]
async fn employees_answer_in_the_thread_and_not_themselves() {
    let world = world().await;
    let sender = sender(&world).await;
    let slack = FakeSlack::start().await;
    slack.connect(&world).await;
    let say = json!({"id": "say", "type": "action", "capability": "slack.chat.post",
        "arguments": {"channel": "trigger.payload.channel", "text": "'you said: ' + trigger.payload.text"}});
    let subscription = json!({"source": "hook:slack", "event": "message"});
    speaker(&world, subscription, say).await;
    let alone = json!({"channel": "C0FINANCE"});
    let threaded = json!({"channel": "C0FINANCE", "ts": "1700000009.000200", "thread_ts": "1700000001.000001"});
    sender.event(&message("Ev1", alone), &[]).await;
    sender.event(&message("Ev2", threaded), &[]).await;
    let posts = slack.until("chat.postMessage", 2).await;
    let mut threads: Vec<&str> = posts
        .iter()
        .filter_map(|post| post["thread_ts"].as_str())
        .collect();
    threads.sort_unstable();
    assert_eq!(threads, ["1700000000.000100", "1700000001.000001"]);
    // Slack tells the app of its own messages too.
    for (event, own) in [
        ("Ev3", json!({"user": "UBOT"})),
        (
            "Ev4",
            json!({"bot_id": "B1", "subtype": "bot_message", "user": null}),
        ),
    ] {
        sender.event(&message(event, own), &[]).await;
        let told = settled(&world, &format!("A1:T1:{event}")).await;
        assert_eq!(told["verdict"], "own_message", "{told}");
    }
    assert_eq!(slack.calls("chat.postMessage").len(), 2);
}

#[tokio::test]
async fn a_command_is_answered_later_through_its_own_address() {
    let world = world().await;
    let sender = sender(&world).await;
    let slack = FakeSlack::start().await;
    slack.connect(&world).await;
    let say = json!({"id": "say", "type": "action", "capability": "slack.command.respond",
        "arguments": {"response_url": "trigger.payload.response_url", "text": "'nobody'", "response_type": "'in_channel'"}});
    speaker(
        &world,
        json!({"source": "hook:slack", "event": "slash_command"}),
        say,
    )
    .await;
    let response_url = format!("{}/respond", slack.url);
    let command = |trigger_id: &'static str, response_url: String| {
        let sender = &sender;
        async move {
            let form = [
                ("team_id", "T1"),
                ("channel_id", "C1"),
                ("user_id", "U1"),
                ("command", "/ask"),
                ("text", "who owes?"),
                ("trigger_id", trigger_id),
                ("response_url", response_url.as_str()),
            ];
            sender.form(&form).await
        }
    };
    command("13.7", response_url).await;
    let said = slack.until("respond", 1).await;
    assert_eq!(
        said[0],
        json!({"text": "nobody", "response_type": "in_channel"})
    );
    // Whoever writes another address into a command does not make us call it.
    command("13.8", "https://elsewhere.example/respond".into()).await;
    let failed = |body: &Value| body["items"].as_array().is_some_and(|runs| runs.len() == 1);
    let failed = world.viewer.until("/v1/runs?status=failed", failed).await;
    assert_eq!(
        failed["items"][0]["error"]["code"], "bad_params",
        "{failed}"
    );
    assert_eq!(slack.calls("respond").len(), 1);
}

#[tokio::test]
async fn what_is_not_signed_by_slack_leaves_no_trace_but_a_count() {
    let world = world().await;
    let sender = sender(&world).await;
    let body = message("Ev1", json!({"text": "forged words"})).to_string();
    let now = world.engine.now();
    let old = Timestamp::from_micros(now.micros() - 301_000_000);
    sender
        .signed(old, &body, &body, "application/json", &[])
        .await
        .problem(401, "invalid_signature");
    let changed = body.replace("forged", "other");
    sender
        .signed(now, &body, &changed, "application/json", &[])
        .await
        .problem(401, "invalid_signature");
    let bare = world
        .anonymous
        .request(Method::POST, &sender.path)
        .body(body.clone());
    super::world::send(bare).await.problem(400, "bad_webhook");
    let refused = world
        .viewer
        .until("/v1/inbox?verdict=bad_signature", |body| {
            body["items"][0].is_object()
        })
        .await;
    assert_eq!(
        refused["items"].as_array().map(Vec::len),
        Some(1),
        "one row for a minute: {refused}"
    );
    let id = refused["items"][0]["id"].as_str().expect("an id");
    let shown = world.viewer.get(&format!("/v1/inbox/{id}")).await;
    assert_eq!(shown.body["payload"], Value::Null);
    world
        .manager
        .post(&format!("/v1/inbox/{id}/replay"), json!({}))
        .await
        .problem(409, "not_replayable");
    assert!(
        !world
            .viewer
            .get("/v1/inbox?search=words")
            .await
            .body
            .to_string()
            .contains("forged")
    );
    assert_eq!(runs(&world).await.len(), 0);
}

#[tokio::test]
async fn an_event_is_given_again_on_purpose() {
    let world = world().await;
    let sender = sender(&world).await;
    sender.event(&message("Ev1", json!({})), &[]).await;
    let event = settled(&world, "T1:Ev1").await;
    assert_eq!(event["verdict"], "no_subscription");
    let path = format!("/v1/inbox/{}/replay", event["id"].as_str().expect("an id"));
    listener(&world, "clerk", json!({"source": "hook:slack"})).await;
    for times in 1..=2 {
        let replayed = world.manager.post(&path, json!({})).await;
        assert_eq!(replayed.status, 202, "{replayed:?}");
        assert_eq!(replayed.body["verdict"], "accepted");
        assert_eq!(replayed.body["replays"], times);
        assert_eq!(
            replayed.body["triggered"].as_array().map(Vec::len),
            Some(times)
        );
        settled(&world, "T1:Ev1").await;
        assert_eq!(runs(&world).await.len(), times);
    }
    sender.event(&message("Ev1", json!({})), &[]).await;
    assert_eq!(runs(&world).await.len(), 2, "Slack's own retry is none");
    world
        .viewer
        .post(&path, json!({}))
        .await
        .problem(403, "forbidden");
    world
        .other_org
        .post(&path, json!({}))
        .await
        .problem(404, "not_found");
}

/// An org that wants to be asked in Slack, its employee with a question, and the message with the question.
async fn asked(world: &World, slack: &FakeSlack) -> (Value, Value) {
    slack.connect(world).await;
    let settings = json!({"slack": {"approvals_channel": "#approvals"}});
    let set = world
        .admin
        .request(Method::PATCH, "/v1/org")
        .json(&settings);
    assert_eq!(super::world::send(set).await.status, 200);
    let people = json!({"slack_people": {
        "U1": {"user": "ann@acme.test", "role": "manager"}, "U2": {"user": "bob@acme.test", "role": "viewer"},
    }});
    assert_eq!(
        world.admin.put("/v1/org/people", people.clone()).await.body,
        people
    );
    let employee = world.manager.hire(asking("asker")).await;
    let trigger = json!({"payload": {"amount": 5}});
    world
        .operator
        .post(&format!("/v1/employees/{employee}/triggers"), trigger)
        .await;
    let approvals = world
        .viewer
        .until("/v1/approvals?status=pending", |body| {
            body["items"][0].is_object()
        })
        .await;
    let posted = slack.until("chat.postMessage", 1).await;
    (approvals["items"][0].clone(), posted[0].clone())
}

fn click(button: &Value, user: &str, slack: &FakeSlack, nth: u32) -> Value {
    json!({
        "type": "block_actions", "team": {"id": "T1"}, "user": {"id": user}, "channel": {"id": "C0000007"}, "trigger_id": format!("9.{nth}"),
        "message": {"ts": "1.5"}, "actions": [button], "response_url": format!("{}/respond", slack.url),
    })
}

#[tokio::test]
async fn approvals_are_asked_and_decided_in_slack() {
    let world = world().await;
    let sender = sender(&world).await;
    let slack = FakeSlack::start().await;
    let (approval, posted) = asked(&world, &slack).await;
    assert_eq!(posted["channel"], "#approvals");
    let blocks = posted["blocks"].as_array().expect("blocks");
    assert!(
        posted["blocks"].to_string().contains("\\\"amount\\\": 5"),
        "{posted}"
    );
    let buttons = &blocks.last().expect("buttons")["elements"];
    let path = format!("/v1/approvals/{}", approval["id"].as_str().expect("an id"));

    // Somebody who may not, somebody unknown, and somebody who may but saw something else.
    let mut changed = buttons[0].clone();
    let hash = approval["arguments_hash"].as_str().expect("a hash");
    let other = format!("sha256:{}", "0".repeat(64));
    changed["value"] = json!(
        changed["value"]
            .as_str()
            .expect("a value")
            .replace(hash, &other)
    );
    for (nth, (user, button)) in [("U2", &buttons[0]), ("U3", &buttons[0]), ("U1", &changed)]
        .into_iter()
        .enumerate()
    {
        let nth = u32::try_from(nth).expect("few");
        assert_eq!(
            sender
                .interaction(&click(button, user, &slack, nth))
                .await
                .status,
            200
        );
        let event = settled(&world, &format!("block_actions:T1:9.{nth}")).await;
        assert_eq!(event["verdict"], "refused", "{event}");
        let said = slack.until("respond", nth as usize + 1).await;
        let said = said.last().expect("a word").clone();
        assert_eq!(
            (&said["response_type"], &said["replace_original"]),
            (&json!("ephemeral"), &json!(false))
        );
        assert_eq!(world.viewer.get(&path).await.body["status"], "pending");
    }

    sender
        .interaction(&click(&buttons[0], "U1", &slack, 10))
        .await;
    let event = settled(&world, "block_actions:T1:9.10").await;
    assert_eq!(event["verdict"], "accepted", "{event}");
    let decided = world.viewer.get(&path).await.body;
    assert_eq!(
        (&decided["status"], &decided["decided_by"]),
        (&json!("approved"), &json!("slack:U1 (ann@acme.test)"))
    );
    let updates = slack.until("chat.update", 1).await;
    assert_eq!(
        (&updates[0]["channel"], &updates[0]["ts"]),
        (&json!("C0000007"), &json!("1.5"))
    );
    let text = updates[0].to_string();
    assert!(
        text.contains("Approved")
            && text.contains("ann@acme.test")
            && !text.contains("tenure_approve"),
        "{text}"
    );

    // Too late, and told so.
    sender
        .interaction(&click(&buttons[1], "U1", &slack, 11))
        .await;
    assert_eq!(
        settled(&world, "block_actions:T1:9.11").await["verdict"],
        "refused"
    );
    let said = slack.until("respond", 4).await;
    assert!(said[3]["text"].to_string().contains("already"), "{said:?}");
    assert_eq!(slack.calls("chat.postMessage").len(), 1, "asked once");
}

#[tokio::test]
async fn a_decision_elsewhere_shows_in_slack_and_clicks_of_other_hooks_decide_nothing() {
    let world = world().await;
    let slack = FakeSlack::start().await;
    let (approval, posted) = asked(&world, &slack).await;
    let button = posted["blocks"]
        .as_array()
        .expect("blocks")
        .last()
        .expect("buttons")["elements"][0]
        .clone();

    // Whoever holds a token for another address must not be able to speak for the people of Slack.
    let token = json!({"source": "slack", "scheme": "token", "options": {"header": "x-token"}, "event_type": "block_actions"});
    let hook = world.admin.post("/v1/hooks", token).await;
    let forged = json!({"type": "block_actions", "user": "U1", "actions": [button]});
    let request = world
        .anonymous
        .request(Method::POST, &hook.text("path"))
        .header("x-token", hook.text("secret"))
        .json(&forged);
    let answer = super::world::send(request).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["verdict"]),
        (202, &json!("no_subscription"))
    );
    let path = format!("/v1/approvals/{}", approval["id"].as_str().expect("an id"));
    assert_eq!(world.viewer.get(&path).await.body["status"], "pending");

    let decision = json!({"decision": "deny", "arguments_hash": approval["arguments_hash"], "comment": "not now"});
    let denied = world
        .manager
        .post(&format!("{path}/decision"), decision)
        .await;
    assert_eq!(denied.body["status"], "denied");
    let updates = slack.until("chat.update", 1).await;
    let text = updates[0].to_string();
    assert!(
        text.contains("Denied") && text.contains("not now"),
        "{text}"
    );
}

#[tokio::test]
async fn a_clients_call_is_asked_about_and_decided_in_slack() {
    let world = world().await;
    let sender = sender(&world).await;
    let slack = FakeSlack::start().await;
    slack.connect(&world).await;
    let settings = json!({"slack": {"approvals_channel": "#approvals"}});
    let set = world
        .admin
        .request(Method::PATCH, "/v1/org")
        .json(&settings);
    assert_eq!(super::world::send(set).await.status, 200);
    let people = json!({"slack_people": {"U1": {"user": "ann@acme.test", "role": "manager"}}});
    assert_eq!(world.admin.put("/v1/org/people", people).await.status, 200);
    // What the runtime itself posts is not held back by the rule about the same capability.
    let rule = json!({"name": "asked", "effect": "require_approval", "capabilities": ["slack.*"]});
    assert_eq!(world.admin.post("/v1/policies", rule).await.status, 201);
    let call = json!({"input": {"channel": "#finance", "text": "hello"}, "idempotency_key": "k"});
    let path = "/proxy/slack.chat.post";
    let asked = world.operator.post(path, call.clone()).await;
    assert_eq!(asked.status, 202, "{asked:?}");

    let posted = slack.until("chat.postMessage", 1).await;
    assert_eq!(posted[0]["channel"], "#approvals");
    let blocks = posted[0]["blocks"].as_array().expect("blocks");
    assert!(posted[0].to_string().contains("slack.chat.post"));
    let button = blocks.last().expect("buttons")["elements"][0].clone();
    sender.interaction(&click(&button, "U1", &slack, 70)).await;
    let event = settled(&world, "block_actions:T1:9.70").await;
    assert_eq!(event["verdict"], "accepted", "{event}");
    let approval = format!("/v1/approvals/{}", asked.text("approval_id"));
    assert_eq!(
        world.viewer.get(&approval).await.body["decided_by"],
        "slack:U1 (ann@acme.test)"
    );
    let sent = world.operator.post(path, call.clone()).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    let again = world.operator.post(path, call).await;
    assert_eq!(again.body, sent.body);
    let posted = slack.calls("chat.postMessage");
    assert_eq!(posted.len(), 2, "the question, and the call: {posted:?}");
}
