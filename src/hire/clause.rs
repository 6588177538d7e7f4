//! A text as clauses: pieces that say one thing each, in the order in which they are to happen.

use super::{
    schedule,
    text::{Kind, Token, folded, tokens},
    words::Words,
};
use std::collections::BTreeSet;

/// One thing that the text says.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    pub tokens: Vec<Token>,
    /// As it was written, white space folded.
    pub text: String,
    /// "When …": what to do when something happens.
    pub event: bool,
    /// How many of the first tokens only open it ("whenever").
    pub lead: usize,
    /// It goes on from the clause before, by a comma or an "and".
    pub joined: bool,
    /// "Once the manager approves": what the clause after it waits for.
    pub leave: bool,
    pub question: bool,
    pub heading: bool,
}

/// What the splitter has to know of words.
pub struct Splitter<'w> {
    pub words: &'w Words,
    /// The groups of words that begin a clause after a comma or an "and".
    pub verbs: &'w BTreeSet<String>,
}

struct Sentence {
    tokens: Vec<Token>,
    question: bool,
    heading: bool,
}

const BULLETS: &[char] = &['-', '*', '•', '–', '—', '·'];
const ABBREVIATIONS: &[&str] = &[
    "a.m", "p.m", "am", "pm", "e.g", "i.e", "etc", "mr", "mrs", "ms", "dr", "approx", "inc", "ltd",
    "co", "corp",
];
const CONNECTORS: &[&str] = &[
    "and",
    "then",
    "but",
    "also",
    "finally",
    "afterwards",
    "afterward",
    "next",
    "lastly",
    "first",
];

