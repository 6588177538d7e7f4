//! `tenure top`: the live actors, as a tree that is refreshed.

use super::{
    names,
    node::told_to_stop,
    output::{Column, Format, Output, shorten, text_at},
    remote::RemoteArgs,
};
use crate::config::parse_duration;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Rows of a refreshed page; a terminal's height cannot be asked for without a system call of our own.
const ROWS: usize = 40;
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure top
  tenure top --once
  tenure top --once --json | jq '.items[] | select(.status == \"waiting\")'

An employee that has nothing to do sleeps and is no actor: `tenure employees` lists all. Ctrl-C leaves.")]
pub struct TopArgs {
    /// Print once and leave; so it is wherever stdout is no terminal
    #[arg(long)]
    once: bool,
    /// How often the page is refreshed
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    every: Duration,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// The service does not answer.
pub async fn run(args: TopArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let once = args.once || !out.is_for_people() || !io::stdout().is_terminal();
    if once {
        let actors = client.all("/v1/actors", &[]).await?;
        if out.format == Format::People {
            let names = names::employee_names(&client).await?;
            out.line(page(&actors, &names, out, usize::MAX))?;
        } else {
            out.list(&json!({"items": actors, "next": null}), "id", &[])?;
        }
        return Ok(());
    }
    let refreshed = async {
        loop {
            let actors = client.all("/v1/actors", &[]).await?;
            let names = names::employee_names(&client).await?;
            let text = page(&actors, &names, out, ROWS);
            print(&format!("{HIDE_CURSOR}{CLEAR}{text}\n"))?;
            tokio::time::sleep(args.every).await;
        }
    };
    let ended: anyhow::Result<()> = tokio::select! {
        ended = refreshed => ended,
        () = told_to_stop() => Ok(()),
    };
    print(SHOW_CURSOR)?;
    ended
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A summary and the tree, of which at most `rows`.
fn page(actors: &[Value], names: &HashMap<String, String>, out: Output, rows: usize) -> String {
    let of_kind = |kind: &str| actors.iter().filter(|actor| actor["kind"] == kind).count();
    let with_status = |status: &str| {
        let matching = actors.iter().filter(|actor| actor["status"] == status);
        matching.count()
    };
    let summary = format!(
        "{} actors, {} employees awake, {} busy, {} waiting",
        actors.len(),
        of_kind("employee"),
        with_status("busy"),
        with_status("waiting")
    );
    let shown = &actors[..actors.len().min(rows)];
    let mut text = format!("{summary}\n\n{}", out.table(shown, &columns(names)));
    if shown.len() < actors.len() {
        let more = actors.len() - shown.len();
        text.push_str(&format!("\n… {more} more: --once prints all"));
    }
    text
}

fn columns<'a>(names: &'a HashMap<String, String>) -> Vec<Column<'a>> {
    let number = |name: &'static str| move |actor: &Value| text_at(actor, name);
    vec![
        (
            "ACTOR",
            Box::new(move |actor| branch(&text_at(actor, "id"), names)),
        ),
        ("STATUS", Box::new(number("status"))),
        ("MAIL", Box::new(number("mailbox.depth"))),
        ("HANDLED", Box::new(number("handled"))),
        ("FAILED", Box::new(number("failed"))),
        ("RESTARTS", Box::new(number("restarts"))),
        ("P99", Box::new(|actor| time_of(&actor["handler_p99_us"]))),
        ("DOING", Box::new(doing)),
    ]
}

/// The last part of a path, moved right by its depth; employees by their name.
fn branch(path: &str, names: &HashMap<String, String>) -> String {
    let depth = path.matches('/').count();
    let last = path.rsplit('/').next().unwrap_or(path);
    let named = match last.split_once(':') {
        Some(("employee", id)) => names.get(id).map(|name| format!("employee:{name}")),
        _ => None,
    };
    format!(
        "{:indent$}{}",
        "",
        named.as_deref().unwrap_or(last),
        indent = 2 * depth
    )
}

fn doing(actor: &Value) -> String {
    const WIDTH: usize = 60;
    let waiting = text_at(actor, "waiting_on.on");
    let error = text_at(actor, "last_error.message");
    let text = match (text_at(actor, "doing"), waiting.as_str(), error.as_str()) {
        (doing, "", _) if !doing.is_empty() => doing,
        (_, "", "") => String::new(),
        (_, "", error) => format!("last error: {error}"),
        (_, waiting, _) => format!("waits on {waiting}"),
    };
    shorten(&text, WIDTH)
}

/// Microseconds in the unit that keeps the number short.
fn time_of(micros: &Value) -> String {
    match micros.as_u64() {
        None => "-".into(),
        Some(micros @ 0..1_000) => format!("{micros} µs"),
        Some(micros @ 1_000..1_000_000) => format!("{} ms", micros / 1_000),
        Some(micros) => format!("{} s", micros / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_who_and_what() {
        let names = HashMap::from([("emp_1".to_owned(), "clerk".to_owned())]);
        assert_eq!(branch("employee:emp_1", &names), "employee:clerk");
        assert_eq!(branch("employee:emp_1/skill:a", &names), "  skill:a");
        assert_eq!(time_of(&json!(1_500)), "1 ms");
        assert_eq!(time_of(&Value::Null), "-");
        let waiting = json!({"doing": null, "waiting_on": {"on": "approval"}});
        assert_eq!(doing(&waiting), "waits on approval");
    }
}
