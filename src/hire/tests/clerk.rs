//! The flagship example.

use super::*;
use serde_json::json;

const CLERK: &str = include_str!("../../../examples/accounts-receivable-clerk.md");

#[test]
fn the_clerk_is_four_skills_in_sequence_and_one_that_answers() {
    let plan = plan(CLERK).unwrap();
    assert_eq!(plan.not_understood, []);
    assert_eq!(plan.name, "accounts-receivable clerk");
    assert_eq!(plan.graph["entry"], json!(["skill_invoices"]));
    let expected = [
        "skill_invoices",
        "skill_approval",
        "skill_reminders",
        "skill_summary",
        "skill_answers",
    ];
    assert_eq!(skills(CLERK), expected);
    let edges = json!([
        {"from": "skill_invoices", "to": "skill_approval", "when": "output.count > 0"},
        {"from": "skill_invoices", "to": "skill_summary", "when": "!(output.count > 0)"},
        {"from": "skill_approval", "to": "skill_reminders", "when": "output.approved"},
        {"from": "skill_approval", "to": "skill_summary", "when": "!(output.approved)"},
        {"from": "skill_reminders", "to": "skill_summary"},
    ]);
    assert_eq!(plan.graph["edges"], edges);
}

#[test]
fn the_clerks_question_speaks_for_what_comes_after_it() {
    let plan = plan(CLERK).unwrap();
    let approvals = |graph: &serde_json::Value| {
        let nodes = graph["nodes"].as_array().expect("nodes").clone();
        let asks = nodes.into_iter().filter(|node| node["type"] == "approval");
        asks.map(|node| node["approves"].clone())
            .collect::<Vec<_>>()
    };
    let asked: Vec<_> = plan.skill_graphs.values().flat_map(approvals).collect();
    assert_eq!(asked, [json!(["gmail.send", "quickbooks.customer.get"])]);
}

#[test]
fn the_clerk_has_its_values_and_its_calendar() {
    let plan = plan(CLERK).unwrap();
    let [schedule] = plan.schedules.as_slice() else {
        panic!("{:?}", plan.schedules)
    };
    assert_eq!(
        (
            schedule.recurrence.cron.as_deref().unwrap_or_default(),
            schedule.time_zone.as_str()
        ),
        ("0 9 * * 1-5", "UTC")
    );
    let [subscription] = plan.subscriptions.as_slice() else {
        panic!("{:?}", plan.subscriptions)
    };
    assert_eq!(
        (subscription.source.as_str(), subscription.event.as_deref()),
        ("hook:slack/*", Some("message"))
    );
    assert_eq!(subscription.skill.as_deref(), Some("skill_answers"));
    let said: Vec<_> = plan
        .understood
        .iter()
        .map(|each| (each.skill.as_str(), json!(each.parameters)))
        .collect();
    let expected = [
        (
            "skill_invoices",
            json!({"amount_over": "500", "days_late": 30}),
        ),
        ("skill_approval", json!({"who": "manager"})),
        ("skill_reminders", json!({})),
        ("skill_summary", json!({"channel": "#finance"})),
        ("skill_answers", json!({})),
    ];
    assert_eq!(said, expected);
    let wanted =
        &plan.skill_graphs["sg_list_overdue_invoices_v1"]["nodes"][0]["arguments"]["where"];
    let expected = json!([
        {"field": "'Balance'", "operator": "'>'", "value": "500"},
        {"field": "'DueDate'", "operator": "'<'", "value": "date_add_days(run.today, -30)"},
    ]);
    assert_eq!(*wanted, expected);
}

#[test]
fn connections_that_are_missing_are_named_with_the_skills_that_need_them() {
    let request = JobDescription {
        text: CLERK.into(),
        ..JobDescription::default()
    };
    let plan = planner()
        .plan_now(&request, &Catalog, &["slack".into()])
        .unwrap();
    let missing: Vec<_> = plan
        .missing_connections
        .iter()
        .map(|each| (each.integration.as_str(), each.needed_by.join(" ")))
        .collect();
    let expected = [
        ("gmail", "skill_reminders".into()),
        (
            "quickbooks",
            "skill_invoices skill_reminders skill_answers".to_owned(),
        ),
    ];
    assert_eq!(missing, expected);
}

#[test]
fn the_other_examples_are_understood_to_the_last_word() {
    let examples = [
        include_str!("../../../examples/standup-reminder.md"),
        include_str!("../../../examples/support-mail-digest.md"),
        include_str!("../../../examples/payment-watcher.md"),
    ];
    for text in examples {
        let plan = plan(text).unwrap();
        assert_eq!(plan.not_understood, [], "{text}");
    }
}

#[test]
fn several_times_become_flows_behind_one_entry() {
    let text = "Every weekday at 9:15 post \"Standup in five minutes\" in #eng. Every Friday at 16:00 post \"Timesheets, please\" in #all.";
    let plan = plan(text).unwrap();
    assert_eq!(plan.graph["entry"], json!(["skill_route"]));
    let flows: Vec<_> = plan
        .schedules
        .iter()
        .map(|schedule| {
            (
                schedule.recurrence.cron.as_deref().unwrap_or_default(),
                schedule.payload["flow"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        flows,
        [("15 9 * * 1-5", "flow_1"), ("0 16 * * 5", "flow_2")]
    );
    assert_eq!(
        plan.graph["edges"][1],
        json!({"from": "skill_route", "to": "skill_message_2", "when": "output.flow == 'flow_2'"})
    );
}

#[test]
fn the_request_has_its_say() {
    let text = "Hire a night clerk. Every day at 8 post \"Good morning\" in #all.";
    let request = |name: Option<&str>, zone: Option<&str>| JobDescription {
        name: name.map(Into::into),
        text: text.into(),
        time_zone: zone.map(Into::into),
    };
    let plan = |request| planner().plan_now(&request, &Catalog, &[]);
    assert_eq!(plan(request(None, None)).unwrap().name, "night clerk");
    let given = plan(request(Some("Rosa"), Some("Europe/Zurich"))).unwrap();
    assert_eq!(
        (given.name.as_str(), given.schedules[0].time_zone.as_str()),
        ("Rosa", "Europe/Zurich")
    );
    let wrong = plan(request(None, Some("Mars/Olympus"))).unwrap_err();
    assert_eq!(
        (wrong.field(), wrong.to_string().as_str()),
        ("time_zone", "time_zone `Mars/Olympus` is not an IANA name")
    );
    let unnamed = planner().plan_now(
        &JobDescription {
            text: "Post \"Hi\" in #all.".into(),
            ..Default::default()
        },
        &Catalog,
        &[],
    );
    assert_eq!(unnamed.unwrap().name, "employee");
}
