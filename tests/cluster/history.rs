//! What must be true of a cluster's history, whatever happened to its nodes. Pure: a table of what was seen goes in, what is wrong comes
//! out. [`recorder`](crate::recorder) makes the tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use uuid::Uuid;

/// One life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    pub node: Uuid,
    pub incarnation: i64,
}

/// A change of a placement row. `at` orders all that the database saw.
#[derive(Clone, Debug)]
pub struct Ownership {
    pub at: i64,
    pub entity: Uuid,
    pub kind: String,
    pub owner: Option<Life>,
    pub epoch: i64,
}

/// A row of a journal or of the effect ledger, as its transaction committed.
#[derive(Clone, Debug)]
pub struct Write {
    pub at: i64,
    pub table: String,
    pub run: Uuid,
    /// Whose run it is; none: the call of a client.
    pub employee: Option<Uuid>,
    /// The life that the transaction's fence named; none: it had no fence.
    pub writer: Option<Life>,
    /// Who owned the employee, and under which epoch.
    pub owner: Option<Life>,
    pub epoch: Option<i64>,
}

/// A life that was declared dead, or was replaced.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub at: i64,
    pub life: Life,
}

#[derive(Clone, Debug)]
pub struct Run {
    pub id: Uuid,
    /// The idempotency key of its trigger.
    pub key: Option<String>,
    pub finished: bool,
    /// Whether a schedule told it to work.
    pub scheduled: bool,
}

/// A trigger that a client was told is accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub key: String,
    pub run: Uuid,
}

/// A write to the outside, as the API lists it.
#[derive(Clone, Debug)]
pub struct Effect {
    pub key: String,
    pub status: String,
}

/// A write that the provider carried out.
#[derive(Clone, Debug)]
pub struct CarriedOut {
    pub key: String,
    /// What it says: no two steps say the same.
    pub says: String,
}

/// A message of a conversation.
#[derive(Clone, Debug)]
pub struct Message {
    pub key: String,
    /// When its run was over.
    pub finished: Option<i64>,
}

/// A schedule that is due each minute, and what became of each; minutes are counted since 1970.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub id: Uuid,
    /// The first minute that it was due.
    pub first: i64,
    /// By minute.
    pub fires: Vec<Fire>,
}

#[derive(Clone, Debug)]
pub struct Fire {
    pub minute: i64,
    /// For how many minutes it stands, from its own on.
    pub times: i64,
    pub run: Option<Uuid>,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub ownership: Vec<Ownership>,
    pub writes: Vec<Write>,
    pub deaths: Vec<Death>,
    pub runs: Vec<Run>,
    /// Every key that a client tried, accepted or not.
    pub tried: BTreeSet<String>,
    pub accepted: Vec<Accepted>,
    pub effects: Vec<Effect>,
    pub carried_out: Vec<CarriedOut>,
    /// Each in the order in which its messages were accepted.
    pub conversations: Vec<Vec<Message>>,
    /// Results that somebody listens for.
    pub results: BTreeSet<String>,
    /// For each run that heard a result, which one.
    pub heard: Vec<String>,
    pub schedules: Vec<Schedule>,
    /// The last minute that they were due.
    pub last_minute: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two lives owned an entity, or wrote for it, under one epoch.
    TwoUnderOneEpoch {
        entity: Uuid,
        epoch: i64,
        lives: BTreeSet<Life>,
    },
    EpochFell {
        entity: Uuid,
        from: i64,
        to: i64,
    },
    /// Written by another life than the owner's.
    NotTheOwners {
        table: String,
        run: Uuid,
        writer: Option<Life>,
        owner: Option<Life>,
    },
    WroteAfterDeath {
        table: String,
        run: Uuid,
        writer: Life,
    },
    /// A client was told of a run that is not there.
    Lost {
        key: String,
        run: Uuid,
    },
    Unfinished {
        run: Uuid,
    },
    /// One trigger, several runs.
    Doubled {
        key: String,
        runs: BTreeSet<Uuid>,
    },
    /// A run that nobody asked for.
    Unasked {
        run: Uuid,
        key: Option<String>,
    },
    /// It is neither done nor listed as in doubt.
    Unsettled {
        key: String,
        status: String,
    },
    /// The ledger says done, the provider knows nothing of it.
    NotCarriedOut {
        key: String,
    },
    CarriedOutTwice {
        what: String,
        times: usize,
    },
    /// The provider carried out what no ledger row intends.
    NotIntended {
        key: String,
    },
    /// A message's run was over after that of the message behind it, or never.
    OutOfOrder {
        first: String,
        then: String,
    },
    NotHeard {
        result: String,
    },
    HeardTwice {
        result: String,
        times: usize,
    },
    /// Nobody said it.
    HeardOfNothing {
        result: String,
    },
    /// No fire tells of it.
    MinuteLost {
        schedule: Uuid,
        minute: i64,
    },
    /// Two fires tell of it, or one of before it was due.
    MinuteTwice {
        schedule: Uuid,
        minute: i64,
    },
    /// Runs of a schedule and fires are not one to one.
    FireAndRun {
        run: Uuid,
        fires: usize,
        runs: usize,
    },
}

