//! How the page looks: a section for each way that can be used, each with a form of its own. It works without scripts.

use super::Opened;
use crate::{
    actors::hub::HubError,
    api::{
        error::ApiError,
        html::{Html, escape},
    },
    connect::{
        Integration,
        catalog::{
            AuthWay,
            auth::{Field, OauthCode},
        },
        oauth::OauthApp,
    },
};
use axum::http::StatusCode;
use std::collections::BTreeMap;

pub struct Page<'a> {
    pub integration: &'a Integration,
    /// Without one nobody can consent.
    pub app: Option<&'a OauthApp>,
    pub opened: &'a Opened,
    /// What was typed before; secrets of it are not shown again.
    pub given: &'a BTreeMap<String, String>,
    pub error: Option<&'a HubError>,
}

impl Page<'_> {
    pub fn html(self) -> Html {
        let name = escape(&self.integration.name);
        let ways: Vec<&AuthWay> = self.ways().collect();
        let mut body = format!(
            "<h1>Connect {name}</h1><p><b>{}</b> asks for access to your {name} account{}.</p>",
            escape(&self.opened.org_name),
            self.for_whom()
        );
        let (status, told) = self.told();
        body.push_str(&told);
        for way in &ways {
            let heading = if ways.len() > 1 {
                heading(way)
            } else {
                String::new()
            };
            body.push_str(&heading);
            body.push_str(&self.form(way));
        }
        if ways.is_empty() {
            body.push_str(&format!(
                "<p>Nobody has set up {name} here yet. Tell whoever gave you this link.</p>"
            ));
        }
        body.push_str(
            "<footer>What you give is kept sealed and is used on behalf of this organisation only. You can take it back at any time, there or here.</footer>",
        );
        let origins = ways.iter().filter_map(|way| self.origin(way));
        let origins: Vec<String> = origins.collect();
        Html::page(status, &format!("Connect {}", self.integration.name), body)
            .with_form_to(origins)
    }

    fn for_whom(&self) -> String {
        match &self.opened.link.owner_user {
            Some(user) => format!(", for {}", escape(user)),
            None => String::new(),
        }
    }

    fn told(&self) -> (StatusCode, String) {
        let Some(error) = self.error else {
            return (StatusCode::OK, String::new());
        };
        let error = ApiError::from_hub(error);
        let text = format!(
            "<p class=\"error\" role=\"alert\">{}</p>",
            escape(error.detail())
        );
        (error.problem().status(), text)
    }

    /// Those that can be used: a consent needs an app at the provider.
    fn ways(&self) -> impl Iterator<Item = &AuthWay> {
        self.integration
            .auth
            .iter()
            .filter(|way| self.app.is_some() || !matches!(way, AuthWay::Oauth2Code(_)))
    }

    fn form(&self, way: &AuthWay) -> String {
        let mut form = format!(
            "<form method=\"post\"><input type=\"hidden\" name=\"way\" value=\"{}\">",
            escape(way.id())
        );
        for field in self.integration.account.iter().filter(|field| {
            field.is_required() && !is_learned(way, &field.name) && !self.is_known(&field.name)
        }) {
            let input = Input {
                way: way.id(),
                name: format!("account.{}", field.name),
                title: &field.name.replace('_', " "),
                hint: Some(&field.description),
                secret: false,
                optional: false,
            };
            form.push_str(&input.html(self.given));
        }
        for field in way.fields() {
            form.push_str(&typed(way, field).html(self.given));
        }
        let button = match way {
            AuthWay::Oauth2Code(_) => format!("Continue to {}", escape(&self.integration.name)),
            _ => "Connect".into(),
        };
        form.push_str(&format!("<button type=\"submit\">{button}</button></form>"));
        form
    }

    /// Whether the connection knows it from before.
    fn is_known(&self, field: &str) -> bool {
        let account: serde_json::Value =
            serde_json::from_str(&self.opened.row.account).unwrap_or_default();
        account["data"].get(field).is_some()
    }

    /// Where the form's redirect leads, as the policy writes it.
    fn origin(&self, way: &AuthWay) -> Option<String> {
        let AuthWay::Oauth2Code(OauthCode { authorize_url, .. }) = way else {
            return None;
        };
        let instead = self
            .app
            .and_then(|app| app.overrides.authorize_url.as_ref());
        let url = instead.unwrap_or(authorize_url);
        let (scheme, rest) = url.split_once("://")?;
        let host = rest.split(['/', '?']).next()?;
        // A part that the person types can only be told as "any".
        let host = match host.rsplit_once('}') {
            Some((_, fixed)) => format!("*{fixed}"),
            None => host.to_owned(),
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:*[]".contains(c);
        host.chars()
            .all(is_plain)
            .then(|| format!("{scheme}://{host}"))
    }
}

fn is_learned(way: &AuthWay, field: &str) -> bool {
    matches!(way, AuthWay::Oauth2Code(way) if way.learn.contains_key(field))
}

fn heading(way: &AuthWay) -> String {
    let text = match way {
        AuthWay::Oauth2Code(_) => "Give consent in your browser",
        AuthWay::Oauth2ClientCredentials(_) => "With a client id and secret",
        AuthWay::ApiKey(_) => "With an API key",
        AuthWay::Basic(_) => "With a name and a password",
        AuthWay::Bearer(_) => "With a token",
        AuthWay::JwtBearer(_) => "With a private key",
        AuthWay::TwoStep(_) => "With credentials",
    };
    format!("<h2>{text}</h2>")
}

fn typed<'a>(way: &'a AuthWay, field: &'a Field) -> Input<'a> {
    Input {
        way: way.id(),
        name: format!("field.{}", field.name),
        title: &field.title,
        hint: field.description.as_deref(),
        secret: field.secret,
        optional: field.optional,
    }
}

struct Input<'a> {
    way: &'a str,
    name: String,
    title: &'a str,
    hint: Option<&'a str>,
    secret: bool,
    optional: bool,
}

impl Input<'_> {
    fn html(&self, given: &BTreeMap<String, String>) -> String {
        let id = format!("{}-{}", escape(self.way), escape(&self.name));
        let (title, name) = (escape(self.title), escape(&self.name));
        let title = match self.optional {
            true => format!("{title} (optional)"),
            false => title,
        };
        let required = if self.optional { "" } else { " required" };
        let (described, hint) = match self.hint {
            Some(text) => (
                format!(" aria-describedby=\"{id}-hint\""),
                format!("<small id=\"{id}-hint\">{}</small>", escape(text)),
            ),
            None => Default::default(),
        };
        let label = format!("<label for=\"{id}\">{title}</label>{hint}");
        // A private key has lines, which a password field would swallow.
        if self.name.ends_with("private_key") {
            return format!(
                "{label}<textarea id=\"{id}\" name=\"{name}\" rows=\"6\" autocomplete=\"off\" spellcheck=\"false\"{described}{required}></textarea>"
            );
        }
        let kind = if self.secret { "password" } else { "text" };
        let value = match (self.secret, given.get(&self.name)) {
            (false, Some(value)) => format!(" value=\"{}\"", escape(value)),
            _ => String::new(),
        };
        format!(
            "{label}<input id=\"{id}\" name=\"{name}\" type=\"{kind}\" autocomplete=\"off\" spellcheck=\"false\"{value}{described}{required}>"
        )
    }
}
