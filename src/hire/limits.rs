//! Limits that are not understood: a clause that may narrow what is done (to whom, what, when, how much) and that no skill reads.
//!
//! Such a clause must not be passed over: the employee would do more than was said. So the acting skills that it may speak of are hired behind a question
//! to a person that quotes it; where the text has a question of its own before them, that one quotes it. What is understood stays as it is.

use super::{
    clause::Clause,
    flow::{Flow, Placed},
    matching::{Found, Parsed},
    template::{OneOf, Template, WhenGated},
    text::{Kind, Token, tokens},
    words::{Sense, Tag},
};
use std::collections::BTreeSet;

/// A clause that may narrow what is done.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// As it is quoted.
    pub text: String,
    /// The flow that it goes on from; `None`: it stands alone and may be meant for all.
    pub flow: Option<usize>,
    /// Acting templates whose words it uses; empty: any may be meant.
    about: BTreeSet<String>,
    /// It narrows by its words, and forbids nothing: if what it is about is not done at all, it may be about what is done.
    loose: bool,
    /// Channels and people that it names, if it speaks of them alone.
    places: Vec<String>,
}

/// Words that narrow, beside what the vocabulary knows as negations, conditions and narrowing words.
const LIMITING: &[&str] = &[
    "only",
    "just",
    "solely",
    "exclusively",
    "strictly",
    "merely",
    "limit",
    "limited",
    "limits",
    "restrict",
    "restricted",
    "confine",
    "confined",
    "max",
    "maximum",
    "minimum",
    "min",
    "cap",
    "capped",
    "most",
    "least",
    "exempt",
    "exempted",
    "excluded",
    "exclude",
    "except",
    "exception",
    "exceptions",
    "spare",
    "omit",
    "ignore",
    "leave",
    "skip",
    "avoid",
    "stop",
    "pause",
    "hold",
    "wait",
    "careful",
    "caution",
    "taboo",
    "off",
    "apart",
    "beyond",
    "within",
    "outside",
    "inside",
    "unless",
    "until",
    "till",
    "since",
    "from",
    "starting",
    "beginning",
    "before",
    "after",
    "between",
    "during",
    "while",
    "weekend",
    "weekends",
    "holiday",
    "holidays",
    "already",
    "first",
    "remaining",
    "rest",
    "others",
    "allowed",
    "permitted",
    "own",
    "per",
    "once",
    "twice",
    "nobody",
    "none",
    "without",
    "if",
    "where",
    "whose",
    "blacklist",
    "blacklisted",
    "blocklist",
    "blocked",
    "denylist",
    "whitelist",
    "allowlist",
    "do-not-contact",
    "do-not-mail",
    "do-not-call",
    "opt-out",
    "opt-outs",
    "opted",
    "unsubscribe",
    "unsubscribes",
    "unsubscribed",
    "suppression",
    "suppressed",
    "embargo",
    "moratorium",
];

/// Words by which even a heading, a note or a quotation takes somebody out.
const EXEMPTING: &[&str] = &[
    "never",
    "not",
    "no",
    "don't",
    "don’t",
    "nobody",
    "none",
    "except",
    "exempt",
    "exempted",
    "excluded",
    "exclude",
    "excluding",
    "only",
    "spare",
    "spared",
    "skip",
    "avoid",
    "taboo",
    "unless",
    "without",
    "off-limits",
];

/// Verbs of other work that take something away from what is done.
const LIMITING_VERBS: &[&str] = &[
    "avoid", "skip", "stop", "wait", "leave", "exclude", "omit", "ignore", "spare", "hold",
    "pause", "limit", "restrict", "remove", "cancel", "keep", "use", "respect", "honour", "honor",
    "observe", "mind", "heed", "treat", "drop", "exempt", "freeze", "suspend", "cease", "apply",
];

impl Doubt {
    /// Of a clause that was not understood as a whole; `None` if it narrows nothing.
    pub fn of_clause(
        clause: &Clause,
        parsed: &Parsed<'_, '_>,
        templates: &[Template],
        flow: Option<usize>,
    ) -> Option<Doubt> {
        may_narrow(clause, parsed, templates).then(|| Doubt {
            text: clause.text.clone(),
            flow: flow.filter(|_| clause.joined),
            about: about(parsed, templates),
            loose: narrows_by_words(parsed) && !forbids(parsed),
            places: only_places(parsed),
        })
    }

    /// Of a sentence that is remembered, which nothing keeps to by itself.
    pub fn of_note(clause: &Clause) -> Option<Doubt> {
        exempts(&clause.tokens).then(|| Doubt {
            text: clause.text.clone(),
            flow: None,
            about: BTreeSet::new(),
            loose: false,
            places: Vec::new(),
        })
    }

