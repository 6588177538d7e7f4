//! Employee versions in the form in which they run: compiled once for all employees with the same text.

use super::evaluation::off_worker;
use crate::{
    connect::Catalog,
    domain::{ContentHash, EmployeeSpec, ExecutionId, MemoryView, Timestamp},
    graph::{self, CapabilityInfo, CapabilityLookup, Command, CompileErrors, Fact, Plan, Run},
};
use dashmap::DashMap;
use std::sync::Arc;

/// Compiled specs that are kept; a miss costs a compilation.
const CACHE_MAX: usize = 10_000;

/// A spec and its plan, without the number that it has at one employee.
#[derive(Clone)]
pub struct Compiled {
    pub spec: Arc<EmployeeSpec>,
    pub plan: Arc<Plan>,
    pub hash: ContentHash,
}

/// A version of an employee, ready to run.
pub struct LoadedVersion {
    pub version: i32,
    pub spec: Arc<EmployeeSpec>,
    pub plan: Arc<Plan>,
}

impl LoadedVersion {
    pub fn new(version: i32, compiled: &Compiled) -> Arc<Self> {
        Arc::new(Self {
            version,
            spec: compiled.spec.clone(),
            plan: compiled.plan.clone(),
        })
    }

    /// `begun`: when its turn came, if it had to wait for it.
    pub fn begin(
        &self,
        accepted: &Fact,
        begun: Option<Timestamp>,
        execution: ExecutionId,
        context: &Arc<MemoryView>,
    ) -> (Run, Vec<Command>) {
        Run::start_at(
            self.plan.clone(),
            accepted,
            begun,
            execution,
            MemoryView::clone(context),
            |work| off_worker(work),
        )
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    #[error("stored spec {hash} cannot be read")]
    Unreadable {
        hash: ContentHash,
        #[source]
        source: serde_json::Error,
    },
    #[error("stored spec {hash} does not compile any more: {errors}")]
    NotCompiling {
        hash: ContentHash,
        errors: CompileErrors,
    },
}

/// The zone in which an employee works. Versions from before there were zones, and those that say none, go by UTC.
fn zone(spec: &EmployeeSpec) -> chrono_tz::Tz {
    let said = spec.time_zone.as_deref();
    said.and_then(|name| name.parse().ok()).unwrap_or_default()
}

/// Compiled specs by the hash of their text.
#[derive(Clone)]
pub struct Versions {
    cache: Arc<DashMap<ContentHash, Compiled>>,
    catalog: Arc<Catalog>,
}

impl Versions {
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self {
            cache: Arc::default(),
            catalog,
        }
    }

    /// Compiles a spec that somebody wants to hire with, against what their org has.
    ///
    /// # Errors
    /// Everything that is wrong with it, by node and field.
    pub fn compile(
        &self,
        catalog: &Catalog,
        spec: EmployeeSpec,
    ) -> Result<(Compiled, Vec<u8>), CompileErrors> {
        let lookup = CatalogLookup {
            catalog,
            stored: false,
        };
        let plan = graph::compile(&spec.graph, &spec.skill_graphs, &lookup)?.in_zone(zone(&spec));
        let text = serde_json::to_vec(&spec).expect("a spec holds JSON values with string keys");
        let hash = ContentHash::of(&text);
        Ok((
            self.keep(Compiled {
                spec: Arc::new(spec),
                plan: Arc::new(plan),
                hash,
            }),
            text,
        ))
    }

    /// The compiled form of a stored spec. A plan does not depend on what the catalog says of a capability, so it is the same for all
    /// orgs; which ones there are for an org was asked when the spec was stored, and is asked again when an action calls one.
    ///
    /// # Errors
    /// If what is stored cannot be read or compiled, which means that it was written by a newer or a broken program.
    pub fn load(&self, hash: ContentHash, text: &[u8]) -> Result<Compiled, VersionError> {
        if let Some(known) = self.get(hash) {
            return Ok(known);
        }
        let spec: EmployeeSpec = serde_json::from_slice(text)
            .map_err(|source| VersionError::Unreadable { hash, source })?;
        let lookup = CatalogLookup {
            catalog: &self.catalog,
            stored: true,
        };
        let plan = graph::compile(&spec.graph, &spec.skill_graphs, &lookup)
            .map_err(|errors| VersionError::NotCompiling { hash, errors })?
            .in_zone(zone(&spec));
        Ok(self.keep(Compiled {
            spec: Arc::new(spec),
            plan: Arc::new(plan),
            hash,
        }))
    }

    pub fn get(&self, hash: ContentHash) -> Option<Compiled> {
        self.cache.get(&hash).map(|entry| entry.clone())
    }

    fn keep(&self, compiled: Compiled) -> Compiled {
        if self.cache.len() >= CACHE_MAX {
            self.cache.clear();
        }
        self.cache.insert(compiled.hash, compiled.clone());
        compiled
    }
}

/// The catalog as the compiler sees it.
impl CapabilityLookup for CatalogLookup<'_> {
    fn capability(&self, id: &str) -> Option<CapabilityInfo> {
        let facts = self.catalog.facts(id)?;
        Some(CapabilityInfo {
            id: facts.id.into(),
            permission: facts.permission.into(),
            integration: facts.integration.into(),
            write: facts.write,
        })
    }

    fn suggestions(&self, id: &str) -> Vec<String> {
        self.catalog
            .nearest(id)
            .map(str::to_string)
            .into_iter()
            .collect()
    }

    fn lets_unknown_pass(&self) -> bool {
        self.stored
    }
}

struct CatalogLookup<'a> {
    catalog: &'a Catalog,
    /// Whether the spec passed its checks before.
    stored: bool,
}
