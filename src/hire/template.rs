//! Skill templates: what a clause can become, as data (`catalog/skills/*.yaml`), checked when they are loaded.

use super::{fill, words::Words};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A skill and the words that call for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The skill graph's id is made of it: `sg_<id>_v1`.
    pub id: String,
    pub title: String,
    /// Id of the node in the employee graph.
    pub skill: String,
    /// The group of its verb.
    pub act: String,
    /// The capabilities that its graph uses, and the node's permissions.
    pub needs: Vec<String>,
    #[serde(rename = "match")]
    pub matches: Match,
    /// Groups whose words add nothing to what the skill does anyway.
    #[serde(default)]
    pub also: Vec<String>,
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// What later skills of the same flow can use.
    #[serde(default)]
    pub provides: Option<String>,
    /// What earlier skills of the same flow have to provide; the skill's input is an object of it.
    #[serde(default)]
    pub uses: Vec<String>,
    /// The same where an earlier skill happens to provide it; else null.
    #[serde(default)]
    pub may_use: Vec<String>,
    /// CEL over `output`: whether the skills after it that are skipped `when_gated` go on.
    #[serde(default)]
    pub gate: Option<String>,
    #[serde(default)]
    pub when_gated: WhenGated,
    /// It changes something outside: it never goes on past a question that was not understood.
    #[serde(default)]
    pub effect: bool,
    /// It asks a person for leave.
    #[serde(default)]
    pub asks: bool,
    /// Whoever denies ends the flow, whatever skills come after it.
    #[serde(default)]
    pub stops: bool,
    /// A clause with words that the skill does not know is not understood at all.
    #[serde(default)]
    pub strict: bool,
    #[serde(default)]
    pub occasion: Occasion,
    #[serde(default)]
    pub subscription: Option<Value>,
    /// Without `graph_id` and `type`.
    pub skill_graph: Value,
}

/// What the flow does with a skill after a gate that closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenGated {
    Skip,
    #[default]
    Run,
}

/// What kind of clause can call for a skill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// One that says what to do.
    #[default]
    Command,
    /// One that says what to do when something happens.
    Event,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// A word of each of these must be there.
    pub all: Vec<OneOf>,
    /// A word of one of these, if any are given.
    #[serde(default)]
    pub any: Vec<String>,
    /// No word of these.
    #[serde(default)]
    pub none: Vec<String>,
}

/// A group, or several of which one will do.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOf {
    Group(String),
    Groups(Vec<String>),
}

impl OneOf {
    pub fn groups(&self) -> &[String] {
        match self {
            OneOf::Group(group) => std::slice::from_ref(group),
            OneOf::Groups(groups) => groups,
        }
    }
}

/// Something that is read out of the clause.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    pub kind: ParameterKind,
    /// Any of these places will do.
    pub from: Vec<Place>,
    #[serde(default)]
    pub required: bool,
    /// What the reader is told if it is required and not there.
    #[serde(default)]
    pub missing: Option<String>,
    /// Only where to leave it out means exactly this.
    #[serde(default)]
    pub default: Option<Fallback>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    pub value: Value,
    #[serde(default)]
    pub op: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// Decimal text.
    Money,
    /// A whole number.
    Days,
    /// Digits as text.
    Number,
    /// With its `#`.
    Channel,
    Email,
    /// A channel, `@name`, or `manager`.
    Addressee,
    /// `source/endpoint`.
    Endpoint,
    /// A dotted event type.
    Event,
    /// Words of the clause.
    Text,
}

/// Where in a clause a parameter stands. Empty: anywhere.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Place {
    /// One of these phrases stands right before it.
    pub before: Vec<String>,
    /// One of these phrases stands right after it.
    pub after: Vec<String>,
    /// How a value is compared, where that depends on the words.
    pub op: Option<String>,
    /// For text: what stands in quotation marks.
    pub quoted: bool,
    /// For text: up to and with one of these words.
    pub until: Vec<String>,
    /// For text: only if the clause's first word is of this group.
    pub first: Option<String>,
}

