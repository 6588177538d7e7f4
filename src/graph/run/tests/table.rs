//! One behaviour a test.

use super::driver::{Driver, accepted, at, execution, one_skill, plan};
use crate::graph::{
    Run, RunStatus, StepStatus,
    fact::{
        ApprovalEnd, Command, Decision, Fact, NamedWait, Outcome, StepError, StepId, StopKind,
        TimerKey, TimerPurpose,
    },
    run::in_place,
};
use serde_json::{Value, json};
use std::sync::Arc;

fn t(id: &str) -> Value {
    json!({"id": id, "type": "transform", "output": {"$value": id}})
}
fn e(from: &str, to: &str) -> Value {
    json!({"from": from, "to": to})
}
fn run(nodes: Value, edges: Value, payload: Value) -> Value {
    Driver::new(&one_skill(nodes, edges), payload).work().end()
}

#[test]
fn the_two_step_skill_of_the_readme() {
    let nodes = json!([
        {"id": "n1", "type": "transform", "output": {"step": "'n1'", "got": "size(input)"}},
        {"id": "n2", "type": "transform", "output": {"got": "steps.n1.output.got + 1"}}
    ]);
    assert_eq!(
        run(nodes, json!([e("n1", "n2")]), json!({"a": 1, "b": 2})),
        json!({"got": 3})
    );
}

#[test]
fn several_predecessors_and_several_last_nodes_are_objects_by_node_id() {
    let sum = json!({"id": "j", "type": "transform", "output": "input"});
    let edges = json!([e("a", "j"), e("b", "j")]);
    assert_eq!(
        run(json!([t("a"), t("b"), sum]), edges, json!(null)),
        json!({"a": "a", "b": "b"})
    );
    assert_eq!(
        run(json!([t("a"), t("b")]), json!([]), json!(null)),
        json!({"a": "a", "b": "b"})
    );
}

#[test]
fn edges_fire_by_their_condition_and_joins_do_not_wait_for_the_other_branch() {
    let nodes = json!([
        {"id": "d", "type": "decide", "cases": [{"when": "input > 10", "choose": "big"}], "otherwise": "small"},
        t("big"), t("small"), {"id": "j", "type": "transform", "output": "input"}
    ]);
    let edges = json!([
        {"from": "d", "to": "big", "when": "output.choice == 'big'"}, {"from": "d", "to": "small", "when": "input.choice == 'small'"},
        e("big", "j"), e("small", "j")
    ]);
    assert_eq!(run(nodes.clone(), edges.clone(), json!(11)), json!("big"));
    assert_eq!(run(nodes, edges, json!(1)), json!("small"));
}

#[test]
fn a_decide_without_a_fitting_case_fails() {
    let nodes = json!([{"id": "d", "type": "decide", "cases": [{"when": "false", "choose": "x"}]}]);
    assert_eq!(
        run(nodes, json!([]), json!(1)),
        json!("failed: no_case_matched")
    );
}

#[test]
fn a_condition_that_is_no_boolean_fails_its_source() {
    let edges = json!([{"from": "a", "to": "b", "when": "1"}]);
    assert_eq!(
        run(json!([t("a"), t("b")]), edges, json!(1)),
        json!("failed: expression_failed")
    );
}

#[test]
fn a_loop_ends_by_its_condition_or_its_bound() {
    let count = json!({"id": "c", "type": "transform", "max_visits": 5, "output": "input + 1"});
    let nodes = json!([{"id": "a", "type": "transform", "output": "0"}, count]);
    let edges = |when: &str| json!([e("a", "c"), {"from": "c", "to": "c", "when": when}]);
    assert_eq!(
        run(nodes.clone(), edges("output < 3"), json!(null)),
        json!(3)
    );
    assert_eq!(run(nodes, edges("true"), json!(null)), json!(5));
}

