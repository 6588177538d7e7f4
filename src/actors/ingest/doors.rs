//! Endpoints that take webhooks, read once and kept for a few seconds with their secrets opened, since every event comes to one.

use crate::{
    actors::{cache::Cache, hub::keys::KIND_HOOK},
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
use secrecy::{SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// An endpoint that another node changes is known here for this long at most.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Bytes of a body once it is unpacked: as many as a request may have that is not packed.
const UNPACKED_MAX: usize = 1024 * 1024;
/// Endpoints that are kept with their secrets.
const KNOWN_MAX: usize = 20_000;
/// Names that are kept of which no endpoint has one; somebody who tries many must not fill the memory.
const UNKNOWN_MAX: usize = 5_000;
/// Bytes of a name beyond which it is not kept that no endpoint has it.
const UNKNOWN_NAME_MAX: usize = 256;

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

/// Source and endpoint.
type Key = (String, String);

/// What was found of endpoints. Those that are and those that are not are kept apart: anybody can make up names, and they must not push out
/// the endpoints of others.
struct Found<V> {
    known: Cache<Key, V>,
    unknown: Cache<Key, ()>,
}

impl<V: Clone> Found<V> {
    fn new(known_max: usize, unknown_max: usize) -> Self {
        Self {
            known: Cache::new(KEPT_FOR, known_max),
            unknown: Cache::new(KEPT_FOR, unknown_max),
        }
    }

    /// What is kept, or what `read` gives; `None`: there is no such endpoint.
    async fn get_or_read<E>(
        &self,
        key: Key,
        read: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<V>, E> {
        if let Some(known) = self.known.get(&key) {
            return Ok(Some(known));
        }
        if self.unknown.get(&key).is_some() {
            return Ok(None);
        }
        let (as_known, as_unknown) = (self.known.begin(&key), self.unknown.begin(&key));
        let found = read.await?;
        match &found {
            Some(value) => self.known.keep(key, value.clone(), as_known),
            // Of a long name the length is what fills the memory.
            None if key.0.len() + key.1.len() > UNKNOWN_NAME_MAX => {}
            None => self.unknown.keep(key, (), as_unknown),
        }
        Ok(found)
    }

    fn forget(&self, key: &Key) {
        self.known.forget(key);
        self.unknown.forget(key);
    }
}

pub(super) struct Doors {
    db: Db,
    vault: Arc<Vault>,
    found: Found<Arc<Door>>,
}

impl Doors {
    pub fn new(db: Db, vault: Arc<Vault>) -> Self {
        Self {
            db,
            vault,
            found: Found::new(KNOWN_MAX, UNKNOWN_MAX),
        }
    }

    pub async fn find(&self, source: &str, endpoint: &str) -> Result<Option<Arc<Door>>, DoorError> {
        let key = (source.to_owned(), endpoint.to_owned());
        self.found
            .get_or_read(key, self.read(source, endpoint))
            .await
    }

    async fn read(&self, source: &str, endpoint: &str) -> Result<Option<Arc<Door>>, DoorError> {
        let mut tx = self.db.begin_system_read("whose webhook is this").await?;
        let row = hook_find(&mut tx, source, endpoint).await?;
        drop(tx);
        match row {
            Some(row) => Ok(Some(Arc::new(Door::open(&self.vault, row).await?))),
            None => Ok(None),
        }
    }

    pub fn forget(&self, source: &str, endpoint: &str) {
        self.found.forget(&(source.to_owned(), endpoint.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tokio::sync::oneshot;

    fn key(endpoint: &str) -> Key {
        ("github".to_owned(), endpoint.to_owned())
    }

    /// `None`: it was not kept, and is not there any more.
    async fn kept(found: &Found<u32>, endpoint: &str) -> Option<u32> {
        let gone = async { Ok::<_, Infallible>(None) };
        let Ok(kept) = found.get_or_read(key(endpoint), gone).await;
        kept
    }

    #[tokio::test]
    async fn made_up_endpoints_push_out_no_real_one() {
        let found = Found::new(10, 10);
        let real = async { Ok::<_, Infallible>(Some(1)) };
        assert_eq!(found.get_or_read(key("real"), real).await, Ok(Some(1)));
        for made_up in 0..100 {
            assert_eq!(kept(&found, &made_up.to_string()).await, None);
        }
        assert_eq!(kept(&found, "real").await, Some(1));
    }

    #[tokio::test]
    async fn long_name_that_no_endpoint_has_is_not_kept() {
        let (found, long) = (Found::new(10, 10), "x".repeat(UNKNOWN_NAME_MAX));
        assert_eq!(kept(&found, &long).await, None);
        assert!(found.unknown.get(&key(&long)).is_none());
        assert_eq!(kept(&found, "short").await, None);
        assert!(found.unknown.get(&key("short")).is_some());
    }

    /// It is made, or given new secrets, while somebody still reads how it was.
    #[tokio::test]
    async fn what_was_read_before_a_change_is_not_kept() {
        for old in [None, Some(1)] {
            let found = Found::new(10, 10);
            let (answer, read) = oneshot::channel();
            let mut slow = Box::pin(found.get_or_read(key("real"), read));
            assert!(futures::poll!(&mut slow).is_pending());
            found.forget(&key("real"));
            answer.send(old).expect("its reader waits");
            assert_eq!(slow.await, Ok(old));
            let now = async { Ok::<_, Infallible>(Some(2)) };
            assert_eq!(found.get_or_read(key("real"), now).await, Ok(Some(2)));
        }
    }

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
