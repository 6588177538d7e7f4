//! Values in a clause: amounts, days, channels, mail addresses, people. Only what stands in the text, nothing rounded or converted but
//! number words and weeks.

use super::text::{Kind, Token};
use crate::domain::money;
use serde_json::{Value, json};
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityKind {
    Money,
    Days,
    /// A number that is neither.
    Number,
    Channel,
    Email,
    Mention,
    /// "the manager".
    Manager,
    Quoted,
    Path,
    Dotted,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    pub kind: EntityKind,
    /// Positions of its tokens.
    pub tokens: Range<usize>,
    pub value: Value,
    /// The currency that the text names.
    pub currency: Option<String>,
}

const CURRENCIES: &[&str] = &[
    "usd", "eur", "chf", "gbp", "cad", "aud", "dollar", "dollars", "euro", "euros", "franc",
    "francs", "pound", "pounds", "bucks", "yen",
];

/// Currencies that take two words; stems.
const OF_COUNTRIES: &[(&str, &str, &str)] = &[
    ("swiss", "franc", "CHF"),
    ("us", "dollar", "USD"),
    ("american", "dollar", "USD"),
    ("canadian", "dollar", "CAD"),
    ("australian", "dollar", "AUD"),
    ("british", "pound", "GBP"),
    ("japanes", "yen", "JPY"),
];

/// Words that can follow an amount without a currency. After any other word the number counts something else.
const AFTER_AMOUNT: &[&str] = &[
    "and",
    "or",
    "that",
    "which",
    "are",
    "is",
    "more",
    "for",
    "by",
    "in",
    "from",
    "past",
    "with",
    "to",
    "each",
    "due",
    "outstanding",
    "unpaid",
    "overdue",
    "late",
    "then",
    "on",
    "still",
    "open",
    "every",
    "at",
    "through",
    "via",
    "but",
    "who",
    "only",
    "of",
];

/// All values of a clause; `taken` are the tokens of its times.
pub fn entities(tokens: &[Token], taken: &[bool]) -> Vec<Entity> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let entity = (!taken.get(at).copied().unwrap_or(false))
            .then(|| entity_at(tokens, at))
            .flatten();
        at = entity.as_ref().map_or(at + 1, |entity| entity.tokens.end);
        found.extend(entity);
    }
    found
}

fn entity_at(tokens: &[Token], at: usize) -> Option<Entity> {
    let token = &tokens[at];
    let simple = |kind, value: Value| {
        Some(Entity {
            kind,
            tokens: at..at + 1,
            value,
            currency: None,
        })
    };
    match token.kind {
        Kind::Channel => simple(EntityKind::Channel, json!(token.text.to_lowercase())),
        Kind::Email => simple(EntityKind::Email, json!(token.text)),
        Kind::Mention => simple(EntityKind::Mention, json!(token.text)),
        Kind::Quoted => simple(EntityKind::Quoted, json!(token.text)),
        Kind::Path => simple(EntityKind::Path, json!(token.text)),
        Kind::Dotted => simple(EntityKind::Dotted, json!(token.text)),
        Kind::Word if token.is_any(&["manager", "boss", "supervisor", "manager's"]) => {
            simple(EntityKind::Manager, json!("manager"))
        }
        Kind::Currency => {
            let (number, end) = number_at(tokens, at + 1)?;
            Some(Entity {
                kind: EntityKind::Money,
                tokens: at..end,
                value: json!(number),
                currency: Some(token.text.clone()),
            })
        }
        Kind::Word if is_currency(token) => {
            let (number, end) = number_at(tokens, at + 1)?;
            Some(Entity {
                kind: EntityKind::Money,
                tokens: at..end,
                value: json!(number),
                currency: Some(token.text.clone()),
            })
        }
        _ => counted(tokens, at),
    }
}

/// Any code of ISO 4217 counts if it is written in capitals, as `try` and `all` are words too.
fn is_currency(token: &Token) -> bool {
    let is_code = token.text.bytes().all(|byte| byte.is_ascii_uppercase())
        && money::code_of_word(&token.text).is_some();
    matches!(token.kind, Kind::Word | Kind::Currency)
        && (token.kind == Kind::Currency || token.is_any(CURRENCIES) || is_code)
}

