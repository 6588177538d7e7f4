//! What comes back for an envelope.

use super::wire::{Fields, WireError, Writer};
use bytes::Bytes;

const FORMAT: u8 = 1;

/// Why the other node did not do what it was asked. Each of them says that nothing has happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    #[error("node is overloaded")]
    Overloaded,
    /// It does not own the entity: placement was stale. Ask the database who does.
    #[error("entity is not on this node")]
    NotHere,
    #[error("node does not know messages of this kind")]
    UnknownKind,
    /// It had run out of time before it was begun.
    #[error("deadline had passed on arrival")]
    TooLate,
    /// It does not take anything: it is fenced or about to stop.
    #[error("node is leaving")]
    Leaving,
    /// What it was sent is no message.
    #[error("message is malformed: {0}")]
    Malformed(String),
}

impl HandlerError {
    const fn code(&self) -> u64 {
        match self {
            Self::Overloaded => 1,
            Self::NotHere => 2,
            Self::UnknownKind => 3,
            Self::TooLate => 4,
            Self::Leaving => 5,
            Self::Malformed(_) => 6,
        }
    }
}

/// The answer of a handler, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Done(Bytes),
    /// It was not done.
    Refused(HandlerError),
    /// It was begun, but there is no answer: the handler ran out of time, crashed, or answered more than fits.
    Unknown(String),
}

impl Reply {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Done(body) => Writer::new(FORMAT, body.len() + 16).bytes(1, body),
            Self::Refused(error) => {
                let writer = Writer::new(FORMAT, 64).u64(2, error.code());
                match error {
                    HandlerError::Malformed(why) => writer.bytes(3, why.as_bytes()),
                    _ => writer,
                }
            }
            Self::Unknown(why) => Writer::new(FORMAT, 64).bytes(4, why.as_bytes()),
        }
        .finish()
    }

    /// # Errors
    /// It is no reply.
    pub fn decode(message: Bytes) -> Result<Self, WireError> {
        let fields = Fields::read(message, FORMAT)?;
        if let Some(body) = fields.find(1) {
            return Ok(Self::Done(body));
        }
        if let Some(why) = fields.text_or_none(4)? {
            return Ok(Self::Unknown(why));
        }
        let why = fields.text_or_none(3)?.unwrap_or_default();
        Ok(match fields.u64(2)? {
            1 => Self::Refused(HandlerError::Overloaded),
            2 => Self::Refused(HandlerError::NotHere),
            3 => Self::Refused(HandlerError::UnknownKind),
            4 => Self::Refused(HandlerError::TooLate),
            5 => Self::Refused(HandlerError::Leaving),
            6 => Self::Refused(HandlerError::Malformed(why)),
            // A later release has a reason that we do not know; whether it did anything we cannot tell.
            code => Self::Unknown(format!("refused for reason {code}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_back() {
        for reply in [
            Reply::Done(Bytes::from_static(b"body")),
            Reply::Done(Bytes::new()),
            Reply::Refused(HandlerError::Overloaded),
            Reply::Refused(HandlerError::NotHere),
            Reply::Refused(HandlerError::UnknownKind),
            Reply::Refused(HandlerError::TooLate),
            Reply::Refused(HandlerError::Leaving),
            Reply::Refused(HandlerError::Malformed("why".into())),
            Reply::Unknown("handler crashed".into()),
        ] {
            assert_eq!(Reply::decode(reply.encode()), Ok(reply));
        }
    }

    #[test]
    fn a_reason_of_a_later_release_is_an_unknown_outcome() {
        let later = Writer::new(FORMAT, 16).u64(2, 77).finish();
        assert_eq!(
            Reply::decode(later),
            Ok(Reply::Unknown("refused for reason 77".into()))
        );
    }
}
