//! The part of QuickBooks' query language that the sandbox speaks:
//!
//! ```text
//! select * | count(*) from Entity
//!   [where Field = | < | > | <= | >= | LIKE 'value', or Field IN ('a', 'b'), joined by and]
//!   [orderby Field [asc | desc], …] [startposition N] [maxresults N]
//! ```

use super::lex::{Token, name, tokens};
use crate::domain::Timestamp;
use serde_json::Value;
use std::cmp::Ordering;

const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1_000;

#[derive(Debug, PartialEq)]
pub(super) struct Query {
    pub count: bool,
    pub entity: String,
    pub conditions: Vec<Condition>,
    pub order: Vec<(String, bool)>,
    /// Counted from 1.
    pub start: usize,
    pub most: usize,
}

#[derive(Debug, PartialEq)]
pub(super) struct Condition {
    pub field: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operator {
    Equal,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    Like,
    In,
}

impl Query {
    /// # Errors
    /// What is wrong, as the detail of QuickBooks' `QueryParserError`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            tokens: tokens(text)?,
            place: 0,
        };
        let query = parser.query()?;
        match parser.tokens.get(parser.place) {
            None => Ok(query),
            Some(token) => Err(format!("unexpected {}", name(token))),
        }
    }

    /// The rows that fit, in order, cut to the page.
    ///
    /// # Errors
    /// A field that the entity does not have.
    pub fn run<'a>(&self, rows: &'a [Value]) -> Result<Vec<&'a Value>, String> {
        let known = |field: &str| rows.first().is_none_or(|row| !at(row, field).is_null());
        let used = self
            .conditions
            .iter()
            .map(|condition| &condition.field)
            .chain(self.order.iter().map(|(field, _)| field));
        if let Some(odd) = used.into_iter().find(|field| !known(field)) {
            return Err(format!(
                "property {odd} not found for Entity {}",
                self.entity
            ));
        }
        let fits = |row: &&Value| {
            self.conditions
                .iter()
                .all(|condition| condition.fits(at(row, &condition.field)))
        };
        let mut found: Vec<_> = rows.iter().filter(fits).collect();
        found.sort_by(|left, right| self.compare(left, right));
        Ok(found)
    }

    fn compare(&self, left: &Value, right: &Value) -> Ordering {
        let by = |(field, descending): &(String, bool)| {
            let order = compare(at(left, field), &plain(at(right, field)));
            if *descending { order.reverse() } else { order }
        };
        self.order
            .iter()
            .map(by)
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl Condition {
    fn fits(&self, value: &Value) -> bool {
        let order = |wanted: &String| compare(value, wanted);
        self.values.iter().any(|wanted| match self.operator {
            Operator::Equal | Operator::In => order(wanted).is_eq(),
            Operator::Less => order(wanted).is_lt(),
            Operator::Greater => order(wanted).is_gt(),
            Operator::LessOrEqual => order(wanted).is_le(),
            Operator::GreaterOrEqual => order(wanted).is_ge(),
            Operator::Like => like(&plain(value).to_lowercase(), &wanted.to_lowercase()),
        })
    }
}

/// A field, or one of a field's own: `MetaData.LastUpdatedTime`.
fn at<'a>(row: &'a Value, field: &str) -> &'a Value {
    field.split('.').fold(row, |value, name| &value[name])
}

/// Numbers by size, times by when they are, everything else (dates too, as they are written) by its text. A reference counts as its
/// `value`.
fn compare(value: &Value, wanted: &str) -> Ordering {
    if let (Some(left), Ok(right)) = (value.as_f64(), wanted.parse::<f64>()) {
        return left.total_cmp(&right);
    }
    let text = plain(value);
    match (Timestamp::parse(&text), Timestamp::parse(wanted)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => text.as_str().cmp(wanted),
    }
}