impl Splitter<'_> {
    /// All clauses of a text.
    pub fn clauses(&self, text: &str) -> Vec<Clause> {
        let sentences = self.sentences(tokens(text));
        sentences
            .into_iter()
            .flat_map(|sentence| self.split(sentence, text))
            .collect()
    }

    fn sentences(&self, tokens: Vec<Token>) -> Vec<Sentence> {
        let mut out = Vec::new();
        let mut current: Vec<Token> = Vec::new();
        let mut flush = |current: &mut Vec<Token>, question| {
            let tokens = without_bullet(std::mem::take(current));
            let heading = tokens.first().is_some_and(|first| first.is('#'));
            if tokens.iter().any(|token| token.kind != Kind::Punct) {
                out.push(Sentence {
                    tokens,
                    question,
                    heading,
                });
            }
        };
        for (at, token) in tokens.iter().enumerate() {
            match token.kind {
                Kind::Newline if self.line_ends(&tokens, at, &current) => {
                    flush(&mut current, false)
                }
                Kind::Newline => {}
                Kind::Punct if ends_sentence(&tokens, at, &current) => {
                    flush(&mut current, token.is('?'))
                }
                _ => current.push(token.clone()),
            }
        }
        flush(&mut current, false);
        out
    }

    /// Whether a line break ends a sentence, rather than folding a long one.
    fn line_ends(&self, tokens: &[Token], at: usize, current: &[Token]) -> bool {
        let Some(next) = tokens.get(at + 1) else {
            return true;
        };
        let bullet = BULLETS.iter().any(|bullet| next.is(*bullet))
            || next.is('#')
            || is_number_bullet(&tokens[at + 1..]);
        let after_heading = current.first().is_some_and(|first| first.is('#'));
        let after_colon = current.last().is_some_and(|last| last.is(':'));
        let fresh = next.is_capital()
            && !current.last().is_some_and(|last| last.is(','))
            && self.begins_clause(&tokens[at + 1..]);
        next.kind == Kind::Newline || bullet || after_heading || after_colon || fresh
    }

    fn begins_clause(&self, tokens: &[Token]) -> bool {
        let Some(first) = tokens.first() else {
            return false;
        };
        let opens = [
            "when", "whenever", "if", "never", "don't", "once", "after", "before", "as", "please",
        ];
        let forbids = first.is_word("do") && tokens.get(1).is_some_and(|next| next.is_word("not"));
        let verb = self.words.is_verb(first, self.verbs);
        verb || forbids || first.is_any(&opens) || schedule::begins(tokens)
    }

    fn split(&self, sentence: Sentence, text: &str) -> Vec<Clause> {
        let Sentence {
            tokens,
            question,
            heading,
        } = sentence;
        let mut pieces: Vec<(Vec<Token>, bool)> = Vec::new();
        let (mut start, mut joined) = (0, false);
        let mut open = opens(&tokens[connectors(&tokens)..]);
        for at in 0..tokens.len() {
            let closes_event = open && (tokens[at].is(',') || tokens[at].is_word("then"));
            let cut = !open && at > start && !heading && self.cuts(&tokens, at);
            if closes_event {
                open = false;
            } else if cut {
                pieces.push((tokens[start..at].to_vec(), joined));
                let next = &tokens[at + connectors(&tokens[at..])..];
                (start, joined, open) = (at, !tokens[at].is(':'), opens(next));
            }
        }
        pieces.push((tokens[start..].to_vec(), joined));
        let pieces = self.merge_bare_verbs(pieces);
        let parts = pieces
            .into_iter()
            .flat_map(|(tokens, joined)| self.order(trimmed(tokens), joined));
        parts
            .filter(|part| !part.tokens.is_empty())
            .map(|part| part.clause(text, question, heading))
            .collect()
    }

    /// Whether a clause ends before this token: a separator, and after it something that begins one.
    fn cuts(&self, tokens: &[Token], at: usize) -> bool {
        if tokens[at].is(':') {
            return true;
        }
        let separator = tokens[at].is(',')
            || tokens[at].is_any(&["and", "then", "but"])
            || tokens[at].is('—')
            || tokens[at].is('–');
        let inside = tokens
            .get(at.wrapping_sub(1))
            .is_some_and(|before| before.is(',') || before.is_any(&["and", "then", "but"]));
        let rest = &tokens[at + connectors(&tokens[at..])..];
        separator && !inside && self.begins_clause(rest)
    }

    /// "Find and list the invoices" is one clause.
    fn merge_bare_verbs(&self, pieces: Vec<(Vec<Token>, bool)>) -> Vec<(Vec<Token>, bool)> {
        let mut out: Vec<(Vec<Token>, bool)> = Vec::new();
        for (tokens, joined) in pieces {
            let merges = joined
                && tokens.first().is_some_and(|first| first.is_word("and"))
                && out.last().is_some_and(|(last, _)| self.is_bare_verb(last));
            match out.last_mut().filter(|_| merges) {
                Some((last, _)) => last.extend(tokens),
                None => out.push((tokens, joined)),
            }
        }
        out
    }

    fn is_bare_verb(&self, tokens: &[Token]) -> bool {
        let covered = schedule::read(tokens).covered;
        let mut words = tokens
            .iter()
            .zip(covered)
            .filter(|(token, covered)| !covered && token.kind != Kind::Punct)
            .map(|(token, _)| token);
        words
            .next()
            .is_some_and(|first| self.words.is_verb(first, self.verbs))
            && words.next().is_none()
    }

    /// Puts what has to happen first to the front: "mail them once the manager approves", "before mailing them, ask the manager".
    fn order(&self, tokens: Vec<Token>, joined: bool) -> Vec<Part> {
        let approves =
            |tokens: &[Token]| self.words.tag(tokens).iter().any(|tag| tag.is("approve"));
        let plain = |tokens: &[Token], joined| Part {
            tokens: trimmed(tokens.to_vec()),
            joined,
            leave: false,
        };
        let leave = |tokens: &[Token], joined| Part {
            tokens: trimmed(tokens.to_vec()),
            joined,
            leave: true,
        };
        let openers = [
            "once", "after", "when", "if", "as", "upon", "before", "until",
        ];
        let Some(at) = tokens
            .iter()
            .position(|token| token.is_any(&openers[..6]))
            .filter(|at| approves(&tokens[*at..]))
        else {
            let before = tokens.iter().position(|token| token.is_word("before"));
            return match before {
                Some(0) => match tokens.iter().position(|token| token.is(',')) {
                    Some(comma) if approves(&tokens[comma..]) => vec![
                        plain(&tokens[comma..], joined),
                        plain(&tokens[1..comma], true),
                    ],
                    _ => vec![plain(&tokens, joined)],
                },
                Some(at) if approves(&tokens[..at]) => {
                    vec![plain(&tokens[..at], joined), plain(&tokens[at + 1..], true)]
                }
                _ => vec![plain(&tokens, joined)],
            };
        };
        let end = tokens[at..]
            .iter()
            .position(|token| token.is(','))
            .map_or(tokens.len(), |comma| at + comma);
        if !approves(&tokens[at..end]) {
            return vec![plain(&tokens, joined)];
        }
        let rest: Vec<Token> = tokens[..at].iter().chain(&tokens[end..]).cloned().collect();
        vec![leave(&tokens[at..end], joined), plain(&rest, true)]
    }
}

