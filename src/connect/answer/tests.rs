use super::*;
use crate::connect::Catalog;
use serde_json::json;

fn slack() -> AnswerSpec {
    let rules = AnswerRules {
        ok_flag: Some("/ok".into()),
        code: vec!["/error".into()],
        message: vec!["/error".into()],
        auth: vec!["invalid_auth".into()],
        rate_limited: vec!["ratelimited".into()],
        uncertain: vec!["fatal_error".into()],
        ..AnswerRules::default()
    };
    AnswerSpec {
        write: true,
        busy: vec!["lock_timeout".into(), "http_423".into()],
        ..AnswerSpec::of(rules)
    }
}

#[test]
fn each_answer_says_whether_a_write_may_have_happened() {
    let cases = [
        (200, json!({"ok": true}), "ok"),
        (
            200,
            json!({"ok": false, "error": "channel_not_found"}),
            "rejected",
        ),
        (200, json!({"ok": false, "error": "invalid_auth"}), "auth"),
        (200, json!({"ok": false, "error": "ratelimited"}), "limited"),
        (200, json!({"ok": false, "error": "fatal_error"}), "unknown"),
        (301, json!({}), "rejected"),
        (400, json!({"error": "x"}), "rejected"),
        (401, json!({}), "auth"),
        (403, json!({}), "rejected"),
        (408, json!({}), "unknown"),
        (429, json!({}), "limited"),
        (409, json!({"error": "lock_timeout"}), "busy"),
        (423, json!({}), "busy"),
        (500, json!({}), "unknown"),
        (503, json!({"ok": false, "error": "ratelimited"}), "limited"),
    ];
    for (status, body, expected) in cases {
        let outcome = slack().read(status, AnswerBody::Json(body.clone()), RateHints::default());
        let found = match &outcome {
            CallOutcome::Ok { .. } => "ok",
            CallOutcome::RateLimited { .. } => "limited",
            CallOutcome::Busy { .. } => "busy",
            CallOutcome::Rejected { .. } => "rejected",
            CallOutcome::Auth { .. } => "auth",
            CallOutcome::Unsent { .. } | CallOutcome::Blocked { .. } => "unsent",
            CallOutcome::TooLong { .. } | CallOutcome::Unknown { .. } => "unknown",
        };
        assert_eq!(found, expected, "{status} {body}");
        assert_eq!(
            outcome.is_surely_not_applied(),
            !matches!(expected, "ok" | "unknown"),
            "{status} {body}"
        );
    }
}

#[test]
fn a_page_instead_of_json_is_no_success() {
    let outcome = slack().read(200, AnswerBody::Text("<html>".into()), RateHints::default());
    assert!(matches!(
        outcome,
        CallOutcome::Unknown {
            status: Some(200),
            ..
        }
    ));
    let outcome = slack().read(204, AnswerBody::Text(String::new()), RateHints::default());
    assert!(matches!(
        outcome,
        CallOutcome::Ok {
            output: Value::Null,
            ..
        }
    ));
}

/// Reads an answer with status 2xx of a capability of the catalog; a raw one as `INTEGRATION.raw`.
fn read(capability: &str, status: u16, body: Value) -> CallOutcome {
    let catalog = Catalog::embedded().expect("the catalog");
    let body = AnswerBody::Json(body);
    match catalog.capability(capability) {
        Some(known) => known.answer.read(status, body, RateHints::default()),
        None => {
            let integration = capability.split('.').next().expect("an integration");
            let integration = catalog.integration(integration).expect(capability);
            let raw = integration.raw(capability).expect(capability);
            raw.answer.read(status, body, RateHints::default())
        }
    }
}

