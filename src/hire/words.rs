//! The planner's vocabulary, `catalog/skills/words.yaml`: groups of words that mean the same, and words that warn.

use super::text::{Kind, Token, stem, tokens};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: BTreeMap<String, Vec<String>>,
    other_verbs: Vec<String>,
    fillers: Vec<String>,
    negations: Vec<String>,
    conditions: Vec<String>,
    hedges: Vec<String>,
    narrative: Vec<String>,
    narrowing: Vec<String>,
    systems: Vec<String>,
    idioms: Vec<String>,
}

/// What a phrase is, beside the groups that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sense {
    OtherVerb,
    Filler,
    Negation,
    Condition,
    Hedge,
    Narrative,
    Narrowing,
    System,
    Idiom,
}

/// All that a phrase stands for.
#[derive(Clone, Debug, Default)]
struct Entry {
    groups: BTreeSet<String>,
    senses: BTreeSet<Sense>,
}

/// A phrase found in a clause.
#[derive(Clone, Debug)]
pub struct Tag<'w> {
    /// Position of its first token, and how many tokens it has.
    pub start: usize,
    pub length: usize,
    groups: Option<&'w BTreeSet<String>>,
    senses: Option<&'w BTreeSet<Sense>>,
}

impl Tag<'_> {
    pub fn is(&self, group: &str) -> bool {
        self.groups.is_some_and(|groups| groups.contains(group))
    }
    pub fn has(&self, sense: Sense) -> bool {
        self.senses.is_some_and(|senses| senses.contains(&sense))
    }
    /// Whether it is in any group at all.
    pub fn is_grouped(&self) -> bool {
        self.groups.is_some_and(|groups| !groups.is_empty())
    }
    pub fn covers(&self, token: usize) -> bool {
        (self.start..self.start + self.length).contains(&token)
    }
}

/// The vocabulary, by stemmed phrase.
pub struct Words {
    entries: HashMap<String, Entry>,
    groups: BTreeSet<String>,
    longest: usize,
}

impl Words {
    /// # Errors
    /// The text is not YAML of the expected shape.
    pub fn parse(yaml: &str) -> Result<Words, String> {
        let file: File = crate::domain::yaml::from_str(yaml)?;
        let mut words = Words {
            entries: HashMap::new(),
            groups: file.groups.keys().cloned().collect(),
            longest: 1,
        };
        for (group, phrases) in &file.groups {
            for phrase in phrases {
                words.entry(phrase).groups.insert(group.clone());
            }
        }
        let senses = [
            (Sense::OtherVerb, &file.other_verbs),
            (Sense::Filler, &file.fillers),
            (Sense::Negation, &file.negations),
            (Sense::Condition, &file.conditions),
            (Sense::Hedge, &file.hedges),
            (Sense::Narrative, &file.narrative),
            (Sense::Narrowing, &file.narrowing),
            (Sense::System, &file.systems),
            (Sense::Idiom, &file.idioms),
        ];
        for (sense, phrases) in senses {
            for phrase in phrases {
                words.entry(phrase).senses.insert(sense);
            }
        }
        Ok(words)
    }

    fn entry(&mut self, phrase: &str) -> &mut Entry {
        let stems: Vec<String> = phrase.split_whitespace().map(stem).collect();
        self.longest = self.longest.max(stems.len());
        self.entries.entry(stems.join(" ")).or_default()
    }

    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains(group)
    }

    /// The phrases of a clause, longest first, none overlapping another.
    pub fn tag<'w>(&'w self, tokens: &[Token]) -> Vec<Tag<'w>> {
        let mut tags = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let found = (1..=self.longest.min(tokens.len() - at))
                .rev()
                .find_map(|length| {
                    let entry = self.entries.get(&joined(&tokens[at..at + length])?)?;
                    Some(Tag {
                        start: at,
                        length,
                        groups: Some(&entry.groups),
                        senses: Some(&entry.senses),
                    })
                });
            at += found.as_ref().map_or(1, |tag| tag.length);
            tags.extend(found);
        }
        tags
    }

    /// Whether a token can be the verb that begins a clause.
    pub fn is_verb(&self, token: &Token, verbs: &BTreeSet<String>) -> bool {
        let fits = |entry: &Entry| {
            entry.senses.contains(&Sense::OtherVerb) || !entry.groups.is_disjoint(verbs)
        };
        token.kind == Kind::Word && self.entries.get(&token.stem).is_some_and(fits)
    }

    /// Whether `tokens[at..]` begins with a phrase of the group.
    pub fn begins_with(&self, group: &str, tokens: &[Token]) -> bool {
        self.tag(&tokens[..tokens.len().min(self.longest)])
            .first()
            .is_some_and(|tag| tag.start == 0 && tag.is(group))
    }
}

fn joined(tokens: &[Token]) -> Option<String> {
    let all = tokens.iter().all(|token| matches!(token.kind, Kind::Word));
    all.then(|| {
        tokens
            .iter()
            .map(|token| token.stem.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    })
}

/// A phrase as the stems that it is compared by.
pub fn phrase(text: &str) -> Vec<String> {
    tokens(text).into_iter().map(|token| token.stem).collect()
}
