//! The record: one line of JSON a request, in `record.jsonl`, in the order in which they were served. A line is written before its
//! request is answered; no fsync, because it has to survive the death of the process, not of the machine.

use super::{SandboxError, call::Call, call::Provider};
use crate::domain::Timestamp;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

/// Lines that the file may have; then the sandbox refuses (507) until its record is deleted.
pub const LINE_LIMIT: usize = 1_000_000;

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1; the cursor of `GET /record`.
    pub seq: u64,
    pub at: Timestamp,
    pub integration: Provider,
    pub method: String,
    /// The provider's own path.
    pub path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    pub idempotency_key: Option<String>,
    pub body: Value,
    /// As it was answered; null if the connection was closed without an answer. The request was carried out exactly if this is
    /// null or 2xx and it was not refused (and the provider's answer says no error).
    pub status: Option<u16>,
    /// The token was not good; Slack says so with 200.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

impl Entry {
    pub fn was_applied(&self) -> bool {
        let good = |status| (200..300).contains(&status);
        !self.refused && self.status.is_none_or(good)
    }
    pub(super) fn to_call(&self) -> Call {
        Call {
            provider: self.integration,
            at: self.at,
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            body: self.body.clone(),
            idempotency_key: self.idempotency_key.clone(),
            token: None,
            headers: HeaderMap::new(),
        }
    }
}

/// Where a line is.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: u64,
    bytes: u32,
    provider: Provider,
}

#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    file: File,
    /// The line with sequence number n is at n - 1.
    lines: Vec<Line>,
    /// Lines that are not written yet.
    pending: Vec<u8>,
    end: u64,
}

/// Some lines to be read without the record's owner.
#[derive(Debug)]
pub struct Page {
    path: PathBuf,
    lines: Vec<Line>,
    /// The cursor of the next page, if there is one.
    pub next: Option<u64>,
}

impl Record {
    /// Opens the file and gives each entry to `apply`. A last line that was torn by a kill is cut off: its request was not answered.
    pub fn open(folder: &Path, mut apply: impl FnMut(&Entry)) -> Result<Self, SandboxError> {
        let path = folder.join("record.jsonl");
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
        let (mut lines, mut end, mut text) = (Vec::new(), 0, Vec::new());
        loop {
            text.clear();
            let bytes = reader.read_until(b'\n', &mut text).map_err(failed)?;
            if bytes == 0 || text.last() != Some(&b'\n') {
                break;
            }
            let Ok(entry) = serde_json::from_slice::<Entry>(&text) else {
                return Err(SandboxError::Damaged {
                    path,
                    line: lines.len() as u64 + 1,
                });
            };
            apply(&entry);
            lines.push(Line {
                start: end,
                bytes: bytes as u32,
                provider: entry.integration,
            });
            end += bytes as u64;
        }
        file.set_len(end).map_err(failed)?;
        Ok(Self {
            path,
            file,
            lines,
            pending: Vec::new(),
            end,
        })
    }

    pub fn next_seq(&self) -> u64 {
        self.lines.len() as u64 + 1
    }
    pub fn is_full(&self) -> bool {
        self.lines.len() >= LINE_LIMIT
    }

    /// Adds a line to those that [`Record::flush`] writes.
    pub fn push(&mut self, entry: &Entry) -> io::Result<()> {
        let start = self.pending.len();
        serde_json::to_writer(&mut self.pending, entry)?;
        self.pending.push(b'\n');
        let bytes = (self.pending.len() - start) as u32;
        self.lines.push(Line {
            start: self.end,
            bytes,
            provider: entry.integration,
        });
        self.end += u64::from(bytes);
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.pending);
        self.pending.clear();
        written
    }

    pub fn reset(&mut self) -> io::Result<()> {
        self.pending.clear();
        self.lines.clear();
        self.end = 0;
        self.file.set_len(0)
    }

    pub fn page(&self, provider: Option<Provider>, after: u64, limit: usize) -> Page {
        let skipped = usize::try_from(after)
            .unwrap_or(usize::MAX)
            .min(self.lines.len());
        let mut fitting = self.lines[skipped..]
            .iter()
            .enumerate()
            .filter(|(_, line)| provider.is_none_or(|provider| provider == line.provider));
        let chosen: Vec<_> = fitting.by_ref().take(limit).collect();
        let last = chosen.last().map(|(place, _)| (skipped + place + 1) as u64);
        let next = last.filter(|_| fitting.next().is_some());
        Page {
            path: self.path.clone(),
            lines: chosen.into_iter().map(|(_, line)| *line).collect(),
            next,
        }
    }
}

impl Page {
    /// `{"items":[…],"next":…}`, the lines as they stand in the file. Blocking.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut file = BufReader::new(File::open(&self.path)?);
        let (mut body, mut place) = (b"{\"items\":[".to_vec(), 0);
        for (number, line) in self.lines.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            // Relative, so that the buffer is kept where lines follow each other.
            file.seek_relative(line.start as i64 - place as i64)?;
            let start = body.len();
            body.resize(start + line.bytes as usize - 1, 0);
            file.read_exact(&mut body[start..])?;
            place = line.start + u64::from(line.bytes) - 1;
        }
        let next = self.next.map_or("null".to_owned(), |next| next.to_string());
        body.extend_from_slice(format!("],\"next\":{next}}}").as_bytes());
        Ok(body)
    }
}
