//! API keys: how they are made and stored, and `/v1/keys`. A key is shown once; what is stored is its hash.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult, Problem},
    key_text,
    query::{PageQuery, Query},
    text::{self, Path},
};
use crate::{
    domain::{KeyId, Role, Timestamp},
    persistence::{KeyRow, Page, key_insert, key_list, key_revoke},
};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use key_text::NoRandomness;

/// A new key, and what is stored of it.
#[derive(Debug)]
pub struct NewKey {
    pub text: SecretString,
    pub hash: Vec<u8>,
    /// Its last four characters.
    pub tail: String,
}

/// # Errors
/// Only if the system has no randomness.
pub fn generate() -> Result<NewKey, NoRandomness> {
    let text = key_text::new()?;
    Ok(NewKey {
        hash: hash(text.expose_secret()),
        tail: key_text::tail(&text),
        text,
    })
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
    /// Absent: it is good until it is revoked.
    expires_at: Option<Timestamp>,
    /// To the minute, and a few minutes late.
    last_used_at: Option<Timestamp>,
    /// Its last four characters; absent for keys that were made before they were kept.
    last_four: Option<String>,
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
            expires_at: row.expires,
            last_used_at: row.last_used,
            last_four: row.tail,
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
    /// When it stops being good, RFC 3339; absent: when it is revoked.
    #[schemars(with = "Option<String>")]
    expires_at: Option<Timestamp>,
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
    let now = api.engine().now();
    if body.expires_at.is_some_and(|expires| expires <= now) {
        let detail = format!("`expires_at` must be later than now, which is {now}");
        return Err(ApiError::field("expires_at", detail));
    }
    let key = generate().map_err(ApiError::internal)?;
    let row = KeyRow {
        org_id: caller.org,
        id: KeyId::from_uuid(api.core().clock.uuid()),
        hash: key.hash,
        role: body.role,
        name: body.name,
        created: now,
        revoked: None,
        user: body.user,
        expires: body.expires_at,
        last_used: None,
        tail: Some(key.tail),
    };
    let mut tx = api.db().begin(caller.org).await?;
    key_insert(&mut tx, &row).await?;
    tx.commit().await?;
    api.keys().learn(&row.hash);
    let mut view = KeyView::from(row);
    view.key = Some(key.text.expose_secret().to_owned());
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
    fn keys_are_stored_as_hashes() {
        let key = generate().expect("randomness");
        assert_eq!(key.hash, hash(key.text.expose_secret()));
        assert!(!format!("{key:?}").contains(key.text.expose_secret()));
    }
}
