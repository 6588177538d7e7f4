//! Asks approvals in Slack, where the org wants that: posts the question with its buttons, and shows the outcome in the same message.
//!
//! Invariants: a question is posted once (the message is stored before it leaves, so that the effect ledger knows it again after a crash);
//! each message shows its approval's end, however that came about. Persists the notices, and its writes as effects of the run that asks.
//! An approval does not depend on any of this: it can be decided by the API at any time. Each org is asked by itself, a bounded number of
//! messages at a time: one whose Slack is slow or fails holds back nobody else.

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
        notices_wanting, org_list,
    },
};
use futures::FutureExt;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::Instant;

const MAILBOX: usize = 10;
/// How often it looks, if something was written meanwhile; and if not.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// How long it is known which orgs want to be asked in Slack.
const ORGS_KEPT: Duration = Duration::from_secs(10);
/// Notices of one org in one go. They are posted one after the other: Slack takes about one message a second in a channel.
const AT_ONCE: u32 = 20;
/// Orgs of which it is asked in one statement whether something is due.
const ORGS_AT_ONCE: usize = 500;

pub(super) async fn spawn(parent: ActorCell, core: Arc<Core>) -> Result<(), ractor::SpawnErr> {
    let vitals = core.vitals.register("node/asking", "asking", None, MAILBOX);
    Actor::spawn_linked(None, Asking(core), vitals, parent)
        .await
        .map(drop)
}

enum Message {
    Look,
    /// It was looked where something is due.
    Looked(Result<Look, String>),
    /// An org's go is over.
    Asked(OrgId, Result<(), String>),
}

type Orgs = Arc<Vec<(OrgId, SlackSettings)>>;

struct Look {
    orgs: Orgs,
    /// Those of them with something to ask or to show.
    wanting: HashSet<OrgId>,
}

impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Look => "look",
            Message::Looked(_) => "looked",
            Message::Asked(..) => "asked",
        }
    }
}

struct Asking(Arc<Core>);

struct State {
    vitals: Arc<Vitals>,
    orgs: Option<(Instant, Orgs)>,
    /// Orgs whose go is not over.
    at_work: HashSet<OrgId>,
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
            at_work: HashSet::new(),
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
            Message::Look => self.look(state, own),
            Message::Looked(result) => self.looked(result, state, own),
            Message::Asked(org, result) => {
                state.at_work.remove(&org);
                if let Err(error) = result {
                    tracing::warn!(%org, error, "approvals could not be asked in slack");
                    state.vitals.record_error(error, self.0.clock.now());
                }
            }
        }
        state.vitals.set_load(state.at_work.len(), 0, 0);
        Ok(())
    }
}

impl Asking {
    fn look(&self, state: &mut State, own: Mailbox<Message>) {
        state.vitals.set_waiting(None);
        let known = state.orgs.clone();
        let known = known.filter(|(at, _)| at.elapsed() < ORGS_KEPT);
        let core = self.0.clone();
        state.commits.mark_unchanged();
        // The database is waited for beside the mailbox; the next look comes when this one is through.
        tokio::spawn(async move {
            let result = match core.has_duty(duty::ASKING).await {
                true => look(&core, known.map(|(_, orgs)| orgs)).await,
                false => Ok(Look {
                    orgs: Orgs::default(),
                    wanting: HashSet::new(),
                }),
            };
            let _ = own.tell(Message::Looked(result.map_err(|error| error.to_string())));
        });
    }

    /// Begins with each org where something is due and that is not at it already, and looks again after a while.
    fn looked(&self, result: Result<Look, String>, state: &mut State, own: Mailbox<Message>) {
        match result {
            Ok(Look { orgs, wanting }) => {
                for (org, settings) in orgs.iter().filter(|(org, _)| wanting.contains(org)) {
                    if state.at_work.insert(*org) {
                        self.ask(*org, settings.clone(), own.clone());
                    }
                }
                let since = match state.orgs.take() {
                    Some((at, known)) if Arc::ptr_eq(&known, &orgs) => at,
                    _ => Instant::now(),
                };
                state.orgs = Some((since, orgs));
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    "it could not be looked whether approvals are to be asked in slack"
                );
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

    fn ask(&self, org: OrgId, settings: SlackSettings, own: Mailbox<Message>) {
        let core = self.0.clone();
        tokio::spawn(async move {
            let asked = AssertUnwindSafe(ask_org(&core, org, &settings)).catch_unwind();
            let result = match asked.await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("asking broke down".to_owned()),
            };
            if result.is_err() {
                // What fails at once must not be tried without a pause.
                tokio::time::sleep(LOOK_ANYWAY).await;
            }
            let _ = own.tell(Message::Asked(org, result));
        });
    }
}

/// One look over all orgs that want to be asked in Slack: where is something due? It only reads.
async fn look(core: &Core, known: Option<Orgs>) -> Result<Look, DbError> {
    let orgs = match known {
        Some(orgs) => orgs,
        None => Arc::new(orgs(core).await?),
    };
    let mut wanting = HashSet::new();
    for some in orgs.chunks(ORGS_AT_ONCE) {
        let some: Vec<OrgId> = some.iter().map(|(org, _)| *org).collect();
        let mut tx = core
            .db
            .begin_system_read("approvals to ask in slack")
            .await?;
        wanting.extend(notices_wanting(&mut tx, &some, core.clock.now()).await?);
    }
    Ok(Look { orgs, wanting })
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

/// One go of an org; what is left is found by the next look.
async fn ask_org(core: &Arc<Core>, org: OrgId, settings: &SlackSettings) -> Result<(), DbError> {
    let now = core.clock.now();
    let mut tx = core.db.begin_system("approvals to ask in slack").await?;
    notices_open(&mut tx, org, now, AT_ONCE).await?;
    let due = notices_due(&mut tx, org, now, AT_ONCE).await?;
    tx.commit().await?;
    for task in due {
        let notice = match task.notice_status {
            NoticeStatus::Asking => notice::ask(core, settings, &task).await?,
            _ => notice::show_outcome(core, settings, &task).await?,
        };
        put(core, &notice).await?;
    }
    Ok(())
}

async fn put(core: &Core, notice: &NoticeRow) -> Result<(), DbError> {
    let mut tx = core.db.begin_system("how a notice stands").await?;
    notice_put(&mut tx, notice).await?;
    tx.commit().await
}
