//! What carries a message to a node.

use super::wire::{Fields, WireError, Writer};
use crate::NodeIdentity;
use bytes::Bytes;
use std::time::Duration;
use uuid::Uuid;

/// The longest body, in bytes; looked at by the sender, since the receiver of a frame above its limit ends the link.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// The longest encoded envelope or reply: a body and what is around it.
pub const MAX_ENVELOPE: usize = MAX_BODY + 16 * 1024;

/// The longest of the texts around a body.
const MAX_TEXT: usize = 1024;

const FORMAT: u8 = 1;

/// A message to an entity on a node, or to the node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Whom it is for; `None`: the node.
    pub entity: Option<Uuid>,
    /// What it is, in the words of the layer above, for example `employee.trigger`.
    pub kind: String,
    /// How long the sender waits, from when it arrives. A time left, not a time of day: clocks of nodes differ.
    pub time_left: Duration,
    /// W3C trace context of the sender.
    pub traceparent: Option<String>,
    pub body: Bytes,
    /// How many bytes the answer may have. Counted as on its way from the start, since it lies in memory on both sides.
    pub answer_limit: usize,
}

/// What an answer may have if nobody says otherwise, in bytes.
const ANSWER_LIMIT: usize = 32 * 1024;

impl Envelope {
    /// To a node, without a trace; the answer is short (32 KiB).
    pub fn new(kind: impl Into<String>, time_left: Duration, body: impl Into<Bytes>) -> Self {
        Self {
            entity: None,
            kind: kind.into(),
            time_left,
            traceparent: None,
            body: body.into(),
            answer_limit: ANSWER_LIMIT,
        }
    }

    /// Allows the answer more or less bytes, at most [`MAX_BODY`].
    #[must_use]
    pub fn with_answer_limit(self, bytes: usize) -> Self {
        Self {
            answer_limit: bytes.min(MAX_BODY),
            ..self
        }
    }

    /// Whether it may be sent. `Err`: what is too long, and how long it may be.
    pub fn check_size(&self) -> Result<(), (usize, usize)> {
        let trace = self.traceparent.as_ref().map_or(0, String::len);
        for (size, limit) in [
            (self.body.len(), MAX_BODY),
            (self.kind.len(), MAX_TEXT),
            (trace, MAX_TEXT),
        ] {
            if size > limit {
                return Err((size, limit));
            }
        }
        Ok(())
    }

    /// `from`: who sends it.
    pub fn encode(&self, from: NodeIdentity) -> Bytes {
        let millis = u64::try_from(self.time_left.as_millis()).unwrap_or(u64::MAX);
        let mut writer = Writer::new(FORMAT, self.body.len() + self.kind.len() + 256)
            .bytes(2, self.kind.as_bytes())
            .u64(3, millis)
            .uuid(6, from.node_id)
            .u64(7, from.incarnation)
            .u64(8, self.answer_limit as u64);
        if let Some(entity) = self.entity {
            writer = writer.uuid(1, entity);
        }
        if let Some(traceparent) = &self.traceparent {
            writer = writer.bytes(4, traceparent.as_bytes());
        }
        writer.bytes(5, &self.body).finish()
    }

    /// # Errors
    /// It is no envelope.
    pub fn decode(message: Bytes) -> Result<(NodeIdentity, Self), WireError> {
        let fields = Fields::read(message, FORMAT)?;
        let entity = match fields.uuid(1) {
            Ok(entity) => Some(entity),
            Err(WireError::Missing(_)) => None,
            Err(error) => return Err(error),
        };
        let from = NodeIdentity {
            node_id: fields.uuid(6)?,
            incarnation: fields.u64(7)?,
        };
        let envelope = Self {
            entity,
            kind: fields.text(2)?,
            time_left: Duration::from_millis(fields.u64(3)?),
            traceparent: fields.text_or_none(4)?,
            body: fields.bytes(5)?,
            answer_limit: usize::try_from(fields.u64(8)?)
                .map_or(MAX_BODY, |limit| limit.min(MAX_BODY)),
        };
        Ok((from, envelope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: NodeIdentity = NodeIdentity {
        node_id: Uuid::from_u128(3),
        incarnation: 8,
    };

    #[test]
    fn it_comes_back() {
        let plain = Envelope::new("node.ping", Duration::from_millis(1_500), "hello");
        let full = Envelope {
            entity: Some(Uuid::from_u128(9)),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            body: Bytes::new(),
            answer_limit: MAX_BODY,
            ..plain.clone()
        };
        for envelope in [plain, full] {
            assert_eq!(
                Envelope::decode(envelope.encode(FROM)),
                Ok((FROM, envelope))
            );
        }
    }

    #[test]
    fn sizes_are_seen_before_sending() {
        let of = |size: usize| Envelope::new("x", Duration::ZERO, vec![0; size]);
        assert_eq!(of(MAX_BODY).check_size(), Ok(()));
        assert_eq!(of(MAX_BODY + 1).check_size(), Err((MAX_BODY + 1, MAX_BODY)));
        assert!(of(MAX_BODY).encode(FROM).len() <= MAX_ENVELOPE);
        let long = Envelope::new("x".repeat(2_000), Duration::ZERO, "");
        assert_eq!(long.check_size(), Err((2_000, MAX_TEXT)));
    }

    #[test]
    fn nothing_that_is_cut_or_random_panics() {
        let whole = Envelope::new("node.ping", Duration::from_secs(1), "body").encode(FROM);
        for length in 0..whole.len() {
            assert!(Envelope::decode(whole.slice(..length)).is_err());
        }
        let mut state = 1_u64;
        for _ in 0..2_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let noise: Vec<u8> = state
                .to_be_bytes()
                .iter()
                .cycle()
                .take(40)
                .copied()
                .collect();
            let _ = Envelope::decode(noise.into());
        }
    }
}
