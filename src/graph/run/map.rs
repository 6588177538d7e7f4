//! `map`: elements side by side, at most `width` at once, outputs in the order of the list.

use super::{
    Run,
    state::{Phase, place_of},
};
use crate::graph::{
    fact::{StepError, StepId},
    plan::MapPlan,
    spec::OnItemError,
};
use serde_json::{Value, json};
use std::sync::Arc;

impl Run {
    pub(super) fn map_items(
        &mut self,
        id: StepId,
        map: &MapPlan,
    ) -> Result<Arc<Vec<Arc<Value>>>, StepError> {
        let context = self.step_context(id);
        let items = match self.within(|budget| context.value(&map.items, budget))? {
            Value::Array(items) => items,
            other => {
                let kind = crate::graph::expr::kind_of(&other);
                return Err(StepError::new(
                    "expression_failed",
                    format!("`items` gave {kind}, not a list"),
                ));
            }
        };
        if items.len() > map.max_items as usize {
            let message = format!(
                "`items` gave {} elements, `max_items` allows {}",
                items.len(),
                map.max_items
            );
            return Err(StepError::new("too_many_items", message));
        }
        Ok(Arc::new(items.into_iter().map(Arc::new).collect()))
    }

    pub(super) fn begin_map(&mut self, id: StepId, items: Arc<Vec<Arc<Value>>>) {
        self.end_phase(
            id,
            Phase::Mapping {
                items,
                next: 0,
                open: 0,
            },
        );
        self.start_items(id);
    }

    /// Starts elements until the width is used up; ends the map after the last one.
    fn start_items(&mut self, id: StepId) {
        let plan = self.plan.clone();
        let Some(map) = plan.map(id) else { return };
        loop {
            let Some(Phase::Mapping { items, next, open }) =
                self.state.steps.get_mut(&id).map(|step| &mut step.phase)
            else {
                return;
            };
            let Some(input) = items.get(*next as usize).cloned() else {
                let (items, open) = (items.len(), *open);
                if open == 0 {
                    self.collect(id, map, items);
                }
                return;
            };
            if *open >= map.width {
                return;
            }
            let item = StepId {
                item: Some(*next),
                ..id
            };
            *next += 1;
            *open += 1;
            self.new_step(item, input);
            // An element that cannot even begin ends here and not in `item_done`: a long list of them must not become deep recursion.
            if let Err(error) = self.first_attempt(item) {
                self.end_phase(item, Phase::Failed);
                if let Some(step) = self.state.steps.get_mut(&item) {
                    step.error = Some(error.clone());
                }
                if !self.item_counted(item, Some(error)) {
                    return;
                }
            }
        }
    }

    /// An element has its output or has failed for good.
    pub(super) fn item_done(&mut self, item: StepId, error: Option<StepError>) {
        if self.item_counted(item, error) {
            self.start_items(item.parent());
        }
    }

    /// Whether the map goes on.
    fn item_counted(&mut self, item: StepId, error: Option<StepError>) -> bool {
        let id = item.parent();
        let fails = self
            .plan
            .map(id)
            .is_some_and(|map| map.on_item_error == OnItemError::Fail);
        let Some(Phase::Mapping { open, .. }) =
            self.state.steps.get_mut(&id).map(|step| &mut step.phase)
        else {
            return false;
        };
        *open = open.saturating_sub(1);
        match error {
            Some(error) if fails => {
                let message = format!("item {}: {}", item.item.unwrap_or_default(), error.message);
                self.fail(id, StepError { message, ..error });
                false
            }
            _ => true,
        }
    }

    fn collect(&mut self, id: StepId, map: &MapPlan, items: usize) {
        if let Err(error) = self.fits_together(id, items) {
            return self.fail_for_good(id, error, None);
        }
        let mut outputs = Vec::with_capacity(items);
        for item in (0u32..).take(items) {
            let Some(step) = self.state.steps.get(&StepId {
                item: Some(item),
                ..id
            }) else {
                continue;
            };
            match (&step.output, &step.error) {
                (Some(output), _) => outputs.push((**output).clone()),
                (None, Some(error)) if map.on_item_error == OnItemError::Collect => {
                    outputs.push(json!({"error": {"code": error.code, "message": error.message}}));
                }
                _ => {}
            }
        }
        self.complete(id, Arc::new(Value::Array(outputs)));
        self.dirty.insert(place_of(id).0);
    }
}