fn kind(outcome: &CallOutcome) -> String {
    match outcome {
        CallOutcome::Ok { .. } => "ok".into(),
        CallOutcome::RateLimited { retry_after, .. } => match retry_after {
            Some(wait) => format!("limited {}", wait.as_secs()),
            None => "limited".into(),
        },
        CallOutcome::Busy { code, .. } => format!("busy {code}"),
        CallOutcome::Rejected { code, .. } => format!("rejected {code}"),
        CallOutcome::Auth { code, .. } => format!("auth {code}"),
        CallOutcome::Unknown { .. } => "unknown".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn errors_with_status_200_are_no_successes() {
    let fault = |code: &str, name: &str| json!({name: {"Error": [{"Message": "m", "Detail": "d", "code": code}], "type": "ValidationFault"}, "time": "t"});
    for (capability, body, expected) in [
        (
            "quickbooks.invoice.query",
            fault("610", "Fault"),
            "rejected 610",
        ),
        (
            "quickbooks.invoice.query",
            fault("003001", "FAULT"),
            "limited",
        ),
        (
            "quickbooks.customer.get",
            json!({"fault": {"error": [{"message": "m", "code": "3200"}], "type": "AUTHENTICATION"}}),
            "auth 3200",
        ),
        (
            "quickbooks.invoice.create",
            fault("6140", "Fault"),
            "rejected 6140",
        ),
        (
            "quickbooks.invoice.create",
            json!({"Fault": {"Error": {"Message": "m", "code": "5010"}}}),
            "rejected 5010",
        ),
        (
            "quickbooks.payment.create",
            json!({"Fault": {"Error": [{"code": "10000"}], "type": "SystemFault"}}),
            "unknown",
        ),
        (
            "quickbooks.raw",
            json!({"BatchItemResponse": [{"bId": "1", "Fault": {"Error": [{"code": "610"}]}}, {"bId": "2", "Invoice": {"Id": "7"}}]}),
            "unknown",
        ),
        (
            "linear.issues.search",
            json!({"errors": [{"message": "m", "extensions": {"code": "RATELIMITED"}}]}),
            "limited",
        ),
        (
            "linear.issues.search",
            json!({"errors": [{"message": "m", "extensions": {"code": "AUTHENTICATION_ERROR"}}], "data": null}),
            "auth AUTHENTICATION_ERROR",
        ),
        (
            "linear.issue.create",
            json!({"data": {"issueCreate": null}, "errors": [{"message": "m", "extensions": {"code": "INVALID_INPUT"}}]}),
            "rejected INVALID_INPUT",
        ),
        (
            "linear.issue.create",
            json!({"data": {"issueCreate": {"success": false, "issue": null}}}),
            "rejected http_200",
        ),
        (
            "linear.issue.create",
            json!({"data": {"issueCreate": {"success": true, "issue": {"id": "i1"}}}, "errors": [{"message": "m"}]}),
            "unknown",
        ),
        (
            "monday.item.create",
            json!({"errors": [{"message": "m", "extensions": {"code": "COMPLEXITY_BUDGET_EXHAUSTED", "retry_in_seconds": 17}}], "data": {"create_item": null}}),
            "limited 17",
        ),
        (
            "monday.item.create",
            json!({"error_code": "ComplexityException", "error_message": "m", "status_code": 429}),
            "limited",
        ),
        (
            "github.raw",
            json!({"data": null, "errors": [{"type": "RATE_LIMITED", "message": "m"}]}),
            "limited",
        ),
        (
            "github.raw",
            json!({"data": {"addComment": null}, "errors": [{"type": "NOT_FOUND", "message": "m"}]}),
            "rejected NOT_FOUND",
        ),
        (
            "shopify.raw",
            json!({"data": {"orderCreate": {"order": null, "userErrors": [{"field": ["x"], "message": "m"}]}}}),
            "rejected http_200",
        ),
        (
            "shopify.raw",
            json!({"data": {"orderUpdate": {"order": {"id": "gid"}, "userErrors": [{"message": "m"}]}}}),
            "unknown",
        ),
        (
            "shopify.raw",
            json!({"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]}),
            "limited",
        ),
        (
            "salesforce.raw",
            json!({"hasErrors": true, "results": [{"referenceId": "r", "errors": [{"statusCode": "INVALID_EMAIL", "message": "m"}]}]}),
            "rejected INVALID_EMAIL",
        ),
        (
            "salesforce.raw",
            json!({"compositeResponse": [{"httpStatusCode": 400, "body": [{"errorCode": "REQUIRED_FIELD_MISSING", "message": "m"}]}]}),
            "rejected REQUIRED_FIELD_MISSING",
        ),
        (
            "salesforce.raw",
            json!([{"id": "1", "success": true, "errors": []}, {"success": false, "errors": [{"statusCode": "DUPLICATE_VALUE"}]}]),
            "unknown",
        ),
        (
            "slack.chat.post",
            json!({"ok": "false", "error": "channel_not_found"}),
            "rejected channel_not_found",
        ),
        (
            "slack.conversations.history",
            json!({"ok": false, "error": "token_expired"}),
            "auth token_expired",
        ),
        (
            "hubspot.raw",
            json!({"status": "COMPLETE", "results": [{"id": "1"}], "numErrors": 1, "errors": [{"status": "error", "category": "VALIDATION_ERROR"}]}),
            "unknown",
        ),
        (
            "hubspot.contact.search",
            json!({"status": "error", "category": "RATE_LIMITS", "message": "m"}),
            "limited",
        ),
        (
            "microsoft.raw",
            json!({"responses": [{"id": "1", "status": 400, "body": {"error": {"code": "BadRequest", "message": "m"}}}]}),
            "unknown",
        ),
        (
            "microsoft.mail.list",
            json!({"error": {"code": "TooManyRequests", "message": "m"}}),
            "limited",
        ),
        (
            "xero.invoice.create",
            json!({"Id": "x", "Status": "ERROR"}),
            "rejected http_200",
        ),
        (
            "xero.invoices.list",
            json!({"Status": "OK", "Invoices": [{"InvoiceID": "0", "HasErrors": true, "ValidationErrors": [{"Message": "m"}]}]}),
            "rejected http_200",
        ),
        (
            "twilio.message.send",
            json!({"sid": "SM1", "status": "failed", "error_code": 30007, "error_message": "m"}),
            "rejected 30007",
        ),
        (
            "zendesk.ticket.search",
            json!({"error": "RecordNotFound", "description": "m"}),
            "rejected RecordNotFound",
        ),
        (
            "servicenow.records.query",
            json!({"result": [{"sys_id": "1"}], "error": {"message": "cancelled", "detail": "maximum execution time"}}),
            "rejected maximum execution time",
        ),
        (
            "stripe.customer.get",
            json!({"error": {"type": "invalid_request_error", "code": "resource_missing"}}),
            "rejected resource_missing",
        ),
        (
            "discord.message.create",
            json!({"message": "You are being rate limited.", "retry_after": 2.5, "errors": {"x": 1}}),
            "rejected http_200",
        ),
        (
            "metabase.card.query",
            json!({"status": "failed", "error": "timed out"}),
            "rejected http_200",
        ),
        (
            "calendar.freebusy.query",
            json!({"kind": "k", "calendars": {"a": {"busy": []}, "b": {"errors": [{"domain": "global", "reason": "notFound"}]}}}),
            "rejected http_200",
        ),
    ] {
        let outcome = read(capability, 200, body.clone());
        assert_eq!(kind(&outcome), expected, "{capability} {body}: {outcome:?}");
    }
}

#[test]
fn places_of_errors_that_are_empty_tell_of_none() {
    for body in [
        json!({"QueryResponse": {}, "Fault": null}),
        json!({"QueryResponse": {}, "fault": {}}),
        json!({"QueryResponse": {}, "Fault": {"Error": []}}),
        json!({"QueryResponse": {}, "Fault": [{}]}),
        json!({"QueryResponse": {}, "Fault": false}),
        json!({"QueryResponse": {}, "Fault": 0}),
        json!({"QueryResponse": {}, "Fault": "  "}),
        json!({"QueryResponse": {}, "Fault": "0"}),
        json!({"QueryResponse": {}, "Fault": {"type": "", "Error": [{"code": 0}]}}),
    ] {
        let outcome = read("quickbooks.invoice.query", 200, body.clone());
        assert_eq!(kind(&outcome), "ok", "{body}: {outcome:?}");
    }
    let good = [
        (
            "jira.issue.search",
            json!({"issues": [], "errorMessages": [], "errors": {}}),
        ),
        (
            "openai.embedding.create",
            json!({"data": [], "error": null}),
        ),
        (
            "salesforce.record.create",
            json!({"id": "1", "success": true, "errors": []}),
        ),
        (
            "slack.chat.post",
            json!({"ok": true, "channel": "C1", "ts": "1.2"}),
        ),
        (
            "xero.invoices.list",
            json!({"Status": "OK", "Invoices": [{"InvoiceID": "1", "HasErrors": false}]}),
        ),
        (
            "linear.issues.search",
            json!({"data": {"searchIssues": {"nodes": []}}, "errors": []}),
        ),
        (
            "pipedrive.deals.list",
            json!({"success": true, "data": null}),
        ),
        ("square.payments.list", json!({})),
    ];
    for (capability, body) in good {
        let outcome = read(capability, 200, body.clone());
        assert_eq!(kind(&outcome), "ok", "{capability} {body}: {outcome:?}");
    }
}

#[test]
fn an_answer_that_lacks_what_its_result_must_have_is_no_success() {
    for (capability, body, missing) in [
        ("quickbooks.invoice.query", json!({}), "`/QueryResponse`"),
        (
            "quickbooks.invoice.query",
            json!({"QueryResponse": null}),
            "`/QueryResponse`",
        ),
        ("quickbooks.invoice.query", json!([]), "`/QueryResponse`"),
        (
            "quickbooks.invoice.query",
            json!({"QueryResponse": {"Invoice": [{"Id": "1", "Balance": 1.0, "DueDate": "2025-01-01"}]}}),
            "`/invoices/0/CustomerRef`",
        ),
        (
            "quickbooks.invoice.query",
            json!({"QueryResponse": {"Invoice": {"Id": "1"}}}),
            "`/invoices`",
        ),
        (
            "quickbooks.customer.get",
            json!({"time": "t"}),
            "`/customer`",
        ),
        (
            "quickbooks.customer.get",
            json!({"Customer": {"Id": "1"}}),
            "`/customer/DisplayName`",
        ),
        (
            "quickbooks.invoice.create",
            json!({"Invoice": null}),
            "`/invoice`",
        ),
        (
            "quickbooks.invoice.create",
            json!({"Invoice": {"SyncToken": "0"}}),
            "`/invoice/Id`",
        ),
        (
            "slack.chat.post",
            json!({"ok": true, "channel": "C1"}),
            "`/ts`",
        ),
        (
            "slack.users.lookupByEmail",
            json!({"ok": true, "user": {"id": null, "name": "a"}}),
            "`/user/id`",
        ),
        (
            "slack.conversations.history",
            json!({"ok": true}),
            "`/messages`",
        ),
        ("gmail.search", json!({}), "`/resultSizeEstimate`"),
        (
            "salesforce.query",
            json!({"totalSize": 0, "done": true}),
            "`/records`",
        ),
        (
            "asana.task.create",
            json!({"data": {"name": "x"}}),
            "`/task/gid`",
        ),
        (
            "stripe.customer.create",
            json!({"object": "customer"}),
            "`/id`",
        ),
        (
            "github.issues.list",
            json!({"message": "moved"}),
            "`/issues`",
        ),
    ] {
        let outcome = read(capability, 200, body.clone());
        let known = Catalog::embedded().expect("the catalog");
        let is_write = known.capability(capability).expect(capability).write;
        let told = match &outcome {
            // Whoever wrote must not be told that nothing happened, and no call counts as done.
            CallOutcome::Unknown { reason, .. } if is_write => reason,
            CallOutcome::Rejected { code, message, .. } if !is_write => {
                assert_eq!(code, "answer_incomplete");
                message
            }
            other => panic!("{capability} {body}: {other:?}"),
        };
        assert!(told.contains(missing), "{capability} {body}: {told}");
    }
}

#[test]
fn a_page_of_html_is_no_list() {
    let catalog = Catalog::embedded().expect("the catalog");
    for capability in [
        "quickbooks.invoice.query",
        "gmail.send",
        "okta.user.suspend",
        "github.issue.create",
        "hubspot.owners.list",
        "slack.chat.post",
    ] {
        let capability = catalog.capability(capability).expect(capability);
        for text in [
            "<!DOCTYPE html><html>Sign in</html>",
            "Service temporarily unavailable",
            "{\"cut\": ",
            "OK",
        ] {
            let outcome =
                capability
                    .answer
                    .read(200, AnswerBody::Text(text.into()), RateHints::default());
            assert_eq!(
                kind(&outcome),
                "unknown",
                "{} {text}: {outcome:?}",
                capability.id
            );
        }
    }
}

/// Reports of other products' users: answers that were taken for successes, and such as are.
#[test]
fn what_others_took_for_a_success_is_read_for_what_it_is() {
    for (capability, body, expected) in [
        (
            "hubspot.raw",
            json!({"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [{"status": "error", "category": "VALIDATION_ERROR", "message": "m"}]}),
            "rejected COMPLETE",
        ),
        (
            "shopify.raw",
            json!({"errors": "Not Found"}),
            "rejected http_200",
        ),
        (
            "gitlab.raw",
            json!({"data": {"createIssue": {"issue": null, "errors": ["Title can't be blank"]}}}),
            "rejected http_200",
        ),
        (
            "x.raw",
            json!({"data": [{"id": "1"}], "errors": [{"title": "Not Found Error"}]}),
            "unknown",
        ),
        (
            "intercom.raw",
            json!({"type": "error.list", "errors": [{"code": "unauthorized", "message": "m"}]}),
            "auth unauthorized",
        ),
        (
            "mailchimp.raw",
            json!({"new_members": [], "updated_members": [], "errors": [{"error": "m", "error_code": "ERROR_GENERIC"}], "error_count": 1}),
            "rejected http_200",
        ),
        (
            "dropbox.raw",
            json!({".tag": "complete", "entries": [{".tag": "failure", "failure": {".tag": "path"}}]}),
            "unknown",
        ),
        (
            "monday.raw",
            json!({"error_code": "InvalidColumnIdException", "status_code": 200, "error_message": "m"}),
            "rejected InvalidColumnIdException",
        ),
        (
            "salesforce.raw",
            json!([{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]),
            "auth INVALID_SESSION_ID",
        ),
        (
            "todoist.raw",
            json!({"sync_status": {"a": {"error": "Project not found", "error_code": 22}}, "sync_token": "x"}),
            "rejected http_200",
        ),
        (
            "jira.raw",
            json!({"issues": [], "errors": [{"status": 400, "elementErrors": {"errorMessages": ["m"]}}]}),
            "rejected http_200",
        ),
        // Warnings, and objects that tell of a failure of their own, are no errors of the call.
        (
            "slack.chat.post",
            json!({"ok": true, "channel": "C1", "ts": "1.2", "warning": "missing_charset", "response_metadata": {"warnings": ["missing_charset"]}}),
            "ok",
        ),
        (
            "quickbooks.raw",
            json!({"QueryResponse": {}, "time": "t", "warnings": {"Warning": [{"code": "1"}]}}),
            "ok",
        ),
        (
            "stripe.raw",
            json!({"id": "ch_1", "status": "failed", "failure_code": "card_declined"}),
            "ok",
        ),
    ] {
        let outcome = read(capability, 200, body.clone());
        assert_eq!(kind(&outcome), expected, "{capability} {body}: {outcome:?}");
    }
}
