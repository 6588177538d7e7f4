use super::*;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::json;

fn envelope(event: Value) -> Value {
    json!({
        "token": "verification-token", "team_id": "T1", "api_app_id": "A1", "type": "event_callback", "event_id": "Ev1",
        "event_time": 1_700_000_000, "authorizations": [{"team_id": "T1", "user_id": "UBOT", "is_bot": true}], "event": event,
    })
}

fn of(event: Value) -> Incoming {
    of_with(event, &[])
}

fn of_with(event: Value, bots: &[&str]) -> Incoming {
    let bots: Vec<String> = bots.iter().map(|bot| (*bot).to_owned()).collect();
    let body = envelope(event).to_string();
    match read(&HeaderMap::new(), body.as_bytes(), &bots) {
        Ok(SlackRequest::Event(incoming)) => *incoming,
        other => panic!("{other:?}"),
    }
}

fn form(body: &str) -> SlackRequest {
    let headers = HeaderMap::from_iter([(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    )]);
    read(&headers, body.as_bytes(), &[]).expect("reads")
}

#[test]
fn a_message_has_what_it_takes_to_answer_in_its_thread() {
    let message = json!({"type": "message", "channel": "C1", "channel_type": "channel", "user": "U1", "text": "hi", "ts": "1.5"});
    let found = of(message.clone());
    assert_eq!(found.external_id.as_deref(), Some("A1:T1:Ev1"));
    assert_eq!(found.kind.as_deref(), Some("message"));
    assert_eq!(found.conversation.as_deref(), Some("slack:T1:C1:1.5"));
    assert_eq!(found.echo, None);
    let payload = json!({
        "type": "message", "team_id": "T1", "api_app_id": "A1", "event_id": "Ev1", "event_time": 1_700_000_000, "channel": "C1",
        "channel_type": "channel", "user": "U1", "text": "hi", "ts": "1.5", "thread_ts": "1.5", "event": message,
    });
    assert_eq!(found.payload, payload);

    let mut answer = message;
    answer["thread_ts"] = json!("1.0");
    let found = of(answer);
    assert_eq!(found.conversation.as_deref(), Some("slack:T1:C1:1.0"));
    assert_eq!(found.payload["thread_ts"], "1.0");
}

#[test]
fn what_bots_say_is_an_echo_in_every_disguise() {
    let said = |more: Value| {
        let mut event =
            json!({"type": "message", "channel": "C1", "user": "U1", "text": "x", "ts": "1.5"});
        for (key, value) in more.as_object().expect("fields") {
            event[key] = value.clone();
        }
        event
    };
    for echo in [
        json!({"bot_id": "B1"}),
        json!({"subtype": "bot_message"}),
        json!({"user": "UBOT"}),
        json!({"user": "USLACKBOT"}),
        json!({"app_id": "A1"}),
        json!({"subtype": "message_changed", "user": null, "message": {"bot_id": "B1", "ts": "1.5", "text": "y"}}),
        json!({"subtype": "message_deleted", "user": null, "previous_message": {"bot_id": "B1"}}),
        json!({"type": "reaction_added", "user": "UBOT", "item": {"channel": "C1", "ts": "1.5"}}),
    ] {
        assert!(of(said(echo.clone())).echo.is_some(), "{echo}");
    }
    for real in [
        json!({}),
        json!({"subtype": "file_share"}),
        json!({"subtype": "message_changed", "message": {"user": "U1", "ts": "1.5", "text": "y"}}),
        json!({"app_id": "A2"}),
    ] {
        assert_eq!(of(said(real.clone())).echo, None, "{real}");
    }
    let listed = of_with(said(json!({"bot_id": "B7"})), &["B7"]);
    assert_eq!(listed.echo, None, "a bot that is to be listened to");
    let own = of_with(said(json!({"bot_id": "B7", "app_id": "A1"})), &["B7"]);
    assert!(own.echo.is_some(), "never oneself");
}

