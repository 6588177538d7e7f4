//! URLs of an integration that depend on the account: `https://{account.subdomain}.example.com`.
//!
//! Such a value decides where a token is sent, so it is held to its field's pattern, or to what a single word of a host name may
//! be. Whoever can write an account's data can therefore choose among the provider's own hosts and no others.

use super::{AccountField, AuthWay, Integration};
use crate::connect::{
    request::{Account, BadParams, account_data},
    template::{Scope, Template},
};
use regex::Regex;
use reqwest::Url;
use serde_json::{Map, Value};

/// What stands in a URL where the field says nothing else: words of a host name or a path segment, without dots at the ends.
const DEFAULT_PATTERN: &str = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?";

impl AccountField {
    /// Whether its values are checked before they reach a URL, and how. Matches the whole value.
    pub(super) fn regex(&self) -> Result<Regex, String> {
        let pattern = self.pattern.as_deref().unwrap_or(DEFAULT_PATTERN);
        Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|_| format!("the pattern of `{}` is no regular expression", self.name))
    }
}

impl Integration {
    /// What is known of the account, with the defaults of the fields that it does not name.
    pub fn account_data(&self, account: &Account) -> Map<String, Value> {
        account_data(&self.account, account)
    }

    /// Fills a URL of this integration.
    ///
    /// # Errors
    /// A field that is missing, does not fit its pattern, or does not give an http or https URL.
    pub fn fill_url(&self, text: &str, data: &Map<String, Value>) -> Result<Url, BadParams> {
        let filled = self.fill_url_text(text, data)?;
        filled
            .parse::<Url>()
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            .ok_or_else(|| BadParams::new("account", format!("does not give a URL for `{text}`")))
    }

    /// The base URL for an account that names none of its own and is authorised by `way` (absent: a token that was given as such);
    /// no slash at the end.
    ///
    /// # Errors
    /// As [`Integration::fill_url`].
    pub fn base_url_for(
        &self,
        way: Option<&AuthWay>,
        data: &Map<String, Value>,
    ) -> Result<String, BadParams> {
        let way = way.or_else(|| self.pasted_way());
        let text = way.and_then(AuthWay::base_url).unwrap_or(&self.base_url);
        if !text.contains('{') {
            return Ok(text.to_owned());
        }
        self.fill_url(text, data)?;
        let filled = self.fill_url_text(text, data)?;
        Ok(filled.trim_end_matches('/').to_owned())
    }

    fn fill_url_text(&self, text: &str, data: &Map<String, Value>) -> Result<String, BadParams> {
        let template = Template::parse(&Value::String(text.into()))
            .map_err(|message| BadParams::new("url", message))?;
        for reference in template.references() {
            if let ("account", Some(name)) = (reference.root.as_str(), reference.keys.first()) {
                self.check_in_url(name, data)?;
            }
        }
        let data = self.with_defaults(data).into();
        template
            .render_text(&Scope::new().with("account", &data))?
            .ok_or_else(|| BadParams::new("account", format!("lacks a value for `{text}`")))
    }

    fn with_defaults(&self, data: &Map<String, Value>) -> Map<String, Value> {
        self.account_data(&Account {
            data: data.clone(),
            ..Account::default()
        })
    }

    fn check_in_url(&self, name: &str, data: &Map<String, Value>) -> Result<(), BadParams> {
        let place = || format!("account.{name}");
        let field = self.account.iter().find(|field| field.name == name);
        let value = match (data.get(name), field.and_then(|one| one.default.as_ref())) {
            (Some(Value::String(text)), _) => text.clone(),
            (Some(Value::Number(number)), _) => number.to_string(),
            (None, Some(default)) => default.clone(),
            (Some(_), _) => return Err(BadParams::new(place(), "must be a text")),
            (None, None) => {
                return Err(BadParams::new(place(), "is missing at the connection"));
            }
        };
        let fits = field
            .and_then(|field| field.regex().ok())
            .is_some_and(|regex| regex.is_match(&value));
        if fits {
            Ok(())
        } else {
            let told = field.map_or("", |field| field.description.as_str());
            Err(BadParams::new(
                place(),
                format!("does not look like what it is, {told}"),
            ))
        }
    }
}
