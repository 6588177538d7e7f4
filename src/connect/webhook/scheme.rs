//! The schemes by name, and what can be chosen of each: what an endpoint is registered with.

use super::{
    Delivery, Verifier, WebhookError,
    basic::Basic,
    github::GitHub,
    hmac::PlainHmac,
    mac::{Algorithm, Encoding},
    name_of_body,
    slack::Slack,
    standard::StandardWebhooks,
    stripe::Stripe,
    token::{Place, Token},
    told,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// How an endpoint's requests are proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    #[default]
    StandardWebhooks,
    Slack,
    Github,
    Stripe,
    Hmac,
    Basic,
    Token,
}

impl Scheme {
    pub const ALL: [Scheme; 7] = [
        Scheme::StandardWebhooks,
        Scheme::Slack,
        Scheme::Github,
        Scheme::Stripe,
        Scheme::Hmac,
        Scheme::Basic,
        Scheme::Token,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Scheme::StandardWebhooks => "standard_webhooks",
            Scheme::Slack => "slack",
            Scheme::Github => "github",
            Scheme::Stripe => "stripe",
            Scheme::Hmac => "hmac",
            Scheme::Basic => "basic",
            Scheme::Token => "token",
        }
    }

    pub fn parse(text: &str) -> Option<Scheme> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == text)
    }
}

/// Where in the body its sender says what happened, and names it; as JSON pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedInBody {
    pub kind: &'static str,
    pub id: &'static str,
}

impl Scheme {
    /// Where the sender's own words stand, if they stand in the body always.
    pub fn named_in_body(self) -> Option<NamedInBody> {
        (self == Scheme::Stripe).then_some(NamedInBody {
            kind: "/type",
            id: "/id",
        })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What can be chosen of an endpoint. Which of these a scheme takes, [`Scheme::verifier`] says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `hmac`, `token`: the header with the hash or the token. Default for `hmac`: `X-Signature`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// `token`: the parameter of the address with the token, instead of a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// `hmac`: `sha256` (default), `sha1`, `sha512`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub algorithm: Option<Algorithm>,
    /// `hmac`: `hex` (default) or `base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub encoding: Option<Encoding>,
    /// `hmac`, `token`: what stands before the hash or the token in the header, for example `sha256=` or `Bearer `.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// `hmac`, `basic`, `token`: the header with the event's id. No signature covers it, so it is kept beside the event and does not make two
    /// events of one body; see `same_body` and `id_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// `hmac`, `basic`, `token`: the header that says what happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind_header: Option<String>,
    /// `hmac`, `basic`, `token`: what a second delivery of a body is that has no id of its own at `id_at`: `one_event`, the one that came before,
    /// or `new_event`, unless the header `id_header` says that it is the same. With `new_event` whoever has got hold of one request can have
    /// its event taken again under other ids. Default: `one_event` for `hmac`, and wherever there is an `id_header`; else `new_event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub same_body: Option<SameBody>,
    /// Where in the body the event's id stands, as a JSON pointer; goes before what the headers say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_at: Option<String>,
    /// `slack`: ids of bots or of their apps whose messages are events like those of people, for example `B0123456789`; `*`: all. Never this
    /// app's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bots: Vec<String>,
}

/// What a second delivery of one body is, where nothing that is signed names the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameBody {
    OneEvent,
    NewEvent,
}

/// What events are called whose sender signs no name.
#[derive(Clone, Debug, PartialEq)]
pub enum Naming {
    /// By their body.
    Body,
    /// By this header (lower case); without one each delivery is an event.
    Header(Option<String>),
}

impl Naming {
    fn of(scheme: Scheme, options: &Options) -> Self {
        let header = options.id_header.as_deref().map(str::to_ascii_lowercase);
        match options.same_body {
            Some(SameBody::OneEvent) => Naming::Body,
            Some(SameBody::NewEvent) => Naming::Header(header),
            None if scheme == Scheme::Hmac || header.is_some() => Naming::Body,
            None => Naming::Header(None),
        }
    }

    pub fn name(&self, delivery: &Delivery<'_>) -> Option<String> {
        match self {
            Naming::Body => Some(name_of_body(delivery.body)),
            Naming::Header(header) => told(delivery.headers, header.as_deref()?),
        }
    }
}

/// An option that is wrong or that the scheme does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`options.{option}` {message}")]
pub struct SchemeError {
    pub option: &'static str,
    pub message: String,
}

