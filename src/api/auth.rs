//! Who calls: API keys, looked up once and kept for a few seconds, since every request brings one.
//!
//! What cannot be a key is refused without asking anybody, and what nobody has heard of is looked up behind a bound by address: trying keys
//! costs whoever tries, not the database. Keys that are known and keys that are not are remembered apart, so that no number of made-up ones
//! pushes out a real one.

use super::{
    error::{ApiError, ApiResult, Problem},
    key_text::{Form, form},
    keys,
    server::peer::{Client, Peer},
};
use crate::{
    domain::{KeyId, OrgId, Role, Timestamp},
    persistence::{Db, DbError, KeyRow, key_find_by_hash, keys_used},
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use dashmap::{DashMap, Entry};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A key that another node revokes works here for this long at most.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// One that was not used for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Known keys that are kept.
const KNOWN_MAX: usize = 20_000;
/// Texts that are kept because they are no keys.
const UNKNOWN_MAX: usize = 10_000;
/// Look-ups and failures of one address: so many at once …
const ATTEMPTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
/// … and so many a second.
const ATTEMPTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// A read that is overtaken by revocations is repeated this often, and then believed for this once.
const READS_MAX: u32 = 3;
const MINUTE_US: i64 = 60_000_000;

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

/// The hash of the key that a request brought: by it the key can be asked for again while the request goes on.
#[derive(Clone, Copy)]
pub struct Presented(pub [u8; 32]);

macro_rules! put_there_by_the_guard {
    ($($kind:ty)*) => { $(
        impl<S: Sync> FromRequestParts<S> for $kind {
            type Rejection = ApiError;
            async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
                parts.extensions.get().cloned().ok_or_else(missing)
            }
        }
    )* };
}
put_there_by_the_guard! { Caller Presented }

fn missing() -> ApiError {
    ApiError::new(
        Problem::Unauthorized,
        "send the header `Authorization: Bearer tnk_…` with an API key",
    )
}

fn unknown() -> ApiError {
    ApiError::new(
        Problem::Unauthorized,
        "the API key is not known or has been revoked",
    )
}

struct Known {
    caller: Caller,
    expires: Option<Timestamp>,
    read: Instant,
    /// Minutes since 1970.
    used: AtomicI64,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.read.elapsed() < KEPT_FOR
    }

    /// # Errors
    /// `key_expired`.
    fn caller_at(&self, now: Timestamp) -> ApiResult<Caller> {
        match self.expires {
            Some(expires) if expires <= now => {
                let detail = format!("the API key expired at {expires}");
                Err(ApiError::new(Problem::KeyExpired, detail))
            }
            _ => Ok(self.caller.clone()),
        }
    }
}

/// When a key began to be read, and what had been revoked by then.
#[derive(Clone, Copy)]
struct Begun {
    at: Instant,
    generation: u64,
}

/// The key with this hash, unless it is revoked.
async fn look_up(db: &Db, hash: &[u8; 32]) -> Result<Option<KeyRow>, DbError> {
    let mut tx = db.begin_system_read("whose API key is this").await?;
    key_find_by_hash(&mut tx, hash).await
}

/// The keys that were seen lately, and who tries others.
pub struct KeyCache {
    known: DashMap<[u8; 32], Known>,
    unknown: DashMap<[u8; 32], Instant>,
    /// Raised by everything that makes what was read before wrong. Those who go on for long watch it.
    generation: watch::Sender<u64>,
    reads: AtomicU64,
    attempts: DefaultKeyedRateLimiter<Peer>,
    clock: DefaultClock,
    /// When keys were used, in minutes, as far as it is not written yet.
    used: DashMap<KeyId, (OrgId, i64)>,
    takes_legacy: bool,
}

