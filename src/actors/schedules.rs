//! Schedules: fire each employee's calendar, once a time, and account for every time that was due.
//!
//! Invariant: for each due time there is one row that says what became of it, and one run at most (its key is the due time).
//! Persists: the account and the next due time, through the journal. At a restart it goes on from the next due time that is stored,
//! so that what passed meanwhile is a misfire and treated as the schedule says.

use super::{
    append::new_append,
    cluster::duty,
    core::Core,
    employee::{Accepted, EmployeeError, Message as EmployeeMessage, TriggerMessage},
    mailbox::{Envelope, Mailbox, Named},
    vitals::Vitals,
};
use crate::{
    domain::{
        EmployeeId, ExecutionId, Misfire, OrgId, Overlap, ScheduleId, Timestamp, Trigger,
        TriggerType,
    },
    persistence::{
        DbError, FireOutcome, ScheduleAdvance, ScheduleFireRow, ScheduleRow, run_get, schedules_due,
    },
};
use chrono_tz::Tz;
use croner::Cron;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use serde_json::{Value, json};
use std::{str::FromStr, sync::Arc, time::Duration};

const MAILBOX: usize = 100;
/// How often the table is looked at: the precision of a schedule, whose unit is the minute.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Schedules that are fired in one go.
const PAGE: u32 = 500;
/// A time that was due longer ago than this was missed: nothing ran.
const MISFIRE_AFTER: Duration = Duration::from_secs(60);
/// Missed times that get a row each; older ones of a long outage are summed up in the first.
const ACCOUNTED_MAX: usize = 1_000;

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum CalendarError {
    #[error("cron `{cron}`: {reason}")]
    Cron { cron: String, reason: String },
    #[error("time_zone `{0}` is not an IANA time zone such as Europe/Zurich")]
    TimeZone(String),
}

/// A cron expression in a time zone. Pure.
pub struct Calendar {
    cron: Cron,
    zone: Tz,
}

impl Calendar {
    /// # Errors
    /// What is wrong with which of the two.
    pub fn parse(cron: &str, zone: &str) -> Result<Self, CalendarError> {
        let fields = cron.split_whitespace().count();
        let wrong = |reason: String| CalendarError::Cron {
            cron: cron.into(),
            reason,
        };
        if fields != 5 && !cron.starts_with('@') {
            return Err(wrong(format!(
                "has {fields} fields; right are five: minute, hour, day of month, month, day of week"
            )));
        }
        Ok(Self {
            cron: Cron::from_str(cron).map_err(|error| wrong(error.to_string()))?,
            zone: zone
                .parse()
                .map_err(|_| CalendarError::TimeZone(zone.into()))?,
        })
    }

    /// The first time after `after`; `None` if there is none any more.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let local = after.to_chrono().with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(next.with_timezone(&chrono::Utc).into())
    }

    /// The times from `first` (which is one of them) up to `until`.
    fn due(&self, first: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        std::iter::successors(Some(first), |at| self.next(*at))
            .take_while(|at| *at <= until)
            .take(ACCOUNTED_MAX)
            .collect()
    }
}

/// What becomes of the times of one schedule that are due. Pure.
#[derive(Debug, PartialEq)]
pub struct FirePlan {
    /// Fire once, for this time.
    pub fire: Option<Timestamp>,
    /// The others, and why not.
    pub skipped: Vec<(Timestamp, FireOutcome)>,
}

