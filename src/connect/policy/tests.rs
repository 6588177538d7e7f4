use super::*;
use crate::{
    connect::Risk,
    domain::PolicyId,
    graph::budget::{Budget, FUEL},
};
use serde_json::{Value, json};
use uuid::Uuid;

fn rule(value: Value) -> RuleSpec {
    serde_json::from_value(value).expect("a rule")
}

fn set(rules: &[Value]) -> PolicySet {
    PolicySet::new(
        rules
            .iter()
            .enumerate()
            .map(|(place, value)| (id(place), rule(value.clone()))),
    )
}

fn id(place: usize) -> PolicyId {
    PolicyId::from_uuid(Uuid::from_u128(place as u128 + 1))
}

const CLERK: Party<'static> = Party {
    id: "emp_1",
    name: "clerk",
};
const BOOKS: Party<'static> = Party {
    id: "conn_1",
    name: "books",
};

fn asked<'a>(capability: &'a str, risk: Risk, input: &'a Value) -> Asked<'a> {
    Asked {
        capability,
        integration: capability.split('.').next().unwrap_or_default(),
        risk,
        input,
        connection: Some(BOOKS),
        employee: Some(CLERK),
        role: "employee",
    }
}

#[test]
fn patterns() {
    for (pattern, capability, expected) in [
        ("slack.chat.post", "slack.chat.post", true),
        ("slack.chat.post", "slack.chat.postEphemeral", false),
        ("slack.*", "slack.chat.post", true),
        ("slack.chat.*", "slack.chat.post", true),
        ("slack.chat.*", "slack.chatter.post", false),
        ("slack.*", "slackbot.chat.post", false),
        ("*", "stripe.refund.create", true),
        ("sla*", "slack.chat.post", false),
    ] {
        assert_eq!(
            fits(pattern, capability),
            expected,
            "{pattern} {capability}"
        );
    }
}

#[test]
fn what_becomes_of_a_call() {
    use RuleEffect::{Allow, Deny, RequireApproval};
    let allow = |of: &str| json!({"name": "a", "effect": "allow", "capabilities": [of]});
    let ask = |of: &str| json!({"name": "r", "effect": "require_approval", "capabilities": [of]});
    let deny = |of: &str| json!({"name": "d", "effect": "deny", "capabilities": [of]});
    let with = |mut rule: Value, field: &str, value: Value| {
        rule[field] = value;
        rule
    };
    let high = ("gmail.send", Risk::High);
    let low = ("slack.chat.post", Risk::Low);
    let big = json!({"amount": 900, "channel": "#finance"});
    for (rules, (capability, risk), input, expected, by) in [
        // Without a rule only risk counts.
        (vec![], high, &big, RequireApproval, None),
        (vec![], low, &big, Allow, None),
        // An explicit rule lifts the default, and only for what it names.
        (vec![allow("gmail.*")], high, &big, Allow, Some(0)),
        (vec![allow("slack.*")], high, &big, RequireApproval, None),
        // Deny, then approval, then allow, in whatever order they stand.
        (
            vec![allow("*"), ask("*"), deny("*")],
            low,
            &big,
            Deny,
            Some(2),
        ),
        (
            vec![deny("*"), ask("*"), allow("*")],
            low,
            &big,
            Deny,
            Some(0),
        ),
        (
            vec![allow("*"), ask("slack.*")],
            low,
            &big,
            RequireApproval,
            Some(1),
        ),
        (
            vec![ask("slack.*"), ask("*")],
            low,
            &big,
            RequireApproval,
            Some(0),
        ),
        // Arguments.
        (
            vec![with(deny("*"), "when", json!("input.amount > 500"))],
            low,
            &big,
            Deny,
            Some(0),
        ),
        (
            vec![with(deny("*"), "when", json!("input.amount > 5000"))],
            low,
            &big,
            Allow,
            None,
        ),
        (
            vec![with(
                deny("slack.*"),
                "when",
                json!("!(input.channel in ['#finance', '#sales'])"),
            )],
            low,
            &big,
            Allow,
            None,
        ),
        // What cannot be evaluated denies, whatever the rule was to say.
        (
            vec![with(allow("*"), "when", json!("input.missing == 1"))],
            low,
            &big,
            Deny,
            Some(0),
        ),
        (
            vec![with(allow("*"), "when", json!("input.channel"))],
            low,
            &big,
            Deny,
            Some(0),
        ),
        (
            vec![with(allow("gmail.*"), "when", json!("input.missing == 1"))],
            low,
            &big,
            Allow,
            None,
        ),
        // Who, and through which connection.
        (
            vec![with(deny("*"), "employees", json!(["clerk"]))],
            low,
            &big,
            Deny,
            Some(0),
        ),
        (
            vec![with(deny("*"), "employees", json!(["emp_2"]))],
            low,
            &big,
            Allow,
            None,
        ),
        (
            vec![with(deny("*"), "connections", json!(["conn_1"]))],
            low,
            &big,
            Deny,
            Some(0),
        ),
        (
            vec![with(deny("*"), "connections", json!(["other"]))],
            low,
            &big,
            Allow,
            None,
        ),
        (
            vec![with(deny("*"), "roles", json!(["operator"]))],
            low,
            &big,
            Allow,
            None,
        ),
        (
            vec![with(ask("*"), "risks", json!(["low"]))],
            low,
            &big,
            RequireApproval,
            Some(0),
        ),
        (
            vec![with(
                deny("*"),
                "when",
                json!(
                    "employee.name == 'clerk' && connection.integration == 'slack' && capability == 'slack.chat.post'"
                ),
            )],
            low,
            &big,
            Deny,
            Some(0),
        ),
    ] {
        let verdict = set(&rules).decide(&asked(capability, risk, input), &Budget::new(FUEL));
        let rule = verdict.rule().map(|(id, _)| id);
        assert_eq!(
            (verdict.effect, rule),
            (expected, by.map(id)),
            "{rules:?} {capability}"
        );
    }
}

