//! `tenure show`: everything about one thing, whatever it is.

use super::{
    client::{Client, segment},
    names,
    output::{Format, Output, field, indent, moment, shorten, text_at, yaml},
    remote::RemoteArgs,
    schedules::recurrence,
};
use crate::domain::{ApprovalId, EffectId, EmployeeId, ExecutionId, ScheduleId};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure show clerk
  tenure show 0198f0c4-7b1e-7abc-8def-0123456789ab
  tenure show apr_01jz… --json
  tenure show node/journal")]
pub struct ShowArgs {
    /// Employee (name or emp_…), run (execution id), approval (apr_…), effect (eff_…), schedule (sched_…) or actor (its path)
    id: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Run,
    Employee,
    Approval,
    Effect,
    Schedule,
    Actor,
    /// It may be an employee's name.
    Name,
}

impl Kind {
    fn of(id: &str) -> Self {
        if id.parse::<ExecutionId>().is_ok() {
            Self::Run
        } else if id.parse::<EmployeeId>().is_ok() {
            Self::Employee
        } else if id.parse::<ApprovalId>().is_ok() {
            Self::Approval
        } else if id.parse::<EffectId>().is_ok() {
            Self::Effect
        } else if id.parse::<ScheduleId>().is_ok() {
            Self::Schedule
        } else if id == "node" || id.starts_with("node/") || id.starts_with("employee:") {
            Self::Actor
        } else {
            Self::Name
        }
    }
}

/// # Errors
/// There is nothing with this id.
pub async fn run(args: ShowArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let id = args.id.as_str();
    let at = |collection: &str| format!("/v1/{collection}/{}", segment(id));
    match Kind::of(id) {
        Kind::Run => return run_shown(&client, out, id).await,
        Kind::Employee => return employee_shown(&client, out, id).await,
        Kind::Approval => print(out, &client.get(&at("approvals"), &[]).await?)?,
        Kind::Effect => print(out, &client.get(&at("effects"), &[]).await?)?,
        Kind::Schedule => print(out, &client.get(&at("schedules"), &[]).await?)?,
        Kind::Actor => print(out, &client.get(&at("actors"), &[]).await?)?,
        Kind::Name => {
            let employee = names::employee_id(&client, id).await?;
            return employee_shown(&client, out, &employee).await;
        }
    }
    Ok(())
}

fn print(out: Output, value: &Value) -> std::io::Result<()> {
    out.thing(value, "id", yaml(value))
}

/// People get what an employee is there for; the graphs are in the JSON.
async fn employee_shown(client: &Client, out: Output, id: &str) -> anyhow::Result<()> {
    let path = format!("/v1/employees/{}", segment(id));
    let employee = client.get(&path, &[]).await?;
    Ok(out.thing(&employee, "id", employee_in_words(&employee, out))?)
}

fn employee_in_words(employee: &Value, out: Output) -> String {
    let title = format!(
        "{} {}: {}, version {}",
        text_at(employee, "name"),
        text_at(employee, "id"),
        text_at(employee, "status"),
        text_at(employee, "version")
    );
    let awake = match employee["awake"] == true {
        true => "awake",
        false => "asleep",
    };
    let hired = moment(&text_at(employee, "created_at"));
    let mut lines = vec![out.bold(&title), format!("hired {hired}, {awake}")];
    let mut part = |title: &str, items: &Value, text: &dyn Fn(&Value) -> String| {
        let items = items.as_array().map_or(&[][..], Vec::as_slice);
        if !items.is_empty() {
            lines.push(format!("\n{title}"));
            lines.extend(items.iter().map(|item| format!("  {}", text(item))));
        }
    };
    part("Skills", &employee["graph"]["nodes"], &|node| {
        let permissions = node["permissions"].as_array();
        let permissions: Vec<&str> = permissions
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        format!("{:<24}{}", text_at(node, "id"), permissions.join(", "))
    });
    part("Schedules", &employee["schedules"], &|schedule| {
        format!(
            "{:<24}{} {}",
            text_at(schedule, "name"),
            recurrence(schedule),
            text_at(schedule, "time_zone")
        )
    });
    part("Wakes on", &employee["subscriptions"], &|subscription| {
        format!(
            "{:<24}{}",
            text_at(subscription, "source"),
            text_at(subscription, "event")
        )
    });
    if let Some(text) = employee["job_description"].as_str() {
        lines.push(format!("\nJob description\n{}", indent(text, 2)));
    }
    lines.join("\n")
}

