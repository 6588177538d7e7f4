//! How bodies of the journal and of blobs are stored: one byte that names the form, then the bytes, compressed where that pays.

use super::error::{DbError, Result};
use serde_json::value::RawValue;
use std::{cell::RefCell, sync::LazyLock};
use zstd::{
    bulk::{Compressor, Decompressor},
    dict::{DecoderDictionary, EncoderDictionary},
};

const RAW: u8 = 0;
const ZSTD: u8 = 1;
/// Compressed with [`FACT_WORDS`] as the dictionary.
const ZSTD_FACTS: u8 = 2;
/// Below it a compressed body is hardly smaller, and the frame costs.
const WORTH_COMPRESSING: usize = 512;
/// The same with the dictionary: a commit of one step is that small, and without one it would not shrink at all.
const WORTH_WITH_WORDS: usize = 64;
/// Level 1: the facts of a run shrink to less than half at it, and higher levels cost more than they save.
const LEVEL: i32 = 1;
/// For short bodies: half the time of level 1 (2.5 us for 200 bytes), for a tenth more bytes.
const LEVEL_SHORT: i32 = -1;
/// No body that this program writes comes near it; it bounds what damaged bytes can make a reader allocate.
const LARGEST: usize = 64 << 20;

/// What facts have in common. It is part of the stored form: changed words are a new form beside this one, never another text here.
const FACT_WORDS: &[u8] = include_bytes!("fact_words.txt");

static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(FACT_WORDS, LEVEL));
static ENCODER_SHORT: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(FACT_WORDS, LEVEL_SHORT));
static DECODER: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(FACT_WORDS));

thread_local! {
    // A compressor has some 100 KB of tables: made once a thread, not once a body.
    static PLAIN: RefCell<Option<Compressor<'static>>> = RefCell::new(Compressor::new(LEVEL).ok());
    static FACTS: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::with_prepared_dictionary(&ENCODER).ok());
    static SHORT_FACTS: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::with_prepared_dictionary(&ENCODER_SHORT).ok());
}

/// The stored form of `body`.
pub(super) fn encode(body: &[u8]) -> Vec<u8> {
    pack(body, WORTH_COMPRESSING, ZSTD, &PLAIN)
}

type Packer = std::thread::LocalKey<RefCell<Option<Compressor<'static>>>>;

fn pack(body: &[u8], worth: usize, form: u8, packer: &'static Packer) -> Vec<u8> {
    if body.len() >= worth
        && let Some(packed) = packer.with_borrow_mut(|packer| packer.as_mut()?.compress(body).ok())
        && packed.len() < body.len()
    {
        return prefixed(form, &packed);
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
    let unpacker = match stored.split_first() {
        Some((&RAW, body)) => return Ok(body.to_vec()),
        Some((&ZSTD, _)) => Decompressor::new(),
        Some((&ZSTD_FACTS, _)) => Decompressor::with_prepared_dictionary(&DECODER),
        Some((form, _)) => {
            return Err(DbError::corrupt("body", format!("unknown form {form}")));
        }
        None => return Err(DbError::corrupt("body", "empty")),
    };
    let corrupt = |error: std::io::Error| DbError::corrupt("body", error);
    let packed = &stored[1..];
    // The frame says how long its content is, for it was written in one piece.
    let length = zstd::zstd_safe::get_frame_content_size(packed)
        .ok()
        .flatten()
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length <= LARGEST)
        .ok_or_else(|| DbError::corrupt("body", "no length, or larger than 64 MiB"))?;
    unpacker
        .and_then(|mut unpacker| unpacker.decompress(packed, length))
        .map_err(corrupt)
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
    let packer = if array.len() < WORTH_COMPRESSING {
        &SHORT_FACTS
    } else {
        &FACTS
    };
    pack(&array, WORTH_WITH_WORDS, ZSTD_FACTS, packer)
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
    fn the_facts_of_one_step_shrink() {
        let fact = br#"{"f":"done","s":[0,1,0,1],"o":{"customer":"Lind AB","amount":1200},"t":1763697600000000}"#;
        let stored = encode_facts([fact.as_slice()].into_iter());
        assert!(stored.len() < fact.len() * 3 / 4, "{}", stored.len());
        assert_eq!(decode_facts(&stored, 1).unwrap()[0].as_bytes(), fact);
    }

    /// Bytes that an earlier build has written must stay readable for ever.
    #[test]
    fn the_words_of_facts_do_not_change() {
        assert_eq!(
            crate::domain::ContentHash::of(FACT_WORDS).to_string(),
            "sha256:5af742c73154bb53c49441032876a997099a424152f89e88e867d06a6a1aaca4"
        );
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
            &[ZSTD_FACTS, 1, 2, 3],
            &packed[..packed.len() / 2],
        ] {
            assert!(
                matches!(decode(stored), Err(DbError::Corrupt { .. })),
                "{stored:?}"
            );
        }
    }
}