impl KeyCache {
    /// `takes_legacy`: keys without a checksum are looked up.
    pub fn new(takes_legacy: bool) -> Self {
        let quota = Quota::per_second(ATTEMPTS_PER_SECOND).allow_burst(ATTEMPTS_AT_ONCE);
        Self {
            known: DashMap::new(),
            unknown: DashMap::new(),
            generation: watch::channel(0).0,
            reads: AtomicU64::new(0),
            attempts: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            used: DashMap::new(),
            takes_legacy,
        }
    }

    /// # Errors
    /// `unauthorized` without a key that is known and not revoked, `key_expired`, `rate_limited` for an address that tries too many;
    /// `unavailable` if it cannot be found out.
    pub async fn caller(
        &self,
        db: &Db,
        headers: &HeaderMap,
        from: Client,
        now: Timestamp,
    ) -> ApiResult<(Caller, Presented)> {
        let key = bearer(headers).ok_or_else(missing)?;
        match form(key) {
            Form::Checked => {}
            Form::Legacy if self.takes_legacy => {}
            Form::Legacy => {
                self.attempt(from)?;
                let detail = "API keys without a checksum are not taken any more; make a new one";
                return Err(ApiError::new(Problem::Unauthorized, detail));
            }
            Form::Wrong => {
                self.attempt(from)?;
                return Err(unknown());
            }
        }
        let hash = keys::digest(key);
        let caller = match self.known.get(&hash) {
            Some(known) if known.is_fresh() => Some(known.caller_at(now)),
            // It was good a moment ago: reading it again is no attempt.
            Some(_) => None,
            None => {
                self.attempt(from)?;
                let is_kept = |read: &Instant| read.elapsed() < KEPT_FOR;
                if self.unknown.get(&hash).is_some_and(|read| is_kept(&read)) {
                    return Err(unknown());
                }
                None
            }
        };
        let caller = match caller {
            Some(caller) => caller?,
            None => self.read(db, hash, now).await?,
        };
        self.note_use(&hash, &caller, now);
        Ok((caller, Presented(hash)))
    }

    /// Whose key it is now, as the database said a few seconds ago at most.
    ///
    /// # Errors
    /// As [`Self::caller`].
    pub async fn again(&self, db: &Db, key: Presented, now: Timestamp) -> ApiResult<Caller> {
        let known = self.known.get(&key.0).filter(|known| known.is_fresh());
        let known = known.map(|known| known.caller_at(now));
        match known {
            Some(caller) => caller,
            None => self.read(db, key.0, now).await,
        }
    }

    /// Changes when a key of this node is revoked.
    pub fn revocations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn attempt(&self, from: Client) -> ApiResult<()> {
        let Err(until) = self.attempts.check_key(&Peer::from(from.0)) else {
            return Ok(());
        };
        let wait = until.wait_time_from(self.clock.now()).as_secs() + 1;
        let detail = "too many API keys were tried from this address";
        Err(ApiError::new(Problem::RateLimited, detail)
            .retry_after(u32::try_from(wait).unwrap_or(u32::MAX)))
    }

    async fn read(&self, db: &Db, hash: [u8; 32], now: Timestamp) -> ApiResult<Caller> {
        for _ in 1..READS_MAX {
            if let Some(caller) = self.read_once(db, hash, now).await? {
                return caller;
            }
        }
        let caller = self.read_once(db, hash, now).await?;
        caller.unwrap_or_else(|| Err(unknown()))
    }

    /// `None`: something was revoked while it was read.
    async fn read_once(
        &self,
        db: &Db,
        hash: [u8; 32],
        now: Timestamp,
    ) -> ApiResult<Option<ApiResult<Caller>>> {
        let begun = self.begin_reading();
        let row = look_up(db, &hash).await?;
        Ok(self.remember(hash, row, begun, now))
    }

    fn begin_reading(&self) -> Begun {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Begun {
            at: Instant::now(),
            generation: *self.generation.borrow(),
        }
    }

