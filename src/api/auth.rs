//! Who calls: API keys, looked up once and kept for a few seconds, since every request brings one.

use super::{
    error::{ApiError, ApiResult, Problem},
    keys,
};
use crate::{
    domain::{KeyId, OrgId, Role},
    persistence::{Db, key_find_by_hash},
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use dashmap::DashMap;
use std::time::{Duration, Instant};

/// A key that another node revokes works here for this long at most.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Keys that are kept, known and unknown ones; somebody who tries many must not fill the memory.
const KEPT_MAX: usize = 20_000;

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub org: OrgId,
    pub role: Role,
    pub key: KeyId,
    /// The one person to whom the key was given; `None`: it is the org's.
    pub user: Option<String>,
}

impl Caller {
    /// How decisions and changes name it.
    pub fn by(&self) -> String {
        format!("api:{}", self.key)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;
    /// The guard of the route has put it there.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        parts.extensions.get().cloned().ok_or_else(missing)
    }
}

fn missing() -> ApiError {
    ApiError::new(
        Problem::Unauthorized,
        "send the header `Authorization: Bearer tnk_…` with an API key",
    )
}

struct Known {
    caller: Option<Caller>,
    read: Instant,
}

/// The keys that were seen lately.
#[derive(Default)]
pub struct KeyCache(DashMap<[u8; 32], Known>);

impl KeyCache {
    /// # Errors
    /// `unauthorized` without a key that is known and not revoked; `unavailable` if that cannot be found out.
    pub async fn caller(&self, db: &Db, headers: &HeaderMap) -> ApiResult<Caller> {
        let key = bearer(headers).ok_or_else(missing)?;
        let hash = keys::digest(key);
        let known = self
            .0
            .get(&hash)
            .filter(|known| known.read.elapsed() < KEPT_FOR)
            .map(|known| known.caller.clone());
        let caller = match known {
            Some(caller) => caller,
            None => self.read(db, hash).await?,
        };
        caller.ok_or_else(|| {
            ApiError::new(
                Problem::Unauthorized,
                "the API key is not known or has been revoked",
            )
        })
    }

    async fn read(&self, db: &Db, hash: [u8; 32]) -> ApiResult<Option<Caller>> {
        let read = Instant::now();
        let mut tx = db.begin_system_read("whose API key is this").await?;
        let caller = key_find_by_hash(&mut tx, &hash).await?.map(|row| Caller {
            org: row.org_id,
            role: row.role,
            key: row.id,
            user: row.user,
        });
        if self.0.len() >= KEPT_MAX {
            self.0.retain(|_, known| known.read.elapsed() < KEPT_FOR);
        }
        if self.0.len() < KEPT_MAX {
            let known = Known {
                caller: caller.clone(),
                read,
            };
            self.0.insert(hash, known);
        }
        Ok(caller)
    }

    /// The key was revoked: nobody gets in with it from now on.
    pub fn forget(&self, key: KeyId) {
        self.0
            .retain(|_, known| known.caller.as_ref().is_none_or(|caller| caller.key != key));
    }
}

/// What stands behind `Authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
