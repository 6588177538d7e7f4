//! Flows: skills in sequence, and what starts them. A text can speak of several: one a recurrence, one an event.

use super::{matching::Found, schedule::When, template::Template};
use serde_json::Value;
use std::collections::BTreeSet;

/// A skill at its place in a flow.
#[derive(Clone, Debug)]
pub struct Placed<'t> {
    /// Its node in the employee graph; unique.
    pub node: String,
    /// Its skill graph; unique.
    pub graph_id: String,
    pub found: Found<'t>,
}

/// What starts a flow.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// A command, or one of its schedules.
    Command,
    /// An event that fits this subscription (`SubscriptionSpec` without `skill`).
    Event(Value),
    /// An event that was not understood: what belongs to it is not done.
    Lost,
}

#[derive(Clone, Debug)]
pub struct Flow<'t> {
    pub start: Start,
    /// With the clause that says it.
    pub schedules: Vec<(When, String)>,
    pub skills: Vec<Placed<'t>>,
    /// A question to a person that was not understood: nothing may go on past it.
    pub blocked: Option<String>,
    /// Clauses that may narrow what its skills do and were not understood: a question before them quotes these.
    pub limits: Vec<String>,
}

impl<'t> Flow<'t> {
    pub fn new(start: Start) -> Self {
        Self {
            start,
            schedules: Vec::new(),
            skills: Vec::new(),
            blocked: None,
            limits: Vec::new(),
        }
    }

    /// What its skills give to later ones.
    pub fn provided(&self) -> BTreeSet<String> {
        self.skills
            .iter()
            .filter_map(|placed| placed.found.template.provides.clone())
            .collect()
    }

    /// The node that provides something.
    pub fn provider(&self, of: &str, before: usize) -> Option<&Placed<'t>> {
        self.skills[..before]
            .iter()
            .find(|placed| placed.found.template.provides.as_deref() == Some(of))
    }

    pub fn asks(&self) -> Option<&Placed<'t>> {
        self.skills.iter().find(|placed| placed.found.template.asks)
    }

    /// The same skill with the same values.
    pub fn twin(&self, found: &Found<'_>) -> Option<&Placed<'t>> {
        self.skills.iter().find(|placed| {
            placed.found.template.id == found.template.id && placed.found.fillings == found.fillings
        })
    }

    /// Why a skill has nothing to work on here, if it has nothing.
    pub fn lacks(&self, template: &Template) -> Option<String> {
        let provided = self.provided();
        let lacking = template
            .uses
            .iter()
            .find(|used| !provided.contains(*used))?;
        Some(format!(
            "“{}” needs {lacking}, which no clause of the same occasion gives",
            template.title
        ))
    }

    /// Why a skill cannot be added, if it cannot.
    pub fn refuses(&self, template: &Template) -> Option<String> {
        if self.start == Start::Lost {
            return Some("belongs to an occasion that was not understood".into());
        }
        if let Some(question) = self.blocked.as_ref().filter(|_| template.effect) {
            return Some(format!(
                "comes after “{question}”, which was not understood; nothing is done past an open question"
            ));
        }
        let again = template
            .provides
            .as_ref()
            .filter(|provides| *provides != "approval" && self.provided().contains(*provides));
        again.map(|provides| format!("an earlier clause already gives {provides}, and it would be unclear which of them is meant"))
    }
}
