//! Text as tokens: words with a light stem, numbers, channels, mail addresses. Pure scanning, English only.

use crate::domain::{mail_address, money};
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    /// `500`, `1,200.50`; `stem` is the plain decimal (`1200.50`).
    Number,
    /// `9:30`, `9am`, `9:30pm`.
    Clock,
    /// `1st`, `15th`.
    Ordinal,
    /// `#finance`, with the sign.
    Channel,
    Email,
    /// `@anna`, with the sign.
    Mention,
    /// Text in quotation marks; `text` is what stands between them.
    Quoted,
    Currency,
    /// `github/push`, `Europe/Zurich`.
    Path,
    /// `invoice.paid`, `a.m`.
    Dotted,
    /// Letters and digits that are none of the above, for example `500k`.
    Code,
    Punct,
    Newline,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    /// What words are compared by.
    pub stem: String,
    /// Bytes in the source text.
    pub span: Range<usize>,
}

impl Token {
    pub fn is(&self, punct: char) -> bool {
        self.kind == Kind::Punct && self.text.starts_with(punct)
    }
    pub fn is_word(&self, lower: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Dotted) && self.text.eq_ignore_ascii_case(lower)
    }
    pub fn is_any(&self, lower: &[&str]) -> bool {
        lower.iter().any(|word| self.is_word(word))
    }
    pub fn is_capital(&self) -> bool {
        self.text.chars().any(char::is_uppercase)
    }
}

/// The form that words are compared by: lower case, without hyphens and the endings of plural, tense and possession.
///
/// It need not be a word, only the same for the forms of one word: `invoices` and `invoice` give `invoic`.
pub fn stem(word: &str) -> String {
    let whole = word
        .to_lowercase()
        .replace('’', "'")
        .replace(['-', '\u{2010}', '\u{2011}'], "");
    let short = shortened(whole.clone());
    // "note" must not become "not".
    if short == "not" { whole } else { short }
}

fn shortened(mut word: String) -> String {
    if let Some(owner) = word.strip_suffix("'s").or_else(|| word.strip_suffix('\'')) {
        word = owner.to_owned();
    }
    if !word.is_ascii() || word.len() <= 3 {
        return word;
    }
    if let Some(start) = word.strip_suffix("ies") {
        return format!("{start}y");
    }
    if word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us") {
        word.pop();
    }
    for ending in ["ing", "ed"] {
        if let Some(start) = word
            .strip_suffix(ending)
            .filter(|start| start.len() >= 3 && !start.ends_with('e'))
        {
            word = undouble(start).to_owned();
            break;
        }
    }
    if word.len() > 3 && word.ends_with('e') {
        word.pop();
    }
    word
}

/// `runn` → `run`; not `tell`, `pass`.
fn undouble(start: &str) -> &str {
    let bytes = start.as_bytes();
    let (Some(last), Some(before)) = (
        bytes.last(),
        bytes.len().checked_sub(2).map(|place| bytes[place]),
    ) else {
        return start;
    };
    if *last == before && !b"lsz".contains(last) {
        &start[..start.len() - 1]
    } else {
        start
    }
}

/// Splits a text into tokens. Never fails: what is nothing else is punctuation.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let end = at + first.len_utf8();
        if first == '\n' {
            out.push(token(Kind::Newline, "\n", at..end));
            at = end;
        } else if first.is_whitespace() {
            at = end;
        } else {
            let next = scan(text, at, first);
            at = next.span.end.max(end);
            out.push(next);
        }
    }
    out
}

fn token(kind: Kind, text: &str, span: Range<usize>) -> Token {
    Token {
        kind,
        text: text.to_owned(),
        stem: stem(text),
        span,
    }
}

fn scan(text: &str, at: usize, first: char) -> Token {
    let rest = &text[at..];
    if let Some(quoted) = quoted(text, at, first) {
        return quoted;
    }
    let end = at + first.len_utf8();
    if matches!(first, '#' | '@') {
        let name = run(&text[end..], |c| {
            c.is_alphanumeric() || matches!(c, '_' | '-')
        });
        let name = name.trim_end_matches('-');
        if name.chars().any(char::is_alphabetic) {
            let kind = if first == '#' {
                Kind::Channel
            } else {
                Kind::Mention
            };
            let span = at..end + name.len();
            return Token {
                kind,
                text: text[span.clone()].to_owned(),
                stem: text[span.clone()].to_lowercase(),
                span,
            };
        }
    }
    if money::code_of_word(&text[at..end]).is_some() {
        return token(Kind::Currency, &text[at..end], at..end);
    }
    // "C$500" is no sum in dollars of the United States.
    let letters = run(rest, |c| c.is_ascii_uppercase());
    if (1..=3).contains(&letters.len()) && rest[letters.len()..].starts_with('$') {
        let end = at + letters.len() + 1;
        return token(Kind::Currency, &text[at..end], at..end);
    }
    if first.is_alphanumeric() {
        return word(rest, at);
    }
    token(Kind::Punct, &text[at..end], at..end)
}

fn run(text: &str, fits: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !fits(c)).unwrap_or(text.len())]
}

