//! Taking triggers: what is known of them, the concurrency policy, what makes way, and the acceptance.
//!
//! Nothing makes way for a trigger, and none is refused, before it is known that it is new: a repetition gets the run of the first. One
//! with a key that could simply be taken is not looked for, since its acceptance claims the key; all others are looked for first, among
//! those that are just being accepted and then in the database. While that goes on the triggers of the conversation that come after it wait
//! in line, so that they keep their order.

use super::{
    Accepted, Beginning, EmployeeError, KeyOrigin, Looked, Message, Reply, State, TriggerKey,
    TriggerMessage,
    admission::{Refusal, Verdict},
    live_run::LiveRun,
};
use crate::{
    actors::{core::Core, journal::JournalError, loader},
    domain::{ConflictPolicy, ContentHash, ExecutionId, MemoryView, OrgId, Timestamp},
    graph::{Fact, StopKind},
    persistence::{
        AppendOutcome, BlobPut, DbError, DedupeKey, EmployeeStatus, KnownTrigger, RunInsert, Tx,
        accepted_payload, storable_key, triggers_known, triggers_last_seen_before, triggers_seen,
    },
};
use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Triggers that may wait behind one of their conversation that is just being settled, a matter of milliseconds.
const LINE_MAX: usize = 1_000;
/// Triggers whose keys may wait to be looked for, and that are looked for at once.
const LOOKS_MAX: usize = 1_000;
const LOOK_BATCH: usize = 256;

/// What an employee knows of triggers that are on their way.
#[derive(Default)]
pub(super) struct Taking {
    /// Acceptances that the journal has not answered yet.
    accepting: HashMap<ExecutionId, Acceptance>,
    /// The senders' keys of some of them.
    claims: HashMap<(String, String), ExecutionId>,
    /// By conversation.
    lines: HashMap<String, Line>,
    to_look: VecDeque<Box<TriggerMessage>>,
    is_looking: bool,
}

#[derive(Default)]
struct Acceptance {
    claim: Option<(String, String)>,
    holds_line: bool,
    /// Its run enters the admission with the answer.
    is_expected: bool,
    /// They wait for the answer.
    repetitions: Vec<Repetition>,
}

/// What waits behind triggers of its conversation that are just being settled.
#[derive(Default)]
struct Line {
    holders: usize,
    waiting: VecDeque<Box<TriggerMessage>>,
}

/// The same trigger once more, before its first acceptance is durable.
struct Repetition {
    reply: Reply<Accepted>,
    is_same: bool,
}

impl Taking {
    pub(super) fn is_idle(&self) -> bool {
        self.accepting.is_empty() && self.lines.is_empty() && self.to_look.is_empty()
    }
}

impl State {
    pub(super) fn trigger(&mut self, mut message: Box<TriggerMessage>) {
        // What a subscription makes of an event may be of any length; from here on it is as it is stored.
        let conversation = message.conversation.as_deref().map(storable_key);
        if let Some(Cow::Owned(conversation)) = conversation {
            message.conversation = Some(conversation);
        }
        let first = message.dedupe.as_ref().and_then(|key| self.first_of(key));
        if let Some(first) = first {
            return self.repeat(first, *message);
        }
        let conversation = message.conversation.as_deref();
        match conversation.and_then(|key| self.taking.lines.get_mut(key)) {
            Some(line) if line.waiting.len() >= LINE_MAX => {
                let _ = message.reply.send(Err(EmployeeError::Overloaded));
            }
            Some(line) => line.waiting.push_back(message),
            None => self.consider(message, false),
        }
    }

    /// Takes a trigger that is not among those being accepted. `is_new`: nor in the database.
    fn consider(&mut self, message: Box<TriggerMessage>, is_new: bool) {
        if self.core.journal.overloaded(self.org) {
            let _ = message.reply.send(Err(EmployeeError::Overloaded));
            return;
        }
        let verdict = self.admit(&message);
        let takes_it = matches!(&verdict, Ok(replaced) if replaced.is_empty());
        let key = message.dedupe.as_ref();
        let has_to_look = key.is_some_and(|key| match key.origin {
            KeyOrigin::ThisNode => false,
            KeyOrigin::OtherNode => !takes_it,
            // One of our own making is given back by whoever does not know what became of its trigger.
            KeyOrigin::Sender => !takes_it || key.run(self.org).is_some(),
        });
        if has_to_look && !is_new {
            return self.look(message);
        }
        match verdict {
            Err(error) => drop(message.reply.send(Err(error))),
            Ok(replaced) if replaced.is_empty() => self.accept(*message),
            Ok(replaced) => self.make_way(replaced, message),
        }
    }

