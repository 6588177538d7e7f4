use super::*;
use crate::connect::{
    Catalog,
    answer::{AnswerBody, CallOutcome, RateHints},
};
use serde_json::json;

fn account() -> Account {
    Account {
        base_url: "http://127.0.0.1:9".into(),
        ..Account::default()
    }
}

fn probe(id: &str, arguments: Value) -> Box<ShapedProbe> {
    let catalog = Catalog::embedded().unwrap();
    let sent = Timestamp::from_millis(1_000_000_500);
    match resolution(
        catalog.capability(id).unwrap(),
        &arguments,
        &account(),
        "tnr_key",
        Doubt { sent, now: sent },
    )
    .unwrap()
    {
        Resolution::Probe(probe) => probe,
        other => panic!("{other:?}"),
    }
}

fn next(reading: ProbeReading) -> Box<ShapedProbe> {
    match reading {
        ProbeReading::Next(next) => next,
        other => panic!("{other:?}"),
    }
}

fn message(key: &str) -> Value {
    json!({"ts": "7.1", "metadata": {"event_payload": {"tenure_effect": key}}})
}

#[test]
fn reads_are_just_repeated() {
    let catalog = Catalog::embedded().unwrap();
    let search = catalog.capability("gmail.search").unwrap();
    let found = resolution(
        search,
        &json!({"query": "x"}),
        &account(),
        "k",
        Doubt {
            sent: Timestamp::default(),
            now: Timestamp::default(),
        },
    )
    .unwrap();
    assert!(matches!(found, Resolution::Resend));
}

#[test]
fn a_message_is_looked_for_in_the_channels_history() {
    let probe = probe("slack.chat.post", json!({"channel": "C123", "text": "t"}));
    assert_eq!(probe.not_before, Timestamp::from_millis(1_000_002_500));
    assert_eq!(
        probe.request.url.as_str(),
        "http://127.0.0.1:9/api/conversations.history?channel=C123&include_all_metadata=true&limit=999&oldest=999880.500000"
    );
    assert!(!probe.request.write);
    assert!(matches!(
        probe.read(&json!({"messages": []})),
        ProbeReading::DidNotHappen
    ));
    assert!(matches!(
        probe.read(&json!({"messages": [message("tnr_other"), {"ts": "1"}]})),
        ProbeReading::DidNotHappen
    ));
    assert!(matches!(
        probe.read(&json!({"messages": "none"})),
        ProbeReading::Unclear(_)
    ));
    match probe.read(&json!({"messages": [message("tnr_other"), message("tnr_key")]})) {
        ProbeReading::Happened(output) => assert_eq!(output["ts"], "7.1"),
        other => panic!("{other:?}"),
    }
}

/// It may have been carried out at any time until the answer was lost.
#[test]
fn a_look_can_be_relied_on_only_some_time_after_the_answer_was_lost() {
    let catalog = Catalog::embedded().unwrap();
    let sent = Timestamp::from_millis(1_000_000_500);
    for (lost_ms, from_ms) in [(0, 2_000), (1_500, 3_500), (30_000, 32_000)] {
        let now = sent.after(Duration::from_millis(lost_ms));
        let found = resolution(
            catalog.capability("slack.chat.post").unwrap(),
            &json!({"channel": "C123", "text": "t"}),
            &account(),
            "tnr_key",
            Doubt { sent, now },
        );
        let Ok(Resolution::Probe(probe)) = found else {
            panic!("{found:?}");
        };
        let expected = sent.after(Duration::from_millis(from_ms));
        assert_eq!(probe.not_before, expected, "lost after {lost_ms} ms");
    }
}

