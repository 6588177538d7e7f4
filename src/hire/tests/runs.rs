//! Plans compile, and the run machine works them off against providers that answer from a table.

use super::*;
use crate::{
    domain::{EmployeeId, ExecutionId, MemoryView, Timestamp, Trigger, TriggerType},
    graph::{
        CapabilityInfo, CapabilityLookup, Run, Work, compile,
        fact::{Command, Decision, Fact, Outcome, StepId},
    },
};
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Arc};
use uuid::Uuid;

struct Lookup;

impl CapabilityLookup for Lookup {
    fn capability(&self, id: &str) -> Option<CapabilityInfo> {
        let integration = Catalog.integration_of(id)?;
        Some(CapabilityInfo {
            id: id.into(),
            permission: id.into(),
            integration,
            write: id.contains("send") || id.contains("post"),
        })
    }
}

/// A run of a plan, with what it asked of the outside.
struct Played {
    outcome: Outcome,
    calls: Vec<(String, Value)>,
    approvals: Vec<Value>,
}

impl Played {
    fn of(&self, capability: &str) -> Vec<&Value> {
        self.calls
            .iter()
            .filter(|(id, _)| id == capability)
            .map(|(_, arguments)| arguments)
            .collect()
    }
}

struct World {
    invoices: Value,
    decision: Decision,
    memory: MemoryView,
}

fn invoices() -> Value {
    let invoice = |id: &str, customer: &str, balance: f64| {
        json!({"Id": id, "DocNumber": format!("INV-{id}"), "CustomerRef": {"value": customer, "name": format!("Customer {customer}")},
               "CurrencyRef": {"value": "USD", "name": "United States Dollar"}, "Balance": balance, "TotalAmt": balance, "DueDate": "2026-09-01", "TxnDate": "2026-08-01"})
    };
    json!([invoice("1041", "7", 900.0), invoice("1042", "8", 1200.5)])
}

fn world() -> World {
    World {
        invoices: invoices(),
        decision: Decision::Approved,
        memory: MemoryView::default(),
    }
}

impl World {
    fn answer(&self, capability: &str, arguments: &Value) -> Value {
        match capability {
            "quickbooks.invoice.query" => {
                let count = self.invoices.as_array().unwrap().len();
                json!({"invoices": self.invoices, "count": count, "listing": {"kept": count, "total": count, "complete": true}})
            }
            // The second customer has no address.
            "quickbooks.customer.get" if arguments["id"] == "8" => {
                json!({"customer": {"Id": "8", "DisplayName": "Customer 8"}})
            }
            "quickbooks.customer.get" if arguments["id"] == "two" => {
                json!({"customer": {"Id": "two", "DisplayName": "Two", "PrimaryEmailAddr": {"Address": "a@two.example; Büro <büro@zwei.example>"}}})
            }
            // One that fails alone, as the machine tells of an element that failed.
            "quickbooks.customer.get" if arguments["id"] == "gone" => {
                json!({"error": {"code": "provider_error", "message": "not found"}})
            }
            "gmail.send" if arguments["to"].to_string().contains("refused") => {
                json!({"error": {"code": "bad_params", "message": "no such address"}})
            }
            "quickbooks.customer.get" if arguments["id"] == "bad" => {
                json!({"customer": {"Id": "bad", "DisplayName": "Bad", "PrimaryEmailAddr": {"Address": "refused@acme.example"}}})
            }
            "quickbooks.customer.get" => {
                json!({"customer": {"Id": arguments["id"], "DisplayName": "Customer 7", "PrimaryEmailAddr": {"Address": "seven@acme.example"}}})
            }
            "slack.users.lookupByEmail" => json!({"user": {"id": "U0ANNA", "name": "anna"}}),
            "gmail.search" => {
                json!({"messages": [{"id": "m1"}, {"id": "m2"}], "listing": {"kept": 2, "total": 2, "complete": true}})
            }
            "gmail.send" => json!({"id": "m3"}),
            _ => json!({"ok": true, "channel": "C1", "ts": "1.2"}),
        }
    }