#[test]
fn odd_events_are_read_as_far_as_they_go() {
    let reaction = of(
        json!({"type": "reaction_added", "user": "U1", "reaction": "ok", "item": {"channel": "C1", "ts": "1.5"}}),
    );
    assert_eq!(reaction.conversation.as_deref(), Some("slack:T1:C1:1.5"));
    let created = of(json!({"type": "channel_created", "channel": {"id": "C9", "name": "new"}}));
    assert_eq!(created.payload["channel"], "C9");
    assert_eq!(created.conversation, None);
    let limited = json!({"token": "t", "type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": 5});
    let Ok(SlackRequest::Event(limited)) =
        read(&HeaderMap::new(), limited.to_string().as_bytes(), &[])
    else {
        panic!("an event");
    };
    assert_eq!(limited.kind.as_deref(), Some("app_rate_limited"));
    assert_eq!(
        limited.payload["event"],
        json!({"type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": 5})
    );
    for (wrong, why) in [
        ("{", "not JSON"),
        ("{}", "no type"),
        (r#"{"type": "url_verification"}"#, "no challenge"),
    ] {
        assert!(
            read(&HeaderMap::new(), wrong.as_bytes(), &[]).is_err(),
            "{why}"
        );
    }
}

#[test]
fn the_challenge_is_given_back() {
    let body = br#"{"token": "t", "challenge": "abc", "type": "url_verification"}"#;
    let found = read(&HeaderMap::new(), body, &[]);
    assert_eq!(found, Ok(SlackRequest::Challenge("abc".into())));
}

#[test]
fn commands_and_clicks_come_as_forms_and_leave_their_token_behind() {
    let body = "token=secret-token&team_id=T1&channel_id=C1&channel_name=finance&user_id=U1&user_name=ann\
        &command=%2Fask&text=who+owes%3F&response_url=https%3A%2F%2Fhooks.slack.com%2Fx&trigger_id=13.1&api_app_id=A1";
    let SlackRequest::Command(found) = form(body) else {
        panic!("a command");
    };
    assert_eq!(found.external_id.as_deref(), Some("command:T1:13.1"));
    assert_eq!(found.kind.as_deref(), Some(SLASH_COMMAND));
    assert_eq!(found.payload["text"], "who owes?");
    assert_eq!(found.payload["channel"], "C1");
    assert!(!found.payload.to_string().contains("secret-token"));

    let click = json!({
        "type": "block_actions", "token": "secret-token", "team": {"id": "T1"}, "user": {"id": "U1", "username": "ann"},
        "channel": {"id": "C1", "name": "finance"}, "message": {"ts": "1.5"}, "trigger_id": "13.2", "api_app_id": "A1",
        "actions": [{"action_id": "go", "value": "yes", "action_ts": "2.0"}], "response_url": "https://hooks.slack.com/y",
    });
    let encoded: String = click
        .to_string()
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let SlackRequest::Interaction(found) = form(&format!("payload={encoded}")) else {
        panic!("a click");
    };
    assert_eq!(found.external_id.as_deref(), Some("block_actions:T1:13.2"));
    assert_eq!(found.conversation.as_deref(), Some("slack:T1:C1:1.5"));
    assert_eq!(found.payload["user"], "U1");
    assert_eq!(found.payload["actions"][0]["action_id"], "go");
    assert!(!found.payload.to_string().contains("secret-token"));
}

#[test]
fn an_answer_goes_into_the_thread_unless_it_says_otherwise() {
    let cause = json!({"type": "message", "team_id": "T1", "channel": "C1", "ts": "2.0", "thread_ts": "1.0"});
    let post = "slack.chat.post";
    for (capability, call, cause, expected) in [
        (
            post,
            json!({"channel": "C1"}),
            &cause,
            json!({"channel": "C1", "thread_ts": "1.0"}),
        ),
        (
            post,
            json!({"channel": "C2"}),
            &cause,
            json!({"channel": "C2"}),
        ),
        (
            post,
            json!({"channel": "C1", "thread_ts": "9.0"}),
            &cause,
            json!({"channel": "C1", "thread_ts": "9.0"}),
        ),
        (
            post,
            json!({"channel": "C1", "thread_ts": null}),
            &cause,
            json!({"channel": "C1"}),
        ),
        (
            post,
            json!({"channel": "C1"}),
            &json!({"channel": "C1", "thread_ts": "1.0"}),
            json!({"channel": "C1"}),
        ),
        (
            "slack.chat.update",
            json!({"channel": "C1"}),
            &cause,
            json!({"channel": "C1"}),
        ),
    ] {
        let mut found = call.clone();
        answer_in_thread(capability, &mut found, cause);
        assert_eq!(found, expected, "{capability} {call}");
    }
}

/// However a person says something it is a message, of whose words no filter has to know where they stand.
#[test]
fn what_a_person_says_is_a_message_in_every_form() {
    let said = |more: Value| {
        let mut event = json!({"type": "message", "channel": "C1", "user": "U1", "text": "an order", "ts": "1.5"});
        for (key, value) in more.as_object().expect("fields") {
            event[key] = value.clone();
        }
        event
    };
    let file = json!([{"id": "F1", "name": "order.pdf", "title": "Our order", "mimetype": "application/pdf", "size": 5, "secret": "x"}]);
    let rich = json!([{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
        {"type": "user", "user_id": "U2"}, {"type": "text", "text": ": an "}, {"type": "text", "text": "order", "style": {"bold": true}},
        {"type": "link", "url": "https://a.test"}]}]}]);
    for (event, text) in [
        (
            said(json!({"subtype": "file_share", "files": file, "upload": true})),
            "an order",
        ),
        (
            said(json!({"subtype": "file_share", "files": file, "text": ""})),
            "Our order",
        ),
        (
            said(
                json!({"subtype": "thread_broadcast", "thread_ts": "1.0", "root": {"bot_id": "B1", "user": "UBOT", "ts": "1.0"}}),
            ),
            "an order",
        ),
        (said(json!({"subtype": "me_message"})), "an order"),
        (
            said(
                json!({"channel": "D1", "channel_type": "im", "subtype": "file_share", "files": file}),
            ),
            "an order",
        ),
        (
            said(
                json!({"channel": "G1", "channel_type": "mpim", "subtype": "thread_broadcast", "thread_ts": "1.0"}),
            ),
            "an order",
        ),
        (
            said(json!({"text": "", "blocks": rich})),
            "<@U2>: an orderhttps://a.test",
        ),
        (
            said(
                json!({"text": "", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "an order"}},
                                            {"type": "context", "elements": [{"type": "mrkdwn", "text": "from us"}]}]}),
            ),
            "an order\nfrom us",
        ),
        (
            said(json!({"text": "", "attachments": [{"title": "Order", "text": "five of them"}]})),
            "Order\nfive of them",
        ),
        (
            said(json!({"text": "", "attachments": [{"fallback": "an order"}]})),
            "an order",
        ),
        (
            said(json!({"team": "T2", "user_team": "T2", "source_team": "T2"})),
            "an order",
        ),
        // Forwarded with words of one's own, and without.
        (
            said(
                json!({"attachments": [{"is_share": true, "is_msg_unfurl": true, "author_name": "Ann", "text": "5 &lt; 6 pieces",
                "fallback": "[1 June] Ann: 5 &lt; 6 pieces", "message_blocks": [{"message": {"blocks": []}}]}]}),
            ),
            "an order\n5 < 6 pieces",
        ),
        (
            said(
                json!({"text": "", "attachments": [{"is_share": true, "text": "Tom &amp; Jerry"}]}),
            ),
            "Tom & Jerry",
        ),
        // A link of the message that Slack shows is nothing that its author says.
        (
            said(
                json!({"attachments": [{"from_url": "https://a.test", "title": "A page", "text": "about pages"}]}),
            ),
            "an order",
        ),
        (
            said(
                json!({"text": "", "attachments": [{"title": "Alert", "fields": [{"title": "Status", "value": "a &gt; b", "short": true}]}]}),
            ),
            "Alert\nStatus: a > b",
        ),
        (
            said(
                json!({"text": "", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "R&amp;D"}},
                                                {"type": "markdown", "text": "**5** pieces"}]}),
            ),
            "R&D\n**5** pieces",
        ),
        (
            said(
                json!({"text": "", "blocks": [{"type": "rich_text", "elements": [{"type": "rich_text_list", "style": "bullet", "elements": [
                {"type": "rich_text_section", "elements": [{"type": "text", "text": "by "}, {"type": "date", "timestamp": 1_800_000_000, "fallback": "15 January 2027"}]},
                {"type": "rich_text_section", "elements": [{"type": "text", "text": "R&D"}]}]}]}]}),
            ),
            "by 15 January 2027\nR&D",
        ),
        (
            said(
                json!({"text": "", "blocks": [{"type": "table", "rows": [[{"type": "raw_text", "text": "Foo"}, {"type": "raw_text", "text": "5"}]]}]}),
            ),
            "Foo\n5",
        ),
        // A voice message; a mail that was sent into the channel.
        (
            said(
                json!({"subtype": "file_share", "text": "", "files": [{"id": "F2", "name": "audio_message.m4a", "subtype": "slack_audio"}]}),
            ),
            "audio_message.m4a",
        ),
        (
            said(
                json!({"subtype": "file_share", "text": "", "files": [{"id": "F3", "name": "mail", "title": "Order 7", "filetype": "email"}]}),
            ),
            "Order 7",
        ),
        (
            said(
                json!({"channel": "D2", "channel_type": "im", "thread_ts": "1.0", "parent_user_id": "UBOT", "assistant_thread": {}}),
            ),
            "an order",
        ),
    ] {
        let found = of(event.clone());
        assert_eq!(
            (found.echo, found.kind.as_deref()),
            (None, Some("message")),
            "{event}"
        );
        assert_eq!(found.payload["text"], text, "{event}");
        assert_eq!(found.payload["files"].is_array(), event["files"].is_array());
    }
    let found = of(said(json!({"subtype": "file_share", "files": file})));
    let brief = json!([{"id": "F1", "name": "order.pdf", "title": "Our order", "mimetype": "application/pdf", "size": 5}]);
    assert_eq!(found.payload["files"], brief);
}

