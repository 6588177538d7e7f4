//! What the catalog's further keys make of a request.

use super::*;
use crate::connect::{Doubt, Resolution, catalog::Verdict, next_page, resolution};
use crate::{connect::CallOutcome, domain::Timestamp};
use std::collections::BTreeMap;

fn with_account(id: &str, arguments: Value, data: Value) -> Result<ShapedRequest, BadParams> {
    let catalog = Catalog::embedded().unwrap();
    let capability = catalog.capability(id).unwrap();
    let data = data.as_object().unwrap().clone();
    let integration = catalog.integration(&capability.integration).unwrap();
    let account = Account {
        base_url: integration.base_url_for(None, &data)?,
        data,
        quota: None,
    };
    shape(
        capability,
        &arguments,
        &account,
        capability.write.then_some("tnr_key"),
    )
}

fn text(body: &Option<Body>) -> String {
    match body {
        Some(Body::Bytes { bytes, .. }) => String::from_utf8(bytes.clone()).unwrap(),
        other => format!("{other:?}"),
    }
}

#[test]
fn forms_have_brackets_and_lists_repeat() {
    let arguments = json!({"email": "a@b.example", "metadata": {"number": "1007", "kind": "x"}});
    let request = with_account("stripe.customer.create", arguments, json!({})).unwrap();
    let pairs = [
        ("email", "a@b.example"),
        ("metadata[kind]", "x"),
        ("metadata[number]", "1007"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(request.body, Some(Body::Form(pairs.to_vec())));
    let headers: BTreeMap<_, _> = request.headers.into_iter().collect();
    assert_eq!(headers["Idempotency-Key"], "tnr_key");
    assert_eq!(headers["Stripe-Version"], "2024-06-20");

    let arguments =
        json!({"base_id": "appAbCdEfGhIjKlMn", "table": "Due & paid", "fields": ["a", "b"]});
    let request = with_account("airtable.records.list", arguments, json!({})).unwrap();
    assert_eq!(
        request.url.as_str(),
        "https://api.airtable.com/v0/appAbCdEfGhIjKlMn/Due%20&%20paid?fields%5B%5D=a&fields%5B%5D=b&pageSize=100"
    );
}

#[test]
fn a_path_may_have_several_segments_and_no_way_up() {
    let file = |path: &str| {
        let arguments = json!({"owner": "octocat", "repo": "hello", "path": path});
        with_account("github.content.get", arguments, json!({}))
    };
    assert_eq!(
        file("docs/a b.md").unwrap().url.path(),
        "/repos/octocat/hello/contents/docs/a%20b.md"
    );
    for path in ["../../../user", "docs/../x", "a//b", "./a", "/"] {
        assert_eq!(file(path).unwrap_err().field, "path", "{path}");
    }
}

#[test]
fn an_account_decides_the_address_within_its_provider() {
    let query = || json!({"query": "SELECT Id FROM Account"});
    let salesforce =
        |url: &str| with_account("salesforce.query", query(), json!({"instance_url": url}));
    let request = salesforce("https://acme.my.salesforce.com").unwrap();
    assert_eq!(request.url.host_str(), Some("acme.my.salesforce.com"));
    for elsewhere in [
        "https://evil.example",
        "https://evil.example/.salesforce.com",
        "https://acme.my.salesforce.com@evil.example",
        "https://acme.my.salesforce.com.evil.example",
        "http://acme.my.salesforce.com",
        "https://acme.my.salesforce.com\n",
        "",
    ] {
        let error = salesforce(elsewhere).unwrap_err();
        assert_eq!(error.field, "account.instance_url", "{elsewhere}: {error}");
    }
    let ticket = |name: &str| {
        with_account(
            "zendesk.ticket.search",
            json!({"query": "x"}),
            json!({"subdomain": name}),
        )
    };
    assert_eq!(
        ticket("acme").unwrap().url.host_str(),
        Some("acme.zendesk.com")
    );
    for name in ["evil.example/", "evil.example#", "a.b", "", "-", "a@b"] {
        assert!(ticket(name).is_err(), "{name}");
    }
    assert!(
        with_account(
            "gitlab.issues.list",
            json!({"project": "a/b"}),
            json!({"host": "git.acme.example/x"})
        )
        .is_err()
    );
}

#[test]
fn other_hosts_are_for_the_provider_itself_and_not_for_a_stand_in() {
    let catalog = Catalog::embedded().unwrap();
    let capability = catalog.capability("dropbox.files.upload").unwrap();
    let arguments = json!({"path": "/Grüße.txt", "content": "hi"});
    let at = |base_url: &str| {
        let account = Account {
            base_url: base_url.into(),
            ..Account::default()
        };
        shape(capability, &arguments, &account, Some("tnr_key")).unwrap()
    };
    let request = at("https://api.dropboxapi.com");
    assert_eq!(
        request.url.as_str(),
        "https://content.dropboxapi.com/2/files/upload"
    );
    assert_eq!(text(&request.body), "hi");
    let argument = &request.headers[0];
    assert_eq!(argument.0, "Dropbox-API-Arg");
    assert!(
        argument.1.contains("/Gr\\u00fc\\u00dfe.txt"),
        "{argument:?}"
    );
    let request = at("http://127.0.0.1:9/dropbox");
    assert_eq!(
        request.url.as_str(),
        "http://127.0.0.1:9/dropbox/2/files/upload"
    );
}

#[test]
fn a_file_goes_in_parts_with_a_boundary_of_its_own() {
    let arguments = json!({"name": "a.csv", "content": "x,y\n", "content_type": "text/csv"});
    let request = with_account("drive.files.upload", arguments.clone(), json!({})).unwrap();
    let again = with_account("drive.files.upload", arguments, json!({})).unwrap();
    assert_eq!(request.body, again.body);
    let body = text(&request.body);
    let Some(Body::Bytes { content_type, .. }) = &request.body else {
        panic!("{body}")
    };
    let boundary = content_type
        .strip_prefix("multipart/related; boundary=")
        .unwrap();
    let parts: Vec<_> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 4, "{body}");
    assert!(parts[1].contains("\r\n\r\n{\"appProperties\":{\"tenure_effect\":\"tnr_key\"}"));
    assert_eq!(parts[2], "\r\nContent-Type: text/csv\r\n\r\nx,y\n\r\n");
    assert_eq!(parts[3], "--\r\n");
}

#[test]
fn steps_lead_to_the_request_that_counts_and_the_token_stays_with_the_provider() {
    let arguments = json!({"channel": "C0123456789", "filename": "a.txt", "content": "hé"});
    let first = with_account("slack.files.upload", arguments.clone(), json!({})).unwrap();
    assert_eq!(first.url.query(), Some("filename=a.txt&length=3"));
    assert!(first.with_credential && !first.write);
    let rest = first.rest.clone().unwrap();
    let ticket = |url: &str| json!({"url": url, "file": "F1"});
    let second = rest
        .after(ticket("https://files.slack.com/upload/v1/abc"))
        .unwrap();
    assert!(!second.with_credential && second.headers.is_empty());
    assert_eq!(text(&second.body), "hé");
    let third = second.rest.clone().unwrap().after(json!("OK - 3")).unwrap();
    assert!(third.rest.is_none() && third.write && third.with_credential);
    assert_eq!(
        third.body,
        Some(Body::Json(
            json!({"files": [{"id": "F1"}], "channel_id": "C0123456789"})
        ))
    );
    for elsewhere in [
        "https://evil.example/upload",
        "https://files.slack.com.evil.example/",
        "http://files.slack.com/",
        "file:///etc/passwd",
        "",
    ] {
        assert!(rest.after(ticket(elsewhere)).is_err(), "{elsewhere}");
    }
}

#[test]
fn pages_follow_by_what_the_capability_says() {
    let catalog = Catalog::embedded().unwrap();
    let next = |id: &str, arguments: Value, output: Value| {
        next_page(catalog.capability(id).unwrap(), &arguments, &output)
    };
    let full: Vec<_> = (0..3).map(|n| json!({"id": format!("i{n}")})).collect();
    for (id, arguments, output, expected) in [
        (
            "gmail.search",
            json!({"query": "x"}),
            json!({"messages": [], "next_page_token": "t"}),
            Some(json!({"query": "x", "page_token": "t"})),
        ),
        (
            "gmail.search",
            json!({"query": "x"}),
            json!({"messages": [], "next_page_token": ""}),
            None,
        ),
        (
            "quickbooks.invoice.query",
            json!({"max_results": 3}),
            json!({"invoices": full}),
            Some(json!({"max_results": 3, "start_position": 4})),
        ),
        (
            "quickbooks.invoice.query",
            json!({}),
            json!({"invoices": full}),
            None,
        ),
        (
            "github.repos.list",
            json!({"per_page": 3, "page": 2}),
            json!({"repos": full}),
            Some(json!({"per_page": 3, "page": 3})),
        ),
        (
            "github.repos.list",
            json!({"per_page": 4, "page": 2}),
            json!({"repos": full}),
            None,
        ),
        (
            "stripe.customer.list",
            json!({}),
            json!({"items": full, "has_more": true}),
            Some(json!({"starting_after": "i2"})),
        ),
        (
            "stripe.customer.list",
            json!({}),
            json!({"items": full, "has_more": false}),
            None,
        ),
        ("gmail.send", json!({}), json!({"id": "x"}), None),
    ] {
        assert_eq!(next(id, arguments, output), expected, "{id}");
    }
}

#[test]
fn what_may_be_repeated_is_and_what_is_so_already_is_a_success() {
    let catalog = Catalog::embedded().unwrap();
    let way = |id: &str, arguments: Value| {
        let account = Account {
            base_url: "https://x.example".into(),
            data: json!({"realm_id": "1"}).as_object().unwrap().clone(),
            quota: None,
        };
        let capability = catalog.capability(id).unwrap();
        resolution(
            capability,
            &arguments,
            &account,
            "tnr_key",
            Doubt {
                sent: Timestamp::from_millis(0),
                now: Timestamp::from_millis(0),
            },
        )
        .unwrap()
    };
    for (id, arguments) in [
        ("slack.reaction.add", json!({})),
        ("quickbooks.invoice.send", json!({})),
        ("stripe.refund.create", json!({})),
    ] {
        assert!(matches!(way(id, arguments), Resolution::Resend), "{id}");
    }
    assert!(matches!(
        way("gmail.drafts.send", json!({})),
        Resolution::AskPerson(_)
    ));
    let event = json!({"calendar_id": "a@b.example"});
    let Resolution::Probe(probe) = way("calendar.event.create", event) else {
        panic!("no probe")
    };
    assert_eq!(
        probe.request.url.path(),
        "/calendar/v3/calendars/a@b.example/events"
    );

    let added = catalog.capability("slack.reaction.add").unwrap();
    let outcome = added.answer.read(
        200,
        crate::connect::answer::AnswerBody::Json(json!({"ok": false, "error": "already_reacted"})),
        Default::default(),
    );
    assert!(matches!(outcome, CallOutcome::Ok { .. }), "{outcome:?}");
}

#[test]
fn a_verification_says_whether_the_credential_works_and_whose_it_is() {
    let catalog = Catalog::embedded().unwrap();
    let slack = catalog.integration("slack").unwrap();
    let request = slack.verification(&account()).unwrap().unwrap();
    assert_eq!(request.url.path(), "/prefix/api/auth.test");
    let verify = slack.verify.as_ref().unwrap();
    let answer = |status, body| {
        let body = crate::connect::answer::AnswerBody::Json(body);
        verify.judge(&request.answer.read(status, body, Default::default()))
    };
    match answer(200, json!({"ok": true, "team": "Acme", "team_id": "T1"})) {
        Verdict::Works(account) => {
            assert_eq!(
                (account.name.as_deref(), account.id.as_deref()),
                (Some("Acme"), Some("T1"))
            );
        }
        other => panic!("{other:?}"),
    }
    let refused = answer(200, json!({"ok": false, "error": "token_revoked"}));
    assert!(matches!(refused, Verdict::Refused(_)), "{refused:?}");
    assert!(matches!(answer(503, json!({})), Verdict::Unknown(_)));
}
