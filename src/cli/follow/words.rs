//! Events, effects and ends of runs, in words.

use crate::cli::{
    exit::Failure,
    output::{Output, indent, shorten, text_at, yaml},
    shell,
};
use serde_json::Value;

/// One event as a line; `None` for what is told otherwise.
pub fn in_words(event: &Value) -> Option<String> {
    match event["type"].as_str()? {
        "runIntent" => Some(format!("run {} accepted", text_at(event, "execution_id"))),
        "agentEvent" => agent_event_in_words(event),
        _ => None,
    }
}

fn agent_event_in_words(event: &Value) -> Option<String> {
    let run_id = text_at(event, "run_id");
    let skill = run_id.rsplit_once(":skill:").map_or("", |(_, skill)| skill);
    let place = place(skill, &text_at(event, "micro_agent"));
    let data = &event["data"];
    let why = || {
        let (code, message) = (text_at(data, "error.code"), text_at(data, "error.message"));
        shorten(&format!("{message} ({code})"), 100)
    };
    let is_item = !data["item"].is_null();
    match event["event"].as_str()? {
        // The elements of a `map` are told by their effects and by its own end.
        "step.completed" if is_item => None,
        "step.completed" => Some(format!("{place}  done")),
        "step.failed" => Some(format!("{place}  failed: {}", why())),
        "approval.decided" => {
            let comment = match text_at(data, "comment") {
                comment if comment.is_empty() => comment,
                comment => format!(": {comment}"),
            };
            Some(format!("{place}  {}{comment}", text_at(data, "decision")))
        }
        "event.arrived" => Some(format!("{place}  the event came")),
        "run.cancel_requested" => Some("cancelled".into()),
        // Waits are told from the run, with what to do about them.
        _ => None,
    }
}

pub fn effect_in_words(effect: &Value) -> String {
    let arguments = match &effect["arguments"] {
        Value::Null => String::new(),
        Value::Object(arguments) => {
            let mut fields: Vec<String> = arguments
                .keys()
                .map(|name| {
                    format!(
                        "{name}: {}",
                        shorten(&text_at(&effect["arguments"], name), 40)
                    )
                })
                .collect();
            // Addresses and names are short and say most.
            fields.sort_by_key(String::len);
            fields.join(", ")
        }
        other => other.to_string(),
    };
    let (capability, status) = (text_at(effect, "capability"), text_at(effect, "status"));
    let hint = if status == "ambiguous" {
        format!(
            "; nobody knows whether it happened: {}",
            text_at(effect, "id")
        )
    } else {
        String::new()
    };
    format!("{capability}  {status}{hint}  {}", shorten(&arguments, 110))
        .trim_end()
        .to_owned()
}

pub fn place(skill: &str, node: &str) -> String {
    match (skill, node) {
        ("", node) => node.to_owned(),
        (skill, "") => skill.to_owned(),
        (skill, node) => format!("{skill}/{node}"),
    }
}

/// Tells how it ended; a run that did not complete is a failure of the command too.
pub fn conclude(out: Output, run: &Value) -> anyhow::Result<()> {
    let status = text_at(run, "status");
    if out.is_for_people() {
        out.line(out.bold(&status))?;
        if !run["result"].is_null() {
            out.line(result_in_short(run))?;
        }
    }
    match status.as_str() {
        "completed" => Ok(()),
        "failed" => Err(Failure::failed(format!("the run failed: {}", failure(run)))),
        _ => Err(Failure::failed(format!("the run was {status}"))),
    }
}

/// The first lines of a result, and how to see the rest.
fn result_in_short(run: &Value) -> String {
    const LINES: usize = 12;
    let text = indent(&yaml(&run["result"]), 2);
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= LINES {
        return text;
    }
    let show = shell::command(&format!("show {}", text_at(run, "execution_id")));
    format!("{}\n  …\n\nAll of it: {show}", lines[..LINES].join("\n"))
}

fn failure(run: &Value) -> String {
    let error = &run["error"];
    if let Value::String(text) = error {
        return text.clone();
    }
    let place = place(&text_at(error, "skill"), &text_at(error, "node"));
    format!(
        "{place}: {} ({})",
        text_at(error, "message"),
        text_at(error, "code")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn agent(event: &str, data: Value) -> Value {
        json!({"type": "agentEvent", "run_id": "emp:1_v1:x:skill:mail", "event": event, "micro_agent": "send", "data": data})
    }

    #[test]
    fn events_in_words() {
        for (event, words) in [
            (agent("step.completed", json!({})), Some("mail/send  done")),
            (agent("step.completed", json!({"item": 3})), None),
            (
                agent(
                    "step.failed",
                    json!({"error": {"code": "timeout", "message": "too slow"}}),
                ),
                Some("mail/send  failed: too slow (timeout)"),
            ),
            (
                agent(
                    "approval.decided",
                    json!({"decision": "denied", "comment": "no"}),
                ),
                Some("mail/send  denied: no"),
            ),
            (agent("step.parked", json!({})), None),
            (json!({"type": "executionResult"}), None),
            (json!({}), None),
        ] {
            assert_eq!(in_words(&event).as_deref(), words, "{event}");
        }
    }
}
