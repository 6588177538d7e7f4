//! Endpoints that take webhooks, read once and kept for a few seconds with their secrets opened, since every event comes to one.

use crate::{
    actors::hub::keys::KIND_HOOK,
    connect::{
        SecretPlace, Vault, VaultError,
        ingest::{
            Unreadable, body, generic,
            slack::{self, SlackRequest},
        },
        webhook::{Delivery, HeaderMap, Options, Scheme, Verified, Verifier, WebhookError},
    },
    domain::{HookId, OrgId, Timestamp},
    persistence::{Db, DbError, HookRow, Sealed, hook_find},
};
use dashmap::DashMap;
use secrecy::{SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// An endpoint that another node changes is known here for this long at most.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Bytes of a body once it is unpacked: as many as a request may have that is not packed.
const UNPACKED_MAX: usize = 1024 * 1024;
/// Endpoints that are kept, known and unknown ones; somebody who tries many must not fill the memory.
const KEPT_MAX: usize = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the secrets of {hook} cannot be opened: {source}")]
    Sealed {
        hook: HookId,
        #[source]
        source: VaultError,
    },
    #[error("the secrets or options of {0} cannot be read")]
    Corrupt(HookId),
}

/// A secret as it is sealed.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredSecret {
    pub secret: String,
    /// Microseconds; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<i64>,
}

/// # Errors
/// If the master key is another, or something else was sealed.
pub async fn open_secrets(vault: &Vault, row: &HookRow) -> Result<Vec<StoredSecret>, DoorError> {
    let id = row.id.to_string();
    let plain = vault
        .open(&row.sealed_secrets.0, place(row.org_id, &id))
        .await
        .map_err(|source| DoorError::Sealed {
            hook: row.id,
            source,
        })?;
    serde_json::from_slice(&plain).map_err(|_| DoorError::Corrupt(row.id))
}

/// # Errors
/// If they cannot be sealed.
pub async fn seal_secrets(
    vault: &Vault,
    org: OrgId,
    hook: HookId,
    secrets: &[StoredSecret],
) -> Result<Sealed, DoorError> {
    let id = hook.to_string();
    let plain = serde_json::to_vec(secrets).map_err(|_| DoorError::Corrupt(hook))?;
    let plain = Zeroizing::new(plain);
    let sealed = vault
        .seal(&plain, place(org, &id))
        .await
        .map_err(|source| DoorError::Sealed { hook, source })?;
    Ok(Sealed(sealed))
}

/// A hook's secrets have no version: they are replaced by compare-and-swap of the sealed bytes.
fn place(org: OrgId, id: &str) -> SecretPlace<'_> {
    SecretPlace {
        org,
        kind: KIND_HOOK,
        id,
        version: 0,
    }
}

/// An endpoint.
#[derive(Debug)]
pub struct Door {
    pub org: OrgId,
    /// `hook:{source}/{endpoint}`, as the router knows it.
    pub source: String,
    pub scheme: Scheme,
    pub options: Options,
    /// What kind of event it gives, or where in the payload that stands.
    pub event_type: Option<String>,
    verifier: Arc<dyn Verifier>,
    secrets: Vec<(SecretString, Option<Timestamp>)>,
}

impl Door {
    async fn open(vault: &Vault, row: HookRow) -> Result<Self, DoorError> {
        let corrupt = || DoorError::Corrupt(row.id);
        let scheme = Scheme::parse(&row.scheme).ok_or_else(corrupt)?;
        let options: Options = serde_json::from_str(&row.options).map_err(|_| corrupt())?;
        let secrets = open_secrets(vault, &row).await?;
        Ok(Self {
            org: row.org_id,
            source: format!("hook:{}/{}", row.source, row.endpoint),
            scheme,
            verifier: scheme.verifier(&options).map_err(|_| corrupt())?,
            options,
            event_type: row.event_type,
            secrets: secrets
                .into_iter()
                .map(|one| (one.secret.into(), one.until_us.map(Timestamp::from_micros)))
                .collect(),
        })
    }

    /// Checks who sends, with the secrets that are good at the moment. The signature is over the bytes as they came, or, of a packed body, over what
    /// was packed: schemes do not say which, and senders do either.
    ///
    /// # Errors
    /// What does not fit.
    pub fn verify(&self, delivery: &Delivery<'_>) -> Result<Verified, WebhookError> {
        match self.verify_bytes(delivery) {
            Err(WebhookError::BadSignature) if body::is_packed(delivery.headers) => {
                let plain = body::unpacked(delivery.headers, delivery.body, UNPACKED_MAX);
                let plain = plain.map_err(|_| WebhookError::BadSignature)?;
                self.verify_bytes(&Delivery {
                    body: &plain,
                    ..*delivery
                })
            }
            verified => verified,
        }
    }

