//! What the compiler of graphs does not look at: names, limits, calendars, subscriptions.

use super::{StaffError, calendar::Calendars};
use crate::{
    domain::{Concurrency, EmployeeId, ScheduleSpec, SubscriptionSpec, recurrence::Recurrence},
    graph::{EventExpr, Plan},
};
use std::{collections::BTreeSet, sync::Arc};

/// Characters of a name at most.
const NAME_MAX: usize = 100;
const SCHEDULES_MAX: usize = 100;
const SUBSCRIPTIONS_MAX: usize = 100;
const SOURCE_MAX: usize = 200;

fn field(field: impl Into<String>, message: impl Into<String>) -> StaffError {
    StaffError::Field {
        field: field.into(),
        message: message.into(),
    }
}

/// The name without white space around it. It must not look like an id, since an employee may be named where an id is expected.
pub fn name(text: &str) -> Result<String, StaffError> {
    let name = text.trim();
    let wrong = |message: String| Err(field("name", message));
    if name.is_empty() || name.chars().count() > NAME_MAX {
        return wrong(format!("must have 1 to {NAME_MAX} characters"));
    }
    if name.chars().any(|c| c.is_control() || c == '/') {
        return wrong("must have no slash and no control character in it".into());
    }
    if name.parse::<EmployeeId>().is_ok() {
        return wrong("must not be an id".into());
    }
    Ok(name.into())
}

pub fn concurrency(rules: &Concurrency) -> Result<(), StaffError> {
    if !(1..=10_000).contains(&rules.max_runs) {
        return Err(field("concurrency.max_runs", "must be 1 to 10000"));
    }
    if rules.max_queued > 100_000 {
        return Err(field("concurrency.max_queued", "must be 0 to 100000"));
    }
    Ok(())
}

pub fn time_zone(zone: Option<&str>) -> Result<(), StaffError> {
    match zone {
        Some(zone) if zone.parse::<chrono_tz::Tz>().is_err() => Err(field(
            "time_zone",
            format!("`{zone}` is not an IANA time zone such as Europe/Zurich"),
        )),
        _ => Ok(()),
    }
}

/// The recurrence of each.
pub fn schedules(
    specs: &[ScheduleSpec],
    calendars: &Calendars,
) -> Result<Vec<Recurrence>, StaffError> {
    if specs.len() > SCHEDULES_MAX {
        return Err(field(
            "schedules",
            format!("must be {SCHEDULES_MAX} at most"),
        ));
    }
    let mut names = BTreeSet::new();
    let mut recurrences = Vec::with_capacity(specs.len());
    for (place, spec) in specs.iter().enumerate() {
        recurrences.push(recurrence(place, spec, calendars)?);
        let wrong = |message: &str| {
            Err(StaffError::Schedule {
                field: format!("schedules[{place}].name"),
                message: message.into(),
            })
        };
        if spec.name.trim().is_empty() || spec.name.chars().any(char::is_control) {
            return wrong("must not be empty");
        }
        if !names.insert(&spec.name) {
            return wrong("must be unique in the employee");
        }
    }
    Ok(recurrences)
}

fn recurrence(
    place: usize,
    spec: &ScheduleSpec,
    calendars: &Calendars,
) -> Result<Recurrence, StaffError> {
    let wrong = |name: &str, message: String| StaffError::Schedule {
        field: format!("schedules[{place}].{name}"),
        message,
    };
    let calendar = match &spec.recurrence.calendar {
        None => Arc::default(),
        Some(name) => calendars.get(name).cloned().ok_or_else(|| {
            let message =
                format!("there is no calendar `{name}`; PUT /v1/calendars/{{name}} makes one");
            wrong("calendar", message)
        })?,
    };
    Recurrence::parse(&spec.recurrence, &spec.time_zone, calendar)
        .map_err(|error| wrong(error.field, error.message))
}

pub fn subscriptions(specs: &[SubscriptionSpec], plan: &Plan) -> Result<(), StaffError> {
    if specs.len() > SUBSCRIPTIONS_MAX {
        return Err(field(
            "subscriptions",
            format!("must be {SUBSCRIPTIONS_MAX} at most"),
        ));
    }
    for (place, spec) in specs.iter().enumerate() {
        if let Some((name, message)) = wrong_in(spec, plan) {
            return Err(StaffError::Subscription {
                field: format!("subscriptions[{place}].{name}"),
                message,
            });
        }
    }
    Ok(())
}

fn wrong_in(spec: &SubscriptionSpec, plan: &Plan) -> Option<(&'static str, String)> {
    let plain =
        |text: &str| (1..=SOURCE_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if !plain(&spec.source) {
        let message = format!("must have 1 to {SOURCE_MAX} characters");
        return Some(("source", message));
    }
    if spec.event.as_deref().is_some_and(|event| !plain(event)) {
        let message = format!("must have 1 to {SOURCE_MAX} characters");
        return Some(("event", message));
    }
    if let Some(wrong) = spec.filter.wrong() {
        return Some(wrong);
    }
    for (name, text) in [
        ("when", &spec.when),
        ("conversation_key", &spec.conversation_key),
    ] {
        if text.as_deref().is_some_and(|text| text.contains('\0')) {
            return Some((name, "must have no zero character in it".into()));
        }
        if let Some(Err(message)) = text.as_deref().map(EventExpr::compile) {
            return Some((name, message));
        }
    }
    let skill = spec.skill.as_deref()?;
    (!plan.has_skill(skill)).then(|| {
        let known: Vec<&str> = plan.skill_names().collect();
        (
            "skill",
            format!(
                "`{skill}` is no skill of the employee; it has {}",
                known.join(", ")
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_no_ids() {
        assert_eq!(name("  clerk ").expect("a name"), "clerk");
        for wrong in ["", "  ", "a/b", "a\nb", "emp_00000000000000000000000000"] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_wrong_schedule_names_its_field() {
        let cases = [
            (
                serde_json::json!({"cron": "0 9 * * *", "time_zone": "Nowhere/At_all"}),
                "time_zone",
            ),
            (serde_json::json!({"cron": "0 0 30 2 *"}), "cron"),
            (serde_json::json!({"rrule": "FREQ=DAILY"}), "at"),
            (
                serde_json::json!({"cron": "0 9 * * *", "calendar": "swiss"}),
                "calendar",
            ),
            (
                serde_json::json!({"working_day": {"nth": 40, "of": "month"}, "at": ["09:00"]}),
                "working_day.nth",
            ),
            (
                serde_json::json!({"cron": "0 9 * * *", "until": "soon"}),
                "until",
            ),
        ];
        for (mut json, expected) in cases {
            json["name"] = "daily".into();
            let spec: ScheduleSpec = serde_json::from_value(json).expect("a schedule");
            let error = schedules(&[spec], &Calendars::new()).expect_err(expected);
            let expected = format!("schedules[0].{expected}");
            assert!(
                matches!(&error, StaffError::Schedule { field, .. } if *field == expected),
                "{error}"
            );
        }
    }
}
