use super::*;

const SMALL: &str = r#"
id: small
name: Small
base_url: https://small.example
auth: [{ type: bearer }]
quota: { requests: 1, per_seconds: 1, burst: 1 }
capabilities:
  - id: small.thing.get
    title: Get
    description: Gets a thing.
    permission: small.read
    risk: low
    write: false
    input: { type: object, properties: { id: { type: string } } }
    output: { type: object }
    request: { method: GET, path: "/things/{input.id}" }
"#;

#[test]
fn the_embedded_catalog_has_no_mistake() {
    let catalog = Catalog::embedded().unwrap();
    let ids: Vec<_> = catalog
        .capabilities()
        .map(|capability| capability.id.as_str())
        .collect();
    // Graphs name these; they do not go away.
    for kept in [
        "gmail.search",
        "gmail.send",
        "quickbooks.customer.get",
        "quickbooks.invoice.query",
        "slack.chat.post",
        "slack.conversations.history",
        "slack.users.lookupByEmail",
    ] {
        assert!(ids.contains(&kept), "{kept}");
    }
    for capability in catalog.capabilities() {
        assert!(catalog.integration(&capability.integration).is_some());
    }
    assert!(catalog.integrations().count() >= 40);
    for integration in catalog.integrations() {
        let id = &integration.id;
        assert!(integration.verify.is_some(), "{id} cannot be verified");
        assert!(integration.docs.is_some(), "{id} names no documentation");
    }
    for rich in [
        "slack",
        "gmail",
        "calendar",
        "drive",
        "quickbooks",
        "microsoft",
        "hubspot",
        "salesforce",
        "github",
        "jira",
        "notion",
        "stripe",
    ] {
        let count = catalog.integration(rich).unwrap().capabilities.len();
        assert!(count >= 5, "{rich} has {count} capabilities");
    }
}

#[test]
fn permissions_cover_by_every_name_and_by_no_other() {
    let catalog = Catalog::embedded().unwrap();
    let query = catalog.capability("quickbooks.invoice.query").unwrap();
    for (granted, covers) in [
        ("quickbooks.read", true),
        ("invoice.read", true),
        ("quickbooks.invoice.query", true),
        ("quickbooks.write", false),
        ("slack.read", false),
        ("", false),
        ("quickbooks", false),
    ] {
        assert_eq!(query.is_covered_by(granted), covers, "{granted}");
    }
    assert_eq!(query.permissions().next(), Some("quickbooks.read"));
    let facts = catalog.facts("gmail.send").unwrap();
    assert!(facts.write && facts.risk == Risk::High && facts.integration == "gmail");
}

#[test]
fn a_misspelled_id_finds_what_was_meant() {
    let catalog = Catalog::embedded().unwrap();
    for (id, expected) in [
        ("slack.chat.pots", Some("slack.chat.post")),
        (
            "slack.users.lookupbyemail",
            Some("slack.users.lookupByEmail"),
        ),
        ("gmail.sent", Some("gmail.send")),
        ("banana", None),
    ] {
        assert_eq!(catalog.nearest(id), expected, "{id}");
    }
    assert_eq!(catalog.nearest(&"x".repeat(1_000_000)), None);
}

