//! What happens in a run, told as it happens: steps, what it waits for and how to end that, effects, the end.
//!
//! The stream says what happened; the run and its effects are looked at whenever the stream has been quiet for a moment, because
//! what a run waits for is a state and no event.

use super::{
    client::{Client, ClientError, segment},
    exit::Failure,
    output::{Output, indent, shorten, text_at, yaml},
    shell, sse,
};
use crate::domain::Timestamp;
use futures::{Stream, StreamExt};
use serde_json::Value;
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// The stream was quiet for this long: what can be told has been told.
const SETTLED: Duration = Duration::from_millis(150);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A run is over before its last event has come; after this long it is not waited for any more.
const LAST_EVENT_WITHIN: Duration = Duration::from_secs(2);
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// A service that is started again is waited for this long.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// How far a run is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Finished,
    /// Also until it cannot go on without somebody or something outside.
    Attention,
}

/// Tells about one run until it ends or needs somebody; fails if the run failed.
///
/// # Errors
/// The run did not complete, or the service is gone for a minute.
pub async fn follow(
    client: &Client,
    out: Output,
    execution: &str,
    until: Until,
) -> anyhow::Result<()> {
    let mut follower = Follower {
        client,
        out,
        path: format!("/v1/runs/{}", segment(execution)),
        last_event: None,
        accepted: None,
        ended: None,
        told: HashSet::new(),
    };
    match follower.to_the_end(until).await? {
        Some(run) => conclude(out, &run),
        None => Ok(()),
    }
}

struct Follower<'a> {
    client: &'a Client,
    out: Output,
    path: String,
    last_event: Option<String>,
    accepted: Option<Timestamp>,
    /// When it was first seen that the run is over.
    ended: Option<Instant>,
    /// Waits and effects that were told, so that each is told once.
    told: HashSet<String>,
}

