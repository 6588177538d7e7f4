//! Fields with a tag and a length: `tag u8 | length u32 | bytes`, big-endian. Nothing is repeated, the order does not matter.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("message ends in the middle of field {0}")]
    Short(u8),
    #[error("message has no field {0}")]
    Missing(u8),
    #[error("field {0} is malformed")]
    Malformed(u8),
    #[error("message is of format {found}, not {expected}")]
    Format { found: u8, expected: u8 },
    #[error("message is empty")]
    Empty,
}

/// Writes a message.
pub(super) struct Writer(BytesMut);

impl Writer {
    pub(super) fn new(format: u8, capacity: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(capacity + 1);
        buffer.put_u8(format);
        Self(buffer)
    }

    /// `bytes` is shorter than 4 GiB: every message has a limit far below it.
    pub(super) fn bytes(mut self, tag: u8, bytes: &[u8]) -> Self {
        self.0.put_u8(tag);
        self.0.put_u32(bytes.len() as u32);
        self.0.put_slice(bytes);
        self
    }
    pub(super) fn u64(self, tag: u8, value: u64) -> Self {
        self.bytes(tag, &value.to_be_bytes())
    }
    pub(super) fn uuid(self, tag: u8, value: Uuid) -> Self {
        self.bytes(tag, value.as_bytes())
    }
    pub(super) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// Reads a message; the fields share its memory.
pub(super) struct Fields(Vec<(u8, Bytes)>);

impl Fields {
    pub(super) fn read(mut message: Bytes, format: u8) -> Result<Self, WireError> {
        if message.is_empty() {
            return Err(WireError::Empty);
        }
        let found = message.get_u8();
        if found != format {
            return Err(WireError::Format {
                found,
                expected: format,
            });
        }
        let mut fields = Vec::with_capacity(8);
        while message.has_remaining() {
            let tag = message.get_u8();
            if message.remaining() < 4 {
                return Err(WireError::Short(tag));
            }
            let length = message.get_u32() as usize;
            if message.remaining() < length {
                return Err(WireError::Short(tag));
            }
            fields.push((tag, message.split_to(length)));
        }
        Ok(Self(fields))
    }

    pub(super) fn find(&self, tag: u8) -> Option<Bytes> {
        let found = self.0.iter().find(|(known, _)| *known == tag);
        found.map(|(_, bytes)| bytes.clone())
    }
    pub(super) fn bytes(&self, tag: u8) -> Result<Bytes, WireError> {
        self.find(tag).ok_or(WireError::Missing(tag))
    }
    pub(super) fn u64(&self, tag: u8) -> Result<u64, WireError> {
        let bytes = self.bytes(tag)?;
        let bytes = <[u8; 8]>::try_from(&bytes[..]).map_err(|_| WireError::Malformed(tag))?;
        Ok(u64::from_be_bytes(bytes))
    }
    pub(super) fn uuid(&self, tag: u8) -> Result<Uuid, WireError> {
        Uuid::from_slice(&self.bytes(tag)?).map_err(|_| WireError::Malformed(tag))
    }
    pub(super) fn text(&self, tag: u8) -> Result<String, WireError> {
        text(tag, &self.bytes(tag)?)
    }
    pub(super) fn text_or_none(&self, tag: u8) -> Result<Option<String>, WireError> {
        self.find(tag).map(|bytes| text(tag, &bytes)).transpose()
    }
}

fn text(tag: u8, bytes: &[u8]) -> Result<String, WireError> {
    let text = std::str::from_utf8(bytes).map_err(|_| WireError::Malformed(tag))?;
    Ok(text.to_owned())
}
