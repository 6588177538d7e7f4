//! How bodies of the journal and of blobs are stored: one byte that names the form, then the bytes, compressed where that pays.

use super::error::{DbError, Result};
use serde_json::value::RawValue;
use std::io::Read;

const RAW: u8 = 0;
const ZSTD: u8 = 1;
/// Below it a compressed body is hardly smaller, and the frame costs.
const WORTH_COMPRESSING: usize = 512;
/// Level 1: the facts of a run shrink to less than half at it, and higher levels cost more than they save.
const LEVEL: i32 = 1;
/// No body that this program writes comes near it; it bounds what damaged bytes can make a reader allocate.
const LARGEST: u64 = 64 << 20;

/// The stored form of `body`.
pub(super) fn encode(body: &[u8]) -> Vec<u8> {
    if body.len() >= WORTH_COMPRESSING
        && let Ok(packed) = zstd::bulk::compress(body, LEVEL)
        && packed.len() < body.len()
    {
        return prefixed(ZSTD, &packed);
    }
    prefixed(RAW, body)
}

fn prefixed(form: u8, bytes: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(bytes.len() + 1);
    stored.push(form);
    stored.extend_from_slice(bytes);
    stored
}

/// The body of a stored form.
///
/// # Errors
/// `Corrupt` for bytes that `encode` did not write.
pub(super) fn decode(stored: &[u8]) -> Result<Vec<u8>> {
    match stored.split_first() {
        Some((&RAW, body)) => Ok(body.to_vec()),
        Some((&ZSTD, packed)) => {
            let mut body = Vec::new();
            let decoder =
                zstd::Decoder::new(packed).map_err(|error| DbError::corrupt("body", error))?;
            decoder
                .take(LARGEST + 1)
                .read_to_end(&mut body)
                .map_err(|error| DbError::corrupt("body", error))?;
            if body.len() as u64 > LARGEST {
                Err(DbError::corrupt("body", "larger than 64 MiB"))
            } else {
                Ok(body)
            }
        }
        Some((form, _)) => Err(DbError::corrupt("body", format!("unknown form {form}"))),
        None => Err(DbError::corrupt("body", "empty")),
    }
}

/// The stored form of some facts, each the JSON of one: an array.
pub(super) fn encode_facts<'a>(facts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut array = vec![b'['];
    for (place, fact) in facts.enumerate() {
        if place > 0 {
            array.push(b',');
        }
        array.extend_from_slice(fact);
    }
    array.push(b']');
    encode(&array)
}

/// The JSON of each fact of a journal row.
///
/// # Errors
/// `Corrupt` if it is no array of `count` elements.
pub(super) fn decode_facts(stored: &[u8], count: i32) -> Result<Vec<Box<str>>> {
    let array = decode(stored)?;
    let facts: Vec<Box<RawValue>> =
        serde_json::from_slice(&array).map_err(|error| DbError::corrupt("journal row", error))?;
    if usize::try_from(count) != Ok(facts.len()) {
        return Err(DbError::corrupt(
            "journal row",
            format!("{} facts where {count} were written", facts.len()),
        ));
    }
    Ok(facts.into_iter().map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_back_and_long_ones_shrink() {
        let long = "an invoice and an invoice and ".repeat(100);
        for body in ["", "x", long.as_str()] {
            assert_eq!(decode(&encode(body.as_bytes())).unwrap(), body.as_bytes());
        }
        assert!(encode(long.as_bytes()).len() < long.len() / 4);
    }

    #[test]
    fn facts_keep_their_text() {
        let facts: [&[u8]; 2] = [br#"{"f":"a","x":[1,{"y":"]"}]}"#, br#"{"f":"b"}"#];
        let stored = encode_facts(facts.into_iter());
        let back = decode_facts(&stored, 2).unwrap();
        assert_eq!(
            back.iter().map(|fact| fact.as_bytes()).collect::<Vec<_>>(),
            facts
        );
        assert!(matches!(
            decode_facts(&stored, 3),
            Err(DbError::Corrupt { .. })
        ));
    }

    #[test]
    fn damaged_bodies_are_refused() {
        let packed = encode("an invoice and ".repeat(100).as_bytes());
        for stored in [
            &[][..],
            &[9, 1],
            &[ZSTD, 1, 2, 3],
            &packed[..packed.len() / 2],
        ] {
            assert!(
                matches!(decode(stored), Err(DbError::Corrupt { .. })),
                "{stored:?}"
            );
        }
    }
}
