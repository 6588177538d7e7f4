//! The text of an API key: `tnk_`, 43 letters and digits, and six more that are the checksum of all before them.
//!
//! The checksum tells a made-up or mistyped key from a real one without asking anybody, and lets scanners of leaked secrets find keys without
//! false alarms. It protects nothing: whoever invents a key can sum it, too, and meets the bounds on look-ups then. Keys from before there
//! were checksums have 43 characters of base64.

use rand::{TryRngCore, rngs::OsRng};
use secrecy::{ExposeSecret, SecretString};

/// What every key begins with, so that one that leaked is recognised.
pub const PREFIX: &str = "tnk_";
/// 256 bits in base 62.
const RANDOM: usize = 43;
/// 32 bits in base 62.
const CHECKSUM: usize = 6;
/// Characters of an older key after its prefix.
const LEGACY: usize = 43;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// What a text is, as far as can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With a checksum that fits.
    Checked,
    /// From before there were checksums.
    Legacy,
    /// No key of ours ever looked like this.
    Wrong,
}

/// A key that nobody has had before.
///
/// # Errors
/// Only if the system has no randomness.
pub fn new() -> Result<SecretString, NoRandomness> {
    let mut text = String::with_capacity(PREFIX.len() + RANDOM + CHECKSUM);
    text.push_str(PREFIX);
    while text.len() < PREFIX.len() + RANDOM {
        let mut bytes = [0u8; 64];
        OsRng.try_fill_bytes(&mut bytes).map_err(|_| NoRandomness)?;
        // Four times the alphabet; what lies above would make the first digits likelier.
        let digits = bytes.iter().filter(|byte| **byte < 248);
        let left = PREFIX.len() + RANDOM - text.len();
        text.extend(
            digits
                .take(left)
                .map(|byte| char::from(DIGITS[usize::from(byte % 62)])),
        );
    }
    let sum = checksum(&text);
    text.push_str(&sum);
    Ok(text.into())
}

pub fn form(key: &str) -> Form {
    let Some(rest) = key.strip_prefix(PREFIX) else {
        return Form::Wrong;
    };
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if rest.len() == LEGACY && rest.bytes().all(is_base64) {
        return Form::Legacy;
    }
    let is_base62 = rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if rest.len() == RANDOM + CHECKSUM && is_base62 {
        let (before, sum) = key.split_at(PREFIX.len() + RANDOM);
        if checksum(before) == sum {
            return Form::Checked;
        }
    }
    Form::Wrong
}

/// The last four characters, for people to tell their keys apart.
pub fn tail(key: &SecretString) -> String {
    let key = key.expose_secret();
    key.get(key.len().saturating_sub(4)..)
        .unwrap_or_default()
        .to_owned()
}

/// CRC-32 (IEEE) in base 62, six digits, the highest first.
fn checksum(text: &str) -> String {
    let mut left = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(left % 62) as usize];
        left /= 62;
    }
    digits.map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_that_of_crc32() {
        // The check value of CRC-32/ISO-HDLC: 0xCBF43926 = 3421780262.
        let value = |text: &str| {
            text.bytes().fold(0u64, |sum, byte| {
                let digit = DIGITS.iter().position(|digit| *digit == byte);
                sum * 62 + digit.expect("a digit") as u64
            })
        };
        assert_eq!(value(&checksum("123456789")), 0xCBF4_3926);
    }

    #[test]
    fn new_keys_are_checked_and_each_is_another() {
        let (one, other) = (new().expect("randomness"), new().expect("randomness"));
        assert_ne!(one.expose_secret(), other.expose_secret());
        for key in [one, other] {
            let text = key.expose_secret();
            assert_eq!(text.len(), 4 + 43 + 6);
            assert_eq!(form(text), Form::Checked);
            assert!(text.ends_with(&tail(&key)) && tail(&key).len() == 4);
        }
    }

    #[test]
    fn key_with_one_other_character_is_wrong() {
        let key = new().expect("randomness");
        let text = key.expose_secret();
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(form(&changed), Form::Wrong, "{at}");
        }
        for wrong in [
            &text[..52],
            &format!("{text}0"),
            &text[4..],
            "tnk_",
            "",
            "tnk_ä",
            &format!("tnk_{}", "a".repeat(49)),
            &format!("tnk_{}", "a".repeat(42)),
            &format!("tnk_{}", "+".repeat(43)),
        ] {
            assert_eq!(form(wrong), Form::Wrong, "{wrong}");
        }
    }

    #[test]
    fn older_keys_are_known_by_their_form() {
        for old in ["a".repeat(43), format!("{}-_", "A9".repeat(20) + "z")] {
            assert_eq!(form(&format!("tnk_{old}")), Form::Legacy);
        }
    }
}