/// A run with its steps and effects: three requests that belong together for people; programs get the three as one object.
async fn run_shown(client: &Client, out: Output, id: &str) -> anyhow::Result<()> {
    let path = format!("/v1/runs/{}", segment(id));
    let mut run = client.get(&path, &[]).await?;
    let steps = client.all(&format!("{path}/steps"), &[]).await?;
    let effects = client.all(&format!("{path}/effects"), &[]).await?;
    match out.format {
        Format::Ids => out.line(id)?,
        Format::Json => {
            if let Some(fields) = run.as_object_mut() {
                fields.insert("steps".into(), json!(steps));
                fields.insert("effects".into(), json!(effects));
            }
            out.json(&run)?;
        }
        Format::People => {
            let names = names::employee_names(client).await?;
            let employee = text_at(&run, "employee_id");
            let name = names.get(&employee).unwrap_or(&employee);
            out.line(head(&run, name, out))?;
            section(out, "Steps", &steps, steps_table)?;
            section(out, "Effects", &effects, effects_table)?;
        }
    }
    Ok(())
}

fn head(run: &Value, employee: &str, out: Output) -> String {
    let title = format!(
        "run {} of {employee}: {}",
        text_at(run, "execution_id"),
        text_at(run, "status")
    );
    let mut lines = vec![out.bold(&title), text_at(run, "run_id")];
    for (label, name) in [("accepted", "accepted_at"), ("finished", "finished_at")] {
        let at = moment(&text_at(run, name));
        if !at.is_empty() {
            lines.push(format!("{label} {at}"));
        }
    }
    for (label, name) in [
        ("waiting on", "waiting_on"),
        ("error", "error"),
        ("result", "result"),
    ] {
        let value = &run[name];
        if !value.is_null() && value != &json!([]) {
            lines.push(format!("{label}\n{}", indent(&yaml(value), 2)));
        }
    }
    lines.join("\n")
}

fn section(
    out: Output,
    title: &str,
    items: &[Value],
    table: impl Fn(&[Value], Output) -> String,
) -> std::io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    out.line(format!("\n{title}\n{}", indent(&table(items, out), 2)))
}

fn steps_table(steps: &[Value], out: Output) -> String {
    let columns = [
        field("SKILL", "skill"),
        field("MICRO-AGENT", "node"),
        field("ITEM", "item"),
        field("TYPE", "type"),
        field("STATUS", "status"),
        field("ATTEMPT", "attempt"),
        (
            "",
            Box::new(|step: &Value| shorten(&text_at(step, "error.message"), 60)) as Box<_>,
        ),
    ];
    out.table(steps, &columns)
}

fn effects_table(effects: &[Value], out: Output) -> String {
    let columns = [
        field("ID", "id"),
        field("CAPABILITY", "capability"),
        field("STATUS", "status"),
        field("ATTEMPTS", "attempts"),
        (
            "ARGUMENTS",
            Box::new(|effect: &Value| shorten(&text_at(effect, "arguments"), 60)) as Box<_>,
        ),
    ];
    out.table(effects, &columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn an_id_says_what_it_names() {
        let (one, uuid) = ("0".repeat(25) + "1", Uuid::from_u128(1).to_string());
        for (id, kind) in [
            (uuid, Kind::Run),
            (format!("emp_{one}"), Kind::Employee),
            (format!("apr_{one}"), Kind::Approval),
            (format!("eff_{one}"), Kind::Effect),
            (format!("sched_{one}"), Kind::Schedule),
            ("node".into(), Kind::Actor),
            ("node/journal".into(), Kind::Actor),
            (format!("employee:emp_{one}/skill:a"), Kind::Actor),
            ("clerk".into(), Kind::Name),
            ("emp_short".into(), Kind::Name),
        ] {
            assert_eq!(Kind::of(&id), kind, "{id}");
        }
    }
}
