//! The journal writer: everything that wants to become durable on this node goes through it, many writers in one transaction.
//!
//! Invariants: what one run submits is written in the order in which it was submitted, and a run is part of one transaction in
//! flight at most, so that a later fact can never become durable before an earlier one. Every submission is answered exactly once.
//! It persists what it is given and nothing of its own; at a restart of the process, what was not yet written never happened.

use super::{
    append::{follows, merge},
    commits::OrgCommits,
    load::{Load, LoadLimits, Queued},
    mailbox::{Envelope, Mailbox, Named},
    vitals::{Vitals, VitalsRegistry},
};
use crate::{
    domain::{ExecutionId, OrgId},
    persistence::{self, Append, AppendOutcome, CommitError, Db, DbError, Fence, FoundOf},
    telemetry,
};
use indexmap::IndexMap;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// Bounds the memory of a transaction and the time that its commit can take.
const BATCH_MAX: usize = 1_000;
/// One being committed while the next is being filled; a third gained nothing when measured.
const IN_FLIGHT_MAX: usize = 2;
/// Bytes beyond which nothing is added to a transaction; a single larger append is one of its own.
const BATCH_BYTES: usize = 32 << 20;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// A database that has not taken a commit for this long counts as away: nobody new is made to wait for it.
const AWAY_AFTER: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum JournalError {
    #[error("another writer has written to run {0}")]
    Stale(ExecutionId),
    #[error("this node has lost its lease")]
    Fenced,
    #[error("the database refused the write: {0}")]
    Rejected(Arc<str>),
    /// A commit lost its answer, and whether it happened cannot be found out.
    #[error("it cannot be found out whether it was written: {0}")]
    Unknown(Arc<str>),
    #[error("the journal has stopped")]
    Stopped,
}

/// Called once, on a task of the writer, as soon as the submission is durable or cannot become so. Must not block.
pub type OnDurable = Box<dyn FnOnce(Result<AppendOutcome, JournalError>) + Send>;

/// The way in.
#[derive(Clone)]
pub struct JournalHandle {
    mailbox: Mailbox<Message>,
    load: Load,
    commits: Arc<watch::Sender<u64>>,
    org_commits: Arc<OrgCommits>,
    own_commits: watch::Receiver<u64>,
    fenced: watch::Receiver<bool>,
    away: watch::Receiver<bool>,
}

impl JournalHandle {
    /// Starts the writer below `parent`.
    pub async fn spawn(
        parent: ActorCell,
        db: Db,
        fence: Fence,
        vitals: &VitalsRegistry,
    ) -> Result<Self, ractor::SpawnErr> {
        let vitals = vitals.register("node/journal", "journal", None, LoadLimits::JOURNAL.appends);
        let load = Load::new(LoadLimits::JOURNAL);
        let commits = Arc::new(watch::channel(0).0);
        let org_commits = Arc::new(OrgCommits::default());
        let (own_sender, own_commits) = watch::channel(0);
        let (away_sender, away) = watch::channel(false);
        let (fenced_sender, fenced) = watch::channel(false);
        let writer = Writer(Arc::new(Shared {
            db,
            fence,
            commits: commits.clone(),
            org_commits: org_commits.clone(),
            own_commits: own_sender,
            fenced: fenced_sender,
            away: away_sender,
        }));
        let (actor, _) = Actor::spawn_linked(None, writer, vitals.clone(), parent).await?;
        Ok(Self {
            mailbox: Mailbox::new(actor, vitals),
            load,
            commits,
            org_commits,
            own_commits,
            fenced,
            away,
        })
    }

    /// Queues `append`; `done` is told when it is durable. Submissions with the same run keep their order.
    pub fn submit(&self, run: Option<ExecutionId>, append: Append, done: OnDurable) {
        let waiting = Waiting {
            queued: self.load.queue(append.org, append.size()),
            done,
        };
        let message = Message::Submit {
            run,
            append: Box::new(append),
            waiting,
        };
        if let Err((_, Message::Submit { waiting, .. })) = self.mailbox.tell(message) {
            waiting.answer(Err(JournalError::Stopped));
        }
    }