#[test]
fn a_channels_name_is_looked_up_first_over_all_pages() {
    let first = probe(
        "slack.chat.post",
        json!({"channel": "#finance", "text": "t"}),
    );
    assert_eq!(first.request.url.path(), "/api/conversations.list");
    let page = json!({"channels": [{"id": "C1", "name": "#finance"}], "response_metadata": {"next_cursor": "more"}});
    let second = next(first.read(&page));
    assert!(second.request.url.query().unwrap().contains("cursor=more"));
    assert!(
        matches!(
            second.read(&json!({"channels": []})),
            ProbeReading::Unclear(_)
        ),
        "no such channel"
    );
    let third = next(second.read(&json!({"channels": [{"id": "C2", "name": "finance"}]})));
    assert!(
        third
            .request
            .url
            .as_str()
            .contains("/api/conversations.history?channel=C2&"),
        "{}",
        third.request.url
    );
    let fourth =
        next(third.read(&json!({"messages": [], "response_metadata": {"next_cursor": "p2"}})));
    assert!(fourth.request.url.query().unwrap().contains("cursor=p2"));
    assert!(matches!(
        fourth.read(&json!({"messages": [], "response_metadata": {"next_cursor": ""}})),
        ProbeReading::DidNotHappen
    ));
    assert!(matches!(
        fourth.read(&json!({"messages": [message("tnr_key")]})),
        ProbeReading::Happened(_)
    ));
}

#[test]
fn endless_pages_end() {
    let mut probe = probe("slack.chat.post", json!({"channel": "C123", "text": "t"}));
    for _ in 0..1_000 {
        match probe.read(&json!({"messages": [], "response_metadata": {"next_cursor": "again"}})) {
            ProbeReading::Next(next) => probe = next,
            ProbeReading::Unclear(_) => return,
            other => panic!("{other:?}"),
        }
    }
    panic!("it never ended");
}