#[test]
fn mistakes_in_a_file_are_named() {
    let cases = [
        (
            "id: small.thing.get",
            "id: other.thing.get",
            "the id does not start with `small.`",
        ),
        (
            "{input.id}",
            "{input.ident}",
            "`{input.ident}` names no field",
        ),
        (
            "{input.id}",
            "{account.realm}",
            "`{account.realm}` names no field",
        ),
        ("{input.id}", "{input.id", "a brace without its partner"),
        (
            "write: false",
            "write: false\n    idempotency: by_probe",
            "go together",
        ),
        ("risk: low", "risk: little", "\"little\" is not one of"),
        (
            "risk: low",
            "risk: low\n    colour: red",
            "'colour' was unexpected",
        ),
        ("risk: low", "risk: low\n    cost: 2", "costs 2"),
        ("type: string", "type: strong", "input"),
        ("method: GET", "method: FETCH", "\"FETCH\" is not one of"),
        ("auth: [{ type: bearer }]", "auth: [", "did not find"),
        (
            "{ type: bearer }",
            "{ type: bearrer }",
            "\"bearrer\" is not one of",
        ),
        (
            "{ type: bearer }",
            "{ type: oauth2_code, authorize_url: https://a.example }",
            "\"token_url\" is a required property",
        ),
        (
            "{ type: bearer }",
            "{ type: oauth2_code, authorize_url: https://a.example, token_url: https://t.example, pkse: true }",
            "'pkse' was unexpected",
        ),
        (
            "{ type: bearer }",
            "{ type: oauth2_code, authorize_url: \"https://{account.tenant}.example\", token_url: ftp://t.example }",
            "`{account.tenant}` is no field of the account",
        ),
        (
            "{ type: bearer }",
            "{ type: bearer }, { type: bearer }",
            "another way is called `bearer`",
        ),
        (
            "{ type: bearer }",
            "{ type: basic, username: \"{credential.user}\" }",
            "`{credential.user}` names no field",
        ),
        (
            "{ type: bearer }",
            "{ type: two_step, fields: [], request: { json: {} } }",
            "needs `url` or `path`",
        ),
        (
            "base_url: https://small.example",
            "base_url: \"{account.url}\"\naccount: [{ name: url, description: where it is }]",
            "needs a `pattern`",
        ),
        (
            "risk: low",
            "risk: low\n    idempotency: natural",
            "a read needs no",
        ),
        ("write: false", "write: true", "a write does not go by GET"),
        (
            "type: string } } }",
            "type: string } }, examples: [{ id: 7 }] }",
            "example 0 does not fit",
        ),
        (
            "risk: low",
            "risk: low\n    pagination: { by: cursor, items: things, argument: cursor, cursor: next }",
            "`things` is no field of the output",
        ),
        ("{input.id}", "{effect_key}", "means nothing here"),
        ("{input.id}", "{item.id}", "means nothing here"),
        (
            "path: \"/things/{input.id}\"",
            "path: /things, json: {}, form: {}",
            "at most one body",
        ),
    ];
    Catalog::from_yaml([("small.yaml", SMALL)]).unwrap();
    for (from, to, expected) in cases {
        let error = Catalog::from_yaml([("small.yaml", SMALL.replacen(from, to, 1))])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected) && error.contains("small.yaml"),
            "{to}: {error}"
        );
    }
    let twice = Catalog::from_yaml([("a.yaml", SMALL), ("b.yaml", SMALL)]).unwrap_err();
    assert_eq!(
        (twice.file.as_str(), twice.message.as_str()),
        ("b.yaml", "the id `small` is taken")
    );
}

