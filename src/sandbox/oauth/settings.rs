//! How an integration's authorisation server behaves.

use super::{super::call::Provider, hash::TokenHash};
use crate::sandbox::fields::{BadField, Fields};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const MOST_SECONDS: u64 = 10 * 365 * 24 * 3600;
const MOST_CLIENTS: usize = 1_000;
const KNOWN: [&str; 10] = [
    "integration",
    "access_ttl_seconds",
    "rotate_refresh",
    "reuse_revokes_family",
    "grace_seconds",
    "code_ttl_seconds",
    "pkce",
    "clients",
    "expires_in_is_told",
    "refresh_is_given",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pkce {
    Required,
    Optional,
    /// A request with a challenge is refused.
    Refused,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Client {
    pub client_id: String,
    /// None: a public client, which has to use PKCE.
    pub secret: Option<TokenHash>,
    /// Compared as they are.
    pub redirect_uris: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    /// None: access tokens never expire.
    pub access_ttl_seconds: Option<u64>,
    /// Whether token answers say `expires_in`. Some providers let a token die without having said when.
    pub expires_in_is_told: bool,
    /// Whether a consent gives a refresh token. Some providers give one with the first consent of an account alone.
    #[serde(default = "yes")]
    pub refresh_is_given: bool,
    /// A refresh gives a new refresh token, and the old one is used up.
    pub rotate_refresh: bool,
    /// A refresh token that comes a second time ends its grant, with everything that was issued under it.
    pub reuse_revokes_family: bool,
    /// For so long a refresh token that was used up is still taken.
    pub grace_seconds: u64,
    pub code_ttl_seconds: u64,
    pub pkce: Pkce,
    pub clients: Vec<Client>,
}

fn yes() -> bool {
    true
}

impl Settings {
    /// As the provider does it; without clients.
    pub fn of(provider: Provider) -> Self {
        let (access_ttl_seconds, rotate_refresh, pkce) = match provider {
            Provider::Slack => (Some(43_200), true, Pkce::Optional),
            Provider::Quickbooks => (Some(3_600), true, Pkce::Refused),
            Provider::Gmail => (Some(3_599), false, Pkce::Optional),
            Provider::Github => (Some(28_800), true, Pkce::Optional),
            Provider::Stripe => (None, false, Pkce::Refused),
        };
        Self {
            access_ttl_seconds,
            expires_in_is_told: true,
            refresh_is_given: true,
            rotate_refresh,
            reuse_revokes_family: false,
            grace_seconds: 0,
            code_ttl_seconds: 600,
            pkce,
            clients: Vec::new(),
        }
    }

    /// Fields that are absent stay as they are; `access_ttl_seconds` may be null. `clients` replaces all of them.
    pub fn change(&mut self, body: &Value) -> Result<(), BadField> {
        let fields = Fields::of(body, &KNOWN)?;
        if fields.is_given("access_ttl_seconds") {
            self.access_ttl_seconds = fields.whole("access_ttl_seconds", 0, MOST_SECONDS)?;
        }
        let flag = |name: &str, own: bool| {
            fields
                .flag(name)
                .map(|given: Option<bool>| given.unwrap_or(own))
        };
        self.expires_in_is_told = flag("expires_in_is_told", self.expires_in_is_told)?;
        self.refresh_is_given = flag("refresh_is_given", self.refresh_is_given)?;
        self.rotate_refresh = flag("rotate_refresh", self.rotate_refresh)?;
        self.reuse_revokes_family = flag("reuse_revokes_family", self.reuse_revokes_family)?;
        let seconds = |name: &str, own: u64| {
            fields
                .whole(name, 0, MOST_SECONDS)
                .map(|given| given.unwrap_or(own))
        };
        self.grace_seconds = seconds("grace_seconds", self.grace_seconds)?;
        self.code_ttl_seconds = seconds("code_ttl_seconds", self.code_ttl_seconds)?;
        let ways = [
            ("required", Pkce::Required),
            ("optional", Pkce::Optional),
            ("refused", Pkce::Refused),
        ];
        self.pkce = fields.choice("pkce", &ways)?.unwrap_or(self.pkce);
        if let Some(clients) = fields.value("clients") {
            self.clients = read_clients(clients)?;
        }
        Ok(())
    }

    pub fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.client_id == id)
    }

    /// Without the clients' secrets.
    pub fn to_json(&self, provider: Provider) -> Value {
        let show = |client: &Client| {
            json!({
                "client_id": client.client_id, "has_secret": client.secret.is_some(), "redirect_uris": client.redirect_uris,
            })
        };
        json!({
            "integration": provider, "access_ttl_seconds": self.access_ttl_seconds,
            "expires_in_is_told": self.expires_in_is_told, "refresh_is_given": self.refresh_is_given, "rotate_refresh": self.rotate_refresh,
            "reuse_revokes_family": self.reuse_revokes_family, "grace_seconds": self.grace_seconds,
            "code_ttl_seconds": self.code_ttl_seconds, "pkce": self.pkce,
            "clients": self.clients.iter().map(show).collect::<Vec<_>>(),
        })
    }
}

fn read_clients(value: &Value) -> Result<Vec<Client>, BadField> {
    let wrong = |message: String| BadField::new("clients", message);
    let list = value
        .as_array()
        .filter(|list| list.len() <= MOST_CLIENTS)
        .ok_or_else(|| wrong(format!("must be a list of at most {MOST_CLIENTS} objects")))?;
    let mut clients: Vec<Client> = Vec::with_capacity(list.len());
    for item in list {
        let client =
            read_client(item).map_err(|error| wrong(format!("holds one whose {error}")))?;
        if clients
            .iter()
            .any(|other| other.client_id == client.client_id)
        {
            return Err(wrong(format!("hold {} twice", client.client_id)));
        }
        clients.push(client);
    }
    Ok(clients)
}

fn read_client(item: &Value) -> Result<Client, BadField> {
    let fields = Fields::of(item, &["client_id", "client_secret", "redirect_uris"])?;
    let uris = match fields.value("redirect_uris") {
        None => Vec::new(),
        Some(list) => serde_json::from_value::<Vec<String>>(list.clone())
            .map_err(|_| BadField::new("redirect_uris", "must be a list of texts"))?,
    };
    if let Some(odd) = uris
        .iter()
        .find(|uri| !uri.contains("://") || uri.contains('#'))
    {
        let message = format!("must be absolute and without a fragment, unlike {odd}");
        return Err(BadField::new("redirect_uris", message));
    }
    Ok(Client {
        client_id: fields.needed("client_id")?.to_owned(),
        secret: fields.text("client_secret")?.map(TokenHash::of),
        redirect_uris: uris,
    })
}
