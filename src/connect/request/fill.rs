//! From a request template to a request.

use super::{Account, BadParams, BodyTemplate, ShapedRequest};
use crate::connect::{
    answer::AnswerSpec,
    catalog::{Capability, Placement},
    template::{Scope, Template, as_text},
};
use reqwest::{Method, Url, header::HeaderValue};
use serde_json::Value;
use std::sync::Arc;

/// A request as the catalog describes it.
#[derive(Debug)]
pub(crate) struct RequestTemplate {
    pub method: Method,
    pub address: Address,
    pub query: Vec<(String, Template)>,
    pub headers: Vec<(String, Template)>,
    pub body: Option<BodyTemplate>,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Address {
    /// Below the account's base URL.
    Path(Vec<Segment>),
    /// Below another of the provider's hosts, unless the account has a base URL of its own.
    OtherHost {
        base: Url,
        /// The integration's base URL.
        instead_of: String,
        path: Vec<Segment>,
    },
    /// An address that an answer named, on one of these hosts or on the account's own. No credential travels there.
    Given { url: Template, hosts: Vec<String> },
}

/// A segment of a path.
#[derive(Debug)]
pub(crate) struct Segment {
    pub template: Template,
    /// Whether slashes in the value part it into several segments.
    pub splits: bool,
}

/// For whom a request is filled.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The capability's id, or another name that says what the request is for.
    pub name: Arc<str>,
    pub base_url: String,
    pub send: Placement,
}

impl Target {
    pub fn of(capability: &Capability, account: &Account) -> Self {
        Self {
            name: capability.id.as_str().into(),
            base_url: account.base_url.clone(),
            send: capability.send.clone(),
        }
    }
}

/// What a template is filled with, and how the answer is to be read.
pub(crate) struct Filling<'a> {
    pub target: &'a Target,
    pub scope: &'a Scope<'a>,
    pub answer: Arc<AnswerSpec>,
}

impl RequestTemplate {
    /// # Errors
    /// The argument or account field that cannot be sent safely.
    pub fn fill(&self, with: Filling) -> Result<ShapedRequest, BadParams> {
        let Filling {
            target,
            scope,
            answer,
        } = with;
        let mut url = self.address.fill(target, scope)?;
        let query = fill_query(&self.query, scope)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, template) in &self.headers {
            if let Some(text) = template.render_text(scope)? {
                headers.push((name.clone(), header_value(name, text)?));
            }
        }
        Ok(ShapedRequest {
            capability: target.name.to_string(),
            method: self.method.clone(),
            url,
            headers,
            body: self
                .body
                .as_ref()
                .map(|body| body.fill(scope))
                .transpose()?,
            write: answer.write,
            send: target.send.clone(),
            with_credential: !matches!(self.address, Address::Given { .. }),
            answer,
            rest: None,
            sink: None,
        })
    }

    /// All its templates, for the catalog's check.
    pub fn templates(&self) -> Vec<&Template> {
        let mut all: Vec<&Template> = match &self.address {
            Address::Path(path) | Address::OtherHost { path, .. } => {
                path.iter().map(|segment| &segment.template).collect()
            }
            Address::Given { url, .. } => vec![url],
        };
        all.extend(self.query.iter().map(|(_, template)| template));
        all.extend(self.headers.iter().map(|(_, template)| template));
        if let Some(body) = &self.body {
            all.extend(body.templates());
        }
        all
    }
}

impl Address {
    fn fill(&self, target: &Target, scope: &Scope) -> Result<Url, BadParams> {
        match self {
            Self::Path(path) => below(base(&target.base_url)?, path, scope),
            Self::OtherHost {
                base: other,
                instead_of,
                path,
            } => {
                let start = if target.base_url == *instead_of {
                    other.clone()
                } else {
                    base(&target.base_url)?
                };
                below(start, path, scope)
            }
            Self::Given { url, hosts } => {
                let text = url.render_text(scope)?.unwrap_or_default();
                given(&text, hosts, &base(&target.base_url)?)
            }
        }
    }
}

fn base(text: &str) -> Result<Url, BadParams> {
    text.parse::<Url>()
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| BadParams::new("account.base_url", "is not an http or https URL"))
}

/// The address that an answer named, if it is the provider's own.
fn given(text: &str, hosts: &[String], base: &Url) -> Result<Url, BadParams> {
    let wrong = || {
        BadParams::new(
            "url",
            "was given by the provider and is on none of its hosts",
        )
    };
    let url: Url = text.parse().map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?;
    let listed = hosts.iter().any(|known| match known.strip_prefix("*.") {
        Some(parent) => host
            .strip_suffix(parent)
            .is_some_and(|rest| rest.ends_with('.')),
        None => host == known,
    });
    let fits = (listed && url.scheme() == "https") || url.origin() == base.origin();
    if fits { Ok(url) } else { Err(wrong()) }
}

/// Appends the segments, each encoded as one, so that no argument can reach another path.
fn below(mut url: Url, segments: &[Segment], scope: &Scope) -> Result<Url, BadParams> {
    let mut filled = Vec::with_capacity(segments.len());
    for segment in segments {
        let field = segment
            .template
            .references()
            .first()
            .map_or("path".into(), |reference| reference.keys.join("."));
        let text = segment.template.render_text(scope)?.unwrap_or_default();
        let parts = if segment.splits {
            text.trim_matches('/')
                .split('/')
                .map(str::to_owned)
                .collect()
        } else {
            vec![text]
        };
        // The URL parser would drop these, and so shorten the path.
        if parts
            .iter()
            .any(|part| matches!(part.as_str(), "" | "." | ".."))
        {
            return Err(BadParams::new(field, "must be neither empty nor dots"));
        }
        filled.extend(parts);
    }
    url.path_segments_mut()
        .map_err(|()| BadParams::new("account.base_url", "cannot have a path"))?
        .pop_if_empty()
        .extend(filled);
    Ok(url)
}

/// A list becomes the same parameter several times.
fn fill_query(
    fields: &[(String, Template)],
    scope: &Scope,
) -> Result<Vec<(String, String)>, BadParams> {
    let mut filled = Vec::with_capacity(fields.len());
    for (name, template) in fields {
        match template.render(scope)? {
            None => {}
            Some(Value::Array(items)) => {
                filled.extend(items.iter().map(|item| (name.clone(), as_text(item))));
            }
            Some(value) => filled.push((name.clone(), as_text(&value))),
        }
    }
    Ok(filled)
}

pub(super) fn header_value(field: &str, value: String) -> Result<String, BadParams> {
    match HeaderValue::from_str(&value) {
        Ok(_) => Ok(value),
        Err(_) => Err(BadParams::new(
            field,
            "has characters that a header cannot carry",
        )),
    }
}
