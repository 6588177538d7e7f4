//! Opening links.

use super::{HANDSHAKE_DEADLINE, LinkError, Local, PeerStream, socket};
use rand::Rng;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use uuid::Uuid;

/// Connects to a node and shakes hands, all within [`HANDSHAKE_DEADLINE`]. `address` is `host:port`.
///
/// # Errors
/// Nobody is there, or it is not this node, or one refuses the other.
pub async fn dial(local: &Local, address: &str, node_id: Uuid) -> Result<PeerStream, LinkError> {
    let dial = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(LinkError::Connect)?;
        socket::configure(&stream).map_err(LinkError::Connect)?;
        local.connect(stream, node_id).await
    };
    timeout(HANDSHAKE_DEADLINE, dial)
        .await
        .unwrap_or(Err(LinkError::Timeout))
}

/// How long to wait before the next attempt: twice as long each time up to a limit, and of that a random half to whole, so that nodes
/// that lost the same peer do not come back in step.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    pub const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub fn wait(&mut self, random: &mut impl Rng) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(Self::LONGEST);
        whole.mul_f64(random.random_range(0.5..=1.0))
    }

    /// It worked: the next loss is a new one.
    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn waits_grow_to_a_limit_and_differ() {
        let mut random = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..10).map(|_| backoff.wait(&mut random)).collect();
        for (attempt, wait) in waits.iter().enumerate() {
            let whole = (Backoff::FIRST * 2_u32.pow(attempt as u32)).min(Backoff::LONGEST);
            assert!(*wait >= whole / 2 && *wait <= whole, "{attempt}: {wait:?}");
        }
        assert_ne!(waits[8], waits[9]);
        backoff.reset();
        assert!(backoff.wait(&mut random) <= Backoff::FIRST);
    }
}
