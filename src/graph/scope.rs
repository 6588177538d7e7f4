//! What expressions and texts can name: checked when a graph is compiled ([`Names`]), read when a run evaluates ([`Data`]).

use super::{
    budget::{Budget, key_units},
    expr::EvalError,
};
use crate::domain::{ExecutionId, MemoryView, Timestamp, Trigger};
use chrono::SecondsFormat;
use chrono_tz::Tz;
use serde_json::{Map, Value, json};
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// Where a path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Trigger,
    Input,
    /// `steps` as a whole; a path that names its step has a place of its own.
    Steps,
    Step(StepRef),
    Memory,
    Org,
    Run,
    /// Output of the node that an edge leaves.
    Output,
    /// Element of a `map`.
    Item,
    /// Its position, from 0.
    Index,
    /// What a policy is asked about, beside the call's `input`.
    Call(CallPart),
}

/// What a policy can name of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPart {
    Capability,
    Employee,
    Connection,
}

/// A call as a policy sees it. Its arguments are [`Data::input`].
#[derive(Clone, Copy)]
pub struct CallScope<'a> {
    /// The id, a string.
    pub capability: &'a Value,
    /// `id` and `name`; null where no employee calls.
    pub employee: &'a Value,
    /// `id`, `name`, `integration`; null where none was found.
    pub connection: &'a Value,
}

/// A step that an expression may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepRef {
    /// Position of a node in the employee graph.
    Skill(u16),
    /// Position of a node in the skill graph at hand.
    Node(u16),
}

/// The names that are known where an expression stands.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    pub steps: &'a HashMap<String, StepRef>,
    /// In an edge's `when`.
    pub output: bool,
    /// In the body of a `map`: the name of the element.
    pub item: Option<&'a str>,
    /// In a policy: of a call there are its parts, and nothing of a run.
    pub call: bool,
}

impl Names<'_> {
    /// The place that a variable stands for.
    pub fn place(&self, name: &str) -> Option<Place> {
        if self.call {
            return match name {
                "input" => Some(Place::Input),
                "capability" => Some(Place::Call(CallPart::Capability)),
                "employee" => Some(Place::Call(CallPart::Employee)),
                "connection" => Some(Place::Call(CallPart::Connection)),
                _ => None,
            };
        }
        match name {
            "trigger" => Some(Place::Trigger),
            "input" => Some(Place::Input),
            "steps" => Some(Place::Steps),
            "memory" => Some(Place::Memory),
            "org" => Some(Place::Org),
            "run" => Some(Place::Run),
            "output" if self.output => Some(Place::Output),
            "index" if self.item.is_some() => Some(Place::Index),
            _ if self.item == Some(name) => Some(Place::Item),
            _ => None,
        }
    }

    /// All variables, for messages.
    pub fn known(&self) -> String {
        if self.call {
            return "input, capability, employee, connection".into();
        }
        let mut names = vec!["trigger", "input", "steps", "memory", "org", "run"];
        names.extend(self.output.then_some("output"));
        names.extend(self.item);
        names.extend(self.item.map(|_| "index"));
        names.join(", ")
    }

    /// Checks that `steps.<id>.…` names a step that exists and only its output.
    ///
    /// # Errors
    /// A sentence for the author of the graph.
    pub fn step(&self, id: &str, field: Option<&str>) -> Result<StepRef, String> {
        let step = *self.steps.get(id).ok_or_else(|| {
            let mut known: Vec<&str> = self.steps.keys().map(String::as_str).collect();
            known.sort_unstable();
            known.truncate(20);
            format!("there is no step `{id}`; known are {}", known.join(", "))
        })?;
        match field {
            None | Some("output") => Ok(step),
            Some(other) => Err(format!(
                "a step has only `output`: write steps.{id}.output instead of steps.{id}.{other}"
            )),
        }
    }
}

/// What it costs to put together a value of a few fields beside what they hold.
const WHOLE_UNITS: u64 = 16;

/// Completed nodes of a frame in the order of their completion; the last entry of a node counts.
pub type Log = [(u16, Arc<Value>)];

