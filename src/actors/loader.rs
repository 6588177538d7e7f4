//! Reading employees for the host: from rows to machines.

use super::{
    core::Core,
    employee::{EmployeeError, EmployeeState, Woken, WokenRun},
    evaluation::off_worker,
    versions::{Compiled, LoadedVersion},
};
use crate::{
    domain::{ContentHash, EmployeeId, ExecutionId, MemoryLayer, MemoryView, OrgId},
    graph::{Fact, Run, RunState},
    persistence::{
        DbError, EmployeeBundle, MemoryOwner, MemoryRow, OpenRun, RunStatus, StoredSpec,
        activation_load, codec, memory_views,
    },
};
use serde_json::Map;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// An employee that was asked for, and what there is of it.
pub struct Loaded {
    pub employee: EmployeeId,
    pub result: Result<Box<Woken>, EmployeeError>,
}

/// Reads many employees in a constant number of queries.
pub async fn load(core: &Core, wanted: Vec<(OrgId, EmployeeId)>) -> Vec<Loaded> {
    let ids: Vec<EmployeeId> = wanted.iter().map(|(_, id)| *id).collect();
    let (bundles, mut memories, known) = match read(core, &wanted, &ids).await {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(%error, employees = ids.len(), "employees could not be read");
            let error = EmployeeError::NotWoken(error.to_string().into());
            return ids
                .into_iter()
                .map(|employee| Loaded {
                    employee,
                    result: Err(error.clone()),
                })
                .collect();
        }
    };
    let mut found: HashMap<EmployeeId, EmployeeBundle> = bundles
        .into_iter()
        .map(|bundle| (bundle.employee.id, bundle))
        .collect();
    let mut wake = |employee| {
        let result = match found.remove(&employee) {
            Some(bundle) => {
                let memory = memories.remove(&employee).unwrap_or_default();
                wake(core, bundle, memory, &known).map(Box::new)
            }
            None => Err(EmployeeError::NotFound),
        };
        Loaded { employee, result }
    };
    // Facts that are cheap are many together: of all their unfinished runs, since the last snapshots.
    off_worker(|| ids.into_iter().map(&mut wake).collect())
}

/// Specs that were compiled before; kept here, since the cache may drop them meanwhile.
type Known = HashMap<ContentHash, Compiled>;
type Read = (Vec<EmployeeBundle>, HashMap<EmployeeId, MemoryView>, Known);

async fn read(
    core: &Core,
    wanted: &[(OrgId, EmployeeId)],
    ids: &[EmployeeId],
) -> Result<Read, DbError> {
    let mut tx = core.db.begin_system_read("wake employees").await?;
    let mut known = Known::new();
    let bundles = activation_load(&mut tx, ids, |hash| match core.versions.get(hash) {
        Some(compiled) => {
            known.insert(hash, compiled);
            true
        }
        None => known.contains_key(&hash),
    })
    .await?;
    let rows = memory_views(&mut tx, wanted).await?;
    Ok((
        bundles,
        rows.into_iter()
            .map(|(employee, rows)| (employee, memory_view(&rows)))
            .collect(),
        known,
    ))
}

/// The three layers of one employee from their rows.
pub fn memory_view(rows: &[MemoryRow]) -> MemoryView {
    let (mut employee, mut org): (Map<_, _>, Map<_, _>) = Default::default();
    let mut skills: BTreeMap<String, Map<String, serde_json::Value>> = BTreeMap::new();
    for row in rows {
        let Some(value) = row
            .value
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
        else {
            continue;
        };
        let layer = match row.layer {
            MemoryLayer::Employee => &mut employee,
            MemoryLayer::Org => &mut org,
            MemoryLayer::Skill => skills
                .entry(
                    MemoryOwner::skill_of(&row.owner)
                        .unwrap_or_default()
                        .to_string(),
                )
                .or_default(),
        };
        layer.insert(row.key.clone(), value);
    }
    MemoryView {
        employee_memory: Arc::new(employee),
        skill_contexts: skills
            .into_iter()
            .map(|(skill, layer)| (skill, Arc::new(layer)))
            .collect(),
        org_knowledge: Arc::new(org),
    }
}

