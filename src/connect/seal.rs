//! The master keys of a service as they stand in a file or the environment, and what is sealed with them directly.
//!
//! They wrap the data keys of the orgs (see [`super::vault`], which seals everything that is new). What was sealed before there were data
//! keys still opens here.

pub mod envelope;
mod key_file;

pub use key_file::{
    MasterKeyBytes, parse_master_key, parse_master_keys, read_master_key, read_master_keys,
    read_or_create_master_key,
};

use crate::domain::OrgId;
use aes_gcm::{Aes256Gcm, KeyInit};
use envelope::Header;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

/// Version of the envelope of what is sealed with a master key.
pub const VERSION: u8 = 1;

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
    /// The additional data beside the header. An org has no bar in it, and kinds are ours.
    fn place(&self) -> String {
        format!("{}|{}|{}", self.org, self.kind, self.id)
    }
}

struct Key {
    id: [u8; 4],
    cipher: Aes256Gcm,
}

/// Seals with the first of its keys and opens with all of them. One that was read from a file reads it again when it meets a key that it
/// does not know, so that a new master key needs no restart.
pub struct Sealer {
    keys: RwLock<Arc<[Key]>>,
    file: Option<PathBuf>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} keys)", self.keys().len())
    }
}

impl Sealer {
    pub fn new(master: &MasterKeyBytes) -> Self {
        Self::of(std::slice::from_ref(master), None)
    }

    /// Opens what was sealed with `previous` too; new values are sealed with the first key.
    pub fn with_previous(self, previous: &MasterKeyBytes) -> Self {
        let more = Key::new(previous);
        let all: Vec<Key> = self.keys().iter().map(Key::copy).chain([more]).collect();
        Self {
            keys: RwLock::new(all.into()),
            file: self.file,
        }
    }

    /// From the text of one or more keys, the one that seals first.
    ///
    /// # Errors
    /// `BadKey`.
    pub fn from_text(text: &str) -> Result<Self, SealError> {
        Ok(Self::of(&parse_master_keys(text)?, None))
    }

    /// From a file of one or more keys, the one that seals first.
    ///
    /// # Errors
    /// The file cannot be read, others could read it too, or it holds no key.
    pub fn from_file(path: &Path) -> Result<Self, SealError> {
        Ok(Self::of(&read_master_keys(path)?, Some(path.into())))
    }

    fn of(keys: &[MasterKeyBytes], file: Option<PathBuf>) -> Self {
        let keys: Vec<Key> = keys.iter().map(Key::new).collect();
        Self {
            keys: RwLock::new(keys.into()),
            file,
        }
    }

    fn keys(&self) -> Arc<[Key]> {
        match self.keys.read() {
            Ok(keys) => keys.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// The id of the key that seals, as [`SealError::UnknownKey`] shows it.
    pub fn key_id(&self) -> String {
        self.keys()
            .first()
            .map_or_else(String::new, |key| hex(&key.id))
    }

    /// The ids of all its keys, the one that seals first.
    pub fn key_ids(&self) -> Vec<String> {
        self.keys().iter().map(|key| hex(&key.id)).collect()
    }

    /// Reads the file again, if the keys came from one.
    ///
    /// # Errors
    /// As [`Sealer::from_file`]; the keys stay as they were.
    pub fn reload(&self) -> Result<(), SealError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let keys: Vec<Key> = read_master_keys(path)?.iter().map(Key::new).collect();
        let mut held = match self.keys.write() {
            Ok(held) => held,
            Err(poisoned) => poisoned.into_inner(),
        };
        *held = keys.into();
        Ok(())
    }

    /// # Errors
    /// Only if the system has no randomness.
    pub fn seal(&self, plain: &[u8], name: SecretName) -> Result<Vec<u8>, SealError> {
        let keys = self.keys();
        let key = keys.first().ok_or(SealError::BadKey)?;
        envelope::seal(&key.cipher, key.header(), &name.place(), plain)
    }

    /// # Errors
    /// Why it does not open; nothing of the content is in the error.
    pub fn open(&self, sealed: &[u8], name: SecretName) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let header = Header::of(sealed)?;
        if header.version != VERSION {
            return Err(SealError::UnknownVersion(header.version));
        }
        let known = |keys: Arc<[Key]>| keys.iter().find(|key| key.id == header.key).map(Key::copy);
        let key = match known(self.keys()) {
            Some(key) => key,
            None => {
                self.reload()?;
                known(self.keys()).ok_or(SealError::UnknownKey(header.key))?
            }
        };
        envelope::open(&key.cipher, &name.place(), sealed)
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
    fn new(master: &MasterKeyBytes) -> Self {
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
    fn copy(&self) -> Self {
        Self {
            id: self.id,
            cipher: self.cipher.clone(),
        }
    }
    fn header(&self) -> Header {
        Header {
            version: VERSION,
            key: self.id,
        }
    }
}

/// As the id of a key is shown.
pub fn hex(bytes: &[u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretBox;
    use uuid::Uuid;

    fn key(byte: u8) -> MasterKeyBytes {
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
    fn a_key_that_was_put_into_the_file_meanwhile_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        read_or_create_master_key(&path).unwrap();
        let running = Sealer::from_file(&path).unwrap();
        let old = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{}\n{old}", "ab".repeat(32))).unwrap();
        let here = name(1, "k", "i");
        let operator = Sealer::from_file(&path).unwrap();
        let sealed = operator.seal(b"new", here).unwrap();
        assert_ne!(running.key_id(), operator.key_id());
        assert_eq!(running.open(&sealed, here).unwrap().as_slice(), b"new");
        assert_eq!(running.key_id(), operator.key_id());
    }
}
