//! Secrets at rest: AES-256-GCM under a master key, bound to the place where they are kept.
//!
//! ```text
//! version 1 | key id 4 | nonce 12 | ciphertext and tag
//! ```
//! Version, key id and [`SecretName`] are authenticated with it, so that a sealed value moved to another row does not open.
//! The nonce is random: safe for some 2^32 seals under one key, far more than connections and hooks will see.

use crate::domain::OrgId;
use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rand::{TryRngCore, rngs::OsRng};
use secrecy::{
    ExposeSecret, SecretBox, SecretString,
    zeroize::{Zeroize, Zeroizing},
};
use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

const VERSION: u8 = 1;
const NONCE_START: usize = 5;
const BODY_START: usize = 17;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("the sealed value is damaged, or it belongs to another place")]
    Damaged,
    #[error("the sealed value has version {0}, which is not known here")]
    UnknownVersion(u8),
    #[error("the value was sealed with another master key ({})", hex(.0))]
    UnknownKey([u8; 4]),
    #[error("the system gives no random numbers")]
    NoRandomness,
    #[error("the master key must be 32 bytes, as 64 hexadecimal digits or base64")]
    BadKey,
    #[error("master key file {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others on the machine could read it.
    #[error("master key file {0} must be readable by its owner alone (mode 0600)")]
    FileOpenToOthers(PathBuf),
}

/// What a sealed value is and where it belongs, for example (`org`, `connection_token`, the connection's id).
#[derive(Clone, Copy, Debug)]
pub struct SecretName<'a> {
    pub org: OrgId,
    pub kind: &'a str,
    pub id: &'a str,
}

impl SecretName<'_> {
    /// The additional data: header, then `org|kind|id`. An org has no bar in it, and kinds are ours.
    fn bind(&self, header: &[u8]) -> Vec<u8> {
        let mut data = header.to_vec();
        data.extend_from_slice(format!("{}|{}|{}", self.org, self.kind, self.id).as_bytes());
        data
    }
}

struct Key {
    id: [u8; 4],
    cipher: Aes256Gcm,
}

/// Seals with one key; opens with it and with those that came before it.
pub struct Sealer {
    keys: Vec<Key>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} keys)", self.keys.len())
    }
}

impl Sealer {
    pub fn new(master: &SecretBox<[u8; 32]>) -> Self {
        Self {
            keys: vec![Key::new(master)],
        }
    }

    /// Opens what was sealed with `previous` too; new values are sealed with the first key.
    pub fn with_previous(mut self, previous: &SecretBox<[u8; 32]>) -> Self {
        self.keys.push(Key::new(previous));
        self
    }

    /// # Errors
    /// Only if the system has no randomness.
    pub fn seal(&self, plain: &[u8], name: SecretName) -> Result<Vec<u8>, SealError> {
        let key = &self.keys[0];
        let mut nonce = [0u8; 12];
        OsRng
            .try_fill_bytes(&mut nonce)
            .map_err(|_| SealError::NoRandomness)?;
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&key.id);
        let bound = name.bind(&sealed);
        let payload = Payload {
            msg: plain,
            aad: &bound,
        };
        let body = key
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| SealError::Damaged)?;
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// # Errors
    /// Why it does not open; nothing of the content is in the error.
    pub fn open(&self, sealed: &[u8], name: SecretName) -> Result<Zeroizing<Vec<u8>>, SealError> {
        match sealed.first() {
            Some(&VERSION) if sealed.len() > BODY_START => {}
            Some(&VERSION) | None => return Err(SealError::Damaged),
            Some(&other) => return Err(SealError::UnknownVersion(other)),
        }
        let (header, rest) = sealed.split_at(NONCE_START);
        let (nonce, body) = rest.split_at(BODY_START - NONCE_START);
        let id: [u8; 4] = header[1..].try_into().map_err(|_| SealError::Damaged)?;
        let nonce: [u8; 12] = nonce.try_into().map_err(|_| SealError::Damaged)?;
        let key = self
            .keys
            .iter()
            .find(|key| key.id == id)
            .ok_or(SealError::UnknownKey(id))?;
        let bound = name.bind(header);
        let plain = key.cipher.decrypt(
            &Nonce::from(nonce),
            Payload {
                msg: body,
                aad: &bound,
            },
        );
        plain.map(Zeroizing::new).map_err(|_| SealError::Damaged)
    }

    /// # Errors
    /// As [`Sealer::open`]; `Damaged` too if it is not text.
    pub fn open_text(&self, sealed: &[u8], name: SecretName) -> Result<SecretString, SealError> {
        let plain = self.open(sealed, name)?;
        std::str::from_utf8(&plain)
            .map(SecretString::from)
            .map_err(|_| SealError::Damaged)
    }
}