impl Follower<'_> {
    /// Gives the finished run, or nothing if it waits and that is enough.
    async fn to_the_end(&mut self, until: Until) -> anyhow::Result<Option<Value>> {
        let mut broken_since: Option<Instant> = None;
        loop {
            let path = format!("{}/events", self.path);
            match self.client.events(&path, self.last_event.as_deref()).await {
                Ok(events) => {
                    broken_since = None;
                    if let Some(end) = self.read(events, until).await? {
                        return Ok(end);
                    }
                }
                Err(error @ ClientError::Unreachable { .. }) => {
                    let since = *broken_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > GIVE_UP_AFTER {
                        return Err(error.into());
                    }
                    if since.elapsed() < RECONNECT_AFTER {
                        eprintln!("{error}; trying again");
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }

    /// Reads one connection's events. `None`: it broke, another is needed.
    async fn read(
        &mut self,
        events: impl Stream<Item = Result<sse::Event, ClientError>>,
        until: Until,
    ) -> anyhow::Result<Option<Option<Value>>> {
        tokio::pin!(events);
        let mut wait = SETTLED;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        let is_last = self.tell(event)?;
                        wait = if is_last { Duration::ZERO } else { SETTLED };
                        if is_last {
                            self.ended.get_or_insert_with(|| Instant::now() - LAST_EVENT_WITHIN);
                        }
                    }
                    Some(Err(_)) | None => return Ok(None),
                },
                () = tokio::time::sleep(wait) => {
                    wait = LOOK_EVERY;
                    match self.look().await {
                        Ok(run) if is_over(&run) => {
                            let ended = *self.ended.get_or_insert_with(Instant::now);
                            if ended.elapsed() >= LAST_EVENT_WITHIN {
                                return Ok(Some(Some(run)));
                            }
                            wait = SETTLED;
                        }
                        Ok(run) if until == Until::Attention && needs_somebody(&run) => return Ok(Some(None)),
                        Ok(_) => {}
                        Err(error) if is_unreachable(&error) => return Ok(None),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// Tells an event; whether it was the run's last.
    fn tell(&mut self, event: sse::Event) -> anyhow::Result<bool> {
        if event.id.is_some() {
            self.last_event = event.id;
        }
        let Ok(body) = serde_json::from_str::<Value>(&event.data) else {
            return Ok(false);
        };
        let at = Timestamp::parse(&text_at(&body, "timestamp"));
        if let Some(text) = in_words(&body) {
            self.line(at, &text)?;
        }
        if body["type"] == "runIntent" {
            self.accepted = at;
        }
        Ok(body["type"] == "executionResult")
    }

    /// Tells the run's new waits and effects; gives the run.
    async fn look(&mut self) -> anyhow::Result<Value> {
        let run = self.client.get(&self.path, &[]).await?;
        let effects = format!("{}/effects", self.path);
        for effect in self.client.all(&effects, &[]).await? {
            let (id, status) = (text_at(&effect, "id"), text_at(&effect, "status"));
            if status != "intended"
                && status != "sent"
                && self.told.insert(format!("{id} {status}"))
            {
                self.line(None, &effect_in_words(&effect))?;
            }
        }
        let empty = Vec::new();
        for wait in run["waiting_on"].as_array().unwrap_or(&empty) {
            let key = format!("{} {} {}", wait["kind"], wait["step"], wait["since"]);
            if self.told.insert(key) {
                self.tell_wait(&run, wait).await?;
            }
        }
        Ok(run)
    }

    async fn tell_wait(&self, run: &Value, wait: &Value) -> anyhow::Result<()> {
        let place = place(&text_at(wait, "skill"), &text_at(wait, "node"));
        self.line(
            None,
            &format!("{place}  waits: {}", text_at(wait, "detail")),
        )?;
        if wait["kind"] != "approval" {
            return Ok(());
        }
        let execution = text_at(run, "execution_id");
        let query = [("status", "pending"), ("execution_id", execution.as_str())];
        for approval in self.client.all("/v1/approvals", &query).await? {
            if text_at(&approval, "title") == text_at(wait, "on") {
                let arguments = indent(&yaml(&approval["arguments"]), 12);
                self.out.line(self.out.dim(&arguments))?;
                self.out.line(format!(
                    "{:10}{}",
                    "",
                    self.out.bold(&approve_command(&text_at(&approval, "id")))
                ))?;
            }
        }
        Ok(())
    }

    /// A line with the time since the run was accepted, where that is known.
    fn line(&self, at: Option<Timestamp>, text: &str) -> anyhow::Result<()> {
        let passed = match (at, self.accepted) {
            (Some(at), Some(accepted)) => format!("{:.2} s", at.since(accepted).as_secs_f64()),
            _ => String::new(),
        };
        self.out
            .line(format!("{}  {text}", self.out.dim(&format!("{passed:>8}"))))?;
        Ok(())
    }
}

/// The command that approves, to be copied.
pub fn approve_command(approval: &str) -> String {
    format!("{} approve {approval}", shell::program())
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Unreachable { .. }))
}

fn is_over(run: &Value) -> bool {
    matches!(
        run["status"].as_str(),
        Some("completed" | "failed" | "cancelled")
    )
}

/// Whether nothing but retries will move it: those come by themselves, and soon.
fn needs_somebody(run: &Value) -> bool {
    run["status"] == "waiting"
        && run["waiting_on"].as_array().is_some_and(|waits| {
            !waits.is_empty()
                && !waits
                    .iter()
                    .any(|wait| wait["kind"] == "timer" && wait["on"] == "retry")
        })
}

/// One event as a line; `None` for what is told otherwise.
fn in_words(event: &Value) -> Option<String> {
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

fn effect_in_words(effect: &Value) -> String {
    let arguments = match &effect["arguments"] {
        Value::Null => String::new(),
        Value::Object(arguments) => arguments
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name}: {}", shorten(text, 40)),
                other => format!("{name}: {}", shorten(&other.to_string(), 40)),
            })
            .collect::<Vec<_>>()
            .join(", "),
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

fn place(skill: &str, node: &str) -> String {
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
            out.line(indent(&yaml(&run["result"]), 2))?;
        }
    }
    match status.as_str() {
        "completed" => Ok(()),
        "failed" => Err(Failure::failed(format!("the run failed: {}", failure(run)))),
        _ => Err(Failure::failed(format!("the run was {status}"))),
    }
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

    #[test]
    fn who_has_to_act() {
        let run = |waits: Value| json!({"status": "waiting", "waiting_on": waits});
        assert!(needs_somebody(&run(
            json!([{"kind": "approval", "on": "x"}])
        )));
        assert!(needs_somebody(&run(
            json!([{"kind": "timer", "on": "wait"}])
        )));
        assert!(!needs_somebody(&run(
            json!([{"kind": "timer", "on": "retry"}])
        )));
        assert!(!needs_somebody(&run(json!([]))));
        assert!(!needs_somebody(
            &json!({"status": "running", "waiting_on": []})
        ));
    }
}
