//! The name of a write to the outside, by which the provider and a later look recognise it.

use crate::domain::{ContentHash, ExecutionId};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `tnr_` and 32 characters: 160 bits of a hash over run, step (with visit and item) and the arguments' hash.
///
/// Nothing that a model or a provider wrote enters it but through `arguments`, and the same step replayed gives the same
/// key. It is short and plain enough for a header, a mail's message id and a message's metadata.
pub fn effect_key(execution: ExecutionId, step: &str, arguments: ContentHash) -> String {
    // The parts have no line breaks of their own, so no two triples give the same text.
    let hash =
        ContentHash::of(format!("tenure effect 1\n{execution}\n{step}\n{arguments}").as_bytes());
    format!("tnr_{}", base32(&hash.bytes()[..20]))
}

/// Crockford's base32, five bytes as eight characters.
fn base32(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::with_capacity(bytes.len() * 8 / 5 + 1), 0u32, 0);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(ALPHABET[((held >> bits) & 31) as usize] as char);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_key_follows_from_run_step_and_arguments_alone() {
        let run = ExecutionId::from_uuid(Uuid::from_u128(1));
        let other = ExecutionId::from_uuid(Uuid::from_u128(2));
        let (a, b) = (ContentHash::of(b"a"), ContentHash::of(b"b"));
        let key = effect_key(run, "0.1.2.1.7", a);
        assert_eq!(key, effect_key(run, "0.1.2.1.7", a));
        assert_eq!(key.len(), 36);
        assert!(
            key.bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_digit() || byte.is_ascii_lowercase())
        );
        for different in [
            effect_key(other, "0.1.2.1.7", a),
            effect_key(run, "0.1.2.1.8", a),
            effect_key(run, "0.1.2.1.7", b),
        ] {
            assert_ne!(key, different);
        }
    }

    #[test]
    fn base32_is_crockfords() {
        assert_eq!(base32(&[0xff; 5]), "zzzzzzzz");
        assert_eq!(base32(&[0, 0, 0, 0, 1]), "00000001");
    }
}