/// A number and what it counts.
fn counted(tokens: &[Token], at: usize) -> Option<Entity> {
    let (number, end) = number_at(tokens, at)?;
    let words_only = tokens[at].kind == Kind::Word;
    let entity = |kind, end, value, currency| {
        Some(Entity {
            kind,
            tokens: at..end,
            value,
            currency,
        })
    };
    let next = tokens.get(end);
    if let Some(unit) = next.filter(|next| next.is_any(&["day", "days", "week", "weeks"])) {
        let per = if unit.is_any(&["week", "weeks"]) {
            7
        } else {
            1
        };
        let days = number.parse::<u32>().ok().filter(|days| *days <= 3_660);
        return match days {
            Some(days) => entity(EntityKind::Days, end + 1, json!(days * per), None),
            None => entity(EntityKind::Number, end, json!(number), None),
        };
    }
    if let Some(currency) = next.filter(|next| is_currency(next)) {
        return entity(
            EntityKind::Money,
            end + 1,
            json!(number),
            Some(currency.text.clone()),
        );
    }
    let two = OF_COUNTRIES.iter().find(|(country, name, _)| {
        next.is_some_and(|next| next.stem == *country)
            && tokens.get(end + 1).is_some_and(|token| token.stem == *name)
    });
    if let Some((.., code)) = two {
        let code = Some((*code).to_owned());
        return entity(EntityKind::Money, end + 2, json!(number), code);
    }
    let counts_nothing = next.is_none_or(|next| {
        matches!(next.kind, Kind::Punct | Kind::Newline) && !next.is('%')
            || next.is_any(AFTER_AMOUNT)
    });
    // "one" alone is a pronoun more often than a number.
    if words_only && number == "1" {
        return None;
    }
    entity(
        if counts_nothing {
            EntityKind::Money
        } else {
            EntityKind::Number
        },
        end,
        json!(number),
        None,
    )
}

/// A number in digits or words at a place, as decimal text, and where it ends.
pub fn number_at(tokens: &[Token], at: usize) -> Option<(String, usize)> {
    let first = tokens.get(at)?;
    if first.kind == Kind::Number {
        return Some((first.stem.clone(), at + 1));
    }
    let (mut total, mut end) = (0u32, at);
    let mut last = u32::MAX;
    while let Some(value) = tokens.get(end).and_then(number_word) {
        match value {
            100 | 1000 if end > at && total > 0 && last < 100 => total *= value,
            value
                if value < last
                    && value < 100
                    && (last == u32::MAX || last >= 20 && (last >= 100 || value < 10)) =>
            {
                total += value
            }
            _ => break,
        }
        last = value;
        end += 1;
    }
    // "a hundred", "a thousand"
    if end == at
        && first.is_word("a")
        && let Some(value @ (100 | 1000)) = tokens.get(at + 1).and_then(number_word)
    {
        return Some((value.to_string(), at + 2));
    }
    (end > at).then(|| (total.to_string(), end))
}

/// `twenty` → 20, `twenty-one` → 21.
pub fn number_word(token: &Token) -> Option<u32> {
    const SMALL: &[&str] = &[
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: &[&str] = &[
        "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    if token.kind != Kind::Word {
        return None;
    }
    let word = token.text.to_lowercase();
    let place = |list: &[&str], word: &str| {
        list.iter()
            .position(|known| *known == word)
            .and_then(|place| u32::try_from(place).ok())
    };
    let tens = |word: &str| place(TENS, word).map(|place| (place + 2) * 10);
    if let Some((ten, one)) = word.split_once('-') {
        return Some(tens(ten)? + place(&SMALL[..9], one)? + 1);
    }
    match word.as_str() {
        "hundred" => Some(100),
        "thousand" => Some(1000),
        _ => place(SMALL, &word)
            .map(|place| place + 1)
            .or_else(|| tens(&word)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::text::tokens, *};

    #[test]
    fn values_are_read_as_they_are_written() {
        let cases: &[(&str, EntityKind, Value)] = &[
            ("over $1,200.50", EntityKind::Money, json!("1200.50")),
            ("at least EUR 300", EntityKind::Money, json!("300")),
            ("500 euros", EntityKind::Money, json!("500")),
            ("over SEK 5000", EntityKind::Money, json!("5000")),
            ("750 KWD", EntityKind::Money, json!("750")),
            ("JPY 50,000", EntityKind::Money, json!("50000")),
            ("over 500 and", EntityKind::Money, json!("500")),
            ("over five hundred", EntityKind::Money, json!("500")),
            ("two thousand", EntityKind::Money, json!("2000")),
            ("over 30 customers", EntityKind::Number, json!("30")),
            ("over 30%", EntityKind::Number, json!("30")),
            ("30 days", EntityKind::Days, json!(30)),
            ("two weeks", EntityKind::Days, json!(14)),
            ("thirty days", EntityKind::Days, json!(30)),
            ("1.5 days", EntityKind::Number, json!("1.5")),
            ("in #Finance", EntityKind::Channel, json!("#finance")),
        ];
        for (text, kind, value) in cases {
            let found = entities(&tokens(text), &[]);
            assert_eq!(
                found
                    .iter()
                    .map(|entity| (entity.kind, &entity.value))
                    .collect::<Vec<_>>(),
                [(*kind, value)],
                "{text}"
            );
        }
        assert!(entities(&tokens("500k or 1.200,50 or one"), &[]).is_empty());
    }
}
