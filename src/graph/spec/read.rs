//! Reading fields: every one is asked for by name, what is left over is unknown, and errors are collected.

use crate::graph::error::CompileError;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Where the reader is, and what it has found wrong so far.
pub(super) struct Reader {
    graph: String,
    pub node: Option<String>,
    pub errors: Vec<CompileError>,
}

impl Reader {
    pub fn new(value: &Value) -> Self {
        let graph = value
            .get("graph_id")
            .and_then(Value::as_str)
            .unwrap_or("(no graph_id)")
            .to_string();
        Self {
            graph,
            node: None,
            errors: Vec::new(),
        }
    }

    pub fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        let field = Some(field.into()).filter(|field| !field.is_empty());
        self.errors.push(CompileError {
            graph: self.graph.clone(),
            node: self.node.clone(),
            field,
            message: message.into(),
        });
    }
}

/// The fields of one object. Dropping it is free; [`Fields::finish`] refuses what nobody asked for.
pub(super) struct Fields<'v> {
    map: &'v Map<String, Value>,
    /// Path of the object inside its node, with a dot at the end, or empty.
    prefix: String,
    asked: Vec<&'static str>,
}

impl<'v> Fields<'v> {
    pub fn new(reader: &mut Reader, value: &'v Value, field: &str) -> Option<Self> {
        match value {
            Value::Object(map) => {
                let prefix = if field.is_empty() {
                    String::new()
                } else {
                    format!("{field}.")
                };
                Some(Self {
                    map,
                    prefix,
                    asked: Vec::new(),
                })
            }
            other => {
                reader.refuse(field, format!("expected an object, found {}", kind(other)));
                None
            }
        }
    }

    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The field, if it is there; null is as good as absent for a field that may be absent.
    pub fn get(&mut self, name: &'static str) -> Option<&'v Value> {
        self.asked.push(name);
        self.map.get(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub fn required(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        what: &str,
    ) -> Option<&'v Value> {
        let value = self.get(name);
        if value.is_none() {
            reader.refuse(self.path(name), format!("is missing; it is {what}"));
        }
        value
    }

    pub fn text(&mut self, reader: &mut Reader, name: &'static str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            other => {
                reader.refuse(
                    self.path(name),
                    format!("expected a string, found {}", kind(other)),
                );
                None
            }
        }
    }

    pub fn required_text(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        what: &str,
    ) -> Option<String> {
        self.required(reader, name, what)?;
        self.text(reader, name)
    }

    pub fn integer(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.get(name)?;
        match value.as_u64().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                reader.refuse(
                    self.path(name),
                    format!(
                        "expected an integer from {} to {}, found {}",
                        range.start(),
                        range.end(),
                        shown(value)
                    ),
                );
                None
            }
        }
    }

    pub fn number(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let value = self.get(name)?;
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                reader.refuse(
                    self.path(name),
                    format!(
                        "expected a number from {} to {}, found {}",
                        range.start(),
                        range.end(),
                        shown(value)
                    ),
                );
                None
            }
        }
    }

    pub fn list(&mut self, reader: &mut Reader, name: &'static str) -> Option<&'v [Value]> {
        match self.get(name)? {
            Value::Array(items) => Some(items),
            other => {
                reader.refuse(
                    self.path(name),
                    format!("expected a list, found {}", kind(other)),
                );
                None
            }
        }
    }

    pub fn texts(&mut self, reader: &mut Reader, name: &'static str) -> Option<Vec<String>> {
        let items = self.list(reader, name)?;
        let mut texts = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_string()),
                None => reader.refuse(
                    format!("{}[{place}]", self.path(name)),
                    format!("expected a string, found {}", kind(item)),
                ),
            }
        }
        Some(texts)
    }

    /// One of some words.
    pub fn choice<T: Copy>(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let value = self.get(name)?;
        let found = value
            .as_str()
            .and_then(|text| words.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            reader.refuse(
                self.path(name),
                format!("expected {}, found {}", known.join(" or "), shown(value)),
            );
        }
        found.map(|(_, choice)| *choice)
    }

    /// The entries of an object, as templates by key.
    pub fn entries(&mut self, reader: &mut Reader, name: &'static str) -> Vec<(String, Value)> {
        match self.get(name) {
            None => Vec::new(),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            Some(other) => {
                reader.refuse(
                    self.path(name),
                    format!("expected an object, found {}", kind(other)),
                );
                Vec::new()
            }
        }
    }

    pub fn finish(self, reader: &mut Reader) {
        for name in self
            .map
            .keys()
            .filter(|name| !self.asked.contains(&name.as_str()))
        {
            let mut known = self.asked.clone();
            known.sort_unstable();
            known.dedup();
            reader.refuse(
                self.path(name),
                format!("is not known here; known are {}", known.join(", ")),
            );
        }
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    crate::graph::expr::kind_of(value)
}

/// A value as it stands in a message, not too long.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        text
    } else {
        format!("{}…", text.chars().take(60).collect::<String>())
    }
}
