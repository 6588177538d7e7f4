//! Keyed hashes, their spellings, and comparison that takes the same time wherever two texts differ.

use super::SIGNATURES_MAX;
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

    /// Whether one of several is it; each is compared in constant time.
    pub fn fits_any(&self, given: &[Vec<u8>]) -> bool {
        given.iter().any(|bytes| self.fits(bytes))
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

/// Digits of either case: senders write both, and a hash is compared as bytes.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// The hashes in the value of a header, decoded: one, or several with commas or blanks between them, as senders write while they change
/// their secret. What has another prefix or is no hash is passed over; upper and lower case of the prefix are the same.
pub fn hashes(value: &str, prefix: &str, encoding: Encoding) -> Vec<Vec<u8>> {
    // The whole first: a prefix may have blanks in it.
    [value]
        .into_iter()
        .chain(value.split(','))
        .chain(value.split([',', ' ']))
        .filter_map(|entry| after_prefix(entry.trim_matches(' '), prefix))
        .filter_map(|text| encoding.decode(text.trim_matches(' ')))
        .filter(|hash| !hash.is_empty())
        .take(SIGNATURES_MAX)
        .collect()
}

fn after_prefix<'t>(entry: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = entry.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
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
    fn hex_is_read_in_either_case() {
        for (text, expected) in [
            ("00ff", Some(vec![0, 255])),
            ("00FF", Some(vec![0, 255])),
            ("aBcDeF", Some(vec![0xab, 0xcd, 0xef])),
            ("0", None),
            ("zz", None),
            ("0 ", None),
            ("0x00", None),
        ] {
            assert_eq!(unhex(text), expected, "{text}");
        }
        assert!(same(b"a", b"a") && !same(b"a", b"b") && !same(b"a", b"aa"));
    }

    #[test]
    fn several_hashes_of_a_header_are_read() {
        let (hex, base64) = (Encoding::Hex, Encoding::Base64);
        let (ab, cd) = (vec![0xab], vec![0xcd]);
        for (value, prefix, encoding, expected) in [
            ("ab", "", hex, vec![ab.clone()]),
            ("AB", "", hex, vec![ab.clone()]),
            (" sha256=AB ", "sha256=", hex, vec![ab.clone()]),
            ("SHA256=ab", "sha256=", hex, vec![ab.clone()]),
            ("sha256= ab", "sha256=", hex, vec![ab.clone()]),
            (
                "sha256=ab,sha256=CD",
                "sha256=",
                hex,
                vec![ab.clone(), cd.clone()],
            ),
            ("v0=ab v0=cd", "v0=", hex, vec![ab.clone(), cd.clone()]),
            ("v1=ab, v0=cd", "v0=", hex, vec![cd.clone()]),
            (
                "HMAC ab, HMAC cd",
                "HMAC ",
                hex,
                vec![ab.clone(), cd.clone()],
            ),
            ("qw==, zQ==", "", base64, vec![ab.clone(), cd.clone()]),
            ("sha1=ab", "sha256=", hex, vec![]),
            ("", "", hex, vec![]),
            (",, ,", "", hex, vec![]),
        ] {
            let mut found = hashes(value, prefix, encoding);
            found.dedup();
            let distinct: std::collections::BTreeSet<_> = found.into_iter().collect();
            let distinct: Vec<_> = distinct.into_iter().collect();
            assert_eq!(distinct, expected, "{value:?} after {prefix:?}");
        }
        let many = "ab,".repeat(1_000);
        assert_eq!(hashes(&many, "", hex).len(), SIGNATURES_MAX);
    }
}