fn plain(value: &Value) -> String {
    match value.get("value").unwrap_or(value) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `%` stands for any text.
fn like(text: &str, pattern: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('%') else {
        return text == pattern;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<_> = rest.split('%').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(tail)
}

struct Parser {
    tokens: Vec<Token>,
    place: usize,
}

impl Parser {
    fn query(&mut self) -> Result<Query, String> {
        self.expect_word("select")?;
        let count = self.take_word("count");
        if count {
            self.expect_sign("(")?;
        }
        self.expect_sign("*")?;
        if count {
            self.expect_sign(")")?;
        }
        self.expect_word("from")?;
        let entity = self.word("an entity")?;
        let mut query = Query {
            count,
            entity,
            conditions: Vec::new(),
            order: Vec::new(),
            start: 1,
            most: PAGE,
        };
        if self.take_word("where") {
            query.conditions.push(self.condition()?);
            while self.take_word("and") {
                query.conditions.push(self.condition()?);
            }
        }
        if self.take_word("orderby")
            || (self.take_word("order") && self.expect_word("by").map(|()| true)?)
        {
            query.order.push(self.order()?);
            while self.take_sign(",") {
                query.order.push(self.order()?);
            }
        }
        if self.take_word("startposition") {
            query.start = self.number("startposition", usize::MAX)?;
        }
        if self.take_word("maxresults") {
            query.most = self.number("maxresults", LONGEST_PAGE)?;
        }
        Ok(query)
    }

    fn order(&mut self) -> Result<(String, bool), String> {
        let field = self.word("a field")?;
        let descending = self.take_word("desc");
        if !descending {
            self.take_word("asc");
        }
        Ok((field, descending))
    }

    fn condition(&mut self) -> Result<Condition, String> {
        let field = self.word("a field")?;
        let signs = [
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
            ("=", Operator::Equal),
        ];
        let operator = signs
            .into_iter()
            .find(|(sign, _)| self.take_sign(sign))
            .map(|(_, operator)| operator);
        if let Some(operator) = operator {
            return Ok(Condition {
                field,
                operator,
                values: vec![self.literal()?],
            });
        }
        if self.take_word("like") {
            return Ok(Condition {
                field,
                operator: Operator::Like,
                values: vec![self.literal()?],
            });
        }
        if !self.take_word("in") {
            return Err(format!("expected an operator after {field}"));
        }
        self.expect_sign("(")?;
        let mut values = vec![self.literal()?];
        while self.take_sign(",") {
            values.push(self.literal()?);
        }
        self.expect_sign(")")?;
        Ok(Condition {
            field,
            operator: Operator::In,
            values,
        })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.place)
    }
    fn take_word(&mut self, wanted: &str) -> bool {
        let fits =
            matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        self.place += usize::from(fits);
        fits
    }
    fn take_sign(&mut self, wanted: &str) -> bool {
        let fits = matches!(self.peek(), Some(Token::Sign(sign)) if *sign == wanted);
        self.place += usize::from(fits);
        fits
    }
    fn expect_word(&mut self, wanted: &str) -> Result<(), String> {
        if self.take_word(wanted) {
            Ok(())
        } else {
            Err(self.expected(wanted))
        }
    }
    fn expect_sign(&mut self, wanted: &str) -> Result<(), String> {
        if self.take_sign(wanted) {
            Ok(())
        } else {
            Err(self.expected(wanted))
        }
    }
    fn word(&mut self, what: &str) -> Result<String, String> {
        match self.peek().cloned() {
            Some(Token::Word(word)) if !word.starts_with(|first: char| first.is_ascii_digit()) => {
                self.place += 1;
                Ok(word)
            }
            _ => Err(self.expected(what)),
        }
    }
    fn literal(&mut self) -> Result<String, String> {
        match self.peek().cloned() {
            Some(Token::Literal(text)) => {
                self.place += 1;
                Ok(text)
            }
            Some(Token::Word(word))
                if ["true", "false"].contains(&word.to_lowercase().as_str()) =>
            {
                self.place += 1;
                Ok(word.to_lowercase())
            }
            _ => Err(self.expected("a value in single quotes")),
        }
    }
    fn number(&mut self, what: &str, most: usize) -> Result<usize, String> {
        let found = match self.peek() {
            Some(Token::Word(word)) => word.parse::<usize>().ok(),
            _ => None,
        };
        let number = found
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| format!("{what} is out of its range"))?;
        self.place += 1;
        Ok(number)
    }
    fn expected(&self, what: &str) -> String {
        let found = self.peek().map_or("the end".to_owned(), name);
        format!("expected {what}, found {found}")
    }
}

#[cfg(test)]
mod tests;
