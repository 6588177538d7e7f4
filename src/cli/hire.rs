//! `tenure hire`: an employee from a job description or from graphs.

use super::{
    exit::Failure,
    output::{Output, moment, text_at},
    progress::slow,
    remote::RemoteArgs,
    schedules::recurrence,
    shell,
};
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::{io::Read, path::Path, path::PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure hire examples/accounts-receivable-clerk.md --name clerk
  tenure hire examples/accounts-receivable-clerk.md --dry-run
  echo 'Every morning at eight post \"Good morning\" in #general.' | tenure hire - --name greeter

A text is a job description. A .yaml, .yml or .json file has the fields of POST /v1/employees, `graph` among them.
What was not understood is printed sentence by sentence; nothing of it will be done.")]
pub struct HireArgs {
    /// Job description (text, Markdown) or graphs (YAML, JSON); - reads a job description from stdin
    file: PathBuf,
    /// What the employee is called; goes before a name in the file
    #[arg(long)]
    name: Option<String>,
    /// IANA time zone for times that the text gives without one
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Show what would be hired, hire nobody
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// The file cannot be read; the service refuses it and says why.
pub async fn run(args: HireArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let mut request = read(&args.file)?;
    let mut put = |field: &str, value: &Option<String>| {
        if let Some(value) = value {
            request.insert(field.into(), json!(value));
        }
    };
    put("name", &args.name);
    put("time_zone", &args.time_zone);
    let query: &[(&str, &str)] = match args.dry_run {
        true => &[("dry_run", "true")],
        false => &[],
    };
    let body = Value::Object(request);
    let hired = slow("hiring", client.post("/v1/employees", query, &body)).await?;
    out.thing(&hired, "id", report(&hired, args.dry_run, out))?;
    Ok(())
}

/// The body of the request that a file stands for.
fn read(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin().lock()).context("stdin")?,
        _ => {
            let mut text = String::new();
            std::fs::File::open(path)
                .and_then(|mut file| file.read_to_string(&mut text))
                .with_context(|| format!("cannot read {}", path.display()))?;
            text
        }
    };
    body_of(path, text)
}

fn body_of(path: &Path, text: String) -> anyhow::Result<Map<String, Value>> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let parsed: Result<Value, String> = match extension {
        Some("json") => serde_json::from_str(&text).map_err(|error| error.to_string()),
        Some("yaml" | "yml") => crate::domain::yaml::from_str(&text),
        _ => Ok(json!({"job_description": text})),
    };
    match parsed {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Failure::failed(format!(
            "{}: expected an object with `graph` or `job_description`",
            path.display()
        ))),
        Err(error) => Err(Failure::failed(format!("{}: {error}", path.display()))),
    }
}

fn report(hired: &Value, dry_run: bool, out: Output) -> String {
    let name = match text_at(hired, "name") {
        name if name.is_empty() => "the employee".to_owned(),
        name => name,
    };
    let mut lines = vec![match dry_run {
        true => out.bold(&format!("{name} would be hired")),
        false => {
            let id = text_at(hired, "id");
            out.bold(&format!(
                "{name} is hired: {id}, version {}",
                hired["version"]
            ))
        }
    }];
    section(&mut lines, "Skills", list(hired, "/graph/nodes"), |skill| {
        text_at(skill, "id")
    });
    section(&mut lines, "Works", list(hired, "/schedules"), |schedule| {
        format!(
            "{} {}  {}",
            recurrence(schedule),
            text_at(schedule, "time_zone"),
            out.dim(&text_at(schedule, "from"))
        )
    });
    for (name, times) in hired["next"].as_object().into_iter().flatten() {
        let times = times.as_array().map_or(&[][..], Vec::as_slice);
        section(&mut lines, &format!("Next of {name}"), times, |at| {
            at.as_str().map(moment).unwrap_or_default()
        });
    }
    section(
        &mut lines,
        "Not understood",
        list(hired, "/not_understood"),
        |clause| {
            format!(
                "\"{}\": {}",
                text_at(clause, "sentence"),
                text_at(clause, "reason")
            )
        },
    );
    section(
        &mut lines,
        "Missing connections",
        list(hired, "/missing_connections"),
        |missing| text_at(missing, "integration"),
    );
    if !dry_run {
        lines.push(String::new());
        lines.push(format!(
            "Tell it to work: {}",
            shell::command(&format!("tell {} \"…\"", shell::quote(&name)))
        ));
    }
    lines.join("\n")
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn section(lines: &mut Vec<String>, title: &str, items: &[Value], text: impl Fn(&Value) -> String) {
    if !items.is_empty() {
        lines.push(format!("{title}:"));
        lines.extend(
            items
                .iter()
                .map(|item| format!("  {}", text(item).trim_end())),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_the_body_of_a_request() {
        for (name, text, field) in [
            ("clerk.md", "Answer mail.", "job_description"),
            ("clerk", "graph: {}", "job_description"),
            ("clerk.yaml", "name: x\ngraph: {}", "graph"),
            ("clerk.json", r#"{"graph":{}}"#, "graph"),
        ] {
            let body = body_of(Path::new(name), text.into()).unwrap();
            assert!(body.contains_key(field), "{name}");
        }
        for (name, text) in [("a.yaml", "- 1"), ("a.json", "{"), ("a.yml", "a: [")] {
            assert!(body_of(Path::new(name), text.into()).is_err(), "{name}");
        }
    }
}
