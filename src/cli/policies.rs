//! `tenure policies`: the org's rules about what its employees and clients may call.

use super::{
    client::{Client, segment},
    exit::Failure,
    output::{Column, Format, Output, field, shorten, text_at, yaml},
    remote::RemoteArgs,
};
use crate::domain::PolicyId;
use anyhow::Context;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "\
Example:
  tenure policies
  tenure policies add no-refunds.yaml
  tenure policies check gmail.send --input '{\"to\":\"ann@acme.test\"}' --employee clerk
  tenure policies rm no-refunds

A rule as a file:
  name: big invoices
  effect: require_approval        # or deny, or allow
  capabilities: [quickbooks.*]    # or an id, or *
  when: has(input.amount) && input.amount > 500

deny wins over require_approval, and that over allow. Where no rule fits, what is of risk high needs an approval and all else is allowed.",
    args_conflicts_with_subcommands = true
)]
pub struct PoliciesArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a rule from a file; one of the same name is replaced
    Add {
        /// YAML or JSON; - reads stdin
        file: PathBuf,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Remove a rule
    Rm {
        /// Its name or its id, pol_…
        policy: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Say what would become of a call, and which rule decides; nothing is called
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// For example gmail.send
    capability: String,
    /// The arguments, JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// The employee that would call, by name or id; else it is you
    #[arg(long)]
    employee: Option<String>,
    /// The connection, by name or id; else the one that would be used
    #[arg(long)]
    connection: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// A file cannot be read, there is no such rule, or the service says no.
pub async fn run(args: PoliciesArgs, out: Output) -> anyhow::Result<()> {
    match &args.verb {
        None => list(&args.remote.client()?, out).await,
        Some(Verb::Add { file, remote }) => add(&remote.client()?, file, out).await,
        Some(Verb::Rm { policy, remote }) => remove(&remote.client()?, policy, out).await,
        Some(Verb::Check(args)) => check(args, out).await,
    }
}

async fn list(client: &Client, out: Output) -> anyhow::Result<()> {
    const WIDTH: usize = 60;
    let page = client.get("/v1/policies", &[]).await?;
    if out.is_for_people() && page["items"].as_array().is_none_or(Vec::is_empty) {
        out.line("no rules: what is of risk high needs an approval, all else is allowed")?;
        return Ok(());
    }
    let about: Column<'_> = (
        "CAPABILITIES",
        Box::new(|rule| joined(rule, "capabilities")),
    );
    let when: Column<'_> = (
        "WHEN",
        Box::new(|rule| shorten(&text_at(rule, "when"), WIDTH)),
    );
    let columns = [
        field("ID", "id"),
        field("NAME", "name"),
        field("EFFECT", "effect"),
        about,
        when,
    ];
    out.list(&page, "id", &columns)?;
    Ok(())
}

fn joined(rule: &Value, field: &str) -> String {
    let words = rule[field].as_array().into_iter().flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    words.join(", ")
}

async fn add(client: &Client, file: &Path, out: Output) -> anyhow::Result<()> {
    let rule = read(file)?;
    let known = named(client, &text_at(&rule, "name")).await?;
    let made = match known {
        Some(id) => {
            let path = format!("/v1/policies/{}", segment(&id));
            client.put(&path, &rule).await?
        }
        None => client.post("/v1/policies", &[], &rule).await?,
    };
    let text = format!("rule {} holds: {}", text_at(&made, "name"), made["id"]);
    out.thing(&made, "id", text.replace('"', ""))?;
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = match file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin().lock()).context("stdin")?,
        _ => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?,
    };
    // JSON is YAML too.
    match crate::domain::yaml::from_str(&text) {
        Ok(rule @ Value::Object(_)) => Ok(rule),
        Ok(_) => Err(Failure::failed(format!(
            "{}: expected an object with `name`, `effect` and `capabilities`",
            file.display()
        ))),
        Err(error) => Err(Failure::failed(format!("{}: {error}", file.display()))),
    }
}

/// The id of the rule that has this name.
async fn named(client: &Client, name: &str) -> anyhow::Result<Option<String>> {
    let page = client.get("/v1/policies", &[]).await?;
    let rules = page["items"].as_array().into_iter().flatten();
    Ok(rules
        .filter(|rule| text_at(rule, "name") == name)
        .map(|rule| text_at(rule, "id"))
        .next())
}

async fn remove(client: &Client, policy: &str, out: Output) -> anyhow::Result<()> {
    let id = match policy.parse::<PolicyId>() {
        Ok(id) => id.to_string(),
        Err(_) => named(client, policy)
            .await?
            .ok_or_else(|| Failure::not_found(format!("no rule is called {policy}")))?,
    };
    client
        .delete(&format!("/v1/policies/{}", segment(&id)))
        .await?;
    let text = format!("rule {policy} is removed");
    out.thing(&json!({"id": id, "deleted": true}), "id", text)?;
    Ok(())
}

async fn check(args: &CheckArgs, out: Output) -> anyhow::Result<()> {
    let input: Value = serde_json::from_str(&args.input)
        .map_err(|error| Failure::usage(format!("--input is no JSON: {error}")))?;
    let mut body = json!({"capability": args.capability, "input": input});
    for (name, value) in [
        ("employee", &args.employee),
        ("connection", &args.connection),
    ] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    let client = args.remote.client()?;
    let verdict = client.post("/v1/policies/check", &[], &body).await?;
    match out.format {
        Format::People => out.line(format!(
            "{}\n{}",
            out.bold(&text_at(&verdict, "effect")),
            yaml(&verdict).trim_end()
        ))?,
        _ => out.thing(&verdict, "effect", "")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_from_yaml_and_from_json() {
        let dir = tempfile::tempdir().expect("a directory");
        let read_of = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            read(&path)
        };
        let yaml = read_of(
            "a.yaml",
            "name: x\neffect: deny\ncapabilities: ['slack.*']\n",
        );
        let json = read_of(
            "a.json",
            r#"{"name": "x", "effect": "deny", "capabilities": ["slack.*"]}"#,
        );
        assert_eq!(yaml.expect("read"), json.expect("read"));
        assert!(read_of("b.yaml", "- 1").is_err());
        assert!(read(&dir.path().join("none.yaml")).is_err());
    }
}
