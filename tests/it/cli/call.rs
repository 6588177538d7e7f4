//! `tenure call` against a `tenure dev` and its sandbox.

use super::dev::Dev;
use serde_json::Value;

#[test]
fn a_capability_is_called_from_the_command_line() {
    let dev = Dev::start_with(&["--no-demo"]);
    let who = r#"{"email":"maya@demo.example"}"#;
    let called = dev.verb(&[
        "call",
        "slack.users.lookupByEmail",
        "--input",
        who,
        "--json",
    ]);
    assert_eq!(called.code, 0, "{}", called.err);
    let answer: Value = serde_json::from_str(&called.out).expect("JSON");
    assert_eq!(answer["output"]["user"]["id"], "U0MAYA");

    let file = dev.file("message.json", r##"{"channel":"#finance","text":"hello"}"##);
    let input = format!("@{file}");
    let post = [
        "call",
        "slack.chat.post",
        "--input",
        &input,
        "--idempotency-key",
        "k",
        "-q",
    ];
    let (first, second) = (dev.verb(&post), dev.verb(&post));
    assert_eq!((first.code, &first.out), (0, &second.out), "{}", first.err);

    let history = [
        "call",
        "slack.conversations.history",
        "--input",
        r#"{"channel":"C0FINANCE"}"#,
        "--stream",
    ];
    let streamed = dev.verb(&history);
    assert_eq!(streamed.code, 0, "{}", streamed.err);
    let lines: Vec<Value> = streamed
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        lines.iter().filter(|one| one["text"] == "hello").count(),
        1,
        "{}",
        streamed.out
    );

    for (arguments, code, told) in [
        (vec!["slack.chat.pots"], 3, "slack.chat.pots"),
        (vec!["slack.chat.post", "--input", "{"], 2, "--input"),
        (vec!["slack.chat.post", "--input", "{}"], 1, "BAD_PARAMS"),
        (
            vec![
                "slack.chat.post",
                "--input",
                r##"{"channel":"#nowhere-at-all","text":"x"}"##,
            ],
            1,
            "PROVIDER_ERROR",
        ),
        (vec!["github.repos.list"], 1, "AUTH_ERROR"),
        (vec!["slack.chat.post", "--stream"], 1, "stream"),
    ] {
        let said = dev.verb(&[&["call"], &arguments[..]].concat());
        assert_eq!(said.code, code, "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(told), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn the_example_of_a_policy_holds_a_call_back_and_says_why() {
    let dev = Dev::start_with(&["--no-demo"]);
    let rule = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/policies/finance-only.yaml"
    );
    dev.ok(&["policies", "add", rule]);
    let post = |channel: &str| {
        let input = format!(r#"{{"channel":"{channel}","text":"hello"}}"#);
        dev.verb(&["call", "slack.chat.post", "--input", &input])
    };
    let denied = post("#general");
    assert_eq!(denied.code, 4, "{denied:?}");
    assert!(denied.err.contains("finance only"), "{denied:?}");
    assert!(dev.record("slack").is_empty());
    let passed = post("#finance");
    assert_eq!(passed.code, 0, "{passed:?}");
    assert_eq!(dev.record("slack").len(), 1);

    dev.ok(&["policies", "rm", "finance only"]);
    assert_eq!(post("#general").code, 0);
}
