//! The token endpoint: who asks, with what, and whether that is good.

use super::{
    OAuth,
    hash::TokenHash,
    issue::{self, NewTokens},
    settings::{Client, Pkce, Settings},
    shape,
    state::{Actor, Change, Code, Consent, Entry, Grant, LogItem},
};
use crate::{
    domain::Timestamp,
    sandbox::call::{Answer, Provider},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, io, time::Duration};

/// A request to `/oauth/{integration}/token` or `…/revoke`.
pub(in crate::sandbox) struct TokenRequest {
    pub at: Timestamp,
    pub integration: Provider,
    /// From the body, form or JSON, and from the query.
    pub fields: HashMap<String, String>,
    /// Id and secret from an `Authorization: Basic` header.
    pub basic: Option<(String, String)>,
    /// Whether the client asked for JSON: GitHub answers with a form otherwise.
    pub wants_json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    InvalidRequest(&'static str),
    UnknownClient,
    BadSecret,
    UnauthorizedClient,
    UnsupportedGrantType,
    InvalidCode,
    CodeExpired,
    CodeUsed,
    RedirectMismatch,
    BadVerifier,
    InvalidRefresh,
    RefreshExpired,
    RefreshReused,
    GrantEnded,
}

impl TokenError {
    /// The code of RFC 6749.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::UnknownClient | Self::BadSecret => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            _ => "invalid_grant",
        }
    }
    /// What exactly is wrong, for the log and for descriptions.
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidRequest(what) => what,
            Self::UnknownClient => "the client is not known",
            Self::BadSecret => "the client's secret is wrong or missing",
            Self::UnauthorizedClient => "a client without a secret cannot use this grant type",
            Self::UnsupportedGrantType => "the grant type is not supported",
            Self::InvalidCode => "the code is not known",
            Self::CodeExpired => "the code has expired",
            Self::CodeUsed => "the code was used before",
            Self::RedirectMismatch => "redirect_uri is not that of the authorization request",
            Self::BadVerifier => "code_verifier does not fit the challenge",
            Self::InvalidRefresh => "the refresh token is not known",
            Self::RefreshExpired => "the refresh token has expired",
            Self::RefreshReused => "the refresh token was used before",
            Self::GrantEnded => "the grant was revoked",
        }
    }
}

