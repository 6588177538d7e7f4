//! `tenure key`: API keys, and the keys that seal secrets, straight in the database. The text of an API key is printed once, when it is made.

use super::{
    bootstrap::{self, NewKey},
    database::DatabaseArgs,
    exit::Failure,
    output::{Format, Output, field, time},
    progress::slow,
    secrets::sealer,
};
use crate::{
    actors::{Clock, hub::keys},
    config::parse_duration,
    connect::Vault,
    domain::{KeyId, OrgId, Role},
    persistence::{Db, DbError, KeyRow, PageRequest, key_list, key_revoke},
};
use anyhow::Context;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure key create --org acme --role manager --name \"Maya's laptop\" --database-url postgres://localhost/tenure
  tenure key list --org acme --database-url postgres://localhost/tenure
  tenure key revoke key_… --org acme --database-url postgres://localhost/tenure
  tenure key rotate-org acme --config tenure.toml
  tenure key rotate-master --config tenure.toml

An API key is shown once; the database holds its hash only. With -q, `create` prints the key alone.
To change the master key: put a new one before the old one in master_key_file, call rotate-master, and remove the old one. Running
services read the file again by themselves; one that has its keys in TENURE_MASTER_KEY must be restarted with both first.")]
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
        /// The one person whose key it is, for example ann@acme.test; it acts for nobody else
        #[arg(long)]
        user: Option<String>,
        /// How long it is good (30d, 12h); otherwise until it is revoked
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        expires_in: Option<Duration>,
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
    /// Give an org a new data key and seal all its secrets anew; may run beside the service
    RotateOrg {
        /// Name or id of the org
        org: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Bring everything under the first of the master keys; after that the others are not needed
    RotateMaster {
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
            user,
            expires_in,
            database,
        } => {
            let (db, org) = open(&database, &org).await?;
            let clock = Clock::system();
            let (user, expires) = (
                user.as_deref(),
                expires_in.map(|time| clock.now().after(time)),
            );
            let key = bootstrap::key_create(&db, &clock, org, &name, role, user, expires);
            created(&key.await?, org, role, &name, out)
        }
        KeyVerb::List { org, database } => {
            let (db, org) = open(&database, &org).await?;
            list(&db, org, out).await
        }
        KeyVerb::RotateOrg { org, database } => {
            let vault = vault(&database)?;
            let (db, org) = open(&database, &org).await?;
            rotate_org(&db, &vault(&db), org, out).await
        }
        KeyVerb::RotateMaster { database } => {
            let vault = vault(&database)?;
            let db = database.connect().await?;
            rotate_master(&db, &vault(&db), out).await
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

fn created(key: &NewKey, org: OrgId, role: Role, name: &str, out: Output) -> anyhow::Result<()> {
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
        field("USER", "user"),
        field("ENDS WITH", "last_four"),
        time("LAST USED", "last_used_at"),
        time("EXPIRES", "expires_at"),
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

/// The vault with the master keys of the configuration, once there is a database.
fn vault(database: &DatabaseArgs) -> anyhow::Result<impl Fn(&Db) -> Arc<Vault>> {
    let sealer = Arc::new(sealer(&database.load()?.secrets)?);
    Ok(move |db: &Db| keys::vault(db, &Clock::system(), &sealer))
}

async fn rotate_org(db: &Db, vault: &Vault, org: OrgId, out: Output) -> anyhow::Result<()> {
    let work = keys::rotate_org(db, vault, org, Clock::system().now());
    let done = slow("sealing anew", work)
        .await
        .context("the rotation stopped; what is left is done by the service")?;
    let people = format!(
        "data key {} seals now; {} secrets were sealed anew",
        done.version, done.resealed
    );
    out.thing(&serde_json::to_value(done)?, "version", people)?;
    Ok(())
}

async fn rotate_master(db: &Db, vault: &Vault, out: Output) -> anyhow::Result<()> {
    let done = slow("wrapping anew", keys::rotate_master(db, vault))
        .await
        .context("the rotation stopped; it can be called again")?;
    let people = format!(
        "everything is under master key {}: {} data keys were wrapped anew, {} secrets sealed anew
Other master keys are not needed any more.",
        done.master_id, done.rewrapped, done.resealed
    );
    out.thing(&serde_json::to_value(&done)?, "master_id", people)?;
    Ok(())
}

fn shown(key: &KeyRow) -> Value {
    json!({
        "id": key.id, "role": key.role, "name": key.name, "user": key.user, "last_four": key.tail, "last_used_at": key.last_used,
        "expires_at": key.expires, "created_at": key.created, "revoked_at": key.revoked,
    })
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "expected viewer, operator, manager or admin".into())
}
