//! A clause against the skill templates.

mod candidate;
mod parameters;

use super::{
    CatalogView,
    clause::Clause,
    condition::{self, Obstacle},
    entity::{Entity, entities},
    fill::Fillings,
    schedule::Reading,
    template::{Occasion, OneOf, Template},
    text::{Kind, Token},
    words::{Sense, Tag, Words},
};
use candidate::{Candidate, distinct_words, doubt};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A skill that a clause calls for.
#[derive(Clone, Debug)]
pub struct Found<'t> {
    pub template: &'t Template,
    pub fillings: Fillings,
    /// What the clause said, without defaults.
    pub said: BTreeMap<String, Value>,
    /// What was passed over: the words and why.
    pub rest: Option<(String, String)>,
}

/// Why a clause calls for none.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Nothing but words without meaning, and perhaps a time.
    Empty,
    Prohibition,
    Reason(String),
}

pub struct Matcher<'m> {
    pub words: &'m Words,
    pub templates: &'m [Template],
    pub catalog: &'m dyn CatalogView,
}

/// A clause with what was found in it.
pub struct Parsed<'m, 'c> {
    /// The whole text, which the tokens' bytes count in.
    pub source: &'c str,
    pub tokens: &'c [Token],
    pub tags: Vec<Tag<'m>>,
    pub entities: Vec<Entity>,
    /// By token: part of a time or of the opening word.
    pub covered: Vec<bool>,
}

