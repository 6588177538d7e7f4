//! Keyed hashes, their spellings, and comparison that takes the same time wherever two texts differ.

use ::hmac::{Hmac, KeyInit, Mac as _};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// For senders that know nothing better. As a keyed hash it is not broken.
    Sha1,
    #[default]
    Sha256,
    Sha512,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// A finished keyed hash.
pub enum Tag {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

/// The hash of `parts` one after the other.
pub fn tag(algorithm: Algorithm, key: &[u8], parts: &[&[u8]]) -> Tag {
    macro_rules! of {
        ($variant:ident, $hash:ty) => {{
            // HMAC takes keys of every length.
            let mut mac = <Hmac<$hash> as KeyInit>::new_from_slice(key)
                .unwrap_or_else(|_| Hmac::new(&Default::default()));
            parts.iter().for_each(|part| mac.update(part));
            Tag::$variant(mac)
        }};
    }
    match algorithm {
        Algorithm::Sha1 => of!(Sha1, Sha1),
        Algorithm::Sha256 => of!(Sha256, Sha256),
        Algorithm::Sha512 => of!(Sha512, Sha512),
    }
}

impl Tag {
    /// Compares in constant time.
    pub fn fits(&self, given: &[u8]) -> bool {
        match self {
            Tag::Sha1(mac) => mac.clone().verify_slice(given).is_ok(),
            Tag::Sha256(mac) => mac.clone().verify_slice(given).is_ok(),
            Tag::Sha512(mac) => mac.clone().verify_slice(given).is_ok(),
        }
    }

    pub fn bytes(self) -> Vec<u8> {
        match self {
            Tag::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Tag::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Tag::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
}

impl Encoding {
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Hex => hex(bytes),
            Encoding::Base64 => STANDARD.encode(bytes),
        }
    }

    /// `None` for what no sender would write.
    pub fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Encoding::Hex => unhex(text),
            Encoding::Base64 => STANDARD.decode(text).ok(),
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower-case digits only, which is what all senders write: each hash has one spelling.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// Whether two secrets are the same. Their hashes are compared, so that not even their lengths show in the time.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    const KEY: &[u8] = b"tenure: comparison of secrets";
    let other = tag(Algorithm::Sha256, KEY, &[other]).bytes();
    tag(Algorithm::Sha256, KEY, &[one]).fits(&other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202 and RFC 4231, test case 2.
    #[test]
    fn the_published_vectors_come_out() {
        let cases = [
            (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Algorithm::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Algorithm::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (algorithm, expected) in cases {
            let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
            let found = tag(algorithm, b"Jefe", &parts);
            assert!(found.fits(&unhex(expected).expect("hex")), "{algorithm:?}");
            assert_eq!(hex(&found.bytes()), expected);
        }
    }

    #[test]
    fn hex_has_one_spelling() {
        assert_eq!(unhex("00ff"), Some(vec![0, 255]));
        for wrong in ["0", "0FF0", "zz", "0 "] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
        assert!(same(b"a", b"a") && !same(b"a", b"b") && !same(b"a", b"aa"));
    }
}
