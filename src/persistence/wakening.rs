//! Small reads that the actors need beside the bundles of activation.

use super::{
    connections::{ConnectionRow, connection_columns},
    db::Db,
    error::Result,
    memory::MemoryRow,
    rows::{Column, Rows},
    tx::{SystemTx, Tx, on_tx},
    writer::{Append, MAY_MEAN_AN_EMPLOYEE},
};
use crate::domain::{EmployeeId, MemoryLayer, OrgId};
use std::collections::{HashMap, HashSet};

macro_rules! memory_columns {
    () => {
        "m.org_id, m.layer, m.owner, m.key, m.version, m.value, m.run_id, m.step, m.source, m.at_us"
    };
}

/// What these employees remember and what their orgs know, by employee; forgotten keys are left out.
pub async fn memory_views(
    tx: &mut SystemTx,
    wanted: &[(OrgId, EmployeeId)],
) -> Result<HashMap<EmployeeId, Vec<MemoryRow>>> {
    let names: Vec<String> = wanted.iter().map(|(_, id)| id.to_string()).collect();
    // `0` is the character after `/`: an employee's skills are what begins with its id and a slash.
    let rows: Vec<MemoryRow> = Rows::new(vec![
        (
            "org_id",
            Column::Uuid(wanted.iter().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "owner",
            Column::Text(names.iter().map(String::as_str).collect()),
        ),
    ])
    .fetch(
        &mut tx.inner,
        concat!(
            "SELECT ", memory_columns!(), " FROM t JOIN memory m ON m.org_id = t.org_id AND m.layer = 'employee' AND m.owner = t.owner
               WHERE m.value IS NOT NULL
             UNION ALL SELECT ", memory_columns!(), " FROM t JOIN memory m ON m.org_id = t.org_id AND m.layer = 'skill'
               AND m.owner >= t.owner || '/' AND m.owner < t.owner || '0' WHERE m.value IS NOT NULL
             UNION ALL SELECT ", memory_columns!(), " FROM (SELECT DISTINCT org_id FROM t) o
               JOIN memory m ON m.org_id = o.org_id AND m.layer = 'org' AND m.owner = '' WHERE m.value IS NOT NULL"
        ),
    )
    .await?;
    Ok(by_employee(wanted, &names, rows))
}

fn by_employee(
    wanted: &[(OrgId, EmployeeId)],
    names: &[String],
    rows: Vec<MemoryRow>,
) -> HashMap<EmployeeId, Vec<MemoryRow>> {
    let ids: HashMap<&str, EmployeeId> = names
        .iter()
        .map(String::as_str)
        .zip(wanted.iter().map(|(_, id)| *id))
        .collect();
    let mut views: HashMap<EmployeeId, Vec<MemoryRow>> = HashMap::new();
    // SQLite reads many employees in several statements, each of which brings what the org knows.
    let mut seen: HashSet<(OrgId, String)> = HashSet::new();
    for row in rows {
        match row.layer {
            MemoryLayer::Org => {
                if seen.insert((row.org_id, row.key.clone())) {
                    for (_, id) in wanted.iter().filter(|(org, _)| *org == row.org_id) {
                        views.entry(*id).or_default().push(row.clone());
                    }
                }
            }
            MemoryLayer::Employee | MemoryLayer::Skill => {
                let owner = row.owner.split('/').next().unwrap_or_default();
                if let Some(id) = ids.get(owner) {
                    views.entry(*id).or_default().push(row);
                }
            }
        }
    }
    views
}

/// Sources of results that somebody listens to, by org: patterns of subscriptions, and `employee:*` where a run waits for the end of one.
pub async fn internal_interests(tx: &mut SystemTx) -> Result<Vec<(OrgId, String)>> {
    let statement = format!(
        "SELECT DISTINCT s.org_id, s.source FROM subscription s WHERE substr(s.source, 1, 9) = 'employee:'
         UNION SELECT DISTINCT s.org_id, s.source FROM subscription s WHERE {MAY_MEAN_AN_EMPLOYEE}
         UNION SELECT w.org_id, 'employee:*' FROM event_wait w WHERE w.event IN ('run.completed', 'run.failed', 'run.cancelled')"
    );
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .fetch_all(conn)
            .await
    })?)
}

/// The org's connections to an integration, the oldest first.
pub async fn connections_of(tx: &mut Tx, integration: &str) -> Result<Vec<ConnectionRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
            "SELECT ",
            connection_columns!(),
            " FROM connection WHERE org_id = $1 AND integration = $2 ORDER BY created_us, id"
        ))
        .bind(org)
        .bind(integration)
        .fetch_all(conn)
        .await
    })?)
}

/// What the database has where an append was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum FoundOf {
    /// Exactly its facts: it was committed, and only the answer was lost.
    Itself,
    /// A run of its name, which it wanted to begin: its trigger was accepted before. Names of runs are never given twice otherwise.
    SameRun,
    /// Something that it knows nothing of.
    Others,
}

/// What the database has where this append was to be written.
pub async fn found_of(db: &Db, append: &Append) -> Result<FoundOf> {
    let Some(run) = append.run.as_ref().filter(|run| !run.facts.is_empty()) else {
        return Ok(FoundOf::Others);
    };
    let mut tx = db.begin_read(append.org).await?;
    let stored = super::runs::run_journal(
        &mut tx,
        run.execution,
        run.first_seq,
        run.facts.len() as u32,
    )
    .await?;
    let is_itself = stored.len() == run.facts.len()
        && stored
            .iter()
            .zip(&run.facts)
            .all(|(stored, fact)| stored.json.as_bytes() == fact.as_ref());
    if is_itself {
        return Ok(FoundOf::Itself);
    }
    let known = match run.insert {
        Some(_) => super::runs::run_get(&mut tx, run.execution).await?,
        None => None,
    };
    Ok(match known {
        Some(known) if known.employee_id == run.employee => FoundOf::SameRun,
        _ => FoundOf::Others,
    })
}
