//! Compiling the work of each type of node.

use super::{
    At, CapabilityInfo, Compiler,
    nodes::{Scope, transpose},
};
use crate::{
    domain::MemoryLayer,
    graph::{
        plan::{Limits, MapPlan, Remember, WaitPlan, WorkPlan},
        scope::Names,
        spec::{BodySpec, RememberSpec, WaitSpec, WorkSpec},
    },
};
use serde_json::Value;

impl Compiler<'_> {
    pub(super) fn work(
        &mut self,
        scope: Scope<'_>,
        prefix: &str,
        work: &WorkSpec,
    ) -> Option<WorkPlan> {
        let field = |name: &str| format!("{prefix}{name}");
        match work {
            WorkSpec::Skill { .. } => Some(WorkPlan::Skill),
            WorkSpec::Transform { output, remember } => {
                let output = self.template(scope, &field("output"), output);
                Some(WorkPlan::Transform {
                    remember: self.remember(scope, prefix, remember)?,
                    output: output?,
                })
            }
            WorkSpec::Decide { cases, otherwise } => {
                self.decide(scope, prefix, cases, otherwise.as_deref())
            }
            WorkSpec::Action {
                capability,
                connection,
                arguments,
                max_items,
            } => {
                self.capability(scope.at, &field("capability"), capability);
                if max_items.is_some() {
                    self.reads(scope.at, &field("max_items"), capability);
                }
                let arguments = self.template(scope, &field("arguments"), arguments)?;
                Some(WorkPlan::Action {
                    capability: capability.as_str().into(),
                    connection: connection.as_deref().map(Box::from),
                    arguments,
                    max_items: *max_items,
                })
            }
            WorkSpec::Approval {
                title,
                arguments,
                approves,
                expires_ms,
                on_denied,
                on_expired,
            } => {
                for (place, capability) in approves.iter().enumerate() {
                    self.known_capability(
                        scope.at,
                        &field(&format!("approves[{place}]")),
                        capability,
                    );
                }
                let title = title
                    .as_ref()
                    .map(|title| self.text(scope, &field("title"), title));
                let arguments = arguments
                    .as_ref()
                    .map(|arguments| self.template(scope, &field("arguments"), arguments));
                let on_denied = self.handler(scope, "on_denied", on_denied.as_deref());
                let on_expired = self.handler(scope, "on_expired", on_expired.as_deref());
                Some(WorkPlan::Approval {
                    title: transpose(title)?,
                    arguments: transpose(arguments)?,
                    approves: approves.iter().map(|id| id.as_str().into()).collect(),
                    expires_ms: *expires_ms,
                    on_denied,
                    on_expired,
                })
            }
            WorkSpec::Wait { until } => self.wait(scope, prefix, until).map(WorkPlan::Wait),
            WorkSpec::Map {
                items,
                name,
                width,
                max_items,
                on_item_error,
                body,
            } => {
                let items = self.expr(scope.at, "items", items, scope.names);
                let (work, limits) = self.body(scope, name, body);
                Some(WorkPlan::Map(Box::new(MapPlan {
                    items: items?,
                    name: name.as_str().into(),
                    width: *width,
                    max_items: *max_items,
                    on_item_error: *on_item_error,
                    body: work?,
                    limits,
                })))
            }
        }
    }

    fn body(
        &mut self,
        scope: Scope<'_>,
        name: &str,
        body: &BodySpec,
    ) -> (Option<WorkPlan>, Limits) {
        let names = Names {
            item: Some(name),
            ..scope.names.clone()
        };
        let work = self.work(
            Scope {
                names: &names,
                ..scope
            },
            "do.",
            &body.work,
        );
        (
            work,
            Limits {
                retry: body.retry,
                timeout_ms: body.timeout_ms,
            },
        )
    }

    fn remember(
        &mut self,
        scope: Scope<'_>,
        prefix: &str,
        remember: &RememberSpec,
    ) -> Option<Box<[Remember]>> {
        let layers = [
            (MemoryLayer::Employee, &remember.employee),
            (MemoryLayer::Skill, &remember.skill),
            (MemoryLayer::Org, &remember.org),
        ];
        let mut writes = Vec::new();
        let mut complete = true;
        for (layer, entries) in layers {
            for (key, template) in entries {
                match self.template(
                    scope,
                    &format!("{prefix}remember.{}.{key}", layer.name()),
                    template,
                ) {
                    Some(template) => writes.push((layer, key.as_str().into(), template)),
                    None => complete = false,
                }
            }
        }
        complete.then(|| writes.into())
    }

    fn decide(
        &mut self,
        scope: Scope<'_>,
        prefix: &str,
        cases: &[(String, String)],
        otherwise: Option<&str>,
    ) -> Option<WorkPlan> {
        let mut plans = Vec::new();
        for (place, (when, choose)) in cases.iter().enumerate() {
            let when = self.expr(
                scope.at,
                &format!("{prefix}cases[{place}].when"),
                when,
                scope.names,
            );
            plans.extend(when.map(|when| (when, Value::from(choose.as_str()))));
        }
        (plans.len() == cases.len()).then(|| WorkPlan::Decide {
            cases: plans.into(),
            otherwise: otherwise.map(Value::from),
        })
    }

    fn wait(&mut self, scope: Scope<'_>, prefix: &str, wait: &WaitSpec) -> Option<WaitPlan> {
        match wait {
            WaitSpec::Duration(millis) => Some(WaitPlan::Duration(*millis)),
            WaitSpec::Until(until) => self
                .expr(scope.at, &format!("{prefix}until"), until, scope.names)
                .map(WaitPlan::Until),
            WaitSpec::Event {
                event,
                source,
                matches,
                timeout_ms,
                on_timeout,
            } => {
                let on_timeout = self.handler(scope, "on_timeout", on_timeout.as_deref());
                let mut plans = Vec::new();
                for (pointer, template) in matches {
                    let template =
                        self.template(scope, &format!("{prefix}event.match.{pointer}"), template);
                    plans.extend(template.map(|template| (Box::from(pointer.as_str()), template)));
                }
                (plans.len() == matches.len()).then(|| WaitPlan::Event {
                    event: event.as_str().into(),
                    source: source.as_deref().map(Box::from),
                    matches: plans.into(),
                    timeout_ms: *timeout_ms,
                    on_timeout,
                })
            }
        }
    }

    /// A list that is read to its end is asked for many times: a write must not be.
    fn reads(&mut self, at: At<'_>, field: &str, id: &str) {
        if self.lookup.capability(id).is_some_and(|info| info.write) {
            self.refuse(
                at,
                field,
                format!("`{id}` writes, and only a list is read to its end"),
            );
        }
    }

    fn capability(&mut self, at: At<'_>, field: &str, id: &str) {
        if let Some(info) = self.known_capability(at, field, id) {
            self.capabilities.insert(id.to_string(), info);
        }
    }

    /// What the catalog says of it; refused if the catalog does not know it.
    fn known_capability(&mut self, at: At<'_>, field: &str, id: &str) -> Option<CapabilityInfo> {
        match self.lookup.capability(id) {
            Some(info) => Some(info),
            None if self.lookup.lets_unknown_pass() => None,
            None => {
                let close = self.lookup.suggestions(id);
                let hint = if close.is_empty() {
                    String::new()
                } else {
                    format!("; did you mean {}", close.join(" or "))
                };
                self.refuse(
                    at,
                    field,
                    format!("there is no capability `{id}` in the catalog{hint}"),
                );
                None
            }
        }
    }
}
