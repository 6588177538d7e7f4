//! What the graph's own approvals say about a call, so that nobody is asked twice about one thing.

use super::{
    Run,
    state::{Phase, Step},
};
use crate::graph::{
    fact::StepId,
    plan::{GraphPlan, WorkPlan},
};
use serde_json::Value;
use std::sync::Arc;

/// What people have agreed to before a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreed {
    /// The arguments of the approval directly before the call, if that was its own: one visit of the approval for one visit of the call.
    shown: Option<Arc<Value>>,
    /// Whether an approval that names the call's capability in `approves` was given in this run before the step began.
    in_kind: bool,
}

impl Agreed {
    /// Whether exactly this call was shown and approved: the approval's arguments are the call's, or an object whose `capability` and
    /// `arguments` (or `input`) are.
    pub fn exactly(&self, capability: &str, arguments: &Value) -> bool {
        let Some(shown) = self.shown.as_deref() else {
            return false;
        };
        let named = shown.get("capability").and_then(Value::as_str) == Some(capability)
            && ["arguments", "input"]
                .into_iter()
                .any(|field| shown.get(field) == Some(arguments));
        named || shown == arguments
    }

    /// Whether a person has agreed that the run calls this capability.
    pub fn in_kind(&self) -> bool {
        self.in_kind
    }
}

impl Run {
    /// For the call of a step; nothing for any other step.
    pub(super) fn agreed(&self, id: StepId) -> Agreed {
        let Some(capability) = self.plan.capability(id) else {
            return Agreed::default();
        };
        let Some(step) = self.state.steps.get(&id) else {
            return Agreed::default();
        };
        Agreed {
            shown: self.shown_before(id),
            in_kind: self.agreed_in_kind(capability, step),
        }
    }

    fn shown_before(&self, id: StepId) -> Option<Arc<Value>> {
        if id.item.is_some() {
            return None;
        }
        let graph: &GraphPlan = self.plan.skills.get(usize::from(id.skill))?;
        let node = graph.nodes.get(usize::from(id.node))?;
        node.edges_in
            .iter()
            .filter_map(|edge| graph.edges.get(usize::from(*edge)))
            .map(|edge| StepId {
                node: edge.from,
                ..id
            })
            .find_map(|before| {
                let approval = self.state.steps.get(&before)?;
                let answer = self.approved(before, approval)?;
                answer.get("arguments").cloned().map(Arc::new)
            })
    }

    fn agreed_in_kind(&self, capability: &str, step: &Step) -> bool {
        // Most graphs ask nothing of the kind, and a long map must not look through all its steps at each of them.
        if !self.plan.approves(capability) {
            return false;
        }
        self.state.steps.iter().any(|(id, approval)| {
            let names = matches!(
                self.plan.work(*id),
                Some(WorkPlan::Approval { approves, .. })
                    if approves.iter().any(|named| &**named == capability)
            );
            names && approval.since <= step.started && self.approved(*id, approval).is_some()
        })
    }

    /// The output of an approval that was given.
    fn approved<'a>(&self, id: StepId, step: &'a Step) -> Option<&'a Value> {
        let is_approval = matches!(self.plan.work(id), Some(WorkPlan::Approval { .. }));
        let output = step.output.as_deref()?;
        (is_approval
            && step.phase == Phase::Completed
            && output.get("decision").and_then(Value::as_str) == Some("approved"))
        .then_some(output)
    }
}
