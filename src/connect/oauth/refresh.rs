//! Renewing a credential: once for everybody who waits, and so that no crash and no sibling loses it.
//!
//! The order is what counts:
//! 1. The stored credential is read again: a sibling may have renewed it since the caller looked.
//! 2. A durable note says that the provider is about to be asked.
//! 3. The provider is asked.
//! 4. The answer replaces the stored credential by compare-and-swap, and only then is used: a refresh token that rotates is in the database
//!    before anybody can depend on it.
//!
//! If the process dies between 3 and 4 the new token is lost and the note stays. The next refresh then uses the old refresh token once more,
//! which is all that the protocol allows. Providers that do not rotate give a new token. Of those that rotate, most accept the
//! old one again for a while, because lost answers are common: seconds to minutes where a reuse interval is configured (Auth0, Okta, Keycloak), until the
//! new one is used (Google, Microsoft), for a day (Intuit), and so on. One that ends the whole grant at the first reuse (RFC 9700 section 4.14.2,
//! without leeway) cannot be satisfied by any client: the connection then needs a person, and its reason says that a crash was the cause.

use super::{credential::Credential, outcome::TokenOutcome};
use crate::domain::{ConnectionId, Timestamp};
use async_trait::async_trait;
use dashmap::DashMap;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use serde_json::{Map, Value};
use std::{future::Future, sync::Arc, time::Duration};

/// A credential that was got but not stored is tried to store this often, with growing pauses between, for half a minute in all.
const STORE_ATTEMPTS: u32 = 8;
const STORE_PAUSE: Duration = Duration::from_millis(100);
/// How often a swap follows a version that moved for another reason than a new grant.
const SWAP_ATTEMPTS: u32 = 5;

/// A credential as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What a swap must expect.
    pub version: i64,
    pub credential: Credential,
    /// Whether the connection may be used at all.
    pub active: bool,
    /// Since when somebody is renewing it, or died at it.
    pub refresh_started: Option<Timestamp>,
}

/// The store failed. The text holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// One connection's credential in the database.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// `None`: the connection is gone.
    async fn read(&self) -> Result<Option<Stored>, StoreError>;
    /// Notes that this version is about to be renewed; `false` if it is not the current one any more.
    async fn begin(&self, version: i64, at: Timestamp) -> Result<bool, StoreError>;
    /// Replaces this version, and what is known of the account by what the token's answer told of it (`learned`, fields by name; those that
    /// are not there stay). `false` if it is not the current version any more.
    async fn swap(
        &self,
        version: i64,
        new: &Credential,
        learned: &Map<String, Value>,
        at: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Takes the note back: surely nothing was renewed. `again`: when to try next.
    async fn give_up(&self, version: i64, again: Timestamp) -> Result<(), StoreError>;
    /// The grant of this version is dead; `false` if there is a newer one, or it was known.
    async fn needs_reauth(
        &self,
        version: i64,
        reason: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError>;
}

/// Whoever asks the provider.
#[async_trait]
pub trait TokenEndpoint: Send + Sync {
    async fn renew(&self, credential: &Credential, now: Timestamp) -> TokenOutcome;
}

/// How a refresh ended.
#[derive(Clone, Debug)]
pub enum RefreshResult {
    /// Renewed by us, and stored.
    Refreshed(Arc<Stored>),
    /// Somebody else had renewed it.
    SiblingWon(Arc<Stored>),
    /// A person must consent again. `first`: it was found out just now, so that its owner has to be told.
    NeedsReauth { reason: String, first: bool },
    /// It may work in a moment; the grant stays.
    Later {
        reason: String,
        retry_after: Option<Duration>,
    },
    /// It will not work before somebody changes something; the grant stays.
    Misconfigured { detail: String },
    /// The connection has been deleted or taken out of use.
    Gone,
}

/// Renews the credential of a connection that the caller has seen at version `seen` and found wanting.
///
/// Must run to its end once it is begun, whoever stops waiting: see [`Flights`].
pub async fn refresh(
    connection: ConnectionId,
    seen: i64,
    store: &dyn CredentialStore,
    endpoint: &dyn TokenEndpoint,
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> RefreshResult {
    let attempt = Attempt {
        connection,
        store,
        endpoint,
        clock,
    };
    attempt.run(seen).await.unwrap_or_else(|error| {
        tracing::warn!(%connection, %error, "refresh could not reach the store");
        RefreshResult::Later {
            reason: error.to_string(),
            retry_after: None,
        }
    })
}

struct Attempt<'a> {
    connection: ConnectionId,
    store: &'a dyn CredentialStore,
    endpoint: &'a dyn TokenEndpoint,
    clock: &'a (dyn Fn() -> Timestamp + Sync),
}

impl Attempt<'_> {
    async fn run(&self, seen: i64) -> Result<RefreshResult, StoreError> {
        let before = match self.store.read().await? {
            Some(before) if before.active => before,
            _ => return Ok(RefreshResult::Gone),
        };
        if before.version > seen {
            return Ok(RefreshResult::SiblingWon(Arc::new(before)));
        }
        let now = (self.clock)();
        if !self.store.begin(before.version, now).await? {
            return self.sibling(before).await;
        }
        match self.endpoint.renew(&before.credential, now).await {
            TokenOutcome::Granted(granted) => {
                let learned = granted.learned.clone();
                let new = before.credential.renewed(*granted, now);
                self.keep(before, new, &learned).await
            }
            TokenOutcome::DeadGrant { reason } => self.dead(before, reason, now).await,
            TokenOutcome::Transient {
                reason,
                retry_after,
                unsure,
            } => {
                if !unsure {
                    let again = (self.clock)().after(retry_after.unwrap_or(RETRY_AFTER));
                    self.store.give_up(before.version, again).await?;
                }
                tracing::info!(connection = %self.connection, %reason, "refresh is put off");
                Ok(RefreshResult::Later {
                    reason,
                    retry_after,
                })
            }
            TokenOutcome::Misconfigured { detail } => {
                let again = (self.clock)().after(MISCONFIGURED_AFTER);
                self.store.give_up(before.version, again).await?;
                tracing::warn!(connection = %self.connection, %detail, "refresh cannot work");
                Ok(RefreshResult::Misconfigured { detail })
            }
        }
    }

    /// Stores what was granted, however long the database is away: until it is stored, a refresh token that rotated exists here alone.
    async fn keep(
        &self,
        before: Stored,
        new: Credential,
        learned: &Map<String, Value>,
    ) -> Result<RefreshResult, StoreError> {
        let mut version = before.version;
        for _ in 0..SWAP_ATTEMPTS {
            let at = (self.clock)();
            if persistently(|| self.store.swap(version, &new, learned, at)).await? {
                return Ok(RefreshResult::Refreshed(Arc::new(Stored {
                    version: version + 1,
                    credential: new,
                    active: true,
                    refresh_started: None,
                })));
            }
            let current = match persistently(|| self.store.read()).await? {
                Some(current) if current.active => current,
                _ => return Ok(RefreshResult::Gone),
            };
            // The same grant under another version is no newer one: ours follows it.
            if !current.credential.is_same_grant(&before.credential) {
                return Ok(RefreshResult::SiblingWon(Arc::new(current)));
            }
            version = current.version;
        }
        Err(StoreError("the credential changes all the time".into()))
    }

    /// `invalid_grant` is also what the loser of two is told: the stored credential is read again before anybody is bothered.
    async fn dead(
        &self,
        before: Stored,
        reason: String,
        began: Timestamp,
    ) -> Result<RefreshResult, StoreError> {
        let current = match self.store.read().await? {
            Some(current) => current,
            None => return Ok(RefreshResult::Gone),
        };
        if !current.active {
            return Ok(RefreshResult::NeedsReauth {
                reason,
                first: false,
            });
        }
        if current.version > before.version {
            return Ok(RefreshResult::SiblingWon(Arc::new(current)));
        }
        if current.refresh_started != Some(began) {
            // Somebody has begun after us and may be about to store what made our token worthless.
            return Ok(RefreshResult::Later {
                reason: "another refresh is under way".into(),
                retry_after: None,
            });
        }
        let reason = match before.refresh_started {
            Some(since) => format!(
                "{reason} (a refresh that began at {since} was cut off, and the provider does not accept its refresh token twice)"
            ),
            None => reason,
        };
        let at = (self.clock)();
        let first = self.store.needs_reauth(before.version, &reason, at).await?;
        if !first {
            return self.sibling(before).await;
        }
        tracing::warn!(connection = %self.connection, %reason, "the grant is dead");
        Ok(RefreshResult::NeedsReauth { reason, first })
    }

    async fn sibling(&self, before: Stored) -> Result<RefreshResult, StoreError> {
        Ok(match self.store.read().await? {
            Some(current) if current.active && current.version > before.version => {
                RefreshResult::SiblingWon(Arc::new(current))
            }
            Some(current) if current.active => RefreshResult::Later {
                reason: "the connection is being changed".into(),
                retry_after: None,
            },
            _ => RefreshResult::Gone,
        })
    }
}

