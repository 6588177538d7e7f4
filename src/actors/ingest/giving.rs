//! Giving pending events of one org to whom they concern, side by side. What they say is read here, and held no longer than it takes to give it.

use super::{
    super::{
        append::new_append,
        core::Core,
        router::{Audience, Event, KeyFrom, Routed},
    },
    approvals::{self, Desk},
    backlog::{Lane, Turn},
    channels::Channels,
    dispatch::Settled,
    doors::aliases,
    verdict::{self, Outcome},
};
use crate::{
    connect::{ingest::blocks, webhook::Scheme},
    domain::{InboxId, OrgId, TriggerType},
    persistence::{
        DbError, InboxBrief, InboxChange, InboxRow, InboxSettle, InboxVerdict, inbox_briefs,
        inbox_firsts, inbox_get,
    },
    telemetry,
};
use dashmap::DashMap;
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Payloads up to this many bytes are read along with others.
const SMALL: usize = 16 * 1024;
/// Kibibytes of larger payloads that are held at once, of an org and of all. As values they take some times the room.
const ROOM_OF_ORG: usize = 4 * 1024;
const ROOM_OF_ALL: usize = 48 * 1024;

/// Times that an event may be tried in vain before one whose giving breaks down is put aside.
const BREAKDOWNS_MAX: u32 = 5;

/// What giving tells.
pub enum Report {
    /// What became of an event; that is being written.
    Given(InboxId, Settled),
    Ended(Lane, Turn),
}

/// Bounds what large payloads take of the memory while they are given. Whoever is given them slowly holds up the large ones of its org alone.
#[derive(Clone)]
pub struct Room {
    all: Arc<Semaphore>,
    of_orgs: Arc<DashMap<OrgId, Weak<Semaphore>>>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(ROOM_OF_ALL)),
            of_orgs: Arc::default(),
        }
    }
}

/// Room that is given back when this is dropped. The org's semaphore lives as long as somebody has some of it, or waits for it.
struct Taken {
    _of_all: OwnedSemaphorePermit,
    _of_org: OwnedSemaphorePermit,
}

impl Room {
    async fn take(&self, org: OrgId, bytes: usize) -> Option<Taken> {
        let of_org = {
            let mut known = self.of_orgs.entry(org).or_default();
            known.upgrade().unwrap_or_else(|| {
                let made = Arc::new(Semaphore::new(ROOM_OF_ORG));
                *known = Arc::downgrade(&made);
                made
            })
        };
        let wanted = u32::try_from(bytes.div_ceil(1024).clamp(1, ROOM_OF_ORG)).ok()?;
        let of_org = of_org.acquire_many_owned(wanted).await.ok()?;
        let of_all = self.all.clone().acquire_many_owned(wanted).await.ok()?;
        self.of_orgs.retain(|_, known| known.strong_count() > 0);
        Some(Taken {
            _of_all: of_all,
            _of_org: of_org,
        })
    }
}

/// What it takes to give events of one org.
pub struct Giving {
    pub core: Arc<Core>,
    pub desk: Desk,
    pub channels: Arc<Channels>,
    pub room: Room,
    pub org: OrgId,
}

