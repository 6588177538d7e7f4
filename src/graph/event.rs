//! Expressions outside of any run: conditions of subscriptions over `event` (the payload) and `trigger` (its type and source), and of
//! policies over a call.

use super::{
    budget::Budget,
    expr::{EvalError, Expr},
    scope::{CallScope, Data, Names},
};
use crate::domain::{ExecutionId, MemoryView, Timestamp, Trigger, TriggerType};
use serde_json::Value;
use std::collections::HashMap;
use uuid::Uuid;

/// A checked expression of a subscription.
pub struct EventExpr(Expr);

impl EventExpr {
    /// # Errors
    /// One sentence that says what is wrong and what would be right.
    pub fn compile(source: &str) -> Result<Self, String> {
        let names = Names {
            steps: &HashMap::new(),
            output: false,
            item: Some("event"),
            call: false,
        };
        Expr::compile(source, &names).map(Self)
    }

    /// # Errors
    /// If the event has not what the expression names, or if the budget is used up.
    pub fn evaluate(&self, trigger: &Trigger, budget: &Budget) -> Result<Value, EvalError> {
        let memory = MemoryView::default();
        let data = Data {
            trigger,
            execution: ExecutionId::from_uuid(Uuid::nil()),
            at: Timestamp::default(),
            zone: chrono_tz::Tz::UTC,
            input: &trigger.payload,
            skills: &[],
            nodes: &[],
            ids: [&[], &[]],
            memory: &memory,
            skill: None,
            output: None,
            item: Some((&trigger.payload, 0)),
            item_name: "event",
            call: None,
        };
        self.0.evaluate(&data, budget)
    }

    /// Whether the condition holds; an event that lacks what it names does not meet it.
    ///
    /// # Errors
    /// If a limit was met before it was known.
    pub fn holds(&self, trigger: &Trigger, budget: &Budget) -> Result<bool, EvalError> {
        match self.evaluate(trigger, budget) {
            Ok(value) => Ok(value == Value::Bool(true)),
            Err(error) if error.is_limit() => Err(error),
            Err(_) => Ok(false),
        }
    }
}

/// A checked condition of a policy, over `input`, `capability`, `employee` and `connection`.
#[derive(Clone, Debug)]
pub struct CallExpr(Expr);

impl CallExpr {
    /// # Errors
    /// One sentence that says what is wrong and what would be right.
    pub fn compile(source: &str) -> Result<Self, String> {
        let names = Names {
            steps: &HashMap::new(),
            output: false,
            item: None,
            call: true,
        };
        Expr::compile(source, &names).map(Self)
    }

    /// # Errors
    /// If the call has not what the expression names, if its value is no boolean, or if it does too much work.
    pub fn holds(
        &self,
        input: &Value,
        call: CallScope<'_>,
        budget: &Budget,
    ) -> Result<bool, EvalError> {
        let trigger = Trigger {
            kind: TriggerType::DirectCommand,
            payload: std::sync::Arc::default(),
            source: String::new(),
        };
        let data = Data {
            trigger: &trigger,
            execution: ExecutionId::from_uuid(Uuid::nil()),
            at: Timestamp::default(),
            zone: chrono_tz::Tz::UTC,
            input,
            skills: &[],
            nodes: &[],
            ids: [&[], &[]],
            memory: &MemoryView::default(),
            skill: None,
            output: None,
            item: None,
            item_name: "item",
            call: Some(call),
        };
        self.0.test(&data, budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn conditions_see_the_payload_and_the_source() {
        let trigger = Trigger {
            kind: TriggerType::ExternalEvent,
            payload: Arc::new(json!({"amount": 7})),
            source: "hook:shop/x".into(),
        };
        let holds = |text: &str| {
            let condition = EventExpr::compile(text).expect("compiles");
            condition.holds(&trigger, &Budget::new(1_000)) == Ok(true)
        };
        assert!(holds("event.amount > 5 && trigger.source == 'hook:shop/x'"));
        assert!(!holds("event.amount > 9"));
        assert!(
            !holds("event.missing == 1"),
            "what is not there is no match"
        );
        assert!(EventExpr::compile("event.amount >").is_err());
        assert!(EventExpr::compile("steps.n1.output == 1").is_err());
    }
}