/// `busy`: the schedule's last run is not finished.
pub fn plan_fire(
    due: &[Timestamp],
    now: Timestamp,
    overlap: Overlap,
    misfire: Misfire,
    busy: bool,
) -> FirePlan {
    let Some((last, earlier)) = due.split_last() else {
        return FirePlan {
            fire: None,
            skipped: Vec::new(),
        };
    };
    let missed = |at: Timestamp| now.since(at) > MISFIRE_AFTER;
    // Of several missed times one run at most is made, for the last of them.
    let mut skipped: Vec<_> = earlier
        .iter()
        .map(|at| {
            (
                *at,
                if misfire == Misfire::Skip {
                    FireOutcome::SkippedMisfire
                } else {
                    FireOutcome::Collapsed
                },
            )
        })
        .collect();
    if missed(*last) && misfire == Misfire::Skip {
        skipped.push((*last, FireOutcome::SkippedMisfire));
        return FirePlan {
            fire: None,
            skipped,
        };
    }
    if busy && overlap == Overlap::Skip {
        skipped.push((*last, FireOutcome::SkippedOverlap));
        return FirePlan {
            fire: None,
            skipped,
        };
    }
    FirePlan {
        fire: Some(*last),
        skipped,
    }
}

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
        Ok(State { vitals })
    }

    /// Nobody but itself sends it anything, so that it may wait for the database and for employees here.
    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (Message::Look, _handling) = message.open(&state.vitals);
        if let Err(error) = self.fire_due().await {
            tracing::warn!(%error, "schedules could not be looked at");
            state
                .vitals
                .record_error(error.to_string(), self.0.clock.now());
        }
        let own = Mailbox::new(myself, state.vitals.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LOOK_EVERY).await;
            let _ = own.tell(Message::Look);
        });
        Ok(())
    }
}

impl Schedules {
    async fn fire_due(&self) -> Result<(), DbError> {
        if !self.0.has_duty(duty::SCHEDULES).await {
            return Ok(());
        }
        let now = self.0.clock.now();
        let mut tx = self
            .0
            .db
            .begin_system_read("schedules that are due")
            .await?;
        let due = schedules_due(&mut tx, now, None, PAGE).await?;
        drop(tx);
        for schedule in due {
            if let Err(error) = self.fire(&schedule, now).await {
                tracing::warn!(schedule = %schedule.id, %error, "schedule could not be fired, it is tried again");
            }
        }
        Ok(())
    }

    async fn fire(&self, schedule: &ScheduleRow, now: Timestamp) -> Result<(), FireError> {
        let Some(first) = schedule.next_due else {
            return Ok(());
        };
        let calendar = Calendar::parse(&schedule.cron, &schedule.time_zone)?;
        let due = calendar.due(first, now);
        let busy = schedule.overlap == Overlap::Skip && self.last_run_is_open(schedule).await?;
        let plan = plan_fire(&due, now, schedule.overlap, schedule.misfire, busy);
        let mut rows: Vec<ScheduleFireRow> = plan
            .skipped
            .iter()
            .map(|(at, outcome)| fire_row(schedule, *at, *outcome, None, now))
            .collect();
        let mut last_run = None;
        if let Some(at) = plan.fire {
            let (outcome, run) = match self.trigger(schedule, at).await {
                Ok(accepted) => (FireOutcome::Fired, Some(accepted.execution)),
                // Busy or full is a reason to skip; anything else is tried again.
                Err(EmployeeError::ConversationBusy | EmployeeError::QueueFull) => {
                    (FireOutcome::SkippedOverlap, None)
                }
                Err(
                    EmployeeError::NotFound
                    | EmployeeError::Dismissed
                    | EmployeeError::UnknownSkill(_),
                ) => (FireOutcome::SkippedMisfire, None),
                Err(error) => return Err(FireError::Employee(error)),
            };
            last_run = run;
            rows.push(fire_row(schedule, at, outcome, run, now));
        }
        let mut append = new_append(schedule.org_id);
        append.fires = rows;
        append.schedules.push(ScheduleAdvance {
            id: schedule.id,
            next_due: calendar.next(now),
            last_due: due.last().copied().unwrap_or(first),
            last_run,
        });
        self.0
            .journal
            .write(None, append)
            .await
            .map_err(|error| FireError::Employee(error.into()))?;
        Ok(())
    }

    async fn last_run_is_open(&self, schedule: &ScheduleRow) -> Result<bool, DbError> {
        let Some(run) = schedule.last_run_id else {
            return Ok(false);
        };
        let mut tx = self.0.db.begin_read(schedule.org_id).await?;
        Ok(run_get(&mut tx, run)
            .await?
            .is_some_and(|run| !run.status.is_finished()))
    }

    async fn trigger(
        &self,
        schedule: &ScheduleRow,
        due: Timestamp,
    ) -> Result<Accepted, EmployeeError> {
        fire_trigger(
            &self.0,
            schedule.org_id,
            schedule.employee_id,
            schedule.id,
            &schedule.name,
            &schedule.payload,
            due,
        )
        .await
    }
}