    /// Reads a request that was verified.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        verified: Verified,
    ) -> Result<SlackRequest, Unreadable> {
        let plain = body::unpacked(headers, body, UNPACKED_MAX)?;
        if self.scheme != Scheme::Slack {
            let named = self.scheme.named_in_body();
            let places = generic::Places {
                kind: self.event_type.as_deref().or(named.map(|named| named.kind)),
                id: self
                    .options
                    .id_at
                    .as_deref()
                    .or(named.map(|named| named.id)),
                form_field: (self.scheme == Scheme::Github).then_some("payload"),
            };
            let incoming = generic::read(headers, &plain, verified, places)?;
            return Ok(SlackRequest::Event(Box::new(incoming)));
        }
        let mut request = slack::read(headers, &plain, &self.options.bots)?;
        if let SlackRequest::Event(incoming)
        | SlackRequest::Command(incoming)
        | SlackRequest::Interaction(incoming) = &mut request
        {
            // What names itself nowhere is known by what was signed.
            incoming.external_id = incoming.external_id.take().or(verified.id);
        }
        Ok(request)
    }

    /// Headers that the endpoint names, which are kept with its events.
    pub fn named_headers(&self) -> Vec<&str> {
        let Options {
            id_header,
            kind_header,
            ..
        } = &self.options;
        id_header
            .iter()
            .chain(kind_header)
            .map(String::as_str)
            .collect()
    }

    fn verify_bytes(&self, delivery: &Delivery<'_>) -> Result<Verified, WebhookError> {
        let good: Vec<SecretString> = self
            .secrets
            .iter()
            .filter(|(_, until)| until.is_none_or(|until| until > delivery.now))
            .map(|(secret, _)| secret.clone())
            .collect();
        self.verifier.verify(delivery, &good)
    }
}

/// Other names of a source, by which a subscription or a wait may mean it: `hook:github/main-0a1b…` is also `hook:github` and
/// `hook:github/main`.
pub fn aliases(source: &str) -> Vec<String> {
    let Some((start, endpoint)) = source.split_once('/') else {
        return Vec::new();
    };
    let mut aliases = vec![start.to_owned()];
    if let Some((name, _)) = endpoint.rsplit_once('-') {
        aliases.push(format!("{start}/{name}"));
    }
    aliases
}

type Known = DashMap<(String, String), (Instant, Option<Arc<Door>>)>;

pub(super) struct Doors {
    db: Db,
    vault: Arc<Vault>,
    known: Known,
}

impl Doors {
    pub fn new(db: Db, vault: Arc<Vault>) -> Self {
        Self {
            db,
            vault,
            known: Known::new(),
        }
    }

    pub async fn find(&self, source: &str, endpoint: &str) -> Result<Option<Arc<Door>>, DoorError> {
        let key = (source.to_owned(), endpoint.to_owned());
        let known = self
            .known
            .get(&key)
            .filter(|known| known.0.elapsed() < KEPT_FOR)
            .map(|known| known.1.clone());
        if let Some(known) = known {
            return Ok(known);
        }
        let read = Instant::now();
        let mut tx = self.db.begin_system_read("whose webhook is this").await?;
        let row = hook_find(&mut tx, source, endpoint).await?;
        drop(tx);
        let door = match row {
            Some(row) => Some(Arc::new(Door::open(&self.vault, row).await?)),
            None => None,
        };
        if self.known.len() >= KEPT_MAX {
            self.known.retain(|_, known| known.0.elapsed() < KEPT_FOR);
        }
        if self.known.len() < KEPT_MAX {
            self.known.insert(key, (read, door.clone()));
        }
        Ok(door)
    }

    pub fn forget(&self, source: &str, endpoint: &str) {
        self.known.remove(&(source.to_owned(), endpoint.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_the_names_that_people_give_it() {
        assert_eq!(
            aliases("hook:github/main-0a1b"),
            ["hook:github", "hook:github/main"]
        );
        assert_eq!(aliases("hook:github/0a1b"), ["hook:github"]);
        assert_eq!(aliases("poll:mail"), [""; 0]);
    }
}
