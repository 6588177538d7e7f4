//! `tenure migrate`: brings a database to what this binary needs.

use super::{
    database::{DatabaseArgs, database_url},
    output::Output,
    progress::slow,
};
use crate::persistence;
use anyhow::Context;
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure migrate --database-url postgres://owner@localhost/tenure

On PostgreSQL it also makes the unprivileged roles that the service works as, so the role of the address must own the
database and may need CREATEROLE. It may be called as often as you like; `tenure dev` does it by itself.")]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

/// # Errors
/// A migration fails, or the database is newer than this binary.
pub async fn run(args: MigrateArgs, out: Output) -> anyhow::Result<()> {
    let url = database_url(&args.database.load()?)?;
    slow("migrating", persistence::migrate(&url))
        .await
        .context("the database could not be migrated")?;
    if out.is_for_people() {
        out.line("the database is up to date")?;
    } else {
        out.json(&json!({"migrated": true}))?;
    }
    Ok(())
}
