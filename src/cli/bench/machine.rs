//! What the numbers were measured on: without it they say nothing.

use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    fmt, fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

#[derive(Clone, Debug, Default, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub memory_bytes: u64,
    /// Of the directory of the databases.
    pub file_system: String,
    /// Median time to append 4 KiB there and sync them, which bounds what a commit can take.
    pub sync_ms: f64,
    /// `release` or `debug`.
    pub build: &'static str,
    pub version: &'static str,
}

impl Machine {
    /// Looks around and measures the disk below `directory`.
    ///
    /// # Errors
    /// If `directory` cannot be written.
    pub fn look(directory: &Path) -> Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            processor: field(&cpu, "model name").unwrap_or("unknown").into(),
            memory_bytes: field(&memory, "MemTotal")
                .and_then(|value| value.strip_suffix(" kB")?.parse::<u64>().ok())
                .map_or(0, |kibibytes| kibibytes * 1024),
            file_system: file_system(directory),
            sync_ms: sync_time(directory)?.as_secs_f64() * 1e3,
            build: build(),
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// Whether what is synced there is only in memory.
    pub fn syncs_nothing(&self) -> bool {
        ["tmpfs", "ramfs"].contains(&self.file_system.as_str())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tenure {} ({} build) on {} cores of {}, {:.0} GiB; {}, a synced write of 4 KiB takes {:.2} ms",
            self.version,
            self.build,
            self.cores,
            self.processor,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.file_system,
            self.sync_ms
        )
    }
}

pub fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// Type of the file system with the longest mount point above `directory`.
fn file_system(directory: &Path) -> String {
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.into());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| directory.starts_with(point))
        // Of two at one point the later covers the earlier.
        .max_by_key(|(point, _)| point.len())
        .map_or_else(|| "unknown".into(), |(_, kind)| kind.into())
}

fn sync_time(directory: &Path) -> Result<Duration> {
    const WRITES: usize = 100;
    let path = directory.join(format!("tenure-bench-sync-{}", std::process::id()));
    let mut file =
        fs::File::create(&path).with_context(|| format!("write in {}", directory.display()))?;
    let mut times = Vec::with_capacity(WRITES);
    let measured = (|| {
        for _ in 0..WRITES {
            let begin = Instant::now();
            file.write_all(&[7; 4096])?;
            file.sync_data()?;
            times.push(begin.elapsed());
        }
        Ok::<_, std::io::Error>(())
    })();
    let _ = fs::remove_file(&path);
    measured.with_context(|| format!("sync a file in {}", directory.display()))?;
    times.sort_unstable();
    Ok(times[WRITES / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::look(&std::env::temp_dir()).unwrap();
        assert!(machine.cores > 0 && machine.memory_bytes > 0);
        assert_ne!(machine.file_system, "unknown");
        assert!(machine.sync_ms > 0.0);
    }
}