    /// Takes what was read. `None`: something was revoked meanwhile, so that it may be what was true before.
    fn remember(
        &self,
        hash: [u8; 32],
        row: Option<KeyRow>,
        begun: Begun,
        now: Timestamp,
    ) -> Option<ApiResult<Caller>> {
        let Some(row) = row else {
            self.known.remove(&hash);
            self.make_room();
            if self.unknown.len() < UNKNOWN_MAX {
                let entry = self.unknown.entry(hash);
                if *self.generation.borrow() == begun.generation {
                    entry.insert(begun.at);
                }
            }
            return Some(Err(unknown()));
        };
        let known = Known {
            caller: Caller {
                org: row.org_id,
                role: row.role,
                key: row.id,
                user: row.user,
            },
            expires: row.expires,
            read: begun.at,
            used: AtomicI64::new(row.last_used.map_or(0, |used| used.micros() / MINUTE_US)),
        };
        let caller = known.caller_at(now);
        self.make_room();
        // The place is held while the generation is looked at: who raises it comes by here afterwards.
        let entry = self.known.entry(hash);
        if *self.generation.borrow() != begun.generation {
            return None;
        }
        match entry {
            Entry::Occupied(mut entry) => drop(entry.insert(known)),
            Entry::Vacant(entry) => {
                entry.insert(known);
            }
        }
        Some(caller)
    }

    /// What was not used for long goes first, then anything: a key that is forgotten is read again.
    fn make_room(&self) {
        if self.known.len() >= KNOWN_MAX {
            self.known
                .retain(|_, known| known.read.elapsed() < FORGOTTEN_AFTER);
            if self.known.len() >= KNOWN_MAX {
                self.known.retain(|_, known| known.is_fresh());
            }
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
        }
        if self.unknown.len() >= UNKNOWN_MAX {
            self.unknown.retain(|_, read| read.elapsed() < KEPT_FOR);
        }
    }

    /// The key was revoked: nobody gets in with it from now on, and what goes on with it is told.
    pub fn forget(&self, key: KeyId) {
        self.generation.send_modify(|generation| *generation += 1);
        self.known.retain(|_, known| known.caller.key != key);
    }

    /// A key was made: that it was unknown before is not true any more.
    pub fn learn(&self, hash: &[u8]) {
        self.generation.send_modify(|generation| *generation += 1);
        if let Ok(hash) = <[u8; 32]>::try_from(hash) {
            self.unknown.remove(&hash);
        }
    }

    fn note_use(&self, hash: &[u8; 32], caller: &Caller, now: Timestamp) {
        let minute = now.micros() / MINUTE_US;
        let is_new = self
            .known
            .get(hash)
            .is_some_and(|known| known.used.swap(minute, Ordering::Relaxed) < minute);
        if is_new {
            self.used.insert(caller.key, (caller.org, minute));
        }
    }

    /// Writes which keys were used since the last time, all in one transaction.
    ///
    /// # Errors
    /// The database fails; then it is told again the next time.
    pub async fn write_uses(&self, db: &Db) -> Result<(), DbError> {
        let taken = self.used.iter();
        let taken: Vec<_> = taken
            .map(|entry| {
                let (org, minute) = *entry.value();
                (
                    org,
                    *entry.key(),
                    Timestamp::from_micros(minute * MINUTE_US),
                )
            })
            .collect();
        if taken.is_empty() {
            return Ok(());
        }
        let mut tx = db.begin_system("when API keys were used").await?;
        keys_used(&mut tx, &taken).await?;
        tx.commit().await?;
        for (_, key, at) in taken {
            self.used
                .remove_if(&key, |_, (_, minute)| minute * MINUTE_US <= at.micros());
        }
        Ok(())
    }

    /// Forgets addresses that have tried nothing for a while.
    pub fn tidy(&self) {
        self.attempts.retain_recent();
        self.attempts.shrink_to_fit();
    }

    /// How often the database was asked.
    #[cfg(test)]
    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

/// What stands behind `Authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests;