    /// Queues `append` and waits until it is durable. There is no timeout: while the database is away, the answer is not known.
    ///
    /// # Errors
    /// As [`JournalError`] says; then nothing of it was written, unless that is `Unknown` or the journal has `Stopped`.
    pub async fn write(
        &self,
        run: Option<ExecutionId>,
        append: Append,
    ) -> Result<AppendOutcome, JournalError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(
            run,
            append,
            Box::new(move |result| drop(sender.send(result))),
        );
        receiver.await.unwrap_or(Err(JournalError::Stopped))
    }

    /// Returns when everything that was submitted before is answered: what is read from the database then has all of it.
    pub async fn barrier(&self) {
        let (reply, passed) = oneshot::channel();
        if self.mailbox.tell(Message::Barrier { reply }).is_ok() {
            let _ = passed.await;
        }
    }

    /// Whether so much waits to be written, of this org or of all, that no new work of it should be taken.
    pub fn overloaded(&self, org: OrgId) -> bool {
        self.load.is_full_for(org)
    }

    /// Whose commits there are: readers of an org's journal wait on them instead of polling.
    pub fn org_commits(&self) -> &OrgCommits {
        &self.org_commits
    }

    /// Changes with every commit, of whatever org, of other nodes too as far as they tell.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Changes with every commit of this node.
    pub fn own_commits(&self) -> watch::Receiver<u64> {
        self.own_commits.clone()
    }

    /// Another node has committed something of these orgs; of whomever, if none is named.
    pub fn others_have_committed(&self, orgs: &[OrgId]) {
        self.commits.send_modify(|count| *count += 1);
        self.org_commits.others_have_committed(orgs);
    }

    /// True while the database cannot be reached: what waits to become durable may wait for long.
    pub fn away(&self) -> watch::Receiver<bool> {
        self.away.clone()
    }

    /// Becomes true when another life of this node has taken over.
    pub fn fenced(&self) -> watch::Receiver<bool> {
        self.fenced.clone()
    }
}

enum Message {
    Submit {
        run: Option<ExecutionId>,
        append: Box<Append>,
        waiting: Waiting,
    },
    /// Sent by the writer to itself: comes after everything that is in the mailbox already, and so takes all of it.
    Flush,
    Committed {
        keys: Vec<Key>,
    },
    Barrier {
        reply: oneshot::Sender<()>,
    },
}

impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Submit { .. } => "submit",
            Message::Flush => "flush",
            Message::Committed { .. } => "committed",
            Message::Barrier { .. } => "barrier",
        }
    }
}

struct Shared {
    db: Db,
    fence: Fence,
    commits: Arc<watch::Sender<u64>>,
    org_commits: Arc<OrgCommits>,
    own_commits: watch::Sender<u64>,
    fenced: watch::Sender<bool>,
    away: watch::Sender<bool>,
}

impl Shared {
    fn is_away(&self, is_away: bool) {
        let set = |known: &mut bool| std::mem::replace(known, is_away) != is_away;
        self.away.send_if_modified(set);
    }
}

struct Writer(Arc<Shared>);

/// Somebody who waits for an append, and what it takes of the room meanwhile.
struct Waiting {
    queued: Queued,
    done: OnDurable,
}

impl Waiting {
    /// The room is given back first: whoever is answered may have more to submit.
    fn answer(self, result: Result<AppendOutcome, JournalError>) {
        drop(self.queued);
        (self.done)(result);
    }
}

/// What waits for the next transaction; all of one run in one entry, which becomes one journal row.
struct Pending {
    append: Append,
    waiting: Vec<Waiting>,
}