#[test]
fn what_tells_of_a_message_is_no_second_message() {
    let of_kind = |more: Value| {
        let mut event = json!({"type": "message", "channel": "C1", "ts": "2.0"});
        for (key, value) in more.as_object().expect("fields") {
            event[key] = value.clone();
        }
        of(event).kind
    };
    let person = json!({"user": "U1", "text": "an order, changed", "ts": "1.5"});
    for (event, kind) in [
        (
            json!({"subtype": "message_changed", "message": person}),
            "message_changed",
        ),
        // A link was unfolded.
        (
            json!({"subtype": "message_changed", "hidden": true, "message": {"user": "U1", "text": "x", "ts": "1.5", "attachments": [{}]}}),
            "message_changed",
        ),
        (
            json!({"subtype": "message_deleted", "deleted_ts": "1.5", "previous_message": person}),
            "message_deleted",
        ),
        (
            json!({"subtype": "message_replied", "message": person}),
            "message_replied",
        ),
        (
            json!({"subtype": "channel_join", "user": "U1", "text": "joined"}),
            "channel_join",
        ),
        (
            json!({"subtype": "channel_topic", "user": "U1", "topic": "x"}),
            "channel_topic",
        ),
        (
            json!({"subtype": "pinned_item", "user": "U1"}),
            "pinned_item",
        ),
    ] {
        assert_eq!(of_kind(event.clone()).as_deref(), Some(kind), "{event}");
    }
}

