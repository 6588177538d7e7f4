//! The sandbox's authorisation servers, one an integration, each with the answers of its provider.
//!
//! What happened is kept in `oauth.jsonl`, one line a request, written before the request is answered: clients, grants, codes and
//! tokens survive the death of the process. Of codes, tokens and client secrets only hashes are kept.
//!
//! Each is at `/oauth/{integration}/authorize`, `…/token` and `…/revoke`, and at the provider's own paths below `/{integration}`, for
//! example `/slack/oauth/v2/authorize` and `/slack/api/oauth.v2.access`.
//!
//! | module | what |
//! |---|---|
//! | [`settings`] | clients, lifetimes, rotation, PKCE: `POST /oauth/settings` |
//! | [`state`] | what follows from the journal's lines |
//! | [`authorize`] | the request for consent, checked; [`consent`] its page |
//! | [`token`] | the token endpoint's decisions; [`issue`] makes the tokens |
//! | [`shape`] | each provider's own answers and errors |
//! | [`revoke`] | `…/revoke`, and the switches that end grants and tokens |
//! | [`http`] | the routes |

mod authorize;
mod consent;
mod hash;
pub(super) mod http;
mod issue;
mod revoke;
mod settings;
mod shape;
mod state;
mod token;

pub(super) use hash::TokenHash;
pub(super) use state::LogItem;
pub(super) use token::TokenRequest;

use super::{SandboxError, call::Call, faults::FaultKind, journal::Journal};
use crate::domain::Timestamp;
use state::{Entry, State};
use std::{io, path::Path};

#[derive(Debug)]
pub(super) struct OAuth {
    state: State,
    journal: Journal,
}

/// Why a provider does not take a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Missing,
    Unknown,
    Expired,
    /// The token or its grant was revoked.
    Revoked,
}

impl OAuth {
    /// Reads the journal in `folder`. Blocking.
    pub fn open(folder: &Path) -> Result<Self, SandboxError> {
        let mut state = State::default();
        let journal = Journal::open(folder, "oauth.jsonl", |entry: Entry| state.apply(entry))?;
        Ok(Self { state, journal })
    }

    /// Whose account a call acts for: `sandbox-token`, or the grant of an issued one, such as `grant-3`.
    pub fn admit(&self, call: &Call) -> Result<String, Refusal> {
        let token = call.token.as_deref().ok_or(Refusal::Missing)?;
        if token == call.provider.token() {
            return Ok("sandbox-token".into());
        }
        let grant = self
            .state
            .access_is_good(call.provider, &TokenHash::of(token), call.at)?;
        Ok(format!("grant-{grant}"))
    }

    /// A request that met a fault and was not carried out.
    pub fn log_fault(&mut self, at: Timestamp, mut item: LogItem, kind: FaultKind) {
        item.outcome = kind.name().to_owned();
        // The request is refused either way; that its line is missing after a full disk does no harm.
        if let Err(error) = self.commit(Entry::of(at).logged(item)) {
            tracing::warn!(%error, "the sandbox cannot log a token request");
        }
    }

    /// Writes the line, then believes it.
    fn commit(&mut self, entry: Entry) -> io::Result<()> {
        self.journal.append(&entry)?;
        self.state.apply(entry);
        Ok(())
    }

    /// Forgets clients, grants, tokens and the log.
    pub fn reset(&mut self) -> io::Result<()> {
        self.state = State::default();
        self.journal.reset()
    }
}