impl Key {
    fn new(master: &SecretBox<[u8; 32]>) -> Self {
        let mut named = Zeroizing::new(b"tenure master key id\n".to_vec());
        named.extend_from_slice(master.expose_secret());
        let hash = crate::domain::ContentHash::of(&named);
        let bytes = hash.bytes();
        let id = [bytes[0], bytes[1], bytes[2], bytes[3]];
        Self {
            id,
            cipher: Aes256Gcm::new(master.expose_secret().into()),
        }
    }
}

/// Reads a master key as it stands in an environment variable or a file: 64 hexadecimal digits or base64 of 32 bytes.
///
/// # Errors
/// `BadKey`, whatever is wrong with it.
pub fn parse_master_key(text: &str) -> Result<SecretBox<[u8; 32]>, SealError> {
    let text = text.trim();
    let bytes = if text.len() == 64 {
        from_hex(text)
    } else {
        STANDARD.decode(text).ok()
    };
    let bytes = Zeroizing::new(bytes.ok_or(SealError::BadKey)?);
    let mut key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| SealError::BadKey)?;
    let boxed = SecretBox::new(Box::new(key));
    key.zeroize();
    Ok(boxed)
}

/// Reads the master key from a file that only its owner may read.
///
/// # Errors
/// The file cannot be read, others could read it too, or it holds no key.
pub fn read_master_key(path: &Path) -> Result<SecretBox<[u8; 32]>, SealError> {
    let failed = |source| SealError::File {
        path: path.into(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    if is_open_to_others(&file).map_err(failed)? {
        return Err(SealError::FileOpenToOthers(path.into()));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    parse_master_key(&text)
}

/// As [`read_master_key`]; where there is no file, makes one with a random key. For development: in production a key that is
/// not found must stop the start, not be replaced.
///
/// # Errors
/// As [`read_master_key`].
pub fn read_or_create_master_key(path: &Path) -> Result<SecretBox<[u8; 32]>, SealError> {
    let failed = |source| SealError::File {
        path: path.into(),
        source,
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(mut file) => {
            let mut key = Zeroizing::new([0u8; 32]);
            OsRng
                .try_fill_bytes(key.as_mut_slice())
                .map_err(|_| SealError::NoRandomness)?;
            let text = Zeroizing::new(format!("{}\n", STANDARD.encode(key.as_slice())));
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    read_master_key(path)
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o077 != 0)
}
#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> io::Result<bool> {
    Ok(false)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8))
        .collect()
}

fn hex(bytes: &[u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn key(byte: u8) -> SecretBox<[u8; 32]> {
        SecretBox::new(Box::new([byte; 32]))
    }
    fn name(org: u128, kind: &'static str, id: &'static str) -> SecretName<'static> {
        SecretName {
            org: OrgId::from_uuid(Uuid::from_u128(org)),
            kind,
            id,
        }
    }

    #[test]
    fn a_secret_opens_where_it_belongs_and_nowhere_else() {
        let sealer = Sealer::new(&key(1));
        let here = name(1, "connection_token", "conn_1");
        let sealed = sealer.seal(b"xoxb-1", here).unwrap();
        assert_eq!(sealer.open(&sealed, here).unwrap().as_slice(), b"xoxb-1");
        assert_ne!(
            sealed,
            sealer.seal(b"xoxb-1", here).unwrap(),
            "a new nonce each time"
        );
        for elsewhere in [
            name(2, "connection_token", "conn_1"),
            name(1, "hook", "conn_1"),
            name(1, "connection_token", "x"),
        ] {
            assert!(matches!(
                sealer.open(&sealed, elsewhere),
                Err(SealError::Damaged)
            ));
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let sealer = Sealer::new(&key(1));
        let here = name(1, "k", "i");
        let sealed = sealer.seal(b"secret", here).unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(sealer.open(&changed, here).is_err(), "byte {place}");
            assert!(
                sealer.open(&sealed[..place], here).is_err(),
                "cut at {place}"
            );
        }
    }

    #[test]
    fn a_new_master_key_still_opens_what_the_old_one_sealed() {
        let here = name(1, "k", "i");
        let sealed = Sealer::new(&key(1)).seal(b"old", here).unwrap();
        assert!(matches!(
            Sealer::new(&key(2)).open(&sealed, here),
            Err(SealError::UnknownKey(_))
        ));
        let both = Sealer::new(&key(2)).with_previous(&key(1));
        assert_eq!(both.open(&sealed, here).unwrap().as_slice(), b"old");
    }

    #[test]
    fn the_key_file_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        assert!(matches!(
            read_master_key(&path),
            Err(SealError::File { .. })
        ));
        let first = read_or_create_master_key(&path).unwrap();
        let second = read_or_create_master_key(&path).unwrap();
        assert_eq!(first.expose_secret(), second.expose_secret());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(
                read_master_key(&path),
                Err(SealError::FileOpenToOthers(_))
            ));
        }
        for bad in ["", "abc", &"0".repeat(63), &"g".repeat(64)] {
            assert!(parse_master_key(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_master_key(&"ff".repeat(32)).unwrap().expose_secret(),
            &[0xff; 32]
        );
    }
}