impl Giving {
    /// Gives of each lane the event whose turn it is, side by side; each reports as soon as it is through.
    pub async fn give_all(self, lanes: Vec<(Lane, u32)>, report: impl Fn(Report)) {
        // Each lane is told the end of its turn, also if the work panics.
        let mut open: HashSet<Lane> = lanes.iter().map(|(lane, _)| lane.clone()).collect();
        let ended = AssertUnwindSafe(self.try_give_all(&lanes, &mut open, &report))
            .catch_unwind()
            .await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "pending events could not be read"),
            Err(_) => tracing::error!("giving events broke down"),
        }
        for lane in open {
            report(Report::Ended(lane, Turn::Later));
        }
    }

    async fn try_give_all(
        &self,
        lanes: &[(Lane, u32)],
        open: &mut HashSet<Lane>,
        report: &impl Fn(Report),
    ) -> Result<(), DbError> {
        let briefs = self.read(lanes).await?;
        let mut briefs: HashMap<Lane, InboxBrief> = briefs
            .into_iter()
            .filter(|brief| brief.row.verdict == InboxVerdict::Pending)
            .map(|brief| {
                let key = brief.row.conversation_key.clone();
                (Lane::new(brief.row.id, key), brief)
            })
            .collect();
        let mut turns = Vec::new();
        for (lane, attempts) in lanes {
            match briefs.remove(lane) {
                Some(brief) => turns.push((lane.clone(), brief, *attempts)),
                None => {
                    open.remove(lane);
                    report(Report::Ended(lane.clone(), Turn::Empty));
                }
            }
        }
        let audience = {
            let events: Vec<Event> = turns
                .iter()
                .map(|(_, brief, _)| event_of(&brief.row, Arc::default()))
                .collect();
            Audience::read(&self.core, self.org, &events).await?
        };
        let mut all: FuturesUnordered<_> = turns
            .into_iter()
            .map(|(lane, brief, attempts)| {
                let audience = &audience;
                async move {
                    let turn = self.give_one(audience, brief, attempts, report).await;
                    (lane, turn)
                }
            })
            .collect();
        while let Some((lane, turn)) = all.next().await {
            open.remove(&lane);
            report(Report::Ended(lane, turn));
        }
        Ok(())
    }

    /// The events whose turn it is: of a conversation the first one, as the database has it.
    async fn read(&self, lanes: &[(Lane, u32)]) -> Result<Vec<InboxBrief>, DbError> {
        let (mut entries, mut conversations) = (Vec::new(), Vec::new());
        for (lane, _) in lanes {
            match lane {
                Lane::Alone(id) => entries.push(*id),
                Lane::Conversation(key) => conversations.push(key.as_str()),
            }
        }
        let mut tx = self.core.db.begin_system_read("events to give").await?;
        entries.extend(inbox_firsts(&mut tx, self.org, &conversations).await?);
        inbox_briefs(&mut tx, self.org, &entries, SMALL as i64).await
    }

    async fn give_one(
        &self,
        audience: &Audience,
        brief: InboxBrief,
        attempts: u32,
        report: &impl Fn(Report),
    ) -> Turn {
        let size = usize::try_from(brief.size).unwrap_or(usize::MAX);
        let (mut row, _room) = if size <= SMALL {
            (brief.row, None)
        } else {
            let room = self.room.take(self.org, size).await;
            match self.whole(brief.row.id).await {
                Ok(Some(row)) => (row, room),
                Ok(None) => return Turn::Empty,
                Err(_) => return Turn::Later,
            }
        };
        let text = std::mem::take(&mut row.payload);
        let payload = Arc::new(serde_json::from_str(&text).unwrap_or_default());
        drop(text);
        let work = AssertUnwindSafe(self.give(audience, &row, payload)).catch_unwind();
        let (outcome, routed) = work.await.unwrap_or_else(|_| broke_down(&row, attempts));
        match outcome {
            Outcome::Later(why) => {
                tracing::debug!(event = %row.id, why, "event is given again later");
                let settled = Settled {
                    verdict: InboxVerdict::Pending,
                    detail: Some(why),
                    triggered: Vec::new(),
                    routed,
                };
                report(Report::Given(row.id, settled));
                Turn::Later
            }
            Outcome::Settled { verdict, detail } => {
                telemetry::event_settled(verdict.name());
                let triggered = verdict::triggered(&row.triggered, &routed, row.replays);
                let text = serde_json::to_string(&triggered).unwrap_or_else(|_| "[]".into());
                let settle = InboxSettle {
                    id: row.id,
                    verdict,
                    detail: detail.clone(),
                    triggered: text,
                };
                let settled = Settled {
                    verdict,
                    detail,
                    triggered,
                    routed,
                };
                report(Report::Given(row.id, settled));
                self.settle(settle).await
            }
        }
    }

    async fn whole(&self, id: InboxId) -> Result<Option<InboxRow>, DbError> {
        let mut tx = self.core.db.begin_read(self.org).await?;
        let row = inbox_get(&mut tx, id).await?;
        Ok(row.filter(|row| row.verdict == InboxVerdict::Pending))
    }

    /// The next of its conversation goes when this is durable.
    async fn settle(&self, settle: InboxSettle) -> Turn {
        let id = settle.id;
        let mut append = new_append(self.org);
        append.inbox.push(InboxChange::Settle(settle));
        match self.core.journal.write(None, append).await {
            Ok(_) => Turn::Settled,
            Err(error) => {
                tracing::error!(event = %id, %error, "what became of an event was not written, it is given again");
                Turn::Later
            }
        }
    }

    async fn give(
        &self,
        audience: &Audience,
        row: &InboxRow,
        payload: Arc<Value>,
    ) -> (Outcome, Routed) {
        // Only what Slack has signed can decide: another sender may write whatever it likes into its events.
        let is_slack = row.scheme == Scheme::Slack.name();
        if is_slack && let Some(click) = blocks::click(&payload) {
            let outcome = approvals::decide(&self.desk, self.org, &click).await;
            return (outcome, Routed::default());
        }
        let payload = match is_slack && audience.names_channels() {
            true => self.channels.named(&self.core, self.org, &payload).await,
            false => payload,
        };
        let routed = audience.tell(&self.core, &event_of(row, payload)).await;
        (verdict::outcome(&routed), routed)
    }
}

fn broke_down(row: &InboxRow, attempts: u32) -> (Outcome, Routed) {
    tracing::error!(event = %row.id, "giving an event broke down");
    let detail = "giving it broke down".to_owned();
    let outcome = match attempts < BREAKDOWNS_MAX {
        true => Outcome::Later(detail),
        false => Outcome::Settled {
            verdict: InboxVerdict::Refused,
            detail: Some(detail),
        },
    };
    (outcome, Routed::default())
}

fn event_of(row: &InboxRow, payload: Arc<Value>) -> Event {
    Event {
        kind: TriggerType::ExternalEvent,
        source: row.source.clone(),
        aliases: aliases(&row.source),
        event: row.kind.clone(),
        payload,
        key: Some(match row.replays {
            0 => row.external_id.clone(),
            // Given again on purpose, it is to start runs again.
            times => format!("{}~replay-{times}", row.external_id),
        }),
        key_from: KeyFrom::System,
        conversation: row.conversation_key.clone(),
    }
}
