//! API keys: how they are made and stored, and `/v1/keys`. A key is shown once; what is stored is its hash.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult, Problem},
    query::{PageQuery, Query},
    text::{self, Path},
};
use crate::{
    domain::{KeyId, Role, Timestamp},
    persistence::{KeyRow, Page, key_insert, key_list, key_revoke},
};
use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRngCore, rngs::OsRng};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What every key begins with, so that one that leaked is recognised.
pub const PREFIX: &str = "tnk_";

/// The system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// A new key, `tnk_` and 43 characters, and what is stored of it.
///
/// # Errors
/// Only if the system has no randomness.
pub fn generate() -> Result<(SecretString, Vec<u8>), NoRandomness> {
    let mut bytes = [0u8; 32];
    OsRng.try_fill_bytes(&mut bytes).map_err(|_| NoRandomness)?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let stored = hash(&key);
    Ok((key.into(), stored))
}

/// SHA-256 of the whole text. A slow hash would gain nothing: a key has 256 random bits.
pub fn hash(key: &str) -> Vec<u8> {
    digest(key).to_vec()
}

pub(super) fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[derive(Serialize)]
pub struct KeyView {
    id: KeyId,
    name: String,
    role: Role,
    created_at: Timestamp,
    revoked_at: Option<Timestamp>,
    user: Option<String>,
    /// Only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl From<KeyRow> for KeyView {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            role: row.role,
            created_at: row.created,
            revoked_at: row.revoked,
            user: row.user,
            key: None,
        }
    }
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<KeyView>>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let found = key_list(&mut tx, &query.request()?).await?;
    Ok(Json(found.map(KeyView::from)))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// What it is for.
    name: String,
    /// `viewer`, `operator`, `manager` or `admin`.
    #[schemars(with = "String")]
    role: Role,
    /// The one person whose key it is, by whatever name the org knows people, for example `ann@acme.test`. It acts for nobody else.
    user: Option<String>,
}

pub async fn create(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<KeyBody>,
) -> ApiResult<(StatusCode, Json<KeyView>)> {
    text::short("name", &body.name, 100)?;
    text::short_if("user", body.user.as_deref(), 200)?;
    // Whoever is one person gives out no keys of others.
    if caller.user.is_some() && caller.user != body.user {
        let detail = "this key belongs to one person and makes keys for that person alone";
        return Err(ApiError::new(Problem::Forbidden, detail).at("user"));
    }
    let (key, hash) = generate().map_err(ApiError::internal)?;
    let row = KeyRow {
        org_id: caller.org,
        id: KeyId::from_uuid(api.core().clock.uuid()),
        hash,
        role: body.role,
        name: body.name,
        created: api.engine().now(),
        revoked: None,
        user: body.user,
    };
    let mut tx = api.db().begin(caller.org).await?;
    key_insert(&mut tx, &row).await?;
    tx.commit().await?;
    let mut view = KeyView::from(row);
    view.key = Some(key.expose_secret().to_owned());
    Ok((StatusCode::CREATED, Json(view)))
}

/// Revokes a key: at once here, within five seconds on other nodes.
pub async fn revoke(
    State(api): State<ApiState>,
    caller: Caller,
    Path(key): Path<String>,
) -> ApiResult<StatusCode> {
    let id: KeyId = text::id("key", &key)?;
    let mut tx = api.db().begin(caller.org).await?;
    key_revoke(&mut tx, id, api.engine().now()).await?;
    tx.commit().await?;
    api.keys().forget(id);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_new_each_time_and_stored_as_hashes() {
        let (one, stored) = generate().expect("randomness");
        let (other, _) = generate().expect("randomness");
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!(one.expose_secret().len(), PREFIX.len() + 43);
        assert_eq!(stored, hash(one.expose_secret()));
    }
}