    fn play(&self, text: &str, kind: TriggerType, payload: Value, skill: Option<&str>) -> Played {
        let hired = plan(text).unwrap();
        let plan = compile(&hired.graph, &hired.skill_graphs, &Lookup)
            .unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let at = Timestamp::parse("2026-11-20T09:00:00Z").unwrap();
        let trigger = Trigger {
            kind,
            payload: Arc::new(payload),
            source: "test".into(),
        };
        let employee = EmployeeId::from_uuid(Uuid::nil());
        let accepted = Fact::Accepted {
            employee,
            version: 1,
            trigger,
            context: None,
            skill: skill.map(Into::into),
            at,
        };
        let (mut run, commands) = Run::start(
            Arc::new(plan),
            &accepted,
            ExecutionId::from_uuid(Uuid::nil()),
            self.memory.clone(),
        );
        let (mut queue, mut calls, mut approvals) =
            (VecDeque::from(commands), Vec::new(), Vec::new());
        while let Some(command) = queue.pop_front() {
            let fact = match command {
                Command::StartStep { step, .. } => self.step(&run, step, at, &mut calls),
                Command::AskApproval(request) => {
                    approvals.push((*request.arguments).clone());
                    Fact::ApprovalDecided {
                        step: request.step,
                        decision: self.decision,
                        by: "test".into(),
                        comment: None,
                        at,
                    }
                }
                Command::Finish(outcome) => {
                    return Played {
                        outcome,
                        calls,
                        approvals,
                    };
                }
                _ => continue,
            };
            queue.extend(run.apply(&fact));
        }
        panic!("the run of {text} has stopped without an end");
    }

    fn step(
        &self,
        run: &Run,
        step: StepId,
        at: Timestamp,
        calls: &mut Vec<(String, Value)>,
    ) -> Fact {
        let budget = crate::graph::Budget::new(crate::graph::budget::FUEL);
        match run.step_context(step).evaluate(&budget) {
            Ok(Work::Output { output, remember }) => Fact::StepCompleted {
                step,
                output,
                remember,
                at,
            },
            Ok(Work::Call {
                capability,
                arguments,
                ..
            }) => {
                let output = Arc::new(self.answer(&capability, &arguments));
                calls.push((capability, arguments));
                Fact::StepCompleted {
                    step,
                    output,
                    remember: Vec::new(),
                    at,
                }
            }
            Err(error) => Fact::StepFailed {
                step,
                attempt: 1,
                error,
                at,
            },
        }
    }
}

const CLERK: &str = include_str!("../../../examples/accounts-receivable-clerk.md");

fn completed(played: &Played) -> bool {
    matches!(played.outcome, Outcome::Completed { .. })
}

