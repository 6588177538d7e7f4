//! The first words on a link, inside TLS and before anything else.
//!
//! Both sides send [`Hello`]; each looks at the other's and sends its [`Verdict`]. Only if both welcome each other does the link carry
//! messages, in the highest protocol that both speak.

use super::wire::{Fields, WireError, Writer};
use crate::NodeIdentity;
use bytes::Bytes;
use std::fmt;

/// What this build speaks: its own and the one before.
pub const PROTOCOL: ProtocolRange = ProtocolRange { min: 1, max: 1 };

/// In bytes. Anything longer is not a `Hello` and is not read.
pub const MAX_HELLO: usize = 4 * 1024;

const FORMAT: u8 = 1;

/// Versions of the protocol, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolRange {
    pub min: u16,
    pub max: u16,
}

impl ProtocolRange {
    /// The highest that both speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub identity: NodeIdentity,
    pub cluster: String,
    pub protocol: ProtocolRange,
    /// The build's version, for people.
    pub build: String,
}

impl Hello {
    pub fn encode(&self) -> Bytes {
        Writer::new(FORMAT, 256)
            .uuid(1, self.identity.node_id)
            .u64(2, self.identity.incarnation)
            .bytes(3, self.cluster.as_bytes())
            .u64(4, self.protocol.min.into())
            .u64(5, self.protocol.max.into())
            .bytes(6, self.build.as_bytes())
            .finish()
    }

    /// # Errors
    /// It is no `Hello`.
    pub fn decode(message: Bytes) -> Result<Self, WireError> {
        let fields = Fields::read(message, FORMAT)?;
        let version = |tag| u16::try_from(fields.u64(tag)?).map_err(|_| WireError::Malformed(tag));
        Ok(Self {
            identity: NodeIdentity {
                node_id: fields.uuid(1)?,
                incarnation: fields.u64(2)?,
            },
            cluster: fields.text(3)?,
            protocol: ProtocolRange {
                min: version(4)?,
                max: version(5)?,
            },
            build: fields.text_or_none(6)?.unwrap_or_default(),
        })
    }
}

/// Why a link does not come about. Travels to the other side, so that both logs say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No protocol that both speak.
    Protocol,
    /// The certificate is for another node or cluster than the `Hello` says.
    Identity,
    /// A later life of the same node is known.
    Outdated,
    /// A link with this life of the node stands already.
    Duplicate,
    /// Said by a later release.
    Other(u16),
}

impl Refusal {
    const fn code(self) -> u16 {
        match self {
            Self::Protocol => 1,
            Self::Identity => 2,
            Self::Outdated => 3,
            Self::Duplicate => 4,
            Self::Other(code) => code,
        }
    }
    const fn of(code: u16) -> Self {
        match code {
            1 => Self::Protocol,
            2 => Self::Identity,
            3 => Self::Outdated,
            4 => Self::Duplicate,
            code => Self::Other(code),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol => formatter.write_str("no common protocol"),
            Self::Identity => formatter.write_str("certificate is for another node"),
            Self::Outdated => formatter.write_str("a later life of the node is known"),
            Self::Duplicate => formatter.write_str("a link stands already"),
            Self::Other(code) => write!(formatter, "reason {code}"),
        }
    }
}

/// The answer to a [`Hello`]: the protocol to speak, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Welcome { protocol: u16 },
    Refused(Refusal),
}

impl Verdict {
    pub fn encode(self) -> Bytes {
        let writer = Writer::new(FORMAT, 32);
        match self {
            Self::Welcome { protocol } => writer.u64(1, protocol.into()),
            Self::Refused(refusal) => writer.u64(2, refusal.code().into()),
        }
        .finish()
    }

    /// # Errors
    /// It is no verdict.
    pub fn decode(message: Bytes) -> Result<Self, WireError> {
        let fields = Fields::read(message, FORMAT)?;
        let narrow = |tag, value| u16::try_from(value).map_err(|_| WireError::Malformed(tag));
        match fields.u64(2) {
            Ok(code) => Ok(Self::Refused(Refusal::of(narrow(2, code)?))),
            Err(WireError::Missing(_)) => Ok(Self::Welcome {
                protocol: narrow(1, fields.u64(1)?)?,
            }),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn hello() -> Hello {
        Hello {
            identity: NodeIdentity {
                node_id: Uuid::from_u128(7),
                incarnation: 3,
            },
            cluster: "prod".into(),
            protocol: ProtocolRange { min: 1, max: 2 },
            build: "0.1.0".into(),
        }
    }

    #[test]
    fn neighbours_understand_each_other() {
        let range = |min, max| ProtocolRange { min, max };
        for (ours, theirs, common) in [
            (range(1, 2), range(2, 3), Some(2)),
            (range(2, 3), range(1, 2), Some(2)),
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 2), range(3, 4), None),
        ] {
            assert_eq!(ours.common(theirs), common);
        }
    }

    #[test]
    fn both_come_back() {
        assert_eq!(Hello::decode(hello().encode()), Ok(hello()));
        for verdict in [
            Verdict::Welcome { protocol: 2 },
            Verdict::Refused(Refusal::Duplicate),
            Verdict::Refused(Refusal::Other(99)),
        ] {
            assert_eq!(Verdict::decode(verdict.encode()), Ok(verdict));
        }
    }

    /// What a later release adds is stepped over.
    #[test]
    fn unknown_fields_are_no_matter() {
        let mut later = hello().encode().to_vec();
        later.extend([200, 0, 0, 0, 3, 1, 2, 3]);
        assert_eq!(Hello::decode(later.into()), Ok(hello()));
    }

    #[test]
    fn every_cut_is_an_error_and_no_panic() {
        let whole = hello().encode();
        for length in 0..whole.len() - 1 {
            // Without its last field, which has a default, it is still one.
            if let Ok(cut) = Hello::decode(whole.slice(..length)) {
                assert_eq!(cut.build, "");
            }
        }
        assert_eq!(Hello::decode(Bytes::new()), Err(WireError::Empty));
        assert!(Hello::decode(Bytes::from_static(&[9, 1])).is_err());
        assert_eq!(
            Hello::decode(Bytes::from_static(&[1, 1, 255, 255, 255, 255])),
            Err(WireError::Short(1))
        );
    }

    /// Other releases read this.
    #[test]
    fn the_bytes_are_fixed() {
        let bytes = hello().encode();
        assert_eq!(bytes.len(), 1 + 6 * 5 + 16 + 8 + 4 + 8 + 8 + 5);
        assert_eq!(bytes[..6], [1, 1, 0, 0, 0, 16]);
        assert_eq!(bytes[bytes.len() - 10..], *b"\x06\0\0\0\x050.1.0");
    }
}