/// What a run offers to an expression. All borrowed: nothing is copied until an expression asks for it.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    pub trigger: &'a Trigger,
    pub execution: ExecutionId,
    /// When the trigger was accepted: `run.at`.
    pub at: Timestamp,
    /// Whose days the run goes by: `run.time_zone`.
    pub zone: Tz,
    pub input: &'a Value,
    pub skills: &'a Log,
    pub nodes: &'a Log,
    /// Ids by position, of the employee graph and of the skill graph at hand.
    pub ids: [&'a [Box<str>]; 2],
    pub memory: &'a MemoryView,
    /// Node id of the skill at hand; `None` in the employee graph.
    pub skill: Option<&'a str>,
    pub output: Option<&'a Value>,
    pub item: Option<(&'a Value, u32)>,
    /// The name of the element, beside `item`.
    pub item_name: &'a str,
    pub call: Option<CallScope<'a>>,
}

fn last(log: &Log, node: u16) -> Option<&Value> {
    log.iter()
        .rev()
        .find(|(done, _)| *done == node)
        .map(|(_, output)| output.as_ref())
}

impl<'a> Data<'a> {
    /// The value at a path.
    ///
    /// # Errors
    /// [`EvalError::Missing`] with the path as far as it got; [`EvalError::Wrong`] if a part of it has no fields; a limit, if it has to be
    /// put together and that costs more than what is left.
    pub fn lookup(
        &self,
        place: Place,
        segments: &[Box<str>],
        budget: &Budget,
    ) -> Result<Cow<'a, Value>, EvalError> {
        budget.charge(segments.iter().map(|segment| key_units(segment)).sum())?;
        let (start, taken) = self.start(place, segments, budget)?;
        descend(start, &segments[taken..]).map_err(|error| match error {
            EvalError::Missing(tail) => {
                EvalError::missing(format!("{}.{tail}", self.prefix(place, &segments[..taken])))
            }
            other => other,
        })
    }

    /// The borrowed value where a path really begins, and how many segments that took.
    fn start(
        &self,
        place: Place,
        segments: &[Box<str>],
        budget: &Budget,
    ) -> Result<(Cow<'a, Value>, usize), EvalError> {
        let first = segments.first().map(AsRef::as_ref);
        let second = segments.get(1).map(AsRef::as_ref);
        let whole = |value: Value| Ok((Cow::Owned(value), 0));
        match (place, first) {
            (Place::Input, _) => Ok((Cow::Borrowed(self.input), 0)),
            (Place::Step(step), Some("output")) => match self.step_output(step, budget)? {
                Some(output) => Ok((Cow::Borrowed(output), 1)),
                None => Err(EvalError::missing(format!(
                    "{}.output",
                    self.prefix(place, &[])
                ))),
            },
            (Place::Step(step), _) => {
                let output = self.step_output(step, budget)?;
                output.map_or(Ok(()), |output| budget.charge_json(output))?;
                whole(output.map_or(json!({}), |output| json!({"output": output})))
            }
            (Place::Trigger, Some("payload")) => Ok((Cow::Borrowed(&*self.trigger.payload), 1)),
            (Place::Trigger, Some("type")) => Ok((Cow::Owned(json!(self.trigger.kind.name())), 1)),
            (Place::Trigger, Some("source")) => {
                budget.charge(key_units(&self.trigger.source))?;
                Ok((Cow::Owned(json!(self.trigger.source)), 1))
            }
            (Place::Trigger, _) => {
                budget.charge(WHOLE_UNITS + key_units(&self.trigger.source))?;
                budget.charge_json(&self.trigger.payload)?;
                whole(json!({
                    "type": self.trigger.kind.name(), "payload": &*self.trigger.payload, "source": self.trigger.source
                }))
            }
            (Place::Memory, Some("skill")) => match (self.skill_memory(), second) {
                (Some(memory), Some(key)) => in_map(memory, key).map(|found| (found, 2)),
                (memory, _) => {
                    memory.map_or(Ok(()), |memory| charge_map(memory, budget))?;
                    Ok((
                        Cow::Owned(Value::Object(memory.cloned().unwrap_or_default())),
                        1,
                    ))
                }
            },
            (Place::Memory, Some(key)) => {
                in_map(&self.memory.employee_memory, key).map(|found| (found, 1))
            }
            (Place::Memory, None) => {
                charge_map(&self.memory.employee_memory, budget)?;
                self.skill_memory()
                    .map_or(Ok(()), |memory| charge_map(memory, budget))?;
                whole(Value::Object(self.whole_memory()))
            }
            (Place::Org, Some(key)) => {
                in_map(&self.memory.org_knowledge, key).map(|found| (found, 1))
            }
            (Place::Org, None) => {
                charge_map(&self.memory.org_knowledge, budget)?;
                whole(Value::Object((*self.memory.org_knowledge).clone()))
            }
            (Place::Run, _) => {
                budget.charge(WHOLE_UNITS)?;
                whole(self.run())
            }
            (Place::Steps, _) => {
                for (_, output) in self.skills.iter().chain(self.nodes) {
                    budget.charge(WHOLE_UNITS)?;
                    budget.charge_json(output)?;
                }
                whole(Value::Object(self.all_steps()))
            }
            (Place::Output, _) => Ok((
                self.output.map_or(Cow::Owned(Value::Null), Cow::Borrowed),
                0,
            )),
            (Place::Item, _) => Ok((
                self.item
                    .map_or(Cow::Owned(Value::Null), |(item, _)| Cow::Borrowed(item)),
                0,
            )),
            (Place::Index, _) => whole(json!(self.item.map(|(_, index)| index))),
            (Place::Call(part), _) => {
                let value = self.call.map(|call| match part {
                    CallPart::Capability => call.capability,
                    CallPart::Employee => call.employee,
                    CallPart::Connection => call.connection,
                });
                Ok((value.map_or(Cow::Owned(Value::Null), Cow::Borrowed), 0))
            }
        }
    }

    /// `today` and `local` are the day and the time of the acceptance as the clocks in the run's zone showed them.
    fn run(&self) -> Value {
        let local = self.at.to_chrono().with_timezone(&self.zone);
        json!({
            "at": self.at,
            "execution_id": self.execution,
            "time_zone": self.zone.name(),
            "today": local.date_naive().to_string(),
            "local": local.to_rfc3339_opts(SecondsFormat::Millis, false),
        })
    }

    fn step_output(&self, step: StepRef, budget: &Budget) -> Result<Option<&'a Value>, EvalError> {
        let (log, node) = match step {
            StepRef::Skill(node) => (self.skills, node),
            StepRef::Node(node) => (self.nodes, node),
        };
        // It is looked for from the end; a loop makes a log long.
        budget.charge(log.len() as u64 / 32)?;
        Ok(last(log, node))
    }

    fn skill_memory(&self) -> Option<&'a Map<String, Value>> {
        self.skill
            .and_then(|skill| self.memory.skill_contexts.get(skill))
            .map(AsRef::as_ref)
    }

    fn whole_memory(&self) -> Map<String, Value> {
        let mut all = (*self.memory.employee_memory).clone();
        all.insert(
            "skill".into(),
            Value::Object(self.skill_memory().cloned().unwrap_or_default()),
        );
        all
    }

    fn all_steps(&self) -> Map<String, Value> {
        let named = |log: &'a Log, ids: &'a [Box<str>]| {
            log.iter().filter_map(|(node, output)| {
                Some((
                    ids.get(usize::from(*node))?.to_string(),
                    json!({"output": output}),
                ))
            })
        };
        named(self.skills, self.ids[0])
            .chain(named(self.nodes, self.ids[1]))
            .collect()
    }

    fn prefix(&self, place: Place, taken: &[Box<str>]) -> String {
        let id = |ids: &[Box<str>], node: u16| {
            ids.get(usize::from(node))
                .map_or_else(String::new, |id| id.to_string())
        };
        let root = match place {
            Place::Trigger => "trigger".into(),
            Place::Input => "input".into(),
            Place::Steps => "steps".into(),
            Place::Step(StepRef::Skill(node)) => format!("steps.{}", id(self.ids[0], node)),
            Place::Step(StepRef::Node(node)) => format!("steps.{}", id(self.ids[1], node)),
            Place::Memory => "memory".into(),
            Place::Org => "org".into(),
            Place::Run => "run".into(),
            Place::Output => "output".into(),
            Place::Item => self.item_name.into(),
            Place::Index => "index".into(),
            Place::Call(CallPart::Capability) => "capability".into(),
            Place::Call(CallPart::Employee) => "employee".into(),
            Place::Call(CallPart::Connection) => "connection".into(),
        };
        taken
            .iter()
            .fold(root, |path, segment| format!("{path}.{segment}"))
    }
}

