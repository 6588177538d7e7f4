//! What to do with a write whose answer never came: send it again, look whether it happened, or ask a person. Pure.

use super::{
    answer::AnswerSpec,
    catalog::Capability,
    request::{Account, BadParams, Filling, RequestTemplate, ShapedRequest, Target, account_data},
    template::{Scope, Template, as_text},
};
use crate::domain::Timestamp;
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// The longest time that a provider is given after the answer was lost, besides what its probe wants after the sending: so late an end of
/// the request is rare, and whoever starts again must not wait for an hour each time.
const SETTLE_MAX_AFTER_LOSS: Duration = Duration::from_secs(60);
/// Pages that a probe reads before it gives up.
const PAGE_LIMIT: u32 = 20;

/// The way out for an effect that is ambiguous.
#[derive(Debug)]
pub enum Resolution {
    /// A second sending is harmless: a read, or the provider knows the key.
    Resend,
    /// A read can tell.
    Probe(Box<ShapedProbe>),
    /// Nothing can tell; the text says why.
    AskPerson(String),
}

/// What a probe's answer says.
#[derive(Debug)]
pub enum ProbeReading {
    /// The write happened; its result, made from what was found.
    Happened(Value),
    DidNotHappen,
    /// The answer does not tell; the text says why. Ask a person.
    Unclear(String),
    /// Another request is needed before it can be told.
    Next(Box<ShapedProbe>),
}

/// The declared read of a capability that tells whether a write happened.
#[derive(Debug)]
pub(crate) struct Probe {
    pub settle: Duration,
    pub margin: Duration,
    pub lookup: Option<Lookup>,
    /// Another request of the listing, where its value is given.
    pub instead: Option<(Template, RequestTemplate)>,
    pub listing: Listing,
}

/// A read before the probe, for what the probe must know; needed when `value` starts with `starts_with`.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub value: Template,
    pub starts_with: String,
    pub otherwise: Template,
    pub listing: Listing,
}

/// A paged read, the item that is looked for, and what to take from it.
#[derive(Debug)]
pub(crate) struct Listing {
    pub request: RequestTemplate,
    pub items: String,
    /// Places without which an answer is none: that nothing is found there would say that nothing has happened.
    pub requires: Vec<String>,
    pub matches: Option<Match>,
    pub take: Template,
    pub cursor: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Match {
    pub at: String,
    /// Taken off the text before it is compared.
    pub prefix: String,
    pub text: Template,
    /// Whether holding the text is enough.
    pub part: bool,
}

/// A probe that is under way: send `request`, give the answer to [`ShapedProbe::read`].
#[derive(Clone, Debug)]
pub struct ShapedProbe {
    pub request: ShapedRequest,
    /// Before this the provider may not show yet what it did.
    pub not_before: Timestamp,
    question: Arc<Question>,
    lookup: Option<Value>,
    pages: u32,
}

#[derive(Debug)]
struct Question {
    capability: Arc<Capability>,
    probe: Arc<Probe>,
    account: Account,
    data: Value,
    arguments: Value,
    effect_key: Value,
    since: Value,
}

/// A write of which nobody knows whether it happened.
#[derive(Clone, Copy, Debug)]
pub struct Doubt {
    /// When the first sending left that may have happened.
    pub sent: Timestamp,
    /// When its answer was lost at the latest.
    pub now: Timestamp,
}

/// How to resolve the write that was sent with `effect_key` and never answered.
///
/// Where the provider knows the key it is sent again, as long as the provider remembers it; after that as if it did not know it.
///
/// # Errors
/// [`BadParams`] if the probe cannot be shaped from these arguments.
pub fn resolution(
    capability: &Arc<Capability>,
    arguments: &Value,
    account: &Account,
    effect_key: &str,
    doubt: Doubt,
) -> Result<Resolution, BadParams> {
    let Doubt { sent, now } = doubt;
    let is_remembered = |valid_for| now < sent.after(valid_for);
    let is_harmless = capability.idempotency.is_harmless_to_repeat();
    if !capability.write || is_harmless && capability.key_valid_for.is_none_or(is_remembered) {
        return Ok(Resolution::Resend);
    }
    let Some(probe) = &capability.probe else {
        if let Some(valid_for) = capability.key_valid_for.filter(|_| is_harmless) {
            return Ok(Resolution::AskPerson(format!(
                "{} is sure to know the key of a call for {} minutes only, and it was sent at {sent}",
                capability.integration,
                valid_for.as_secs() / 60
            )));
        }
        let reason = format!(
            "{} has no way to tell whether a call with this key happened",
            capability.id
        );
        return Ok(Resolution::AskPerson(reason));
    };
    let since = sent.micros() - i64::try_from(probe.margin.as_micros()).unwrap_or(0);
    let question = Question {
        capability: capability.clone(),
        probe: probe.clone(),
        account: account.clone(),
        data: Value::Object(account_data(&capability.account_fields, account)),
        arguments: arguments.clone(),
        effect_key: effect_key.into(),
        since: format!(
            "{}.{:06}",
            since.div_euclid(1_000_000),
            since.rem_euclid(1_000_000)
        )
        .into(),
    };
    // The provider may have carried it out at any time until the answer was lost, so a look can be relied on only some time after that.
    let not_before = sent
        .after(probe.settle)
        .max(now.after(probe.settle.min(SETTLE_MAX_AFTER_LOSS)));
    let first = Arc::new(question).start(not_before)?;
    Ok(Resolution::Probe(Box::new(first)))
}

impl Question {
    fn scope<'a>(
        &'a self,
        lookup: Option<&'a Value>,
        cursor: Option<&'a Value>,
        item: Option<&'a Value>,
    ) -> Scope<'a> {
        let mut scope = Scope::new()
            .with("input", &self.arguments)
            .with("account", &self.data)
            .with("effect_key", &self.effect_key)
            .with("since", &self.since);
        for (root, value) in [("lookup", lookup), ("cursor", cursor), ("item", item)] {
            scope = value.map_or(scope, |value| scope.with(root, value));
        }
        scope
    }

    fn start(self: Arc<Self>, not_before: Timestamp) -> Result<ShapedProbe, BadParams> {
        let lookup = match &self.probe.lookup {
            None => Some(Value::Null),
            Some(lookup) => {
                let scope = self.scope(None, None, None);
                let value = lookup.value.render_text(&scope)?.unwrap_or_default();
                if value.starts_with(&lookup.starts_with) {
                    None
                } else {
                    lookup.otherwise.render(&scope)?
                }
            }
        };
        self.ask(lookup, None, 0, not_before)
    }

    fn listing(&self, lookup: Option<&Value>) -> &Listing {
        match (&self.probe.lookup, lookup) {
            (Some(first), None) => &first.listing,
            _ => &self.probe.listing,
        }
    }

    fn template(
        &self,
        lookup: Option<&Value>,
        scope: &Scope,
    ) -> Result<&RequestTemplate, BadParams> {
        match (lookup, &self.probe.instead) {
            (Some(_), Some((given, request))) if given.render(scope)?.is_some() => Ok(request),
            _ => Ok(&self.listing(lookup).request),
        }
    }

    fn ask(
        self: Arc<Self>,
        lookup: Option<Value>,
        cursor: Option<&Value>,
        pages: u32,
        not_before: Timestamp,
    ) -> Result<ShapedProbe, BadParams> {
        let requires = self.listing(lookup.as_ref()).requires.clone();
        let answer = Arc::new(AnswerSpec {
            requires: Some(requires),
            ..self.capability.answer.for_read()
        });
        let scope = self.scope(lookup.as_ref(), cursor, None);
        let template = self.template(lookup.as_ref(), &scope)?;
        let request = template.fill(Filling {
            target: &Target::of(&self.capability, &self.account),
            scope: &scope,
            answer,
        })?;
        Ok(ShapedProbe {
            request,
            not_before,
            question: self,
            lookup,
            pages,
        })
    }
}

