//! One connection's credential in the database, as the refresh wants it.

use super::{
    credentials::{CredentialError, open_credential, seal_credential},
    telling,
};
use crate::{
    connect::{
        Account, Integration, Vault,
        oauth::{Credential, CredentialStore, StoreError, Stored},
    },
    domain::{ConnectionId, OrgId, Timestamp},
    persistence::{
        ConnectionRow, CredentialSwap, Db, DbError, Fence, connection_credential_swap_system,
        connection_get_system, connection_needs_reauth, connection_notices_open,
        connection_refresh_begin, connection_refresh_failed, connection_status,
        org_event_insert_system,
    },
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use uuid::Uuid;

pub(super) struct DbStore {
    pub db: Db,
    pub fence: Fence,
    /// When a refresh was begun through this.
    pub begun: OnceLock<Timestamp>,
    pub vault: Arc<Vault>,
    pub org: OrgId,
    pub connection: ConnectionId,
    pub renewal: Renewal,
    /// `None`: the org's catalog does not have it any more.
    pub integration: Option<Arc<Integration>>,
}

/// An account as it is stored, with what a token's answer told of it; `None` if that is nothing new. What does not fit what the catalog says
/// of the field is left out: the token is good all the same.
fn account_with(
    integration: &Integration,
    way: &str,
    stored: &str,
    learned: &Map<String, Value>,
) -> Option<String> {
    let mut account: Account = serde_json::from_str(stored).ok()?;
    let way = integration.way(Some(way));
    let mut is_new = false;
    for (field, value) in learned {
        if account.data.get(field) == Some(value) {
            continue;
        }
        let mut data = account.data.clone();
        data.insert(field.clone(), value.clone());
        match integration.base_url_for(way, &data) {
            Ok(_) => {
                account.data = data;
                is_new = true;
            }
            Err(error) => {
                tracing::warn!(integration = integration.id, %error, "what a token's answer told of the account does not fit");
            }
        }
    }
    is_new
        .then(|| serde_json::to_string(&account).ok())
        .flatten()
}

/// When a way's tokens are renewed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    /// How long before their end; `None`: they are not renewed ahead of it.
    pub margin: Option<Duration>,
    /// Nothing can be renewed without a refresh token.
    pub needs_refresh_token: bool,
}

impl Renewal {
    /// When this credential is due. Of many that were got at the same moment, not all at the same moment.
    pub fn due(self, connection: ConnectionId, credential: &Credential) -> Option<Timestamp> {
        let (end, margin) = (credential.expires_at?, self.margin?);
        if self.needs_refresh_token && credential.refresh_token.is_none() {
            return None;
        }
        // Of a token that lives shortly at least half is used.
        let ahead = margin.min(end.since(credential.got_at) / 2);
        let ahead = ahead + spread(connection, credential.got_at, ahead / 4);
        Some(Timestamp::from_micros(
            end.micros() - i64::try_from(ahead.as_micros()).unwrap_or(0),
        ))
    }
}

/// A part of `most` that is another for each connection, and for each of its times.
pub(super) fn spread(connection: ConnectionId, at: Timestamp, most: Duration) -> Duration {
    let drawn = Uuid::new_v5(&connection.uuid(), &at.micros().to_be_bytes());
    let (drawn, _) = drawn.as_u64_pair();
    most.mul_f64(drawn as f64 / u64::MAX as f64)
}

/// The scopes as they stand in a row.
pub(super) fn scopes_json(scopes: &[String]) -> String {
    serde_json::to_string(scopes).unwrap_or_else(|_| "[]".into())
}

/// What a row holds, opened.
pub(super) async fn stored(vault: &Vault, row: &ConnectionRow) -> Result<Stored, CredentialError> {
    let (version, sealed) = (row.credential_version, &row.sealed_credential.0);
    let credential = open_credential(vault, row.org_id, row.id, version, sealed).await?;
    Ok(Stored {
        version,
        credential,
        active: row.status == connection_status::ACTIVE,
        refresh_started: row.refresh_started,
    })
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError(error.to_string())
}

