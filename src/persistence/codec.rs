//! Snapshots: an actor's state in a versioned envelope (all numbers big-endian).
//!
//! ```text
//! magic 4 | envelope version 1 | codec id 1 | compression 1 | flags 1
//! schema id 4 | schema version 2 | reserved 2 | epoch 8 | seq 8 | raw length 4 | body length 4 | hash 32 | body
//! ```
//! The hash is SHA-256 over the body as it stands there.
//!
//! The codec is bincode 2 in its standard configuration, which is positional: any change of a field is a new version of the schema, with
//! the old struct kept and a conversion to the next. It cannot decode `serde_json::Value`, untagged or internally tagged enums,
//! `flatten` and `skip_serializing_if`; JSON goes inside as text.

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

const MAGIC: [u8; 4] = *b"TNSS";
const ENVELOPE: u8 = 1;
const BINCODE_2_STANDARD: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const HEADER: usize = 4 + 4 + 4 + 2 + 2 + 8 + 8 + 4 + 4 + 32;
const HASH_AT: usize = HEADER - 32;
/// The largest encoded state, before compression: no actor of ours comes near it, and it bounds what damaged bytes can make us allocate.
pub const LARGEST: usize = 64 << 20;
/// A body is compressed from this size on, if that makes it smaller.
const WORTH_COMPRESSING: usize = 512;

/// A state that has snapshots.
pub trait Versioned: Serialize + Sized {
    /// Names the kind of state; never reused.
    const SCHEMA_ID: [u8; 4];
    /// Of the struct as it is now; raised by any change of a field.
    const VERSION: u16;
    /// Decodes a body of `version`, `1..=VERSION`: the current one by `decode_body::<Self>`, an older one by its kept struct and its
    /// conversions. An answer of `CodecError::UnknownVersion` leaves the stored row alone.
    fn decode_version(version: u16, body: &[u8]) -> Result<Self, CodecError>;
}

/// Where in its life an actor's state was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of the owner.
    pub epoch: u64,
    /// Number of facts that the state covers.
    pub seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("not a snapshot: {0}")]
    NotASnapshot(&'static str),
    /// Written by a newer version of the program; it must be left as it is.
    #[error("snapshot has {what} {found}, this program knows up to {known}")]
    UnknownVersion {
        what: &'static str,
        found: u16,
        known: u16,
    },
    #[error("snapshot is of schema {found:?}, expected {expected:?}")]
    WrongSchema { found: [u8; 4], expected: [u8; 4] },
    /// Bytes were lost or changed since it was written.
    #[error("snapshot is damaged: {0}")]
    Damaged(String),
    #[error("snapshot of {0} bytes is larger than allowed")]
    TooLarge(usize),
    #[error("state cannot be encoded: {0}")]
    Encode(String),
}