    /// Of the words of a clause that was understood otherwise.
    pub fn of_rest(words: &str, flow: usize) -> Option<Doubt> {
        let narrows = words.split_whitespace().any(|word| {
            // How something is done ("diligently") is not to whom.
            !word.to_lowercase().ends_with("ly")
        });
        narrows.then(|| Doubt {
            text: words.to_owned(),
            flow: Some(flow),
            about: BTreeSet::new(),
            loose: false,
            places: Vec::new(),
        })
    }

    /// `done`: the acting templates of all flows.
    fn concerns(&self, flow: usize, found: &Found<'_>, done: &BTreeSet<String>) -> bool {
        let here = self.flow.is_none_or(|own| own == flow);
        let any = self.about.is_empty() || self.loose && self.about.is_disjoint(done);
        let meant = any || self.about.contains(&found.template.id);
        // It names other places than this skill's, and nothing else.
        let elsewhere = !self.places.is_empty()
            && !found.said.values().any(|value| {
                value
                    .as_str()
                    .is_some_and(|said| self.places.iter().any(|place| place == said))
            });
        here && meant && !elsewhere
    }
}

/// Whether something in the clause may narrow what is done. An instruction for other work, without such words, does not.
fn may_narrow(clause: &Clause, parsed: &Parsed<'_, '_>, templates: &[Template]) -> bool {
    if clause.question || clause.heading {
        return clause.heading && exempts(&clause.tokens);
    }
    if narrows_by_words(parsed) {
        return true;
    }
    if is_courtesy(parsed) || instructs_otherwise(parsed) || tells_a_story(parsed) {
        return false;
    }
    // "Retail customers in Austria", "Foo AG is a partner": no work of its own, and something that work may be about.
    let named = parsed
        .tokens
        .iter()
        .skip(1)
        .any(|token| token.kind == Kind::Word && token.is_capital() && token.text.len() > 1);
    let valued = parsed.tokens.iter().any(|token| {
        matches!(
            token.kind,
            Kind::Number | Kind::Currency | Kind::Ordinal | Kind::Email | Kind::Code
        )
    });
    named || valued || !about(parsed, templates).is_empty()
}

/// Whether a word of it narrows, whatever it stands beside.
fn narrows_by_words(parsed: &Parsed<'_, '_>) -> bool {
    let marked = parsed.tags.iter().any(|tag| {
        (tag.has(Sense::Negation) || tag.has(Sense::Condition) || tag.has(Sense::Narrowing))
            && !tag.has(Sense::Idiom)
    });
    let said = |token: &Token| token.is_any(LIMITING);
    marked || parsed.tokens.iter().any(said) || quotes_limit(parsed.tokens)
}

/// Whether somebody may be taken out by these words, or by words that they quote.
pub fn exempts(tokens: &[Token]) -> bool {
    tokens.iter().any(|token| token.is_any(EXEMPTING)) || quotes_limit(tokens)
}

fn quotes_limit(quoting: &[Token]) -> bool {
    quoting
        .iter()
        .filter(|token| token.kind == Kind::Quoted)
        .any(|token| {
            tokens(&token.text)
                .iter()
                .any(|word| word.is_any(EXEMPTING))
        })
}

fn forbids(parsed: &Parsed<'_, '_>) -> bool {
    let negates = |tag: &Tag<'_>| tag.has(Sense::Negation) && !tag.has(Sense::Idiom);
    parsed.tags.iter().any(negates)
}

/// "Thanks, Maya", "Best regards, Anna Meier".
fn is_courtesy(parsed: &Parsed<'_, '_>) -> bool {
    const OPENING: &[&str] = &[
        "thanks",
        "thank",
        "cheers",
        "best",
        "kind",
        "regards",
        "yours",
        "greetings",
        "hi",
        "hello",
        "dear",
    ];
    const GOING_ON: &[&str] = &[
        "you",
        "so",
        "very",
        "much",
        "a",
        "lot",
        "in",
        "advance",
        "many",
        "and",
        "thanks",
        "regards",
        "wishes",
        "sincerely",
        "truly",
        "all",
        "team",
        "everyone",
    ];
    let mut words = parsed
        .tokens
        .iter()
        .filter(|token| token.kind != Kind::Punct);
    let opens = words.next().is_some_and(|first| first.is_any(OPENING));
    let names = |token: &Token| token.kind == Kind::Word && token.is_capital();
    opens && words.all(|token| token.is_any(GOING_ON) || names(token))
}

