//! What a template would make of a clause, and which of several makes the most of it.

use super::{Parsed, parameters};
use crate::hire::{
    entity::EntityKind,
    template::{OneOf, Template},
    text::Kind,
    words::{Sense, Tag, Words},
};
use std::{cmp::Reverse, collections::BTreeSet};

/// A template that a clause may call for, with what it would make of the clause.
pub struct Candidate<'t> {
    pub template: &'t Template,
    pub values: parameters::Values,
    /// All that it uses is provided.
    pub usable: bool,
    /// Words that it would pass over, and those of them that must not be.
    pub left: Vec<usize>,
    pub grave: Vec<usize>,
    weight: usize,
}

impl<'t> Candidate<'t> {
    pub fn weigh(
        template: &'t Template,
        parsed: &Parsed<'_, '_>,
        provided: &BTreeSet<String>,
        words: &Words,
    ) -> Candidate<'t> {
        let values = parameters::read(template, parsed, words);
        let groups: BTreeSet<&str> = template.groups().collect();
        let known =
            |tag: &Tag<'_>| groups.iter().any(|group| tag.is(group)) && !tag.has(Sense::Idiom);
        let free = |at: &usize| {
            !parsed.covered[*at] && !values.covered[*at] && parsed.tokens[*at].kind != Kind::Punct
        };
        let tag_of = |at: usize| parsed.tags.iter().find(|tag| tag.covers(at));
        let left: Vec<usize> = (0..parsed.tokens.len())
            .filter(free)
            .filter(|at| {
                !tag_of(*at).is_some_and(|tag| {
                    known(tag) || (tag.has(Sense::Filler) && !tag.has(Sense::Narrowing))
                })
            })
            .collect();
        let grave = left
            .iter()
            .copied()
            .filter(|at| is_grave(*at, parsed, tag_of(*at)))
            .collect();
        let weight = parsed.tags.iter().filter(|tag| known(tag)).count() + 2 * values.said.len();
        Candidate {
            template,
            usable: template.uses.iter().all(|used| provided.contains(used)),
            values,
            left,
            grave,
            weight,
        }
    }

    /// The best comes first.
    pub fn rank(&self) -> (bool, bool, usize, Reverse<usize>, usize) {
        (
            self.values.problem.is_some(),
            !self.usable,
            self.grave.len(),
            Reverse(self.weight),
            self.left.len(),
        )
    }
}

/// Each wanted group has a word of its own: in "mail the post" one word cannot be the verb and the noun.
pub fn distinct_words(template: &Template, parsed: &Parsed<'_, '_>, leave: bool) -> bool {
    fn assign(
        wanted: &[&OneOf],
        parsed: &Parsed<'_, '_>,
        used: &mut Vec<usize>,
        leave: bool,
    ) -> bool {
        let Some((first, rest)) = wanted.split_first() else {
            return true;
        };
        if leave && first.groups().iter().any(|group| group == "ask") {
            return assign(rest, parsed, used, leave);
        }
        parsed
            .tags
            .iter()
            .filter(|tag| first.groups().iter().any(|group| tag.is(group)))
            .any(|tag| {
                if used.contains(&tag.start) {
                    return false;
                }
                used.push(tag.start);
                let fits = assign(rest, parsed, used, leave);
                used.pop();
                fits
            })
    }
    assign(
        &template.matches.all.iter().collect::<Vec<_>>(),
        parsed,
        &mut Vec::new(),
        leave,
    )
}

/// Why none of several equally good readings is taken: what all of them lack, else the doubt itself.
pub fn doubt(tied: &[&Candidate<'_>]) -> String {
    let titles: Vec<String> = tied
        .iter()
        .map(|candidate| format!("“{}”", candidate.template.title))
        .collect();
    if let Some(problem) = tied
        .iter()
        .find_map(|candidate| candidate.values.problem.clone())
    {
        return problem;
    }
    if tied.iter().all(|candidate| !candidate.usable) {
        let uses: Vec<String> = tied
            .iter()
            .map(|candidate| candidate.template.uses.join(" and "))
            .collect();
        return format!(
            "needs {}, which no clause before it gives",
            uses.join(" or ")
        );
    }
    format!("could mean {}", titles.join(" or "))
}

/// Whether a word that the skill does not know would change what it does: names, numbers, values, other systems.
fn is_grave(at: usize, parsed: &Parsed<'_, '_>, tag: Option<&Tag<'_>>) -> bool {
    let token = &parsed.tokens[at];
    let valued = parsed
        .entities
        .iter()
        .any(|entity| entity.tokens.contains(&at) && !matches!(entity.kind, EntityKind::Manager));
    let marked = tag.is_some_and(|tag| {
        tag.has(Sense::Narrowing) || tag.has(Sense::System) || tag.has(Sense::Idiom)
    });
    let name = token.is_capital() && at > 0 && tag.is_none();
    valued || marked || name || !matches!(token.kind, Kind::Word)
}
