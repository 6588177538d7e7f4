//! Hiring: from a job description or from graphs to an employee in the database, its next versions, and its status.
//!
//! A version is stored as a whole in one transaction: spec, subscriptions, schedules with their next due times, and the `GraphDefined`
//! event. After that the employee is told, if it is awake; one that is asleep reads it when it wakes.

pub mod calendar;
mod check;
mod connections;

pub use connections::missing_connections;

use super::{
    employee::Message,
    engine::Engine,
    versions::{Compiled, LoadedVersion, VersionError},
};
use crate::{
    actors::cluster::words::News,
    connect::Catalog,
    domain::{
        Concurrency, EmployeeId, EmployeeSpec, OrgId, ScheduleId, Timestamp,
        event::{GraphDefined, PlatformEvent},
        recurrence::Recurrence,
    },
    graph::CompileErrors,
    hire::{
        CatalogView, HireError, JobDescription, MissingConnection, NotUnderstood, Planner,
        Understood,
    },
    persistence::{
        DbError, EmployeeRow, EmployeeStatus, OrgEventRow, ScheduleRow, ScheduleStatus, Tx,
        VersionInsert, blob_get, employee_find, employee_get, employee_insert, employee_set_status,
        employee_version_get, employee_version_insert,
    },
};
use calendar::Calendars;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Due times of each schedule that are shown.
pub const SHOWN: usize = 5;

/// Whom to hire.
pub enum HireRequest {
    /// The planner reads the text.
    Description(JobDescription),
    Graphs {
        name: String,
        spec: EmployeeSpec,
    },
}

/// Who was hired, or would be.
#[derive(Debug)]
pub struct Hired {
    /// `None` if nothing was stored (`dry_run`).
    pub id: Option<EmployeeId>,
    pub name: String,
    pub version: i32,
    pub spec: EmployeeSpec,
    pub understood: Vec<Understood>,
    pub not_understood: Vec<NotUnderstood>,
    pub missing_connections: Vec<MissingConnection>,
    /// The next due times of each schedule, by its name.
    pub next: BTreeMap<String, Vec<Timestamp>>,
}

