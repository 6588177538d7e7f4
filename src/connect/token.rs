//! Where a connector gets its token from. Static tokens now, OAuth later behind the same trait.

use crate::domain::{ConnectionId, OrgId};
use async_trait::async_trait;
use secrecy::SecretString;

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("connection {0} has no token")]
    Missing(ConnectionId),
    /// A person has to authorise the account again.
    #[error("connection {connection} needs consent: {reason}")]
    NeedsConsent {
        connection: ConnectionId,
        reason: String,
    },
    /// It may work in a moment.
    #[error("the token of connection {connection} cannot be had now: {reason}")]
    Unavailable {
        connection: ConnectionId,
        reason: String,
    },
}

#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A token that is valid now. It is asked for before each call: caching and refreshing are the source's business.
    ///
    /// # Errors
    /// What is missing, and whether a person or time can mend it.
    async fn token(&self, org: OrgId, connection: ConnectionId)
    -> Result<SecretString, TokenError>;
}
