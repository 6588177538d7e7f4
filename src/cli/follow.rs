//! What happens in a run, told as it happens: steps, what it waits for and how to end that, effects, the end.
//!
//! The stream says what happened; what a run waits for is a state and no event, and an effect is a row. So events are held for a
//! moment, then the run and its effects are looked at, and all of it is told in the order in which it happened.

mod words;

pub use words::conclude;

use super::{
    client::{Client, ClientError, segment},
    output::{Output, indent, text_at, yaml},
    shell, sse,
};
use crate::cli::output::note;
use crate::domain::Timestamp;
use futures::{Stream, StreamExt};
use serde_json::Value;
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};
use words::{effect_in_words, in_words, place};

/// How long events are held. Once nothing has come for as long, what can be told has been told.
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

/// Tells about one run, from `since` on, until it ends or needs somebody; fails if the run failed.
///
/// # Errors
/// The run did not complete, or the service is gone for a minute.
pub async fn follow(
    client: &Client,
    out: Output,
    execution: &str,
    until: Until,
    since: Option<Timestamp>,
) -> anyhow::Result<()> {
    let mut follower = Follower {
        client,
        out,
        path: format!("/v1/runs/{}", segment(execution)),
        since: since.unwrap_or_default(),
        last_event: None,
        accepted: None,
        held: Vec::new(),
        is_quiet: false,
        ended: None,
        told: HashSet::new(),
    };
    match follower.follow_to_end(until).await? {
        Some(run) => conclude(out, &run),
        None => Ok(()),
    }
}

struct Follower<'a> {
    client: &'a Client,
    out: Output,
    path: String,
    /// What happened before is not told.
    since: Timestamp,
    last_event: Option<String>,
    accepted: Option<Timestamp>,
    /// Lines that are not printed yet.
    held: Vec<(Timestamp, String)>,
    /// No event has come since the last look.
    is_quiet: bool,
    /// When it was first seen that the run is over, or its last event came.
    ended: Option<Ended>,
    /// Waits and effects that were told, so that each is told once.
    told: HashSet<String>,
}

/// How it is known that a run is over.
#[derive(Clone, Copy)]
enum Ended {
    /// The stream has told all.
    Told,
    /// The run says so, the stream is still behind.
    Seen(Instant),
}

impl Follower<'_> {
    /// Gives the finished run, or nothing if it waits and that is enough.
    async fn follow_to_end(&mut self, until: Until) -> anyhow::Result<Option<Value>> {
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
                        note!("{error}; trying again");
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
        let mut look_at = Instant::now() + SETTLED;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        self.hold(event);
                        look_at = look_at.min(Instant::now() + SETTLED);
                    }
                    Some(Err(_)) | None => return Ok(None),
                },
                () = tokio::time::sleep_until(look_at.into()) => {
                    let was_quiet = std::mem::replace(&mut self.is_quiet, true);
                    let run = match self.look().await {
                        Ok(run) => run,
                        Err(error) if is_unreachable(&error) => return Ok(None),
                        Err(error) => return Err(error),
                    };
                    if self.has_told_the_end(&run) {
                        return Ok(Some(Some(run)));
                    }
                    if until == Until::Attention && was_quiet && needs_somebody(&run) {
                        return Ok(Some(None));
                    }
                    look_at = Instant::now() + if was_quiet { LOOK_EVERY } else { SETTLED };
                }
            }
        }
    }

    /// Whether the run is over and its last event has come, or is not to be expected any more.
    fn has_told_the_end(&mut self, run: &Value) -> bool {
        if !is_over(run) {
            return false;
        }
        match self
            .ended
            .get_or_insert_with(|| Ended::Seen(Instant::now()))
        {
            Ended::Told => true,
            Ended::Seen(at) => at.elapsed() >= LAST_EVENT_WITHIN,
        }
    }

    fn hold(&mut self, event: sse::Event) {
        self.is_quiet = false;
        if event.id.is_some() {
            self.last_event = event.id;
        }
        let Ok(body) = serde_json::from_str::<Value>(&event.data) else {
            return;
        };
        let at = Timestamp::parse(&text_at(&body, "timestamp")).unwrap_or_default();
        match body["type"].as_str() {
            Some("runIntent") => self.accepted = Some(at),
            Some("executionResult") => self.ended = Some(Ended::Told),
            _ => {}
        }
        if let Some(text) = in_words(&body) {
            self.held.push((at, text));
        }
    }

    /// Looks at run and effects and tells all that is new; gives the run.
    async fn look(&mut self) -> anyhow::Result<Value> {
        let run = self.client.get(&self.path, &[]).await?;
        let effects = format!("{}/effects", self.path);
        for effect in self.client.all(&effects, &[]).await? {
            let (id, status) = (text_at(&effect, "id"), text_at(&effect, "status"));
            let is_under_way = matches!(status.as_str(), "intended" | "sent");
            if !is_under_way && self.told.insert(format!("{id} {status}")) {
                let at = ["settled_at", "sent_at", "intended_at"]
                    .iter()
                    .find_map(|field| Timestamp::parse(&text_at(&effect, field)));
                self.held
                    .push((at.unwrap_or_default(), effect_in_words(&effect)));
            }
        }
        self.held.sort_by_key(|(at, _)| *at);
        for (at, text) in std::mem::take(&mut self.held) {
            if at >= self.since {
                self.line(Some(at), &text)?;
            }
        }
        for wait in run["waiting_on"].as_array().into_iter().flatten() {
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
    shell::command(&format!("approve {approval}"))
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
                && !waits.iter().any(|wait| {
                    (wait["kind"] == "timer" && wait["on"] == "retry") || wait["kind"] == "turn"
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
