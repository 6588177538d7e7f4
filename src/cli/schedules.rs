//! `tenure schedules`: when employees work of their own accord.

use super::{
    output::{Column, Output, field, moment, text_at},
    remote::RemoteArgs,
};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure schedules
  tenure schedules --employee clerk
  tenure schedules -q | xargs -n1 tenure show")]
pub struct SchedulesArgs {
    /// Those of one employee, by name or id
    #[arg(long)]
    employee: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// The service does not answer.
pub async fn run(args: SchedulesArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let query: Vec<(&str, &str)> = args
        .employee
        .iter()
        .map(|employee| ("employee_id", employee.as_str()))
        .collect();
    let items = client.all("/v1/schedules", &query).await?;
    if items.is_empty() && out.is_for_people() {
        out.line(
            "nobody works of their own accord: a job description that says when makes a schedule",
        )?;
        return Ok(());
    }
    let when: Column<'_> = ("WHEN", Box::new(recurrence));
    let next: Column<'_> = ("NEXT", Box::new(next));
    let columns = [
        field("ID", "id"),
        field("NAME", "name"),
        field("EMPLOYEE", "employee_id"),
        field("STATUS", "status"),
        when,
        field("ZONE", "time_zone"),
        next,
    ];
    out.list(&json!({"items": items, "next": null}), "id", &columns)?;
    Ok(())
}

/// The next times of a schedule, the first of them whole.
fn next(schedule: &Value) -> String {
    let times = schedule["next"].as_array().map_or(&[][..], Vec::as_slice);
    let times: Vec<String> = times.iter().filter_map(Value::as_str).map(moment).collect();
    times.join(", ")
}

/// When a schedule is due, in one line.
pub fn recurrence(schedule: &Value) -> String {
    let mut parts = Vec::new();
    let text = |name: &str| text_at(schedule, name);
    if schedule["cron"].is_string() {
        parts.push(text("cron"));
    } else if schedule["rrule"].is_string() {
        parts.push(text("rrule"));
    } else if let Some(every) = schedule["every"].as_object() {
        let lengths: Vec<String> = every
            .iter()
            .map(|(unit, number)| format!("{number} {unit}"))
            .collect();
        parts.push(format!("every {}", lengths.join(" ")));
    } else if schedule["working_day"].is_object() {
        let working = &schedule["working_day"];
        parts.push(format!(
            "working day {} of the {}",
            working["nth"],
            text_at(working, "of")
        ));
    }
    if let Some(at) = schedule["at"].as_array() {
        let at: Vec<&str> = at.iter().filter_map(Value::as_str).collect();
        parts.push(format!("at {}", at.join(", ")));
    }
    for (name, words) in [
        ("start", "from"),
        ("until", "until"),
        ("off_days", "days off:"),
        ("calendar", "calendar"),
    ] {
        if schedule[name].is_string() {
            parts.push(format!("{words} {}", text(name)));
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recurrences_are_told_in_a_line() {
        let cases = [
            (json!({"cron": "0 9 * * 1-5"}), "0 9 * * 1-5"),
            (json!({"every": {"minutes": 90}}), "every 90 minutes"),
            (
                json!({"rrule": "FREQ=DAILY", "at": ["09:00", "15:00"], "until": "2027-12-31"}),
                "FREQ=DAILY at 09:00, 15:00 until 2027-12-31",
            ),
            (
                json!({"working_day": {"nth": -1, "of": "month"}, "at": ["09:00"], "calendar": "bern"}),
                "working day -1 of the month at 09:00 calendar bern",
            ),
        ];
        for (schedule, expected) in cases {
            assert_eq!(recurrence(&schedule), expected);
        }
    }
}