#[async_trait]
impl CredentialStore for DbStore {
    async fn read(&self) -> Result<Option<Stored>, StoreError> {
        let read = async {
            let mut tx = self.db.begin_system_read("a token is renewed").await?;
            connection_get_system(&mut tx, self.org, self.connection).await
        };
        match read.await.map_err(failed)? {
            // One without a credential has nothing to renew.
            Some(row) if !row.sealed_credential.0.is_empty() => {
                stored(&self.vault, &row).await.map(Some).map_err(failed)
            }
            _ => Ok(None),
        }
    }

    async fn begin(&self, version: i64, at: Timestamp) -> Result<bool, StoreError> {
        let begin = async {
            let reason = "a token is to be renewed";
            let mut tx = self.db.begin_fenced(reason, self.fence).await?;
            let (org, id) = (self.org, self.connection);
            let begun = connection_refresh_begin(&mut tx, org, id, version, at).await?;
            tx.commit().await?;
            let _ = self.begun.set(at);
            Ok::<_, DbError>(begun)
        };
        begin.await.map_err(failed)
    }

    async fn swap(
        &self,
        version: i64,
        new: &Credential,
        learned: &Map<String, Value>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (org, id) = (self.org, self.connection);
        let sealed = seal_credential(&self.vault, org, id, version + 1, new)
            .await
            .map_err(failed)?;
        let scopes = scopes_json(&new.scopes);
        let swap = CredentialSwap {
            expected: version,
            sealed: &sealed,
            expires: new.expires_at,
            refresh_due: self.renewal.due(id, new),
            scopes: Some(&scopes),
            account: None,
            at,
            begun: None,
            consent: None,
        };
        let reason = "a token was renewed";
        let write = async {
            let (mut tx, swap) = match self.db.begin_fenced(reason, self.fence).await {
                Ok(tx) => (tx, swap),
                // Another node has this one's place. What the provider gave exists here alone, and the old refresh token may be used up: it is
                // stored all the same, unless somebody has begun another refresh meanwhile.
                Err(DbError::Fenced) => {
                    let begun = self.begun.get().copied();
                    let begun = Some(begun.ok_or(DbError::Fenced)?);
                    let tx = self.db.unfenced().begin_system(reason).await?;
                    (tx, CredentialSwap { begun, ..swap })
                }
                Err(error) => return Err(error),
            };
            let account = match self.integration.as_deref().filter(|_| !learned.is_empty()) {
                None => None,
                Some(integration) => connection_get_system(&mut tx, org, id)
                    .await?
                    .and_then(|row| account_with(integration, &row.way, &row.account, learned)),
            };
            let account = account.as_deref();
            let swap = CredentialSwap { account, ..swap };
            let swapped = connection_credential_swap_system(&mut tx, org, id, &swap).await?;
            tx.commit().await?;
            Ok::<_, DbError>(swapped)
        };
        write.await.map_err(failed)
    }

    async fn give_up(&self, version: i64, again: Timestamp) -> Result<(), StoreError> {
        let write = async {
            let mut tx = self.db.begin_system("a token was not renewed").await?;
            let (org, id) = (self.org, self.connection);
            connection_refresh_failed(&mut tx, org, id, version, again).await?;
            tx.commit().await
        };
        write.await.map_err(failed)
    }