/// A text in quotation marks on one line. An apostrophe opens one only after a space, and closes it only before none.
fn quoted(text: &str, at: usize, first: char) -> Option<Token> {
    let close = match first {
        '"' | '`' | '\'' => first,
        '“' | '„' => '”',
        '‘' => '’',
        _ => return None,
    };
    let start = at + first.len_utf8();
    let free_before = text[..at]
        .chars()
        .next_back()
        .is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ':'));
    if matches!(first, '\'' | '‘') && !free_before {
        return None;
    }
    let line = &text[start..start + text[start..].find('\n').unwrap_or(text.len() - start)];
    let length = line.char_indices().find(|(place, c)| {
        let after = line[place + c.len_utf8()..].chars().next();
        *c == close && !(matches!(close, '\'' | '’') && after.is_some_and(char::is_alphanumeric))
    })?;
    let inner = &line[..length.0];
    let span = at..start + length.0 + close.len_utf8();
    (!inner.trim().is_empty()).then(|| Token {
        kind: Kind::Quoted,
        text: inner.trim().to_owned(),
        stem: inner.to_lowercase(),
        span,
    })
}

/// A run of letters and digits, with signs inside it that hold it together (`e-mail`, `1,200.50`, `a@b.example`).
fn word(rest: &str, at: usize) -> Token {
    let mut length = 0;
    let mut chars = rest.char_indices().peekable();
    let mut last = ' ';
    while let Some((place, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let inside = match c {
            ',' | ':' => last.is_ascii_digit() && next.is_some_and(|next| next.is_ascii_digit()),
            '-' | '\'' | '’' | '.' | '/' | '@' | '_' | '+' => {
                next.is_some_and(char::is_alphanumeric)
            }
            _ => c.is_alphanumeric(),
        };
        if !inside {
            break;
        }
        length = place + c.len_utf8();
        last = c;
    }
    let text = &rest[..length];
    let kind = kind_of(text);
    let mut token = token(kind, text, at..at + length);
    if let (Kind::Number, Some(plain)) = (kind, decimal(text)) {
        token.stem = plain;
        // "CHF 500.-", "500,– EUR": no sentence ends here.
        let behind = &rest[length..];
        let dash = behind.strip_prefix(['.', ',']).unwrap_or_default();
        if dash.starts_with(['-', '–', '—']) {
            token.span.end += behind.chars().take(2).map(char::len_utf8).sum::<usize>();
        }
    }
    token
}

fn kind_of(text: &str) -> Kind {
    let lower = text.to_lowercase();
    if text.contains('@') {
        return if is_email(text) {
            Kind::Email
        } else {
            Kind::Code
        };
    }
    if decimal(text).is_some() {
        return Kind::Number;
    }
    if is_clock(&lower) {
        return Kind::Clock;
    }
    if ordinal(&lower).is_some() {
        return Kind::Ordinal;
    }
    if text.contains('/') {
        return Kind::Path;
    }
    if text.chars().any(char::is_numeric) {
        return Kind::Code;
    }
    if text.contains('.') {
        Kind::Dotted
    } else {
        Kind::Word
    }
}

fn is_email(text: &str) -> bool {
    let Some((user, domain)) = text.split_once('@') else {
        return false;
    };
    !user.is_empty()
        && !domain.contains('@')
        && domain.contains('.')
        && domain.split('.').all(|part| !part.is_empty())
        && mail_address::normalized(text).is_some()
}

fn is_clock(lower: &str) -> bool {
    let bare = lower
        .strip_suffix("am")
        .or_else(|| lower.strip_suffix("pm"));
    let digits = bare.unwrap_or(lower);
    match digits.split_once(':') {
        Some((hour, minute)) => is_digits(hour, 2) && minute.len() == 2 && is_digits(minute, 2),
        None => bare.is_some() && is_digits(digits, 2),
    }
}

fn is_digits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `15th` → 15.
pub fn ordinal(lower: &str) -> Option<u32> {
    let digits = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|ending| lower.strip_suffix(ending))?;
    is_digits(digits, 2).then(|| digits.parse().ok()).flatten()
}

/// A number in English notation without its thousands separators: `1,200.50` → `1200.50`. `1.200,50`, `1,5` and `1.2.3` are none.
fn decimal(text: &str) -> Option<String> {
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let groups: Vec<&str> = whole.split([',', '\'', '’']).collect();
    let grouped = groups.len() == 1
        || (groups[0].len() <= 3 && groups[1..].iter().all(|group| group.len() == 3));
    let plain = groups.concat();
    if !grouped || groups.iter().any(|group| group.is_empty()) || !is_digits(&plain, 12) {
        return None;
    }
    match fraction {
        None => Some(plain),
        Some(cents) if is_digits(cents, 2) => Some(format!("{plain}.{cents}")),
        Some(_) => None,
    }
}

/// A piece of the text as it was written, with white space folded to single spaces.
pub fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_share_a_stem() {
        for (one, other) in [
            ("invoices", "invoice"),
            ("mailing", "mail"),
            ("E-Mail", "emails"),
            ("posted", "posts"),
            ("running", "run"),
        ] {
            assert_eq!(stem(one), stem(other), "{one} {other}");
        }
        assert_ne!(stem("late"), stem("later"));
    }

    #[test]
    fn tokens_have_kinds() {
        let cases = [
            ("#finance", Kind::Channel),
            ("@anna", Kind::Mention),
            ("ann@acme.example", Kind::Email),
            ("1,200.50", Kind::Number),
            ("9:30am", Kind::Clock),
            ("15th", Kind::Ordinal),
            ("500k", Kind::Code),
            ("1.200,50", Kind::Code),
            ("github/push", Kind::Path),
            ("invoice.paid", Kind::Dotted),
            ("“late, again”", Kind::Quoted),
            ("don't", Kind::Word),
            ("#42", Kind::Punct),
        ];
        for (text, kind) in cases {
            assert_eq!(tokens(text)[0].kind, kind, "{text}");
        }
        assert_eq!(tokens("1,200.50.")[0].stem, "1200.50");
    }
}