#[test]
fn the_clerk_asks_mails_and_reports() {
    let mut world = world();
    world.memory.org_knowledge = Arc::new(
        json!({"manager": {"slack": "U0BOSS"}})
            .as_object()
            .unwrap()
            .clone(),
    );
    let played = world.play(CLERK, TriggerType::Schedule, json!({}), None);
    assert!(completed(&played), "{:?}", played.outcome);
    let query = played.of("quickbooks.invoice.query")[0];
    let conditions = json!([{"field": "Balance", "operator": ">", "value": 500}, {"field": "DueDate", "operator": "<", "value": "2026-10-21"}]);
    assert_eq!(query["where"], conditions);
    assert_eq!(played.approvals[0]["total"], "2,100.50 USD");
    let mails = played.of("gmail.send");
    assert_eq!(
        mails
            .iter()
            .map(|mail| mail["to"].clone())
            .collect::<Vec<_>>(),
        [json!(["seven@acme.example"])]
    );
    let posts = played.of("slack.chat.post");
    assert_eq!(
        posts
            .iter()
            .map(|post| post["channel"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["U0BOSS", "#finance"]
    );
    let summary = posts[1]["text"].as_str().unwrap();
    assert!(
        summary.contains("2 invoices, 2,100.50 USD in all")
            && summary.contains("sent: 1. Without a mail address: INV-1042"),
        "{summary}"
    );
}

#[test]
fn the_clerk_mails_nobody_without_leave_and_without_invoices() {
    let denied = World {
        decision: Decision::Denied,
        ..world()
    }
    .play(CLERK, TriggerType::DirectCommand, json!({}), None);
    assert!(
        completed(&denied) && denied.of("gmail.send").is_empty(),
        "{:?}",
        denied.outcome
    );
    assert!(
        denied.of("slack.chat.post")[0]["text"]
            .as_str()
            .unwrap()
            .contains("Not approved")
    );
    let none = World {
        invoices: json!([]),
        ..world()
    }
    .play(CLERK, TriggerType::DirectCommand, json!(null), None);
    assert!(
        completed(&none) && none.approvals.is_empty(),
        "{:?}",
        none.outcome
    );
    assert_eq!(
        none.of("slack.chat.post")[0]["text"]
            .as_str()
            .unwrap()
            .trim(),
        "No invoices to report."
    );
}

#[test]
fn the_clerk_answers_in_the_thread() {
    let message = json!({"type": "message", "channel": "C7", "user": "U1", "text": "Is INV-1042 paid?", "ts": "17.1"});
    for payload in [
        message.clone(),
        json!({"type": "event_callback", "event": message}),
    ] {
        let played = world().play(
            CLERK,
            TriggerType::ExternalEvent,
            payload,
            Some("skill_answers"),
        );
        assert!(completed(&played), "{:?}", played.outcome);
        let [(_, _), (_, reply)] = played.calls.as_slice() else {
            panic!("{:?}", played.calls)
        };
        assert_eq!(
            (&reply["channel"], &reply["thread_ts"]),
            (&json!("C7"), &json!("17.1"))
        );
        assert!(
            reply["text"].as_str().unwrap().contains("INV-1042")
                && !reply["text"].as_str().unwrap().contains("1041"),
            "{reply}"
        );
    }
}

#[test]
fn every_template_runs_to_its_end() {
    let texts = [
        "List the late invoices. Ask @anna in Slack to approve. Mail each customer. Post a summary in #finance.",
        "List unpaid invoices. Ask anna@acme.example in Slack to approve. Mail each customer.",
        "List unpaid invoices. Post a summary in #finance.",
        "Look up customer 58 in QuickBooks.",
        "Search the inbox for \"it's {{ x }}\" and post a digest in #support",
        "Post \"It's {{ y }} ${z}\" in #eng every day at 9. Every Monday at 10 remind #all to smile.",
        "Remember that it's June.",
    ];
    for text in texts {
        let played = world().play(text, TriggerType::DirectCommand, json!({}), None);
        assert!(completed(&played), "{text}: {:?}", played.outcome);
    }
    let played = world().play(
        "When the webhook github/push fires, tell #dev",
        TriggerType::ExternalEvent,
        json!({"a": 1}),
        Some("skill_event"),
    );
    assert!(completed(&played), "{:?}", played.outcome);
}

fn invoice_of(id: &str, customer: &str) -> Value {
    json!({"Id": id, "DocNumber": format!("INV-{id}"), "CustomerRef": {"value": customer, "name": customer},
           "CurrencyRef": {"value": "EUR"}, "Balance": 600.0, "TotalAmt": 600.0, "DueDate": "2026-09-01", "TxnDate": "2026-08-01"})
}

const REMIND: &str = "List the late invoices. Mail each customer. Post a summary in #finance.";

#[test]
fn item_that_fails_fails_alone_and_is_named() {
    let world = World {
        invoices: json!([
            invoice_of("1", "7"),
            invoice_of("2", "two"),
            invoice_of("3", "gone"),
            invoice_of("4", "8"),
            invoice_of("5", "bad"),
            invoice_of("6", "7"),
        ]),
        ..world()
    };
    let played = world.play(REMIND, TriggerType::DirectCommand, json!({}), None);
    assert!(completed(&played), "{:?}", played.outcome);
    let mails = played.of("gmail.send");
    let to: Vec<Value> = mails.iter().map(|mail| mail["to"].clone()).collect();
    let seven = json!(["seven@acme.example"]);
    let two = json!(["a@two.example", "büro@zwei.example"]);
    let bad = json!(["refused@acme.example"]);
    assert_eq!(to, [seven.clone(), two, bad, seven]);
    let posts = played.of("slack.chat.post");
    let summary = posts[0]["text"].as_str().unwrap();
    for named in [
        "sent: 3.",
        "Without a mail address: INV-4",
        "Not sent for INV-3",
        "not found",
        "Not sent for INV-5: no such address",
    ] {
        assert!(summary.contains(named), "{named}: {summary}");
    }
}

#[test]
fn invoice_that_was_reminded_of_is_not_reminded_of_again_within_seven_days() {
    let mut world = World {
        invoices: json!([
            invoice_of("1", "7"),
            invoice_of("2", "7"),
            invoice_of("3", "7")
        ]),
        ..world()
    };
    // The run's day is 20 November.
    let reminded = json!({"reminded": [{"id": "1", "on": "2026-11-14"}, {"id": "2", "on": "2026-11-13"}, {"id": "9", "on": "2026-11-19"}]});
    world.memory.employee_memory = Arc::new(reminded.as_object().unwrap().clone());
    let played = world.play(REMIND, TriggerType::DirectCommand, json!({}), None);
    assert!(completed(&played), "{:?}", played.outcome);
    let mails = played.of("gmail.send");
    let subjects: Vec<&str> = mails
        .iter()
        .filter_map(|mail| mail["subject"].as_str())
        .collect();
    assert_eq!(
        subjects,
        ["Reminder: invoice INV-2", "Reminder: invoice INV-3"]
    );
    let posts = played.of("slack.chat.post");
    let summary = posts[0]["text"].as_str().unwrap();
    assert!(
        summary.contains("Reminded within the last 7 days, and not again: INV-1"),
        "{summary}"
    );
}

#[test]
fn long_list_is_cut_in_a_summary_with_a_count_and_a_link() {
    let many: Vec<Value> = (0..120).map(|n| invoice_of(&format!("{n}"), "8")).collect();
    let world = World {
        invoices: json!(many),
        ..world()
    };
    let text = "List the late invoices. Post a summary in #finance.";
    let played = world.play(text, TriggerType::DirectCommand, json!({}), None);
    assert!(completed(&played), "{:?}", played.outcome);
    let posts = played.of("slack.chat.post");
    let summary = posts[0]["text"].as_str().unwrap();
    assert!(
        summary.contains("120 invoices") && summary.contains("and 70 more: https://"),
        "{summary}"
    );
    assert_eq!(summary.matches('•').count(), 50);
}

/// Whatever one invoice looks like, the others are mailed about, and it is mailed about or named.
#[test]
fn odd_invoice_stops_nothing_and_is_not_passed_over() {
    let with = |id: &str, more: Value| {
        let mut invoice = invoice_of(id, "7");
        for (key, value) in more.as_object().unwrap() {
            invoice[key] = value.clone();
        }
        invoice
    };
    let rows = [
        json!({"CustomerRef": {"value": "7"}}),
        json!({"CustomerRef": {"value": "gone", "name": "x"}}),
        json!({"CustomerRef": {"value": "7", "name": "<!channel> & *Co* ```"}}),
        json!({"CustomerRef": {"value": "7", "name": "{{ org.secret }} {% raw %}"}}),
        json!({"Balance": "900.10"}),
        json!({"Balance": 12_345_678_901_234.5}),
        json!({"CurrencyRef": null}),
        json!({"CurrencyRef": {"value": "JPY"}, "Balance": 60_000}),
        json!({"CurrencyRef": {"value": "XXZ"}}),
        json!({"DueDate": "2026-09-01T00:00:00Z"}),
    ];
    all_right(&rows, |more| {
        let invoices = json!([
            with("1", json!({})),
            with("2", more.clone()),
            with("3", json!({}))
        ]);
        let world = World {
            invoices,
            ..world()
        };
        let played = world.play(REMIND, TriggerType::DirectCommand, json!({}), None);
        let mails = played.of("gmail.send");
        let is_mailed = |number: &str| {
            mails
                .iter()
                .any(|mail| mail["subject"].to_string().contains(number))
        };
        let posts = played.of("slack.chat.post");
        let summary = posts
            .first()
            .map(|post| post["text"].to_string())
            .unwrap_or_default();
        let right = completed(&played)
            && is_mailed("INV-1")
            && is_mailed("INV-3")
            && (is_mailed("INV-2") || summary.contains("Not sent for INV-2"))
            && summary.contains("3 invoices");
        (!right).then(|| format!("{more}: {:?}\n    {summary}\n    {mails:?}", played.outcome))
    });
}