#[test]
fn joins_that_wait_for_each_other_start_in_the_order_of_the_graph() {
    let node = |id: &str| json!({"id": id, "type": "transform", "max_visits": 2, "output": {"$value": id}});
    let nodes = json!([t("a"), node("x"), node("y"), t("z")]);
    let edges = json!([
        e("a", "x"),
        e("a", "y"),
        e("x", "y"),
        e("y", "x"),
        e("y", "z")
    ]);
    let mut driver = Driver::new(&one_skill(nodes, edges), json!(null));
    driver.work();
    assert_eq!(driver.run.status(), RunStatus::Completed);
}

#[test]
fn any_starts_on_the_first_and_drops_what_comes_too_late() {
    let nodes =
        json!([t("a"), t("b"), {"id": "j", "type": "transform", "join": "any", "output": "input"}]);
    let mut driver = Driver::new(
        &one_skill(nodes, json!([e("a", "j"), e("b", "j")])),
        json!(null),
    );
    driver.done(driver.step("b"), json!("B"));
    assert_eq!(driver.running(), ["a", "j"]);
    driver.done(driver.step("a"), json!("A"));
    assert_eq!(driver.running(), ["j"]);
    // The edge of `a` did not fire: its target had no visit left, so `a` is a last node too.
    assert_eq!(driver.work().end(), json!({"a": "A", "j": "B"}));
}

#[test]
fn retries_wait_longer_and_end() {
    let retry =
        json!({"max_attempts": 3, "initial_ms": 1000, "factor": 2, "max_ms": 1500, "jitter": 0});
    let nodes = json!([{"id": "a", "type": "action", "capability": "test.send", "arguments": {}, "retry": retry}]);
    let mut driver = Driver::new(&one_skill(nodes, json!([])), json!(null));
    let step = driver.step("a");
    for (attempt, wait) in [(1, 1_000), (2, 1_500)] {
        let commands = driver.failed(step, attempt, StepError::retryable("provider_error", "503"));
        let failed_at = driver.facts.last().map(Fact::at).unwrap();
        let timer = driver.timer(TimerPurpose::Retry);
        assert_eq!(
            commands,
            [Command::SetTimer {
                timer,
                due: failed_at.after_ms(wait)
            }]
        );
        assert!(driver.run.is_parked());
        assert_eq!(
            driver.fire(timer),
            [Command::StartStep {
                step,
                attempt: attempt + 1
            }]
        );
    }
    driver.failed(step, 3, StepError::retryable("provider_error", "503"));
    assert_eq!(driver.end(), json!("failed: provider_error"));
}

#[test]
fn what_is_not_retryable_goes_to_the_handler_with_all_that_is_known() {
    let retry = json!({"max_attempts": 3});
    let nodes = json!([
        {"id": "a", "type": "action", "capability": "test.send", "arguments": {}, "retry": retry, "on_error": "h"},
        {"id": "h", "type": "transform", "output": "input"}
    ]);
    let mut driver = Driver::new(&one_skill(nodes, json!([])), json!({"n": 7}));
    driver.failed(driver.step("a"), 1, StepError::new("refused", "no"));
    let told =
        json!({"error": {"code": "refused", "message": "no"}, "node": "a", "input": {"n": 7}});
    assert_eq!(driver.work().end(), told);
}

#[test]
fn a_timeout_cancels_and_is_tried_again() {
    let nodes = json!([{"id": "a", "type": "action", "capability": "test.send", "arguments": {}, "timeout_ms": 50,
        "retry": {"max_attempts": 2, "initial_ms": 10, "jitter": 0}}]);
    let mut driver = Driver::new(&one_skill(nodes, json!([])), json!(null));
    let step = driver.step("a");
    let commands = driver.fire(driver.timer(TimerPurpose::Timeout));
    assert_eq!(commands[0], Command::CancelStep { step });
    let commands = driver.fire(driver.timer(TimerPurpose::Retry));
    assert!(
        matches!(
            commands[..],
            [
                Command::StartStep { attempt: 2, .. },
                Command::SetTimer { .. }
            ]
        ),
        "{commands:?}"
    );
    driver.fire(driver.timer(TimerPurpose::Timeout));
    assert_eq!(driver.end(), json!("failed: timeout"));
}

