//! What processes cost, as Linux counts it in `/proc`.

use anyhow::{Context, Result};
use std::{collections::HashMap, fs, time::Duration};

/// A clock tick of `/proc/PID/stat`: `USER_HZ`, 100 a second on every architecture that Rust and Linux share but Alpha.
const TICK: Duration = Duration::from_millis(10);

/// CPU time, user and system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Of this process and everything below it: the load generator, the server, all of PostgreSQL.
    pub all: Duration,
    /// Of this process alone: the load generator.
    pub own: Duration,
}

impl Cpu {
    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            all: self.all.saturating_sub(earlier.all),
            own: self.own.saturating_sub(earlier.own),
        }
    }
}

/// CPU time used so far. What ended meanwhile is counted by the parent that waited for it.
///
/// # Errors
/// If `/proc` cannot be read, as on other systems than Linux.
pub fn cpu_used() -> Result<Cpu> {
    let processes = processes()?;
    let this = std::process::id();
    let own = processes.get(&this).map_or(0, |stat| stat.own_ticks);
    Ok(Cpu {
        all: below(&processes, this)?,
        own: time(own)?,
    })
}

/// CPU time that these processes and what is below them have used so far; none of them is below another.
///
/// # Errors
/// As [`cpu_used`].
pub fn cpu_of(pids: &[u32]) -> Result<Duration> {
    let processes = processes()?;
    pids.iter().map(|pid| below(&processes, *pid)).sum()
}

fn processes() -> Result<HashMap<u32, Stat>> {
    let mut processes = HashMap::new();
    let entries =
        fs::read_dir("/proc").context("CPU time is read from /proc, which is not there")?;
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may have ended in between.
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if let Some(stat) = Stat::parse(&text) {
            processes.insert(pid, stat);
        }
    }
    Ok(processes)
}

/// Of a process and everything below it.
fn below(processes: &HashMap<u32, Stat>, ancestor: u32) -> Result<Duration> {
    let ticks = processes
        .iter()
        .filter(|(pid, _)| descends(processes, **pid, ancestor))
        .map(|(_, stat)| stat.own_ticks + stat.children_ticks)
        .sum();
    time(ticks)
}

fn time(ticks: u64) -> Result<Duration> {
    let ticks = u32::try_from(ticks).context("more CPU time than a year")?;
    Ok(TICK * ticks)
}

/// Whether `pid` is `ancestor` or below it.
fn descends(processes: &HashMap<u32, Stat>, pid: u32, ancestor: u32) -> bool {
    let mut pid = pid;
    // A parent that was replaced between two reads could close a circle.
    for _ in 0..64 {
        if pid == ancestor {
            return true;
        }
        match processes.get(&pid) {
            Some(stat) => pid = stat.parent,
            None => return false,
        }
    }
    false
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// In user and kernel mode.
    own_ticks: u64,
    /// Of the children that it waited for.
    children_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The name of the program is in parentheses and may hold anything.
        let (_, after) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = after.split(' ').collect();
        let ticks = |range: std::ops::Range<usize>| {
            fields
                .get(range)?
                .iter()
                .map(|field| field.parse::<u64>().ok())
                .sum::<Option<u64>>()
        };
        Some(Stat {
            parent: fields.get(1)?.parse().ok()?,
            own_ticks: ticks(11..13)?,
            children_ticks: ticks(13..15)?,
        })
    }
}

/// Memory of a process that is not swapped out, bytes.
///
/// # Errors
/// If it does not run.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let kibibytes: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok())
        .context("no VmRSS in /proc")?;
    Ok(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_any_name() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 99";
        let expected = Stat {
            parent: 7,
            own_ticks: 30,
            children_ticks: 70,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("42 (sh) S 7"), None);
    }

    #[test]
    fn this_process_has_memory_and_uses_time() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        let before = cpu_used().unwrap();
        let begin = std::time::Instant::now();
        while cpu_used().unwrap().since(before).own.is_zero() {
            assert!(begin.elapsed() < Duration::from_secs(30));
        }
    }
}
