//! Links between nodes: TCP, mutual TLS, a `Hello`, and a stream that notices when the other side falls silent.
//!
//! Everybody may knock: what has not shown its certificate and said `Hello` costs little, holds nothing up and is dropped after
//! [`HANDSHAKE_DEADLINE`].

mod admission;
mod dial;
mod handshake;
mod listener;
mod socket;
mod stream;

pub use admission::Limits as HandshakeLimits;
pub use dial::{Backoff, dial};
pub use handshake::{LinkError, Local};
pub use listener::listen;
pub use stream::{PeerLabel, PeerStream};

use std::time::Duration;

/// From the first byte to the last verdict.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// A peer that says nothing, or takes nothing, for this long is gone. Healthy ones ping each other every 1 to 5 s.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(12);
