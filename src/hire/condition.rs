//! Clauses that must not become actions: prohibitions, conditions, guesses, stories, questions.

use super::{
    text::{Kind, Token},
    words::{Sense, Tag},
};

/// What stands in the way of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    Negation,
    Other(Sense),
}

/// The first obstacle among the words that no value or time covers, with its text.
pub fn obstacle(
    tokens: &[Token],
    tags: &[Tag<'_>],
    covered: &[bool],
) -> Option<(Obstacle, String)> {
    let order = [
        Sense::Negation,
        Sense::Narrative,
        Sense::Hedge,
        Sense::Condition,
    ];
    order.into_iter().find_map(|sense| {
        let tag = tags
            .iter()
            .find(|tag| tag.has(sense) && !tag.is_grouped() && !covered[tag.start])?;
        let kind = if sense == Sense::Negation {
            Obstacle::Negation
        } else {
            Obstacle::Other(sense)
        };
        Some((kind, words(tokens, tag)))
    })
}

/// Why a clause with this obstacle is not understood.
pub fn reason(obstacle: Obstacle, words: &str) -> String {
    match obstacle {
        Obstacle::Negation => format!("says what is not to be done (“{words}”); no skill does it"),
        Obstacle::Other(Sense::Narrative) => {
            format!("tells of another time (“{words}”) and is no instruction")
        }
        Obstacle::Other(Sense::Hedge) => {
            format!("leaves open whether it is to be done (“{words}”)")
        }
        Obstacle::Other(_) => {
            format!("holds a condition or a choice that no skill reads (“{words}”)")
        }
    }
}

/// The text of a tag.
pub fn words(tokens: &[Token], tag: &Tag<'_>) -> String {
    tokens[tag.start..tag.start + tag.length]
        .iter()
        .map(|token| token.text.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether one of the group's words is in a form that gives an instruction ("post", "posting", "is posted"; not "posted").
pub fn instructs(tokens: &[Token], tags: &[Tag<'_>], act: &str) -> bool {
    let mut verbs = tags.iter().filter(|tag| tag.is(act)).peekable();
    verbs.peek().is_none()
        || verbs.any(|tag| {
            let past = tag.length == 1
                && tokens[tag.start].text.to_lowercase().ends_with("ed")
                && tokens[tag.start].text.len() > 4;
            let passive = tokens[tag.start.saturating_sub(2)..tag.start]
                .iter()
                .any(|token| token.is_any(&["is", "are", "be", "gets", "get"]));
            !past || passive
        })
}

/// Whether the clause has a subject of its own ("Anna will post …", "customers mail us"), so that it speaks of somebody else's work.
///
/// The employee itself is none ("the clerk should list"), nor is what is worked on ("to each customer", "a summary is posted").
pub fn speaks_of_another(tokens: &[Token], tags: &[Tag<'_>], covered: &[bool], act: &str) -> bool {
    const OWN: &[&str] = &["you", "clerk", "assistant", "employee", "he", "she", "it"];
    const PASSIVE: &[&str] = &["is", "are", "be", "gets", "get"];
    const PLACING: &[&str] = &[
        "to", "for", "in", "on", "via", "through", "by", "from", "with", "using", "of",
    ];
    let Some(verb) = tags.iter().find(|tag| tag.is(act) && !covered[tag.start]) else {
        return false;
    };
    let before = &tokens[..verb.start];
    if before
        .iter()
        .any(|token| token.is_any(OWN) || token.is_any(PASSIVE))
    {
        return false;
    }
    let filler =
        |at: usize, tag: &Tag<'_>| tag.covers(at) && tag.has(Sense::Filler) && !tag.is_grouped();
    let subject = (0..before.len()).find(|at| {
        !covered[*at] && tokens[*at].kind == Kind::Word && !tags.iter().any(|tag| filler(*at, tag))
    });
    let Some(subject) = subject else { return false };
    if tokens[..subject].iter().any(|token| token.is_any(PLACING)) {
        return false;
    }
    match tags.iter().find(|tag| tag.covers(subject)) {
        Some(tag) if tag.is_grouped() => ["customer", "somebody", "person"]
            .iter()
            .any(|group| tag.is(group)),
        _ => !tokens[subject].text.ends_with("ly"),
    }
}