#[test]
fn a_skill_that_takes_too_long_fails_as_a_whole() {
    let skill = json!({"graph_id": "sg", "type": "skill", "nodes": [t("a"), t("b")]});
    let nodes = json!([
        {"id": "s", "type": "skill", "skill_graph": "sg", "permissions": [], "timeout_ms": 10, "on_error": "r"},
        {"id": "r", "type": "skill", "skill_graph": "sg", "permissions": []}
    ]);
    let plan = plan(
        json!({"graph_id": "e", "type": "employee", "nodes": nodes}),
        [skill],
    );
    let mut driver = Driver::new(&plan, json!(null));
    let commands = driver.fire(driver.timer(TimerPurpose::Timeout));
    assert_eq!(
        commands
            .iter()
            .filter(|command| matches!(command, Command::CancelStep { .. }))
            .count(),
        2
    );
    assert_eq!(driver.running(), ["a", "b"]);
    assert_eq!(driver.work().end(), json!({"a": "a", "b": "b"}));
    let views = driver.run.skills();
    let told: Vec<_> = views
        .iter()
        .map(|view| (view.skill.as_str(), view.status))
        .collect();
    assert_eq!(
        told,
        [("s", StepStatus::Failed), ("r", StepStatus::Completed)]
    );
}

#[test]
fn approvals_are_approved_denied_or_expire() {
    let approval = json!({"id": "ask", "type": "approval", "title": "Send {{ input.n }}?", "arguments": {"n": "input.n"},
        "expires_ms": 1000, "on_denied": "no"});
    let nodes = json!([approval, {"id": "no", "type": "transform", "output": "input.decision"}, {"id": "yes", "type": "transform", "output": "input.arguments"}]);
    let plan = one_skill(nodes, json!([e("ask", "yes")]));
    let start = || Driver::new(&plan, json!({"n": 3}));

    let mut driver = start();
    assert!(driver.run.is_parked());
    assert_eq!(
        (
            driver.run.waiting_on()[0].kind.as_str(),
            driver.run.waiting_on()[0].on.as_str()
        ),
        ("approval", "Send 3?")
    );
    let commands = driver.decide(driver.step("ask"), Decision::Approved);
    assert!(matches!(
        commands[0],
        Command::CloseApproval {
            how: ApprovalEnd::Approved,
            ..
        }
    ));
    assert_eq!(driver.work().end(), json!({"n": 3}));

    let mut driver = start();
    driver.decide(driver.step("ask"), Decision::Denied);
    assert_eq!(driver.work().end(), json!("denied"));

    let mut driver = start();
    driver.fire(driver.timer(TimerPurpose::Expiry));
    assert_eq!(driver.end(), json!("failed: approval_expired"));
}

#[test]
fn waits_for_time_and_for_events() {
    let nodes = json!([
        {"id": "w", "type": "wait", "duration": "PT10M"},
        {"id": "e", "type": "wait", "event": {"type": "invoice.paid", "source": "hook:*", "match": {"/id": "input.id"}}, "timeout_ms": 5, "on_timeout": "late"},
        {"id": "late", "type": "transform", "output": "input.error.code"}
    ]);
    let plan = one_skill(nodes, json!([e("w", "e")]));
    let mut driver = Driver::new(&plan, json!({"id": 9}));
    driver.fire(driver.timer(TimerPurpose::Wait));
    let wait = driver.log.iter().find_map(|command| match command {
        Command::WaitForEvent { wait, .. } => Some(wait.clone()),
        _ => None,
    });
    assert_eq!(
        wait.map(|wait| (wait.event, wait.matches)),
        Some(("invoice.paid".into(), vec![("/id".into(), json!(9))]))
    );
    let (step, at) = (driver.step("e"), driver.next_at());
    driver.apply(Fact::EventArrived {
        step,
        payload: Arc::new(json!({"id": 9})),
        source: "hook:x".into(),
        at,
    });
    assert_eq!(
        driver.end(),
        json!({"event": {"id": 9}, "source": "hook:x"})
    );

    let mut driver = Driver::new(&plan, json!({"id": 9}));
    driver.fire(driver.timer(TimerPurpose::Wait));
    driver.fire(driver.timer(TimerPurpose::Wait));
    assert_eq!(driver.work().end(), json!("wait_timeout"));
}

