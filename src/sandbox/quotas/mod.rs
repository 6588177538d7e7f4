//! Limits as providers have them, with the headers in which they tell them, and counts of who was let through.
//!
//! A quota is in memory: it and its counts are gone when the process ends. Requests with a wrong token, and those that met a fault
//! that refuses, are not counted.

mod headers;
mod window;

use super::{
    call::{Call, Provider},
    fields::{BadField, Fields},
    urlencoded,
};
use headers::HeaderStyle;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use window::{Shape, Window};

const MOST_REQUESTS: u64 = 1_000_000;
const MOST_SECONDS: u64 = 30 * 24 * 3600;
/// Accounts and markers that are counted apart; more are counted together.
const MOST_NAMES: usize = 10_000;
const OTHERS: &str = "(others)";

/// Who shares a quota's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    /// The calls of one grant, or of the sandbox's own token.
    Account,
    /// All calls.
    App,
}

/// Where a call says on whose behalf it is made.
#[derive(Clone, Debug, PartialEq)]
enum Marker {
    Header(String),
    Query(String),
    /// A JSON pointer.
    Body(String),
}

/// `POST /quotas`.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    provider: Provider,
    /// Only calls to this path, which then do not count for the integration's general quota.
    path: Option<String>,
    requests: u64,
    per_seconds: u64,
    style: HeaderStyle,
    shape: Shape,
    per: Per,
    marker: Option<(String, Marker)>,
}

impl Quota {
    /// # Errors
    /// The field, and what would be right.
    pub fn parse(body: &Value) -> Result<Self, BadField> {
        let known = [
            "integration",
            "path",
            "requests",
            "per_seconds",
            "headers",
            "window",
            "per",
            "marker",
        ];
        let fields = Fields::of(body, &known)?;
        let needed = |name: &str, most: u64| {
            let number = fields.whole(name, 1, most)?;
            number.ok_or_else(|| BadField::new(name, "is missing"))
        };
        let style = fields.choice("headers", &HeaderStyle::ALL)?;
        let style = style.unwrap_or(HeaderStyle::None);
        let shapes = [("fixed", Shape::Fixed), ("sliding", Shape::Sliding)];
        let scopes = [("account", Per::Account), ("app", Per::App)];
        let marker = fields.text("marker")?;
        Ok(Self {
            provider: fields.provider()?,
            path: fields.text("path")?.map(str::to_owned),
            requests: needed("requests", MOST_REQUESTS)?,
            per_seconds: needed("per_seconds", MOST_SECONDS)?,
            style,
            shape: fields.choice("window", &shapes)?.unwrap_or(style.window()),
            per: fields.choice("per", &scopes)?.unwrap_or(Per::Account),
            marker: marker
                .map(|text| Ok((text.to_owned(), Marker::parse(text)?)))
                .transpose()?,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "integration": self.provider, "path": self.path, "requests": self.requests, "per_seconds": self.per_seconds,
            "headers": self.style.name(), "window": if self.shape == Shape::Fixed { "fixed" } else { "sliding" },
            "per": if self.per == Per::App { "app" } else { "account" },
            "marker": self.marker.as_ref().map(|(text, _)| text),
        })
    }
}

impl Marker {
    fn parse(text: &str) -> Result<Self, BadField> {
        let wrong = || BadField::new("marker", "must be header:NAME, query:NAME or body:/POINTER");
        let (place, name) = text.split_once(':').ok_or_else(wrong)?;
        match place {
            _ if name.is_empty() => Err(wrong()),
            "header" => Ok(Self::Header(name.to_owned())),
            "query" => Ok(Self::Query(name.to_owned())),
            "body" if name.starts_with('/') => Ok(Self::Body(name.to_owned())),
            _ => Err(wrong()),
        }
    }