#[test]
fn bots_that_are_listened_to_are_named_by_their_id_their_app_or_all() {
    let event = |app: &str| json!({"type": "message", "subtype": "bot_message", "channel": "C1", "text": "x", "ts": "1.5", "bot_id": "B7", "app_id": app});
    for (bots, app, is_echo) in [
        (&[][..], "A7", true),
        (&["B7"], "A7", false),
        (&["A7"], "A7", false),
        (&["*"], "A7", false),
        (&["B8", "A8"], "A7", true),
        (&["*"], "A1", true),
        (&["A1", "B7"], "A1", true),
    ] {
        let found = of_with(event(app), bots);
        assert_eq!(found.echo.is_some(), is_echo, "{bots:?} {app}");
        assert_eq!(found.kind.as_deref(), Some("message"));
    }
}

/// When somebody edits a message that mentions the app, Slack sends the mention anew, with another event's id.
#[test]
fn a_mention_is_one_event_however_often_its_message_is_edited() {
    let mention = |event_id: &str, more: Value| {
        let mut event = json!({"type": "app_mention", "channel": "C1", "user": "U1", "text": "<@UBOT> help", "ts": "1.5"});
        for (key, value) in more.as_object().expect("fields") {
            event[key] = value.clone();
        }
        let mut sent = envelope(event);
        sent["event_id"] = json!(event_id);
        match read(&HeaderMap::new(), sent.to_string().as_bytes(), &[]) {
            Ok(SlackRequest::Event(found)) => *found,
            other => panic!("{other:?}"),
        }
    };
    let edited = json!({"user": "U1", "ts": "9.0"});
    let first = mention("Ev1", json!({}));
    assert_eq!(first.kind.as_deref(), Some("app_mention"));
    assert_eq!(first.payload["event_id"], "Ev1");
    for (event_id, more, is_same) in [
        ("Ev1", json!({}), true),
        ("Ev2", json!({"edited": edited}), true),
        (
            "Ev3",
            json!({"edited": edited, "text": "<@UBOT> help me"}),
            true,
        ),
        ("Ev4", json!({"ts": "1.6"}), false),
        ("Ev5", json!({"channel": "C2"}), false),
        // The mention is added to a message that had none: the first that is heard of it.
        ("Ev6", json!({"ts": "1.7", "edited": edited}), false),
        ("Ev7", json!({"type": "message"}), false),
    ] {
        let found = mention(event_id, more.clone());
        let is_found_same = found.external_id == first.external_id;
        assert_eq!(is_found_same, is_same, "{event_id} {more}");
    }
}

