//! How a sealed value stands in the database, whichever key it is under.
//!
//! ```text
//! version 1 | key 4 | nonce 12 | ciphertext and tag
//! ```
//! Version 1: under a master key, `key` is the beginning of its hash ([`super::Sealer`]). Version 2: under a data key of the org, `key` is
//! the key's version ([`crate::connect::vault`]). The header is authenticated together with the place where the value belongs, so that a value that was
//! moved to another row does not open. The nonce is random: safe for some 2^32 seals under one key.

use super::SealError;
use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, Payload},
};
use rand::{TryRngCore, rngs::OsRng};
use secrecy::zeroize::Zeroizing;

/// Version and key.
pub const HEADER: usize = 5;
const BODY_START: usize = HEADER + 12;

/// What names the format and the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: u8,
    pub key: [u8; 4],
}

impl Header {
    pub fn bytes(self) -> [u8; HEADER] {
        let [a, b, c, d] = self.key;
        [self.version, a, b, c, d]
    }

    /// # Errors
    /// `Damaged` for what is too short to be a sealed value.
    pub fn of(sealed: &[u8]) -> Result<Self, SealError> {
        match sealed {
            [version, a, b, c, d, ..] if sealed.len() > BODY_START => Ok(Self {
                version: *version,
                key: [*a, *b, *c, *d],
            }),
            _ => Err(SealError::Damaged),
        }
    }
}

/// # Errors
/// Only if the system has no randomness.
pub fn seal(
    cipher: &Aes256Gcm,
    header: Header,
    place: &str,
    plain: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0u8; 12];
    OsRng
        .try_fill_bytes(&mut nonce)
        .map_err(|_| SealError::NoRandomness)?;
    let payload = Payload {
        msg: plain,
        aad: &bind(header, place),
    };
    let body = cipher
        .encrypt(&Nonce::from(nonce), payload)
        .map_err(|_| SealError::Damaged)?;
    let mut sealed = header.bytes().to_vec();
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// # Errors
/// `Damaged` if it was changed or belongs elsewhere; nothing of the content is in the error.
pub fn open(
    cipher: &Aes256Gcm,
    place: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let header = Header::of(sealed)?;
    let (nonce, body) = sealed[HEADER..].split_at(BODY_START - HEADER);
    let nonce: [u8; 12] = nonce.try_into().map_err(|_| SealError::Damaged)?;
    let payload = Payload {
        msg: body,
        aad: &bind(header, place),
    };
    let plain = cipher.decrypt(&Nonce::from(nonce), payload);
    plain.map(Zeroizing::new).map_err(|_| SealError::Damaged)
}

fn bind(header: Header, place: &str) -> Vec<u8> {
    let mut data = header.bytes().to_vec();
    data.extend_from_slice(place.as_bytes());
    data
}
