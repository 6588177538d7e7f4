//! `tenure catalog`: what employees can use, and whether an integration file is right.

use super::{
    exit::Failure,
    output::{Column, Output, field},
    remote::RemoteArgs,
};
use crate::connect::{
    CatalogError, Integration,
    catalog::{answer_gaps, example_mistakes, read_integration},
};
use anyhow::Context;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Example:
  tenure catalog
  tenure catalog --integration slack
  tenure catalog --search 'invoice create' --write true
  tenure catalog lint acme.yaml"
)]
pub struct CatalogArgs {
    #[command(subcommand)]
    verb: Option<CatalogVerb>,
    /// Only this integration, with its capabilities
    #[arg(long, value_name = "ID")]
    integration: Option<String>,
    /// Only capabilities in whose id, title or description these words stand
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// Only capabilities of this risk
    #[arg(long, value_parser = ["low", "medium", "high"])]
    risk: Option<String>,
    /// Only integrations that can be authorised this way, for example oauth2_code
    #[arg(long, value_name = "TYPE")]
    auth: Option<String>,
    /// Only capabilities that change something outside (true), or only the others (false)
    #[arg(long, value_name = "BOOL")]
    write: Option<bool>,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Subcommand)]
enum CatalogVerb {
    /// Check integration files without a service; tells every mistake
    Lint {
        /// YAML or JSON
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// # Errors
/// The service does not answer; a file that was to be checked is wrong or cannot be read.
pub async fn run(args: CatalogArgs, out: Output) -> anyhow::Result<()> {
    match &args.verb {
        Some(CatalogVerb::Lint { files }) => lint(files, out),
        None => list(&args, out).await,
    }
}

async fn list(args: &CatalogArgs, out: Output) -> anyhow::Result<()> {
    let write = args.write.map(|write| write.to_string());
    let given = [
        ("integration", args.integration.as_deref()),
        ("q", args.search.as_deref()),
        ("risk", args.risk.as_deref()),
        ("auth", args.auth.as_deref()),
        ("write", write.as_deref()),
    ];
    let mut query: Vec<(&str, &str)> = given
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let by_capability = query.iter().any(|(name, _)| *name != "auth");
    query.push(("schemas", "false"));
    let page = args.remote.client()?.get("/v1/catalog", &query).await?;
    if out.format == super::output::Format::Json {
        return Ok(out.json(&page)?);
    }
    let integrations = page["items"].as_array().cloned().unwrap_or_default();
    if integrations.is_empty() {
        return Err(Failure::not_found("nothing in the catalog fits"));
    }
    if by_capability {
        let capabilities: Vec<Value> = integrations
            .iter()
            .flat_map(|one| one["capabilities"].as_array().into_iter().flatten())
            .cloned()
            .collect();
        let columns = [
            field("CAPABILITY", "id"),
            field("RISK", "risk"),
            field("PERMISSION", "permission"),
            field("TITLE", "title"),
        ];
        out.list(&json!({"items": capabilities}), "id", &columns)?;
    } else {
        out.list(&json!({"items": integrations}), "id", &overview())?;
    }
    Ok(())
}

fn overview() -> [Column<'static>; 4] {
    let count = |item: &Value| {
        let number = item["capabilities"].as_array().map_or(0, Vec::len);
        number.to_string()
    };
    let ways = |item: &Value| {
        let ways = item["auth"].as_array().into_iter().flatten();
        let kinds: Vec<&str> = ways.filter_map(|way| way["type"].as_str()).collect();
        kinds.join(", ")
    };
    [
        field("INTEGRATION", "id"),
        field("NAME", "name"),
        ("CAPABILITIES", Box::new(count)),
        ("AUTHORISED BY", Box::new(ways)),
    ]
}

fn lint(files: &[PathBuf], out: Output) -> anyhow::Result<()> {
    let mut wrong = 0;
    for path in files {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let name = path.display().to_string();
        let read = read_integration(&name, &text).and_then(|integration| {
            let mut mistakes = example_mistakes(&name, &integration);
            mistakes.extend(answer_gaps(&name, &integration));
            if mistakes.is_empty() {
                Ok(integration)
            } else {
                Err(mistakes)
            }
        });
        match read {
            Ok(integration) => told_right(&name, &integration, out)?,
            Err(mistakes) => {
                wrong += mistakes.len();
                told_wrong(&mistakes, out)?;
            }
        }
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::failed("1 mistake")),
        many => Err(Failure::failed(format!("{many} mistakes"))),
    }
}

fn told_right(name: &str, integration: &Integration, out: Output) -> anyhow::Result<()> {
    let value = json!({
        "file": name,
        "id": integration.id,
        "capabilities": integration.capabilities.len(),
        "mistakes": [],
    });
    let text = format!(
        "{name}: {} is right, {} capabilities",
        integration.id,
        integration.capabilities.len()
    );
    Ok(out.thing(&value, "id", text)?)
}

fn told_wrong(mistakes: &[CatalogError], out: Output) -> anyhow::Result<()> {
    for mistake in mistakes {
        let value = serde_json::to_value(mistake)?;
        let text = format!("{}: {}: {}", mistake.file, mistake.place, mistake.message);
        out.thing(&value, "place", text)?;
    }
    Ok(())
}
