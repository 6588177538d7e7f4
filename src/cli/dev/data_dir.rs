//! What `tenure dev` keeps on disk, and that only one process works on it.
//!
//! ```text
//! lock          held while the process lives
//! node_id       names the node in the database
//! master.key    seals the secrets (0600)
//! sandbox.port  so that addresses stay the same over restarts
//! dev.json      address, org and key for the other verbs (0600)
//! tenure.db     the database, unless it is elsewhere
//! sandbox/      the record of the sandbox
//! ```

use crate::{
    cli::{
        exit::Failure,
        remote::{DEV_FILE, DevFile},
    },
    connect::{Sealer, seal},
};
use anyhow::Context;
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// A data directory that is ours until this is dropped, or the process ends in whatever way.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// Another process works on it, or it cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .with_context(|| format!("cannot write {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.into(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Failure::failed(in_use(path))),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", lock_path.display()))
            }
        }
    }

    /// Address of the embedded database.
    pub fn database_url(&self) -> String {
        format!("sqlite:{}", self.path.join("tenure.db").display())
    }

    pub fn sandbox(&self) -> PathBuf {
        self.path.join("sandbox")
    }

    /// The sealer under the directory's own master key, made on the first start.
    ///
    /// # Errors
    /// The key cannot be read or made.
    pub fn sealer(&self) -> anyhow::Result<Sealer> {
        let path = self.path.join("master.key");
        seal::read_or_create_master_key(&path)?;
        Ok(Sealer::from_file(&path)?)
    }

    /// The node's id: the one that is kept, or from now on `fresh`.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub fn node_id(&self, fresh: Uuid) -> anyhow::Result<Uuid> {
        let path = self.path.join("node_id");
        match self.read("node_id")? {
            Some(text) => text
                .trim()
                .parse()
                .with_context(|| format!("{} holds no UUID; remove it", path.display())),
            None => {
                self.write("node_id", fresh.to_string().as_bytes())?;
                Ok(fresh)
            }
        }
    }

    /// The port that the sandbox had; 0 if it had none.
    pub fn sandbox_port(&self) -> u16 {
        let kept = self.read("sandbox.port").ok().flatten();
        kept.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    pub fn keep_sandbox_port(&self, port: u16) -> anyhow::Result<()> {
        self.write("sandbox.port", port.to_string().as_bytes())
    }

    pub fn dev_file(&self) -> anyhow::Result<Option<DevFile>> {
        DevFile::read(&self.path)
    }

    pub fn keep_dev_file(&self, dev: &DevFile) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(dev)?;
        text.push(b'\n');
        self.write(DEV_FILE, &text)
    }

    fn read(&self, name: &str) -> anyhow::Result<Option<String>> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Replaces a file as a whole, readable by its owner alone: a kill in between leaves the old one.
    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&new).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        });
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

fn in_use(path: &Path) -> String {
    let at = DevFile::read(path)
        .ok()
        .flatten()
        .map_or_else(String::new, |dev| format!(", it listens on {}", dev.url));
    format!(
        "the data directory {} is in use by another `tenure dev`{at}; stop that one, or give --data another directory",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_may_have_it_and_what_it_keeps_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(first.node_id(id).unwrap(), id);
        assert_eq!(first.sandbox_port(), 0);
        first.keep_sandbox_port(4711).unwrap();
        let error = DataDir::open(&path).err().expect("it is locked");
        assert!(error.to_string().contains("in use"), "{error}");
        drop(first);
        let again = DataDir::open(&path).unwrap();
        assert_eq!(
            (again.node_id(other).unwrap(), again.sandbox_port()),
            (id, 4711)
        );
    }
}