fn map(on_item_error: &str, body: Value) -> Arc<crate::graph::Plan> {
    let node = json!({"id": "m", "type": "map", "items": "input", "as": "x", "width": 2, "on_item_error": on_item_error, "do": body});
    one_skill(json!([node]), json!([]))
}

#[test]
fn a_map_keeps_its_width_and_the_order_of_its_list() {
    let plan = map(
        "fail",
        json!({"type": "transform", "output": "x * 10 + index + (input - x)"}),
    );
    let mut driver = Driver::new(&plan, json!([1, 2, 3]));
    assert_eq!(driver.running(), ["m#0", "m#1"]);
    let second = crate::graph::fact::StepId {
        item: Some(1),
        ..driver.step("m")
    };
    driver.done(second, json!(21));
    assert_eq!(driver.running(), ["m#0", "m#2"]);
    assert_eq!(driver.work().end(), json!([10, 21, 32]));
    assert_eq!(Driver::new(&plan, json!([])).end(), json!([]));
    assert_eq!(
        Driver::new(&plan, json!(5)).end(),
        json!("failed: expression_failed")
    );
}

#[test]
fn failed_items_fail_skip_or_collect() {
    let body = json!({"type": "transform", "output": "10 / x"});
    let end = |policy| {
        Driver::new(&map(policy, body.clone()), json!([5, 0, 2]))
            .work()
            .end()
    };
    assert_eq!(end("fail"), json!("failed: expression_failed"));
    assert_eq!(end("skip"), json!([2, 5]));
    assert_eq!(
        end("collect")[1]["error"]["code"],
        json!("expression_failed")
    );
}

#[test]
fn ten_thousand_items_that_cannot_begin_do_not_overflow_the_stack() {
    let node = json!({"id": "m", "type": "map", "items": "input", "max_items": 10000, "on_item_error": "skip",
        "do": {"type": "approval", "title": "{{ item.missing.x }}"}});
    let mut driver = Driver::new(&one_skill(json!([node]), json!([])), json!(vec![0; 10_000]));
    assert_eq!(driver.work().end(), json!([]));
}

#[test]
fn parked_steps_go_on_with_the_same_attempt() {
    let nodes = json!([{"id": "a", "type": "action", "capability": "test.send", "arguments": {}, "timeout_ms": 50}]);
    let mut driver = Driver::new(&one_skill(nodes, json!([])), json!(null));
    let (step, at) = (driver.step("a"), driver.next_at());
    let wait = NamedWait {
        kind: "connection".into(),
        on: "slack".into(),
        detail: "slack needs consent".into(),
    };
    let commands = driver.apply(Fact::StepParked { step, wait, at });
    assert!(matches!(commands[..], [Command::ClearTimer { .. }]));
    assert_eq!(driver.run.waiting_on()[0].detail, "slack needs consent");
    let at = driver.next_at();
    assert_eq!(
        driver.apply(Fact::StepResumed { step, at }),
        [Command::StartStep { step, attempt: 1 }]
    );
}

/// A step of the graph `nodes` that is asked about before it goes on.
fn asked_about(nodes: Value, arguments: Value) -> (Driver, StepId) {
    let mut driver = Driver::new(&one_skill(nodes, json!([])), json!(null));
    let (step, at) = (driver.step("a"), driver.next_at());
    let commands = driver.apply(Fact::StepAsked {
        step,
        title: "Call test.send?".into(),
        arguments: Arc::new(arguments),
        expires: Some(at),
        at,
    });
    assert!(
        matches!(
            commands[..],
            [
                Command::ClearTimer { .. },
                Command::AskApproval(_),
                Command::SetTimer { .. }
            ]
        ),
        "{commands:?}"
    );
    assert_eq!(driver.run.waiting_on()[0].kind, "approval");
    assert_eq!(driver.run.open_approval(step), Some(&json!("call")));
    (driver, step)
}