struct Part {
    tokens: Vec<Token>,
    joined: bool,
    leave: bool,
}

impl Part {
    fn clause(self, text: &str, question: bool, heading: bool) -> Clause {
        let start = self
            .tokens
            .iter()
            .map(|token| token.span.start)
            .min()
            .unwrap_or(0);
        let end = self
            .tokens
            .iter()
            .map(|token| token.span.end)
            .max()
            .unwrap_or(start);
        let lead = if self.leave {
            0
        } else {
            event_lead(&self.tokens)
        };
        let event = lead > 0
            || !self.leave
                && self
                    .tokens
                    .iter()
                    .any(|token| token.is_any(&["when", "whenever"]));
        Clause {
            text: folded(&text[start..end]),
            event,
            lead,
            joined: self.joined,
            leave: self.leave,
            question,
            heading,
            tokens: self.tokens,
        }
    }
}

/// Whether a clause begins with what it waits for, which its first comma ends.
fn opens(tokens: &[Token]) -> bool {
    let waits = tokens
        .first()
        .is_some_and(|first| first.is_any(&["before", "after", "once", "upon"]));
    waits || event_lead(tokens) > 0
}

/// How many tokens open an event clause; 0 if it is none.
fn event_lead(tokens: &[Token]) -> usize {
    let word = |at: usize, words: &[&str]| tokens.get(at).is_some_and(|token| token.is_any(words));
    let pair = word(0, &["each", "every", "any"]) && word(1, &["time"]);
    let soon = word(0, &["as"]) && word(1, &["soon"]) && word(2, &["as"]);
    if word(0, &["when", "whenever", "if"]) {
        1
    } else if pair {
        2
    } else if soon {
        3
    } else {
        0
    }
}

fn connectors(tokens: &[Token]) -> usize {
    tokens
        .iter()
        .take_while(|token| {
            matches!(token.kind, Kind::Punct) && !token.is('#') || token.is_any(CONNECTORS)
        })
        .count()
}

/// Without connectors at the start and separators at both ends.
fn trimmed(tokens: Vec<Token>) -> Vec<Token> {
    let skip = connectors(&tokens);
    let mut tokens: Vec<Token> = if tokens.first().is_some_and(|first| first.is('#')) {
        tokens
    } else {
        tokens.into_iter().skip(skip).collect()
    };
    while tokens.last().is_some_and(|last| {
        last.kind == Kind::Punct || last.is_any(&["and", "then", "but", "only"])
    }) {
        tokens.pop();
    }
    tokens
}

fn is_number_bullet(tokens: &[Token]) -> bool {
    let small = tokens
        .first()
        .is_some_and(|first| first.kind == Kind::Number && first.text.len() <= 2);
    small
        && tokens
            .get(1)
            .is_some_and(|next| next.is('.') || next.is(')'))
}

fn without_bullet(tokens: Vec<Token>) -> Vec<Token> {
    let skip = if is_number_bullet(&tokens) {
        2
    } else {
        tokens
            .iter()
            .take_while(|token| BULLETS.iter().any(|bullet| token.is(*bullet)))
            .count()
    };
    tokens.into_iter().skip(skip).collect()
}

fn ends_sentence(tokens: &[Token], at: usize, current: &[Token]) -> bool {
    let token = &tokens[at];
    if token.is('?') || token.is('!') || token.is(';') {
        return true;
    }
    let abbreviated = current
        .last()
        .is_some_and(|last| last.is_any(ABBREVIATIONS));
    let next_is_fresh = tokens
        .get(at + 1)
        .is_none_or(|next| next.kind == Kind::Newline || next.is_capital());
    token.is('.')
        && !(current.len() == 1 && is_number_bullet(&tokens[at - 1..]))
        && (!abbreviated || next_is_fresh)
}
