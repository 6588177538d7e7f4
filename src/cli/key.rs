//! `tenure key`: API keys, straight in the database. The text of a key is printed once, when it is made.

use super::{
    bootstrap,
    database::DatabaseArgs,
    exit::Failure,
    output::{Format, Output, field, time},
};
use crate::{
    actors::Clock,
    domain::{KeyId, OrgId, Role},
    persistence::{Db, DbError, KeyRow, PageRequest, key_list, key_revoke},
};
use anyhow::Context;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure key create --org acme --role manager --name \"Maya's laptop\" --database-url postgres://localhost/tenure
  tenure key list --org acme --database-url postgres://localhost/tenure
  tenure key revoke key_… --org acme --database-url postgres://localhost/tenure

The key is shown once; the database holds its hash only.
With -q, `create` prints the key alone.")]
pub struct KeyArgs {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Debug, clap::Subcommand)]
enum KeyVerb {
    /// Make a key and print it, this once
    Create {
        /// Name or id of the org
        #[arg(long)]
        org: String,
        /// What its holder may do: viewer, operator, manager, admin
        #[arg(long, value_parser = role)]
        role: Role,
        /// Who or what it is for
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// List the keys of an org, without the keys themselves
    List {
        /// Name or id of the org
        #[arg(long)]
        org: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Revoke a key, from now on and for good
    Revoke {
        /// The key's id, key_…
        key: KeyId,
        /// Name or id of the org
        #[arg(long)]
        org: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

/// # Errors
/// There is no such org or key; the database fails.
pub async fn run(args: KeyArgs, out: Output) -> anyhow::Result<()> {
    match args.verb {
        KeyVerb::Create {
            org,
            role,
            name,
            database,
        } => {
            let (db, org) = open(&database, &org).await?;
            create(&db, org, role, &name, out).await
        }
        KeyVerb::List { org, database } => {
            let (db, org) = open(&database, &org).await?;
            list(&db, org, out).await
        }
        KeyVerb::Revoke { key, org, database } => {
            let (db, org) = open(&database, &org).await?;
            revoke(&db, org, key, out).await
        }
    }
}

async fn open(database: &DatabaseArgs, org: &str) -> anyhow::Result<(Db, OrgId)> {
    let db = database.connect().await?;
    match bootstrap::org_named(&db, org).await? {
        Some(found) => Ok((db, found.id)),
        None => Err(Failure::not_found(format!("there is no org `{org}`"))),
    }
}

async fn create(db: &Db, org: OrgId, role: Role, name: &str, out: Output) -> anyhow::Result<()> {
    let key = bootstrap::key_create(db, &Clock::system(), org, name, role).await?;
    let text = key.text.expose_secret();
    match out.format {
        Format::People => out.line(format!(
            "{text}\n\nkey {} with the role {}; it is not shown again",
            key.id,
            role.name()
        ))?,
        Format::Json => {
            out.json(&json!({"id": key.id, "org": org, "role": role, "name": name, "key": text}))?
        }
        Format::Ids => out.line(text)?,
    }
    Ok(())
}

async fn list(db: &Db, org: OrgId, out: Output) -> anyhow::Result<()> {
    let mut tx = db.begin_read(org).await?;
    let (mut items, mut request) = (Vec::new(), PageRequest::default());
    loop {
        let page = key_list(&mut tx, &request).await?;
        items.extend(page.items.iter().map(shown));
        match page.next {
            Some(next) => request = PageRequest::new(None, Some(&next))?,
            None => break,
        }
    }
    let columns = [
        field("ID", "id"),
        field("ROLE", "role"),
        field("NAME", "name"),
        time("CREATED", "created_at"),
        time("REVOKED", "revoked_at"),
    ];
    out.list(&json!({"items": items, "next": null}), "id", &columns)?;
    Ok(())
}

async fn revoke(db: &Db, org: OrgId, key: KeyId, out: Output) -> anyhow::Result<()> {
    let mut tx = db.begin(org).await?;
    match key_revoke(&mut tx, key, Clock::system().now()).await {
        Ok(()) => tx.commit().await?,
        Err(DbError::NotFound(_)) => {
            return Err(Failure::not_found(format!(
                "the org has no key {key} that is in force"
            )));
        }
        Err(error) => return Err(error).context("the key was not revoked"),
    }
    out.thing(
        &json!({"id": key, "revoked": true}),
        "id",
        format!("key {key} is revoked"),
    )?;
    Ok(())
}

fn shown(key: &KeyRow) -> Value {
    json!({"id": key.id, "role": key.role, "name": key.name, "created_at": key.created, "revoked_at": key.revoked})
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "expected viewer, operator, manager or admin".into())
}