/// The app is in T1; the message comes from the other workspace of a shared channel.
#[test]
fn a_thread_of_a_shared_channel_is_one_conversation() {
    let message = json!({"type": "message", "channel": "C1", "user": "U9", "text": "x", "ts": "2.0", "thread_ts": "1.0"});
    let mut theirs = envelope(message);
    theirs["team_id"] = json!("T2");
    let Ok(SlackRequest::Event(found)) =
        read(&HeaderMap::new(), theirs.to_string().as_bytes(), &[])
    else {
        panic!("an event");
    };
    assert_eq!(found.conversation.as_deref(), Some("slack:T1:C1:1.0"));
    assert_eq!(found.payload["team_id"], "T2");
}

/// Slack escapes three characters of what somebody writes, once; what it sent in full is shown as it was sent.
#[test]
fn what_somebody_wrote_is_read_with_its_three_characters() {
    for (sent, written) in [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("1 &lt; 2 &gt; 0", "1 < 2 > 0"),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("&amp;amp;", "&amp;"),
        ("&copy; stays", "&copy; stays"),
        ("<@U1> said &lt;!here&gt;", "<@U1> said <!here>"),
        ("nothing to do", "nothing to do"),
    ] {
        let found = of(
            json!({"type": "message", "channel": "C1", "user": "U1", "text": sent, "ts": "1.5"}),
        );
        assert_eq!(found.payload["text"], written, "{sent}");
        assert_eq!(found.payload["event"]["text"], sent, "{sent}");
    }
}