#[derive(Debug, thiserror::Error)]
pub enum StaffError {
    #[error("{0}")]
    Graph(CompileErrors),
    #[error(transparent)]
    Plan(#[from] HireError),
    #[error("field `{field}` {message}")]
    Field { field: String, message: String },
    #[error("{field}: {message}")]
    Schedule { field: String, message: String },
    #[error("{field}: {message}")]
    Subscription { field: String, message: String },
    #[error("an employee named `{0}` works here already")]
    NameTaken(String),
    #[error("employee not found")]
    NotFound,
    #[error("employee has been dismissed")]
    Dismissed,
    #[error("the employee has version {actual}, not {expected}")]
    Stale { expected: i32, actual: i32 },
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl CatalogView for Catalog {
    fn integration_of(&self, capability: &str) -> Option<String> {
        self.facts(capability).map(|facts| facts.integration.into())
    }
    fn has_integration(&self, id: &str) -> bool {
        self.integration(id).is_some()
    }
}

/// Hires an employee; with `dry_run` everything is done but storing it.
///
/// # Errors
/// What is wrong with the request, or `NameTaken`.
pub async fn hire(
    engine: &Engine,
    planner: &dyn Planner,
    org: OrgId,
    by: &str,
    request: HireRequest,
    dry_run: bool,
) -> Result<Hired, StaffError> {
    let core = engine.core();
    let mut tx = core.db.begin_read(org).await?;
    let connected = connections::connected(&mut tx).await?;
    drop(tx);
    let catalog = core.catalogs.of(org).await?;
    let (calendars, zone) = calendars_and_zone(engine, org).await?;
    let mut hired = match request {
        HireRequest::Description(job) => {
            from_text(planner, &catalog, &connected, job, zone.clone()).await?
        }
        HireRequest::Graphs { name, spec } => Hired {
            id: None,
            name,
            version: 1,
            missing_connections: missing_connections(&catalog, &spec, &connected),
            spec,
            understood: Vec::new(),
            not_understood: Vec::new(),
            next: BTreeMap::new(),
        },
    };
    hired.name = check::name(&hired.name)?;
    calendar::complete(&mut hired.spec, zone, core.clock.now());
    let prepared = prepare(engine, &catalog, hired.spec.clone(), &calendars)?;
    hired.next = prepared.upcoming(core.clock.now());
    if dry_run {
        let mut tx = core.db.begin_read(org).await?;
        return match employee_find(&mut tx, &hired.name).await? {
            Some(_) => Err(StaffError::NameTaken(hired.name)),
            None => Ok(hired),
        };
    }
    let id = EmployeeId::from_uuid(core.clock.uuid());
    let now = core.clock.now();
    let schedules = prepared.schedules(org, id, now, engine);
    let event = graph_defined(org, id, 1, &hired.spec, now);
    let mut tx = core.db.begin(org).await?;
    let insert = prepared.insert(id, &schedules, &event, now, by);
    match employee_insert(&mut tx, &hired.name, &insert).await {
        Ok(()) => tx.commit().await?,
        Err(DbError::Duplicate(_)) => return Err(StaffError::NameTaken(hired.name)),
        Err(error) => return Err(error.into()),
    }
    prepared.announce(engine, org, id, 1).await;
    hired.id = Some(id);
    Ok(hired)
}

async fn from_text(
    planner: &dyn Planner,
    catalog: &Catalog,
    connected: &[String],
    job: JobDescription,
    zone_of_org: Option<String>,
) -> Result<Hired, StaffError> {
    let own_zone = job.time_zone.clone();
    let job = JobDescription {
        time_zone: job.time_zone.or(zone_of_org),
        ..job
    };
    let plan = planner.plan(&job, catalog, connected).await?;
    Ok(Hired {
        id: None,
        name: plan.name,
        version: 1,
        spec: EmployeeSpec {
            graph: plan.graph,
            skill_graphs: plan.skill_graphs,
            schedules: plan.schedules,
            subscriptions: plan.subscriptions,
            concurrency: Concurrency::default(),
            job_description: Some(job.text),
            time_zone: own_zone,
        },
        understood: plan.understood,
        not_understood: plan.not_understood,
        missing_connections: plan.missing_connections,
        next: BTreeMap::new(),
    })
}

/// Gives an employee its next version, which new runs use; gives its number. With `expected` only if that is its version now.
///
/// # Errors
/// What is wrong with the spec; `Stale` if somebody else was faster.
pub async fn new_version(
    engine: &Engine,
    org: OrgId,
    by: &str,
    employee: EmployeeId,
    spec: EmployeeSpec,
    expected: Option<i32>,
) -> Result<i32, StaffError> {
    let core = engine.core();
    let catalog = core.catalogs.of(org).await?;
    let (calendars, zone) = calendars_and_zone(engine, org).await?;
    let now = core.clock.now();
    let mut spec = spec;
    calendar::complete(&mut spec, zone, now);
    let prepared = prepare(engine, &catalog, spec, &calendars)?;
    let mut tx = core.db.begin(org).await?;
    let row = employed(&mut tx, employee).await?;
    if let Some(expected) = expected.filter(|expected| *expected != row.version) {
        return Err(StaffError::Stale {
            expected,
            actual: row.version,
        });
    }
    let schedules = prepared.schedules(org, employee, now, engine);
    let event = graph_defined(org, employee, row.version + 1, &prepared.compiled.spec, now);
    let insert = prepared.insert(employee, &schedules, &event, now, by);
    let version = employee_version_insert(&mut tx, row.version, &insert).await?;
    tx.commit().await?;
    prepared.announce(engine, org, employee, version).await;
    Ok(version)
}

/// Dismisses an employee (its unfinished runs end by themselves), puts it on hold, or releases it.
///
/// # Errors
/// `NotFound`, or `Dismissed`: a dismissed employee stays so.
pub async fn set_status(
    engine: &Engine,
    org: OrgId,
    employee: EmployeeId,
    status: EmployeeStatus,
) -> Result<EmployeeRow, StaffError> {
    let core = engine.core();
    let mut tx = core.db.begin(org).await?;
    let row = employed(&mut tx, employee).await?;
    let now = core.clock.now();
    match employee_set_status(&mut tx, employee, status, now).await {
        // Somebody dismissed it a moment ago.
        Err(DbError::NotFound(_)) => return Err(StaffError::Dismissed),
        set => set?,
    }
    tx.commit().await?;
    core.host().reread(org, employee).await;
    core.tell_others(&News::Reread { org, employee }).await;
    Ok(EmployeeRow {
        status,
        updated: now,
        ..row
    })
}

/// The spec of a version.
///
/// # Errors
/// `NotFound` if there is no such version.
pub async fn spec_of(
    engine: &Engine,
    org: OrgId,
    employee: EmployeeId,
    version: i32,
) -> Result<Compiled, StaffError> {
    let core = engine.core();
    let mut tx = core.db.begin_read(org).await?;
    let row = employee_version_get(&mut tx, employee, version)
        .await?
        .ok_or(StaffError::NotFound)?;
    if let Some(known) = core.versions.get(row.spec_hash) {
        return Ok(known);
    }
    let text = blob_get(&mut tx, row.spec_hash)
        .await?
        .ok_or(StaffError::NotFound)?;
    Ok(core.versions.load(row.spec_hash, &text)?)
}

async fn employed(tx: &mut Tx, employee: EmployeeId) -> Result<EmployeeRow, StaffError> {
    match employee_get(tx, employee).await? {
        None => Err(StaffError::NotFound),
        Some(row) if row.status == EmployeeStatus::Dismissed => Err(StaffError::Dismissed),
        Some(row) => Ok(row),
    }
}

/// A spec that was found good.
struct Prepared {
    compiled: Compiled,
    text: Vec<u8>,
    /// Of each schedule.
    recurrences: Vec<Recurrence>,
}

async fn calendars_and_zone(
    engine: &Engine,
    org: OrgId,
) -> Result<(Calendars, Option<String>), StaffError> {
    let mut tx = engine.core().db.begin_read(org).await?;
    Ok((
        calendar::of_org(&mut tx).await?,
        calendar::zone_of_org(&mut tx).await?,
    ))
}

fn prepare(
    engine: &Engine,
    catalog: &Catalog,
    spec: EmployeeSpec,
    calendars: &Calendars,
) -> Result<Prepared, StaffError> {
    let (compiled, text) = engine
        .core()
        .versions
        .compile(catalog, spec)
        .map_err(StaffError::Graph)?;
    check::concurrency(&compiled.spec.concurrency)?;
    check::time_zone(compiled.spec.time_zone.as_deref())?;
    let recurrences = check::schedules(&compiled.spec.schedules, calendars)?;
    check::subscriptions(&compiled.spec.subscriptions, &compiled.plan)?;
    Ok(Prepared {
        compiled,
        text,
        recurrences,
    })
}

impl Prepared {
    fn schedules(
        &self,
        org: OrgId,
        employee: EmployeeId,
        now: Timestamp,
        engine: &Engine,
    ) -> Vec<ScheduleRow> {
        let specs = self.compiled.spec.schedules.iter().zip(&self.recurrences);
        specs
            .map(|(spec, recurrence)| ScheduleRow {
                org_id: org,
                id: ScheduleId::from_uuid(engine.core().clock.uuid()),
                employee_id: employee,
                name: spec.name.clone(),
                cron: spec.recurrence.cron.clone().unwrap_or_default(),
                recurrence: calendar::beyond_cron(&spec.recurrence),
                calendar: spec.recurrence.calendar.clone(),
                time_zone: spec.time_zone.clone(),
                overlap: spec.overlap,
                misfire: spec.misfire,
                payload: spec.payload.to_string(),
                status: ScheduleStatus::Active,
                next_due: recurrence.next_after(now),
                last_due: None,
                last_run_id: None,
                retry: None,
                failures: 0,
            })
            .collect()
    }

    /// When each schedule is due next, by its name.
    fn upcoming(&self, now: Timestamp) -> BTreeMap<String, Vec<Timestamp>> {
        let specs = self.compiled.spec.schedules.iter().zip(&self.recurrences);
        specs
            .map(|(spec, recurrence)| (spec.name.clone(), recurrence.upcoming(now, SHOWN)))
            .collect()
    }

    fn insert<'a>(
        &'a self,
        employee: EmployeeId,
        schedules: &'a [ScheduleRow],
        event: &'a OrgEventRow,
        at: Timestamp,
        by: &'a str,
    ) -> VersionInsert<'a> {
        VersionInsert {
            employee,
            spec: &self.text,
            subscriptions: &self.compiled.spec.subscriptions,
            schedules,
            event,
            at,
            by,
        }
    }