impl<'m> Matcher<'m> {
    pub fn parse<'c>(
        &self,
        source: &'c str,
        clause: &'c Clause,
        reading: &Reading,
    ) -> Parsed<'m, 'c> {
        let mut covered = reading.covered.clone();
        covered[..clause.lead].fill(true);
        let tags = self
            .words
            .tag(&clause.tokens)
            .into_iter()
            .filter(|tag| !covered[tag.start] || tag.has(Sense::Negation))
            .collect();
        Parsed {
            source,
            tokens: &clause.tokens,
            tags,
            entities: entities(&clause.tokens, &covered),
            covered,
        }
    }

    /// The skill that the clause calls for. `provided` is what earlier skills of the flow give.
    pub fn find(
        &self,
        clause: &Clause,
        parsed: &Parsed<'_, '_>,
        provided: &BTreeSet<String>,
    ) -> Result<Found<'m>, Refusal> {
        if let Some((Obstacle::Negation, _)) = condition::obstacle(
            parsed.tokens,
            &parsed.tags,
            &vec![false; parsed.tokens.len()],
        )
        .filter(|_| !self.is_quoted_negation(parsed))
        {
            return Err(Refusal::Prohibition);
        }
        if parsed.is_empty() {
            return Err(Refusal::Empty);
        }
        if clause.question {
            return Err(Refusal::Reason("is a question, and no instruction".into()));
        }
        let mut candidates: Vec<Candidate<'m>> = self
            .templates
            .iter()
            .filter(|template| self.fits(template, clause, parsed))
            .map(|template| Candidate::weigh(template, parsed, provided, self.words))
            .collect();
        candidates.sort_by_key(Candidate::rank);
        let Some(best) = candidates.first() else {
            return Err(Refusal::Reason(self.unknown(clause, parsed)));
        };
        let tied: Vec<&Candidate<'m>> = candidates
            .iter()
            .take_while(|other| other.rank() == best.rank())
            .collect();
        if tied.len() > 1 {
            return Err(Refusal::Reason(doubt(&tied)));
        }
        self.accept(candidates.swap_remove(0), clause, parsed)
            .map_err(Refusal::Reason)
    }

    /// A negation inside a text that is only handed on is none.
    fn is_quoted_negation(&self, parsed: &Parsed<'_, '_>) -> bool {
        !parsed
            .tags
            .iter()
            .any(|tag| tag.has(Sense::Negation) && !tag.is_grouped())
    }

    /// Whether all words that a template wants are there, and none that it does not.
    fn fits(&self, template: &Template, clause: &Clause, parsed: &Parsed<'_, '_>) -> bool {
        let there = |group: &String| {
            parsed.tags.iter().any(|tag| tag.is(group)) || (clause.leave && group == "ask")
        };
        let wanted = |one: &OneOf| one.groups().iter().any(there);
        (template.occasion == Occasion::Event) == clause.event
            && template.matches.all.iter().all(wanted)
            && distinct_words(template, parsed, clause.leave)
            && (template.matches.any.is_empty() || template.matches.any.iter().any(there))
            && !template.matches.none.iter().any(there)
    }

    fn accept(
        &self,
        best: Candidate<'m>,
        clause: &Clause,
        parsed: &Parsed<'_, '_>,
    ) -> Result<Found<'m>, String> {
        let Candidate {
            template,
            values,
            usable,
            left,
            grave,
            ..
        } = best;
        let covered: Vec<bool> = parsed
            .covered
            .iter()
            .zip(&values.covered)
            .map(|(one, other)| *one || *other)
            .collect();
        if let Some((obstacle, words)) = condition::obstacle(parsed.tokens, &parsed.tags, &covered)
            && !clause.leave
        {
            return Err(condition::reason(obstacle, &words));
        }
        let (tokens, tags) = (parsed.tokens, &parsed.tags);
        let told = condition::speaks_of_another(tokens, tags, &covered, &template.act)
            || !condition::instructs(tokens, tags, &template.act);
        if told && !clause.leave && !clause.event {
            return Err("tells what somebody does or did, and is no instruction".into());
        }
        if let Some(capability) = template
            .needs
            .iter()
            .find(|capability| self.catalog.integration_of(capability).is_none())
        {
            return Err(format!(
                "needs the capability `{capability}`, which no integration of the catalog has"
            ));
        }
        if let Some(problem) = values.problem {
            return Err(problem);
        }
        if !grave.is_empty() {
            return Err(self.grave_reason(parsed, &grave));
        }
        if template.strict && !left.is_empty() {
            return Err(format!(
                "“{}” is not understood, and the skill “{}” takes no chances",
                texts(parsed.tokens, &left),
                template.title
            ));
        }
        if !usable {
            return Err(format!(
                "“{}” needs {}, which no clause before it gives",
                template.title,
                template.uses.join(" and ")
            ));
        }
        let currency = values.currency.map(|currency| {
            (
                currency,
                "amounts are compared in the currency of the books; this skill does not read the currency"
                    .into(),
            )
        });
        let rest = (!left.is_empty()).then(|| {
            (
                texts(parsed.tokens, &left),
                "the rest of the clause is understood, these words are not".into(),
            )
        });
        Ok(Found {
            template,
            fillings: values.fillings,
            said: values.said,
            rest: rest.or(currency),
        })
    }

    fn grave_reason(&self, parsed: &Parsed<'_, '_>, grave: &[usize]) -> String {
        self.foreign_system(parsed).unwrap_or_else(|| {
            format!(
                "“{}” is not understood, and would change what is done",
                texts(parsed.tokens, grave)
            )
        })
    }

    fn foreign_system(&self, parsed: &Parsed<'_, '_>) -> Option<String> {
        let tag = parsed
            .tags
            .iter()
            .find(|tag| tag.has(Sense::System) && !parsed.covered[tag.start])?;
        let name = &parsed.tokens[tag.start].text;
        Some(match self.catalog.has_integration(&name.to_lowercase()) {
            true => format!("no skill works with {name} yet"),
            false => format!("{name} is no integration of the catalog"),
        })
    }

    fn unknown(&self, clause: &Clause, parsed: &Parsed<'_, '_>) -> String {
        if let Some(reason) = self.foreign_system(parsed) {
            return reason;
        }
        if let Some((obstacle, words)) =
            condition::obstacle(parsed.tokens, &parsed.tags, &parsed.covered)
        {
            return condition::reason(obstacle, &words);
        }
        let kind = if clause.event {
            "no skill answers to such an event"
        } else {
            "no skill does this"
        };
        let near = self.templates.iter().find(|template| {
            let missing = |one: &&OneOf| {
                !one.groups()
                    .iter()
                    .any(|group| parsed.tags.iter().any(|tag| tag.is(group)))
            };
            (template.occasion == Occasion::Event) == clause.event
                && template.matches.all.len() > 2
                && template.matches.all.iter().filter(missing).count() == 1
        });
        let lacking = near.and_then(|template| {
            let gap = template.matches.all.iter().find(|one| {
                !one.groups()
                    .iter()
                    .any(|group| parsed.tags.iter().any(|tag| tag.is(group)))
            })?;
            Some(format!(
                "; for “{}” it says nothing of {}",
                template.title,
                gap.groups().join(" or ")
            ))
        });
        format!("{kind}{}", lacking.unwrap_or_default())
    }
}

impl Parsed<'_, '_> {
    /// Whether there is nothing but times and words without meaning.
    fn is_empty(&self) -> bool {
        (0..self.tokens.len()).all(|at| {
            let filler = self.tags.iter().any(|tag| {
                tag.covers(at)
                    && (tag.has(Sense::Filler)
                        || tag.has(Sense::OtherVerb) && is_do(&self.tokens[at]))
                    && !tag.is_grouped()
            });
            self.covered[at] || filler || self.tokens[at].kind == Kind::Punct
        })
    }
}

/// "Run every weekday at nine" names no work of its own.
fn is_do(token: &Token) -> bool {
    token.is_any(&["run", "work", "start", "keep"])
}

fn texts(tokens: &[Token], places: &[usize]) -> String {
    places
        .iter()
        .map(|at| tokens[*at].text.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}
