//! Where a connector gets its credential from: what is stored in the vault, or a vault of somebody else's, behind one trait. Which of them it is
//! stands in the connection itself.

use super::oauth::{Credential, CredentialStore, Stored, TokenEndpoint};
use crate::domain::{ConnectionId, OrgId, Timestamp};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};

#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError {
    #[error("connection {0} has no credential")]
    Missing(ConnectionId),
    /// A person has to authorise the account again.
    #[error("connection {connection} needs consent: {reason}")]
    NeedsConsent {
        connection: ConnectionId,
        reason: String,
        /// It was found out just now: the owner has to be told.
        first: bool,
    },
    /// It may work in a moment.
    #[error("the token of connection {connection} cannot be had now: {reason}")]
    Unavailable {
        connection: ConnectionId,
        reason: String,
        retry_after: Option<Duration>,
    },
    /// Somebody has to change the app or the catalog.
    #[error("the token of connection {connection} cannot be renewed: {detail}")]
    Misconfigured {
        connection: ConnectionId,
        detail: String,
    },
}

/// A connection as it is stored, and who can renew it.
#[derive(Clone)]
pub struct Held {
    pub org: OrgId,
    pub connection: ConnectionId,
    pub stored: Stored,
    pub store: Arc<dyn CredentialStore>,
    /// `None`: nobody can; what a person gave is all that there is.
    pub endpoint: Option<Arc<dyn TokenEndpoint>>,
}

/// A credential that is good now. Its holder may use it until it is not fresh any more, without asking again.
#[derive(Clone, Debug)]
pub struct Live {
    pub credential: Credential,
    /// The stored version that it comes from.
    pub version: i64,
}

/// Calls take a while, and clocks differ: a token is not used in its last half minute.
const MARGIN: Duration = Duration::from_secs(30);

impl Live {
    /// Whether it may still be used. Of a token that lives shortly the last quarter is left alone.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        is_fresh(&self.credential, now)
    }
}

pub(super) fn is_fresh(credential: &Credential, now: Timestamp) -> bool {
    let lifetime = credential
        .expires_at
        .map_or(Duration::MAX, |end| end.since(credential.got_at));
    credential
        .expires_at
        .is_none_or(|end| now.after(MARGIN.min(lifetime / 4)) < end)
}

#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A credential that is good now. It may take as long as a token endpoint does.
    ///
    /// # Errors
    /// What is missing, and whether a person or time can mend it.
    async fn live(&self, held: &Held) -> Result<Arc<Live>, TokenError>;

    /// Another one than that of version `refused`, which the provider did not accept although its time is not over.
    ///
    /// # Errors
    /// As [`TokenSource::live`].
    async fn renewed(&self, held: &Held, refused: i64) -> Result<Arc<Live>, TokenError>;
}