    fn read(&self, call: &Call) -> Option<String> {
        match self {
            Self::Header(name) => {
                let value = call.headers.get(name)?;
                value.to_str().ok().map(str::to_owned)
            }
            Self::Query(name) => urlencoded::pairs(&call.query)
                .into_iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value),
            Self::Body(pointer) => {
                let value = call.body.pointer(pointer)?;
                Some(
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned),
                )
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    accepted: u64,
    refused: u64,
}

impl Count {
    fn add(&mut self, accepted: bool) {
        if accepted {
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
    }
}

#[derive(Debug)]
struct Counted {
    quota: Quota,
    windows: HashMap<String, Window>,
    all: Count,
    by_account: BTreeMap<String, Count>,
    by_marker: BTreeMap<String, Count>,
}

/// A call that is too much.
#[derive(Debug)]
pub(super) struct Over {
    pub retry_after_seconds: u64,
    pub headers: Headers,
}

type Headers = Vec<(&'static str, String)>;

#[derive(Debug, Default)]
pub(super) struct Quotas(Vec<Counted>);

impl Quotas {
    /// Begins to count anew, in place of a quota of the same integration and path.
    pub fn set(&mut self, quota: Quota) -> Value {
        let shown = quota.to_json();
        self.0.retain(|other| {
            (other.quota.provider, &other.quota.path) != (quota.provider, &quota.path)
        });
        self.0.push(Counted {
            quota,
            windows: HashMap::new(),
            all: Count::default(),
            by_account: BTreeMap::new(),
            by_marker: BTreeMap::new(),
        });
        shown
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn list(&self) -> Vec<Value> {
        self.0.iter().map(Counted::to_json).collect()
    }

    /// Counts a call. Gives the headers of the answer: none if no quota is meant for it.
    pub fn meet(&mut self, call: &Call, account: &str) -> Result<Headers, Over> {
        let find = |path: Option<&str>| {
            self.0.iter().position(|counted| {
                counted.quota.provider == call.provider && counted.quota.path.as_deref() == path
            })
        };
        let place = find(Some(&call.path)).or_else(|| find(None));
        match place {
            Some(place) => self.0[place].meet(call, account),
            None => Ok(Vec::new()),
        }
    }
}

impl Counted {
    fn meet(&mut self, call: &Call, account: &str) -> Result<Headers, Over> {
        let key = match self.quota.per {
            Per::Account => account,
            Per::App => "",
        };
        let length = Duration::from_secs(self.quota.per_seconds);
        let shape = self.quota.shape;
        let window = self.windows.entry(key.to_owned());
        let window = window.or_insert_with(|| Window::new(shape));
        let reading = window.take(call.at, self.quota.requests, length);
        let accepted = reading.accepted;
        self.all.add(accepted);
        count(&mut self.by_account, account).add(accepted);
        if let Some((_, marker)) = &self.quota.marker {
            let name = marker.read(call).unwrap_or_else(|| "(none)".into());
            count(&mut self.by_marker, &name).add(accepted);
        }
        let headers = self.quota.style.headers(&self.quota, &reading, call.at);
        if accepted {
            Ok(headers)
        } else {
            Err(Over {
                retry_after_seconds: window::whole_seconds(reading.free_at.since(call.at)).max(1),
                headers,
            })
        }
    }

    fn to_json(&self) -> Value {
        let counts = |name: &str, counts: &BTreeMap<String, Count>| {
            let show = |(key, count): (&String, &Count)| json!({name: key, "accepted": count.accepted, "refused": count.refused});
            counts.iter().map(show).collect::<Vec<_>>()
        };
        let mut shown = self.quota.to_json();
        shown["accepted"] = json!(self.all.accepted);
        shown["refused"] = json!(self.all.refused);
        shown["accounts"] = json!(counts("account", &self.by_account));
        shown["markers"] = json!(counts("marker", &self.by_marker));
        shown
    }
}

fn count<'a>(counts: &'a mut BTreeMap<String, Count>, name: &str) -> &'a mut Count {
    let known = counts.contains_key(name) || counts.len() < MOST_NAMES;
    let name = if known { name } else { OTHERS };
    counts.entry(name.to_owned()).or_default()
}

#[cfg(test)]
mod tests;