/// "Also update Salesforce", "Water the plants": the first word with a meaning is a verb, and what follows it is its object.
fn instructs_otherwise(parsed: &Parsed<'_, '_>) -> bool {
    const OPENING: &[&str] = &[
        "please", "also", "then", "and", "finally", "always", "to", "you", "should", "must", "will",
    ];
    const DETERMINERS: &[&str] = &[
        "the", "a", "an", "our", "my", "your", "their", "all", "each", "every", "any", "this",
        "these", "some", "it", "them", "us", "me",
    ];
    let words = || {
        parsed
            .tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| token.kind != Kind::Punct)
    };
    let mut rest = words().skip_while(|(_, token)| token.is_any(OPENING));
    let Some((at, first)) = rest.next() else {
        return false;
    };
    if first.kind != Kind::Word || first.is_any(LIMITING_VERBS) {
        return false;
    }
    let tag: Option<&Tag<'_>> = parsed.tags.iter().find(|tag| tag.start == at);
    let is_verb = tag.is_some_and(|tag| tag.has(Sense::OtherVerb));
    let has_object = rest
        .next()
        .is_some_and(|(_, next)| next.is_any(DETERMINERS));
    let is_filler = tag.is_some_and(|tag| tag.has(Sense::Filler) && !tag.is_grouped());
    is_verb || (has_object && !is_filler)
}

/// "Last year we …", "maybe …": no limit of what is said elsewhere.
fn tells_a_story(parsed: &Parsed<'_, '_>) -> bool {
    parsed
        .tags
        .iter()
        .any(|tag| tag.has(Sense::Narrative) || tag.has(Sense::Hedge))
}

/// Acting templates one of whose words stands in the clause.
fn about(parsed: &Parsed<'_, '_>, templates: &[Template]) -> BTreeSet<String> {
    let acting = templates
        .iter()
        .filter(|template| template.effect && !template.asks);
    acting
        .filter(|template| {
            // What a skill may mention besides (`also`) is not what it is about.
            let wanted = template.matches.all.iter().flat_map(OneOf::groups);
            wanted
                .chain(&template.matches.any)
                .chain([&template.act])
                .any(|group| parsed.tags.iter().any(|tag| tag.is(group)))
        })
        .map(|template| template.id.clone())
        .collect()
}

/// The channels and people of a clause that says nothing else that could narrow.
fn only_places(parsed: &Parsed<'_, '_>) -> Vec<String> {
    let known = |at: usize| {
        let token = &parsed.tokens[at];
        let place = matches!(
            token.kind,
            Kind::Channel | Kind::Email | Kind::Mention | Kind::Punct
        );
        place
            || parsed.covered[at]
            || parsed.tags.iter().any(|tag| {
                tag.covers(at)
                    && (tag.is_grouped() || tag.has(Sense::Filler) || tag.has(Sense::Negation))
            })
    };
    if !(0..parsed.tokens.len()).all(known) {
        return Vec::new();
    }
    let places = parsed
        .tokens
        .iter()
        .filter(|token| matches!(token.kind, Kind::Channel | Kind::Email | Kind::Mention));
    places.map(|token| token.text.clone()).collect()
}

/// Puts a question before the first skill of each flow that a doubt concerns, or hands the doubt to the question that stands there already. Gives
/// for each doubt the titles of the skills that are held up, by its place in `doubts`.
pub fn guard<'t>(
    flows: &mut [Flow<'t>],
    doubts: &[Doubt],
    question: &'t Template,
    mut unique: impl FnMut(&str) -> String,
) -> Vec<Vec<String>> {
    let mut held = vec![Vec::new(); doubts.len()];
    let acts = |placed: &Placed<'_>| placed.found.template.effect && !placed.found.template.asks;
    let placed = flows.iter().flat_map(|flow| &flow.skills);
    let done: BTreeSet<String> = placed
        .filter(|placed| acts(placed))
        .map(|placed| placed.found.template.id.clone())
        .collect();
    for (number, flow) in flows.iter_mut().enumerate() {
        let concerned = |placed: &Placed<'_>, doubt: &Doubt| {
            acts(placed) && doubt.concerns(number, &placed.found, &done)
        };
        let first = flow
            .skills
            .iter()
            .position(|placed| doubts.iter().any(|doubt| concerned(placed, doubt)));
        let Some(first) = first else { continue };
        for (doubt, held) in doubts.iter().zip(&mut held) {
            let skills = flow.skills.iter().filter(|placed| concerned(placed, doubt));
            let titles: Vec<String> = skills
                .map(|placed| placed.found.template.title.clone())
                .collect();
            if !titles.is_empty() {
                flow.limits.push(doubt.text.clone());
                held.extend(titles);
            }
        }
        let asked = flow.skills[..first]
            .iter()
            .any(|placed| placed.found.template.asks);
        let stops = |placed: &Placed<'_>| placed.found.template.when_gated == WhenGated::Skip;
        let all_stop = flow.skills[first..]
            .iter()
            .filter(|placed| doubts.iter().any(|doubt| concerned(placed, doubt)))
            .all(stops);
        if asked && all_stop {
            continue;
        }
        let placed = Placed {
            node: unique(&question.skill),
            graph_id: unique(&format!("sg_{}_v1", question.id)),
            found: Found {
                template: question,
                fillings: Default::default(),
                said: Default::default(),
                rest: None,
            },
        };
        flow.skills.insert(first, placed);
    }
    held
}
