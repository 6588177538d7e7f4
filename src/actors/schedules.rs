//! Schedules: fire each employee's calendar, once a time, and account for every time that was due.
//!
//! Invariants: for each due time there is one row that says what became of it, or the first row of a long outage counts it; and one run at
//! most (its key is the due time). A schedule that cannot be fired holds back no other: they are fired side by side, a bounded number for
//! each org, and what failed is looked at again later each time. Persists: the account, the next due time and when a failed one is tried
//! again. At a restart it goes on from the next due time that is stored, so that what passed meanwhile is a misfire and treated as the
//! schedule says.

mod fire;
mod plan;

pub use fire::{recurrence_of, spec_of};

use super::{
    cluster::duty,
    core::Core,
    mailbox::{Envelope, Mailbox, Named},
    vitals::Vitals,
};
use crate::{
    domain::{OrgId, ScheduleId, Timestamp},
    persistence::{DbError, ScheduleRow, schedules_due},
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet};

const MAILBOX: usize = 100;
/// How often the table is looked at: the precision of a schedule, whose unit is the minute.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Schedules that are read at once.
const PAGE: u32 = 500;
/// Pages of one look; the next one goes on behind them.
const PAGES: usize = 10;
/// Schedules of all orgs that are fired at once.
const AT_ONCE: usize = 256;
/// Schedules of one org that are fired at once: its employees may answer late, or not at all.
const AT_ONCE_OF_ORG: usize = 32;

pub async fn spawn(parent: ActorCell, core: Arc<Core>) -> Result<(), ractor::SpawnErr> {
    let vitals = core
        .vitals
        .register("node/schedules", "schedules", None, MAILBOX);
    Actor::spawn_linked(None, Schedules(core), vitals, parent)
        .await
        .map(|_| ())
}

enum Message {
    Look,
}
impl Named for Message {
    fn name(&self) -> &'static str {
        "look"
    }
}

struct Schedules(Arc<Core>);

struct State {
    vitals: Arc<Vitals>,
    at_work: Arc<AtWork>,
    /// Ended with the actor.
    tasks: JoinSet<()>,
    /// Behind which schedule the next look goes on; `None`: from the first one that is due.
    behind: Option<(Timestamp, ScheduleId)>,
}

/// The schedules that are being fired.
#[derive(Default)]
struct AtWork {
    places: Mutex<Places>,
    /// Told when one has ended.
    ended: Notify,
}

#[derive(Default)]
struct Places {
    schedules: HashSet<ScheduleId>,
    of_org: HashMap<OrgId, usize>,
}

/// A schedule's place among those that are being fired, given back by being dropped.
struct Place {
    at_work: Arc<AtWork>,
    org: OrgId,
    schedule: ScheduleId,
}

#[derive(Debug, PartialEq)]
enum NoPlace {
    /// It is being fired.
    Under,
    OrgIsFull,
    Full,
}

impl AtWork {
    fn enter(self: &Arc<Self>, org: OrgId, schedule: ScheduleId) -> Result<Place, NoPlace> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.schedules.contains(&schedule) {
            return Err(NoPlace::Under);
        }
        if places.schedules.len() >= AT_ONCE {
            return Err(NoPlace::Full);
        }
        let of_org = places.of_org.entry(org).or_default();
        if *of_org >= AT_ONCE_OF_ORG {
            return Err(NoPlace::OrgIsFull);
        }
        *of_org += 1;
        places.schedules.insert(schedule);
        Ok(Place {
            at_work: self.clone(),
            org,
            schedule,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.at_work.places;
        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
        places.schedules.remove(&self.schedule);
        if let Some(of_org) = places.of_org.get_mut(&self.org) {
            *of_org -= 1;
            if *of_org == 0 {
                places.of_org.remove(&self.org);
            }
        }
        drop(places);
        self.at_work.ended.notify_one();
    }
}

impl Actor for Schedules {
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
            at_work: Arc::default(),
            tasks: JoinSet::new(),
            behind: None,
        })
    }

    /// Nobody but itself sends it anything, so that it may wait for the database here. It never waits for an employee.
    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (Message::Look, _handling) = message.open(&state.vitals);
        while let Some(ended) = state.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a schedule broke while it was fired, it is tried again");
            }
        }
        let left = self.look(state).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "schedules could not be looked at");
            state
                .vitals
                .record_error(error.to_string(), self.0.clock.now());
            false
        });
        let own = Mailbox::new(myself, state.vitals.clone());
        let at_work = state.at_work.clone();
        tokio::spawn(async move {
            let pause = tokio::time::sleep(LOOK_EVERY);
            if left {
                tokio::select! {
                    () = pause => {}
                    () = at_work.ended.notified() => {}
                }
            } else {
                pause.await;
            }
            let _ = own.tell(Message::Look);
        });
        Ok(())
    }
}

