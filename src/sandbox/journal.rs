//! A file of JSON lines that is read again at start. A line is written whole before anybody is told what it says; no fsync, because
//! it has to survive the death of the process, not of the machine.

use super::SandboxError;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

#[derive(Debug)]
pub(super) struct Journal(File);

impl Journal {
    /// Opens `name` in `folder` and gives each line to `apply`. A last line that was torn by a kill is cut off.
    pub fn open<T: DeserializeOwned>(
        folder: &Path,
        name: &str,
        mut apply: impl FnMut(T),
    ) -> Result<Self, SandboxError> {
        let path = folder.join(name);
        let failed = |source| SandboxError::Record {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        let mut reader = BufReader::new(File::open(&path).map_err(failed)?);
        let (mut end, mut line, mut text) = (0, 0, Vec::new());
        loop {
            text.clear();
            let bytes = reader.read_until(b'\n', &mut text).map_err(failed)?;
            if bytes == 0 || text.last() != Some(&b'\n') {
                break;
            }
            line += 1;
            let Ok(entry) = serde_json::from_slice(&text) else {
                return Err(SandboxError::Damaged { path, line });
            };
            apply(entry);
            end += bytes as u64;
        }
        file.set_len(end).map_err(failed)?;
        Ok(Self(file))
    }

    pub fn append(&mut self, entry: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }

    pub fn reset(&mut self) -> io::Result<()> {
        self.0.set_len(0)
    }
}
