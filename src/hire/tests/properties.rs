//! Generated texts.

use super::*;
use crate::domain::recurrence::Recurrence;
use proptest::prelude::*;
use serde_json::Value;

const PIECES: &[&str] = &[
    "list",
    "the",
    "late",
    "unpaid",
    "invoices",
    "over",
    "500",
    "$1,200.50",
    "more than",
    "30 days",
    "two weeks",
    "late",
    "ask",
    "the manager",
    "in Slack",
    "to approve",
    "mail",
    "each customer",
    "through Gmail",
    "post",
    "a summary",
    "in",
    "#finance",
    "#eng",
    "every weekday",
    "at nine",
    "at 9:30 pm",
    "every 15 minutes",
    "when",
    "somebody",
    "asks about an invoice",
    "answer",
    "do not",
    "never",
    "and",
    "then",
    ",",
    ".",
    ";",
    "\n- ",
    "?",
    "\"hello\"",
    "anna@acme.example",
    "customer 58",
    "search",
    "the inbox",
    "for",
    "once",
    "before",
    "approved",
    "unless",
    "github/push",
    "Salesforce",
    "half past",
    "on the 1st of the month",
    "Zurich time",
    "remind",
    "that",
    "webhook",
    "—",
    "'",
    "“",
    "#",
    "@",
    "0",
    "99999999999999999999",
];

/// Words and numbers as texts have them, and now and then anything.
fn texts() -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![9 => prop::sample::select(PIECES).prop_map(str::to_owned), 1 => "\\PC{0,12}"];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.join(" "))
}

/// Without what tells writings of the same value apart: case, separators of thousands, white space.
fn plain(text: &str) -> String {
    let bare = text.to_lowercase().replace([',', '\''], "");
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_value_stands_in_the_text(text in texts()) {
        let Ok(plan) = plan(&text) else { return Ok(()) };
        let source = plain(&text);
        for (name, value) in plan.understood.iter().flat_map(|each| &each.parameters) {
            let there = match value {
                Value::Number(days) if days.as_u64() == Some(14) => source.contains("two weeks") || source.contains("14"),
                Value::Number(days) => source.contains(&days.to_string()),
                Value::String(said) => source.contains(&plain(said)),
                _ => false,
            };
            prop_assert!(there, "{name} = {value} is not in {text}");
        }
    }

    #[test]
    fn plans_hold_together(text in texts()) {
        let Ok(plan) = plan(&text) else { return Ok(()) };
        let nodes = plan.graph["nodes"].as_array().unwrap();
        let ids: Vec<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
        prop_assert!(nodes.iter().all(|node| plan.skill_graphs.contains_key(node["skill_graph"].as_str().unwrap())));
        prop_assert!(plan.understood.iter().all(|each| ids.contains(&each.skill.as_str())));
        prop_assert!(plan.schedules.is_empty() || !plan.graph["entry"].as_array().unwrap().is_empty());
        prop_assert!(plan.schedules.iter().all(|schedule| { let mut recurrence = schedule.recurrence.clone(); recurrence.settle(chrono::NaiveDate::from_ymd_opt(2027, 1, 4).expect("a date")); Recurrence::parse(&recurrence, &schedule.time_zone, Default::default()).is_ok() }), "{:?}", plan.schedules);
        let negated = text.contains("do not") || text.contains("never");
        prop_assert!(!negated || !plan.not_understood.is_empty() || plan.understood.iter().any(|each| each.sentence.contains("not") || each.sentence.contains("never")));
    }

    #[test]
    fn no_text_is_a_panic(text in "\\PC{0,300}|[#@$.,;:?!\\-*0-9a-z\"'\\n ]{0,300}") {
        let _ = plan(&text);
    }
}