impl Pending {
    fn bytes(&self) -> usize {
        self.waiting.iter().map(|one| one.queued.bytes()).sum()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Run(ExecutionId),
    Other(u64),
}

/// Somebody who waits until what was under way is answered: how often each key has to be committed for that.
struct Barrier {
    left: HashMap<Key, u8>,
    reply: oneshot::Sender<()>,
}

struct State {
    vitals: Arc<Vitals>,
    pending: IndexMap<Key, Pending>,
    next_other: u64,
    in_flight: usize,
    flying: HashSet<Key>,
    barriers: Vec<Barrier>,
    flush_queued: bool,
}

impl Actor for Writer {
    type Msg = Envelope<Message>;
    type State = State;
    type Arguments = Arc<Vitals>;

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        vitals: Arc<Vitals>,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State::new(vitals))
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
            Message::Submit {
                run,
                append,
                waiting,
            } => {
                state.add(run, *append, waiting);
                state.request_flush(&own);
            }
            Message::Flush => {
                state.flush_queued = false;
                let batch = state.take_batch();
                if !batch.is_empty() {
                    state.in_flight += 1;
                    tokio::spawn(commit_all(self.0.clone(), batch, own));
                }
            }
            Message::Committed { keys } => {
                state.in_flight -= 1;
                for key in &keys {
                    state.flying.remove(key);
                }
                state.pass_barriers(&keys);
                state.request_flush(&own);
            }
            Message::Barrier { reply } => state.add_barrier(reply),
        }
        Ok(())
    }
}

impl State {
    fn new(vitals: Arc<Vitals>) -> Self {
        Self {
            vitals,
            pending: IndexMap::new(),
            next_other: 0,
            in_flight: 0,
            flying: HashSet::new(),
            barriers: Vec::new(),
            flush_queued: false,
        }
    }

    fn add(&mut self, run: Option<ExecutionId>, append: Append, waiting: Waiting) {
        let key = run.map_or_else(
            || {
                self.next_other += 1;
                Key::Other(self.next_other)
            },
            Key::Run,
        );
        match self.pending.get_mut(&key) {
            Some(pending) if !follows(&pending.append, &append) => {
                let run = run.expect("only runs have facts");
                waiting.answer(Err(JournalError::Stale(run)));
            }
            Some(pending) => {
                merge(&mut pending.append, append);
                pending.waiting.push(waiting);
            }
            None => {
                self.pending.insert(
                    key,
                    Pending {
                        append,
                        waiting: vec![waiting],
                    },
                );
            }
        }
    }

    /// `reply` is told when all that was submitted up to now is answered.
    fn add_barrier(&mut self, reply: oneshot::Sender<()>) {
        let mut left: HashMap<Key, u8> = HashMap::new();
        for key in self.pending.keys().chain(&self.flying) {
            *left.entry(*key).or_default() += 1;
        }
        let barrier = Barrier { left, reply };
        match barrier.left.is_empty() {
            true => drop(barrier.reply.send(())),
            false => self.barriers.push(barrier),
        }
    }

    fn pass_barriers(&mut self, committed: &[Key]) {
        for mut barrier in std::mem::take(&mut self.barriers) {
            for key in committed {
                if let Some(count) = barrier.left.get_mut(key) {
                    *count -= 1;
                    if *count == 0 {
                        barrier.left.remove(key);
                    }
                }
            }
            match barrier.left.is_empty() {
                true => drop(barrier.reply.send(())),
                false => self.barriers.push(barrier),
            }
        }
    }

    fn request_flush(&mut self, own: &Mailbox<Message>) {
        if !self.flush_queued && self.in_flight < IN_FLIGHT_MAX && !self.pending.is_empty() {
            self.flush_queued = own.tell(Message::Flush).is_ok();
        }
    }

    /// Up to [`BATCH_MAX`] entries and [`BATCH_BYTES`], oldest first, none of whose runs is in flight.
    fn take_batch(&mut self) -> Vec<(Key, Pending)> {
        let mut batch: Vec<(Key, Pending)> = Vec::with_capacity(self.pending.len().min(BATCH_MAX));
        let mut left = IndexMap::new();
        let (mut bytes, mut is_full) = (0, false);
        for (key, pending) in self.pending.drain(..) {
            let size = pending.bytes();
            is_full |= batch.len() == BATCH_MAX || !batch.is_empty() && bytes + size > BATCH_BYTES;
            if is_full || self.flying.contains(&key) {
                left.insert(key, pending);
            } else {
                bytes += size;
                batch.push((key, pending));
            }
        }
        self.pending = left;
        self.flying.extend(batch.iter().map(|(key, _)| *key));
        batch
    }
}

