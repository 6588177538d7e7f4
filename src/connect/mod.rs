//! ConnectHub: the catalog of integrations, the requests that their capabilities become, and the wire side of effects.
//!
//! Everything here but [`client`] is pure; nothing here knows actors, databases or the server's routes. The connector actor
//! owns a connection and puts these pieces together: [`limiter`] and [`breaker`] say when, [`request`] says what,
//! [`client`] sends, [`answer`] says what the answer means, [`resolve`] says what to do where there was none.

pub mod address;
pub mod answer;
pub mod app_quota;
pub mod backoff;
pub mod breaker;
pub mod bucket;
pub mod catalog;
pub mod client;
pub mod effect;
mod fence;
pub mod form;
pub mod ingest;
pub mod json;
pub mod learned;
pub mod limiter;
pub mod oauth;
pub mod pages;
pub mod passing;
pub mod policy;
pub mod quickbooks;
mod rate;
pub mod request;
pub mod resolve;
mod resolver;
pub mod rfc822;
pub mod seal;
pub mod template;
pub mod token;
pub mod vault;
pub mod webhook;

pub use address::{AddressError, Addresses};
pub use answer::{CallOutcome, RateHints};
pub use app_quota::AppQuota;
pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerPolicy};
pub use bucket::{Bucket, BucketState, BucketView};
pub use catalog::{Capability, CapabilityFacts, Catalog, CatalogError, Integration, Quota, Risk};
pub use client::{CallerConfig, HttpCaller};
pub use effect::effect_key;
pub use fence::SendFence;
pub use learned::Learned;
pub use limiter::Gcra;
pub use pages::{PageWalk, PagesError, next_page};
pub use request::{Account, BadParams, ShapedRequest, shape};
pub use resolve::{Doubt, ProbeReading, Resolution, ShapedProbe, resolution};
pub use resolver::Names;
pub use seal::{SealError, Sealer, SecretName};
pub use token::{Held, Live, TokenError, TokenSource};
pub use vault::{SecretPlace, Vault, VaultError};
