//! How much strangers may hold of this process.

use std::time::Duration;

/// Descriptors beside those of connections: databases, providers, other nodes, files.
const RESERVE_MIN: u64 = 64;
const RESERVE_MAX: u64 = 4_096;

/// Where it cannot even be found out how many a process may have.
const USUAL_DESCRIPTORS: u64 = 1_024;

/// Bounds of the server's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open at once; fewer where the process may not have as many descriptors.
    pub connections: usize,
    /// Of one IPv4 address or one /64 of IPv6.
    pub per_address: usize,
    /// For the head of a request, and for what comes before the first one.
    pub head: Duration,
    /// A connection ends that has had no request for this long.
    pub idle: Duration,
    /// So does one whose client takes nothing of its answer for this long, or so little that it was waited for twice as long.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            per_address: 1_000,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stalled: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// The same with no more connections than a process with this many descriptors can have beside all else that it needs.
    #[must_use]
    pub fn within(self, descriptors: u64) -> Self {
        let reserve = (descriptors / 4).clamp(RESERVE_MIN, RESERVE_MAX);
        let left = descriptors.saturating_sub(reserve).max(1);
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        Self {
            connections: self.connections.min(most),
            ..self
        }
    }
}

/// Raises the soft limit of open files to the hard one; gives what it is then. Where the process may not raise it, it stays what it was.
pub fn raise_descriptor_limit() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files cannot be raised");
        rlimit::Resource::NOFILE
            .get_soft()
            .unwrap_or(USUAL_DESCRIPTORS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stay_below_the_descriptors() {
        let wanted = Limits::default();
        for (descriptors, expected) in [
            (1_024, 768),
            (256, 192),
            (20_000, 15_904),
            (1_048_576, 20_000),
            (10, 1),
        ] {
            assert_eq!(wanted.within(descriptors).connections, expected);
        }
    }
}