impl Violation {
    /// Which rule it breaks.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::TwoUnderOneEpoch { .. } => "one life an epoch",
            Self::EpochFell { .. } => "epochs grow",
            Self::NotTheOwners { .. } => "owners write",
            Self::WroteAfterDeath { .. } => "the dead do not write",
            Self::Lost { .. } => "what was accepted is there",
            Self::Unfinished { .. } => "everything ends",
            Self::Doubled { .. } => "one run a trigger",
            Self::Unasked { .. } => "a trigger a run",
            Self::Unsettled { .. } => "writes are settled",
            Self::NotCarriedOut { .. } => "what is done was carried out",
            Self::CarriedOutTwice { .. } => "carried out once",
            Self::NotIntended { .. } => "what was carried out is in the ledger",
            Self::OutOfOrder { .. } => "conversations keep their order",
            Self::NotHeard { .. } => "results are heard",
            Self::HeardTwice { .. } => "results are heard once",
            Self::HeardOfNothing { .. } => "what is heard was said",
            Self::MinuteLost { .. } => "minutes are accounted for",
            Self::MinuteTwice { .. } => "minutes are accounted for once",
            Self::FireAndRun { .. } => "one run a fire",
        }
    }

    /// Every rule there is.
    pub const RULES: usize = 19;
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self:?}", self.rule())
    }
}