#[test]
fn a_client_is_no_employee() {
    let input = json!({});
    let mut call = asked("slack.chat.post", Risk::Low, &input);
    (call.employee, call.role) = (None, "operator");
    let of = |field: &str, value: Value| {
        let mut rule = json!({"name": "d", "effect": "deny", "capabilities": ["*"]});
        rule[field] = value;
        set(&[rule]).decide(&call, &Budget::new(FUEL)).effect
    };
    assert_eq!(of("employees", json!(["clerk"])), RuleEffect::Allow);
    assert_eq!(of("roles", json!(["operator"])), RuleEffect::Deny);
    assert_eq!(of("when", json!("employee == null")), RuleEffect::Deny);
    assert_eq!(
        of("when", json!("employee.name == 'clerk'")),
        RuleEffect::Deny,
        "null has no name, and what cannot be evaluated denies"
    );
}

#[test]
fn an_expression_has_a_budget() {
    let list: Vec<u32> = (0..2_000).collect();
    let input = json!({ "list": list });
    let when = "input.list.all(a, input.list.all(b, a + b >= 0))";
    let rule = json!({"name": "slow", "effect": "allow", "capabilities": ["*"], "when": when});
    let verdict = set(&[rule]).decide(
        &asked("slack.chat.post", Risk::Low, &input),
        &Budget::new(FUEL),
    );
    assert_eq!(verdict.effect, RuleEffect::Deny);
    assert!(verdict.because().contains("too much work"), "{verdict:?}");
}

struct Org;
impl Vocabulary for Org {
    fn has_capability(&self, pattern: &str) -> bool {
        ["slack.chat.post", "gmail.send"]
            .iter()
            .any(|id| fits(pattern, id))
    }
    fn has_connection(&self, id_or_name: &str) -> bool {
        id_or_name == "books"
    }
    fn has_employee(&self, id_or_name: &str) -> bool {
        id_or_name == "clerk"
    }
    fn nearest(&self, _: &str) -> Option<String> {
        Some("slack.chat.post".into())
    }
}

#[test]
fn what_is_wrong_is_named() {
    let good = json!({
        "name": "big ones", "effect": "require_approval", "capabilities": ["slack.*", "gmail.send", "*"], "connections": ["books"],
        "employees": ["clerk"], "roles": ["employee", "admin"], "risks": ["high"], "when": "input.amount > 500", "expires_ms": 60000,
        "reason": "the board wants it",
    });
    assert_eq!(check(&rule(good.clone()), &Org), Ok(()));
    for (field, value, at, says) in [
        ("name", json!(" "), "name", "1 to 100"),
        ("capabilities", json!([]), "capabilities", "at least one"),
        (
            "capabilities",
            json!(["slack.*", "sla*"]),
            "capabilities[1]",
            "behind a dot",
        ),
        (
            "capabilities",
            json!(["*.post"]),
            "capabilities[0]",
            "behind a dot",
        ),
        (
            "capabilities",
            json!(["slack.chat.pots"]),
            "capabilities[0]",
            "do you mean `slack.chat.post`",
        ),
        (
            "capabilities",
            json!(["stripe.*"]),
            "capabilities[0]",
            "no capability",
        ),
        (
            "connections",
            json!(["other"]),
            "connections[0]",
            "no connection",
        ),
        ("employees", json!(["ann"]), "employees[0]", "no employee"),
        ("roles", json!(["viewer"]), "roles[0]", "must be one of"),
        ("when", json!("input.amount >"), "when", ""),
        (
            "when",
            json!("trigger.payload.x == 1"),
            "when",
            "input, capability, employee, connection",
        ),
        ("expires_ms", json!(0), "expires_ms", "1 to"),
        ("effect", json!("deny"), "expires_ms", "require_approval"),
        ("reason", json!("a\u{7}b"), "reason", "control"),
    ] {
        let mut bad = good.clone();
        bad[field] = value.clone();
        let error = check(&rule(bad), &Org).expect_err(&format!("{field} {value}"));
        assert_eq!(error.field, at, "{error}");
        assert!(error.message.contains(says), "{error}");
    }
    let unknown = json!({"name": "x", "effect": "deny", "capabilities": ["*"], "capability": "*"});
    assert!(serde_json::from_value::<RuleSpec>(unknown).is_err());
}