impl Scheme {
    /// The verifier with these choices.
    ///
    /// # Errors
    /// The first option that is wrong.
    pub fn verifier(self, options: &Options) -> Result<Arc<dyn Verifier>, SchemeError> {
        self.check(options)?;
        let lower = |name: &Option<String>| name.as_deref().map(str::to_ascii_lowercase);
        let (naming, kind_header) = (Naming::of(self, options), lower(&options.kind_header));
        Ok(match self {
            Scheme::StandardWebhooks => Arc::new(StandardWebhooks),
            Scheme::Slack => Arc::new(Slack),
            Scheme::Github => Arc::new(GitHub),
            Scheme::Stripe => Arc::new(Stripe),
            Scheme::Hmac => Arc::new(PlainHmac {
                header: lower(&options.header).unwrap_or_else(|| "x-signature".into()),
                algorithm: options.algorithm.unwrap_or_default(),
                encoding: options.encoding.unwrap_or_default(),
                prefix: options.prefix.clone().unwrap_or_default(),
                naming,
                kind_header,
            }),
            Scheme::Basic => Arc::new(Basic {
                naming,
                kind_header,
            }),
            Scheme::Token => Arc::new(Token {
                place: place(options)?,
                naming,
                kind_header,
            }),
        })
    }

    fn check(self, options: &Options) -> Result<(), SchemeError> {
        use Scheme::{Basic, Hmac, Slack, Token};
        let given: [(&'static str, bool, &[Scheme]); 9] = [
            ("header", options.header.is_some(), &[Hmac, Token]),
            ("query", options.query.is_some(), &[Token]),
            ("algorithm", options.algorithm.is_some(), &[Hmac]),
            ("encoding", options.encoding.is_some(), &[Hmac]),
            ("prefix", options.prefix.is_some(), &[Hmac, Token]),
            (
                "id_header",
                options.id_header.is_some(),
                &[Hmac, Basic, Token],
            ),
            (
                "kind_header",
                options.kind_header.is_some(),
                &[Hmac, Basic, Token],
            ),
            (
                "same_body",
                options.same_body.is_some(),
                &[Hmac, Basic, Token],
            ),
            ("bots", !options.bots.is_empty(), &[Slack]),
        ];
        for (option, is_given, schemes) in given {
            if is_given && !schemes.contains(&self) {
                return Err(wrong(option, format!("is no choice of the scheme {self}")));
            }
        }
        for (option, name) in [
            ("header", &options.header),
            ("id_header", &options.id_header),
            ("kind_header", &options.kind_header),
        ] {
            if name.as_deref().is_some_and(|name| !is_header_name(name)) {
                return Err(wrong(option, "must be the name of a header".into()));
            }
        }
        let is_text =
            |text: &str| text.len() <= 64 && text.bytes().all(|byte| (32..127).contains(&byte));
        for (option, text) in [("query", &options.query), ("prefix", &options.prefix)] {
            if text.as_deref().is_some_and(|text| !is_text(text)) {
                let message = "must have 64 visible ascii characters at most";
                return Err(wrong(option, message.into()));
            }
        }
        if options
            .id_at
            .as_deref()
            .is_some_and(|place| !place.starts_with('/') || place.len() > 200)
        {
            let message = "must be a JSON pointer such as /id";
            return Err(wrong("id_at", message.into()));
        }
        if options.bots.len() > 100 || options.bots.iter().any(|bot| !super::is_word(bot)) {
            let message = "must be up to 100 ids such as B0123456789";
            return Err(wrong("bots", message.into()));
        }
        Ok(())
    }
}

fn place(options: &Options) -> Result<Place, SchemeError> {
    match (&options.header, &options.query) {
        (Some(_), Some(_)) => Err(wrong("query", "cannot be given beside `header`".into())),
        (None, Some(name)) if options.prefix.is_none() && !name.is_empty() => {
            Ok(Place::Query { name: name.clone() })
        }
        (None, Some(_)) => Err(wrong(
            "query",
            "must be the name of a parameter, without `prefix`".into(),
        )),
        (Some(header), None) => Ok(Place::Header {
            name: header.to_ascii_lowercase(),
            prefix: options.prefix.clone().unwrap_or_default(),
        }),
        (None, None) => Err(wrong(
            "header",
            "or `query` must say where the token stands".into(),
        )),
    }
}

fn wrong(option: &'static str, message: String) -> SchemeError {
    SchemeError { option, message }
}

/// A token of RFC 9110.
fn is_header_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A secret that is taken as it is written.
pub(super) fn check_text(secret: &SecretString, least: usize) -> Result<(), WebhookError> {
    let text = secret.expose_secret();
    let fits = (least..=1_024).contains(&text.len()) && !text.chars().any(char::is_control);
    match (fits, least) {
        (true, _) => Ok(()),
        (false, 8) => Err(WebhookError::BadSecret(
            "the secret must have 8 to 1024 characters and no control characters",
        )),
        (false, _) => Err(WebhookError::BadSecret(
            "the secret must have 16 to 1024 characters and no control characters",
        )),
    }
}

pub(super) fn any_text(random: [u8; 32]) -> SecretString {
    URL_SAFE_NO_PAD.encode(random).into()
}
