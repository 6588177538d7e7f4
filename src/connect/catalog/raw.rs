//! The capabilities that no file has: any request below an account's base URL.

use super::{Capability, Idempotency, Integration, RetryRule, Risk};
use crate::connect::{
    answer::AnswerSpec,
    request::{Address, RequestTemplate},
};
use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a raw request that writes is called, behind the integration's id.
const WRITE: &str = ".raw";
/// Where one that only reads is found.
const READ: &str = ".raw.read";

impl Integration {
    /// `INTEGRATION.raw` for requests that write, of risk `high` since nobody knows what they do. Those that only read (`GET` and `HEAD`) are
    /// found as `INTEGRATION.raw.read`; their capability has the same id, so that a policy is about both. `None` if `id` is neither.
    pub fn raw(&self, id: &str) -> Option<Capability> {
        let write = match id.strip_prefix(self.id.as_str())? {
            WRITE => true,
            READ => false,
            _ => return None,
        };
        Some(Capability {
            id: Self::raw_id(&self.id, true),
            integration: self.id.clone(),
            title: format!("Any request to {}", self.name),
            description: "A request that the caller writes itself, below the account's base URL."
                .into(),
            permission: Self::raw_id(&self.id, true),
            permission_aliases: Vec::new(),
            risk: if write { Risk::High } else { Risk::Medium },
            write,
            cost: 1,
            input: json!({"type": "object"}),
            markup: Default::default(),
            output: Value::Bool(true),
            idempotency: Idempotency::None,
            key_valid_for: None,
            pagination: None,
            retry: RetryRule::default(),
            quota: None,
            scopes: Vec::new(),
            raw: true,
            account_fields: self.account.as_slice().into(),
            send: self.pasted_placement(),
            input_validator: anything()?,
            steps: Arc::from([]),
            request: Arc::new(RequestTemplate {
                method: Method::GET,
                address: Address::Path(Vec::new()),
                query: Vec::new(),
                headers: Vec::new(),
                body: None,
            }),
            answer: Arc::new(AnswerSpec::raw(self, write)),
            probe: None,
        })
    }

    /// Where the raw capability is found.
    pub fn raw_id(integration: &str, write: bool) -> String {
        format!("{integration}{}", if write { WRITE } else { READ })
    }
}

fn anything() -> Option<Validator> {
    jsonschema::validator_for(&Value::Bool(true)).ok()
}