    /// The runs that have to make way, or why the trigger is not taken.
    fn admit(&self, message: &TriggerMessage) -> Result<Vec<ExecutionId>, EmployeeError> {
        if self.status == EmployeeStatus::Dismissed {
            return Err(EmployeeError::Dismissed);
        }
        if let Some(skill) = message.skill.as_deref()
            && !self.current.plan.has_skill(skill)
        {
            return Err(EmployeeError::UnknownSkill(skill.to_string()));
        }
        match self.admission.check(
            &self.current.spec.concurrency,
            message.conversation.as_deref(),
        ) {
            Ok(Verdict::Take) => Ok(Vec::new()),
            Ok(Verdict::Replace(runs)) => Ok(runs),
            Err(Refusal::ConversationBusy) => Err(EmployeeError::ConversationBusy),
            Err(Refusal::QueueFull) => Err(EmployeeError::QueueFull),
        }
    }

    /// The run that has this key, as far as that is in memory.
    fn first_of(&self, key: &TriggerKey) -> Option<ExecutionId> {
        if !key.may_be_known() {
            return None;
        }
        let claimed = (key.source.clone(), key.key.clone());
        if let Some(run) = self.taking.claims.get(&claimed) {
            return Some(*run);
        }
        key.run(self.org).filter(|run| self.runs.contains_key(run))
    }

    /// A repetition of a trigger whose run is in memory: it is answered when the first acceptance is durable.
    fn repeat(&mut self, first: ExecutionId, message: TriggerMessage) {
        let TriggerMessage {
            dedupe,
            reply,
            watcher,
            ..
        } = message;
        let payload = dedupe.and_then(|key| key.payload);
        let run = self.runs.get_mut(&first);
        let accepted = run.as_ref().and_then(|run| run.accepted.as_deref());
        let its = accepted.and_then(|fact| match fact {
            Fact::Accepted { trigger, .. } => Some(&trigger.payload),
            _ => None,
        });
        // Of a run that was restored from a snapshot the payload is not at hand: it counts as the same.
        let is_same = match (payload, its) {
            (Some(payload), Some(its)) => payload == ContentHash::of_json(its),
            _ => true,
        };
        if is_same && let Some(run) = run {
            run.watchers.extend(watcher);
        }
        match self.taking.accepting.get_mut(&first) {
            Some(first) => first.repetitions.push(Repetition { reply, is_same }),
            None => drop(reply.send(repeated(first, is_same))),
        }
    }

    /// Looks in the database whether the trigger was accepted before; those of its conversation that come meanwhile wait in line.
    fn look(&mut self, message: Box<TriggerMessage>) {
        if self.taking.to_look.len() >= LOOKS_MAX {
            let _ = message.reply.send(Err(EmployeeError::Overloaded));
            return;
        }
        self.hold_line(message.conversation.as_deref());
        self.taking.to_look.push_back(message);
        self.look_for_some();
    }

    /// One reading at a time: under a flood of triggers that are refused, many are looked for at once.
    fn look_for_some(&mut self) {
        if self.taking.is_looking || self.taking.to_look.is_empty() {
            return;
        }
        self.taking.is_looking = true;
        self.undurable += 1;
        let count = self.taking.to_look.len().min(LOOK_BATCH);
        let messages: Vec<_> = self.taking.to_look.drain(..count).collect();
        let (core, own, org) = (self.core.clone(), self.own.clone(), self.org);
        tokio::spawn(async move {
            let keys: Vec<&TriggerKey> = messages
                .iter()
                .filter_map(|one| one.dedupe.as_ref())
                .collect();
            let known = known_triggers(&core, org, &keys).await;
            let looked = messages.into_iter().map(|message| {
                let key = message.dedupe.as_ref();
                let known = match &known {
                    Ok(known) => Ok(key.and_then(|key| known.get(&named(key)).copied())),
                    Err(error) => Err(error.to_string().into()),
                };
                Looked { message, known }
            });
            let _ = own.tell(Message::Looked(looked.collect()));
        });
    }