fn wake(
    core: &Core,
    bundle: EmployeeBundle,
    memory: MemoryView,
    known: &Known,
) -> Result<Woken, EmployeeError> {
    let EmployeeBundle {
        employee,
        versions: stored,
        snapshot,
        open_runs,
    } = bundle;
    let mut versions: HashMap<i32, Arc<LoadedVersion>> = HashMap::new();
    let mut version = |number: i32| -> Result<Arc<LoadedVersion>, EmployeeError> {
        if let Some(loaded) = versions.get(&number) {
            return Ok(loaded.clone());
        }
        let spec = stored
            .get(&number)
            .ok_or_else(|| not_woken(format!("version {number} is missing")))?;
        let compiled = match known.get(&spec.hash) {
            Some(compiled) => compiled.clone(),
            None => compile(core, spec)?,
        };
        let loaded = LoadedVersion::new(number, &compiled);
        versions.insert(number, loaded.clone());
        Ok(loaded)
    };
    let current = version(employee.version)?;
    let runs = open_runs
        .into_iter()
        .map(|open| wake_run(open, &mut version))
        .collect::<Result<_, _>>()?;
    let state = match snapshot {
        Some(snapshot) => {
            codec::decode::<EmployeeState>(&snapshot.body)
                .map_err(|error| not_woken(error.to_string()))?
                .0
        }
        None => EmployeeState::default(),
    };
    Ok(Woken {
        org: employee.org_id,
        employee: employee.id,
        current,
        status: employee.status,
        alive: CancellationToken::new(),
        epoch: 0,
        state,
        memory,
        runs,
    })
}

fn compile(core: &Core, spec: &StoredSpec) -> Result<Compiled, EmployeeError> {
    let missing = || not_woken(format!("spec {} is missing", spec.hash));
    let text = spec.body.as_ref().ok_or_else(missing)?;
    core.versions
        .load(spec.hash, text)
        .map_err(|error| not_woken(error.to_string()))
}

fn wake_run(
    open: OpenRun,
    version: &mut impl FnMut(i32) -> Result<Arc<LoadedVersion>, EmployeeError>,
) -> Result<WokenRun, EmployeeError> {
    let OpenRun {
        run,
        snapshot,
        facts,
        blobs,
    } = open;
    let version = version(run.version)?;
    let execution = run.id;
    let broken = |error: String| not_woken(format!("run {execution}: {error}"));
    let parse =
        |json: &str| serde_json::from_str::<Fact>(json).map_err(|error| broken(error.to_string()));
    let snapshot_seq = snapshot
        .as_ref()
        .map_or(0, |snapshot| u32::try_from(snapshot.seq).unwrap_or(0));
    let count = facts.last().map_or(snapshot_seq, |fact| fact.seq + 1);
    let (mut accepted, mut context) = (None, Arc::new(MemoryView::default()));
    let mut machine = match snapshot {
        Some(snapshot) => {
            let (state, _) = codec::decode::<RunState>(&snapshot.body)
                .map_err(|error| broken(error.to_string()))?;
            let plan = version.plan.clone();
            Some(Run::restore(plan, state, |work| off_worker(work)))
        }
        None => {
            let first = facts
                .first()
                .filter(|fact| fact.seq == 0)
                .ok_or_else(|| broken("its first fact is missing".into()))?;
            let fact = Arc::new(parse(&first.json)?);
            if let Fact::Accepted {
                context: Some(hash),
                ..
            } = &*fact
            {
                let body = blobs
                    .get(hash)
                    .ok_or_else(|| broken(format!("its memory {hash} is missing")))?;
                context = Arc::new(
                    serde_json::from_slice(body).map_err(|error| broken(error.to_string()))?,
                );
            }
            // Its turn has come if it did anything or was said to be at work.
            let begun = run.status != RunStatus::Accepted || count > 1;
            let second = facts.get(1).map(|second| parse(&second.json)).transpose()?;
            let at = second.and_then(|second| second.begun());
            let machine = begun.then(|| version.begin(&fact, at, execution, &context).0);
            accepted = Some(fact);
            machine
        }
    };
    if let Some(machine) = &mut machine {
        for fact in facts.iter().filter(|fact| fact.seq > 0) {
            machine.apply(&parse(&fact.json)?);
        }
    }
    Ok(WokenRun {
        execution,
        version,
        accepted,
        conversation: run.conversation_key,
        status: run.status,
        context,
        machine,
        facts: count,
        snapshot_seq,
    })
}

/// One unfinished run as it is stored; `None`: there is none, or it is over.
///
/// # Errors
/// If it cannot be read.
pub async fn load_run(
    core: &Core,
    org: OrgId,
    employee: EmployeeId,
    execution: ExecutionId,
) -> Result<Option<WokenRun>, EmployeeError> {
    // With all the others of its employee: it is rare, and one way to read a run is enough.
    let mut loaded = load(core, vec![(org, employee)]).await;
    let woken = loaded.pop().ok_or(EmployeeError::NotFound)?.result?;
    let mut runs = woken.runs.into_iter();
    Ok(runs.find(|run| run.execution == execution))
}

/// What an employee remembers now.
///
/// # Errors
/// If the database cannot be read.
pub async fn read_memory(
    core: &Core,
    org: OrgId,
    employee: EmployeeId,
) -> Result<MemoryView, DbError> {
    let mut tx = core.db.begin_system_read("memory after an undo").await?;
    let mut rows = memory_views(&mut tx, &[(org, employee)]).await?;
    Ok(memory_view(&rows.remove(&employee).unwrap_or_default()))
}

fn not_woken(why: String) -> EmployeeError {
    tracing::error!(why, "an employee could not be woken");
    EmployeeError::NotWoken(why.into())
}
