//! The usual source of tokens: what is sealed in the connection, renewed at the provider when its time is over.

use super::{
    credential::Credential,
    refresh::{Flights, RefreshResult, Stored, refresh},
};
use crate::{
    connect::token::{Held, Live, TokenError, TokenSource, is_fresh},
    domain::Timestamp,
};
use async_trait::async_trait;
use std::sync::Arc;

/// Gives the time; a test may hold it.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Tokens from the vault. One for the whole process, so that it knows which refreshes are under way.
pub struct StoredTokens {
    flights: Flights,
    now: Now,
}

impl StoredTokens {
    pub fn new(now: Now) -> Self {
        Self {
            flights: Flights::default(),
            now,
        }
    }

    async fn refreshed(&self, held: &Held, seen: i64) -> Result<Arc<Live>, TokenError> {
        let connection = held.connection;
        let Some(endpoint) = held.endpoint.clone() else {
            return Err(self.ended(held, seen).await);
        };
        let (store, now) = (held.store.clone(), self.now.clone());
        let work =
            move || async move { refresh(connection, seen, &*store, &*endpoint, &*now).await };
        match self.flights.join(connection, work).await {
            RefreshResult::Refreshed(stored) | RefreshResult::SiblingWon(stored) => {
                Ok(live(&stored))
            }
            RefreshResult::NeedsReauth { reason, first } => Err(TokenError::NeedsConsent {
                connection,
                reason,
                first,
            }),
            RefreshResult::Later {
                reason,
                retry_after,
            } => Err(TokenError::Unavailable {
                connection,
                reason,
                retry_after,
            }),
            RefreshResult::Misconfigured { detail } => {
                Err(TokenError::Misconfigured { connection, detail })
            }
            RefreshResult::Gone => Err(TokenError::Missing(connection)),
        }
    }
}

impl StoredTokens {
    /// What a person gave is not good any more, and only a person can give another.
    async fn ended(&self, held: &Held, seen: i64) -> TokenError {
        let connection = held.connection;
        let reason = "the provider does not accept it any more, and it cannot be renewed";
        match held.store.needs_reauth(seen, reason, (self.now)()).await {
            Ok(first) => TokenError::NeedsConsent {
                connection,
                reason: reason.into(),
                first,
            },
            Err(error) => TokenError::Unavailable {
                connection,
                reason: error.to_string(),
                retry_after: None,
            },
        }
    }
}

#[async_trait]
impl TokenSource for StoredTokens {
    async fn live(&self, held: &Held) -> Result<Arc<Live>, TokenError> {
        let credential = &held.stored.credential;
        // Fields that travel as they are need no token.
        let has_all = credential.access_token.is_some() || held.endpoint.is_none();
        match has_all && is_fresh(credential, (self.now)()) {
            true => Ok(live(&held.stored)),
            false => self.refreshed(held, held.stored.version).await,
        }
    }

    async fn renewed(&self, held: &Held, refused: i64) -> Result<Arc<Live>, TokenError> {
        match held.stored.version > refused {
            true => self.live(held).await,
            false => self.refreshed(held, refused).await,
        }
    }
}

fn live(stored: &Stored) -> Arc<Live> {
    Arc::new(Live {
        credential: Credential::clone(&stored.credential),
        version: stored.version,
    })
}
