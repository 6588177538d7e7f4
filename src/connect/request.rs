//! From a capability and its arguments to the request that goes out. Pure: what is shaped can be shown to a person, hashed and
//! compared before anything is sent. It holds no secret; the token is added by the client.

use super::{
    answer::AnswerSpec,
    catalog::{AccountField, Capability, Idempotency, Placement, Quota, nearest},
    template::{Scope, Template},
};
use jsonschema::{ValidationError, error::ValidationErrorKind};
use reqwest::{Method, Url, header::HeaderValue};
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
    pub(crate) answer: Arc<AnswerSpec>,
}

/// A request as the catalog describes it.
#[derive(Debug)]
pub(crate) struct RequestTemplate {
    pub method: Method,
    pub path: Vec<Template>,
    pub query: Vec<(String, Template)>,
    pub headers: Vec<(String, Template)>,
    pub body: Option<BodyTemplate>,
}

#[derive(Debug)]
pub(crate) enum BodyTemplate {
    Json(Template),
    Form(Vec<(String, Template)>),
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
    let key = effect_key.map(|key| Value::String(key.into()));
    let data = Value::Object(data);
    let mut scope = Scope::new().with("input", arguments).with("account", &data);
    if let Some(key) = &key {
        scope = scope.with("effect_key", key);
    }
    let mut request = fill(
        &capability.request,
        capability,
        account,
        &scope,
        capability.answer.clone(),
    )?;
    match effect_key {
        Some(key) => add_key(&mut request, capability, key)?,
        None if capability.write => {
            return Err(BadParams::new(
                "effect_key",
                "is missing: every write has one",
            ));
        }
        None => {}
    }
    Ok(request)
}

fn add_key(
    request: &mut ShapedRequest,
    capability: &Capability,
    key: &str,
) -> Result<(), BadParams> {
    let mut names = vec![IDEMPOTENCY_HEADER];
    if let Idempotency::Native(name) = &capability.idempotency
        && !name.eq_ignore_ascii_case(IDEMPOTENCY_HEADER)
    {
        names.push(name);
    }
    for name in names {
        request
            .headers
            .push((name.into(), header_value("effect_key", key.into())?));
    }
    Ok(())
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

/// Fills a request template of a capability; `answer` says how its answer is to be read.
pub(crate) fn fill(
    template: &RequestTemplate,
    capability: &Capability,
    account: &Account,
    scope: &Scope,
    answer: Arc<AnswerSpec>,
) -> Result<ShapedRequest, BadParams> {
    let send = capability.send.clone();
    fill_call(template, &capability.id, send, account, scope, answer)
}

/// Fills a request template that goes by the name `capability`.
pub(crate) fn fill_call(
    template: &RequestTemplate,
    capability: &str,
    send: Placement,
    account: &Account,
    scope: &Scope,
    answer: Arc<AnswerSpec>,
) -> Result<ShapedRequest, BadParams> {
    let mut url = account
        .base_url
        .parse::<Url>()
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| BadParams::new("account.base_url", "is not an http or https URL"))?;
    fill_path(&mut url, &template.path, scope)?;
    let query = fill_fields(&template.query, scope)?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let headers = fill_fields(&template.headers, scope)?
        .into_iter()
        .map(|(name, value)| header_value(&name, value).map(|value| (name, value)))
        .collect::<Result<_, BadParams>>()?;
    let body = match &template.body {
        None => None,
        Some(BodyTemplate::Json(json)) => {
            Some(Body::Json(json.render(scope)?.unwrap_or(Value::Null)))
        }
        Some(BodyTemplate::Form(fields)) => Some(Body::Form(fill_fields(fields, scope)?)),
    };
    Ok(ShapedRequest {
        capability: capability.into(),
        method: template.method.clone(),
        url,
        headers,
        body,
        write: answer.write,
        send,
        answer,
    })
}

/// Appends the segments, each encoded as one, so that no argument can reach another path.
fn fill_path(url: &mut Url, segments: &[Template], scope: &Scope) -> Result<(), BadParams> {
    let mut filled = Vec::with_capacity(segments.len());
    for segment in segments {
        let field = segment
            .references()
            .first()
            .map_or("path".into(), |reference| reference.keys.join("."));
        let text = segment.render_text(scope)?.unwrap_or_default();
        // The URL parser would drop these, and so shorten the path.
        if text.is_empty() || text == "." || text == ".." {
            return Err(BadParams::new(field, "must be neither empty nor dots"));
        }
        filled.push(text);
    }
    let mut path = url
        .path_segments_mut()
        .map_err(|()| BadParams::new("account.base_url", "cannot have a path"))?;
    path.pop_if_empty().extend(filled);
    Ok(())
}

fn fill_fields(
    fields: &[(String, Template)],
    scope: &Scope,
) -> Result<Vec<(String, String)>, BadParams> {
    let mut filled = Vec::with_capacity(fields.len());
    for (name, template) in fields {
        if let Some(text) = template.render_text(scope)? {
            filled.push((name.clone(), text));
        }
    }
    Ok(filled)
}

fn header_value(field: &str, value: String) -> Result<String, BadParams> {
    match HeaderValue::from_str(&value) {
        Ok(_) => Ok(value),
        Err(_) => Err(BadParams::new(
            field,
            "has characters that a header cannot carry",
        )),
    }
}

/// Checks arguments against the capability's input schema.
///
/// # Errors
/// The first field that does not fit, and what would.
pub fn check_arguments(capability: &Capability, arguments: &Value) -> Result<(), BadParams> {
    capability
        .input_validator
        .validate(arguments)
        .map_err(|error| explain(capability, &error))
}

fn explain(capability: &Capability, error: &ValidationError) -> BadParams {
    let at = field_name(error.instance_path().as_str());
    let below = |name: &str| {
        if at == "arguments" {
            name.to_owned()
        } else {
            format!("{at}.{name}")
        }
    };
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            BadParams::new(
                below(name),
                with_hint("is missing", describe(capability, &below(name))),
            )
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let name = unexpected.first().map_or("", String::as_str);
            BadParams::new(below(name), unknown_field(capability, &at, name))
        }
        // The values stay out of the message: they may be long, and messages go into logs.
        _ => {
            let message = error.masked_with("the value").to_string();
            let message = message
                .strip_prefix("the value ")
                .map_or(message.clone(), str::to_owned);
            let hint = describe(capability, &at);
            BadParams::new(at, with_hint(&message, hint))
        }
    }
}

fn with_hint(message: &str, hint: Option<&str>) -> String {
    hint.map_or_else(
        || message.to_owned(),
        |hint| format!("{message}; it is {hint}"),
    )
}

fn describe<'a>(capability: &'a Capability, field: &str) -> Option<&'a str> {
    capability.input["properties"]
        .get(field)?
        .get("description")?
        .as_str()
}

fn unknown_field(capability: &Capability, at: &str, name: &str) -> String {
    let Some(known) = capability.input["properties"]
        .as_object()
        .filter(|_| at == "arguments")
    else {
        return "is not a known field".into();
    };
    match nearest(name, known.keys().map(String::as_str)) {
        Some(meant) => format!("is not a known field; `{meant}` may be meant"),
        None => format!(
            "is not a known field; known are {}",
            known.keys().cloned().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// `/where/0/field` as `where[0].field`.
fn field_name(pointer: &str) -> String {
    let mut name = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            name.push_str(&format!("[{part}]"));
        } else {
            name.push_str(if name.is_empty() { "" } else { "." });
            name.push_str(part);
        }
    }
    if name.is_empty() {
        "arguments".into()
    } else {
        name
    }
}

#[cfg(test)]
mod tests;