    /// Tells those who are awake.
    async fn announce(&self, engine: &Engine, org: OrgId, employee: EmployeeId, version: i32) {
        let core = engine.core();
        for subscription in &self.compiled.spec.subscriptions {
            if subscription.source.starts_with("employee:") || subscription.source == "*" {
                let pattern = subscription.source.clone();
                core.changed(News::Interest { org, pattern }).await;
            }
        }
        let loaded = LoadedVersion::new(version, &self.compiled);
        core.host()
            .tell_if_awake(employee, Message::NewVersion(loaded));
        let news = News::Version {
            org,
            employee,
            version,
        };
        core.tell_others(&news).await;
    }
}

fn graph_defined(
    org: OrgId,
    employee: EmployeeId,
    version: i32,
    spec: &EmployeeSpec,
    at: Timestamp,
) -> OrgEventRow {
    let name = format!("GraphDefined:{version}");
    let id = Uuid::new_v5(&employee.uuid(), name.as_bytes());
    let event = PlatformEvent::GraphDefined(Box::new(GraphDefined {
        event_id: id,
        org_id: org,
        employee_id: employee,
        version: version.unsigned_abs(),
        graph_spec: spec.graph.clone(),
        timestamp: at,
    }));
    OrgEventRow {
        id,
        kind: event.name().into(),
        body: serde_json::to_string(&event).expect("events hold JSON values with string keys"),
        at,
    }
}
