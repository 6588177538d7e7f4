//! Where master keys come from: an environment variable or a file that only its owner may read.

use super::SealError;
use base64::{Engine, engine::general_purpose::STANDARD};
use rand::{TryRngCore, rngs::OsRng};
use secrecy::{
    SecretBox,
    zeroize::{Zeroize, Zeroizing},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

/// The 32 bytes of a master key.
pub type MasterKeyBytes = SecretBox<[u8; 32]>;

/// Reads master keys as they stand in an environment variable or a file, with white space or commas between them. The first is the one
/// that seals; the others, which came before it or will come after it, only open.
///
/// # Errors
/// `BadKey` if there is none or one of them is none.
pub fn parse_master_keys(text: &str) -> Result<Vec<MasterKeyBytes>, SealError> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    let keys: Vec<_> = words
        .filter(|word| !word.is_empty())
        .map(parse_master_key)
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(SealError::BadKey);
    }
    Ok(keys)
}

/// Reads one master key: 64 hexadecimal digits or base64 of 32 bytes.
///
/// # Errors
/// `BadKey`, whatever is wrong with it.
pub fn parse_master_key(text: &str) -> Result<MasterKeyBytes, SealError> {
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

/// Reads the first master key of a file that only its owner may read.
///
/// # Errors
/// As [`read_master_keys`].
pub fn read_master_key(path: &Path) -> Result<MasterKeyBytes, SealError> {
    let mut keys = read_master_keys(path)?;
    Ok(keys.swap_remove(0))
}

/// Reads the master keys of a file that only its owner may read.
///
/// # Errors
/// The file cannot be read, others could read it too, or it holds no key.
pub fn read_master_keys(path: &Path) -> Result<Vec<MasterKeyBytes>, SealError> {
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
    parse_master_keys(&text)
}

/// As [`read_master_key`]; where there is no file, makes one with a random key. For development: in production a key that is
/// not found must stop the start, not be replaced.
///
/// # Errors
/// As [`read_master_key`].
pub fn read_or_create_master_key(path: &Path) -> Result<MasterKeyBytes, SealError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

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
            assert!(parse_master_keys(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_master_key(&"ff".repeat(32)).unwrap().expose_secret(),
            &[0xff; 32]
        );
        let two = format!("{}\n{},\n", "01".repeat(32), "02".repeat(32));
        let keys = parse_master_keys(&two).unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0].expose_secret(), &[1; 32]);
    }
}