/// An error, and the grant that ends with it, with the reason.
struct Denied(TokenError, Option<(u64, &'static str)>);

impl From<TokenError> for Denied {
    fn from(error: TokenError) -> Self {
        Self(error, None)
    }
}

/// What a request is given.
pub(super) struct Granted {
    entry: Entry,
    pub grant: Grant,
    pub tokens: Vec<NewTokens>,
    /// By a refresh, and not by consent.
    pub refreshed: bool,
    /// Worth noting in the log.
    remark: Option<&'static str>,
}

impl TokenRequest {
    pub fn text(&self, name: &str) -> Option<&str> {
        let value = self.fields.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }
    /// Slack and GitHub exchange a code without being told that it is one.
    pub fn grant_type(&self) -> &str {
        let implied = matches!(self.integration, Provider::Slack | Provider::Github)
            && self.text("code").is_some();
        let default = if implied { "authorization_code" } else { "" };
        self.text("grant_type").unwrap_or(default)
    }
    pub fn log_item(&self, grant_type: &str) -> LogItem {
        let presented = ["code", "refresh_token", "token"]
            .iter()
            .find_map(|name| self.text(name));
        LogItem {
            integration: self.integration,
            grant_type: grant_type.chars().take(100).collect(),
            outcome: "ok".into(),
            reason: None,
            grant: None,
            presented: presented.map(|token| TokenHash::of(token).short().to_owned()),
            issued: None,
            fault: None,
        }
    }
}

impl OAuth {
    /// Answers a token request. `fault` is the one under which it is carried out, for the log.
    pub fn token(&mut self, request: &TokenRequest, fault: Option<&str>) -> io::Result<Answer> {
        let settings = self.state.settings(request.integration);
        let mut item = request.log_item(request.grant_type());
        item.fault = fault.map(str::to_owned);
        match self.grant(request, &settings) {
            Ok(granted) => {
                item.grant = Some(granted.grant.id);
                item.reason = granted.remark.map(str::to_owned);
                let first = granted.tokens.first();
                item.issued = first.map(|new| TokenHash::of(&new.access).short().to_owned());
                let answer = shape::granted(request, &granted, &settings);
                self.commit(granted.entry.logged(item))?;
                Ok(answer)
            }
            Err(Denied(error, ended)) => {
                item.outcome = error.code().to_owned();
                item.reason = Some(error.reason().to_owned());
                let mut entry = Entry::of(request.at);
                entry
                    .changes
                    .extend(ended.map(|(grant, why)| Change::GrantEnded {
                        grant,
                        why: why.to_owned(),
                    }));
                self.commit(entry.logged(item))?;
                Ok(shape::denied(request, error))
            }
        }
    }

    fn grant(&self, request: &TokenRequest, settings: &Settings) -> Result<Granted, Denied> {
        let client = authenticate(request, settings)?;
        match request.grant_type() {
            "authorization_code" => self.exchange(request, settings, client),
            "refresh_token" => self.refresh(request, settings, client),
            "client_credentials" if client.secret.is_none() => {
                Err(TokenError::UnauthorizedClient.into())
            }
            "client_credentials" => Ok(self.for_client(request, settings, client)),
            "" => Err(TokenError::InvalidRequest("grant_type is missing").into()),
            _ => Err(TokenError::UnsupportedGrantType.into()),
        }
    }

    fn exchange(
        &self,
        request: &TokenRequest,
        settings: &Settings,
        client: &Client,
    ) -> Result<Granted, Denied> {
        let missing = TokenError::InvalidRequest("code is missing");
        let hash = TokenHash::of(request.text("code").ok_or(missing)?);
        let known = self.state.codes.get(&hash).filter(|code| {
            code.integration == request.integration && code.client_id == client.client_id
        });
        let code = known.ok_or(TokenError::InvalidCode)?;
        if let Some(grant) = code.used_for {
            let why = "its code was used twice";
            return Err(Denied(TokenError::CodeUsed, Some((grant, why))));
        }
        if code.expires_at <= request.at {
            return Err(TokenError::CodeExpired.into());
        }
        if request.text("redirect_uri") != Some(&code.redirect_uri) {
            return Err(TokenError::RedirectMismatch.into());
        }
        check_verifier(code, request.text("code_verifier"), settings.pkce)?;
        let grant = self.new_grant(request, client, code.consent.clone(), "authorization_code");
        let with_refresh = issue::gives_refresh(grant.integration, &grant.consent, settings);
        let mut entry = Entry::of(request.at)
            .changing(Change::Grant(grant.clone()))
            .changing(Change::CodeUsed {
                code: hash,
                grant: grant.id,
            });
        let mut tokens = Vec::new();
        for actor in issue::actors(grant.integration, &grant.consent) {
            let (next, new) = issue::issue(entry, &grant, actor, settings, with_refresh);
            entry = next;
            tokens.push(new);
        }
        Ok(Granted {
            entry,
            grant,
            tokens,
            refreshed: false,
            remark: None,
        })
    }

    fn refresh(
        &self,
        request: &TokenRequest,
        settings: &Settings,
        client: &Client,
    ) -> Result<Granted, Denied> {
        let missing = TokenError::InvalidRequest("refresh_token is missing");
        let presented = request.text("refresh_token").ok_or(missing)?;
        let hash = TokenHash::of(presented);
        let refresh = self.state.refresh.get(&hash);
        let refresh = refresh.ok_or(TokenError::InvalidRefresh)?;
        let grant = self.state.grants.get(&refresh.grant).filter(|grant| {
            grant.integration == request.integration && grant.client_id == client.client_id
        });
        let grant = grant.ok_or(TokenError::InvalidRefresh)?.clone();
        if grant.ended.is_some() {
            return Err(TokenError::GrantEnded.into());
        }
        if refresh.expired {
            return Err(TokenError::RefreshExpired.into());
        }
        let mut remark = None;
        if let Some(used_at) = refresh.used_at {
            let grace = Duration::from_secs(settings.grace_seconds);
            if grace.is_zero() || request.at > used_at.after(grace) {
                return Err(reused(&grant, settings));
            }
            remark = Some("within the grace of a refresh token that was used up");
        }
        let mut entry = Entry::of(request.at);
        if grant.integration == Provider::Github {
            // GitHub's older access token dies with the refresh token that it came with.
            entry = entry.changing(Change::AccessesRevoked { grant: grant.id });
        }
        let rotates = settings.rotate_refresh;
        let (mut entry, mut new) = issue::issue(entry, &grant, refresh.actor, settings, rotates);
        if rotates {
            entry = entry.changing(Change::RefreshUsed(hash));
        } else if grant.integration != Provider::Gmail {
            new.refresh = Some(presented.to_owned());
        }
        Ok(Granted {
            entry,
            grant,
            tokens: vec![new],
            refreshed: true,
            remark,
        })
    }

    fn for_client(&self, request: &TokenRequest, settings: &Settings, client: &Client) -> Granted {
        let consent = Consent {
            scope: request.text("scope").unwrap_or_default().to_owned(),
            ..Consent::default()
        };
        let grant = self.new_grant(request, client, consent, "client_credentials");
        let entry = Entry::of(request.at).changing(Change::Grant(grant.clone()));
        let (entry, new) = issue::issue(entry, &grant, Actor::App, settings, false);
        Granted {
            entry,
            grant,
            tokens: vec![new],
            refreshed: false,
            remark: None,
        }
    }

    fn new_grant(
        &self,
        request: &TokenRequest,
        client: &Client,
        consent: Consent,
        flow: &str,
    ) -> Grant {
        Grant {
            id: self.state.next_grant(),
            integration: request.integration,
            client_id: client.client_id.clone(),
            consent,
            flow: flow.to_owned(),
            made_at: request.at,
            ended: None,
        }
    }
}

/// Which client asks, by body or by Basic.
pub(super) fn authenticate<'a>(
    request: &TokenRequest,
    settings: &'a Settings,
) -> Result<&'a Client, TokenError> {
    let (id, secret) = match (&request.basic, request.text("client_secret")) {
        (Some(_), Some(_)) => {
            let message = "the client's secret is both in the header and in the body";
            return Err(TokenError::InvalidRequest(message));
        }
        (Some((id, secret)), None) => (id.as_str(), Some(secret.as_str())),
        (None, secret) => (request.text("client_id").unwrap_or_default(), secret),
    };
    let client = settings.client(id).ok_or(TokenError::UnknownClient)?;
    let given = secret
        .filter(|secret| !secret.is_empty())
        .map(TokenHash::of);
    if client.secret == given {
        Ok(client)
    } else {
        Err(TokenError::BadSecret)
    }
}

fn check_verifier(code: &Code, verifier: Option<&str>, pkce: Pkce) -> Result<(), TokenError> {
    match (&code.challenge, verifier) {
        (None, Some(_)) if pkce == Pkce::Refused => {
            Err(TokenError::InvalidRequest("PKCE is not supported"))
        }
        // A verifier without a challenge means that somebody cut the challenge out of the request.
        (None, Some(_)) | (Some(_), None) => Err(TokenError::BadVerifier),
        (None, None) => Ok(()),
        (Some(challenge), Some(verifier)) => {
            let fits = (43..=128).contains(&verifier.len())
                && URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == *challenge;
            fits.then_some(()).ok_or(TokenError::BadVerifier)
        }
    }
}

fn reused(grant: &Grant, settings: &Settings) -> Denied {
    let why = "a refresh token was used twice";
    let ended = settings.reuse_revokes_family.then_some((grant.id, why));
    Denied(TokenError::RefreshReused, ended)
}