#[test]
fn a_step_that_is_asked_about_goes_on_or_fails() {
    let send = json!({"id": "a", "type": "action", "capability": "test.send", "arguments": {}, "timeout_ms": 50});
    let decided = |step, decision, at| Fact::ApprovalDecided {
        step,
        decision,
        by: "ann".into(),
        comment: None,
        at,
    };
    let (mut driver, step) = asked_about(json!([send]), json!("call"));
    let at = driver.next_at();
    let commands = driver.apply(decided(step, Decision::Approved, at));
    assert!(
        matches!(
            commands[..],
            [
                Command::CloseApproval {
                    how: ApprovalEnd::Approved,
                    ..
                },
                Command::ClearTimer { .. },
                Command::StartStep { attempt: 1, .. }
            ]
        ),
        "{commands:?}"
    );

    let (mut driver, step) = asked_about(json!([send]), json!("call"));
    let at = driver.next_at();
    driver.apply(decided(step, Decision::Denied, at));
    let Some(Outcome::Failed { error }) = driver.run.outcome() else {
        panic!("it failed")
    };
    assert_eq!(error.error.code, "approval_denied");

    let (mut driver, step) = asked_about(json!([send]), json!("call"));
    let timer = TimerKey {
        step,
        attempt: 1,
        purpose: TimerPurpose::Expiry,
    };
    let at = driver.next_at();
    driver.apply(Fact::TimerFired { timer, at });
    let Some(Outcome::Failed { error }) = driver.run.outcome() else {
        panic!("it failed")
    };
    assert_eq!(error.error.code, "approval_expired");
}

#[test]
fn stopping_takes_everything_back_and_nothing_comes_after_the_end() {
    let nodes = json!([t("a"), {"id": "b", "type": "approval"}, {"id": "c", "type": "wait", "duration_ms": 5},
        {"id": "d", "type": "wait", "event": {"type": "x"}}]);
    let mut driver = Driver::new(&one_skill(nodes, json!([])), json!(null));
    let (step, at) = (driver.step("a"), driver.next_at());
    let commands = driver.apply(Fact::StopRequested {
        kind: StopKind::Cancelled,
        by: "ann".into(),
        reason: None,
        at,
    });
    assert!(
        matches!(
            &commands[..],
            [
                Command::CancelStep { .. },
                Command::CloseApproval {
                    how: ApprovalEnd::Withdrawn,
                    ..
                },
                Command::ClearTimer { .. },
                Command::StopWaiting { .. },
                Command::Finish(Outcome::Cancelled { .. })
            ]
        ),
        "{commands:?}"
    );
    assert!(driver.done(step, json!(1)).is_empty());
    assert_eq!(driver.run.status(), RunStatus::Cancelled);
}

#[test]
fn a_trigger_may_start_at_one_skill() {
    let skill = json!({"graph_id": "sg", "type": "skill", "nodes": [t("a")]});
    let node =
        |id: &str| json!({"id": id, "type": "skill", "skill_graph": "sg", "permissions": []});
    let plan = plan(
        json!({"graph_id": "e", "type": "employee", "nodes": [node("x"), node("y")], "edges": [e("x", "y")]}),
        [skill],
    );
    let skills = |skill: Option<&str>| {
        let mut driver = Driver::from(&plan, accepted(json!(1), skill));
        driver.work();
        driver
            .run
            .skills()
            .into_iter()
            .map(|view| view.skill)
            .collect::<Vec<_>>()
    };
    assert_eq!(skills(None), ["x", "y"]);
    assert_eq!(skills(Some("y")), ["y"]);
    assert_eq!(
        Driver::from(&plan, accepted(json!(1), Some("z"))).end(),
        json!("failed: unknown_skill")
    );
}

