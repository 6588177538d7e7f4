//! The name that a text gives its employee: "You are our accounts-receivable clerk", "# Accounts-receivable clerk".

use super::{
    clause::Clause,
    text::{Kind, Token},
};

/// The name of an employee whom nobody named.
pub const NAMELESS: &str = "employee";

const ROLES: &[&str] = &[
    "clerk",
    "assistant",
    "bookkeeper",
    "accountant",
    "coordinator",
    "analyst",
    "secretary",
    "bot",
    "dispatcher",
    "agent",
    "reporter",
    "controller",
    "concierge",
    "receptionist",
    "collector",
];
const OPENINGS: &[&[&str]] = &[
    &["you", "are"],
    &["you're"],
    &["we", "need"],
    &["we", "want"],
    &["hire"],
    &["looking", "for"],
    &["seeking"],
    &["i", "need"],
    &["we", "are", "hiring"],
    &["position"],
    &["role"],
    &["job", "title"],
    &["job"],
    &["act", "as"],
];
const ARTICLES: &[&str] = &["a", "an", "the", "our", "my", "new", "as"];
/// Longest name, in words.
const MAX_WORDS: usize = 5;

/// The name that a clause gives, if it is one that names.
pub fn name(clause: &Clause) -> Option<String> {
    let tokens: Vec<&Token> = clause
        .tokens
        .iter()
        .filter(|token| token.kind != Kind::Punct)
        .collect();
    let start = if clause.heading {
        0
    } else {
        OPENINGS
            .iter()
            .find(|opening| begins(&tokens, opening))
            .map(|opening| opening.len())?
    };
    let rest: Vec<&Token> = tokens[start..]
        .iter()
        .copied()
        .skip_while(|token| token.is_any(ARTICLES))
        .collect();
    let end = rest
        .iter()
        .take(MAX_WORDS)
        .position(|token| token.is_any(ROLES))?
        + 1;
    let words = &rest[..end];
    words.iter().all(|token| token.kind == Kind::Word).then(|| {
        words
            .iter()
            .map(|token| token.text.as_str())
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase()
    })
}

/// Whether the clause does nothing but name.
pub fn only_names(clause: &Clause) -> bool {
    let last = clause
        .tokens
        .iter()
        .rev()
        .find(|token| token.kind != Kind::Punct);
    clause.heading || name(clause).is_some() && last.is_some_and(|last| last.is_any(ROLES))
}

fn begins(tokens: &[&Token], opening: &[&str]) -> bool {
    tokens.len() > opening.len()
        && opening
            .iter()
            .zip(tokens)
            .all(|(word, token)| token.is_word(word))
}
