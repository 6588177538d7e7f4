//! Failures on purpose: the next `count` requests of an integration meet one.

use super::{
    call::Provider,
    fields::{BadField, Fields},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    /// Refused with 200 and an error in the provider's own form; not done.
    Error200,
    /// Refused with 200 and the provider's word for too many requests; not done.
    Limit200,
    /// Refused with 200 and the provider's word for a token that has ended; not done.
    Token200,
    /// Done, and answered with 200 and `{}`.
    Empty200,
    /// Done, and answered with 200 and a page of HTML.
    Html200,
    /// Done, and not answered for `ms` (10 minutes if absent); then the connection is closed.
    Hang,
    /// Done, and the connection is closed without an answer.
    CloseAfterAccept,
}

impl FaultKind {
    const ALL: [(&'static str, FaultKind); 10] = [
        ("latency", FaultKind::Latency),
        ("status_429", FaultKind::Status429),
        ("status_500", FaultKind::Status500),
        ("error_200", FaultKind::Error200),
        ("limit_200", FaultKind::Limit200),
        ("token_200", FaultKind::Token200),
        ("empty_200", FaultKind::Empty200),
        ("html_200", FaultKind::Html200),
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

/// Which of an integration's doors a fault stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    #[default]
    Api,
    /// The token endpoint of its authorisation server.
    Token,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub provider: Provider,
    pub kind: FaultKind,
    /// How many requests are still to meet it.
    pub count: u64,
    pub ms: Option<u64>,
    pub target: Target,
    /// Only requests to this path of the provider meet it.
    pub path: Option<String>,
}

impl Fault {
    /// From `{"integration","kind","count"?,"ms"?,"target"?,"path"?}`; `count` is 1 and `target` is `api` if absent.
    ///
    /// # Errors
    /// The field, and what would be right.
    pub fn parse(body: &Value) -> Result<Self, BadField> {
        let known = ["integration", "kind", "count", "ms", "target", "path"];
        let fields = Fields::of(body, &known)?;
        let provider = fields.provider()?;
        let kind = fields.choice("kind", &FaultKind::ALL)?;
        let kind = kind.ok_or_else(|| BadField::new("kind", "is missing"))?;
        let count = fields.whole("count", 1, MAX_COUNT)?.unwrap_or(1);
        let ms = fields.whole("ms", 0, MAX_MS)?;
        if kind == FaultKind::Latency && ms.is_none() {
            let message = "is missing: how long the answer takes";
            return Err(BadField::new("ms", message));
        }
        let targets = [("api", Target::Api), ("token", Target::Token)];
        let target = fields.choice("target", &targets)?.unwrap_or_default();
        let path = fields.text("path")?.map(str::to_owned);
        if path.is_some() && target == Target::Token {
            let message = "is for the api; the token endpoint is one path";
            return Err(BadField::new("path", message));
        }
        Ok(Self {
            provider,
            kind,
            count,
            ms,
            target,
            path,
        })
    }

    pub fn to_json(&self) -> Value {
        let mut shown = serde_json::json!({
            "integration": self.provider, "kind": self.kind.name(), "count": self.count, "ms": self.ms,
        });
        if self.target == Target::Token {
            shown["target"] = "token".into();
        }
        if let Some(path) = &self.path {
            shown["path"] = path.as_str().into();
        }
        shown
    }

    fn fits(&self, provider: Provider, target: Target, path: &str) -> bool {
        self.provider == provider
            && self.target == target
            && self.path.as_ref().is_none_or(|own| own == path)
    }
}

/// The faults that wait, met in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<Fault>);

impl Faults {
    pub fn add(&mut self, fault: Fault) -> Result<(), BadField> {
        if self.0.len() >= MAX_FAULTS {
            let message = format!("are too many: {MAX_FAULTS} wait already");
            return Err(BadField::new("faults", message));
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
    /// What the next request to a path of a provider meets.
    pub fn take(
        &mut self,
        provider: Provider,
        target: Target,
        path: &str,
    ) -> Option<(FaultKind, Option<u64>)> {
        let place = self
            .0
            .iter()
            .position(|fault| fault.fits(provider, target, path))?;
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
            _ => Ending::Answer,
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
            (
                json!({"integration": "slack", "kind": "hang", "target": "door"}),
                "target",
            ),
            (
                json!({"integration": "slack", "kind": "hang", "target": "token", "path": "/x"}),
                "path",
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
            json!({"integration": "slack", "kind": "latency", "ms": 1, "target": "token"}),
            json!({"integration": "slack", "kind": "status_500", "path": "/api/chat.update"}),
        ] {
            faults.add(Fault::parse(&body).unwrap()).unwrap();
        }
        let take = |faults: &mut Faults, target, path| {
            let met = faults.take(Provider::Slack, target, path);
            met.map(|(kind, _)| kind)
        };
        let met: Vec<_> = (0..4)
            .map(|_| take(&mut faults, Target::Api, "/api/auth.test"))
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
        let elsewhere = [
            take(&mut faults, Target::Token, "/token"),
            take(&mut faults, Target::Api, "/api/chat.update"),
        ];
        assert_eq!(
            elsewhere,
            [Some(FaultKind::Latency), Some(FaultKind::Status500)]
        );
        assert_eq!(faults.list().len(), 1);
    }
}
