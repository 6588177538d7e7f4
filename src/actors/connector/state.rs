//! What of a connector's limits survives a restart.

use crate::{
    connect::{BucketState, Gcra, Learned, breaker::BreakerState},
    domain::ConnectionId,
    persistence::{Db, codec, snapshot_get, snapshot_kind},
};
use serde::{Deserialize, Serialize};

/// Version 3 of the snapshot of a connector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimiterState {
    pub breaker: BreakerState,
    /// The account's own limit.
    pub account: Option<BucketState>,
    /// Those of capabilities, by their ids.
    pub own: Vec<(String, BucketState)>,
    /// Those of the app, which each of its connections keeps: the one that saw most counts.
    pub app: Vec<(String, BucketState)>,
}

/// Version 1, which knew nothing of what a provider teaches.
#[derive(Deserialize)]
struct LimiterStateV1 {
    gcra: Gcra,
    breaker: BreakerState,
}

/// Version 2, which knew one limit a connection.
#[derive(Deserialize)]
struct LimiterStateV2 {
    gcra: Gcra,
    breaker: BreakerState,
    learned: Option<Learned>,
}

impl From<LimiterStateV1> for LimiterStateV2 {
    fn from(old: LimiterStateV1) -> Self {
        Self {
            gcra: old.gcra,
            breaker: old.breaker,
            learned: None,
        }
    }
}

impl From<LimiterStateV2> for LimiterState {
    fn from(old: LimiterStateV2) -> Self {
        Self {
            breaker: old.breaker,
            account: Some(BucketState {
                gcra: old.gcra,
                learned: old.learned,
            }),
            own: Vec::new(),
            app: Vec::new(),
        }
    }
}

impl codec::Versioned for LimiterState {
    const SCHEMA_ID: [u8; 4] = *b"CONN";
    const VERSION: u16 = 3;
    fn decode_version(version: u16, body: &[u8]) -> Result<Self, codec::CodecError> {
        match version {
            1 => codec::decode_body::<LimiterStateV1>(body)
                .map(|old| LimiterStateV2::from(old).into()),
            2 => codec::decode_body::<LimiterStateV2>(body).map(Self::from),
            _ => codec::decode_body(body),
        }
    }
}

/// What an earlier life has kept; nothing if it cannot be had: the limiter then starts anew.
pub async fn restore(db: &Db, id: ConnectionId) -> Option<LimiterState> {
    let mut tx = db.begin_system_read("limiter of a connector").await.ok()?;
    let row = snapshot_get(&mut tx, snapshot_kind::CONNECTOR, id.uuid())
        .await
        .ok()??;
    codec::decode(&row.body)
        .inspect_err(|error| tracing::warn!(connection = %id, %error, "limiter starts anew"))
        .ok()
        .map(|(state, _)| state)
}