#[test]
fn a_mail_is_looked_for_by_its_message_id() {
    let probe = probe(
        "gmail.send",
        json!({"to": "a@b.example", "subject": "s", "body": "b"}),
    );
    assert!(
        probe
            .request
            .url
            .query()
            .unwrap()
            .contains("q=rfc822msgid%3A%3Ctnr_key%40tenure%3E")
    );
    assert!(matches!(
        probe.read(&json!({"resultSizeEstimate": 0})),
        ProbeReading::DidNotHappen
    ));
    match probe.read(&json!({"messages": [{"id": "m1", "threadId": "t1"}]})) {
        ProbeReading::Happened(output) => assert_eq!(output, json!({"id": "m1", "threadId": "t1"})),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_in_a_thread_is_looked_for_in_the_thread() {
    let arguments = json!({"channel": "#finance", "text": "t", "thread_ts": "1.000002"});
    let first = probe("slack.chat.post", arguments);
    assert_eq!(first.request.url.path(), "/api/conversations.list");
    let second = next(first.read(&json!({"channels": [{"id": "C2", "name": "finance"}]})));
    assert_eq!(second.request.url.path(), "/api/conversations.replies");
    assert!(second.request.url.query().unwrap().contains("ts=1.000002"));
    assert!(matches!(
        second.read(&json!({"messages": [message("tnr_key")]})),
        ProbeReading::Happened(_)
    ));
}

fn way(capability: &Arc<Capability>, sent: Timestamp, now: Timestamp) -> Resolution {
    let arguments = match &capability.input["examples"][0] {
        Value::Null => json!({"project": "1", "title": "x"}),
        example => example.clone(),
    };
    let account = Account {
        data: json!({"realm_id": "1", "account_id": "1", "tenant_id": "1"})
            .as_object()
            .unwrap()
            .clone(),
        ..account()
    };
    resolution(
        capability,
        &arguments,
        &account,
        "tnr_key",
        Doubt { sent, now },
    )
    .unwrap()
}

/// As long as the provider's documents say; where they do not say it, for as long as the shortest that are known.
#[test]
fn a_key_is_believed_as_long_as_its_provider_remembers_it() {
    let catalog = Catalog::embedded().unwrap();
    let sent = Timestamp::from_millis(1_000_000_000);
    for (id, seconds) in [
        ("stripe.refund.create", 86_400),
        ("stripe.customer.create", 86_400),
        ("zendesk.ticket.create", 7_200),
        ("paypal.invoice.create", 21_600),
        ("xero.invoice.create", 360),
        ("docusign.envelope.send", 604_800),
        ("square.customer.create", 300),
        ("quickbooks.customer.create", 300),
    ] {
        let Some(capability) = catalog.capability(id) else {
            panic!("{id} is not in the catalog");
        };
        for (after, is_known) in [
            (0, true),
            (seconds - 1, true),
            (seconds, false),
            (seconds * 30, false),
        ] {
            let way = way(capability, sent, sent.after(Duration::from_secs(after)));
            match way {
                Resolution::Resend => assert!(is_known, "{id} after {after} s"),
                Resolution::AskPerson(why) => {
                    assert!(
                        !is_known && why.contains("know the key"),
                        "{id} after {after} s: {why}"
                    );
                }
                Resolution::Probe(_) => panic!("{id} has none"),
            }
        }
    }
    // What is the same however often it is done has no age.
    let natural = catalog.capability("slack.reaction.add").unwrap();
    let late = sent.after(Duration::from_secs(1_000_000));
    assert!(matches!(way(natural, sent, late), Resolution::Resend));
}

#[test]
fn a_key_that_is_forgotten_is_followed_by_the_probe_where_there_is_one() {
    let text = include_str!("../../../catalog/integrations/gitlab.yaml");
    let native = "idempotency: { native: Idempotency-Key, valid_for_seconds: 60 }";
    let text = text.replace("idempotency: by_probe", native);
    let integration = crate::connect::catalog::read_integration("gitlab.yaml", &text).unwrap();
    let with_probe = integration
        .capabilities
        .iter()
        .find(|one| one.probe.is_some());
    let capability = with_probe.unwrap();
    let sent = Timestamp::from_millis(1_000_000_000);
    let after = |seconds| way(capability, sent, sent.after(Duration::from_secs(seconds)));
    assert!(matches!(after(59), Resolution::Resend));
    assert!(matches!(after(60), Resolution::Probe(_)));
}

/// Nothing found in it would say that the write did not happen, and it would be sent again.
#[test]
fn a_probes_answer_without_its_list_tells_nothing() {
    let mail = json!({"to": "a@x.test", "subject": "s", "body": "b"});
    let posted = || probe("slack.chat.post", json!({"channel": "C123", "text": "t"}));
    let sent = || probe("gmail.send", mail.clone());
    let issue = || {
        probe(
            "linear.issue.create",
            json!({"team_id": "9cfb482a-81e3-4154-b5b9-2c805e70a02d", "title": "t"}),
        )
    };
    for (probe, body, tells) in [
        (posted(), json!({"ok": true, "messages": []}), true),
        (posted(), json!({"ok": true}), false),
        (posted(), json!({}), false),
        (posted(), json!({"ok": true, "messages": null}), false),
        (
            posted(),
            json!({"ok": false, "error": "ratelimited"}),
            false,
        ),
        (sent(), json!({"resultSizeEstimate": 0}), true),
        (sent(), json!({}), false),
        (
            sent(),
            json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}}),
            false,
        ),
        (issue(), json!({"data": {"issues": {"nodes": []}}}), true),
        (issue(), json!({"data": null}), false),
        (
            issue(),
            json!({"data": {"issues": {"nodes": []}}, "errors": [{"message": "m"}]}),
            false,
        ),
    ] {
        let answer = &probe.request.answer;
        let outcome = answer.read(200, AnswerBody::Json(body.clone()), RateHints::default());
        let found = match outcome {
            CallOutcome::Ok { output, .. } => {
                matches!(probe.read(&output), ProbeReading::DidNotHappen)
            }
            _ => false,
        };
        assert_eq!(found, tells, "{} {body}", probe.request.capability);
    }
}