#[test]
fn every_request_can_be_shaped_from_its_schemas_examples() {
    let catalog = Catalog::embedded().unwrap();
    let wrong: Vec<_> = catalog
        .integrations()
        .flat_map(|one| example_mistakes(&one.id, one))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_integration_says_where_its_answers_tell_of_errors() {
    let catalog = Catalog::embedded().unwrap();
    let gaps: Vec<_> = catalog
        .integrations()
        .flat_map(|one| answer_gaps(&one.id, one))
        .collect();
    assert!(gaps.is_empty(), "{gaps:#?}");
    let small = read_integration("small.yaml", SMALL).unwrap();
    let places: Vec<_> = answer_gaps("small.yaml", &small)
        .into_iter()
        .map(|gap| gap.place)
        .collect();
    assert_eq!(places, ["/answers/error"]);
    let made_up = SMALL
        .replace("quota:", "answers: { error: [] }\nquota:")
        .replace("output: { type: object }", "output: { type: object, required: [things] }\n    response: { things: { $get: body.things, default: [] } }");
    let read = read_integration("small.yaml", &made_up).unwrap();
    let gaps = answer_gaps("small.yaml", &read);
    assert!(
        gaps[0]
            .message
            .starts_with("`things` is required and made up"),
        "{gaps:?}"
    );
    let said = made_up.replace("    response:", "    requires: [/total]\n    response:");
    assert_eq!(
        answer_gaps(
            "small.yaml",
            &read_integration("small.yaml", &said).unwrap()
        ),
        []
    );
}

#[test]
fn a_verification_that_tells_of_an_error_with_status_200_connects_nothing() {
    use crate::connect::{RateHints, answer::AnswerBody};
    use serde_json::json;
    let catalog = Catalog::embedded().unwrap();
    for (integration, body, refused) in [
        ("slack", json!({"ok": false, "error": "org_frozen"}), true),
        ("slack", json!({"ok": false, "error": "invalid_auth"}), true),
        ("slack", json!({"ok": false, "error": "ratelimited"}), false),
        (
            "quickbooks",
            json!({"Fault": {"Error": [{"code": "610"}]}}),
            true,
        ),
        (
            "quickbooks",
            json!({"fault": {"error": [{"code": "3200"}]}}),
            true,
        ),
        (
            "monday",
            json!({"errors": [{"message": "m"}], "data": null}),
            true,
        ),
        (
            "linear",
            json!({"errors": [{"extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}),
            false,
        ),
        (
            "hubspot",
            json!({"status": "error", "category": "INVALID_AUTHENTICATION"}),
            true,
        ),
        (
            "pipedrive",
            json!({"success": false, "error": "unauthorized"}),
            true,
        ),
    ] {
        let verify = catalog.integration(integration).unwrap().verify.as_ref();
        let verify = verify.expect(integration);
        let body = AnswerBody::Json(body);
        let outcome = verify.answer.read(200, body, RateHints::default());
        match verify.judge(&outcome) {
            Verdict::Refused(_) => assert!(refused, "{integration}: {outcome:?}"),
            Verdict::Unknown(_) => assert!(!refused, "{integration}: {outcome:?}"),
            Verdict::Works(account) => panic!("{integration}: {outcome:?} is {account:?}"),
        }
    }
}

#[test]
fn places_of_errors_are_pointers() {
    for (answers, place) in [
        ("{ error: [errors] }", "/answers/error/0"),
        ("{ error: [{ at: /ok, is: [] }] }", "/answers/error/0"),
        ("{ error: [{ is: [1] }] }", "/answers/error/0"),
        (
            "{ error: [{ at: /ok, is: [1], not: [2] }] }",
            "/answers/error",
        ),
        ("{ error: [], partial: [data] }", "/answers/partial/0"),
        (
            "{ error: [], retry_after: [wait] }",
            "/answers/retry_after/0",
        ),
    ] {
        let text = SMALL.replace("quota:", &format!("answers: {answers}\nquota:"));
        let mistakes = read_integration("small.yaml", &text).unwrap_err();
        assert_eq!(mistakes[0].place, place, "{answers}: {mistakes:?}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let text = SMALL
        .replace(
            "{ type: bearer }",
            "{ type: basic, password: \"{credential.word}\" }",
        )
        .replace("{input.id}", "{input.ident}");
    let mistakes = read_integration("small.yaml", &text).unwrap_err();
    let places: Vec<_> = mistakes.iter().map(|one| one.place.as_str()).collect();
    assert_eq!(places, ["/auth/0/username", "small.thing.get"]);
}

#[test]
fn an_orgs_own_integrations_lie_on_top_and_never_instead() {
    let catalog = Catalog::embedded().unwrap();
    let own = || read_integration("small.yaml", SMALL).unwrap();
    let with = catalog.with_own([own()]).unwrap();
    assert!(with.capability("small.thing.get").is_some());
    assert!(with.capability("gmail.send").is_some());
    assert!(catalog.capability("small.thing.get").is_none());
    assert_eq!(with.nearest("small.thing.gte"), Some("small.thing.get"));
    assert!(with.is_built_in("gmail") && !with.is_built_in("small"));
    let gmail = SMALL.replace("id: small", "id: gmail");
    let clash = read_integration("gmail.yaml", &gmail).unwrap();
    assert_eq!(
        catalog.with_own([clash]).unwrap_err().message,
        "the id `gmail` is taken"
    );
    assert!(catalog.with_own([own(), own()]).is_err());
}