/// Commits a batch and answers everybody in it.
async fn commit_all(shared: Arc<Shared>, batch: Vec<(Key, Pending)>, own: Mailbox<Message>) {
    let keys = batch.iter().map(|(key, _)| *key).collect();
    let (appends, waiters): (Vec<Append>, Vec<Vec<Waiting>>) = batch
        .into_iter()
        .map(|(_, pending)| (pending.append, pending.waiting))
        .unzip();
    let results = commit_with_patience(&shared, &appends).await;
    for (waiters, result) in waiters.into_iter().zip(results) {
        for waiting in waiters {
            waiting.answer(result.clone());
        }
    }
    shared
        .org_commits
        .committed(appends.iter().map(|append| append.org));
    shared.commits.send_modify(|count| *count += 1);
    shared.own_commits.send_modify(|count| *count += 1);
    // The writer is only gone when the whole process stops.
    let _ = own.tell(Message::Committed { keys });
}

/// One result for each append, in order. Waits out a database that is away; parts a batch that the database refuses, so that one
/// bad append cannot hold up the others.
async fn commit_with_patience(
    shared: &Shared,
    appends: &[Append],
) -> Vec<Result<AppendOutcome, JournalError>> {
    let mut results: Vec<Option<Result<AppendOutcome, JournalError>>> =
        appends.iter().map(|_| None).collect();
    let mut parts = vec![(0, appends.len())];
    while let Some((from, to)) = parts.pop() {
        match commit_part(shared, &appends[from..to]).await {
            Ok(outcomes) => outcomes
                .into_iter()
                .enumerate()
                .for_each(|(place, outcome)| results[from + place] = Some(Ok(outcome))),
            Err(error) if to - from == 1 || matches!(error, JournalError::Fenced) => {
                results[from..to]
                    .iter_mut()
                    .for_each(|slot| *slot = Some(Err(error.clone())));
            }
            Err(_) => {
                let middle = from + (to - from) / 2;
                parts.extend([(middle, to), (from, middle)]);
            }
        }
    }
    results
        .into_iter()
        .map(|result| result.unwrap_or(Err(JournalError::Stopped)))
        .collect()
}

async fn commit_part(shared: &Shared, part: &[Append]) -> Result<Vec<AppendOutcome>, JournalError> {
    let mut patience = Patience::new(shared, part.len());
    loop {
        let started = std::time::Instant::now();
        match persistence::commit(&shared.db, shared.fence, part).await {
            Ok(outcomes) => {
                shared.is_away(false);
                telemetry::commit(part.len(), started.elapsed());
                return Ok(outcomes);
            }
            Err(CommitError::Db(DbError::Fenced)) => {
                shared.fenced.send_replace(true);
                return Err(JournalError::Fenced);
            }
            Err(CommitError::Stale { .. }) if part.len() == 1 => {
                return what_is_in_the_way(shared, &part[0]).await;
            }
            Err(CommitError::Db(error)) if error.is_transient() => patience.wait(&error).await,
            Err(error) => return Err(JournalError::Rejected(error.to_string().into())),
        }
    }
}