    /// It is known which of these triggers are new.
    pub(super) fn looked(&mut self, looked: Vec<Looked>) {
        self.undurable -= 1;
        self.taking.is_looking = false;
        for Looked { message, known } in looked {
            let conversation = message.conversation.clone();
            self.settle_line(conversation.as_deref(), |state| match known {
                Err(error) => drop(message.reply.send(Err(EmployeeError::NotWoken(error)))),
                Ok(Some(known)) => state.repeat_known(known, *message),
                Ok(None) => {
                    let first = message.dedupe.as_ref().and_then(|key| state.first_of(key));
                    match first {
                        Some(first) => state.repeat(first, *message),
                        None => state.consider(message, true),
                    }
                }
            });
        }
        self.look_for_some();
    }

    fn repeat_known(&mut self, known: KnownTrigger, message: TriggerMessage) {
        let payload = message.dedupe.as_ref().and_then(|key| key.payload);
        let is_same = match (payload, known.payload) {
            (Some(payload), Some(its)) => payload == its,
            _ => true,
        };
        if is_same && let Some(run) = self.runs.get_mut(&known.run) {
            run.watchers.extend(message.watcher);
        }
        let _ = message.reply.send(repeated(known.run, is_same));
    }

    /// Triggers of this conversation wait from now on, until the line is settled.
    fn hold_line(&mut self, conversation: Option<&str>) {
        if let Some(key) = conversation {
            let line = self.taking.lines.entry(key.to_owned()).or_default();
            line.holders += 1;
        }
    }

    /// What the conversation waited for is decided by `first`; then those in line have their turn, unless it makes them wait again.
    fn settle_line(&mut self, conversation: Option<&str>, first: impl FnOnce(&mut Self)) {
        let mut waiting = VecDeque::new();
        if let Some(key) = conversation
            && let Some(line) = self.taking.lines.get_mut(key)
        {
            line.holders -= 1;
            if line.holders == 0 {
                waiting = std::mem::take(&mut line.waiting);
                self.taking.lines.remove(key);
            }
        }
        first(self);
        for message in waiting {
            self.trigger(message);
        }
    }

    /// Stops those that have to make way for a trigger that is new.
    fn make_way(&mut self, replaced: Vec<ExecutionId>, message: Box<TriggerMessage>) {
        let undo = self.current.spec.concurrency.on_conflict == ConflictPolicy::Rollback;
        let kind = if undo {
            StopKind::RolledBack
        } else {
            StopKind::Interrupted
        };
        for run in &replaced {
            if undo {
                let at = self.now();
                if let Some(run) = self.runs.get_mut(run) {
                    let undone = run.execution;
                    run.outbox().undo.push((undone, at));
                }
            }
            self.apply(
                *run,
                self.stop_fact(kind, "tenure".into(), Self::replacement_reason(kind)),
            );
        }
        match replaced.last() {
            // What the new run remembers has to be read after the undo is durable.
            Some(last) if undo => self.accept_after_undo(*last, message),
            _ => self.accept(*message),
        }
    }

    fn accept_after_undo(&mut self, undone: ExecutionId, message: Box<TriggerMessage>) {
        let (core, own, org, id) = (self.core.clone(), self.own.clone(), self.org, self.id);
        self.undurable += 1;
        let conversation = message.conversation.clone();
        self.hold_line(conversation.as_deref());
        let reread = |then| Message::Reread { conversation, then };
        self.flush_with(undone, move |result| {
            if let Err(error) = result {
                let _ = message
                    .reply
                    .send(Err(EmployeeError::Journal(error.clone())));
                let _ = own.tell(reread(None));
                return;
            }
            tokio::spawn(async move {
                let memory = loader::read_memory(&core, org, id).await;
                let _ = own.tell(match memory {
                    Ok(memory) => reread(Some((memory, message))),
                    Err(error) => {
                        let _ = message
                            .reply
                            .send(Err(EmployeeError::NotWoken(error.to_string().into())));
                        reread(None)
                    }
                });
            });
        });
    }

    /// An undo is through: what is remembered now, and the trigger that caused it.
    pub(super) fn reread(
        &mut self,
        conversation: Option<&str>,
        then: Option<(MemoryView, Box<TriggerMessage>)>,
    ) {
        self.undurable -= 1;
        self.settle_line(conversation, |state| {
            if let Some((memory, message)) = then {
                state.memory.replace(memory);
                state.accept(*message);
            }
        });
    }

