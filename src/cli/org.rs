//! `tenure org`: tenants, straight in the database.

use super::{
    bootstrap,
    database::DatabaseArgs,
    exit::Failure,
    output::{Output, field, time},
    progress::slow,
};
use crate::{
    actors::Clock,
    domain::OrgId,
    persistence::{Db, OrgRow, PageRequest, org_delete_rows, org_list, org_shred},
};
use anyhow::Context;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure org create acme --database-url postgres://localhost/tenure
  tenure org list --database-url sqlite:.tenure/tenure.db
  tenure org delete acme --yes --database-url postgres://localhost/tenure

An org may be deleted beside a running service: what its employees are at fails with their next write.")]
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
    /// Delete an org with everything that is its; its secrets cannot be read any more, in no copy of the database
    Delete {
        /// Name or id of the org
        org: String,
        /// Say that it is meant
        #[arg(long, required = true)]
        yes: bool,
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
        OrgVerb::Delete { org, database, .. } => {
            let db = database.connect().await?;
            delete(&db, &org, out).await?;
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

/// Its keys first: from then on nothing of it can be read, whatever happens to the rest.
async fn delete(db: &Db, name: &str, out: Output) -> anyhow::Result<()> {
    let id = match (bootstrap::org_named(db, name).await?, name.parse::<OrgId>()) {
        (Some(org), _) => org.id,
        // What a node wrote while the org was deleted is found by the id.
        (None, Ok(id)) => id,
        (None, Err(_)) => return Err(Failure::not_found(format!("there is no org `{name}`"))),
    };
    org_shred(db, id, Clock::system().now())
        .await
        .with_context(|| format!("org `{name}` was not deleted"))?;
    let rows = slow("deleting", org_delete_rows(db, id))
        .await
        .with_context(|| {
            format!("the secrets of `{name}` are destroyed, but not all its rows are deleted; call this again with {id}")
        })?;
    let text = format!("org {name} is deleted with {rows} rows; its secrets are destroyed");
    out.thing(
        &json!({"id": id, "deleted": true, "rows": rows}),
        "id",
        text,
    )?;
    Ok(())
}

fn shown(org: &OrgRow) -> Value {
    json!({"id": org.id, "name": org.name, "created_at": org.created})
}