/// Why the skill catalog could not be loaded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("skill template `{file}`: {reason}")]
pub struct TemplateError {
    pub file: String,
    pub reason: String,
}

impl Template {
    /// # Errors
    /// The text is no template, or names something that does not exist.
    pub fn parse(file: &str, yaml: &str, words: &Words) -> Result<Template, TemplateError> {
        let wrong = |reason: String| TemplateError {
            file: file.to_owned(),
            reason,
        };
        let template: Template = crate::domain::yaml::from_str(yaml).map_err(wrong)?;
        template.check(words).map_err(wrong)?;
        Ok(template)
    }

    /// Every group that the template knows, with the verbs.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let all = self.matches.all.iter().flat_map(OneOf::groups);
        all.chain(&self.matches.any)
            .chain(&self.also)
            .chain([&self.act])
            .map(String::as_str)
    }

    fn check(&self, words: &Words) -> Result<(), String> {
        if let Some(group) = self
            .groups()
            .chain(self.matches.none.iter().map(String::as_str))
            .find(|group| !words.has_group(group))
        {
            return Err(format!("`{group}` is no group of words"));
        }
        if self.matches.all.is_empty() {
            return Err("`match.all` is empty".into());
        }
        if (self.occasion == Occasion::Event) != self.subscription.is_some() {
            return Err("a subscription belongs to the occasion `event`, and only there".into());
        }
        for (name, parameter) in &self.parameters {
            if parameter.required != parameter.missing.is_some()
                || (parameter.required && parameter.default.is_some())
            {
                return Err(format!(
                    "parameter `{name}`: `missing` goes with `required`, `default` does not"
                ));
            }
        }
        self.check_capabilities()?;
        fill::check(&self.skill_graph, &self.parameters)?;
        self.subscription.as_ref().map_or(Ok(()), |subscription| {
            fill::check(subscription, &self.parameters)
        })
    }

    /// `needs` is exactly what the graph uses.
    fn check_capabilities(&self) -> Result<(), String> {
        let mut used = BTreeSet::new();
        capabilities(&self.skill_graph, &mut used);
        let needed: BTreeSet<&str> = self.needs.iter().map(String::as_str).collect();
        match used.symmetric_difference(&needed).next() {
            Some(other) => Err(format!("`{other}` is only in one of `needs` and the graph")),
            None => Ok(()),
        }
    }
}

fn capabilities<'v>(value: &'v Value, into: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("capability").and_then(Value::as_str));
            fields.values().for_each(|field| capabilities(field, into));
        }
        Value::Array(items) => items.iter().for_each(|item| capabilities(item, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "{id: a, title: A, skill: skill_a, act: post, needs: [], match: {all: [post]}, skill_graph: {nodes: [], edges: []}}";

    #[test]
    fn bad_templates_are_refused_with_the_reason() {
        let words = Words::parse(include_str!("../../catalog/skills/words.yaml")).unwrap();
        assert!(Template::parse("good", GOOD, &words).is_ok());
        let cases = [
            (
                GOOD.replace("all: [post]", "all: [blarg]"),
                "`blarg` is no group of words",
            ),
            (
                GOOD.replace("all: [post]", "all: []"),
                "`match.all` is empty",
            ),
            (
                GOOD.replace("needs: []", "needs: [gmail.send]"),
                "`gmail.send` is only in one of",
            ),
            (
                GOOD.replace("nodes: []", "nodes: [\"'${who}'\"]"),
                "no parameter `who`",
            ),
            (
                GOOD.replace("act: post", "act: post, occasion: event"),
                "a subscription belongs",
            ),
            (
                GOOD.replace("act: post", "act: post, colour: red"),
                "unknown field `colour`",
            ),
            (
                GOOD.replace(
                    "act: post",
                    "act: post, parameters: {x: {kind: money, from: [], required: true}}",
                ),
                "`missing` goes with",
            ),
        ];
        for (yaml, reason) in cases {
            let error = Template::parse("bad", &yaml, &words).unwrap_err();
            assert!(error.reason.contains(reason), "{error}");
        }
    }
}
