//! All rules of an org, and what they say of a call.

use super::rule::{RuleEffect, RuleSpec};
use crate::{
    connect::Risk,
    domain::PolicyId,
    graph::{Budget, CallExpr, scope::CallScope},
};
use serde_json::{Value, json};

/// Somebody or something with a name.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    pub id: &'a str,
    pub name: &'a str,
}

/// A call as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub capability: &'a str,
    pub integration: &'a str,
    pub risk: Risk,
    pub input: &'a Value,
    /// Absent where none was found; rules that name connections do not fit then.
    pub connection: Option<Party<'a>>,
    /// Absent for the call of a client.
    pub employee: Option<Party<'a>>,
    /// `employee`, or the role of the API key.
    pub role: &'a str,
}

/// The same with everything its own, for work that goes elsewhere.
pub struct OwnedAsked {
    capability: String,
    integration: String,
    risk: Risk,
    input: Value,
    connection: Option<[String; 2]>,
    employee: Option<[String; 2]>,
    role: String,
}

impl Asked<'_> {
    pub fn to_owned(&self) -> OwnedAsked {
        let party = |party: Party<'_>| [party.id.to_owned(), party.name.to_owned()];
        OwnedAsked {
            capability: self.capability.into(),
            integration: self.integration.into(),
            risk: self.risk,
            input: self.input.clone(),
            connection: self.connection.map(party),
            employee: self.employee.map(party),
            role: self.role.into(),
        }
    }
}

impl OwnedAsked {
    pub fn borrow(&self) -> Asked<'_> {
        fn party([id, name]: &[String; 2]) -> Party<'_> {
            Party { id, name }
        }
        Asked {
            capability: &self.capability,
            integration: &self.integration,
            risk: self.risk,
            input: &self.input,
            connection: self.connection.as_ref().map(party),
            employee: self.employee.as_ref().map(party),
            role: &self.role,
        }
    }
}

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decider {
    Rule {
        id: PolicyId,
        name: String,
        reason: Option<String>,
        expires_ms: Option<u64>,
    },
    /// The rule could not be evaluated, and so denies.
    Broken {
        id: PolicyId,
        name: String,
        why: String,
    },
    /// No rule fits, and the capability's risk is high.
    HighRisk,
    /// No rule fits.
    Nothing,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub effect: RuleEffect,
    pub by: Decider,
}

impl Verdict {
    /// Why, in a few words for people: `rule “no refunds”: only by hand`.
    pub fn because(&self) -> String {
        match &self.by {
            Decider::Rule {
                name,
                reason: Some(reason),
                ..
            } => format!("rule “{name}”: {reason}"),
            Decider::Rule { name, .. } => format!("rule “{name}”"),
            Decider::Broken { name, why, .. } => {
                format!("rule “{name}”, which cannot be evaluated: {why}")
            }
            Decider::HighRisk => "its risk is high".into(),
            Decider::Nothing => "no rule speaks of it".into(),
        }
    }

    /// The rule that decided, if one did: id and name.
    pub fn rule(&self) -> Option<(PolicyId, &str)> {
        match &self.by {
            Decider::Rule { id, name, .. } | Decider::Broken { id, name, .. } => Some((*id, name)),
            Decider::HighRisk | Decider::Nothing => None,
        }
    }
}

struct Rule {
    id: PolicyId,
    spec: RuleSpec,
    /// What its expression is; an error: it was right once and this version does not take it any more.
    when: Option<Result<CallExpr, String>>,
}

/// The rules of an org.
#[derive(Default)]
pub struct PolicySet {
    rules: Vec<Rule>,
}

impl PolicySet {
    /// In the order in which the rules are to be named where several say the same.
    pub fn new(rules: impl IntoIterator<Item = (PolicyId, RuleSpec)>) -> Self {
        let rules = rules
            .into_iter()
            .map(|(id, spec)| Rule {
                id,
                when: spec.when.as_deref().map(CallExpr::compile),
                spec,
            })
            .collect();
        Self { rules }
    }

    /// Whether a rule looks at which employee calls, so that its name has to be known.
    pub fn looks_at_employees(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| !rule.spec.employees.is_empty() || rule.when.is_some())
    }

    /// What becomes of a call. All conditions share the budget; one that cannot be evaluated within it denies, as one that cannot be
    /// evaluated at all.
    pub fn decide(&self, asked: &Asked<'_>, budget: &Budget) -> Verdict {
        let mut found: Option<Verdict> = None;
        let about: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.spec.is_about(asked))
            .collect();
        if about.is_empty() {
            return default(asked.risk);
        }
        let capability = json!(asked.capability);
        let employee = asked.employee.map_or(
            Value::Null,
            |party| json!({"id": party.id, "name": party.name}),
        );
        let connection = asked.connection.map_or(
            Value::Null,
            |party| json!({"id": party.id, "name": party.name, "integration": asked.integration}),
        );
        let scope = CallScope {
            capability: &capability,
            employee: &employee,
            connection: &connection,
        };
        for rule in about {
            let Some(said) = rule.say(asked.input, scope, budget) else {
                continue;
            };
            if found
                .as_ref()
                .is_none_or(|found| said.effect > found.effect)
            {
                found = Some(said);
            }
        }
        found.unwrap_or_else(|| default(asked.risk))
    }
}

fn default(risk: Risk) -> Verdict {
    match risk {
        Risk::High => Verdict {
            effect: RuleEffect::RequireApproval,
            by: Decider::HighRisk,
        },
        Risk::Low | Risk::Medium => Verdict {
            effect: RuleEffect::Allow,
            by: Decider::Nothing,
        },
    }
}

impl Rule {
    /// What it says of a call that it is about, if its condition holds.
    fn say(&self, input: &Value, scope: CallScope<'_>, budget: &Budget) -> Option<Verdict> {
        let holds = match &self.when {
            None => Ok(true),
            Some(Ok(when)) => when
                .holds(input, scope, budget)
                .map_err(|error| error.to_string()),
            Some(Err(error)) => Err(error.clone()),
        };
        match holds {
            Ok(false) => None,
            Ok(true) => Some(Verdict {
                effect: self.spec.effect,
                by: Decider::Rule {
                    id: self.id,
                    name: self.spec.name.clone(),
                    reason: self.spec.reason.clone(),
                    expires_ms: self.spec.expires_ms,
                },
            }),
            Err(why) => Some(Verdict {
                effect: RuleEffect::Deny,
                by: Decider::Broken {
                    id: self.id,
                    name: self.spec.name.clone(),
                    why,
                },
            }),
        }
    }
}