fn charge_map(map: &Map<String, Value>, budget: &Budget) -> Result<(), EvalError> {
    budget.charge(2 + map.len() as u64)?;
    map.iter().try_for_each(|(key, value)| {
        budget.charge(key_units(key))?;
        budget.charge_json(value)
    })
}

fn in_map<'a>(map: &'a Map<String, Value>, key: &str) -> Result<Cow<'a, Value>, EvalError> {
    map.get(key)
        .map(Cow::Borrowed)
        .ok_or_else(|| EvalError::missing(key))
}

fn descend<'a>(start: Cow<'a, Value>, segments: &[Box<str>]) -> Result<Cow<'a, Value>, EvalError> {
    match start {
        Cow::Borrowed(value) => walk(value, segments).map(Cow::Borrowed),
        Cow::Owned(value) => walk(&value, segments).cloned().map(Cow::Owned),
    }
}

fn walk<'a>(start: &'a Value, segments: &[Box<str>]) -> Result<&'a Value, EvalError> {
    let so_far = |place: usize| segments[..=place].join(".");
    segments
        .iter()
        .enumerate()
        .try_fold(start, |value, (place, segment)| match value {
            Value::Object(map) => map
                .get(&**segment)
                .ok_or_else(|| EvalError::missing(so_far(place))),
            other => Err(EvalError::wrong(format!(
                "cannot read `{}`: its owner is {}",
                so_far(place),
                super::expr::kind_of(other)
            ))),
        })
}
