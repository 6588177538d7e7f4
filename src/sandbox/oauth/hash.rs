//! Names for secrets that may be written down.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const SHORT: usize = 12;

/// SHA-256 of a token, a code or a client secret, in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::sandbox) struct TokenHash(String);

impl TokenHash {
    pub fn of(secret: &str) -> Self {
        let digest = Sha256::digest(secret);
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
    /// Enough to tell tokens apart in a log.
    pub fn short(&self) -> &str {
        self.0.get(..SHORT).unwrap_or(&self.0)
    }
}
