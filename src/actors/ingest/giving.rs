//! Giving durable events of one org to whom they concern, side by side.

use super::{
    super::{
        core::Core,
        router::{Audience, Event, Routed},
    },
    approvals::{self, Desk},
    backlog::Entry,
    channels::Channels,
    doors::aliases,
    lanes::Lane,
    verdict::{self, Outcome},
};
use crate::{
    connect::{ingest::blocks, webhook::Scheme},
    domain::{OrgId, TriggerType},
    persistence::InboxVerdict,
};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use std::{panic::AssertUnwindSafe, sync::Arc};

/// Times that giving an event may break down before it is put aside.
const BREAKDOWNS_MAX: u32 = 5;

/// What it takes to give events of one org.
pub struct Giving {
    pub core: Arc<Core>,
    pub desk: Desk,
    pub channels: Arc<Channels>,
    pub org: OrgId,
}

impl Giving {
    /// Gives events side by side; each reports as soon as it is through.
    pub async fn give_all(
        self,
        batch: Vec<(Lane, Box<Entry>)>,
        report: impl Fn(Lane, Box<Entry>, Outcome, Routed),
    ) {
        let events: Vec<Event> = batch.iter().map(|(_, entry)| event_of(entry)).collect();
        let audience = Audience::read(&self.core, self.org, &events).await;
        let (this, audience) = (&self, &audience);
        let mut all: FuturesUnordered<_> = batch
            .into_iter()
            .zip(events)
            .map(|((lane, entry), event)| async move {
                let work = async {
                    match audience {
                        Ok(audience) => this.give(audience, &entry, event).await,
                        Err(error) => (Outcome::Later(error.to_string()), Routed::default()),
                    }
                };
                let given = AssertUnwindSafe(work).catch_unwind().await;
                let (outcome, routed) = given.unwrap_or_else(|_| broke_down(&entry));
                (lane, entry, outcome, routed)
            })
            .collect();
        while let Some((lane, entry, outcome, routed)) = all.next().await {
            report(lane, entry, outcome, routed);
        }
    }

    async fn give(
        &self,
        audience: &Audience,
        entry: &Entry,
        mut event: Event,
    ) -> (Outcome, Routed) {
        // Only what Slack has signed can decide: another sender may write whatever it likes into its events.
        let is_slack = entry.row.scheme == Scheme::Slack.name();
        if is_slack && let Some(click) = blocks::click(&entry.payload) {
            let outcome = approvals::decide(&self.desk, self.org, &click).await;
            return (outcome, Routed::default());
        }
        if is_slack && audience.names_channels() {
            event.payload = self
                .channels
                .named(&self.core, self.org, &event.payload)
                .await;
        }
        let routed = audience.tell(&self.core, &event).await;
        (verdict::outcome(&routed), routed)
    }
}

fn broke_down(entry: &Entry) -> (Outcome, Routed) {
    tracing::error!(event = %entry.row.id, "giving an event broke down");
    let detail = "giving it broke down".to_owned();
    let outcome = match entry.attempts < BREAKDOWNS_MAX {
        true => Outcome::Later(detail),
        false => Outcome::Settled {
            verdict: InboxVerdict::Refused,
            detail: Some(detail),
        },
    };
    (outcome, Routed::default())
}

fn event_of(entry: &Entry) -> Event {
    let row = &entry.row;
    Event {
        kind: TriggerType::ExternalEvent,
        source: row.source.clone(),
        aliases: aliases(&row.source),
        event: row.kind.clone(),
        payload: entry.payload.clone(),
        key: Some(match row.replays {
            0 => row.external_id.clone(),
            // Given again on purpose, it is to start runs again.
            times => format!("{}~replay-{times}", row.external_id),
        }),
        conversation: row.conversation_key.clone(),
    }
}
