//! How tokens and grants end before their time: at the wish of the client, of the owner, or of a test.

use super::{
    OAuth,
    hash::TokenHash,
    settings::Settings,
    shape,
    state::{Change, Entry},
    token::{TokenError, TokenRequest, authenticate},
};
use crate::{
    domain::Timestamp,
    sandbox::{
        call::{Answer, Provider},
        fields::{BadField, Fields},
    },
};
use serde_json::{Value, json};
use std::io;

/// Which of an integration's grants an order is about.
pub(super) struct Chosen {
    pub integration: Provider,
    /// None: all of them.
    pub grant: Option<u64>,
}

impl Chosen {
    pub fn read(fields: &Fields) -> Result<Self, BadField> {
        Ok(Self {
            integration: fields.provider()?,
            grant: fields.whole("grant", 1, u64::MAX)?,
        })
    }
}

impl OAuth {
    /// `…/revoke`, RFC 7009: an unknown token is no error. At Google and Intuit any token ends the grant, elsewhere an access token
    /// only itself.
    pub fn revoke(&mut self, request: &TokenRequest) -> io::Result<Answer> {
        let mut item = request.log_item("revoke");
        let checked = self.check_revocation(request);
        let mut entry = Entry::of(request.at);
        let answer = match checked {
            Ok((grant, change)) => {
                item.grant = grant;
                entry.changes.extend(change);
                shape::revoked(request.integration)
            }
            Err(error) => {
                item.outcome = error.code().to_owned();
                item.reason = Some(error.reason().to_owned());
                shape::denied(request, error)
            }
        };
        self.commit(entry.logged(item))?;
        Ok(answer)
    }

    fn check_revocation(
        &self,
        request: &TokenRequest,
    ) -> Result<(Option<u64>, Option<Change>), TokenError> {
        let settings = self.state.settings(request.integration);
        let named = request.basic.is_some() || request.text("client_id").is_some();
        // To these the token itself is proof enough.
        let trusting = matches!(request.integration, Provider::Gmail | Provider::Slack);
        let client = if trusting && !named {
            None
        } else {
            Some(&authenticate(request, &settings)?.client_id)
        };
        let missing = TokenError::InvalidRequest("token is missing");
        let token = TokenHash::of(request.text("token").ok_or(missing)?);
        let access = self.state.access.get(&token).map(|access| access.grant);
        let refresh = self.state.refresh.get(&token).map(|refresh| refresh.grant);
        let grant = access.or(refresh).and_then(|id| self.state.grants.get(&id));
        let grant = grant.filter(|grant| {
            grant.integration == request.integration
                && client.is_none_or(|client| *client == grant.client_id)
        });
        let Some(grant) = grant else {
            return Ok((None, None));
        };
        let ends_grant = refresh.is_some()
            || matches!(grant.integration, Provider::Gmail | Provider::Quickbooks);
        let change = if ends_grant {
            Change::GrantEnded {
                grant: grant.id,
                why: "revoked by the client".into(),
            }
        } else {
            Change::AccessRevoked(token)
        };
        Ok((Some(grant.id), Some(change)))
    }

    /// `POST /oauth/settings`.
    pub fn configure(&mut self, at: Timestamp, body: &Value) -> Result<Value, Failed> {
        let provider = body
            .get("integration")
            .and_then(Value::as_str)
            .and_then(Provider::named)
            .ok_or_else(|| BadField::new("integration", Provider::MUST_BE))?;
        let mut settings: Settings = self.state.settings(provider);
        settings.change(body)?;
        let shown = settings.to_json(provider);
        self.commit(Entry::of(at).changing(Change::Settings(provider, settings)))?;
        Ok(shown)
    }

    pub fn all_settings(&self) -> Vec<Value> {
        let show = |provider| self.state.settings(provider).to_json(provider);
        Provider::ALL.into_iter().map(show).collect()
    }

    /// `POST /oauth/expire`: access tokens, refresh tokens or both have expired. Gives the grants.
    pub fn expire(&mut self, at: Timestamp, body: &Value) -> Result<Vec<u64>, Failed> {
        let fields = Fields::of(body, &["integration", "grant", "what"])?;
        let kinds = [
            ("access", (true, false)),
            ("refresh", (false, true)),
            ("all", (true, true)),
        ];
        let (access, refresh) = fields.choice("what", &kinds)?.unwrap_or((true, false));
        let grants = self.live_grants(&Chosen::read(&fields)?);
        let change = Change::Expired {
            grants: grants.clone(),
            access,
            refresh,
        };
        self.commit(Entry::of(at).changing(change))?;
        Ok(grants)
    }

    /// `POST /oauth/revoke_grant`: the owner takes the consent back. Gives the grants.
    pub fn end_grants(&mut self, at: Timestamp, body: &Value) -> Result<Vec<u64>, Failed> {
        let fields = Fields::of(body, &["integration", "grant"])?;
        let grants = self.live_grants(&Chosen::read(&fields)?);
        let mut entry = Entry::of(at);
        let ended = grants.iter().map(|grant| Change::GrantEnded {
            grant: *grant,
            why: "revoked by its owner".into(),
        });
        entry.changes.extend(ended);
        self.commit(entry)?;
        Ok(grants)
    }

    fn live_grants(&self, chosen: &Chosen) -> Vec<u64> {
        let grants = self.state.grants.values().filter(|grant| {
            grant.integration == chosen.integration
                && grant.ended.is_none()
                && chosen.grant.is_none_or(|id| id == grant.id)
        });
        grants.map(|grant| grant.id).collect()
    }

    /// `GET /oauth/grants`.
    pub fn grants(&self, at: Timestamp, integration: Option<Provider>) -> Vec<Value> {
        let grants = self.state.grants.values();
        grants
            .filter(|grant| integration.is_none_or(|own| own == grant.integration))
            .map(|grant| self.state.grant_to_json(grant, at))
            .collect()
    }

    /// `GET /oauth/log`: the oldest first, and how often each outcome of each grant type occurs.
    pub fn log(&self, integration: Option<Provider>, grant_type: Option<&str>) -> Value {
        let (mut items, mut counts) = (Vec::new(), json!({}));
        for (place, (at, item)) in self.state.log.iter().enumerate() {
            if integration.is_some_and(|own| own != item.integration)
                || grant_type.is_some_and(|own| own != item.grant_type)
            {
                continue;
            }
            let count = &mut counts[&item.grant_type][&item.outcome];
            *count = json!(count.as_u64().unwrap_or(0) + 1);
            let mut shown = json!(item);
            shown["seq"] = json!(place + 1);
            shown["at"] = json!(at);
            items.push(shown);
        }
        json!({"items": items, "counts": counts, "next": null})
    }
}

/// Why an order to the authorisation servers was not carried out.
#[derive(Debug, thiserror::Error)]
pub(in crate::sandbox) enum Failed {
    #[error(transparent)]
    Field(#[from] BadField),
    #[error("the journal of the authorisation servers cannot be written")]
    Journal(#[from] io::Error),
}
