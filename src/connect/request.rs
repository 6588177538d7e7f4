//! From a capability and its arguments to the request that goes out. Pure: what is shaped can be shown to a person, hashed and
//! compared before anything is sent. It holds no secret; the token is added by the client.

mod arguments;
mod body;
mod fill;
mod raw;
mod steps;

pub use arguments::check_arguments;
pub(crate) use body::{BodyTemplate, BytesTemplate, Multipart, PartTemplate};
pub(crate) use fill::{Address, Filling, RequestTemplate, Segment, Target};
pub use raw::{RawRequest, is_read};
pub(crate) use steps::{Rest, Step};

use super::{
    answer::AnswerSpec,
    catalog::{AccountField, Capability, Idempotency, Placement, Quota},
    passing::Sink,
};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The header in which every write carries its effect key, whether or not the provider looks at it.
pub const IDEMPOTENCY_HEADER: &str = "Idempotency-Key";

/// What a connection knows of its account, beside the token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Where the provider is, without a slash at the end: the integration's own, or a sandbox's.
    pub base_url: String,
    /// The fields that the integration asks for, for example `realm_id`.
    #[serde(default)]
    pub data: Map<String, Value>,
    /// The account's quota where it is not the integration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// Arguments that the capability does not take.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct BadParams {
    /// Where: `channel`, `where[0].field`, `account.realm_id`, or `arguments` for all of them.
    pub field: String,
    /// What would be right.
    pub message: String,
}

impl BadParams {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Json(Value),
    Form(Vec<(String, String)>),
    Bytes {
        content_type: String,
        bytes: Vec<u8>,
    },
}

/// A request that is ready to be sent, without its token.
#[derive(Clone, Debug)]
pub struct ShapedRequest {
    /// The capability's id.
    pub capability: String,
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Option<Body>,
    /// Whether it changes something outside.
    pub write: bool,
    /// Where a token that was given as such travels.
    pub(crate) send: Placement,
    /// Whether a credential travels with it at all; not to an address that an answer named.
    pub(crate) with_credential: bool,
    pub(crate) answer: Arc<AnswerSpec>,
    /// What follows, where this is only a step before the request that counts.
    pub(crate) rest: Option<Arc<Rest>>,
    /// Where the answer goes, if it is not read.
    pub(crate) sink: Option<Arc<Sink>>,
}

impl ShapedRequest {
    /// Whether its answer can be given on as it comes: nothing follows it.
    pub fn can_be_passed(&self) -> bool {
        self.rest.is_none()
    }

    /// The same request where the account is now, if it was shaped for where it was: the token's answer has told that it moved. `None` if it
    /// goes elsewhere anyway, or the account has not moved, or other requests follow it, which are shaped from what they were told.
    pub fn moved(&self, from: &str, to: &str) -> Option<Self> {
        if from == to || self.rest.is_some() {
            return None;
        }
        let (from, to) = (Url::parse(from).ok()?, Url::parse(to).ok()?);
        let (before, below) = (from.path().trim_end_matches('/'), self.url.path());
        let below = below
            .strip_prefix(before)
            .filter(|below| below.starts_with('/'))?;
        if self.url.origin() != from.origin() {
            return None;
        }
        let mut url = to.clone();
        url.set_path(&format!("{}{below}", to.path().trim_end_matches('/')));
        url.set_query(self.url.query());
        Some(Self {
            url,
            ..self.clone()
        })
    }

    /// The same with its answer given on to whoever reads the sink.
    #[must_use]
    pub fn into_sink(self, sink: Option<Arc<Sink>>) -> Self {
        Self { sink, ..self }
    }
}

/// Shapes the request of a call. A write wants its effect key; a read takes none.
///
/// # Errors
/// [`BadParams`] names the first argument that does not fit the capability's input schema, or that cannot be sent safely.
pub fn shape(
    capability: &Capability,
    arguments: &Value,
    account: &Account,
    effect_key: Option<&str>,
) -> Result<ShapedRequest, BadParams> {
    if capability.raw {
        return raw::shape_raw(capability, arguments, account, effect_key);
    }
    check_arguments(capability, arguments)?;
    let data = account_data(&capability.account_fields, account);
    if let Some(field) = capability
        .account_fields
        .iter()
        .find(|field| field.is_required() && !data.contains_key(&field.name))
    {
        return Err(BadParams::new(
            format!("account.{}", field.name),
            "is missing at the connection",
        ));
    }
    if capability.write && effect_key.is_none() {
        return Err(BadParams::new(
            "effect_key",
            "is missing: every write has one",
        ));
    }
    let key_headers = effect_key
        .map(|key| key_headers(capability, key))
        .transpose()?;
    Rest {
        steps: capability.steps.clone(),
        request: capability.request.clone(),
        target: Target::of(capability, account),
        answer: capability.answer.clone(),
        key_headers: key_headers.unwrap_or_default(),
        arguments: arguments.clone(),
        data: data.into(),
        effect_key: effect_key.map(Value::from),
        taken: Value::Null,
        next: 0,
    }
    .shape()
}

/// The headers in which a write carries its effect key.
fn key_headers(capability: &Capability, key: &str) -> Result<Vec<(String, String)>, BadParams> {
    let mut names = vec![IDEMPOTENCY_HEADER];
    if let Idempotency::Native(name) = &capability.idempotency
        && !name.eq_ignore_ascii_case(IDEMPOTENCY_HEADER)
    {
        names.push(name);
    }
    names
        .into_iter()
        .map(|name| Ok((name.into(), fill::header_value("effect_key", key.into())?)))
        .collect()
}

/// What is known of the account, with the defaults of the fields that it does not name.
pub(crate) fn account_data(fields: &[AccountField], account: &Account) -> Map<String, Value> {
    let mut data = account.data.clone();
    for field in fields {
        if let (Some(default), false) = (&field.default, data.contains_key(&field.name)) {
            data.insert(field.name.clone(), default.clone().into());
        }
    }
    data
}

#[cfg(test)]
mod tests;
