//! What the employee remembers while it is awake: the layers that a new run reads, and the writes that are not yet durable.

use crate::{
    domain::{
        ContentHash, EmployeeId, ExecutionId, MemoryLayer, MemoryView, MemoryWrite, Timestamp,
    },
    graph::StepId,
    persistence::{MemoryChange, MemoryOwner},
};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::{collections::VecDeque, sync::Arc};

/// Writes that become visible to new runs once the facts up to `facts` of `execution` are durable.
struct Held {
    execution: ExecutionId,
    facts: u32,
    writes: Vec<MemoryWrite>,
    skill: String,
}

pub struct Memory {
    view: Arc<MemoryView>,
    /// Address and bytes of the view, once a run has pinned it.
    pinned: Option<(ContentHash, Bytes)>,
    held: VecDeque<Held>,
}

impl Memory {
    pub fn new(view: MemoryView) -> Self {
        Self {
            view: Arc::new(view),
            pinned: None,
            held: VecDeque::new(),
        }
    }

    /// The view for a run that starts now, and its address and bytes for the blob store; none of these if nothing is remembered.
    pub fn pin(&mut self) -> (Arc<MemoryView>, Option<(ContentHash, Bytes)>) {
        if self.view.is_empty() {
            return (self.view.clone(), None);
        }
        let pinned = self.pinned.get_or_insert_with(|| {
            let bytes =
                serde_json::to_vec(&*self.view).expect("memory holds JSON values with string keys");
            (ContentHash::of(&bytes), Bytes::from(bytes))
        });
        (self.view.clone(), Some(pinned.clone()))
    }

    /// The rows for what a step asked to be remembered.
    pub fn changes(
        &self,
        employee: EmployeeId,
        skill: &str,
        writes: &[MemoryWrite],
        execution: ExecutionId,
        step: StepId,
        at: Timestamp,
    ) -> Vec<MemoryChange> {
        writes
            .iter()
            .map(|write| MemoryChange {
                place: owner(employee, skill, write.layer),
                key: write.key.clone(),
                value: (!write.value.is_null()).then(|| write.value.to_string()),
                run: Some(execution),
                step: Some(step.to_string()),
                source: format!("run:{execution}"),
                at,
            })
            .collect()
    }

    pub fn hold_back(
        &mut self,
        execution: ExecutionId,
        facts: u32,
        writes: Vec<MemoryWrite>,
        skill: String,
    ) {
        self.held.push_back(Held {
            execution,
            facts,
            writes,
            skill,
        });
    }

    /// The first `facts` facts of a run are durable: what they remember is what new runs see. Gives what others should know too.
    pub fn release(&mut self, execution: ExecutionId, facts: u32) -> Vec<MemoryWrite> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let (due, left): (VecDeque<Held>, VecDeque<Held>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.execution == execution && held.facts <= facts);
        self.held = left;
        let mut shared = Vec::new();
        for held in due {
            self.apply(&held.writes, Some(&held.skill));
            shared.extend(
                held.writes
                    .into_iter()
                    .filter(|write| write.layer == MemoryLayer::Org),
            );
        }
        shared
    }

    /// Nothing of what this run has not made durable will be remembered.
    pub fn forget_held(&mut self, execution: ExecutionId) {
        self.held.retain(|held| held.execution != execution);
    }

    pub fn apply(&mut self, writes: &[MemoryWrite], skill: Option<&str>) {
        let view = Arc::make_mut(&mut self.view);
        for write in writes {
            let layer = match write.layer {
                MemoryLayer::Employee => &mut view.employee_memory,
                MemoryLayer::Org => &mut view.org_knowledge,
                MemoryLayer::Skill => view
                    .skill_contexts
                    .entry(skill.unwrap_or_default().to_string())
                    .or_default(),
            };
            put(Arc::make_mut(layer), write);
        }
        self.pinned = None;
    }

    /// What was read from the database after an undo replaces everything.
    pub fn replace(&mut self, view: MemoryView) {
        self.view = Arc::new(view);
        self.pinned = None;
    }
}

fn put(layer: &mut Map<String, Value>, write: &MemoryWrite) {
    if write.value.is_null() {
        layer.remove(&write.key);
    } else {
        layer.insert(write.key.clone(), write.value.clone());
    }
}

/// Where a layer of an employee is kept.
fn owner(employee: EmployeeId, skill: &str, layer: MemoryLayer) -> MemoryOwner {
    match layer {
        MemoryLayer::Employee => MemoryOwner::employee(employee),
        MemoryLayer::Skill => MemoryOwner::skill(employee, skill),
        MemoryLayer::Org => MemoryOwner::org(),
    }
}