/// # Errors
/// `Encode` for a state that the codec cannot carry, `TooLarge`.
pub fn encode<T: Versioned>(state: &T, mark: Mark) -> Result<Vec<u8>, CodecError> {
    let raw = bincode::serde::encode_to_vec(state, bincode::config::standard())
        .map_err(|error| CodecError::Encode(error.to_string()))?;
    if raw.len() > LARGEST {
        return Err(CodecError::TooLarge(raw.len()));
    }
    let packed = (raw.len() >= WORTH_COMPRESSING)
        .then(|| zstd::bulk::compress(&raw, 1).ok())
        .flatten();
    let (compression, body) = match &packed {
        Some(packed) if packed.len() < raw.len() => (ZSTD, packed.as_slice()),
        _ => (PLAIN, raw.as_slice()),
    };
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(MAGIC);
    bytes.extend([ENVELOPE, BINCODE_2_STANDARD, compression, 0]);
    bytes.extend(T::SCHEMA_ID);
    bytes.extend(T::VERSION.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(mark.epoch.to_be_bytes());
    bytes.extend(mark.seq.to_be_bytes());
    bytes.extend(length(raw.len())?.to_be_bytes());
    bytes.extend(length(body.len())?.to_be_bytes());
    bytes.extend(digest(body));
    bytes.extend(body);
    Ok(bytes)
}

fn length(bytes: usize) -> Result<u32, CodecError> {
    u32::try_from(bytes).map_err(|_| CodecError::TooLarge(bytes))
}

fn digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

/// # Errors
/// `UnknownVersion` for what a newer program wrote, everything else for what nobody wrote.
pub fn decode<T: Versioned>(bytes: &[u8]) -> Result<(T, Mark), CodecError> {
    let header = bytes
        .get(..HEADER)
        .ok_or(CodecError::NotASnapshot("shorter than a header"))?;
    if header[..4] != MAGIC {
        return Err(CodecError::NotASnapshot("wrong magic"));
    }
    known("envelope", header[4].into(), ENVELOPE.into())?;
    known("codec", header[5].into(), BINCODE_2_STANDARD.into())?;
    known("compression", header[6].into(), ZSTD.into())?;
    known("flags", header[7].into(), 0)?;
    let body = &bytes[HEADER..];
    if body.len() != u32_at(header, 36) as usize {
        return Err(CodecError::Damaged(format!(
            "body has {} bytes, header says {}",
            body.len(),
            u32_at(header, 36)
        )));
    }
    if digest(body) != header[HASH_AT..] {
        return Err(CodecError::Damaged("hash differs".into()));
    }
    let found = [header[8], header[9], header[10], header[11]];
    if found != T::SCHEMA_ID {
        return Err(CodecError::WrongSchema {
            found,
            expected: T::SCHEMA_ID,
        });
    }
    let version = u16::from_be_bytes([header[12], header[13]]);
    known("schema version", version, T::VERSION)?;
    let raw = unpack(header[6], body, u32_at(header, 32) as usize)?;
    let state = T::decode_version(version, &raw)?;
    Ok((
        state,
        Mark {
            epoch: u64_at(header, 16),
            seq: u64_at(header, 24),
        },
    ))
}

fn known(what: &'static str, found: u16, known: u16) -> Result<(), CodecError> {
    if found > known {
        Err(CodecError::UnknownVersion { what, found, known })
    } else {
        Ok(())
    }
}

fn u32_at(header: &[u8], at: usize) -> u32 {
    header[at..at + 4]
        .iter()
        .fold(0, |value, byte| (value << 8) | u32::from(*byte))
}

fn u64_at(header: &[u8], at: usize) -> u64 {
    header[at..at + 8]
        .iter()
        .fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

fn unpack(compression: u8, body: &[u8], raw_length: usize) -> Result<Vec<u8>, CodecError> {
    if raw_length > LARGEST {
        return Err(CodecError::TooLarge(raw_length));
    }
    let raw = match compression {
        ZSTD => zstd::bulk::decompress(body, raw_length)
            .map_err(|error| CodecError::Damaged(error.to_string()))?,
        _ => body.to_vec(),
    };
    if raw.len() == raw_length {
        Ok(raw)
    } else {
        Err(CodecError::Damaged(format!(
            "{} bytes, header says {raw_length}",
            raw.len()
        )))
    }
}

/// Decodes one struct from a body and uses up all of it.
pub fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<LARGEST>();
    let (state, used) = bincode::serde::decode_from_slice(body, config)
        .map_err(|error| CodecError::Damaged(error.to_string()))?;
    if used == body.len() {
        Ok(state)
    } else {
        Err(CodecError::Damaged(format!(
            "{} bytes are left over",
            body.len() - used
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Now {
        name: String,
        visits: u32,
        notes: Vec<String>,
    }
    #[derive(Deserialize)]
    struct V1 {
        name: String,
    }
    impl From<V1> for Now {
        fn from(old: V1) -> Self {
            Now {
                name: old.name,
                visits: 0,
                notes: vec![],
            }
        }
    }
    impl Versioned for Now {
        const SCHEMA_ID: [u8; 4] = *b"test";
        const VERSION: u16 = 2;
        fn decode_version(version: u16, body: &[u8]) -> Result<Self, CodecError> {
            match version {
                1 => decode_body::<V1>(body).map(Into::into),
                _ => decode_body(body),
            }
        }
    }

    fn state() -> Now {
        Now {
            name: "clerk".into(),
            visits: 3,
            notes: vec!["late".into()],
        }
    }
    const MARK: Mark = Mark { epoch: 7, seq: 256 };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }
    /// As version 2 was written on the day when it was made, and as version 1 was before it.
    const GOLDEN_V2: &str = "544e5353010100007465737400020000000000000000000700000000000001000000000d0000000dca22a237aaefffcc1db48666575ef3b6bbfc973a40590eb2adf1bf1862f694c405636c65726b0301046c617465";
    const GOLDEN_V1: &str = "544e535301010000746573740001000000000000000000070000000000000100000000060000000645d851b9553a82b4b4c9d993a00faf6611b7617cd5604665df107088798cfdde05636c65726b";

    #[test]
    fn golden_bytes_of_every_version_decode() {
        assert_eq!(hex(&encode(&state(), MARK).unwrap()), GOLDEN_V2);
        assert_eq!(decode::<Now>(&unhex(GOLDEN_V2)).unwrap(), (state(), MARK));
        let (old, mark) = decode::<Now>(&unhex(GOLDEN_V1)).unwrap();
        assert_eq!(
            (old, mark),
            (
                Now {
                    name: "clerk".into(),
                    visits: 0,
                    notes: vec![]
                },
                MARK
            )
        );
    }

    #[test]
    fn large_states_are_compressed_and_come_back() {
        let large = Now {
            notes: vec!["the same note again".into(); 1_000],
            ..state()
        };
        let bytes = encode(&large, MARK).unwrap();
        assert!(bytes.len() < 1_000);
        assert_eq!(decode::<Now>(&bytes).unwrap(), (large, MARK));
    }

    #[test]
    fn no_changed_byte_and_no_cut_goes_unseen() {
        for state in [
            state(),
            Now {
                notes: vec!["again".into(); 500],
                ..state()
            },
        ] {
            let good = encode(&state, MARK).unwrap();
            for place in 0..good.len() {
                assert!(decode::<Now>(&good[..place]).is_err(), "cut at {place}");
                // Reserved, epoch and seq are not under the hash: the row says the last two as well.
                if (14..32).contains(&place) {
                    continue;
                }
                let mut bad = good.clone();
                bad[place] ^= 0x10;
                assert!(decode::<Now>(&bad).is_err(), "byte {place}");
            }
            let longer = [good.as_slice(), &[0]].concat();
            assert!(decode::<Now>(&longer).is_err());
        }
    }

    #[test]
    fn what_a_newer_program_wrote_is_told_from_damage() {
        for (place, what) in [
            (4, "envelope"),
            (5, "codec"),
            (6, "compression"),
            (7, "flags"),
            (13, "schema version"),
        ] {
            let mut newer = encode(&state(), MARK).unwrap();
            newer[place] = 9;
            let error = decode::<Now>(&newer).unwrap_err();
            assert!(
                matches!(error, CodecError::UnknownVersion { what: named, found: 9, .. } if named == what),
                "{error}"
            );
        }
    }

    #[test]
    fn another_schema_left_over_bytes_and_false_lengths_are_refused() {
        let mut other = encode(&state(), MARK).unwrap();
        other[8] = b'x';
        assert!(matches!(
            decode::<Now>(&other),
            Err(CodecError::WrongSchema { .. })
        ));
        let body = bincode::serde::encode_to_vec(state(), bincode::config::standard()).unwrap();
        let longer = [body.as_slice(), &[0]].concat();
        assert!(matches!(
            decode_body::<Now>(&longer),
            Err(CodecError::Damaged(_))
        ));
        let mut lying = encode(&state(), MARK).unwrap();
        lying[32..36].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(
            decode::<Now>(&lying),
            Err(CodecError::TooLarge(_))
        ));
        // A list that claims more elements than there are bytes.
        assert!(decode_body::<Now>(&[0, 0, 253, 255, 255, 255, 255, 255, 255, 255, 127]).is_err());
    }
}
