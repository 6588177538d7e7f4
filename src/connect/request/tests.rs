use super::*;
use crate::connect::Catalog;
use base64::{Engine, engine::general_purpose::URL_SAFE};
use serde_json::json;

mod shapes;

fn account() -> Account {
    let data = json!({"realm_id": "934/145"}).as_object().unwrap().clone();
    Account {
        base_url: "http://127.0.0.1:9/prefix".into(),
        data,
        quota: None,
    }
}

fn shaped(id: &str, arguments: Value) -> Result<ShapedRequest, BadParams> {
    let catalog = Catalog::embedded().unwrap();
    let capability = catalog.capability(id).unwrap();
    shape(
        capability,
        &arguments,
        &account(),
        capability.write.then_some("tnr_key"),
    )
}

#[test]
fn a_slack_message_is_slacks_own_request() {
    let request = shaped(
        "slack.chat.post",
        json!({"channel": "#finance", "text": "hi"}),
    )
    .unwrap();
    assert_eq!(request.method, Method::POST);
    assert_eq!(
        request.url.as_str(),
        "http://127.0.0.1:9/prefix/api/chat.postMessage"
    );
    let metadata =
        json!({"event_type": "tenure_effect", "event_payload": {"tenure_effect": "tnr_key"}});
    assert_eq!(
        request.body,
        Some(Body::Json(
            json!({"channel": "#finance", "text": "hi", "metadata": metadata})
        ))
    );
    assert_eq!(
        request.headers,
        [(IDEMPOTENCY_HEADER.to_owned(), "tnr_key".to_owned())]
    );
    assert!(request.write);
}

#[test]
fn a_quickbooks_query_is_encoded_and_its_company_is_one_segment() {
    let request = shaped(
        "quickbooks.invoice.query",
        json!({"balance_over": 500.5, "doc_number": "a&b"}),
    )
    .unwrap();
    let expected = "http://127.0.0.1:9/prefix/v3/company/934%2F145/query?minorversion=75&query=select+*+from+Invoice+where+\
        Balance+%3E+%27500.5%27+and+DocNumber+%3D+%27a%26b%27+startposition+1+maxresults+1000";
    assert_eq!(request.url.as_str(), expected);
    assert!(!request.write && request.body.is_none());
    let request = shaped("quickbooks.customer.get", json!({"id": "1?x=/../2"})).unwrap();
    assert!(
        request.url.path().ends_with("/customer/1%3Fx=%2F..%2F2"),
        "{}",
        request.url
    );
}

#[test]
fn a_mail_carries_its_effect_key_as_message_id() {
    let request = shaped(
        "gmail.send",
        json!({"to": "a@b.example", "subject": "s", "body": "b"}),
    )
    .unwrap();
    let Some(Body::Json(body)) = request.body else {
        panic!("no json")
    };
    let mail = String::from_utf8(URL_SAFE.decode(body["raw"].as_str().unwrap()).unwrap()).unwrap();
    assert!(
        mail.contains("\r\nMessage-ID: <tnr_key@tenure>\r\n"),
        "{mail}"
    );
    assert_eq!(
        body.as_object().unwrap().len(),
        1,
        "an absent thread is left out"
    );
    assert_eq!(
        request.url.path(),
        "/prefix/gmail/v1/users/me/messages/send"
    );
}

#[test]
fn optional_arguments_are_left_out_or_have_a_default() {
    let request = shaped("gmail.search", json!({"query": "from:anna"})).unwrap();
    assert_eq!(request.url.query(), Some("maxResults=100&q=from%3Aanna"));
    let request = shaped(
        "slack.conversations.history",
        json!({"channel": "C1234", "limit": 5}),
    )
    .unwrap();
    assert_eq!(
        request.url.query(),
        Some("channel=C1234&include_all_metadata=true&limit=5")
    );
}

