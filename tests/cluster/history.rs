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
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
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

    /// How much there was to check.
    pub fn summary(&self) -> String {
        format!(
            "{} changes of owners, {} writes, {} deaths, {} triggers accepted, {} runs, {} effects",
            self.ownership.len(),
            self.writes.len(),
            self.deaths.len(),
            self.accepted.len(),
            self.runs.len(),
            self.effects.len(),
        )
    }
}

mod tests;