impl History {
    /// Everything that is wrong, in no order that matters.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = self.one_life_an_epoch();
        found.extend(self.epochs_grow());
        found.extend(self.owners_write());
        found.extend(self.one_run_a_trigger());
        found.extend(self.one_write_an_intention());
        found.extend(self.order_is_kept());
        found.extend(self.results_are_heard_once());
        found.extend(self.minutes_are_accounted_for());
        found.extend(self.one_run_a_fire());
        found
    }

    fn one_life_an_epoch(&self) -> Vec<Violation> {
        let mut lives: BTreeMap<(Uuid, i64), BTreeSet<Life>> = BTreeMap::new();
        for seen in &self.ownership {
            if let Some(owner) = seen.owner {
                let known = lives.entry((seen.entity, seen.epoch)).or_default();
                known.insert(owner);
            }
        }
        for write in &self.writes {
            if let (Some(employee), Some(writer), Some(epoch)) =
                (write.employee, write.writer, write.epoch)
            {
                lives.entry((employee, epoch)).or_default().insert(writer);
            }
        }
        lives
            .into_iter()
            .filter(|(_, lives)| lives.len() > 1)
            .map(|((entity, epoch), lives)| Violation::TwoUnderOneEpoch {
                entity,
                epoch,
                lives,
            })
            .collect()
    }

    fn epochs_grow(&self) -> Vec<Violation> {
        let mut seen: Vec<&Ownership> = self.ownership.iter().collect();
        seen.sort_by_key(|one| one.at);
        let mut highest: BTreeMap<(Uuid, &str), i64> = BTreeMap::new();
        let mut found = Vec::new();
        for one in seen {
            let before = highest.entry((one.entity, &one.kind)).or_insert(one.epoch);
            if one.epoch < *before {
                found.push(Violation::EpochFell {
                    entity: one.entity,
                    from: *before,
                    to: one.epoch,
                });
            }
            *before = one.epoch.max(*before);
        }
        found
    }

    fn owners_write(&self) -> Vec<Violation> {
        let died: BTreeMap<Life, i64> = self.deaths.iter().map(|one| (one.life, one.at)).collect();
        let mut found = Vec::new();
        for write in &self.writes {
            let (table, run) = (write.table.clone(), write.run);
            if let Some(writer) = write.writer
                && died.get(&writer).is_some_and(|at| write.at > *at)
            {
                found.push(Violation::WroteAfterDeath { table, run, writer });
            } else if write.writer.is_none()
                || (write.employee.is_some() && write.writer != write.owner)
            {
                found.push(Violation::NotTheOwners {
                    table,
                    run,
                    writer: write.writer,
                    owner: write.owner,
                });
            }
        }
        found
    }

    fn one_run_a_trigger(&self) -> Vec<Violation> {
        let there: BTreeSet<Uuid> = self.runs.iter().map(|run| run.id).collect();
        let mut found = Vec::new();
        let mut by_key: BTreeMap<&str, BTreeSet<Uuid>> = BTreeMap::new();
        for accepted in &self.accepted {
            by_key
                .entry(&accepted.key)
                .or_default()
                .insert(accepted.run);
            if !there.contains(&accepted.run) {
                found.push(Violation::Lost {
                    key: accepted.key.clone(),
                    run: accepted.run,
                });
            }
        }
        for run in &self.runs {
            match &run.key {
                Some(key) if self.tried.contains(key) => {
                    by_key.entry(key).or_default().insert(run.id);
                }
                key => found.push(Violation::Unasked {
                    run: run.id,
                    key: key.clone(),
                }),
            }
            if !run.finished {
                found.push(Violation::Unfinished { run: run.id });
            }
        }
        for (key, runs) in by_key {
            if runs.len() > 1 {
                let key = key.to_owned();
                found.push(Violation::Doubled { key, runs });
            }
        }
        found
    }

    fn one_write_an_intention(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let (mut by_key, mut by_text) = (BTreeMap::new(), BTreeMap::new());
        for one in &self.carried_out {
            *by_key.entry(one.key.as_str()).or_insert(0) += 1;
            *by_text.entry(one.says.as_str()).or_insert(0) += 1;
        }
        for effect in &self.effects {
            let key = effect.key.clone();
            let times = by_key.get(effect.key.as_str()).copied().unwrap_or(0);
            match effect.status.as_str() {
                "done" | "reconciled" if times == 0 => {
                    found.push(Violation::NotCarriedOut { key });
                }
                "done" | "reconciled" | "ambiguous" | "failed" => {}
                status => {
                    let status = status.to_owned();
                    found.push(Violation::Unsettled { key, status });
                }
            }
        }
        let intended: BTreeSet<&str> = self.effects.iter().map(|one| one.key.as_str()).collect();
        for key in by_key.keys().filter(|key| !intended.contains(**key)) {
            let key = (*key).to_owned();
            found.push(Violation::NotIntended { key });
        }
        for (what, times) in by_key.into_iter().chain(by_text) {
            if times > 1 {
                let what = what.to_owned();
                found.push(Violation::CarriedOutTwice { what, times });
            }
        }
        found
    }

    fn order_is_kept(&self) -> Vec<Violation> {
        let pairs = self.conversations.iter().flat_map(|one| one.windows(2));
        let wrong = pairs.filter(|pair| match (pair[0].finished, pair[1].finished) {
            (Some(first), Some(then)) => first > then,
            _ => true,
        });
        let found = |pair: &[Message]| Violation::OutOfOrder {
            first: pair[0].key.clone(),
            then: pair[1].key.clone(),
        };
        wrong.map(found).collect()
    }

    fn results_are_heard_once(&self) -> Vec<Violation> {
        let mut times: BTreeMap<&String, usize> =
            self.results.iter().map(|result| (result, 0)).collect();
        for heard in &self.heard {
            *times.entry(heard).or_default() += 1;
        }
        let found = |(result, times): (&String, usize)| {
            let (is_known, result) = (self.results.contains(result), result.clone());
            match times {
                _ if !is_known => Some(Violation::HeardOfNothing { result }),
                0 => Some(Violation::NotHeard { result }),
                1 => None,
                _ => Some(Violation::HeardTwice { result, times }),
            }
        };
        times.into_iter().filter_map(found).collect()
    }

    /// From the first to the last, each once.
    fn minutes_are_accounted_for(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for one in &self.schedules {
            let (schedule, mut next) = (one.id, one.first);
            for fire in &one.fires {
                let minute = fire.minute;
                if minute < next {
                    found.push(Violation::MinuteTwice { schedule, minute });
                }
                let lost = next..minute;
                found.extend(lost.map(|minute| Violation::MinuteLost { schedule, minute }));
                next = next.max(minute + fire.times);
            }
            let lost = next..self.last_minute.map_or(next, |last| last + 1);
            found.extend(lost.map(|minute| Violation::MinuteLost { schedule, minute }));
        }
        found
    }

    fn one_run_a_fire(&self) -> Vec<Violation> {
        let mut counts: BTreeMap<Uuid, (usize, usize)> = BTreeMap::new();
        for run in self
            .schedules
            .iter()
            .flat_map(|one| &one.fires)
            .filter_map(|fire| fire.run)
        {
            counts.entry(run).or_default().0 += 1;
        }
        for run in self.runs.iter().filter(|run| run.scheduled) {
            counts.entry(run.id).or_default().1 += 1;
        }
        let wrong = counts.into_iter().filter(|(_, counts)| *counts != (1, 1));
        wrong
            .map(|(run, (fires, runs))| Violation::FireAndRun { run, fires, runs })
            .collect()
    }

    /// How much there was to check.
    pub fn summary(&self) -> String {
        format!(
            "{} changes of owners, {} writes, {} deaths, {} triggers accepted, {} runs, {} effects, {} messages of conversations, \
             {} results heard, {} fires",
            self.ownership.len(),
            self.writes.len(),
            self.deaths.len(),
            self.accepted.len(),
            self.runs.len(),
            self.effects.len(),
            self.conversations.iter().map(Vec::len).sum::<usize>(),
            self.heard.len(),
            self.schedules
                .iter()
                .map(|one| one.fires.len())
                .sum::<usize>(),
        )
    }
}

mod tests;