#[test]
fn facts_that_do_not_fit_are_ignored() {
    let mut driver = Driver::new(
        &one_skill(json!([t("a"), t("b")]), json!([e("a", "b")])),
        json!(null),
    );
    let step = driver.step("a");
    driver.done(step, json!(1));
    let before = driver.run.to_state();
    let unknown = crate::graph::fact::StepId { skill: 9, ..step };
    for step in [step, unknown] {
        assert!(driver.done(step, json!(2)).is_empty());
        assert!(driver.failed(step, 1, StepError::new("x", "x")).is_empty());
        assert!(driver.decide(step, Decision::Approved).is_empty());
        let timer = crate::graph::fact::TimerKey {
            step,
            attempt: 1,
            purpose: TimerPurpose::Retry,
        };
        assert!(driver.fire(timer).is_empty());
    }
    let mut after = driver.run.to_state();
    after.now = before.now;
    assert_eq!(after, before);
}

#[test]
fn a_failure_that_its_handler_has_no_visit_for_fails_the_skill() {
    let risky = |id: &str| json!({"id": id, "type": "action", "capability": "test.x", "arguments": {}, "on_error": "h"});
    let nodes = json!([risky("a"), risky("b"), risky("c"), {"id": "h", "type": "transform", "output": "input.node", "max_visits": 2}]);
    let mut driver = Driver::new(&one_skill(nodes, json!([])), json!(null));
    driver.failed(driver.step("a"), 1, StepError::new("x", "x"));
    driver.failed(driver.step("b"), 1, StepError::new("x", "x"));
    assert_eq!(driver.running(), ["c", "h"]);
    driver.failed(driver.step("c"), 1, StepError::new("last", "x"));
    assert_eq!(driver.end(), json!("failed: last"));
}

#[test]
fn a_step_sees_what_was_there_when_it_started_however_late_it_is_evaluated() {
    let late = json!({"id": "b", "type": "transform", "output": "has(steps.a.output)"});
    let mut driver = Driver::new(&one_skill(json!([t("a"), late]), json!([])), json!(null));
    driver.done(driver.step("a"), json!(1));
    assert_eq!(driver.work().end(), json!({"a": 1, "b": false}));
}

/// Its steps start when its turn has come, and what they are given time for counts from there; live and replayed.
#[test]
fn a_run_that_waited_for_its_turn_starts_when_it_comes() {
    for (node, purpose) in [
        (
            json!({"id": "w", "type": "wait", "duration_ms": 5_000}),
            TimerPurpose::Wait,
        ),
        (
            json!({"id": "w", "type": "action", "capability": "test.do", "arguments": {}, "timeout_ms": 5_000}),
            TimerPurpose::Timeout,
        ),
    ] {
        let plan = one_skill(json!([node]), json!([]));
        let accepted = accepted(json!({}), None);
        let begun = Fact::Begun { at: at(3_600) };
        let context = crate::domain::MemoryView::default;
        let (live, commands) = Run::start_at(
            plan.clone(),
            &accepted,
            begun.begun(),
            execution(),
            context(),
            in_place,
        );
        let due = commands.iter().find_map(|command| match command {
            Command::SetTimer { timer, due } if timer.purpose == purpose => Some(*due),
            _ => None,
        });
        assert_eq!(due, Some(at(3_605)), "{commands:?}");
        let replayed = Run::replay(plan, [&accepted, &begun], execution(), context());
        for run in [&live, &replayed] {
            assert_eq!(run.accepted_at(), at(0));
            assert!(run.steps().iter().all(|step| step.started_at == at(3_600)));
            assert!(
                run.skills()
                    .iter()
                    .all(|skill| skill.started_at == at(3_600))
            );
        }
        assert_eq!(live.steps(), replayed.steps());
    }
}