    /// Makes a run of a trigger. With a key it may turn out to be a duplicate, so it starts only when its acceptance is durable; else it
    /// starts at once, since nothing of it leaves the process before the acceptance is durable. So does one whose key was made on its way
    /// here: it is a duplicate once in a lost answer, and is taken back then.
    fn accept(&mut self, message: TriggerMessage) {
        let TriggerMessage {
            trigger,
            conversation,
            skill,
            dedupe,
            reply,
            watcher,
        } = message;
        let own = dedupe.as_ref().and_then(|key| key.run(self.org));
        let execution = own.unwrap_or_else(|| self.core.clock.execution_id());
        let at = self.now();
        let (context, blob) = self.memory.pin();
        // A key that this node has made is the run's name. One that came from elsewhere has a row, which every release knows.
        let row = dedupe
            .as_ref()
            .filter(|key| own.is_none() || key.may_be_known());
        let insert = RunInsert {
            version: self.current.version,
            trigger_type: trigger.kind,
            source: trigger.source.clone(),
            conversation_key: conversation.clone(),
            accepted: at,
            dedupe: row.map(named),
            payload_hash: row.and_then(|key| key.payload),
        };
        let fact = Arc::new(Fact::Accepted {
            employee: self.id,
            version: self.current.version.unsigned_abs(),
            trigger,
            context: blob.as_ref().map(|(hash, _)| *hash),
            skill,
            at,
        });
        let mut run = LiveRun::new(
            self.org,
            execution,
            self.current.clone(),
            Some(fact.clone()),
            conversation.clone(),
            context,
        );
        run.record(&fact);
        run.run_append(self.id, execution).insert = Some(insert);
        if let Some((hash, body)) = blob {
            run.outbox().blobs.push(BlobPut {
                owner: execution.uuid(),
                hash,
                body,
                at,
            });
        }
        let waits_for_result = watcher.is_some();
        run.watchers.extend(watcher);
        self.runs.insert(execution, run);
        self.counts.accepted += 1;

        let beginning = Beginning {
            version: self.current.version.unsigned_abs(),
            accepted: at,
        };
        let is_keyed = dedupe.as_ref().is_some_and(|key| !key.starts_at_once());
        // Whether the conversation is busy is not known before it is known that the run is new.
        let holds_line =
            is_keyed && self.current.spec.concurrency.on_conflict != ConflictPolicy::Enqueue;
        if holds_line {
            self.hold_line(conversation.as_deref());
        }
        if is_keyed {
            self.admission.expect();
        } else {
            self.admission.enter(execution, conversation.as_deref());
        }
        if let Some(key) = dedupe {
            let has_claim = key.may_be_known() && own.is_none();
            let claim = has_claim.then_some((key.source, key.key));
            if let Some(claim) = &claim {
                self.taking.claims.insert(claim.clone(), execution);
            }
            let acceptance = Acceptance {
                claim,
                holds_line,
                is_expected: is_keyed,
                repetitions: Vec::new(),
            };
            self.taking.accepting.insert(execution, acceptance);
        }
        // Whoever waits for the result hears of the acceptance with it: one commit less for a run that needs nothing from outside.
        if waits_for_result && !is_keyed {
            self.accepting.insert(execution, (beginning, reply));
        } else {
            self.flush_accepted(execution, beginning, reply);
        }
    }

    pub(super) fn flush_accepted(
        &mut self,
        execution: ExecutionId,
        beginning: Beginning,
        reply: Reply<Accepted>,
    ) {
        self.flush_with(execution, move |result| {
            let _ = reply.send(accepted(execution, beginning, result));
        });
    }

    /// The journal has answered a run for the first time: so are those who repeated its trigger. `act` is what follows from the answer; those
    /// in the line of its conversation come after it.
    pub(super) fn settle_acceptance(
        &mut self,
        execution: ExecutionId,
        result: &Result<AppendOutcome, JournalError>,
        act: impl FnOnce(&mut Self),
    ) {
        let Some(acceptance) = self.taking.accepting.remove(&execution) else {
            return act(self);
        };
        if acceptance.is_expected {
            self.admission.expect_no_longer();
        }
        if let Some(claim) = &acceptance.claim {
            self.taking.claims.remove(claim);
        }
        for Repetition { reply, is_same } in acceptance.repetitions {
            let _ = reply.send(match result {
                Ok(AppendOutcome::Durable | AppendOutcome::Known { .. }) => {
                    repeated(execution, is_same)
                }
                Ok(AppendOutcome::Duplicate { execution }) => repeated(*execution, is_same),
                // The first had another payload than the key's run; whether this one has too is for its next sending to find out.
                Ok(AppendOutcome::OtherPayload { execution }) => {
                    Err(EmployeeError::OtherPayload(*execution))
                }
                Err(error) => Err(EmployeeError::Journal(error.clone())),
            });
        }
        let run = self.runs.get(&execution).filter(|_| acceptance.holds_line);
        let conversation = run.and_then(|run| run.conversation.clone());
        self.settle_line(conversation.as_deref(), act);
    }
}