#[test]
fn wrong_arguments_name_the_field_and_what_would_be_right() {
    let cases = [
        (
            "slack.chat.post",
            json!({"channel": "#a"}),
            "text",
            "is missing; it is the message, in Slack's markup",
        ),
        (
            "slack.chat.post",
            json!([]),
            "arguments",
            "is not of type \"object\"",
        ),
        (
            "slack.chat.post",
            json!({"chanel": "#a", "text": "t", "channel": "#a"}),
            "chanel",
            "`channel` may be meant",
        ),
        (
            "slack.chat.post",
            json!({"zzz": 1, "text": "t", "channel": "#a"}),
            "zzz",
            "known are blocks, channel, text, thread_ts",
        ),
        (
            "slack.chat.post",
            json!({"channel": "finance", "text": "t"}),
            "channel",
            "it is a channel as `#name`",
        ),
        (
            "slack.chat.post",
            json!({"channel": "#a", "text": 7}),
            "text",
            "is not of type \"string\"",
        ),
        (
            "quickbooks.invoice.query",
            json!({"max_results": 5000}),
            "max_results",
            "is greater than the maximum of 1000",
        ),
        (
            "quickbooks.invoice.query",
            json!({"where": [{"field": "Id", "operator": "="}]}),
            "where[0].value",
            "is missing",
        ),
        (
            "quickbooks.invoice.query",
            json!({"due_before": "tomorrow"}),
            "due_before",
            "YYYY-MM-DD",
        ),
        (
            "quickbooks.customer.get",
            json!({"id": ".."}),
            "id",
            "must be neither empty nor dots",
        ),
        (
            "gmail.send",
            json!({"to": "x", "subject": "s", "body": ""}),
            "to",
            "",
        ),
        (
            "gmail.send",
            json!({"to": "a@b.example\r\nBcc: c", "subject": "s", "body": ""}),
            "to",
            "one line",
        ),
    ];
    for (id, arguments, field, message) in cases {
        let error = shaped(id, arguments.clone()).unwrap_err();
        assert_eq!(error.field, field, "{id} {arguments}: {error}");
        assert!(error.message.contains(message), "{id} {arguments}: {error}");
    }
}

#[test]
fn accounts_and_keys_are_not_optional() {
    let catalog = Catalog::embedded().unwrap();
    let customer = catalog.capability("quickbooks.customer.get").unwrap();
    let bare = Account {
        base_url: "https://x.example".into(),
        ..Account::default()
    };
    assert_eq!(
        shape(customer, &json!({"id": "1"}), &bare, None)
            .unwrap_err()
            .field,
        "account.realm_id"
    );
    let post = catalog.capability("slack.chat.post").unwrap();
    let arguments = json!({"channel": "#a", "text": "t"});
    assert_eq!(
        shape(post, &arguments, &bare, None).unwrap_err().field,
        "effect_key"
    );
    assert_eq!(
        shape(post, &arguments, &bare, Some("a\nb"))
            .unwrap_err()
            .field,
        "effect_key"
    );
    for base_url in ["", "slack.com", "file:///etc", "data:x"] {
        let account = Account {
            base_url: base_url.into(),
            ..Account::default()
        };
        assert_eq!(
            shape(post, &arguments, &account, Some("k"))
                .unwrap_err()
                .field,
            "account.base_url"
        );
    }
}

#[test]
fn a_request_follows_its_account_to_another_address() {
    let catalog = Catalog::embedded().unwrap();
    let capability = catalog.capability("salesforce.record.get").unwrap();
    let at = |url: &str| Account {
        base_url: url.into(),
        ..Account::default()
    };
    let old = "https://acme.my.salesforce.com";
    let arguments = json!({"object": "Account", "id": "001000000000001AAA", "fields": ["Name"]});
    let request = shape(capability, &arguments, &at(old), None).unwrap();
    for (from, to, expected) in [
        (
            old,
            "https://acme--new.my.salesforce.com",
            Some("https://acme--new.my.salesforce.com"),
        ),
        (old, "http://127.0.0.1:9/sf", Some("http://127.0.0.1:9/sf")),
        (old, old, None),
        (
            "https://other.my.salesforce.com",
            "https://acme--new.my.salesforce.com",
            None,
        ),
        (
            "https://acme.my.salesforce.com/below",
            "https://acme--new.my.salesforce.com",
            None,
        ),
        ("", "https://acme--new.my.salesforce.com", None),
    ] {
        let moved = request.moved(from, to).map(|moved| moved.url.to_string());
        let expected = expected.map(|base| request.url.as_str().replace(old, base));
        assert_eq!(moved, expected, "from {from} to {to}");
    }
}
