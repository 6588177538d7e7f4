//! Failures on purpose: the next `count` requests of an integration meet one.

use super::call::Provider;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::VecDeque, time::Duration};

const MAX_COUNT: u64 = 1_000_000;
const MAX_MS: u64 = 10 * 60 * 1000;
/// Faults that may wait at once; more are refused.
const MAX_FAULTS: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Done at once, answered `ms` later.
    Latency,
    /// Refused with 429 and `Retry-After` of `ms`, rounded up to seconds (1 if absent); not done.
    Status429,
    /// Refused with 500; not done.
    Status500,
    /// Done, and not answered for `ms` (10 minutes if absent); then the connection is closed.
    Hang,
    /// Done, and the connection is closed without an answer.
    CloseAfterAccept,
}

impl FaultKind {
    const ALL: [(&'static str, FaultKind); 5] = [
        ("latency", FaultKind::Latency),
        ("status_429", FaultKind::Status429),
        ("status_500", FaultKind::Status500),
        ("hang", FaultKind::Hang),
        ("close_after_accept", FaultKind::CloseAfterAccept),
    ];
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub provider: Provider,
    pub kind: FaultKind,
    /// How many requests are still to meet it.
    pub count: u64,
    pub ms: Option<u64>,
}

/// What is wrong with a fault that was sent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct BadFault {
    pub field: String,
    pub message: String,
}

impl Fault {
    /// From `{"integration","kind","count","ms"?}`; `count` is 1 if absent.
    ///
    /// # Errors
    /// The field, and what would be right.
    pub fn parse(body: &Value) -> Result<Self, BadFault> {
        let wrong = |field: &str, message: &str| BadFault {
            field: field.into(),
            message: message.into(),
        };
        let object = body
            .as_object()
            .ok_or_else(|| wrong("body", "must be a JSON object"))?;
        if let Some(odd) = object
            .keys()
            .find(|key| !["integration", "kind", "count", "ms"].contains(&key.as_str()))
        {
            return Err(wrong(
                odd,
                "is not a known field; known are integration, kind, count, ms",
            ));
        }
        let provider = object
            .get("integration")
            .and_then(Value::as_str)
            .and_then(Provider::named);
        let provider =
            provider.ok_or_else(|| wrong("integration", "must be slack, quickbooks or gmail"))?;
        let name = object
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let kind = FaultKind::ALL
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| kind);
        let kind = kind.ok_or_else(|| {
            let known = FaultKind::ALL.map(|(name, _)| name).join(", ");
            wrong("kind", &format!("must be one of {known}"))
        })?;
        let count = whole(object, "count", 1, MAX_COUNT)?.unwrap_or(1);
        let ms = whole(object, "ms", 0, MAX_MS)?;
        if kind == FaultKind::Latency && ms.is_none() {
            return Err(wrong("ms", "is missing: how long the answer takes"));
        }
        Ok(Self {
            provider,
            kind,
            count,
            ms,
        })
    }

    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "integration": self.provider, "kind": self.kind.name(), "count": self.count, "ms": self.ms,
        })
    }
}

fn whole(
    object: &Map<String, Value>,
    name: &str,
    least: u64,
    most: u64,
) -> Result<Option<u64>, BadFault> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value
            .as_u64()
            .filter(|number| (least..=most).contains(number))
        {
            Some(number) => Ok(Some(number)),
            None => Err(BadFault {
                field: name.into(),
                message: format!("must be a whole number from {least} to {most}"),
            }),
        },
    }
}

/// The faults that wait, met in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<Fault>);

impl Faults {
    pub fn add(&mut self, fault: Fault) -> Result<(), BadFault> {
        if self.0.len() >= MAX_FAULTS {
            let message = format!("are too many: {MAX_FAULTS} wait already");
            return Err(BadFault {
                field: "faults".into(),
                message,
            });
        }
        self.0.push_back(fault);
        Ok(())
    }
    pub fn list(&self) -> Vec<Fault> {
        self.0.iter().cloned().collect()
    }
    pub fn clear(&mut self) {
        self.0.clear();
    }
    /// What the next request of a provider meets.
    pub fn take(&mut self, provider: Provider) -> Option<(FaultKind, Option<u64>)> {
        let place = self.0.iter().position(|fault| fault.provider == provider)?;
        let fault = &mut self.0[place];
        let met = (fault.kind, fault.ms);
        fault.count -= 1;
        if fault.count == 0 {
            self.0.remove(place);
        }
        Some(met)
    }
}

/// How the connection ends after a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    Answer,
    AnswerAfter(Duration),
    /// No answer, ever; closed after this time.
    CloseAfter(Duration),
}

impl Ending {
    pub(super) fn of(fault: Option<(FaultKind, Option<u64>)>) -> Self {
        match fault {
            Some((FaultKind::Latency, ms)) => {
                Ending::AnswerAfter(Duration::from_millis(ms.unwrap_or(0)))
            }
            Some((FaultKind::Hang, ms)) => {
                Ending::CloseAfter(Duration::from_millis(ms.unwrap_or(MAX_MS)))
            }
            Some((FaultKind::CloseAfterAccept, _)) => Ending::CloseAfter(Duration::ZERO),
            Some((FaultKind::Status429 | FaultKind::Status500, _)) | None => Ending::Answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_fault_names_the_field() {
        for (body, field) in [
            (json!([]), "body"),
            (json!({"kind": "hang"}), "integration"),
            (
                json!({"integration": "teams", "kind": "hang"}),
                "integration",
            ),
            (json!({"integration": "slack", "kind": "explode"}), "kind"),
            (
                json!({"integration": "slack", "kind": "hang", "count": 0}),
                "count",
            ),
            (
                json!({"integration": "slack", "kind": "hang", "count": 1.5}),
                "count",
            ),
            (
                json!({"integration": "slack", "kind": "hang", "ms": -1}),
                "ms",
            ),
            (
                json!({"integration": "slack", "kind": "hang", "ms": 600_001}),
                "ms",
            ),
            (json!({"integration": "slack", "kind": "latency"}), "ms"),
            (
                json!({"integration": "slack", "kind": "hang", "times": 2}),
                "times",
            ),
        ] {
            assert_eq!(Fault::parse(&body).unwrap_err().field, field, "{body}");
        }
    }

    #[test]
    fn faults_are_met_in_order_each_as_often_as_said() {
        let mut faults = Faults::default();
        for body in [
            json!({"integration": "slack", "kind": "hang", "count": 2}),
            json!({"integration": "gmail", "kind": "status_500"}),
            json!({"integration": "slack", "kind": "status_429", "ms": 1500}),
        ] {
            faults.add(Fault::parse(&body).unwrap()).unwrap();
        }
        let met: Vec<_> = (0..4)
            .map(|_| faults.take(Provider::Slack).map(|(kind, _)| kind))
            .collect();
        assert_eq!(
            met,
            [
                Some(FaultKind::Hang),
                Some(FaultKind::Hang),
                Some(FaultKind::Status429),
                None
            ]
        );
        assert_eq!(faults.list().len(), 1);
    }
}