#[derive(Debug, thiserror::Error)]
enum FireError {
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Employee(#[from] EmployeeError),
}

async fn fire_trigger(
    core: &Core,
    org: OrgId,
    employee: EmployeeId,
    schedule: ScheduleId,
    name: &str,
    payload: &str,
    due: Timestamp,
) -> Result<Accepted, EmployeeError> {
    let payload = match serde_json::from_str::<Value>(payload) {
        Ok(Value::Object(mut fields)) => {
            fields
                .entry("schedule")
                .or_insert_with(|| json!({"name": name, "due": due}));
            Value::Object(fields)
        }
        _ => json!({"schedule": {"name": name, "due": due}}),
    };
    let source = format!("schedule:{schedule}");
    let message = |reply| {
        EmployeeMessage::Trigger(Box::new(TriggerMessage {
            trigger: Trigger {
                kind: TriggerType::Schedule,
                payload: Arc::new(payload),
                source: source.clone(),
            },
            conversation: None,
            skill: None,
            dedupe: Some((source, due.micros().to_string())),
            reply,
            watcher: None,
        }))
    };
    core.ask(org, employee, message).await
}

fn fire_row(
    schedule: &ScheduleRow,
    due: Timestamp,
    outcome: FireOutcome,
    run: Option<ExecutionId>,
    at: Timestamp,
) -> ScheduleFireRow {
    ScheduleFireRow {
        org_id: schedule.org_id,
        schedule_id: schedule.id,
        due,
        outcome,
        run_id: run,
        at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn weekdays_at_nine_in_a_zone_with_summer_time() {
        let calendar = Calendar::parse("0 9 * * 1-5", "Europe/Zurich").unwrap();
        // Friday before the change to summer time, then Monday after it.
        assert_eq!(
            calendar.next(at("2026-03-27T07:59:59Z")),
            Some(at("2026-03-27T08:00:00Z"))
        );
        assert_eq!(
            calendar.next(at("2026-03-27T08:00:00Z")),
            Some(at("2026-03-30T07:00:00Z"))
        );
    }

    #[test]
    fn a_time_that_the_clocks_leave_out_fires_once() {
        let calendar = Calendar::parse("30 2 * * *", "Europe/Zurich").unwrap();
        let day: Vec<_> = calendar.due(
            calendar.next(at("2026-03-28T12:00:00Z")).unwrap(),
            at("2026-03-30T12:00:00Z"),
        );
        assert_eq!(day.len(), 2, "{day:?}");
    }

    #[test]
    fn wrong_calendars_say_what_is_wrong() {
        assert!(
            Calendar::parse("0 9 * *", "UTC")
                .err()
                .unwrap()
                .to_string()
                .contains("4 fields")
        );
        assert_eq!(
            Calendar::parse("0 9 * * *", "Mars/Base").err(),
            Some(CalendarError::TimeZone("Mars/Base".into()))
        );
        assert!(Calendar::parse("61 9 * * *", "UTC").is_err());
    }

    #[test]
    fn what_was_missed_is_fired_once_or_not_at_all_and_always_accounted_for() {
        let (a, b, now) = (
            at("2026-01-01T00:00:00Z"),
            at("2026-01-01T01:00:00Z"),
            at("2026-01-01T01:30:00Z"),
        );
        let run_once = plan_fire(&[a, b], now, Overlap::Enqueue, Misfire::RunOnce, true);
        assert_eq!(
            run_once,
            FirePlan {
                fire: Some(b),
                skipped: vec![(a, FireOutcome::Collapsed)]
            }
        );
        let skip = plan_fire(&[a, b], now, Overlap::Enqueue, Misfire::Skip, false);
        assert_eq!(skip.fire, None);
        assert_eq!(skip.skipped.len(), 2);
        let in_time = plan_fire(&[b], b, Overlap::Enqueue, Misfire::Skip, false);
        assert_eq!(in_time.fire, Some(b));
    }

    #[test]
    fn an_unfinished_run_skips_or_queues_the_next() {
        let now = at("2026-01-01T01:00:00Z");
        assert_eq!(
            plan_fire(&[now], now, Overlap::Skip, Misfire::RunOnce, true).skipped,
            [(now, FireOutcome::SkippedOverlap)]
        );
        assert_eq!(
            plan_fire(&[now], now, Overlap::Enqueue, Misfire::RunOnce, true).fire,
            Some(now)
        );
    }
}