fn named(key: &TriggerKey) -> DedupeKey {
    DedupeKey::new(&key.source, &key.key)
}

fn repeated(first: ExecutionId, is_same: bool) -> Result<Accepted, EmployeeError> {
    match is_same {
        true => Ok(Accepted {
            execution: first,
            duplicate: true,
            beginning: None,
        }),
        false => Err(EmployeeError::OtherPayload(first)),
    }
}

/// Those of these triggers that were accepted before.
pub(in crate::actors) async fn known_triggers(
    core: &Core,
    org: OrgId,
    keys: &[&TriggerKey],
) -> Result<HashMap<DedupeKey, KnownTrigger>, DbError> {
    let mut tx = core.db.begin_read(org).await?;
    let rows: Vec<DedupeKey> = keys.iter().map(|key| named(key)).collect();
    let mut known = triggers_known(&mut tx, &rows).await?;
    if !known.is_empty() {
        note_sight(core, &mut tx, known.keys().cloned().collect()).await?;
    }
    for (key, row) in keys.iter().zip(rows) {
        // One of our own making may have no row: its run has its name.
        let Some(run) = key.run(org).filter(|_| !known.contains_key(&row)) else {
            continue;
        };
        if let Some(payload) = accepted_payload(&mut tx, run).await? {
            known.insert(row, KnownTrigger { run, payload });
        }
    }
    Ok(known)
}

/// How old what is noted of a key's last sight may be: a sender that repeats itself does not cost a write each time.
const SIGHT_NOTED_EVERY: Duration = Duration::from_secs(3_600);

/// Notes in the background that keys came again, since they are kept from their last sight. If that fails, the next sight notes it.
async fn note_sight(core: &Core, tx: &mut Tx, keys: Vec<DedupeKey>) -> Result<(), DbError> {
    let (org, now) = (tx.org(), core.clock.now());
    let noted_since = Timestamp::from_micros(now.micros() - SIGHT_NOTED_EVERY.as_micros() as i64);
    let keys = triggers_last_seen_before(tx, &keys, noted_since).await?;
    if keys.is_empty() {
        return Ok(());
    }
    let db = core.db.clone();
    tokio::spawn(async move {
        let note = async {
            let mut tx = db.begin_system("triggers came again").await?;
            triggers_seen(&mut tx, org, &keys, now).await?;
            tx.commit().await
        };
        if let Err(error) = note.await {
            tracing::warn!(%error, "that a trigger came again was not noted");
        }
    });
    Ok(())
}

/// The answer to a trigger that an employee does not take any more: its run, if it was accepted before.
pub(in crate::actors) async fn answer_if_known(
    core: Arc<Core>,
    org: OrgId,
    message: Box<TriggerMessage>,
    otherwise: EmployeeError,
) {
    let TriggerMessage { dedupe, reply, .. } = *message;
    let _ = reply.send(known_or(&core, org, dedupe, otherwise).await);
}

async fn known_or(
    core: &Core,
    org: OrgId,
    key: Option<TriggerKey>,
    otherwise: EmployeeError,
) -> Result<Accepted, EmployeeError> {
    let Some(key) = key.filter(TriggerKey::may_be_known) else {
        return Err(otherwise);
    };
    match known_triggers(core, org, &[&key]).await {
        Ok(known) => match known.get(&named(&key)) {
            Some(known) => {
                let both = key.payload.zip(known.payload);
                repeated(known.run, both.is_none_or(|(one, other)| one == other))
            }
            None => Err(otherwise),
        },
        Err(error) => Err(EmployeeError::NotWoken(error.to_string().into())),
    }
}

/// What whoever sent the trigger is told when the journal has answered.
pub(super) fn accepted(
    execution: ExecutionId,
    beginning: Beginning,
    result: &Result<AppendOutcome, JournalError>,
) -> Result<Accepted, EmployeeError> {
    match result {
        Ok(AppendOutcome::Durable | AppendOutcome::Known { .. }) => Ok(Accepted {
            execution,
            duplicate: false,
            beginning: Some(beginning),
        }),
        Ok(AppendOutcome::Duplicate { execution }) => repeated(*execution, true),
        Ok(AppendOutcome::OtherPayload { execution }) => repeated(*execution, false),
        Err(error) => Err(EmployeeError::Journal(error.clone())),
    }
}
