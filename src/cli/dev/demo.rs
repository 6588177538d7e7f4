//! What a fresh `tenure dev` is furnished with: an org, a key, accounts at the sandbox, and an employee.

use crate::{
    actors::{Clock, hub::credentials::seal_credential},
    api::keys,
    cli::{bootstrap, client::Client},
    connect::{Vault, oauth::Credential},
    domain::{ConnectionId, OrgId, Role},
    persistence::{
        ConnectionRow, Db, MemoryChange, MemoryOwner, connection_find, connection_put,
        connection_status, key_find_by_hash, memory_put,
    },
    sandbox::SandboxAccount,
};
use anyhow::Context;
use secrecy::SecretString;
use serde_json::{Value, json};

pub const ORG: &str = "demo";
pub const EMPLOYEE: &str = "clerk";
const JOB_DESCRIPTION: &str = include_str!("../../../examples/accounts-receivable-clerk.md");
/// Name of the connections, and the source of what is put into memory.
const SOURCE: &str = "sandbox";
/// The manager of the sandbox company, and where its Slack reaches her.
const MANAGER: &str = r##"{"name":"Maya Keller","slack":"#managers"}"##;

/// The org of the demo. A new one is told who the manager is, so that the clerk can write to her.
pub async fn org(db: &Db, clock: &Clock) -> anyhow::Result<OrgId> {
    let (org, is_new) = bootstrap::org_ensure(db, clock, ORG).await?;
    if is_new {
        let mut tx = db.begin(org.id).await?;
        let manager = MemoryChange {
            place: MemoryOwner::org(),
            key: "manager".into(),
            value: Some(MANAGER.into()),
            run: None,
            step: None,
            source: SOURCE.into(),
            at: clock.now(),
        };
        memory_put(&mut tx, &manager).await?;
        tx.commit().await?;
    }
    Ok(org.id)
}

/// The key that was kept, if it still opens this org; else a new one.
pub async fn key(
    db: &Db,
    clock: &Clock,
    org: OrgId,
    kept: Option<String>,
) -> anyhow::Result<SecretString> {
    if let Some(kept) = kept {
        let mut tx = db.begin_system_read("the key of dev is checked").await?;
        let known = key_find_by_hash(&mut tx, &keys::hash(&kept)).await?;
        if known.is_some_and(|key| key.org_id == org && key.role == Role::Admin) {
            return Ok(kept.into());
        }
    }
    let key = bootstrap::key_create(db, clock, org, "dev", Role::Admin, None, None).await?;
    Ok(key.text)
}

/// Connects the org to the sandbox where it is now. Done at every start: the address may be another, or the master key.
pub async fn connections(
    db: &Db,
    clock: &Clock,
    vault: &Vault,
    org: OrgId,
    accounts: Vec<SandboxAccount>,
) -> anyhow::Result<()> {
    for SandboxAccount {
        integration,
        account,
        token,
    } in accounts
    {
        let now = clock.now();
        let mut tx = db.begin_read(org).await?;
        let known = connection_find(&mut tx, integration, SOURCE, None).await?;
        drop(tx);
        let before = known.unwrap_or_else(|| {
            let id = ConnectionId::from_uuid(clock.uuid());
            ConnectionRow::pending(org, id, integration, SOURCE, now)
        });
        let version = before.credential_version + 1;
        let credential = Credential::token(token, now);
        let connection = ConnectionRow {
            sealed_credential: seal_credential(vault, org, before.id, version, &credential).await?,
            credential_version: version,
            base_url: Some(account.base_url.clone()),
            account: serde_json::to_string(&account)?,
            status: connection_status::ACTIVE.into(),
            created: before.created,
            ..ConnectionRow::pending(org, before.id, integration, SOURCE, now)
        };
        let mut tx = db.begin(org).await?;
        connection_put(&mut tx, &connection).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Hires the clerk through the API like anybody else would, unless it is there. Gives the employee.
pub async fn employee(client: &Client) -> anyhow::Result<Value> {
    let employees = client.all("/v1/employees", &[]).await?;
    if let Some(clerk) = employees
        .into_iter()
        .find(|employee| employee["name"] == EMPLOYEE)
    {
        return Ok(clerk);
    }
    let hire = json!({"name": EMPLOYEE, "job_description": JOB_DESCRIPTION});
    client
        .post("/v1/employees", &[], &hire)
        .await
        .context("the demo employee was not hired")
}
