//! The verification call: used after an account was connected, and as its health probe.

use super::Integration;
use crate::connect::{
    answer::{AnswerSpec, CallOutcome},
    request::{Account, BadParams, Filling, RequestTemplate, ShapedRequest, Target},
    template::Scope,
};
use serde_json::Value;
use std::sync::Arc;

/// A read that answers with one of `ok_status` exactly if the credential works.
#[derive(Debug)]
pub struct Verify {
    /// JSON pointer to what people call the account.
    pub account_name: Option<String>,
    /// JSON pointer to what the provider calls it; another one means that somebody has connected another account.
    pub account_id: Option<String>,
    pub ok_status: Vec<u16>,
    pub(crate) request: RequestTemplate,
    pub(crate) answer: Arc<AnswerSpec>,
}

/// Who the account is, as the verification call told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedAccount {
    pub name: Option<String>,
    pub id: Option<String>,
}

/// What a verification says of the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Works(VerifiedAccount),
    /// The provider does not accept it; the text says why.
    Refused(String),
    /// It cannot be told now; the text says why.
    Unknown(String),
}

impl Verify {
    /// Reads how the verification call ended.
    pub fn judge(&self, outcome: &CallOutcome) -> Verdict {
        match outcome {
            CallOutcome::Ok { status, output, .. } if self.ok_status.contains(status) => {
                Verdict::Works(self.account(output))
            }
            // Some let a token that is good see nothing.
            CallOutcome::Rejected { status, .. }
                if self.ok_status.contains(status) && !(200..300).contains(status) =>
            {
                Verdict::Works(VerifiedAccount::default())
            }
            CallOutcome::Ok { status, .. } => Verdict::Refused(format!("answered {status}")),
            CallOutcome::Auth { message, .. } | CallOutcome::Rejected { message, .. } => {
                Verdict::Refused(message.clone())
            }
            CallOutcome::RateLimited { .. } | CallOutcome::Busy { .. } => {
                Verdict::Unknown("the provider asks to come back later".into())
            }
            CallOutcome::Blocked { reason } => Verdict::Refused(reason.clone()),
            CallOutcome::TooLong { limit } => {
                Verdict::Unknown(format!("the answer has more than {limit} bytes"))
            }
            CallOutcome::Unsent { reason } | CallOutcome::Unknown { reason, .. } => {
                Verdict::Unknown(reason.clone())
            }
        }
    }

    /// Reads the output of a verification that went well.
    pub fn account(&self, output: &Value) -> VerifiedAccount {
        let read = |pointer: &Option<String>| match output.pointer(pointer.as_deref()?)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        VerifiedAccount {
            name: read(&self.account_name),
            id: read(&self.account_id),
        }
    }
}

impl Integration {
    /// The verification call for an account; `None` if the integration has none.
    ///
    /// # Errors
    /// What the account lacks.
    pub fn verification(&self, account: &Account) -> Option<Result<ShapedRequest, BadParams>> {
        let verify = self.verify.as_ref()?;
        let data = self.account_data(account).into();
        let scope = Scope::new().with("account", &data);
        Some(verify.request.fill(Filling {
            target: &Target {
                name: format!("{}.verify", self.id).into(),
                base_url: account.base_url.clone(),
                send: self.pasted_placement(),
            },
            scope: &scope,
            answer: verify.answer.clone(),
        }))
    }
}
