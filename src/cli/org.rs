//! `tenure org`: tenants, straight in the database.

use super::{
    bootstrap,
    database::DatabaseArgs,
    output::{Output, field, time},
};
use crate::{
    actors::Clock,
    persistence::{OrgRow, PageRequest, org_list},
};
use anyhow::Context;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure org create acme --database-url postgres://localhost/tenure
  tenure org list --database-url sqlite:.tenure/tenure.db")]
pub struct OrgArgs {
    #[command(subcommand)]
    verb: OrgVerb,
}

#[derive(Debug, clap::Subcommand)]
enum OrgVerb {
    /// Make an org; its name becomes its subdomain
    Create {
        name: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// List the orgs
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

/// # Errors
/// The name is taken or is no subdomain; the database fails.
pub async fn run(args: OrgArgs, out: Output) -> anyhow::Result<()> {
    match args.verb {
        OrgVerb::Create { name, database } => {
            let db = database.connect().await?;
            let org = bootstrap::org_create(&db, &Clock::system(), &name)
                .await
                .with_context(|| format!("org `{name}` was not made"))?;
            let text = format!("org {name} made: {}", org.id);
            out.thing(&shown(&org), "id", text)?;
        }
        OrgVerb::List { database } => {
            let db = database.connect().await?;
            let mut tx = db.begin_system_read("orgs are listed").await?;
            let (mut items, mut request) = (Vec::new(), PageRequest::default());
            loop {
                let page = org_list(&mut tx, &request).await?;
                items.extend(page.items.iter().map(shown));
                match page.next {
                    Some(next) => request = PageRequest::new(None, Some(&next))?,
                    None => break,
                }
            }
            let columns = [
                field("NAME", "name"),
                field("ID", "id"),
                time("CREATED", "created_at"),
            ];
            out.list(&json!({"items": items, "next": null}), "id", &columns)?;
        }
    }
    Ok(())
}

fn shown(org: &OrgRow) -> Value {
    json!({"id": org.id, "name": org.name, "created_at": org.created})
}