/// When to try again after a failure that says nothing about it.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Somebody has to change something first; asking every few seconds would only annoy the provider.
const MISCONFIGURED_AFTER: Duration = Duration::from_secs(300);

async fn persistently<T, F>(mut work: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = STORE_PAUSE;
    for _ in 1..STORE_ATTEMPTS {
        match work().await {
            Ok(done) => return Ok(done),
            Err(error) => tracing::warn!(%error, "a new credential is not stored yet"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    work().await
}

type Flight = Shared<BoxFuture<'static, RefreshResult>>;
type Underway = Arc<DashMap<ConnectionId, Flight>>;

/// Refreshes that are under way in this process: whoever comes while one is, waits for the same answer.
#[derive(Clone, Default)]
pub struct Flights(Underway);

/// Takes a flight off the list however it ends.
struct Landing(Underway, ConnectionId);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.remove(&self.1);
    }
}

impl Flights {
    /// Waits for the refresh of this connection that is under way, or starts `work`, which goes on when nobody waits any more: stopped
    /// half-way it could lose a refresh token.
    pub async fn join<F>(&self, connection: ConnectionId, work: impl FnOnce() -> F) -> RefreshResult
    where
        F: Future<Output = RefreshResult> + Send + 'static,
    {
        // In a block of its own: the entry is a lock. The task cannot land before it is on the list, because landing takes the same lock.
        let flight = {
            let entry = self.0.entry(connection);
            let take_off = || {
                let (landing, work) = (Landing(self.0.clone(), connection), work());
                let flying = tokio::spawn(async move {
                    let _landing = landing;
                    work.await
                });
                let landed = flying.map(|ended| {
                    ended.unwrap_or_else(|_| RefreshResult::Later {
                        reason: "the refresh broke down".into(),
                        retry_after: None,
                    })
                });
                landed.boxed().shared()
            };
            entry.or_insert_with(take_off).clone()
        };
        flight.await
    }
}

#[cfg(test)]
mod tests;
