//! Calls that take several requests: steps that change nothing that counts, for example asking where a file may be put, and then
//! the request that does.
//!
//! A step that fails leaves nothing behind that anybody sees, so the call may simply be made again; only of the last request can it
//! be unknown whether it happened.

use super::{BadParams, Filling, RequestTemplate, ShapedRequest, Target};
use crate::connect::{answer::AnswerSpec, template::Scope};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A request before the one that counts. What its answer's template takes is `{step.<name>}` afterwards.
#[derive(Debug)]
pub(crate) struct Step {
    pub name: String,
    pub request: RequestTemplate,
    pub answer: Arc<AnswerSpec>,
}

/// What is left of a call.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    pub steps: Arc<[Step]>,
    pub request: Arc<RequestTemplate>,
    pub target: Target,
    pub answer: Arc<AnswerSpec>,
    pub key_headers: Vec<(String, String)>,
    pub arguments: Value,
    pub data: Value,
    pub effect_key: Option<Value>,
    /// What the steps so far have taken, by their names.
    pub taken: Value,
    /// The step that is next.
    pub next: usize,
}

impl Rest {
    /// The next request.
    ///
    /// # Errors
    /// What it lacks.
    pub fn shape(self) -> Result<ShapedRequest, BadParams> {
        let scope = Scope::new()
            .with("input", &self.arguments)
            .with("account", &self.data)
            .with("step", &self.taken);
        let scope = match &self.effect_key {
            Some(key) => scope.with("effect_key", key),
            None => scope,
        };
        if let Some(step) = self.steps.get(self.next) {
            let mut shaped = step.request.fill(Filling {
                target: &self.target,
                scope: &scope,
                answer: step.answer.clone(),
            })?;
            shaped.rest = Some(Arc::new(self));
            return Ok(shaped);
        }
        let mut shaped = self.request.fill(Filling {
            target: &self.target,
            scope: &scope,
            answer: self.answer.clone(),
        })?;
        shaped.headers.extend(self.key_headers);
        Ok(shaped)
    }

    /// The request after the step whose answer was `output`.
    ///
    /// # Errors
    /// What it lacks.
    pub fn after(&self, output: Value) -> Result<ShapedRequest, BadParams> {
        let mut rest = self.clone();
        let mut taken = match rest.taken {
            Value::Object(taken) => taken,
            _ => Map::new(),
        };
        if let Some(step) = self.steps.get(self.next) {
            taken.insert(step.name.clone(), output);
        }
        rest.taken = Value::Object(taken);
        rest.next += 1;
        rest.shape()
    }
}
