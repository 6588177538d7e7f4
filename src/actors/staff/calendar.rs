//! Calendars and time zones of an org: what schedules and runs go by, and what follows when a calendar changes.

use super::StaffError;
use crate::{
    actors::{engine::Engine, schedules::recurrence_of},
    domain::{
        EmployeeSpec, OrgId, Timestamp,
        recurrence::{RecurrenceSpec, WorkingCalendar},
    },
    persistence::{
        CalendarRow, DbError, ScheduleStatus, Tx, calendar_delete, calendar_get, calendar_list,
        calendar_put, org_get, schedule_set_next, schedules_of_calendar,
    },
};
use chrono_tz::Tz;
use std::{collections::BTreeMap, sync::Arc};

/// By name.
pub type Calendars = BTreeMap<String, Arc<WorkingCalendar>>;

const CALENDARS_MAX: usize = 100;
const HOLIDAYS_MAX: usize = 5_000;
const NAME_MAX: usize = 100;
/// Schedules that are given their next time in one go.
const PAGE: u32 = 200;

pub async fn of_org(tx: &mut Tx) -> Result<Calendars, StaffError> {
    let rows = calendar_list(tx).await?;
    let read = rows.into_iter().filter_map(|row| {
        let calendar = serde_json::from_str(&row.body).inspect_err(
            |error| tracing::error!(calendar = row.name, %error, "a stored calendar cannot be read"),
        );
        Some((row.name, Arc::new(calendar.ok()?)))
    });
    Ok(read.collect())
}

/// What the org chose as `time_zone`.
pub async fn zone_of_org(tx: &mut Tx) -> Result<Option<String>, StaffError> {
    let Some(row) = org_get(tx).await? else {
        return Ok(None);
    };
    let settings: serde_json::Value = serde_json::from_str(&row.settings).unwrap_or_default();
    Ok(settings["time_zone"].as_str().map(str::to_owned))
}

/// Fills in what a spec leaves to the day and the org: from which day "every second week" counts, and whose days its runs go by: its own
/// zone, else that of its schedules if they agree, else the org's.
pub fn complete(spec: &mut EmployeeSpec, of_org: Option<String>, now: Timestamp) {
    for schedule in &mut spec.schedules {
        if let Ok(zone) = schedule.time_zone.parse::<Tz>() {
            let today = now.to_chrono().with_timezone(&zone).date_naive();
            schedule.recurrence.settle(today);
        }
    }
    if spec.time_zone.is_none() {
        let mut zones = spec.schedules.iter().map(|schedule| &schedule.time_zone);
        let first = zones.next();
        let agreed = first.filter(|first| *first != "UTC" && zones.all(|zone| zone == *first));
        // One that is none is the schedule's fault, and told as its.
        let agreed = agreed.filter(|zone| zone.parse::<Tz>().is_ok());
        spec.time_zone = agreed.cloned().or(of_org);
    }
}

/// What is stored beside `cron`, if it does not say all.
pub fn beyond_cron(spec: &RecurrenceSpec) -> Option<String> {
    let plain = RecurrenceSpec {
        cron: spec.cron.clone(),
        ..RecurrenceSpec::default()
    };
    (*spec != plain)
        .then(|| serde_json::to_string(spec).expect("a recurrence holds plain JSON values"))
}

/// Stores a calendar; schedules that go by it get their next time anew.
///
/// # Errors
/// What is wrong with it, by field; there are too many.
pub async fn put(
    engine: &Engine,
    org: OrgId,
    name: &str,
    calendar: &WorkingCalendar,
) -> Result<CalendarRow, StaffError> {
    check(name, calendar)?;
    let core = engine.core();
    let now = core.clock.now();
    let row = CalendarRow {
        org_id: org,
        name: name.to_owned(),
        body: serde_json::to_string(calendar).expect("a calendar has string keys"),
        updated: now,
    };
    let mut tx = core.db.begin(org).await?;
    let known = calendar_list(&mut tx).await?;
    if known.len() >= CALENDARS_MAX && known.iter().all(|one| one.name != name) {
        let message = format!("an org may have {CALENDARS_MAX} calendars at most");
        return Err(wrong("name", message));
    }
    calendar_put(&mut tx, &row).await?;
    reschedule(&mut tx, name, now).await?;
    tx.commit().await?;
    Ok(row)
}

fn wrong(field: &str, message: String) -> StaffError {
    StaffError::Field {
        field: field.into(),
        message,
    }
}

fn check(name: &str, calendar: &WorkingCalendar) -> Result<(), StaffError> {
    let plain = |text: &str, most: usize| {
        let length = text.chars().count();
        (1..=most).contains(&length) && text.trim() == text && !text.chars().any(char::is_control)
    };
    if !plain(name, NAME_MAX) || name.contains('/') {
        let message =
            format!("must be 1 to {NAME_MAX} characters without slash and control character");
        return Err(wrong("name", message));
    }
    if calendar.week.is_empty() {
        return Err(wrong("week", "must name at least one day".into()));
    }
    if calendar.holidays.len() > HOLIDAYS_MAX {
        let message = format!("must be {HOLIDAYS_MAX} at most");
        return Err(wrong("holidays", message));
    }
    let odd = calendar.holidays.iter().find(|(_, name)| !plain(name, 200));
    odd.map_or(Ok(()), |(day, _)| {
        let message = "must be a name of 1 to 200 characters".into();
        Err(wrong(&format!("holidays.{day}"), message))
    })
}

/// What was due before `now` and has not been fired yet stays due; everything after it is asked anew.
async fn reschedule(tx: &mut Tx, calendar: &str, now: Timestamp) -> Result<(), StaffError> {
    let mut after = None;
    loop {
        let page = schedules_of_calendar(tx, calendar, after, PAGE).await?;
        for schedule in &page {
            let waits = schedule.next_due.is_none_or(|due| due > now);
            if schedule.status != ScheduleStatus::Active || !waits {
                continue;
            }
            let next = match recurrence_of(tx, schedule).await {
                Ok(recurrence) => recurrence.next_after(now),
                // With this calendar nothing is left of it.
                Err(error) => {
                    tracing::warn!(schedule = %schedule.id, %error, "schedule is never due with its changed calendar");
                    None
                }
            };
            if !schedule_set_next(tx, schedule.id, schedule.next_due, next).await? {
                tracing::debug!(schedule = %schedule.id, "schedule was fired meanwhile");
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after = Some(last.id),
            _ => return Ok(()),
        }
    }
}

/// Deletes a calendar.
///
/// # Errors
/// `NotFound`; `Field` if a schedule goes by it.
pub async fn delete(engine: &Engine, org: OrgId, name: &str) -> Result<(), StaffError> {
    let mut tx = engine.core().db.begin(org).await?;
    if calendar_get(&mut tx, name).await?.is_none() {
        return Err(StaffError::Db(DbError::NotFound("calendar")));
    }
    if !calendar_delete(&mut tx, name).await? {
        let message = "is used by a schedule; give that another calendar first".into();
        return Err(wrong("name", message));
    }
    Ok(tx.commit().await?)
}