impl Schedules {
    /// Begins to fire what is due. True if something is left that waits for a place.
    async fn look(&self, state: &mut State) -> Result<bool, DbError> {
        if !self.0.has_duty(duty::SCHEDULES).await {
            return Ok(false);
        }
        let now = self.0.clock.now();
        let mut left = false;
        for _ in 0..PAGES {
            let reason = "schedules that are due";
            let mut tx = self.0.db.begin_system_read(reason).await?;
            let due = schedules_due(&mut tx, now, state.behind, PAGE).await?;
            drop(tx);
            let whole = due.len() == PAGE as usize;
            for schedule in due {
                let at = schedule.attempt().map(|at| (at, schedule.id));
                match state.at_work.enter(schedule.org_id, schedule.id) {
                    Ok(place) => self.begin(&mut state.tasks, schedule, place),
                    Err(NoPlace::Under) => {}
                    Err(NoPlace::OrgIsFull) => left = true,
                    // The next look goes on with this one.
                    Err(NoPlace::Full) => return Ok(true),
                }
                state.behind = at;
            }
            if !whole {
                state.behind = None;
                break;
            }
        }
        Ok(left || state.behind.is_some())
    }

    fn begin(&self, tasks: &mut JoinSet<()>, schedule: ScheduleRow, place: Place) {
        let core = self.0.clone();
        tasks.spawn(async move {
            let _place = place;
            fire::fire_or_defer(&core, &schedule).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn schedule(number: u128) -> ScheduleId {
        ScheduleId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn places_are_bounded_by_org_and_given_back_when_dropped() {
        let at_work = Arc::new(AtWork::default());
        let orgs: Vec<OrgId> = (1..=9)
            .map(|number| OrgId::from_uuid(Uuid::from_u128(number)))
            .collect();
        let mut places: Vec<Place> = (0..AT_ONCE_OF_ORG as u128)
            .map(|number| at_work.enter(orgs[0], schedule(number)).expect("a place"))
            .collect();
        let refused = |org, number| at_work.enter(org, schedule(number)).err();
        assert_eq!(refused(orgs[0], 0), Some(NoPlace::Under));
        assert_eq!(refused(orgs[0], 999), Some(NoPlace::OrgIsFull));
        for (place, org) in orgs[1..8].iter().enumerate() {
            for number in 0..AT_ONCE_OF_ORG {
                let number = 1_000 + (place * AT_ONCE_OF_ORG + number) as u128;
                places.push(at_work.enter(*org, schedule(number)).expect("a place"));
            }
        }
        assert_eq!(refused(orgs[8], 5_000), Some(NoPlace::Full));
        places.remove(0);
        drop(at_work.enter(orgs[8], schedule(5_000)).expect("a place"));
        drop(at_work.enter(orgs[0], schedule(0)).expect("a place"));
        places.clear();
        assert!(at_work.places.lock().expect("whole").of_org.is_empty());
    }
}
