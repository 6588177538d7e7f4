//! Asks approvals in Slack, where the org wants that: posts the question with its buttons, and shows the outcome in the same message.
//!
//! Invariants: a question is posted once (the message is stored before it leaves, so that the effect ledger knows it again after a crash);
//! each message shows its approval's end, however that came about. Persists the notices, and its writes as effects of the run that asks.
//! An approval does not depend on any of this: it can be decided by the API at any time.

mod notice;

use super::{
    super::{
        cluster::duty,
        core::Core,
        mailbox::{Envelope, Mailbox, Named},
        vitals::{Vitals, Waiting},
    },
    approvals::SlackSettings,
};
use crate::{
    domain::OrgId,
    persistence::{
        DbError, NoticeRow, NoticeStatus, PageRequest, notice_put, notices_due, notices_open,
        org_list,
    },
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const MAILBOX: usize = 10;
/// How often it looks, if something was written meanwhile; and if not.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// How long it is known which orgs want to be asked in Slack.
const ORGS_KEPT: Duration = Duration::from_secs(10);
/// Notices of one org in one look. They are posted one after the other: Slack takes about one message a second in a channel.
const AT_ONCE: u32 = 20;

pub(super) async fn spawn(parent: ActorCell, core: Arc<Core>) -> Result<(), ractor::SpawnErr> {
    let vitals = core.vitals.register("node/asking", "asking", None, MAILBOX);
    Actor::spawn_linked(None, Asking(core), vitals, parent)
        .await
        .map(drop)
}

enum Message {
    Look,
    /// All of a look is done.
    Done(Result<Vec<(OrgId, SlackSettings)>, String>),
}
impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Look => "look",
            Message::Done(_) => "done",
        }
    }
}

struct Asking(Arc<Core>);

struct State {
    vitals: Arc<Vitals>,
    orgs: Option<(Instant, Vec<(OrgId, SlackSettings)>)>,
    commits: tokio::sync::watch::Receiver<u64>,
}

impl Actor for Asking {
    type Msg = Envelope<Message>;
    type State = State;
    type Arguments = Arc<Vitals>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        vitals: Arc<Vitals>,
    ) -> Result<State, ActorProcessingErr> {
        let _ = Mailbox::new(myself, vitals.clone()).tell(Message::Look);
        Ok(State {
            vitals,
            orgs: None,
            commits: self.0.journal.commits(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _handling) = message.open(&state.vitals);
        let own = Mailbox::new(myself, state.vitals.clone());
        match message {
            Message::Look => {
                state.vitals.set_waiting(None);
                let known = state.orgs.take().filter(|(at, _)| at.elapsed() < ORGS_KEPT);
                let (core, commits) = (self.0.clone(), state.commits.clone());
                state.commits.mark_unchanged();
                // The network is waited for beside the mailbox; the next look comes when this one is through.
                tokio::spawn(async move {
                    let result = match core.has_duty(duty::ASKING).await {
                        true => look(&core, known.map(|(_, orgs)| orgs)).await,
                        false => Ok(Vec::new()),
                    };
                    let _ = own.tell(Message::Done(result.map_err(|error| error.to_string())));
                    drop(commits);
                });
            }
            Message::Done(result) => {
                match result {
                    Ok(orgs) => state.orgs = Some((Instant::now(), orgs)),
                    Err(error) => {
                        tracing::warn!(error, "approvals could not be asked in slack");
                        state.vitals.record_error(error, self.0.clock.now());
                    }
                }
                let wanted = state
                    .orgs
                    .as_ref()
                    .is_some_and(|(_, orgs)| !orgs.is_empty());
                state.vitals.set_waiting(Some(Waiting {
                    on: "something to ask".into(),
                    since: self.0.clock.now(),
                }));
                let mut commits = state.commits.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LOOK_EVERY).await;
                    if wanted {
                        let _ = tokio::time::timeout(LOOK_ANYWAY, commits.changed()).await;
                    } else {
                        tokio::time::sleep(ORGS_KEPT).await;
                    }
                    let _ = own.tell(Message::Look);
                });
            }
        }
        Ok(())
    }
}

/// One look over all orgs that want to be asked in Slack; gives those.
async fn look(
    core: &Arc<Core>,
    known: Option<Vec<(OrgId, SlackSettings)>>,
) -> Result<Vec<(OrgId, SlackSettings)>, DbError> {
    let orgs = match known {
        Some(orgs) => orgs,
        None => orgs(core).await?,
    };
    let looks = orgs
        .iter()
        .map(|(org, settings)| ask_org(core, *org, settings));
    for result in futures::future::join_all(looks).await {
        result?;
    }
    Ok(orgs)
}

async fn orgs(core: &Core) -> Result<Vec<(OrgId, SlackSettings)>, DbError> {
    let mut found = Vec::new();
    let mut request = PageRequest::new(Some(200), None)?;
    loop {
        let mut tx = core.db.begin_system_read("who is asked in slack").await?;
        let page = org_list(&mut tx, &request).await?;
        drop(tx);
        found.extend(page.items.iter().filter_map(|org| {
            let settings = SlackSettings::of(&org.settings);
            settings
                .approvals_channel
                .is_some()
                .then_some((org.id, settings))
        }));
        match page.next {
            Some(next) => request = PageRequest::new(Some(200), Some(&next))?,
            None => return Ok(found),
        }
    }
}

async fn ask_org(core: &Arc<Core>, org: OrgId, settings: &SlackSettings) -> Result<(), DbError> {
    loop {
        let now = core.clock.now();
        let mut tx = core.db.begin_system("approvals to ask in slack").await?;
        notices_open(&mut tx, org, now, AT_ONCE).await?;
        let due = notices_due(&mut tx, org, now, AT_ONCE).await?;
        tx.commit().await?;
        let full = due.len() == AT_ONCE as usize;
        for task in due {
            let notice = match task.notice_status {
                NoticeStatus::Asking => notice::ask(core, settings, &task).await?,
                _ => notice::show_outcome(core, settings, &task).await?,
            };
            put(core, &notice).await?;
        }
        if !full {
            return Ok(());
        }
    }
}

async fn put(core: &Core, notice: &NoticeRow) -> Result<(), DbError> {
    let mut tx = core.db.begin_system("how a notice stands").await?;
    notice_put(&mut tx, notice).await?;
    tx.commit().await
}