impl ShapedProbe {
    /// Reads the `output` of the probe request's [`CallOutcome::Ok`](super::CallOutcome::Ok).
    pub fn read(&self, body: &Value) -> ProbeReading {
        self.try_read(body)
            .unwrap_or_else(|error| ProbeReading::Unclear(error.to_string()))
    }

    fn try_read(&self, body: &Value) -> Result<ProbeReading, BadParams> {
        let question = &self.question;
        let listing = question.listing(self.lookup.as_ref());
        let items = match body.pointer(&listing.items) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(items)) => items.as_slice(),
            // The answer is the thing itself.
            Some(one @ Value::Object(_)) if listing.items.is_empty() => std::slice::from_ref(one),
            Some(_) => {
                return Ok(ProbeReading::Unclear(format!(
                    "no list at {} in the answer",
                    listing.items
                )));
            }
        };
        for item in items {
            let scope = question.scope(self.lookup.as_ref(), None, Some(item));
            if listing.fits(item, &scope)? {
                let found = listing.take.render(&scope)?.unwrap_or_default();
                return self.found(found);
            }
        }
        let cursor = listing
            .cursor
            .as_ref()
            .and_then(|place| body.pointer(place));
        match cursor.filter(|cursor| cursor.as_str().is_some_and(|text| !text.is_empty())) {
            Some(_) if self.pages >= PAGE_LIMIT => Ok(ProbeReading::Unclear(format!(
                "not found in the first {PAGE_LIMIT} pages"
            ))),
            Some(cursor) => {
                let next = question.clone().ask(
                    self.lookup.clone(),
                    Some(cursor),
                    self.pages + 1,
                    self.not_before,
                )?;
                Ok(ProbeReading::Next(Box::new(next)))
            }
            None if self.lookup.is_none() => Ok(ProbeReading::Unclear(format!(
                "nothing at {} fits what the call named",
                listing.items
            ))),
            None => Ok(ProbeReading::DidNotHappen),
        }
    }

    fn found(&self, found: Value) -> Result<ProbeReading, BadParams> {
        if self.lookup.is_some() {
            return Ok(ProbeReading::Happened(found));
        }
        let next = self
            .question
            .clone()
            .ask(Some(found), None, 0, self.not_before)?;
        Ok(ProbeReading::Next(Box::new(next)))
    }
}

impl Listing {
    fn fits(&self, item: &Value, scope: &Scope) -> Result<bool, BadParams> {
        let Some(wanted) = &self.matches else {
            return Ok(true);
        };
        let found = match item.pointer(&wanted.at) {
            None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => None,
            Some(value) => Some(as_text(value)),
        };
        let text = wanted.text.render_text(scope)?;
        let (Some(found), Some(text)) = (found, text) else {
            return Ok(false);
        };
        Ok(match wanted.part {
            true => found.contains(&text),
            false => text.strip_prefix(&wanted.prefix) == Some(found.as_str()),
        })
    }
}

#[cfg(test)]
mod tests;