/// What stands where an append should be written: its own rows, if the connection was lost after the commit and before its answer; the run
/// of an earlier sending of the same trigger; or another writer's.
///
/// A database that cannot be asked says nothing of the three: it is asked until it answers.
async fn what_is_in_the_way(
    shared: &Shared,
    append: &Append,
) -> Result<Vec<AppendOutcome>, JournalError> {
    let Some(run) = &append.run else {
        return Err(JournalError::Rejected("stale append without a run".into()));
    };
    let mut patience = Patience::new(shared, 1);
    let found = loop {
        match asked(persistence::found_of(&shared.db, append).await) {
            Asked::Known(found) => break found,
            Asked::Again(error) => patience.wait(&error).await,
            Asked::Never(error) => return Err(error),
        }
    };
    shared.is_away(false);
    let execution = run.execution;
    match found {
        FoundOf::Itself => Ok(vec![AppendOutcome::Durable]),
        FoundOf::SameRun => Ok(vec![AppendOutcome::Duplicate { execution }]),
        FoundOf::Others => Err(JournalError::Stale(execution)),
    }
}

/// What follows from asking. That the database could not be asked is never an answer.
enum Asked {
    Known(FoundOf),
    Again(DbError),
    Never(JournalError),
}

fn asked(answer: Result<FoundOf, DbError>) -> Asked {
    match answer {
        Ok(found) => Asked::Known(found),
        Err(error) if error.is_transient() => Asked::Again(error),
        Err(error) => Asked::Never(JournalError::Unknown(error.to_string().into())),
    }
}

/// Waits between tries while the database is away, and says so.
struct Patience<'a> {
    shared: &'a Shared,
    waiting: usize,
    pause: Duration,
    began: std::time::Instant,
}

impl<'a> Patience<'a> {
    fn new(shared: &'a Shared, waiting: usize) -> Self {
        Self {
            shared,
            waiting,
            pause: RETRY_FIRST,
            began: std::time::Instant::now(),
        }
    }

    async fn wait(&mut self, error: &DbError) {
        tracing::warn!(%error, waiting = self.waiting, "database is away, the journal waits");
        if self.began.elapsed() > AWAY_AFTER {
            self.shared.is_away(true);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY_LAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::BlobPut;
    use bytes::Bytes;
    use uuid::Uuid;

    fn of_size(load: &Load, bytes: usize) -> (Append, Waiting) {
        let mut append = Append::new(OrgId::from_uuid(Uuid::nil()));
        append.blobs.push(BlobPut {
            owner: Uuid::nil(),
            hash: crate::domain::ContentHash::from_bytes([0; 32]),
            body: Bytes::from(vec![0; bytes]),
            at: crate::domain::Timestamp::from_micros(0),
        });
        let queued = load.queue(append.org, append.size());
        let done = Box::new(drop);
        (append, Waiting { queued, done })
    }

    #[test]
    fn a_transaction_ends_with_its_bytes_and_one_that_is_too_large_goes_alone() {
        let load = Load::new(LoadLimits::JOURNAL);
        let mut state = State::new(VitalsRegistry::default().register("j", "journal", None, 1));
        let sizes = [
            BATCH_BYTES / 2,
            BATCH_BYTES / 3,
            BATCH_BYTES / 2,
            2 * BATCH_BYTES,
            1,
        ];
        for bytes in sizes {
            let (append, waiting) = of_size(&load, bytes);
            state.add(None, append, waiting);
        }
        let mut counts = Vec::new();
        while !state.pending.is_empty() {
            counts.push(state.take_batch().len());
        }
        assert_eq!(counts, [2, 1, 1, 1], "in the order in which they came");
        assert!(
            !load.is_full_for(OrgId::from_uuid(Uuid::nil())),
            "all guards were dropped"
        );
    }

    /// A database that was away while a batch was committed, and cannot be asked at once what came of it.
    #[test]
    fn a_database_that_cannot_be_asked_is_asked_again_and_never_says_no() {
        for found in [FoundOf::Itself, FoundOf::SameRun, FoundOf::Others] {
            assert!(matches!(asked(Ok(found)), Asked::Known(known) if known == found));
        }
        assert!(matches!(
            asked(Err(DbError::from_outage())),
            Asked::Again(_)
        ));
        let damaged = DbError::Corrupt {
            what: "body",
            detail: "empty".into(),
        };
        let never = asked(Err(damaged));
        assert!(matches!(never, Asked::Never(JournalError::Unknown(_))));
    }
}
