//! The parameters of a template in a clause.

use super::Parsed;
use crate::{
    domain::money,
    hire::{
        entity::{Entity, EntityKind},
        fill::{Filling, Fillings, reads_currency},
        template::{Parameter, ParameterKind, Place, Template},
        text::{Kind, folded},
        words::{Words, phrase},
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::Range};

/// What was read for a template.
pub struct Values {
    pub fillings: Fillings,
    pub said: BTreeMap<String, Value>,
    /// By token: part of a value or of the words around it.
    pub covered: Vec<bool>,
    /// A required value is missing, or one is there more than once.
    pub problem: Option<String>,
    /// A currency that the text names.
    pub currency: Option<String>,
}

/// A value and the tokens that say it.
struct Hit {
    value: Value,
    op: Option<String>,
    tokens: Range<usize>,
    currency: Option<String>,
}

pub fn read(template: &Template, parsed: &Parsed<'_, '_>, words: &Words) -> Values {
    let mut values = Values {
        fillings: Fillings::new(),
        said: BTreeMap::new(),
        covered: vec![false; parsed.tokens.len()],
        problem: None,
        currency: None,
    };
    for (name, parameter) in &template.parameters {
        let hits = hits(parameter, parsed, words);
        for hit in &hits {
            values.covered[hit.tokens.clone()].fill(true);
        }
        let Some(first) = hits.first() else {
            values.absent(name, parameter);
            continue;
        };
        if let Some(other) = hits.iter().find(|hit| {
            (&hit.value, &hit.op, &hit.currency) != (&first.value, &first.op, &first.currency)
        }) {
            values.problem = Some(format!(
                "gives more than one {}: {} and {}",
                name.replace('_', " "),
                shown(&first.value),
                shown(&other.value)
            ));
        }
        let code = first.currency.as_deref().and_then(money::code_of_word);
        let is_read = reads_currency(&template.skill_graph, name);
        match code.filter(|_| is_read) {
            Some(code) => {
                values.said.insert(format!("{name}_currency"), json!(code));
            }
            // It is told that nobody looks at it.
            None => values.currency = values.currency.take().or_else(|| first.currency.clone()),
        }
        values.said.insert(name.clone(), first.value.clone());
        values.fillings.insert(
            name.clone(),
            Filling {
                value: first.value.clone(),
                op: first.op.clone(),
                currency: code.map(str::to_owned),
            },
        );
    }
    values
}

impl Values {
    fn absent(&mut self, name: &str, parameter: &Parameter) {
        if let Some(fallback) = &parameter.default {
            self.fillings.insert(
                name.to_owned(),
                Filling {
                    value: fallback.value.clone(),
                    op: fallback.op.clone(),
                    currency: None,
                },
            );
        } else if parameter.required {
            self.problem = self.problem.take().or_else(|| parameter.missing.clone());
        }
    }
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn hits(parameter: &Parameter, parsed: &Parsed<'_, '_>, words: &Words) -> Vec<Hit> {
    if parameter.kind == ParameterKind::Text {
        return parameter
            .from
            .iter()
            .find_map(|place| text(place, parsed, words))
            .into_iter()
            .collect();
    }
    if parameter.kind == ParameterKind::Addressee {
        // The most exact word for the person wins; two of one kind are a doubt.
        let order = [
            EntityKind::Channel,
            EntityKind::Mention,
            EntityKind::Manager,
        ];
        let of_kind = |kind| {
            parsed
                .entities
                .iter()
                .filter(move |entity| entity.kind == kind)
                .map(plain)
                .collect::<Vec<_>>()
        };
        return order
            .into_iter()
            .map(of_kind)
            .find(|found| !found.is_empty())
            .unwrap_or_default();
    }
    parsed
        .entities
        .iter()
        .filter(|entity| fits(parameter.kind, entity))
        .filter_map(|entity| placed(parameter, entity, parsed))
        .collect()
}

fn fits(kind: ParameterKind, entity: &Entity) -> bool {
    matches!(
        (kind, entity.kind),
        (ParameterKind::Money, EntityKind::Money)
            | (ParameterKind::Days, EntityKind::Days)
            | (
                ParameterKind::Number,
                EntityKind::Money | EntityKind::Number
            )
            | (ParameterKind::Channel, EntityKind::Channel)
            | (ParameterKind::Email, EntityKind::Email)
            | (ParameterKind::Endpoint, EntityKind::Path)
            | (ParameterKind::Event, EntityKind::Dotted)
    )
}

fn plain(entity: &Entity) -> Hit {
    Hit {
        value: entity.value.clone(),
        op: None,
        tokens: entity.tokens.clone(),
        currency: entity.currency.clone(),
    }
}

/// The value, if it stands where the parameter may stand.
fn placed(parameter: &Parameter, entity: &Entity, parsed: &Parsed<'_, '_>) -> Option<Hit> {
    parameter.from.iter().find_map(|place| {
        let start = if place.before.is_empty() {
            entity.tokens.start
        } else {
            before(&place.before, entity.tokens.start, parsed)?
        };
        let end = if place.after.is_empty() {
            entity.tokens.end
        } else {
            after(&place.after, entity.tokens.end, parsed)?
        };
        Some(Hit {
            op: place.op.clone(),
            tokens: start..end,
            ..plain(entity)
        })
    })
}

/// Where the longest of the phrases begins that ends right before `at`.
fn before(phrases: &[String], at: usize, parsed: &Parsed<'_, '_>) -> Option<usize> {
    let ends = |stems: &[String], end: usize| {
        let start = end.checked_sub(stems.len())?;
        same(stems, start, parsed).then_some(start)
    };
    // "over a hundred", "over the 500", "by about"
    let skips = 1 + usize::from(at > 0 && parsed.tokens[at - 1].is_any(&["a", "an", "the"]));
    (0..skips).find_map(|skip| {
        phrases
            .iter()
            .filter_map(|phrase_text| ends(&phrase(phrase_text), at - skip))
            .min()
    })
}

/// Where the longest of the phrases ends that begins right after a value, with "are" or "is" between them.
fn after(phrases: &[String], at: usize, parsed: &Parsed<'_, '_>) -> Option<usize> {
    phrases
        .iter()
        .map(|text| phrase(text))
        .filter(|stems| same(stems, at, parsed))
        .map(|stems| at + stems.len())
        .max()
}

fn same(stems: &[String], start: usize, parsed: &Parsed<'_, '_>) -> bool {
    let tokens = parsed.tokens.get(start..start + stems.len());
    tokens.is_some_and(|tokens| {
        tokens
            .iter()
            .zip(stems)
            .all(|(token, stem)| token.stem == *stem)
    })
}

/// A piece of the clause's own words.
fn text(place: &Place, parsed: &Parsed<'_, '_>, words: &Words) -> Option<Hit> {
    if place.quoted {
        let mut quoted = parsed
            .entities
            .iter()
            .filter(|entity| entity.kind == EntityKind::Quoted);
        let first = quoted.next()?;
        return quoted.next().is_none().then(|| plain(first));
    }
    if place
        .first
        .as_ref()
        .is_some_and(|group| !words.begins_with(group, &parsed.tokens[opening_word(parsed)..]))
    {
        return None;
    }
    let opening = (0..parsed.tokens.len()).find_map(|at| {
        place
            .before
            .iter()
            .map(|text| phrase(text))
            .find(|stems| same(stems, at, parsed))
            .map(|stems| at + stems.len())
    })?;
    let end = text_end(place, opening, parsed)?;
    let (first, last) = (
        parsed.tokens.get(opening)?,
        parsed.tokens.get(end.checked_sub(1)?)?,
    );
    let told = folded(parsed.source.get(first.span.start..last.span.end)?);
    (!told.is_empty()).then(|| Hit {
        value: json!(told),
        op: None,
        tokens: opening..end,
        currency: None,
    })
}

/// The first word that is no part of a time.
fn opening_word(parsed: &Parsed<'_, '_>) -> usize {
    parsed
        .covered
        .iter()
        .position(|covered| !covered)
        .unwrap_or(0)
}

/// A text ends at its last word (`until`), at a channel, or at a time.
fn text_end(place: &Place, start: usize, parsed: &Parsed<'_, '_>) -> Option<usize> {
    let tokens = parsed.tokens;
    if !place.until.is_empty() {
        let last = (start..tokens.len())
            .find(|at| place.until.iter().any(|word| tokens[*at].is_word(word)))?;
        return (start..=last)
            .all(|at| tokens[at].kind == Kind::Word && !parsed.covered[at])
            .then_some(last + 1);
    }
    let stop = (start..tokens.len())
        .find(|at| parsed.covered[*at] || tokens[*at].kind == Kind::Channel)
        .unwrap_or(tokens.len());
    let preposition =
        stop > start && stop < tokens.len() && tokens[stop - 1].is_any(&["in", "to", "on", "into"]);
    let end = stop - usize::from(preposition);
    (end > start).then_some(end)
}
