//! The three files that a node has, and their dates.

use super::TlsError;
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Where a node's certificates are. All PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that are trusted; two of them while one is replaced.
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What the files looked like when they were read: size and date of each.
pub(super) type Stamp = [(u64, SystemTime); 3];

impl TlsFiles {
    /// `ca.pem`, `node.pem` and `node.key` of a directory.
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            ca: dir.join("ca.pem"),
            cert: dir.join("node.pem"),
            key: dir.join("node.key"),
        }
    }

    pub(super) fn stamp(&self) -> Result<Stamp, TlsError> {
        Ok([
            stamp_of(&self.ca)?,
            stamp_of(&self.cert)?,
            stamp_of(&self.key)?,
        ])
    }

    /// Refuses a key that others on this machine can read.
    pub(super) fn check_key_mode(&self) -> Result<(), TlsError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&self.key)
                .map_err(|error| TlsError::read(&self.key, error))?
                .permissions()
                .mode();
            // A group may read: that is how orchestrators mount secrets for a service that is not root.
            if mode & 0o037 != 0 {
                return Err(TlsError::KeyMode {
                    path: self.key.clone(),
                    mode: mode & 0o777,
                });
            }
        }
        Ok(())
    }
}

fn stamp_of(path: &Path) -> Result<(u64, SystemTime), TlsError> {
    let of = || {
        let data = fs::metadata(path)?;
        Ok((data.len(), data.modified()?))
    };
    of().map_err(|error| TlsError::read(path, error))
}

/// Writes a file that only its owner may read, whole or not at all: it is renamed into place.
///
/// # Errors
/// Those of the file system.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    // Left behind by an attempt that broke off.
    let _ = fs::remove_file(&temporary);
    let mut file = options.open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