    async fn needs_reauth(
        &self,
        version: i64,
        reason: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let write = async {
            let mut tx = self.db.begin_fenced("a grant is dead", self.fence).await?;
            let (org, id) = (self.org, self.connection);
            let first = connection_needs_reauth(&mut tx, org, id, version, reason, at).await?;
            // With the mark itself, so that whoever is to be told is told, whatever happens to this process.
            if first && let Some(row) = connection_get_system(&mut tx, org, id).await? {
                org_event_insert_system(&mut tx, org, &telling::event(&row, at)).await?;
                connection_notices_open(&mut tx, &row, at).await?;
            }
            tx.commit().await?;
            Ok::<_, DbError>(first)
        };
        write.await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Catalog;
    use serde_json::json;

    #[test]
    fn what_a_refresh_tells_of_the_account_takes_the_place_of_what_was_known() {
        let catalog = Catalog::embedded().expect("the catalog");
        let old = "https://acme.my.salesforce.com";
        for (integration, before, learned, expected) in [
            (
                "salesforce",
                json!({"instance_url": old}),
                json!({"instance_url": "https://acme--new.my.salesforce.com"}),
                Some(json!({"instance_url": "https://acme--new.my.salesforce.com"})),
            ),
            (
                "salesforce",
                json!({}),
                json!({"instance_url": old}),
                Some(json!({"instance_url": old})),
            ),
            (
                "salesforce",
                json!({"instance_url": old, "other": 1}),
                json!({"instance_url": old}),
                None,
            ),
            ("salesforce", json!({"instance_url": old}), json!({}), None),
            // Elsewhere than the catalog allows: the token is kept, the address is not.
            (
                "salesforce",
                json!({"instance_url": old}),
                json!({"instance_url": "https://salesforce.com.evil.example"}),
                None,
            ),
            (
                "salesforce",
                json!({"instance_url": old}),
                json!({"instance_url": 7}),
                None,
            ),
            (
                "pipedrive",
                json!({"api_domain": "https://a.pipedrive.com"}),
                json!({"api_domain": "https://b.pipedrive.com"}),
                Some(json!({"api_domain": "https://b.pipedrive.com"})),
            ),
            (
                "pipedrive",
                json!({"api_domain": "https://a.pipedrive.com"}),
                json!({"api_domain": "http://b.pipedrive.com"}),
                None,
            ),
            (
                "slack",
                json!({}),
                json!({"team_id": "T2"}),
                Some(json!({"team_id": "T2"})),
            ),
            (
                "calendly",
                json!({"user": "u1"}),
                json!({"user": "u2", "more": true}),
                Some(json!({"user": "u2", "more": true})),
            ),
        ] {
            let known = catalog.integration(integration).expect(integration);
            let way = known
                .auth
                .iter()
                .find(|way| matches!(way, crate::connect::catalog::AuthWay::Oauth2Code(_)));
            let way = way.expect("a consent").id();
            let stored = json!({"base_url": "", "data": before, "quota": {"requests": 5, "per_seconds": 1, "burst": 1}});
            let learned = learned.as_object().expect("an object");
            let found = account_with(known, way, &stored.to_string(), learned);
            let data = found.map(|text| {
                let account: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(account["quota"]["requests"], 5, "the rest stays");
                account["data"].clone()
            });
            assert_eq!(data, expected, "{integration} {before} {learned:?}");
        }
    }

    #[test]
    fn a_token_is_due_before_its_end_but_not_at_its_birth() {
        let at = |seconds: i64| Timestamp::from_millis(1_000 * seconds);
        let renewal = Renewal {
            margin: Some(Duration::from_secs(300)),
            needs_refresh_token: true,
        };
        let id = ConnectionId::from_uuid(Uuid::nil());
        let due = |credential: &Credential| renewal.due(id, credential);
        let mut credential = Credential::token("t", at(0));
        assert_eq!(due(&credential), None, "it never ends");
        credential.expires_at = Some(at(3_600));
        assert_eq!(due(&credential), None, "there is nothing to renew it with");
        credential.refresh_token = Some("r".into());
        // A quarter of the margin more at most.
        for (end, earliest, latest) in [(3_600, 3_225, 3_300), (60, 22, 30)] {
            credential.expires_at = Some(at(end));
            let due = due(&credential).expect("it is due");
            assert!((at(earliest)..=at(latest)).contains(&due), "{due}");
        }
    }
}
